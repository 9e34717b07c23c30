//! `verify`: what was read, and what is damaged.

use super::layout::{pair, plain, wrapped};
use super::show::section;
use super::{Look, Paint, human};
use chrono::{DateTime, Utc};
use serde::Serialize;

/// What `verify` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Verify {
    /// Name of the site.
    pub site: String,
    /// Whether all that was asked for has been read.
    pub finished: bool,
    /// Since when this verification is on its way, where it goes on from an earlier call.
    pub begun: Option<DateTime<Utc>>,
    /// The backups, the oldest first.
    pub backups: Vec<Verdict>,
    /// Backups that cannot be looked at, and why.
    pub unreadable: Vec<String>,
    /// Files of the pool that these backups list.
    pub pool_listed: u64,
    /// Those of them that were read, with those of the earlier calls.
    pub pool_files: u64,
    /// Their bytes.
    pub pool_bytes: u64,
    /// Whether only a share of the pool was to be read.
    pub sampled: bool,
    /// Damaged files of the pool that were moved to the folder `damaged`.
    pub set_aside: u64,
    /// Files of the pool that were damaged, and are whole again.
    pub mended: Vec<String>,
    /// The restore test, if one was made.
    pub restore_test: Option<RestoreTest>,
    /// What stood in the way, each with what to do.
    pub troubles: Vec<String>,
}

/// One backup.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Its name.
    pub name: String,
    /// Files of its own that were read by this call.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is damaged.
    pub damage: Vec<Damage>,
}

/// A backup that was brought back to life.
#[derive(Clone, Debug, Serialize)]
pub struct RestoreTest {
    /// Whether all of it could be brought back, and was as it had been.
    pub good: bool,
    /// Tables that were loaded with all their rows.
    pub tables: u64,
    /// Those rows.
    pub rows: u64,
    /// Files and folders of the code.
    pub entries: u64,
    /// The release that Moodle told of itself.
    pub release: Option<String>,
    /// What went wrong.
    pub problems: Vec<String>,
}

impl RestoreTest {
    fn text(&self) -> String {
        let release = self.release.as_ref().map_or("did not start".to_owned(), |release| format!("tells {release}"));
        let what = format!(
            "{} with {} loaded, {} of code unpacked, Moodle {release}",
            human::count(self.tables, "table"),
            human::count(self.rows, "row"),
            human::count(self.entries, "file"),
        );
        match (self.good, self.problems.is_empty()) {
            (true, _) => what,
            (false, true) => format!("not completed; {what}"),
            (false, false) => format!("FAILED; {what}"),
        }
    }
}

/// One thing that is damaged.
#[derive(Clone, Debug, Serialize)]
pub struct Damage {
    /// When it was found.
    pub when: DateTime<Utc>,
    /// The file, below the backup or, for those of the pool, below the site's folder.
    pub file: String,
    /// What is wrong with it.
    pub what: String,
    /// For a file of the pool: what it is to Moodle's users.
    pub affects: Vec<String>,
    /// What can be done.
    pub next: String,
}

impl Damage {
    /// The same as text: what, what it is to whom, and what to do.
    pub(super) fn text(&self) -> String {
        let affects = match self.affects.as_slice() {
            [] => String::new(),
            affects => format!(" It is: {}.", affects.join("; ")),
        };
        format!("{} {}.{affects} {}", self.file, self.what, self.next)
    }
}

