//! Which backups there are, and finding the one that is meant.

use super::{Manifest, Notes, Store, label, layout, sums};
use crate::error::{Fault, OrFault, Result};
use crate::sys::lock::{Lock, Mode};
use chrono::{DateTime, Days, Local, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Utc};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

/// How long holding a backup may take that is not being removed.
const HOLD_LIMIT: Duration = Duration::from_secs(1);

/// A published backup.
#[derive(Clone, Debug, PartialEq)]
pub struct Backup {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// What it is.
    pub manifest: Manifest,
    /// What was learnt about it since.
    pub notes: Notes,
}

/// A backup whose manifest cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// All that lies in a site's folder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// The backups, oldest first, by sequence number.
    pub backups: Vec<Backup>,
    /// Names of backups being made, or left by a run that died.
    pub partial: Vec<String>,
    /// Names of backups being removed.
    pub removing: Vec<String>,
    /// Names that the program did not put there.
    pub unknown: Vec<OsString>,
    /// Backups whose manifests cannot be read.
    pub unreadable: Vec<Unreadable>,
}

impl Store {
    /// All that lies in the site's folder.
    pub fn backups(&self) -> Result<Listing> {
        let fault = || Fault::failed(format!("cannot read the folder {}", self.folder.display()));
        let mut listing = Listing::default();
        for entry in std::fs::read_dir(&self.folder).or_fault(fault)? {
            let name = entry.or_fault(fault)?.file_name();
            let text = || name.to_string_lossy().into_owned();
            match layout::classify(name.as_bytes()) {
                layout::Name::Backup => listing.add(self, text()),
                layout::Name::Partial => listing.partial.push(text()),
                layout::Name::Removing => listing.removing.push(text()),
                layout::Name::Own => {}
                layout::Name::Unknown => listing.unknown.push(name),
            }
        }
        listing.backups.sort_by(|a, b| a.order().cmp(&b.order()));
        listing.partial.sort();
        listing.removing.sort();
        listing.unknown.sort();
        listing.unreadable.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    /// The names of the backups, newest first, by what they are called: nothing in them is read.
    pub fn names(&self) -> std::io::Result<Vec<String>> {
        let entries = std::fs::read_dir(&self.folder)?.collect::<std::io::Result<Vec<_>>>()?;
        let names = entries.into_iter().map(|entry| entry.file_name());
        let backups = names.filter(|name| layout::classify(name.as_bytes()) == layout::Name::Backup);
        let mut backups: Vec<String> = backups.filter_map(|name| name.into_string().ok()).collect();
        backups.sort_by(|a, b| b.cmp(a));
        Ok(backups)
    }

    /// The backup that `text` means: its name, `latest`, or a date or time as in [`Listing::find`].
    pub fn find(&self, text: &str) -> Result<Backup> {
        self.backups()?.find(text, &Local)
    }

    /// What is wrong with the link to the newest backup, if anything. Nothing but people goes by it.
    pub fn trouble_with_latest(&self, listing: &Listing) -> Option<String> {
        let newest = listing.newest()?;
        let points_to = std::fs::read_link(self.folder.join(layout::LATEST));
        let name = points_to.as_deref().ok().and_then(std::path::Path::to_str).unwrap_or_default();
        let may_be_newer = |one: &Unreadable| one.name == name && one.name > newest.name;
        if name == newest.name || listing.unreadable.iter().any(may_be_newer) {
            return None;
        }
        let state = match points_to {
            Ok(other) => format!("points to {}", other.display()),
            Err(error) => format!("cannot be read ({error})"),
        };
        Some(format!("the link latest {state}, and the newest backup is {}; the next run puts it right", newest.name))
    }

    /// The number of the next backup: higher than that of any that can be read.
    pub fn next_sequence(&self) -> Result<u64> {
        Ok(self.backups()?.backups.last().map_or(1, |newest| newest.manifest.sequence + 1))
    }
}

impl Listing {
    fn add(&mut self, store: &Store, name: String) {
        let path = store.folder().join(&name);
        match Manifest::read(&path) {
            Ok(manifest) if manifest.label != name => {
                let reason = format!("the manifest in it is that of backup {}", manifest.label);
                self.unreadable.push(Unreadable { name, reason });
            }
            Ok(manifest) => {
                let notes = store.notes(&name);
                self.backups.push(Backup { name, path, manifest, notes });
            }
            Err(error) => self.unreadable.push(Unreadable { name, reason: format!("{error:#}") }),
        }
    }

    /// The newest backup.
    pub fn newest(&self) -> Option<&Backup> {
        self.backups.last()
    }

