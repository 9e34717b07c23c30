//! `import-settings`: what becomes of each of the predecessor's settings.

use super::Look;
use super::layout::{item, wrapped};
use crate::setup::predecessor::Line;
use serde::Serialize;

/// What an import did, or would do.
#[derive(Clone, Debug, Serialize)]
pub struct Import {
    /// The predecessor's settings file.
    pub file: String,
    /// Ours.
    pub settings: String,
    /// Whether it was written.
    pub written: bool,
    /// Values that ours had already, and others.
    pub clashes: Vec<String>,
    /// The moodledata of the predecessor's last set, which could be adopted.
    pub set: Option<String>,
    /// How many of its files were taken into the pool.
    pub adopted: Option<u64>,
    /// What becomes of each key.
    pub lines: Vec<Line>,
}

/// What is to be done now.
const NEXT: &str = "Next: \"moodle-backup check\", \"moodle-backup run\" for a first backup, and a timer for one each night: \
                    \"moodle-backup setup\", or systemctl enable --now moodle-backup.timer moodle-backup-verify.timer.";

/// As text.
pub fn text(import: &Import, _: &Look) -> String {
    let mut text = String::new();
    for line in &import.lines {
        let mark = if line.look { "look  " } else { "ok    " };
        let value = if line.value.is_empty() { String::new() } else { format!(" = {}", line.value) };
        text += &wrapped(mark, &format!("{}{value}", line.key));
        text += &wrapped("      -> ", &line.becomes);
    }
    text += "\n";
    if !import.written {
        text.extend(import.clashes.iter().map(|clash| item(&format!("differs from what is set now: {clash}"))));
        return text
            + &wrapped("", &format!("Nothing was written. Without --dry-run it goes into {}.", import.settings));
    }
    text += &wrapped("", &format!("Written into {}.", import.settings));
    match (import.adopted, &import.set) {
        (Some(files), _) => text += &wrapped("", &format!("{files} users' files were taken into the pool.")),
        (None, Some(set)) => {
            text +=
                &wrapped("", &format!("The old set's users' files can be taken over instead of copied: --adopt {set}"));
        }
        (None, None) => {}
    }
    text += &wrapped("", NEXT);
    text
}
