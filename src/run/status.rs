//! The command `status`: how things stand, for a glance and for monitoring. It looks at what lies on this machine and
//! on the target, and says what it cannot see; the settings are all that it must have.

use super::standing::{self, State, local};
use super::{Session, follow, listing, lost, record, timer};
use crate::error::{self, EXIT_WARNINGS, Kind, Result};
use crate::preflight::{self, Site};
use crate::report::human;
use crate::report::outcome::Ending;
use crate::report::status::{self, Last, LastRun, SetAside, SiteState, Status};
use crate::settings::Settings;
use crate::store::{Backup, Listing, Store};
use crate::sys::paths::Paths;
use crate::sys::{files, signals, time};
use crate::undo;
use crate::window;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Says how things stand.
pub fn status(session: &Session, max_age: Option<Duration>) -> Result<u8> {
    let settings = session.settings()?;
    let mut attention = Vec::new();
    let seen = seen(&settings, &mut attention);
    let newest = seen.as_ref().and_then(Listing::newest);
    let site = preflight::read_site(&settings);
    let dataroot = dataroot(&session.paths, &settings, site.as_ref().ok(), newest);
    signals::check()?;
    let state = standing::state(&session.paths, &settings.site.name, dataroot.as_deref());
    let lost = match is_being_restored(&session.paths, &state, dataroot.as_deref()) {
        true => Vec::new(),
        false => lost::lost(&settings, site.as_ref().ok(), dataroot.as_deref(), newest),
    };
    signals::check()?;
    let State { state, because } = state.with(&lost);
    match site {
        _ if !lost.is_empty() => attention.push(lost::words(&lost)),
        Err(error) => attention.push(format!("the next backup would be refused: {}", error::sentence(&error))),
        Ok(_) => {}
    }
    let last_run = record::read(&session.paths, &settings);
    note_state(state, because.as_deref(), &mut attention);
    attention.extend(dataroot.as_deref().and_then(|dataroot| undone(&session.paths, dataroot)));
    attention.extend(dataroot.as_deref().and_then(|dataroot| opened(&session.paths, dataroot, state)));
    note_runs(&session.paths, dataroot.as_deref(), last_run.as_ref(), &mut attention);
    if let Some(listing) = &seen {
        note_backups(listing, &mut attention);
    }
    let recent_enough = max_age.map(|max_age| recent(seen.as_ref(), max_age, &mut attention));
    let view = Status {
        site: settings.site.name.clone(),
        state,
        state_because: because,
        lost,
        backups_seen: seen.is_some(),
        last: newest.map(last),
        max_age_seconds: max_age.map(|age| age.as_secs()),
        recent_enough,
        last_run: last_run.map(ended),
        set_aside: dataroot.as_deref().map(|dataroot| set_aside(&session.paths, dataroot)).unwrap_or_default(),
        running: follow::activities(&session.paths).into_iter().find(|running| running.site == settings.site.name),
        next_run: timer::next_run(&session.paths, &settings),
        attention,
    };
    session.print(&view, status::text)?;
    Ok(match (view.recent_enough, view.attention.is_empty()) {
        (Some(false), _) => Kind::Failed.exit_code(),
        (_, false) => EXIT_WARNINGS,
        _ => 0,
    })
}

/// What lies on the target. What stands in the way of seeing it wants attention.
fn seen(settings: &Settings, attention: &mut Vec<String>) -> Option<Listing> {
    let see = || -> Result<Listing> {
        let store = listing::store(settings)?;
        store.as_ref().map_or_else(|| Ok(Listing::default()), Store::backups)
    };
    match see() {
        Ok(listing) => {
            note_room(settings, attention);
            Some(listing)
        }
        Err(error) => {
            attention.push(format!("the backups cannot be seen: {}", error::sentence(&error)));
            None
        }
    }
}

/// The dataroot, from config.php, or else as the record of a restore or the newest backup has it.
fn dataroot(paths: &Paths, settings: &Settings, site: Option<&Site>, newest: Option<&Backup>) -> Option<PathBuf> {
    let restored = || undo::newest(paths, &settings.site.root).ok().flatten().map(|record| record.dataroot);
    let here = site.map(|site| site.config.dataroot.clone()).or_else(restored);
    here.or_else(|| newest.map(|newest| newest.manifest.paths.dataroot.clone()))
}

