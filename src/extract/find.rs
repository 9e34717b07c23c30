//! Finding files in backups by their names: in the lists of entries, which need no unpacking, and in the dump's table of
//! files. Goes through one backup after the other; brings nothing back.

use super::hits::Hits;
pub use super::hits::{Hit, Thing, Use};
use super::searched::Searched;
use crate::database::uploads::{self, Upload};
use crate::entry::pattern::Pattern;
use crate::entry::{Kind, Reader};
use crate::error::Result;
use crate::store::manifest::Component;
use crate::store::places::Places;
use crate::store::{Backup, Part, inside, layout, rows};
use crate::sys::log::Log;
use crate::sys::signals;
use std::cell::Cell;
use std::os::unix::ffi::OsStrExt;

/// So many entries are read before it is looked whether somebody wants to stop.
const AT_A_TIME: u64 = 4096;

/// A search.
#[derive(Debug)]
pub struct Search<'a> {
    pattern: Pattern,
    /// A content's hash, where the pattern is one.
    hash: Option<String>,
    within: &'a [Searched],
    log: &'a Log,
    hits: Hits,
    not_searched: Vec<String>,
    /// Bytes of lists and dumps that were read, and how many there are.
    done: Cell<u64>,
    total: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// What was found, in the order in which it is shown; no more than was to be kept.
    pub hits: Vec<Hit>,
    /// How many things were found in all, in each part that has any.
    pub counts: Vec<(Searched, u64)>,
    /// What could not be searched, and why.
    pub not_searched: Vec<String>,
}

impl<'a> Search<'a> {
    /// Looks for `pattern` in these parts (none: in all), and keeps the first `limit` things. The backups that will be
    /// searched tell how much there is to read.
    pub fn new(pattern: &str, within: &'a [Searched], limit: usize, backups: &[Backup], log: &'a Log) -> Self {
        let hash = pattern.to_lowercase();
        let hash = crate::hashes::from_hex(hash.as_bytes()).map(|_| hash);
        let mut search = Search {
            pattern: Pattern::new(pattern),
            hash,
            within,
            log,
            hits: Hits::new(limit),
            not_searched: Vec::new(),
            done: Cell::new(0),
            total: 0,
        };
        search.total = backups.iter().map(|backup| search.bytes(backup)).sum();
        search
    }

    /// The parts of a backup that are searched, as far as it has them.
    fn parts(&self, backup: &Backup) -> Vec<Searched> {
        if self.within.is_empty() { Searched::all(&backup.manifest) } else { self.within.to_vec() }
    }

    /// How much is to be read in a backup.
    fn bytes(&self, backup: &Backup) -> u64 {
        let size = |path: std::path::PathBuf| path.symlink_metadata().map_or(0, |meta| meta.len());
        let of = |part: &Searched| match part {
            Searched::Uploads => dump_bytes(backup),
            Searched::Tree(_) => {
                let components = part.components(&backup.manifest).unwrap_or_default();
                components.iter().map(|it| size(backup.path.join(layout::index_of(&it.file)))).sum()
            }
        };
        self.parts(backup).iter().map(of).sum()
    }

    /// Searches a backup, which the caller holds, and which is the one with this number. What cannot be read is kept in mind;
    /// the error is a signal's.
    pub fn backup(&mut self, backup: &Backup, number: usize) -> Result<()> {
        for part in self.parts(backup) {
            if part == Searched::Uploads {
                let before = self.done.get();
                let searched = self.uploads(backup, number);
                self.note(searched, backup, &part.to_string())?;
                // Behind the table nothing was read.
                self.progress(before + dump_bytes(backup));
                continue;
            }
            for component in part.components(&backup.manifest).unwrap_or_default() {
                let searched = self.tree(backup, component, number);
                self.note(searched, backup, &component.name)?;
            }
        }
        Ok(())
    }

    /// What was not searched is told at the end: elsewhere the same may be found.
    fn note(&mut self, searched: Result<()>, backup: &Backup, what: &str) -> Result<()> {
        signals::check()?;
        if let Err(error) = searched {
            self.not_searched.push(format!("{what} of {}, in whole or in part: {error:#}", backup.name));
        }
        Ok(())
    }

    /// Says that a backup could not be searched at all.
    pub fn leave_out(&mut self, name: &str, why: &str) {
        self.not_searched.push(format!("{name}: {why}"));
    }

    fn progress(&self, done: u64) {
        self.done.set(done);
        self.log.progress(done.min(self.total), self.total, "bytes");
    }

    fn tree(&mut self, backup: &Backup, component: &Component, number: usize) -> Result<()> {
        let Some(part) = Part::of(component) else { return Ok(()) };
        let path = inside::named(&backup.path, &layout::index_of(&component.file))?;
        let size = path.symlink_metadata().map_or(0, |meta| meta.len());
        let source = component.source.as_os_str().as_bytes();
        let mut index = Reader::open(&path)?;
        let mut count: u64 = 0;
        while let Some(entry) = index.next_entry()? {
            let path = if entry.path.is_empty() { source.to_vec() } else { [source, b"/", &entry.path].concat() };
            if self.pattern.matches(&path) {
                let version = (entry.kind != Kind::Folder).then_some((entry.size, entry.mtime));
                let thing = Thing::Entry { part: part.clone(), path, kind: entry.kind, version };
                self.hits.add(thing, entry.size, entry.mtime.seconds, None, number);
            }
            count += 1;
            if count.is_multiple_of(AT_A_TIME) {
                signals::check()?;
            }
        }
        self.progress(self.done.get() + size);
        Ok(())
    }

    fn uploads(&mut self, backup: &Backup, number: usize) -> Result<()> {
        let Search { pattern, hash, hits, done, total, log, .. } = self;
        let progress = |bytes| {
            done.set(done.get() + bytes);
            log.progress(done.get().min(*total), *total, "bytes");
        };
        let searched = rows::each(backup, uploads::TABLE, &uploads::COLUMNS, &progress, &mut |row| {
            let Some(upload) = Upload::from_row(row) else { return };
            let path = format!("{}{}", upload.filepath, upload.filename);
            if hash.as_ref() == Some(&upload.contenthash) || pattern.matches(path.as_bytes()) {
                let thing =
                    Thing::Upload { contenthash: upload.contenthash.clone(), filename: upload.filename.clone() };
                hits.add(thing, upload.filesize, upload.timemodified, Some(upload), number);
            }
        });
        // What was found before the damage has its places, too.
        let places = Places::read(backup, &hits.unknown_contexts(), log)?;
        hits.name_places(|context| places.of(context));
        searched
    }

    /// What was found.
    pub fn end(self) -> Outcome {
        let searched = |(part, count): (Option<Part>, u64)| (part.map_or(Searched::Uploads, Searched::Tree), count);
        let mut counts: Vec<_> = self.hits.counts().into_iter().map(searched).collect();
        counts.sort();
        Outcome { counts, hits: self.hits.sorted(), not_searched: self.not_searched }
    }
}

fn dump_bytes(backup: &Backup) -> u64 {
    let size = |file: &std::path::Path| backup.path.join(file).symlink_metadata().map_or(0, |meta| meta.len());
    backup.manifest.database.dumps().into_iter().map(size).sum()
}
