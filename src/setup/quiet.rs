//! When a site is used least, by its own log: the hour that is proposed for the night's backup.

use crate::error::Result;
use crate::moodle::table;
use crate::preflight::Site;
use crate::sys::time;
use chrono::{Local, Offset};
use std::time::Duration;

/// How long the database may think about it.
const LIMIT: Duration = Duration::from_secs(15);

const DAYS: i64 = 7;

/// The hours that are proposed, the best first where they are alike. Not three o'clock: Moodle's own tasks empty a table
/// about then, which disturbs a dump.
const NIGHT: [(usize, u32); 6] = [(1, 30), (2, 0), (0, 30), (4, 30), (23, 30), (5, 30)];

/// How busy a site is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// Log entries in each hour of the day, by this server's clock, of the last seven days.
    pub by_hour: [u64; 24],
    /// The proposal: hour and minute.
    pub proposed: (u32, u32),
}

/// Looks into Moodle's standard log; `None` where it is empty.
pub fn quiet_hour(site: &Site) -> Result<Option<Quiet>> {
    let mut session = site.connection.session()?;
    session.end_after(LIMIT)?;
    let table = table(&site.connection, &site.config.prefix, "logstore_standard_log")?;
    let since = time::now().timestamp() - DAYS * 86_400;
    // Some clocks differ from UTC by half hours.
    let offset = Local::now().offset().fix().local_minus_utc();
    let hour = format!("FLOOR(MOD(timecreated + {offset}, 86400) / 3600)");
    // There is an index on timecreated.
    let rows = session
        .query(&format!("SELECT {hour} AS hour, COUNT(*) FROM {table} WHERE timecreated > {since} GROUP BY {hour}"))?;
    let mut by_hour = [0; 24];
    for row in rows {
        let numbers: Option<Vec<i32>> = row.into_iter().map(|field| field?.split('.').next()?.parse().ok()).collect();
        if let Some(&[hour, count]) = numbers.as_deref() {
            by_hour[usize::try_from(hour.rem_euclid(24)).unwrap_or(0)] += u64::try_from(count).unwrap_or(0);
        }
    }
    Ok(if by_hour == [0; 24] { None } else { Some(Quiet { by_hour, proposed: proposed(&by_hour) }) })
}

fn proposed(by_hour: &[u64; 24]) -> (u32, u32) {
    let least = NIGHT.iter().map(|(hour, _)| by_hour[*hour]).min().unwrap_or(0);
    // A tenth more or less is chance.
    let good = NIGHT.iter().find(|(hour, _)| by_hour[*hour] * 10 <= least * 11 + 10);
    good.map_or((1, 30), |(hour, minute)| (u32::try_from(*hour).unwrap_or(1), *minute))
}

/// Why an hour is a bad one for a backup, by the site's log, where that is so.
pub fn doubt(quiet: &Quiet, time: &str) -> Option<String> {
    let (hour, _) = super::answers::time_of_day(time).ok().flatten()?;
    let entries = |hour: u32| usize::try_from(hour).map_or(0, |hour| quiet.by_hour[hour]) / DAYS.unsigned_abs();
    let (there, best) = (entries(hour), entries(quiet.proposed.0));
    // A handful of entries is nobody.
    (there > 10 && there > 4 * best).then(|| {
        format!(
            "at {time} the site is in use: its log has about {there} entries in that hour each day, and {best} at {}:00",
            quiet.proposed.0
        )
    })
}

/// What is said of a site whose log tells nothing.
pub const UNKNOWN: &str =
    "The site's log does not tell when it is used least: nothing was logged last week, or it is kept elsewhere.";

/// The same in words.
pub fn told(quiet: &Quiet) -> String {
    let (hour, _) = quiet.proposed;
    let there = usize::try_from(hour).map_or(0, |hour| quiet.by_hour[hour]);
    let most = quiet.by_hour.iter().max().copied().unwrap_or(0);
    format!(
        "By its log of the last week, the site has about {} entries between {hour}:00 and {}:00 each night, and up to {} in \
         its busiest hour.",
        there / DAYS.unsigned_abs(),
        (hour + 1) % 24,
        most / DAYS.unsigned_abs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_in_which_the_site_is_used_is_a_doubt() {
        let mut by_hour = [70; 24];
        by_hour[9] = 7000;
        let quiet = Quiet { by_hour, proposed: (1, 30) };
        assert!(doubt(&quiet, "09:15").unwrap().contains("about 1000 entries"));
        assert_eq!((doubt(&quiet, "04:00"), doubt(&quiet, "never")), (None, None));
    }

    #[test]
    fn the_quietest_hour_of_the_night_is_proposed() {
        let mut by_hour = [1000; 24];
        assert_eq!(proposed(&by_hour), (1, 30), "all alike");
        by_hour[4] = 10;
        by_hour[3] = 0;
        assert_eq!(proposed(&by_hour), (4, 30), "never three o'clock");
        by_hour[1] = 11;
        assert_eq!(proposed(&by_hour), (1, 30), "as good as the best");
    }
}
