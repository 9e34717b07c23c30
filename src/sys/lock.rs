//! Locks on folders and files that end with the process, however it ends.
//! What a lock means is the caller's matter.

use super::{files, signals};
use crate::error::{Fault, OrFault, Result};
use fs2::FileExt;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
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
        Self::of(file, path, mode)
    }

    /// Locks a file of our own, exclusively, without waiting; makes it where it is not there, closed to all others.
    pub fn try_hold_own(path: &Path) -> Result<Option<Lock>> {
        // Where it is there already, that has to do on a full or read-only disk too.
        let open = || -> Result<File> {
            match File::open(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    files::make_folders(files::parent(path), 0o700)?;
                    let file = File::options().create(true).append(true).mode(0o600).open(path)?;
                    files::sync_folder(files::parent(path))?;
                    Ok(file)
                }
                opened => Ok(opened?),
            }
        };
        let file = open().or_fault(|| Fault::failed(format!("cannot make {} to lock it", path.display())))?;
        Self::of(file, path, Mode::Exclusive)
    }

    fn of(file: File, path: &Path, mode: Mode) -> Result<Option<Lock>> {
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
        tried_for(limit, INTERVAL, || Lock::try_hold(path, mode))
    }
}

/// Tries to lock something again and again, so long at most. Ends early, with an error, on a signal.
pub fn tried_for<T>(
    limit: Duration,
    interval: Duration,
    mut try_hold: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let deadline = Instant::now() + limit;
    loop {
        let lock = try_hold()?;
        if lock.is_some() || Instant::now() >= deadline {
            return Ok(lock);
        }
        signals::wait(interval)?;
    }
}
