//! Syslog: one line when a run begins, one when it ends, as server monitoring likes it. Where there is no syslog,
//! nothing is said.

use crate::report::outcome::{Ending, Outcome};
use crate::sys::log::plain;
use syslog::{Facility, Formatter3164, Logger, LoggerBackend};

/// The machine's syslog, if it has one.
pub struct Syslog(Option<std::cell::RefCell<Logger<LoggerBackend, Formatter3164>>>);

impl Syslog {
    /// Connects.
    pub fn open() -> Self {
        let formatter = Formatter3164 {
            facility: Facility::LOG_DAEMON,
            hostname: None,
            process: "moodle-backup".into(),
            pid: std::process::id(),
        };
        Syslog(syslog::unix(formatter).ok().map(std::cell::RefCell::new))
    }

    /// A line of information.
    pub fn info(&self, message: String) {
        if let Some(logger) = &self.0 {
            let _ = logger.borrow_mut().info(message);
        }
    }

    /// A line at error priority.
    pub fn error(&self, message: String) {
        if let Some(logger) = &self.0 {
            let _ = logger.borrow_mut().err(message);
        }
    }

    /// How a run ended: at error priority if there is no backup.
    pub fn end(&self, outcome: &Outcome) {
        let Some(logger) = &self.0 else { return };
        let mut message = format!("backup of site {}: {}", outcome.site, outcome.result.words());
        if let Some(backup) = &outcome.backup {
            message += &format!(", {backup} in {:.0} s", outcome.took_seconds);
        }
        if let Some(seconds) = outcome.closed_seconds {
            message += &format!(", site closed for {seconds:.1} s");
        }
        if let Some(failure) = &outcome.failure {
            message += &format!(": {}", failure.error);
        }
        let message = plain(&message);
        let mut logger = logger.borrow_mut();
        let _ = match outcome.result {
            Ending::Done | Ending::Skipped => logger.info(message),
            Ending::Warnings => logger.warning(message),
            Ending::Failed | Ending::Interrupted | Ending::Refused => logger.err(message),
        };
    }
}
