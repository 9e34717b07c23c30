//! Reading a file that should be there as it was, and what can be wrong with it. Compares nothing: that is for who knows
//! what should be in it.

use crate::error::Result;
use crate::sys::priority::Effort;
use crate::sys::signals;
use nix::errno::Errno;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::stat::{SFlag, fstat};
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;

const BUFFER: usize = 1 << 20;

/// How files are read again.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// How it may use the machine.
    pub effort: Effort,
    /// Whether memory is to be left out: what was written last night is still in memory, where a disk's damage does not
    /// show, and what is read once must not drive out what the machine needs. Without it, what is read stays at hand.
    pub from_disk: bool,
}

/// What is wrong with a file that should be there as it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// There is nothing of this name.
    Missing,
    /// Something else has its name: `a folder`, `a symbolic link`, `a device`.
    NotAFile(&'static str),
    /// It is there and cannot be read, as the system says.
    Unreadable(String),
    /// Its content is another than it was.
    Changed,
    /// Nothing tells what its content should be.
    Unknown,
    /// The name leads out of the place where the file should be.
    Outside,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Missing => f.write_str("is missing"),
            Trouble::NotAFile(what) => write!(f, "is {what} where a file should be"),
            Trouble::Unreadable(why) => write!(f, "cannot be read: {why}"),
            Trouble::Changed => f.write_str("has another content than it had"),
            Trouble::Unknown => f.write_str("has no checksum, so that nobody knows whether it is right"),
            Trouble::Outside => f.write_str("is a name that leads elsewhere, which moodle-backup never writes"),
        }
    }
}

impl Trouble {
    /// What an error in opening a file means.
    pub fn of(error: Errno) -> Trouble {
        match error {
            Errno::ENOENT => Trouble::Missing,
            Errno::ENOTDIR => Trouble::NotAFile("something below a file or a symbolic link"),
            Errno::ELOOP => Trouble::NotAFile("a symbolic link"),
            Errno::ENXIO => Trouble::NotAFile("a socket, a pipe or a device"),
            error => Trouble::Unreadable(error.desc().to_lowercase()),
        }
    }

    /// What kind of thing stands there in place of a file; `None` if it is one.
    pub fn of_kind(mode: nix::libc::mode_t) -> Option<Trouble> {
        match SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => None,
            SFlag::S_IFDIR => Some(Trouble::NotAFile("a folder")),
            SFlag::S_IFLNK => Some(Trouble::NotAFile("a symbolic link")),
            SFlag::S_IFSOCK => Some(Trouble::NotAFile("a socket")),
            SFlag::S_IFIFO => Some(Trouble::NotAFile("a pipe")),
            _ => Some(Trouble::NotAFile("a device")),
        }
    }
}

impl Reading {
    /// Reads an open file to its end and hands all of it to `each`; how many bytes there were, or what is wrong with the
    /// file. The error is a signal's. `buffer` holds nothing, but saves making a new one for each file.
    pub(crate) fn read(
        &self,
        fd: OwnedFd,
        buffer: &mut Vec<u8>,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<std::result::Result<u64, Trouble>> {
        match fstat(&fd) {
            Ok(stat) => {
                if let Some(trouble) = Trouble::of_kind(stat.st_mode) {
                    return Ok(Err(trouble));
                }
            }
            Err(error) => return Ok(Err(Trouble::of(error))),
        }
        self.forget(&fd);
        buffer.resize(BUFFER, 0);
        let mut file = File::from(fd);
        let mut bytes = 0;
        loop {
            signals::check()?;
            match file.read(buffer) {
                Ok(0) => break,
                Ok(count) => {
                    each(&buffer[..count]);
                    bytes += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
                    return Ok(Err(Trouble::Unreadable(errno.desc().to_lowercase())));
                }
            }
        }
        self.forget(&file.into());
        Ok(Ok(bytes))
    }

    /// Has memory let go of what it holds of a file and the disk has too. What the kernel refuses is left as it is.
    fn forget(&self, fd: &OwnedFd) {
        if self.from_disk {
            let _ = posix_fadvise(fd, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        }
    }
}
