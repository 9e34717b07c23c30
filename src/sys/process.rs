//! The only place that starts programs: with a clean environment, as a named user, with secrets that no
//! other user can see, and always with an end. Knows no program by name, but for systemd's (`unit`).

pub mod unit;

mod child;
mod running;

pub use running::{Outliving, Output, Running};

use super::privileges::Identity;
use super::tap::{Keep, Tap};
use crate::error::{Fault, OrFault, Result};
use child::ChildSetup;
use nix::sys::memfd::{MFdFlags, memfd_create};
use running::open_pidfd;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// Where programs are looked for: the caller's own PATH is not trusted.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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
