//! What stands against giving a device a new file system, and what would be lost. The tools that make file systems are not
//! relied on: mkfs.ext4 writes over another one without a word where nobody sits at a terminal. Changes nothing.

use super::{Device, Kind, Signature, list};
use crate::error::{Fault, OrFault, Result};
use crate::sys::human::bytes;
use crate::sys::signals;
use nix::errno::Errno;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// So much of a device is looked at in one place, in bytes; and in so many places, of which the first and the last are its ends.
const LOOKED_AT: usize = 1 << 20;
const PLACES: u64 = 16;

/// Who opens a device only to see what is on it (udev, blkid, losetup) has closed it again after this.
const A_LOOK: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_millis(50);

/// A reason against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Danger {
    /// It cannot be done, whatever anybody says.
    Refused(String),
    /// It can be done by somebody who knows of this, and types the name of the device.
    Loss(String),
}

/// All that stands against giving this device a new file system. `needed` are the bytes that backups need at least; `system`
/// the devices that the running system and the site lie on, with their disks.
pub fn dangers(device: &Device, needed: u64, system: &[PathBuf], all: &[Device]) -> Vec<Danger> {
    let mut dangers: Vec<Danger> = in_use(device, all).into_iter().map(Danger::Refused).collect();
    if device.read_only {
        dangers.push(Danger::Refused("it cannot be written (read-only)".into()));
    }
    if device.signatures.is_empty() && device.partitions.is_empty() && has_data(&device.path) {
        dangers.push(Danger::Loss(unknown(device).into()));
    }
    dangers.extend(device.signatures.iter().map(|it| Danger::Loss(told(it))));
    if !device.partitions.is_empty() {
        dangers.push(Danger::Loss(format!("it has {} partitions with all that is on them", device.partitions.len())));
    }
    if system.contains(&device.path) || device.below.iter().any(|disk| system.contains(disk)) {
        dangers.push(Danger::Loss("it is on a disk that this system or the site lies on".into()));
    }
    if device.size < needed {
        let (size, needed) = (bytes(device.size), bytes(needed));
        dangers.push(Danger::Loss(format!("it has {size}, and the first backup needs about {needed}")));
    }
    dangers
}

/// What is said of data that has no signature. What was never written through an encryption reads as if it were something.
fn unknown(device: &Device) -> &'static str {
    match device.kind {
        Kind::Crypt => {
            "nothing known is on it, but it is not empty: so looks an encrypted volume that was never written to"
        }
        _ => "there is something on it of which nobody knows what it is",
    }
}

/// Who uses it now.
fn in_use(device: &Device, all: &[Device]) -> Vec<String> {
    let mut reasons: Vec<String> =
        device.mounts.iter().map(|point| format!("it is mounted at {}", point.display())).collect();
    if device.swap {
        reasons.push("it is swap, and in use".into());
    }
    if !device.holders.is_empty() {
        let holders: Vec<String> = device.holders.iter().map(|it| it.display().to_string()).collect();
        reasons.push(format!("it is a part of {}", holders.join(", ")));
    }
    reasons.extend(users(device).iter().map(|who| format!("it is open: {who}")));
    let parts = all.iter().filter(|it| device.partitions.contains(&it.path));
    for part in parts {
        reasons.extend(in_use(part, all).iter().map(|why| format!("its partition {}: {why}", part.path.display())));
    }
    if reasons.is_empty()
        && let Err(error) = open_exclusively(&device.path)
    {
        reasons.push(format!("{error:#}"));
    }
    reasons
}

