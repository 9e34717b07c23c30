//! A dump of PostgreSQL, loaded by several clients at once: rows are shared out among all of them, also those of one table, and
//! so are keys and indexes, when all rows are there. What stands before the first row goes through one client in the dump's
//! order, and so does all from the first statement on of which it is not known what it depends on. Rows lose their order, also
//! those within a table; those that need rows of another table are refused at first, and tried again. What has to be changed in
//! a dump on its way is here too, and why.

use super::crew::{Crew, IfRefused, Job};
use super::{Faulty, each_piece};
use crate::database::Connection;
use crate::database::scanner::Piece;
use crate::entry::shown;
use crate::error::Result;
use crate::sys::random;
use memchr::{memchr, memrchr};
use std::io::Read;

/// About so much does a client get at once of a table's rows.
const SHARE: usize = 512 << 10;

/// About so much does it get at once of what has an order. What the server answers must fit into a pipe, since the client is
/// listened to when it has taken all.
const ORDERED: usize = 128 << 10;

/// The line after rows.
const ROWS_END: &[u8] = b"\\.\n";

/// Before it indexes are made, wherever the account would have them otherwise.
const TABLESPACE: &[u8] = b"SET default_tablespace = '';";

/// A transaction that is waited for, and with it all before it.
const LAST: &[u8] = b"SET synchronous_commit = on;\nSELECT pg_catalog.txid_current();\n";

/// Loads a dump. `each` is called now and then with the stream, to see how far that is.
pub fn load<R: Read>(connection: &Connection, dump: R, each: &mut dyn FnMut(&R)) -> Result<()> {
    let mut planner = Planner::new(connection)?;
    each_piece(connection.engine, dump, each, &mut |piece| planner.piece(piece))?;
    planner.end()
}

/// What an item of a dump is, if it is no rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Not for the server.
    Nothing,
    /// For the client.
    Command,
    /// Of the connection.
    Setting,
    /// Where a sequence stands.
    Sequence,
    /// A primary key, another unique key or an index of one table.
    Index,
    /// Anything else.
    Other,
}

