//! Removing backups that the retention rules let go, and the pool files that no backup names any more.
//! It removes nothing on a doubt: each doubt is told, and left for the administrator to settle.

use crate::error::{Fault, OrFault, Result};
use crate::hashes::{self, Hash};
use crate::retention::{self, Decision, Kept, Reason, Rules};
use crate::store::manifest::Manifest;
use crate::store::{Backup, Listing, Store, layout, sums};
use crate::sys::lock::{Lock, Mode};
use crate::sys::log::Log;
use crate::sys::{files, signals, time};
use chrono::{DateTime, Utc};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Who only looks at a backup lets go of it within this time, and does not count as using it.
const A_MOMENT: Duration = Duration::from_millis(100);

/// Pool names held in memory at once (40 MB of them); a larger pool is gone through in several parts, each
/// against all lists.
const HELD: usize = 2_000_000;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Only tell what would be done.
    pub dry_run: bool,
    /// Go through the pool even if no backup was removed. Failed runs leave files there that no backup names.
    pub whole_pool: bool,
    /// Names of backups that stay, since what was restored of them may be looked at again.
    pub restored: &'a [String],
}

/// What was done, or with `dry_run` would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Why nothing was pruned, if so.
    pub stopped: Vec<String>,
    /// Backups removed, oldest first.
    pub removed: Vec<String>,
    /// Backups kept, oldest first, and why.
    pub kept: Vec<(String, Vec<Reason>)>,
    /// Removals that had been begun earlier and were brought to their end.
    pub finished: Vec<String>,
    /// Pool files removed.
    pub pool_files: u64,
    /// Their bytes.
    pub pool_bytes: u64,
    /// Why the pool was not gone through (to its end), if so.
    pub pool_stopped: Option<String>,
}

impl Outcome {
    /// What somebody should look at, for a log.
    pub fn warnings(&self) -> Vec<String> {
        let stopped = self.stopped.iter().map(|reason| format!("nothing was pruned: {reason}"));
        let pool = self.pool_stopped.iter().map(|reason| format!("the pool was not cleaned up: {reason}"));
        stopped.chain(pool).collect()
    }
}

/// Prunes. The caller shows by `_site_lock` that no run is at work on this site.
///
/// The order keeps every cut harmless: a backup loses its name, durably, before the first of its files is
/// deleted; a pool file goes only when the backups that named it have lost their names.
pub fn prune(store: &Store, rules: &Rules, request: Request<'_>, _site_lock: &Lock, log: &Log) -> Result<Outcome> {
    let started = time::now();
    let mut outcome = Outcome::default();
    finish_removals(store, request, &mut outcome)?;
    let listing = store.backups()?;
    outcome.stopped = doubts(store, &listing);
    if outcome.stopped.is_empty() {
        choose(&listing, rules, request.restored, started, &mut outcome);
    }
    if !outcome.stopped.is_empty() {
        return Ok(outcome);
    }
    if !request.dry_run {
        remove_backups(store, &listing, &mut outcome, log)?;
    }
    // Before the first backup no list tells what may go, and what a run has copied, or was adopted, is waiting for it.
    if listing.backups.is_empty() {
        return Ok(outcome);
    }
    if request.whole_pool || !outcome.removed.is_empty() || !outcome.finished.is_empty() {
        let cleaned = clean_pool(store, &listing, started, request.dry_run, &mut outcome);
        if let Err(error) = cleaned {
            signals::check()?;
            outcome.pool_stopped = Some(crate::error::sentence(&error));
        }
    }
    Ok(outcome)
}

/// Brings removals that were cut off to their end.
fn finish_removals(store: &Store, request: Request<'_>, outcome: &mut Outcome) -> Result<()> {
    outcome.finished = store.backups()?.removing;
    if request.dry_run {
        return Ok(());
    }
    for name in &outcome.finished {
        layout::remove_tree(&store.folder().join(name))?;
        store.remove_notes(name.trim_start_matches(layout::REMOVING))?;
    }
    Ok(())
}

