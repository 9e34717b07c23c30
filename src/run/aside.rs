//! `restore` with `--undo`, `--redo` or `--discard`: what becomes of what restores have set aside. The target is not looked at as
//! long as the site, or the record of a restore, tells where all of it is.

use super::restore::{Confirmation, ask, finish};
use super::{Session, place};
use crate::cli;
use crate::error::Result;
use crate::report::human;
use crate::report::restore as view;
use crate::restore::{self, Found, Undoing};
use crate::settings::Settings;
use crate::undo::Record;

/// What no question is asked without.
const UNASKED: &str = "--yes does it without a question";

const TAKE_BACK_HELP: &str = "What is there now changes place with what was set aside: \"moodle-backup restore --redo\" takes an undo \
     back, and --undo once more goes one restore further back. Anything but the name ends this, and nothing is changed.";

const DISCARD_HELP: &str = "Nothing brings back what is deleted here. It takes room on the disks of the site and of its database, and is \
     needed for nothing but \"moodle-backup restore --undo\". Anything but the name ends this, and nothing is changed.";

/// Undoes a restore, takes an undo back, or deletes what restores have set aside.
pub fn undo_or_discard(session: &Session, args: &cli::Restore) -> Result<u8> {
    let settings = settings(session, args)?;
    let backup = || place::source(session, args).map(|source| source.backup.manifest);
    let (paths, admin) = (&session.paths, args.database_admin.clone());
    let job = Undoing { settings: &settings, paths, admin, backup: &backup };
    let kept = match restore::kept(&job, &session.log)? {
        Found::Kept(kept) => kept,
        Found::JustUndone(dead) => {
            session.log.info(format!(
                "the restore of {}, which had died, is undone: the site is as it was before it; no other was undone, nor anything deleted",
                dead.what
            ));
            return Ok(0);
        }
    };
    if args.discard {
        return discard(session, &job, &kept, args);
    }
    let last = restore::last(&kept, args.redo)?;
    let what = view::take_back_question(last, &session.look());
    ask(session, &settings, &Confirmation { what: &what, help: TAKE_BACK_HELP, hint: UNASKED }, args.yes)?;
    finish(session, &settings.site.name, (Vec::new(), None), |log| restore::take_back(&job, last, log))
}

/// Of the site; where this machine has none, such as stand in for them.
fn settings(session: &Session, args: &cli::Restore) -> Result<Settings> {
    let mut settings = match args.from.is_some() && !session.has_settings() {
        true => place::source(session, args)?.settings,
        false => session.settings()?,
    };
    settings.site.root = args.root.clone().unwrap_or(settings.site.root);
    Ok(settings)
}

fn discard(session: &Session, job: &Undoing, kept: &[Record], args: &cli::Restore) -> Result<u8> {
    let dead = restore::undone(job)?;
    if kept.is_empty() && dead.is_none() {
        return Err(restore::nothing_aside());
    }
    let question = view::discard_question(kept, dead.as_ref(), &session.look());
    ask(session, job.settings, &Confirmation { what: &question, help: DISCARD_HELP, hint: UNASKED }, args.yes)?;
    session.log.info("deleting what restores have set aside: a large database takes minutes");
    let restores = restore::discard(job, &session.log)?;
    session.log.finish();
    session.log.info(format!("deleted what {} had set aside", human::count(restores as u64, "restore")));
    Ok(0)
}
