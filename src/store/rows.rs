//! Rows of Moodle's tables, out of a backup's dumps. Which are of use is not decided here.

use super::manifest::Database;
use super::{Backup, inside};
use crate::database::Engine;
use crate::database::excerpt::Table;
use crate::database::table::{self, Row};
use crate::error::{Fault, OrFault, Result};
use crate::sys::files;
use std::io::Read;

/// The kind of a dump; `None` for one that a later version knows.
pub fn engine(database: &Database) -> Option<Engine> {
    match database.engine.as_str() {
        "mariadb" | "mysql" => Some(Engine::MariaDb),
        "postgresql" => Some(Engine::Postgres),
        _ => None,
    }
}

/// Hands on the rows of a table, named without its prefix. `read` is told of every piece that was read of the compressed
/// dumps, in bytes. An error if a dump cannot be read, or none has the table.
pub fn each(
    backup: &Backup,
    table: &str,
    columns: &[&str],
    read: &dyn Fn(u64),
    visit: &mut dyn FnMut(&Row),
) -> Result<()> {
    let database = &backup.manifest.database;
    let engine = engine(database).ok_or_else(|| {
        Fault::unfit(format!("this version cannot read dumps of {:?}", database.engine))
            .hint("a later version of moodle-backup has made this backup: use that")
    })?;
    let schema = Some(database.schema.clone()).filter(|schema| !schema.is_empty());
    let table = Table { schema, name: format!("{}{table}", database.prefix) };
    let mut found = false;
    for file in database.dumps() {
        let path = inside::named(&backup.path, file)?;
        let damaged = || Fault::failed(format!("cannot read {}", path.display()));
        let file = Counted { file: files::open_plain(&path).or_fault(damaged)?, read };
        let dump = zstd::Decoder::new(file).or_fault(damaged)?;
        found |= table::rows(engine, &table, columns, dump, visit).or_fault(damaged)?;
        if found {
            break;
        }
    }
    match found {
        true => Ok(()),
        false => Err(Fault::failed(format!("the dump has no table {}", table.name)).into()),
    }
}

struct Counted<'a> {
    file: std::fs::File,
    read: &'a dyn Fn(u64),
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        (self.read)(count as u64);
        Ok(count)
    }
}
