//! The dumps of a run: Moodle's database and the others, begun together in the window and drained side by side.

use crate::database::{Dump, DumpFailure, Dumped, FilesTable, Order, Session, Tables};
use crate::error::{Fault, OrFault, Result};
use crate::hashes::{Collector, Hash, Sorted};
use crate::preflight::{Dumpable, Ready};
use crate::settings;
use crate::store::{Draft, layout};
use crate::sys::log::Log;
use crate::sys::signals;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a dump may take to be established: it waits for locks at most.
const ESTABLISHED: Duration = Duration::from_secs(60);

/// A client from which nothing came for so long hangs: its server is gone, or has stopped.
const SILENCE: Duration = Duration::from_secs(1800);

/// How often running dumps are looked at, and how often the database is asked whom they block.
const INTERVAL: Duration = Duration::from_millis(20);
const BLOCKED_INTERVAL: Duration = Duration::from_secs(1);

/// A dump that the open site has disturbed: of no use, but another try may do.
#[derive(Debug)]
pub struct Disturbed(String);

impl std::fmt::Display for Disturbed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Disturbed> for anyhow::Error {
    fn from(disturbed: Disturbed) -> Self {
        Fault::failed(disturbed.0)
            .hint("find out what changes tables at that hour (scheduled tasks, another program), and run the backup at another")
            .into()
    }
}

/// One database of the backup.
#[derive(Debug)]
pub struct DumpedDatabase {
    /// `site`, or the name of an extra one.
    pub name: String,
    /// The dump, below the backup.
    pub file: PathBuf,
    /// What is in it.
    pub dumped: Dumped,
    /// The dump of the tables that a snapshot does not cover, if there are such.
    pub apart: Option<(PathBuf, Dumped)>,
}

/// All that the dumps of a run have brought.
#[derive(Debug)]
pub struct DumpedAll {
    /// Moodle's own database first.
    pub databases: Vec<DumpedDatabase>,
    /// The content hashes that Moodle's files table refers to.
    pub referenced: Sorted,
}

/// Takes hashes from the thread that reads the dump.
#[derive(Debug)]
struct Sink {
    collector: Collector,
    failed: Option<anyhow::Error>,
}

