//! Whether a file system is a disk of backups. Such a one is never made anew, whatever stands in a file of answers: a name that was
//! typed once is there for ever. Looks only: neither the device nor what is mounted is other afterwards.

use super::{Device, look};
use crate::error::{Fault, OrFault, Result};
use crate::store::layout::{RESTORE, SITE_FILE};
use crate::sys::process::Program;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The label of a file system that is made here. XFS takes twelve characters.
pub const LABEL: &str = "moodle-backup";
/// The same for XFS.
pub const SHORT_LABEL: &str = "moodlebackup";

/// How long a look into a file system may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Sites' folders lie on the disk itself or in a folder there; so deep is looked.
const DEPTH: &str = "4";

/// In a mount namespace of its own: nobody else sees it, and it is gone with the process.
const LOOK: &str =
    r#"mount -t "$1" -o "$2" "$3" /tmp; cd /tmp; shift 3; code=0; "$@" || code=$?; cd /; umount /tmp; exit $code"#;

/// By what a device is known as a disk of backups, in words; `None` where it is none. `uuid` is that of the disk in the settings. An
/// error where there may be backups on it and nobody can look.
pub fn known_by(device: &Device, uuid: Option<&str>) -> Result<Option<String>> {
    if let Some(name) = named(device, uuid) {
        return Ok(Some(name));
    }
    let found = match (device.mounts.first(), options(device)) {
        (Some(point), _) => search(Program::new("find"), point)?,
        (None, Some(options)) => look_into(device, options)?,
        (None, None) => None,
    };
    Ok(found.map(|folder| format!("there are backups on it, in its folder {}", folder.display())))
}

/// The same without a look into it: by its label or its UUID.
pub fn named(device: &Device, uuid: Option<&str>) -> Option<String> {
    let file_system = device.file_system()?;
    let is = |uuid: &&str| file_system.uuid.as_deref().is_some_and(|it| it.eq_ignore_ascii_case(uuid));
    if uuid.as_ref().is_some_and(is) {
        return Some("it is the disk of the backups in the settings".into());
    }
    let label = file_system.label.as_deref().filter(|label| [LABEL, SHORT_LABEL].contains(label))?;
    Some(format!("it has the label {label:?}"))
}

/// An error if a device, or a part of it, is a disk of backups.
pub fn refuse(device: &Device, uuid: Option<&str>) -> Result<()> {
    for path in [&device.path].into_iter().chain(&device.partitions) {
        if let Some(why) = known_by(&look(path)?, uuid)? {
            return Err(Fault::unfit(format!("{} is a disk of backups: {why}", path.display()))
                .hint(by_hand(path))
                .into());
        }
    }
    Ok(())
}

/// What somebody can do who wants it formatted all the same.
pub fn by_hand(path: &Path) -> String {
    format!(
        "a disk of backups is never formatted; if all of it may be lost, empty it yourself: wipefs --all {}",
        path.display()
    )
}

/// With what a file system is mounted so that not even its journal is written; `None` where no backups can lie.
fn options(device: &Device) -> Option<[&'static str; 2]> {
    device.signatures.iter().find_map(|it| match it.what.as_str() {
        "ext2" | "ext3" | "ext4" => Some(["ext4", "ro,noload"]),
        "xfs" => Some(["xfs", "ro,norecovery,nouuid"]),
        "btrfs" => Some(["btrfs", "ro,rescue=nologreplay"]),
        _ => None,
    })
}

fn look_into(device: &Device, [kind, options]: [&str; 2]) -> Result<Option<PathBuf>> {
    let looked = Program::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-ec", LOOK, "sh", kind, options])
        .arg(&device.path)
        .arg("find");
    search(looked, Path::new(".")).or_fault(|| {
        Fault::unfit(format!("nobody can see whether there are backups on {}", device.path.display())).hint(format!(
            "if all that is on it may be lost, empty it yourself: wipefs --all {}",
            device.path.display()
        ))
    })
}

/// The folder of the first backup or site that find(1) comes upon.
fn search(find: Program, point: &Path) -> Result<Option<PathBuf>> {
    let found = find
        .arg(point)
        .args(["-xdev", "-maxdepth", DEPTH, "-type", "f", "(", "-name", SITE_FILE, "-o", "-name", RESTORE, ")"])
        .args(["-printf", "%P\\n", "-quit"])
        .timeout(LIMIT)
        .success()?;
    Ok(found.text().lines().next().map(|file| Path::new(file).parent().unwrap_or(point).to_path_buf()))
}
