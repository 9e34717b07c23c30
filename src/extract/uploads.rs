//! Files that users uploaded, by their content's hash or by the name that they had in Moodle, out of the pool.

use super::hits::Use;
use super::staging::{Staging, Within};
use crate::database::uploads::{self, Upload};
use crate::error::{Fault, Result};
use crate::hashes::{self, Hash};
use crate::pool;
use crate::store::places::Places;
use crate::store::{Backup, layout, rows};
use crate::sys::log::Log;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// So many digits of a hash tell files of the same name apart.
const DIGITS: usize = 8;

/// The longest name that file systems take, in bytes.
const LONGEST: usize = 255;

/// A content that was brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its hash.
    pub contenthash: String,
    /// Where it is now; `None` if the pool does not have it, or has it damaged.
    pub path: Option<PathBuf>,
    /// Where Moodle had it.
    pub uses: Vec<Use>,
}

/// Finds what is meant by a hash or a name, and puts it into a folder, beside what is there. What the pool has lost is warned of; an error if
/// nothing is found, or nothing is left of it.
pub fn extract(backup: &Backup, pool: &Path, wanted: &str, to: &Path, log: &Log) -> Result<Vec<Placed>> {
    let staging = Staging::begin(to, Within::Others)?;
    let found = find(backup, wanted)?;
    let contexts: BTreeSet<String> = found.values().flatten().map(|upload| upload.contextid.clone()).collect();
    let places = Places::read(backup, &contexts, log)?;
    let mut placed = Vec::new();
    let several = found.len() > 1;
    for (hash, uses) in found {
        let name = name_for(&hash, &uses, wanted, several);
        let place = staging.path().join(&name);
        let whole = pool::copy_out(pool, &hash, &place)?;
        if !whole {
            log.warn(format!("{} is gone from the pool, or damaged there", hashes::to_hex(&hash)));
        }
        let uses = uses.into_iter().map(|upload| Use { place: places.of(&upload.contextid), upload }).collect();
        placed.push(Placed { contenthash: hashes::to_hex(&hash), path: whole.then(|| to.join(name)), uses });
    }
    if placed.iter().all(|placed| placed.path.is_none()) {
        return Err(Fault::failed(format!("nothing is left of {wanted:?} in the pool"))
            .hint("the site itself may have it, or a copy of the backups elsewhere")
            .into());
    }
    staging.publish(log)?;
    Ok(placed)
}

/// What a hash or a name means: contents, each with where Moodle had it.
fn find(backup: &Backup, wanted: &str) -> Result<BTreeMap<Hash, Vec<Upload>>> {
    let by_hash = hashes::from_hex(wanted.as_bytes());
    let mut found: BTreeMap<Hash, Vec<Upload>> = BTreeMap::new();
    rows::each(backup, uploads::TABLE, &uploads::COLUMNS, &|_| {}, &mut |row| {
        let Some(upload) = Upload::from_row(row) else { return };
        let is_wanted = if by_hash.is_some() { upload.contenthash == wanted } else { upload.filename == wanted };
        if let Some(hash) = hashes::from_hex(upload.contenthash.as_bytes()).filter(|_| is_wanted) {
            found.entry(hash).or_default().push(upload);
        }
    })?;
    if found.is_empty() {
        // The pool may have it without a row: deleted just before the dump.
        match by_hash.filter(|hash| is_listed(backup, hash)) {
            Some(hash) => drop(found.insert(hash, Vec::new())),
            None => return Err(nowhere(backup, wanted).into()),
        }
    }
    Ok(found)
}

fn nowhere(backup: &Backup, wanted: &str) -> Fault {
    Fault::failed(format!("no file in backup {} is called {wanted:?}", backup.name)).hint(
        "write its name as Moodle shows it, with its ending, or the 40 digits of its hash; an older backup may have it: \
         \"moodle-backup find --all NAME\" searches all of them",
    )
}

fn is_listed(backup: &Backup, hash: &Hash) -> bool {
    let list = hashes::read_list(&backup.path.join(layout::POOL_LIST));
    list.is_ok_and(|mut list| list.any(|listed| listed.is_ok_and(|listed| listed == *hash)))
}

/// A name that can stand in a folder, and that no other content gets.
fn name_for(hash: &Hash, uses: &[Upload], wanted: &str, several: bool) -> String {
    let hex = hashes::to_hex(hash);
    let name = uses.first().map_or(wanted, |upload| upload.filename.as_str());
    let fits = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    let name = if several { format!("{}-{name}", &hex[..DIGITS]) } else { name.to_owned() };
    if fits && name.len() <= LONGEST && !name.starts_with(".restoring") { name } else { hex }
}
