//! The folder that things are brought back into: everything is made below `.restoring` in it, and named at the end, so that what
//! has its final name there is whole. What was there before is never written over.

use crate::error::{Fault, OrFault, Result};
use crate::store::layout;
use crate::sys::files::{self, FileSystem};
use crate::sys::log::Log;
use std::fs::{DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where everything is made until it is whole.
const ON_ITS_WAY: &str = ".restoring";

/// What may be in the folder before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    /// Nothing: what comes is a whole, and to be seen as such.
    Empty,
    /// Others; they stay as they are.
    Others,
}

/// The folder; what is not published is removed when this is dropped, and the folder itself if it was made for it.
#[derive(Debug)]
pub(super) struct Staging {
    to: PathBuf,
    path: PathBuf,
    disk: FileSystem,
    made: bool,
    published: bool,
}

impl Staging {
    /// Begins in a folder, which is made if it is not there yet.
    pub fn begin(to: &Path, within: Within) -> Result<Self> {
        let path = to.join(ON_ITS_WAY);
        let fault = || Fault::failed(format!("cannot make {}", to.display()));
        let made = match std::fs::create_dir(to) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error).or_fault(|| fault().hint("the folder that is to hold it must be there")),
        };
        let mut names = std::fs::read_dir(to).or_fault(fault)?;
        if path.symlink_metadata().is_ok() {
            return Err(left(to, &path).into());
        }
        if let Some(first) = names.next().filter(|_| within == Within::Empty) {
            let first = first.or_fault(fault)?.file_name();
            return Err(not_empty(to, &first.to_string_lossy()).into());
        }
        if made {
            // A whole site's secrets come into it.
            std::fs::set_permissions(to, Permissions::from_mode(0o700)).or_fault(fault)?;
        }
        // Before anything is written: only errors after that are told of.
        let disk = FileSystem::watch(to)?;
        // Whoever else has begun there meanwhile is not to be mixed with this.
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .or_fault(|| Fault::failed(format!("cannot make {}", path.display())))?;
        Ok(Staging { to: to.to_path_buf(), path, disk, made, published: false })
    }

    /// Where things are made.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives everything its final name. An error, before anything has got one, where one of the names is taken.
    pub fn publish(mut self, log: &Log) -> Result<()> {
        self.disk.sync()?;
        let mut renames = Vec::new();
        plan(&self.path, &self.to, &mut renames)?;
        for (from, to) in renames {
            files::rename_new(&from, &to)
                .or_fault(|| Fault::failed(format!("cannot rename {} to {}", from.display(), to.display())))?;
            files::sync_folder(files::parent(&to))?;
        }
        // Folders that were there already have left theirs empty.
        layout::remove_tree(&self.path)?;
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

/// What is to be renamed to what, so that the content of `from` comes to that of `to`: a folder that is there already gets what
/// the other holds.
fn plan(from: &Path, to: &Path, renames: &mut Vec<(PathBuf, PathBuf)>) -> Result<()> {
    let fault = || Fault::failed(format!("cannot read {}", from.display()));
    for entry in std::fs::read_dir(from).or_fault(fault)? {
        let entry = entry.or_fault(fault)?;
        let place = to.join(entry.file_name());
        match place.symlink_metadata() {
            Err(_) => renames.push((entry.path(), place)),
            Ok(there) if there.is_dir() && entry.file_type().or_fault(fault)?.is_dir() => {
                plan(&entry.path(), &place, renames)?;
            }
            Ok(_) => return Err(taken(&place).into()),
        }
    }
    Ok(())
}

fn taken(place: &Path) -> Fault {
    Fault::unfit(format!("{} is there already: nothing is written over, and nothing was brought back", place.display()))
        .hint("name another folder by --to, or move it out of the way")
}

fn left(to: &Path, path: &Path) -> Fault {
    Fault::unfit(format!("{} is not empty: {ON_ITS_WAY} is in it", to.display())).hint(format!(
        "a restore that is at work there, or was killed, has made it; if none is at work: rm -r {}",
        path.display()
    ))
}

fn not_empty(to: &Path, first: &str) -> Fault {
    Fault::unfit(format!("{} is not empty: {first} is in it", to.display()))
        .hint("name a folder that is empty or not there yet: nothing is written over")
}
