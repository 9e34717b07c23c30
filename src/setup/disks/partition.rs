//! Makes a partition: in the largest free space of a disk, or of a disk that is empty. Partitions that are there are not
//! touched, and no file system is made here.

use super::{Device, guard, look};
use crate::error::{Fault, OrFault, Result};
use crate::sys::human::bytes;
use crate::sys::log::Log;
use crate::sys::process::{Output, Program};
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// Less than this is no room for backups, but what lies between partitions.
const LEAST: u64 = 64 << 20;

/// The largest free space on a disk, in bytes: of a partition table of the modern kind, or of an empty disk. `None` where
/// no partition can be made.
pub fn free(disk: &Device) -> Result<Option<u64>> {
    if disk.is_empty() {
        return Ok(Some(disk.size).filter(|_| disk.below.is_empty() && disk.size >= LEAST));
    }
    if !disk.has_gpt() {
        return Ok(None);
    }
    // Of each line the last column is the size; the first line says so.
    let output = sfdisk(disk, &["--list-free", "--bytes", "--quiet"], "")?;
    let sizes = output.text();
    let sizes = sizes.lines().filter_map(|line| line.split_whitespace().next_back()?.parse().ok());
    Ok(sizes.max().filter(|free| *free >= LEAST))
}

/// The room for a partition, in bytes; an error if there is none.
pub fn require_room(disk: &Device) -> Result<u64> {
    let none = || {
        Fault::unfit(format!("there is no free space on {} in which a partition could be made", disk.path.display()))
            .hint("make one by hand, with cfdisk for example, and choose to format it")
    };
    Ok(free(disk)?.ok_or_else(none)?)
}

/// Makes a partition of all of the largest free space. Returns its path.
pub fn make(disk: &Device, log: &Log) -> Result<PathBuf> {
    let room = require_room(disk)?;
    let before = disk.partitions.clone();
    let empty = disk.is_empty();
    if empty {
        // Nobody else may be about to do something with it.
        drop(guard::open_exclusively(&disk.path)?);
    }
    log.info(format!("making a partition of {} on {}", bytes(room), disk.path.display()));
    let failed = || {
        Fault::failed(format!("no partition could be made on {}", disk.path.display()))
            .hint("make one by hand, with cfdisk for example, and choose to format it")
    };
    // Of a table that is there only one more line is written.
    let (options, script): (&[&str], _) = match empty {
        true => (&["--quiet", "--no-reread"], "label: gpt\nname=\"moodle-backup\"\n"),
        false => (&["--quiet", "--no-reread", "--append"], "name=\"moodle-backup\"\n"),
    };
    sfdisk(disk, options, script).or_fault(failed)?;
    // sfdisk tells the kernel where it can; of a disk that is in use only the new partition can be told.
    let _ = Program::new("partx").args(["--add"]).arg(&disk.path).timeout(LIMIT).output();
    let _ = Program::new("udevadm").args(["settle", "--timeout=10"]).timeout(LIMIT).output();
    let now = look(&disk.path)?;
    let made = now.partitions.iter().find(|it| !before.contains(it)).cloned();
    let made = made.ok_or_else(|| {
        Fault::failed(format!("a partition was made on {}, but the kernel does not know it yet", disk.path.display()))
            .hint("start this server anew, and choose to format that partition")
    })?;
    require_node(&made)?;
    Ok(made)
}

fn require_node(partition: &Path) -> Result<()> {
    look(partition).map(drop)
}

fn sfdisk(disk: &Device, options: &[&str], script: &str) -> Result<Output> {
    Program::new("sfdisk").args(options).arg(&disk.path).input(script.as_bytes()).timeout(LIMIT).success()
}
