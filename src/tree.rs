//! Copies of a tree as plain files, unchanged ones shared with the backup before.
//! And the way back: such a copy as a tree of a site again.
//! What stands in a published backup is linked to and never written, chmodded or chowned: a change of owner or mode
//! alone means a fresh copy. Decides nothing about which trees to copy, or what to do about what cannot be read.

mod copy;
mod place;
mod restore;
mod survey;

pub(crate) use place::{Folder, Place};
pub use restore::{Restore, Restored, add_folders, folder, restore};
pub use survey::{Survey, survey};

use crate::entry::{At, Cursor, Entry, Exclusions, Findings, Kind, Step, Time, Writer, attributes, split, walk};
use crate::error::{Fault, OrFault, Result};
use crate::sys::log::Log;
use crate::sys::signals;
use copy::Copied;
use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;
use nix::unistd::linkat;
use place::Chain;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A copy of the same tree in a published backup.
#[derive(Clone, Copy, Debug)]
pub struct Previous<'a> {
    /// The folder that holds it.
    pub folder: &'a Path,
    /// Its index.
    pub index: &'a Path,
    /// Paths in it, as they are shown, that are known to be damaged: they are copied anew.
    pub damaged: &'a HashSet<String>,
}

/// What to make like what.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The tree to copy.
    pub source: &'a Path,
    /// What to leave out of it. Must be the same for all passes of a run.
    pub exclude: &'a Exclusions,
    /// The copy; made if it is not there. Nobody but root may be able to write in the folder that holds it.
    /// On the first pass it may hold what the source does not have, and keeps it.
    pub destination: &'a Path,
    /// Where unchanged entries are shared with.
    pub previous: Option<Previous<'a>>,
    /// The index of an earlier pass of this run into the same destination: only what differs from it is touched.
    pub already: Option<&'a Path>,
    /// The index to write; may be the same file as `already`.
    pub index: &'a Path,
}

/// What a pass has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// Entries in the copy, the root among them.
    pub entries: u64,
    /// Sizes of all files in the copy, in bytes.
    pub bytes: u64,
    /// Files and links copied by this pass.
    pub files_copied: u64,
    /// Bytes copied by this pass.
    pub bytes_copied: u64,
    /// Files and links shared with the previous backup, or with another name of the same file, by this pass.
    pub linked: u64,
    /// What an earlier pass had copied and this one has removed or replaced, folders counted as one.
    pub removed: u64,
    /// What the walk met.
    pub findings: Findings,
}

/// Makes the destination like the source: files and links with owner, mode and times, folders with theirs set last.
/// Hard links within the tree stay so, holes stay holes; sockets, pipes and devices are left out and named. What
/// vanishes or cannot be read on the way is in the findings and not in the index; a file that is written to while it
/// is read is copied twice, then named, and its index entry is such that the next pass copies it again. An error if
/// the destination cannot be written, if an own index is damaged, or on a signal: then no index is written.
pub fn sync(job: &Job<'_>, log: &Log) -> Result<Synced> {
    let mut pass = Pass::begin(job, log)?;
    let mut findings = Findings::default();
    walk(job.source, job.exclude, &mut findings, &mut |step, findings| {
        match step {
            Step::Entry(entry, _) if entry.kind == Kind::Folder => pass.enter(entry)?,
            Step::Entry(entry, at) => pass.leaf(entry, at, findings)?,
            Step::Leave(entry, at) => pass.leave(entry, at, findings)?,
        }
        Ok(ControlFlow::Continue(()))
    })?;
    pass.end(findings)
}

/// The copy in the backup before, read along with the walk.
struct Shared {
    cursor: Cursor,
    began: Time,
    folders: Chain,
    path: PathBuf,
    damaged: HashSet<String>,
}

struct Pass<'a> {
    job: &'a Job<'a>,
    log: &'a Log,
    place: Place,
    /// A second way through the destination, to where the first name of a file with several is.
    twins_at: Chain,
    /// The first name met of each file that has several, by device and inode.
    twins: HashMap<(u64, u64), Entry>,
    previous: Option<Shared>,
    already: Option<Cursor>,
    index: Writer,
    index_path: PathBuf,
    /// For each folder on the way to where the walk is: whether its metadata have to be set when it is left.
    unfinished: Vec<bool>,
    synced: Synced,
}

