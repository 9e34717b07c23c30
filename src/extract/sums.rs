//! Comparing files of a backup with its SHA256SUMS before they are used. Repairs nothing.

use crate::error::{Fault, Result};
use crate::store::{layout, sums};
use crate::sys::log::Log;
use crate::sys::signals;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A file that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Its path in the backup.
    pub file: Vec<u8>,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", crate::entry::shown(&self.file), self.what)
    }
}

/// Reads those files of a backup that are `wanted` and returns what is damaged, in the order of their names. An error if
/// there are no sums to compare with, or on a signal.
pub fn damaged(
    backup: &Path,
    wanted: &(dyn Fn(&[u8]) -> bool + Sync),
    threads: usize,
    log: &Log,
) -> Result<Vec<Damage>> {
    let lines = sums::Reader::open(&backup.join(layout::SUMS))?;
    let lines = Mutex::new(lines.filter(|line| line.as_ref().map_or(true, |(_, path)| wanted(path))));
    let done = AtomicU64::new(0);
    let next = || lines.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
    let work = || -> Result<Vec<Damage>> {
        let mut found = Vec::new();
        while let Some(line) = next() {
            signals::check()?;
            let (sum, file) = line?;
            if let Some(what) = what_is_wrong(&backup.join(OsStr::from_bytes(&file)), &sum) {
                found.push(Damage { file, what });
            }
            log.progress(done.fetch_add(1, Ordering::Relaxed) + 1, 0, "files");
        }
        Ok(found)
    };
    let results: Vec<Result<Vec<Damage>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let panicked = || Err(Fault::failed("a reading thread panicked").into());
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| panicked())).collect()
    });
    let mut all = Vec::new();
    for result in results {
        all.extend(result?);
    }
    all.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(all)
}

fn what_is_wrong(path: &Path, sum: &sums::Sum) -> Option<String> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Some("is gone".to_owned()),
        Ok(meta) if !meta.is_file() => return Some("is no file".to_owned()),
        _ => {}
    }
    match sums::sum_of_file(path) {
        Ok(found) if found == *sum => None,
        Ok(_) => Some("has another content than it was sealed with".to_owned()),
        Err(error) => Some(format!("cannot be read: {}", error.root_cause())),
    }
}

/// An error that names what is damaged, if anything is.
pub fn refuse(damaged: &[Damage]) -> Result<()> {
    if damaged.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = damaged.iter().take(5).map(ToString::to_string).collect();
    let more = match damaged.len().saturating_sub(named.len()) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Err(Fault::failed(format!("the backup is damaged: {}{more}", named.join(", ")))
        .hint("use another backup (\"moodle-backup list\"); --force brings back what is left of this one")
        .into())
}
