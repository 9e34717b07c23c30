//! How a site stands: open, closed by whom, and what works on it now. Found out from the notes that runs leave on this
//! machine, without the database, and without Moodle's own code.

use super::follow;
use crate::moodle::MAINTENANCE_PAGE;
use crate::report::status::{Lost, SiteState};
use crate::sys::log::Activity;
use crate::sys::paths::Paths;
use crate::window::{self, Closure};
use chrono::{DateTime, Local, Utc};
use std::path::Path;

/// Whether users can get in.
#[derive(Clone, Debug)]
pub struct State {
    /// The state.
    pub state: SiteState,
    /// Why, and since when; what is not known about it.
    pub because: Option<String>,
}

impl State {
    fn new(state: SiteState, because: impl Into<Option<String>>) -> Self {
        State { state, because: because.into() }
    }

    /// What is known when parts of the site are found to be lost: nobody is let into what is not there.
    pub fn with(self, lost: &[Lost]) -> State {
        if lost.is_empty() || !matches!(self.state, SiteState::Open | SiteState::Unknown) {
            return self;
        }
        let parts: Vec<&str> = lost.iter().map(|lost| lost.part).collect();
        State::new(SiteState::Down, format!("not there, or not to be reached: {}", parts.join(", ")))
    }
}

/// The state of a site. Where its dataroot is not known, what was noted under the site's name tells.
pub fn state(paths: &Paths, site: &str, dataroot: Option<&Path>) -> State {
    let closures = match window::closures(paths) {
        Ok(closures) => closures,
        Err(error) => return State::new(SiteState::Unknown, format!("{error:#}")),
    };
    let meant = |closure: &Closure| dataroot.map_or(closure.site == site, |dataroot| closure.dataroot == dataroot);
    let mut closures: Vec<Closure> = closures.into_iter().filter(meant).collect();
    // A run on a site that is held is a note beside that of the hold, which says more.
    closures.sort_by_key(|closure| closure.held.is_none());
    match (closures.first(), dataroot) {
        (Some(closure), _) => closed(closure, &follow::activities(paths), paths.restoring(&closure.dataroot).exists()),
        (None, None) => State::new(SiteState::Unknown, "where its dataroot lies is not known".to_owned()),
        (None, Some(dataroot)) => without_note(dataroot),
    }
}

fn closed(closure: &Closure, activities: &[Activity], half_restored: bool) -> State {
    let since = local(closure.closed_at);
    if closure.held.is_none() && activities.iter().any(|activity| activity.pid == closure.pid) {
        return State::new(SiteState::Closed, format!("since {since}, by process {}", closure.pid));
    }
    if closure.page_put_up && matches!(closure.dataroot.join(MAINTENANCE_PAGE).try_exists(), Ok(false)) {
        if half_restored {
            let what = format!("closed on {since} for a restore that has died half-way, and opened by other hands");
            return State::new(SiteState::Open, what);
        }
        let end = if closure.held.is_some() { "resume" } else { "recover" };
        let what = format!("it was closed on {since} and opened by other hands; \"moodle-backup {end}\" forgets that");
        return State::new(SiteState::Open, what);
    }
    match closure.held {
        Some(hold) => State::new(SiteState::Held, format!("run --restart {}, since {since}", hold.name())),
        None => {
            let log = closure.log.as_ref().map_or(String::new(), |log| format!(", log in {}", log.display()));
            let first = if half_restored { ", after it has undone a restore that died" } else { "" };
            State::new(SiteState::Interrupted, format!("since {since}, by process {}{log}{first}", closure.pid))
        }
    }
}

/// Nothing is noted, so whatever closes the site is not of this program.
fn without_note(dataroot: &Path) -> State {
    let page = dataroot.join(MAINTENANCE_PAGE);
    match std::fs::symlink_metadata(&page).and_then(|meta| meta.modified()) {
        Ok(since) => {
            let since = DateTime::<Utc>::from(since).timestamp();
            State::new(SiteState::Maintenance, format!("{} is there since {}", page.display(), local(since)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && dataroot.is_dir() => {
            State::new(SiteState::Open, None)
        }
        Err(error) => State::new(SiteState::Unknown, format!("{}: {error}", dataroot.display())),
    }
}

/// A time as people here write it.
pub fn local(seconds: i64) -> String {
    let time = DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    time.with_timezone(&Local).format("%Y-%m-%d %H:%M").to_string()
}
