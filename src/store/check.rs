//! Reading a published backup again and holding it against its sums. A backup may have been damaged, or made up by
//! somebody: nothing in it is followed out of it, and nothing but plain files is opened. Changes nothing, and does not look
//! at the pool: that is `pool::check`.

use super::manifest::ComponentKind;
use super::sums::{self, Sum};
use super::{Backup, layout};
use crate::entry::{
    Entry, Exclusions, Findings, Kind, Reading, Step, Trouble, lies_below, open_read, shown, stays_inside, to_path,
    walk,
};
use crate::error::{Fault, OrFault, Result};
use crate::sys::log::Log;
use crate::sys::{files, signals, threads};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// The longest line of sums that is looked at: names are up to 4096 bytes, escaped up to twice as long.
const LINE: usize = 16 << 10;

/// A file of a backup that is not as it was sealed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Its path below the backup, as somebody may have written it.
    pub path: Vec<u8>,
    /// What is wrong with it.
    pub trouble: Trouble,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", shown(&self.path), self.trouble)
    }
}

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Files that were held against their sums.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong, each once, in the order of the paths.
    pub findings: Vec<Finding>,
}

/// Checks backups. What several of them share is read once.
#[derive(Debug)]
pub struct Checker<'a> {
    reading: Reading,
    log: &'a Log,
    /// Sums of files with several names, by device and inode.
    shared: Mutex<HashMap<(u64, u64), (Sum, u64)>>,
}

/// A file on its way to its sum.
struct Piece {
    path: Vec<u8>,
    fd: OwnedFd,
    inode: Option<(u64, u64)>,
}

impl<'a> Checker<'a> {
    /// A checker that reads in this way.
    pub fn new(reading: Reading, log: &'a Log) -> Self {
        Checker { reading, log, shared: Mutex::default() }
    }

    /// Holds files of a backup against their sums: the manifest, and those of `wanted`, which are files and folders below
    /// the backup (a folder means all in it, and the empty path everything). The error is a signal's, or that the backup's
    /// folder cannot be read; all else is in the findings.
    pub fn check(&self, backup: &Backup, wanted: &[&Path]) -> Result<Checked> {
        let wanted = Wanted::new(wanted);
        let mut expected = Expected::read(backup, &wanted)?;
        let total = likely_bytes(backup, &wanted);
        let (read, done) = (AtomicU64::new(0), Mutex::new((Checked::default(), Vec::new())));
        let lock = || done.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let work = |buffer: &mut Vec<u8>, piece: Piece| -> Result<()> {
            let path = piece.path.clone();
            match self.sum(piece, buffer, &|bytes| {
                self.log.progress(read.fetch_add(bytes, Ordering::Relaxed) + bytes, total, "bytes");
            })? {
                Ok((sum, bytes)) => {
                    let mut done = lock();
                    done.0.files += 1;
                    done.0.bytes += bytes;
                    done.1.push((path, sum));
                }
                Err(trouble) => lock().0.findings.push(Finding { path, trouble }),
            }
            Ok(())
        };
        let mut met = Met::default();
        threads::share(self.reading.effort, Vec::new, work, |give| met.walk(backup, &wanted, give))?;
        let (mut checked, sums) = done.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        checked.findings.extend(met.findings);
        for (path, sum) in sums {
            checked.findings.extend(expected.judge(path, &sum));
        }
        checked.findings.extend(expected.left(backup, &met.files, &wanted));
        checked.findings.sort();
        checked.findings.dedup();
        Ok(checked)
    }

    /// The sum of a file, which may be known from another of its names.
    fn sum(
        &self,
        piece: Piece,
        buffer: &mut Vec<u8>,
        progress: &dyn Fn(u64),
    ) -> Result<std::result::Result<(Sum, u64), Trouble>> {
        let shared = || self.shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((sum, bytes)) = piece.inode.and_then(|inode| shared().get(&inode).copied()) {
            progress(bytes);
            return Ok(Ok((sum, bytes)));
        }
        let mut hasher = Sha256::new();
        let read = self.reading.read(piece.fd, buffer, &mut |bytes| {
            hasher.update(bytes);
            progress(bytes.len() as u64);
        })?;
        Ok(read.map(|bytes| {
            let sum: Sum = hasher.finalize().into();
            if let Some(inode) = piece.inode {
                shared().insert(inode, (sum, bytes));
            }
            (sum, bytes)
        }))
    }
}

