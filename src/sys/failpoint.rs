//! Failing on purpose, for the fault tests only: `MOODLE_BACKUP_FAILPOINT=<step>=<how>[:<nth time>]`.
//! Compiled only with the feature `failpoints`.

use crate::error::{Fault, Result};
use nix::sys::signal::{Signal, raise};
use std::sync::atomic::{AtomicU32, Ordering};

static SEEN: AtomicU32 = AtomicU32::new(0);

/// Does what the environment asks for at this step.
pub fn strike(step: &str) -> Result<()> {
    let Ok(spec) = std::env::var("MOODLE_BACKUP_FAILPOINT") else { return Ok(()) };
    let Some((name, how)) = spec.split_once('=') else { return Ok(()) };
    let (how, nth) = how.split_once(':').unwrap_or((how, "1"));
    if name != step || SEEN.fetch_add(1, Ordering::SeqCst) + 1 != nth.parse().unwrap_or(1) {
        return Ok(());
    }
    match how {
        "error" => Err(Fault::failed(format!("failed on purpose at {step}")).into()),
        "panic" => panic!("panicked on purpose at {step}"),
        "term" => Ok(raise(Signal::SIGTERM)?),
        "kill" => Ok(raise(Signal::SIGKILL)?),
        // For a test that does something to the world meanwhile, and then lets the run go on.
        "stop" => Ok(raise(Signal::SIGSTOP)?),
        "hang" => loop {
            std::thread::park();
        },
        _ => Err(Fault::failed(format!("MOODLE_BACKUP_FAILPOINT does not know {how:?}")).into()),
    }
}
