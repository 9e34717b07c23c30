//! Undoing a restore: what it had set aside comes back, and what it had brought is set aside in turn, so that the undo can be
//! undone too. Undone one after the other, restores lead back to what was there before the first. And deleting what was set
//! aside, when nobody wants it any more.

use super::{Here, Locked, Outcome, Work, check, close, hold, read_again};
use crate::error::{Fault, OrFault, Result};
use crate::moodle::{MAINTENANCE_PAGE, UNFINISHED_PAGE};
use crate::settings::Settings;
use crate::store::manifest::Manifest;
use crate::sys::log::Log;
use crate::sys::paths::Paths;
use crate::sys::signals;
use crate::undo::{self, Changes, Record, Step, Undone};
use crate::window;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Of which site restores are to be undone, or what they have set aside to be deleted. All that takes lies on the site's own disks
/// and in the program's own folders: no backup, and no target.
pub struct Undoing<'a> {
    /// The site and all about it.
    pub settings: &'a Settings,
    /// The program's own folders.
    pub paths: &'a Paths,
    /// An option file with an administrator's account of the database server.
    pub admin: Option<PathBuf>,
    /// What the newest backup says of the site. Asked only where neither config.php nor the record of a restore tells where it is.
    pub backup: &'a dyn Fn() -> Result<Manifest>,
}

impl Undoing<'_> {
    fn look(&self) -> Result<Here> {
        Here::look_without_backup(self.settings, self.paths, self.backup)
    }

    fn hold(&self, log: &Log) -> Result<(Here, Locked)> {
        hold(|| self.look(), self.paths, &self.settings.site.name, log)
    }
}

/// The restore of this site that had died and was undone, as long as it is remembered.
pub fn undone(job: &Undoing) -> Result<Option<Undone>> {
    Ok(undo::undone(job.paths, &job.look()?.dataroot))
}

/// What an undo finds.
#[derive(Debug)]
pub enum Found {
    /// The restores and undos of this site whose replaced state is kept, the newest first.
    Kept(Vec<Record>),
    /// A restore had died, and was undone just now: whoever asks for an undo means that one, and no other before it.
    JustUndone(Undone),
}

/// Looks for what can be undone.
pub fn kept(job: &Undoing, log: &Log) -> Result<Found> {
    match hold_alone(job, log)? {
        (_, Some(dead)) => Ok(Found::JustUndone(dead)),
        ((here, _lock), None) => undo::kept(job.paths, &here.dataroot).map(Found::Kept),
    }
}

/// The site and its lock, and the restore that had died and was undone by taking that.
fn hold_alone(job: &Undoing, log: &Log) -> Result<((Here, Locked), Option<Undone>)> {
    let before = undone(job)?;
    let (here, lock) = job.hold(log)?;
    let dead = undo::undone(job.paths, &here.dataroot).filter(|now| before.as_ref() != Some(now));
    Ok(((here, lock), dead))
}

/// The last restore of this site that is not undone yet; or the last undo (`is_undo`) that is not taken back. An error, which tells
/// what there is in its place, if there is none.
pub fn last(kept: &[Record], is_undo: bool) -> Result<&Record> {
    undo::last(kept, is_undo).ok_or_else(|| nothing_to_take_back(kept, is_undo))
}

/// Puts back what a restore, or an undo, has replaced: `wanted`, which is the last of its kind. An error if another has come
/// between, or if one that had died was undone just now.
pub fn take_back(job: &Undoing, wanted: &Record, log: &Log) -> Result<Outcome> {
    log.step("lock")?;
    let ((here, lock), dead) = hold_alone(job, log)?;
    if let Some(dead) = dead {
        let words = format!("the restore of {} had died, and was undone just now; no other was", dead.what);
        return Err(Fault::failed(words).hint("look at the site (moodle-backup status), and begin again").into());
    }
    let kept = undo::kept(job.paths, &here.dataroot)?;
    let last = last(&kept, wanted.is_undo)?;
    if last.id != wanted.id {
        let words = format!("{} was restored meanwhile; nothing was changed", last.what);
        return Err(Fault::failed(words).hint("look at it (moodle-backup status), and begin again").into());
    }
    last.require_set_aside()?;
    let record = Record::of_taking_back(last, &here.root, &here.web_user.name);
    let mut work = Work::begin(job.paths, record, lock, log)?;

    log.step("close")?;
    work.window = Some(close(job.paths, job.settings, &here, log)?);

    log.step("exchange")?;
    for step in last.steps.iter().rev() {
        take_step_back(step, &mut work.changes, job.admin.as_deref())?;
    }

    log.step("check")?;
    // It was wanted as it was, and that may have been broken.
    let site = match read_again(job.settings, &here) {
        Ok(site) => Some(site),
        Err(error) => {
            signals::check()?;
            log.warn(format!("the site is as it was when it was set aside, and cannot be read: {error:#}"));
            None
        }
    };
    super::load::purge(site.as_ref(), log)?;

    log.step("reopen")?;
    window::reload(&job.settings.site.services, log);
    let (record, closed_seconds) = work.keep()?;
    last.steps.iter().for_each(remove_what_was_made);
    if let Some(site) = &site {
        check::over_http(site, false, log);
    }
    log.step("report")?;
    Ok(Outcome { closed_seconds, record, pool_files: 0, new: false })
}

