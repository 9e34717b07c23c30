//! The folder that a tree is copied to: making, filling and removing things in it, from folder to folder by open
//! descriptors, never by a symbolic link. Decides nothing about what goes there.

use super::copy::{self, Copied};
use crate::entry::attributes::Attributes;
use crate::entry::{At, Entry, Hint, Kind, lies_below, names, open_folder, split, to_path};
use crate::error::{Fault, OrFault, Result};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, UtimensatFlags, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FOLDER: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// The open folders on the way to one folder of a tree. Asked for folders in the order of a walk it opens each once,
/// and where nothing is asked of it, it opens nothing.
#[derive(Debug)]
pub(super) struct Chain {
    root: OwnedFd,
    /// The path of the last folder in `open`.
    path: Vec<u8>,
    /// Each with where its name ends in `path`.
    open: Vec<(usize, OwnedFd)>,
}

impl Chain {
    /// Starts at the root of a tree.
    pub fn open(root: &Path) -> Result<Self> {
        let (root, _) = open_folder(root).or_fault(|| Fault::failed(format!("cannot open {}", root.display())))?;
        Ok(Chain { root, path: Vec::new(), open: Vec::new() })
    }

    /// The folder with this path relative to the root.
    pub fn to(&mut self, folder: &[u8]) -> nix::Result<BorrowedFd<'_>> {
        while let Some((end, _)) = self.open.last()
            && !(self.path[..*end] == *folder || lies_below(folder, &self.path[..*end]))
        {
            self.open.pop();
        }
        let mut done = self.open.last().map_or(0, |(end, _)| *end);
        while done < folder.len() {
            let start = if done == 0 { 0 } else { done + 1 };
            let end = folder[start..].iter().position(|byte| *byte == b'/').map_or(folder.len(), |at| start + at);
            let fd = openat(self.last(), &folder[start..end], FOLDER, Mode::empty())?;
            self.path.truncate(done);
            self.path.extend_from_slice(&folder[done..end]);
            self.open.push((end, fd));
            done = end;
        }
        Ok(self.last())
    }

    fn last(&self) -> BorrowedFd<'_> {
        self.open.last().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd())
    }

    /// Lets go of a folder that is about to be removed.
    fn forget(&mut self, folder: &[u8]) {
        if self.path == folder || lies_below(&self.path, folder) {
            self.open.retain(|(end, _)| *end < folder.len());
            self.path.truncate(self.open.last().map_or(0, |(end, _)| *end));
        }
    }
}

/// The destination of a copy.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    folders: Chain,
    /// A second way through the tree, to the first names of files with several.
    firsts: Chain,
    /// The folder that was asked for last by [`Place::share_folder`], and its path.
    shared: Option<(Vec<u8>, Folder)>,
    buffer: Vec<u8>,
    removed: u64,
    last_removed: Option<Vec<u8>>,
}

/// An open folder of a destination, in which any thread can make files.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: Arc<Path>,
    fd: Arc<OwnedFd>,
}

impl Folder {
    /// Makes a file of this folder with its content, owner, mode, attributes and times. `entry` has the whole path from the
    /// destination's root. False if the attributes cannot be kept here.
    pub fn write_file(&self, entry: &Entry, attributes: &Attributes, content: &[u8]) -> Result<bool> {
        let write = || -> Result<bool> {
            let mut file = File::from(copy::create_new(self.fd.as_fd(), split(&entry.path).1)?);
            file.write_all(content)?;
            Ok(copy::set_metadata(file.as_fd(), entry, attributes)?)
        };
        write().map_err(|error| error.context(fault(&self.root.join(to_path(&entry.path)))))
    }
}

