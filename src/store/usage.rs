//! How much room a backup takes on its disk, and what of that would be free without it. Reads folders and inodes only.

use super::Backup;
use crate::entry::{Hint, names, open_folder};
use crate::error::{Fault, OrFault, Result};
use crate::sys::signals;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// `st_blocks` counts in these, whatever the file system's own blocks are (stat(2)).
const BLOCK: u64 = 512;

/// Room on a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of everything, a file of several names counted once.
    pub all_bytes: u64,
    /// Bytes of what has no name elsewhere: they are free when this is gone.
    pub own_bytes: u64,
}

impl Backup {
    /// Room that the backup takes. The pool is not counted: it is not the backup's own.
    pub fn usage(&self) -> Result<Usage> {
        usage(&self.path)
    }
}

/// Room that a folder takes with all in it. What vanishes meanwhile is not counted.
pub fn usage(folder: &Path) -> Result<Usage> {
    let fault = || Fault::failed(format!("cannot read the folder {}", folder.display()));
    let (fd, stat) = open_folder(folder).or_fault(fault)?;
    let mut sum = Sum::default();
    sum.count(&stat);
    sum.folder(fd, &mut Vec::new()).or_fault(fault)?;
    Ok(sum.usage())
}

#[derive(Default)]
struct Sum {
    usage: Usage,
    /// Files of several names: how many names are still to be met, and bytes.
    shared: HashMap<(u64, u64), (u64, u64)>,
}

impl Sum {
    fn folder(&mut self, folder: OwnedFd, buffer: &mut Vec<u8>) -> Result<()> {
        signals::check()?;
        for (name, hint) in names(folder.as_fd(), buffer)? {
            let done = match hint {
                Hint::Folder => self.enter(folder.as_fd(), &name, buffer),
                Hint::Other => self.leaf(folder.as_fd(), &name, buffer),
            };
            match done {
                Err(error) if error.downcast_ref() == Some(&Errno::ENOENT) => {}
                done => done?,
            }
        }
        Ok(())
    }

    fn leaf(&mut self, folder: BorrowedFd<'_>, name: &std::ffi::CStr, buffer: &mut Vec<u8>) -> Result<()> {
        let stat = fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        // Some file systems do not say in a folder what is one.
        if stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR {
            return self.enter(folder, name, buffer);
        }
        self.count(&stat);
        Ok(())
    }

    fn enter(&mut self, parent: BorrowedFd<'_>, name: &std::ffi::CStr, buffer: &mut Vec<u8>) -> Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let folder = openat(parent, name, flags, Mode::empty())?;
        self.count(&fstat(&folder)?);
        self.folder(folder, buffer)
    }

    fn count(&mut self, stat: &FileStat) {
        let bytes = stat.st_blocks.cast_unsigned() * BLOCK;
        #[allow(clippy::unnecessary_cast)] // not all architectures have 64 bits for the number of links
        let links = stat.st_nlink as u64;
        let is_folder = stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR;
        if is_folder || links <= 1 {
            self.usage.all_bytes += bytes;
            self.usage.own_bytes += bytes;
            return;
        }
        let all = &mut self.usage.all_bytes;
        let (left, _) = self.shared.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| {
            *all += bytes;
            (links, bytes)
        });
        *left = left.saturating_sub(1);
    }

    fn usage(self) -> Usage {
        let inside = self.shared.values().filter(|(left, _)| *left == 0).map(|(_, bytes)| bytes);
        Usage { own_bytes: self.usage.own_bytes + inside.sum::<u64>(), ..self.usage }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_has_a_name_elsewhere_is_not_own() {
        let scratch = tempfile::tempdir().unwrap();
        let (one, two) = (scratch.path().join("one"), scratch.path().join("two"));
        fs::create_dir_all(one.join("inner")).unwrap();
        fs::create_dir(&two).unwrap();
        let content = vec![7; 40_000];
        fs::write(one.join("alone"), &content).unwrap();
        let empty = usage(&two).unwrap();
        let before = usage(&one).unwrap();
        assert_eq!(before.own_bytes, before.all_bytes);
        assert!(before.own_bytes >= 40_000 + 2 * empty.own_bytes, "{before:?}");

        fs::write(one.join("twins"), &content).unwrap();
        fs::hard_link(one.join("twins"), one.join("inner/twin")).unwrap();
        let twins = usage(&one).unwrap();
        assert_eq!(twins.own_bytes, twins.all_bytes, "both names are inside");
        assert!((40_000..50_000).contains(&(twins.all_bytes - before.all_bytes)), "counted once: {twins:?}");

        fs::hard_link(one.join("alone"), two.join("alone")).unwrap();
        let shared = usage(&one).unwrap();
        assert_eq!(shared.all_bytes, twins.all_bytes);
        assert!(shared.own_bytes <= twins.own_bytes - 40_000, "{shared:?}");
    }
}
