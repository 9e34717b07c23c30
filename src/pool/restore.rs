//! The way back: files of the pool into Moodle's filedir, only those that are lacking or wrong there. No content gets
//! its name in a filedir without having been hashed. Decides nothing about which files, and removes none.

use super::Effort;
use super::carrier::{self, BUFFER};
use super::marks::{self, Marks};
use super::standing;
use crate::error::{Fault, OrFault, Result};
use crate::hashes::{self, Hash};
use crate::sys::log::Log;
use crate::sys::threads::GivenUp;
use crate::sys::{files, priority, signals};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, openat, renameat, renameat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, futimens, mkdirat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};
use sha1::{Digest, Sha1};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// So many files does a thread take at a time: enough of them to lie side by side in the same folders.
pub(super) const SHARE: usize = 256;

/// So many files are looked at before the first of them is copied: 20 MB of hashes.
const BATCH: usize = 1_000_000;

/// What a file is called until its content is known to be right. Moodle's own files on their way have this ending, so
/// what an interrupted restore leaves is taken for no content.
const ON_ITS_WAY: &str = ".restore.tmp";

const FOLDER: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Who owns a filedir here, and with which modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Mode of folders: 0o2777, say.
    pub folder_mode: u32,
    /// Mode of files.
    pub file_mode: u32,
}

/// Takes a file of the site's away that is not what its name says: the path is below `filedir` and must be free
/// afterwards. What is taken away is to be kept.
pub type SetAside<'a> = &'a (dyn Fn(&Hash, &Path) -> Result<()> + Sync);

/// What to bring back.
#[derive(Clone, Copy)]
pub struct Restore<'a> {
    /// The pool.
    pub pool: &'a Path,
    /// Moodle's filedir; made if it is not there.
    pub filedir: &'a Path,
    /// Owner and modes of what is made in it.
    pub ownership: Ownership,
    /// Sizes and times of the pool's files, a line for each of the list; without them the pool is asked.
    pub marks: Option<&'a Path>,
    /// How the machine may be used.
    pub effort: Effort,
    /// What becomes of files that are wrong.
    pub set_aside: SetAside<'a>,
    /// How many files there are, for the progress display; 0 if not known.
    pub expected: u64,
    /// Set by whoever does something else at the same time, when that has failed: then this ends too.
    pub given_up: &'a GivenUp,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Files that were there and right.
    pub present: u64,
    /// Files that were brought back, those in place of wrong ones among them.
    pub copied: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were there with another content, were set aside and replaced.
    pub replaced: Vec<Hash>,
    /// Files that the pool does not have, and that were not there and right.
    pub missing: Vec<Hash>,
    /// Files that cannot be read in the pool, or have another content there than their name says.
    pub damaged: Vec<Hash>,
}

impl Restored {
    fn add(&mut self, other: Restored) {
        self.present += other.present;
        self.copied += other.copied;
        self.bytes += other.bytes;
        self.replaced.extend(other.replaced);
        self.missing.extend(other.missing);
        self.damaged.extend(other.damaged);
    }
}

/// Brings back what filedir lacks of a list. A file that is there with the pool's size and time is taken for right, as
/// is one that has another time and the right content. What the pool lacks, or has only in a damaged form, is in the
/// result, and what stands in filedir in its place stays. At the end everything is on the disk. An error if filedir cannot
/// be written, if the list is damaged, or on a signal: then what has its name is right all the same.
pub fn restore(job: &Restore<'_>, list: impl Iterator<Item = Result<Hash>> + Send, log: &Log) -> Result<Restored> {
    let unwritable = || Fault::failed(format!("cannot write {}", job.filedir.display()));
    make_folder(nix::fcntl::AT_FDCWD, job.filedir, &job.ownership).or_fault(unwritable)?;
    // Before anything is written: only errors after this are told of.
    let file_system = files::FileSystem::watch(job.filedir)?;
    let mut all = Restored::default();
    let mut list = list;
    let mut known = job.marks.map(marks::read).transpose()?;
    loop {
        let batch: Vec<Hash> = list.by_ref().take(BATCH).collect::<Result<_>>()?;
        if batch.is_empty() {
            break;
        }
        let known = known.as_mut().map(|known| known.take(batch.len()).collect()).transpose()?;
        let same = standing::same_in_both(job, &batch, known, &|| job.given_up.check())?;
        let others: Vec<Hash> = batch.iter().zip(&same).filter(|(_, same)| !**same).map(|(hash, _)| *hash).collect();
        all.present += (batch.len() - others.len()) as u64;
        all.add(bring_back(job, &others, all.present + all.copied, log)?);
    }
    for hashes in [&mut all.replaced, &mut all.missing, &mut all.damaged] {
        hashes.sort_unstable();
    }
    file_system.sync()?;
    Ok(all)
}

