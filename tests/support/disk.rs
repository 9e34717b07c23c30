//! Disks of a test's own: loop devices that can be partitioned, formatted and mounted, and are gone in the end.

use super::process::succeed;
use super::scratch::Scratch;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

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
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
        let disk = self.path.display().to_string();
        let ours = |line: &&str| line.starts_with(&format!("{disk} ")) || line.starts_with(&format!("{disk}p"));
        for line in mounts.lines().filter(ours) {
            let _ = Command::new("umount").args(line.split(' ').nth(1)).status();
        }
        for line in swaps.lines().filter(ours) {
            let _ = Command::new("swapoff").args(line.split_whitespace().next()).status();
        }
        let _ = Command::new("partx").arg("--delete").arg(&self.path).stderr(std::process::Stdio::null()).status();
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
}
