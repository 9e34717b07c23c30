//! What lies in a backup's own folder: its files against their sums, its list, and its dump.

use super::{Job, Verdict, dump, note_trouble};
use crate::entry::Trouble;
use crate::error::Result;
use crate::hashes;
use crate::store::check::{Checker, Finding};
use crate::store::{Backup, Damage, Listing, damage, layout};
use crate::sys::log::Log;
use crate::sys::{signals, time};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Reads all of it, and notes what is damaged, for this backup and for those that share the same damaged file.
pub fn check(
    job: &Job,
    listing: &Listing,
    backup: &Backup,
    checker: &Checker,
    verdict: &mut Verdict,
    unnoted: &mut Vec<String>,
    log: &Log,
) -> Result<()> {
    log.step("sums")?;
    log.info(format!("reading the files of {}", backup.name));
    let checked = checker.check(backup, &[Path::new("")])?;
    (verdict.files, verdict.bytes) = (checked.files, checked.bytes);
    let is_bad = |file: &str| checked.findings.iter().any(|finding| finding.path == file.as_bytes());
    let mut found: Vec<Damage> = checked.findings.iter().map(of_finding).collect();
    if !is_bad(layout::POOL_LIST)
        && let Err(error) = read_list(backup)
    {
        signals::check()?;
        found.push(new_damage(layout::POOL_LIST, format!("{error:#}")));
    }
    let dumps = backup.manifest.database.dumps();
    if !dumps.iter().any(|file| is_bad(&file.display().to_string())) {
        log.step("dump")?;
        let list_is_whole = !found.iter().any(|damage| damage.file == layout::POOL_LIST);
        found.extend(dump::check(job, backup, list_is_whole, log)?);
    }
    // What an earlier look had found of the backup's own files holds no longer; that of the pool does.
    let now: Vec<&str> = found.iter().map(|damage| damage.file.as_str()).collect();
    let is_over = |known: &Damage| damage::pool_file(&known.file).is_none() && !now.contains(&known.file.as_str());
    note_trouble(job.store.forget_damage(&backup.name, is_over), unnoted)?;
    note_trouble(job.store.note_damage(&backup.name, &found), unnoted)?;
    for other in listing.backups.iter().filter(|other| other.name != backup.name) {
        let shared: Vec<Damage> =
            checked.findings.iter().filter(|it| share(backup, other, it)).map(of_finding).collect();
        note_trouble(job.store.note_damage(&other.name, &shared), unnoted)?;
    }
    verdict.damage = found;
    Ok(())
}

pub(super) fn new_damage(file: &str, what: String) -> Damage {
    Damage { at: time::now(), file: file.to_owned(), what, affects: Vec::new() }
}

fn of_finding(finding: &Finding) -> Damage {
    new_damage(&crate::entry::shown(&finding.path), finding.trouble.to_string())
}

/// Whether two backups have a damaged file in common: a hard link.
fn share(backup: &Backup, other: &Backup, finding: &Finding) -> bool {
    let look = |backup: &Backup| {
        let meta = std::fs::symlink_metadata(backup.path.join(crate::entry::to_path(&finding.path))).ok()?;
        (meta.is_file() && meta.nlink() > 1).then(|| (meta.dev(), meta.ino()))
    };
    matches!(finding.trouble, Trouble::Changed | Trouble::Unreadable(_))
        && look(backup).is_some_and(|one| Some(one) == look(other))
}

fn read_list(backup: &Backup) -> Result<()> {
    hashes::read_list(&backup.path.join(layout::POOL_LIST))?.try_for_each(|hash| {
        signals::check()?;
        hash.map(drop)
    })
}
