//! Whether a target can hold backups, found out by trying what a backup will do, not by the name of its
//! file system. Leaves nothing behind.

use super::layout;
use crate::error::{Fault, Result};
use crate::sys::files::FileSystem;
use crate::sys::lock::{Lock, Mode};
use nix::errno::Errno;
use std::ffi::OsString;
use std::fs::{File, FileTimes};
use std::io::Result as IoResult;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// An owner that root's own files do not have; it need not exist.
const STRANGER: u32 = 54_321;

/// Tries the target out; an error names all that it cannot do.
pub fn probe(target: &Path) -> Result<()> {
    let unfit = |what: String| Fault::unfit(format!("{} cannot hold backups: {what}", target.display()));
    remove_stale(target);
    let folder = ProbeFolder::make(target).map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EROFS) => {
            unfit("it is read-only".into()).hint("see in the kernel's log (dmesg) why, then mount it for writing")
        }
        Some(Errno::ENOSPC | Errno::EDQUOT) => {
            unfit("it is full".into()).hint("make room: `moodle-backup prune --dry-run` tells what may go")
        }
        _ => unfit(error.to_string()).hint("is it mounted, and a folder that root may write to?"),
    })?;
    let lacks: Vec<String> = TRIALS
        .iter()
        .filter_map(|(what, trial)| trial(&folder.0).err().map(|error| format!("{what} ({error})")))
        .chain(lock_trial(&folder.0))
        .collect();
    if lacks.is_empty() {
        return Ok(());
    }
    Err(unfit(format!("no {}", lacks.join(", no ")))
        .hint("use a local ext4, xfs or btrfs, or NFS (version 4) exported with no_root_squash")
        .into())
}

type Trial = fn(&Path) -> IoResult<()>;

/// What a backup needs, and how that is tried.
const TRIALS: [(&str, Trial); 9] = [
    ("owners", owners),
    ("modes", modes),
    ("times of files", times),
    ("hard links", hard_links),
    ("symbolic links", symbolic_links),
    ("names of 255 bytes", |folder| named(folder, vec![b'x'; 255])),
    ("names of any bytes", |folder| named(folder, b"\xff\xfe\\ \n:*?\"<>|".to_vec())),
    ("names that tell upper from lower case", cases),
    ("syncing", syncing),
];

fn make(folder: &Path, name: &str) -> IoResult<PathBuf> {
    let path = folder.join(name);
    std::fs::write(&path, name)?;
    Ok(path)
}

fn must(holds: bool) -> IoResult<()> {
    if holds { Ok(()) } else { Err(std::io::Error::other("it seems to work, but has no effect")) }
}

fn owners(folder: &Path) -> IoResult<()> {
    let path = make(folder, "owned")?;
    std::os::unix::fs::chown(&path, Some(STRANGER), Some(STRANGER))?;
    let meta = path.metadata()?;
    must((meta.uid(), meta.gid()) == (STRANGER, STRANGER))
}

fn modes(folder: &Path) -> IoResult<()> {
    let path = make(folder, "moded")?;
    for mode in [0o400, 0o2777, 0o4755] {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode))?;
        must(path.metadata()?.mode() & 0o7777 == mode)?;
    }
    Ok(())
}

fn times(folder: &Path) -> IoResult<()> {
    let path = make(folder, "timed")?;
    // An odd second: some file systems round to even ones.
    let time = UNIX_EPOCH + Duration::from_secs(1_000_000_001);
    File::options().write(true).open(&path)?.set_times(FileTimes::new().set_modified(time))?;
    must(path.metadata()?.modified()? == time)
}

fn hard_links(folder: &Path) -> IoResult<()> {
    let path = make(folder, "linked")?;
    let other = folder.join("linked-too");
    std::fs::hard_link(&path, &other)?;
    must(path.metadata()?.ino() == other.metadata()?.ino())
}

fn symbolic_links(folder: &Path) -> IoResult<()> {
    let path = folder.join("symbolic");
    symlink("nowhere", &path)?;
    must(path.read_link()? == Path::new("nowhere"))
}

fn named(folder: &Path, name: Vec<u8>) -> IoResult<()> {
    let name = OsString::from_vec(name);
    let within = folder.join("named");
    std::fs::create_dir_all(&within)?;
    File::create(within.join(&name))?;
    let found = std::fs::read_dir(&within)?.any(|entry| entry.is_ok_and(|entry| entry.file_name() == name));
    must(found)
}

fn cases(folder: &Path) -> IoResult<()> {
    let (lower, upper) = (make(folder, "case")?, make(folder, "CASE")?);
    must(lower.metadata()?.ino() != upper.metadata()?.ino())
}

fn syncing(folder: &Path) -> IoResult<()> {
    let path = make(folder, "synced")?;
    File::open(&path)?.sync_all()?;
    File::open(folder)?.sync_all()?;
    std::fs::rename(&path, folder.join("renamed"))?;
    FileSystem::watch(folder).and_then(|it| it.sync()).map_err(|error| std::io::Error::other(format!("{error:#}")))
}

/// Locks must exclude; that they can be taken says little.
fn lock_trial(folder: &Path) -> Option<String> {
    let trial = || -> Result<bool> {
        let held = Lock::try_hold(folder, Mode::Exclusive)?;
        Ok(held.is_some() && Lock::try_hold(folder, Mode::Shared)?.is_none())
    };
    match trial() {
        Ok(true) => None,
        Ok(false) => Some("locks (they exclude nobody)".into()),
        Err(error) => Some(format!("locks ({error:#})")),
    }
}

/// The folder in which things are tried; it goes at the end.
struct ProbeFolder(PathBuf);

impl ProbeFolder {
    fn make(target: &Path) -> IoResult<ProbeFolder> {
        let path = target.join(format!("{}{}", layout::PROBE, std::process::id()));
        std::fs::create_dir(&path)?;
        let folder = ProbeFolder(path);
        // Folders may still be made where there is no room for content.
        make(&folder.0, "written").and_then(|path| File::open(path)?.sync_all())?;
        Ok(folder)
    }
}

impl Drop for ProbeFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Removes what a probe left that was killed.
fn remove_stale(target: &Path) {
    for entry in std::fs::read_dir(target).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(layout::PROBE)?.parse::<u32>().ok());
        if pid.is_some_and(|pid| pid == std::process::id() || !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
