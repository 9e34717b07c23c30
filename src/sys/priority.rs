//! How much of the machine a thread takes. Both settings hold for the calling thread and what it starts.

use nix::libc;

/// How a thread's disk accesses stand against those of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// Only when nobody else wants the disk.
    Idle,
    /// Below all others, but never starved.
    Low,
    /// As everybody.
    Normal,
}

/// How work may use the machine.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Threads that read, hash and write.
    pub threads: usize,
    /// Their niceness.
    pub nice: i32,
    /// Their disk priority.
    pub io: Io,
}

const WHO_PROCESS: libc::c_int = 1;
const CLASS_SHIFT: libc::c_int = 13;

/// Sets niceness (0 to 19) and the disk priority of the calling thread. What the kernel refuses is left as it is:
/// priority is courtesy, not correctness.
pub fn set_for_this_thread(nice: i32, io: Io) {
    let (class, level) = match io {
        Io::Idle => (3, 0),
        Io::Low => (2, 7),
        Io::Normal => (2, 4),
    };
    // SAFETY: both calls take integers; 0 means the calling thread.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, nice);
        libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, (class << CLASS_SHIFT) | level);
    }
}
