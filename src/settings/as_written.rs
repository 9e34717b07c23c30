//! The first two stages of the settings: the text as written, held against the reference table key by key, so that
//! each mistake is told with its line; then the defaults are filled in. What values mean together is not known here.

use super::reference::{Absent, Key, Kind, SECTIONS, Section, section};
use super::units::{Room, duration};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Component, Path};
use toml::de::{DeTable, DeValue};

/// Something wrong in the file. Reads `{what} in line {line} of {file}{advice}`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mistake {
    pub line: Option<usize>,
    pub what: String,
    pub advice: String,
}

/// The file with its defaults filled in, and where each key is written.
#[derive(Debug)]
pub(super) struct Written {
    pub table: toml::Table,
    lines: BTreeMap<String, usize>,
}

impl Written {
    /// The line in which a key is written, by its full name (`target.path`, `database.extra[0].name`).
    pub fn line(&self, key: &str) -> Option<usize> {
        self.lines.get(key).copied()
    }
}

/// Reads the text of a settings file; all mistakes in it at once.
pub(super) fn read(text: &str) -> Result<Written, Vec<Mistake>> {
    let mut reader = Reader { text, lines: BTreeMap::new(), mistakes: Vec::new() };
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(errors.iter().map(|error| reader.syntax(error)).collect());
    }
    reader.document(document.get_ref());
    let table = toml::from_str(text).map_err(|error| vec![reader.syntax(&error)])?;
    match reader.mistakes.is_empty() {
        true => Ok(Written { table: with_defaults(table), lines: reader.lines }),
        false => {
            reader.mistakes.sort_by_key(|mistake| mistake.line);
            Err(reader.mistakes)
        }
    }
}

/// Fills in what is not written.
fn with_defaults(mut table: toml::Table) -> toml::Table {
    for section in SECTIONS.iter().filter(|section| !section.repeated) {
        let entry = table.entry(section.name).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let Some(entry) = entry.as_table_mut() else { continue };
        for key in section.keys {
            if let (Absent::Default(value), false) = (key.absent, entry.contains_key(key.name)) {
                entry.extend(toml::from_str::<toml::Table>(&format!("{} = {value}", key.name)).unwrap_or_default());
            }
        }
    }
    table
}

struct Reader<'a> {
    text: &'a str,
    lines: BTreeMap<String, usize>,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn line_of(&self, span: Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn mistake(&mut self, span: Option<Range<usize>>, what: String, advice: String) {
        let line = span.map(|span| self.line_of(span));
        self.mistakes.push(Mistake { line, what, advice });
    }

    fn syntax(&self, error: &toml::de::Error) -> Mistake {
        let line = error.span().map(|span| self.line_of(span));
        let (what, advice) = match error.message() {
            "duplicate key" => ("a key or section is there twice", String::new()),
            message => ("this is not TOML", format!(": {message} (texts stand in double quotes, lists in [ ])")),
        };
        Mistake { line, what: what.into(), advice }
    }

    fn document(&mut self, document: &DeTable) {
        for (name, value) in document {
            match (section(name.get_ref()), value.get_ref()) {
                (Some(section), DeValue::Table(table)) => self.section(section, section.name, value.span(), table),
                (Some(section), _) => {
                    let advice = format!(": write [{}] on a line of its own, once", section.name);
                    self.mistake(Some(name.span()), format!("{:?} is no section", section.name), advice);
                }
                (None, _) => {
                    let what = match value.get_ref().is_table() {
                        true => format!("unknown section {:?}", name.get_ref()),
                        false => format!("unknown key {:?}", name.get_ref()),
                    };
                    self.mistake(Some(name.span()), what, advice_for(None, name.get_ref()));
                }
            }
        }
        for section in SECTIONS.iter().filter(|section| !section.repeated && !document.contains_key(section.name)) {
            self.required(section, None, |_| false);
        }
    }

    fn section(&mut self, section: &Section, place: &str, span: Range<usize>, table: &DeTable) {
        for (name, value) in table {
            let full = format!("{place}.{}", name.get_ref());
            self.lines.insert(full.clone(), self.line_of(name.span()));
            let nested = self::section(&format!("{}.{}", section.name, name.get_ref()));
            if let Some(key) = section.key(name.get_ref()) {
                self.value(section, key, name.span(), value.get_ref());
            } else if let Some(nested) = nested {
                self.repeated(nested, name.span(), value.get_ref());
            } else {
                let what = format!("unknown key \"{}.{}\"", section.name, name.get_ref());
                self.mistake(Some(name.span()), what, advice_for(Some(section), name.get_ref()));
            }
        }
        self.required(section, Some(span), |key| table.contains_key(key));
    }

    fn repeated(&mut self, section: &Section, span: Range<usize>, value: &DeValue) {
        let tables = value
            .as_array()
            .map(|array| array.iter().filter_map(|item| Some((item.span(), item.get_ref().as_table()?))));
        match (tables, value.as_array()) {
            (Some(tables), Some(array)) if tables.clone().count() == array.len() => {
                for (at, (span, table)) in tables.enumerate() {
                    self.section(section, &format!("{}[{at}]", section.name), span, table);
                }
            }
            _ => {
                let advice = format!(": write [[{}]] on a line of its own for each", section.name);
                self.mistake(Some(span), format!("{:?} is no list of sections", section.name), advice);
            }
        }
    }

    fn required(&mut self, section: &Section, span: Option<Range<usize>>, written: impl Fn(&str) -> bool) {
        for key in section.keys {
            if let (Absent::Required(example), false) = (key.absent, written(key.name)) {
                let what = format!("\"{}.{}\" is not set", section.name, key.name);
                let header =
                    if section.repeated { format!("[[{}]]", section.name) } else { format!("[{}]", section.name) };
                self.mistake(span.clone(), what, format!(": write {} = {example} under {header}", key.name));
            }
        }
    }

    fn value(&mut self, section: &Section, key: &Key, span: Range<usize>, value: &DeValue) {
        if !fits(key.kind, value) {
            let what = format!("bad value of \"{}.{}\"", section.name, key.name);
            self.mistake(Some(span), what, format!(": it must be {}", key.kind.allowed()));
        }
    }
}

