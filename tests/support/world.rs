//! A site, a target and settings in one: what most black-box tests need, and the program run on it.
//!
//! The program keeps its own things below a folder of this world, so worlds do not meet. How a run is watched and ended
//! is in `running`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::janitor::{self, Leftover, Watch};
use super::running::{Output, Running};
use super::scratch::{Scratch, text};
use super::site::PocketSite;
use super::target::TestTarget;

/// A run that takes longer is killed, and fails its test.
const LIMIT: Duration = Duration::from_secs(180);
const ROOT_VARIABLE: &str = "MOODLE_BACKUP_ROOT";

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
        let world = World { site: self.site, target, root, environment: Vec::new(), limit: LIMIT, own, _watch: watch };
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
    limit: Duration,
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

    /// What the log of the last restore says.
    pub fn restore_log(&self) -> String {
        let logs = std::fs::read_dir(self.root.join("var/log/moodle-backup")).expect("there are logs").flatten();
        let logs = logs.map(|entry| entry.path()).filter(|path| path.to_string_lossy().contains("-restore-"));
        std::fs::read_to_string(logs.max().expect("a log of a restore")).expect("a log can be read")
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
        Running::start(self.command(args), self.limit)
    }

    /// Starts the program with something to happen at a step: see `MOODLE_BACKUP_FAILPOINT`. Needs a build with the
    /// feature `failpoints`.
    pub fn spawn_failing(&mut self, args: &[&str], step: &str, how: &str) -> Running {
        self.set_env("MOODLE_BACKUP_FAILPOINT", format!("{step}={how}"));
        let run = self.spawn(args);
        self.set_env("MOODLE_BACKUP_FAILPOINT", "");
        run
    }

    /// Starts a run that stops at a step, and waits until it stands there.
    pub fn spawn_stopped(&mut self, step: &str) -> Running {
        let run = self.spawn_failing(&["run"], step, "stop");
        run.wait_until_stopped();
        run
    }

    /// How long a run may take from now on: benches need more than tests.
    pub fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
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
