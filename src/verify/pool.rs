//! The pool files that backups list, each against its name. A large pool takes days: how far a call has come is kept, and
//! what it finds is noted as it goes. What several backups list is read once.

use super::position::Position;
use super::{Job, affected, note_trouble, reading};
use crate::entry::Trouble;
use crate::error::Result;
use crate::hashes::{self, Hash};
use crate::pool::check::{self, Checked, Finding, Order};
use crate::store::{Backup, Damage, Listing, damage, layout};
use crate::sys::log::Log;
use crate::sys::{signals, time};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Which share of the pool's files to read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sample {
    /// So many hundredths of them.
    Percent(f64),
    /// About so many.
    Files(u64),
}

/// What became of the pool files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolOutcome {
    /// Files that the backups list.
    pub listed: u64,
    /// Those of them that were read, by this call and those that it goes on from.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that this call found damaged.
    pub damaged: BTreeSet<Hash>,
    /// Whether time was up before the end.
    pub cut_short: bool,
}

impl PoolOutcome {
    /// What was done, for the notes.
    pub(super) fn words(&self) -> String {
        format!("{} of {} pool files read, {} bytes", self.files, self.listed, self.bytes)
    }
}

type Hashes = Box<dyn Iterator<Item = Result<Hash>>>;

/// Reads what is left of the files that the backups list. `fresh` are those that have joined with this call.
pub fn check_rest(
    job: &Job,
    listing: &Listing,
    fresh: &BTreeSet<String>,
    position: &mut Position,
    unnoted: &mut Vec<String>,
    log: &Log,
) -> Result<PoolOutcome> {
    let (earlier, new) = (lists(listing, position.backups())?, lists(listing, fresh)?);
    let both = lists(listing, &position.backups().union(fresh).cloned().collect())?;
    let listed = count(union_of(&both)?)?;
    let (before, upto) = (position.done(), position.upto());
    // What the others have behind them and only the new ones list.
    let missed = hashes::difference(union_of(&new)?, union_of(&earlier)?);
    let missed = missed.filter(move |hash| !matches!(hash, Ok(hash) if Some(*hash) > upto));
    let mut noting = Noting { job, listing, unnoted, noted: 0 };
    let caught_up = noting.check(job, missed, listed, before, None, log)?;
    if caught_up.cut_short {
        return Ok(caught_up.outcome(listed, before));
    }
    let before = (before.0 + caught_up.files, before.1 + caught_up.bytes);
    if !fresh.is_empty() {
        position.join(fresh)?;
    }
    noting.noted = 0;
    let rest = union_of(&both)?.filter(move |hash| !matches!(hash, Ok(hash) if Some(*hash) <= upto));
    let checked = noting.check(job, rest, listed, before, Some(position), log)?;
    let mut outcome = checked.outcome(listed, before);
    outcome.damaged.extend(caught_up.findings.iter().map(|finding| finding.hash));
    Ok(outcome)
}

/// Reads some of the files that these backups list, others each time.
pub fn check_some(
    job: &Job,
    listing: &Listing,
    backups: &BTreeSet<String>,
    sample: Sample,
    unnoted: &mut Vec<String>,
    log: &Log,
) -> Result<PoolOutcome> {
    let lists = lists(listing, backups)?;
    let listed = count(union_of(&lists)?)?;
    let share = match sample {
        Sample::Percent(percent) => percent / 100.0,
        Sample::Files(files) => files as f64 / (listed as f64).max(1.0),
    };
    let (limit, seed) =
        ((share * u64::MAX as f64) as u64, time::now().timestamp_nanos_opt().unwrap_or_default() as u64);
    let chosen = union_of(&lists)?.filter(move |hash| !matches!(hash, Ok(hash) if lot(hash, seed) > limit));
    let expected = ((listed as f64 * share) as u64).min(listed);
    let checked = Noting { job, listing, unnoted, noted: 0 }.check(job, chosen, expected, (0, 0), None, log)?;
    Ok(checked.outcome(listed, (0, 0)))
}

/// A number that each file draws; all are drawn anew with each seed.
fn lot(hash: &Hash, seed: u64) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash[..8]);
    // The last step of splitmix64 spreads the seed over all bits.
    let mixed = (u64::from_be_bytes(bytes) ^ seed).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

impl Checked {
    fn outcome(&self, listed: u64, before: (u64, u64)) -> PoolOutcome {
        PoolOutcome {
            listed,
            files: before.0 + self.files,
            bytes: before.1 + self.bytes,
            damaged: self.findings.iter().map(|finding| finding.hash).collect(),
            cut_short: self.cut_short,
        }
    }
}

