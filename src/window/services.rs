//! Stopping and starting systemd units round the window. Which ones is said by the settings.

use crate::error::{Fault, OrFault, Result};
use crate::sys::log::Log;
use crate::sys::process::Program;
use std::time::Duration;

/// A web server that waits for its last requests may take a while.
const TIMEOUT: Duration = Duration::from_secs(100);

/// Those of these units that run now, and so are to be started again.
pub fn active(units: &[String]) -> Result<Vec<String>> {
    let mut active = Vec::new();
    for unit in units {
        let output = systemctl(&["is-active", "--quiet", unit]).output().or_fault(|| {
            Fault::unfit(format!("cannot ask systemd about {unit}"))
                .hint("services can be stopped only where systemd runs: leave services in [site] empty")
        })?;
        if output.status.success() {
            active.push(unit.clone());
        }
    }
    Ok(active)
}

/// Stops units.
pub(super) fn stop(units: &[String], log: &Log) -> Result<()> {
    for unit in units {
        log.info(format!("stopping {unit}"));
        systemctl(&["stop", unit]).success().or_fault(|| Fault::failed(format!("cannot stop {unit}")))?;
    }
    Ok(())
}

/// Starts units, each even if another cannot be started.
pub(super) fn start(units: &[String], log: &Log) -> Result<()> {
    let mut result = Ok(());
    for unit in units {
        log.info(format!("starting {unit}"));
        let started = systemctl(&["start", unit]).despite_signals().success().or_fault(|| {
            Fault::failed(format!("cannot start {unit}"))
                .hint(format!("systemctl status {unit}; systemctl start {unit}"))
        });
        result = result.and(started.map(drop));
    }
    result
}

/// Has units that run read everything anew, without ending what they are at: PHP may keep code in memory and never look whether its
/// files have changed (`opcache.validate_timestamps=0`). What cannot be done is a warning.
pub fn reload(units: &[String], log: &Log) {
    for unit in units {
        let reloaded = systemctl(&["try-reload-or-restart", unit]).success();
        match reloaded {
            Ok(_) => log.info(format!("{unit} was reloaded, so that it serves the code that is there now")),
            Err(error) => log.warn(format!(
                "{unit} cannot be reloaded, and may go on with the code from before: systemctl restart {unit} ({error:#})"
            )),
        }
    }
}

fn systemctl(args: &[&str]) -> Program {
    Program::new("systemctl").args(args).timeout(TIMEOUT)
}