/// What speaks against pruning at all.
fn doubts(store: &Store, listing: &Listing) -> Vec<String> {
    let mut doubts: Vec<String> = listing.unknown.iter().map(|name| unknown(store, name)).collect();
    for unreadable in &listing.unreadable {
        doubts.push(format!(
            "backup {} cannot be judged ({}); leave its folder where it is, since the pool has files that only this backup \
             lists: RESTORE.txt in it tells how to bring it back; remove the folder only to give the backup up",
            unreadable.name, unreadable.reason
        ));
    }
    if let [.., before, newest] = listing.backups.as_slice() {
        doubts.extend(shrunk(&newest.manifest, &before.manifest).map(|what| {
            format!(
                "{} is oddly smaller than {}: {what}; if that is as it should be, the next backup will prune",
                newest.name, before.name
            )
        }));
    }
    doubts
}

/// What to do about a name that the program did not put there. A backup must not leave the pool that it needs.
fn unknown(store: &Store, name: &OsStr) -> String {
    match store.folder().join(name).join(layout::POOL_LIST).exists() {
        true => format!(
            "{name:?} is a backup under a name that no backup has; give it its own name back (the label in its \
             manifest.json): the pool has files that only this backup lists; remove it only to give the backup up"
        ),
        false => format!("there is something unknown in the site's folder, {name:?}; move it elsewhere"),
    }
}

/// What of a backup is less than half of what it was in the one before.
fn shrunk(newest: &Manifest, before: &Manifest) -> Option<String> {
    let rows = |manifest: &Manifest| manifest.database.tables.values().sum::<u64>();
    let measures = [
        ("tables", newest.database.tables.len() as u64, before.database.tables.len() as u64),
        ("rows in the database", rows(newest), rows(before)),
        ("files in the pool", newest.pool.files, before.pool.files),
        ("bytes in the pool", newest.pool.bytes, before.pool.bytes),
    ];
    let mut odd = measures.into_iter().filter(|(_, new, old)| new.saturating_mul(2) < *old);
    odd.next().map(|(what, new, old)| format!("{new} {what}, before {old}"))
}

/// Names of the backups that these rules let go, as things are now; none where they cannot be judged.
pub fn let_go(store: &Store, rules: &Rules) -> Result<Vec<String>> {
    let mut outcome = Outcome::default();
    choose(&store.backups()?, rules, &[], time::now(), &mut outcome);
    Ok(outcome.removed)
}

/// Sorts the backups into kept and removed ones.
fn choose(listing: &Listing, rules: &Rules, restored: &[String], now: DateTime<Utc>, outcome: &mut Outcome) {
    let backups: Vec<Kept> = listing.backups.iter().map(|backup| judge(backup, restored)).collect();
    let reasons = match retention::keep(&backups, rules, now) {
        Decision::Stopped(reason) => {
            outcome.stopped.push(format!(
                "{reason}; set the clock right, or remove the folder of the odd one if that backup is not needed"
            ));
            return;
        }
        Decision::Reasons(reasons) => reasons,
    };
    for (backup, reasons) in listing.backups.iter().zip(reasons) {
        match reasons.is_empty() {
            true => outcome.removed.push(backup.name.clone()),
            false => outcome.kept.push((backup.name.clone(), reasons)),
        }
    }
}

fn judge(backup: &Backup, restored: &[String]) -> Kept {
    Kept {
        sequence: backup.manifest.sequence,
        time: backup.manifest.times.started,
        pinned: backup.notes.is_pinned(),
        in_use: !matches!(Lock::hold_within(&backup.path, Mode::Exclusive, A_MOMENT), Ok(Some(_))),
        restored: restored.contains(&backup.name),
        good: !backup.notes.is_damaged(),
        complete: backup.manifest.complete,
    }
}

