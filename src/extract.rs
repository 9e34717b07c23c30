//! Bringing parts of a backup back into a plain folder, where they touch nothing else: the page to read first. What is in
//! the folder under its final name is whole: everything is made below `.restoring`, and named at the end.

pub mod find;
mod hits;
mod parts;
pub mod searched;
mod sums;
pub mod tables;
pub mod unpack;
pub mod uploads;
pub mod wanted;

use crate::entry::owners::Owner;
use crate::error::{Fault, OrFault, Result};
use crate::store::{Backup, layout};
use crate::sys::files::{self, FileSystem};
use crate::sys::log::Log;
use std::path::{Path, PathBuf};
use wanted::Wanted;

/// The steps in their order, by the names that the log shows.
pub const STEPS: [&str; 6] = ["verify", "database", "archives", "moodledata", "pool", "name"];

/// Where everything is made until it is whole.
const ON_ITS_WAY: &str = ".restoring";

/// What to bring back, and where to.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The backup; the caller holds it.
    pub backup: &'a Backup,
    /// The pool that belongs to it.
    pub pool: &'a Path,
    /// The parts.
    pub wanted: &'a [Wanted],
    /// Where they go: not there yet, or an empty folder.
    pub to: &'a Path,
    /// Who is to own what was the web user's; `None`: who it was.
    pub owner: Option<Owner>,
    /// Whether dumps are to be uncompressed.
    pub plain: bool,
    /// Whether to go on where the backup is damaged, with what is left of it.
    pub force: bool,
}

/// Something that was brought back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// What it is: `code`, `moodledata`.
    pub name: String,
    /// Where it is now.
    pub path: PathBuf,
    /// Files, without the folders on the way to them.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Brings the parts back. What could not be brought back, and why, is warned of in the log. On an error nothing is left.
pub fn extract(job: &Job<'_>, log: &Log) -> Result<Vec<Placed>> {
    let staging = Staging::begin(job.to)?;
    let mut parts = parts::Parts::new(job, staging.path(), log);

    log.step("verify")?;
    parts.verify()?;
    parts.require_room()?;

    log.step("database")?;
    parts.databases()?;

    log.step("archives")?;
    parts.archives()?;

    log.step("moodledata")?;
    parts.moodledata()?;

    log.step("pool")?;
    parts.pool()?;

    log.step("name")?;
    let placed = parts.end();
    staging.publish(log)?;
    Ok(placed)
}

/// The folder that things are made in; removed with all in it when dropped, and the folder around it if that was made
/// for it.
#[derive(Debug)]
pub(crate) struct Staging {
    to: PathBuf,
    path: PathBuf,
    disk: FileSystem,
    made: bool,
    published: bool,
}

impl Staging {
    /// Begins in a folder that is not there yet, or is empty.
    pub fn begin(to: &Path) -> Result<Self> {
        let path = to.join(ON_ITS_WAY);
        let fault = || Fault::failed(format!("cannot make {}", to.display()));
        let made = match std::fs::create_dir(to) {
            Ok(()) => true,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error).or_fault(|| fault().hint("the folder that is to hold it must be there")),
        };
        let mut names = std::fs::read_dir(to).or_fault(fault)?;
        if let Some(first) = names.next() {
            let first = first.or_fault(fault)?.file_name();
            return Err(not_empty(to, &first.to_string_lossy()).into());
        }
        if made {
            // A whole site's secrets come into it.
            std::fs::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(0o700)).or_fault(fault)?;
        }
        // Before anything is written: only errors after that are told of.
        let disk = FileSystem::watch(to)?;
        let staging = Staging { to: to.to_path_buf(), path, disk, made, published: false };
        files::make_folders(&staging.path, 0o700)?;
        Ok(staging)
    }

    /// Where things are made.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives everything its final name.
    pub fn publish(mut self, log: &Log) -> Result<()> {
        let fault = || Fault::failed(format!("cannot put things into {}", self.to.display()));
        self.disk.sync()?;
        for entry in std::fs::read_dir(&self.path).or_fault(fault)? {
            let entry = entry.or_fault(fault)?;
            std::fs::rename(entry.path(), self.to.join(entry.file_name())).or_fault(fault)?;
        }
        std::fs::remove_dir(&self.path).or_fault(fault)?;
        files::sync_folder(&self.to)?;
        self.published = true;
        log.detail(format!("all of it is in {}", self.to.display()));
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.published {
            let _ = layout::remove_tree(&self.path);
            if self.made {
                // Only if nothing else is in it.
                let _ = std::fs::remove_dir(&self.to);
            }
        }
    }
}

fn not_empty(to: &Path, first: &str) -> Fault {
    let fault = Fault::unfit(format!("{} is not empty: {first} is in it", to.display()));
    if first == ON_ITS_WAY {
        return fault.hint(format!("a restore that was killed has left it: rm -r {}", to.join(first).display()));
    }
    fault.hint("name a folder that is empty or not there yet: nothing is written over")
}
