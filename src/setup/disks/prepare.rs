//! Makes the place for the backups, from the choice to a mounted file system: the page to read. Every step can be done again
//! where an earlier attempt ended, and none writes to a device before `guard` has looked at it.

use super::guard::{self, system};
use super::mount::{self, Place};
use super::{Device, FileSystem, Way, list, look, partition};
use crate::error::{Fault, OrFault, Result};
use crate::sys::files;
use crate::sys::human::bytes;
use crate::sys::log::Log;
use crate::sys::mounts;
use crate::sys::paths::Paths;
use crate::sys::process::Program;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The label of a file system that is made here. XFS takes twelve characters.
pub const LABEL: &str = "moodle-backup";
const SHORT_LABEL: &str = "moodlebackup";

/// Making a file system on a large, slow disk takes minutes.
const LIMIT: Duration = Duration::from_secs(3600);

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// How.
    pub way: &'a Way,
    /// The device as it was when it was chosen, where somebody has looked at it.
    pub seen: Option<&'a Device>,
    /// Bytes that backups need at least.
    pub needed: u64,
    /// Folders whose disks are not to be touched: the site's.
    pub site: Vec<PathBuf>,
    /// Where the system's own files are.
    pub paths: &'a Paths,
}

/// The place for the backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The folder.
    pub path: PathBuf,
    /// The UUID of the file system that must be mounted there; `None` for a plain folder.
    pub mount_uuid: Option<String>,
}

/// What will be done, in words, one for each step; none if all of it is done.
pub fn steps(request: &Request) -> Result<Vec<String>> {
    let path = request.way.path().display();
    if done(request)?.is_some() {
        return Ok(Vec::new());
    }
    let mounted = format!("mount it at {path}, now and at each start of this server");
    Ok(match request.way {
        Way::Folder { .. } => vec![format!("make the folder {path}, for root alone")],
        Way::Mounted { .. } => Vec::new(),
        Way::Mount { device, .. } => vec![format!("take the file system on {} as it is", device.display()), mounted],
        Way::Format { device, file_system, destroy, .. } => {
            let loss = if destroy.is_some() { "; ALL THAT IS ON IT IS LOST" } else { "" };
            let size = look(device).map_or(String::new(), |it| format!(" ({})", bytes(it.size)));
            vec![format!("make an {} file system on {}{size}{loss}", file_system.name(), device.display()), mounted]
        }
        Way::Partition { disk, file_system, .. } => vec![
            format!("make a partition in the free space of {}; what is on the disk stays", disk.display()),
            format!("make an {} file system on it", file_system.name()),
            mounted,
        ],
    })
}

/// The place, if all is as it is wanted already.
pub fn done(request: &Request) -> Result<Option<Prepared>> {
    let path = request.way.path();
    if !path.is_dir() {
        return Ok(None);
    }
    match request.way {
        Way::Folder { .. } => Ok(Some(Prepared { path: path.into(), mount_uuid: None }).filter(|_| is_roots(path))),
        Way::Mounted { .. } => mounted(path).map(Some),
        Way::Mount { .. } | Way::Format { .. } | Way::Partition { .. } => {
            let mount = mounts::of(path)?;
            if mount.point != path {
                return Ok(None);
            }
            let device = look(&mount.source)?;
            // One that was made here before, or the very one that is wanted.
            let ours = match request.way {
                Way::Mount { device: wanted, .. } => look(wanted)?.path == device.path,
                Way::Format { device: wanted, .. } => look(wanted)?.path == device.path && has_our_label(&device),
                Way::Partition { disk, .. } => device.below.contains(&look(disk)?.path) && has_our_label(&device),
                _ => false,
            };
            let kept = ours && mount::is_kept(request.paths, path);
            if kept { mounted(path).map(Some) } else { Ok(None) }
        }
    }
}

fn has_our_label(device: &Device) -> bool {
    let label = device.file_system().and_then(|it| it.label.as_deref());
    label.is_some_and(|label| [LABEL, SHORT_LABEL].contains(&label))
}

/// Does it.
pub fn prepare(request: &Request, log: &Log) -> Result<Prepared> {
    if let Some(done) = done(request)? {
        log.info(format!("{} is ready for the backups", done.path.display()));
        return Ok(done);
    }
    match request.way {
        Way::Folder { path } => folder(path),
        Way::Mounted { path } => mounted(path),
        Way::Mount { device, path } => mount_at(request, device, path, log),
        Way::Format { device, file_system, path, destroy } => {
            mount::require_free(path)?;
            let device = look(device)?;
            let again = device.mounts.is_empty() && has_our_label(&device) && destroy.is_none();
            // An earlier attempt came as far as this.
            if !again {
                make(request, &device, *file_system, destroy.as_deref(), log)?;
            }
            mount_at(request, &device.path, path, log)
        }
        Way::Partition { disk, file_system, path } => {
            mount::require_free(path)?;
            let disk = look(disk)?;
            if disk.is_empty() {
                // Its first blocks get a partition table: they may be somebody's without saying whose.
                drop(guard::require(&disk, request.needed, &kept_off(request)?, None)?);
            }
            let device = look(&partition::make(&disk, log)?)?;
            make(request, &device, *file_system, None, log)?;
            mount_at(request, &device.path, path, log)
        }
    }
}

