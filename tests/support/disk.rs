//! Disks of a test's own: loop devices that can be partitioned, formatted and mounted, and are gone in the end.

use super::process::{succeed, wait_for};
use super::scratch::Scratch;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// Unmounts what is mounted there. What another test has just started holds all files that this process has open, until it
/// has become another program: so it is tried again.
#[track_caller]
pub fn unmount(path: impl AsRef<Path>) {
    let path = path.as_ref();
    wait_for(&format!("{} to be unmounted", path.display()), LIMIT, || works(Command::new("umount").arg(path)));
}

fn works(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// A disk of its own, which is detached at the end, with all that is mounted from it.
pub struct Disk {
    pub path: PathBuf,
    pub scratch: Scratch,
}

impl Disk {
    pub fn new() -> Disk {
        Disk::of_mebibytes(200)
    }

    pub fn of_mebibytes(size: u64) -> Disk {
        let scratch = Scratch::on_machine();
        let image = scratch.join("disk.img");
        fs::File::create(&image).unwrap().set_len(size << 20).unwrap();
        let made = succeed(Command::new("losetup").args(["--find", "--show"]).arg(&image));
        Disk { path: String::from_utf8(made).unwrap().trim().into(), scratch }
    }

    /// Runs a program on it, with the device as its last argument.
    pub fn with(self, program: &str, args: &[&str]) -> Disk {
        succeed(Command::new(program).args(args).arg(&self.path));
        self
    }

    /// Two partitions, and free space after them.
    pub fn with_partitions(self) -> Disk {
        let script = r#"printf 'label: gpt\nsize=40M\nsize=20M\n' | sfdisk --quiet --no-reread "$0""#;
        succeed(Command::new("sh").args(["-c", script]).arg(&self.path));
        succeed(Command::new("partx").args(["--update"]).arg(&self.path));
        self
    }

    pub fn part(&self, number: u32) -> PathBuf {
        PathBuf::from(format!("{}p{number}", self.path.display()))
    }

    /// Everything on it.
    pub fn content(&self) -> Vec<u8> {
        fs::read(self.scratch.join("disk.img")).unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A panic upon a panic would hide the first.
        match std::thread::panicking() {
            true => drop(std::panic::catch_unwind(|| self.take_away())),
            false => self.take_away(),
        }
    }
}

impl Disk {
    fn take_away(&self) {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
        let disk = self.path.display().to_string();
        let ours = |line: &&str| line.starts_with(&format!("{disk} ")) || line.starts_with(&format!("{disk}p"));
        for line in mounts.lines().filter(ours) {
            line.split(' ').nth(1).into_iter().for_each(unmount);
        }
        for line in swaps.lines().filter(ours) {
            succeed(Command::new("swapoff").args(line.split_whitespace().next()));
        }
        // The next that gets this device would find them on it.
        wait_for("its partitions to be forgotten", LIMIT, || {
            self.is_whole() || works(Command::new("partx").arg("--delete").arg(&self.path)) && self.is_whole()
        });
        succeed(Command::new("losetup").arg("--detach").arg(&self.path));
    }

    /// Whether the kernel knows no partition of it.
    fn is_whole(&self) -> bool {
        let name = self.path.file_name().unwrap_or_default();
        let parts = format!("{}p", name.display());
        let names = fs::read_dir(Path::new("/sys/block").join(name)).into_iter().flatten().flatten();
        !names.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(&parts))
    }
}
