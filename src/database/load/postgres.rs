//! A dump of PostgreSQL, loaded by several clients at once: rows are shared out among all of them, also those of one table, and
//! so are keys and indexes, when all rows are there. What stands before the first row goes through one client in the dump's
//! order, and so does all from the first statement on of which it is not known what it depends on. What has to be changed in a
//! dump on its way is here too, and why.

use super::crew::{Batch, Crew, Job};
use super::{cut_off, each_piece};
use crate::database::Connection;
use crate::database::scanner::Piece;
use crate::error::Result;
use memchr::{memchr, memmem, memrchr};
use std::io::Read;

/// About so much does a client get at once of a table's rows.
const SHARE: usize = 512 << 10;

/// About so much does it get at once of what has an order. What the server answers must fit into a pipe, since the client is
/// listened to when it has taken all.
const ORDERED: usize = 128 << 10;

/// How the statement before rows ends.
const ROWS_FOLLOW: &[u8] = b" FROM stdin;\n";

/// The line after rows.
const ROWS_END: &[u8] = b"\\.\n";

/// A transaction that is waited for, and with it all before it.
const LAST: &[u8] = b"SET synchronous_commit = on;\nSELECT pg_catalog.txid_current();\n";

/// Loads a dump. `each` is called now and then with the stream, to see how far that is.
pub fn load<R: Read>(connection: &Connection, dump: R, each: &mut dyn FnMut(&R)) -> Result<()> {
    let mut planner = Planner::new(connection)?;
    each_piece(connection.engine, dump, each, &mut |piece| planner.piece(piece))?;
    planner.end()
}

/// What an item of a dump is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Not for the server.
    Nothing,
    /// Of the connection.
    Setting,
    /// Rows of a table, with the statement before them.
    Rows,
    /// Where a sequence stands.
    Sequence,
    /// A primary key, another unique key or an index of one table.
    Index,
    /// Anything else.
    Other,
}

/// What the client and the server know.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// psql: `\restrict` and `\unrestrict`, since August 2025.
    restrict: bool,
    /// The server: a setting, since version 17.
    transaction_timeout: bool,
}

impl Known {
    fn ask(connection: &Connection) -> Result<Self> {
        let told = connection.feeding_client()?.input("\\restrict abc\n\\unrestrict abc\n").output()?;
        let major = connection.session()?.facts()?.major;
        Ok(Known { restrict: told.stderr.is_empty(), transaction_timeout: major >= 17 })
    }
}

impl Kind {
    fn of(item: &[u8], known: Known) -> Kind {
        let is = |word: &[u8]| item.starts_with(word);
        match () {
            // Each client is restricted to its end.
            () if is(b"--") || is(b"\\unrestrict ") => Kind::Nothing,
            () if is(b"\\restrict ") => {
                if known.restrict {
                    Kind::Setting
                } else {
                    Kind::Nothing
                }
            }
            () if is(b"SET transaction_timeout ") && !known.transaction_timeout => Kind::Nothing,
            // Their owner alone may make them.
            () if is(b"COMMENT ON EXTENSION ") => Kind::Nothing,
            () if is(b"SET ") || is(b"SELECT pg_catalog.set_config(") => Kind::Setting,
            () if is(b"COPY ") && memmem::find(item, ROWS_FOLLOW).is_some() => Kind::Rows,
            () if is(b"SELECT pg_catalog.setval(") => Kind::Sequence,
            () if is(b"CREATE INDEX ") || is(b"CREATE UNIQUE INDEX ") || is_key(item) => Kind::Index,
            () => Kind::Other,
        }
    }
}

/// `ALTER TABLE ONLY public.mdl_log\n    ADD CONSTRAINT mdl_log_id_pk PRIMARY KEY (id);`: a key that refers to another table,
/// or is made of an index, is none of these.
fn is_key(item: &[u8]) -> bool {
    let Some((first, second)) = memchr(b'\n', item).map(|end| item.split_at(end)) else { return false };
    let added = second.trim_ascii_start().strip_prefix(b"ADD CONSTRAINT ");
    // A name with a blank in it is not looked into.
    let kind = added.and_then(|added| memchr(b' ', added).map(|end| &added[end + 1..]));
    first.starts_with(b"ALTER TABLE ONLY ")
        && kind.is_some_and(|kind| kind.starts_with(b"PRIMARY KEY (") || kind.starts_with(b"UNIQUE ("))
}

