//! Takes the users' files of the predecessor's last set into the pool, so that they are not copied once more. Each is compared
//! with its name; those that are not what their names say stay where they are.

use crate::error::{Fault, OrFault, Result};
use crate::pool::{Copied, Effort, Pool};
use crate::preflight::{self, Forecast};
use crate::settings::Settings;
use crate::store::Store;
use crate::sys::log::Log;
use crate::sys::signals;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Adopts the set whose moodledata is here. The site must be one that could be backed up, and no run be at work on it.
pub fn adopt(settings: &Settings, moodledata: &Path, log: &Log) -> Result<Copied> {
    let filedir = moodledata.join("filedir");
    if !filedir.is_dir() {
        return Err(Fault::unfit(format!("{} has no folder filedir in it", moodledata.display()))
            .hint("name the moodledata folder in the old set; a set in the form of a tar cannot be adopted")
            .into());
    }
    let filedir = filedir.canonicalize().or_fault(|| Fault::failed(format!("cannot read {}", filedir.display())))?;
    let site = preflight::read_site(settings)?;
    if site.config.filedir.canonicalize().is_ok_and(|own| own == filedir) {
        return Err(Fault::unfit(format!("{} is the site's own filedir, and no copy of it", filedir.display())).into());
    }
    let ready = preflight::require_but_room(settings, &site, log)?;
    let target = &settings.target;
    let need = copies(&filedir, &target.path)?;
    // Links take no room, and the old set may have left little of it.
    if need.bytes > 0 {
        preflight::require_room(settings, need)?;
    }
    let store = Store::create(&target.path, &settings.site.name, &ready.identity, &target.group, log)?;
    let Some(_lock) = store.try_lock()? else {
        return Err(Fault::locked("a run is at work on this site").hint("try again when it has ended").into());
    };
    let resources = &settings.resources;
    let effort = Effort { threads: resources.threads, nice: resources.nice, io: resources.io };
    let pool = Pool::open(store.folder(), store.owner().gid())?;
    log.info(format!("taking the users' files in {} into the pool", filedir.display()));
    let copied = pool.adopt_all(&filedir, effort, log)?;
    for what in &copied.unreadable {
        log.warn(format!("not taken: {what}"));
    }
    for hash in &copied.damaged {
        log.warn(format!(
            "not taken, since its content is not what its name says: {}",
            filedir.join(crate::hashes::relative_path(hash)).display()
        ));
    }
    Ok(copied)
}

/// The room for those files that cannot be taken as they are: on another disk, or with further names.
fn copies(filedir: &Path, target: &Path) -> Result<Forecast> {
    let fault = || Fault::failed(format!("cannot look at what is in {}", filedir.display()));
    let device = std::fs::metadata(target).or_fault(fault)?.dev();
    let mut need = Forecast::default();
    let mut folders = vec![filedir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        signals::check()?;
        need.inodes += 1;
        for entry in std::fs::read_dir(&folder).or_fault(fault)? {
            let entry = entry.or_fault(fault)?;
            let meta = entry.metadata().or_fault(fault)?;
            if meta.is_dir() {
                folders.push(entry.path());
            } else if meta.dev() != device || meta.nlink() > 1 {
                need.bytes += meta.len().div_ceil(4096) * 4096;
                need.inodes += 1;
            }
        }
    }
    Ok(need)
}
