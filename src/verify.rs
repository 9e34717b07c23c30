//! Reading published backups again: each against its sums, its dump against its list, and the pool against its names. From
//! the files alone; what is found is noted beside the backups, and nothing that was published is written to. How damage is
//! mended, and what it means to Moodle's users, is in the parts below.

mod affected;
mod dump;
mod own;
mod pool;
mod position;
mod repair;
mod restore_test;

pub use pool::{PoolOutcome, Sample};
pub use repair::{Mended, repair};
pub use restore_test::{Tested, Trial, restore_test};

use crate::entry::Reading;
use crate::error::Result;
use crate::settings::Settings;
use crate::store::check::Checker;
use crate::store::notes::Verified;
use crate::store::{Backup, Damage, Listing, Store, damage};
use crate::sys::lock::Lock;
use crate::sys::log::Log;
use crate::sys::paths::Paths;
use crate::sys::priority::Effort;
use crate::sys::{signals, time};
use chrono::{DateTime, Utc};
use position::Position;
use std::collections::BTreeSet;
use std::time::Instant;

/// What to verify, and how.
#[derive(Debug)]
pub struct Job<'a> {
    /// The settings of the site.
    pub settings: &'a Settings,
    /// The program's own folders.
    pub paths: &'a Paths,
    /// The site's backups.
    pub store: &'a Store,
    /// The one to verify; `None` means all.
    pub only: Option<String>,
    /// Only some of the pool's files.
    pub sample: Option<Sample>,
    /// No further file is begun after this moment.
    pub until: Option<Instant>,
    /// Begin anew, where an earlier call has come part of the way.
    pub anew: bool,
}

/// What a verification has found.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The backups, the oldest first.
    pub backups: Vec<Verdict>,
    /// The pool files.
    pub pool: PoolOutcome,
    /// Since when this verification is on its way, where earlier calls have come a part of it.
    pub begun: Option<DateTime<Utc>>,
    /// Whether time was up, so that the next call goes on from there.
    pub cut_short: bool,
    /// What could not be noted, in words.
    pub unnoted: Vec<String>,
}

/// What is known of one backup now.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Its name.
    pub name: String,
    /// Its own files that were read by this call.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether all that it needs has been looked at, by this call and those before that it goes on from.
    pub finished: bool,
    /// What is damaged.
    pub damage: Vec<Damage>,
}

/// How files are read here: slowly, if others want the disk, and from the disk itself.
pub fn reading(settings: &Settings) -> Reading {
    let resources = &settings.resources;
    Reading { effort: Effort { threads: resources.threads, nice: resources.nice, io: resources.io }, from_disk: true }
}

/// Verifies. Damage is no error: it is in the outcome. An error is a signal's, or that the work could not be done; what was
/// found up to then is noted, and the next call goes on from there.
pub fn verify(job: &Job, log: &Log) -> Result<Outcome> {
    let listing = job.store.backups()?;
    let selected = job.selected(&listing);
    let _held = hold(&selected)?;
    let mut position = Position::load(job, &listing)?;
    let mut outcome = Outcome { begun: position.resumed(), ..Outcome::default() };
    let checker = Checker::new(reading(job.settings), log);

    let mut fresh = BTreeSet::new();
    for backup in &selected {
        let mut verdict = Verdict::new(&backup.name);
        if !position.has(&backup.name) && !job.time_is_up() {
            own::check(job, &listing, backup, &checker, &mut verdict, &mut outcome.unnoted, log)?;
            fresh.insert(backup.name.clone());
        }
        outcome.backups.push(verdict);
    }

    log.step("pool")?;
    outcome.pool = match job.sample {
        Some(sample) => pool::check_some(job, &listing, &fresh, sample, &mut outcome.unnoted, log)?,
        None => pool::check_rest(job, &listing, &fresh, &mut position, &mut outcome.unnoted, log)?,
    };
    outcome.cut_short = outcome.pool.cut_short || outcome.backups.iter().any(|it| !job.is_begun(it, &fresh, &position));
    outcome.conclude(job, &position, log)?;
    Ok(outcome)
}

impl Job<'_> {
    fn selected<'l>(&self, listing: &'l Listing) -> Vec<&'l Backup> {
        let is_wanted = |backup: &&Backup| self.only.as_ref().is_none_or(|only| *only == backup.name);
        listing.backups.iter().filter(is_wanted).collect()
    }

    fn time_is_up(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    fn is_begun(&self, verdict: &Verdict, fresh: &BTreeSet<String>, position: &Position) -> bool {
        fresh.contains(&verdict.name) || position.has(&verdict.name)
    }
}

impl Verdict {
    fn new(name: &str) -> Self {
        Verdict { name: name.to_owned(), files: 0, bytes: 0, finished: false, damage: Vec::new() }
    }
}

impl Outcome {
    /// Writes down what is known of each backup now, and takes it from there into the verdicts.
    fn conclude(&mut self, job: &Job, position: &Position, log: &Log) -> Result<()> {
        for verdict in &mut self.backups {
            verdict.finished = !self.cut_short;
            let known = job.store.notes(&verdict.name);
            // Where notes cannot be written the verdict has what this call has found.
            let mut found = std::mem::replace(&mut verdict.damage, known.damage);
            if !self.unnoted.is_empty() {
                let of_pool = self.pool.damaged.iter().map(damage::name_of);
                found.extend(of_pool.map(|file| own::new_damage(&file, "is damaged".into())));
                found.retain(|one| !verdict.damage.iter().any(|known| known.file == one.file));
                verdict.damage.extend(found);
            }
            if self.cut_short {
                continue;
            }
            let verified = Verified {
                at: time::now(),
                how: if job.sample.is_some() { "sample" } else { "sums" }.to_owned(),
                good: verdict.damage.is_empty(),
                result: self.pool.words(),
            };
            let noted = job.store.change_notes(&verdict.name, |notes| {
                // A sample that finds nothing says less than an earlier look at everything.
                let found_nothing = verified.how == "sample" && verified.good;
                if !(found_nothing && notes.verified.as_ref().is_some_and(|known| known.how != "sample")) {
                    notes.verified = Some(verified);
                }
            });
            note_trouble(noted.map(drop), &mut self.unnoted)?;
        }
        if !self.cut_short && job.sample.is_none() {
            position.remove(log);
        }
        Ok(())
    }
}

/// Keeps the backups from being pruned as long as the locks live. One of several that is going already is left out.
fn hold(backups: &[&Backup]) -> Result<Vec<Lock>> {
    match backups {
        [only] => Ok(vec![only.hold()?]),
        several => Ok(several.iter().filter_map(|backup| backup.hold().ok()).collect()),
    }
}

/// What cannot be noted is told at the end, and does not keep damage from being found; but a signal ends all.
fn note_trouble(result: Result<()>, unnoted: &mut Vec<String>) -> Result<()> {
    if let Err(error) = result {
        signals::check()?;
        let words = crate::error::sentence(&error);
        if !unnoted.contains(&words) {
            unnoted.push(words);
        }
    }
    Ok(())
}
