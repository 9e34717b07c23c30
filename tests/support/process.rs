//! Starting programs for tests: one that must succeed, one that runs until its owner drops it, and waiting by condition.
//!
//! Nothing here knows which programs these are.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, User};

use super::janitor::{self, Leftover, Watch};

/// How long a server may take to start or to end.
const SERVER_LIMIT: Duration = Duration::from_secs(60);
const SERVER_TRIES: usize = 5;

/// User and group ids of a user of this machine.
pub fn owner_ids(user: &str) -> (u32, u32) {
    let found = User::from_name(user).expect("users can be read").unwrap_or_else(|| panic!("there is no user {user}"));
    (found.uid.as_raw(), found.gid.as_raw())
}

/// A command that runs as another user, with that user's group only, and nothing of root's environment.
pub fn command_as(user: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let (uid, gid) = owner_ids(user);
    let mut command = Command::new(program);
    command.uid(uid).gid(gid).env_clear().env("HOME", "/nonexistent").env("LANG", "C.UTF-8");
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

/// Runs a command to its end and returns its standard output; panics with its words if it fails.
#[track_caller]
pub fn succeed(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    require_success(command, output)
}

/// The same, with something on its standard input: where secrets and long statements belong.
#[track_caller]
pub fn succeed_with_input(command: &mut Command, input: &[u8]) -> Vec<u8> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe was asked for");
    let output = std::thread::scope(|scope| {
        // A program that fails early stops reading; its own words tell why.
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().expect("output can be read")
    });
    require_success(command, output)
}

#[track_caller]
fn require_success(command: &Command, output: Output) -> Vec<u8> {
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    output.stdout
}

/// Asks again and again, every few milliseconds, until the condition holds; panics when the time is over.
#[track_caller]
pub fn wait_for(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {limit:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What the system tells of a process.
struct Process {
    id: i32,
    state: char,
    parent: i32,
    group: i32,
}

/// All processes of the machine.
fn processes() -> impl Iterator<Item = Process> {
    let found = std::fs::read_dir("/proc").expect("processes can be listed").flatten();
    found.filter_map(|entry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name in parentheses may hold anything.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        Some(Process { id, state, parent, group })
    })
}

/// A server in a process group of its own, which ends when this is dropped.
pub struct Daemon {
    child: Child,
    signal: Signal,
    log: PathBuf,
    _watch: Watch,
}

impl Daemon {
    /// Starts the server, its words going to a log file, and waits until it answers; `signal` is the one that ends it at
    /// once. A server that ends instead is started again a few times: its port may have been held for a moment by a
    /// process that another thread was just starting.
    #[track_caller]
    pub fn start(command: &mut Command, signal: Signal, log: &Path, mut answers: impl FnMut() -> bool) -> Self {
        for _ in 0..SERVER_TRIES {
            let mut daemon = Self::spawn(command, signal, log);
            if daemon.comes_up(&mut answers) {
                return daemon;
            }
        }
        panic!("{command:?} does not start:\n{}", end_of(log));
    }

    fn spawn(command: &mut Command, signal: Signal, log: &Path) -> Self {
        let words = File::options().create(true).append(true).open(log).expect("the log can be written");
        let child = command
            .stdin(Stdio::null())
            .stdout(words.try_clone().expect("a handle can be copied"))
            .stderr(words)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let id = child.id().cast_signed();
        let name = signal.as_str().trim_start_matches("SIG");
        let watch = janitor::watch(&Leftover::Group { id, signal: name });
        Daemon { child, signal, log: log.to_owned(), _watch: watch }
    }

    /// Whether the server answers before it ends; panics with the end of its log if it does neither.
    #[track_caller]
    fn comes_up(&mut self, answers: &mut impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + SERVER_LIMIT;
        while self.child.try_wait().expect("a child can be waited for").is_none() {
            if answers() {
                return true;
            }
            assert!(Instant::now() < deadline, "the server does not answer:\n{}", self.log_end());
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// The process id, which is also the id of the group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal to the whole group.
    pub fn signal(&self, signal: Signal) {
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), signal);
    }

    /// Signals the process and its children, whatever groups they have made for themselves. What is stopped has stopped
    /// afterwards, to the last thread: until it looks at the signal, a thread that runs on another processor goes on.
    pub fn signal_family(&self, signal: Signal) {
        let parent = self.child.id().cast_signed();
        let family = || processes().filter(|process| process.id == parent || process.parent == parent);
        for process in family() {
            let _ = kill(Pid::from_raw(process.id), signal);
        }
        if signal == Signal::SIGSTOP {
            wait_for("all threads to stop", SERVER_LIMIT, || family().all(|process| has_stopped(process.id)));
        }
    }

    /// The end of its log.
    pub fn log_end(&self) -> String {
        end_of(&self.log)
    }

    /// Whether every process of the group is gone: the last one to go still has the port.
    fn is_gone(&mut self) -> bool {
        let group = self.child.id().cast_signed();
        let ended = self.has_ended();
        // Dead ones that nobody has waited for have nothing open any more.
        ended && !processes().any(|process| process.group == group && process.state != 'Z')
    }

    fn ends_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while !self.is_gone() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }
}

/// Whether no thread of a process runs any more: all are stopped, or dead.
fn has_stopped(id: i32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{id}/task")) else { return true };
    tasks.flatten().all(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // The name, in parentheses, may hold anything.
        stat.rsplit_once(')')
            .is_none_or(|(_, rest)| matches!(rest.trim_start().as_bytes()[0], b'T' | b't' | b'Z' | b'X'))
    })
}

fn end_of(log: &Path) -> String {
    let log = std::fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&log[log.len().saturating_sub(3000)..]).into_owned()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A test may have frozen them, and then they would take no other signal.
        self.signal_family(Signal::SIGCONT);
        self.signal(self.signal);
        if !self.ends_within(Duration::from_secs(10)) {
            self.signal(Signal::SIGKILL);
            self.ends_within(SERVER_LIMIT);
        }
    }
}
