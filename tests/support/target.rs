//! File systems of their own for targets and sites: a plain folder, or an image on a loop device that can be filled up,
//! made read-only, broken, and left as a power cut would leave it.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::janitor::{self, Leftover, Watch};
use super::process::{succeed, wait_for};
use super::scratch::{Scratch, text};

/// What an image is formatted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    Ext4,
    Xfs,
    Btrfs,
}

/// A folder to back up to, or to put a site on. Mounted ones are unmounted when this is dropped.
pub struct TestTarget {
    // In the order in which they have to go.
    image: Option<Image>,
    path: PathBuf,
    scratch: Scratch,
    below: Option<Arc<TestTarget>>,
}

/// A mounted image file.
struct Image {
    file: PathBuf,
    mount: PathBuf,
    _watch: Watch,
}

impl TestTarget {
    /// A folder on the file system that everything temporary is on: quickest.
    pub fn folder() -> Self {
        let scratch = Scratch::new();
        let path = scratch.join("target");
        std::fs::create_dir(&path).expect("a folder can be made");
        TestTarget { image: None, path, scratch, below: None }
    }

    /// An ext4 of its own.
    pub fn ext4(mebibytes: u64) -> Self {
        Self::formatted(FileSystem::Ext4, mebibytes)
    }

    /// An ext4 on a disk that is smaller than it says: what is written finds its place only until that is full, and nobody
    /// learns of it before the data are synced.
    pub fn ext4_on_smaller_disk(mebibytes: u64, disk_mebibytes: u64) -> Self {
        let scratch = Scratch::on_machine();
        let path = scratch.join("disk");
        std::fs::create_dir(&path).expect("a folder can be made");
        let watch = janitor::watch(&Leftover::Mount(text(&path)));
        let size = format!("size={disk_mebibytes}m");
        succeed(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path));
        let file = path.join("disk.img");
        let image = Image { file, mount: path.clone(), _watch: watch };
        let below = Arc::new(TestTarget { image: Some(image), path, scratch, below: None });
        let target = Self::formatted_in(Scratch::below(below.path()), FileSystem::Ext4, mebibytes);
        TestTarget { below: Some(below), ..target }
    }

    /// A file system of its own, on a sparse file: space is taken as it is used.
    pub fn formatted(kind: FileSystem, mebibytes: u64) -> Self {
        Self::formatted_in(Scratch::on_machine(), kind, mebibytes)
    }

    /// An ext4 of which `after_power_cut` can be asked at any time: its image lies on an xfs, which copies it in no time.
    pub fn ext4_with_copies(mebibytes: u64) -> Self {
        // Room for many copies: only what differs takes space.
        let below = Arc::new(Self::formatted(FileSystem::Xfs, 4 * mebibytes + 1024));
        let target = Self::formatted_in(Scratch::below(below.path()), FileSystem::Ext4, mebibytes);
        TestTarget { below: Some(below), ..target }
    }

    /// What a power cut at this moment would leave, mounted beside the original, which goes on undisturbed. What was not
    /// yet written back is lost.
    pub fn after_power_cut(&self) -> Self {
        let below = self.below.as_ref().expect("a target made by ext4_with_copies");
        let scratch = Scratch::below(below.path());
        let file = scratch.join("disk.img");
        // Such a copy is of one moment: it excludes the writes of the loop device while it is made.
        succeed(Command::new("cp").arg("--reflink=always").arg(self.image_file()).arg(&file));
        let copy = Self::mounted(scratch, file);
        TestTarget { below: Some(Arc::clone(below)), ..copy }
    }

    /// An ext4 that believes in more room than the disk under it has: writing goes well, and syncing fails.
    pub fn ext4_on_thin_disk(mebibytes: u64, real_mebibytes: u64) -> Self {
        let below = Arc::new(Self::ext4(real_mebibytes));
        let target = Self::formatted_in(Scratch::below(below.path()), FileSystem::Ext4, mebibytes);
        TestTarget { below: Some(below), ..target }
    }

    /// A folder that begins as another one, which no change in it reaches.
    pub fn overlay(below: &Path) -> Self {
        let scratch = Scratch::new();
        let [changes, work, path] = ["changes", "work", "disk"].map(|name| scratch.join(name));
        for folder in [&changes, &work, &path] {
            std::fs::create_dir(folder).expect("a folder can be made");
        }
        let watch = janitor::watch(&Leftover::Mount(text(&path)));
        let layers = format!("lowerdir={},upperdir={},workdir={}", text(below), text(&changes), text(&work));
        succeed(Command::new("mount").args(["-t", "overlay", "-o", &layers, "overlay"]).arg(&path));
        TestTarget {
            image: Some(Image { file: changes, mount: path.clone(), _watch: watch }),
            path,
            scratch,
            below: None,
        }
    }

    fn formatted_in(scratch: Scratch, kind: FileSystem, mebibytes: u64) -> Self {
        let file = scratch.join("disk.img");
        let image = File::create(&file).expect("an image can be made");
        image.set_len(mebibytes << 20).expect("an image can be made long");
        succeed(&mut format(kind, &file));
        Self::mounted(scratch, file)
    }

    fn mounted(scratch: Scratch, file: PathBuf) -> Self {
        let path = scratch.join("disk");
        std::fs::create_dir(&path).expect("a folder can be made");
        let watch = janitor::watch(&Leftover::Mount(text(&path)));
        mount(&file, &path);
        TestTarget { image: Some(Image { file, mount: path.clone(), _watch: watch }), path, scratch, below: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The image file under the mounted file system.
    pub fn image_file(&self) -> &Path {
        &self.image.as_ref().expect("a target with an image").file
    }

    /// The loop device.
    pub fn device(&self) -> PathBuf {
        let found = succeed(Command::new("findmnt").args(["-no", "SOURCE"]).arg(&self.path));
        PathBuf::from(String::from_utf8_lossy(&found).trim())
    }

    /// The file system's UUID.
    pub fn uuid(&self) -> String {
        let found = succeed(Command::new("blkid").args(["-o", "value", "-s", "UUID"]).arg(self.image_file()));
        String::from_utf8_lossy(&found).trim().to_owned()
    }

    /// Takes the file system away, also from under those who use it.
    pub fn unmount(&self) {
        succeed(Command::new("umount").arg("-l").arg(&self.path));
    }

    /// Mounts it again after `unmount`, when nobody uses it any more: until then what was last written is not in the image.
    pub fn mount_again(&self) {
        wait_for("the image to be given up", Duration::from_secs(30), || {
            succeed(Command::new("losetup").arg("--associated").arg(self.image_file())).is_empty()
        });
        mount(self.image_file(), &self.path);
    }

    /// Cuts the power and starts the machine again: what was not yet written back is lost, and whoever had something open
    /// there gets errors from it for ever.
    pub fn cut_power(&self) {
        self.lose_disk();
        self.unmount();
        mount(self.image_file(), &self.path);
    }

    pub fn set_read_only(&self, read_only: bool) {
        let mode = if read_only { "remount,ro" } else { "remount,rw" };
        succeed(Command::new("mount").args(["-o", mode]).arg(&self.path));
    }

    /// Loses the disk: from now on every access is an input/output error.
    pub fn lose_disk(&self) {
        let folder = File::open(&self.path).expect("the mount can be opened");
        let without_flushing: u32 = 2;
        // SAFETY: the descriptor is open and the argument is an u32, as the request has it.
        unsafe { shutdown_file_system(folder.as_raw_fd(), &raw const without_flushing) }
            .expect("the file system can be shut down");
    }

    /// Makes the file system hang: whoever writes there waits, and no signal ends it, until `thaw`.
    pub fn freeze(&self) {
        succeed(Command::new("fsfreeze").arg("--freeze").arg(&self.path));
    }

    pub fn thaw(&self) {
        succeed(Command::new("fsfreeze").arg("--unfreeze").arg(&self.path));
    }

    /// Fills the file system up to that many bytes; the filling can be taken away by `make_room`.
    pub fn fill_up(&self, leave: u64) {
        let mut filling = File::create(self.filling()).expect("a file can be made");
        let chunk = vec![0x5au8; 1 << 20];
        loop {
            let free = self.free_bytes();
            let wanted = free.saturating_sub(leave).min(chunk.len() as u64);
            // Full is what was wanted.
            if wanted < 4096 || filling.write_all(&chunk[..wanted as usize]).is_err() {
                return;
            }
            filling.sync_all().expect("what was written has its place");
        }
    }

    pub fn make_room(&self) {
        std::fs::remove_file(self.filling()).expect("the filling can be taken away");
    }

    /// Free space, for root too.
    pub fn free_bytes(&self) -> u64 {
        let found = nix::sys::statvfs::statvfs(&self.path).expect("a file system can be asked");
        found.blocks_available() * found.fragment_size()
    }

    /// Room beside the file system, for what must not lie on it.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    fn filling(&self) -> PathBuf {
        self.path.join("filling")
    }
}

