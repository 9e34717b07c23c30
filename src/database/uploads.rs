//! Rows of Moodle's table of files, out of a dump: which names a content has had, and which contents a name.
//! Reads a stream; knows no pool.

use super::Engine;
use super::excerpt::{Role, Table, excerpt};
use super::rows::{self, Row};
use super::scanner::{Piece, names};
use crate::error::{Fault, Result};
use std::io::Read;

/// A file as Moodle knows it: the columns of its table of files (lib/db/install.xml).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upload {
    /// SHA-1 of its content, in hexadecimal digits.
    pub contenthash: String,
    /// Number of the context it belongs to: a course, an activity, a user.
    pub contextid: String,
    /// The plugin it belongs to: `mod_resource`.
    pub component: String,
    /// The plugin's own division: `content`.
    pub filearea: String,
    /// The folder in it: `/`.
    pub filepath: String,
    /// The name that it was uploaded under.
    pub filename: String,
    /// Its size in bytes.
    pub filesize: u64,
    /// Who made it, as the uploader said.
    pub author: String,
    /// When it was last changed, in seconds since 1970.
    pub timemodified: i64,
}

const COLUMNS: [&str; 9] =
    ["contenthash", "contextid", "component", "filearea", "filepath", "filename", "filesize", "author", "timemodified"];

impl Upload {
    fn from_row(row: &Row, positions: &[Option<usize>]) -> Self {
        let field = |number: usize| positions[number].and_then(|at| row.get(at)?.clone()).unwrap_or_default();
        Upload {
            contenthash: field(0),
            contextid: field(1),
            component: field(2),
            filearea: field(3),
            filepath: field(4),
            filename: field(5),
            filesize: field(6).parse().unwrap_or_default(),
            author: field(7),
            timemodified: field(8).parse().unwrap_or_default(),
        }
    }
}

/// Hands on every file that a dump's table of files has; folders, which are rows with the name `.`, are left out. An
/// error if the dump cannot be read or has no such table.
pub fn each(engine: Engine, table: &Table, dump: impl Read, visit: &mut dyn FnMut(Upload)) -> Result<()> {
    let mut reader = Reader { engine, item: Vec::new(), positions: None, header_read: false, visit };
    excerpt(engine, table, dump, &mut |role, piece| {
        match (role, piece) {
            (Role::Create | Role::Rows, Piece::Part(part)) => reader.part(role, part),
            (Role::Create | Role::Rows, Piece::End) => reader.end(role),
            (Role::Frame | Role::More, _) => {}
        }
        Ok(())
    })?;
    match reader.positions {
        Some(_) => Ok(()),
        None => Err(Fault::failed(format!("the dump has no table {}", table.name)).into()),
    }
}

struct Reader<'a> {
    engine: Engine,
    /// MariaDB: the statement so far. PostgreSQL: the line so far.
    item: Vec<u8>,
    /// Where the columns stand in a row.
    positions: Option<Vec<Option<usize>>>,
    /// PostgreSQL: whether the line with the COPY itself is over.
    header_read: bool,
    visit: &'a mut dyn FnMut(Upload),
}

impl Reader<'_> {
    fn part(&mut self, role: Role, part: &[u8]) {
        self.item.extend_from_slice(part);
        if (self.engine, role) == (Engine::Postgres, Role::Rows) {
            let mut start = 0;
            let item = std::mem::take(&mut self.item);
            while let Some(end) = memchr::memchr(b'\n', &item[start..]) {
                self.line(&item[start..start + end]);
                start += end + 1;
            }
            self.item = item[start..].to_vec();
        }
    }

    fn end(&mut self, role: Role) {
        let item = std::mem::take(&mut self.item);
        self.header_read = false;
        if self.engine != Engine::MariaDb {
            return;
        }
        match role {
            Role::Create => {
                let body = memchr::memchr(b'(', &item).map_or(&[][..], |open| &item[open + 1..]);
                self.columns(&names::column_lines(body).collect::<Vec<_>>());
            }
            _ => self.insert(&item),
        }
    }

    fn columns(&mut self, columns: &[String]) {
        let position = |wanted: &&str| columns.iter().position(|column| column == *wanted);
        self.positions = Some(COLUMNS.iter().map(position).collect());
    }

    fn insert(&mut self, item: &[u8]) {
        let Some(values) = memchr::memmem::find(item, b" VALUES") else { return };
        // The columns are named where the client could not rely on their order.
        if let Some(open) = memchr::memchr(b'(', &item[..values]) {
            self.columns(&names::all_in_backquotes(&item[open..values]));
        }
        let Some(positions) = self.positions.clone() else { return };
        rows::from_insert(&item[values + b" VALUES".len()..], &mut |row| self.row(&row, &positions));
    }

    fn line(&mut self, line: &[u8]) {
        if !self.header_read {
            self.header_read = true;
            let columns = memchr::memchr(b'(', line).map(|open| names::list(&line[open + 1..]));
            self.columns(&columns.unwrap_or_default());
        } else if let Some(positions) = self.positions.clone().filter(|_| line != b"\\.") {
            self.row(&rows::from_copy(line), &positions);
        }
    }

    fn row(&mut self, row: &Row, positions: &[Option<usize>]) {
        let upload = Upload::from_row(row, positions);
        if upload.filename != "." && !upload.filename.is_empty() {
            (self.visit)(upload);
        }
    }
}
