//! The block devices of this machine: how large they are, what lies on them, who uses them. Reads only; what is made of them
//! is `prepare`'s.

pub mod guard;
pub mod mount;
pub mod own;
pub mod partition;
pub mod prepare;

use crate::error::{Fault, OrFault, Result};
use crate::sys::mounts;
use crate::sys::process::Program;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a look at one device may take: a broken disk answers late.
const LIMIT: Duration = Duration::from_secs(30);

/// Bytes in what the kernel calls a sector, whatever the disk.
const SECTOR: u64 = 512;

/// The file systems that can be made.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileSystem {
    /// The usual one.
    #[default]
    Ext4,
    /// For very many files.
    Xfs,
    /// With checksums of its own.
    Btrfs,
}

impl FileSystem {
    /// As mount(8) calls it.
    pub fn name(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::Xfs => "xfs",
            FileSystem::Btrfs => "btrfs",
        }
    }
}

/// How the place for the backups comes about.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "way", rename_all = "lowercase", deny_unknown_fields)]
pub enum Way {
    /// A plain folder on a disk that is there for something else.
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// A file system that is mounted already.
    Mounted {
        /// Its mount point, or a folder on it.
        path: PathBuf,
    },
    /// A file system that is there, to be mounted.
    Mount {
        /// The device, `/dev/…`.
        device: PathBuf,
        /// Where.
        path: PathBuf,
    },
    /// A partition, disk or opened encrypted volume, to be given a file system.
    Format {
        /// The device, `/dev/…`.
        device: PathBuf,
        /// Which.
        #[serde(default)]
        file_system: FileSystem,
        /// Where it is mounted then.
        path: PathBuf,
        /// The device once more, as typed by somebody who knows that what is on it will be lost.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        destroy: Option<String>,
    },
    /// A disk on which a partition is made in free space, or in all of it if it is empty, and given a file system.
    Partition {
        /// The disk, `/dev/…`.
        disk: PathBuf,
        /// Which.
        #[serde(default)]
        file_system: FileSystem,
        /// Where it is mounted then.
        path: PathBuf,
    },
}

impl Way {
    /// Where the backups go.
    pub fn path(&self) -> &Path {
        match self {
            Way::Folder { path } | Way::Mounted { path } | Way::Mount { path, .. } => path,
            Way::Format { path, .. } | Way::Partition { path, .. } => path,
        }
    }
}

/// What a device is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// A whole disk.
    Disk,
    /// A part of one.
    Partition,
    /// An encrypted volume that was opened.
    Crypt,
    /// A file that serves as a disk.
    Loop,
    /// A volume of LVM, a RAID, and what else is made of others.
    Other,
}

/// Something on a device by which programs know what it is.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// As blkid calls it: `ext4`, `gpt`, `crypto_LUKS`, `LVM2_member`, `swap`.
    pub what: String,
    /// Its label.
    pub label: Option<String>,
    /// Its UUID.
    pub uuid: Option<String>,
}

/// One device.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Device {
    /// `/dev/sdb1`.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// The maker's name for the disk.
    pub model: Option<String>,
    /// What it is.
    pub kind: Kind,
    /// All that is known to be on it.
    pub signatures: Vec<Signature>,
    /// Where it is mounted.
    pub mounts: Vec<PathBuf>,
    /// Whether it is swap in use.
    pub swap: bool,
    /// Devices that are made of it, partitions aside.
    pub holders: Vec<PathBuf>,
    /// Its partitions.
    pub partitions: Vec<PathBuf>,
    /// The disk that it is a part of, and those that it is made of.
    pub below: Vec<PathBuf>,
    /// Whether it cannot be written.
    pub read_only: bool,
    /// Major and minor number, by which the kernel knows it.
    pub numbers: u64,
}

impl Device {
    /// The file system on it, if that is what is on it.
    pub fn file_system(&self) -> Option<&Signature> {
        const FILE_SYSTEMS: [&str; 3] = ["ext4", "xfs", "btrfs"];
        self.signatures.iter().find(|it| FILE_SYSTEMS.contains(&it.what.as_str()))
    }

