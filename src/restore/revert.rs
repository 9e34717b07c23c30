//! Undoing a restore: what it had set aside comes back, and what it had brought is set aside in turn, so that the undo can be
//! undone too. Undone one after the other, restores lead back to what was there before the first. And deleting what was set
//! aside, when nobody wants it any more.

use super::{Job, Outcome, Work, check, close, hold, read_again};
use crate::error::{Fault, Result};
use crate::sys::log::Log;
use crate::sys::signals;
use crate::undo::{self, Changes, Record, Step};
use std::path::{Path, PathBuf};

/// Puts back what the last restore of this site has replaced that is not undone yet.
pub fn undo(job: &Job, log: &Log) -> Result<Outcome> {
    take_last_back(job, false, log)
}

/// Puts back what the last undo has replaced.
pub fn redo(job: &Job, log: &Log) -> Result<Outcome> {
    take_last_back(job, true, log)
}

fn take_last_back(job: &Job, is_undo: bool, log: &Log) -> Result<Outcome> {
    log.step("lock")?;
    let (here, lock) = hold(job, log)?;
    let kept = undo::kept(job.paths, &here.dataroot)?;
    let last = undo::last(&kept, is_undo).ok_or_else(|| nothing_to_take_back(&kept, is_undo))?;
    last.require_set_aside()?;
    let record = Record::of_taking_back(last);
    let mut work = Work::begin(job, record, lock, log)?;

    log.step("close")?;
    work.window = Some(close(job, &here, log)?);

    log.step("exchange")?;
    for step in last.steps.iter().rev() {
        take_back(step, &mut work.changes, job.admin.as_deref())?;
    }

    log.step("check")?;
    // It was wanted as it was, and that may have been broken.
    let site = match read_again(job, &here) {
        Ok(site) => site,
        Err(error) => {
            signals::check()?;
            log.warn(format!("the site is as it was when it was set aside, and cannot be read: {error:#}"));
            None
        }
    };
    super::load::purge(site.as_ref(), log)?;

    log.step("reopen")?;
    let (record, closed_seconds) = work.keep()?;
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

fn take_back(step: &Step, changes: &mut Changes, admin: Option<&Path>) -> Result<()> {
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
        Step::MadeDatabase { .. } | Step::Occupied { .. } | Step::BroughtBack { .. } => Ok(()),
    }
}

fn free_name(folder: &Path, of: &Path) -> PathBuf {
    let name = of.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let names = (0..).map(|number| folder.join(format!("replaced-{number}-{name}")));
    names.into_iter().find(|path| path.symlink_metadata().is_err()).unwrap_or_else(|| folder.join(name))
}

/// Deletes what restores of this site have set aside. Returns how many.
pub fn discard(job: &Job, log: &Log) -> Result<usize> {
    let (here, _lock) = hold(job, log)?;
    let kept = undo::kept(job.paths, &here.dataroot)?;
    if kept.is_empty() {
        return Err(nothing_to_take_back(&kept, false));
    }
    // The oldest first: whatever ends it, those that are left can be undone.
    kept.iter().rev().try_for_each(|record| undo::discard(job.paths, record))?;
    Ok(kept.len())
}
