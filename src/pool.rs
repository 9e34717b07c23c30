//! The pool: Moodle's content-addressed files, stored once for all backups of a site. A name in the pool means
//! that the file is on the disk and that its content has that SHA-1. Only adds; what may go is decided by `prune.rs`.
//!
//! Why this needs no closed site: Moodle writes a file under a temporary name, renames it, and only then inserts
//! the row that refers to it; it deletes the row before it moves the file to trashdir
//! (`lib/filestorage/file_system_filedir.php`, `file_storage.php`). A file under its name never changes.

pub mod check;
mod survey;

pub use crate::sys::priority::Effort;
pub use survey::{Lacking, lacking};

use crate::error::{Fault, OrFault, Result};
use crate::hashes::{self, Collector, Hash};
use crate::sys::log::Log;
use crate::sys::priority;
use crate::sys::{files, signals};
use nix::fcntl::RenameFlags;
use nix::sys::time::TimeSpec;
use sha1::{Digest, Sha1};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Owner may write, the group may read: nobody else has business with users' files.
const FILE_MODE: u32 = 0o640;
const FOLDER_MODE: u32 = 0o750;

/// A batch is made durable and named when it has so many files, so many bytes, or is so old: an interrupted
/// first copy of terabytes loses at most one batch a thread.
const BATCH_FILES: usize = 65_536;
const BATCH_BYTES: u64 = 8 << 30;
const BATCH_AGE: Duration = Duration::from_secs(120);

const BUFFER: usize = 1 << 20;

/// Where Moodle keeps the files.
#[derive(Clone, Debug)]
pub struct Source {
    /// Moodle's filedir.
    pub filedir: PathBuf,
    /// Where Moodle moves a file to when its last row is gone.
    pub trashdir: PathBuf,
}

/// What a copy did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files that are new in the pool.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Files at the source whose content does not have the SHA-1 in their name.
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

/// The pool of one site.
#[derive(Debug)]
pub struct Pool {
    folder: PathBuf,
    incoming: PathBuf,
    damaged: PathBuf,
    group: u32,
    sync_each_file: bool,
}

