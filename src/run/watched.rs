//! Work in this process that is watched on a terminal: a bar there tells how far it is.

use super::Session;
use crate::error::{Fault, Result};
use crate::report::progress::Follower;
use crate::sys::log::{Log, Verbosity};
use std::io::IsTerminal;
use std::time::Duration;

/// How often the progress is shown.
const INTERVAL: Duration = Duration::from_millis(250);

/// Does the work, and shows on a terminal how far it is.
pub fn shown<T: Send>(session: &Session, work: impl FnOnce(&Log) -> Result<T> + Send) -> Result<T> {
    if !std::io::stderr().is_terminal() || session.global.verbosity() != Verbosity::Normal {
        return work(&session.log);
    }
    // The bar tells what the lines of a log would.
    let log = Log::to_stderr(Verbosity::Quiet);
    let mut follower = Follower::new(true);
    std::thread::scope(|scope| {
        let working = scope.spawn(|| work(&log));
        while !working.is_finished() {
            follower.show(&log.activity());
            std::thread::park_timeout(INTERVAL);
        }
        follower.finish();
        working
            .join()
            .unwrap_or_else(|_| Err(Fault::failed("the program has a mistake and gave up (see above)").into()))
    })
}
