//! `list`: the backups of a site.

use super::human;
use super::layout::{Side, Table, plain, wrapped};
use super::{Look, Paint};
use chrono::{DateTime, Utc};
use serde::Serialize;

/// What `list` prints.
#[derive(Clone, Debug, Serialize)]
pub struct List {
    /// Name of the site.
    pub site: String,
    /// The folder of its backups.
    pub folder: String,
    /// The backups, the oldest first.
    pub backups: Vec<Line>,
    /// Files of the pool that belong to the newest backup. Older ones may have further files there.
    pub pool_files: u64,
    /// Their bytes.
    pub pool_bytes: u64,
    /// Free room on the target.
    pub free_bytes: u64,
    /// All room on the target.
    pub total_bytes: u64,
    /// What else lies in the folder: backups being made or removed, damaged ones, unknown files.
    pub others: Vec<String>,
}

/// One backup.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// The moment that it shows.
    pub when: DateTime<Utc>,
    /// Seconds since then; below 0 where the clock was changed.
    pub age_seconds: i64,
    /// Bytes on the disk that go when it goes; the pool is not counted.
    pub own_bytes: u64,
    /// Files in it: those of the pool that belong to it, and all others.
    pub files: u64,
    /// Seconds for which the site was closed; none if it was not.
    pub closed_seconds: Option<f64>,
    /// The administrator's note.
    pub label: Option<String>,
    /// Whether prune leaves it alone.
    pub pinned: bool,
    /// How many warnings its run gave.
    pub warning_count: u64,
    /// Whether all of the site is in it.
    pub complete: bool,
    /// The last check of its content.
    pub verified: Option<Verified>,
}

/// A check of a backup's content.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// When.
    pub when: DateTime<Utc>,
    /// How: `checksums`, `restore-test`.
    pub how: String,
    /// Whether nothing was damaged.
    pub good: bool,
}

impl Verified {
    pub(super) fn text(&self, look: &Look) -> String {
        match self.good {
            true => format!("found whole {} by {}", look.minute(self.when), self.how),
            false => format!("DAMAGE FOUND {} by {}", look.minute(self.when), self.how),
        }
    }
}

/// As text.
pub fn text(list: &List, look: &Look) -> String {
    let (site, folder) = (plain(&list.site), plain(&list.folder));
    if list.backups.is_empty() {
        let none = format!("There are no backups of {site} in {folder} yet. Make one: moodle-backup run");
        return wrapped("", &none) + &others(list);
    }
    let mut table = Table::new(&[
        ("NAME", Side::Left),
        ("WHEN", Side::Left),
        ("AGE", Side::Right),
        ("OWN SIZE", Side::Right),
        ("FILES", Side::Right),
        ("CLOSED", Side::Right),
    ]);
    for line in &list.backups {
        table.row(vec![
            line.name.clone(),
            look.minute(line.when),
            human::age(line.age_seconds),
            human::bytes(line.own_bytes),
            human::number(line.files),
            line.closed_seconds.map_or("-".into(), human::duration),
        ]);
    }
    let mut rows = table.rows().into_iter();
    let head = rows.next().unwrap_or_default();
    let mut text = wrapped("", &format!("Backups of {site} in {folder}")) + "\n";
    text += &(look.paint(Paint::Head, head.trim_end()) + "\n");
    for (row, line) in rows.zip(&list.backups) {
        text += &row;
        let notes = notes(line, look);
        if !notes.is_empty() {
            text += &wrapped("    ", &notes.join("; "));
        }
    }
    text + "\n" + &footer(list) + &others(list)
}

fn notes(line: &Line, look: &Look) -> Vec<String> {
    let mut notes: Vec<String> = line.label.iter().map(|label| format!("\"{label}\"")).collect();
    if line.pinned {
        notes.push("pinned".into());
    }
    if !line.complete {
        notes.push("NOT COMPLETE".into());
    }
    if line.warning_count > 0 {
        notes.push(human::count(line.warning_count, "warning"));
    }
    notes.extend(line.verified.iter().map(|verified| verified.text(look)));
    notes
}

fn footer(list: &List) -> String {
    let text = format!(
        "{}. In the pool that they share, for the newest: {}, {}. Free on the target: {} of {}.",
        human::count(list.backups.len() as u64, "backup"),
        human::count(list.pool_files, "file"),
        human::bytes(list.pool_bytes),
        human::bytes(list.free_bytes),
        human::bytes(list.total_bytes)
    );
    wrapped("", &text)
}

fn others(list: &List) -> String {
    match list.others.is_empty() {
        true => String::new(),
        false => wrapped("", &format!("Not counted as backups: {}", list.others.join(", "))),
    }
}
