//! The command `restore`, in place: the plan, the question, the work, the result.

use super::place::{self, Source};
use super::{Session, aside, exit_code, extract, job, prompt};
use crate::cli;
use crate::error::{self, EXIT_WARNINGS, Fault, Result};
use crate::report::layout::wrapped;
use crate::report::restore::{self as view, Done};
use crate::report::{Look, outcome};
use crate::restore::{self, Job, Outcome, Place, Plan};
use crate::settings::Settings;
use crate::store::{Backup, Part};
use crate::sys::log::Log;
use crate::sys::{files, signals, time};
use std::io::IsTerminal;
use std::path::Path;

const BACKUP_FIRST_HELP: &str = "A backup like that of each night: it takes as long, and closes the site for about a second; if it fails, \
     nothing is restored. Without it the restore can be undone all the same, as long as what it sets aside is not deleted (restore \
     --discard).";

const RESTORE_HELP: &str = "What would be done stands above. If anything goes wrong on the way, everything is put back; afterwards \
     \"moodle-backup restore --undo\" does so. Anything but the name ends this, and nothing is changed.";

/// What somebody is to confirm.
pub(super) struct Confirmation<'a> {
    /// What is to be done.
    pub what: &'a str,
    /// What `?` shows.
    pub help: &'a str,
    /// What to do where nobody can be asked.
    pub hint: &'a str,
}

const INTERRUPTED: &str = "what it had changed was put back; \"moodle-backup status\" tells how the site is now";

/// Restores.
pub fn restore(session: &Session, args: &cli::Restore) -> Result<u8> {
    if args.to.is_some() || args.table.is_some() {
        return extract::restore(session, args);
    }
    if args.undo || args.redo || args.discard {
        return aside::undo_or_discard(session, args);
    }
    let Source { settings, backup, place, unpacked: _until_done } = place::source(session, args)?;
    let job = job(session, &settings, &backup, place, args)?;
    // To be shown, or to be asked by: it looks for each of users' files.
    let is_shown = args.plan || !args.yes || !(session.global.json || session.global.quiet);
    let plan = is_shown.then(|| restore::plan(&job, args.plan || !args.yes)).transpose()?;
    let text = |plan: &Plan, look: &Look| view::plan_text(plan, look, session.global.verbose);
    if let Some(plan) = plan.as_ref().filter(|_| args.plan) {
        session.print(plan, text)?;
        return Ok(if plan.refused.is_empty() { 0 } else { error::Kind::Unfit.exit_code() });
    }
    if let Some(plan) = plan.as_ref().filter(|_| !session.global.json) {
        eprint!("{}", text(plan, &session.look()));
    }
    // Nobody is to be asked for what cannot be; what is refused with --yes says how it can.
    if plan.as_ref().is_some_and(|plan| !plan.refused.is_empty()) && !args.yes {
        let words = "this restore will be refused, for what is told above; nothing was changed";
        return Err(Fault::unfit(words)
            .hint("mend that; \"moodle-backup restore --plan\" tells whether it is all")
            .into());
    }
    // Held from here on: the run that may come first prunes.
    let _held = backup.hold()?;
    let offered = || plan.as_ref().map_or(Ok(false), |plan| wants_backup(session, plan, args));
    if args.backup_first || offered()? {
        backup_first(session, &backup)?;
    }
    if let Some(plan) = &plan {
        let hint = "--plan shows what would be done; --yes does it";
        ask(session, &settings, &Confirmation { what: &question(plan), help: RESTORE_HELP, hint }, args.yes)?;
    }
    let place = job.place.as_ref().map(|place| place.root.as_path());
    finish(session, &settings.site.name, (some_parts(&job), place), |log| restore::run(&job, log))
}

fn job<'a>(
    session: &'a Session,
    settings: &'a Settings,
    backup: &'a Backup,
    place: Option<Place>,
    args: &cli::Restore,
) -> Result<Job<'a>> {
    let mut parts = args.only.clone();
    for part in &parts {
        part.components(&backup.manifest)?;
    }
    if parts.is_empty() {
        parts = vec![Part::Code, Part::Moodledata, Part::Database];
    }
    parts.sort();
    parts.dedup();
    Ok(Job {
        settings,
        paths: &session.paths,
        site_folder: files::parent(&backup.path).to_path_buf(),
        backup,
        parts,
        keep_config: args.keep_config,
        ignore_environment: args.ignore_environment,
        admin: args.database_admin.clone(),
        force: args.force,
        from_elsewhere: args.from.is_some(),
        place,
    })
}

/// Whether somebody at the terminal wants the site as it is now to be backed up first: an undo lasts until what was set aside is
/// discarded, a backup longer, and on another disk.
fn wants_backup(session: &Session, plan: &Plan, args: &cli::Restore) -> Result<bool> {
    if args.yes || !plan.backup_first || session.global.json || !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    prompt::yes("Make a backup of the site as it is now first?", BACKUP_FIRST_HELP)
}

