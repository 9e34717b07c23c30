//! How a tree differs from an archive that was made of it, told by the archive's index and by what could not be read
//! then. Writes nothing, and decides nothing about what follows from a difference.

use crate::entry::{At, Cursor, Entry, Exclusions, Findings, Kind, Note, Step, attributes, open_read, walk};
use crate::error::Result;
use crate::sys::signals;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::Path;

/// The comparison ends when so many differences are known: then the tree has simply changed.
const MOST: usize = 100;

/// How much of a file is read at once, in bytes.
const CHUNK: usize = 1 << 20;

/// What could not be read when the archive was made, and so is not in it.
#[derive(Clone, Copy, Debug)]
pub enum Unread<'a> {
    /// Is tried again, and what can be read now has changed: for an archive of an earlier day.
    TriedAgain(&'a [Note]),
    /// Is taken to be as it was: for an archive that was just made.
    AsItWas(&'a [Note]),
}

/// A tree, against an archive of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Paths of what is new, gone or otherwise; the first hundred.
    pub changed: Vec<Vec<u8>>,
    /// Paths of what was so new when the archive was made that it may have changed since without showing it.
    pub uncertain: Vec<Vec<u8>>,
    /// What the walk met besides entries. Where nothing has changed, what could not be read then is in it again.
    pub findings: Findings,
}

impl Compared {
    /// Whether the archive is that of the tree as it is now, but for what still cannot be read.
    pub fn is_same(&self) -> bool {
        self.is_same_but_for(&[])
    }

    /// The same, where it does not matter what has become of some paths.
    pub fn is_same_but_for(&self, paths: &[Vec<u8>]) -> bool {
        !self.is_enough() && self.differences().all(|path| paths.contains(path))
    }

    /// All paths that are not surely as they were.
    pub fn differences(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.changed.iter().chain(&self.uncertain)
    }

    fn is_enough(&self) -> bool {
        self.changed.len() + self.uncertain.len() >= MOST
    }
}

/// Compares a tree with the archive that has this index. An error if the index is damaged or the root cannot be read.
pub fn compare(root: &Path, exclude: &Exclusions, index: &Path, unread: Unread<'_>) -> Result<Compared> {
    let (notes, again) = match unread {
        Unread::TriedAgain(notes) => (notes, true),
        Unread::AsItWas(notes) => (notes, false),
    };
    let unread: HashMap<&[u8], &Note> = notes.iter().map(|note| (note.path.as_slice(), note)).collect();
    let mut cursor = Cursor::open(index)?;
    let began = cursor.began();
    let mut compared = Compared::default();
    let mut findings = Findings::default();
    walk(root, exclude, &mut findings, &mut |step, findings| {
        let Step::Entry(entry, at) = step else { return Ok(ControlFlow::Continue(())) };
        let changed = &mut compared.changed;
        let then = cursor.take(&entry.path, &mut |gone| note(changed, gone.path))?;
        match (then, unread.get(entry.path.as_slice())) {
            (Some(then), _) if !then.is_same(entry) => changed.push(entry.path.clone()),
            (Some(then), _) if then.is_racy(began) => compared.uncertain.push(entry.path.clone()),
            (Some(_), None) => {}
            (None, None) => changed.push(entry.path.clone()),
            (_, Some(note)) if !again => findings.problems.push((*note).clone()),
            (_, Some(_)) => match trouble(entry, at)? {
                Some(what) => findings.problem(&entry.path, what),
                None => changed.push(entry.path.clone()),
            },
        }
        Ok(if compared.is_enough() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    if !compared.is_enough() {
        cursor.pass_below(b"", &mut |gone| note(&mut compared.changed, gone.path))?;
    }
    // What the walk itself could not enter or look at.
    let new = findings.problems.iter().filter(|problem| !unread.contains_key(problem.path.as_slice()));
    compared.changed.extend(new.map(|problem| problem.path.clone()));
    compared.findings = findings;
    Ok(compared)
}

fn note(changed: &mut Vec<Vec<u8>>, path: Vec<u8>) -> Result<()> {
    if changed.len() < MOST {
        changed.push(path);
    }
    Ok(())
}

/// Why an entry cannot be read; `None` if it can.
fn trouble(entry: &Entry, at: At<'_>) -> Result<Option<String>> {
    let attributes = |fd| {
        let read = attributes::read(fd).err();
        read.map(|error| format!("its extended attributes cannot be read: {}", error.desc()))
    };
    match entry.kind {
        Kind::Symlink => Ok(None),
        Kind::Folder => Ok(attributes(at.folder)),
        Kind::File => match open_read(at.folder, at.name, OFlag::empty()) {
            // Gone, or now a link or a socket: that is a change.
            Err(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO) => Ok(None),
            Err(error) => Ok(Some(format!("cannot be read: {}", error.desc()))),
            Ok(fd) => match attributes(fd.as_fd()) {
                None => trouble_to_its_end(File::from(fd), entry.size),
                found => Ok(found),
            },
        },
    }
}

fn trouble_to_its_end(mut file: File, size: u64) -> Result<Option<String>> {
    let (mut buffer, mut done) = (vec![0; CHUNK], 0);
    // Empty files are read as well: archiving them does it too.
    loop {
        signals::check()?;
        match file.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(count) => done += count as u64,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Ok(Some(format!("cannot be read: {error}"))),
        }
        // Somebody may keep adding to it.
        if done >= size {
            return Ok(None);
        }
    }
}
