//! One file of another copy of filedir that becomes the pool's without being copied. Judges who else could change or needs
//! the file, not what is in it.

use super::FILE_MODE;
use super::carrier::open_regular;
use nix::libc;
use nix::unistd::{Gid, Uid, fchown};
use std::fs::{File, Metadata, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// A file that is root's now, under a further name.
#[derive(Debug)]
pub(super) struct Adopted {
    /// It, open for reading.
    pub file: File,
    before: Metadata,
}

impl Adopted {
    /// Links a plain file and makes it root's; `None` where that cannot be trusted, and then it is as it was. `path` has no
    /// symbolic links in it.
    pub fn take(path: &Path, temporary: &Path, group: u32) -> std::io::Result<Option<Adopted>> {
        let Some(file) = open_regular(path)? else { return Ok(None) };
        let before = file.metadata()?;
        // Whoever owns the folders can have put a link in the place of one: the file would be the live site's.
        let place = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        // A file with another name is needed there, as it is: perhaps by the site, of which the old set holds links.
        if place != path || before.nlink() != 1 {
            return Ok(None);
        }
        std::fs::hard_link(path, temporary)?;
        let linked = open_regular(temporary)?.map(|linked| linked.metadata()).transpose()?;
        let same = |linked: Metadata| (linked.dev(), linked.ino(), linked.nlink()) == (before.dev(), before.ino(), 2);
        if !linked.is_some_and(same) {
            return Ok(None);
        }
        let adopted = Adopted { file, before };
        match adopted.make_roots(group) {
            Ok(true) => Ok(Some(adopted)),
            refused => {
                adopted.give_back();
                refused.map(|_| None)
            }
        }
    }

    /// Whether nobody else can write it any more. The lease of fcntl(2) is granted only if nobody has the file open for
    /// writing, and after the change of owner nobody can open it so.
    fn make_roots(&self, group: u32) -> std::io::Result<bool> {
        fchown(&self.file, Some(Uid::from_raw(0)), Some(Gid::from_raw(group)))?;
        self.file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        let lease = |kind: i32| {
            // SAFETY: fcntl(2) takes integers; the descriptor is open.
            unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_SETLEASE, kind) }
        };
        if lease(libc::F_RDLCK) != 0 {
            return Ok(false);
        }
        lease(libc::F_UNLCK);
        Ok(true)
    }

    /// Leaves the file to whom it belonged: it does not go into the pool.
    pub fn give_back(&self) {
        let Self { file, before } = self;
        let _ = fchown(file, Some(Uid::from_raw(before.uid())), Some(Gid::from_raw(before.gid())));
        let _ = file.set_permissions(Permissions::from_mode(before.mode() & 0o7777));
    }
}