/// Looks at each of these files, and brings back what is not there and right; `before` of all are done.
fn bring_back(job: &Restore<'_>, wanted: &[Hash], before: u64, log: &Log) -> Result<Restored> {
    let list = Mutex::new(wanted.iter().map(|hash| Ok(*hash)));
    let (done, failed) = (AtomicU64::new(before), AtomicBool::new(false));
    let go_on = || -> Result<Restored> {
        priority::set_for_this_thread(job.effort.nice, job.effort.io);
        let mut worker = Worker::new(job, log)?;
        // What one thread cannot do, the others need not try.
        while !failed.load(Ordering::Relaxed) {
            let share = take_share(&list)?;
            if share.is_empty() {
                break;
            }
            for hash in &share {
                job.given_up.check()?;
                worker.one(hash)?;
            }
            let before = done.fetch_add(share.len() as u64, Ordering::Relaxed);
            log.progress(before + share.len() as u64, job.expected, "files");
        }
        Ok(worker.done)
    };
    let work = || go_on().inspect_err(|_| failed.store(true, Ordering::Relaxed));
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..job.effort.threads.max(1)).map(|_| scope.spawn(work)).collect();
        let panicked = || Err(Fault::failed("a copying thread panicked").into());
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| panicked())).collect()
    });
    let mut all = Restored::default();
    for result in results {
        all.add(result?);
    }
    Ok(all)
}

/// Copies one file of a pool to a new file elsewhere; false, and nothing there, if the pool has no such file or has
/// another content under its name.
pub fn copy_out(pool: &Path, hash: &Hash, to: &Path) -> Result<bool> {
    let source = pool.join(hashes::relative_path(hash));
    let Some(mut source) = carrier::open_regular(&source).or_fault(|| unreadable(&source))? else { return Ok(false) };
    let fault = || Fault::failed(format!("cannot write {}", to.display()));
    let mut copy = carrier::create_new(to).or_fault(fault)?;
    let mut hasher = Sha1::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        signals::check()?;
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&buffer[..count]);
                copy.write_all(&buffer[..count]).or_fault(fault)?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).or_fault(|| Fault::failed("cannot read the pool")),
        }
    }
    let right = Hash::from(hasher.finalize()) == *hash;
    if right {
        copy.set_modified(source.metadata()?.modified()?).or_fault(fault)?;
    } else {
        std::fs::remove_file(to).or_fault(fault)?;
    }
    Ok(right)
}

fn unreadable(path: &Path) -> Fault {
    Fault::failed(format!("cannot read {}", path.display()))
}

fn take_share(list: &Mutex<impl Iterator<Item = Result<Hash>>>) -> Result<Vec<Hash>> {
    let mut list = list.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    list.by_ref().take(SHARE).collect()
}

/// How things stand with one file of filedir.
enum Standing {
    Right,
    Absent,
    Wrong,
}

struct Worker<'a> {
    job: &'a Restore<'a>,
    log: &'a Log,
    pool: OwnedFd,
    filedir: OwnedFd,
    /// The folder of filedir where the last file was put.
    last: Option<([u8; 2], OwnedFd)>,
    buffer: Vec<u8>,
    sync_each_file: bool,
    done: Restored,
}

impl<'a> Worker<'a> {
    fn new(job: &'a Restore<'a>, log: &'a Log) -> Result<Self> {
        let open = |path: &Path| {
            let opened = nix::fcntl::open(path, FOLDER.difference(OFlag::O_NOFOLLOW), Mode::empty());
            opened.or_fault(|| Fault::failed(format!("cannot open {}", path.display())))
        };
        Ok(Worker {
            job,
            log,
            pool: open(job.pool)?,
            filedir: open(job.filedir)?,
            last: None,
            buffer: vec![0; BUFFER],
            sync_each_file: !files::file_system_sync_reports_errors(),
            done: Restored::default(),
        })
    }

