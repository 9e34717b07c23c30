//! A dump of MariaDB or MySQL, loaded by several clients at once: small tables each whole, the rows of large ones among all of
//! them. The server reads statements with one processor for each connection, and that is most of its work; and it makes the
//! keys of a table faster when all rows are there. What is not a plain table, and all after it, goes through one client in the
//! dump's order.

use super::crew::{Batch, Crew, IfRefused, Job};
use super::definers::{Definers, Replaced};
use super::dialect::Dialect;
use super::{each_piece, keys};
use crate::database::Connection;
use crate::database::scanner::Piece;
use crate::error::Result;
use std::io::Read;

/// A table whose statements are longer is large.
const LARGE: usize = 4 << 20;

/// About so much does a client get at once of a large table's rows.
const SHARE: usize = 512 << 10;

/// What the clients are told before all else; some of it dumps say too. A server's limits are for web pages: keys take long to make,
/// and a client may have nothing to do as long.
const FIRST: &[u8] = b"SET SESSION unique_checks = 0, foreign_key_checks = 0, wait_timeout = 2000000;\n\
    /*M!100101 SET SESSION max_statement_time = 0 */;\n";

/// Loads a dump. `each` is called now and then with the stream, to see how far that is. Returns what others had defined, and of which
/// this account is the definer now.
pub fn load<R: Read>(connection: &Connection, dump: R, each: &mut dyn FnMut(&R)) -> Result<Vec<Replaced>> {
    let mut planner = Planner::new(connection);
    each_piece(connection.engine, dump, each, &mut |piece| planner.piece(piece))?;
    planner.end()
}

/// What an item of a dump is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Not for the server.
    Comment,
    /// A setting of the connection.
    Setting,
    /// The first of a table's statements, where the dump has it.
    Drop,
    /// Describes a table.
    Create,
    /// Around a table's rows.
    Around,
    /// Fills a table.
    Rows,
    /// After a table's rows.
    Unlock,
    /// Around a table's rows, in dumps with `no-autocommit`, which is usual from MariaDB 11.8 on. It goes with neither several
    /// clients nor the keys at the end, and gains nothing here: each statement has many rows.
    Transaction,
    /// Anything else.
    Other,
}

impl Kind {
    fn of(item: &[u8]) -> Kind {
        let is = |word: &[u8]| item.starts_with(word);
        // `/*!40101 SET NAMES utf8mb4 */;`, `/*M!100616 SET NOTE_VERBOSITY=0 */;`
        let conditional = item.strip_prefix(b"/*!").or_else(|| item.strip_prefix(b"/*M!"));
        let conditional = conditional.map(<[u8]>::trim_ascii_start).map(|rest| {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            rest[digits..].trim_ascii_start()
        });
        match () {
            () if is(b"--") || is(b"/*M!999999") || is(b"/*!999999") => Kind::Comment,
            () if is_transaction(item) => Kind::Transaction,
            () if is(b"SET ") || conditional.is_some_and(|words| words.starts_with(b"SET ")) => Kind::Setting,
            () if is(b"DROP TABLE IF EXISTS `") => Kind::Drop,
            () if is(b"CREATE TABLE `") => Kind::Create,
            () if is(b"LOCK TABLES `") => Kind::Around,
            () if conditional
                .is_some_and(|words| words.starts_with(b"ALTER TABLE `") && words.ends_with(b" KEYS */;")) =>
            {
                Kind::Around
            }
            () if is(b"INSERT INTO `") || is(b"INSERT  IGNORE INTO `") => Kind::Rows,
            () if is(b"UNLOCK TABLES;") => Kind::Unlock,
            () => Kind::Other,
        }
    }
}

fn is_transaction(item: &[u8]) -> bool {
    let words: [&[u8]; 4] = [b"SET AUTOCOMMIT=", b"SET @OLD_AUTOCOMMIT=", b"COMMIT;", b"START TRANSACTION;"];
    words.iter().any(|word| item.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word)))
}

/// How the statements reach the server.
#[derive(Debug)]
enum Mode {
    /// Before the first table: settings that all clients get.
    Header,
    /// A table after the other, each whole.
    Tables,
    /// In the rows of a large table.
    Rows(Large),
    /// In a large table that is to be made as it is: one client fills it.
    Whole(Batch),
    /// One client to the end, in the dump's order.
    InOrder(Batch),
}

