//! Brings an archive back as the tree that it was made of. What it may not do, whoever made the archive: write outside
//! of its folder, follow a link, or make a device. Decides nothing about which archives go where.

use super::read::{Extensions, Member};
use super::sum::Summed;
use crate::entry::attributes::Attributes;
use crate::entry::{Entry, Kind, Owners, Selection, shown, split};
use crate::error::{Fault, OrFault, Result};
use crate::sys::log::Log;
use crate::sys::priority::Effort;
use crate::sys::threads::GivenUp;
use crate::sys::{signals, threads};
use crate::tree::{Folder, Place};
use nix::errno::Errno;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

const BUFFER: usize = 256 << 10;

/// Files up to this size, in bytes, are made by other threads than the one that reads the archive: to make a small file
/// takes longer than to read it, and most of that is waiting for the disk.
const SMALL: u64 = 256 << 10;

/// So many of them, or so many bytes in them, are handed out at a time: threads that make files in the same folder wait for
/// each other.
const AT_ONCE: (usize, usize) = (64, 1 << 20);

/// What to bring back, and where to.
#[derive(Clone, Copy, Debug)]
pub struct Extract<'a> {
    /// The archive.
    pub file: &'a Path,
    /// Where it goes: not there yet, or an empty folder. Open to root alone until all is done.
    pub into: &'a Path,
    /// What of it is wanted. The folders on the way are made too.
    pub only: &'a Selection,
    /// Who owns things here.
    pub owners: &'a Owners,
    /// How much of the machine it may take: threads that make files, beside the one that reads the archive.
    pub effort: Effort,
    /// Ends it early when something else that is done at the same time has failed.
    pub given_up: &'a GivenUp,
}

/// What was brought back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Entries, the root among them.
    pub entries: u64,
    /// Folders among them.
    pub folders: u64,
    /// Sizes of all files, in bytes.
    pub bytes: u64,
    /// How many files and folders have lost their access control lists or other attributes, which the file system here
    /// cannot keep.
    pub attributes_lost: u64,
    /// SHA-256 of the whole archive as it was read, in hexadecimal digits: to be compared before the tree is used.
    pub sha256: String,
}

/// Brings an archive back. An error, with the member's name, if the archive is damaged, if it has something in it that
/// this program never puts there (a name that leads elsewhere, a device, a name twice, a member in what is no folder), if
/// anything cannot be written, or on a signal; then what was made so far is left for the caller to remove.
pub fn extract(job: &Extract<'_>, log: &Log) -> Result<Extracted> {
    let mut work = Work {
        job,
        log,
        place: Place::open_empty(job.into)?,
        folders: Vec::new(),
        files: HashSet::new(),
        links: Vec::new(),
        elsewhere: HashMap::new(),
        gathered: Vec::new(),
        gathered_bytes: 0,
        buffer: vec![0; BUFFER],
        done: Extracted::default(),
    };
    let lost = AtomicU64::new(0);
    let make = |_: &mut (), files: Vec<SmallFile>| files.iter().try_for_each(|file| file.make(&lost));
    let read = |hand_out: HandOut<'_>| work.read(hand_out);
    let read = threads::share(job.effort, || (), make, read).and_then(|()| work.make_links());
    read.or_fault(|| Fault::failed(format!("{} cannot be brought back", job.file.display())))?;
    work.done.attributes_lost += lost.into_inner();
    work.end()
}

/// The first file in an archive whose path is `wanted`, with its path, if it is not longer than `limit` bytes. An error if the
/// archive cannot be read so far, or on a signal.
pub fn first_file(file: &Path, wanted: &dyn Fn(&[u8]) -> bool, limit: u64) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut archive = tar::Archive::new(uncompressed(File::open(file)?)?);
    let mut extensions = Extensions::default();
    let owners = Owners::as_they_were();
    for entry in archive.entries()?.raw(true) {
        signals::check()?;
        let mut entry = entry?;
        let header = entry.header().clone();
        if extensions.take(&header, &mut entry)? {
            continue;
        }
        let member = Member::new(&header, &std::mem::take(&mut extensions), &owners)?;
        if member.entry.kind == Kind::File && member.link_to.is_none() && wanted(&member.entry.path) {
            let mut content = Vec::new();
            let read = entry.take(limit).read_to_end(&mut content)?;
            return Ok((read as u64 == member.entry.size).then_some((member.entry.path, content)));
        }
    }
    Ok(None)
}

/// What a tar is read from: zstd's frames are told from a plain tar by the number that they begin with (RFC 8878, 3.1.1).
fn uncompressed<'a>(stream: impl Read + 'a) -> std::io::Result<Box<dyn Read + 'a>> {
    const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let mut stream = std::io::BufReader::with_capacity(BUFFER, stream);
    if std::io::BufRead::fill_buf(&mut stream)?.starts_with(&MAGIC) {
        return Ok(Box::new(zstd::Decoder::with_buffer(stream)?));
    }
    Ok(Box::new(stream))
}