    fn one(&mut self, hash: &Hash) -> Result<()> {
        let below = hashes::relative_path(hash);
        let stored = fstatat(&self.pool, &below, AtFlags::AT_SYMLINK_NOFOLLOW).ok().filter(is_file);
        let standing = self.standing(hash, &below, stored.as_ref())?;
        if matches!(standing, Standing::Right) {
            self.done.present += 1;
            return Ok(());
        }
        if stored.is_none() {
            self.done.missing.push(*hash);
            return Ok(());
        }
        let name = hashes::to_hex(hash);
        let temporary = format!("{name}{ON_ITS_WAY}");
        let copied = self.copy(hash, &below, &temporary)?;
        let Some(bytes) = copied else {
            self.done.damaged.push(*hash);
            return Ok(());
        };
        if matches!(standing, Standing::Wrong) {
            (self.job.set_aside)(hash, &self.job.filedir.join(&below))?;
            self.done.replaced.push(*hash);
        }
        rename_new(self.folder(hash)?, &temporary, &name).or_fault(|| self.unwritable(&below))?;
        self.done.copied += 1;
        self.done.bytes += bytes;
        Ok(())
    }

    fn standing(&mut self, hash: &Hash, below: &Path, stored: Option<&FileStat>) -> Result<Standing> {
        let stands = match fstatat(&self.filedir, below, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stands) => stands,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(Standing::Absent),
            Err(error) => return Err(error).or_fault(|| self.unwritable(below)),
        };
        if !is_file(&stands) {
            return Ok(Standing::Wrong);
        }
        if stored.is_some_and(|stored| Marks::from(stored) == Marks::from(&stands)) {
            return Ok(Standing::Right);
        }
        let found = open_file(&self.filedir, below).and_then(|mut file| self.hash(&mut file, None));
        self.job.given_up.check()?;
        Ok(if found.is_ok_and(|(found, _)| found == *hash) { Standing::Right } else { Standing::Wrong })
    }

    /// Copies a file of the pool under another name into its folder; `None`, and nothing there, if what the pool has is
    /// not what it should be.
    fn copy(&mut self, hash: &Hash, below: &Path, temporary: &str) -> Result<Option<u64>> {
        let unreadable = |worker: &Self, error: &dyn std::fmt::Display| {
            worker.log.detail(format!("{} cannot be read: {error}", worker.job.pool.join(below).display()));
            Ok(None)
        };
        let (mut source, stat) = match open_file(&self.pool, below).and_then(|file| {
            let stat = fstat(&file)?;
            Ok((file, stat))
        }) {
            Ok(opened) => opened,
            Err(error) => return unreadable(self, &error),
        };
        let folder = self.folder(hash)?;
        let made = create_new(folder, temporary).or_fault(|| self.unwritable(below))?;
        let mut copy = File::from(made);
        let result = self.hash(&mut source, Some(&mut copy));
        let discard = |worker: &mut Self| -> Result<()> {
            let folder = worker.folder(hash)?;
            unlinkat(folder, temporary, UnlinkatFlags::NoRemoveDir).or_fault(|| worker.unwritable(below))
        };
        match result {
            Ok((found, bytes)) if found == *hash => {
                self.finish(&copy, &stat).or_fault(|| self.unwritable(below))?;
                Ok(Some(bytes))
            }
            Ok(_) => {
                discard(self)?;
                unreadable(self, &"its content is not what its name says")
            }
            Err(error) => {
                discard(self)?;
                self.job.given_up.check()?;
                match error.downcast::<Unwritable>() {
                    Ok(Unwritable(error)) => Err(error).or_fault(|| self.unwritable(below)),
                    Err(error) => unreadable(self, &error),
                }
            }
        }
    }

    /// Reads a file, writes it where that is wanted, and tells its hash and size.
    fn hash(&mut self, source: &mut File, mut copy: Option<&mut File>) -> Result<(Hash, u64)> {
        let mut hasher = Sha1::new();
        let mut bytes = 0;
        loop {
            match source.read(&mut self.buffer) {
                Ok(0) => return Ok((hasher.finalize().into(), bytes)),
                Ok(count) => {
                    let read = &self.buffer[..count];
                    hasher.update(read);
                    if let Some(copy) = &mut copy {
                        copy.write_all(read).map_err(Unwritable)?;
                    }
                    bytes += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
            if bytes > BUFFER as u64 {
                self.job.given_up.check()?;
            }
        }
    }

    fn finish(&self, copy: &File, stat: &FileStat) -> std::io::Result<()> {
        let Ownership { uid, gid, file_mode, .. } = self.job.ownership;
        fchown(copy, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        fchmod(copy, Mode::from_bits_truncate(file_mode))?;
        let modified = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
        futimens(copy, &TimeSpec::UTIME_OMIT, &modified)?;
        if self.sync_each_file { copy.sync_all() } else { Ok(()) }
    }

    /// The folder of filedir where a file belongs, made if need be. Never reached by a link: the web user can put one there.
    fn folder(&mut self, hash: &Hash) -> Result<&OwnedFd> {
        let number = [hash[0], hash[1]];
        if self.last.as_ref().is_none_or(|(last, _)| *last != number) {
            let opened = self.open_folder(hash).or_fault(|| {
                let path = hashes::relative_path(hash);
                Fault::failed(format!("cannot make {}", self.job.filedir.join(files::parent(&path)).display()))
                    .hint("something else may stand in its place: move it away")
            })?;
            self.last = Some((number, opened));
        }
        self.last.as_ref().map(|(_, folder)| folder).ok_or_else(|| Fault::failed("no folder").into())
    }

    fn open_folder(&self, hash: &Hash) -> nix::Result<OwnedFd> {
        let (top, second) = (hashes::to_hex(&hash[..1]), hashes::to_hex(&hash[1..2]));
        let open = |at: &OwnedFd, name: &str| match openat(at, name, FOLDER, Mode::empty()) {
            Err(Errno::ENOENT) => {
                make_folder(at, Path::new(name), &self.job.ownership)?;
                openat(at, name, FOLDER, Mode::empty())
            }
            opened => opened,
        };
        open(&open(&self.filedir, &top)?, &second)
    }

    fn unwritable(&self, below: &Path) -> Fault {
        Fault::failed(format!("cannot write {}", self.job.filedir.join(below).display()))
    }
}

/// The file that is written cannot be, as against the one that is read.
#[derive(Debug)]
struct Unwritable(std::io::Error);

impl std::fmt::Display for Unwritable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Unwritable {}

fn is_file(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFREG
}

fn open_file(folder: &OwnedFd, below: &Path) -> Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let opened = match openat(folder, below, flags | OFlag::O_NOATIME, Mode::empty()) {
        Err(Errno::EPERM) => openat(folder, below, flags, Mode::empty())?,
        opened => opened?,
    };
    if !is_file(&fstat(&opened)?) {
        return Err(Fault::failed("not a regular file").into());
    }
    Ok(opened.into())
}

/// Makes a file for writing. One of that name was left by a restore that was killed.
fn create_new(folder: &OwnedFd, name: &str) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let create = || openat(folder, name, flags, Mode::S_IRUSR | Mode::S_IWUSR);
    match create() {
        Err(Errno::EEXIST) => {
            unlinkat(folder, name, UnlinkatFlags::NoRemoveDir)?;
            create()
        }
        created => created,
    }
}

/// Makes a folder with its owner and mode; one that is there stays as it is.
fn make_folder(at: impl AsFd, path: &Path, ownership: &Ownership) -> nix::Result<()> {
    match mkdirat(&at, path, Mode::S_IRWXU) {
        Err(Errno::EEXIST) => return Ok(()),
        made => made?,
    }
    let folder = openat(&at, path, FOLDER, Mode::empty())?;
    fchown(&folder, Some(Uid::from_raw(ownership.uid)), Some(Gid::from_raw(ownership.gid)))?;
    fchmod(&folder, Mode::from_bits_truncate(ownership.folder_mode))
}

/// Renames within a folder to a name that must be free.
fn rename_new(folder: &OwnedFd, from: &str, to: &str) -> nix::Result<()> {
    match renameat2(folder, from, folder, to, RenameFlags::RENAME_NOREPLACE) {
        // Some network file systems know plain renames only.
        Err(Errno::EINVAL | Errno::ENOSYS) if fstatat(folder, to, AtFlags::AT_SYMLINK_NOFOLLOW).is_err() => {
            renameat(folder, from, folder, to)
        }
        renamed => renamed,
    }
}