impl Pool {
    /// The pool in a site's folder on the target, made if missing. The caller holds the site's lock: what an
    /// interrupted run left half copied is deleted.
    pub fn open(site_folder: &Path, group: u32) -> Result<Self> {
        let pool = Pool {
            folder: site_folder.join("filedir"),
            incoming: site_folder.join(".incoming"),
            damaged: site_folder.join("damaged"),
            group,
            sync_each_file: !files::file_system_sync_reports_errors(),
        };
        match std::fs::remove_dir_all(&pool.incoming) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).or_fault(|| Fault::failed(format!("cannot empty {}", pool.incoming.display())));
            }
            _ => {}
        }
        for folder in [&pool.folder, &pool.incoming, &pool.damaged] {
            pool.make_folder(folder)
                .or_fault(|| Fault::failed(format!("cannot make the folder {}", folder.display())))?;
        }
        Ok(pool)
    }

    /// The folder with the files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the pool has this file.
    pub fn has(&self, hash: &Hash) -> bool {
        self.folder.join(hashes::relative_path(hash)).symlink_metadata().is_ok_and(|meta| meta.is_file())
    }

    /// Size of a file in bytes; an error if the pool does not have it.
    pub fn size(&self, hash: &Hash) -> Result<u64> {
        let path = self.folder.join(hashes::relative_path(hash));
        let meta = path.symlink_metadata().or_fault(|| Fault::failed(format!("{} has gone", path.display())))?;
        Ok(meta.len())
    }

    /// Copies what the pool lacks of all that Moodle has, and puts the names of all that it has into `met`.
    /// `expected` is the number of files that is likely, for the progress display; 0 if not known.
    pub fn copy_all(&self, source: &Source, effort: Effort, expected: u64, log: &Log) -> Result<(Copied, Collector)> {
        let next = AtomicUsize::new(0);
        let done = AtomicU64::new(0);
        let work = |number: usize| -> Result<(Copied, Collector)> {
            priority::set_for_this_thread(effort.nice, effort.io);
            let mut met = Collector::new(&self.incoming);
            let mut carrier = Carrier::new(self, number)?;
            loop {
                let top = next.fetch_add(1, Ordering::Relaxed);
                if top > 0xff {
                    break;
                }
                self.copy_top_folder(&source.filedir, top, &mut carrier, &mut met, &|files| {
                    log.progress(done.fetch_add(files, Ordering::Relaxed) + files, expected, "files");
                })?;
            }
            Ok((carrier.finish()?, met))
        };
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..effort.threads.max(1)).map(|number| scope.spawn(move || work(number))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(Fault::failed("a copying thread panicked").into())))
                .collect()
        });
        let mut copied = Copied { foreign: foreign_at_top(&source.filedir)?, ..Copied::default() };
        let mut met = Collector::new(&self.incoming);
        for result in results {
            let (part, part_met) = result?;
            copied.add(part);
            met.absorb(part_met)?;
        }
        Ok((copied, met))
    }

    fn copy_top_folder(
        &self,
        filedir: &Path,
        top: usize,
        carrier: &mut Carrier,
        met: &mut Collector,
        count: &dyn Fn(u64),
    ) -> Result<()> {
        let top_name = format!("{top:02x}");
        let source_top = filedir.join(&top_name);
        for second_name in sorted_names(&source_top)? {
            signals::check()?;
            let source = source_top.join(OsStr::from_bytes(&second_name));
            if second_name.len() != 2 || !second_name.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                carrier.copied.foreign.push(source);
                continue;
            }
            let prefix = [top_name.as_bytes(), &second_name].concat();
            let stored: HashSet<Vec<u8>> =
                sorted_names(&self.folder.join(&top_name).join(OsStr::from_bytes(&second_name)))?.into_iter().collect();
            let names = sorted_names(&source)?;
            for name in &names {
                match hashes::from_hex(name).filter(|_| name.starts_with(&prefix)) {
                    Some(hash)
                        if stored.contains(name)
                            || carrier.carry(&source.join(OsStr::from_bytes(name)), &hash)? == Found::Whole =>
                    {
                        met.push(hash)?;
                    }
                    Some(_) => {}
                    // Moodle's own files on their way to their names.
                    None if name.ends_with(b".tmp") => {}
                    None => carrier.copied.foreign.push(source.join(OsStr::from_bytes(name))),
                }
            }
            count(names.len() as u64);
        }
        Ok(())
    }

    /// Copies those of `wanted` that the pool lacks, from filedir or, where their rows have been deleted
    /// meanwhile, from trashdir. Returns also the hashes that are nowhere.
    pub fn fetch(&self, wanted: impl Iterator<Item = Result<Hash>>, source: &Source) -> Result<(Copied, Vec<Hash>)> {
        let mut carrier = Carrier::new(self, usize::MAX)?;
        let mut nowhere = Vec::new();
        for hash in wanted {
            let hash = hash?;
            signals::check()?;
            if self.has(&hash) || carrier.carries(&hash) {
                continue;
            }
            let below = hashes::relative_path(&hash);
            let (pooled, trashed) = (source.filedir.join(&below), source.trashdir.join(&below));
            let mut found = Found::Nowhere;
            // Filedir once more at the end: Moodle takes a file back from trashdir when it is wanted again.
            for path in [&pooled, &trashed, &pooled] {
                if matches!(found, Found::Nowhere | Found::Bad) {
                    let now = carrier.carry(path, &hash)?;
                    found = if now == Found::Nowhere { found } else { now };
                }
            }
            match found {
                Found::Nowhere if hash == hashes::EMPTY => carrier.carry_empty()?,
                Found::Nowhere => nowhere.push(hash),
                Found::Whole | Found::Bad => {}
            }
        }
        Ok((carrier.finish()?, nowhere))
    }

    /// Takes what stands under this name out of the pool and keeps it in `damaged/`; returns where. `None` if nothing
    /// stands there.
    pub fn set_aside(&self, hash: &Hash) -> Result<Option<PathBuf>> {
        let (from, name) = (self.folder.join(hashes::relative_path(hash)), hashes::to_hex(hash));
        if from.symlink_metadata().is_err() {
            return Ok(None);
        }
        // Of several that went bad each is kept.
        let names = std::iter::once(name.clone()).chain((2..).map(|number| format!("{name}-{number}")));
        let free = names.map(|name| self.damaged.join(name)).find(|path| path.symlink_metadata().is_err());
        let to = free.unwrap_or_else(|| self.damaged.join(name));
        files::rename_durably(&from, &to)?;
        Ok(Some(to))
    }

    fn make_folder(&self, folder: &Path) -> std::io::Result<()> {
        match std::fs::DirBuilder::new().mode(FOLDER_MODE).create(folder) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
            made => made?,
        }
        std::os::unix::fs::chown(folder, None, Some(self.group))
    }

    /// Gives a durable file its name.
    fn name(&self, temporary: &Path, hash: &Hash) -> std::io::Result<()> {
        let place = self.folder.join(hashes::relative_path(hash));
        match rename_new(temporary, &place) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let folder = files::parent(&place);
                self.make_folder(files::parent(folder))?;
                self.make_folder(folder)?;
                rename_new(temporary, &place)
            }
            result => result,
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // What is half copied is of no use to anybody; if it stays, the next run removes it.
        let _ = std::fs::remove_dir_all(&self.incoming);
    }
}

