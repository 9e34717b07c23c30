//! What would be done: `run --dry-run`, and `prune` with and without `--dry-run`.

use super::layout::{Side, Table, pair, wrapped};
use super::show::section;
use super::{Look, Paint, human};
use chrono::{DateTime, Utc};
use serde::Serialize;

/// What `run --dry-run` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Name of the site.
    pub site: String,
    /// The folder of its backups.
    pub folder: String,
    /// `short`, `full` or `none`.
    pub window: String,
    /// `full`, `half` or `none`.
    pub restart: String,
    /// The steps, in their order.
    pub steps: Vec<Step>,
    /// Files that would be added to the pool.
    pub new_files: u64,
    /// Their bytes.
    pub new_bytes: u64,
    /// Bytes that the rest is likely to take.
    pub other_bytes: u64,
    /// Free room on the target.
    pub free_bytes: u64,
    /// What must stay free.
    pub min_free_bytes: u64,
    /// What would be warned of.
    pub warnings: Vec<String>,
}

/// A step of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// What it would do.
    pub text: String,
}

/// As text.
pub fn run_text(plan: &Plan, look: &Look) -> String {
    let head = format!("A backup of {} would go like this; nothing has been done.", plan.site);
    let mut text = wrapped("", &head) + "\n";
    text.extend(plan.steps.iter().map(|step| wrapped(&format!("  {:<16}  ", step.name), &step.text)));
    let needed = plan.new_bytes.saturating_add(plan.other_bytes);
    let after = plan.free_bytes.saturating_sub(needed);
    let enough = plan.free_bytes >= needed.saturating_add(plan.min_free_bytes);
    let room = format!(
        "about {} needed, {} free; {} would be left, {} must be: {}",
        human::bytes(needed),
        human::bytes(plan.free_bytes),
        human::bytes(after),
        human::bytes(plan.min_free_bytes),
        if enough { "enough" } else { "NOT ENOUGH" }
    );
    let files = format!("{}, {}", human::count(plan.new_files, "new file"), human::bytes(plan.new_bytes));
    text += "\n";
    text += &pair("Window", &format!("{}, restart {}", plan.window, plan.restart));
    text += &pair("Pool", &files);
    text += &look.paint(if enough { Paint::None } else { Paint::Bad }, &pair("Room", &room));
    text += &pair("Folder", &plan.folder);
    text + &section("Warnings", &plan.warnings, look)
}

/// What `prune` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Prune {
    /// Name of the site.
    pub site: String,
    /// Whether nothing was removed, as it was only asked what would be.
    pub dry_run: bool,
    /// All backups, the oldest first.
    pub backups: Vec<Fate>,
    /// Files that no backup needs any more, and that go from the pool.
    pub pool_files: u64,
    /// Their bytes.
    pub pool_bytes: u64,
    /// Removals that were begun earlier and had been interrupted, and were brought to their end.
    pub finished: Vec<String>,
    /// Why nothing may be removed now, if so.
    pub refused_because: Vec<String>,
    /// Why the pool was left alone, or not gone through to its end, if so.
    pub pool_refused_because: Option<String>,
}

/// What becomes of a backup.
#[derive(Clone, Debug, Serialize)]
pub struct Fate {
    /// Its name.
    pub name: String,
    /// The moment that it shows.
    pub when: DateTime<Utc>,
    /// Whether it stays.
    pub keep: bool,
    /// Why it stays: `last`, `daily`, `pinned`, `in use`, `refused`; nothing where it goes.
    pub because: Vec<String>,
    /// Bytes on the disk that go when it goes, where that is known.
    pub own_bytes: Option<u64>,
}

/// As text.
pub fn prune_text(prune: &Prune, look: &Look) -> String {
    if !prune.refused_because.is_empty() {
        let head = format!("Nothing of {} is removed:", prune.site);
        return section(&head, &prune.refused_because, look).trim_start().to_owned();
    }
    let mut table = Table::new(&[
        ("BACKUP", Side::Left),
        ("WHEN", Side::Left),
        ("OWN SIZE", Side::Right),
        ("", Side::Left),
        ("BECAUSE", Side::Left),
    ]);
    for fate in &prune.backups {
        table.row(vec![
            fate.name.clone(),
            look.minute(fate.when),
            fate.own_bytes.map_or("-".into(), human::bytes),
            if fate.keep { "keep".into() } else { "REMOVE".into() },
            fate.because.join(", "),
        ]);
    }
    let removed: Vec<&Fate> = prune.backups.iter().filter(|fate| !fate.keep).collect();
    let bytes: u64 = removed.iter().filter_map(|fate| fate.own_bytes).sum::<u64>() + prune.pool_bytes;
    let verdict = format!(
        "{} {} of {}, and {} from the pool: {}.",
        if prune.dry_run { "Would remove" } else { "Removed" },
        human::count(removed.len() as u64, "backup"),
        prune.site,
        human::count(prune.pool_files, "file"),
        human::bytes(bytes)
    );
    let mut text = table.text(look) + "\n" + &wrapped("", &verdict);
    if !prune.finished.is_empty() {
        text += &wrapped("", &format!("Ended interrupted removals of: {}.", prune.finished.join(", ")));
    }
    let pool = prune.pool_refused_because.iter();
    text.extend(pool.map(|why| wrapped("", &format!("The pool was not cleaned to its end: {why}."))));
    text
}
