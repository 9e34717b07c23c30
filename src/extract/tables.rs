//! One table of a backup's database, out of its dump, as SQL that makes it and fills it. Loads nothing.

use super::sums;
use crate::database::Engine;
use crate::database::excerpt::{Role, Table, excerpt};
use crate::database::scanner::Piece;
use crate::error::{Fault, OrFault, Result};
use crate::store::manifest::Database;
use crate::store::{Backup, inside};
use crate::sys::log::Log;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A table in a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its full name there.
    pub name: String,
    /// How many rows the manifest counts.
    pub rows: u64,
    table: Table,
}

/// The engine of a database, as its manifest names it.
pub fn engine(database: &Database) -> Engine {
    if database.engine.starts_with("postgres") { Engine::Postgres } else { Engine::MariaDb }
}

/// The files of a database's dump, in the order in which they are loaded.
pub fn files(backup: &Backup, database: &Database) -> Result<Vec<PathBuf>> {
    let more = database.more_files.iter().map(Path::new);
    std::iter::once(database.file.as_path()).chain(more).map(|file| inside::named(&backup.path, file)).collect()
}

/// An error if a dump is not as it was sealed.
pub fn verify(backup: &Backup, database: &Database, force: bool, log: &Log) -> Result<()> {
    // Names that lead elsewhere are no damage: with those nothing is done at all.
    files(backup, database)?;
    let more = database.more_files.iter().map(Path::new);
    let files: Vec<&Path> = std::iter::once(database.file.as_path()).chain(more).collect();
    sums::verify(backup, &files, force, log).map(drop)
}

/// Finds a table by its name, with or without prefix and schema. An error with similar names if it is not there.
pub fn find(backup: &Backup, name: &str) -> Result<Found> {
    let database = &backup.manifest.database;
    let bare = |full: &str| match engine(database) {
        Engine::Postgres => full.split_once('.').map_or_else(|| full.to_owned(), |(_, name)| name.to_owned()),
        Engine::MariaDb => full.to_owned(),
    };
    let prefixed = format!("{}{name}", database.prefix);
    let tables = &database.tables;
    let full = [name, prefixed.as_str()].into_iter().find_map(|wanted| {
        tables.keys().find(|full| *full == wanted).or_else(|| tables.keys().find(|full| bare(full) == wanted))
    });
    let Some(full) = full else {
        let mut near: Vec<_> =
            tables.keys().map(|full| (strsim::osa_distance(&bare(full), &prefixed), bare(full))).collect();
        near.sort();
        let near: Vec<_> = near.into_iter().take(3).map(|(_, name)| name).collect();
        return Err(Fault::usage(format!("backup {} has no table {name:?}", backup.name))
            .hint(format!("there are {} tables; names like this: {}", tables.len(), near.join(", ")))
            .into());
    };
    let schema = match engine(database) {
        Engine::Postgres => full.split_once('.').map(|(schema, _)| schema.to_owned()),
        Engine::MariaDb => None,
    };
    Ok(Found { name: full.clone(), rows: tables[full], table: Table { schema, name: bare(full) } })
}

/// Writes the table as SQL. Nothing in it drops anything: loading it where there is such a table fails.
pub fn write(backup: &Backup, found: &Found, out: &mut dyn Write) -> Result<()> {
    let database = &backup.manifest.database;
    let fault = || Fault::failed(format!("cannot write the table {}", found.name));
    let head = format!(
        "-- Table {} of backup {}. It drops nothing: where the table exists, loading it fails.\n",
        found.name, backup.name
    );
    out.write_all(head.as_bytes()).or_fault(fault)?;
    let mut created = false;
    for file in files(backup, database)? {
        let damaged = || Fault::failed(format!("cannot read {}", file.display()));
        let dump = File::open(&file).and_then(zstd::Decoder::new).or_fault(damaged)?;
        // Settings are wanted once: a second dump of the same database has them too.
        let first = !created;
        excerpt(engine(database), &found.table, dump, &mut |role, piece| {
            created |= role == Role::Create;
            match piece {
                _ if role == Role::Frame && !first => Ok(()),
                Piece::Part(part) => out.write_all(part).or_fault(fault),
                Piece::Rows => Ok(()),
                Piece::End => out.write_all(b"\n").or_fault(fault),
            }
        })
        .or_fault(damaged)?;
    }
    out.flush().or_fault(fault)?;
    if created { Ok(()) } else { Err(Fault::failed(format!("the dump does not have the table {}", found.name)).into()) }
}
