//! Watching a run that is not this process. Ending the watching does not end the run.

use super::Session;
use super::record;
use crate::error::{Fault, OrFault, Result};
use crate::report::outcome::{self, Outcome};
use crate::report::progress::Follower;
use crate::settings::Settings;
use crate::sys::lock::{Lock, Mode};
use crate::sys::log::{Activity, DETAIL};
use crate::sys::paths::Paths;
use crate::sys::process::Outliving;
use crate::sys::signals;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often log and progress are looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// How long a run may take to show its first sign.
const FIRST_SIGN: Duration = Duration::from_secs(20);

/// What a line of the log begins with: a time.
const STAMP: usize = "2026-11-23T01:00:03.000Z ".len();

/// The command `attach`.
pub fn attach(session: &Session) -> Result<u8> {
    let settings = session.settings()?;
    let running = activities(&session.paths).into_iter().find(|activity| activity.site == settings.site.name);
    let is_restore = running.as_ref().is_some_and(|activity| activity.is_restore);
    let log = running.and_then(|activity| activity.log).ok_or_else(|| {
        Fault::failed(format!("neither a backup nor a restore of site {} is at work", settings.site.name))
            .hint("\"moodle-backup status\" tells how the last one ended")
    })?;
    if is_restore { restore_to_the_end(session, &log) } else { to_the_end(session, &settings, &log, None) }
}

/// Shows a restore until it ends. How it ended, who has begun it is told.
fn restore_to_the_end(session: &Session, log: &Path) -> Result<u8> {
    let mut follower = Follower::new(std::io::stderr().is_terminal());
    let watched = watch(session, log, &mut follower);
    follower.finish();
    match watched {
        Err(_) if signals::received() => eprintln!("\nThe restore goes on. \"moodle-backup attach\" shows it again."),
        watched => {
            watched?;
            eprintln!("The restore has ended; its log is {}.", log.display());
        }
    }
    Ok(0)
}

/// Shows a run until it ends, then how it ended; its exit code is ours. Ending the watching is no failure.
pub fn to_the_end(session: &Session, settings: &Settings, log: &Path, child: Option<Outliving>) -> Result<u8> {
    match to_its_end(session, settings, log, child) {
        Ok(ended) => session.report(&ended, outcome::text, ended.exit_code),
        Err(_) if signals::received() => {
            eprintln!("\nThe backup goes on. \"moodle-backup attach\" shows it again.");
            Ok(0)
        }
        Err(error) => Err(error),
    }
}

/// Shows a run until it ends. Its result; an error if nobody watches it to its end, or it does not say how it ended.
pub fn to_its_end(session: &Session, settings: &Settings, log: &Path, child: Option<Outliving>) -> Result<Outcome> {
    let mut follower = Follower::new(std::io::stderr().is_terminal());
    let watched = watch(session, log, &mut follower);
    follower.finish();
    watched?;
    if let Some(child) = child {
        let _ = child.wait();
    }
    let name = log.display().to_string();
    let last = record::read_of(&session.paths, settings, log);
    let last = last.ok_or_else(|| {
        Fault::failed("the backup ended without saying how").hint(format!(
            "it was killed, or the machine was about to stop; see {name}, and run \"moodle-backup recover\" to be sure that the site is open"
        ))
    })?;
    Ok(last.outcome)
}

fn watch(session: &Session, log: &Path, follower: &mut Follower) -> Result<()> {
    let mut reader = BufReader::new(open_when_there(log)?);
    loop {
        // First the lock, then the rest of the log: so the last lines are not missed.
        let ended = Lock::try_hold(log, Mode::Exclusive)?.is_some();
        print_new_lines(&mut reader, follower)?;
        if ended {
            return Ok(());
        }
        let activity = activities(&session.paths).into_iter().find(|activity| activity.log.as_deref() == Some(log));
        if let Some(activity) = activity {
            follower.show(&activity);
        }
        signals::wait(INTERVAL)?;
    }
}

/// The log appears, and is locked, as soon as the run has begun.
fn open_when_there(log: &Path) -> Result<File> {
    let deadline = Instant::now() + FIRST_SIGN;
    loop {
        let begun = log.exists() && Lock::try_hold(log, Mode::Exclusive)?.is_none();
        let has_text = std::fs::metadata(log).is_ok_and(|meta| meta.len() > 0);
        if begun || has_text {
            return File::open(log).or_fault(|| Fault::failed(format!("cannot read {}", log.display())));
        }
        if Instant::now() > deadline {
            return Err(Fault::failed("the backup was started but does not begin")
                .hint("journalctl -e may tell why; \"moodle-backup run --foreground\" shows it here")
                .into());
        }
        signals::wait(INTERVAL / 5)?;
    }
}

fn print_new_lines(reader: &mut BufReader<File>, follower: &mut Follower) -> Result<()> {
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        // The progress display tells the steps.
        let said = text.get(STAMP..).unwrap_or(text);
        if !said.starts_with("step ") && !said.starts_with(DETAIL) {
            follower.above(said);
        }
        line.clear();
    }
    Ok(())
}

/// What runs now, of all sites.
pub fn activities(paths: &Paths) -> Vec<Activity> {
    let Ok(entries) = std::fs::read_dir(paths.run()) else { return Vec::new() };
    let files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let json = files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let activities = json.filter_map(|path| serde_json::from_slice::<Activity>(&std::fs::read(path).ok()?).ok());
    activities.filter(is_alive).collect()
}

/// The note of what ran last on the site with this dataroot, if that ended without taking it away: it was killed. The
/// step is empty where the machine was started anew since, and so is not known.
pub fn died(paths: &Paths, dataroot: &Path) -> Option<Activity> {
    let read = |path| -> Option<Activity> { serde_json::from_slice(&std::fs::read(path).ok()?).ok() };
    let dead = |activity: &Activity| activity.log.is_some() && !is_alive(activity);
    let begun = read(paths.begun(dataroot)).filter(dead)?;
    Some(read(paths.activity(dataroot)).filter(|last| last.log == begun.log).unwrap_or(begun))
}

/// A run holds the lock on its log for as long as it lives.
fn is_alive(activity: &Activity) -> bool {
    let log = activity.log.as_deref();
    log.is_some_and(|log| matches!(Lock::try_hold(log, Mode::Exclusive), Ok(None)))
}
