//! Brings an archive back as the tree that it was made of. What it may not do, whoever made the archive: write outside
//! of its folder, follow a link, or make a device. Decides nothing about which archives go where.

use super::read::{Extensions, Member};
use super::sum::Summed;
use crate::entry::attributes::Attributes;
use crate::entry::{Entry, Kind, Owners, Selection, shown};
use crate::error::{Fault, OrFault, Result};
use crate::sys::log::Log;
use crate::sys::signals;
use crate::tree::Place;
use nix::errno::Errno;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

const BUFFER: usize = 256 << 10;

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
}

/// What was brought back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Entries, the root among them.
    pub entries: u64,
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
        elsewhere: HashMap::new(),
        buffer: vec![0; BUFFER],
        done: Extracted::default(),
    };
    let fault = || Fault::failed(format!("{} cannot be brought back", job.file.display()));
    let sha256 = each_member(job, &mut |member, content| work.member(member, content)).or_fault(fault)?;
    if !work.elsewhere.is_empty() {
        each_member(job, &mut |member, content| work.wanted_elsewhere(member, content)).or_fault(fault)?;
    }
    work.end(sha256)
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
            signals::check()?;
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

struct Work<'a> {
    job: &'a Extract<'a>,
    log: &'a Log,
    place: Place,
    /// Those made so far: they get their times when nothing more is put into them.
    folders: Vec<(Entry, Attributes)>,
    /// Files made so far, of which there may be further names.
    files: HashSet<Vec<u8>>,
    /// Wanted names of files whose content stands in the archive under a name that is not wanted; by that name.
    elsewhere: HashMap<Vec<u8>, Vec<Vec<u8>>>,
    buffer: Vec<u8>,
    done: Extracted,
}

impl Work<'_> {
    fn member(&mut self, member: Member, content: &mut dyn Read) -> Result<()> {
        let path = member.entry.path.clone();
        self.place_member(member, content).map_err(|error| {
            let why = error.root_cause().downcast_ref().and_then(|error| out_of_place(*error));
            error.context(Fault::failed(format!("member {}{}", shown(&path), why.unwrap_or_default())))
        })
    }

    fn place_member(&mut self, member: Member, content: &mut dyn Read) -> Result<()> {
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
            self.link(first, &entry)?;
        } else {
            self.file(&entry, &attributes, content)?;
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

    fn link(&mut self, first: Vec<u8>, entry: &Entry) -> Result<()> {
        if self.files.contains(&first) {
            self.place.link(&first, &entry.path)?;
            self.count();
            return Ok(());
        }
        if self.job.only.wants(&first) {
            let what = format!("it is another name of {}, which did not come before it", shown(&first));
            return Err(Fault::failed(what).into());
        }
        self.elsewhere.entry(first).or_default().push(entry.path.clone());
        Ok(())
    }

    /// In a second pass: the content of files of which only other names are wanted.
    fn wanted_elsewhere(&mut self, member: Member, content: &mut dyn Read) -> Result<()> {
        if member.link_to.is_some() || member.entry.kind != Kind::File {
            return Ok(());
        }
        let Some(names) = self.elsewhere.remove(&member.entry.path) else { return Ok(()) };
        let mut names = names.into_iter();
        let Some(first) = names.next() else { return Ok(()) };
        let entry = Entry { path: first.clone(), ..member.entry };
        self.file(&entry, &member.attributes, content)?;
        for name in names {
            self.place.link(&first, &name)?;
            self.count();
        }
        Ok(())
    }

    fn file(&mut self, entry: &Entry, attributes: &Attributes, content: &mut dyn Read) -> Result<()> {
        let mut file = File::from(self.place.make_file(&entry.path)?);
        let mut left = entry.size;
        while left > 0 {
            signals::check()?;
            let want = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = match content.read(&mut self.buffer[..want]) {
                Ok(0) => return Err(Fault::failed("the archive ends in the midst of it").into()),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).or_fault(|| Fault::failed("the archive is damaged there")),
            };
            file.write_all(&self.buffer[..count]).or_fault(|| {
                let path = self.job.into.join(crate::entry::to_path(&entry.path));
                Fault::failed(format!("cannot write {}", path.display()))
            })?;
            left -= count as u64;
        }
        let kept = self.place.finish_file(&file.into(), entry, attributes)?;
        self.done.attributes_lost += u64::from(!kept);
        self.done.bytes += entry.size;
        self.files.insert(entry.path.clone());
        self.count();
        Ok(())
    }

    fn count(&mut self) {
        self.done.entries += 1;
        self.log.progress(self.done.entries, 0, "files");
    }

    fn end(mut self, sha256: String) -> Result<Extracted> {
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
        }
        Ok(Extracted { sha256, ..self.done })
    }
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
