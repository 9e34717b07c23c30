//! Copies one file that may be written to, cut or taken away meanwhile, with its metadata.
//! Knows nothing of trees and indexes.

use crate::entry::attributes::{self, Attributes};
use crate::entry::{At, Entry, Kind, Time, open_read};
use crate::sys::signals;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fchmod, fstat, futimens};
use nix::sys::time::TimeSpec;
use nix::sys::uio::{pread, pwrite};
use nix::unistd::{Gid, Uid, UnlinkatFlags, Whence, fchown, ftruncate, lseek, unlinkat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How much is read at once, in bytes.
pub(super) const BUFFER: usize = 256 << 10;

/// How often a file is copied that is written to all the while.
const ATTEMPTS: usize = 2;

/// How the copying of a file ended.
pub(super) enum Copied {
    /// The copy is there. `entry` tells of the file as it was just before it was read; if it was `changed`
    /// meanwhile, the copy may be neither the old nor the new content. Not `kept` if the destination's file system
    /// cannot keep its extended attributes.
    Whole { entry: Entry, bytes: u64, changed: bool, kept: bool },
    /// There is no such file any more; nothing was made.
    Gone,
    /// It cannot be read; nothing was made.
    Unreadable(Errno),
}

/// Why no copy could be made, where that is not the file's fault.
pub(super) enum Failed {
    /// The destination cannot be written.
    Writing(Errno),
    /// A signal asks the program to end.
    Asked(anyhow::Error),
}

/// Why a content could not be copied.
pub(super) enum Broken {
    Reading(Errno),
    Writing(Errno),
    Asked(anyhow::Error),
}

/// Copies the file at `from`, whose path in its tree is `path`, to the new file `name` in `folder`.
pub(super) fn copy_file(
    from: At<'_>,
    path: &[u8],
    folder: BorrowedFd<'_>,
    name: &[u8],
    buffer: &mut [u8],
) -> Result<Copied, Failed> {
    let source = match open_read(from.folder, from.name, OFlag::empty()) {
        Ok(source) => source,
        // ELOOP: now a symbolic link. ENXIO: now a socket.
        Err(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO) => return Ok(Copied::Gone),
        Err(error) => return Ok(Copied::Unreadable(error)),
    };
    let now = |source: &OwnedFd| fstat(source).map(|stat| (Entry::from_stat(path.to_vec(), &stat), stat.st_blocks));
    match now(&source) {
        Ok((Some(entry), _)) if entry.kind == Kind::File => {}
        Ok(_) => return Ok(Copied::Gone),
        Err(error) => return Ok(Copied::Unreadable(error)),
    }
    let copy = create_new(folder, name).map_err(Failed::Writing)?;
    let made = attempt(&source, &copy, path, buffer);
    if !matches!(made, Ok(Copied::Whole { .. })) {
        let _ = unlinkat(folder, name, UnlinkatFlags::NoRemoveDir);
    }
    match made {
        Ok(copied) => Ok(copied),
        Err(Broken::Reading(error)) => Ok(Copied::Unreadable(error)),
        Err(Broken::Writing(error)) => Err(Failed::Writing(error)),
        Err(Broken::Asked(error)) => Err(Failed::Asked(error)),
    }
}

/// Makes a new file that only its maker can open yet.
pub(super) fn create_new(folder: BorrowedFd<'_>, name: &[u8]) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(folder, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
}

fn attempt(source: &OwnedFd, copy: &OwnedFd, path: &[u8], buffer: &mut [u8]) -> Result<Copied, Broken> {
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        let before = fstat(source).map_err(Broken::Reading)?;
        let sparse = (before.st_blocks as u64) * 512 < before.st_size as u64;
        let bytes = copy_content(source, copy, before.st_size as u64, sparse, buffer)?;
        let after = fstat(source).map_err(Broken::Reading)?;
        let entries = (Entry::from_stat(path.to_vec(), &before), Entry::from_stat(Vec::new(), &after));
        let (Some(entry), Some(after)) = entries else { return Ok(Copied::Gone) };
        let changed = !entry.is_same(&after) || bytes != entry.size;
        if !changed || left == 0 {
            let attributes = attributes::read(source.as_fd()).map_err(Broken::Reading)?;
            let kept = set_metadata(copy.as_fd(), &entry, &attributes).map_err(Broken::Writing)?;
            return Ok(Copied::Whole { entry, bytes, changed, kept });
        }
        ftruncate(copy, 0).map_err(Broken::Writing)?;
    }
}

/// Copies up to `size` bytes and returns how many there were. No more than that: a file that somebody keeps adding to
/// would never end.
pub(super) fn copy_content(
    source: &OwnedFd,
    copy: &OwnedFd,
    size: u64,
    sparse: bool,
    buffer: &mut [u8],
) -> Result<u64, Broken> {
    let mut at = 0;
    while at < size {
        let (start, end) = if sparse { next_data(source, at, size) } else { (at, size) };
        at = start;
        while at < end {
            signals::check().map_err(Broken::Asked)?;
            let want = buffer.len().min((end - at) as usize);
            match pread(source, &mut buffer[..want], at as i64) {
                Ok(0) => return Ok(at),
                Ok(count) => {
                    write_all(copy, &buffer[..count], at).map_err(Broken::Writing)?;
                    at += count as u64;
                }
                Err(Errno::EINTR) => {}
                Err(error) => return Err(Broken::Reading(error)),
            }
        }
    }
    if sparse {
        // The last thing in the file may be a hole.
        ftruncate(copy, size as i64).map_err(Broken::Writing)?;
    }
    Ok(size)
}

/// From where to where the next data lie, up to `size`. File systems that know no holes tell of one long run.
fn next_data(source: &OwnedFd, from: u64, size: u64) -> (u64, u64) {
    match lseek(source, from as i64, Whence::SeekData) {
        Ok(start) => {
            let start = (start as u64).min(size);
            let end = lseek(source, start as i64, Whence::SeekHole).map_or(size, |end| (end as u64).min(size));
            (start, end.max(start))
        }
        Err(Errno::ENXIO) => (size, size),
        Err(_) => (from, size),
    }
}

fn write_all(copy: &OwnedFd, mut bytes: &[u8], mut at: u64) -> nix::Result<()> {
    while !bytes.is_empty() {
        match pwrite(copy, bytes, at as i64) {
            Ok(0) => return Err(Errno::EIO),
            Ok(count) => {
                bytes = &bytes[count..];
                at += count as u64;
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Gives an open file or folder the owner, mode and times of an entry and these attributes; false if its file system
/// cannot keep them.
pub(super) fn set_metadata(fd: BorrowedFd<'_>, entry: &Entry, attributes: &Attributes) -> nix::Result<bool> {
    // The owner first: changing it takes setuid, setgid and capabilities away.
    fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    let kept = attributes::write(fd, attributes)?;
    fchmod(fd, Mode::from_bits_truncate(entry.mode))?;
    let [atime, mtime] = times(entry);
    futimens(fd, &atime, &mtime)?;
    Ok(kept)
}

/// Access time (left as it is) and time of last change of an entry, as the system calls take them.
pub(super) fn times(entry: &Entry) -> [TimeSpec; 2] {
    let Time { seconds, nanos } = entry.mtime;
    [TimeSpec::UTIME_OMIT, TimeSpec::new(seconds, nanos.into())]
}