/// A large table that is being filled.
#[derive(Debug)]
struct Large {
    batch: Batch,
    keys: Option<Vec<u8>>,
    share: Vec<u8>,
}

struct Planner<'a> {
    connection: &'a Connection,
    crew: Option<Crew>,
    definers: Definers<'a>,
    dialect: Dialect<'a>,
    mode: Mode,
    /// What was seen of an item.
    item: Vec<u8>,
    /// Settings of the header; then the items of a table as long as it is small, or those that go through one client.
    held: Vec<(Kind, Vec<u8>)>,
    held_bytes: usize,
}

impl<'a> Planner<'a> {
    fn new(connection: &'a Connection) -> Self {
        Planner {
            connection,
            crew: None,
            definers: Definers::new(connection),
            dialect: Dialect::new(connection),
            mode: Mode::Header,
            item: Vec::new(),
            held: Vec::new(),
            held_bytes: 0,
        }
    }

    fn piece(&mut self, piece: Piece<'_>) -> Result<()> {
        match piece {
            Piece::Part(part) => {
                self.item.extend_from_slice(part);
                Ok(())
            }
            Piece::Rows => Ok(()),
            Piece::End => {
                let item = std::mem::take(&mut self.item);
                match Kind::of(&item) {
                    kind @ (Kind::Setting | Kind::Other) => {
                        let item = self.dialect.own(item)?;
                        self.take(kind, item)
                    }
                    kind => self.take(kind, item),
                }
            }
        }
    }

    /// The end of the dump.
    fn end(mut self) -> Result<Vec<Replaced>> {
        self.end_rows()?;
        match self.mode {
            Mode::InOrder(batch) | Mode::Whole(batch) => self.flush_in_order(batch)?,
            _ => self.flush_table()?,
        }
        self.crew.take().map_or(Ok(()), Crew::finish)?;
        Ok(self.definers.replaced())
    }

    /// The clients; the header, which is held until they are there, is the first that they get.
    fn crew(&mut self) -> &Crew {
        let (connection, held) = (self.connection, &mut self.held);
        self.crew.get_or_insert_with(|| {
            let settings = held.drain(..).flat_map(|(_, item)| [item, b"\n".to_vec()].concat());
            let header: Vec<u8> = FIRST.iter().copied().chain(settings).collect();
            Crew::start(connection, &header)
        })
    }

    fn take(&mut self, kind: Kind, item: Vec<u8>) -> Result<()> {
        match (&self.mode, kind) {
            (_, Kind::Comment | Kind::Transaction) => return Ok(()),
            (Mode::Header, Kind::Setting) => {
                self.hold(kind, item);
                return Ok(());
            }
            (Mode::Header, _) => {
                self.crew();
                self.held_bytes = 0;
                self.mode = Mode::Tables;
            }
            (Mode::Rows(_), Kind::Rows) => return self.rows(item),
            (Mode::Rows(_), Kind::Around) => return Ok(()),
            (Mode::Rows(_), Kind::Unlock) => return self.end_rows(),
            (Mode::Rows(_), _) => self.end_rows()?,
            (Mode::Whole(batch), Kind::Unlock | Kind::Drop | Kind::Create | Kind::Other) => {
                self.flush_in_order(*batch)?;
                self.mode = Mode::Tables;
                if kind == Kind::Unlock {
                    return Ok(());
                }
            }
            (Mode::InOrder(batch) | Mode::Whole(batch), kind) => return self.next_in_order(*batch, kind, item),
            (Mode::Tables, _) => {}
        }
        self.of_a_table(kind, item)
    }

    fn of_a_table(&mut self, kind: Kind, item: Vec<u8>) -> Result<()> {
        match kind {
            Kind::Other => return self.go_on_in_order(item),
            Kind::Drop => self.flush_table()?,
            Kind::Create if self.held.iter().any(|(kind, _)| *kind == Kind::Create) => self.flush_table()?,
            _ => {}
        }
        // Tables that refer to each other lock each other.
        if kind == Kind::Create && memchr::memmem::find(&item, b" FOREIGN KEY (").is_some() {
            return self.go_on_in_order(item);
        }
        self.hold(kind, item);
        match kind {
            Kind::Unlock => self.flush_table(),
            _ if self.held_bytes > LARGE => self.table_is_large(),
            _ => Ok(()),
        }
    }

    fn next_in_order(&mut self, batch: Batch, kind: Kind, item: Vec<u8>) -> Result<()> {
        let item = if kind == Kind::Other { self.definers.own(item)? } else { item };
        self.hold(kind, item);
        if self.held_bytes >= SHARE { self.flush_in_order(batch) } else { Ok(()) }
    }

