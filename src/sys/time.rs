//! The clock, in UTC. Holds no arithmetic of calendars: that is retention's.

use chrono::{DateTime, Utc};

/// The time now. Builds for the fault tests can shift it by `MOODLE_BACKUP_CLOCK_SHIFT` seconds.
pub fn now() -> DateTime<Utc> {
    #[cfg(feature = "failpoints")]
    if let Some(seconds) = std::env::var("MOODLE_BACKUP_CLOCK_SHIFT").ok().and_then(|s| s.parse().ok()) {
        return Utc::now() + chrono::TimeDelta::seconds(seconds);
    }
    Utc::now()
}