impl Kind {
    fn of(item: &[u8], major: u32) -> Kind {
        let is = |word: &[u8]| item.starts_with(word);
        match () {
            // Clients are restricted in any case.
            () if is(b"--") || is(b"\\restrict ") || is(b"\\unrestrict ") => Kind::Nothing,
            () if is(b"\\") => Kind::Command,
            // Servers before 17 do not know it.
            () if is(b"SET transaction_timeout ") && major < 17 => Kind::Nothing,
            // Their owner alone may make them.
            () if is(b"COMMENT ON EXTENSION ") => Kind::Nothing,
            () if is(b"SET ") || is(b"SELECT pg_catalog.set_config(") => Kind::Setting,
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
    /// Of the server.
    major: u32,
    crew: Option<Crew>,
    mode: Mode,
    /// What was seen of an item; of rows, what was not handed on yet, with the statement before them.
    item: Vec<u8>,
    /// How long the statement before the rows is, if the item has any.
    rows_at: Option<usize>,
    /// What each client is told before all else.
    settings: Vec<u8>,
    /// What goes through one client and was not handed on yet.
    held: Vec<u8>,
}

impl<'a> Planner<'a> {
    fn new(connection: &'a Connection) -> Result<Self> {
        Ok(Planner {
            connection,
            major: connection.session()?.facts()?.major,
            crew: None,
            mode: Mode::Head,
            item: Vec::new(),
            rows_at: None,
            settings: restriction(connection)?,
            held: Vec::new(),
        })
    }

    fn piece(&mut self, piece: Piece<'_>) -> Result<()> {
        match piece {
            Piece::Part(part) => {
                self.item.extend_from_slice(part);
                match self.rows_at {
                    Some(at) if self.item.len() >= SHARE => self.share_rows(at, part.len()),
                    _ => Ok(()),
                }
            }
            Piece::Rows => {
                self.rows_at = Some(self.item.len());
                Ok(())
            }
            Piece::End => {
                let item = std::mem::take(&mut self.item);
                match self.rows_at.take() {
                    Some(_) => self.rows(item),
                    None => self.take(item),
                }
            }
        }
    }

    /// Hands on the whole rows that are held of a table, from `at` on, the last `new` bytes of which have not been looked at before.
    fn share_rows(&mut self, at: usize, new: usize) -> Result<()> {
        let seen = at.max(self.item.len() - new);
        let Some(end) = memrchr(b'\n', &self.item[seen..]).map(|end| seen + end + 1) else { return Ok(()) };
        // Nothing comes after the line that ends them, which needs no other then.
        if self.item[..end].ends_with(b"\n\\.\n") {
            return Ok(());
        }
        let rest = [&self.item[..at], &self.item[end..]].concat();
        let mut share = std::mem::replace(&mut self.item, rest);
        share.truncate(end);
        share.extend_from_slice(ROWS_END);
        self.rows(share)
    }

    fn take(&mut self, item: Vec<u8>) -> Result<()> {
        let kind = Kind::of(&item, self.major);
        match (&self.mode, kind) {
            (_, Kind::Nothing) => Ok(()),
            (_, Kind::Command) => Err(is_command(&item)),
            (Mode::Head, Kind::Setting) => self.head(kind, &item),
            // What the server answers to is not kept: large objects without any rows are like that.
            (Mode::Head, Kind::Index | Kind::Other) if !item.starts_with(b"SELECT ") => self.head(kind, &item),
            (Mode::Rows, Kind::Sequence) | (Mode::InOrder, _) => self.in_order(&item),
            (Mode::Rows | Mode::Indexes, Kind::Index) => self.index(item),
            (Mode::Head | Mode::Rows | Mode::Indexes, _) => {
                self.settle()?;
                self.mode = Mode::InOrder;
                self.in_order(&item)
            }
        }
    }

    /// Settings before anything else are for all clients; later ones may need what was made before them, and are for what follows.
    fn head(&mut self, kind: Kind, item: &[u8]) -> Result<()> {
        let at_the_beginning = kind == Kind::Setting && self.held.is_empty();
        if at_the_beginning || item == TABLESPACE {
            push_line(&mut self.settings, item);
        }
        if !at_the_beginning {
            push_line(&mut self.held, item);
        }
        Ok(())
    }

    fn rows(&mut self, item: Vec<u8>) -> Result<()> {
        self.mode = match self.mode {
            Mode::Head | Mode::Indexes => {
                self.settle()?;
                if let Mode::Head = self.mode { Mode::Rows } else { Mode::InOrder }
            }
            Mode::Rows => Mode::Rows,
            Mode::InOrder => Mode::InOrder,
        };
        match self.mode {
            Mode::InOrder => self.in_order(&item),
            // Tables of an extension have their keys already; a check may look into another table.
            _ => self.hand_out(Job { sql: item, if_refused: IfRefused::Later }),
        }
    }

    fn index(&mut self, item: Vec<u8>) -> Result<()> {
        if let Mode::Rows = self.mode {
            self.settle()?;
            self.mode = Mode::Indexes;
        }
        // Two on one table may have been in each other's way.
        self.hand_out(Job { sql: item, if_refused: IfRefused::Later })
    }

    fn hand_out(&mut self, job: Job) -> Result<()> {
        let crew = self.crew();
        crew.push(crew.batch(), job)
    }

    fn in_order(&mut self, item: &[u8]) -> Result<()> {
        push_line(&mut self.held, item);
        if self.held.len() >= ORDERED { self.flush() } else { Ok(()) }
    }

    /// Hands on what is held for one client.
    fn flush(&mut self) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        let crew = self.crew();
        crew.push_in_order(crew.batch(), held.into())
    }

    /// Waits for all that came up to here.
    fn settle(&mut self) -> Result<()> {
        self.flush()?;
        self.crew().settle()
    }

    fn crew(&mut self) -> &Crew {
        let (connection, settings) = (self.connection, &self.settings);
        self.crew.get_or_insert_with(|| Crew::start(connection, settings))
    }

    /// The end of the dump.
    fn end(mut self) -> Result<()> {
        self.settle()?;
        self.held.extend_from_slice(LAST);
        self.flush()?;
        self.crew.map_or(Ok(()), Crew::finish)
    }
}

/// Keeps a client from running what is for it and not for the server, whoever has written the dump; nothing where it is older than
/// August 2025 and does not know how to be kept from it.
fn restriction(connection: &Connection) -> Result<Vec<u8>> {
    let told = connection.feeding_client()?.input("\\restrict abc\n\\unrestrict abc\n").output()?;
    Ok(match told.stderr.is_empty() {
        true => format!("\\restrict {}\n", random::letters(32)?).into_bytes(),
        false => Vec::new(),
    })
}

fn is_command(item: &[u8]) -> anyhow::Error {
    let what = format!("the dump has a command for the client in it: {}", shown(item.trim_ascii_end()));
    let next = "pg_dump writes none, so somebody has changed this dump: restore another backup (moodle-backup list); or if you know \
                that line and want it, load the dump by hand, as RESTORE.txt beside it tells";
    Faulty { what, next }.into()
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
        let items: [(&[u8], Kind); 13] = [
            (b"\\restrict abc\n", Kind::Nothing),
            (b"\\! rm -rf /\n", Kind::Command),
            (b"SET statement_timeout = 0;", Kind::Setting),
            (b"SET transaction_timeout = 0;", Kind::Nothing),
            (b"SELECT pg_catalog.set_config('search_path', '', false);", Kind::Setting),
            (b"COMMENT ON EXTENSION pg_trgm IS 'x';", Kind::Nothing),
            (b"SELECT pg_catalog.setval('public.mdl_post_id_seq', 1, true);", Kind::Sequence),
            (b"CREATE UNIQUE INDEX a ON public.mdl_post USING btree (id);", Kind::Index),
            (b"ALTER TABLE ONLY public.a\n    ADD CONSTRAINT b PRIMARY KEY (id);", Kind::Index),
            (b"ALTER TABLE ONLY public.a\n    ADD CONSTRAINT b FOREIGN KEY (id) R", Kind::Other),
            (b"ALTER TABLE ONLY public.a\n    ADD CONSTRAINT b PRIMARY KEY USING INDEX c;", Kind::Other),
            (b"ALTER TABLE ONLY public.a REPLICA IDENTITY FULL;", Kind::Other),
            (b"SELECT pg_catalog.lo_create('1');", Kind::Other),
        ];
        for (item, kind) in items {
            assert_eq!(Kind::of(item, 16), kind, "{}", String::from_utf8_lossy(item));
        }
        assert_eq!(Kind::of(b"SET transaction_timeout = 0;", 17), Kind::Setting);
    }
}
