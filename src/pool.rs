//! The pool: Moodle's content-addressed files, stored once for all backups of a site. A name in the pool means
//! that the file is on the disk and that its content has that SHA-1. Only adds, to itself and, on the way back, to
//! Moodle's filedir; what may go is decided by `prune.rs`.
//!
//! Why this needs no closed site: Moodle writes a file under a temporary name, renames it, and only then inserts
//! the row that refers to it; it deletes the row before it moves the file to trashdir
//! (`lib/filestorage/file_system_filedir.php`, `file_storage.php`). A file under its name never changes.

mod adopted;
mod carrier;
pub mod check;
mod held;
pub mod marks;
mod restore;
mod standing;
mod survey;

pub use crate::sys::priority::Effort;
pub use carrier::Copied;
pub use held::Held;
pub use restore::{Ownership, Restore, Restored, copy_out, restore};
pub use survey::{Lacking, lacking, lacking_of};

use crate::error::{Fault, OrFault, Result};
use crate::hashes::{self, Collector, Hash};
use crate::sys::log::Log;
use crate::sys::priority;
use crate::sys::{files, signals};
use carrier::{Carrier, Found, rename_new};
use marks::Marks;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, DirEntryExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Owner may write, the group may read: nobody else has business with users' files.
const FILE_MODE: u32 = 0o640;
const FOLDER_MODE: u32 = 0o750;

/// Where Moodle keeps the files.
#[derive(Clone, Debug)]
pub struct Source {
    /// Moodle's filedir.
    pub filedir: PathBuf,
    /// Where Moodle moves a file to when its last row is gone.
    pub trashdir: PathBuf,
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

    /// A folder for what has no name in the pool (yet). It is emptied before and after each run.
    pub fn incoming(&self) -> &Path {
        &self.incoming
    }

    /// Whether the pool has this file.
    pub fn has(&self, hash: &Hash) -> bool {
        self.folder.join(hashes::relative_path(hash)).symlink_metadata().is_ok_and(|meta| meta.is_file())
    }

    /// Size and time of a file; an error if the pool does not have it.
    pub fn marks(&self, hash: &Hash) -> Result<Marks> {
        let path = self.folder.join(hashes::relative_path(hash));
        let meta = path.symlink_metadata().or_fault(|| Fault::failed(format!("{} has gone", path.display())))?;
        Ok(Marks::from(&meta))
    }

    /// Copies what the pool lacks of all that Moodle has, and puts the names of all that it has into `met`.
    /// `expected` is the number of files that is likely, for the progress display; 0 if not known.
    pub fn copy_all(&self, source: &Source, effort: Effort, expected: u64, log: &Log) -> Result<(Copied, Collector)> {
        self.take_all(&source.filedir, |carrier, path, hash| carrier.carry(path, hash), effort, expected, log)
    }

    /// Takes over the files of another copy of filedir that nobody needs any more, without copying them where both lie on one
    /// file system: they become root's, there too. The count of what was taken, and what was not whole.
    pub fn adopt_all(&self, filedir: &Path, effort: Effort, log: &Log) -> Result<Copied> {
        Ok(self.take_all(filedir, |carrier, path, hash| carrier.adopt(path, hash), effort, 0, log)?.0)
    }

    fn take_all(
        &self,
        filedir: &Path,
        take: Take,
        effort: Effort,
        expected: u64,
        log: &Log,
    ) -> Result<(Copied, Collector)> {
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
                self.take_top_folder(filedir, take, top, &mut carrier, &mut met, &|files| {
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
        let mut copied = Copied { foreign: foreign_at_top(filedir)?, ..Copied::default() };
        let mut met = Collector::new(&self.incoming);
        for result in results {
            let (part, part_met) = result?;
            copied.add(part);
            met.absorb(part_met)?;
        }
        Ok((copied, met))
    }

    fn take_top_folder(
        &self,
        filedir: &Path,
        take: Take,
        top: usize,
        carrier: &mut Carrier,
        met: &mut Collector,
        count: &dyn Fn(u64),
    ) -> Result<()> {
        let top_name = format!("{top:02x}");
        let source_top = filedir.join(&top_name);
        let mut lacking = Vec::new();
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
            let entries = entries(&source)?;
            let before = lacking.len();
            for (name, inode) in &entries {
                match hashes::from_hex(name).filter(|_| name.starts_with(&prefix)) {
                    Some(hash) if stored.contains(name) => met.push(hash)?,
                    Some(hash) => lacking.push((*inode, hash)),
                    // Moodle's own files on their way to their names.
                    None if name.ends_with(b".tmp") => {}
                    None => carrier.copied.foreign.push(source.join(OsStr::from_bytes(name))),
                }
            }
            count(entries.len() as u64 - (lacking.len() - before) as u64);
        }
        // By their place on the disk, as far as inodes tell: read in the order of their names they are all over it.
        lacking.sort_unstable();
        for (_, hash) in lacking {
            signals::check()?;
            if take(carrier, &filedir.join(hashes::relative_path(&hash)), &hash)? == Found::Whole {
                met.push(hash)?;
            }
            count(1);
        }
        Ok(())
    }

    /// Copies those of `wanted`, each named once, that the pool lacks, from filedir or, where their rows have been deleted
    /// meanwhile, from trashdir. Returns also the hashes that are nowhere.
    pub fn fetch(&self, wanted: impl Iterator<Item = Result<Hash>>, source: &Source) -> Result<(Copied, Vec<Hash>)> {
        let mut carrier = Carrier::new(self, usize::MAX)?;
        let mut nowhere = Vec::new();
        for hash in wanted {
            let hash = hash?;
            signals::check()?;
            if self.has(&hash) {
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

/// How one file comes into the pool.
type Take = fn(&mut Carrier, &Path, &Hash) -> Result<Found>;

/// Names in a folder; none if it is not there.
fn sorted_names(folder: &Path) -> Result<Vec<Vec<u8>>> {
    Ok(entries(folder)?.into_iter().map(|(name, _)| name).collect())
}

/// Names in a folder, sorted, with their inodes; none if it is not there.
fn entries(folder: &Path) -> Result<Vec<(Vec<u8>, u64)>> {
    let read = || -> std::io::Result<Vec<(Vec<u8>, u64)>> {
        std::fs::read_dir(folder)?
            .map(|entry| entry.map(|entry| (entry.file_name().as_bytes().to_vec(), entry.ino())))
            .collect()
    };
    match read() {
        Ok(mut entries) => {
            entries.sort_unstable();
            Ok(entries)
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
