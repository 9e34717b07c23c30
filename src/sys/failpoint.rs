//! Failing on purpose, for the fault tests only: `MOODLE_BACKUP_FAILPOINT=<step>=<how>[:<nth time>]`,
//! several with commas between them.
//! Compiled only with the feature `failpoints`.

use crate::error::{Fault, Result};
use nix::sys::signal::{Signal, raise};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// How often each step has been met.
static SEEN: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

/// Does what the environment asks for at this step.
pub fn strike(step: &str) -> Result<()> {
    let Ok(specs) = std::env::var("MOODLE_BACKUP_FAILPOINT") else { return Ok(()) };
    let how = specs.split(',').filter_map(|spec| spec.split_once('=')).find(|(name, _)| *name == step);
    let Some((_, how)) = how else { return Ok(()) };
    let (how, nth) = how.split_once(':').unwrap_or((how, "1"));
    let seen = {
        let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        let count = seen.entry(step.to_owned()).or_default();
        *count += 1;
        *count
    };
    if seen != nth.parse().unwrap_or(1) {
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
