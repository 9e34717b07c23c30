//! Waiting until what ran when the site was closed has ended: requests that were let in before, cron, background tasks.

use crate::database::{Session, Work};
use crate::error::Result;
use crate::sys::log::Log;
use crate::sys::signals;
use std::time::{Duration, Instant};

/// How often the database is asked.
const INTERVAL: Duration = Duration::from_millis(25);

/// Waits until nothing of Moodle's runs in the database, at most `limit`. What still runs then is named in a warning;
/// it costs at most that its own half-done work is in the moodledata of this backup: the dump is a snapshot anyhow.
pub fn drain(session: &mut Session, limit: Duration, log: &Log) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        let work = session.active_work()?;
        if work.is_empty() {
            if session.misses_idle_transactions() {
                log.detail(
                    "MariaDB tells of open but idle transactions only with the privilege PROCESS: those were not waited for",
                );
            }
            return Ok(());
        }
        if Instant::now() >= deadline {
            let names: Vec<String> = work.iter().map(describe).collect();
            log.warn(format!("after {} s the database was still busy with: {}", limit.as_secs(), names.join("; ")));
            return Ok(());
        }
        signals::wait(INTERVAL)?;
    }
}

fn describe(work: &Work) -> String {
    let query: String = work.query.chars().take(60).collect();
    format!("{} for {} s {query}", work.state, work.seconds).trim_end().to_owned()
}
