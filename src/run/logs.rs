//! The logs of runs, one file each: their names, and which of them go. A backup has a copy of its own run's log, so what
//! goes here is known elsewhere as long as the backup is.

use crate::error::{Fault, OrFault, Result};
use crate::sys::log::Log;
use crate::sys::paths::Paths;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use std::path::{Path, PathBuf};

/// So many logs of a site stay, however old they are.
const NEWEST: usize = 100;

/// The log of a run that did not come to its end has no copy in a backup, and stays so long.
const FAILED: TimeDelta = TimeDelta::days(366);

/// The time in the name of a log, UTC.
const STAMP: &str = "%Y-%m-%dT%H%M%S%.3fZ";

/// What only a run says that has published its backup.
const AT_THE_END: &str = "step report";

/// A new log for each run, named by site and time.
pub fn new_path(paths: &Paths, site: &str, now: DateTime<Utc>) -> PathBuf {
    paths.logs().join(format!("{site}-{}.log", now.format(STAMP)))
}

/// Removes the logs of this site that are not wanted any more. What has another name stays.
pub fn remove_old(paths: &Paths, site: &str, now: DateTime<Utc>, log: &Log) -> Result<()> {
    let folder = paths.logs();
    let fault = || Fault::failed(format!("cannot look at the old logs in {}", folder.display()));
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(&folder).or_fault(fault)? {
        let entry = entry.or_fault(fault)?;
        let time = entry.file_name().to_str().and_then(|name| time_in(name, site));
        logs.extend(time.map(|time| (time, entry.path())));
    }
    logs.sort();
    logs.truncate(logs.len().saturating_sub(NEWEST));
    for (time, path) in logs {
        if now - time > FAILED || came_to_its_end(&path) {
            std::fs::remove_file(&path).or_fault(|| Fault::failed(format!("cannot remove {}", path.display())))?;
            log.detail(format!("removed the old log {}", path.display()));
        }
    }
    Ok(())
}

/// The time of a log of this site; `None` for whatever else lies there.
fn time_in(name: &str, site: &str) -> Option<DateTime<Utc>> {
    let stamp = name.strip_prefix(site)?.strip_prefix('-')?.strip_suffix(".log")?;
    NaiveDateTime::parse_from_str(stamp, STAMP).ok().map(|time| time.and_utc())
}

fn came_to_its_end(log: &Path) -> bool {
    let ends = |line: &[u8]| line.ends_with(AT_THE_END.as_bytes());
    std::fs::read(log).is_ok_and(|text| text.split(|byte| *byte == b'\n').any(ends))
}
