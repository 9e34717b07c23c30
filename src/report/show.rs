//! `show`: all about one backup.

use super::layout::{Side, Table, item, pair};
use super::list::{Line, Verified};
use super::verify::{self, Damage};
use super::{Look, Paint, human};
use crate::sys::log::StepTime;
use serde::Serialize;

/// What `show` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Show {
    /// Name of the site.
    pub site: String,
    /// What `list` says of it.
    #[serde(flatten)]
    pub line: Line,
    /// Its folder.
    pub folder: String,
    /// Its number in the order of backups.
    pub sequence: u64,
    /// Moodle's address.
    pub wwwroot: String,
    /// Moodle's release.
    pub release: String,
    /// The database's server, with version: `mariadb 10.11.6`.
    pub database: String,
    /// Program and version that made the backup.
    pub tool: String,
    /// `short`, `full` or `none`.
    pub window: String,
    /// How often the site was closed.
    pub windows: u32,
    /// How long the run took, up to the seal.
    pub took_seconds: f64,
    /// Its parts.
    pub parts: Vec<Part>,
    /// Files of the pool that belong to it.
    pub pool_files: u64,
    /// Their bytes.
    pub pool_bytes: u64,
    /// Those that its run added.
    pub new_files: u64,
    /// Their bytes.
    pub new_bytes: u64,
    /// The last time that it was brought back to life on a trial.
    pub restore_test: Option<Verified>,
    /// What is known to be damaged.
    pub damage: Vec<Damage>,
    /// Why not all of the site is in it.
    pub incomplete_because: Vec<String>,
    /// Content hashes that the site itself had lost.
    pub missing_at_source: Vec<String>,
    /// What its run warned of.
    pub warnings: Vec<String>,
    /// How long each step took.
    pub steps: Vec<StepTime>,
}

/// One part of a backup.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// What it is: `code`, `directory etc-apache2`.
    pub name: String,
    /// Its file or folder within the backup.
    pub file: String,
    /// Files and folders in it; 0 where that means nothing.
    pub entries: u64,
    /// Bytes of its content.
    pub bytes: u64,
    /// Bytes on the disk.
    pub stored_bytes: u64,
    /// The backup with which it shares its file, as nothing had changed.
    pub same_as: Option<String>,
}

/// As text.
pub fn text(show: &Show, look: &Look) -> String {
    let head = format!("Backup {} of {}", show.line.name, show.site);
    let mut text = look.paint(Paint::Head, &super::layout::plain(&head)) + "\n\n" + &facts(show, look) + "\n";
    text += &parts(show, look);
    text += &section("Damaged", &verify::shortened(show.damage.iter().map(Damage::text).collect()), look);
    text += &section("Not complete", &show.incomplete_because, look);
    text += &section("Lost at the site already (SHA-1 of the content)", &shortened(&show.missing_at_source), look);
    text += &section("Warnings", &show.warnings, look);
    let steps = show.steps.iter().map(|step| format!("{:<18} {}", step.step, human::duration(step.seconds)));
    text + &section("Steps", &steps.collect::<Vec<_>>(), look)
}

fn facts(show: &Show, look: &Look) -> String {
    let line = &show.line;
    let closed = match line.closed_seconds {
        Some(seconds) if show.windows > 1 => format!(
            "{}, {} together (mode {})",
            human::duration(seconds),
            human::count(show.windows.into(), "window"),
            show.window
        ),
        Some(seconds) => format!("{} (mode {})", human::duration(seconds), show.window),
        None => "not at all".into(),
    };
    let kept = if line.pinned {
        "pinned: until \"moodle-backup unpin\""
    } else {
        "as long as the retention settings ask for it"
    };
    let pool = format!(
        "{}, {}; new in this backup: {}, {}",
        human::count(show.pool_files, "file"),
        human::bytes(show.pool_bytes),
        human::number(show.new_files),
        human::bytes(show.new_bytes)
    );
    let made = format!("{} ({}), number {}", look.minute(line.when), look.distance(line.when), show.sequence);
    let mut facts = vec![("Made", made)];
    facts.extend(line.label.iter().map(|label| ("Label", label.clone())));
    facts.extend([
        ("Moodle", format!("{}, {}", show.release, show.wwwroot)),
        ("Database", show.database.clone()),
        ("Site closed", closed),
        ("Took", human::duration(show.took_seconds)),
        ("Own size", format!("{}, {} with the pool", human::bytes(line.own_bytes), human::count(line.files, "file"))),
        ("Pool", pool),
        ("Kept", kept.into()),
        ("Verified", line.verified.as_ref().map_or("never".into(), |verified| verified.text(look))),
        ("Restore test", show.restore_test.as_ref().map_or("never".into(), |test| restore_test(test, look))),
        ("Made by", show.tool.clone()),
        ("Folder", show.folder.clone()),
        ("To search", format!("moodle-backup find NAME {}", line.name)),
        ("To restore", format!("moodle-backup restore {}; or by hand, as its RESTORE.txt says", line.name)),
    ]);
    facts.iter().map(|(name, value)| pair(name, value)).collect()
}

fn restore_test(test: &Verified, look: &Look) -> String {
    let result = if test.good { "could be brought back" } else { "COULD NOT BE BROUGHT BACK" };
    format!("{result} {}", look.minute(test.when))
}

fn parts(show: &Show, look: &Look) -> String {
    let mut table = Table::new(&[
        ("PART", Side::Left),
        ("ENTRIES", Side::Right),
        ("CONTENT", Side::Right),
        ("ON DISK", Side::Right),
        ("SAME AS", Side::Left),
    ]);
    for part in &show.parts {
        table.row(vec![
            part.name.clone(),
            if part.entries == 0 { "-".into() } else { human::number(part.entries) },
            human::bytes(part.bytes),
            human::bytes(part.stored_bytes),
            part.same_as.clone().unwrap_or_default(),
        ]);
    }
    table.text(look)
}

/// A headline and its items; nothing where there are none.
pub(super) fn section(title: &str, items: &[String], look: &Look) -> String {
    if items.is_empty() {
        return String::new();
    }
    format!("\n{}\n", look.paint(Paint::Head, title)) + &items.iter().map(|text| item(text)).collect::<String>()
}

/// The first of many; the rest stands in the manifest.
fn shortened(items: &[String]) -> Vec<String> {
    const SHOWN: usize = 10;
    let mut shown: Vec<String> = items.iter().take(SHOWN).cloned().collect();
    if items.len() > SHOWN {
        shown.push(format!("and {} more: see manifest.json", human::number((items.len() - SHOWN) as u64)));
    }
    shown
}
