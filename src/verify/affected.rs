//! What a damaged pool file is to Moodle's users: its names, and the courses that it belongs to, out of a dump.

use crate::database::uploads::{self, Upload};
use crate::error::Result;
use crate::hashes::{self, Hash};
use crate::store::places::Places;
use crate::store::{Backup, rows};
use crate::sys::log::Log;
use crate::sys::signals;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

/// So many dumps are gone through at most, the newest first: each takes its time.
const DUMPS: usize = 3;

/// So many names of a file are told.
const NAMED: usize = 5;

/// The names of these files by the newest dumps that refer to them; with each backup those of them that it lists.
pub fn by_pool_files(listed: &[(&Backup, BTreeSet<Hash>)], log: &Log) -> Result<BTreeMap<Hash, Vec<String>>> {
    let mut known: BTreeMap<Hash, Vec<String>> = BTreeMap::new();
    let mut left = DUMPS;
    for (backup, hashes) in listed.iter().rev() {
        let wanted: BTreeSet<Hash> = hashes.iter().filter(|hash| !known.contains_key(*hash)).copied().collect();
        if wanted.is_empty() || left == 0 {
            continue;
        }
        left -= 1;
        match of_backup(backup, &wanted, log) {
            Ok(found) => known.extend(found),
            // A dump that is damaged itself tells nothing; that it is, is told elsewhere.
            Err(error) => {
                signals::check()?;
                log.detail(format!("{error:#}"));
            }
        }
    }
    Ok(known)
}

fn of_backup(backup: &Backup, wanted: &BTreeSet<Hash>, log: &Log) -> Result<BTreeMap<Hash, Vec<String>>> {
    let mut files: Vec<(Hash, Upload)> = Vec::new();
    let read = AtomicU64::new(0);
    let progress = |bytes| log.progress(read.fetch_add(bytes, Ordering::Relaxed) + bytes, 0, "bytes");
    rows::each(backup, uploads::TABLE, &uploads::COLUMNS, &progress, &mut |row| {
        let hash = row[0].as_deref().and_then(hashes::from_hex).filter(|hash| wanted.contains(hash));
        files.extend(hash.and_then(|hash| Some((hash, Upload::from_row(row)?))));
    })?;
    let contexts = files.iter().map(|(_, file)| file.contextid.clone()).collect();
    let places = Places::read(backup, &contexts, log)?;
    let mut named: BTreeMap<Hash, Vec<String>> = BTreeMap::new();
    // Copies that forms were filled in with say little.
    files.sort_by_key(|(_, file)| file.is_draft());
    for (hash, file) in files {
        let names = named.entry(hash).or_default();
        let name = words(&file, &places);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    for names in named.values_mut() {
        let more = names.len().saturating_sub(NAMED);
        names.truncate(NAMED);
        if more > 0 {
            names.push(format!("and {more} more"));
        }
    }
    Ok(named)
}

/// `/week 1/notes.pdf (mod_resource, content), course "Botany" (bot1)`
fn words(file: &Upload, places: &Places) -> String {
    let Upload { filepath, filename, component, filearea, contextid, .. } = file;
    format!("{filepath}{filename} ({component}, {filearea}), {}", places.of(contextid))
}
