//! Carries files into the pool in batches: copied under temporary names, made durable together, then named. Decides
//! nothing about which files.

use super::adopted::Adopted;
use super::{FILE_MODE, Pool};
use crate::error::{Fault, OrFault, Result};
use crate::hashes::{self, Hash};
use crate::sys::files::FileSystem;
use nix::fcntl::RenameFlags;
use nix::sys::time::TimeSpec;
use sha1::{Digest, Sha1};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A batch is made durable and named when it has so many files, so many bytes, or is so old: an interrupted
/// first copy of terabytes loses at most one batch a thread.
const BATCH_FILES: usize = 65_536;
const BATCH_BYTES: u64 = 8 << 30;
const BATCH_AGE: Duration = Duration::from_secs(120);

pub(super) const BUFFER: usize = 1 << 20;

/// What a copy did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files that are new in the pool.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Files at the source whose content does not have the SHA-1 in their name, in order.
    pub damaged: Vec<Hash>,
    /// Files at the source that could not be read, with the reason.
    pub unreadable: Vec<String>,
    /// Things in filedir that are not content-addressed files, and so are in no backup.
    pub foreign: Vec<PathBuf>,
}

impl Copied {
    /// Adds what another copy did.
    pub fn add(&mut self, other: Copied) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.damaged.extend(other.damaged);
        self.unreadable.extend(other.unreadable);
        // What is bad is met again by each later copy.
        self.damaged.sort_unstable();
        self.damaged.dedup();
        self.unreadable.sort_unstable();
        self.unreadable.dedup();
        self.foreign.extend(other.foreign);
    }
}

/// What was found under a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Whole,
    Bad,
    Nowhere,
}

/// Carries files into the pool in batches: copied under temporary names, made durable together, then named.
pub(super) struct Carrier<'a> {
    pool: &'a Pool,
    folder: PathBuf,
    file_system: FileSystem,
    buffer: Vec<u8>,
    batch: Vec<(Hash, u64)>,
    batch_bytes: u64,
    batch_started: Instant,
    serial: u64,
    /// What was done so far.
    pub copied: Copied,
}

impl<'a> Carrier<'a> {
    pub fn new(pool: &'a Pool, number: usize) -> Result<Self> {
        // Files then get the group by themselves, which is cheaper than a chown each.
        nix::unistd::setfsgid(nix::unistd::Gid::from_raw(pool.group));
        let folder = pool.incoming.join(number.to_string());
        pool.make_folder(&folder).or_fault(|| Fault::failed(format!("cannot make {}", folder.display())))?;
        Ok(Carrier {
            pool,
            file_system: FileSystem::watch(&folder)?,
            folder,
            buffer: vec![0; BUFFER],
            batch: Vec::new(),
            batch_bytes: 0,
            batch_started: Instant::now(),
            serial: 0,
            copied: Copied::default(),
        })
    }

    fn temporary(&self, serial: u64) -> PathBuf {
        self.folder.join(serial.to_string())
    }

    /// Copies one file under a temporary name.
    pub fn carry(&mut self, path: &Path, hash: &Hash) -> Result<Found> {
        match open_regular(path) {
            Ok(Some(source)) => self.carry_open(path, source, hash),
            Ok(None) => Ok(Found::Nowhere),
            Err(error) => Ok(self.unreadable(path, &error)),
        }
    }

    /// Copies an open file, which need not have the name any more under which it was opened.
    pub fn carry_open(&mut self, path: &Path, mut source: File, hash: &Hash) -> Result<Found> {
        self.serial += 1;
        let temporary = self.temporary(self.serial);
        match self.copy_and_hash(&mut source, &temporary)? {
            Err(error) => {
                let _ = std::fs::remove_file(&temporary);
                Ok(self.unreadable(path, &error))
            }
            Ok((found, bytes)) if found == *hash => {
                self.take(*hash, bytes)?;
                Ok(Found::Whole)
            }
            Ok(_) => {
                self.set_damaged_aside(&temporary, hash)?;
                Ok(Found::Bad)
            }
        }
    }

    /// Takes a file itself, by a further link, in place of copying it: root's from now on, so that nobody else can change
    /// it by the name that it has there. One that somebody has open for writing, or that has further names, is copied.
    pub fn adopt(&mut self, path: &Path, hash: &Hash) -> Result<Found> {
        self.serial += 1;
        let temporary = self.temporary(self.serial);
        let adopted = match Adopted::take(path, &temporary, self.pool.group) {
            // A link there would lead elsewhere, or its file system is another.
            Err(_) | Ok(None) => {
                let _ = std::fs::remove_file(&temporary);
                return self.carry(path, hash);
            }
            Ok(Some(adopted)) => adopted,
        };
        let hashed = hash_of(&adopted.file, &mut self.buffer);
        if let Ok((found, bytes)) = hashed
            && found == *hash
        {
            if self.pool.sync_each_file {
                let synced = adopted.file.sync_all();
                synced.or_fault(|| Fault::failed(format!("cannot write {}", temporary.display())))?;
            }
            self.take(*hash, bytes)?;
            return Ok(Found::Whole);
        }
        let _ = std::fs::remove_file(&temporary);
        adopted.give_back();
        Ok(match hashed {
            Err(error) => self.unreadable(path, &error),
            Ok(_) => {
                self.copied.damaged.push(*hash);
                Found::Bad
            }
        })
    }

