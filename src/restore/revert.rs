//! Undoing the last restore: what it had set aside comes back, and what it had brought is set aside in turn, so that the
//! undo can be undone too. And deleting what was set aside, when nobody wants it any more.

use super::{Here, Job, Outcome, Work, check, close, lock, read_again};
use crate::error::{Fault, Result};
use crate::sys::log::Log;
use crate::sys::paths::Paths;
use crate::undo::{self, Changes, Record, Step};
use std::path::{Path, PathBuf};

/// How the words begin for what an undo brings back.
const BEFORE: &str = "the state before ";

/// Puts back what the last restore of this site has replaced.
pub fn revert(job: &Job, log: &Log) -> Result<Outcome> {
    log.step("lock")?;
    let here = Here::look(job)?;
    let lock = lock(job, &here, log)?;
    let last = last(job.paths, &here.dataroot)?;
    let record = Record::new(&job.settings.site.name, &here.dataroot, before(&last.what));
    let mut work = Work::begin(job, record, lock, log)?;

    log.step("close")?;
    work.window = Some(close(job, &here, log)?);

    log.step("exchange")?;
    for step in last.steps.iter().rev() {
        take_back(step, &mut work.changes, job.admin.as_deref())?;
    }

    log.step("check")?;
    let site = read_again(job, &here)?;
    super::load::purge(site.as_ref(), log)?;

    log.step("reopen")?;
    let (record, closed_seconds) = work.keep()?;
    if let Some(site) = &site {
        check::over_http(site, false, log);
    }
    log.step("report")?;
    Ok(Outcome { closed_seconds, record, pool_files: 0, new: false })
}

/// What an undo brings back, in words. The undo of an undo is what there was first.
fn before(what: &str) -> String {
    match what.strip_prefix(BEFORE) {
        Some(what) => what.to_owned(),
        None => format!("{BEFORE}{what}"),
    }
}

/// The last restore that has succeeded.
fn last(paths: &Paths, dataroot: &Path) -> Result<Record> {
    undo::last(paths, dataroot)?.ok_or_else(|| {
        Fault::unfit("there is no restore of this site that could be undone")
            .hint(
                "what a restore has replaced is kept until the next one, or until \"moodle-backup restore --discard\"",
            )
            .into()
    })
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
            changes.bring_back(connection, aside.clone())
        }
        Step::MadeDatabase { .. } | Step::Occupied { .. } | Step::BroughtBack { .. } => Ok(()),
    }
}

fn free_name(folder: &Path, of: &Path) -> PathBuf {
    let name = of.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let names = (0..).map(|number| folder.join(format!("replaced-{number}-{name}")));
    names.into_iter().find(|path| path.symlink_metadata().is_err()).unwrap_or_else(|| folder.join(name))
}

/// Deletes what the last restore of this site has set aside. Returns what that was, in words.
pub fn discard(job: &Job, log: &Log) -> Result<String> {
    let here = Here::look(job)?;
    let _lock = lock(job, &here, log)?;
    let last = last(job.paths, &here.dataroot)?;
    undo::discard(job.paths, &last)?;
    Ok(last.what)
}
