//! Moodle's content-addressed files in a run: the copy before the window, what the database refers to after it, and
//! the list that goes into the backup.

use crate::database::{Connection, Session};
use crate::entry::Reading;
use crate::error::Result;
use crate::hashes::{self, Collector, Hash, Sorted};
use crate::moodle;
use crate::pool::{Copied, Effort, Held, Pool, Source, marks};
use crate::preflight::Site;
use crate::settings::Settings;
use crate::store::damage::Suspects;
use crate::store::{Backup, Draft, Store, layout, sums};
use crate::sys::log::Log;
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So many new files are held open from the snapshot on, if they can be opened in this time.
const HELD: usize = 500;
const HOLDING: Duration = Duration::from_millis(100);

/// How a run reads what may be damaged.
pub fn reading(settings: &Settings) -> Reading {
    Reading { effort: effort(settings), from_disk: true }
}

fn effort(settings: &Settings) -> Effort {
    let resources = &settings.resources;
    Effort { threads: resources.threads, nice: resources.nice, io: resources.io }
}

/// The files of a run.
#[derive(Debug)]
pub struct Files {
    pool: Pool,
    source: Source,
    met: Sorted,
    /// The highest id in Moodle's table of files before its filedir was walked.
    newest_row: u64,
    held: Vec<Held>,
    /// What all copies together did.
    pub copied: Copied,
    /// Hashes that the dump refers to and that are nowhere at the source.
    pub nowhere: Vec<Hash>,
}

impl Files {
    /// Copies what the pool lacks of all that Moodle has now.
    pub fn copy_ahead(settings: &Settings, site: &Site, pool: Pool, expected: u64, log: &Log) -> Result<Self> {
        let source = Source { filedir: site.config.filedir.clone(), trashdir: site.config.trashdir.clone() };
        // Before the walk: content is stored before its row has an id, so the walk meets what rows up to this one refer to.
        let newest_row = newest_row(&mut site.connection.session()?, &site.config.prefix)?;
        let (copied, met) = pool.copy_all(&source, effort(settings), expected, log)?;
        log.info(format!("{} new files copied, {} bytes", copied.files, copied.bytes));
        Ok(Files { pool, source, met: met.finish(), newest_row, held: Vec::new(), copied, nowhere: Vec::new() })
    }

    /// Takes hold of what was uploaded since the copy before the window; the snapshot was just taken. Should it be deleted
    /// as soon as the site is open, and Moodle's trash be emptied, it can be copied all the same. Takes as good as no time,
    /// whatever was uploaded: what it leaves is fetched later, by name.
    pub fn hold_new(&mut self, session: &mut Session, prefix: &str) -> Result<()> {
        let table = moodle::table(session.connection(), prefix, "files")?;
        let newest = self.newest_row;
        let sql = format!("SELECT contenthash FROM {table} WHERE id > {newest} ORDER BY id DESC LIMIT {HELD}");
        let rows = session.query(&sql)?;
        self.held = self.pool.hold(rows.iter().filter_map(|row| hash_in(row)), &self.source, HOLDING);
        Ok(())
    }

    /// Copies what had been found damaged, and is lost to the pool but not to the site: earlier backups need it even if
    /// this one does not. What the site has lost too stays lost to them.
    pub fn fetch_lost(&mut self, lost: &BTreeSet<Hash>) -> Result<()> {
        let (copied, _) = self.pool.fetch(lost.iter().map(|hash| Ok(*hash)), &self.source)?;
        self.copied.add(copied);
        Ok(())
    }

    /// Forgets the damage that is mended now. Trouble with that is no trouble of the backup.
    pub fn forget_mended(&self, store: &Store, suspects: &Suspects, log: &Log) {
        match store.forget_mended(suspects, &self.pool) {
            Ok(mended) if mended.is_empty() => {}
            Ok(mended) => log.info(format!("{} damaged files of the pool are whole again", mended.len())),
            Err(error) => log.warn(format!("it could not be noted that damage was mended: {error:#}")),
        }
    }