/// Goes through an archive to its very end, and returns its sum.
fn each_member(job: &Extract<'_>, visit: &mut dyn FnMut(Member, &mut dyn Read) -> Result<()>) -> Result<String> {
    let damaged = |after: &[u8]| {
        let place = if after.is_empty() { "at its beginning".to_owned() } else { format!("after {}", shown(after)) };
        Fault::failed(format!("it is damaged {place}")).hint("use another backup; \"moodle-backup list\" shows them")
    };
    let mut summed = Summed::new(File::open(job.file)?);
    let mut last = Vec::new();
    {
        let mut archive = tar::Archive::new(uncompressed(&mut summed)?);
        let mut extensions = Extensions::default();
        for entry in archive.entries()?.raw(true) {
            job.given_up.check()?;
            let mut entry = entry.or_fault(|| damaged(&last))?;
            let header = entry.header().clone();
            if extensions.take(&header, &mut entry).or_fault(|| damaged(&last))? {
                continue;
            }
            let member = Member::new(&header, &std::mem::take(&mut extensions), job.owners)?;
            last.clone_from(&member.entry.path);
            visit(member, &mut entry)?;
        }
        // To the end of the frame, where its checksum is, which only then is compared.
        std::io::copy(&mut archive.into_inner(), &mut std::io::sink()).or_fault(|| damaged(&last))?;
    }
    Ok(summed.end()?)
}

/// A file that was read out of the archive and is to be made, by whatever thread.
struct SmallFile {
    folder: Folder,
    entry: Entry,
    attributes: Attributes,
    content: Vec<u8>,
}

impl SmallFile {
    /// Counts in `lost` if its attributes cannot be kept here.
    fn make(&self, lost: &AtomicU64) -> Result<()> {
        let made = self.folder.write_file(&self.entry, &self.attributes, &self.content);
        let kept = made.map_err(|error| of_member(&self.entry.path, error))?;
        lost.fetch_add(u64::from(!kept), Ordering::Relaxed);
        Ok(())
    }
}

/// Takes files that are to be made.
type HandOut<'a> = &'a mut dyn FnMut(Vec<SmallFile>) -> Result<()>;

struct Work<'a> {
    job: &'a Extract<'a>,
    log: &'a Log,
    place: Place,
    /// Those made so far: they get their times when nothing more is put into them.
    folders: Vec<(Entry, Attributes)>,
    /// Files that came so far, of which there may be further names.
    files: HashSet<Vec<u8>>,
    /// Further names, with the first: they are made when the files are.
    links: Vec<(Vec<u8>, Vec<u8>)>,
    /// Wanted names of files whose content stands in the archive under a name that is not wanted; by that name.
    elsewhere: HashMap<Vec<u8>, Vec<Vec<u8>>>,
    /// Files that were read and not handed out yet, and the bytes in them.
    gathered: Vec<SmallFile>,
    gathered_bytes: usize,
    buffer: Vec<u8>,
    done: Extracted,
}

