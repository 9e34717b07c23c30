//! Makes the place for the backups, from the choice to a mounted file system: the page to read. Every step can be done again
//! where an earlier attempt ended, and none writes to a device before `guard` has looked at it.

use super::guard::{self, system};
use super::mount::{self, Place};
use super::own::{self, LABEL, SHORT_LABEL};
use super::{Device, FileSystem, Way, list, look, partition};
use crate::error::{Fault, OrFault, Result};
use crate::settings::Target;
use crate::sys::files;
use crate::sys::human::bytes;
use crate::sys::log::Log;
use crate::sys::mounts;
use crate::sys::paths::Paths;
use crate::sys::process::Program;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a step of the summary says that data are lost by it.
const LOSS: &str = "ALL THAT IS ON IT IS LOST";

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
    /// The place as it is in the settings until now.
    pub present: Option<&'a Target>,
}

impl Request<'_> {
    /// The UUID of the disk that the settings name.
    fn uuid(&self) -> Option<&str> {
        self.present.and_then(|target| target.mount_uuid.as_deref())
    }

    /// The same, if it is the disk of this place.
    fn uuid_of(&self, path: &Path) -> Option<&str> {
        self.uuid().filter(|_| self.present.is_some_and(|target| target.path == path))
    }

    /// The same, if it is not mounted at this place.
    fn absent(&self, path: &Path) -> Result<Option<&str>> {
        let Some(uuid) = self.uuid_of(path) else { return Ok(None) };
        let there = if path.is_dir() { mounted(path)?.mount_uuid } else { None };
        Ok(Some(uuid).filter(|uuid| !there.is_some_and(|there| there.eq_ignore_ascii_case(uuid))))
    }
}

/// The place for the backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The folder.
    pub path: PathBuf,
    /// The UUID of the file system that must be mounted there; `None` for a plain folder.
    pub mount_uuid: Option<String>,
}

/// A disk of backups that is there already, to be mounted as it is.
#[derive(Debug)]
struct Ready {
    device: Device,
    /// By what it is known.
    known_by: String,
    /// Where it is mounted then.
    point: PathBuf,
}

/// Whether something is lost by one of these steps for good.
pub fn destroys(steps: &[String]) -> bool {
    steps.iter().any(|step| step.contains(LOSS))
}

/// What will be done, in words, one for each step; none if all of it is done.
pub fn steps(request: &Request) -> Result<Vec<String>> {
    let path = request.way.path().display();
    if done(request)?.is_some() {
        return Ok(Vec::new());
    }
    let mounted = format!("mount it at {path}, now and at each start of this server");
    if let Some(Ready { device, known_by, point }) = ready(request)? {
        require_place(request, &point, &device)?;
        let (device, point) = (device.path.display(), point.display());
        let mounted = format!("mount it at {point}, now and at each start of this server");
        return Ok(vec![format!("take {device} as it is, without formatting it: {known_by}"), mounted]);
    }
    Ok(match request.way {
        Way::Folder { .. } => vec![format!("make the folder {path}, for root alone")],
        Way::Mounted { .. } => Vec::new(),
        Way::Mount { device, .. } => {
            require_place(request, request.way.path(), &look(device)?)?;
            vec![format!("take the file system on {} as it is", device.display()), mounted]
        }
        Way::Format { device, file_system, destroy, .. } => {
            let device = look(device)?;
            let loss = match losses(request, &device, destroy.as_deref())?.join("; ") {
                none if none.is_empty() => none,
                what => format!("; {LOSS}: {what}"),
            };
            require_point(request, request.way.path())?;
            let (size, name) = (bytes(device.size), device.path.display());
            vec![format!("make an {} file system on {name} ({size}){loss}", file_system.name()), mounted]
        }
        Way::Partition { disk, file_system, .. } => {
            let disk = look(disk)?;
            if disk.is_empty() {
                losses(request, &disk, None)?;
            }
            partition::require_room(&disk)?;
            require_point(request, request.way.path())?;
            vec![
                format!("make a partition in the free space of {}; what is on the disk stays", disk.path.display()),
                format!("make an {} file system on it", file_system.name()),
                mounted,
            ]
        }
    })
}

