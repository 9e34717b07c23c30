//! Signals that ask the program to end, noticed at the next step or wait; the handler itself does nothing
//! but remember. SIGKILL cannot be noticed: that is what the guard and `recover` are for.

use crate::error::{Fault, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

static RECEIVED: AtomicI32 = AtomicI32::new(0);
static WAKE_WRITE: AtomicI32 = AtomicI32::new(-1);
static WAKE_READ: OnceLock<OwnedFd> = OnceLock::new();

extern "C" fn remember(signal: libc_int) {
    RECEIVED.store(signal, Ordering::SeqCst);
    let fd = WAKE_WRITE.load(Ordering::SeqCst);
    if fd >= 0 {
        // SAFETY: write(2) is async-signal-safe; the descriptor is never closed once stored.
        unsafe { nix::libc::write(fd, b"!".as_ptr().cast(), 1) };
    }
}

#[allow(non_camel_case_types)]
type libc_int = nix::libc::c_int;

/// From now on SIGTERM, SIGINT and SIGHUP are remembered instead of ending the program, and
/// writing to a closed pipe is an error instead of a signal.
pub fn install() -> Result<()> {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC | nix::fcntl::OFlag::O_NONBLOCK)?;
    WAKE_WRITE.store(write.as_raw_fd(), Ordering::SeqCst);
    std::mem::forget(write);
    let _ = WAKE_READ.set(read);
    let action = SigAction::new(SigHandler::Handler(remember), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        // SAFETY: the handler touches atomics and write(2) only.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

/// From now on the end of the terminal does not end the work.
pub fn ignore_hangup() -> Result<()> {
    // SAFETY: ignoring a signal installs no code.
    unsafe { nix::sys::signal::signal(Signal::SIGHUP, SigHandler::SigIgn) }?;
    Ok(())
}

/// An error if a signal has asked the program to end.
pub fn check() -> Result<()> {
    match RECEIVED.load(Ordering::SeqCst) {
        0 => Ok(()),
        number => {
            let name = Signal::try_from(number).map_or("a signal", Signal::as_str);
            Err(Fault::interrupted(format!("interrupted by {name}")).into())
        }
    }
}

/// True once a signal has asked the program to end.
pub fn received() -> bool {
    RECEIVED.load(Ordering::SeqCst) != 0
}

/// Forgets a signal that has come and was heeded, so that what it stopped can be put in order. The next one ends that too.
pub fn forget() {
    RECEIVED.store(0, Ordering::SeqCst);
    let mut told = [0; 16];
    while wake_fd().is_some_and(|fd| nix::unistd::read(fd, &mut told).is_ok_and(|count| count > 0)) {}
}

/// Waits, unless a signal asks the program to end: that is then the error.
pub fn wait(time: std::time::Duration) -> Result<()> {
    let deadline = std::time::Instant::now() + time;
    loop {
        check()?;
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let mut fds: Vec<_> = wake_fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).into_iter().collect();
        let _ = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
    }
}

/// A descriptor that becomes readable when a signal has come, for use in poll(2).
pub fn wake_fd() -> Option<BorrowedFd<'static>> {
    use std::os::fd::AsFd;
    WAKE_READ.get().map(|fd| fd.as_fd())
}