    fn hold(&mut self, kind: Kind, item: Vec<u8>) {
        self.held_bytes += item.len();
        self.held.push((kind, item));
    }

    /// The statements that are held, one after the other.
    fn held_statements(&mut self) -> Vec<u8> {
        self.held_bytes = 0;
        let mut sql = Vec::new();
        for (_, item) in self.held.drain(..) {
            sql.extend_from_slice(&item);
            sql.push(b'\n');
        }
        sql
    }

    /// A small table, by the client that is free first.
    fn flush_table(&mut self) -> Result<()> {
        // Settings at the dump's end set back what each client takes with it when it goes.
        if self.held.iter().all(|(kind, _)| *kind == Kind::Setting) {
            return Ok(());
        }
        let sql = self.held_statements();
        let batch = self.crew().batch();
        self.crew().push(batch, sql.into())
    }

    fn flush_in_order(&mut self, batch: Batch) -> Result<()> {
        let sql = self.held_statements();
        self.crew().push_in_order(batch, sql.into())
    }

    /// From here on there is something whose order may matter.
    fn go_on_in_order(&mut self, item: Vec<u8>) -> Result<()> {
        self.crew().settle()?;
        let batch = self.crew().batch();
        self.mode = Mode::InOrder(batch);
        let item = self.definers.own(item)?;
        self.hold(Kind::Other, item);
        self.flush_in_order(batch)
    }

    /// A table turns out to be large while it is held: it is made, and its rows go to all.
    fn table_is_large(&mut self) -> Result<()> {
        let create = self.held.iter().position(|(kind, _)| *kind == Kind::Create);
        let apart = create.and_then(|at| keys::take_apart(&self.held[at].1).map(|apart| (at, apart)));
        let Some((at, apart)) = apart else {
            let batch = self.crew().batch();
            self.mode = Mode::Whole(batch);
            // While its client waits for more of it, it may do something else.
            self.held.retain(|(_, item)| !item.starts_with(b"LOCK TABLES "));
            return self.flush_in_order(batch);
        };
        self.held[at].1 = apart.create;
        let (mut making, mut rows, mut first) = (Vec::new(), Vec::new(), true);
        for (kind, item) in self.held.drain(..) {
            match kind {
                // The first rows come alone: into an empty table InnoDB takes rows by a lock of the whole table, for which two
                // clients would wait for each other.
                Kind::Rows if first => {
                    first = false;
                    making.extend_from_slice(&[&item[..], b"\n"].concat());
                }
                Kind::Rows => rows.push(item),
                Kind::Around => {}
                _ => making.extend_from_slice(&[&item[..], b"\n"].concat()),
            }
        }
        self.held_bytes = 0;
        let crew = self.crew();
        let batch = crew.batch();
        crew.push(batch, making.into())?;
        crew.wait(batch)?;
        self.mode = Mode::Rows(Large { batch, keys: apart.keys, share: Vec::new() });
        rows.into_iter().try_for_each(|item| self.rows(item))
    }

    fn rows(&mut self, item: Vec<u8>) -> Result<()> {
        let Mode::Rows(large) = &mut self.mode else { return Ok(()) };
        large.share.extend_from_slice(&item);
        large.share.push(b'\n');
        if large.share.len() < SHARE {
            return Ok(());
        }
        let (batch, share) = (large.batch, std::mem::take(&mut large.share));
        self.crew().push(batch, share.into())
    }

    /// The keys of a large table when all its rows are there; the next table need not wait for them.
    fn end_rows(&mut self) -> Result<()> {
        let large = match std::mem::replace(&mut self.mode, Mode::Tables) {
            Mode::Rows(large) => large,
            other => {
                self.mode = other;
                return Ok(());
            }
        };
        let crew = self.crew();
        if !large.share.is_empty() {
            crew.push(large.batch, large.share.into())?;
        }
        crew.wait(large.batch)?;
        let Some(keys) = large.keys else { return Ok(()) };
        let job = Job {
            sql: [&keys[..], b";\n"].concat(),
            // Sorting needs room where the server keeps its temporary files; copying the table needs none there.
            if_refused: IfRefused::Instead([&keys[..], b", ALGORITHM=COPY;\n"].concat()),
        };
        crew.push(crew.batch(), job)
    }
}
