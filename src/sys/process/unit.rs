//! Programs in units of systemd's own: they are outside the sandbox and the control group of the unit that we run in.

use super::{Output, Program};
use crate::error::{Fault, OrFault, Result};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Duration;

/// systemd has its folder there if, and only if, it is what runs the machine (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";

/// Where D-Bus is to be had.
const BUS: &str = "/run/dbus/system_bus_socket";

/// How long systemd may take to begin or end a unit of ours.
const LIMIT: Duration = Duration::from_secs(30);

/// Whether systemd runs the machine.
pub fn systemd_runs() -> bool {
    Path::new(SYSTEMD).is_dir()
}

/// Whether we run in a sandbox of systemd's, which programs that are not ours should not be in, and can have them run
/// outside of it: waiting for the end of a unit takes D-Bus, which small systems may lack.
pub fn in_sandbox() -> bool {
    systemd_runs() && nix::sys::prctl::get_no_new_privs().unwrap_or(false) && Path::new(BUS).exists()
}

/// Starts a command, to be added with its options behind a `--`, as a unit of this name, and does not wait for it: it goes
/// on when the unit ends that we are in. Nothing secret may be in it: every user of the machine can read the properties
/// of units.
pub fn start(name: &str, description: &str) -> Program {
    Program::new("systemd-run")
        .args(["--quiet", "--collect", "--no-block"])
        .arg(format!("--unit={name}"))
        .arg(format!("--description={description}"))
        .timeout(LIMIT)
}

/// A word for the command line of a unit, where systemd would put in variables (systemd.service(5)).
pub fn word(text: &OsStr) -> OsString {
    let mut plain = Vec::with_capacity(text.len());
    for byte in text.as_bytes() {
        plain.extend(std::iter::repeat_n(*byte, if *byte == b'$' { 2 } else { 1 }));
    }
    OsString::from_vec(plain)
}

/// Ends a unit, and waits for its end.
fn stop(unit: &str) -> Result<()> {
    let stopped = Program::new("systemctl").args(["stop", unit]).despite_signals().timeout(LIMIT).success();
    stopped.map(drop).or_fault(|| Fault::failed(format!("cannot stop {unit}")))
}

impl Program {
    /// Runs it to its end; where we run in a sandbox, outside of it, in a unit of this name.
    pub fn output_outside(self, unit: &str) -> Result<Output> {
        if !in_sandbox() {
            return self.output();
        }
        self.in_unit(unit).output().inspect_err(|_| {
            // What it says of this must not hide why it came to this.
            let _ = stop(unit);
        })
    }

    /// The same in a unit of this name. It ends as the program does, which writes to the same places. Its environment
    /// can be read by every user of the machine. Ending it does not end the unit: see [`stop`].
    fn in_unit(self, unit: &str) -> Program {
        let mut outside = Program::new("systemd-run")
            .args(["--quiet", "--collect", "--wait", "--pipe"])
            .arg(format!("--unit={unit}"))
            .arg(joined("--working-directory=", self.folder.as_os_str()));
        for (name, value) in &self.env {
            outside = outside.arg(joined("--setenv=", &joined_by_equals(name, value)));
        }
        if let Some(user) = &self.user {
            outside = outside.arg(format!("--uid={}", user.name)).arg(format!("--gid={}", user.gid));
        }
        if !self.capabilities.is_empty() {
            let numbers: Vec<String> = self.capabilities.iter().map(u32::to_string).collect();
            outside = outside.arg(format!("--property=AmbientCapabilities={}", numbers.join(" ")));
        }
        if let Some(timeout) = self.timeout {
            // Should we be killed and not end it.
            outside = outside.arg(format!("--property=RuntimeMaxSec={}", timeout.as_secs() + 1));
            outside = outside.timeout(timeout);
        }
        outside.heeds_signals = self.heeds_signals;
        outside.arg("--").arg(&self.path).args(self.args.iter().map(|arg| word(arg)))
    }
}

fn joined(before: &str, after: &OsStr) -> OsString {
    let mut joined = OsString::from(before);
    joined.push(after);
    joined
}

fn joined_by_equals(name: &OsStr, value: &OsStr) -> OsString {
    let mut joined = name.to_owned();
    joined.push("=");
    joined.push(value);
    joined
}
