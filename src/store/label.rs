//! The names of backups: the UTC time at which the run began. Order is by sequence number, never by name.

use chrono::{DateTime, NaiveDateTime, Utc};
use std::fmt;

const FORM: &str = "%Y-%m-%dT%H%M%SZ";

/// The name of a backup: `2026-11-23T010003Z`, with `-2`, `-3` … behind it if that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Label(String);

impl Label {
    /// The name for a run that begins `now`; `taken` tells whether a name is in use already.
    pub fn new(now: DateTime<Utc>, taken: impl Fn(&str) -> bool) -> Label {
        let plain = now.format(FORM).to_string();
        if !taken(&plain) {
            return Label(plain);
        }
        let free = (2u64..).map(|number| format!("{plain}-{number}")).find(|name| !taken(name));
        Label(free.unwrap_or(plain))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a name has the form of a backup's.
pub fn is_label(name: &str) -> bool {
    time(name).is_some()
}

/// The time that a backup's name tells; `None` if it is no such name.
pub fn time(name: &str) -> Option<DateTime<Utc>> {
    // chrono takes a number with fewer digits than asked for, hence the look at the length first.
    let (plain, rest) = (name.get(..18)?, name.get(18..)?);
    let number = |rest: &str| rest.parse::<u64>().is_ok_and(|n| n >= 2 && n.to_string() == rest);
    if !(rest.is_empty() || rest.strip_prefix('-').is_some_and(number)) {
        return None;
    }
    Some(NaiveDateTime::parse_from_str(plain, FORM).ok()?.and_utc())
        .filter(|time| time.format(FORM).to_string() == plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone;

    #[test]
    fn a_taken_name_gets_a_number() {
        let now = Utc.with_ymd_and_hms(2026, 11, 23, 1, 0, 3).unwrap();
        assert_eq!(Label::new(now, |_| false).as_str(), "2026-11-23T010003Z");
        let taken = ["2026-11-23T010003Z", "2026-11-23T010003Z-2"];
        let label = Label::new(now, |name| taken.contains(&name));
        assert_eq!(label.as_str(), "2026-11-23T010003Z-3");
        assert_eq!(time(label.as_str()), Some(now));
    }

    #[test]
    fn other_names_are_none() {
        for name in
            ["", "latest", "2026-13-23T010003Z", "2026-11-23T010003", "2026-11-23T010003Z-1", "2026-11-23T010003Z-02"]
        {
            assert!(!is_label(name), "{name}");
        }
    }
}