    pub fn carry_empty(&mut self) -> Result<()> {
        self.serial += 1;
        let temporary = self.temporary(self.serial);
        create_new(&temporary).or_fault(|| Fault::failed(format!("cannot write {}", temporary.display())))?;
        self.take(hashes::EMPTY, 0)
    }

    fn take(&mut self, hash: Hash, bytes: u64) -> Result<()> {
        if self.batch.is_empty() {
            self.batch_started = Instant::now();
        }
        self.batch.push((hash, self.serial));
        self.batch_bytes += bytes;
        self.copied.files += 1;
        self.copied.bytes += bytes;
        let full = self.batch.len() >= BATCH_FILES || self.batch_bytes >= BATCH_BYTES;
        if full || self.batch_started.elapsed() >= BATCH_AGE {
            self.commit()?;
        }
        Ok(())
    }

    fn unreadable(&mut self, path: &Path, error: &std::io::Error) -> Found {
        self.copied.unreadable.push(format!("{}: {error}", path.display()));
        Found::Bad
    }

    /// The outer error is the target's, the inner one the source's.
    fn copy_and_hash(&mut self, source: &mut File, temporary: &Path) -> Result<std::io::Result<(Hash, u64)>> {
        let write = |result: std::io::Result<()>| {
            result.or_fault(|| Fault::failed(format!("cannot write {}", temporary.display())))
        };
        let mut file =
            create_new(temporary).or_fault(|| Fault::failed(format!("cannot make {}", temporary.display())))?;
        let mut hasher = Sha1::new();
        let mut bytes = 0;
        loop {
            let count = match source.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Err(error)),
            };
            hasher.update(&self.buffer[..count]);
            write(file.write_all(&self.buffer[..count]))?;
            bytes += count as u64;
        }
        let meta = match source.metadata() {
            Ok(meta) => meta,
            Err(error) => return Ok(Err(error)),
        };
        let modified = TimeSpec::new(meta.mtime(), meta.mtime_nsec());
        nix::sys::stat::futimens(&file, &modified, &modified)?;
        if self.pool.sync_each_file {
            write(file.sync_all())?;
        }
        Ok(Ok((hasher.finalize().into(), bytes)))
    }

    fn set_damaged_aside(&mut self, temporary: &Path, hash: &Hash) -> Result<()> {
        self.copied.damaged.push(*hash);
        let place = self.pool.damaged.join(hashes::to_hex(hash));
        rename_new(temporary, &place).or_fault(|| Fault::failed(format!("cannot keep {}", place.display())))
    }

    /// Makes the batch durable, then gives each file its name.
    fn commit(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        if !self.pool.sync_each_file {
            self.file_system.sync()?;
        }
        self.batch.sort_unstable();
        for (hash, serial) in std::mem::take(&mut self.batch) {
            self.pool.name(&self.temporary(serial), &hash).or_fault(|| {
                Fault::failed(format!("cannot put {} into {}", hashes::to_hex(&hash), self.pool.folder.display()))
            })?;
        }
        self.batch_bytes = 0;
        Ok(())
    }

    pub fn finish(mut self) -> Result<Copied> {
        self.commit()?;
        Ok(self.copied)
    }
}

fn hash_of(mut file: &File, buffer: &mut [u8]) -> std::io::Result<(Hash, u64)> {
    let (mut hasher, mut bytes) = (Sha1::new(), 0);
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok((hasher.finalize().into(), bytes)),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                bytes += count as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

pub(super) fn create_new(path: &Path) -> std::io::Result<File> {
    File::options().write(true).create_new(true).mode(FILE_MODE).open(path)
}

/// Opens a regular file; `None` if there is none. Links are not followed and pipes not waited for: the web user
/// can put either there.
pub(super) fn open_regular(path: &Path) -> std::io::Result<Option<File>> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK | nix::libc::O_NOATIME;
    let open = |flags| File::options().read(true).custom_flags(flags).open(path);
    let opened = match open(flags) {
        // Only the owner and root may leave the access time alone; network file systems may squash root.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => open(flags & !nix::libc::O_NOATIME),
        opened => opened,
    };
    match opened {
        Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
        Ok(_) => Err(std::io::Error::other("not a regular file")),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Renames to a name that is free. Where the name is taken, what stands there stays and the new file goes:
/// it has the same content, and what is in the pool is never written again.
pub(super) fn rename_new(from: &Path, to: &Path) -> std::io::Result<()> {
    use nix::errno::Errno;
    match nix::fcntl::renameat2(nix::fcntl::AT_FDCWD, from, nix::fcntl::AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EEXIST) => std::fs::remove_file(from),
        // Some network file systems know plain renames only.
        Err(Errno::EINVAL | Errno::ENOSYS) if to.exists() => std::fs::remove_file(from),
        Err(Errno::EINVAL | Errno::ENOSYS) => std::fs::rename(from, to),
        Err(error) => Err(error.into()),
    }
}
