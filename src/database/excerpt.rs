//! One table out of a dump: the statements that make it and fill it, and what surrounds all of a dump's statements. Never
//! one that drops anything. Reads a stream; knows no files and no servers.

use super::Engine;
use super::scanner::{Piece, Scanner, names};
use crate::error::Result;
use crate::sys::signals;
use std::io::Read;

/// The beginning of an item by which it is known: longer than the longest names.
const HEAD: usize = 2048;

const BUFFER: usize = 256 << 10;

/// The table that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// PostgreSQL: its schema, if only one counts.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
}

/// What an item is to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Settings of the connection, that the rest of the dump was made under.
    Frame,
    /// Makes the table.
    Create,
    /// Fills it: an INSERT with some rows, or a COPY with all.
    Rows,
    /// Belongs to it otherwise: sequences, keys, indexes.
    More,
}

/// Goes through a dump and hands on the items that concern a table, in their order; each ends with [`Piece::End`].
pub fn excerpt(
    engine: Engine,
    table: &Table,
    mut dump: impl Read,
    take: &mut dyn FnMut(Role, Piece<'_>) -> Result<()>,
) -> Result<()> {
    let mut scanner = Scanner::new(engine, None);
    let mut sorter = Sorter { engine, table, head: Vec::new(), role: None, decided: false, sequence: None, take };
    let mut buffer = vec![0; BUFFER];
    loop {
        signals::check()?;
        let count = match dump.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        let mut result = Ok(());
        scanner.feed_showing(&buffer[..count], &mut |piece| {
            if result.is_ok() {
                result = sorter.piece(piece);
            }
        });
        result?;
    }
}

struct Sorter<'a> {
    engine: Engine,
    table: &'a Table,
    /// What was seen of the item, until its role is known.
    head: Vec<u8>,
    role: Option<Role>,
    decided: bool,
    /// PostgreSQL: the last CREATE SEQUENCE, by the name that it has there; whose it is stands in the next statement.
    sequence: Option<Sequence>,
    take: &'a mut dyn FnMut(Role, Piece<'_>) -> Result<()>,
}

struct Sequence {
    name: Vec<u8>,
    create: Vec<u8>,
    is_ours: bool,
}