/// What of a backup is to be checked.
struct Wanted {
    paths: Vec<Vec<u8>>,
}

impl Wanted {
    fn new(paths: &[&Path]) -> Self {
        // A slash at the end, which joining an empty path leaves there, means nothing.
        let plain = |path: &&Path| path.components().collect::<PathBuf>().into_os_string().into_vec();
        Wanted { paths: paths.iter().map(plain).collect() }
    }

    fn has(&self, path: &[u8]) -> bool {
        let is_in = |wanted: &Vec<u8>| *wanted == path || lies_below(path, wanted);
        path == layout::MANIFEST.as_bytes() || self.paths.iter().any(is_in)
    }

    /// Whether something below this folder may be wanted.
    fn reaches_into(&self, folder: &[u8]) -> bool {
        self.has(folder) || self.paths.iter().any(|wanted| lies_below(wanted, folder))
    }
}

/// Bytes that will be read, as the manifest has it: for the progress display.
fn likely_bytes(backup: &Backup, wanted: &Wanted) -> u64 {
    let parts = backup.manifest.components.iter().filter(|part| wanted.has(part.file.as_os_str().as_bytes()));
    parts.map(|part| if part.kind == ComponentKind::Moodledata { part.bytes } else { part.stored_bytes }).sum()
}

/// What stands in the backup's folder.
#[derive(Default)]
struct Met {
    files: HashSet<Vec<u8>>,
    findings: Vec<Finding>,
}

impl Met {
    /// Opens each wanted file and hands it out.
    fn walk(&mut self, backup: &Backup, wanted: &Wanted, give: &mut dyn FnMut(Piece) -> Result<()>) -> Result<()> {
        let fault = || Fault::failed(format!("cannot read the folder {}", backup.path.display()));
        let mut exclude = Exclusions::none();
        for entry in std::fs::read_dir(&backup.path).or_fault(fault)? {
            let name = entry.or_fault(fault)?.file_name();
            if !wanted.reaches_into(name.as_bytes()) {
                exclude.add_path(name.as_bytes());
            }
        }
        let mut found = Findings::default();
        walk(&backup.path, &exclude, &mut found, &mut |step, _| {
            if let Step::Entry(entry, at) = step
                && wanted.has(&entry.path)
                && entry.path != layout::SUMS.as_bytes()
            {
                signals::check()?;
                match entry.kind {
                    Kind::File => match open_read(at.folder, at.name, OFlag::empty()) {
                        Ok(fd) => self.hand_out(entry, fd, give)?,
                        Err(error) => self.found(&entry.path, Trouble::of(error)),
                    },
                    // Those of moodledata are Moodle's own, and restored as they are.
                    Kind::Symlink if !lies_below(&entry.path, layout::MOODLEDATA.as_bytes()) => {
                        self.found(&entry.path, Trouble::NotAFile("a symbolic link"));
                    }
                    Kind::Symlink | Kind::Folder => {}
                }
            }
            Ok(ControlFlow::Continue(()))
        })
        .or_fault(fault)?;
        for note in found.skipped.iter().filter(|note| wanted.has(&note.path)) {
            self.found(&note.path, Trouble::NotAFile("a socket, a pipe or a device"));
        }
        for note in found.problems.iter().filter(|note| wanted.reaches_into(&note.path)) {
            self.found(&note.path, Trouble::Unreadable(note.what.clone()));
        }
        Ok(())
    }

    fn hand_out(&mut self, entry: &Entry, fd: OwnedFd, give: &mut dyn FnMut(Piece) -> Result<()>) -> Result<()> {
        self.files.insert(entry.path.clone());
        let inode = (entry.links > 1).then_some((entry.device, entry.inode));
        give(Piece { path: entry.path.clone(), fd, inode })
    }

    fn found(&mut self, path: &[u8], trouble: Trouble) {
        self.files.insert(path.to_vec());
        self.findings.push(Finding { path: path.to_vec(), trouble });
    }
}

/// The sums that wanted files should have.
#[derive(Default)]
struct Expected {
    /// By `SHA256SUMS`.
    summed: HashMap<Vec<u8>, Sum>,
    /// By the manifest, which has those of the larger parts.
    described: HashMap<Vec<u8>, Sum>,
    /// What is wrong with `SHA256SUMS` itself, if that cannot be used at all.
    unusable: bool,
    findings: BTreeSet<Finding>,
}

