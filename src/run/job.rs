//! The command `run`: in this process, or in one of its own that is then watched.

use super::record::{self, LastRun};
use super::{Session, detach, exit_code, follow, logs, plan};
use crate::backup::{self, Job};
use crate::cli;
use crate::error::{self, Fault, Kind, Result};
use crate::export::To;
use crate::report::Failure;
use crate::report::outcome::{self, Ending, Outcome};
use crate::settings::Settings;
use crate::sys::lock::{Lock, Mode};
use crate::sys::log::{Log, StepTime};
use crate::sys::time;
use crate::window::{Hold, Tally, Totals};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

/// Runs a backup. By hand on a terminal it runs apart from the terminal, which only shows it.
pub fn run(session: &Session, run: &cli::Run) -> Result<u8> {
    let settings = session.settings()?;
    // It takes hours until it is needed.
    export_file(run)?;
    if run.dry_run {
        return plan::plan(session, &settings, run);
    }
    let by_hand = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if run.foreground || run.scheduled || !by_hand {
        return in_this_process(session, &settings, run);
    }
    let log = logs::new_path(&session.paths, &settings.site.name, time::now());
    let started = detach::start(session, &settings, run, &log)?;
    follow::to_the_end(session, &settings, &log, started)
}

/// Runs a full backup in a process of its own, and shows how it goes. Its result; an error if it could not be begun, or is
/// not watched to its end.
pub fn run_apart(session: &Session, label: &str) -> Result<Outcome> {
    let settings = session.settings()?;
    let run = cli::Run {
        restart: cli::Restart::Full,
        window: None,
        foreground: false,
        scheduled: false,
        label: Some(label.to_owned()),
        export: None,
        dry_run: false,
        log: None,
        // Nobody may be there any more to hold the backup for whose sake it is made.
        keep_all: true,
    };
    let log = logs::new_path(&session.paths, &settings.site.name, time::now());
    let started = detach::start(session, &settings, &run, &log)?;
    follow::to_its_end(session, &settings, &log, started)
}

fn in_this_process(session: &Session, settings: &Settings, run: &cli::Run) -> Result<u8> {
    let new_path = || logs::new_path(&session.paths, &settings.site.name, time::now());
    let path = run.log.clone().unwrap_or_else(new_path);
    let _alive = log_in(session, path, "run");
    let syslog = super::syslog::Syslog::open();
    syslog.info(format!("backup of site {} begins", settings.site.name));
    let job = Job {
        settings,
        paths: &session.paths,
        mode: run.window.map_or(settings.window.mode, Into::into),
        hold: match run.restart {
            cli::Restart::Full => None,
            cli::Restart::Half => Some(Hold::Half),
            cli::Restart::None => Some(Hold::None),
        },
        scheduled: run.scheduled,
        label: run.label.clone(),
        keep_all: run.keep_all,
        export: export_file(run)?,
        closed: Tally::default(),
    };
    let result = backup::run(&job, &session.log);
    if let Err(error) = &result {
        session.log.error(error);
        note_window(&session.log, job.closed.totals());
    }
    let view = view(session, settings, &job, result.as_ref());
    syslog.end(&view);
    let last = LastRun { ended: time::now(), outcome: view };
    if let Err(error) = record::keep(&session.paths, settings, &last) {
        session.log.warn(format!("the end of this run could not be noted: {error:#}"));
    }
    if let Err(error) = logs::remove_old(&session.paths, &settings.site.name, time::now(), &session.log) {
        session.log.detail(format!("{error:#}"));
    }
    session.log.finish();
    session.report(&last.outcome, outcome::text, last.outcome.exit_code)
}

/// The file that the new backup is to be exported to. An error if it is certain that it cannot be.
fn export_file(run: &cli::Run) -> Result<Option<PathBuf>> {
    let Some(file) = &run.export else { return Ok(None) };
    let to = To::typed(file);
    if to == To::Stdout {
        return Err(Fault::usage("a run cannot export to standard output")
            .hint("name a file; or, after the run: moodle-backup export latest -")
            .into());
    }
    to.compression(false)?;
    to.require(false)?;
    Ok(Some(std::path::absolute(file)?))
}

/// What users noticed of a run that failed.
fn note_window(log: &Log, closed: Totals) {
    if closed.windows > 0 {
        log.info(format!("the site was closed for {:.2} s", closed.seconds));
    }
    if closed.held {
        log.info("the site stays closed, as asked for: \"moodle-backup resume\" opens it");
    }
}

fn view(
    session: &Session,
    settings: &Settings,
    job: &Job,
    result: std::result::Result<&backup::Outcome, &anyhow::Error>,
) -> Outcome {
    let steps = session.log.step_times();
    let closed = job.closed.totals();
    let mut view = Outcome {
        site: settings.site.name.clone(),
        result: Ending::Done,
        exit_code: 0,
        backup: None,
        folder: None,
        took_seconds: steps.iter().map(|step: &StepTime| step.seconds).sum(),
        closed_seconds: (closed.windows > 0).then_some(closed.seconds),
        held: closed.held,
        added_bytes: 0,
        new_files: 0,
        pruned: Vec::new(),
        export: None,
        warnings: session.log.warnings(),
        failure: None,
        steps,
        log: session.log.activity().log.map(|path| path.display().to_string()),
    };
    match result {
        Ok(done) => {
            let manifest = &done.published.manifest;
            let own = manifest.components.iter().filter(|part| part.same_as.is_none());
            view.backup = Some(done.published.name.clone());
            view.folder = Some(done.published.path.display().to_string());
            view.new_files = manifest.pool.new_files;
            view.added_bytes = own.map(|part| part.stored_bytes).sum::<u64>() + manifest.pool.new_bytes;
            view.pruned.clone_from(&done.pruned);
            view.export = done.exported.as_ref().map(|path| path.display().to_string());
            view.exit_code = exit_code(&view.warnings);
            view.result = if view.warnings.is_empty() { Ending::Done } else { Ending::Warnings };
        }
        Err(error) => {
            let failure = Failure::of(error);
            view.exit_code = failure.exit_code;
            view.result = match error::kind(error) {
                Kind::Skipped => Ending::Skipped,
                Kind::Interrupted => Ending::Interrupted,
                Kind::Failed => Ending::Failed,
                Kind::Usage | Kind::Locked | Kind::Unfit => Ending::Refused,
            };
            view.failure = Some(failure);
        }
    }
    view
}

/// Begins the log of a run or a restore. Whoever watches sees by the lock that it goes on. (They hold it too, for the moment in
/// which they look.)
pub(super) fn log_in(session: &Session, path: PathBuf, what: &str) -> Option<Lock> {
    let kept = session.log.keep_in(path.clone());
    match kept.and_then(|()| Lock::hold_within(&path, Mode::Exclusive, Duration::from_secs(1))) {
        Ok(alive) => alive,
        Err(error) => {
            // A log that cannot be written must not end the work.
            session.log.warn(format!("this {what} has no log of its own: {error:#}"));
            None
        }
    }
}
