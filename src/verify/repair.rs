//! Mending the pool: what is damaged is set aside, and fetched again from the live site if that is asked for. The files of
//! backups themselves are never touched: a new backup makes new ones.

use super::{note_trouble, reading};
use crate::error::{Fault, Result};
use crate::hashes::Hash;
use crate::pool::{Pool, Source};
use crate::preflight;
use crate::settings::Settings;
use crate::store::{Store, damage};
use crate::sys::log::Log;
use std::collections::BTreeSet;

/// What became of the damaged pool files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// Those that are whole again.
    pub mended: BTreeSet<Hash>,
    /// Those that are not.
    pub left: BTreeSet<Hash>,
    /// How many were moved to `damaged/`.
    pub set_aside: u64,
    /// Why nothing could be done, if so; what is left will be seen to by the next run.
    pub trouble: Option<String>,
}

/// Sets all pool files aside that are noted as damaged and still are; with `fetch` takes them from the site anew. Not done
/// while a run is at work: that does the same by itself when it begins.
pub fn repair(store: &Store, settings: &Settings, fetch: bool, log: &Log) -> Result<Mended> {
    let mut mended = Mended { left: store.backups()?.damaged_pool_files(), ..Mended::default() };
    if mended.left.is_empty() {
        return Ok(mended);
    }
    log.step("repair")?;
    let mut trouble = Vec::new();
    note_trouble(mend(store, settings, fetch, &mut mended, log), &mut trouble)?;
    mended.trouble = trouble.pop();
    Ok(mended)
}

fn mend(store: &Store, settings: &Settings, fetch: bool, mended: &mut Mended, log: &Log) -> Result<()> {
    // Asked before the lock is taken, which no run should find taken for long.
    let source = match fetch {
        true => Some(preflight::read_site(settings)?.config),
        false => None,
    };
    let _lock = store.try_lock()?.ok_or_else(|| {
        Fault::locked("a run is at work on this site")
            .hint("it leaves damaged files where they are; the next one fetches them")
    })?;
    let pool = Pool::open(store.folder(), store.owner().gid())?;
    let suspects = store.set_damaged_aside(&pool, reading(settings), log)?;
    mended.set_aside = suspects.set_aside;
    if let Some(config) = source {
        let source = Source { filedir: config.filedir, trashdir: config.trashdir };
        let (copied, _) = pool.fetch(suspects.lost.iter().map(|hash| Ok(*hash)), &source)?;
        for hash in copied.damaged {
            log.warn(format!("{} is damaged at the site too", damage::name_of(&hash)));
        }
    }
    mended.mended = store.forget_mended(&suspects, &pool)?;
    mended.left = store.backups()?.damaged_pool_files();
    Ok(())
}
