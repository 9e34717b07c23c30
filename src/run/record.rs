//! How the last run of a site ended, kept for `status`, and for whoever watches a run that is not his own child.

use crate::error::Result;
use crate::report::outcome::Outcome;
use crate::settings::Settings;
use crate::sys::files;
use crate::sys::paths::Paths;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The end of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LastRun {
    /// When.
    pub ended: DateTime<Utc>,
    /// All that it said at its end.
    pub outcome: Outcome,
}

fn path(paths: &Paths, settings: &Settings) -> PathBuf {
    paths.state().join("last-run").join(format!("{}.json", files::unique_name(&settings.file)))
}

/// Keeps the end of a run.
pub fn keep(paths: &Paths, settings: &Settings, last: &LastRun) -> Result<()> {
    let path = path(paths, settings);
    files::make_folders(files::parent(&path), 0o700)?;
    files::write_durably(&path, &serde_json::to_vec_pretty(last)?, 0o600)
}

/// The end of the last run, if it is known.
pub fn read(paths: &Paths, settings: &Settings) -> Option<LastRun> {
    serde_json::from_slice(&std::fs::read(path(paths, settings)).ok()?).ok()
}