/// Whether there is anything but zeros at the beginning, at the end, or at some places between: what has no signature may be
/// somebody's all the same, such as an encrypted volume without a header. What cannot be read counts as something.
pub fn has_data(path: &Path) -> bool {
    let look = || -> std::io::Result<bool> {
        let mut file = File::open(path)?;
        let last = file.seek(SeekFrom::End(0))?.saturating_sub(LOOKED_AT as u64);
        let mut bytes = vec![0; LOOKED_AT];
        for place in 0..PLACES {
            file.seek(SeekFrom::Start(last * place / (PLACES - 1)))?;
            let count = file.read(&mut bytes)?;
            if bytes[..count].iter().any(|byte| *byte != 0) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    look().unwrap_or(true)
}

/// Programs that have a device open, and not only for a look.
fn users(device: &Device) -> Vec<String> {
    let end = Instant::now() + A_LOOK;
    loop {
        let users = openers(device);
        if users.is_empty() || Instant::now() > end || signals::wait(BETWEEN).is_err() {
            return users;
        }
    }
}

/// Programs that have a device open, which need not have claimed it: a virtual machine's disk, a copy that is under way.
fn openers(device: &Device) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has = |id: &u32| {
        let open = std::fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
        open.filter_map(|fd| std::fs::metadata(fd.path()).ok())
            .any(|meta| meta.file_type().is_block_device() && meta.rdev() == device.numbers)
    };
    let name = |id: u32| std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default().trim().to_owned();
    ids.filter(|id| *id != std::process::id()).filter(has).map(|id| format!("{} (process {id})", name(id))).collect()
}

fn told(signature: &Signature) -> String {
    let label = signature.label.as_ref().map_or(String::new(), |label| format!(" with the label {label:?}"));
    match signature.what.as_str() {
        "gpt" | "dos" | "PMBR" | "mac" | "sun" | "sgi" | "bsd" => {
            format!("it has a partition table ({})", signature.what)
        }
        "crypto_LUKS" => format!("it is an encrypted volume (LUKS){label}"),
        "LVM2_member" => "it belongs to a volume group (LVM)".into(),
        "linux_raid_member" => format!("it belongs to a RAID{label}"),
        "zfs_member" => format!("it belongs to a ZFS pool{label}"),
        "swap" | "swsuspend" => format!("it is swap{label}"),
        other => format!("there is something on it: {other}{label}"),
    }
}

/// The devices that the running system, and these folders, lie on.
pub fn system(folders: &[&Path], all: &[Device]) -> Vec<PathBuf> {
    let own = ["/", "/boot", "/boot/efi", "/usr", "/var"].map(Path::new);
    let mut found: Vec<PathBuf> = own.iter().chain(folders).flat_map(|folder| super::holding(folder, all)).collect();
    found.sort();
    found.dedup();
    found
}

/// Opens a device so that nobody else can mount it or claim it meanwhile. An error if somebody has it.
pub fn open_exclusively(path: &Path) -> Result<File> {
    let opened = File::options().read(true).custom_flags(nix::libc::O_EXCL | nix::libc::O_NONBLOCK).open(path);
    opened.map_err(|error| match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::EBUSY => Fault::unfit(format!("{} is in use", path.display()))
            .hint("lsblk and findmnt show by whom; another container or program may have it too")
            .into(),
        _ => anyhow::Error::from(error).context(Fault::unfit(format!("cannot open {}", path.display()))),
    })
}

/// An error unless a device is as it was when it was chosen.
pub fn require_same(seen: &Device, now: &Device) -> Result<()> {
    let same = (now.numbers, now.size, &now.signatures, &now.partitions)
        == (seen.numbers, seen.size, &seen.signatures, &seen.partitions);
    if same {
        return Ok(());
    }
    Err(Fault::unfit(format!("what is on {} has changed since it was chosen", seen.path.display()))
        .hint("nothing was done with it; begin again, and look at it anew")
        .into())
}

/// Looks again, at the last moment, with the device held: an error unless it is still the one that was chosen, and either
/// nothing is lost or its name was typed. Returns the device, held.
pub fn require(seen: &Device, needed: u64, system: &[PathBuf], destroy: Option<&str>) -> Result<File> {
    let all = list()?;
    let path = &seen.path;
    let now = all.iter().find(|device| device.path == *path);
    let now = now.ok_or_else(|| Fault::unfit(format!("{} has gone", path.display())).hint("is its cable in?"))?;
    require_same(seen, now)?;
    let dangers = dangers(now, needed, system, &all);
    agreed(path, &dangers, destroy)?;
    let held = open_exclusively(path)?;
    let meta = held.metadata().or_fault(|| Fault::unfit(format!("cannot look at {}", path.display())))?;
    if meta.rdev() != now.numbers {
        return Err(Fault::unfit(format!("{} is another device now", path.display())).into());
    }
    Ok(held)
}

/// All that would be lost. An error if the device cannot be formatted, or if something would be lost and its name was not typed.
pub fn agreed(path: &Path, dangers: &[Danger], destroy: Option<&str>) -> Result<Vec<String>> {
    let refused = dangers.iter().find_map(|it| if let Danger::Refused(why) = it { Some(why) } else { None });
    if let Some(why) = refused {
        return Err(Fault::unfit(format!("{} is not formatted: {why}", path.display()))
            .hint("choose another, or set it free first")
            .into());
    }
    let losses = dangers.iter().filter_map(|it| if let Danger::Loss(what) = it { Some(what.clone()) } else { None });
    let losses: Vec<String> = losses.collect();
    let typed = destroy.is_some_and(|typed| Path::new(typed) == path);
    if losses.is_empty() || typed {
        return Ok(losses);
    }
    Err(Fault::unfit(format!("{} is not formatted: {}", path.display(), losses.join("; ")))
        .hint(format!("if all of that may be lost, say so by its name: destroy = \"{}\"", path.display()))
        .into())
}
