//! How far the verification of a large pool has come, so that a later call goes on from there: kept among the program's own
//! things on this machine, since it says nothing about the backups.

use super::Job;
use crate::error::{OrFault, Result};
use crate::hashes::{self, Hash};
use crate::store::Listing;
use crate::sys::log::Log;
use crate::sys::{files, time};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// How far it is.
#[derive(Debug)]
pub struct Position {
    path: PathBuf,
    resumed: bool,
    kept: Kept,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// When it was begun.
    began: DateTime<Utc>,
    /// Backups whose own files have been read, and whose pool files have been read up to `upto`.
    backups: BTreeSet<String>,
    /// All pool files of these up to this one have been read.
    upto: Option<String>,
    files: u64,
    bytes: u64,
}

impl Position {
    /// Where the last call for these backups ended, if it did not come to the end; or the beginning.
    pub fn load(job: &Job, listing: &Listing) -> Result<Position> {
        let which = job.only.as_deref().unwrap_or("all");
        let folder = job.paths.state().join("verify").join(files::unique_name(job.store.folder()));
        let path = folder.join(format!("{which}.json"));
        forget_what_is_gone(&folder, listing);
        let read = || -> Option<Kept> { serde_json::from_slice(&std::fs::read(&path).ok()?).ok() };
        // One that cannot be read is worth no more than none.
        let kept = if job.anew || job.sample.is_some() { None } else { read() };
        let resumed = kept.is_some();
        let mut kept = kept.unwrap_or_else(|| Kept {
            began: time::now(),
            backups: BTreeSet::new(),
            upto: None,
            files: 0,
            bytes: 0,
        });
        kept.backups.retain(|name| listing.backups.iter().any(|backup| backup.name == *name));
        Ok(Position { path, resumed, kept })
    }

    /// Since when it is on its way, if an earlier call has begun it.
    pub fn resumed(&self) -> Option<DateTime<Utc>> {
        self.resumed.then_some(self.kept.began)
    }

    /// Whether this backup's own files have been read, and its pool files up to here.
    pub fn has(&self, backup: &str) -> bool {
        self.kept.backups.contains(backup)
    }

    /// The backups of which that holds.
    pub fn backups(&self) -> &BTreeSet<String> {
        &self.kept.backups
    }

    /// All pool files up to this one have been read.
    pub fn upto(&self) -> Option<Hash> {
        hashes::from_hex(self.kept.upto.as_deref()?.as_bytes())
    }

    /// Pool files that have been read, and their bytes.
    pub fn done(&self) -> (u64, u64) {
        (self.kept.files, self.kept.bytes)
    }

    /// Further backups have come as far as the others.
    pub fn join(&mut self, backups: &BTreeSet<String>) -> Result<()> {
        self.kept.backups.extend(backups.iter().cloned());
        self.save()
    }

    /// So far has it come now.
    pub fn advance(&mut self, upto: Option<Hash>, files: u64, bytes: u64) -> Result<()> {
        if let Some(upto) = upto {
            self.kept.upto = Some(hashes::to_hex(&upto));
        }
        (self.kept.files, self.kept.bytes) = (files, bytes);
        self.save()
    }

    fn save(&self) -> Result<()> {
        let fault = || crate::error::Fault::failed("how far the verification has come could not be kept");
        files::make_folders(files::parent(&self.path), 0o700).or_fault(fault)?;
        files::write_durably(&self.path, &serde_json::to_vec_pretty(&self.kept)?, 0o600).or_fault(fault)
    }

    /// It has come to its end.
    pub fn remove(&self, log: &Log) {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                log.warn(format!(
                    "cannot remove {}: {error}; the next verification may end at once",
                    self.path.display()
                ));
            }
            _ => {}
        }
    }
}

/// Takes away what is kept of backups that are no longer there.
fn forget_what_is_gone(folder: &std::path::Path, listing: &Listing) {
    let Ok(kept) = std::fs::read_dir(folder) else { return };
    for path in kept.flatten().map(|entry| entry.path()) {
        let name = path.file_stem().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
        if name != "all" && !listing.backups.iter().any(|backup| backup.name == name) {
            let _ = std::fs::remove_file(&path);
        }
    }
}
