//! Moving over from the Moodle Backup Scripts: what each of their settings becomes. Their file is read and never run; nothing of
//! theirs is changed here (`find` puts their line in cron out of use, if that is wanted).

pub mod adopt;
pub mod find;
pub mod shell;

use crate::error::{Fault, OrFault, Result};
use crate::settings::edit::Change;
use serde::Serialize;
use shell::Assignments;
use std::path::{Path, PathBuf};
use toml_edit::Value;

/// What becomes of one of their keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Their key; or the line, where it was not understood.
    pub key: String,
    /// Its value there.
    pub value: String,
    /// What becomes of it, in words.
    pub becomes: String,
    /// Whether somebody has to look at it.
    pub look: bool,
}

/// A settings file of theirs, translated.
#[derive(Clone, Debug, Default)]
pub struct Translation {
    /// The settings that it becomes.
    pub changes: Vec<Change>,
    /// Databases for `[[database.extra]]`.
    pub databases: Vec<String>,
    /// What becomes of each key, in the order of theirs.
    pub lines: Vec<Line>,
    /// The moodledata in their last set, if it is one that can be adopted.
    pub set: Option<PathBuf>,
    /// Where their file says that moodledata is.
    pub dataroot: Option<PathBuf>,
}

/// Reads and translates a file.
pub fn read(file: &Path) -> Result<Translation> {
    let text = std::fs::read(file).or_fault(|| {
        Fault::unfit(format!("cannot read {}", file.display()))
            .hint("name the settings file of the Moodle Backup Scripts")
    })?;
    let found = shell::read(&String::from_utf8_lossy(&text));
    if !found.values.keys().any(|key| KEYS.iter().any(|(known, _)| known == key)) {
        return Err(Fault::unfit(format!("{} is no settings file of the Moodle Backup Scripts", file.display()))
            .hint("it has none of their settings, such as moodlesiteparentpath")
            .into());
    }
    Ok(translate(&found))
}

type Rule = fn(&str, &Assignments, &mut Translation) -> String;

/// Their keys, each with what it becomes. The second of a pair says its part with the first.
const KEYS: [(&str, Rule); 16] = [
    ("backuptargetparentpath", target),
    ("backuptargetdirname", set_name),
    ("backuptargetcheckmountbyuuid", mount),
    ("listofadditionaldbtodump", databases),
    ("listofadditionaldirtosave", directories),
    ("moodlesiteparentpath", root),
    ("moodlesitedirname", with_parent),
    ("moodledataparentpath", dataroot),
    ("moodledatadirname", with_parent),
    ("servermoodledaemon", web_user),
    ("serverservicename", service),
    ("phpexecpath", php),
    ("rsynctosavemoodledata", form),
    ("manualrsynctosavemoodledata", form),
    ("saveddataownerandgroup", owner),
    ("manualsaveddataownerandgroup", owner),
];

fn translate(found: &Assignments) -> Translation {
    let mut translation = Translation::default();
    for (key, rule) in KEYS {
        if let Some(value) = found.values.get(key) {
            let becomes = match value.is_empty() {
                true => "empty: nothing".to_owned(),
                false => rule(value, found, &mut translation),
            };
            let look = becomes.contains("look at");
            translation.lines.push(Line { key: key.into(), value: value.clone(), becomes, look });
        }
    }
    for (key, value) in &found.values {
        if !KEYS.iter().any(|(known, _)| known == key) {
            let becomes = "not known, so nothing; look at what it is for".to_owned();
            translation.lines.push(Line { key: key.clone(), value: value.clone(), becomes, look: true });
        }
    }
    for (number, why) in &found.strange {
        let becomes = format!("not taken over: {why}; look at it");
        translation.lines.push(Line { key: format!("line {number}"), value: String::new(), becomes, look: true });
    }
    translation
}

fn set(translation: &mut Translation, section: &'static str, key: &'static str, value: impl Into<Value>) -> String {
    let change = Change::set(section, key, value);
    let words = change.value.as_ref().map_or(String::new(), |value| value.to_string().trim().to_owned());
    translation.changes.push(change);
    format!("{key} = {words} in [{section}]")
}

/// A path of two of their keys.
fn joined(parent: &str, name: &str, found: &Assignments) -> Option<PathBuf> {
    let name = found.values.get(name).filter(|name| !name.is_empty())?;
    Some(Path::new(parent).join(name))
}

fn target(value: &str, _: &Assignments, translation: &mut Translation) -> String {
    set(translation, "target", "path", value.trim_end_matches('/'))
}

