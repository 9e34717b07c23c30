//! Writing settings into a file that an administrator has written too: his comments, his order and his own lines stay. What
//! the values mean must not go in here.

use super::parse;
use crate::error::{Fault, OrFault, Result};
use crate::sys::files;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, Value};

/// One key and its value.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its section: `site`.
    pub section: &'static str,
    /// Its name there.
    pub key: &'static str,
    /// Its value; `None` takes the key away.
    pub value: Option<Value>,
}

impl Change {
    /// A key that is to have this value.
    pub fn set(section: &'static str, key: &'static str, value: impl Into<Value>) -> Change {
        Change { section, key, value: Some(value.into()) }
    }
}

/// The text with these changes; byte for byte the same where it says all that already. Errors are of kind unfit.
pub fn edited(text: &str, changes: &[Change]) -> Result<String> {
    let mut text = text.to_owned();
    for change in changes {
        text = one(&text, change)?;
    }
    Ok(text)
}

fn document(text: &str) -> Result<DocumentMut> {
    text.parse().or_fault(|| {
        Fault::unfit("the settings file is not TOML, so nothing can be written into it")
            .hint("\"moodle-backup check\" shows the line")
    })
}

fn one(text: &str, change: &Change) -> Result<String> {
    let mut document = document(text)?;
    let present = document.get(change.section).and_then(|section| section.get(change.key));
    let Some(value) = &change.value else {
        if present.is_some()
            && let Some(section) = document.get_mut(change.section).and_then(Item::as_table_mut)
        {
            section.remove(change.key);
            return Ok(document.to_string());
        }
        return Ok(text.to_owned());
    };
    if present.and_then(Item::as_value).is_some_and(|present| same(present, value)) {
        return Ok(text.to_owned());
    }
    // In a file as the package brings it, the key stands below its explanation, as a comment.
    if present.is_none()
        && let Some(uncommented) = uncommented(text, change, value)
    {
        return Ok(uncommented);
    }
    let section = document.entry(change.section).or_insert_with(|| Item::Table(Table::new()));
    let section = section
        .as_table_mut()
        .ok_or_else(|| Fault::unfit(format!("[{}] of the settings is no section", change.section)))?;
    match section.get_mut(change.key).and_then(Item::as_value_mut) {
        // What stands behind the value on its line stays.
        Some(present) => {
            let decor = present.decor().clone();
            *present = value.clone();
            *present.decor_mut() = decor;
        }
        None => {
            section.insert(change.key, Item::Value(value.clone()));
        }
    }
    Ok(document.to_string())
}

/// Changes for which the text has another value already, each in words.
pub fn clashes(text: &str, changes: &[Change]) -> Result<Vec<String>> {
    let document = document(text)?;
    let clash = |change: &Change| {
        let present = document.get(change.section)?.get(change.key)?.as_value()?;
        let value = change.value.as_ref().filter(|value| !same(present, value))?;
        Some(format!("{} is {}, not {}", change.key, bare(present), bare(value)))
    };
    Ok(changes.iter().filter_map(clash).collect())
}

/// A value without the blanks and comments around it.
fn bare(value: &Value) -> String {
    let mut value = value.clone();
    value.decor_mut().clear();
    value.to_string()
}

/// Whether two values are the same, however they are written.
fn same(left: &Value, right: &Value) -> bool {
    let plain = |value: &Value| toml::from_str::<toml::Table>(&format!("x = {}", bare(value))).ok();
    plain(left).is_some() && plain(left) == plain(right)
}

