//! The exchange: what is there is renamed into the folder for what is set aside, what is ready takes its place. The site
//! is closed meanwhile. Copies nothing.

use super::stage::Staged;
use super::{Here, Job};
use crate::entry::Exclusions;
use crate::error::{Fault, OrFault, Result};
use crate::sys::log::Log;
use crate::undo::{self, Changes};
use std::fs::{DirBuilder, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Exchanges everything that is ready.
pub fn all(job: &Job, here: &Here, staged: &Staged, changes: &mut Changes, log: &Log) -> Result<()> {
    if let Some(new) = &staged.moodledata {
        log.info("exchanging moodledata");
        let mut exclude = Exclusions::none();
        for path in here.left_alone() {
            exclude.add_path(path.as_os_str().as_bytes());
        }
        for pattern in &job.settings.moodledata.exclude {
            exclude.add_pattern(pattern)?;
        }
        let old = changes.folder_for(&here.dataroot)?.join("old-moodledata");
        folder(
            &Exchange { live: &here.dataroot, new, old: &old, kept: &here.left_alone(), exclude },
            Path::new(""),
            changes,
        )?;
    }
    staged.trees.iter().try_for_each(|(live, new)| tree(here, live, new, changes, log))
}

/// Exchanges a tree whole, by its name; or by what is in it, where it is a mount point, or holds the dataroot or the code,
/// which are no part of it.
fn tree(here: &Here, live: &Path, new: &Path, changes: &mut Changes, log: &Log) -> Result<()> {
    log.info(format!("exchanging {}", live.display()));
    let aside = changes.folder_for(live)?;
    let name = new.file_name().unwrap_or_default().to_string_lossy().replacen("new", "old", 1);
    let old = aside.join(name);
    let inside =
        [&here.root, &here.dataroot, &here.filedir].into_iter().filter_map(|path| path.strip_prefix(live).ok());
    let mut kept: Vec<PathBuf> = inside.filter(|path| !path.as_os_str().is_empty()).map(Path::to_path_buf).collect();
    if kept.is_empty() && !aside.starts_with(live) {
        changes.rename(live, &old)?;
        return changes.rename(new, live).map(drop);
    }
    kept.extend([PathBuf::from(undo::FOLDER), PathBuf::from("lost+found")]);
    let mut exclude = Exclusions::none();
    kept.iter().for_each(|path| exclude.add_path(path.as_os_str().as_bytes()));
    folder(&Exchange { live, new, old: &old, kept: &kept, exclude }, Path::new(""), changes)
}

/// Two trees, entry by entry.
struct Exchange<'a> {
    live: &'a Path,
    new: &'a Path,
    old: &'a Path,
    /// Paths that stay, with what is in them; the folders above them are gone into.
    kept: &'a [PathBuf],
    exclude: Exclusions,
}

/// Exchanges the entries of one folder; below it only where something in it is to stay.
fn folder(exchange: &Exchange, below: &Path, changes: &mut Changes) -> Result<()> {
    let (live, new, old) = (exchange.live.join(below), exchange.new.join(below), exchange.old.join(below));
    make_like(&live, &old)?;
    for name in names(&live)? {
        let path = below.join(&name);
        if exchange.exclude.excludes(path.as_os_str().as_bytes()) {
            continue;
        }
        if exchange.kept.iter().any(|kept| kept.starts_with(&path)) && live.join(&name).is_dir() {
            folder(exchange, &path, changes)?;
        } else {
            changes.rename(&live.join(&name), &old.join(&name))?;
        }
    }
    if !new.is_dir() {
        return Ok(());
    }
    for name in names(&new)? {
        let to = live.join(&name);
        if to.symlink_metadata().is_err() {
            changes.rename(&new.join(&name), &to)?;
        }
    }
    take_over(&new.metadata()?, &live)
}

/// A folder that is kept gets owner, mode and time of the one in the backup.
fn take_over(meta: &Metadata, folder: &Path) -> Result<()> {
    let take = || -> std::io::Result<()> {
        chown(folder, Some(meta.uid()), Some(meta.gid()))?;
        std::fs::set_permissions(folder, PermissionsExt::from_mode(meta.mode() & 0o7777))?;
        std::fs::File::open(folder)?.set_modified(meta.modified()?)
    };
    take().or_fault(|| Fault::failed(format!("cannot set owner and mode of {}", folder.display())))
}

/// The folder for what is set aside, closed to others, with the owner and mode noted by the folder it is of.
fn make_like(live: &Path, old: &Path) -> Result<()> {
    let make = || -> std::io::Result<()> {
        let meta = live.metadata()?;
        DirBuilder::new().mode(0o700).recursive(true).create(old)?;
        chown(old, Some(meta.uid()), Some(meta.gid()))?;
        std::fs::set_permissions(old, PermissionsExt::from_mode(meta.mode() & 0o7777))
    };
    make().or_fault(|| Fault::failed(format!("cannot make the folder {}", old.display())))
}

fn names(folder: &Path) -> Result<Vec<std::ffi::OsString>> {
    let read = || -> std::io::Result<Vec<_>> {
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
    };
    let mut names = read().or_fault(|| Fault::failed(format!("cannot read the folder {}", folder.display())))?;
    names.sort();
    Ok(names)
}