impl Sorter<'_> {
    fn piece(&mut self, piece: Piece<'_>) -> Result<()> {
        match piece {
            Piece::Part(part) if self.decided => self.pass(part),
            Piece::Part(part) => {
                self.head.extend_from_slice(part);
                if self.head.len() >= HEAD { self.decide() } else { Ok(()) }
            }
            Piece::Rows => Ok(()),
            Piece::End => {
                if !self.decided {
                    self.decide()?;
                }
                self.decided = false;
                match self.role.take() {
                    Some(role) => (self.take)(role, Piece::End),
                    None => Ok(()),
                }
            }
        }
    }

    fn pass(&mut self, part: &[u8]) -> Result<()> {
        self.role.map_or(Ok(()), |role| (self.take)(role, Piece::Part(part)))
    }

    fn decide(&mut self) -> Result<()> {
        let head = std::mem::take(&mut self.head);
        self.decided = true;
        self.role = match self.engine {
            Engine::MariaDb => self.in_mariadb(&head),
            Engine::Postgres => self.in_postgres(&head)?,
        };
        self.pass(&head)
    }

    fn in_mariadb(&self, head: &[u8]) -> Option<Role> {
        let about = |words: &[u8], role| {
            let (name, _) = head.strip_prefix(words).and_then(names::in_backquotes)?;
            (name == self.table.name).then_some(role)
        };
        let has = |words: &[u8]| memchr::memmem::find(head, words).is_some();
        let is_frame = head.starts_with(b"/*")
            && (has(b" SET NAMES ") || has(b" SET TIME_ZONE=") || has(b" SET @OLD_") || has(b"=@OLD_"));
        about(b"CREATE TABLE ", Role::Create)
            .or_else(|| about(b"INSERT INTO ", Role::Rows))
            .or_else(|| about(b"INSERT  IGNORE INTO ", Role::Rows))
            .or_else(|| is_frame.then_some(Role::Frame))
    }

    fn in_postgres(&mut self, head: &[u8]) -> Result<Option<Role>> {
        let after = |words: &[u8]| head.strip_prefix(words);
        if let Some(rest) = after(b"CREATE SEQUENCE ") {
            let name = word(rest).to_vec();
            self.sequence = Some(Sequence { name, create: head.to_vec(), is_ours: false });
            return Ok(None);
        }
        if let Some(rest) = after(b"ALTER SEQUENCE ") {
            return self.owned_sequence(rest);
        }
        if let Some(rest) = after(b"SELECT pg_catalog.setval('") {
            // Sequences are set long after they were made: by then only the names of the table's own tell them.
            let name = rest.split(|byte| *byte == b'\'').next().unwrap_or_default();
            return Ok(self.is_own_sequence(name).then_some(Role::More));
        }
        let own = |rest: &[u8], role| self.is_table(rest).then_some(role);
        if head.starts_with(b"SET ") || head.starts_with(b"SELECT pg_catalog.set_config(") {
            return Ok(Some(Role::Frame));
        }
        if let Some(rest) = after(b"CREATE TABLE ").or_else(|| after(b"CREATE UNLOGGED TABLE ")) {
            return Ok(own(rest, Role::Create));
        }
        if let Some(rest) = after(b"COPY ") {
            return Ok(own(rest, Role::Rows));
        }
        if let Some(rest) = after(b"ALTER TABLE ONLY ").or_else(|| after(b"ALTER TABLE ")) {
            return Ok(own(rest, Role::More));
        }
        let index = after(b"CREATE INDEX ").or_else(|| after(b"CREATE UNIQUE INDEX "));
        let on = index.and_then(|rest| Some((rest, memchr::memmem::find(rest, b" ON ")?)));
        Ok(on.and_then(|(rest, at)| own(&rest[at + 4..], Role::More)))
    }

    /// `NAME OWNED BY schema.table.column;` follows the statement that made the sequence.
    fn owned_sequence(&mut self, rest: &[u8]) -> Result<Option<Role>> {
        let owner = memchr::memmem::find(rest, b" OWNED BY ").map(|at| &rest[at + 10..]);
        if !owner.is_some_and(|owner| self.is_table(owner)) {
            return Ok(None);
        }
        if let Some(sequence) = self.sequence.as_mut().filter(|sequence| sequence.name == word(rest)) {
            sequence.is_ours = true;
            let create = std::mem::take(&mut sequence.create);
            (self.take)(Role::More, Piece::Part(&create))?;
            (self.take)(Role::More, Piece::End)?;
        }
        Ok(Some(Role::More))
    }

    /// Whether a sequence is the table's, by the name that PostgreSQL gives to sequences of columns: `table_column_seq`.
    fn is_own_sequence(&self, name: &[u8]) -> bool {
        let (mut path, _) = names::path(name);
        let sequence = path.pop().unwrap_or_default();
        let schema = path.pop();
        let column = sequence.strip_prefix(&self.table.name).and_then(|rest| rest.strip_prefix('_'));
        column.and_then(|column| column.strip_suffix("_seq")).is_some_and(|column| !column.is_empty())
            && (self.table.schema.is_none() || schema == self.table.schema)
            || self.sequence.as_ref().is_some_and(|sequence| sequence.is_ours && sequence.name == name)
    }

    /// Whether a text begins with the table's name.
    fn is_table(&self, text: &[u8]) -> bool {
        let (path, _) = names::path(text);
        let (schema, name) = match path.as_slice() {
            [name] => (None, name),
            [schema, name, ..] => (Some(schema), name),
            [] => return false,
        };
        *name == self.table.name && (self.table.schema.is_none() || schema == self.table.schema.as_ref())
    }
}

/// Up to the first blank.
fn word(text: &[u8]) -> &[u8] {
    text.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default()
}