/// An error unless a device can be mounted there, or is.
fn require_place(request: &Request, path: &Path, device: &Device) -> Result<()> {
    if device.mounts.iter().any(|point| point == path) { Ok(()) } else { require_point(request, path) }
}

/// An error unless a disk can be mounted there. Where it was until now it may be again.
fn require_point(request: &Request, path: &Path) -> Result<()> {
    let was = request.present.is_some_and(|target| target.mount_uuid.is_some() && target.path.starts_with(path));
    if !was {
        mount::require_not_systems(path)?;
    }
    mount::require_free(path)
}

/// What is lost when a device gets a file system. An error where that must not be, or where its name was not typed for it.
fn losses(request: &Request, device: &Device, destroy: Option<&str>) -> Result<Vec<String>> {
    if let Some(seen) = request.seen.filter(|seen| seen.path == device.path) {
        guard::require_same(seen, device)?;
    }
    own::refuse(device, request.uuid())?;
    let dangers = guard::dangers(device, request.needed, &kept_off(request)?, &list()?);
    let losses = guard::agreed(&device.path, &dangers, destroy)?;
    match request.uuid().filter(|_| request.seen.is_none() && !losses.is_empty()) {
        // The name in a file was typed for the disk that had it then.
        Some(uuid) => Err(Fault::unfit(format!(
            "{} is not formatted: {}; and these settings have a disk of the backups already, {uuid}",
            device.path.display(),
            losses.join("; ")
        ))
        .hint(format!(
            "\"destroy\" is for the first disk only; if this is to be another: choose it at a terminal (moodle-backup setup), or empty it \
             yourself: wipefs --all {}",
            device.path.display()
        ))
        .into()),
        None => Ok(losses),
    }
}

/// The place, if all is as it is wanted already.
pub fn done(request: &Request) -> Result<Option<Prepared>> {
    let path = request.way.path();
    if !path.is_dir() {
        return Ok(None);
    }
    match request.way {
        Way::Folder { .. } | Way::Mounted { .. } if ready(request)?.is_some() => Ok(None),
        Way::Folder { .. } => Ok(Some(Prepared { path: path.into(), mount_uuid: None }).filter(|_| is_roots(path))),
        Way::Mounted { .. } => match request.absent(path)? {
            // Its UUID is still wanted; a run says that it is not there.
            Some(uuid) if !is_mount_point(&point_of(request, path))? => {
                Ok(Some(Prepared { path: path.into(), mount_uuid: Some(uuid.to_owned()) }))
            }
            _ => mounted(path).map(Some),
        },
        Way::Mount { .. } | Way::Format { .. } | Way::Partition { .. } => {
            let mount = mounts::of(path)?;
            if mount.point != path {
                return Ok(None);
            }
            // One that was made here before, or the very one that is wanted.
            let wanted = match request.way {
                Way::Mount { device, .. } => Some(look(device)?),
                _ => ready(request)?.map(|it| it.device),
            };
            let ours = wanted.is_some_and(|it| it.mounts.iter().any(|point| point == path));
            let kept = ours && mount::is_kept(request.paths, path);
            if kept { mounted(path).map(Some) } else { Ok(None) }
        }
    }
}

/// The UUID of the file system that the place lies on, as far as it is known before all is done; `None` also where none is wanted.
pub fn uuid(request: &Request) -> Result<Option<String>> {
    if let Some(done) = done(request)? {
        return Ok(done.mount_uuid);
    }
    let device = match request.way {
        Way::Mount { device, .. } => Some(look(device)?),
        _ => ready(request)?.map(|it| it.device),
    };
    Ok(device.and_then(|it| it.file_system()?.uuid.clone()))
}

/// Whether the present disk of the backups itself is to be mounted at another place.
pub fn is_present_disk(request: &Request) -> Result<bool> {
    let Some(present) = request.present.filter(|_| matches!(request.way, Way::Mount { .. } | Way::Format { .. }))
    else {
        return Ok(false);
    };
    // In a folder of it they lie elsewhere afterwards.
    let whole = present.path != request.way.path() && is_mount_point(&present.path)?;
    Ok(whole && present.mount_uuid.is_some() && uuid(request)? == present.mount_uuid)
}

