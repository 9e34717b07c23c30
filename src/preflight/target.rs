//! The target: whether it is there, fit, this site's, and has room.

use super::database::Databases;
use super::findings::Findings;
use super::site::Site;
use crate::error::{Fault, OrFault, Result};
use crate::pool;
use crate::settings::Settings;
use crate::store::manifest::{ComponentKind, Manifest};
use crate::store::{Listing, SiteIdentity, Store, probe};
use crate::sys::files::{self, Space};
use crate::sys::human;
use crate::sys::kept;
use crate::sys::log::Log;
use crate::sys::mounts;
use crate::sys::paths::Paths;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Dumps compress to about a fifth; a third leaves room for growth.
const DUMP_SHARE: u64 = 3;

/// Of what is in the pool a day does not add more than the tenth part, nor more than that, as a rule.
const PLENTY: u64 = 10;
const MUCH: u64 = 10 << 30;

/// What a file takes at least on a disk.
const BLOCK: u64 = 4096;

/// What a run will probably write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// Bytes that will be added to the target.
    pub bytes: u64,
    /// Files and folders that will be added.
    pub inodes: u64,
    /// Files in the pool, for the progress display.
    pub pool_files: u64,
}

/// Whether the target must have room for a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Asked,
    Unasked,
}

/// Looks at the target.
pub(super) fn examine(
    settings: &Settings,
    site: &Site,
    identity: &SiteIdentity,
    databases: &Databases,
    room: Room,
    log: &Log,
    findings: &mut Findings,
) -> Option<(Option<Store>, Forecast)> {
    let target = &settings.target.path;
    findings.keep("target", require_mounted(settings))?;
    findings.keep("target", require_writable(settings))?;
    let parts = [&site.layout.root, &site.config.dataroot, &site.config.filedir];
    let parts = parts.into_iter().chain(&settings.directories.paths);
    findings.keep("target", require_outside(target, &settings.site.name, parts))?;
    if mounts::same_file_system(target, Path::new("/")) {
        findings.warning(
            "target",
            format!("{} lies on the disk of the system itself", target.display()),
            "a disk or partition of its own survives the loss of this one and cannot fill it up",
        );
    }
    findings.keep("target", probe::probe(target))?;
    let store = findings.keep("target", existing_store(settings, identity))?;
    let newest = store.as_ref().and_then(|store| findings.keep("backups", store.backups()));
    note_unknown(newest.as_ref(), findings);
    let newest = newest.and_then(|listing| listing.newest().map(|backup| backup.manifest.clone()));
    if room == Room::Unasked {
        return Some((store, Forecast::default()));
    }
    log.detail("estimating the room that is needed");
    let forecast = match (newest, &store) {
        (Some(manifest), Some(store)) => {
            findings.keep("target", next_forecast(&manifest, settings, site, store, log))?
        }
        _ => findings.keep("target", first_forecast(site, databases, settings, store.as_ref()))?,
    };
    match require_room(settings, forecast) {
        Err(error) if settings.retention.make_room && store.is_some() => findings.warning(
            "target",
            error.to_string(),
            "a run will first remove backups that [retention] does not ask for (make_room)",
        ),
        room => findings.note("target", room),
    }
    Some((store, forecast))
}

fn existing_store(settings: &Settings, identity: &SiteIdentity) -> Result<Option<Store>> {
    if !settings.target.path.join(&settings.site.name).exists() {
        return Ok(None);
    }
    let store = Store::open(&settings.target.path, &settings.site.name)?;
    store.require(identity)?;
    Ok(Some(store))
}

fn note_unknown(listing: Option<&Listing>, findings: &mut Findings) {
    if let Some(listing) = listing.filter(|listing| !listing.unknown.is_empty()) {
        findings.warning(
            "backups",
            format!("among the backups lies what does not belong there: {:?}", listing.unknown),
            "nothing is pruned as long as it is there: move it away",
        );
    }
}

fn require_writable(settings: &Settings) -> Result<()> {
    let target = &settings.target.path;
    let mount = mounts::of(target)?;
    if mount.read_only {
        return Err(Fault::unfit(format!("the target {} is mounted read-only", target.display()))
            .hint(format!(
                "dmesg tells if the kernel did that after a disk error; else mount -o remount,rw {}",
                mount.point.display()
            ))
            .into());
    }
    Ok(())
}

