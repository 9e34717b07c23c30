//! One run of the program: what it says while it runs, signals to it, and how it ends.
//!
//! Nothing here knows what the program is told to do.

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::janitor::{self, Leftover, Watch};
use super::process::wait_for;

/// How long the pipes are given to close after the program has ended.
const PIPE_LIMIT: Duration = Duration::from_secs(2);
/// How often an end or a word is looked for.
const PAUSE: Duration = Duration::from_millis(5);

/// How a run of the program ended, and what it said.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// Whether something that the program left behind still held its output: a shell would have waited for it.
    pub output_held: bool,
}

impl Output {
    /// Panics with all that was said unless the exit code is this one.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "signal {:?}\n{}\n{}", self.signal, self.stdout, self.stderr);
        self
    }
}

/// A run under way; dropping it kills it with its group.
pub struct Running {
    child: Child,
    stdout: Words,
    stderr: Words,
    deadline: Instant,
    _watch: Watch,
}

impl Running {
    /// Starts it in a group of its own, without anything to read, to end within the limit.
    pub(super) fn start(mut command: Command, limit: Duration) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let watch = janitor::watch(&Leftover::Group { id: child.id().cast_signed(), signal: "KILL" });
        let stdout = Words::of(child.stdout.take().expect("a pipe was asked for"));
        let stderr = Words::of(child.stderr.take().expect("a pipe was asked for"));
        Running { child, stdout, stderr, deadline: Instant::now() + limit, _watch: watch }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Signals the process itself, not what it has started.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("the process can be signalled");
    }

    /// Whether it has ended by now.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// What it has said so far, to either side.
    pub fn words(&self) -> String {
        self.stdout.so_far() + &self.stderr.so_far()
    }

    /// Waits until it has said something; panics if it ends before, or takes too long.
    #[track_caller]
    pub fn wait_for_words(&mut self, wanted: &str) {
        while !self.words().contains(wanted) {
            let over = self.has_ended() || Instant::now() > self.deadline;
            assert!(!over || self.words().contains(wanted), "it never said {wanted:?}:\n{}", self.words());
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits for its end; kills it and panics if that takes too long.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        while !self.has_ended() {
            assert!(Instant::now() < self.deadline, "the run did not end in time:\n{}", self.words());
            std::thread::sleep(PAUSE);
        }
        let status = self.child.wait().expect("a child can be waited for");
        let pipes_closed = self.pipes_close();
        Output {
            code: status.code(),
            signal: status.signal(),
            stdout: self.stdout.so_far(),
            stderr: self.stderr.so_far(),
            output_held: !pipes_closed,
        }
    }

    /// Waits until it stands still.
    #[track_caller]
    pub fn wait_until_stopped(&self) {
        let stat = format!("/proc/{}/stat", self.id());
        let limit = self.deadline.saturating_duration_since(Instant::now());
        wait_for("the run to stop", limit, || std::fs::read_to_string(&stat).is_ok_and(|it| it.contains(") T ")));
    }

    /// Lets it go on after it was stopped, and waits for its end.
    #[track_caller]
    pub fn go_on(self) -> Output {
        self.signal(Signal::SIGCONT);
        self.wait()
    }

    /// Whether both pipes close now that the program has ended.
    fn pipes_close(&self) -> bool {
        let end = Instant::now() + PIPE_LIMIT;
        while Instant::now() < end {
            if self.stdout.are_all() && self.stderr.are_all() {
                return true;
            }
            std::thread::sleep(PAUSE);
        }
        false
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// What comes out of a pipe, read in a thread of its own, so that no pipe fills up.
struct Words {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Words {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                kept.lock().expect("nobody panics with it").extend_from_slice(&buffer[..count]);
            }
        });
        Words { bytes, reader }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("nobody panics with it")).into_owned()
    }

    fn are_all(&self) -> bool {
        self.reader.is_finished()
    }
}
