//! A dump of a database as one snapshot: started, known to be established, drained, and judged at its end. Whether to
//! try again, and with what window, is decided above.

use super::client::Client;
use super::pump::{self, Gauge, News, Pumped};
use super::scanner::{FilesTable, Scanner};
use super::{Connection, Scanned, Session, postgres, refusal};
use crate::error::{Fault, Result};
use crate::sys::log::Log;
use crate::sys::process::{Output, Running};
use crate::sys::signals;
use std::fmt;
use std::fs::File;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often a wait looks whether a signal has come.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(100);

/// How often a wait looks whether the dump has its locks.
const LOCKS_INTERVAL: Duration = Duration::from_millis(20);

/// Which tables, and how they are kept from changing under the dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tables {
    /// The whole database but these tables, in one snapshot; nobody is locked out.
    Snapshot {
        /// Tables to leave out (MariaDB; PostgreSQL has none that need it).
        but: Vec<String>,
    },
    /// These tables alone, locked against writers to the dump's end: for those whose engine has no snapshots (MariaDB).
    Locked {
        /// Their names.
        only: Vec<String>,
    },
}

/// What is to be dumped, and how.
#[derive(Debug)]
pub struct Order {
    /// Which tables.
    pub tables: Tables,
    /// Level of compression; 1 to 3 keep up with any client.
    pub level: i32,
    /// Moodle's table of files, where there is one.
    pub files: Option<FilesTable>,
}

/// A dump that runs. Dropping it ends the client.
#[derive(Debug)]
pub struct Dump {
    connection: Connection,
    program: String,
    /// What its connection calls itself.
    name: String,
    running: Option<Running>,
    news: Receiver<News>,
    gauge: Gauge,
    established: bool,
    ended: Option<Result<Pumped>>,
}

/// A dump that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dumped {
    /// Bytes of SQL.
    pub bytes: u64,
    /// Bytes on disk.
    pub compressed_bytes: u64,
    /// What the stream held: rows of each table, hashes that were none.
    pub scanned: Scanned,
}

/// Why a dump is of no use.
#[derive(Debug)]
pub enum DumpFailure {
    /// The site changed the structure of a table (TRUNCATE, ALTER, DROP, RENAME) before it was read. Trying again helps.
    SchemaChanged {
        /// Which, if the client told.
        table: Option<String>,
        /// All that is known.
        error: anyhow::Error,
    },
    /// Anything else.
    Failed(anyhow::Error),
}

impl DumpFailure {
    /// The error alone, for those who do not try again.
    pub fn into_error(self) -> anyhow::Error {
        match self {
            DumpFailure::SchemaChanged { error, .. } | DumpFailure::Failed(error) => error,
        }
    }
}

impl fmt::Display for DumpFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DumpFailure::SchemaChanged { error, .. } | DumpFailure::Failed(error) => error.fmt(f),
        }
    }
}

impl Dump {
    /// Starts the client; from now on its output goes, scanned and compressed, into `out`. The calling thread must live as
    /// long as the dump, which ends with it.
    pub fn start(connection: &Connection, client: &Client, order: Order, out: File, log: &Log) -> Result<Dump> {
        let program = client.path.display().to_string();
        let scanner = Scanner::new(connection.engine, order.files);
        let name = postgres::dump_application();
        let mut running = client.program(connection, &order.tables, false, &name)?.spawn()?;
        let stdout = running.stdout.take().ok_or_else(|| anyhow::anyhow!("{program} has no output"))?;
        let (news, gauge) = pump::start(stdout, scanner, out, order.level)?;
        log.detail(format!("{program} (process {}) dumps the {}", running.id(), connection.title()));
        Ok(Dump {
            connection: connection.clone(),
            program,
            name,
            running: Some(running),
            news,
            gauge,
            established: false,
            ended: None,
        })
    }

    /// Waits until the snapshot is open and what must not change is locked; from then on the site may go on. A
    /// dump that has ended before is judged by [`Dump::finish`]. With a session to the same database this is noticed
    /// sooner on PostgreSQL, whose client has its locks long before its first byte.
    pub fn wait_established(&mut self, mut session: Option<&mut Session>, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !self.established && self.ended.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let message = format!(
                    "the dump of the {} did not begin within {} seconds",
                    self.connection.title(),
                    limit.as_secs()
                );
                return Err(Fault::failed(message)
                    .hint("a session may hold a lock on a table (ALTER, VACUUM FULL), or the server is overloaded")
                    .into());
            }
            let pause = if session.is_some() { LOCKS_INTERVAL } else { SIGNAL_INTERVAL };
            self.listen(left.min(pause))?;
            self.established |= session.as_deref_mut().is_some_and(|session| session.dump_holds_locks(&self.name));
        }
        Ok(())
    }

    /// Whether the client's output has ended, well or not. Does not wait.
    pub fn ended(&mut self) -> bool {
        while self.ended.is_none() && self.listen_now() {}
        self.ended.is_some()
    }

    /// Bytes of SQL taken so far.
    pub fn bytes(&self) -> u64 {
        self.gauge.bytes()
    }

    /// How long nothing has come from the client: a server that hangs, or one that waits for a lock.
    pub fn silence(&self) -> Duration {
        self.gauge.silence()
    }

    /// Waits for its end and judges it: whole only if the client says so twice, by its exit status and by its end mark.
    pub fn finish(mut self) -> Result<Dumped, DumpFailure> {
        while self.ended.is_none() {
            self.listen(SIGNAL_INTERVAL).map_err(DumpFailure::Failed)?;
        }
        let pumped = match self.ended.take() {
            Some(Ok(pumped)) => pumped,
            Some(Err(error)) => return Err(DumpFailure::Failed(error)),
            None => return Err(DumpFailure::Failed(anyhow::anyhow!("the dump has no end"))),
        };
        let output = self.wait_for_exit().map_err(DumpFailure::Failed)?;
        if !output.status.success() {
            return Err(self.judge(&output));
        }
        if !pumped.scanned.complete {
            let message = format!("the dump of the {} has no end mark: it is cut short", self.connection.title());
            return Err(DumpFailure::Failed(Fault::failed(message).into()));
        }
        Ok(Dumped { bytes: pumped.bytes, compressed_bytes: pumped.compressed_bytes, scanned: pumped.scanned })
    }

    fn wait_for_exit(&mut self) -> Result<Output> {
        let running = self.running.take().ok_or_else(|| anyhow::anyhow!("the dump client is gone"))?;
        running.finish()
    }

    fn judge(&self, output: &Output) -> DumpFailure {
        let what = format!("{} failed with {} at the {}", self.program, output.ending(), self.connection.title());
        let error = refusal::explain(&self.connection, &what, &output.stderr);
        match refusal::schema_change(self.connection.engine, &output.stderr) {
            Some(table) => DumpFailure::SchemaChanged { table, error },
            None => DumpFailure::Failed(error),
        }
    }

    /// Takes what the pump says within `limit`.
    fn listen(&mut self, limit: Duration) -> Result<()> {
        signals::check()?;
        match self.news.recv_timeout(limit) {
            Ok(news) => self.note(news),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                self.ended = Some(Err(anyhow::anyhow!("the dump's thread panicked")))
            }
        }
        Ok(())
    }

    fn listen_now(&mut self) -> bool {
        self.news.try_recv().map(|news| self.note(news)).is_ok()
    }

    fn note(&mut self, news: News) {
        match news {
            News::Established => self.established = true,
            News::Ended(ended) => self.ended = Some(ended),
        }
    }
}