/// Whether something is at work on the site, or a restore has died half-way: then that comes first.
fn is_being_restored(paths: &Paths, state: &State, dataroot: Option<&Path>) -> bool {
    state.state == SiteState::Closed || dataroot.is_some_and(|dataroot| paths.restoring(dataroot).exists())
}

fn note_room(settings: &Settings, attention: &mut Vec<String>) {
    let target = &settings.target.path;
    let Ok(space) = files::space(target) else { return };
    let reserve = settings.target.min_free.bytes(space.total_bytes);
    if space.free_bytes < reserve {
        attention.push(format!(
            "{} has {} free, where {} are to stay free: the next backup would be refused; enlarge the disk, or keep \
             fewer backups in [retention] and run \"moodle-backup prune\"",
            target.display(),
            human::bytes(space.free_bytes),
            human::bytes(reserve)
        ));
    }
}

fn note_state(state: SiteState, because: Option<&str>, attention: &mut Vec<String>) {
    let why = because.map_or(String::new(), |why| format!(" ({why})"));
    attention.extend(match state {
        SiteState::Held => Some("the site is kept closed: open it with \"moodle-backup resume\"".to_owned()),
        SiteState::Interrupted => {
            Some("the site was left closed by an interrupted run: open it with \"moodle-backup recover\"".to_owned())
        }
        SiteState::Unknown => Some(format!("it is not known whether the site is open{why}: look at it in a browser")),
        // What is lost was told.
        SiteState::Open | SiteState::Maintenance | SiteState::Closed | SiteState::Down => None,
    });
}

/// How runs ended, if not well.
fn note_runs(paths: &Paths, dataroot: Option<&Path>, last: Option<&record::LastRun>, attention: &mut Vec<String>) {
    if let Some(died) = dataroot.and_then(|dataroot| follow::died(paths, dataroot)) {
        let log = died.log.map_or(String::new(), |log| format!("; its log is {}", log.display()));
        let what = match died.step.as_str() {
            "" => "was cut off when the machine stopped".to_owned(),
            step => format!("was killed at the step {step}"),
        };
        attention.push(format!("the run of {} {what}, and made no backup{log}", local(died.started)));
        return;
    }
    let Some(run) = last else { return };
    if !matches!(run.outcome.result, Ending::Failed | Ending::Interrupted | Ending::Refused) {
        return;
    }
    let restored = dataroot.and_then(|dataroot| undo::kept(paths, dataroot).ok()?.first()?.finished);
    let failure = run.outcome.failure.as_ref();
    let why = failure.map_or(String::new(), |failure| format!(": {}", failure.error));
    let next = match failure.and_then(|failure| failure.next.as_ref()) {
        // What was to be done then may be done.
        _ if restored >= Some(run.ended.timestamp()) => {
            "; the site is another since a restore: whether that still holds \"moodle-backup check\" tells".to_owned()
        }
        next => next.map_or(String::new(), |next| format!("; {next}")),
    };
    attention.push(format!("the last run, of {}, made no backup{why}{next}", local(run.ended.timestamp())));
}

fn note_backups(listing: &Listing, attention: &mut Vec<String>) {
    for damaged in &listing.unreadable {
        attention.push(format!(
            "backup {} is damaged: {}; leave it where it is as long as it may be needed (RESTORE.txt in it tells how to \
             bring it back): nothing is pruned meanwhile",
            damaged.name, damaged.reason
        ));
    }
    if !listing.unknown.is_empty() {
        attention.push(format!(
            "nothing is pruned while something unknown lies among the backups: {:?}; \"moodle-backup prune \
             --dry-run\" tells what to do with it",
            listing.unknown
        ));
    }
    attention.extend(damaged(listing));
    match listing.newest() {
        None => attention.push("there is no backup yet: make one with \"moodle-backup run\"".to_owned()),
        // Losses that were accepted gave no warning.
        Some(newest) if !newest.manifest.complete && !newest.manifest.warnings.is_empty() => {
            let why = newest.manifest.incomplete_because.join("; ");
            attention.push(format!("the last backup is not complete: {why}; see \"moodle-backup show latest\""));
        }
        Some(_) => {}
    }
}

