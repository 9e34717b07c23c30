//! Bringing parts of a backup back into a plain folder, where they touch nothing else: the page to read first.

pub mod find;
mod hits;
mod parts;
pub mod searched;
mod staging;
mod sums;
pub mod tables;
pub mod unpack;
pub mod uploads;
pub mod wanted;

use crate::entry::owners::Owner;
use crate::error::Result;
use crate::store::Backup;
use crate::sys::log::Log;
use staging::{Staging, Within};
use std::path::{Path, PathBuf};
use wanted::Wanted;

/// The steps in their order, by the names that the log shows.
pub const STEPS: [&str; 6] = ["verify", "database", "archives", "moodledata", "pool", "name"];

/// What to bring back, and where to.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The backup; the caller holds it.
    pub backup: &'a Backup,
    /// The pool that belongs to it.
    pub pool: &'a Path,
    /// The parts.
    pub wanted: &'a [Wanted],
    /// Where they go: not there yet, or an empty folder; single files and folders may come to others.
    pub to: &'a Path,
    /// Who is to own what was the web user's; `None`: who it was.
    pub owner: Option<Owner>,
    /// Whether dumps are to be uncompressed.
    pub plain: bool,
    /// Whether to go on where the backup is damaged, with what is left of it.
    pub force: bool,
}

/// Something that was brought back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// What it is: `code`, `moodledata`.
    pub name: String,
    /// Where it is now.
    pub path: PathBuf,
    /// Files, without the folders on the way to them.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Brings the parts back. What could not be brought back, and why, is warned of in the log. On an error nothing is left.
pub fn extract(job: &Job<'_>, log: &Log) -> Result<Vec<Placed>> {
    let is_whole = job.wanted.iter().any(|wanted| wanted.whole);
    let staging = Staging::begin(job.to, if is_whole { Within::Empty } else { Within::Others })?;
    let mut parts = parts::Parts::new(job, staging.path(), log);

    log.step("verify")?;
    parts.verify()?;
    parts.require_room()?;

    log.step("database")?;
    parts.databases()?;

    log.step("archives")?;
    parts.archives()?;

    log.step("moodledata")?;
    parts.moodledata()?;

    log.step("pool")?;
    parts.pool()?;

    log.step("name")?;
    let placed = parts.end();
    staging.publish(log)?;
    Ok(placed)
}
