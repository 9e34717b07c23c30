//! Damage that is known of, over all backups of a site: noted, set aside, and forgotten when it is mended. How damage is
//! found is not here, and nothing is ever deleted.

use super::{Damage, Listing, Notes, Store, layout};
use crate::entry::Reading;
use crate::error::Result;
use crate::hashes::{self, Hash};
use crate::pool::Pool;
use crate::sys::log::Log;
use std::collections::BTreeSet;
use std::path::Path;

/// So many files are set aside, or noted for one backup, at most. Where there are more it is not the files that are to be
/// suspected but the disk as a whole, its cable, or the machine's memory, and moving files about makes nothing better.
pub const MOST: usize = 1000;

/// Pool files that are known to be damaged, looked at again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspects {
    /// Those that the pool lacks, since they were set aside or were missing.
    pub lost: BTreeSet<Hash>,
    /// Those that are as they should be after all.
    pub whole: BTreeSet<Hash>,
    /// How many were set aside by this look.
    pub set_aside: u64,
}

/// The name under which notes have a pool file.
pub fn name_of(hash: &Hash) -> String {
    Path::new(layout::POOL).join(hashes::relative_path(hash)).display().to_string()
}

/// The pool file that notes mean by a name; `None` if it is a file of the backup itself.
pub fn pool_file(name: &str) -> Option<Hash> {
    let hash = hashes::from_hex(name.rsplit('/').next()?.as_bytes())?;
    (name == name_of(&hash)).then_some(hash)
}

impl Notes {
    /// Pool files of the backup that are known to be damaged.
    pub fn damaged_pool_files(&self) -> BTreeSet<Hash> {
        self.damage.iter().filter_map(|damage| pool_file(&damage.file)).collect()
    }

    /// Adds damage that is not noted yet; what is known of the same file gives way to what is found now.
    fn add_damage(&mut self, found: &[Damage]) {
        for damage in found {
            match self.damage.iter().position(|known| known.file == damage.file) {
                Some(at) => self.damage[at].clone_from(damage),
                None if self.damage.len() < MOST => self.damage.push(damage.clone()),
                None => {}
            }
        }
    }

    /// Forgets damage. Where nothing is left of what a check had found, its result is that all is well.
    fn forget(&mut self, is_over: impl Fn(&Damage) -> bool) {
        let before = self.damage.len();
        self.damage.retain(|damage| !is_over(damage));
        if before == 0 || !self.damage.is_empty() {
            return;
        }
        if let Some(verified) = self.verified.as_mut().filter(|verified| !verified.good) {
            verified.good = true;
            verified.result += "; all that was damaged has been mended since";
        }
    }
}

impl Listing {
    /// Pool files that are known to be damaged, of all backups.
    pub fn damaged_pool_files(&self) -> BTreeSet<Hash> {
        self.backups.iter().flat_map(|backup| backup.notes.damaged_pool_files()).collect()
    }
}

impl Store {
    /// Notes what was found damaged in a backup.
    pub fn note_damage(&self, backup: &str, found: &[Damage]) -> Result<()> {
        if found.is_empty() {
            return Ok(());
        }
        self.change_notes(backup, |notes| notes.add_damage(found)).map(drop)
    }

    /// Notes that damage of a backup is over.
    pub fn forget_damage(&self, backup: &str, is_over: impl Fn(&Damage) -> bool) -> Result<()> {
        if !self.notes(backup).damage.iter().any(&is_over) {
            return Ok(());
        }
        self.change_notes(backup, |notes| notes.forget(is_over)).map(drop)
    }

    /// Reads the pool files that are known to be damaged once more, and sets those aside that still are, so that they can be
    /// fetched again. The caller holds the site's lock, which `pool` shows.
    pub fn set_damaged_aside(&self, pool: &Pool, reading: Reading, log: &Log) -> Result<Suspects> {
        let mut suspects = Suspects::default();
        let known = self.backups()?.damaged_pool_files();
        if known.len() > MOST {
            log.warn(format!(
                "{} files in the pool are noted as damaged, so many that they were left where they are: have the disk, its \
                 cable and the machine's memory tested",
                known.len()
            ));
            return Ok(suspects);
        }
        for hash in known {
            if pool.is_whole(&hash, reading)? {
                suspects.whole.insert(hash);
                continue;
            }
            if let Some(place) = pool.set_aside(&hash)? {
                log.info(format!("{} is damaged and was set aside as {}", name_of(&hash), place.display()));
                suspects.set_aside += 1;
            }
            suspects.lost.insert(hash);
        }
        Ok(suspects)
    }

    /// Forgets the damage of pool files that are whole again, in the notes of all backups; returns which those are.
    pub fn forget_mended(&self, suspects: &Suspects, pool: &Pool) -> Result<BTreeSet<Hash>> {
        let fetched = suspects.lost.iter().filter(|hash| pool.has(hash));
        let mended: BTreeSet<Hash> = suspects.whole.iter().chain(fetched).copied().collect();
        if mended.is_empty() {
            return Ok(mended);
        }
        let is_over = |damage: &Damage| pool_file(&damage.file).is_some_and(|hash| mended.contains(&hash));
        for backup in self.backups()?.backups {
            self.forget_damage(&backup.name, is_over)?;
        }
        Ok(mended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::notes::Verified;
    use crate::sys::time;

    fn damage(file: &str) -> Damage {
        Damage { at: time::now(), file: file.into(), what: "is missing".into(), affects: Vec::new() }
    }

    #[test]
    fn names_of_pool_files_are_known_and_no_others() {
        let name = name_of(&hashes::EMPTY);
        assert_eq!(name, "filedir/da/39/da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(pool_file(&name), Some(hashes::EMPTY));
        for other in ["code.tar.zst", "moodledata/x", "filedir/da/38/da39a3ee5e6b4b0d3255bfef95601890afd80709", ""] {
            assert_eq!(pool_file(other), None, "{other}");
        }
    }

    #[test]
    fn a_check_that_found_only_what_is_mended_found_nothing() {
        let checked = Verified { at: time::now(), how: "sums".into(), good: false, result: "read all".into() };
        let mut notes = Notes { verified: Some(checked), ..Notes::default() };
        notes.add_damage(&[damage("a"), damage("b"), damage("a")]);
        assert_eq!(notes.damage.len(), 2);
        notes.forget(|damage| damage.file == "a");
        assert!(notes.is_damaged() && !notes.verified.as_ref().unwrap().good);
        notes.forget(|damage| damage.file == "b");
        assert!(!notes.is_damaged());
        // What has another reason stays.
        notes.verified.as_mut().unwrap().good = false;
        notes.forget(|_| true);
        assert!(notes.is_damaged());
    }
}
