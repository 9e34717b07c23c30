//! The settings file, in three stages: as written (`as_written`, against the table in `reference`), with defaults,
//! and validated: the plain data of `data`. Nothing here looks at the machine beyond the file itself.

mod as_written;
mod data;
pub mod edit;
pub mod reference;
mod relations;
#[cfg(test)]
mod tests;
pub mod units;

use crate::error::{Fault, Result};
use as_written::{Mistake, Written};
pub use data::{
    Database, Directories, Engine, ExtraDatabase, Hooks, Moodledata, Resources, Retention, Settings, Site, Target,
    Variables, Window, WindowMode,
};
use serde::Deserialize;
use std::path::Path;
pub use units::Room;

/// Where the sample file is installed for reading.
const SAMPLE: &str = "/usr/share/doc/moodle-backup/examples/settings.toml";

/// Reads and validates a settings file. Errors are of kind unfit and tell the line.
pub fn load(path: &Path) -> Result<Settings> {
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, error))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| not_text(path, &bytes, error))?;
    let mut settings =
        parse(text).map_err(|mistakes| match mistakes.len() == LACKING && says(text) == [false; LACKING] {
            true => not_filled_in(path),
            false => told(mistakes, path),
        })?;
    settings.file = std::path::absolute(path)?;
    Ok(settings)
}

/// So many keys have no default: what is backed up, and where to.
const LACKING: usize = 2;

/// Which of these a settings file says. What is no TOML is somebody's work, with a mistake in it.
fn says(text: &str) -> [bool; LACKING] {
    let Ok(table) = toml::from_str::<toml::Table>(text) else { return [true; LACKING] };
    [("site", "root"), ("target", "path")].map(|(section, key)| table.get(section).and_then(|it| it.get(key)).is_some())
}

/// Whether a settings file is one that nobody has filled in yet: it does not say what is backed up, or where to.
pub fn is_unfilled(file: &Path) -> bool {
    says(&std::fs::read_to_string(file).unwrap_or_default()).contains(&false)
}

/// As the package brings it: nobody has made a mistake.
fn not_filled_in(path: &Path) -> anyhow::Error {
    let file = path.display();
    let named = if path.ends_with("settings.toml") { String::new() } else { format!("--settings {file} ") };
    Fault::unfit(format!(
        "nothing is set up here yet: {file} does not say which site is backed up (root in [site]), nor where to (path in [target])"
    ))
    .hint(format!(
        "\"moodle-backup {named}setup\" asks for all that is needed, and fills it in; or write these two by hand, then run \
         \"moodle-backup {named}check\""
    ))
    .into()
}

/// A name as `name` of `[site]` takes it; the error says which those are.
pub fn name(text: &str) -> Result<String, String> {
    match as_written::is_name(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("It must be {}.", reference::Kind::Name.allowed())),
    }
}

/// The settings of a site that has no settings file: everything but these is as it is by default.
pub fn without_file(name: &str, root: &Path, target: &Path) -> Result<Settings> {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let text = format!(
        "[site]\nname = {}\nroot = {}\n[target]\npath = {}\n",
        quoted(name),
        quoted(&root.to_string_lossy()),
        quoted(&target.to_string_lossy())
    );
    parse(&text).map_err(|mistakes| told(mistakes, Path::new("what the backup and the options say")))
}

/// All three stages.
fn parse(text: &str) -> Result<Settings, Vec<Mistake>> {
    let written = as_written::read(text)?;
    let settings = Settings::deserialize(toml::Value::Table(written.table.clone())).map_err(|error| {
        // Cannot come about as long as the reference table and the structs agree, which a test asserts.
        vec![Mistake { line: None, what: "these settings do not fit".into(), advice: format!(": {}", error.message()) }]
    })?;
    let clashes = relations::clashes(&settings);
    match clashes.is_empty() {
        true => Ok(settings),
        false => Err(clashes.into_iter().map(|clash| mistake(clash, &written)).collect()),
    }
}

fn mistake((key, why): relations::Clash, written: &Written) -> Mistake {
    let name = key.replace(|c: char| "[]".contains(c) || c.is_ascii_digit(), "");
    Mistake { line: written.line(&key), what: format!("bad value of {name:?}"), advice: format!(": {why}") }
}

/// One error for all mistakes of a file: a single one as a sentence, several as a list of causes.
fn told(mistakes: Vec<Mistake>, file: &Path) -> anyhow::Error {
    let file = file.display();
    let hint = format!("correct {file}, then run \"moodle-backup check\"; all keys are in {SAMPLE}");
    if let [Mistake { line, what, advice }] = mistakes.as_slice() {
        let place = line.map_or(format!("in {file}"), |line| format!("in line {line} of {file}"));
        return Fault::unfit(format!("{what} {place}{advice}")).hint(hint).into();
    }
    let mut list = mistakes.iter().rev().map(|Mistake { line, what, advice }| match line {
        Some(line) => format!("line {line}: {what}{advice}"),
        None => format!("{what}{advice}"),
    });
    let last = anyhow::Error::msg(list.next().unwrap_or_default());
    let all = list.fold(last, |after, one| after.context(one));
    all.context(Fault::unfit(format!("{} mistakes in {file}", mistakes.len())).hint(hint))
}

fn unreadable(path: &Path, error: std::io::Error) -> anyhow::Error {
    let path = path.display();
    match error.kind() {
        std::io::ErrorKind::NotFound => Fault::unfit(format!("there is no settings file {path}"))
            .hint(format!(
                "run \"moodle-backup setup\" to make one, or copy {SAMPLE} there and edit it; backups on a mounted disk are \
                 brought back without one: moodle-backup restore --from FOLDER"
            ))
            .into(),
        std::io::ErrorKind::PermissionDenied => {
            Fault::unfit(format!("may not read the settings file {path}")).hint("run moodle-backup as root").into()
        }
        _ => anyhow::Error::new(error).context(Fault::unfit(format!("cannot read the settings file {path}"))),
    }
}

fn not_text(path: &Path, bytes: &[u8], error: std::str::Utf8Error) -> anyhow::Error {
    let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let path = path.display();
    Fault::unfit(format!("line {line} of {path} is not UTF-8 text"))
        .hint(format!("save {path} in UTF-8; if it was in Latin-1: iconv -f latin1 -t utf8"))
        .into()
}
