//! Reading pool files again: whether each is there, and has the content that its name says. Changes nothing; which files a
//! backup needs, and what follows from damage, is decided elsewhere.

use super::Pool;
use crate::entry::{Reading, Trouble, open_read};
use crate::error::{Fault, Result};
use crate::hashes::{self, Hash};
use crate::sys::log::Log;
use crate::sys::{signals, threads};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::fstatat;
use sha1::{Digest, Sha1};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Files that are handed to a thread at once.
const PIECE: usize = 64;

/// How often it is told how far the check is.
const CHECKPOINT: Duration = Duration::from_secs(10);

/// A pool file that is not as its name says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Its name.
    pub hash: Hash,
    /// What is wrong with it.
    pub trouble: Trouble,
}

/// How far a check has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Files that were looked at.
    pub files: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is wrong, in the order of the names.
    pub findings: Vec<Finding>,
    /// Every file up to this one was looked at; `None` if none was.
    pub position: Option<Hash>,
    /// Whether time was up before the end.
    pub cut_short: bool,
}

/// Is told how far a check is.
pub type Checkpoint<'a> = &'a mut dyn FnMut(&Checked) -> Result<()>;

/// What to check, and for how long.
pub struct Order<'a> {
    /// How to read.
    pub reading: Reading,
    /// No file is begun after this moment.
    pub until: Option<Instant>,
    /// How many files there are, for the progress display; 0 if not known.
    pub expected: u64,
    /// Is told now and then, and at the end, how far it is: what is known up to then need not be checked again.
    pub checkpoint: Option<Checkpoint<'a>>,
}

impl Order<'_> {
    /// All, to the end.
    pub fn all(reading: Reading, expected: u64) -> Order<'static> {
        Order { reading, until: None, expected, checkpoint: None }
    }

    fn tell(&mut self, so_far: &Checked) -> Result<()> {
        self.checkpoint.as_mut().map_or(Ok(()), |checkpoint| checkpoint(so_far))
    }
}

/// Reads these files of a pool (its folder is `pool`), whose names come in order. The error is a signal's, the list's, or
/// the checkpoint's; what is wrong with files is in the findings.
pub fn check(
    pool: &Path,
    wanted: impl Iterator<Item = Result<Hash>>,
    order: &mut Order<'_>,
    log: &Log,
) -> Result<Checked> {
    let folder = open_pool(pool)?;
    let course = Mutex::new(Course::default());
    let (reading, until, expected) = (order.reading, order.until, order.expected);
    let is_time_up = move || until.is_some_and(|until| Instant::now() >= until);
    let lock = || course.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let work = |buffer: &mut Vec<u8>, (number, piece): (u64, Vec<Hash>)| -> Result<()> {
        let mut done = Checked::default();
        for hash in &piece {
            signals::check()?;
            if is_time_up() {
                done.cut_short = true;
                break;
            }
            done.add(*hash, look(folder.as_fd(), hash, reading, buffer)?);
        }
        let files = lock().end(number, done);
        log.progress(files, expected, "files");
        Ok(())
    };
    let result = threads::share(reading.effort, Vec::new, work, |give| {
        let mut told = Instant::now();
        let mut wanted = wanted.peekable();
        let mut number = 0;
        while wanted.peek().is_some() && !is_time_up() {
            let piece: Vec<Hash> = wanted.by_ref().take(PIECE).collect::<Result<_>>()?;
            give((number, piece))?;
            number += 1;
            if told.elapsed() >= CHECKPOINT {
                told = Instant::now();
                let so_far = lock().whole.clone();
                order.tell(&so_far)?;
            }
        }
        lock().left_over = wanted.peek().is_some();
        Ok(())
    });
    let course = course.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut checked = course.whole;
    checked.cut_short |= course.left_over;
    order.tell(&checked)?;
    result.map(|()| checked)
}

impl Checked {
    fn add(&mut self, hash: Hash, result: std::result::Result<u64, Trouble>) {
        self.files += 1;
        self.position = Some(hash);
        match result {
            Ok(bytes) => self.bytes += bytes,
            Err(trouble) => self.findings.push(Finding { hash, trouble }),
        }
    }
}

