//! Holding what is to be brought back against its sums, before anything is. Repairs nothing.

use crate::entry::Reading;
use crate::error::{Fault, Result};
use crate::store::Backup;
use crate::store::check::{Checker, Finding};
use crate::sys::log::Log;
use crate::sys::priority::{Effort, Io};
use std::path::Path;

/// So many damaged files are named.
const NAMED: usize = 5;

/// Somebody waits for it: as fast as can be.
pub fn effort() -> Effort {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    Effort { threads, nice: 0, io: Io::Normal }
}

/// Reads files and folders of a backup and returns what is damaged of them: nothing, unless the administrator wants what
/// is left, since otherwise that is an error.
pub fn verify(backup: &Backup, wanted: &[&Path], force: bool, log: &Log) -> Result<Vec<Finding>> {
    // What is read now is read again in a moment: it may stay in memory.
    let reading = Reading { effort: effort(), from_disk: false };
    let damaged = Checker::new(reading, log).check(backup, wanted)?.findings;
    if force {
        damaged.iter().for_each(|finding| log.warn(format!("damaged: {finding}")));
        return Ok(damaged);
    }
    if damaged.is_empty() {
        return Ok(damaged);
    }
    let named: Vec<String> = damaged.iter().take(NAMED).map(ToString::to_string).collect();
    let more = match damaged.len().saturating_sub(named.len()) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Err(Fault::failed(format!("the backup is damaged: {}{more}", named.join(", ")))
        .hint("use another backup (\"moodle-backup list\"); --force brings back what is left of this one")
        .into())
}