/// A run like any other, in a process and with a log of its own. If it does not succeed, nothing is restored.
fn backup_first(session: &Session, backup: &Backup) -> Result<()> {
    let hint = "a restore sets aside what it replaces, and can be undone without a backup too";
    let ended = job::run_apart(session, &format!("before the restore of {}", backup.name)).map_err(|error| {
        if signals::received() {
            return Fault::interrupted("nothing was restored; the backup that was to come first goes on")
                .hint("\"moodle-backup attach\" shows it; when it has ended, the restore can be begun again")
                .into();
        }
        error
            .context(Fault::failed("the backup before the restore did not succeed, so nothing was restored").hint(hint))
    })?;
    match ended.exit_code {
        0 | EXIT_WARNINGS => {
            if !session.global.quiet {
                eprintln!("\n{}", outcome::text(&ended, &session.look()));
            }
            Ok(())
        }
        _ => Err(Fault::failed("the backup before the restore failed, so nothing was restored").hint(hint).into()),
    }
}

fn question(plan: &Plan) -> String {
    if plan.new {
        return "A site is put where none is now; nothing that is there is changed.".into();
    }
    if !plan.pieces.iter().any(|piece| ["database", "moodledata"].contains(&piece.part.as_str())) {
        return "Only what is named above is replaced, until that is undone; what users have done stays.".into();
    }
    let since = plan.when.with_timezone(&chrono::Local).format("%Y-%m-%d %H:%M");
    format!("What users have done since {since} is gone from the site after this, until it is undone.")
}

/// On a terminal the name of the site is to be typed; elsewhere `--yes` is needed.
pub(super) fn ask(session: &Session, settings: &Settings, confirmation: &Confirmation, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    let Confirmation { what, help, hint } = confirmation;
    if !std::io::stdin().is_terminal() || session.global.json {
        return Err(Fault::usage("nobody is here to be asked whether this is to be done").hint(*hint).into());
    }
    eprint!("\n{}", wrapped("", what));
    match prompt::ask(&format!("Type the name of the site ({}) to go on, ? for help: ", settings.site.name), help)? {
        name if name == settings.site.name => Ok(()),
        _ => Err(Fault::usage("that is not the name of the site; nothing was changed").into()),
    }
}

/// Does the work, with a log of its own, and tells how it ended; beside the outcome by the parts that were brought back, where those
/// are not all, and by the place, if it was another one.
pub(super) fn finish(
    session: &Session,
    site: &str,
    (parts, place): (Vec<String>, Option<&Path>),
    work: impl FnOnce(&Log) -> Result<Outcome>,
) -> Result<u8> {
    let stamp = time::now().format("%Y-%m-%dT%H%M%S%.3fZ");
    let log = session.paths.logs().join(format!("{site}-restore-{stamp}.log"));
    session.log.mark_restore();
    let _alive = job::log_in(session, log, "restore");
    // A lost connection must not undo the work of an hour.
    signals::ignore_hangup()?;
    let syslog = super::syslog::Syslog::open();
    syslog.info(format!("restore of site {site} begins"));
    let result = work(&session.log);
    session.log.finish();
    match &result {
        Ok(outcome) => syslog.info(format!("restore of site {site} is done: {}", outcome.record.what)),
        Err(error) => syslog.error(format!("restore of site {site} failed: {error:#}")),
    }
    let outcome = result.map_err(|error| match error::kind(&error) {
        error::Kind::Interrupted => error.context(Fault::interrupted("the restore was interrupted").hint(INTERRUPTED)),
        // In another place no site is closed, as a rule, and only what is brought there shows whether it fits.
        error::Kind::Unfit if place.is_none() => failed_if_begun(error, &session.log.activity().step),
        _ => error,
    })?;
    let warnings = session.log.warnings();
    let steps = session.log.step_times();
    let done = Done {
        site: site.to_owned(),
        restored: outcome.record.what.clone(),
        is_undo: outcome.record.is_undo,
        parts,
        place: place.filter(|_| outcome.new).map(|place| place.display().to_string()),
        new: outcome.new,
        closed_seconds: outcome.closed_seconds,
        pool_files: outcome.pool_files,
        set_aside_in: if outcome.new { Vec::new() } else { outcome.record.places() },
        took_seconds: steps.iter().map(|step| step.seconds).sum(),
        steps,
        log: session.log.activity().log.map(|path| path.display().to_string()),
        exit_code: exit_code(&warnings),
        warnings,
    };
    session.report(&done, view::done_text, done.exit_code)
}

/// What was found unfit only when the site was closed already is a failure of the work.
fn failed_if_begun(error: anyhow::Error, step: &str) -> anyhow::Error {
    match restore::STEPS.iter().skip_while(|it| **it != "exchange").any(|it| *it == step) {
        true => error.context(Fault::failed(format!("the restore failed at the step {step}"))),
        false => error,
    }
}

/// The parts by name, if they are not those that make a site.
fn some_parts(job: &Job) -> Vec<String> {
    let is_whole = [Part::Code, Part::Moodledata, Part::Database].iter().all(|part| job.parts.contains(part));
    if is_whole { Vec::new() } else { job.parts.iter().map(Part::to_string).collect() }
}
