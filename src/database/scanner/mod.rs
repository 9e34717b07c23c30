//! Reads a dump as it passes: counts the rows of each table, hands on each content hash of Moodle's files table, and
//! notices the end mark. Never changes or keeps the stream, never fails: what is odd is counted. It must be faster
//! than any dump client (see `scanner_speed` in its tests).

mod hash_field;
mod mariadb;
pub(super) mod names;
mod postgres;
mod row_fields;
mod sink;
#[cfg(test)]
mod tests;

use super::Engine;
use sink::Sink;
use std::collections::BTreeMap;
use std::fmt;

/// Where the content hashes are, and who wants them.
pub struct FilesTable {
    /// PostgreSQL: its schema, if only one counts.
    pub schema: Option<String>,
    /// Its name, with the prefix: `mdl_files`.
    pub name: String,
    /// Is given each hash, as often as it occurs, on the thread that drains the dump: it must not wait for anything.
    pub each: Box<dyn FnMut([u8; 20]) + Send>,
}

/// Takes the values of one row, in the order of the columns; `None` is NULL. A column that the table lacks is NULL too.
pub type EachRow<'a> = Box<dyn FnMut(&[Option<Vec<u8>>]) + Send + 'a>;

/// A table of which the values themselves are wanted, and who wants them.
pub struct TableRows {
    /// PostgreSQL: its schema, if only one counts.
    pub schema: Option<String>,
    /// Its name, with the prefix.
    pub name: String,
    /// The columns. Values of more than [`row_fields::LONGEST`] bytes are cut off.
    pub columns: Vec<String>,
    /// Is given each row.
    pub each: EachRow<'static>,
}

impl fmt::Debug for TableRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableRows").field("name", &self.name).field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl fmt::Debug for FilesTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilesTable").field("schema", &self.schema).field("name", &self.name).finish_non_exhaustive()
    }
}

/// What was found in a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Rows of each table; PostgreSQL's are named `schema.table`.
    pub tables: BTreeMap<String, u64>,
    /// Whether the files table was there with its column of hashes.
    pub files_seen: bool,
    /// Rows of the files table.
    pub files: u64,
    /// Rows of the files table whose hash is NULL.
    pub null_hashes: u64,
    /// Rows of the files table whose hash is not one.
    pub malformed_hashes: u64,
    /// Whether the client wrote its end mark.
    pub complete: bool,
}

/// What of a dump has passed: it consists of items, which are statements (that of a COPY with its rows), comments,
/// commands of the clients, and blocks of routines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The next part of an item.
    Part(&'a [u8]),
    /// Up to here it was the statement of a COPY; rows follow, a line each, and the line `\.`.
    Rows,
    /// The item is over.
    End,
}

/// A reader of one dump.
#[derive(Debug)]
pub struct Scanner {
    reader: Reader,
}

#[derive(Debug)]
enum Reader {
    MariaDb(mariadb::Reader),
    Postgres(postgres::Reader),
}

impl Scanner {
    /// A reader for dumps of `engine`; without `files` it only counts.
    pub fn new(engine: Engine, files: Option<FilesTable>) -> Self {
        Self::with(engine, files.map(|files| Sink::hashes(files, engine)))
    }

    /// A reader for dumps of `engine` that hands on the rows of one table.
    pub fn of_rows(engine: Engine, table: TableRows) -> Self {
        Self::with(engine, Some(Sink::rows(table, engine)))
    }

    fn with(engine: Engine, sink: Option<Sink>) -> Self {
        let reader = match engine {
            Engine::MariaDb => Reader::MariaDb(mariadb::Reader::new(sink)),
            Engine::Postgres => Reader::Postgres(postgres::Reader::new(sink)),
        };
        Scanner { reader }
    }

    /// Reads the next piece of the dump, of any size.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.feed_showing(bytes, &mut |_| {});
    }

    /// Reads the next piece of the dump, and shows what of it belongs to which item; blanks between items are left out.
    pub fn feed_showing(&mut self, bytes: &[u8], show: &mut dyn FnMut(Piece<'_>)) {
        match &mut self.reader {
            Reader::MariaDb(reader) => reader.feed(bytes, show),
            Reader::Postgres(reader) => reader.feed(bytes, show),
        }
    }

    /// Whether the dump's snapshot is open, and what must not change is locked. `pg_dump` writes nothing before it has
    /// its locks; `mariadb-dump` may write its head before, but describes a table only afterwards.
    pub fn established(&self) -> bool {
        match &self.reader {
            Reader::MariaDb(reader) => reader.established(),
            Reader::Postgres(reader) => reader.established(),
        }
    }

    /// Whether the wanted table is over: the dumps have all of a table in one place.
    pub fn passed(&self) -> bool {
        match &self.reader {
            Reader::MariaDb(reader) => reader.passed(),
            Reader::Postgres(reader) => reader.passed(),
        }
    }

    /// What was found, after the last piece.
    pub fn finish(self) -> Scanned {
        match self.reader {
            Reader::MariaDb(reader) => reader.finish(),
            Reader::Postgres(reader) => reader.finish(),
        }
    }
}
