//! A site, a target and settings in one: what most black-box tests need, and the program run on it.
//!
//! The program keeps its own things below a folder of this world, so worlds do not meet.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::janitor::{self, Leftover, Watch};
use super::scratch::{Scratch, text};
use super::site::PocketSite;
use super::target::TestTarget;

/// A run that takes longer is killed, and fails its test.
const LIMIT: Duration = Duration::from_secs(180);
const ROOT_VARIABLE: &str = "MOODLE_BACKUP_ROOT";

/// How a run of the program ended, and what it said.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Panics with all that was said unless the exit code is this one.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "signal {:?}\n{}\n{}", self.signal, self.stdout, self.stderr);
        self
    }
}

/// A world to be.
pub struct WorldBuilder {
    site: PocketSite,
    target: Option<TestTarget>,
    settings: String,
    serve: bool,
}

impl WorldBuilder {
    /// Another target than a plain folder.
    pub fn target(mut self, target: TestTarget) -> Self {
        self.target = Some(target);
        self
    }

    /// Further lines for the settings file, after `[site]` and `[target]`.
    pub fn settings(mut self, toml: &str) -> Self {
        self.settings.push_str(toml);
        self.settings.push('\n');
        self
    }

    /// Leaves the site without a web server: for tests that do not look at it.
    pub fn without_web(mut self) -> Self {
        self.serve = false;
        self
    }

    pub fn build(mut self) -> World {
        if self.serve {
            self.site.serve();
        }
        let own = Scratch::new();
        let root = own.join("root");
        for folder in ["etc/moodle-backup", "var/lib/moodle-backup", "var/log/moodle-backup", "run/moodle-backup"] {
            std::fs::create_dir_all(root.join(folder)).expect("a folder can be made");
        }
        let watch = janitor::watch(&Leftover::Environment(&format!("{ROOT_VARIABLE}={}", text(&root))));
        let target = self.target.unwrap_or_else(TestTarget::folder);
        let world = World { site: self.site, target, root, environment: Vec::new(), own, _watch: watch };
        world.write_settings(&self.settings);
        world
    }
}

/// A site with a target, settings, and the program's own folders.
pub struct World {
    pub site: PocketSite,
    pub target: TestTarget,
    /// What stands before /etc/moodle-backup and its like.
    pub root: PathBuf,
    environment: Vec<(String, OsString)>,
    _watch: Watch,
    own: Scratch,
}

impl World {
    /// A world around a small site of this kind, on a plain folder, served.
    pub fn builder(site: PocketSite) -> WorldBuilder {
        WorldBuilder { site, target: None, settings: String::new(), serve: true }
    }

    pub fn settings_file(&self) -> PathBuf {
        self.root.join("etc/moodle-backup/settings.toml")
    }

    /// Writes the least that settings can be, and what is added.
    pub fn write_settings(&self, more: &str) {
        let minimal = format!(
            "[site]\nname = \"pocket\"\nroot = {:?}\n\n[target]\npath = {:?}\n\n",
            text(&self.site.root),
            text(self.target.path()),
        );
        std::fs::write(self.settings_file(), minimal + more).expect("settings can be written");
    }

    /// The site's folder on the target.
    pub fn site_folder(&self) -> PathBuf {
        self.target.path().join("pocket")
    }

    /// Names of the published backups, in order.
    pub fn backups(&self) -> Vec<String> {
        let Ok(found) = std::fs::read_dir(self.site_folder()) else { return Vec::new() };
        let names = found.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut backups: Vec<String> = names.filter(|name| name.starts_with("20")).collect();
        backups.sort();
        backups
    }

    /// A folder of this world for whatever a test needs.
    pub fn scratch(&self) -> &Scratch {
        &self.own
    }

    /// A variable for all later runs.
    pub fn set_env(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.into(), value.into()));
    }

    /// The program with these arguments, in an environment that holds nothing of ours.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(args).env_clear().env(ROOT_VARIABLE, &self.root).current_dir("/");
        command.env("LANG", "C.UTF-8").env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the program to its end.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Output {
        self.spawn(args).wait()
    }

    /// Starts the program, for tests that do something to it.
    pub fn spawn(&self, args: &[&str]) -> Running {
        Running::start(self.command(args))
    }

    /// Processes of this world that are alive, by id and command line: the program, and what it started.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let wanted = format!("{ROOT_VARIABLE}={}", text(&self.root));
        let found = std::fs::read_dir("/proc").expect("processes can be listed").flatten();
        let ids = found.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter(|id| environment_has(*id, &wanted)).map(|id| (id, command_line(id))).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A guard or a detached run of a failed test would hold the target.
        for (id, _) in self.processes() {
            let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

/// A run under way; dropping it kills it with its group.
pub struct Running {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
    deadline: Instant,
    _watch: Watch,
}

impl Running {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let watch = janitor::watch(&Leftover::Group { id: child.id().cast_signed(), signal: "KILL" });
        let stdout = child.stdout.take().map(read_all);
        let stderr = child.stderr.take().map(read_all);
        Running { child, stdout, stderr, deadline: Instant::now() + LIMIT, _watch: watch }
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

    /// Waits for its end; kills it and panics if that takes too long.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        while !self.has_ended() {
            if Instant::now() > self.deadline {
                self.kill_group();
                let output = self.output();
                panic!("the run did not end within {LIMIT:?}\n{}\n{}", output.stdout, output.stderr);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.output()
    }

    fn output(&mut self) -> Output {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.wait().expect("a child can be waited for");
        // A child that outlives it may hold the pipe, so its words so far have to do.
        let words = |reader: Option<JoinHandle<String>>| reader.map(|thread| thread.join().unwrap_or_default());
        Output {
            code: status.code(),
            signal: status.signal(),
            stdout: words(self.stdout.take()).unwrap_or_default(),
            stderr: words(self.stderr.take()).unwrap_or_default(),
        }
    }

    fn kill_group(&self) {
        let _ = nix::sys::signal::killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill_group();
        let _ = self.child.wait();
    }
}

/// Reads a pipe to its end in a thread of its own, so that neither pipe fills up.
fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The built program.
pub fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_moodle-backup"))
}

fn environment_has(process: i32, entry: &str) -> bool {
    let environment = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|found| found == entry.as_bytes())
}

fn command_line(process: i32) -> String {
    let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ").trim_end().to_owned()
}