/// Whether a value may be written for this kind of key.
fn fits(kind: Kind, value: &DeValue) -> bool {
    match kind {
        Kind::Name => value.as_str().is_some_and(is_name),
        Kind::Text => value.as_str().is_some_and(is_text),
        Kind::Path => value.as_str().is_some_and(is_path),
        Kind::Paths => all(value, is_path),
        Kind::Texts => all(value, is_text),
        Kind::Patterns => all(value, is_pattern),
        Kind::Variables => value.as_table().is_some_and(|table| {
            let fits = |value: &DeValue| value.as_str().is_some_and(|text| !text.contains('\0'));
            table.iter().all(|(name, value)| is_variable(name.get_ref()) && fits(value.get_ref()))
        }),
        Kind::Flag => value.is_bool(),
        Kind::Whole(least, most) => whole(value).is_some_and(|number| (least..=most).contains(&number)),
        Kind::Choice(words) => value.as_str().is_some_and(|text| words.contains(&text)),
        Kind::Duration(least) => {
            let text = whole(value).map(|number| number.to_string()).or_else(|| value.as_str().map(str::to_owned));
            text.and_then(|text| duration(&text).ok()).is_some_and(|duration| duration.as_secs() >= least)
        }
        Kind::Room => {
            let text = whole(value).map(|number| number.to_string()).or_else(|| value.as_str().map(str::to_owned));
            text.is_some_and(|text| Room::parse(&text).is_ok())
        }
    }
}

fn all(value: &DeValue, fits: fn(&str) -> bool) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(|item| item.get_ref().as_str().is_some_and(fits)))
}

fn whole(value: &DeValue) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn is_text(text: &str) -> bool {
    !text.trim().is_empty() && !text.contains(char::is_control)
}

pub(super) fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    text.len() <= 64 && text.chars().all(allowed) && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn is_path(text: &str) -> bool {
    is_text(text) && text.starts_with('/') && !Path::new(text).components().any(|part| part == Component::ParentDir)
}

fn is_pattern(text: &str) -> bool {
    let plain = |part| matches!(part, Component::Normal(_));
    is_text(text)
        && Path::new(text).components().all(plain)
        && !text.split('/').any(|part| part == "." || part.is_empty())
}

fn is_variable(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(allowed) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// What the administrator may have meant by an unknown name, in this section or at the top.
fn advice_for(section: Option<&Section>, name: &str) -> String {
    let here: Vec<String> = match section {
        Some(section) => section.keys.iter().map(|key| format!("{}.{}", section.name, key.name)).collect(),
        None => SECTIONS.iter().map(|section| section.name.to_owned()).collect(),
    };
    let keys = SECTIONS.iter().flat_map(|section| section.keys.iter().map(move |key| (section, key)));
    let elsewhere: Vec<String> = keys.map(|(section, key)| format!("{}.{}", section.name, key.name)).collect();
    if let Some(meant) = nearest(name, &here) {
        return format!("; did you mean {meant:?}?");
    }
    match nearest(name, &elsewhere).as_deref().and_then(|meant| meant.rsplit_once('.')) {
        Some((section, key)) => format!("; did you mean {key:?} under [{section}]?"),
        None => format!("; known here: {}", here.iter().map(|name| last_part(name)).collect::<Vec<_>>().join(", ")),
    }
}

/// The name that is nearest to a mistyped one, judged by its last part, if any is near enough to be meant.
fn nearest(name: &str, known: &[String]) -> Option<String> {
    let name = name.to_lowercase().replace('-', "_");
    let distance = |known: &str| strsim::damerau_levenshtein(&name, last_part(known));
    let best = known.iter().min_by_key(|known| distance(known))?;
    (distance(best) <= 1.max(name.len() / 3)).then(|| best.clone())
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}
