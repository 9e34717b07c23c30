//! When systemd starts the next run.

use crate::settings::Settings;
use crate::sys::paths::Paths;
use crate::sys::process::Program;
use crate::sys::process::unit::systemd_runs;
use chrono::{DateTime, NaiveDateTime, Utc};
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);

/// When the timer for these settings goes off; `None` where there is no such timer, or systemd does not tell.
pub fn next_run(paths: &Paths, settings: &Settings) -> Option<DateTime<Utc>> {
    if !systemd_runs() {
        return None;
    }
    let output = Program::new("systemctl")
        .args(["show", "--property=NextElapseUSecRealtime", "--value"])
        .arg(timer(paths, &settings.file))
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .timeout(LIMIT)
        .success()
        .ok()?;
    parse(output.text().trim())
}

/// The timer of a settings file: one of its own for each file beside the usual one.
fn timer(paths: &Paths, file: &Path) -> String {
    match file.file_stem() {
        Some(stem) if file != paths.settings() => format!("moodle-backup@{}.timer", stem.to_string_lossy()),
        _ => "moodle-backup.timer".to_owned(),
    }
}

/// A time as systemctl prints it in UTC: `Tue 2026-11-24 01:00:00 UTC`; empty or `n/a` where there is none.
fn parse(text: &str) -> Option<DateTime<Utc>> {
    let (_, time) = text.split_once(' ')?;
    let time = NaiveDateTime::parse_from_str(time.strip_suffix(" UTC")?, "%Y-%m-%d %H:%M:%S").ok()?;
    Some(time.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_systemctl_are_understood() {
        let time = parse("Tue 2026-11-24 01:00:00 UTC").map(|time| time.to_rfc3339());
        assert_eq!(time.as_deref(), Some("2026-11-24T01:00:00+00:00"));
        for none in ["", "n/a", "0", "infinity", "Tue 2026-11-24 01:00:00 CET"] {
            assert_eq!(parse(none), None, "{none}");
        }
    }

    #[test]
    fn each_settings_file_has_its_timer() {
        let paths = Paths::from_environment();
        assert_eq!(timer(&paths, &paths.settings()), "moodle-backup.timer");
        assert_eq!(timer(&paths, &paths.etc().join("two.toml")), "moodle-backup@two.timer");
    }
}
