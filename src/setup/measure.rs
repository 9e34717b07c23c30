//! How large a site is and how fast it grows: for the room that its backups will take. Looks for some seconds at most; what it
//! could not measure in that time counts as nothing.

use crate::database::{Engine, Session};
use crate::error::Result;
use crate::moodle::table;
use crate::preflight::Site;
use crate::settings::Retention;
use crate::sys::human::bytes;
use crate::sys::time;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long one question to the database, or one walk, may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Days of which the growth is looked at.
const DAYS: i64 = 30;

/// What a dump compresses to, and an archive of code: measured on real sites, a fifth and a third.
const DUMP_SHARE: u64 = 5;
const CODE_SHARE: u64 = 3;

/// How large the parts of a site are, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Users' files, each once.
    pub pool: u64,
    /// By how much these grow in a day.
    pub daily: u64,
    /// The rest of moodledata, less caches and the like.
    pub rest: u64,
    /// The code.
    pub code: u64,
    /// The database on its server's disk.
    pub database: u64,
}

/// What a site's database tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The full name that its users see.
    pub name: Option<String>,
    /// How large the database and users' files are.
    pub sizes: Sizes,
}

/// What a site's database tells, as far as it does within the time.
pub fn told_by_database(site: &Site, limit: Duration) -> Told {
    let config = &site.config;
    let (mut name, mut sizes) = (None, Sizes::default());
    if let Ok(mut session) = site.connection.session()
        && session.end_after(limit).is_ok()
    {
        sizes.database = session.facts().map_or(0, |facts| facts.size_bytes);
        if let Ok(table) = table(&site.connection, &config.prefix, "files") {
            sizes.pool = files(&mut session, &table, 0).unwrap_or(0);
            let since = time::now().timestamp() - DAYS * 86_400;
            sizes.daily = files(&mut session, &table, since).unwrap_or(0) / DAYS.unsigned_abs();
        }
        if let Ok(table) = table(&site.connection, &config.prefix, "course") {
            // To Moodle the site itself is a course, the only one in no category.
            let found = session.value(&format!("SELECT fullname FROM {table} WHERE category = 0"));
            name = found.ok().flatten().filter(|name| !name.is_empty());
        }
    }
    Told { name, sizes }
}

/// Measures a site.
pub fn measure(site: &Site) -> Told {
    let config = &site.config;
    let Told { name, mut sizes } = told_by_database(site, LIMIT);
    if sizes.pool == 0 {
        sizes.pool = walk(&config.filedir, &[]);
    }
    let mut left_out: Vec<PathBuf> = config.left_out().iter().map(|path| config.dataroot.join(path)).collect();
    left_out.extend([config.filedir.clone(), config.trashdir.clone()]);
    sizes.rest = walk(&config.dataroot, &left_out);
    sizes.code = walk(&site.layout.root, &[]);
    Told { name, sizes }
}

/// Bytes of the contents that Moodle lists, each once; those that came after `since`.
fn files(session: &mut Session, table: &str, since: i64) -> Result<u64> {
    let sum = session.value(&format!(
        "SELECT COALESCE(SUM(size), 0) FROM (SELECT MAX(filesize) AS size FROM {table} GROUP BY contenthash \
         HAVING MIN(timecreated) >= {since}) AS contents"
    ))?;
    Ok(sum.and_then(|sum| sum.split('.').next()?.parse().ok()).unwrap_or(0))
}

/// Bytes below a folder, as far as the time goes.
fn walk(folder: &Path, left_out: &[PathBuf]) -> u64 {
    let end = Instant::now() + LIMIT;
    let (mut sum, mut left) = (0, vec![folder.to_path_buf()]);
    while let Some(folder) = left.pop().filter(|_| Instant::now() < end) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() && !left_out.contains(&entry.path()) => left.push(entry.path()),
                Ok(meta) if meta.is_file() => sum += meta.len(),
                _ => {}
            }
        }
    }
    sum
}

/// The room that backups take, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// The first one.
    pub first: u64,
    /// Each further one, of its own.
    pub further: u64,
    /// All that the retention keeps, and one more that is being made, a year from now.
    pub in_a_year: u64,
}

/// How much room the backups of a site will take.
pub fn room(sizes: &Sizes, kept: &Retention) -> Room {
    let further = sizes.database / DUMP_SHARE;
    let first = sizes.pool + sizes.rest + sizes.code / CODE_SHARE + further;
    let backups = u64::from(kept.last) + u64::from(kept.daily) + u64::from(kept.weekly);
    let backups = backups + u64::from(kept.monthly) + u64::from(kept.yearly) + 1;
    // Unchanged files are shared; of code, a new version now and then.
    let code = 4 * sizes.code / CODE_SHARE;
    Room { first, further, in_a_year: first + further * backups + code + sizes.daily * 365 }
}

/// The same in words; of the first one only where there is none yet.
pub fn told(room: &Room, has_backups: bool) -> String {
    let (first, further) = (bytes(room.first), bytes(room.further));
    let each = match has_backups {
        true => format!("Each further backup takes about {further} of its own"),
        false => format!("The first backup takes about {first}, each further one about {further} of its own"),
    };
    format!("{each}; with this site's growth, all that is kept takes about {} in a year.", bytes(room.in_a_year))
}

/// How long a disk with so many free bytes will do, in days, as far as growth tells; `None` where it does not grow, or for
/// more than ten years.
pub fn lasts(sizes: &Sizes, kept: &Retention, free: u64) -> Option<u64> {
    let year = room(sizes, kept).in_a_year;
    let without_growth = year.saturating_sub(sizes.daily * 365);
    let days = free.saturating_sub(without_growth).checked_div(sizes.daily)?;
    Some(days).filter(|days| *days < 3650)
}

/// Databases on a server beside a site's own, that its account can see.
pub fn other_databases(site: &Site) -> Result<Vec<String>> {
    let mut session = site.connection.session()?;
    let rows = match site.connection.engine {
        Engine::MariaDb => session.query("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA ORDER BY SCHEMA_NAME")?,
        Engine::Postgres => session.query(
            "SELECT datname FROM pg_catalog.pg_database WHERE NOT datistemplate AND datallowconn \
             AND has_database_privilege(datname, 'CONNECT') ORDER BY datname",
        )?,
    };
    const SYSTEM: [&str; 5] = ["information_schema", "mysql", "performance_schema", "sys", "postgres"];
    let own = site.config.database_name();
    let names = rows.into_iter().flatten().flatten();
    Ok(names.filter(|name| name != own && !SYSTEM.contains(&name.as_str())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Retention = Retention { last: 3, daily: 7, weekly: 4, monthly: 12, yearly: 0, make_room: false };

    #[test]
    fn the_pool_counts_once_and_the_dump_each_time() {
        let sizes = Sizes { pool: 1000, daily: 1, rest: 100, code: 30, database: 50 };
        let room = room(&sizes, &KEPT);
        assert_eq!(room, Room { first: 1120, further: 10, in_a_year: 1120 + 270 + 40 + 365 });
        assert_eq!(lasts(&sizes, &KEPT, 1430 + 100), Some(100));
        assert_eq!(lasts(&sizes, &KEPT, 10), Some(0));
        assert_eq!(lasts(&Sizes { daily: 0, ..sizes }, &KEPT, 10), None);
    }
}
