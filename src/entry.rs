//! What is known of one file, folder or link of a tree, and when two such entries are the same thing.
//! Below it: the walk that finds entries, the index files that keep them, and what is left out.
//! Copies nothing.

pub(crate) mod attributes;
mod exclude;
mod index;
pub(crate) mod lists;
mod names;
pub mod owners;
pub mod pattern;
mod reading;
mod selection;
mod walk;

pub use exclude::Exclusions;
pub use index::{Cursor, Reader, Writer};
pub(crate) use names::{Hint, names};
pub use owners::Owners;
pub use reading::{Reading, Trouble};
pub use selection::Selection;
pub(crate) use walk::open_read;
pub use walk::{At, Findings, Note, Step, open_folder, walk};

use nix::sys::stat::{FileStat, SFlag};
use std::cmp::Ordering;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// How long after its last change an entry may still be changed without any of its times showing it, in seconds.
/// File systems keep times with steps of up to two seconds; ext4, xfs and btrfs with some milliseconds.
const TICK_SECONDS: i64 = 2;

/// The kinds of entry that are kept. Sockets, pipes and devices are not: they hold no data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A plain file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink,
}

/// A point in time as the kernel has it: `seconds` since 1970, may be negative, and `nanos` to add to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Whole seconds since 1970, rounded down.
    pub seconds: i64,
    /// Nanoseconds after that, below 1,000,000,000.
    pub nanos: u32,
}

impl Time {
    /// The time now. Not shifted for tests: it is compared with times that the kernel gives to files.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() }
    }
}

/// One file, folder or symbolic link of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path relative to the root of the tree; empty for the root itself. Any bytes but NUL.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Size in bytes.
    pub size: u64,
    /// When the content was last changed, as far as anybody who may write the file wants it known.
    pub mtime: Time,
    /// When content or metadata were last changed; set by the kernel alone.
    pub ctime: Time,
    /// The device that holds it.
    pub device: u64,
    /// Its number on that device.
    pub inode: u64,
    /// How many names it has.
    pub links: u64,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Where a symbolic link points; empty for the rest.
    pub target: Vec<u8>,
}

impl Entry {
    /// The entry that a `stat` tells of; `None` for sockets, pipes and devices. The target of a link is left empty.
    pub fn from_stat(path: Vec<u8>, stat: &FileStat) -> Option<Self> {
        let kind = match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => Kind::File,
            SFlag::S_IFDIR => Kind::Folder,
            SFlag::S_IFLNK => Kind::Symlink,
            _ => return None,
        };
        #[allow(clippy::unnecessary_cast)] // not all architectures have 64 bits for the number of links
        let links = stat.st_nlink as u64;
        Some(Entry {
            path,
            kind,
            size: stat.st_size as u64,
            mtime: Time { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 },
            ctime: Time { seconds: stat.st_ctime, nanos: stat.st_ctime_nsec as u32 },
            device: stat.st_dev,
            inode: stat.st_ino,
            links,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            target: Vec::new(),
        })
    }

    /// Whether nothing has happened to the thing of which both tell. The number of the device does not count: many
    /// file systems (NFS, btrfs, device mapper) get another one with each mount, and the times of inode changes,
    /// which nobody can set, tell two file systems apart well enough.
    pub fn is_same(&self, other: &Entry) -> bool {
        self.kind == other.kind
            && self.size == other.size
            && self.mtime == other.mtime
            && self.ctime == other.ctime
            && self.inode == other.inode
            && self.has_same_rights(other)
            && self.target == other.target
    }

    /// Whether owner, group and mode are the same.
    pub fn has_same_rights(&self, other: &Entry) -> bool {
        (self.mode, self.uid, self.gid) == (other.mode, other.uid, other.gid)
    }

    /// Whether this entry, read at `recorded` or later, may have changed within the same tick of the file
    /// system's clock without showing it. Decided by `ctime`, which each change of the content sets too, and which
    /// cannot be forged; a file dated into the future is therefore not copied for ever.
    pub fn is_racy(&self, recorded: Time) -> bool {
        self.ctime > Time { seconds: recorded.seconds - TICK_SECONDS, ..recorded }
    }

    /// The path as it is shown to people.
    pub fn shown(&self) -> String {
        shown(&self.path)
    }
}

/// The order of a walk, and so of an index: a folder, then all in it, then its next neighbour by bytes.
pub fn compare_paths(one: &[u8], other: &[u8]) -> Ordering {
    // A slash ends a name, so it sorts below every byte that a name can have.
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    one.iter().map(rank).cmp(other.iter().map(rank))
}

/// Whether `path` lies in the folder with the path `folder`, at any depth.
pub fn lies_below(path: &[u8], folder: &[u8]) -> bool {
    folder.is_empty() && !path.is_empty()
        || path.len() > folder.len() && path.starts_with(folder) && path[folder.len()] == b'/'
}

/// Whether a path, as somebody may have written it, names something below the folder that it is relative to: no step goes
/// up, it does not begin at the root, and each of its names is one.
pub fn stays_inside(path: &[u8]) -> bool {
    !path.contains(&0) && path.split(|byte| *byte == b'/').all(|name| !matches!(name, b"" | b"." | b".."))
}

/// The path of the folder that holds `path`, and the name in it.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// A path of a tree as a `Path`.
pub fn to_path(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

/// A path as it is shown to people: as it is, or quoted and escaped where it would spoil a line of a log.
pub fn shown(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok("") => ".".to_owned(),
        Ok(text) if text.chars().all(crate::sys::log::is_plain) => text.to_owned(),
        _ => format!("{:?}", to_path(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_sorts_before_its_content_and_its_content_before_its_neighbours() {
        let mut paths = ["a-b", "a/b", "a", "a.b", "", "a/b/c", "a/b-c", "b"];
        paths.sort_by(|one, other| compare_paths(one.as_bytes(), other.as_bytes()));
        assert_eq!(paths, ["", "a", "a/b", "a/b/c", "a/b-c", "a-b", "a.b", "b"]);
    }

    #[test]
    fn paths_that_lead_elsewhere_are_known() {
        for inside in ["code.tar.zst", "moodledata/..x/...", "a/b/.c"] {
            assert!(stays_inside(inside.as_bytes()), "{inside}");
        }
        for outside in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/", "a\0b"] {
            assert!(!stays_inside(outside.as_bytes()), "{outside}");
        }
    }

    #[test]
    fn names_that_would_spoil_a_log_are_escaped() {
        assert_eq!(shown("lang/dé".as_bytes()), "lang/dé");
        assert_eq!(shown(b"a\nstep seal"), r#""a\nstep seal""#);
        assert_eq!(shown(b"caf\xe9"), r#""caf\xE9""#);
    }
}
