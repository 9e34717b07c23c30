//! The way back: the plain files of a backup as a tree of a site again. Nothing is shared with the backup, whose files
//! would change with the site's; nothing is followed that is a link. Decides nothing about where trees go.

use super::copy::{self, Broken, copy_content};
use super::place::Place;
use crate::entry::attributes::{self, Attributes};
use crate::entry::{
    At, Cursor, Entry, Exclusions, Findings, Kind, Owners, Selection, Step, Time, lists, open_read, shown, walk,
};
use crate::error::{Fault, OrFault, Result};
use crate::sys::log::Log;
use crate::sys::signals;
use crate::sys::threads::GivenUp;
use nix::errno::Errno;
use nix::fcntl::{OFlag, copy_file_range};
use nix::sys::stat::fstat;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// How much the kernel is asked to copy at once, so that signals are noticed.
const AT_ONCE: usize = 16 << 20;

/// The link to the pool that the seal puts into a backup's moodledata.
const POOL_LINK: (&[u8], &[u8]) = (b"filedir", b"../../filedir");

/// What to bring back, and where to.
#[derive(Clone, Copy, Debug)]
pub struct Restore<'a> {
    /// The copy in the backup.
    pub source: &'a Path,
    /// Its index, which has the authority over owners, modes, times and links: a backup may have been copied by
    /// something that kept none of them. Without it the copy is taken as it is.
    pub index: Option<&'a Path>,
    /// Where it goes: not there yet, or an empty folder. Open to root alone until all is done.
    pub into: &'a Path,
    /// What of it is wanted. The folders on the way are made too.
    pub only: &'a Selection,
    /// Who owns things here.
    pub owners: &'a Owners,
    /// Ends it early when something else that is done at the same time has failed.
    pub given_up: &'a GivenUp,
}

/// What was brought back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Entries, the root among them.
    pub entries: u64,
    /// Folders among them.
    pub folders: u64,
    /// Sizes of all files, in bytes.
    pub bytes: u64,
    /// Paths that the index has and the backup no longer.
    pub missing: Vec<Vec<u8>>,
    /// How many files and folders have lost their access control lists or other attributes, which the file system here
    /// cannot keep.
    pub attributes_lost: u64,
}

/// Brings a tree back. An error if something lies in the copy that no backup puts there (a device, an entry that is not
/// in the index, a link that leads elsewhere than the index says), if anything cannot be read or written, or on a signal;
/// then what was made so far is left for the caller to remove.
pub fn restore(job: &Restore<'_>, log: &Log) -> Result<Restored> {
    let mut work = Work {
        job,
        log,
        place: Place::open_empty(job.into)?,
        index: job.index.map(Cursor::open).transpose()?,
        firsts: HashMap::new(),
        unfinished: Vec::new(),
        buffer: vec![0; copy::BUFFER],
        done: Restored::default(),
    };
    if !job.source.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        return Err(Fault::failed(format!("{} is no folder", job.source.display())).hint(DAMAGED).into());
    }
    let mut findings = Findings::default();
    walk(job.source, &Exclusions::none(), &mut findings, &mut |step, findings| {
        if let Some(note) = findings.skipped.first().or(findings.problems.first()) {
            return Err(refused(job, &note.path, &note.what));
        }
        match step {
            Step::Entry(found, at) => work.entry(found, at)?,
            Step::Leave(found, at) => work.leave(found, at)?,
        }
        Ok(ControlFlow::Continue(()))
    })?;
    work.end(&findings)
}

/// A folder to be made, with the time now.
pub fn folder(path: &[u8], uid: u32, gid: u32, mode: u32) -> Entry {
    Entry {
        path: path.to_vec(),
        kind: Kind::Folder,
        size: 0,
        mtime: Time::now(),
        ctime: Time::default(),
        device: 0,
        inode: 0,
        links: 1,
        mode,
        uid,
        gid,
        target: Vec::new(),
    }
}

/// Makes folders in a tree that was brought back, empty, with owners and modes; what is there already stays as it is.
/// Those that hold others come first. The folder that holds one keeps its times.
pub fn add_folders(root: &Path, folders: &[Entry]) -> Result<()> {
    let mut place = Place::open_or_make(root)?;
    for folder in folders {
        let stands = root.join(crate::entry::to_path(&folder.path)).symlink_metadata().is_ok();
        if !stands {
            place.keeping_times(&folder.path, |place| {
                place.make_folder(&folder.path)?;
                place.finish_folder(folder, &Attributes::new()).map(|_| ())
            })?;
        }
    }
    Ok(())
}

const DAMAGED: &str = "the backup is damaged, or was tampered with: \"moodle-backup verify\" tells how much of it";

fn refused(job: &Restore<'_>, path: &[u8], what: &str) -> anyhow::Error {
    let place = job.source.join(crate::entry::to_path(path));
    Fault::failed(format!("{} is not brought back: {what}", shown(place.as_os_str().as_encoded_bytes())))
        .hint(DAMAGED)
        .into()
}

struct Work<'a> {
    job: &'a Restore<'a>,
    log: &'a Log,
    place: Place,
    index: Option<Cursor>,
    /// The first name of each file that had several, by the device and inode that it had.
    firsts: HashMap<(u64, u64), Vec<u8>>,
    /// The folders on the way to where the walk is; `None` for one that is not wanted.
    unfinished: Vec<Option<Entry>>,
    buffer: Vec<u8>,
    done: Restored,
}

