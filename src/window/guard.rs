//! The guard: a small process of its own that reopens the site if the run dies or the window takes too long. It holds
//! nothing of the target open and asks no database, so it works whatever the run is stuck in.

use super::closure::Closure;
use super::{now, page};
use crate::error::Result;
use crate::sys::log::{Log, Verbosity};
use crate::sys::paths::Paths;
use crate::sys::process::{Outliving, Program};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal, signal};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// What the run tells its guard, a byte each. The end of the pipe without `DISMISS` is the end of the run.
const DISMISS: u8 = b'd';
const PAUSE: u8 = b'p';
const RESUME: u8 = b'r';

/// For so long a guard tries to undo a restore that has died, with pauses that grow between these two.
const PATIENCE: Duration = Duration::from_secs(3600);
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The run's side.
#[derive(Debug)]
pub(super) struct Guard {
    process: Outliving,
}

impl Guard {
    /// Starts this very program as guard over the closure noted in `state`.
    pub fn start(paths: &Paths, state: &Path, max: Duration) -> Result<Self> {
        let process = Program::new("/proc/self/exe")
            .arg("guard")
            .arg(state)
            .arg(max.as_millis().to_string())
            .env("MOODLE_BACKUP_ROOT", paths.root())
            .spawn_outliving()?;
        Ok(Guard { process })
    }

    pub fn pause(&mut self) {
        // A guard that is gone has nothing to be told.
        let _ = self.process.tell(&[PAUSE]);
    }

    pub fn resume(&mut self) {
        let _ = self.process.tell(&[RESUME]);
    }

    pub fn dismiss(mut self) {
        let _ = self.process.tell(&[DISMISS]);
        let _ = self.process.wait();
    }
}

/// Why the guard woke up.
enum Woken {
    Dismissed,
    RunEnded,
    TimePassed,
}

/// The guard's side: the hidden command `guard`. Waits on standard input, and reopens the site if need be.
pub fn watch(state: &Path, max: Duration) -> Result<()> {
    // What ends the run must not end its guard.
    for ignored in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGPIPE] {
        // SAFETY: ignoring a signal installs no code.
        unsafe { signal(ignored, SigHandler::SigIgn) }?;
    }
    let why = match wait(max)? {
        Woken::Dismissed => return Ok(()),
        Woken::RunEnded => "the run ended without reopening the site".to_owned(),
        Woken::TimePassed => format!("the site had been closed for {} s, the limit in max_seconds", max.as_secs_f64()),
    };
    if !state.exists() {
        return Ok(());
    }
    let closure = Closure::read(state)?;
    let log = Log::to_stderr(Verbosity::Quiet);
    if let Some(path) = &closure.log {
        let _ = log.append_to(path);
    }
    if closure.restoring {
        log.warn("guard: the restore ended before it was complete; undoing it");
        return undo_restore(&closure, state, &log);
    }
    closure.undo(state, &log)?;
    log.warn(format!("guard: {why}; reopened it after {} s", now() - closure.closed_at));
    Ok(())
}

/// What was half replaced is put back first; the site is opened after that. A database server that has died comes back, as a rule:
/// it is waited for, unless somebody else has put the site in order meanwhile, or has opened it as it is.
fn undo_restore(closure: &Closure, state: &Path, log: &Log) -> Result<()> {
    let paths = Paths::from_environment();
    let deadline = Instant::now() + PATIENCE;
    let mut pause = FIRST_PAUSE;
    loop {
        let recover = Program::new("/proc/self/exe").arg("recover").env("MOODLE_BACKUP_ROOT", paths.root());
        let Err(error) = recover.despite_signals().success() else { return Ok(()) };
        let is_waiting = state.exists() && page::stands(closure).unwrap_or(true);
        if !is_waiting || Instant::now() >= deadline {
            log.error(&error);
            return Err(error);
        }
        if pause == FIRST_PAUSE {
            log.warn("guard: it cannot be undone yet; trying again by and by, for an hour");
        }
        std::thread::sleep(pause);
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

fn wait(max: Duration) -> Result<Woken> {
    let stdin = std::io::stdin();
    let mut left = max;
    let mut running = true;
    loop {
        let started = Instant::now();
        let timeout = if running { PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX) } else { PollTimeout::NONE };
        let ready = match poll(&mut [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)], timeout) {
            Err(nix::errno::Errno::EINTR) => 0,
            ready => ready?,
        };
        if running {
            left = left.saturating_sub(started.elapsed());
        }
        if ready == 0 {
            match left.is_zero() {
                true => return Ok(Woken::TimePassed),
                false => continue,
            }
        }
        let mut word = [0];
        // Not through the standard library's buffer: it would take further words out of poll's sight.
        match nix::unistd::read(&stdin, &mut word)? {
            0 => return Ok(Woken::RunEnded),
            _ if word == [DISMISS] => return Ok(Woken::Dismissed),
            _ => running = word == [RESUME],
        }
    }
}
