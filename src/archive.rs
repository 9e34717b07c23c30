//! Copies of a tree as one compressed tar, which plain `tar` and `zstd` of a Debian base system bring back with
//! owners, modes, times, links and names of any bytes; and bringing them back without those. Decides nothing about
//! which trees to archive, or where they go.

mod compare;
mod extract;
mod member;
mod pack;
mod read;
mod sum;

pub use compare::{Compared, Unread, compare};
pub use extract::{Extract, Extracted, extract, first_file};
pub use pack::{Expected, Pack};
pub use sum::verify_sum;

use crate::entry::attributes::{self, Attributes};
use crate::entry::{At, Entry, Exclusions, Findings, Kind, Step, Writer, open_read, walk};
use crate::error::{Fault, OrFault, Result};
use crate::sys::log::Log;
use crate::sys::signals;
use member::Members;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use sum::Summing;

/// Files up to this size are read whole before they are written to the archive, so that their size is certain.
const WHOLE: u64 = 4 << 20;

/// How often a small file is read that is written to all the while.
const ATTEMPTS: usize = 2;

/// What to archive, and where.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The tree.
    pub root: &'a Path,
    /// What to leave out of it.
    pub exclude: &'a Exclusions,
    /// The archive to write. What stands there gives way and is not written to.
    pub file: &'a Path,
    /// The index to write, likewise.
    pub index: &'a Path,
    /// zstd's level, 1 to 19.
    pub level: i32,
    /// How many threads compress, beside the one that reads.
    pub threads: u32,
}

/// A finished archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Archived {
    /// Entries in it, the root among them.
    pub entries: u64,
    /// Sizes of all files in it, in bytes.
    pub bytes: u64,
    /// Size of the archive, in bytes.
    pub compressed_bytes: u64,
    /// SHA-256 of the archive, in hexadecimal digits.
    pub sha256: String,
    /// What the walk met. A file that changed while it was read is in the archive in some state; its index entry is
    /// such that [`compare`] sees the change.
    pub findings: Findings,
}

