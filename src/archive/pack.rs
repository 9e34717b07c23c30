//! A tar that is put together from files whose content is known beforehand: each is compared with its sum while it goes in.
//! Whatever is wrong, the tar ends there, in a way that every reader of it notices. Decides nothing about what goes in.

use super::member::Members;
use crate::entry::attributes::{self, Attributes};
use crate::entry::{Entry, Kind, Trouble, shown};
use crate::error::{Fault, OrFault, Result};
use crate::hashes::Hash;
use crate::sys::signals;
use nix::sys::stat::fstat;
use sha1::{Digest, Sha1};
use sha2::Sha256;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

/// What the content of a file is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Of this SHA-256.
    Sha256([u8; 32]),
    /// Of this SHA-1.
    Sha1(Hash),
    /// Nobody knows: what lists the sums of the others.
    Anything,
}

/// A tar being put together. Dropped before its end it stays without one.
pub struct Pack<W: Write> {
    members: Option<Members<Closable<W>>>,
    /// The first name of each file that has several, and what its content is, by device and inode.
    names: HashMap<(u64, u64), (Vec<u8>, Expected)>,
    bytes: u64,
}

impl<W: Write> Pack<W> {
    /// Begins a tar.
    pub fn new(stream: W) -> Self {
        let members = Members::new(Closable { stream, closed: false });
        Pack { members: Some(members), names: HashMap::new(), bytes: 0 }
    }

    /// How many bytes of content are in it.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a folder, with the attributes of the open one if that is given, or a symbolic link.
    pub fn add_empty(&mut self, entry: &Entry, folder: Option<&dyn AsFd>) -> Result<()> {
        let attributes = folder.map_or(Ok(Attributes::new()), |folder| attributes::read(folder.as_fd()));
        let attributes = attributes.or_fault(|| damaged(&entry.path, "its extended attributes cannot be read"))?;
        written(self.members()?.add_empty(entry, &attributes))
    }

    /// Adds a file with this content.
    pub fn add_content(&mut self, entry: &Entry, content: &[u8]) -> Result<()> {
        let entry = Entry { size: content.len() as u64, ..entry.clone() };
        self.bytes += entry.size;
        written(self.members()?.add_file(&entry, &Attributes::new(), content))
    }

    /// Adds an open file under the name `path`. `each` is told how many bytes of all are in the tar, now and then. An error if
    /// its content is not what it should be: then the tar cannot be completed any more.
    pub fn add_file(&mut self, path: Vec<u8>, file: &File, expected: Expected, each: &dyn Fn(u64)) -> Result<()> {
        let read = |what: &str| damaged(&path, &format!("cannot be read: {what}"));
        let stat = fstat(file).map_err(|error| read(error.desc()))?;
        let entry = Entry::from_stat(path.clone(), &stat).filter(|entry| entry.kind == Kind::File);
        let entry = entry.ok_or_else(|| damaged(&path, "is no plain file"))?;
        let number = (entry.device, entry.inode);
        if let Some((first, _)) = self.names.get(&number).filter(|(_, content)| *content == expected).cloned() {
            return written(self.members()?.add_link(&entry, &first));
        }
        let attributes = attributes::read(file.as_fd()).map_err(|error| read(error.desc()))?;
        let mut checked =
            Checked { file, left: entry.size, sum: Sum::new(expected), trouble: None, before: self.bytes, each };
        let added = self.members()?.add_file(&entry, &attributes, &mut checked);
        let (trouble, right) = (checked.trouble.take(), checked.left == 0 && checked.sum.is(expected));
        if let Some(error) = trouble {
            signals::check()?;
            return Err(read(&error.to_string()).into());
        }
        written(added)?;
        if !right {
            return Err(damaged(&path, &Trouble::Changed.to_string()).into());
        }
        self.bytes += entry.size;
        if entry.links > 1 {
            self.names.insert(number, (path, expected));
        }
        Ok(())
    }

    /// Ends the tar and hands the stream back.
    pub fn finish(mut self) -> Result<W> {
        let members = self.members.take().ok_or_else(unwritable)?;
        Ok(members.finish().or_fault(unwritable)?.stream)
    }

    fn members(&mut self) -> Result<&mut Members<Closable<W>>> {
        signals::check()?;
        self.members.as_mut().ok_or_else(|| unwritable().into())
    }
}

impl<W: Write> Drop for Pack<W> {
    fn drop(&mut self) {
        // The tar would be given an end, and who reads it would take it for whole.
        if let Some(members) = &mut self.members {
            members.stream().closed = true;
        }
    }
}

/// A stream that takes nothing more once it is closed.
struct Closable<W> {
    stream: W,
    closed: bool,
}

impl<W: Write> Write for Closable<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed { Err(io::Error::other("it was given up")) } else { self.stream.write(bytes) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.closed { Ok(()) } else { self.stream.flush() }
    }
}

/// Reads a file of a known size and sums it up. What it has more than that is another content too.
struct Checked<'a> {
    file: &'a File,
    left: u64,
    sum: Sum,
    trouble: Option<io::Error>,
    /// Bytes of content before this file.
    before: u64,
    each: &'a dyn Fn(u64),
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let result = match signals::received() {
            true => Err(io::Error::other("a signal asks the program to end")),
            false => self.file.read(&mut buffer[..want]),
        };
        match result {
            Ok(count) => {
                self.sum.update(&buffer[..count]);
                self.left -= count as u64;
                self.before += count as u64;
                (self.each)(self.before);
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.trouble = Some(error);
                Err(io::Error::other("it cannot be read"))
            }
        }
    }
}

/// A sum on its way.
enum Sum {
    Sha256(Sha256),
    Sha1(Sha1),
    None,
}

impl Sum {
    fn new(expected: Expected) -> Self {
        match expected {
            Expected::Sha256(_) => Sum::Sha256(Sha256::new()),
            Expected::Sha1(_) => Sum::Sha1(Sha1::new()),
            Expected::Anything => Sum::None,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Sum::Sha256(sum) => sum.update(bytes),
            Sum::Sha1(sum) => sum.update(bytes),
            Sum::None => {}
        }
    }

    fn is(self, expected: Expected) -> bool {
        match (self, expected) {
            (Sum::Sha256(sum), Expected::Sha256(expected)) => <[u8; 32]>::from(sum.finalize()) == expected,
            (Sum::Sha1(sum), Expected::Sha1(expected)) => Hash::from(sum.finalize()) == expected,
            _ => true,
        }
    }
}

fn damaged(path: &[u8], what: &str) -> Fault {
    Fault::failed(format!("{} {what}", shown(path)))
}

/// A signal is the reason for whatever follows it.
fn written(added: io::Result<()>) -> Result<()> {
    if added.is_err() {
        signals::check()?;
    }
    added.or_fault(unwritable)
}

fn unwritable() -> Fault {
    Fault::failed("the archive cannot be written")
}
