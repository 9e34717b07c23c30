//! One run at a time: locks on the site itself (its dataroot, so that two settings files for one site exclude each
//! other) and on its folder on the target. Whoever holds both tidies up what a dead run left.

use super::Job;
use crate::error::{Fault, Result};
use crate::preflight::{Ready, Site};
use crate::store::Store;
use crate::sys::lock::{Lock, Mode};
use crate::sys::log::{Activity, Log};
use crate::sys::time;
use crate::window;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a run waits for the lock on the site's folder: a command that only moves a damaged file aside holds it for a
/// moment, and no run should be refused for that.
const MOMENT: Duration = Duration::from_secs(2);

/// The locks of a run, and the note of what it is doing.
#[derive(Debug)]
pub struct Locks {
    _site: Lock,
    store: Option<Lock>,
}

/// The lock on a site's folder on the target, for a command that removes from it. While it is held no run begins there,
/// and who asks is told what is at work: `doing`, noted in `activity`, which names the site by its dataroot.
pub fn hold_store(store: &Store, site: &str, activity: Option<PathBuf>, doing: &str, log: &Log) -> Result<Lock> {
    let lock = store.try_lock()?;
    let lock = lock.ok_or_else(|| refusal(activity.as_deref().unwrap_or(Path::new("")), site))?;
    if let Some(activity) = activity {
        log.show_in(site, activity)?;
    }
    log.step(doing)?;
    Ok(lock)
}

/// Takes the locks, then undoes what an interrupted run of this site left.
pub fn hold(job: &Job, site: &Site, log: &Log) -> Result<Locks> {
    let dataroot = &site.config.dataroot;
    let activity = job.paths.activity(dataroot);
    let refuse = || refusal(&activity, &job.settings.site.name);
    let site_lock = Lock::try_hold(dataroot, Mode::Exclusive)?.ok_or_else(refuse)?;
    let folder = job.settings.target.path.join(&job.settings.site.name);
    let store = match folder.is_dir() {
        true => Some(Lock::hold_within(&folder, Mode::Exclusive, MOMENT)?.ok_or_else(refuse)?),
        false => None,
    };
    log.show_in(&job.settings.site.name, activity)?;
    if let Some(closure) = window::recover_site(job.paths, dataroot, log)? {
        log.warn(format!("an earlier run (process {}) had left the site closed; it was reopened", closure.pid));
    }
    if let Some(closure) = window::held(job.paths, dataroot)? {
        log.info(format!("the site is held closed since {}, and will be left so", clock(closure.closed_at)));
    }
    Ok(Locks { _site: site_lock, store })
}

impl Locks {
    /// The site's folder on the target, made and locked if it was not there yet, with nothing half made in it.
    pub fn store(&mut self, job: &Job, ready: &Ready, log: &Log) -> Result<Store> {
        let target = &job.settings.target;
        let store = Store::create(&target.path, &job.settings.site.name, &ready.identity, &target.group, log)?;
        if self.store.is_none() {
            let lock = store.try_lock()?;
            self.store = Some(lock.ok_or_else(|| Fault::locked("another run has just begun to use the target"))?);
        }
        for name in store.clean_partials(self.store_lock()?)? {
            log.info(format!("removed {name}, which an interrupted run had left"));
        }
        Ok(store)
    }

    /// The lock on the site's folder.
    pub fn store_lock(&self) -> Result<&Lock> {
        self.store.as_ref().ok_or_else(|| anyhow::anyhow!("the site's folder on the target is not locked"))
    }
}

/// Who is at work, in words.
fn refusal(activity: &Path, site: &str) -> Fault {
    let read = || -> Result<Activity> { Ok(serde_json::from_slice(&std::fs::read(activity)?)?) };
    match read() {
        Ok(run) => {
            let who = format!(
                "another run for site {:?} is at work: process {}, since {}, now at the step {}",
                run.site,
                run.pid,
                clock(run.started),
                run.step
            );
            Fault::locked(who).hint(match run.log {
                Some(_) => "\"moodle-backup attach\" shows it; nothing was changed by this one",
                None => "try again when it has ended; nothing was changed by this one",
            })
        }
        Err(_) => Fault::locked(format!("another run for site {site:?} is at work"))
            .hint("\"moodle-backup status\" tells more; nothing was changed by this one"),
    }
}

fn clock(seconds: i64) -> String {
    let time = chrono::DateTime::from_timestamp(seconds, 0).unwrap_or_else(time::now);
    time.with_timezone(&chrono::Local).format("%Y-%m-%d %H:%M:%S").to_string()
}