fn set_name(value: &str, found: &Assignments, translation: &mut Translation) -> String {
    let parent = found.values.get("backuptargetparentpath").map(String::as_str).unwrap_or_default();
    let last = ["-last", ""].map(|ending| Path::new(parent).join(format!("{value}{ending}")));
    translation.set = last.iter().find_map(|folder| moodledata_in(folder));
    let name: String = value
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c) { c } else { '-' })
        .collect();
    match crate::settings::name(name.trim_start_matches(['.', '_', '-'])) {
        Ok(name) => set(translation, "site", "name", name),
        Err(_) => "no name that can be taken over; look at name in [site]".into(),
    }
}

/// Where a set of theirs has the pool, in the form of a folder.
fn moodledata_in(set: &Path) -> Option<PathBuf> {
    let inner = std::fs::read_dir(set).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    std::iter::once(set.to_path_buf()).chain(inner).find(|folder| folder.join("filedir").is_dir())
}

fn mount(value: &str, _: &Assignments, translation: &mut Translation) -> String {
    set(translation, "target", "mount_uuid", value)
}

fn list(value: &str) -> Vec<String> {
    value.split(';').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn databases(value: &str, _: &Assignments, translation: &mut Translation) -> String {
    let names = list(value);
    let words = format!("[[database.extra]]: {}", names.join(", "));
    translation.databases.extend(names);
    words
}

fn directories(value: &str, _: &Assignments, translation: &mut Translation) -> String {
    let (paths, strange): (Vec<String>, Vec<String>) = list(value).into_iter().partition(|path| path.starts_with('/'));
    let words = set(translation, "directories", "paths", Value::from_iter(paths.iter().map(String::as_str)));
    match strange.is_empty() {
        true => words,
        false => format!("{words}; not from \"/\" on, look at them: {}", strange.join(", ")),
    }
}

fn root(value: &str, found: &Assignments, translation: &mut Translation) -> String {
    match joined(value, "moodlesitedirname", found) {
        Some(root) => set(translation, "site", "root", root.to_string_lossy().into_owned()),
        None => "nothing without moodlesitedirname; look at root in [site]".into(),
    }
}

fn with_parent(_: &str, _: &Assignments, _: &mut Translation) -> String {
    "taken with the folder above it".into()
}

fn dataroot(value: &str, found: &Assignments, translation: &mut Translation) -> String {
    translation.dataroot = joined(value, "moodledatadirname", found);
    "nothing: config.php tells where moodledata is".into()
}

fn web_user(value: &str, _: &Assignments, translation: &mut Translation) -> String {
    set(translation, "site", "web_user", value)
}

fn service(value: &str, _: &Assignments, translation: &mut Translation) -> String {
    let unit = if value.contains('.') { value.to_owned() } else { format!("{value}.service") };
    set(translation, "site", "services", Value::from_iter([unit]))
}

fn php(value: &str, _: &Assignments, translation: &mut Translation) -> String {
    match value.starts_with('/') {
        true => set(translation, "site", "php", value),
        false if value == "php" => "nothing: php is looked for on the PATH".into(),
        false => "nothing: php is looked for on the PATH; if that is another one, look at php in [site]".into(),
    }
}

fn form(value: &str, _: &Assignments, _: &mut Translation) -> String {
    match value {
        "1" | "true" | "yes" => "nothing: moodledata is always saved as files".into(),
        _ => "nothing: moodledata is always saved as files; for one tar: moodle-backup run --export FILE".into(),
    }
}

fn owner(value: &str, found: &Assignments, _: &mut Translation) -> String {
    let words = "nothing: backups are root's, and the group moodle-backup may read them (group in [target])";
    let user = value.split([':', '.']).next().unwrap_or_default();
    // Whoever else was named there was to read them.
    match ["root", "www-data"].contains(&user) || found.values.get("servermoodledaemon").is_some_and(|it| it == user) {
        true => words.to_owned(),
        false => format!("{words}; if {value} is to read them: adduser {user} moodle-backup, or look at group"),
    }
}

impl Translation {
    /// Says of moodledata whether theirs is the one that config.php tells of; that may be unknown.
    pub fn compare(&mut self, dataroot: std::result::Result<&Path, String>) {
        let Some(theirs) = &self.dataroot else { return };
        let words = match dataroot {
            Ok(ours) if same(ours, theirs) => return,
            Ok(ours) => format!("config.php says {}, and the old scripts {}", ours.display(), theirs.display()),
            Err(why) => format!("it could not be compared with {}: {why}", theirs.display()),
        };
        if let Some(line) = self.lines.iter_mut().find(|line| line.key == "moodledataparentpath") {
            line.becomes = format!("nothing, but look at it: {words}");
            line.look = true;
        }
    }
}

fn same(one: &Path, other: &Path) -> bool {
    let resolved = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    resolved(one) == resolved(other)
}
