//! Whether what a restore brings has room beside what is there now, which stays: on the disks of the site, and on that of its
//! database server where that can be seen. Looks only.

use super::here::there;
use super::stage::effort;
use super::{Here, Job};
use crate::error::{Fault, OrFault, Result};
use crate::hashes;
use crate::pool;
use crate::store::manifest::Component;
use crate::store::{Part, layout};
use crate::sys::files::{self, Space};
use crate::sys::human;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// More than the parts themselves, for what comes with them.
const TO_SPARE: u64 = 64 << 20;

/// What a table takes on a server's disk with nothing in it: the 483 of a new Moodle 4.4 take 37 MB in MariaDB, and 2 MB in a dump.
const EMPTY_TABLE: u64 = 72 << 10;

/// What comes to a disk.
#[derive(Debug)]
struct Need {
    /// Where.
    place: PathBuf,
    what: String,
    bytes: u64,
    /// Files and folders.
    entries: u64,
}

/// An error where there is no room for it.
pub fn require(job: &Job, here: &Here) -> Result<()> {
    let mut disks: BTreeMap<u64, Vec<Need>> = BTreeMap::new();
    for need in needs(job, here) {
        let place = there(&need.place);
        let disk = place.metadata().or_fault(|| Fault::failed(format!("cannot look at {}", place.display())))?.dev();
        disks.entry(disk).or_default().push(need);
    }
    disks.into_values().try_for_each(|needs| require_on_one_disk(job, here, needs))
}

fn require_on_one_disk(job: &Job, here: &Here, mut needs: Vec<Need>) -> Result<()> {
    let Space { free_bytes, free_inodes, .. } = files::space(there(&needs[0].place))?;
    let sums = |needs: &[Need]| {
        let sum = |of: fn(&Need) -> u64| needs.iter().map(of).sum::<u64>();
        (sum(|need| need.bytes) + TO_SPARE, sum(|need| need.entries))
    };
    let fits = |needs: &[Need]| sums(needs).0 <= free_bytes && sums(needs).1 <= free_inodes;
    if fits(&needs) {
        return Ok(());
    }
    // Most users' files are there already, as a rule; which, takes a look at all of them.
    if let Some(need) = needs.iter_mut().find(|need| need.place == here.filedir) {
        *need = files_lacking(job, here)?;
    }
    if fits(&needs) {
        return Ok(());
    }
    let (bytes, entries) = sums(&needs);
    let told = |(what, bytes): (&str, u64)| format!("{what} ({})", human::bytes(bytes));
    let parts = needs.iter().map(|need| (need.what.as_str(), need.bytes)).chain([("to spare", TO_SPARE)]);
    let whats: Vec<String> = parts.map(told).collect();
    let lacking = match free_bytes < bytes {
        true => format!("has {} free, and {} are needed", human::bytes(free_bytes), human::bytes(bytes)),
        false => format!("has room for {free_inodes} more files, and {entries} are needed"),
    };
    let disk = files::mount_point(there(&needs[0].place))?;
    Err(Fault::unfit(format!("the disk at {} {lacking} beside what is there now: {}", disk.display(), whats.join(", ")))
        .hint(
            "make room, or enlarge the disk; \"moodle-backup restore --discard\" removes what earlier restores have set aside; or \
             bring the parts back one after the other (--only)",
        )
        .into())
}

fn needs(job: &Job, here: &Here) -> Vec<Need> {
    let manifest = &job.backup.manifest;
    let tree = |component: &Component, place: &Path| Need {
        place: place.to_path_buf(),
        what: component.name.clone(),
        bytes: component.bytes,
        entries: component.entries,
    };
    let mut needs = Vec::new();
    for part in &job.parts {
        let components = part.components(manifest).unwrap_or_default();
        match (part, components.first()) {
            (Part::Code, Some(code)) => needs.push(tree(code, &here.root)),
            (Part::Directory(_), Some(directory)) => needs.push(tree(directory, &directory.source)),
            (Part::Moodledata, Some(moodledata)) => {
                needs.push(tree(moodledata, &here.dataroot));
                needs.push(all_files(job, here));
            }
            (Part::Database, _) => needs.extend(database(job, here)),
            _ => {}
        }
    }
    needs
}

fn all_files(job: &Job, here: &Here) -> Need {
    let pool = &job.backup.manifest.pool;
    Need { place: here.filedir.clone(), what: "users' files".into(), bytes: pool.bytes, entries: pool.files }
}

/// Only those that are not there.
fn files_lacking(job: &Job, here: &Here) -> Result<Need> {
    let list = hashes::read_list(&job.backup.path.join(layout::POOL_LIST))?;
    let lacking = pool::lacking_of(list, &here.filedir, &job.site_folder.join(layout::POOL), effort(job))?;
    Ok(Need { bytes: lacking.bytes, entries: lacking.files, ..all_files(job, here) })
}

/// The database is loaded beside the present one. Its dump tells how large its content is, not what it takes.
fn database(job: &Job, here: &Here) -> Option<Need> {
    let place = here.connection()?.data_folder_here()?;
    let then = &job.backup.manifest.database;
    let bytes = then.bytes + then.tables.len() as u64 * EMPTY_TABLE;
    Some(Need { place, what: "the database".into(), bytes, entries: 0 })
}