fn nothing_to_take_back(kept: &[Record], is_undo: bool) -> anyhow::Error {
    let other = undo::last(kept, !is_undo).is_some();
    match (is_undo, other) {
        (false, true) => Fault::unfit("no restore of this site is left that could be undone")
            .hint("\"moodle-backup restore --redo\" brings back what the last undo has replaced"),
        (false, false) => Fault::unfit("there is no restore of this site that could be undone")
            .hint("what restores have replaced is kept until \"moodle-backup restore --discard\""),
        (true, _) => Fault::unfit("the last restore of this site was not undone, so there is nothing to bring back")
            .hint("\"moodle-backup restore --undo\" puts back what a restore has replaced"),
    }
    .into()
}

/// Nothing is kept that could be deleted.
pub fn nothing_aside() -> anyhow::Error {
    Fault::unfit("no restore of this site has anything set aside").hint("there is nothing to delete").into()
}

fn take_step_back(step: &Step, changes: &mut Changes, admin: Option<&Path>) -> Result<()> {
    match step {
        Step::Renamed { from, to } => {
            if to.symlink_metadata().is_err() {
                return Ok(());
            }
            if undo::is_aside(from) {
                // It came from where things are set aside, and goes to where this undo sets things aside.
                let aside = free_name(&changes.folder_like(from)?, to);
                return changes.rename(to, &aside).map(drop);
            }
            if from.symlink_metadata().is_ok() {
                let aside = free_name(&changes.folder_like(to)?, from);
                changes.rename(from, &aside)?;
            }
            changes.rename(to, from).map(drop)
        }
        Step::SetAside { connection, aside } => {
            let now = connection.plan_aside(changes.id(), aside.scope(), admin)?;
            changes.set_aside(connection, now)?;
            let mut aside = aside.clone();
            if let Some(admin) = admin {
                aside.put_back_by(connection, admin)?;
            }
            changes.bring_back(connection, aside)
        }
        Step::MadeDataroot { folder } => set_content_aside(folder, changes),
        Step::EmptiedDataroot { folder, uid, gid, mode } => chown(folder, Some(*uid), Some(*gid))
            .and_then(|()| std::fs::set_permissions(folder, PermissionsExt::from_mode(*mode)))
            .or_fault(|| Fault::failed(format!("cannot set owner and mode of {}", folder.display()))),
        Step::MadeDatabase { .. } | Step::Occupied { .. } | Step::BroughtBack { .. } => Ok(()),
    }
}

/// All that has come into a folder that was not there, users' files among it. The page that closes the site stays until that is opened.
fn set_content_aside(folder: &Path, changes: &mut Changes) -> Result<()> {
    changes.note_end_of_dataroot(folder)?;
    let left = [undo::FOLDER, MAINTENANCE_PAGE, UNFINISHED_PAGE];
    let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    for entry in entries.or_fault(|| Fault::failed(format!("cannot read the folder {}", folder.display())))? {
        if left.iter().all(|name| entry.file_name() != *name) {
            let aside = free_name(&changes.folder_for(folder)?, &entry.path());
            changes.rename(&entry.path(), &aside)?;
        }
    }
    Ok(())
}

/// When nothing is in it any more.
fn remove_what_was_made(step: &Step) {
    if let Step::MadeDataroot { folder } = step {
        // Whatever somebody has put there meanwhile stays, and with it the folder.
        let _ = std::fs::remove_dir(folder);
    }
}

fn free_name(folder: &Path, of: &Path) -> PathBuf {
    let name = of.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let names = (0..).map(|number| folder.join(format!("replaced-{number}-{name}")));
    names.into_iter().find(|path| path.symlink_metadata().is_err()).unwrap_or_else(|| folder.join(name))
}

/// Deletes what restores of this site have set aside, and forgets one that had died. Returns how many have set something aside.
pub fn discard(job: &Undoing, log: &Log) -> Result<usize> {
    let (here, _lock) = job.hold(log)?;
    let kept = undo::kept(job.paths, &here.dataroot)?;
    let dead = undo::forget_undone(job.paths, &here.dataroot)?;
    if kept.is_empty() && !dead {
        return Err(nothing_aside());
    }
    // The oldest first: whatever ends it, those that are left can be undone.
    kept.iter().rev().try_for_each(|record| undo::discard(job.paths, record))?;
    Ok(kept.len())
}
