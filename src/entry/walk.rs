//! Finds every entry of a tree, in order, while the tree is in use. Works from folder to folder by open
//! descriptors and never follows a symbolic link, so that nobody who can write to the tree can lead it elsewhere.
//! Reads no file and changes nothing.

use super::names::{Hint, names};
use super::{Entry, Exclusions, Kind, shown};
use crate::error::{Fault, OrFault, Result};
use crate::sys::signals;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use std::ffi::CStr;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// How deep a tree may be. Each level holds an open descriptor, of which a process has 1024 by default, and a
/// copy of a tree holds two chains of them.
const MAX_DEPTH: usize = 300;

/// A path of the tree, and what is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Relative to the root of the tree.
    pub path: Vec<u8>,
    /// For people.
    pub what: String,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", shown(&self.path), self.what)
    }
}

/// What a pass over a tree met besides entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Sockets, pipes and devices, which are left out since they hold no data.
    pub skipped: Vec<Note>,
    /// What could not be read, and is missing for that reason; whoever called decides what follows.
    pub problems: Vec<Note>,
    /// How many things were gone, or were something else, when they were to be read.
    pub vanished: u64,
    /// Files that were written to while they were read, also when they were read again.
    pub changed_while_read: Vec<Vec<u8>>,
    /// How many files and folders have lost their access control lists or other extended attributes, which the file
    /// system of the copy cannot keep.
    pub attributes_lost: u64,
    /// Folders in which another file system begins; it is part of the tree all the same.
    pub mounts: Vec<Vec<u8>>,
}

impl Findings {
    /// Takes down what could not be read, and why.
    pub fn problem(&mut self, path: &[u8], what: impl Into<String>) {
        self.problems.push(Note { path: path.to_vec(), what: what.into() });
    }
}

/// Where an entry is to be had.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// The folder that holds it; for a folder, that folder itself.
    pub folder: BorrowedFd<'a>,
    /// Its name there; for a folder, `.`.
    pub name: &'a CStr,
}

/// What a walk comes by.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// An entry; a folder before all that is in it. The root comes first, with an empty path.
    Entry(&'a Entry, At<'a>),
    /// A folder, after all that is in it.
    Leave(&'a Entry, At<'a>),
}

/// Walks a tree in the order of [`super::compare_paths`], across mount points, until `visit` breaks it off.
/// What vanishes on the way is counted, what cannot be read is noted, and the walk goes on. An error only if the
/// root itself cannot be read, if a signal asks the program to end, or if `visit` has one.
pub fn walk(
    root: &Path,
    exclude: &Exclusions,
    findings: &mut Findings,
    visit: &mut dyn FnMut(Step<'_>, &mut Findings) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let unreadable = || Fault::failed(format!("cannot read the folder {}", root.display()));
    let (fd, stat) = open_folder(root).or_fault(unreadable)?;
    let entry = Entry::from_stat(Vec::new(), &stat).ok_or_else(unreadable)?;
    let mut walker = Walker { exclude, findings, visit, depth: 0, buffer: Vec::new() };
    walker.folder(fd, &entry).map(|_| ())
}

/// Opens a folder by its path; the folder itself may be reached by a symbolic link.
pub fn open_folder(path: &Path) -> nix::Result<(OwnedFd, FileStat)> {
    let fd = nix::fcntl::open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let stat = fstat(&fd)?;
    Ok((fd, stat))
}

struct Walker<'a> {
    exclude: &'a Exclusions,
    findings: &'a mut Findings,
    visit: &'a mut dyn FnMut(Step<'_>, &mut Findings) -> Result<ControlFlow<()>>,
    depth: usize,
    buffer: Vec<u8>,
}

