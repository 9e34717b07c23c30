//! What a copy of everything would add to the pool, or a restore to filedir, found out from names alone: no file is opened,
//! nothing is written.

use super::restore::SHARE;
use super::{Effort, sorted_names};
use crate::error::Result;
use crate::hashes::{self, Hash};
use crate::sys::log::Log;
use crate::sys::{signals, threads};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is lacking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lacking {
    /// Files.
    pub files: u64,
    /// Their sizes, in bytes.
    pub bytes: u64,
    /// How many of them are not in the pool either.
    pub lost: u64,
}

/// What Moodle's filedir has and a pool lacks; all of it where there is no pool. `expected` is the number of files
/// that is likely, for the progress display; 0 if not known.
pub fn lacking(filedir: &Path, pool: Option<&Path>, expected: u64, log: &Log) -> Result<Lacking> {
    let mut lacking = Lacking::default();
    let mut met = 0;
    for top in 0..=0xff_u8 {
        let top = format!("{top:02x}");
        for second in sorted_names(&filedir.join(&top))? {
            signals::check()?;
            let below = Path::new(&top).join(OsStr::from_bytes(&second));
            let stored = pool.map_or_else(|| Ok(Vec::new()), |pool| sorted_names(&pool.join(&below)))?;
            let stored: HashSet<Vec<u8>> = stored.into_iter().collect();
            let prefix = [top.as_bytes(), &second].concat();
            for name in sorted_names(&filedir.join(&below))? {
                met += 1;
                let is_content = hashes::from_hex(&name).is_some() && name.starts_with(&prefix);
                if !is_content || stored.contains(&name) {
                    continue;
                }
                // What vanishes meanwhile is not lacking.
                let path = filedir.join(&below).join(OsStr::from_bytes(&name));
                if let Some(meta) = path.symlink_metadata().ok().filter(std::fs::Metadata::is_file) {
                    lacking.files += 1;
                    lacking.bytes += meta.len();
                }
            }
            log.progress(met, expected, "files");
        }
    }
    Ok(lacking)
}

/// What a filedir lacks of a list, and how large that is in a pool. Several threads look: on a disk that has rested, each name
/// is a wait.
pub fn lacking_of(
    mut list: impl Iterator<Item = Result<Hash>>,
    filedir: &Path,
    pool: &Path,
    effort: Effort,
) -> Result<Lacking> {
    let (files, bytes, lost) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let look = |_: &mut (), share: Vec<Hash>| {
        signals::check()?;
        for below in share.iter().map(hashes::relative_path) {
            if filedir.join(&below).symlink_metadata().is_err() {
                files.fetch_add(1, Ordering::Relaxed);
                match pool.join(&below).symlink_metadata() {
                    Ok(meta) => bytes.fetch_add(meta.len(), Ordering::Relaxed),
                    Err(_) => lost.fetch_add(1, Ordering::Relaxed),
                };
            }
        }
        Ok(())
    };
    threads::share(
        effort,
        || (),
        look,
        |give| {
            loop {
                let share: Vec<Hash> = list.by_ref().take(SHARE).collect::<Result<_>>()?;
                if share.is_empty() {
                    return Ok(());
                }
                give(share)?;
            }
        },
    )?;
    Ok(Lacking { files: files.into_inner(), bytes: bytes.into_inner(), lost: lost.into_inner() })
}
