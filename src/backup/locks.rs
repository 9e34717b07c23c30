//! One run at a time: locks on the site itself (known by its dataroot, so that two settings files for one site exclude
//! each other) and on its folder on the target. Whoever holds both tidies up what a dead run left.

use super::Job;
use crate::error::{Fault, Result};
use crate::preflight::{Ready, Site};
use crate::store::Store;
use crate::sys::folder_lock::FolderLock;
use crate::sys::holders::{Holder, holders};
use crate::sys::lock::{Lock, Mode};
use crate::sys::log::{Activity, Log};
use crate::sys::paths::Paths;
use crate::sys::time;
use crate::undo::{self, Fate, Record};
use crate::window;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long another who is at work is waited for. By hand that is for what takes a moment, such as `recover`; a run is not
/// waited for at all, since one would rather know. At night a `prune`, or a run by hand that is near its end, is worth
/// minutes: to leave the backup out would be worse.
const BY_HAND: Duration = Duration::from_secs(3);
const SCHEDULED: Duration = Duration::from_secs(300);

/// The locks of a run, and the note of what it is doing.
#[derive(Debug)]
pub struct Locks {
    _site: FolderLock,
    store: Option<Lock>,
}

/// The lock on a site's folder on the target, for a command that removes from it. While it is held no run begins there,
/// and who asks is told what is at work: `doing`, noted in `activity`, which names the site by its dataroot.
pub fn hold_store(store: &Store, site: &str, activity: Option<PathBuf>, doing: &str, log: &Log) -> Result<Lock> {
    let queue = Queue::new(false, activity.as_deref().unwrap_or(Path::new("")), site, log);
    let lock = queue.wait(store.folder(), |limit| Lock::hold_within(store.folder(), Mode::Exclusive, limit))?;
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
    let queue = Queue::new(job.scheduled, &activity, &job.settings.site.name, log);
    let site_lock = queue.site(job.paths, dataroot)?;
    let folder = job.settings.target.path.join(&job.settings.site.name);
    let store = match folder.is_dir() {
        true => Some(queue.wait(&folder, |limit| Lock::hold_within(&folder, Mode::Exclusive, limit))?),
        false => None,
    };
    log.show_in(&job.settings.site.name, activity.clone())?;
    log.remember_in(job.paths.begun(dataroot))?;
    recover(job.paths, dataroot, log)?;
    if let Some(closure) = window::held(job.paths, dataroot)? {
        log.info(format!("the site is held closed since {}, and will be left so", clock(closure.closed_at)));
    }
    Ok(Locks { _site: site_lock, store })
}

/// The lock on the site alone, for a restore; then undoes what an interrupted restore or run has left.
pub fn hold_site(paths: &Paths, site: &str, dataroot: &Path, log: &Log) -> Result<FolderLock> {
    let activity = paths.activity(dataroot);
    let lock = Queue::new(false, &activity, site, log).site(paths, dataroot)?;
    log.show_in(site, activity)?;
    recover(paths, dataroot, log)?;
    Ok(lock)
}

/// Undoes what an interrupted restore or run of this site has left. The caller holds its lock.
fn recover(paths: &Paths, dataroot: &Path, log: &Log) -> Result<()> {
    let judge = |record: &Record| window::require_not_opened(paths, record).map(|()| Fate::Undone);
    if let Some((restore, _)) = undo::recover_site(paths, dataroot, &judge)? {
        log.warn(format!("a restore (process {}) had died before it was complete; it was undone", restore.pid));
    }
    if let Some(closure) = window::recover_site(paths, dataroot, log)? {
        log.warn(format!("an earlier run (process {}) had left the site closed; it was reopened", closure.pid));
    }
    undo::sweep(paths, log);
    Ok(())
}

/// Waiting for one's turn: for all locks together so long at most.
struct Queue<'a> {
    deadline: Instant,
    waits_for_runs: bool,
    activity: &'a Path,
    site: &'a str,
    log: &'a Log,
}

impl<'a> Queue<'a> {
    fn new(scheduled: bool, activity: &'a Path, site: &'a str, log: &'a Log) -> Self {
        let patience = if scheduled { SCHEDULED } else { BY_HAND };
        Queue { deadline: Instant::now() + patience, waits_for_runs: scheduled, activity, site, log }
    }

    fn site(&self, paths: &Paths, dataroot: &Path) -> Result<FolderLock> {
        let own = paths.lock(dataroot);
        let lock = self.wait(&own, |limit| FolderLock::hold_within(dataroot, &own, limit))?;
        lock.complaint(dataroot).into_iter().for_each(|complaint| self.log.warn(complaint));
        Ok(lock)
    }

    /// Tries to take a lock, and waits for it as long as is left, having said for whom. `by` is the file that is locked.
    fn wait<T>(&self, by: &Path, take: impl Fn(Duration) -> Result<Option<T>>) -> Result<T> {
        if let Some(lock) = take(Duration::ZERO)? {
            return Ok(lock);
        }
        let holders_now = holders(by);
        let a_run = noted(self.activity, &holders_now).is_some_and(|noted| noted.log.is_some());
        if a_run && !self.waits_for_runs {
            return Err(refusal(self.activity, self.site, &holders_now).into());
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        let who = at_work(self.activity, self.site, &holders_now);
        self.log.info(format!("waiting {:.0} s at most: {who}", left.as_secs_f64()));
        take(left)?.ok_or_else(|| refusal(self.activity, self.site, &holders(by)).into())
    }
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

/// What is known of the run that is at work, if it is one of those that hold the lock, or if nobody can be seen to.
fn noted(activity: &Path, holders: &[Holder]) -> Option<Activity> {
    let noted: Activity = serde_json::from_slice(&std::fs::read(activity).ok()?).ok()?;
    (holders.is_empty() || holders.iter().any(|holder| holder.pid == noted.pid)).then_some(noted)
}

/// Who is at work, in words.
fn at_work(activity: &Path, site: &str, holders: &[Holder]) -> String {
    match (noted(activity, holders), holders) {
        (Some(run), _) => format!(
            "another run for site {:?} is at work: process {}, since {}, now at the step {}",
            run.site,
            run.pid,
            clock(run.started),
            run.step
        ),
        (None, [holder, ..]) => format!("another command for site {site:?} is at work: {holder}"),
        (None, []) => format!("another run for site {site:?} is at work, which cannot be seen from here"),
    }
}

fn refusal(activity: &Path, site: &str, holders: &[Holder]) -> Fault {
    Fault::locked(at_work(activity, site, holders)).hint(match noted(activity, holders) {
        Some(Activity { log: Some(_), .. }) => "\"moodle-backup attach\" shows it; nothing was changed by this one",
        Some(_) => "try again when it has ended; nothing was changed by this one",
        None if holders.is_empty() => {
            "it may be on another machine that shares the dataroot, or in a container; nothing was changed by this one"
        }
        None => "\"moodle-backup status\" tells more; nothing was changed by this one",
    })
}

fn clock(seconds: i64) -> String {
    let time = chrono::DateTime::from_timestamp(seconds, 0).unwrap_or_else(time::now);
    time.with_timezone(&chrono::Local).format("%Y-%m-%d %H:%M:%S").to_string()
}
