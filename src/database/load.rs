//! Bringing a dump back into a database: streamed from the backup through the client, nothing of it on the disk between.
//! How, is another matter with each engine: see below it. Sets nothing aside: that is `aside.rs`.

mod crew;
mod definers;
mod dialect;
mod keys;
mod mariadb;
mod postgres;

pub use definers::Replaced;

use super::scanner::{Piece, Scanner};
use super::{Connection, Engine, refusal};
use crate::error::{Fault, OrFault, Result};
use crate::sys::files;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// How much is read and handed on at once.
const CHUNK: usize = 256 << 10;

impl Connection {
    /// Loads a compressed dump into this database, which is empty. `meter` is told how much of the file is read, and how
    /// much there is. When this returns the server has all of it on its disk. An error carries the server's words.
    ///
    /// What somebody else has defined (MariaDB: triggers, routines, events, views) is this account's then, unless it may name others;
    /// that is returned.
    pub fn load(&self, dump: &Path, meter: &mut dyn FnMut(u64, u64)) -> Result<Vec<Replaced>> {
        let unreadable = || Fault::failed(format!("cannot read the dump {}", dump.display()));
        let file = File::open(dump).or_fault(unreadable)?;
        let total = file.metadata()?.len();
        let counted = Counted { file, read: 0 };
        let stream = BufReader::with_capacity(CHUNK, zstd::Decoder::new(counted).or_fault(unreadable)?);
        let mut each = |stream: &Stream| meter(stream.get_ref().get_ref().get_ref().read, total);
        let loaded = match self.engine {
            Engine::MariaDb => mariadb::load(self, stream, &mut each),
            Engine::Postgres => postgres::load(self, stream, &mut each).map(|()| Vec::new()),
        };
        match loaded.map_err(|error| (error.downcast_ref::<Refused>().map(|refused| refused.0.clone()), error)) {
            Ok(replaced) => Ok(replaced),
            Err((Some(words), _)) => Err(self.explain_load(dump, &words)),
            Err((None, error)) if error.downcast_ref::<Unreadable>().is_some() => Err(error).or_fault(unreadable),
            Err((None, error)) => Err(match error.downcast_ref::<Faulty>() {
                Some(Faulty { what, next }) => {
                    Fault::failed(format!("{} is not loaded: {what}", dump.display())).hint(*next).into()
                }
                None => error,
            }),
        }
    }

    fn explain_load(&self, dump: &Path, words: &str) -> anyhow::Error {
        let what = format!("{} cannot be loaded into the {}", dump.display(), self.title());
        let said = refusal::essence(words);
        let hint = self.load_hint(&said).map(str::to_owned).or_else(|| refusal::hint(self, &said));
        let fault = Fault::failed(what);
        anyhow::anyhow!("{said}").context(match hint {
            Some(hint) => fault.hint(hint),
            None => fault,
        })
    }

    /// What helps against that which only a load meets.
    fn load_hint(&self, said: &str) -> Option<&'static str> {
        let is = |number: u32| refusal::error_number(said) == Some(number);
        Some(if said.contains("Unknown collation") || is(1273) {
            "this server is older than the one of the backup, or another product: use one of the version in the manifest \
             (moodle-backup show), or replace the collation in a dump of your own (RESTORE.txt tells how)"
        } else if said.contains("Row size too large") || is(1118) {
            "Moodle needs innodb_strict_mode=OFF or row format DYNAMIC on this server: set innodb_default_row_format=dynamic"
        } else if said.contains("max_locks_per_transaction") {
            "raise max_locks_per_transaction in postgresql.conf to 256 and restart the server"
        } else if is(1419) || is(1418) {
            "the server keeps a binary log, and does not trust this account with such triggers and functions: SET GLOBAL \
             log_bin_trust_function_creators = 1 until the restore is done"
        } else if said.contains("No space left")
            || said.contains("No more room")
            || is(1114)
            || is(1021)
            || self.has_full_disk()
        {
            "the disk of the database server is full: make room there; the earlier tables are kept until a restore has succeeded"
        } else if is(1180) {
            // MariaDB 10.6 and later fill empty tables by way of temporary files, and do not say what was wrong with them.
            "the disk of the database server, or that of its temporary files (tmpdir), is full, as a rule; its error log tells"
        } else {
            return None;
        })
    }
}

/// With so few bytes free a disk is as good as full: servers ask for some megabytes at a time.
const FULL: u64 = 16 << 20;

impl Connection {
    /// Whether the disk of the server is full, where it is one of this machine: MariaDB does not always say why it could not commit.
    fn has_full_disk(&self) -> bool {
        let space = self.data_folder_here().and_then(|folder| files::space(&folder).ok());
        space.is_some_and(|space| space.free_bytes < FULL)
    }
}

/// A dump as it is read.
type Stream = BufReader<zstd::Decoder<'static, BufReader<Counted>>>;

/// Takes a dump apart and hands it on; `each` is called now and then with the stream, to see how far that is. An error if it is
/// not whole.
fn each_piece<R: Read>(
    engine: Engine,
    mut dump: R,
    each: &mut dyn FnMut(&R),
    take: &mut dyn FnMut(Piece<'_>) -> Result<()>,
) -> Result<()> {
    let mut scanner = Scanner::new(engine, None);
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = match dump.read(&mut buffer) {
            Ok(0) => return if scanner.finish().complete { Ok(()) } else { Err(cut_off()) },
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Unreadable(error).into()),
        };
        let mut result = Ok(());
        scanner.feed_showing(&buffer[..count], &mut |piece| {
            if result.is_ok() {
                result = take(piece);
            }
        });
        result?;
        each(&dump);
    }
}

fn cut_off() -> anyhow::Error {
    let what = "the dump is cut off: the line is lacking that its client writes at its end".to_owned();
    Faulty { what, next: "another backup may have it whole: moodle-backup list" }.into()
}

/// What is wrong with a dump itself, by whoever does not know in which file it lies.
#[derive(Debug)]
struct Faulty {
    what: String,
    next: &'static str,
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Faulty {}

/// A client's own words on why it has ended.
#[derive(Debug)]
struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.trim())
    }
}

impl std::error::Error for Refused {}

/// The dump's file cannot be read on.
#[derive(Debug)]
struct Unreadable(std::io::Error);

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Unreadable {}

/// Counts what is read of a file.
struct Counted {
    file: File,
    read: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read += count as u64;
        Ok(count)
    }
}
