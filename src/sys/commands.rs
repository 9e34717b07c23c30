//! Commands as they are told to the administrator: where this call was given other settings than the usual ones, what it tells
//! to do next must name them too, or it would be done to another site.

use std::borrow::Cow;
use std::path::Path;
use std::sync::OnceLock;

const PROGRAM: &str = "moodle-backup ";

/// Commands that are about the site of the settings.
const OF_A_SITE: [&str; 13] = [
    "run", "resume", "setup", "check", "list", "show", "status", "restore", "export", "find", "prune", "verify", "pin",
];

static SETTINGS: OnceLock<String> = OnceLock::new();

/// From now on commands name this settings file.
pub fn name_settings(file: &Path) {
    let _ = SETTINGS.set(format!("--settings {} ", file.display()));
}

/// A text with the commands in it as they are to be typed.
pub fn complete(text: &str) -> Cow<'_, str> {
    match SETTINGS.get() {
        Some(settings) if text.contains(PROGRAM) => Cow::Owned(with(text, settings)),
        _ => Cow::Borrowed(text),
    }
}

fn with(text: &str, settings: &str) -> String {
    let mut parts = text.split(PROGRAM);
    let mut complete = parts.next().unwrap_or_default().to_owned();
    for rest in parts {
        complete.push_str(PROGRAM);
        let word = rest.split(|c: char| !c.is_ascii_lowercase()).next().unwrap_or_default();
        if OF_A_SITE.contains(&word) {
            complete.push_str(settings);
        }
        complete.push_str(rest);
    }
    complete
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_about_a_site_name_its_settings() {
        let complete = |text| with(text, "--settings /etc/two.toml ");
        assert_eq!(
            complete("\"moodle-backup restore --undo\", or moodle-backup check; moodle-backup recover"),
            "\"moodle-backup --settings /etc/two.toml restore --undo\", or moodle-backup --settings /etc/two.toml check; \
             moodle-backup recover"
        );
        assert_eq!(complete("journalctl -u moodle-backup.service"), "journalctl -u moodle-backup.service");
        let named = "moodle-backup --settings /etc/two.toml run";
        assert_eq!(complete(named), named);
    }
}
