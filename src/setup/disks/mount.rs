//! Mounts the disk of the backups, now and at each start of the machine: by a mount unit of systemd's, or by a line in fstab
//! where that is how this machine does it. An absent disk holds up no start, and nothing can be written below it.

use crate::error::{Fault, OrFault, Result};
use crate::sys::files;
use crate::sys::kept;
use crate::sys::log::Log;
use crate::sys::mounts;
use crate::sys::paths::Paths;
use crate::sys::process::Program;
use crate::sys::process::unit::systemd_runs;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

/// What is written here begins with this, by which it is known again.
const OWN_UNIT: &str = "# The disk of the backups. Written by \"moodle-backup setup\".\n";
const OWN_LINE: &str = "# The disk of the Moodle backups, by \"moodle-backup setup\"";

/// No time is written for each file that is read; a disk that is not there is no reason to stop a start.
const OPTIONS: &str = "noatime,nofail";

/// Folders in which the system and its programs put something themselves, and an administrator other disks.
const SYSTEMS: [&str; 33] = [
    "/bin",
    "/boot",
    "/boot/efi",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/local",
    "/var",
    "/var/backups",
    "/var/cache",
    "/var/lib",
    "/var/local",
    "/var/log",
    "/var/mail",
    "/var/opt",
    "/var/spool",
    "/var/tmp",
    "/var/www",
];

/// So many names of what is in a folder are told.
const TOLD: usize = 3;

/// `FS_IMMUTABLE_FL` of linux/fs.h.
const IMMUTABLE: nix::libc::c_long = 0x10;

nix::ioctl_read!(
    /// The flags of an inode: `FS_IOC_GETFLAGS` of linux/fs.h.
    get_flags, b'f', 1, nix::libc::c_long
);
nix::ioctl_write_ptr!(
    /// Sets them: `FS_IOC_SETFLAGS`.
    set_flags, b'f', 2, nix::libc::c_long
);

/// What is mounted where.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The device, for now.
    pub device: &'a Path,
    /// The UUID of its file system, for ever.
    pub uuid: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// Where.
    pub path: &'a Path,
}

/// An error unless a disk can be mounted there: a folder that is empty or not there yet, and no other file system's.
pub fn require_free(path: &Path) -> Result<()> {
    if !path.is_absolute() || path == Path::new("/") {
        return Err(Fault::unfit(format!("{} is no place for a disk", path.display()))
            .hint("name a folder from \"/\" on, such as /srv/backup")
            .into());
    }
    let Ok(entries) = std::fs::read_dir(path) else {
        return match path.symlink_metadata() {
            Ok(_) => Err(Fault::unfit(format!("{} is no folder", path.display())).into()),
            Err(_) => Ok(()),
        };
    };
    if mounts::of(path)?.point == path.canonicalize()? {
        return Err(Fault::unfit(format!("something is mounted at {} already", path.display()))
            .hint("choose it as it is, or name another folder")
            .into());
    }
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    if names.is_empty() {
        return Ok(());
    }
    names.sort();
    let more = if names.len() > TOLD { format!(" and {} more", names.len() - TOLD) } else { String::new() };
    names.truncate(TOLD);
    Err(Fault::unfit(format!(
        "the folder {} is not empty: a disk there would hide what is in it ({}{more})",
        path.display(),
        names.join(", ")
    ))
    .hint("name another folder")
    .into())
}

/// An error if a place is a folder of the system itself, empty or not: what is put into it later would lie on the disk of the
/// backups, or, without that disk, could not be put there at all.
pub fn require_not_systems(path: &Path) -> Result<()> {
    if !is_systems(path) {
        return Ok(());
    }
    Err(Fault::unfit(format!("{} is a folder of the system itself, which others use too", path.display()))
        .hint("name a folder that is for the backups alone, such as /srv/backup")
        .into())
}

fn is_systems(path: &Path) -> bool {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    SYSTEMS.iter().map(Path::new).any(|it| it == path || it == real)
}

/// Whether this machine mounts something there by itself.
pub fn is_kept(paths: &Paths, path: &Path) -> bool {
    kept::unit_file(paths, path).exists() || kept::in_fstab(paths).iter().any(|point| point == path)
}

/// Sees to it that the disk is mounted at each start, also where another one was mounted there until now. What somebody else has
/// written for the place is his to change.
pub fn keep(paths: &Paths, place: &Place, log: &Log) -> Result<()> {
    match std::fs::read_to_string(kept::unit_file(paths, place.path)) {
        Ok(text) if text == unit(place) || !text.starts_with(OWN_UNIT) => return Ok(()),
        Ok(_) => return write_unit(paths, place, log),
        Err(_) => {}
    }
    let fstab = std::fs::read_to_string(paths.fstab()).unwrap_or_default();
    let in_fstab = kept::in_fstab(paths).iter().any(|point| point == place.path);
    let replaced = without_own_line(&fstab, place) != fstab && !fstab.contains(place.uuid);
    match in_fstab {
        true if !replaced => Ok(()),
        false if systemd_runs() && !has_disks_in_fstab(paths) => write_unit(paths, place, log),
        _ => add_to_fstab(paths, place, log),
    }
}

fn write_unit(paths: &Paths, place: &Place, log: &Log) -> Result<()> {
    let file = kept::unit_file(paths, place.path);
    files::make_folders(files::parent(&file), 0o755)?;
    files::write_durably(&file, unit(place).as_bytes(), 0o644)?;
    log.info(format!("wrote {}", file.display()));
    let name = file.file_name().unwrap_or_default();
    systemctl(&["daemon-reload"])?;
    systemctl(&["enable".as_ref(), "--quiet".as_ref(), name])
}