/// The text with the key in the place of the comment that shows it; `None` where there is no such comment, or where
/// more than that key would be changed.
fn uncommented(text: &str, change: &Change, value: &Value) -> Option<String> {
    let header = format!("[{}]", change.section);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let begin = lines.iter().position(|line| line.trim() == header)?;
    let end =
        lines.iter().skip(begin + 1).position(|line| line.starts_with('[')).map_or(lines.len(), |at| begin + 1 + at);
    let shown = format!("#{} = ", change.key);
    let at = (begin + 1..end).find(|at| lines[*at].starts_with(&shown))?;
    let written = format!("{} = {}\n", change.key, value.to_string().trim());
    let new: String =
        lines.iter().enumerate().map(|(number, line)| if number == at { written.as_str() } else { line }).collect();
    let mut wanted: toml::Table = toml::from_str(text).ok()?;
    let section = wanted.entry(change.section).or_insert_with(|| toml::Table::new().into());
    let value = toml::from_str::<toml::Table>(&format!("x = {value}")).ok()?.remove("x")?;
    section.as_table_mut()?.insert(change.key.to_owned(), value);
    (toml::from_str::<toml::Table>(&new).ok()? == wanted).then_some(new)
}

/// The text with one more database in `[[database.extra]]`, unless one of that name is there already.
pub fn with_database(text: &str, name: &str, options_file: Option<&Path>) -> Result<String> {
    let mut document = document(text)?;
    let mut table = Table::new();
    table.insert("name", toml_edit::value(name));
    if let Some(file) = options_file {
        table.insert("options_file", toml_edit::value(file.to_string_lossy().into_owned()));
    }
    let database = document.entry("database").or_insert_with(|| Item::Table(Table::new()));
    let database = database.as_table_mut().ok_or_else(|| Fault::unfit("[database] of the settings is no section"))?;
    let extra = database.entry("extra").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    let extra = extra
        .as_array_of_tables_mut()
        .ok_or_else(|| Fault::unfit("\"extra\" of [database] in the settings is no list of [[database.extra]]"))?;
    if extra.iter().any(|it| it.get("name").and_then(Item::as_str) == Some(name)) {
        return Ok(text.to_owned());
    }
    extra.push(table);
    Ok(document.to_string())
}