fn folder(path: &Path) -> Result<Prepared> {
    files::make_folders(path, 0o755)?;
    if !is_roots(path) {
        return Err(Fault::unfit(format!("the folder {} can be written by others than root", path.display()))
            .hint(format!("chown root {0}; chmod go-w {0}", path.display()))
            .into());
    }
    Ok(Prepared { path: path.to_path_buf(), mount_uuid: None })
}

fn is_roots(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.uid() == 0 && meta.mode() & 0o002 == 0)
}

/// A file system that is there. Its UUID is wanted in the settings only if a disk of its own is mounted there.
fn mounted(path: &Path) -> Result<Prepared> {
    let absent = || {
        Fault::unfit(format!("there is no folder {}", path.display())).hint("mount the disk, or name another folder")
    };
    if !path.is_dir() {
        return Err(absent().into());
    }
    let mount = mounts::of(path)?;
    let uuid = if mount.point == Path::new("/") { None } else { mounts::uuid(&mount).ok() };
    Ok(Prepared { path: path.to_path_buf(), mount_uuid: uuid.filter(|uuid| !uuid.is_empty()) })
}

/// The devices that the system and the site lie on.
fn kept_off(request: &Request) -> Result<Vec<PathBuf>> {
    let folders: Vec<&Path> = request.site.iter().map(PathBuf::as_path).collect();
    Ok(system(&folders, &list()?))
}

/// Makes a file system, once nothing stands against it.
fn make(request: &Request, device: &Device, file_system: FileSystem, destroy: Option<&str>, log: &Log) -> Result<()> {
    let seen = request.seen.filter(|seen| seen.path == device.path).unwrap_or(device);
    let held = guard::require(seen, request.needed, &kept_off(request)?, destroy)?;
    let path = &device.path;
    log.info(format!("making an {} file system on {}", file_system.name(), path.display()));
    // mkfs claims the device for itself, so it is let go at the last moment.
    drop(held);
    let failed = || Fault::failed(format!("no file system could be made on {}", path.display()));
    if !seen.partitions.is_empty() {
        let _ = Program::new("partx").arg("--delete").arg(path).timeout(LIMIT).output();
    }
    if !seen.signatures.is_empty() {
        // Else what was there before could be taken for alive by the next program that looks.
        Program::new("wipefs").args(["--all", "--quiet"]).arg(path).timeout(LIMIT).success().or_fault(failed)?;
    }
    let mkfs = Program::new(format!("mkfs.{}", file_system.name()));
    let mkfs = match file_system {
        // Without -F it asks whether a whole disk is meant.
        FileSystem::Ext4 => mkfs.args(["-q", "-F", "-L", LABEL]),
        // These two refuse by themselves what has a signature: there must be none any more.
        FileSystem::Xfs => mkfs.args(["-q", "-L", SHORT_LABEL]),
        FileSystem::Btrfs => mkfs.args(["-q", "-L", LABEL]),
    };
    mkfs.arg(path).timeout(LIMIT).success().or_fault(failed)?;
    Ok(())
}

fn mount_at(request: &Request, device: &Path, path: &Path, log: &Log) -> Result<Prepared> {
    let device = look(device)?;
    let found = device.file_system().and_then(|it| Some((it.what.clone(), it.uuid.clone()?)));
    let (kind, uuid) = found.ok_or_else(|| {
        Fault::unfit(format!("there is no file system on {} that backups could lie on", device.path.display()))
            .hint("ext4, xfs and btrfs are good; \"format\" makes one")
    })?;
    if device.mounts.is_empty() {
        mount::require_free(path)?;
    }
    let place = Place { device: &device.path, uuid: &uuid, kind: &kind, path };
    mount::keep(request.paths, &place, log)?;
    mount::mount(&place, log)?;
    let prepared = mounted(path)?;
    if prepared.mount_uuid.as_deref() != Some(uuid.as_str()) {
        return Err(Fault::failed(format!("{} was mounted, but what is at {} now is another", uuid, path.display()))
            .hint("findmnt shows what is mounted there")
            .into());
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        .or_fault(|| Fault::failed(format!("cannot write to {}", path.display())))?;
    Ok(prepared)
}