/// Says so if the mount unit will not find the disk at the next start. It has been mounted by its device, which needs no udev.
pub fn warn_if_unknown(paths: &Paths, place: &Place, log: &Log) {
    if !systemd_runs() || !kept::unit_file(paths, place.path).exists() {
        return;
    }
    let _ = Program::new("udevadm").args(["settle", "--timeout=10"]).timeout(LIMIT).output();
    let link = by_uuid(place.uuid);
    if !link.exists() {
        // Not one of the backup that may follow.
        log.info(format!(
            "WARNING: there is no {}, by which systemd finds the disk of the backups: udev is not at work here (in a container, for \
             example), and {} will not be mounted at the next start unless something else does it",
            link.display(),
            place.path.display()
        ));
    }
}

/// The link to a file system that udev makes.
fn by_uuid(uuid: &str) -> PathBuf {
    Path::new("/dev/disk/by-uuid").join(uuid)
}

/// Mounts it now. The folder is made, and nothing can be written into it as long as the disk is not there.
pub fn mount(place: &Place, log: &Log) -> Result<()> {
    if mounts::all()?.iter().any(|mount| mount.point == place.path) {
        return Ok(());
    }
    files::make_folders(place.path, 0o700)?;
    require_free(place.path)?;
    if !is_systems(place.path)
        && let Err(error) = set_immutable(place.path)
    {
        log.detail(format!("{} is not closed for writing while its disk is absent: {error:#}", place.path.display()));
    }
    // Not through systemd: it waits for udev, which a container may not have.
    Program::new("mount")
        .args(["-t", place.kind, "-o", "noatime"])
        .arg(place.device)
        .arg(place.path)
        .timeout(LIMIT)
        .success()
        .or_fault(|| Fault::failed(format!("cannot mount {} at {}", place.device.display(), place.path.display())))?;
    log.info(format!("mounted {} at {}", place.device.display(), place.path.display()));
    Ok(())
}

fn set_immutable(folder: &Path) -> Result<()> {
    let folder = File::open(folder)?;
    let mut flags: nix::libc::c_long = 0;
    // SAFETY: the descriptor is open, and the kernel writes no more than the flags.
    unsafe { get_flags(folder.as_raw_fd(), &raw mut flags) }?;
    flags |= IMMUTABLE;
    // SAFETY: as above; the kernel reads them.
    unsafe { set_flags(folder.as_raw_fd(), &raw const flags) }?;
    Ok(())
}

/// The mount unit. Nothing waits for it at the start of the machine: a target that wants it and has it not goes on.
fn unit(place: &Place) -> String {
    let what = by_uuid(place.uuid);
    let what = what.display();
    format!(
        "{OWN_UNIT}[Unit]\nDescription=Disk of the Moodle backups\n\
         Documentation=man:moodle-backup(8)\n# An absent disk must not hold up the start of the server.\n\
         DefaultDependencies=no\nAfter=local-fs-pre.target\nBefore=umount.target\nConflicts=umount.target\n\n\
         [Mount]\nWhat={what}\nWhere={}\nType={}\nOptions={OPTIONS}\nTimeoutSec=60\n\n[Install]\nWantedBy=multi-user.target\n",
        specifiers(&place.path.to_string_lossy()),
        place.kind
    )
}

/// A `%` is a word of systemd's own.
fn specifiers(text: &str) -> String {
    text.replace('%', "%%")
}

fn systemctl<A: AsRef<std::ffi::OsStr>>(args: &[A]) -> Result<()> {
    Program::new("systemctl").args(args).timeout(LIMIT).success()?;
    Ok(())
}

/// Whether the administrator keeps disks for data there, and not only those of the system.
fn has_disks_in_fstab(paths: &Paths) -> bool {
    let systems = ["/", "/boot", "/boot/efi", "/usr", "/var", "/home", "/tmp", "none", "swap"];
    kept::in_fstab(paths)
        .iter()
        .any(|point| !systems.iter().any(|it| point == Path::new(it)) && !point.starts_with("/media"))
}

/// A place as fstab writes it.
fn point_in_fstab(place: &Place) -> String {
    place.path.to_string_lossy().replace('\\', "\\134").replace(' ', "\\040")
}

/// A text of fstab less the line that was written here for this place.
fn without_own_line(text: &str, place: &Place) -> String {
    let point = point_in_fstab(place);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let is_own = |at: usize| {
        let line = lines.get(at + 1).filter(|_| lines[at].trim() == OWN_LINE);
        line.is_some_and(|line| line.split_whitespace().nth(1) == Some(&point))
    };
    let goes = |at: usize| is_own(at) || (at > 0 && is_own(at - 1));
    let left = (0..lines.len()).filter(|at| !goes(*at));
    left.map(|at| lines[at]).collect()
}

/// One line more, or another in place of our own; the old file is kept beside the new one.
fn add_to_fstab(paths: &Paths, place: &Place, log: &Log) -> Result<()> {
    let file = paths.fstab();
    let old = match std::fs::read_to_string(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.or_fault(|| Fault::failed(format!("cannot read {}", file.display())))?,
    };
    let (others, point) = (without_own_line(&old, place), point_in_fstab(place));
    let end = if others.is_empty() || others.ends_with('\n') { "" } else { "\n" };
    let new = format!(
        "{others}{end}{OWN_LINE}\nUUID={} {point} {} {OPTIONS},x-systemd.device-timeout=30s 0 2\n",
        place.uuid, place.kind
    );
    if !old.is_empty() {
        files::write_durably(&file.with_extension("before-moodle-backup"), old.as_bytes(), 0o644)?;
    }
    files::write_durably(&file, new.as_bytes(), 0o644)?;
    log.info(format!("added a line to {}", file.display()));
    if systemd_runs() {
        systemctl(&["daemon-reload"])?;
    }
    Ok(())
}