/// Something that stands over a file or folder as long as this lives.
pub struct MountedOver {
    path: PathBuf,
    _watch: Watch,
}

impl MountedOver {
    pub fn new(what: &Path, over: &Path) -> Self {
        let watch = janitor::watch(&Leftover::Mount(text(over)));
        succeed(Command::new("mount").arg("--bind").arg(what).arg(over));
        MountedOver { path: over.to_owned(), _watch: watch }
    }
}

impl Drop for MountedOver {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

/// Mounts an image on a loop device of its own that goes with the mount, by itself.
fn mount(image: &Path, path: &Path) {
    // Not `mount -o loop`: it would take the device of a mount that went away lazily, with all its errors.
    let found = succeed(Command::new("losetup").args(["--find", "--show"]).arg(image));
    let device = String::from_utf8_lossy(&found).trim().to_owned();
    let mounted = Command::new("mount").arg(&device).arg(path).output().expect("mount starts");
    // While it is in use, detaching means: when nobody uses it any more.
    succeed(Command::new("losetup").args(["--detach", &device]));
    assert!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr));
}

// _IOR('X', 125, __u32) of linux/fs.h: ext4, xfs and btrfs know it. It is written as a read there, and takes a value.
nix::ioctl_write_ptr_bad!(shutdown_file_system, nix::request_code_read!(b'X', 125, 4), u32);

fn format(kind: FileSystem, file: &Path) -> Command {
    let mut command = match kind {
        FileSystem::Ext4 => {
            let mut command = Command::new("mkfs.ext4");
            // No blocks kept for root: a full disk is full for the program too.
            command.args(["-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"]);
            command
        }
        FileSystem::Xfs => {
            let mut command = Command::new("mkfs.xfs");
            command.args(["-q", "-f"]);
            command
        }
        FileSystem::Btrfs => {
            let mut command = Command::new("mkfs.btrfs");
            command.args(["-q", "-f"]);
            command
        }
    };
    command.arg(file);
    command
}

impl Drop for Image {
    fn drop(&mut self) {
        let run = |program: &str, option: &[&str]| {
            let mut command = Command::new(program);
            command.args(option).arg(&self.mount).stdin(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        // A test may have left it frozen, and then it could not be unmounted.
        run("fsfreeze", &["--unfreeze"]);
        // Someone may still stand in it; then it goes when they do.
        if !run("umount", &[]) {
            run("umount", &["-l"]);
        }
    }
}
