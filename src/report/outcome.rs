//! The last words of a run.

use super::layout::{pair, wrapped};
use super::show::section;
use super::{Failure, Look, Paint, human};
use crate::sys::log::StepTime;
use serde::{Deserialize, Serialize};

/// What `run` prints at its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Name of the site.
    pub site: String,
    /// How it ended.
    pub result: Ending,
    /// The exit code of the program.
    pub exit_code: u8,
    /// The name of the backup, if one was published.
    pub backup: Option<String>,
    /// Its folder.
    pub folder: Option<String>,
    /// How long the run took.
    pub took_seconds: f64,
    /// Seconds for which the site was closed; none if it was not.
    pub closed_seconds: Option<f64>,
    /// Whether the site is kept closed until `resume`.
    pub held: bool,
    /// Bytes that were added to the target, pool included.
    pub added_bytes: u64,
    /// Files that were added to the pool.
    pub new_files: u64,
    /// Backups that were removed by the retention settings.
    pub pruned: Vec<String>,
    /// The file that the backup was exported to.
    pub export: Option<String>,
    /// What it warned of.
    pub warnings: Vec<String>,
    /// Why it failed or was skipped.
    pub failure: Option<Failure>,
    /// How long each step took.
    pub steps: Vec<StepTime>,
    /// Its log.
    pub log: Option<String>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// With a backup.
    Done,
    /// With a backup, and warnings.
    Warnings,
    /// Without one.
    Failed,
    /// By a signal, without one.
    Interrupted,
    /// By a pre-job hook, before anything was done.
    Skipped,
    /// Before anything was done, as settings or machine are not fit, or another run is at work.
    Refused,
}

impl Ending {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Ending::Done => "done",
            Ending::Warnings => "done, with warnings",
            Ending::Failed => "FAILED",
            Ending::Interrupted => "INTERRUPTED",
            Ending::Skipped => "skipped",
            Ending::Refused => "REFUSED",
        }
    }
}

/// As text.
pub fn text(outcome: &Outcome, look: &Look) -> String {
    let paint = match outcome.result {
        Ending::Done => Paint::Good,
        Ending::Warnings | Ending::Skipped => Paint::Warning,
        Ending::Failed | Ending::Interrupted | Ending::Refused => Paint::Bad,
    };
    let name = outcome.backup.as_ref().map_or(String::new(), |name| format!(" {name}"));
    let head = wrapped("", &format!("Backup{name} of {}: {}", outcome.site, outcome.result.words()));
    let mut text = look.paint(paint, head.trim_end()) + "\n";
    if let Some(failure) = &outcome.failure {
        text += &wrapped("error: ", &failure.error);
        text.extend(failure.because.iter().map(|cause| wrapped("  because: ", cause)));
        text.extend(failure.next.iter().map(|next| wrapped("  next: ", next)));
    }
    text.extend(facts(outcome).iter().map(|(name, value)| pair(name, value)));
    text + &section("Warnings", &outcome.warnings, look)
}

fn facts(outcome: &Outcome) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    match (outcome.held, outcome.closed_seconds) {
        (true, _) => facts.push(("Site", "KEPT CLOSED, until \"moodle-backup resume\"".into())),
        (_, Some(seconds)) => facts.push(("Site closed", human::duration(seconds))),
        (_, None) if outcome.backup.is_some() => facts.push(("Site closed", "not at all".into())),
        // A run that failed: the log tells.
        (_, None) => {}
    }
    facts.push(("Took", human::duration(outcome.took_seconds) + &longest(&outcome.steps)));
    if outcome.backup.is_some() {
        let added = format!(
            "{}, {} in the pool",
            human::bytes(outcome.added_bytes),
            human::count(outcome.new_files, "new file")
        );
        facts.push(("Added", added));
    }
    if !outcome.pruned.is_empty() {
        facts.push(("Removed", format!("{} by the retention settings", outcome.pruned.join(", "))));
    }
    facts.extend(outcome.folder.iter().map(|folder| ("Folder", folder.clone())));
    facts.extend(outcome.export.iter().map(|file| ("Exported to", file.clone())));
    facts.extend(outcome.log.iter().map(|log| ("Log", log.clone())));
    facts
}

/// The steps that took most, where one would like to know.
fn longest(steps: &[StepTime]) -> String {
    let mut steps: Vec<&StepTime> = steps.iter().filter(|step| step.seconds >= 1.0).collect();
    steps.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let named: Vec<String> =
        steps.iter().take(3).map(|step| format!("{} {}", step.step, human::duration(step.seconds))).collect();
    if named.is_empty() { String::new() } else { format!(" ({})", named.join(", ")) }
}