impl Work<'_> {
    /// Reads the archive, and once more if something is in it under a name that is not wanted.
    fn read(&mut self, hand_out: HandOut<'_>) -> Result<()> {
        let job = self.job;
        self.done.sha256 = each_member(job, &mut |member, content| self.member(member, content, hand_out))?;
        if !self.elsewhere.is_empty() {
            each_member(job, &mut |member, content| self.wanted_elsewhere(member, content, hand_out))?;
        }
        hand_out(std::mem::take(&mut self.gathered))
    }

    fn member(&mut self, member: Member, content: &mut dyn Read, hand_out: HandOut<'_>) -> Result<()> {
        let path = member.entry.path.clone();
        self.place_member(member, content, hand_out).map_err(|error| of_member(&path, error))
    }

    fn place_member(&mut self, member: Member, content: &mut dyn Read, hand_out: HandOut<'_>) -> Result<()> {
        let Member { entry, attributes, link_to } = member;
        if entry.kind == Kind::Folder {
            if self.job.only.wants_in(&entry.path) {
                self.folder(entry, attributes)?;
            }
            return Ok(());
        }
        if entry.path.is_empty() {
            return Err(Fault::failed("the archived folder is no folder").into());
        }
        if !self.job.only.wants(&entry.path) {
            return Ok(());
        }
        if entry.kind == Kind::Symlink {
            self.place.make_symlink(&entry)?;
            self.count();
        } else if let Some(first) = link_to {
            self.link(first, entry.path)?;
        } else {
            self.file(entry, attributes, content, hand_out)?;
        }
        Ok(())
    }

    fn folder(&mut self, entry: Entry, attributes: Attributes) -> Result<()> {
        if !entry.path.is_empty() {
            self.place.make_folder(&entry.path)?;
        } else if self.folders.iter().any(|(folder, _)| folder.path.is_empty()) {
            return Err(Fault::failed("it stands twice in the archive").into());
        }
        self.folders.push((entry, attributes));
        Ok(())
    }

    fn link(&mut self, first: Vec<u8>, path: Vec<u8>) -> Result<()> {
        if self.files.contains(&first) {
            self.links.push((first, path));
            return Ok(());
        }
        if self.job.only.wants(&first) {
            let what = format!("it is another name of {}, which did not come before it", shown(&first));
            return Err(Fault::failed(what).into());
        }
        self.elsewhere.entry(first).or_default().push(path);
        Ok(())
    }

    fn make_links(&mut self) -> Result<()> {
        for (first, path) in std::mem::take(&mut self.links) {
            signals::check()?;
            self.place.link(&first, &path).map_err(|error| of_member(&path, error))?;
            self.count();
        }
        Ok(())
    }

    /// In a second pass: the content of files of which only other names are wanted.
    fn wanted_elsewhere(&mut self, member: Member, content: &mut dyn Read, hand_out: HandOut<'_>) -> Result<()> {
        if member.link_to.is_some() || member.entry.kind != Kind::File {
            return Ok(());
        }
        let Some(names) = self.elsewhere.remove(&member.entry.path) else { return Ok(()) };
        let mut names = names.into_iter();
        let Some(first) = names.next() else { return Ok(()) };
        self.links.extend(names.map(|name| (first.clone(), name)));
        self.file(Entry { path: first, ..member.entry }, member.attributes, content, hand_out)
    }

    fn file(
        &mut self,
        entry: Entry,
        attributes: Attributes,
        content: &mut dyn Read,
        hand_out: HandOut<'_>,
    ) -> Result<()> {
        self.done.bytes += entry.size;
        self.files.insert(entry.path.clone());
        self.count();
        if entry.size > SMALL {
            return self.large_file(&entry, &attributes, content);
        }
        let folder = self.place.share_folder(split(&entry.path).0)?;
        let mut bytes = Vec::with_capacity(usize::try_from(entry.size)?);
        content.take(entry.size).read_to_end(&mut bytes).or_fault(damaged_there)?;
        if bytes.len() as u64 != entry.size {
            return Err(ends_there());
        }
        self.gathered_bytes += bytes.len();
        self.gathered.push(SmallFile { folder, entry, attributes, content: bytes });
        if self.gathered.len() < AT_ONCE.0 && self.gathered_bytes < AT_ONCE.1 {
            return Ok(());
        }
        self.gathered_bytes = 0;
        hand_out(std::mem::take(&mut self.gathered))
    }

    fn large_file(&mut self, entry: &Entry, attributes: &Attributes, content: &mut dyn Read) -> Result<()> {
        let mut file = File::from(self.place.make_file(&entry.path)?);
        let mut left = entry.size;
        while left > 0 {
            signals::check()?;
            let want = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = match content.read(&mut self.buffer[..want]) {
                Ok(0) => return Err(ends_there()),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).or_fault(damaged_there),
            };
            file.write_all(&self.buffer[..count]).or_fault(|| {
                let path = self.job.into.join(crate::entry::to_path(&entry.path));
                Fault::failed(format!("cannot write {}", path.display()))
            })?;
            left -= count as u64;
        }
        let kept = self.place.finish_file(&file.into(), entry, attributes)?;
        self.done.attributes_lost += u64::from(!kept);
        Ok(())
    }

    fn count(&mut self) {
        self.done.entries += 1;
        self.log.progress(self.done.entries, 0, "files");
    }

    fn end(mut self) -> Result<Extracted> {
        if let Some(first) = self.elsewhere.keys().next() {
            let what = format!("{} names {}, which is not in it", self.job.file.display(), shown(first));
            return Err(Fault::failed(what).into());
        }
        // Inner ones first: so the outermost keeps strangers out until all is done. Each came after the one that holds it,
        // but for the root, which may come at any time.
        self.folders.sort_by_key(|(folder, _)| !folder.path.is_empty());
        for (folder, attributes) in std::mem::take(&mut self.folders).into_iter().rev() {
            let kept = self.place.finish_folder(&folder, &attributes)?;
            self.done.attributes_lost += u64::from(!kept);
            self.done.entries += 1;
            self.done.folders += 1;
        }
        Ok(self.done)
    }
}

fn ends_there() -> anyhow::Error {
    Fault::failed("the archive ends in the midst of it").into()
}

fn damaged_there() -> Fault {
    Fault::failed("the archive is damaged there")
}

/// An error with the member that it came up with.
fn of_member(path: &[u8], error: anyhow::Error) -> anyhow::Error {
    let why = error.root_cause().downcast_ref().and_then(|error| out_of_place(*error));
    error.context(Fault::failed(format!("member {}{}", shown(path), why.unwrap_or_default())))
}

/// What the system says of members that are not as this program orders them.
fn out_of_place(error: Errno) -> Option<&'static str> {
    match error {
        Errno::EEXIST => Some(" stands twice in the archive"),
        Errno::ENOTDIR | Errno::ELOOP => Some(" lies in something that is no folder"),
        Errno::ENOENT => Some(" lies in a folder that is not in the archive"),
        _ => None,
    }
}
