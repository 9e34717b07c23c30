//! `status`: how things stand, for a glance and for monitoring.

use super::layout::{pair, plain};
use super::progress::share;
use super::show::section;
use super::{Look, Paint, human};
use crate::sys::log::Activity;
use chrono::{DateTime, Utc};
use serde::Serialize;

/// What `status` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Name of the site.
    pub site: String,
    /// Whether users can get in.
    pub state: SiteState,
    /// Why the site is not open, and since when; what is not known about it.
    pub state_because: Option<String>,
    /// Parts of the site that are gone, or cannot be reached; not looked for while a restore is at work, or has died.
    pub lost: Vec<Lost>,
    /// Whether the backups could be looked at.
    pub backups_seen: bool,
    /// The last backup.
    pub last: Option<Last>,
    /// The age that was asked for with `--max-age`.
    pub max_age_seconds: Option<u64>,
    /// With `--max-age`: whether the last backup that is not known to be damaged is as recent as that.
    pub recent_enough: Option<bool>,
    /// How the last run ended, where that is known.
    pub last_run: Option<LastRun>,
    /// Restores that can be undone (and undos that can be taken back): what they have replaced is kept. The newest first.
    pub set_aside: Vec<SetAside>,
    /// What runs now.
    pub running: Option<Activity>,
    /// When the timer starts the next run; none where there is no timer, or systemd does not tell.
    pub next_run: Option<DateTime<Utc>>,
    /// What wants attention, each with what to do.
    pub attention: Vec<String>,
}

/// Whether users can get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SiteState {
    /// They can.
    Open,
    /// In maintenance, but not by this program.
    Maintenance,
    /// Closed by the run that is at work.
    Closed,
    /// Kept closed by `run --restart half` or `none`, until `resume`.
    Held,
    /// Left closed by a run that was interrupted: `recover` opens it.
    Interrupted,
    /// Parts of it are gone, or its database does not answer: `lost` tells which.
    Down,
    /// Could not be found out.
    Unknown,
}

/// A part of the site that is not there.
#[derive(Clone, Debug, Serialize)]
pub struct Lost {
    /// Which: `code`, `moodledata` or `database`.
    pub part: &'static str,
    /// What was found in its place.
    pub why: String,
}

/// The last backup.
#[derive(Clone, Debug, Serialize)]
pub struct Last {
    /// Its name.
    pub name: String,
    /// The moment that it shows.
    pub when: DateTime<Utc>,
    /// Seconds since then.
    pub age_seconds: i64,
    /// How many warnings its run gave.
    pub warning_count: u64,
    /// Whether all of the site is in it.
    pub complete: bool,
}

/// The end of a run.
#[derive(Clone, Debug, Serialize)]
pub struct LastRun {
    /// When it ended.
    pub ended: DateTime<Utc>,
    /// How.
    pub result: super::outcome::Ending,
    /// Seconds for which it had closed the site; none if it had not.
    pub closed_seconds: Option<f64>,
    /// Its log.
    pub log: Option<String>,
}

/// A restore whose replaced state is kept.
#[derive(Clone, Debug, Serialize)]
pub struct SetAside {
    /// When that was.
    pub when: DateTime<Utc>,
    /// What is kept: `the state before backup 2026-11-23T010003Z`.
    pub what: String,
    /// What was put in its place.
    pub made: String,
    /// Where it is: folders, and tables or schemas of databases.
    pub places: Vec<String>,
    /// Which option of `restore` brings it back now: `undo` or `redo`; none where others come first.
    pub back_by: Option<&'static str>,
}

/// As text.
pub fn text(status: &Status, look: &Look) -> String {
    let mut text = pair("Site", &format!("{}: {}", status.site, state(status)));
    text += &pair("Last backup", &last(status, look));
    if let Some(enough) = status.recent_enough {
        let age = human::age(status.max_age_seconds.unwrap_or(0).try_into().unwrap_or(i64::MAX));
        let (paint, verdict) = match enough {
            true => (Paint::Good, format!("yes: no older than {age}")),
            false => (Paint::Bad, format!("NO: there is none of the last {age}")),
        };
        text += &look.paint(paint, &pair("Recent enough", &verdict));
    }
    if let Some(run) = &status.last_run {
        let log = run.log.as_ref().map_or(String::new(), |log| format!(", log in {log}"));
        text += &pair("Last run", &format!("{}, {}{log}", run.result.words(), look.distance(run.ended)));
    }
    if let Some(newest) = status.set_aside.first() {
        text += &pair("Restored", &format!("as in {} since {}", newest.made, look.minute(newest.when)));
        text += &pair("Set aside", &set_aside(&status.set_aside, look));
    }
    text += &pair("Running", &running(status, look));
    let next = match status.next_run {
        Some(time) => format!("{} ({})", look.minute(time), look.distance(time)),
        None => "none is planned that systemd knows of".into(),
    };
    text += &pair("Next run", &next);
    text + &section("Wants attention", &status.attention, look)
}

fn state(status: &Status) -> String {
    let state = match status.state {
        SiteState::Open => "open",
        SiteState::Maintenance => "in maintenance, which is not of this program's doing",
        SiteState::Closed => "closed by what is at work on it",
        SiteState::Held => "HELD CLOSED, until \"moodle-backup resume\"",
        SiteState::Interrupted => "LEFT CLOSED by an interrupted run; \"moodle-backup recover\" opens it",
        SiteState::Down => "DOES NOT WORK",
        SiteState::Unknown => "not known whether it is open",
    };
    match &status.state_because {
        Some(why) => format!("{state} ({why})"),
        None => state.into(),
    }
}

fn last(status: &Status, look: &Look) -> String {
    let none = if status.backups_seen { "none" } else { "not known" };
    let Some(last) = &status.last else { return none.into() };
    let mut text = format!("{}, {} ago ({})", last.name, human::age(last.age_seconds), look.minute(last.when));
    if !last.complete {
        text += ", NOT COMPLETE";
    }
    if last.warning_count > 0 {
        text += &format!(", {}", human::count(last.warning_count, "warning"));
    }
    text
}

fn set_aside(kept: &[SetAside], look: &Look) -> String {
    let kept = kept.iter().map(|it| {
        let back = match it.back_by {
            Some(way) => format!("\"moodle-backup restore --{way}\" brings it back"),
            None => "after the others".into(),
        };
        format!("{}, replaced at {} ({back}), in {}", it.what, look.minute(it.when), it.places.join(", "))
    });
    let kept: Vec<String> = kept.collect();
    format!("{}; \"moodle-backup restore --discard\" deletes all of it", kept.join("; "))
}

fn running(status: &Status, look: &Look) -> String {
    let Some(activity) = &status.running else { return "nothing".into() };
    let since = DateTime::from_timestamp(activity.started, 0).map(|time| look.distance(time)).unwrap_or_default();
    let share = share(activity).map_or(String::new(), |share| format!(", {share}"));
    let what = if activity.is_restore { "a restore, " } else { "" };
    plain(&format!("{what}step {}{share}; started {since}, process {}", activity.step, activity.pid))
}
