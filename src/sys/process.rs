//! The only place that starts programs: with a clean environment, as a named user, with secrets that no
//! other user can see, and always with an end. Knows no program by name, but for systemd's (`unit`).

pub mod unit;

use super::privileges::Identity;
use super::signals;
use super::tap::{Keep, Tap};
use crate::error::{Fault, OrFault, Result};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Where programs are looked for: the caller's own PATH is not trusted.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a program may take to end after it was told to.
const GRACE: Duration = Duration::from_secs(2);

/// How much of a program's error output is kept: the last bytes.
const STDERR_KEPT: usize = 16 * 1024;

/// How much of its standard output is kept, where that is not a stream: a site's PHP may print without end.
const STDOUT_KEPT: usize = 32 << 20;

/// The first of `names` that is installed.
pub fn find(names: &[&str]) -> Option<PathBuf> {
    names.iter().find_map(|name| which::which_in(name, Some(SEARCH_PATH), "/").ok())
}

/// A program to be started.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    user: Option<Identity>,
    folder: PathBuf,
    input: Input,
    timeout: Option<Duration>,
    heeds_signals: bool,
    inherited: Vec<OwnedFd>,
    capabilities: Vec<u32>,
}

#[derive(Debug)]
enum Input {
    Nothing,
    Bytes(Vec<u8>),
    Pipe,
}

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
}

impl Program {
    /// A program by its path, or by a name to be looked for in [`SEARCH_PATH`].
    pub fn new(program: impl AsRef<Path>) -> Self {
        let path = program.as_ref();
        let found = if path.is_absolute() { None } else { path.to_str().and_then(|name| find(&[name])) };
        Program {
            path: found.unwrap_or_else(|| path.to_path_buf()),
            args: Vec::new(),
            env: vec![("PATH".into(), SEARCH_PATH.into()), ("LANG".into(), "C.UTF-8".into())],
            user: None,
            folder: "/".into(),
            input: Input::Nothing,
            timeout: None,
            heeds_signals: true,
            inherited: Vec::new(),
            capabilities: Vec::new(),
        }
    }

    /// Adds an argument. Never a secret: every user of the machine can read arguments.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable of its environment, which is otherwise empty but for PATH and LANG.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Runs it as this user.
    pub fn user(mut self, user: &Identity) -> Self {
        self.env.push(("HOME".into(), user.home.clone().into()));
        self.user = Some(user.clone());
        self
    }

    /// Lets it keep these capabilities (their numbers, from `linux/capability.h`) though it is not root.
    pub fn capabilities(mut self, capabilities: &[u32]) -> Self {
        self.capabilities = capabilities.to_vec();
        self
    }

    /// Runs it in this folder instead of `/`.
    pub fn folder(mut self, folder: &Path) -> Self {
        self.folder = folder.to_path_buf();
        self
    }

    /// Gives it these bytes on standard input.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Gives it a pipe on standard input, to be had with [`Running::stdin`].
    pub fn piped_input(mut self) -> Self {
        self.input = Input::Pipe;
        self
    }

    /// Ends it when it has run for so long; that is then an error.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Lets it run to its end although a signal has asked us to end: for what brings things back in order.
    pub fn despite_signals(mut self) -> Self {
        self.heeds_signals = false;
        self
    }

    /// Lends it an open file under the same number.
    pub fn inherit(mut self, fd: OwnedFd) -> Self {
        self.inherited.push(fd);
        self
    }

    /// A file in memory that only this program's user can open, and its path as the program will see it.
    /// Call it after [`Program::user`].
    pub fn secret_file(mut self, content: &[u8]) -> Result<(Self, PathBuf)> {
        let file = File::from(memfd_create(c"secret", MFdFlags::MFD_CLOEXEC)?);
        file.set_permissions(PermissionsExt::from_mode(0o600))?;
        file.write_all_at(content, 0)?;
        if let Some(user) = &self.user {
            std::os::unix::fs::fchown(&file, Some(user.uid), Some(user.gid))?;
        }
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        self.inherited.push(file.into());
        Ok((self, path))
    }

    fn child_setup(&self, outlives: bool) -> ChildSetup {
        ChildSetup {
            inherited: self.inherited.iter().map(AsRawFd::as_raw_fd).collect(),
            user: self.user.clone().filter(|user| user.uid != nix::unistd::geteuid().as_raw()),
            capabilities: self.capabilities.clone(),
            dies_with: (!outlives).then(nix::unistd::getpid),
        }
    }

