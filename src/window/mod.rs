//! The time the site is closed. Closing, reopening, holding it closed, and undoing what a dead run left; in every
//! case the site comes back to the state it was found in. Copies nothing.
//!
//! A site is closed by the file `climaintenance.html` in its dataroot (`lib/setup.php`: every request is then answered
//! with 503 before the database is touched, and cron refuses to start). The file is written here, not by Moodle's
//! `admin/cli/maintenance.php`: that takes a fifth of a second each time, wipes the administrator's own settings for
//! maintenance, and from Moodle 5.1 on also notes `cli mode` in the database, so that the dump would hold it.

mod closure;
mod drain;
mod guard;
mod page;
mod recover;
mod services;
mod tally;

pub use closure::{Closure, Hold};
pub use drain::drain;
pub use guard::watch;
pub use page::fallback_page;
pub use recover::{OPENED, Recovered, closures, held, is_opened, recover, recover_site, require_not_opened, resume};
pub use services::{active, reload};
pub use tally::{Tally, Totals};

use crate::error::{Fault, Result};
use crate::sys::log::Log;
use crate::sys::paths::Paths;
use crate::sys::privileges::Identity;
use crate::sys::time;
use guard::Guard;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What closing needs to know.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The program's own folders.
    pub paths: &'a Paths,
    /// Name of the site.
    pub site: &'a str,
    /// The site's dataroot.
    pub dataroot: &'a Path,
    /// The web user.
    pub user: &'a Identity,
    /// The page that users see.
    pub page: &'a [u8],
    /// Mode of that file.
    pub page_mode: u32,
    /// Services to stop: those of the settings that are active.
    pub services: Vec<String>,
    /// After so long the guard reopens the site whatever the run is doing.
    pub max: Duration,
    /// The run's account of its windows.
    pub tally: &'a Tally,
    /// Whether the site is being changed: then it is not to be opened before that is completed or undone.
    pub restoring: bool,
}

/// The site, closed. Dropping it reopens the site.
#[derive(Debug)]
pub struct Window {
    paths: Paths,
    closure: Closure,
    state: PathBuf,
    guard: Option<Guard>,
    /// Since when; `None` as long as it is not.
    closed: Option<Instant>,
    max: Duration,
    tally: Tally,
    log: Log,
}

/// How long a site was closed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Closed {
    /// From the moment the page stood to the moment it was gone, in seconds.
    pub seconds: f64,
}

impl Window {
    /// Writes down what will be changed, starts the guard, and closes the site.
    pub fn close(request: &Request, log: &Log) -> Result<Window> {
        let closure = Closure::new(request, log.activity().log);
        let state = closure.state_file(request.paths);
        closure.write(&state)?;
        let guard = Guard::start(request.paths, &state, request.max).inspect_err(|_| {
            // Nothing was changed yet, so there is nothing to undo.
            let _ = std::fs::remove_file(&state);
        })?;
        let (paths, guard, tally, log) = (request.paths.clone(), Some(guard), request.tally.clone(), log.clone());
        let mut window = Window { paths, closure, state, guard, closed: None, max: request.max, tally, log };
        window.closure.page_put_up = page::put_up(&window.closure, request.page, request.page_mode)?;
        window.closed = Some(Instant::now());
        if !window.closure.page_put_up {
            window.log.info("the site was in maintenance already and will be left so");
            window.closure.write(&window.state)?;
        }
        services::stop(&window.closure.services, &window.log)?;
        Ok(window)
    }

    /// An error if somebody has reopened the site behind our back: the guard, since the window took too long, or a
    /// person. What was copied since cannot be trusted to be of one moment.
    pub fn still_closed(&self) -> Result<()> {
        if !self.closure.page_put_up || page::stands(&self.closure)? {
            return Ok(());
        }
        Err(Fault::failed("the site was reopened before the copy was complete, so this backup is given up")
            .hint("if the window was too short for this site, raise max_seconds in [window]; the run's log says where the time went")
            .into())
    }

    /// Stops the guard's clock, as for hooks in maintenance, whose time is their own.
    pub fn pause_guard(&mut self) {
        self.guard.as_mut().map(Guard::pause);
    }

    /// Lets the guard's clock go on.
    pub fn resume_guard(&mut self) {
        self.guard.as_mut().map(Guard::resume);
    }

    /// Brings the site back to the state it was found in.
    pub fn reopen(mut self) -> Result<Closed> {
        let intact = self.still_closed();
        let closed = self.open_now(intact.is_ok())?;
        intact.map(|()| closed)
    }

    /// Leaves the site closed, for the administrator to reopen with `resume`.
    pub fn hold(mut self, hold: Hold) -> Result<Closed> {
        self.pause_guard();
        self.still_closed()?;
        if hold == Hold::Half {
            services::start(&self.closure.services, &self.log)?;
        }
        // Last, so that a site that could not be held as asked for is reopened and leaves no note of a hold.
        self.closure.hold(hold, &self.state)?;
        self.dismiss_guard();
        Ok(self.count(true, true))
    }

    /// `intact` says that nobody has opened it before.
    fn open_now(&mut self, intact: bool) -> Result<Closed> {
        let undone = self.closure.undo(&self.state, &self.log);
        let closed = self.count(intact, false);
        undone?;
        self.dismiss_guard();
        Ok(closed)
    }

    /// Notes how long it was closed. One that somebody else opened was so for `max` at the longest, when the guard did.
    fn count(&mut self, intact: bool, held: bool) -> Closed {
        let Some(closed) = self.closed.take() else { return Closed { seconds: 0.0 } };
        let elapsed = if intact { closed.elapsed() } else { closed.elapsed().min(self.max) };
        let seconds = elapsed.as_secs_f64();
        self.tally.add(seconds, held);
        Closed { seconds }
    }

    fn dismiss_guard(&mut self) {
        if let Some(guard) = self.guard.take() {
            guard.dismiss();
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if self.guard.is_some() {
            // Putting it back has failed. The guard tries once more when this process has ended, and with it its lock.
            if recover::require_whole(&self.paths, &self.closure).is_err() {
                self.log.warn("the site stays closed: what the restore has moved is not put back yet");
                std::mem::forget(self.guard.take());
                return;
            }
            let seconds = self.closed.map_or(0.0, |closed| closed.elapsed().as_secs_f64());
            self.log.info(format!("reopening the site after {seconds:.1} s"));
            let intact = self.still_closed().is_ok();
            if let Err(error) = self.open_now(intact) {
                // The guard sees our end and tries again.
                self.log.error(&error);
            }
        }
    }
}

/// The time now, for notes.
fn now() -> i64 {
    time::now().timestamp()
}