/// That answers name another disk than the one that is the place's by its UUID, and stays it.
pub fn other_disk(request: &Request) -> Result<Option<String>> {
    let (Way::Format { device, .. }, Some(Ready { device: ready, .. })) = (request.way, ready(request)?) else {
        return Ok(None);
    };
    // It need not be there any more.
    let named = look(device).map_or_else(|_| device.clone(), |it| it.path);
    Ok((named != ready.path).then(|| {
        format!(
            "the answers name {}, and the disk of the backups at this place is {}, which stays: names of disks change from one \
             start to the next; if it is to be another disk, name another path too, or choose it at a terminal",
            named.display(),
            ready.path.display()
        )
    }))
}

/// The disk that is meant to be made ready, where that was done before, by this call of the set-up or by one of long ago.
fn ready(request: &Request) -> Result<Option<Ready>> {
    let path = request.way.path();
    // Names of disks change from one start of the machine to the next. What nobody has just looked at is not taken by its name
    // for the disk of this place, if that is here.
    let named = match request.way {
        Way::Mount { .. } => return Ok(None),
        // As long as its disk is absent it looks like a plain folder.
        Way::Folder { .. } | Way::Mounted { .. } => request.absent(path)?,
        Way::Format { .. } | Way::Partition { .. } => request.uuid_of(path).filter(|_| request.seen.is_none()),
    };
    if let Some(device) = named.map(here).transpose()?.flatten() {
        let known_by = "it is the disk of the backups in the settings".into();
        return Ok(Some(Ready { device, known_by, point: point_of(request, path) }));
    }
    let known = match request.way {
        Way::Format { device, .. } => {
            let device = look(device)?;
            let known_by = own::known_by(&device, request.uuid())?.filter(|_| device.file_system().is_some());
            known_by.map(|known_by| (device, known_by))
        }
        Way::Partition { disk, .. } => {
            let partitions = look(disk)?.partitions;
            let mut partitions = partitions.iter().filter_map(|path| look(path).ok());
            partitions.find_map(|device| own::named(&device, request.uuid()).map(|known_by| (device, known_by)))
        }
        _ => None,
    };
    Ok(known.map(|(device, known_by)| Ready { device, known_by, point: path.to_path_buf() }))
}

/// The device with this file system on it, if it is here.
fn here(uuid: &str) -> Result<Option<Device>> {
    let is_it = |device: &Device| device.file_system().and_then(|it| it.uuid.as_deref()) == Some(uuid);
    Ok(list()?.into_iter().find(is_it))
}

/// Where the disk of a place is mounted: there, or at the folder above it that this machine mounts.
fn point_of(request: &Request, path: &Path) -> PathBuf {
    let above = path.ancestors().filter(|it| *it != Path::new("/"));
    let kept = above.filter(|it| mount::is_kept(request.paths, it)).find(|it| !is_mount_point(it).unwrap_or(false));
    kept.unwrap_or(path).to_path_buf()
}

fn is_mount_point(path: &Path) -> Result<bool> {
    Ok(mounts::all()?.iter().any(|mount| mount.point == path))
}

/// Does it.
pub fn prepare(request: &Request, log: &Log) -> Result<Prepared> {
    if let Some(done) = done(request)? {
        log.info(format!("{} is ready for the backups", done.path.display()));
        return Ok(done);
    }
    if let Some(Ready { device, known_by, point }) = ready(request)? {
        log.info(format!("{} is not formatted: {known_by}", device.path.display()));
        mount_at(request, &device.path, &point, log)?;
        return mounted(request.way.path());
    }
    match request.way {
        Way::Folder { path } => folder(path),
        Way::Mounted { path } => mounted(path),
        Way::Mount { device, path } => mount_at(request, device, path, log),
        Way::Format { device, file_system, path, destroy } => {
            require_point(request, path)?;
            let device = look(device)?;
            make(request, &device, *file_system, destroy.as_deref(), log)?;
            mount_at(request, &device.path, path, log)
        }
        Way::Partition { disk, file_system, path } => {
            require_point(request, path)?;
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
    losses(request, device, destroy)?;
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
    require_place(request, path, &device)?;
    let place = Place { device: &device.path, uuid: &uuid, kind: &kind, path };
    mount::keep(request.paths, &place, log)?;
    mount::mount(&place, log)?;
    mount::warn_if_unknown(request.paths, &place, log);
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