    /// Starts it. Its standard output is a pipe; its end comes at the latest with the end of the calling thread.
    pub fn spawn(self) -> Result<Running> {
        let name = self.path.display().to_string();
        let mut command = Command::new(&self.path);
        command.args(&self.args).env_clear().envs(self.env.iter().cloned()).current_dir(&self.folder);
        command.stdin(if matches!(self.input, Input::Nothing) { Stdio::null() } else { Stdio::piped() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let setup = self.child_setup(false);
        // SAFETY: `apply` makes async-signal-safe calls only.
        unsafe { command.pre_exec(move || setup.apply()) };
        let mut child = command.spawn().or_fault(|| {
            Fault::failed(format!("cannot start {name}")).hint(format!("is {name} installed, and may it be run?"))
        })?;
        let stdin = child.stdin.take().map(|stdin| feed(stdin, self.input)).transpose()?.flatten();
        let stderr = child.stderr.take().map(|stderr| Tap::new(stderr, Keep::Last(STDERR_KEPT)));
        Ok(Running {
            name,
            stdout: child.stdout.take(),
            stdin,
            taps: stderr.into_iter().collect(),
            pidfd: open_pidfd(child.id())?,
            child,
            deadline: self.timeout.map(|timeout| (Instant::now() + timeout, timeout)),
            heeds_signals: self.heeds_signals,
            _inherited: self.inherited,
        })
    }

    /// Starts it so that it outlives us: its standard input is a pipe to us, which it may watch for our end; its
    /// standard error goes where ours goes.
    pub fn spawn_outliving(self) -> Result<Outliving> {
        let mut command = Command::new(&self.path);
        command.args(&self.args).env_clear().envs(self.env.iter().cloned()).current_dir(&self.folder);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let setup = self.child_setup(true);
        // SAFETY: `apply` makes async-signal-safe calls only.
        unsafe { command.pre_exec(move || setup.apply()) };
        let child = command.spawn().or_fault(|| Fault::failed(format!("cannot start {}", self.path.display())))?;
        Ok(Outliving { child })
    }

    /// Starts it so that it outlives us and has nothing of ours: neither terminal nor log.
    pub fn spawn_detached(self) -> Result<()> {
        let mut command = Command::new(&self.path);
        command.args(&self.args).env_clear().envs(self.env.iter().cloned()).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let setup = self.child_setup(true);
        // SAFETY: `apply` makes async-signal-safe calls only.
        unsafe { command.pre_exec(move || setup.apply()) };
        command.spawn().or_fault(|| Fault::failed(format!("cannot start {}", self.path.display())))?;
        Ok(())
    }

    /// Runs it to its end, however that is.
    pub fn output(self) -> Result<Output> {
        let mut running = self.spawn()?;
        let stdout = running.stdout.take().map(|stdout| Tap::new(stdout, Keep::First(STDOUT_KEPT)));
        running.taps.extend(stdout);
        running.finish()
    }

    /// Runs it to its end; any but exit code 0 is an error that carries what it wrote to standard error.
    pub fn success(self) -> Result<Output> {
        let name = self.path.display().to_string();
        let output = self.output()?;
        output.require_success(&name)?;
        Ok(output)
    }
}

impl Output {
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
    child: Child,
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
    name: String,
    /// Its standard output, until somebody takes it.
    pub stdout: Option<ChildStdout>,
    stdin: Option<ChildStdin>,
    /// Standard error, and standard output where it is not a stream of the caller's.
    taps: Vec<Tap>,
    pidfd: OwnedFd,
    child: Child,
    deadline: Option<(Instant, Duration)>,
    heeds_signals: bool,
    _inherited: Vec<OwnedFd>,
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

/// What happens in the child between fork and exec.
struct ChildSetup {
    inherited: Vec<RawFd>,
    user: Option<Identity>,
    capabilities: Vec<u32>,
    /// The process whose end ends it too.
    dies_with: Option<Pid>,
}

impl ChildSetup {
    fn apply(&self) -> std::io::Result<()> {
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

fn feed(mut stdin: ChildStdin, input: Input) -> Result<Option<ChildStdin>> {
    match input {
        Input::Pipe => Ok(Some(stdin)),
        Input::Nothing => Ok(None),
        Input::Bytes(bytes) => {
            // On a thread: a program that writes before it has read all would wait for us, and we for it.
            std::thread::spawn(move || stdin.write_all(&bytes));
            Ok(None)
        }
    }
}

/// A descriptor that becomes readable when the process ends.
fn open_pidfd(pid: u32) -> Result<OwnedFd> {
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