/// Renames to a name that is free. Where the name is taken, what stands there stays and the new file goes:
/// it has the same content, and what is in the pool is never written again.
fn rename_new(from: &Path, to: &Path) -> std::io::Result<()> {
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

/// Names in a folder; none if it is not there.
fn sorted_names(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let read = || -> std::io::Result<Vec<Vec<u8>>> {
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().as_bytes().to_vec())).collect()
    };
    match read() {
        Ok(mut names) => {
            names.sort_unstable();
            Ok(names)
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(error).or_fault(|| Fault::failed(format!("cannot read the folder {}", folder.display()))),
    }
}

/// What lies directly in filedir without belonging to its scheme. Moodle's own `warning.txt` does belong.
fn foreign_at_top(filedir: &Path) -> Result<Vec<PathBuf>> {
    let names = sorted_names(filedir)?;
    let belongs = |name: &[u8]| {
        name == b"warning.txt" || name.len() == 2 && name.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    Ok(names.iter().filter(|name| !belongs(name)).map(|name| filedir.join(OsStr::from_bytes(name))).collect())
}

/// What was found under a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Whole,
    Bad,
    Nowhere,
}

/// Carries files into the pool in batches: copied under temporary names, made durable together, then named.
struct Carrier<'a> {
    pool: &'a Pool,
    folder: PathBuf,
    buffer: Vec<u8>,
    batch: Vec<(Hash, u64)>,
    batch_bytes: u64,
    batch_started: Instant,
    serial: u64,
    copied: Copied,
}

impl<'a> Carrier<'a> {
    fn new(pool: &'a Pool, number: usize) -> Result<Self> {
        // Files then get the group by themselves, which is cheaper than a chown each.
        nix::unistd::setfsgid(nix::unistd::Gid::from_raw(pool.group));
        let folder = pool.incoming.join(number.to_string());
        pool.make_folder(&folder).or_fault(|| Fault::failed(format!("cannot make {}", folder.display())))?;
        Ok(Carrier {
            pool,
            folder,
            buffer: vec![0; BUFFER],
            batch: Vec::new(),
            batch_bytes: 0,
            batch_started: Instant::now(),
            serial: 0,
            copied: Copied::default(),
        })
    }

    fn carries(&self, hash: &Hash) -> bool {
        self.batch.iter().any(|(carried, _)| carried == hash)
    }

    fn temporary(&self, serial: u64) -> PathBuf {
        self.folder.join(serial.to_string())
    }

    /// Copies one file under a temporary name.
    fn carry(&mut self, path: &Path, hash: &Hash) -> Result<Found> {
        let mut source = match open_regular(path) {
            Ok(Some(source)) => source,
            Ok(None) => return Ok(Found::Nowhere),
            Err(error) => return Ok(self.unreadable(path, &error)),
        };
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

    fn carry_empty(&mut self) -> Result<()> {
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
            files::sync_file_system(&self.folder)?;
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

    fn finish(mut self) -> Result<Copied> {
        self.commit()?;
        Ok(self.copied)
    }
}

fn create_new(path: &Path) -> std::io::Result<File> {
    File::options().write(true).create_new(true).mode(FILE_MODE).open(path)
}

/// Opens a regular file; `None` if there is none. Links are not followed and pipes not waited for: the web user
/// can put either there.
fn open_regular(path: &Path) -> std::io::Result<Option<File>> {
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