impl Work<'_> {
    fn entry(&mut self, found: &Entry, at: At<'_>) -> Result<()> {
        self.job.given_up.check()?;
        let entry = self.as_it_was(found)?;
        if found.kind == Kind::Folder {
            let wanted = entry.filter(|entry| self.job.only.wants_in(&entry.path));
            if let Some(entry) = &wanted
                && !entry.path.is_empty()
            {
                self.place.make_folder(&entry.path)?;
            }
            self.unfinished.push(wanted);
            return Ok(());
        }
        let Some(entry) = entry.filter(|entry| self.job.only.wants(&entry.path)) else { return Ok(()) };
        if entry.kind == Kind::Symlink {
            self.place.make_symlink(&entry)?;
        } else {
            self.file(&entry, at)?;
        }
        self.count();
        Ok(())
    }

    fn leave(&mut self, found: &Entry, at: At<'_>) -> Result<()> {
        if let Some(index) = &mut self.index {
            let (missing, only) = (&mut self.done.missing, self.job.only);
            index.pass_below(&found.path, &mut |gone| {
                missing.extend(only.wants(&gone.path).then_some(gone.path));
                Ok(())
            })?;
        }
        let Some(entry) = self.unfinished.pop().flatten() else { return Ok(()) };
        let attributes = self.attributes(at.folder, &entry)?;
        let kept = self.place.finish_folder(&entry, &attributes)?;
        self.done.attributes_lost += u64::from(!kept);
        self.done.folders += 1;
        self.count();
        Ok(())
    }

    /// The entry as it was on the site, with its owners here; `None` for what belongs to the backup and not to the site.
    fn as_it_was(&mut self, found: &Entry) -> Result<Option<Entry>> {
        let mut entry = found.clone();
        let is_pool_link = (found.path.as_slice(), found.target.as_slice()) == POOL_LINK;
        if let Some(index) = &mut self.index {
            let (missing, only) = (&mut self.done.missing, self.job.only);
            let then = index.take(&found.path, &mut |gone| {
                missing.extend(only.wants(&gone.path).then_some(gone.path));
                Ok(())
            })?;
            match then {
                None if is_pool_link => return Ok(None),
                None => return Err(refused(self.job, &found.path, "the backup's index does not have it")),
                Some(then) if then.kind != found.kind => {
                    return Err(refused(self.job, &found.path, "it is something else than the backup's index says"));
                }
                Some(then) if then.target != found.target => {
                    return Err(refused(self.job, &found.path, "it leads elsewhere than the backup's index says"));
                }
                Some(then) => entry = then,
            }
        } else if is_pool_link {
            return Ok(None);
        }
        entry.uid = self.job.owners.user(entry.uid, "");
        entry.gid = self.job.owners.group(entry.gid, "");
        Ok(Some(entry))
    }

    fn file(&mut self, entry: &Entry, at: At<'_>) -> Result<()> {
        let number = (entry.device, entry.inode);
        if entry.links > 1
            && let Some(first) = self.firsts.get(&number)
        {
            return self.place.link(first, &entry.path);
        }
        let unreadable = |error: Errno| refused(self.job, &entry.path, &format!("it cannot be read: {}", error.desc()));
        let source = open_read(at.folder, at.name, OFlag::empty()).map_err(unreadable)?;
        let stat = fstat(&source).map_err(unreadable)?;
        let attributes = self.attributes(source.as_fd(), entry)?;
        let copy = self.place.make_file(&entry.path)?;
        let size = stat.st_size as u64;
        let sparse = (stat.st_blocks as u64) * 512 < size;
        if sparse || !copy_in_kernel(&source, &copy, size)? {
            match copy_content(&source, &copy, size, sparse, &mut self.buffer) {
                Ok(bytes) if bytes == size => {}
                Ok(_) => return Err(refused(self.job, &entry.path, "it became shorter while it was read")),
                Err(Broken::Reading(error)) => return Err(unreadable(error)),
                Err(Broken::Asked(error)) => return Err(error),
                Err(Broken::Writing(error)) => {
                    let path = self.job.into.join(crate::entry::to_path(&entry.path));
                    return Err(error).or_fault(|| Fault::failed(format!("cannot write {}", path.display())));
                }
            }
        }
        let kept = self.place.finish_file(&copy, entry, &attributes)?;
        self.done.attributes_lost += u64::from(!kept);
        self.done.bytes += size;
        if entry.links > 1 {
            self.firsts.insert(number, entry.path.clone());
        }
        Ok(())
    }

    fn attributes(&self, fd: BorrowedFd<'_>, entry: &Entry) -> Result<Attributes> {
        let mut found = attributes::read(fd).map_err(|error| {
            refused(self.job, &entry.path, &format!("its attributes cannot be read: {}", error.desc()))
        })?;
        for (name, value) in &mut found {
            if name.as_c_str() == lists::ACCESS || name.as_c_str() == lists::DEFAULT {
                *value = lists::mapped(value, self.job.owners);
            }
        }
        Ok(found)
    }

    fn count(&mut self) {
        self.done.entries += 1;
        self.log.progress(self.done.entries, 0, "files");
    }

    fn end(self, findings: &Findings) -> Result<Restored> {
        if let Some(note) = findings.skipped.first().or(findings.problems.first()) {
            return Err(refused(self.job, &note.path, &note.what));
        }
        Ok(self.done)
    }
}

/// Has the kernel copy a file, which on some file systems only notes that two files have the same blocks. False if it
/// cannot do that here.
fn copy_in_kernel(source: &OwnedFd, copy: &OwnedFd, size: u64) -> Result<bool> {
    let mut left = size;
    while left > 0 {
        signals::check()?;
        let want = AT_ONCE.min(usize::try_from(left).unwrap_or(AT_ONCE));
        match copy_file_range(source, None, copy, None, want) {
            Ok(count @ 1..) => left -= count as u64,
            Err(Errno::EINTR) => {}
            // Whatever it is: reading and writing says it better, and begins anew.
            Ok(0) | Err(_) => return Ok(false),
        }
    }
    Ok(true)
}
