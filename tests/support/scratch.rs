//! Temporary folders that other users may enter, and that are gone in the end.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::janitor::{self, Leftover, Watch};
use super::process::owner_ids;

/// A folder with a short name (sockets lie in it) that servers of other users can pass through.
pub struct Scratch {
    folder: TempDir,
    _watch: Watch,
}

impl Scratch {
    /// A new folder where the machine keeps temporary ones.
    pub fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// A new folder in a place of one's choice: a mounted file system, for example.
    pub fn below(place: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("mbt-").tempdir_in(place).expect("a temporary folder");
        set_mode(folder.path(), 0o755);
        let watch = janitor::watch(&Leftover::Folder(text(folder.path())));
        Scratch { folder, _watch: watch }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where a name lies in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a folder in it that belongs to a user.
    pub fn folder_of(&self, name: &str, user: &str) -> PathBuf {
        let folder = self.join(name);
        make_folder_of(&folder, user);
        folder
    }
}

/// Makes a folder, with those above it, that belongs to a user.
pub fn make_folder_of(folder: &Path, user: &str) {
    std::fs::create_dir_all(folder).expect("a folder can be made");
    let (uid, gid) = owner_ids(user);
    chown(folder, Some(uid), Some(gid)).expect("a folder can be given away");
}

pub fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode can be set");
}

/// A path that we named ourselves, as text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("our own paths are UTF-8")
}
