//! A lock on a folder that is another user's, who can lock it as well and keep it so for ever. So there is a second lock
//! beside it, on a file that only we can open, and a lock of that user's does not count. The folder is locked all the
//! same: it is the same folder by whatever path, on whatever machine, in whatever container.

use super::holders::{Holder, holders};
use super::lock::{Lock, Mode, tried_for};
use crate::error::Result;
use std::path::Path;
use std::time::Duration;

/// How often a lock is tried that is waited for: to find out who holds a folder is some work.
const INTERVAL: Duration = Duration::from_millis(100);

/// A folder that is held as long as this value lives.
#[derive(Debug)]
pub struct FolderLock {
    _own: Lock,
    _folder: Option<Lock>,
    strangers: Vec<Holder>,
}

impl FolderLock {
    /// Locks a folder without waiting, with `own` as the file beside it, which is made if it is not there. `None` if
    /// another of our processes holds it, or one that cannot be seen from here. A folder that is gone is held by `own`
    /// alone.
    pub fn try_hold(folder: &Path, own: &Path) -> Result<Option<FolderLock>> {
        let Some(own) = Lock::try_hold_own(own)? else { return Ok(None) };
        let held = |folder, strangers| Ok(Some(FolderLock { _own: own, _folder: folder, strangers }));
        if !folder.exists() {
            return held(None, Vec::new());
        }
        if let Some(lock) = Lock::try_hold(folder, Mode::Exclusive)? {
            return held(Some(lock), Vec::new());
        }
        let holders = holders(folder);
        // We are always root.
        match !holders.is_empty() && holders.iter().all(|holder| holder.uid != 0) {
            true => held(None, holders),
            false => Ok(None),
        }
    }

    /// As [`FolderLock::try_hold`], and tries it for so long. Ends early, with an error, on a signal.
    pub fn hold_within(folder: &Path, own: &Path, limit: Duration) -> Result<Option<FolderLock>> {
        tried_for(limit, INTERVAL, || FolderLock::try_hold(folder, own))
    }

    /// What to say of those who hold the folder's own lock though they have no business with it; nothing if nobody does.
    pub fn complaint(&self, folder: &Path) -> Option<String> {
        let strangers: Vec<String> = self.strangers.iter().map(Holder::to_string).collect();
        (!strangers.is_empty()).then(|| {
            format!(
                "{} holds a lock on {}, which is for backups alone to lock; it is disregarded, since another lock, which only \
                 root can take, is free; find out what that process does, and end it",
                strangers.join(", "),
                folder.display()
            )
        })
    }
}