impl Place {
    /// Opens the destination; makes it where it is not there.
    pub fn open_or_make(path: &Path) -> Result<Self> {
        match nix::unistd::mkdir(path, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error).or_fault(|| fault(path)),
        }
        Self::open(path)
    }

    /// Opens a destination that is not there, or is an empty folder, and closes it to all but root.
    pub fn open_empty(path: &Path) -> Result<Self> {
        let place = Self::open_or_make(path)?;
        let fault = || Fault::failed(format!("cannot look into {}", path.display()));
        // Opened anew, since a folder can be listed once only by one descriptor.
        let (listed, _) = open_folder(path).or_fault(fault)?;
        if !names(listed.as_fd(), &mut Vec::new()).or_fault(fault)?.is_empty() {
            return Err(not_empty(path).into());
        }
        nix::sys::stat::fchmod(&place.folders.root, Mode::S_IRWXU).map_err(|error| with_cause(path, error))?;
        Ok(place)
    }

    fn open(path: &Path) -> Result<Self> {
        let (folders, firsts) = (Chain::open(path)?, Chain::open(path)?);
        let path = path.to_path_buf();
        Ok(Place { path, folders, firsts, shared: None, buffer: Vec::new(), removed: 0, last_removed: None })
    }

    /// Makes an empty file that nobody but root can open until it is finished.
    pub fn make_file(&mut self, path: &[u8]) -> Result<OwnedFd> {
        let mut made = None;
        self.within(path, |folder, name| {
            made = Some(copy::create_new(folder, name)?);
            Ok(())
        })?;
        made.ok_or_else(|| fault(&self.path.join(to_path(path))).into())
    }

    /// Gives a file its owner, mode, attributes and times; false if the attributes cannot be kept here.
    pub fn finish_file(&self, file: &OwnedFd, entry: &Entry, attributes: &Attributes) -> Result<bool> {
        copy::set_metadata(file.as_fd(), entry, attributes)
            .map_err(|error| with_cause(&self.path.join(to_path(&entry.path)), error))
    }

    /// Makes a further name of a file that was made under another one.
    pub fn link(&mut self, first: &[u8], path: &[u8]) -> Result<()> {
        let shown = self.path.join(to_path(path));
        let ((from_folder, from), (folder, name)) = (split(first), split(path));
        let linked = self
            .firsts
            .to(from_folder)
            .and_then(|from_folder| linkat(from_folder, from, self.folders.to(folder)?, name, AtFlags::empty()));
        linked.map_err(|error| with_cause(&shown, error))
    }

    /// How many things have been removed, a folder with all in it counted once.
    pub fn removed(&self) -> u64 {
        self.removed
    }

    /// A folder of the destination.
    pub fn folder(&mut self, folder: &[u8]) -> Result<BorrowedFd<'_>> {
        let path = self.path.join(to_path(folder));
        self.folders.to(folder).map_err(|error| with_cause(&path, error))
    }

    /// A folder of the destination for other threads, which stays open as long as one of them has it.
    pub fn share_folder(&mut self, folder: &[u8]) -> Result<Folder> {
        if let Some((path, shared)) = &self.shared
            && path == folder
        {
            return Ok(shared.clone());
        }
        let fd = self.folder(folder)?.try_clone_to_owned()?;
        let shared = Folder { root: self.path.as_path().into(), fd: Arc::new(fd) };
        self.shared = Some((folder.to_vec(), shared.clone()));
        Ok(shared)
    }

    /// Makes an empty folder that is closed to all but root until it is finished.
    pub fn make_folder(&mut self, path: &[u8]) -> Result<()> {
        self.within(path, |folder, name| mkdirat(folder, name, Mode::S_IRWXU))
    }

    /// Gives a folder its owner, mode, attributes and times; last, since writing in it changes its times. False if the
    /// attributes cannot be kept here.
    pub fn finish_folder(&mut self, entry: &Entry, attributes: &Attributes) -> Result<bool> {
        let path = self.path.join(to_path(&entry.path));
        let fd = self.folders.to(&entry.path).map_err(|error| with_cause(&path, error))?;
        copy::set_metadata(fd, entry, attributes).map_err(|error| with_cause(&path, error))
    }

    /// Does something in the folder that holds a path, and sets that folder's time of last change back.
    pub fn keeping_times(&mut self, path: &[u8], work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let (folder, _) = split(path);
        let shown = self.path.join(to_path(folder));
        let stat =
            self.folders.to(folder).and_then(nix::sys::stat::fstat).map_err(|error| with_cause(&shown, error))?;
        work(self)?;
        let modified = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
        let fd = self.folders.to(folder).map_err(|error| with_cause(&shown, error))?;
        futimens(fd, &TimeSpec::UTIME_OMIT, &modified).map_err(|error| with_cause(&shown, error))
    }

    /// Makes a symbolic link with its own owner and times.
    pub fn make_symlink(&mut self, entry: &Entry) -> Result<()> {
        self.within(&entry.path, |folder, name| {
            symlinkat(entry.target.as_slice(), folder, name)?;
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            fchownat(folder, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            let [atime, mtime] = copy::times(entry);
            utimensat(folder, name, &atime, &mtime, UtimensatFlags::NoFollowSymlink)
        })
    }

    /// Copies a file to the same path here.
    pub(super) fn copy_file(&mut self, from: At<'_>, path: &[u8]) -> Result<Copied> {
        let shown = self.path.join(to_path(path));
        let (folder, name) = split(path);
        let folder = self.folders.to(folder).map_err(|error| with_cause(&shown, error))?;
        self.buffer.resize(copy::BUFFER, 0);
        copy::copy_file(from, path, folder, name, &mut self.buffer).map_err(|failed| match failed {
            copy::Failed::Writing(error) => with_cause(&shown, error),
            copy::Failed::Asked(error) => error,
        })
    }

    /// Removes what an earlier pass has put here. What lies in a folder that has been removed may be handed in too.
    pub(super) fn remove(&mut self, entry: &Entry) -> Result<()> {
        if self.last_removed.as_ref().is_some_and(|removed| lies_below(&entry.path, removed)) {
            return Ok(());
        }
        self.removed += 1;
        if entry.kind == Kind::Folder {
            self.shared = None;
            self.folders.forget(&entry.path);
            self.firsts.forget(&entry.path);
            self.last_removed = Some(entry.path.clone());
        }
        let is_folder = entry.kind == Kind::Folder;
        self.within(&entry.path, |folder, name| remove_any(folder, name, is_folder))
    }

    fn within(&mut self, path: &[u8], work: impl FnOnce(BorrowedFd<'_>, &[u8]) -> nix::Result<()>) -> Result<()> {
        let (folder, name) = split(path);
        let done = self.folders.to(folder).and_then(|folder| work(folder, name));
        done.map_err(|error| with_cause(&self.path.join(to_path(path)), error))
    }
}

fn remove_any(folder: BorrowedFd<'_>, name: &[u8], is_folder: bool) -> nix::Result<()> {
    if !is_folder {
        return unlinkat(folder, name, UnlinkatFlags::NoRemoveDir);
    }
    let inner = openat(folder, name, FOLDER, Mode::empty())?;
    for (name, hint) in names(inner.as_fd(), &mut Vec::new())? {
        remove_any(inner.as_fd(), name.to_bytes(), hint == Hint::Folder)?;
    }
    unlinkat(folder, name, UnlinkatFlags::RemoveDir)
}

fn with_cause(path: &Path, error: Errno) -> anyhow::Error {
    anyhow::Error::from(error).context(fault(path))
}

fn fault(path: &Path) -> Fault {
    // What helps against a full or read-only disk is said where errors of the system are explained.
    Fault::failed(format!("cannot write {}", path.display()))
}

fn not_empty(path: &Path) -> Fault {
    Fault::unfit(format!("{} is not empty", path.display())).hint("name a folder that is empty or not there yet")
}