fn remove_backups(store: &Store, listing: &Listing, outcome: &mut Outcome, log: &Log) -> Result<()> {
    let mut doomed = Vec::new();
    for backup in listing.backups.iter().filter(|backup| outcome.removed.contains(&backup.name)) {
        match Lock::hold_within(&backup.path, Mode::Exclusive, A_MOMENT)? {
            // Somebody may have pinned it after it was judged; from now on nobody can.
            Some(_) if store.notes(&backup.name).is_pinned() => {
                outcome.kept.push((backup.name.clone(), vec![Reason::Pinned]));
            }
            Some(lock) => doomed.push((backup, lock)),
            // Somebody began to read it after it was judged.
            None => outcome.kept.push((backup.name.clone(), vec![Reason::InUse])),
        }
    }
    outcome.removed = doomed.iter().map(|(backup, _)| backup.name.clone()).collect();
    for (backup, _) in &doomed {
        signals::check()?;
        log.info(format!("removing backup {}", backup.name));
        let removing = store.folder().join(format!("{}{}", layout::REMOVING, backup.name));
        files::rename_durably(&backup.path, &removing)?;
        layout::remove_tree(&removing)?;
        store.remove_notes(&backup.name)?;
    }
    Ok(())
}

/// Deletes the pool files that no list of a backup names, once every list has proved whole.
fn clean_pool(
    store: &Store,
    listing: &Listing,
    started: DateTime<Utc>,
    dry_run: bool,
    outcome: &mut Outcome,
) -> Result<()> {
    if let Some(partial) = listing.partial.first() {
        return Err(Fault::failed(format!("{partial} was left by an interrupted run, and may need any file"))
            .hint("the next run removes it, and so does \"moodle-backup prune\"")
            .into());
    }
    let stay = listing.backups.iter().filter(|backup| !outcome.removed.contains(&backup.name));
    let lists = whole_lists(stay)?;
    let mut walk = PoolWalk::new(&store.pool())?;
    loop {
        let mut unnamed = walk.next_part()?;
        if unnamed.is_empty() {
            return Ok(());
        }
        for list in &lists {
            signals::check()?;
            let left = hashes::difference(unnamed.into_iter().map(Ok), hashes::read_list(list)?);
            unnamed = left.collect::<Result<_>>()?;
        }
        for hash in unnamed {
            delete(&store.pool().join(hashes::relative_path(&hash)), started, dry_run, outcome)?;
        }
    }
}

/// The lists of these backups, each file once, after each was read to its end and found to be as it was sealed.
fn whole_lists<'a>(backups: impl Iterator<Item = &'a Backup>) -> Result<Vec<PathBuf>> {
    let mut seen = HashSet::new();
    let mut lists = Vec::new();
    for backup in backups {
        signals::check()?;
        let list = backup.path.join(layout::POOL_LIST);
        let fault = || {
            Fault::failed(format!("the list of the pool files of backup {} cannot be trusted", backup.name))
                .hint("try `sha256sum -c SHA256SUMS` in its folder; if it is of no use, remove the folder")
        };
        let expected = sums::find(&backup.path.join(layout::SUMS), layout::POOL_LIST.as_bytes()).or_fault(fault)?;
        let meta = std::fs::metadata(&list).or_fault(fault)?;
        // The sum is part of the key: two backups may share a file, and one of them a damaged sum.
        if !seen.insert((meta.dev(), meta.ino(), expected)) {
            continue;
        }
        if sums::sum_of_file(&list).or_fault(fault)? != expected {
            return Err(anyhow::anyhow!("{} is not as it was sealed", list.display()).context(fault()));
        }
        // Read to the end, since what is out of order further down would hide names further up.
        hashes::read_list(&list).or_fault(fault)?.try_for_each(|hash| hash.map(drop)).or_fault(fault)?;
        lists.push(list);
    }
    Ok(lists)
}

