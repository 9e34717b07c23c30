//! Programs that run: their end, waited for or brought about, and what they leave. How they are started is told in
//! `process.rs`.

use crate::error::{Fault, Result};
use crate::sys::signals;
use crate::sys::tap::Tap;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::Write;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus};
use std::time::{Duration, Instant};

/// How long a program may take to end after it was told to.
const GRACE: Duration = Duration::from_secs(2);

/// What a program left when it ended.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// All it wrote to standard output (nothing if that was taken as a stream).
    pub stdout: Vec<u8>,
    /// The end of what it wrote to standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// How it ended, in words: `exit code 2`, `killed by SIGTERM`.
    pub fn ending(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => {
                format!("killed by {}", Signal::try_from(signal).map_or("a signal", Signal::as_str))
            }
            (None, None) => "an unknown end".into(),
        }
    }

    /// An error with the program's own last words unless it ended with exit code 0.
    pub fn require_success(&self, name: &str) -> Result<()> {
        if self.status.success() {
            return Ok(());
        }
        let words = if self.stderr.trim().is_empty() { self.text() } else { self.stderr.clone() };
        let words = words.trim();
        let tail: String = words.chars().skip(words.chars().count().saturating_sub(2000)).collect();
        let said = if tail.is_empty() { "it said nothing".into() } else { format!("it said: {tail}") };
        Err(Fault::failed(format!("{name} ended with {}; {said}", self.ending())).into())
    }
}

/// A program that goes on when we end.
#[derive(Debug)]
pub struct Outliving {
    pub(super) child: Child,
}

impl Outliving {
    /// Writes to its standard input.
    pub fn tell(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.child.stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(bytes))
    }

    /// Waits for its end, which the caller knows to be near.
    pub fn wait(mut self) -> std::io::Result<ExitStatus> {
        self.child.wait()
    }
}

/// A program that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    pub(super) name: String,
    /// Its standard output, until somebody takes it.
    pub stdout: Option<ChildStdout>,
    pub(super) stdin: Option<ChildStdin>,
    /// Standard error, and standard output where it is not a stream of the caller's.
    pub(super) taps: Vec<Tap>,
    pub(super) pidfd: OwnedFd,
    pub(super) child: Child,
    pub(super) deadline: Option<(Instant, Duration)>,
    pub(super) heeds_signals: bool,
    pub(super) _inherited: Vec<OwnedFd>,
}

impl Running {
    /// Its standard input, where [`Program::piped_input`] asked for one.
    pub fn stdin(&mut self) -> Option<&mut ChildStdin> {
        self.stdin.as_mut()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end. A signal to us or its timeout kills it, with all it started, and is an error. What it leaves
    /// running in the background may go on, unless that holds its output open: then it is killed too.
    pub fn finish(mut self) -> Result<Output> {
        self.stdin = None;
        self.wait_for_end()?;
        // Before the process is reaped: as long as it is not, its group cannot be another's.
        if !self.taps.iter().all(|tap| tap.wait(GRACE)) {
            let _ = killpg(self.group(), Signal::SIGKILL);
        }
        let mut kept = self.taps.iter().map(|tap| {
            tap.wait(GRACE);
            tap.take()
        });
        let stderr = String::from_utf8_lossy(&kept.next().unwrap_or_default()).into_owned();
        let stdout = kept.next().unwrap_or_default();
        let status = self.child.wait()?;
        Ok(Output { status, stdout, stderr })
    }

    /// Ends its input and waits a moment for it to end by itself; dropping it ends it in any case.
    pub fn end_within(&mut self, moment: Duration) {
        self.stdin = None;
        let _ = wait_readable(&self.pidfd, false, Some(moment));
    }

    /// Ends it, with all it started.
    pub fn kill(&mut self) {
        let _ = killpg(self.group(), Signal::SIGTERM);
        let _ = wait_readable(&self.pidfd, false, Some(GRACE));
        // In any case: it may have ended and left others behind.
        let _ = killpg(self.group(), Signal::SIGKILL);
        let _ = self.child.wait();
    }

    fn group(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    fn wait_for_end(&mut self) -> Result<()> {
        let left = self.deadline.map(|(at, _)| at.saturating_duration_since(Instant::now()));
        if wait_readable(&self.pidfd, self.heeds_signals, left)? {
            return Ok(());
        }
        self.kill();
        if self.heeds_signals {
            signals::check()?;
        }
        let limit = self.deadline.map_or(0.0, |(_, limit)| limit.as_secs_f64());
        Err(Fault::failed(format!("{} did not end within {limit} seconds and was stopped", self.name)).into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}

/// A descriptor that becomes readable when the process ends.
pub(super) fn open_pidfd(pid: u32) -> Result<OwnedFd> {
    // SAFETY: pidfd_open(2) returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: the descriptor is new and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Waits until `fd` is readable; false on a timeout, or on a signal to us where that is to be noticed.
fn wait_readable(fd: &OwnedFd, notice_signals: bool, limit: Option<Duration>) -> Result<bool> {
    let deadline = limit.map(|limit| Instant::now() + limit);
    loop {
        if notice_signals && signals::received() {
            return Ok(false);
        }
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = vec![PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        fds.extend(signals::wake_fd().filter(|_| notice_signals).map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Ok(_) if fds[0].any() == Some(true) => return Ok(true),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if deadline.is_some_and(|at| Instant::now() >= at) {
            return Ok(false);
        }
    }
}