impl Expected {
    fn read(backup: &Backup, wanted: &Wanted) -> Result<Expected> {
        let mut expected = Expected::default();
        for part in &backup.manifest.components {
            let path = part.file.as_os_str().as_bytes();
            if let Some(sum) = sums::parse_sum(part.sha256.as_bytes()).filter(|_| wanted.has(path)) {
                expected.described.insert(path.to_vec(), sum);
            }
        }
        match open_plain(&backup.path.join(layout::SUMS)) {
            Ok(file) => expected.read_sums(file, wanted)?,
            Err(trouble) => expected.unusable(trouble),
        }
        Ok(expected)
    }

    fn read_sums(&mut self, file: File, wanted: &Wanted) -> Result<()> {
        let mut lines = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            signals::check()?;
            line.clear();
            match std::io::Read::take(&mut lines, LINE as u64).read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
                    self.unusable(Trouble::of(errno));
                    break;
                }
            }
            match line.strip_suffix(b"\n").and_then(sums::parse_line) {
                None => self.damaged(),
                Some((_, path)) if !stays_inside(&path) => {
                    self.findings.insert(Finding { path, trouble: Trouble::Outside });
                }
                Some((sum, path)) if wanted.has(&path) => {
                    if self.summed.insert(path, sum).is_some_and(|before| before != sum) {
                        self.damaged();
                    }
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn damaged(&mut self) {
        self.findings.insert(Finding { path: layout::SUMS.into(), trouble: Trouble::Changed });
    }

    fn unusable(&mut self, trouble: Trouble) {
        self.unusable = true;
        self.findings.insert(Finding { path: layout::SUMS.into(), trouble });
    }

    /// What a file's sum says of it. Where manifest and sums contradict each other the file tells which of them is damaged.
    fn judge(&mut self, path: Vec<u8>, sum: &Sum) -> Option<Finding> {
        let summed = self.summed.remove(&path);
        let described = self.described.get(&path);
        if summed == Some(*sum) {
            return None;
        }
        if described == Some(sum) {
            if !self.unusable {
                self.damaged();
            }
            return None;
        }
        let trouble = match (summed.is_some() || described.is_some(), self.unusable) {
            (true, _) => Trouble::Changed,
            (false, true) => return None,
            (false, false) => Trouble::Unknown,
        };
        Some(Finding { path, trouble })
    }

    /// What should be there and was not met.
    fn left(self, backup: &Backup, met: &HashSet<Vec<u8>>, wanted: &Wanted) -> Vec<Finding> {
        let parts = backup.manifest.components.iter().map(|part| part.file.as_os_str().as_bytes().to_vec());
        let parts = parts.filter(|path| wanted.has(path));
        // What nobody knows of cannot be wanted in vain.
        let asked = wanted.paths.iter().filter(|path| !path.is_empty() && !backup.path.join(to_path(path)).exists());
        let parts = parts.chain(asked.cloned());
        let unmet: BTreeSet<Vec<u8>> =
            self.summed.into_keys().chain(parts).filter(|path| !met.contains(path)).collect();
        let unmet = unmet.into_iter().filter_map(|path| {
            let trouble = match std::fs::symlink_metadata(backup.path.join(to_path(&path))) {
                // A part that is a folder, as moodledata is.
                Ok(meta) if meta.is_dir() && is_folder_part(backup, &path) => return None,
                Ok(meta) => Trouble::of_kind(meta.mode()).unwrap_or(Trouble::Missing),
                Err(error) => Trouble::of(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)),
            };
            Some(Finding { path, trouble })
        });
        unmet.chain(self.findings).collect()
    }
}

fn is_folder_part(backup: &Backup, path: &[u8]) -> bool {
    let mut parts = backup.manifest.components.iter();
    parts.any(|part| part.kind == ComponentKind::Moodledata && part.file.as_os_str().as_bytes() == path)
}

/// Opens a plain file, and no device: opening one may set it going.
fn open_plain(path: &Path) -> std::result::Result<File, Trouble> {
    let of = |error: std::io::Error| Trouble::of(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw));
    let meta = std::fs::symlink_metadata(path).map_err(of)?;
    Trouble::of_kind(meta.mode()).map_or(Ok(()), Err)?;
    files::open_plain(path).map_err(of)
}