impl<'a> Pass<'a> {
    fn begin(job: &'a Job<'a>, log: &'a Log) -> Result<Self> {
        let index_path = job.index.with_extension("new");
        Ok(Pass {
            job,
            log,
            // Before the walk: the index tells when it began.
            index: Writer::create(&index_path)?,
            index_path,
            place: Place::open_or_make(job.destination)?,
            twins_at: Chain::open(job.destination)?,
            twins: HashMap::new(),
            previous: job.previous.and_then(|previous| open_previous(&previous, log)),
            already: job.already.map(Cursor::open).transpose()?,
            unfinished: Vec::new(),
            synced: Synced::default(),
        })
    }

    fn enter(&mut self, entry: &Entry) -> Result<()> {
        let prior = self.prior(&entry.path)?;
        let stands = prior.as_ref().is_some_and(|prior| prior.kind == Kind::Folder) || entry.path.is_empty();
        if !stands {
            if let Some(prior) = &prior {
                self.place.remove(prior)?;
            }
            self.place.make_folder(&entry.path)?;
            self.touched();
        }
        self.unfinished.push(!prior.is_some_and(|prior| self.is_done(&prior, entry)));
        self.record(entry)
    }

    fn leave(&mut self, entry: &Entry, at: At<'_>, findings: &mut Findings) -> Result<()> {
        let before = self.place.removed();
        if let Some(already) = &mut self.already {
            already.pass_below(&entry.path, &mut |gone| self.place.remove(&gone))?;
        }
        let unfinished = self.unfinished.pop().unwrap_or(true);
        if unfinished || self.place.removed() != before {
            let attributes = attributes::read(at.folder).unwrap_or_else(|error| {
                findings.problem(&entry.path, format!("its extended attributes cannot be read: {}", error.desc()));
                Vec::new()
            });
            let kept = self.place.finish_folder(entry, &attributes)?;
            findings.attributes_lost += u64::from(!kept);
        }
        Ok(())
    }

    fn leaf(&mut self, entry: &Entry, at: At<'_>, findings: &mut Findings) -> Result<()> {
        signals::check()?;
        let prior = self.prior(&entry.path)?;
        let placed = match prior {
            Some(prior) if self.is_done(&prior, entry) => Some(entry.clone()),
            prior => {
                self.touched();
                if let Some(prior) = &prior {
                    self.place.remove(prior)?;
                }
                self.put(entry, at, findings)?
            }
        };
        let Some(entry) = placed else { return Ok(()) };
        if entry.kind == Kind::File && entry.links > 1 {
            self.twins.entry((entry.device, entry.inode)).or_insert_with(|| entry.clone());
        }
        self.record(&entry)
    }

    /// What an earlier pass of this run has put at this path. Whatever it has put before that, in the order of the
    /// walk, and nobody has asked for, is no longer in the source, and goes.
    fn prior(&mut self, path: &[u8]) -> Result<Option<Entry>> {
        let Some(already) = &mut self.already else { return Ok(None) };
        let before = self.place.removed();
        let prior = already.take(path, &mut |gone| self.place.remove(&gone))?;
        if self.place.removed() != before {
            self.touched();
        }
        Ok(prior)
    }

    fn is_done(&self, prior: &Entry, entry: &Entry) -> bool {
        let began = self.already.as_ref().map(Cursor::began);
        prior.is_same(entry) && began.is_some_and(|began| !prior.is_racy(began))
    }

    /// The folder where the walk is has been written to, which changes its times.
    fn touched(&mut self) {
        if let Some(unfinished) = self.unfinished.last_mut() {
            *unfinished = true;
        }
    }

    fn record(&mut self, entry: &Entry) -> Result<()> {
        self.synced.entries += 1;
        if entry.kind == Kind::File {
            self.synced.bytes += entry.size;
        }
        self.log.progress(self.synced.entries, 0, "files");
        self.index.write(entry)
    }