/// How the statements reach the server.
#[derive(Debug)]
enum Mode {
    /// Before the first row: all is held.
    Head,
    /// Rows, and where sequences stand, by whoever is free.
    Rows,
    /// Keys and indexes, by whoever is free.
    Indexes,
    /// One client to the end, in the dump's order.
    InOrder,
}

struct Planner<'a> {
    connection: &'a Connection,
    known: Known,
    crew: Option<(Crew, Batch)>,
    mode: Mode,
    /// What was seen of an item; of rows, what was not handed on yet, with the statement before them.
    item: Vec<u8>,
    /// All settings so far: each client gets them.
    settings: Vec<u8>,
    /// What goes through one client and was not handed on yet.
    held: Vec<u8>,
}

impl<'a> Planner<'a> {
    fn new(connection: &'a Connection) -> Result<Self> {
        Ok(Planner {
            connection,
            known: Known::ask(connection)?,
            crew: None,
            mode: Mode::Head,
            item: Vec::new(),
            settings: Vec::new(),
            held: Vec::new(),
        })
    }

    fn piece(&mut self, piece: Piece<'_>) -> Result<()> {
        match piece {
            Piece::Part(part) => {
                self.item.extend_from_slice(part);
                let much = self.item.len() >= SHARE && self.item.starts_with(b"COPY ");
                if much { self.share_rows(part.len()) } else { Ok(()) }
            }
            Piece::End => {
                let item = std::mem::take(&mut self.item);
                self.take(Kind::of(&item, self.known), item)
            }
        }
    }

    /// Hands on the whole rows that are held of a table, the last `new` bytes of which have not been looked at before.
    fn share_rows(&mut self, new: usize) -> Result<()> {
        let Some(head) = memmem::find(&self.item, ROWS_FOLLOW).map(|at| at + ROWS_FOLLOW.len()) else { return Ok(()) };
        let seen = self.item.len() - new;
        let Some(end) = memrchr(b'\n', &self.item[seen..]).map(|at| seen + at + 1) else { return Ok(()) };
        // Nothing comes after the line that ends them, which needs no other then.
        if end <= head || self.item[..end].ends_with(b"\n\\.\n") {
            return Ok(());
        }
        let rest = [&self.item[..head], &self.item[end..]].concat();
        let mut share = std::mem::replace(&mut self.item, rest);
        share.truncate(end);
        share.extend_from_slice(ROWS_END);
        self.rows(share)
    }

    fn take(&mut self, kind: Kind, item: Vec<u8>) -> Result<()> {
        match (&self.mode, kind) {
            (_, Kind::Nothing) => Ok(()),
            (_, Kind::Rows) => self.rows(item),
            // Settings in the midst may be meant for what follows, and stay there too.
            (Mode::Head, Kind::Setting) => {
                push_line(&mut self.settings, &item);
                if !item.starts_with(b"\\") {
                    push_line(&mut self.held, &item);
                }
                Ok(())
            }
            (Mode::Head, _) if !item.starts_with(b"SELECT ") => {
                push_line(&mut self.held, &item);
                Ok(())
            }
            (Mode::Rows, Kind::Sequence) => self.in_order(&item),
            (Mode::Rows | Mode::Indexes, Kind::Index) => self.index(item),
            (Mode::Head | Mode::Rows | Mode::Indexes, _) => {
                self.settle()?;
                self.mode = Mode::InOrder;
                self.in_order(&item)
            }
            (Mode::InOrder, _) => self.in_order(&item),
        }
    }

