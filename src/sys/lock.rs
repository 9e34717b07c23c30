//! Locks on folders and files that end with the process, however it ends.
//! What a lock means is the caller's matter.

use super::signals;
use crate::error::{Fault, OrFault, Result};
use fs2::FileExt;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often a lock is tried that is waited for.
const INTERVAL: Duration = Duration::from_millis(5);

/// A lock that is held as long as this value lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// How to hold a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nobody else may hold it.
    Exclusive,
    /// Others may hold it shared too.
    Shared,
}

impl Lock {
    /// Locks a file or folder without waiting; `None` if another process holds it in a way that excludes `mode`.
    pub fn try_hold(path: &Path, mode: Mode) -> Result<Option<Lock>> {
        let file = File::open(path).or_fault(|| Fault::unfit(format!("cannot open {} to lock it", path.display())))?;
        let held = match mode {
            Mode::Exclusive => FileExt::try_lock_exclusive(&file),
            Mode::Shared => FileExt::try_lock_shared(&file),
        };
        match held {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error).or_fault(|| {
                Fault::unfit(format!("cannot lock {}", path.display()))
                    .hint("its file system does not support locks (flock); use a local one, or NFS version 4")
            }),
        }
    }

    /// As [`Lock::try_hold`], for locks that others hold for a moment only: waits so long at most. Ends early, with an
    /// error, on a signal.
    pub fn hold_within(path: &Path, mode: Mode, limit: Duration) -> Result<Option<Lock>> {
        let deadline = Instant::now() + limit;
        loop {
            let lock = Lock::try_hold(path, mode)?;
            if lock.is_some() || Instant::now() >= deadline {
                return Ok(lock);
            }
            signals::wait(INTERVAL)?;
        }
    }
}
