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

/// Ids of the processes whose parent this is.
fn children_of(parent: i32) -> Vec<i32> {
    let found = std::fs::read_dir("/proc").expect("processes can be listed").flatten();
    let ids = found.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |id: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        status.lines().any(|line| line.strip_prefix("PPid:").is_some_and(|id| id.trim().parse() == Ok(parent)))
    };
    ids.filter(is_child).collect()
}

/// A server in a process group of its own, which ends when this is dropped.
pub struct Daemon {
    child: Child,
    signal: Signal,
    log: PathBuf,
    _watch: Watch,
}

impl Daemon {
    /// Starts the server with its words going to a log file; `signal` is the one that ends it at once.
    pub fn start(command: &mut Command, signal: Signal, log: &Path) -> Self {
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

    /// Waits until the server answers; panics with the end of its log if it ends instead, or takes too long.
    #[track_caller]
    pub fn wait_until_up(&mut self, mut answers: impl FnMut() -> bool) {
        let deadline = Instant::now() + SERVER_LIMIT;
        while !answers() {
            let ended = self.child.try_wait().expect("a child can be waited for");
            let failed = ended.is_some() || Instant::now() > deadline;
            assert!(!failed, "the server did not start ({ended:?}):\n{}", self.log_end());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The process id, which is also the id of the group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the whole group.
    pub fn signal(&self, signal: Signal) {
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), signal);
    }

    /// Signals the process and its children, whatever groups they have made for themselves.
    pub fn signal_family(&self, signal: Signal) {
        let parent = self.child.id().cast_signed();
        for id in children_of(parent).into_iter().chain([parent]) {
            let _ = kill(Pid::from_raw(id), signal);
        }
    }

    fn log_end(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(3000)..]).into_owned()
    }

    fn ended_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        false
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.signal(self.signal);
        // A stopped process (a test may have frozen it) takes no signal but this.
        self.signal(Signal::SIGCONT);
        if !self.ended_within(Duration::from_secs(10)) {
            self.signal(Signal::SIGKILL);
            self.ended_within(SERVER_LIMIT);
        }
    }
}