    /// Puts a file or link where nothing stands; `None` if the source no longer has it, or cannot be read.
    fn put(&mut self, entry: &Entry, at: At<'_>, findings: &mut Findings) -> Result<Option<Entry>> {
        if self.link_to_previous(entry)? || self.link_to_twin(entry)? {
            self.synced.linked += 1;
            return Ok(Some(entry.clone()));
        }
        if entry.kind == Kind::Symlink {
            self.place.make_symlink(entry)?;
            self.synced.files_copied += 1;
            return Ok(Some(entry.clone()));
        }
        match self.place.copy_file(at, &entry.path)? {
            Copied::Whole { entry, bytes, changed, kept } => {
                findings.attributes_lost += u64::from(!kept);
                self.synced.files_copied += 1;
                self.synced.bytes_copied += bytes;
                if changed {
                    findings.changed_while_read.push(entry.path.clone());
                }
                Ok(Some(entry))
            }
            Copied::Gone => {
                findings.vanished += 1;
                Ok(None)
            }
            Copied::Unreadable(error) => {
                findings.problem(&entry.path, format!("cannot be read: {}", error.desc()));
                Ok(None)
            }
        }
    }

    /// Shares an unchanged entry with the previous backup. False where it has changed, or where that cannot be done
    /// (a file has as many names as its file system allows, say): then it is copied.
    fn link_to_previous(&mut self, entry: &Entry) -> Result<bool> {
        let Some(previous) = &mut self.previous else { return Ok(false) };
        let then = match previous.cursor.take(&entry.path, &mut |_| Ok(())) {
            Ok(then) => then,
            Err(error) => {
                self.log.warn(format!("{error:#}; what follows is copied anew"));
                self.previous = None;
                return Ok(false);
            }
        };
        let is_damaged = !previous.damaged.is_empty() && previous.damaged.contains(&entry.shown());
        if is_damaged || !then.is_some_and(|then| then.is_same(entry) && !then.is_racy(previous.began)) {
            return Ok(false);
        }
        let (folder, name) = split(&entry.path);
        let Ok(from) = previous.folders.to(folder) else { return Ok(false) };
        let stands = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok();
        let stands = stands.and_then(|stat| Entry::from_stat(entry.path.clone(), &stat));
        if !stands.is_some_and(|it| it.kind == entry.kind && it.size == entry.size && it.has_same_rights(entry)) {
            let path = previous.path.join(crate::entry::to_path(&entry.path));
            self.log.warn(format!("{} is not what the index of its backup says; it is copied anew", path.display()));
            return Ok(false);
        }
        Ok(linkat(from, name, self.place.folder(folder)?, name, AtFlags::empty()).is_ok())
    }

    /// Makes a further name of a file that this pass has met under another one.
    fn link_to_twin(&mut self, entry: &Entry) -> Result<bool> {
        let twin = self.twins.get(&(entry.device, entry.inode)).filter(|_| entry.links > 1);
        // Only if nothing has happened since: the twin's copy must be a copy of this.
        let Some(twin) = twin.filter(|twin| twin.is_same(entry)) else { return Ok(false) };
        let (twin_folder, twin_name) = split(&twin.path);
        let (folder, name) = split(&entry.path);
        let Ok(from) = self.twins_at.to(twin_folder) else { return Ok(false) };
        Ok(linkat(from, twin_name, self.place.folder(folder)?, name, AtFlags::empty()).is_ok())
    }

    fn end(mut self, findings: Findings) -> Result<Synced> {
        self.index.finish()?;
        std::fs::rename(&self.index_path, self.job.index)
            .or_fault(|| Fault::failed(format!("cannot write the index {}", self.job.index.display())))?;
        for mount in &findings.mounts {
            let path = self.job.source.join(crate::entry::to_path(mount));
            self.log.detail(format!("{} is on another file system; it is copied too", path.display()));
        }
        self.synced.removed = self.place.removed();
        self.synced.findings = findings;
        Ok(self.synced)
    }
}

/// Opens the copy in the backup before. Where that fails, everything is copied, which is slow but right.
fn open_previous(previous: &Previous<'_>, log: &Log) -> Option<Shared> {
    let open = || -> Result<Shared> {
        let cursor = Cursor::open(previous.index)?;
        let began = cursor.began();
        let (folders, path) = (Chain::open(previous.folder)?, previous.folder.to_path_buf());
        Ok(Shared { cursor, began, folders, path, damaged: previous.damaged.clone() })
    };
    open().inspect_err(|error| log.warn(format!("{error:#}; everything is copied anew"))).ok()
}
