//! What is written into the settings, in sentences: for the summary and for what was done. A key of the settings is named only where
//! there is no sentence for it.

use super::answers::{Answers, Kept};
use super::disks::Way;
use std::path::PathBuf;

/// What the new text of a settings file says that the old one does not. A new disk has its UUID only when it was made.
pub fn sentences(old: &str, new: &str, answers: &Answers, new_disk: bool) -> Vec<String> {
    let before = in_sections(old);
    let changed: Vec<Line> = in_sections(new).into_iter().filter(|line| !before.contains(line)).collect();
    let has = |section: &str, keys: &[&str]| {
        changed.iter().any(|line| line.section == section && keys.iter().any(|key| line.key() == *key))
    };
    let mut told = Vec::new();
    if has("[site]", &["root", "name"]) {
        told.extend(site(answers));
    }
    if has("[target]", &["path", "mount_uuid"]) || new_disk {
        told.extend(answers.target.as_ref().map(|way| place(way, new_disk || has("[target]", &["mount_uuid"]))));
    }
    if has("[retention]", &["last", "daily", "weekly", "monthly", "yearly"]) {
        told.extend(answers.retention.map(retention));
    }
    if has("[directories]", &["paths"]) {
        told.extend(answers.directories.as_deref().map(directories));
    }
    if has("[site]", &["services"]) {
        told.extend(answers.site.services.as_deref().map(services));
    }
    told.extend(changed.iter().filter_map(alone));
    told
}

fn site(answers: &Answers) -> Option<String> {
    let (root, name) = (answers.site.root.as_ref()?, answers.site.name.as_ref()?);
    Some(format!("back up the site in {}, and call it {name:?}", root.display()))
}

fn place(way: &Way, own_disk: bool) -> String {
    let only = if own_disk { ", and only if its disk is mounted there, which is known by its UUID" } else { "" };
    format!("put the backups into {}{only}", way.path().display())
}

fn retention(kept: Kept) -> String {
    format!("keep these backups: {}; of the others each goes when a newer one is complete", kept.told())
}

fn directories(paths: &[PathBuf]) -> String {
    match paths {
        [] => "save no further folders with each backup".into(),
        paths => {
            let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            format!("save these folders too: {}", paths.join(", "))
        }
    }
}

/// They are asked for nowhere: so it is said why they are there.
fn services(units: &[String]) -> String {
    let them = if units.len() == 1 { "it" } else { "them" };
    format!(
        "remember that the site is served by {}, as it is now (\"services\" of the settings): a restore has {them} read its code \
         anew; a backup does not stop {them}",
        units.join(", ")
    )
}

/// What stands for itself. The others are told together.
fn alone(line: &Line) -> Option<String> {
    let value = || line.text.split_once('=').map_or("", |(_, value)| value.trim()).trim_matches('"').to_owned();
    match (line.section, line.key()) {
        ("[site]", "root" | "name" | "services") | ("[target]", "path" | "mount_uuid") | ("[directories]", "paths") => {
            None
        }
        ("[retention]", "last" | "daily" | "weekly" | "monthly" | "yearly") => None,
        ("[site]", "php") => Some(format!("read its config.php with {}", value())),
        ("[site]", "web_user") => Some(format!("read its config.php as the user {}, who is the web server's", value())),
        ("[[database.extra]]", "name") => Some(format!("save the database {} too", value())),
        ("[[database.extra]]", "options_file") => Some(format!("read it by the account in {}", value())),
        (section, _) => Some(format!("set {section} {}", line.text)),
    }
}

/// A key as it is written, with its section.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    section: &'a str,
    text: &'a str,
}

impl Line<'_> {
    fn key(&self) -> &str {
        self.text.split('=').next().unwrap_or_default().trim()
    }
}

/// The keys of a settings file as it is written, line by line.
fn in_sections(text: &str) -> Vec<Line<'_>> {
    let mut section = "";
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.starts_with('[') {
            true => section = line,
            false => lines.push(Line { section, text: line }),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_said_in_sentences() {
        let kept = Kept { last: 1, daily: 7, weekly: 0, monthly: 0, yearly: 1 };
        let answers = Answers { retention: Some(kept), directories: Some(Vec::new()), ..Answers::default() };
        let old = "[retention]\nlast = 3\ndaily = 7\n";
        let new = "[retention]\nlast = 1\ndaily = 7\n[directories]\npaths = []\n[[database.extra]]\nname = \"wiki\"\n[window]\nx = 1\n";
        let told = sentences(old, new, &answers, false);
        assert_eq!(
            told,
            [
                "keep these backups: the newest, one a day for 7 days, one of the last year; of the others each goes when a newer one is \
                 complete",
                "save no further folders with each backup",
                "save the database wiki too",
                "set [window] x = 1",
            ]
        );
    }
}
