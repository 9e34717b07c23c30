//! Whether a folder is a place for backups, whoever has named it. What must not be is refused; what is only unwise is told.
//! Looks only.

use super::discover;
use super::disks::mount;
use crate::error::{Fault, Result};
use crate::preflight;
use crate::sys::files;
use crate::sys::mounts;
use std::path::{Path, PathBuf};

/// File systems that are gone at the next start, or hold no files at all.
const IN_MEMORY: [&str; 6] = ["tmpfs", "ramfs", "devtmpfs", "proc", "sysfs", "cgroup2"];

/// An error unless backups can lie there: in a folder, or one that can be made, that outlives a start of this server, outside of
/// all that is backed up.
pub fn require_fit<'a>(path: &Path, site_name: &str, saved: impl Iterator<Item = &'a PathBuf>) -> Result<()> {
    if !path.is_absolute() || path == Path::new("/") {
        return Err(Fault::unfit(format!("{:?} is no place for backups", path.display().to_string()))
            .hint("name a folder from \"/\" on, such as /srv/backup")
            .into());
    }
    let there = path.ancestors().find(|it| it.exists()).unwrap_or(Path::new("/"));
    if !there.is_dir() {
        return Err(Fault::unfit(format!("{} is no folder", there.display()))
            .hint("name a folder; a disk is chosen from the list of \"moodle-backup setup\", or in a file of answers")
            .into());
    }
    let mount = mounts::of(there)?;
    if IN_MEMORY.contains(&mount.kind.as_str()) {
        return Err(Fault::unfit(format!(
            "{} lies in memory ({} at {}): what is there is gone at the next start of this server",
            path.display(),
            mount.kind,
            mount.point.display()
        ))
        .hint("name a folder on a disk")
        .into());
    }
    preflight::require_outside(path, site_name, saved)
}

/// What speaks against a place without making it impossible.
pub fn doubt(machine: &Path, path: &Path) -> Option<String> {
    if let Err(error) = mount::require_not_systems(path) {
        return Some(format!("{error:#}: better a folder for the backups alone, such as {}/backup", path.display()));
    }
    let (folder, file) = discover::served(machine).into_iter().find(|(folder, _)| files::lies_in(path, folder))?;
    Some(format!(
        "{} lies in {}, which the web server shows to everybody ({}): better a folder elsewhere",
        path.display(),
        folder.display(),
        file.display()
    ))
}