/// Writes a settings file durably, if that changes anything. All that it said before is kept beside it, with `.old`, `.old-2`
/// and so on behind its name. Nothing is written that would not be taken as settings. Whether it was written.
pub fn write(file: &Path, text: &str) -> Result<bool> {
    if let Err(mistakes) = parse(text) {
        return Err(super::told(mistakes, file));
    }
    let old = match std::fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        read => Some(read.or_fault(|| Fault::failed(format!("cannot read {}", file.display())))?),
    };
    if old.as_deref() == Some(text.as_bytes()) {
        return Ok(false);
    }
    let mut mode = 0o640;
    if let Some(old) = old {
        let meta = std::fs::metadata(file).or_fault(|| Fault::failed(format!("cannot look at {}", file.display())))?;
        // There may be a password in it.
        mode &= meta.permissions().mode();
        let mut beside = file.as_os_str().to_owned();
        beside.push(".old");
        files::keep(Path::new(&beside), &old, mode)?;
    }
    files::make_folders(files::parent(file), 0o755)?;
    files::write_durably(file, text.as_bytes(), mode)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../etc/settings.toml");

    fn set() -> Vec<Change> {
        vec![
            Change::set("site", "root", "/var/www/moodle"),
            Change::set("target", "path", "/srv/backup"),
            Change::set("retention", "daily", 14),
        ]
    }

    #[test]
    fn a_key_takes_the_place_of_the_comment_that_shows_it() {
        let text = edited(SAMPLE, &set()).unwrap();
        let changed: Vec<(&str, &str)> =
            SAMPLE.lines().zip(text.lines()).filter(|(before, after)| before != after).collect();
        assert_eq!(changed.len(), 3, "{changed:?}");
        assert_eq!(changed[0], ("#root = \"/var/www/moodle\"", "root = \"/var/www/moodle\""));
        assert_eq!(SAMPLE.lines().count(), text.lines().count());
        assert!(parse(&text).is_ok());
        assert_eq!(edited(&text, &set()).unwrap(), text, "a second time");
    }

    #[test]
    fn each_key_of_the_sample_can_be_set_where_it_is_explained() {
        for section in super::super::reference::SECTIONS.iter().filter(|section| !section.repeated) {
            for key in section.keys {
                let value: Value = key.absent.shown().parse().unwrap();
                let change = Change { section: section.name, key: key.name, value: Some(value) };
                let text = edited(SAMPLE, std::slice::from_ref(&change)).unwrap();
                let changed: Vec<(&str, &str)> =
                    SAMPLE.lines().zip(text.lines()).filter(|(before, after)| before != after).collect();
                let [(before, after)] = changed.as_slice() else { panic!("{change:?}: {changed:?}") };
                assert_eq!(before.strip_prefix('#'), Some(*after), "{change:?}");
                assert_eq!(edited(&text, std::slice::from_ref(&change)).unwrap(), text, "a second time");
                let without = edited(&text, &[Change { value: None, ..change }]).unwrap();
                assert!(!without.lines().any(|line| line == *after), "{without}");
            }
        }
    }

    #[test]
    fn all_that_a_file_has_said_is_kept_as_closed_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.toml");
        let texts = ["a", "b", "c"]
            .map(|name| edited(SAMPLE, &[set(), vec![Change::set("site", "name", name)]].concat()).unwrap());
        for text in &texts {
            write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        for (name, text) in
            [("settings.toml.old", &texts[0]), ("settings.toml.old-2", &texts[1]), ("settings.toml", &texts[2])]
        {
            let path = folder.path().join(name);
            assert_eq!(&std::fs::read_to_string(&path).unwrap(), text, "{name}");
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn what_the_administrator_wrote_stays() {
        let text = "# mine\n[site] # here\nroot = '/old'   # and why\nname = \"two\"\n\n[target]\n# path below\npath=\"/srv/backup\"\n";
        let new = edited(text, &set()).unwrap();
        let expected = text.replace("'/old'", "\"/var/www/moodle\"") + "\n[retention]\ndaily = 14\n";
        assert_eq!(new, expected);
    }

    #[test]
    fn the_same_value_however_written_is_no_change() {
        let text = "[site]\nroot = '/var/www/moodle'\n[target]\npath = \"/srv/back\\u0075p\"\n[retention]\ndaily=0xe\n";
        assert_eq!(edited(text, &set()).unwrap(), text);
    }

    #[test]
    fn a_comment_in_a_text_is_no_place_for_a_key() {
        let text = "[site]\nname = \"\"\"\n#root = \"x\"\n\"\"\"\n[target]\n";
        let new = edited(text, &[Change::set("site", "root", "/a")]).unwrap();
        assert!(new.contains("#root = \"x\"") && new.contains("\nroot = \"/a\""), "{new}");
    }

    #[test]
    fn databases_are_added_once() {
        let text = with_database(SAMPLE, "grades", Some(Path::new("/etc/x.cnf"))).unwrap();
        assert!(text.contains("[[database.extra]]\nname = \"grades\"\noptions_file = \"/etc/x.cnf\"\n"), "{text}");
        assert_eq!(with_database(&text, "grades", None).unwrap(), text);
        let text = with_database(&text, "wiki", None).unwrap();
        let settings = parse(&edited(&text, &set()).unwrap()).unwrap();
        assert_eq!(settings.database.extra.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["grades", "wiki"]);
    }

    #[test]
    fn what_is_no_settings_file_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.toml");
        assert!(write(&file, "[site]\nroot = 5\n").is_err());
        assert!(!file.exists());
        assert!(write(&file, &edited(SAMPLE, &set()).unwrap()).unwrap());
        assert!(!write(&file, &edited(SAMPLE, &set()).unwrap()).unwrap());
        assert!(!folder.path().join("settings.toml.old").exists());
        assert!(
            write(&file, &edited(SAMPLE, &[set(), vec![Change::set("site", "name", "two")]].concat()).unwrap())
                .unwrap()
        );
        let old = std::fs::read_to_string(folder.path().join("settings.toml.old")).unwrap();
        assert_eq!(old, edited(SAMPLE, &set()).unwrap());
    }
}
