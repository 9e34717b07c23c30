//! Files of Moodle that are held open until there is time to copy them: whatever becomes of their names meanwhile, their
//! content stays to be had.

use super::carrier::{Carrier, open_regular};
use super::{Copied, Pool, Source};
use crate::error::Result;
use crate::hashes::{self, Hash};
use crate::sys::signals;
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A file that is held open.
#[derive(Debug)]
pub struct Held {
    hash: Hash,
    path: PathBuf,
    file: File,
}

impl Pool {
    /// Opens those of `wanted` in filedir that the pool lacks, in this order, as many as can be in this time. What cannot
    /// be opened is left to [`Pool::fetch`].
    pub fn hold(&self, wanted: impl IntoIterator<Item = Hash>, source: &Source, limit: Duration) -> Vec<Held> {
        let end = Instant::now() + limit;
        let lacking = wanted.into_iter().take_while(|_| Instant::now() < end).filter(|hash| !self.has(hash));
        let open = lacking.filter_map(|hash| {
            let path = source.filedir.join(hashes::relative_path(&hash));
            open_regular(&path).ok().flatten().map(|file| Held { hash, path, file })
        });
        open.collect()
    }

    /// Copies what is held.
    pub fn fetch_held(&self, held: Vec<Held>) -> Result<Copied> {
        let mut carrier = Carrier::new(self, usize::MAX)?;
        for Held { hash, path, file } in held {
            signals::check()?;
            if !self.has(&hash) {
                carrier.carry_open(&path, file, &hash)?;
            }
        }
        carrier.finish()
    }
}