/// Writes an archive of a tree and its index. Sockets, pipes and devices are left out and named; what vanishes or
/// cannot be read is in the findings and not in the archive, which is well-formed whatever happens to the tree. Not
/// synced: that is for whoever publishes it. An error if it cannot be written, or on a signal.
pub fn create(job: &Job<'_>, log: &Log) -> Result<Archived> {
    let index = Writer::create(job.index)?;
    let fault = || Fault::failed(format!("cannot write {}", job.file.display()));
    let stream = open(job).or_fault(fault)?;
    let mut archive = Archive {
        job,
        log,
        index,
        members: Members::new(stream),
        names: HashMap::new(),
        done: Archived::default(),
        buffer: Vec::new(),
    };
    let mut findings = Findings::default();
    walk(job.root, job.exclude, &mut findings, &mut |step, findings| {
        if let Step::Entry(entry, at) = step {
            signals::check()?;
            archive.add(entry, at, findings)?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let Archive { index, members, mut done, .. } = archive;
    index.finish()?;
    let summing = members.finish().and_then(zstd::Encoder::finish).or_fault(fault)?;
    (done.compressed_bytes, done.sha256) = summing.end();
    done.findings = findings;
    Ok(done)
}

fn open(job: &Job<'_>) -> io::Result<zstd::Encoder<'static, Summing>> {
    match std::fs::remove_file(job.file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(job.file)?;
    let mut encoder = zstd::Encoder::new(Summing::new(file), job.level)?;
    encoder.include_checksum(true)?;
    encoder.multithread(job.threads)?;
    Ok(encoder)
}

struct Archive<'a> {
    job: &'a Job<'a>,
    log: &'a Log,
    index: Writer,
    members: Members<zstd::Encoder<'static, Summing>>,
    /// The first name met of each file that has several, by device and inode.
    names: HashMap<(u64, u64), Entry>,
    done: Archived,
    buffer: Vec<u8>,
}

impl Archive<'_> {
    fn add(&mut self, entry: &Entry, at: At<'_>, findings: &mut Findings) -> Result<()> {
        if entry.kind != Kind::File {
            let attributes = match entry.kind {
                Kind::Folder => self.attributes(at.folder, entry, findings),
                _ => Vec::new(),
            };
            let added = self.members.add_empty(entry, &attributes);
            return self.added(added, entry);
        }
        if entry.links > 1
            && let Some(first) = self.names.get(&(entry.device, entry.inode))
            && first.is_same(entry)
        {
            let added = self.members.add_link(entry, &first.path);
            return self.added(added, entry);
        }
        let Some((mut file, now)) = self.open_file(entry, at, findings) else { return Ok(()) };
        let attributes = self.attributes(file.as_fd(), &now, findings);
        let Some(entry) = self.add_file(&mut file, now, &attributes, findings)? else { return Ok(()) };
        if entry.links > 1 {
            self.names.insert((entry.device, entry.inode), entry.clone());
        }
        self.added(Ok(()), &entry)
    }

    fn added(&mut self, added: io::Result<()>, entry: &Entry) -> Result<()> {
        added.or_fault(|| self.unwritable())?;
        self.done.entries += 1;
        if entry.kind == Kind::File {
            self.done.bytes += entry.size;
        }
        self.log.progress(self.done.entries, 0, "files");
        self.index.write(entry)
    }

    fn attributes(&self, fd: BorrowedFd<'_>, entry: &Entry, findings: &mut Findings) -> Attributes {
        attributes::read(fd).unwrap_or_else(|error| {
            findings.problem(&entry.path, format!("its extended attributes cannot be read: {}", error.desc()));
            Vec::new()
        })
    }

    fn unwritable(&self) -> Fault {
        Fault::failed(format!("cannot write {}", self.job.file.display())).hint("is there room on the target?")
    }

    fn open_file(&self, entry: &Entry, at: At<'_>, findings: &mut Findings) -> Option<(File, Entry)> {
        let opened = open_read(at.folder, at.name, OFlag::empty()).and_then(|fd| {
            let now = Entry::from_stat(entry.path.clone(), &fstat(&fd)?);
            Ok((File::from(fd), now))
        });
        match opened {
            Ok((file, Some(now))) if now.kind == Kind::File => return Some((file, now)),
            // Gone, or now a link, a socket or something else.
            Ok(_) | Err(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO) => findings.vanished += 1,
            Err(error) => findings.problem(&entry.path, format!("cannot be read: {}", error.desc())),
        }
        None
    }

    /// Adds a file that may be written to or cut meanwhile.
    fn add_file(
        &mut self,
        file: &mut File,
        entry: Entry,
        attributes: &Attributes,
        findings: &mut Findings,
    ) -> Result<Option<Entry>> {
        if entry.size <= WHOLE {
            self.add_whole(file, entry, attributes, findings)
        } else {
            self.add_streamed(file, entry, attributes, findings)
        }
    }

    fn add_whole(
        &mut self,
        file: &mut File,
        mut entry: Entry,
        attributes: &Attributes,
        findings: &mut Findings,
    ) -> Result<Option<Entry>> {
        for left in (0..ATTEMPTS).rev() {
            self.buffer.clear();
            let read = rewind_and_read(file, entry.size, &mut self.buffer);
            let after = read.and_then(|()| Ok(fstat(&*file)?));
            let after = match after {
                Ok(stat) => Entry::from_stat(entry.path.clone(), &stat).unwrap_or_else(|| entry.clone()),
                Err(error) => {
                    findings.problem(&entry.path, format!("cannot be read: {error}"));
                    return Ok(None);
                }
            };
            let steady = after.is_same(&entry) && self.buffer.len() as u64 == entry.size;
            if steady || left == 0 {
                if !steady {
                    findings.changed_while_read.push(entry.path.clone());
                }
                let written = Entry { size: self.buffer.len() as u64, ..entry };
                self.members.add_file(&written, attributes, &self.buffer[..]).or_fault(|| self.unwritable())?;
                return Ok(Some(written));
            }
            entry = after;
            if entry.size > WHOLE {
                return self.add_streamed(file, entry, attributes, findings);
            }
        }
        Ok(None)
    }

    /// Adds a large file as it is read. Its size stands before it in the archive, so what it lacks in the end is
    /// filled up with zeros, as tar does, and what it has more is left out.
    fn add_streamed(
        &mut self,
        file: &mut File,
        entry: Entry,
        attributes: &Attributes,
        findings: &mut Findings,
    ) -> Result<Option<Entry>> {
        let mut exactly = Exactly { file: &*file, left: entry.size, trouble: None };
        let added = self.members.add_file(&entry, attributes, &mut exactly);
        let trouble = exactly.trouble;
        signals::check()?;
        added.or_fault(|| self.unwritable())?;
        let after = fstat(&*file).ok().and_then(|stat| Entry::from_stat(entry.path.clone(), &stat));
        match trouble {
            Some(Some(error)) => {
                findings.problem(&entry.path, format!("cannot be read to its end: {error}"));
                // Not in the index, as all that cannot be read.
                return Ok(None);
            }
            Some(None) => findings.changed_while_read.push(entry.path.clone()),
            None if !after.is_some_and(|after| after.is_same(&entry)) => {
                findings.changed_while_read.push(entry.path.clone());
            }
            None => {}
        }
        Ok(Some(entry))
    }
}

fn rewind_and_read(file: &mut File, size: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
    io::Seek::rewind(file)?;
    buffer.reserve(size as usize + 1);
    // One byte more, to see whether it has grown; the size in the entry decides what is kept.
    file.take(size + 1).read_to_end(buffer)?;
    buffer.truncate(size as usize);
    Ok(())
}

/// Reads a file and then zeros, `left` bytes in all.
struct Exactly<'a> {
    file: &'a File,
    left: u64,
    /// Set when zeros had to be put in: `Some(None)` if the file was shorter, else the error that came up.
    trouble: Option<Option<io::Error>>,
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..want];
        if self.trouble.is_none() && want > 0 {
            if signals::received() {
                return Err(io::Error::other("a signal asks the program to end"));
            }
            match self.file.read(buffer) {
                Ok(0) => self.trouble = Some(None),
                Ok(count) => {
                    self.left -= count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                Err(error) => self.trouble = Some(Some(error)),
            }
        }
        buffer.fill(0);
        self.left -= want as u64;
        Ok(want)
    }
}