    /// Whether there is nothing on it that anybody knows of.
    pub fn is_empty(&self) -> bool {
        self.signatures.is_empty() && self.partitions.is_empty() && self.holders.is_empty()
    }

    /// Whether it has a partition table of the modern kind.
    pub fn has_gpt(&self) -> bool {
        self.signatures.iter().any(|it| it.what == "gpt")
    }
}

/// All devices that have something to do with disks, in the order of their names.
pub fn list() -> Result<Vec<Device>> {
    let mut names: Vec<String> = std::fs::read_dir("/sys/class/block")
        .or_fault(|| Fault::failed("cannot see the disks of this machine in /sys/class/block"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    // One that vanishes meanwhile, or has no node here, is none.
    let disks = names.iter().filter(|name| !is_drive(name));
    Ok(disks.filter_map(|name| device(name).ok().flatten()).collect())
}

/// Whether it takes floppies or CDs: a look into one without any takes seconds, and the kernel complains.
fn is_drive(name: &str) -> bool {
    // Documentation/admin-guide/devices.txt of the kernel.
    const MAJORS: [&str; 2] = ["2", "11"];
    let numbers = attribute(name, "dev").unwrap_or_default();
    numbers.split_once(':').is_some_and(|(major, _)| MAJORS.contains(&major))
}

/// What the kernel says of a device.
fn attribute(name: &str, below: &str) -> Option<String> {
    let file = Path::new("/sys/class/block").join(name).join(below);
    std::fs::read_to_string(file).ok().map(|text| text.trim().to_owned())
}

/// One device by its path; links such as those of `/dev/disk/by-id` are followed.
pub fn look(path: &Path) -> Result<Device> {
    let absent = || {
        Fault::unfit(format!("there is no disk or partition {}", path.display()))
            .hint("lsblk shows those that are there")
    };
    let real = path.canonicalize().or_fault(absent)?;
    let name = real.file_name().and_then(|name| name.to_str()).ok_or_else(absent)?;
    Ok(device(name)?.ok_or_else(absent)?)
}

/// The device of this name in `/sys/class/block`; `None` if it has no node or no size.
fn device(name: &str) -> Result<Option<Device>> {
    let sys = Path::new("/sys/class/block").join(name);
    let attribute = |below: &str| attribute(name, below);
    let path = node(name);
    let size = attribute("size").and_then(|size| size.parse::<u64>().ok()).unwrap_or(0) * SECTOR;
    let Ok(meta) = std::fs::metadata(&path) else { return Ok(None) };
    if size == 0 || !meta.file_type().is_block_device() || attribute("dev").as_deref() != Some(&numbers(meta.rdev())) {
        return Ok(None);
    }
    let named = |folder: &str| -> Vec<String> {
        let entries = std::fs::read_dir(sys.join(folder)).into_iter().flatten();
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    };
    let nodes = |folder: &str| named(folder).iter().map(|name| node(name)).collect::<Vec<PathBuf>>();
    let mut below = nodes("slaves");
    if sys.join("partition").exists() {
        below.extend(disk_of(&sys).map(|name| node(&name)));
    }
    let mut partitions: Vec<PathBuf> = named("")
        .iter()
        .filter(|entry| sys.join(entry).join("partition").exists())
        .map(|entry| Path::new("/dev").join(entry))
        .collect();
    partitions.sort();
    let kind = match (attribute("dm/uuid"), sys.join("partition").exists(), sys.join("loop").exists()) {
        (Some(uuid), ..) if uuid.starts_with("CRYPT-") => Kind::Crypt,
        (_, true, _) => Kind::Partition,
        (_, _, true) => Kind::Loop,
        (None, ..) if sys.join("device").exists() => Kind::Disk,
        _ => Kind::Other,
    };
    Ok(Some(Device {
        size,
        model: attribute("device/model").filter(|model| !model.is_empty()),
        kind,
        signatures: signatures(&path)?,
        mounts: mounts(&path)?,
        swap: is_swap(&path),
        holders: nodes("holders"),
        partitions,
        below,
        read_only: attribute("ro").as_deref() == Some("1"),
        numbers: meta.rdev(),
        path,
    }))
}

/// Where a device is, by its name in `/sys/class/block`. Volumes of the device mapper go by their own names.
fn node(name: &str) -> PathBuf {
    let mapped =
        attribute(name, "dm/name").map(|name| Path::new("/dev/mapper").join(name)).filter(|path| path.exists());
    mapped.unwrap_or_else(|| Path::new("/dev").join(name))
}

fn numbers(device: u64) -> String {
    format!("{}:{}", nix::sys::stat::major(device), nix::sys::stat::minor(device))
}

/// The disk of a partition: the folder above it in sysfs.
fn disk_of(partition: &Path) -> Option<String> {
    let real = partition.canonicalize().ok()?;
    Some(real.parent()?.file_name()?.to_str()?.to_owned())
}

#[derive(Deserialize)]
struct Wipefs {
    #[serde(default)]
    signatures: Vec<Wiped>,
}

#[derive(Deserialize)]
struct Wiped {
    #[serde(rename = "type")]
    what: String,
    label: Option<String>,
    uuid: Option<String>,
}

/// All signatures on a device, also those that one program or other would overlook. udev's memory is not asked: it may
/// be old, or not there.
fn signatures(path: &Path) -> Result<Vec<Signature>> {
    let unknown = || Fault::unfit(format!("cannot tell what is on {}", path.display()));
    let output =
        Program::new("wipefs").args(["--no-act", "--json"]).arg(path).timeout(LIMIT).success().or_fault(unknown)?;
    let text = output.text();
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let found: Wipefs = serde_json::from_str(&text).or_fault(unknown)?;
    let mut signatures: Vec<Signature> = Vec::new();
    for Wiped { what, label, uuid } in found.signatures {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let signature = Signature { what, label: given(label), uuid: given(uuid) };
        // A file system may have several copies of its signature.
        if !signatures.iter().any(|known| known.what == signature.what) {
            signatures.push(signature);
        }
    }
    Ok(signatures)
}

/// Where a device is mounted, in this mount namespace.
fn mounts(path: &Path) -> Result<Vec<PathBuf>> {
    let real = path.canonicalize()?;
    let is_it = |source: &Path| source.is_absolute() && source.canonicalize().is_ok_and(|it| it == real);
    Ok(mounts::all()?.into_iter().filter(|mount| is_it(&mount.source)).map(|mount| mount.point).collect())
}

fn is_swap(path: &Path) -> bool {
    let Ok(real) = path.canonicalize() else { return false };
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next()).any(|swap| Path::new(swap) == real)
}

/// The devices that a folder lies on: the one that is mounted, and those below it. Empty where that is no disk.
pub fn holding(folder: &Path, devices: &[Device]) -> Vec<PathBuf> {
    let Ok(mount) = mounts::of(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = Vec::new();
    let mut left: Vec<PathBuf> =
        devices.iter().filter(|device| device.mounts.contains(&mount.point)).map(|it| it.path.clone()).collect();
    while let Some(path) = left.pop() {
        if let Some(device) = devices.iter().find(|device| device.path == path) {
            left.extend(device.below.iter().filter(|it| !found.contains(it)).cloned());
        }
        found.push(path);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_written_as_answers() {
        let text = "way = \"format\"\ndevice = \"/dev/sdb\"\nfile_system = \"xfs\"\npath = \"/srv/backup\"\n";
        let way: Way = toml::from_str(text).unwrap();
        assert_eq!(toml::to_string(&way).unwrap(), text);
        assert!(toml::from_str::<Way>(&text.replace("file_system", "filesystem")).is_err());
    }
}