/// The lists of these backups that can be read, each file once. One that cannot was named when the backup's own files were
/// looked at.
fn lists(listing: &Listing, names: &BTreeSet<String>) -> Result<Vec<PathBuf>> {
    let mut seen = HashSet::new();
    let mut lists = Vec::new();
    for backup in listing.backups.iter().filter(|backup| names.contains(&backup.name)) {
        let path = backup.path.join(layout::POOL_LIST);
        let Ok(meta) = std::fs::metadata(&path) else { continue };
        if seen.insert((meta.dev(), meta.ino())) && is_readable(&path)? {
            lists.push(path);
        }
    }
    Ok(lists)
}

fn is_readable(list: &std::path::Path) -> Result<bool> {
    signals::check()?;
    Ok(hashes::read_list(list).and_then(|mut list| list.try_for_each(|hash| hash.map(drop))).is_ok())
}

fn union_of(lists: &[PathBuf]) -> Result<Hashes> {
    let mut all: Hashes = Box::new(std::iter::empty());
    for list in lists {
        all = Box::new(hashes::union(all, hashes::read_list(list)?));
    }
    Ok(all)
}

fn count(hashes: Hashes) -> Result<u64> {
    hashes.map(|hash| hash.map(|_| 1)).sum()
}

/// Notes what is found, as it is found: a call that is killed has not found it in vain.
struct Noting<'a> {
    job: &'a Job<'a>,
    listing: &'a Listing,
    unnoted: &'a mut Vec<String>,
    noted: usize,
}

impl Noting<'_> {
    fn check(
        &mut self,
        job: &Job,
        wanted: impl Iterator<Item = Result<Hash>>,
        expected: u64,
        before: (u64, u64),
        mut position: Option<&mut Position>,
        log: &Log,
    ) -> Result<Checked> {
        let mut checkpoint = |checked: &Checked| {
            self.note(&checked.findings, log)?;
            let (files, bytes) = (before.0 + checked.files, before.1 + checked.bytes);
            position.as_mut().map_or(Ok(()), |position| position.advance(checked.position, files, bytes))
        };
        let mut order = Order {
            reading: reading(job.settings),
            until: job.until,
            expected: expected.saturating_sub(before.0),
            checkpoint: Some(&mut checkpoint),
        };
        check::check(&job.store.pool(), wanted, &mut order, log)
    }

    /// Notes it for every backup that lists the file, verified now or not.
    fn note(&mut self, findings: &[Finding], log: &Log) -> Result<()> {
        let new: HashMap<Hash, &Trouble> = findings[self.noted..].iter().map(|it| (it.hash, &it.trouble)).collect();
        self.noted = findings.len();
        if new.is_empty() {
            return Ok(());
        }
        for (hash, trouble) in &new {
            log.warn(format!("{} {}", damage::name_of(hash), words(trouble)));
        }
        let mut listed: Vec<(&Backup, BTreeSet<Hash>)> = Vec::new();
        for backup in &self.listing.backups {
            listed.push((backup, listed_of(backup, &new)?));
        }
        let affects = affected::by_pool_files(&listed, log)?;
        for (backup, hashes) in listed {
            let damage = |hash: &Hash| Damage {
                at: time::now(),
                file: damage::name_of(hash),
                what: words(new[hash]),
                affects: affects.get(hash).cloned().unwrap_or_default(),
            };
            let found: Vec<Damage> = hashes.iter().map(damage).collect();
            note_trouble(self.job.store.note_damage(&backup.name, &found), self.unnoted)?;
        }
        Ok(())
    }
}

fn words(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Changed => "has another content than its name says".to_owned(),
        other => other.to_string(),
    }
}

/// Those that a backup lists.
fn listed_of(backup: &Backup, wanted: &HashMap<Hash, &Trouble>) -> Result<BTreeSet<Hash>> {
    signals::check()?;
    let Ok(list) = hashes::read_list(&backup.path.join(layout::POOL_LIST)) else { return Ok(BTreeSet::new()) };
    Ok(list.filter_map(Result::ok).filter(|hash| wanted.contains_key(hash)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lots_are_spread_evenly_and_anew_with_each_seed() {
        let hash = |number: u32| {
            let mut hash = [0; 20];
            hash[..4].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
            hash
        };
        let chosen =
            |seed| -> BTreeSet<u32> { (0..10_000).filter(|it| lot(&hash(*it), seed) <= u64::MAX / 10).collect() };
        for seed in [0, 1, 1_790_000_000_123_456_789] {
            assert!((800..1200).contains(&chosen(seed).len()), "{}", chosen(seed).len());
        }
        assert_ne!(chosen(1), chosen(2));
    }
}