    /// The backup that `text` means: its name, `latest`, or the last one before the end of a day
    /// (`2026-11-20`) or minute (`2026-11-20 14:00`) of `zone`; with a `Z` behind it, of UTC.
    pub fn find(&self, text: &str, zone: &impl TimeZone) -> Result<Backup> {
        if let Some(backup) = self.backups.iter().find(|backup| backup.name == text) {
            return Ok(backup.clone());
        }
        if let Some(unreadable) = self.unreadable.iter().find(|unreadable| unreadable.name == text) {
            return Err(Fault::failed(format!("backup {text} is damaged: {}", unreadable.reason))
                .hint("RESTORE.txt in it tells how to bring it back by hand")
                .into());
        }
        let found = if text == "latest" && self.backups.is_empty() && !self.unreadable.is_empty() {
            return Err(Fault::failed("of the backups that are there none can be read")
                .hint("\"moodle-backup list\" tells why; RESTORE.txt in each tells how to bring it back by hand")
                .into());
        } else if text == "latest" {
            self.newest()
        } else if let Some(end) = end_of(text, zone) {
            self.backups.iter().rev().find(|backup| backup.manifest.moment() < end)
        } else if label::is_label(text) {
            None
        } else {
            return Err(Fault::usage(format!("{text:?} is no backup"))
                .hint("give a name that \"moodle-backup list\" shows, \"latest\", or a date such as 2026-11-20 or \"2026-11-20 14:00\"")
                .into());
        };
        found.cloned().ok_or_else(|| {
            let what =
                if text == "latest" { "there is no backup yet".into() } else { format!("there is no backup {text}") };
            Fault::failed(what).hint("\"moodle-backup list\" shows which there are").into()
        })
    }
}

impl Backup {
    fn order(&self) -> (u64, DateTime<Utc>, &str) {
        (self.manifest.sequence, self.manifest.times.started, &self.name)
    }

    /// The list of sizes and times of its pool files: it saves time, and is not needed. `None` where there is none that can be
    /// trusted.
    pub fn pool_marks(&self) -> Option<PathBuf> {
        let list = layout::pool_index();
        sums::is_whole(&self.path, &list).then(|| self.path.join(list))
    }

    /// Keeps the backup from being pruned as long as the lock lives.
    pub fn hold(&self) -> Result<Lock> {
        let gone = || {
            Fault::failed(format!("backup {} is being removed", self.name)).hint("choose another: moodle-backup list")
        };
        // A prune that only judges the backup locks it for a moment.
        let lock = Lock::hold_within(&self.path, Mode::Shared, HOLD_LIMIT)?.ok_or_else(gone)?;
        // It may have been renamed between the opening of its folder and the lock.
        if self.path.join(layout::MANIFEST).exists() { Ok(lock) } else { Err(gone().into()) }
    }
}

/// The end of the day or minute that a text names.
fn end_of(text: &str, zone: &impl TimeZone) -> Option<DateTime<Utc>> {
    if let Some(text) = text.strip_suffix(['Z', 'z']) {
        return end_of_naive(text.trim_end()).map(|end| end.and_utc());
    }
    let end = end_of_naive(text)?;
    // Where a clock change made the local time ambiguous: the later; where it skipped it: as if UTC.
    Some(zone.from_local_datetime(&end).latest().map_or_else(|| end.and_utc(), |end| end.with_timezone(&Utc)))
}

fn end_of_naive(text: &str) -> Option<NaiveDateTime> {
    if let Ok(day) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return day.checked_add_days(Days::new(1))?.and_hms_opt(0, 0, 0);
    }
    let minutes = ["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"];
    if let Some(minute) = minutes.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok()) {
        return minute.checked_add_signed(TimeDelta::minutes(1));
    }
    let seconds = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"];
    let second = seconds.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())?;
    second.checked_add_signed(TimeDelta::seconds(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::FixedOffset;

    fn listing(moments: &[&str]) -> Listing {
        let backup = |(number, moment): (usize, &&str)| {
            let mut manifest = Manifest::new(moment, number as u64 + 1);
            manifest.times.snapshot = Some(format!("{moment}Z").parse().unwrap());
            Backup { name: (*moment).to_owned(), path: moment.into(), manifest, notes: Notes::default() }
        };
        Listing { backups: moments.iter().enumerate().map(backup).collect(), ..Listing::default() }
    }

    #[test]
    fn a_date_means_the_last_backup_before_its_end() {
        let listing = listing(&["2026-11-19T23:30:00", "2026-11-20T13:00:30", "2026-11-20T23:30:00"]);
        let find = |text: &str, hours| {
            let zone = FixedOffset::east_opt(hours * 3600).unwrap();
            listing.find(text, &zone).map(|backup| backup.manifest.sequence).map_err(|error| error.to_string())
        };
        assert_eq!(find("2026-11-20", 0), Ok(3));
        assert_eq!(find("2026-11-20", 1), Ok(2), "the third lies in the local 21st");
        assert_eq!(find("2026-11-20Z", 1), Ok(3));
        assert_eq!(find("2026-11-20 13:00", 0), Ok(2), "the whole minute counts");
        assert_eq!(find("2026-11-20 12:59", 0), Ok(1));
        assert_eq!(find("latest", 0), Ok(3));
        assert_eq!(find("2026-11-19", 0), Ok(1));
        assert_eq!(find("2026-11-18", 0), Err("there is no backup 2026-11-18".into()));
        assert_eq!(find("yesterday", 0), Err("\"yesterday\" is no backup".into()));
    }
}