    fn rows(&mut self, item: Vec<u8>) -> Result<()> {
        match self.mode {
            Mode::Head => {
                self.settle()?;
                self.mode = Mode::Rows;
            }
            Mode::Indexes => {
                self.settle()?;
                self.mode = Mode::InOrder;
            }
            Mode::Rows | Mode::InOrder => {}
        }
        match self.mode {
            Mode::InOrder => self.in_order(&item),
            _ => self.hand_out(item.into()),
        }
    }

    fn index(&mut self, item: Vec<u8>) -> Result<()> {
        if let Mode::Rows = self.mode {
            self.settle()?;
            self.mode = Mode::Indexes;
        }
        // Once more where it failed: two on one table may have been in each other's way.
        self.hand_out(Job { instead: Some(item.clone()), sql: item })
    }

    fn hand_out(&mut self, job: Job) -> Result<()> {
        let (crew, batch) = self.crew();
        crew.push(*batch, job)
    }

    fn in_order(&mut self, item: &[u8]) -> Result<()> {
        push_line(&mut self.held, item);
        if self.held.len() >= ORDERED { self.flush() } else { Ok(()) }
    }

    /// Hands on what is held for one client.
    fn flush(&mut self) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        let (crew, batch) = self.crew();
        crew.push_in_order(*batch, held.into())
    }

    /// Waits for all that came up to here.
    fn settle(&mut self) -> Result<()> {
        self.flush()?;
        self.crew().0.settle()
    }

    fn crew(&mut self) -> &(Crew, Batch) {
        let (connection, settings) = (self.connection, &self.settings);
        self.crew.get_or_insert_with(|| {
            let crew = Crew::start(connection, settings);
            let batch = crew.batch();
            (crew, batch)
        })
    }

    /// The end of the dump.
    fn end(mut self) -> Result<()> {
        // A client that is given half a statement waits for its end.
        if !self.item.is_empty() && Kind::of(&self.item, self.known) != Kind::Nothing {
            return Err(cut_off());
        }
        self.settle()?;
        self.held.extend_from_slice(LAST);
        self.flush()?;
        self.crew.map_or(Ok(()), |(crew, _)| crew.finish())
    }
}

fn push_line(lines: &mut Vec<u8>, item: &[u8]) {
    lines.extend_from_slice(item);
    lines.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_known_by_their_beginning() {
        let old = Known { restrict: false, transaction_timeout: false };
        let new = Known { restrict: true, transaction_timeout: true };
        let items: [(&[u8], Kind, Kind); 13] = [
            (b"\\restrict abc\n", Kind::Nothing, Kind::Setting),
            (b"\\unrestrict abc\n", Kind::Nothing, Kind::Nothing),
            (b"SET statement_timeout = 0;", Kind::Setting, Kind::Setting),
            (b"SET transaction_timeout = 0;", Kind::Nothing, Kind::Setting),
            (b"SELECT pg_catalog.set_config('search_path', '', false);", Kind::Setting, Kind::Setting),
            (b"COMMENT ON EXTENSION pg_trgm IS 'x';", Kind::Nothing, Kind::Nothing),
            (b"COPY public.mdl_post (id, text) FROM stdin;\n1\tx\n\\.\n", Kind::Rows, Kind::Rows),
            (b"SELECT pg_catalog.setval('public.mdl_post_id_seq', 1, true);", Kind::Sequence, Kind::Sequence),
            (b"CREATE UNIQUE INDEX a ON public.mdl_post USING btree (id);", Kind::Index, Kind::Index),
            (b"ALTER TABLE ONLY public.a\n    ADD CONSTRAINT b PRIMARY KEY (id);", Kind::Index, Kind::Index),
            (b"ALTER TABLE ONLY public.a\n    ADD CONSTRAINT b FOREIGN KEY (id) R", Kind::Other, Kind::Other),
            (b"ALTER TABLE ONLY public.a REPLICA IDENTITY FULL;", Kind::Other, Kind::Other),
            (b"SELECT pg_catalog.lo_create('1');", Kind::Other, Kind::Other),
        ];
        for (item, with_old, with_new) in items {
            let shown = String::from_utf8_lossy(item);
            assert_eq!((Kind::of(item, old), Kind::of(item, new)), (with_old, with_new), "{shown}");
        }
    }
}