/// An error if the target is not there, or is not the disk that the settings want there.
pub fn require_mounted(settings: &Settings) -> Result<()> {
    let target = &settings.target.path;
    if !target.is_dir() {
        return Err(Fault::unfit(format!("the target {} is not there", target.display()))
            .hint(match &settings.target.mount_uuid {
                Some(uuid) => way_back(uuid, target, Path::new("/")),
                None => "mount the backup disk, or correct path in [target]".into(),
            })
            .into());
    }
    let meta = std::fs::metadata(target)?;
    if meta.uid() != 0 || meta.mode() & 0o002 != 0 {
        return Err(Fault::unfit(format!("the target {} can be written by others than root", target.display()))
            .hint(format!("chown root {0}; chmod o-w {0}", target.display()))
            .into());
    }
    let mount = mounts::of(target)?;
    let Some(wanted) = &settings.target.mount_uuid else { return Ok(()) };
    let found = if mount.point == Path::new("/") { None } else { mounts::uuid(&mount).ok() };
    if found.as_deref().is_some_and(|found| found.eq_ignore_ascii_case(wanted)) {
        return Ok(());
    }
    let uuid = found.map_or_else(String::new, |uuid| format!(" ({uuid})"));
    Err(Fault::unfit(format!(
        "the backup disk {wanted} is not mounted at {}: the folder there lies on the disk of {}{uuid}",
        target.display(),
        mount.point.display()
    ))
    .hint(way_back(wanted, target, &mount.point))
    .into())
}

/// How an absent disk comes back.
fn way_back(uuid: &str, target: &Path, mounted: &Path) -> String {
    let command = kept::mount_command(&Paths::from_environment(), target, mounted);
    let command = command.unwrap_or_else(|| "moodle-backup setup --yes".to_owned());
    format!(
        "if \"lsblk -f\" shows {uuid}, \"{command}\" mounts it again (and formats nothing); if not, connect the disk first; if \
         another takes its place, \"moodle-backup setup\", or correct mount_uuid in [target]"
    )
}

/// An error if a target lies inside what is backed up, which would take in itself; or the reverse, which a restore would
/// overwrite.
pub fn require_outside<'a>(target: &Path, site_name: &str, mut parts: impl Iterator<Item = &'a PathBuf>) -> Result<()> {
    let own = target.join(site_name);
    let Some(part) = parts.find(|part| files::lies_in(target, part) || files::lies_in(part, &own)) else {
        return Ok(());
    };
    let inside = files::lies_in(target, part);
    let (inner, outer) = if inside { (target, part.as_path()) } else { (part.as_path(), target) };
    Err(Fault::unfit(format!("{} lies in {}", inner.display(), outer.display()))
        .hint_by_setting("name a folder outside of everything that is backed up", "path in [target]")
        .into())
}

/// After the first backup the last one tells what is to be expected. Where the disk has not much more room than that, what is new
/// in the pool is looked for by name: a day with many uploads is neither to be taken for the rule, nor to come as a surprise.
fn next_forecast(last: &Manifest, settings: &Settings, site: &Site, store: &Store, log: &Log) -> Result<Forecast> {
    let rewritten = rewritten(last);
    // As many new files again, twice. The first backup tells nothing of a day.
    let days = if last.sequence <= 1 { 0 } else { 2 };
    let guess = Forecast {
        bytes: rewritten.bytes + days * last.pool.new_bytes,
        inodes: rewritten.inodes + days * last.pool.new_files,
        ..rewritten
    };
    let space = files::space(&settings.target.path)?;
    let reserve = settings.target.min_free.bytes(space.total_bytes);
    let unlikely = guess.bytes + reserve + (last.pool.bytes / PLENTY).max(MUCH);
    if space.free_bytes >= unlikely && space.free_inodes >= guess.inodes + last.pool.files / PLENTY {
        return Ok(guess);
    }
    let lacking = pool::lacking(&site.config.filedir, Some(&store.pool()), last.pool.files, log)?;
    // Files take whole blocks.
    let bytes = rewritten.bytes + lacking.bytes + lacking.files * (BLOCK / 2);
    Ok(Forecast { bytes, inodes: rewritten.inodes + lacking.files, ..rewritten })
}

