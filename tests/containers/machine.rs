//! A machine: a container with an init of its own, booted from a root that it does not change, on a network of its own.
//! Knows nothing of the program or of sites.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Daemon, Disk, Scratch, Terminal, TestTarget, succeed, wait_for};

const BOOT: Duration = Duration::from_secs(90);

/// Starts a container in control groups of its own, whichever hierarchies there are: without, all containers would share one.
const LAUNCH: &str = r#"
name=$1; shift
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
    [ -e "$hierarchy/cgroup.procs" ] || continue
    mkdir -p "$hierarchy/$name" && echo $$ >"$hierarchy/$name/cgroup.procs" || true
done 2>/dev/null
exec systemd-nspawn --quiet --register=no --keep-unit --private-network --machine="$name" "$@"
"#;

/// Takes away the control groups that a container leaves, as soon as the last of its processes is gone.
const SWEEP: &str = r#"
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    find /sys/fs/cgroup -depth -type d "(" -path "*/$1" -o -path "*/$1/*" ")" -exec rmdir {} ";" 2>/dev/null
    find /sys/fs/cgroup -type d -path "*/$1" | grep -q . || exit 0
    sleep 0.1
done
"#;

/// A machine, on or off.
pub struct Machine {
    name: String,
    // In the order in which they have to go.
    running: Option<Running>,
    root: TestTarget,
    disk: TestTarget,
    blank: Disk,
    log: Scratch,
    one_hierarchy: bool,
}

struct Running {
    container: Daemon,
    init: Pid,
}

impl Machine {
    /// A machine with this root, and a disk beside it.
    pub fn new(root: &Path, disk_mebibytes: u64) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("mbt-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let root = TestTarget::overlay(root);
        // Each machine is another.
        std::fs::write(root.path().join("etc/machine-id"), "").expect("a file can be written");
        // A base system of Debian 11 has none.
        std::fs::write(root.path().join("etc/hosts"), "127.0.0.1 localhost\n").expect("a file can be written");
        Machine {
            name,
            running: None,
            root,
            disk: TestTarget::ext4(disk_mebibytes),
            blank: Disk::of_mebibytes(disk_mebibytes),
            log: Scratch::on_machine(),
            one_hierarchy: false,
        }
    }

    /// The same with one hierarchy of control groups, whatever there is outside of it.
    pub fn with_one_hierarchy(mut self, wanted: bool) -> Self {
        self.one_hierarchy = wanted;
        self
    }

    /// Its disk: a device that has the same name there as here.
    pub fn disk(&self) -> &TestTarget {
        &self.disk
    }

    /// Another disk, on which nothing is yet.
    pub fn blank(&self) -> &Disk {
        &self.blank
    }

    /// A path of the machine as seen from outside.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    /// Switches it on and waits until it is up.
    pub fn boot(&mut self) {
        let mut command = Command::new("sh");
        command.args(["-c", LAUNCH, "sh", &self.name]).arg("-D").arg(self.root.path());
        for disk in [self.disk.device(), self.blank.path.clone()] {
            command.arg(format!("--bind={}", disk.display()));
        }
        if self.one_hierarchy {
            command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
        }
        command.arg("--boot");
        let container = Daemon::start(&mut command, Signal::SIGKILL, &self.log.join("console"), || true);
        let children = format!("/proc/{0}/task/{0}/children", container.id());
        // The shell that has not become the container yet has children of its own.
        let is_init =
            |pid: &i32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("systemd"));
        let mut init = None;
        wait_for("the container to start", BOOT, || {
            let found = std::fs::read_to_string(&children).unwrap_or_default();
            init = found.split_whitespace().filter_map(|pid| pid.parse().ok()).find(is_init);
            init.is_some()
        });
        let init = Pid::from_raw(init.expect("it was waited for"));
        self.running = Some(Running { container, init });
        wait_for("the machine to be up", BOOT, || {
            let state = self.run(&["systemctl", "is-system-running"]);
            matches!(String::from_utf8_lossy(&state.stdout).trim(), "running" | "degraded")
        });
    }

    /// A command to be run there, as by root at a shell.
    pub fn command(&self, words: &[&str]) -> Command {
        let init = self.running.as_ref().expect("the machine is on").init;
        let mut command = Command::new("nsenter");
        command.args(["--target", &init.to_string(), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]);
        command.args(["--root", "--wd", "env", "--ignore-environment", "HOME=/root", "LANG=C.UTF-8", "TERM=xterm"]);
        command.arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").args(words);
        command
    }

    /// Runs a command there to its end.
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).stdin(Stdio::null()).output().expect("nsenter starts")
    }

    /// Runs a script of the shell there, which must succeed, and returns what it printed.
    #[track_caller]
    pub fn shell(&self, script: &str) -> String {
        let words = succeed(&mut self.command(&["sh", "-euc", script]));
        String::from_utf8_lossy(&words).trim_end().to_owned()
    }

    /// Whether a script of the shell ends well there.
    pub fn holds(&self, script: &str) -> bool {
        self.run(&["sh", "-euc", script]).status.success()
    }

    /// Waits until a script of the shell ends well there.
    #[track_caller]
    pub fn wait_until(&self, script: &str) {
        wait_for(script, Duration::from_secs(60), || self.holds(script));
    }

    /// A command on a terminal there.
    pub fn terminal(&self, words: &[&str]) -> Terminal {
        Terminal::start(self.command(words))
    }

    /// Shuts it down in good order.
    pub fn shut_down(&mut self) {
        let Running { mut container, init } = self.running.take().expect("the machine is on");
        // What asks systemd for it, with all that belongs to it (systemd(1)).
        let power_off = nix::libc::SIGRTMIN() + 4;
        // SAFETY: kill(2) takes integers.
        assert_eq!(unsafe { nix::libc::kill(init.as_raw(), power_off) }, 0, "the machine is on");
        wait_for("the machine to be off", BOOT, || container.has_ended());
        drop(container);
        succeed(Command::new("sh").args(["-c", SWEEP, "sh", &self.name]));
    }

    /// Ends everything on it at once; what was not in its memory alone is still there.
    pub fn cut_power(&mut self) {
        let running = self.running.take().expect("the machine is on");
        let _ = kill(running.init, Signal::SIGKILL);
        drop(running.container);
        succeed(Command::new("sh").args(["-c", SWEEP, "sh", &self.name]));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.cut_power();
        }
    }
}
