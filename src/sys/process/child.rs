//! What a program that was just forked does before it becomes another: its session, its user, its capabilities, and
//! whose end is its own. Only calls that are safe between fork and exec.

use crate::sys::privileges::Identity;
use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::os::fd::RawFd;

/// What happens in the child between fork and exec.
pub(super) struct ChildSetup {
    /// Descriptors that stay open.
    pub inherited: Vec<RawFd>,
    /// As whom it runs.
    pub user: Option<Identity>,
    /// What it keeps of root's.
    pub capabilities: Vec<u32>,
    /// The process whose end ends it too.
    pub dies_with: Option<Pid>,
}

impl ChildSetup {
    /// Does all that.
    pub fn apply(&self) -> std::io::Result<()> {
        // A session of its own: Ctrl-C at the terminal is ours to handle, and the group can be killed as one.
        nix::unistd::setsid()?;
        for fd in &self.inherited {
            // SAFETY: plain fcntl on a descriptor that is open in this process.
            if unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        if let Some(user) = &self.user {
            if !self.capabilities.is_empty() {
                keep_capabilities_over_change_of_user()?;
            }
            // SAFETY: between fork and exec there is one thread.
            unsafe { user.assume_on_this_thread() }?;
            raise_ambient(&self.capabilities)?;
        }
        let Some(parent) = self.dies_with else { return Ok(()) };
        // After the change of user, which would clear it.
        nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
        match nix::unistd::getppid() == parent {
            true => Ok(()),
            false => Err(std::io::Error::other("the parent has died")),
        }
    }
}

fn keep_capabilities_over_change_of_user() -> std::io::Result<()> {
    // SAFETY: prctl with constant arguments.
    match unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Gives the process these capabilities and no other, and lets them pass exec.
fn raise_ambient(capabilities: &[u32]) -> std::io::Result<()> {
    if capabilities.is_empty() {
        return Ok(());
    }
    let mut sets = [CapabilityData { effective: 0, permitted: 0, inheritable: 0 }; 2];
    for capability in capabilities {
        let (word, bit) = ((capability / 32) as usize, 1u32 << (capability % 32));
        sets[word].effective |= bit;
        sets[word].permitted |= bit;
        sets[word].inheritable |= bit;
    }
    let header = CapabilityHeader { version: 0x2008_0522, pid: 0 };
    // SAFETY: the structures are those of capset(2), version 3.
    if unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    for capability in capabilities {
        // SAFETY: prctl with integer arguments.
        let raised = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, *capability, 0, 0) };
        if raised != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}