/// Goes through the names in the pool in order. A name that does not belong there is an error.
struct PoolWalk {
    pool: PathBuf,
    /// The top folders that are still to come, from the last.
    tops: Vec<String>,
}

impl PoolWalk {
    fn new(pool: &Path) -> Result<PoolWalk> {
        let mut tops = folders_in(pool)?;
        tops.reverse();
        Ok(PoolWalk { pool: pool.to_path_buf(), tops })
    }

    /// The next names, of whole top folders; none at the end.
    fn next_part(&mut self) -> Result<Vec<Hash>> {
        let mut part = Vec::new();
        while part.len() < HELD
            && let Some(top) = self.tops.pop()
        {
            signals::check()?;
            let folder = self.pool.join(&top);
            for second in folders_in(&folder)? {
                part.extend(hashes_in(&folder.join(&second), &format!("{top}{second}"))?);
            }
        }
        Ok(part)
    }
}

/// The names in a folder of the pool that holds folders.
fn folders_in(folder: &Path) -> Result<Vec<String>> {
    let digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    names_in(folder, |name| (name.len() == 2 && name.iter().all(digit)).then(|| String::from_utf8_lossy(name).into()))
}

/// The names in a folder of the pool that holds files, which all begin with `prefix`.
fn hashes_in(folder: &Path, prefix: &str) -> Result<Vec<Hash>> {
    names_in(folder, |name| hashes::from_hex(name).filter(|_| name.starts_with(prefix.as_bytes())))
}

fn names_in<T: Ord>(folder: &Path, understand: impl Fn(&[u8]) -> Option<T>) -> Result<Vec<T>> {
    let fault = || Fault::failed(format!("cannot read the folder {}", folder.display()));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).or_fault(fault)? {
        let name = entry.or_fault(fault)?.file_name();
        names.push(understand(name.as_bytes()).ok_or_else(|| {
            Fault::failed(format!("there is something unknown in the pool, {}", folder.join(&name).display()))
                .hint("move it elsewhere: only the program's own files belong there")
        })?);
    }
    names.sort_unstable();
    Ok(names)
}

fn delete(path: &Path, started: DateTime<Utc>, dry_run: bool, outcome: &mut Outcome) -> Result<()> {
    let fault = || Fault::failed(format!("cannot remove {}", path.display()));
    let meta = std::fs::symlink_metadata(path).or_fault(fault)?;
    // The time of change, since that of modification is the original's.
    let changed = (meta.ctime(), meta.ctime_nsec());
    if !meta.is_file() || changed >= (started.timestamp(), started.timestamp_subsec_nanos().into()) {
        return Ok(());
    }
    if !dry_run {
        std::fs::remove_file(path).or_fault(fault)?;
    }
    outcome.pool_files += 1;
    outcome.pool_bytes += meta.len();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(tables: usize, rows: u64, files: u64, bytes: u64) -> Manifest {
        let mut manifest = Manifest::new("2026-11-23T010003Z", 1);
        manifest.database.tables = (0..tables).map(|number| (number.to_string(), rows)).collect();
        (manifest.pool.files, manifest.pool.bytes) = (files, bytes);
        manifest
    }

    #[test]
    fn less_than_half_is_odd() {
        let before = manifest(400, 10, 1000, 5000);
        assert_eq!(shrunk(&before, &before), None);
        assert_eq!(shrunk(&manifest(400, 5, 500, 2500), &before), None);
        assert_eq!(shrunk(&manifest(400, 4, 1000, 5000), &before).unwrap(), "1600 rows in the database, before 4000");
        assert_eq!(shrunk(&manifest(400, 10, 1000, 2499), &before).unwrap(), "2499 bytes in the pool, before 5000");
        assert_eq!(shrunk(&manifest(0, 0, 0, 0), &before).unwrap(), "0 tables, before 400");
        assert_eq!(shrunk(&before, &manifest(0, 0, 0, 0)), None);
    }
}
