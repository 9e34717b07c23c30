//! systemd, where it runs the machine. What is started as a unit of its own goes on when the unit ends that we are in.
//! What that is, is the caller's matter.

use super::process::Program;
use std::path::Path;
use std::time::Duration;

/// systemd has its folder there if, and only if, it is what runs the machine (sd_booted(3)).
const FOLDER: &str = "/run/systemd/system";

/// How long systemd may take to accept a unit; it is not asked to wait until that has started.
const LIMIT: Duration = Duration::from_secs(30);

/// Whether systemd runs the machine.
pub fn runs() -> bool {
    Path::new(FOLDER).is_dir()
}

/// Starts a command, to be added with its options behind a `--`, as a unit of this name, and does not wait for it.
/// Nothing secret may be in it: every user of the machine can read the properties of units.
pub fn transient_unit(name: &str, description: &str) -> Program {
    Program::new("systemd-run")
        .args(["--quiet", "--collect", "--no-block"])
        .arg(format!("--unit={name}"))
        .arg(format!("--description={description}"))
        .timeout(LIMIT)
}
