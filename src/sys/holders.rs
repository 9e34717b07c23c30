//! Who holds a lock (flock) on a file or folder, as far as the kernel tells. Takes none itself.

use nix::unistd::{Uid, User};
use std::fmt;
use std::fs::{Metadata, read_dir, read_to_string};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A process that has a locked file open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// What it calls itself.
    pub program: String,
    /// As whom it runs.
    pub uid: u32,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = User::from_uid(Uid::from_raw(self.uid)).ok().flatten();
        let user = user.map_or_else(|| self.uid.to_string(), |user| user.name);
        write!(f, "process {} ({}) of user {user}", self.pid, self.program)
    }
}

/// The processes of this machine by which `path` is locked. Empty where none is seen: the lock may be gone by now, or be
/// held from another machine or container.
///
/// It is asked who has the locked file open, not who locked it (`/proc/locks`): that process may have ended, and left
/// the lock to its children.
pub fn holders(path: &Path) -> Vec<Holder> {
    let Ok(locked) = std::fs::metadata(path) else { return Vec::new() };
    let processes = read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|pid| holds(*pid, &locked)).filter_map(describe).collect()
}

fn holds(pid: u32, locked: &Metadata) -> bool {
    let open = read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    open.into_iter().any(|fd| {
        let info = read_to_string(fd.path()).unwrap_or_default();
        // Only of what looks right by its number: to look at a file may take for ever where a server is gone.
        info.lines().any(|line| locks_inode(line, locked.ino()))
            && std::fs::metadata(format!("/proc/{pid}/fd/{}", fd.file_name().display()))
                .is_ok_and(|meta| (meta.dev(), meta.ino()) == (locked.dev(), locked.ino()))
    })
}

/// Whether a line of `/proc/PID/fdinfo/FD` tells of a lock on this inode (proc_pid_fdinfo(5)), which is the last number in
/// `lock: 1: FLOCK ADVISORY WRITE 1234 08:01:131`.
fn locks_inode(line: &str, inode: u64) -> bool {
    let mut words = line.strip_prefix("lock:").into_iter().flat_map(str::split_whitespace);
    let place = words.by_ref().find(|word| *word == "FLOCK").and_then(|_| words.nth(3));
    place.and_then(|place| place.rsplit(':').next()?.parse().ok()) == Some(inode)
}

fn describe(pid: u32) -> Option<Holder> {
    let program = read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned();
    let status = read_to_string(format!("/proc/{pid}/status")).ok()?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()?;
    Some(Holder { pid, program, uid })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::lock::{Lock, Mode};

    #[test]
    fn a_lock_is_known_by_its_line() {
        assert!(locks_inode("lock:\t1: FLOCK  ADVISORY  WRITE 1234 08:01:131 0 EOF", 131));
        assert!(!locks_inode("lock:\t1: FLOCK  ADVISORY  WRITE 131 08:01:13 0 EOF", 131));
        assert!(!locks_inode("lock:\t1: POSIX  ADVISORY  WRITE 1234 08:01:131 0 EOF", 131));
        assert!(!locks_inode("ino:\t131", 131));
    }

    #[test]
    fn the_holder_of_a_lock_is_found() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(holders(folder.path()), []);
        let lock = Lock::try_hold(folder.path(), Mode::Shared).unwrap();
        assert_eq!(holders(folder.path()).iter().map(|holder| holder.pid).collect::<Vec<_>>(), [std::process::id()]);
        drop(lock);
        assert_eq!(holders(folder.path()), []);
    }
}