/// What is known of all pieces. They end in any order; what counts is how far none is missing.
#[derive(Default)]
struct Course {
    whole: Checked,
    next: u64,
    early: BTreeMap<u64, Checked>,
    early_files: u64,
    left_over: bool,
}

impl Course {
    /// Takes the end of a piece, and returns how many files were looked at so far.
    fn end(&mut self, number: u64, done: Checked) -> u64 {
        self.early_files += done.files;
        self.early.insert(number, done);
        while !self.whole.cut_short
            && let Some(done) = self.early.remove(&self.next)
        {
            self.next += 1;
            self.early_files -= done.files;
            self.whole.files += done.files;
            self.whole.bytes += done.bytes;
            self.whole.findings.extend(done.findings);
            self.whole.position = done.position.or(self.whole.position);
            self.whole.cut_short = done.cut_short;
        }
        self.whole.files + self.early_files
    }
}

fn open_pool(pool: &Path) -> Result<OwnedFd> {
    let opened = crate::entry::open_folder(pool);
    let (folder, _) = opened.map_err(|error| {
        anyhow::Error::from(error).context(
            Fault::failed(format!("cannot open the pool {}", pool.display()))
                .hint("it belongs beside the backups: see docs/format.md; is the target mounted whole?"),
        )
    })?;
    Ok(folder)
}

/// Reads one file; twice where the first time it was not what it should be, since memory errs too.
fn look(
    pool: BorrowedFd<'_>,
    hash: &Hash,
    reading: Reading,
    buffer: &mut Vec<u8>,
) -> Result<std::result::Result<u64, Trouble>> {
    match read_once(pool, hash, reading, buffer)? {
        Err(Trouble::Changed | Trouble::Unreadable(_)) => {
            read_once(pool, hash, Reading { from_disk: true, ..reading }, buffer)
        }
        result => Ok(result),
    }
}

fn read_once(
    pool: BorrowedFd<'_>,
    hash: &Hash,
    reading: Reading,
    buffer: &mut Vec<u8>,
) -> Result<std::result::Result<u64, Trouble>> {
    let fd = match open(pool, hash) {
        Ok(fd) => fd,
        Err(trouble) => return Ok(Err(trouble)),
    };
    let mut hasher = Sha1::new();
    let read = reading.read(fd, buffer, &mut |bytes| hasher.update(bytes))?;
    let found: Hash = hasher.finalize().into();
    Ok(read.and_then(|bytes| if found == *hash { Ok(bytes) } else { Err(Trouble::Changed) }))
}

/// Opens `ab/cd/abcd…`, by no symbolic link, and only if it is a file: opening a device may set it going.
fn open(pool: BorrowedFd<'_>, hash: &Hash) -> std::result::Result<OwnedFd, Trouble> {
    let hex = hashes::to_hex(hash);
    let name = |text: &str| CString::new(text).unwrap_or_default();
    let step = |folder: BorrowedFd<'_>, text: &str| match open_read(folder, &name(text), OFlag::O_DIRECTORY) {
        Ok(fd) => Ok(fd),
        Err(Errno::ENOTDIR | Errno::ELOOP) => Err(Trouble::NotAFile("below something that is no folder")),
        Err(error) => Err(Trouble::of(error)),
    };
    let folder = step(step(pool, &hex[..2])?.as_fd(), &hex[2..4])?;
    let stat = fstatat(&folder, name(&hex).as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW).map_err(Trouble::of)?;
    Trouble::of_kind(stat.st_mode).map_or(Ok(()), Err)?;
    open_read(folder.as_fd(), &name(&hex), OFlag::empty()).map_err(Trouble::of)
}

impl Pool {
    /// Whether the pool has this file, and it is as its name says, when it is read now.
    pub fn is_whole(&self, hash: &Hash, reading: Reading) -> Result<bool> {
        Ok(look(open_pool(&self.folder)?.as_fd(), hash, reading, &mut Vec::new())?.is_ok())
    }
}