/// That damage is known of, in one sentence: a file that all backups share would else be told for each.
fn damaged(listing: &Listing) -> Option<String> {
    let damaged: Vec<&Backup> = listing.backups.iter().filter(|backup| backup.notes.is_damaged()).collect();
    let newest = damaged.last()?;
    let which = match damaged.len() {
        1 => format!("backup {}", newest.name),
        number => format!("{number} backups, the newest of them {}", newest.name),
    };
    Some(format!("damage was found in {which}: see \"moodle-backup show {}\"", newest.name))
}

/// Whether there is a backup as recent as that which is not known to be damaged.
fn recent(listing: Option<&Listing>, max_age: Duration, attention: &mut Vec<String>) -> bool {
    let Some(listing) = listing else { return false };
    let age = |backup: &Backup| (time::now() - backup.manifest.moment()).num_seconds();
    let limit = i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX);
    let mut good = listing.backups.iter().filter(|backup| !backup.notes.is_damaged());
    let recent = good.clone().any(|backup| age(backup) <= limit);
    if !recent && let Some(newest) = good.next_back() {
        attention.push(format!(
            "the last good backup, {}, is {} old: \"systemctl list-timers\" shows whether runs are planned, \
             \"journalctl -u moodle-backup\" what became of them",
            newest.name,
            human::age(age(newest))
        ));
    }
    recent
}

fn set_aside(paths: &Paths, dataroot: &Path) -> Vec<SetAside> {
    let kept = undo::kept(paths, dataroot).unwrap_or_default();
    let by = |is_undo| undo::last(&kept, is_undo).map(|record| &record.id);
    let (undo, redo) = (by(false), by(true));
    let told = kept.iter().filter_map(|record| {
        let when = chrono::DateTime::from_timestamp(record.finished?, 0)?;
        let back_by = match Some(&record.id) {
            id if id == undo => Some("undo"),
            id if id == redo => Some("redo"),
            _ => None,
        };
        let (what, made, places) = (record.holds(), record.what.clone(), record.places());
        Some(SetAside { when, what, made, places, back_by })
    });
    told.collect()
}

fn undone(paths: &Paths, dataroot: &Path) -> Option<String> {
    let undone = undo::undone(paths, dataroot)?;
    Some(format!(
        "the restore of {} that began at {} died before it was complete, and was undone: its log in {} tells how far it came; \
         begin it again if it is still wanted; this is told until a restore has succeeded, or \"moodle-backup restore --discard\" \
         has deleted all that restores have set aside",
        undone.what,
        local(undone.started),
        paths.logs().display()
    ))
}

/// A restore that had died, where somebody has opened the site since.
fn opened(paths: &Paths, dataroot: &Path, state: SiteState) -> Option<String> {
    let restore = undo::at_work(paths, dataroot).ok()??;
    let opened = state != SiteState::Closed && window::is_opened(paths, &restore).unwrap_or(false);
    opened.then(|| {
        format!(
            "the restore of {} that began at {} died half-way, and somebody has opened the site since: it may be half replaced, and \
             there are neither backups nor restores until it is said what is to become of it: {}",
            restore.what,
            local(restore.started),
            window::OPENED
        )
    })
}

fn ended(run: record::LastRun) -> LastRun {
    let outcome = run.outcome;
    LastRun { ended: run.ended, result: outcome.result, closed_seconds: outcome.closed_seconds, log: outcome.log }
}

fn last(backup: &Backup) -> Last {
    let manifest = &backup.manifest;
    Last {
        name: backup.name.clone(),
        when: manifest.moment(),
        age_seconds: (time::now() - manifest.moment()).num_seconds(),
        warning_count: manifest.warnings.len() as u64,
        complete: manifest.complete,
    }
}
