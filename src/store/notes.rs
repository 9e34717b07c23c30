//! What is learnt about a backup after its seal: pinned, verified, damage. Kept beside it, since nothing
//! that was published is written to again.

use super::{Backup, Store, layout};
use crate::error::{Fault, OrFault, Result};
use crate::sys::lock::{Lock, Mode};
use crate::sys::{files, time};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::Duration;

/// How long a change of notes waits for another one, which takes a moment.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// The content of `notes/<backup>.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notes {
    /// Never to be pruned, and why.
    pub pinned: Option<Pin>,
    /// The last time it was verified.
    pub verified: Option<Verified>,
    /// The last time it was brought back to life to see whether that can be done.
    pub restore_test: Option<Verified>,
    /// What was found to be damaged in it.
    pub damage: Vec<Damage>,
    /// The backup that they are about; empty in those of earlier versions.
    pub backup: String,
    /// Why the notes could not be read: then nobody knows whether it is pinned.
    #[serde(skip)]
    pub unreadable: Option<String>,
}

/// A wish to keep a backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pin {
    /// Why, in the administrator's words; may be empty.
    pub reason: String,
    /// Since when.
    pub at: DateTime<Utc>,
}

/// A verification and its result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verified {
    /// When.
    pub at: DateTime<Utc>,
    /// How: `sums` for all of it, `sample` for a part of its pool files, `restore-test`.
    pub how: String,
    /// Whether all was well.
    pub good: bool,
    /// The result in words.
    pub result: String,
}

/// One thing found damaged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Damage {
    /// When it was found.
    pub at: DateTime<Utc>,
    /// The file, below the backup or, for pool files, below the site's folder.
    pub file: String,
    /// What is wrong with it.
    pub what: String,
    /// For a pool file: what it is to Moodle's users, as far as the dump tells.
    #[serde(default)]
    pub affects: Vec<String>,
}

impl Notes {
    fn understand(file: File, name: &str) -> Result<Notes> {
        let notes: Notes = serde_json::from_reader(BufReader::new(file))?;
        match notes.backup.is_empty() || notes.backup == name {
            true => Ok(notes),
            false => Err(anyhow::anyhow!("it is about backup {}", notes.backup)),
        }
    }

    /// Whether it must be kept; notes that cannot be read might say so.
    pub fn is_pinned(&self) -> bool {
        self.pinned.is_some() || self.unreadable.is_some()
    }

    /// Whether it is known to be damaged.
    pub fn is_damaged(&self) -> bool {
        let mut tests = self.verified.iter().chain(&self.restore_test);
        !self.damage.is_empty() || tests.any(|test| !test.good)
    }
}

impl Store {
    fn notes_path(&self, name: &str) -> PathBuf {
        self.folder.join(layout::NOTES).join(format!("{name}.json"))
    }

    /// The notes on a backup; empty where there are none.
    pub fn notes(&self, name: &str) -> Notes {
        let path = self.notes_path(name);
        let file = match files::open_plain(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Notes::default(),
            file => file.map_err(|error| error.to_string()),
        };
        let notes = file.and_then(|file| Notes::understand(file, name).map_err(|error| error.to_string()));
        notes.unwrap_or_else(|error| Notes {
            unreadable: Some(format!("{}: {error}", path.display())),
            ..Notes::default()
        })
    }

    /// Changes the notes on a backup and returns them. The folder of the notes is locked meanwhile, so that of two
    /// changes neither gets lost; the site's lock is not needed, which a run may hold for hours.
    pub fn change_notes(&self, name: &str, change: impl FnOnce(&mut Notes)) -> Result<Notes> {
        let path = self.notes_path(name);
        let folder = files::parent(&path);
        files::make_folders(folder, layout::FOLDER_MODE)?;
        let _lock = Lock::hold_within(folder, Mode::Exclusive, LOCK_LIMIT)?.ok_or_else(|| {
            Fault::locked(format!("another process has locked {}", folder.display()))
                .hint(format!("fuser -v {} tells which; try again when it has ended", folder.display()))
        })?;
        let mut notes = self.notes(name);
        if let Some(reason) = &notes.unreadable {
            return Err(Fault::failed(format!("cannot read {reason}"))
                .hint("remove that file; what it said (pinned, verified) is then forgotten")
                .into());
        }
        change(&mut notes);
        name.clone_into(&mut notes.backup);
        files::write_durably(&path, &serde_json::to_vec_pretty(&notes)?, layout::FILE_MODE)?;
        self.owner.apply_to_file(&path)?;
        Ok(notes)
    }

    /// Keeps a backup from being pruned. An error if it is being removed at this moment.
    pub fn pin(&self, backup: &Backup, reason: &str) -> Result<()> {
        let _not_removed_meanwhile = backup.hold()?;
        let pin = Pin { reason: reason.to_owned(), at: time::now() };
        self.change_notes(&backup.name, |notes| notes.pinned = Some(pin)).map(drop)
    }

    /// Leaves a backup to the retention rules again.
    pub fn unpin(&self, backup: &Backup) -> Result<()> {
        self.change_notes(&backup.name, |notes| notes.pinned = None).map(drop)
    }

    /// Forgets the notes on a backup that is gone.
    pub fn remove_notes(&self, name: &str) -> Result<()> {
        let path = self.notes_path(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            result => result.or_fault(|| Fault::failed(format!("cannot remove {}", path.display()))),
        }
    }
}