    /// Copies what the database refers to now and the pool lacks. Done as soon as the site is open again: a file that
    /// is deleted now goes to trashdir, which Moodle empties once a day.
    pub fn copy_referenced(&mut self, connection: &Connection, prefix: &str) -> Result<()> {
        self.copied.add(self.pool.fetch_held(std::mem::take(&mut self.held))?);
        let mut session = connection.session()?;
        let mut referenced = Collector::new(self.scratch());
        let table = moodle::table(connection, prefix, "files")?;
        session.stream(&format!("SELECT DISTINCT contenthash FROM {table}"), |row| {
            hash_in(&row).map_or(Ok(()), |hash| referenced.push(hash))
        })?;
        // What is nowhere now may belong to a row that is younger than the snapshot: the dump decides.
        self.fetch(&referenced.finish()).map(drop)
    }

    /// Copies what the dump refers to and the pool still lacks; what is nowhere is remembered.
    pub fn copy_dumped(&mut self, dumped: &Sorted) -> Result<()> {
        self.nowhere = self.fetch(dumped)?;
        Ok(())
    }

    fn fetch(&mut self, wanted: &Sorted) -> Result<Vec<Hash>> {
        let lacking = hashes::difference(wanted.iter()?, self.met.iter()?);
        let (copied, nowhere) = self.pool.fetch(lacking, &self.source)?;
        self.copied.add(copied);
        Ok(nowhere)
    }

    /// A place for lists that do not fit into memory.
    pub fn scratch(&self) -> &Path {
        self.pool.incoming()
    }

    /// Writes the list of the files that belong to the backup: all that were met and all that the dump refers to. Beside it
    /// goes the list of their sizes and times. The same as last time are shared, if they are whole. Returns how many files
    /// they are, and their bytes. That the pool has each was seen when it was met or fetched; only new ones are looked at here.
    pub fn write_list(&self, dumped: &Sorted, draft: &Draft, previous: Option<&Backup>) -> Result<(u64, u64)> {
        let lost: HashSet<Hash> = self.nowhere.iter().chain(&self.copied.damaged).copied().collect();
        let all = || -> Result<_> {
            let union = hashes::union(self.met.iter()?, dumped.iter()?);
            Ok(union.filter(|hash| !matches!(hash, Ok(hash) if lost.contains(hash) && !self.pool.has(hash))))
        };
        let [list, index] = lists();
        let previous = previous.filter(|previous| lists().iter().all(|list| sums::is_whole(&previous.path, list)));
        if let Some(previous) = previous {
            let before = hashes::read_list(&previous.path.join(&list));
            let same = before.and_then(|before| hashes::same(all()?, before)).unwrap_or(false);
            if same && share_lists(previous, draft) {
                return Ok((previous.manifest.pool.files, previous.manifest.pool.bytes));
            }
        }
        let before = previous.map(|previous| (previous.path.join(&list), previous.path.join(&index)));
        let mut known = marks::Known::of(before);
        let mut index = marks::Writer::create(&draft.file(index))?;
        let mut bytes = 0;
        let present = all()?.map(|hash| {
            let hash = hash?;
            let marks = known.next(&hash).map_or_else(|| self.pool.marks(&hash), Ok)?;
            bytes += marks.size.cast_unsigned();
            index.add(marks)?;
            Ok(hash)
        });
        let count = hashes::write_list(&draft.file(list), present)?;
        index.finish()?;
        Ok((count, bytes))
    }
}

/// The list of pool files, and that of their sizes and times.
fn lists() -> [PathBuf; 2] {
    [layout::POOL_LIST.into(), layout::pool_index()]
}

/// Links both lists of pool files into a new backup; false, and neither is there, if that cannot be.
fn share_lists(previous: &Backup, draft: &Draft) -> bool {
    let link = |list: &PathBuf| std::fs::hard_link(previous.path.join(list), draft.file(list)).is_ok();
    let shared = lists().iter().all(link);
    if !shared {
        lists().iter().for_each(|list| drop(std::fs::remove_file(draft.file(list))));
    }
    shared
}

fn newest_row(session: &mut Session, prefix: &str) -> Result<u64> {
    let table = moodle::table(session.connection(), prefix, "files")?;
    let newest = session.value(&format!("SELECT MAX(id) FROM {table}"))?;
    Ok(newest.and_then(|id| id.parse().ok()).unwrap_or(0))
}

/// The content hash in a row's first field.
fn hash_in(row: &[Option<String>]) -> Option<Hash> {
    row.first()?.as_deref().and_then(|hex| hashes::from_hex(hex.as_bytes()))
}