/// Dumps that run, or have run.
#[derive(Debug)]
pub struct Dumps<'a> {
    ready: &'a Ready,
    draft: &'a Path,
    sink: Arc<Mutex<Sink>>,
    running: Vec<(&'a Dumpable, Dump)>,
    running_apart: Vec<(&'a Dumpable, Dump)>,
    apart: Vec<(String, PathBuf, Dumped)>,
    done: Vec<DumpedDatabase>,
}

impl<'a> Dumps<'a> {
    /// Nothing is started yet.
    pub fn new(ready: &'a Ready, draft: &'a Draft, scratch: &Path) -> Self {
        let sink = Sink { collector: Collector::new(scratch), failed: None };
        Dumps {
            ready,
            draft: draft.path(),
            sink: Arc::new(Mutex::new(sink)),
            running: Vec::new(),
            running_apart: Vec::new(),
            apart: Vec::new(),
            done: Vec::new(),
        }
    }

    /// Starts all dumps. They take their snapshots by themselves: see [`Dumps::established`].
    pub fn start(&mut self, prefix: &str, settings: &settings::Database, log: &Log) -> Result<()> {
        let databases = &self.ready.databases;
        let level = settings.compression;
        for database in std::iter::once(&databases.site).chain(&databases.extra) {
            let own = std::ptr::eq(database, &databases.site);
            let but = database.non_transactional.iter().chain(&database.aside).cloned().collect();
            let tables = Tables::Snapshot { but };
            let files_apart = database.non_transactional.contains(&format!("{prefix}files"));
            let files = (own && !files_apart).then(|| self.files_table(database, prefix));
            let dump = self.begin(database, Order { tables, level, files }, &file_of(database), log)?;
            self.running.push((database, dump));
            if !database.non_transactional.is_empty() {
                let tables = Tables::Locked { only: database.non_transactional.clone() };
                let files = (own && files_apart).then(|| self.files_table(database, prefix));
                let dump = self.begin(database, Order { tables, level, files }, &file_apart_of(database), log)?;
                self.running_apart.push((database, dump));
            }
        }
        Ok(())
    }

    /// Waits until each dump holds its snapshot, and until the tables that a snapshot does not cover are dumped to
    /// their end. From then on the site may go on. `session` is one with the site's database.
    pub fn established(&mut self, session: &mut Session) -> Result<()> {
        let site = &self.ready.databases.site;
        for (database, dump) in &mut self.running {
            let session = std::ptr::eq(*database, site).then_some(&mut *session);
            dump.wait_established(session, ESTABLISHED)?;
        }
        for (database, dump) in self.running_apart.drain(..) {
            let dumped = dump.finish().map_err(DumpFailure::into_error)?;
            self.apart.push((database.name.clone(), file_apart_of(database), dumped));
        }
        Ok(())
    }

    fn begin(&self, database: &Dumpable, order: Order, file: &Path, log: &Log) -> Result<Dump> {
        let path = self.draft.join(file);
        crate::sys::files::make_folders(crate::sys::files::parent(&path), layout::FOLDER_MODE)?;
        let out = File::create(&path).or_fault(|| Fault::failed(format!("cannot write {}", path.display())))?;
        Dump::start(&database.connection, &database.client, order, out, log)
    }

    fn files_table(&self, database: &Dumpable, prefix: &str) -> FilesTable {
        let sink = Arc::clone(&self.sink);
        let each = move |hash: Hash| {
            if let Ok(mut sink) = sink.lock()
                && let Err(error) = sink.collector.push(hash)
            {
                sink.failed.get_or_insert(error);
            }
        };
        FilesTable { schema: database.server.schema.clone(), name: format!("{prefix}files"), each: Box::new(each) }
    }

    /// Waits for the end of all dumps. With a limit, sessions of the site that wait for a dump so long end it: it is
    /// then to be begun again.
    pub fn wait(&mut self, blocked_limit: Option<Duration>, log: &Log) -> Result<Result<(), Disturbed>> {
        let mut watch = match blocked_limit {
            Some(limit) if !self.running.is_empty() => Some((self.ready.databases.site.connection.session()?, limit)),
            _ => None,
        };
        let expected = self.ready.databases.site.server.size_bytes;
        let mut asked = Instant::now();
        while !self.running.is_empty() {
            signals::check()?;
            log.progress(self.running.iter().map(|(_, dump)| dump.bytes()).sum(), expected, "bytes");
            if let Some(ended) = self.running.iter_mut().position(|(_, dump)| dump.ended()) {
                let (database, dump) = self.running.remove(ended);
                log.detail(format!("the dump of the {} has ended", database.connection.title()));
                if let Err(disturbed) = self.take(database, dump.finish())? {
                    self.running.clear();
                    return Ok(Err(disturbed));
                }
                continue;
            }
            if let Some((database, _)) = self.running.iter().find(|(_, dump)| dump.silence() > SILENCE) {
                return Err(Fault::failed(format!(
                    "nothing has come from the dump of the {} for {} minutes",
                    database.connection.title(),
                    SILENCE.as_secs() / 60
                ))
                .hint("look at the database server: does it still answer, or wait for a disk or a lock?")
                .into());
            }
            if let Some((session, limit)) = watch.as_mut().filter(|_| asked.elapsed() >= BLOCKED_INTERVAL) {
                asked = Instant::now();
                if let Some(disturbed) = blocked(session, *limit)? {
                    self.running.clear();
                    return Ok(Err(disturbed));
                }
            }
            signals::wait(INTERVAL)?;
        }
        Ok(Ok(()))
    }

    fn take(&mut self, database: &Dumpable, result: Result<Dumped, DumpFailure>) -> Result<Result<(), Disturbed>> {
        match result {
            Ok(dumped) => {
                let apart = self.apart.iter().position(|(name, ..)| *name == database.name);
                let apart = apart.map(|at| self.apart.remove(at)).map(|(_, file, dumped)| (file, dumped));
                self.done.push(DumpedDatabase { name: database.name.clone(), file: file_of(database), dumped, apart });
                Ok(Ok(()))
            }
            Err(DumpFailure::SchemaChanged { table, .. }) => {
                let table = table.map_or("a table".into(), |table| format!("the table {table}"));
                Ok(Err(Disturbed(format!("{table} of {} was changed during its dump", database.connection.title()))))
            }
            Err(DumpFailure::Failed(error)) => Err(error),
        }
    }

    /// What all dumps have brought; they have ended.
    pub fn finish(self) -> Result<DumpedAll> {
        let mut databases = self.done;
        databases.sort_by_key(|database| database.name != "site");
        let sink = Arc::into_inner(self.sink).and_then(|sink| sink.into_inner().ok());
        let sink = sink.ok_or_else(|| anyhow::anyhow!("a dump is still being read"))?;
        if let Some(error) = sink.failed {
            return Err(error);
        }
        let seen = |database: &DumpedDatabase| {
            let apart = database.apart.iter().any(|(_, dumped)| dumped.scanned.files_seen);
            database.name == "site" && (database.dumped.scanned.files_seen || apart)
        };
        if !databases.iter().any(seen) {
            return Err(Fault::failed("the dump has no table of files: it is not that of a whole Moodle").into());
        }
        Ok(DumpedAll { databases, referenced: sink.collector.finish() })
    }
}

fn blocked(session: &mut Session, limit: Duration) -> Result<Option<Disturbed>> {
    let blocked = session.blocked_by_dump()?;
    let longest = blocked.first().filter(|blocked| blocked.seconds >= limit.as_secs().max(1));
    Ok(longest
        .map(|one| Disturbed(format!("the dump made the site wait for {} s ({})", one.seconds, one.query.trim()))))
}

/// Where a dump lies in the backup.
fn file_of(database: &Dumpable) -> PathBuf {
    match database.name.as_str() {
        "site" => layout::DATABASE.into(),
        name => Path::new(layout::EXTRA_DATABASES).join(format!("{name}.sql.zst")),
    }
}

/// Where the dump of the tables lies that a snapshot does not cover.
fn file_apart_of(database: &Dumpable) -> PathBuf {
    file_of(database).with_extension("").with_extension("non-transactional.sql.zst")
}
