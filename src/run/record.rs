//! How the last run of a site ended, kept for `status`, and for whoever watches a run that is not his own child.

use crate::error::{Kind, Result};
use crate::report::outcome::Outcome;
use crate::settings::Settings;
use crate::store::Listing;
use crate::sys::files;
use crate::sys::paths::Paths;
use chrono::{DateTime, Local, Utc};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The end of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LastRun {
    /// When.
    pub ended: DateTime<Utc>,
    /// All that it said at its end.
    pub outcome: Outcome,
}

/// A run that was refused since another is at work has a place of its own: it says nothing of the site's last run.
fn path(paths: &Paths, settings: &Settings, refused: bool) -> PathBuf {
    let folder = paths.state().join(if refused { "refused-run" } else { "last-run" });
    folder.join(format!("{}.json", files::unique_name(&settings.file)))
}

/// Keeps the end of a run.
pub fn keep(paths: &Paths, settings: &Settings, last: &LastRun) -> Result<()> {
    let path = path(paths, settings, last.outcome.exit_code == Kind::Locked.exit_code());
    files::make_folders(files::parent(&path), 0o700)?;
    files::write_durably(&path, &serde_json::to_vec_pretty(last)?, 0o600)
}

/// The end of the last run, if it is known.
pub fn read(paths: &Paths, settings: &Settings) -> Option<LastRun> {
    read_file(&path(paths, settings, false))
}

/// What is to be said where the last run has made a backup that is not among those that are there now.
pub fn vanished(paths: &Paths, settings: &Settings, listing: &Listing) -> Option<String> {
    let last = read(paths, settings)?;
    let name = last.outcome.backup?;
    let damaged = listing.unreadable.iter().map(|damaged| &damaged.name);
    let mut there = listing.backups.iter().map(|backup| &backup.name).chain(damaged);
    if there.any(|there| *there == name) {
        return None;
    }
    let when = last.ended.with_timezone(&Local).format("%Y-%m-%d %H:%M");
    let folder = settings.target.path.join(&settings.site.name);
    Some(format!("the last run has made {name}, on {when}, and it is not in {} any more", folder.display()))
}

/// What is to be done about it.
pub const VANISHED: &str =
    "is it the right disk (lsblk -f, findmnt), or who removed it? the next run makes a new backup";

/// The end of the run that had this log.
pub fn read_of(paths: &Paths, settings: &Settings, log: &Path) -> Option<LastRun> {
    let log = log.display().to_string();
    let both = [false, true].map(|refused| read_file(&path(paths, settings, refused)));
    both.into_iter().flatten().find(|last| last.outcome.log.as_ref() == Some(&log))
}

fn read_file(path: &Path) -> Option<LastRun> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}
