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

fn systemctl(args: &[&str]) -> Program {
    Program::new("systemctl").args(args).timeout(TIMEOUT)
}
