//! A backup's dump against its manifest and its list of pool files: whether it is whole, has the rows that were counted when
//! it was made, and refers to nothing that the list does not name.

use super::Job;
use super::own::new_damage;
use crate::database::scanner::{FilesTable, Scanned, Scanner};
use crate::error::{Fault, OrFault, Result};
use crate::hashes::{self, Collector, Hash};
use crate::store::manifest::Database;
use crate::store::{Backup, Damage, layout, rows};
use crate::sys::log::Log;
use crate::sys::{files, signals};
use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};

const BUFFER: usize = 256 << 10;

/// So many names of a kind are told.
const NAMED: usize = 3;

/// What is wrong with the dump of Moodle's database, and with the list as the dump sees it.
pub fn check(job: &Job, backup: &Backup, list_is_whole: bool, log: &Log) -> Result<Vec<Damage>> {
    let database = &backup.manifest.database;
    let Some(engine) = rows::engine(database) else { return Ok(Vec::new()) };
    let collector = Arc::new(Mutex::new((Collector::new(&job.store.pool()), Ok(()))));
    let mut found = Vec::new();
    let mut tables = BTreeMap::new();
    for file in database.dumps() {
        match scan(&backup.path.join(file), Scanner::new(engine, Some(files_table(database, &collector))), log) {
            Ok(scanned) if scanned.complete => tables.extend(scanned.tables),
            Ok(_) => found.push(new_damage(&file.display().to_string(), "ends before the dump is complete".into())),
            Err(error) => {
                signals::check()?;
                found.push(new_damage(&file.display().to_string(), format!("{error:#}")));
            }
        }
    }
    let collector = Arc::into_inner(collector).and_then(|collector| collector.into_inner().ok());
    let Some((collector, Ok(()))) = collector else {
        return Err(Fault::failed("the hashes of the dump could not be kept").into());
    };
    if !found.is_empty() {
        return Ok(found);
    }
    found.extend(other_rows(&tables, &database.tables).map(|what| new_damage(layout::DATABASE, what)));
    if list_is_whole && !backup.manifest.pool.external {
        found.extend(unlisted(backup, collector)?);
    }
    Ok(found)
}

/// Reads a dump to its end.
fn scan(path: &Path, mut scanner: Scanner, log: &Log) -> Result<Scanned> {
    let fault = || Fault::failed(format!("{} cannot be unpacked", path.display()));
    let mut stream = zstd::Decoder::new(files::open_plain(path).or_fault(fault)?).or_fault(fault)?;
    let mut buffer = vec![0; BUFFER];
    let mut bytes = 0;
    loop {
        signals::check()?;
        match stream.read(&mut buffer).or_fault(fault)? {
            0 => return Ok(scanner.finish()),
            count => {
                scanner.feed(&buffer[..count]);
                bytes += count as u64;
                log.progress(bytes, 0, "bytes");
            }
        }
    }
}

type Shared = Arc<Mutex<(Collector, Result<()>)>>;

fn files_table(database: &Database, collector: &Shared) -> FilesTable {
    let collector = Arc::clone(collector);
    let each = move |hash: Hash| {
        if let Ok(mut held) = collector.lock()
            && held.1.is_ok()
        {
            held.1 = held.0.push(hash);
        }
    };
    let schema = Some(database.schema.clone()).filter(|schema| !schema.is_empty());
    FilesTable { schema, name: format!("{}files", database.prefix), each: Box::new(each) }
}

/// The first tables that have another number of rows than were counted when the dump was made.
fn other_rows(now: &BTreeMap<String, u64>, then: &BTreeMap<String, u64>) -> Option<String> {
    if then.is_empty() {
        return None;
    }
    let names: std::collections::BTreeSet<&String> = now.keys().chain(then.keys()).collect();
    let differ: Vec<String> = names
        .into_iter()
        .filter(|name| now.get(*name) != then.get(*name))
        .map(|name| {
            let count = |tables: &BTreeMap<String, u64>| tables.get(name).map_or("none".into(), u64::to_string);
            format!("{name} ({}, counted were {})", count(now), count(then))
        })
        .collect();
    let shown = differ.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    (!differ.is_empty()).then(|| format!("has other rows than when it was made, in {} tables: {shown}", differ.len()))
}

/// What the dump refers to and the list does not name, but for what the site had lost already.
fn unlisted(backup: &Backup, dumped: Collector) -> Result<Option<Damage>> {
    let pool = &backup.manifest.pool;
    let lost = pool.missing_at_source.iter().chain(&pool.damaged_at_source);
    let lost: HashSet<Hash> = lost.filter_map(|hex| hashes::from_hex(hex.as_bytes())).collect();
    let dumped = dumped.finish();
    let list = hashes::read_list(&backup.path.join(layout::POOL_LIST))?;
    let mut count = 0;
    let mut named = Vec::new();
    for hash in hashes::difference(dumped.iter()?, list) {
        let hash = hash?;
        if !lost.contains(&hash) {
            count += 1;
            if named.len() < NAMED {
                named.push(hashes::to_hex(&hash));
            }
        }
    }
    let what = || format!("lacks {count} files that the database refers to: {}", named.join(", "));
    Ok((count > 0).then(|| new_damage(layout::POOL_LIST, what())))
}
