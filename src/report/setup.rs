//! `setup`: what was done, or would be, and how to go on.

use super::Look;
use super::layout::{item, wrapped};
use serde::Serialize;

/// What a set-up has done.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Done {
    /// What was done, step by step; with `--plan` what would be.
    pub steps: Vec<String>,
    /// What somebody should think of before, or have thought of.
    pub warnings: Vec<String>,
    /// Whether this is a plan only.
    pub planned: bool,
    /// The settings file.
    pub settings: String,
    /// What still stands in the way of a backup, each with what to do.
    pub problems: Vec<String>,
    /// Name of the site.
    pub site: String,
    /// Where there is no systemd: the time at which cron has to start the backup.
    pub cron: Option<String>,
    /// Whether another settings file is the one that is read when none is named.
    #[serde(skip)]
    pub further: bool,
}

impl Done {
    /// What commands about this site begin with.
    fn program(&self) -> String {
        if self.further { format!("moodle-backup --settings {}", self.settings) } else { "moodle-backup".into() }
    }

    /// The last words of a set-up that has made a backup.
    pub fn how_to_restore(&self) -> String {
        let program = self.program();
        format!(
            "\nTo bring the site back from it: \"{program} restore --plan\" shows what would be done, \"{program} restore\" does \
             it. Without this program: RESTORE.txt beside each backup has the commands."
        )
    }
}

/// As text.
pub fn text(done: &Done, _: &Look) -> String {
    let steps: String = done.steps.iter().map(|step| item(step)).collect();
    let warnings: String = done.warnings.iter().map(|warning| wrapped("WARNING: ", warning)).collect();
    if done.planned {
        return match done.steps.is_empty() {
            true => format!("All of it is so already: there is nothing to be done.\n{warnings}"),
            false => format!("This would be done:\n{steps}{warnings}"),
        };
    }
    let mut text = match done.steps.is_empty() {
        true => "Everything was set up already: nothing was changed.\n".to_owned(),
        // Each step was told when it was done.
        false => "\n".to_owned(),
    };
    text += &warnings;
    if !done.problems.is_empty() {
        text += "\nStill in the way of a backup:\n";
        text.extend(done.problems.iter().map(|problem| item(problem)));
        text += &format!("\"{} check\" looks again.\n", done.program());
        return text;
    }
    text += &wrapped("", &format!("{} is ready to be backed up. Its settings are in {}.", done.site, done.settings));
    if let Some((hour, minute)) = done.cron.as_deref().and_then(|time| time.split_once(':')) {
        text += &wrapped("", "There is no systemd here, so cron has to start it. For /etc/cron.d/moodle-backup:");
        let run = format!("{} run --scheduled", done.program());
        text += &format!("  {minute} {hour} * * * root {run}; moodle-backup recover\n");
        text += "  @reboot root moodle-backup recover\n";
    }
    text
}
