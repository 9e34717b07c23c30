//! Temporary folders that other users may enter, and that are gone in the end.
//!
//! They lie on an ext4 of the test process's own, in a sparse image: making thousands of files on a machine's root file
//! system can be slow beyond all measure, and is never of interest to a test.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use super::janitor::{self, Leftover, Watch};
use super::process::owner_ids;

/// The most that all tests of a process can have on disk at a time.
const GROUND_BYTES: u64 = 64 << 30;

/// A folder with a short name (sockets lie in it) that servers of other users can pass through.
pub struct Scratch {
    folder: TempDir,
    _watch: Option<Watch>,
}

impl Scratch {
    /// A new folder on the process's own file system.
    pub fn new() -> Self {
        Self::below(ground())
    }

    /// A new folder where the machine keeps temporary ones: for images, which had better not lie in an image.
    pub fn on_machine() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// A new folder in a place of one's choice.
    pub fn below(place: &Path) -> Self {
        let folder = new_folder(place);
        let watch = janitor::watch(&Leftover::Folder(text(folder.path())));
        Scratch { folder, _watch: Some(watch) }
    }

    /// A new folder that stays where it is made: on a file system that is thrown away as a whole, which is quicker than
    /// deleting a great site file by file.
    pub fn left_in(place: &Path) -> Self {
        let mut folder = new_folder(place);
        folder.disable_cleanup(true);
        Scratch { folder, _watch: None }
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

fn new_folder(place: &Path) -> TempDir {
    let folder = tempfile::Builder::new().prefix("mbt-").tempdir_in(place).expect("a temporary folder");
    set_mode(folder.path(), 0o755);
    folder
}

/// Where scratch folders are made: mounted when it is first asked for, unmounted by the janitor after everybody else.
fn ground() -> &'static Path {
    struct Ground {
        path: PathBuf,
        _mounted: Option<Watch>,
        _folder: Scratch,
    }
    static GROUND: OnceLock<Ground> = OnceLock::new();
    let ground = GROUND.get_or_init(|| {
        let folder = Scratch::on_machine();
        let path = folder.join("d");
        std::fs::create_dir(&path).expect("a folder can be made");
        let watch = janitor::watch(&Leftover::Mount(text(&path)));
        // A container may have no loop devices; the plain folder will do there.
        let _mounted = mount_new_ext4(&folder.join("disk.img"), &path).then_some(watch);
        Ground { path, _mounted, _folder: folder }
    });
    &ground.path
}

/// Makes and mounts an ext4 without anything that costs time and keeps data safe; whether that worked.
fn mount_new_ext4(image: &Path, mount: &Path) -> bool {
    let run = |command: &mut Command| {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let file = std::fs::File::create(image).expect("an image can be made");
    file.set_len(GROUND_BYTES).expect("an image can be made long");
    let options = "lazy_itable_init=1,nodiscard";
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0", "-O", "^has_journal", "-E", options]).arg(image))
        && run(Command::new("mount").args(["-o", "loop,discard,noinit_itable,nobarrier"]).arg(image).arg(mount))
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
