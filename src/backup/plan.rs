//! What a run would copy, found out by looking at names, sizes and times alone. Takes no lock and writes nothing.

use super::parts::{archives, left_out};
use crate::error::Result;
use crate::pool::{self, Lacking};
use crate::preflight::{Dumpable, Ready, Site};
use crate::settings::Settings;
use crate::store::manifest::{Component, ComponentKind};
use crate::store::{Backup, layout};
use crate::sys::log::Log;
use crate::tree::{self, Survey};
use std::collections::HashSet;

/// Of code about a third is left when it is compressed, of a dump less. Said of the first backup only: later ones
/// tell by the one before.
const COMPRESSED: u64 = 3;

/// What a run would copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Files that are new in the pool.
    pub pool: Lacking,
    /// Code, extra directories and moodledata, in this order.
    pub parts: Vec<Part>,
    /// Bytes of the dumps, as they are likely to be stored.
    pub dump_bytes: u64,
}

/// A tree of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name: `code`, `directory etc-apache2`, `moodledata`.
    pub name: String,
    /// How it differs from the backup before; all of it is new where there is none.
    pub survey: Survey,
    /// Whether there is one to compare with.
    pub known: bool,
    /// Bytes that it is likely to add to the target.
    pub bytes: u64,
}

impl Plan {
    /// Looks at everything that a run would copy.
    pub fn new(settings: &Settings, site: &Site, ready: &Ready, log: &Log) -> Result<Self> {
        let listing = ready.store.as_ref().map(|store| store.backups()).transpose()?;
        let previous = listing.as_ref().and_then(|listing| listing.newest());
        let previous = previous.filter(|previous| previous.manifest.paths.dataroot == site.config.dataroot);
        log.detail("comparing the site with its last backup");
        let pool = ready.store.as_ref().map(|store| store.pool());
        Ok(Plan {
            pool: pool::lacking(&site.config.filedir, pool.as_deref(), ready.forecast.pool_files, log)?,
            parts: parts(settings, site, previous)?,
            dump_bytes: dump_bytes(ready, previous),
        })
    }

    /// Bytes that all but the pool is likely to add.
    pub fn other_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum::<u64>() + self.dump_bytes
    }
}

fn parts(settings: &Settings, site: &Site, previous: Option<&Backup>) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for archive in archives(settings, site) {
        let before = previous.and_then(|previous| Some((previous, archive.before(previous)?)));
        let index = before.map(|(previous, part)| previous.path.join(layout::index_of(&part.file)));
        let index = index.filter(|index| index.is_file());
        let unread = before.iter().flat_map(|(_, part)| &part.unread).map(|unread| unread.path.clone()).collect();
        let survey = tree::survey(&archive.component.source, &archive.exclude, index.as_deref(), &unread)?;
        let stored = before.map_or(survey.bytes / COMPRESSED, |(_, part)| part.stored_bytes);
        let unchanged = index.is_some() && survey.is_unchanged();
        let bytes = if unchanged { 0 } else { stored };
        parts.push(Part { name: archive.component.name, survey, known: index.is_some(), bytes });
    }
    let index = previous.map(|previous| previous.path.join(layout::moodledata_index())).filter(|index| index.is_file());
    let nothing = HashSet::new();
    let survey = tree::survey(&site.config.dataroot, &left_out(settings, site)?, index.as_deref(), &nothing)?;
    let bytes = survey.changed_bytes;
    parts.push(Part { name: layout::MOODLEDATA.into(), survey, known: index.is_some(), bytes });
    Ok(parts)
}

/// The dumps are made anew each time, and are likely to be as large as last time.
fn dump_bytes(ready: &Ready, previous: Option<&Backup>) -> u64 {
    let is_dump = |part: &&Component| matches!(part.kind, ComponentKind::Database | ComponentKind::ExtraDatabase);
    let before = previous.map(|previous| previous.manifest.components.iter().filter(is_dump));
    let before: u64 = before.map_or(0, |parts| parts.map(|part| part.stored_bytes).sum());
    let size = |database: &Dumpable| database.server.size_bytes / COMPRESSED;
    let databases = &ready.databases;
    if before > 0 { before } else { size(&databases.site) + databases.extra.iter().map(size).sum::<u64>() }
}