/// As text.
pub fn text(verify: &Verify, look: &Look) -> String {
    let mut text = String::new();
    if let Some(begun) = verify.begun {
        text += &pair("Goes on from", &format!("a verification that was begun {}", look.minute(begun)));
    }
    let pool = format!(
        "{} of {} read, {}",
        human::number(verify.pool_files),
        human::count(verify.pool_listed, "file"),
        human::bytes(verify.pool_bytes)
    );
    text += &pair("Pool", &if verify.sampled { format!("{pool} (a sample)") } else { pool });
    for backup in &verify.backups {
        text += &wrapped(&format!("{}  ", plain(&backup.name)), &verdict(backup, verify.finished));
    }
    if verify.set_aside > 0 {
        text += &pair("Set aside", &format!("{}, in the folder damaged", human::count(verify.set_aside, "file")));
    }
    if let Some(test) = &verify.restore_test {
        text += &pair("Restore test", &test.text());
        text += &section("What could not be brought back", &test.problems, look);
    }
    for (backups, damage) in by_backups(&verify.backups) {
        text += &section(&plain(&format!("Damage in {backups}")), &shortened(damage), look);
    }
    text += &section("Backups that cannot be read", &verify.unreadable, look);
    text += &section("Mended", &verify.mended, look);
    text += &section("What stood in the way", &verify.troubles, look);
    text + "\n" + &conclusion(verify, look)
}

/// What is damaged, each once, by the backups that it is damaged in: most of what they hold is common to many.
fn by_backups(backups: &[Verdict]) -> Vec<(String, Vec<String>)> {
    let mut in_which: Vec<(String, Vec<&str>)> = Vec::new();
    for backup in backups {
        for text in backup.damage.iter().map(Damage::text) {
            match in_which.iter_mut().find(|(known, _)| *known == text) {
                Some((_, names)) => names.push(&backup.name),
                None => in_which.push((text, vec![&backup.name])),
            }
        }
    }
    let mut groups: Vec<(Vec<&str>, Vec<String>)> = Vec::new();
    for (text, names) in in_which {
        match groups.iter_mut().find(|(known, _)| *known == names) {
            Some((_, texts)) => texts.push(text),
            None => groups.push((names, vec![text])),
        }
    }
    let title = |names: &[&str]| match names {
        [one] => (*one).to_owned(),
        [first, .., last] => format!("{} backups, from {first} to {last}", names.len()),
        [] => String::new(),
    };
    groups.into_iter().map(|(names, texts)| (title(&names), texts)).collect()
}

fn verdict(backup: &Verdict, finished: bool) -> String {
    let read = match backup.files {
        0 => String::new(),
        files => format!("; own files read now: {}, {}", human::number(files), human::bytes(backup.bytes)),
    };
    match (backup.damage.len() as u64, finished) {
        (0, true) => format!("whole{read}"),
        (0, false) => format!("nothing found so far{read}"),
        (1, _) => format!("DAMAGED: 1 file{read}"),
        (files, _) => format!("DAMAGED: {} files{read}", human::number(files)),
    }
}

fn conclusion(verify: &Verify, look: &Look) -> String {
    let site = &verify.site;
    let failed = verify.restore_test.as_ref().is_some_and(|test| !test.problems.is_empty());
    let damaged = verify.backups.iter().filter(|backup| !backup.damage.is_empty()).count() + verify.unreadable.len();
    let (paint, words) = match (damaged as u64, verify.finished) {
        _ if failed => (Paint::Bad, "This backup cannot be brought back as it is.".to_owned()),
        (0, true) if verify.sampled => (Paint::Good, format!("Nothing of what was read of {site} is damaged.")),
        (0, true) => (Paint::Good, format!("Nothing of {site} is damaged.")),
        (0, false) => {
            let words =
                "Nothing is damaged so far. Time was up before all was read: the same command goes on from here.";
            (Paint::None, words.to_owned())
        }
        (1, _) => (Paint::Bad, format!("1 backup of {site} is damaged.")),
        (damaged, _) => (Paint::Bad, format!("{} backups of {site} are damaged.", human::number(damaged))),
    };
    look.paint(paint, wrapped("", &words).trim_end()) + "\n"
}

/// The first of many; the rest is in `show` and in the notes.
pub(super) fn shortened(mut items: Vec<String>) -> Vec<String> {
    const SHOWN: usize = 20;
    let more = items.len().saturating_sub(SHOWN);
    items.truncate(SHOWN);
    if more > 0 {
        items.push(format!("and {} more: see the file of its name in the folder notes", human::number(more as u64)));
    }
    items
}
