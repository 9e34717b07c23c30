//! What `restore` prints: the plan before it, and the end.

use super::human;
use super::layout::{pair, wrapped};
use super::show::section;
use super::{Look, Paint};
use crate::restore::{CodeChanges, Plan};
use crate::sys::log::StepTime;
use crate::undo::{Record, Undone};
use serde::Serialize;

/// How a restore ended that was done.
#[derive(Clone, Debug, Serialize)]
pub struct Done {
    /// Name of the site.
    pub site: String,
    /// What it has now: `backup 2026-11-23T010003Z`.
    pub restored: String,
    /// Whether it was the undo of a restore.
    pub is_undo: bool,
    /// The parts, where not all of the site was restored.
    pub parts: Vec<String>,
    /// Where a site was put that was not there; none where it was there.
    pub place: Option<String>,
    /// Whether it was put where no site was.
    pub new: bool,
    /// For how many seconds it was closed.
    pub closed_seconds: f64,
    /// Users' files that were brought back.
    pub pool_files: u64,
    /// Where what was replaced is: folders, and tables or schemas of databases.
    pub set_aside_in: Vec<String>,
    /// How long it took, in seconds.
    pub took_seconds: f64,
    /// How long each step took.
    pub steps: Vec<StepTime>,
    /// Its log.
    pub log: Option<String>,
    /// What the administrator should look at.
    pub warnings: Vec<String>,
    /// The exit code of the program.
    pub exit_code: u8,
}

/// How many names of files stand in a plan.
const NAMED: usize = 5;

/// The plan as text; with the names of all files of the code that become others, or the first of them.
pub fn plan_text(plan: &Plan, look: &Look, all_names: bool) -> String {
    let head = format!("Restore of {} from backup {}", plan.site, plan.backup);
    let mut text = look.paint(Paint::Head, &head) + "\n";
    text += &pair("As of", &format!("{} ({})", look.minute(plan.when), look.distance(plan.when)));
    for piece in &plan.pieces {
        text += "\n";
        text += &wrapped("", &format!("{}: {}", piece.part, piece.place));
        text += &wrapped("  ", &format!("{}; {} come back", piece.what, human::bytes(piece.bytes)));
    }
    if let Some(changes) = &plan.code_changes {
        text += &section("Code that is otherwise now", &code_lines(changes, all_names), look);
    }
    text += &section("Other than it was", &plan.changed, look);
    text += "\n";
    if !plan.left_out.is_empty() {
        text +=
            &wrapped("", &format!("Not touched: {}. Name them by --only to restore them.", plan.left_out.join(", ")));
    }
    if !plan.refused.is_empty() {
        let refused = "As things are it will be REFUSED, and nothing changed";
        return text + &section("Warnings", &plan.warnings, look) + &section(refused, &plan.refused, look);
    }
    let (closed, all) = (plan.closed_seconds as f64, plan.seconds as f64);
    if plan.new {
        let words = format!(
            "It takes about {}. Nothing that is there now is changed; if the restore fails, what it has brought is removed.",
            human::duration(all)
        );
        return text + &wrapped("", &words) + &section("Warnings", &plan.warnings, look);
    }
    let safer = if plan.backup_first { " To be safer still, add --backup-first." } else { "" };
    text += &wrapped(
        "",
        &format!(
            "It takes about {}; the site is closed for about {} of it. What is replaced is set aside: \
             \"moodle-backup restore --undo\" brings it back.{safer}",
            human::duration(all),
            human::duration(closed)
        ),
    );
    text + &section("Warnings", &plan.warnings, look)
}

fn code_lines(changes: &CodeChanges, all_names: bool) -> Vec<String> {
    let kinds = [
        (&changes.changed, "changed, and will be as in the backup"),
        (&changes.only_here, "not in the backup, and will be set aside"),
        (&changes.only_in_backup, "only in the backup, and will come back"),
    ];
    let line = |(paths, what): (&Vec<String>, &str)| {
        let named = if all_names { paths.len() } else { paths.len().min(NAMED) };
        let more = match paths.len() - named {
            0 => String::new(),
            more => format!(" and {} more (--plan -v names all)", human::number(more as u64)),
        };
        format!("{} {what}: {}{more}", human::count(paths.len() as u64, "file"), paths[..named].join(", "))
    };
    kinds.into_iter().filter(|(paths, _)| !paths.is_empty()).map(line).collect()
}

/// What is asked before a restore, or an undo, is taken back.
pub fn take_back_question(last: &Record, look: &Look) -> String {
    let when = finished(last, look);
    let (what, back) = match last.is_undo {
        false => (format!("undoes the restore of {} of {when}", last.what), last.holds()),
        true => (format!("takes back the undo of {when}"), last.holds()),
    };
    format!(
        "This {what}: the site will be as in {back}. What users have done since {when} is gone from the site after this; what is \
         there now is set aside."
    )
}

/// What is asked before all that is set aside is deleted.
pub fn discard_question(kept: &[Record], dead: Option<&Undone>, look: &Look) -> String {
    if let (true, Some(dead)) = (kept.is_empty(), dead) {
        return format!("Nothing is set aside; this forgets the restore of {} that had died.", dead.what);
    }
    let each: Vec<String> =
        kept.iter().map(|record| format!("{} (set aside {})", record.holds(), finished(record, look))).collect();
    format!(
        "This deletes what restores of this site have set aside, for good: {}. The site stays as it is.",
        each.join("; ")
    )
}

fn finished(record: &Record, look: &Look) -> String {
    let time = chrono::DateTime::from_timestamp(record.finished.unwrap_or(record.started), 0).unwrap_or_default();
    look.minute(time)
}

/// The end as text.
pub fn done_text(done: &Done, look: &Look) -> String {
    let head = match &done.place {
        Some(place) => format!("The site in {place} is as in {}", done.restored),
        None if done.parts.is_empty() => format!("{} is as in {}", done.site, done.restored),
        None => format!("{}: {} as in {}", done.site, done.parts.join(", "), done.restored),
    };
    let mut text = look.paint(if done.warnings.is_empty() { Paint::Good } else { Paint::Warning }, &head) + "\n";
    if !done.new {
        text += &pair("Closed", &human::duration(done.closed_seconds));
    }
    text += &pair("Took", &human::duration(done.took_seconds));
    if done.pool_files > 0 {
        text += &pair("Files", &format!("{} of users brought back", human::count(done.pool_files, "file")));
    }
    for place in &done.set_aside_in {
        text += &pair("Set aside", place);
    }
    if let Some(log) = &done.log {
        text += &pair("Log", log);
    }
    text += "\n";
    if done.new {
        let words = "Set up its web server and, unless it is a clone, its cron; then have a look at it. To be \
                     backed up it needs settings of its own, in another file than those of another site.";
        return text + &wrapped("", words) + &section("Warnings", &done.warnings, look);
    }
    let back = if done.is_undo { "--redo" } else { "--undo" };
    text += &wrapped(
        "",
        &format!(
            "Have a look at the site. \"moodle-backup restore {back}\" brings back what was replaced; \"moodle-backup restore \
             --discard\" deletes it when all is well."
        ),
    );
    text + &section("Warnings", &done.warnings, look)
}
