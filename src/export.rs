//! One backup as one self-contained file, or stream: the page to read first. What is written is a tar of a site's folder with
//! this backup alone in it, as `docs/format.md` says. All content is compared with its sums on the way; whatever is wrong,
//! no file gets its final name, and a stream has no end.

mod contents;
mod destination;
mod guide;

pub use destination::{Compression, Destination, To};

use crate::error::{Fault, Result};
use crate::store::manifest::ComponentKind;
use crate::store::{Backup, Store};
use crate::sys::log::Log;
use contents::Contents;

/// The steps in their order, by the names that the log shows.
pub const STEPS: [&str; 3] = ["export", "export-pool", "export-name"];

/// What to write, and where to.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The site's folder.
    pub store: &'a Store,
    /// The backup.
    pub backup: &'a Backup,
    /// How it is compressed.
    pub compression: Compression,
    /// How many threads compress, beside the one that reads.
    pub threads: u32,
}

/// A finished export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Size of what was written, in bytes.
    pub bytes: u64,
    /// Size of the content before it was compressed, in bytes.
    pub content_bytes: u64,
    /// Pool files in it.
    pub pool_files: u64,
}

/// Writes a backup to its destination, and holds it meanwhile. An error if something of the backup is damaged, with its name,
/// if it cannot be written, or on a signal.
pub fn export(job: &Job<'_>, mut destination: Destination, log: &Log) -> Result<Exported> {
    let _held = job.backup.hold()?;
    destination.require_room(least(job), most(job), log)?;
    let stream = destination.stream(job.compression, job.threads)?;
    let mut contents = Contents::begin(job, stream, most(job), log)?;

    log.step("export")?;
    contents.front()?;
    contents.backup()?;

    log.step("export-pool")?;
    let pool_files = contents.pool()?;
    let (stream, content_bytes) = contents.end()?;

    log.step("export-name")?;
    let bytes = stream.finish()?;
    destination.publish()?;
    Ok(Exported { bytes, content_bytes, pool_files })
}

/// How many bytes it is before it is compressed.
fn most(job: &Job<'_>) -> u64 {
    let manifest = &job.backup.manifest;
    let moodledata = manifest.components.iter().filter(|part| part.kind == ComponentKind::Moodledata);
    compressed(job) + moodledata.map(|part| part.bytes).sum::<u64>() + manifest.pool.bytes
}

/// How many bytes it will have for certain: what is compressed already stays as large as it is.
fn least(job: &Job<'_>) -> u64 {
    match job.compression {
        Compression::None => most(job),
        Compression::Zstd => compressed(job),
    }
}

fn compressed(job: &Job<'_>) -> u64 {
    job.backup.manifest.components.iter().map(|part| part.stored_bytes).sum()
}

/// What to do about a backup that cannot be exported as it is damaged.
fn damaged(backup: &Backup) -> Fault {
    Fault::failed(format!("backup {} is damaged and cannot be exported", backup.name)).hint(
        "export another backup (\"moodle-backup list\"); \"moodle-backup verify --repair\" looks at this one and mends what it can",
    )
}