impl Walker<'_> {
    fn folder(&mut self, fd: OwnedFd, entry: &Entry) -> Result<ControlFlow<()>> {
        signals::check()?;
        let names = match names(fd.as_fd(), &mut self.buffer) {
            Ok(names) => names,
            // A folder that was removed since it was opened can no longer be listed.
            Err(error) => return self.missed(&entry.path, error),
        };
        let at = At { folder: fd.as_fd(), name: c"." };
        if (self.visit)(Step::Entry(entry, at), self.findings)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        for (name, hint) in names {
            let path = join(&entry.path, name.to_bytes());
            if !self.exclude.excludes(&path) && self.one(fd.as_fd(), &name, path, hint, entry.device)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        (self.visit)(Step::Leave(entry, at), self.findings)
    }

    fn one(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        path: Vec<u8>,
        hint: Hint,
        device: u64,
    ) -> Result<ControlFlow<()>> {
        let found = match hint {
            Hint::Folder => Ok(Found::Folder),
            Hint::Other => look(folder, name, path.clone()),
        };
        match found {
            Ok(Found::Folder) => self.enter(folder, name, path, device),
            Ok(Found::Entry(entry)) => (self.visit)(Step::Entry(&entry, At { folder, name }), self.findings),
            Ok(Found::Other(what)) => {
                self.findings.skipped.push(Note { path, what: what.to_owned() });
                Ok(ControlFlow::Continue(()))
            }
            Err(error) => self.missed(&path, error),
        }
    }

    fn enter(&mut self, parent: BorrowedFd<'_>, name: &CStr, path: Vec<u8>, device: u64) -> Result<ControlFlow<()>> {
        if self.depth == MAX_DEPTH {
            self.findings.problem(&path, format!("more than {MAX_DEPTH} folders deep: what is in it is left out"));
            return Ok(ControlFlow::Continue(()));
        }
        let opened = open_read(parent, name, OFlag::O_DIRECTORY).and_then(|fd| fstat(&fd).map(|stat| (fd, stat)));
        let (fd, stat) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.missed(&path, error),
        };
        let Some(entry) = Entry::from_stat(path, &stat) else { return Ok(ControlFlow::Continue(())) };
        if entry.device != device {
            self.findings.mounts.push(entry.path.clone());
        }
        self.depth += 1;
        let flow = self.folder(fd, &entry);
        self.depth -= 1;
        flow
    }

    fn missed(&mut self, path: &[u8], error: Errno) -> Result<ControlFlow<()>> {
        match error {
            // Gone, or replaced by something else, since its folder was listed.
            Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EINVAL => self.findings.vanished += 1,
            _ => self.findings.problem(path, format!("cannot be read: {}", error.desc())),
        }
        Ok(ControlFlow::Continue(()))
    }
}

enum Found {
    Folder,
    Entry(Entry),
    Other(&'static str),
}

fn look(folder: BorrowedFd<'_>, name: &CStr, path: Vec<u8>) -> nix::Result<Found> {
    let stat = fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let Some(mut entry) = Entry::from_stat(path, &stat) else {
        return Ok(Found::Other(match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFSOCK => "a socket",
            SFlag::S_IFIFO => "a pipe",
            _ => "a device",
        }));
    };
    match entry.kind {
        Kind::Folder => return Ok(Found::Folder),
        Kind::Symlink => entry.target = readlinkat(folder, name)?.into_vec(),
        Kind::File => {}
    }
    Ok(Found::Entry(entry))
}

/// Opens what stands there for reading, never by a symbolic link, never waiting for a pipe's other end, and without
/// leaving a trace in its access time where that is allowed.
pub(crate) fn open_read(folder: BorrowedFd<'_>, name: &CStr, also: OFlag) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | also;
    match openat(folder, name, flags | OFlag::O_NOATIME, Mode::empty()) {
        // Only the owner and root may ask for that.
        Err(Errno::EPERM) => openat(folder, name, flags, Mode::empty()),
        opened => opened,
    }
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(folder.len() + 1 + name.len());
    path.extend_from_slice(folder);
    if !folder.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}
