//! Rows of Moodle's table of files, out of a dump: which names a content has had, and which contents a name.
//! Reads a stream; knows no pool.

use super::Engine;
use super::excerpt::Table;
use super::scanner::{Scanner, TableRows};
use crate::error::{Fault, Result};
use crate::sys::signals;
use std::io::{ErrorKind, Read};
use std::sync::mpsc::channel;

const BUFFER: usize = 256 << 10;

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
    /// The name that it was uploaded under.
    pub filename: String,
    /// Its size in bytes.
    pub filesize: u64,
    /// Who made it, as the uploader said.
    pub author: String,
    /// When it was last changed, in seconds since 1970.
    pub timemodified: i64,
}

const COLUMNS: [&str; 8] =
    ["contenthash", "contextid", "component", "filearea", "filename", "filesize", "author", "timemodified"];

impl Upload {
    fn from_row(row: &[Option<Vec<u8>>]) -> Self {
        let field = |number: usize| {
            let value = row.get(number).and_then(Option::as_deref).unwrap_or_default();
            String::from_utf8_lossy(value).into_owned()
        };
        Upload {
            contenthash: field(0),
            contextid: field(1),
            component: field(2),
            filearea: field(3),
            filename: field(4),
            filesize: field(5).parse().unwrap_or_default(),
            author: field(6),
            timemodified: field(7).parse().unwrap_or_default(),
        }
    }

    /// Folders have rows too, with this name.
    fn is_folder(&self) -> bool {
        self.filename == "."
    }
}

/// Hands on every file that a dump's table of files has. An error if the dump cannot be read or has no such table.
pub fn each(engine: Engine, table: &Table, mut dump: impl Read, visit: &mut dyn FnMut(Upload)) -> Result<()> {
    let (sender, receiver) = channel();
    let rows = TableRows {
        schema: table.schema.clone(),
        name: table.name.clone(),
        columns: COLUMNS.map(str::to_owned).to_vec(),
        each: Box::new(move |row| {
            // The other side lives as long as the scanner does.
            let _ = sender.send(Upload::from_row(row));
        }),
    };
    let mut scanner = Scanner::of_rows(engine, rows);
    let mut buffer = vec![0; BUFFER];
    loop {
        signals::check()?;
        match dump.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => scanner.feed(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
        receiver.try_iter().filter(|upload| !upload.is_folder()).for_each(&mut *visit);
    }
    match scanner.finish().files_seen {
        true => Ok(()),
        false => Err(Fault::failed(format!("the dump has no table {}", table.name)).into()),
    }
}