/// What is written anew each time, of the size that it had last: all but the pool and what of moodledata has not changed.
fn rewritten(last: &Manifest) -> Forecast {
    let is_rewritten = |kind: &ComponentKind| !matches!(kind, ComponentKind::Moodledata | ComponentKind::PoolList);
    let stored = last.components.iter().filter(|part| is_rewritten(&part.kind)).map(|part| part.stored_bytes);
    let rest = last.components.iter().filter(|part| part.kind == ComponentKind::Moodledata);
    Forecast {
        bytes: stored.sum(),
        inodes: rest.map(|part| part.entries).sum::<u64>() + 1000,
        pool_files: last.pool.files,
    }
}

/// The pool may have files before there is a backup: those of a run that failed, or of the predecessor's last set.
fn first_forecast(site: &Site, databases: &Databases, settings: &Settings, store: Option<&Store>) -> Result<Forecast> {
    let mut forecast = Forecast { inodes: 1000, ..Forecast::default() };
    forecast.pool_files = measure(&site.config.filedir, &[], store.map(Store::pool).as_deref(), &mut forecast)?;
    let left_out: Vec<_> = site.config.left_out().iter().map(|path| site.config.dataroot.join(path)).collect();
    measure(&site.config.dataroot, &left_out, None, &mut forecast)?;
    for folder in settings.directories.paths.iter().chain([&site.layout.root]) {
        // Archives are one file each.
        let mut inner = Forecast::default();
        measure(folder, &[], None, &mut inner)?;
        forecast.bytes += inner.bytes / 2;
    }
    let dumps = databases.extra.iter().chain([&databases.site]).map(|dumped| dumped.server.size_bytes / DUMP_SHARE);
    forecast.bytes += dumps.sum::<u64>();
    Ok(forecast)
}

/// Adds up a tree but for what is left out, and for the files that the target has already under the same names in `held`;
/// returns the number of files.
fn measure(path: &Path, left_out: &[PathBuf], held: Option<&Path>, forecast: &mut Forecast) -> Result<u64> {
    if left_out.iter().any(|left_out| left_out == path) {
        return Ok(0);
    }
    let meta = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        meta => meta.or_fault(|| Fault::failed(format!("cannot look at {}", path.display())))?,
    };
    if !meta.is_dir() && held.is_some_and(|held| held.symlink_metadata().is_ok()) {
        return Ok(u64::from(meta.size() > 0));
    }
    forecast.inodes += 1;
    if !meta.is_dir() {
        // What a file takes on the disk, in whole blocks.
        forecast.bytes += meta.len().div_ceil(BLOCK) * BLOCK;
        return Ok(u64::from(meta.size() > 0));
    }
    let mut count = 0;
    for entry in std::fs::read_dir(path).or_fault(|| Fault::failed(format!("cannot read {}", path.display())))? {
        crate::sys::signals::check()?;
        let entry = entry?;
        let held = held.map(|held| held.join(entry.file_name()));
        count += measure(&entry.path(), left_out, held.as_deref(), forecast)?;
    }
    Ok(count)
}

/// An error unless the target has room for what is forecast, and for what is to stay free.
pub fn require_room(settings: &Settings, forecast: Forecast) -> Result<String> {
    let target = &settings.target.path;
    let space: Space = files::space(target)?;
    let reserve = settings.target.min_free.bytes(space.total_bytes);
    if space.free_bytes < forecast.bytes.saturating_add(reserve) {
        return Err(Fault::unfit(format!(
            "{} has {} free; this backup needs about {}, and {} are to stay free",
            target.display(),
            human::bytes(space.free_bytes),
            human::bytes(forecast.bytes),
            human::bytes(reserve)
        ))
        .hint("enlarge the disk, keep fewer backups in [retention] and run \"moodle-backup prune\", or lower min_free in [target]")
        .into());
    }
    if space.free_inodes < forecast.inodes {
        return Err(Fault::unfit(format!(
            "{} can hold {} more files; this backup needs about {}",
            target.display(),
            space.free_inodes,
            forecast.inodes
        ))
        .hint("make its file system anew with more inodes (mkfs.ext4 -T small), or use xfs or btrfs")
        .into());
    }
    Ok(format!(
        "{}, {} free, about {} needed",
        target.display(),
        human::bytes(space.free_bytes),
        human::bytes(forecast.bytes)
    ))
}
