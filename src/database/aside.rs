//! Setting a database's content aside within the same database, and putting it back: by renaming, so that it takes no time
//! and no right that Moodle's own account lacks. MariaDB renames tables (what is no table is `programs.rs`'s matter); PostgreSQL
//! moves them into another schema. What is to be undone is noted by the caller before it is done.

use super::objects::Objects;
use super::postgres::LOAD_APPLICATION;
use super::programs::{Programs, Scope};
use super::{Connection, Engine, Session};
use crate::error::{Fault, Result};
use crate::sys::human;
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use std::path::Path;
use std::time::{Duration, Instant};

/// How the names begin of what is set aside: of tables with MariaDB, of the schema with PostgreSQL. Nothing with such a
/// name is dumped.
pub const ASIDE: &str = "moodle_backup_old_";

/// PostgreSQL: rows of 64 bytes, 4 MiB in all, that are given up when everything is put back.
const RESERVED_ROWS: u32 = 65_536;

/// How long the server may take to give up making keys.
const ALTERATIONS_END: Duration = Duration::from_secs(120);

/// The longest name of a table (MariaDB: 64 characters).
const LONGEST_NAME: usize = 64;

/// Where the content of a database is set aside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Aside {
    /// PostgreSQL: the schema of Moodle's tables, and the one they are moved to.
    schemas: Option<(String, String)>,
    /// MariaDB: each table, view and sequence, and its name while it is aside.
    tables: Vec<(String, String)>,
    /// MariaDB: there was nothing to set aside, so all that stands there since came from a backup.
    #[serde(default)]
    was_empty: bool,
    /// MariaDB: what was dropped, to be made again.
    #[serde(default)]
    programs: Programs,
}

impl Aside {
    /// How many tables are to be set aside; not counted with PostgreSQL.
    pub fn tables(&self) -> usize {
        self.tables.len()
    }

    /// Whether the database was empty: then nothing is aside, and all that it holds came since.
    pub fn was_empty(&self) -> bool {
        self.was_empty
    }

    /// The schema that it was in, and the one that it is in; `None` where tables are set aside by their names.
    pub(super) fn schemas(&self) -> Option<(&str, &str)> {
        self.schemas.as_ref().map(|(live, old)| (live.as_str(), old.as_str()))
    }

    /// Where it is, in words; nothing where nothing is aside.
    pub fn place(&self, connection: &Connection) -> Option<String> {
        let title = connection.title();
        if let Some((_, old)) = &self.schemas {
            return Some(format!("schema {old} of the {title}"));
        }
        let (_, first) = self.tables.first()?;
        let digits = first[ASIDE.len()..].find('_').map_or(first.len(), |end| ASIDE.len() + end + 1);
        let tables = human::count(self.tables.len() as u64, "table");
        Some(format!("{tables} of the {title}, by names that begin with {}", &first[..digits]))
    }

    /// Has an administrator put back what only one may: by this option file with his account, and not as it was noted.
    pub fn put_back_by(&mut self, connection: &Connection, admin: &Path) -> Result<()> {
        self.programs.made_by(connection, admin)
    }

    /// Which kinds of what is no table it is about.
    pub fn scope(&self) -> Scope {
        self.programs.scope()
    }
}

impl Connection {
    /// What would be set aside, under names of its own for each `id`; of what is no table, what `scope` says. Changes nothing. An
    /// error if the database holds what could not be put back; `admin` is an option file with the account of an administrator, who
    /// could.
    pub fn plan_aside(&self, id: &str, scope: Scope, admin: Option<&Path>) -> Result<Aside> {
        let mut session = self.session()?;
        match self.engine {
            Engine::MariaDb => {
                let programs = self.save_programs(&mut session, scope, admin)?;
                let tables = mariadb_tables(&mut session)?;
                let own = tables.into_iter().filter(|(name, _)| !name.starts_with(ASIDE));
                let tables: Vec<_> =
                    own.map(|(name, _)| (aside_name(&name, id), name)).map(|(aside, name)| (name, aside)).collect();
                Ok(Aside { schemas: None, was_empty: tables.is_empty(), tables, programs })
            }
            Engine::Postgres => {
                let live = match &self.schema {
                    Some(schema) => schema.clone(),
                    None => session.value("SELECT current_schema()")?.unwrap_or_else(|| "public".into()),
                };
                Objects::of(&mut session, &live)?.require_own(self)?;
                let schemas = Some((live, format!("{ASIDE}{id}")));
                Ok(Aside { schemas, tables: Vec::new(), was_empty: false, programs: Programs::default() })
            }
        }
    }

    /// Sets everything aside. After an error (or a crash) [`Connection::put_back`] brings it back.
    pub fn set_aside(&self, aside: &Aside) -> Result<()> {
        let what = "set the present tables aside";
        match &aside.schemas {
            Some((live, old)) => {
                let moves = Objects::of(&mut self.session()?, live)?.moves(self, old);
                let room = self.reserve(old);
                self.execute(what, &format!("CREATE SCHEMA {};\n{room}\n{moves}", self.sql_name(old)))
            }
            None => {
                self.drop_programs(&aside.programs)?;
                match aside.tables.as_slice() {
                    [] => Ok(()),
                    tables => self.execute(what, &self.renames(tables.iter().map(|(name, old)| (name, old)))),
                }
            }
        }
    }

    /// Puts back what was set aside; what stands in its place, which came from a backup, is dropped. Does nothing where
    /// nothing is aside, so it can be called again and again.
    pub fn put_back(&self, aside: &Aside) -> Result<()> {
        match &aside.schemas {
            Some((live, old)) => self.put_schema_back(live, old),
            None => {
                self.put_tables_back(aside)?;
                self.make_programs(&aside.programs)
            }
        }
    }

    /// Gives back to others what they had defined before the content was set aside, as far as a backup has brought the very same again.
    /// Returns kinds and names.
    pub fn give_back_definers(&self, aside: &Aside) -> Result<Vec<(String, String)>> {
        self.give_back_definers_of(&aside.programs)
    }

    /// Whether anything is aside.
    pub fn is_aside(&self, aside: &Aside) -> Result<bool> {
        self.still_aside(aside).map(|(some, _)| some)
    }

    /// Whether all is there that was set aside.
    pub fn is_whole(&self, aside: &Aside) -> Result<bool> {
        self.still_aside(aside).map(|(_, all)| all)
    }

    /// Whether any of it is there, and whether all.
    fn still_aside(&self, aside: &Aside) -> Result<(bool, bool)> {
        let mut session = self.session()?;
        if let Some((_, old)) = &aside.schemas {
            return has_schema(&mut session, self, old).map(|there| (there, there));
        }
        let there = mariadb_tables(&mut session)?;
        let is_there = |old: &String| there.iter().any(|(name, _)| name == old);
        let mut old = aside.tables.iter().map(|(_, old)| old);
        Ok((old.clone().any(is_there), old.all(is_there)))
    }

    /// Drops what was set aside, for good.
    pub fn drop_aside(&self, aside: &Aside) -> Result<()> {
        let what = "drop the tables that were set aside";
        match &aside.schemas {
            Some((_, old)) => self.execute(what, &format!("DROP SCHEMA IF EXISTS {} CASCADE;", self.sql_name(old))),
            None => {
                let there = mariadb_tables(&mut self.session()?)?;
                let old = there.iter().filter(|(name, _)| aside.tables.iter().any(|(_, old)| old == name));
                let (views, tables): (Vec<_>, Vec<_>) = old.partition(|(_, kind)| *kind == Kind::View);
                self.execute(what, &self.drops(tables.into_iter()))?;
                if views.is_empty() { Ok(()) } else { self.drop_views(&self.drops(views.into_iter())) }
            }
        }
    }

    /// MySQL lets only those drop a view that an administrator has defined who have the privilege SYSTEM_USER themselves.
    fn drop_views(&self, sql: &str) -> Result<()> {
        let what = "drop the views that were set aside";
        let Err(refused) = self.execute(what, sql) else { return Ok(()) };
        match self.administrator_here(None) {
            Ok(admin) => admin.execute(what, sql),
            Err(_) => Err(refused.context(Fault::unfit(format!("cannot {what} in the {}", self.title())).hint(format!(
                "if they are an administrator's, as an administrator of the server, in that database: {}; then repeat the command",
                sql.lines().filter(|line| line.starts_with("DROP ")).collect::<Vec<_>>().join(" ").trim_end_matches(';')
            )))),
        }
    }

    fn put_schema_back(&self, live: &str, old: &str) -> Result<()> {
        let what = "put the earlier tables back";
        self.end_alterations()?;
        let new = format!("{old}_new");
        let mut session = self.session()?;
        if has_schema(&mut session, self, old)? {
            self.execute("free the room that was reserved", &format!("DROP TABLE IF EXISTS {};", self.reserved(old)))?;
            self.clear(live, &new)?;
            let back = Objects::of(&mut session, old)?.moves(self, live);
            self.execute(what, &format!("{back}\nDROP SCHEMA {};", self.sql_name(old)))?;
        }
        self.execute(what, &format!("DROP SCHEMA IF EXISTS {} CASCADE;", self.sql_name(&new)))
    }

    /// PostgreSQL: the statement that reserves some room for putting everything back. To move tables, and even to drop such as have
    /// defaults, its catalogues grow, which they cannot on a disk that a load has filled. To drop this table they need not.
    fn reserve(&self, old: &str) -> String {
        format!(
            "CREATE TABLE {} AS SELECT n AS a, n AS b, n AS c, n AS d FROM pg_catalog.generate_series(1::bigint, {RESERVED_ROWS}) n;",
            self.reserved(old)
        )
    }

    fn reserved(&self, old: &str) -> String {
        format!("{}.moodle_backup_room", self.sql_name(old))
    }

    /// Moves what came from a backup out of the way; or drops it where there is no room for that.
    fn clear(&self, live: &str, new: &str) -> Result<()> {
        let restored = Objects::of(&mut self.session()?, live)?;
        let moves = restored.moves(self, new);
        if moves.is_empty() {
            return Ok(());
        }
        let moves = format!("CREATE SCHEMA IF NOT EXISTS {};\n{moves}", self.sql_name(new));
        match self.execute("move the loaded tables out of the way", &moves) {
            Ok(()) => Ok(()),
            Err(_) => self.execute("drop the loaded tables", &restored.drops()),
        }
    }

    fn put_tables_back(&self, aside: &Aside) -> Result<()> {
        let what = "put the earlier tables back";
        self.end_alterations()?;
        let there = mariadb_tables(&mut self.session()?)?;
        if aside.was_empty {
            return self.execute(what, &self.drops(there.iter().filter(|(name, _)| !name.starts_with(ASIDE))));
        }
        let is_there = |name: &String| there.iter().any(|(it, _)| it == name);
        let back: Vec<_> = aside.tables.iter().filter(|(_, old)| is_there(old)).collect();
        if back.is_empty() {
            return Ok(());
        }
        // Triggers go with the tables that they came with.
        // Tables that were not renamed when the power went are still the old ones.
        let not_moved = |name: &String| aside.tables.iter().any(|(it, old)| it == name && !is_there(old));
        let restored = there.iter().filter(|(name, _)| !name.starts_with(ASIDE) && !not_moved(name));
        let drops = self.drops(restored);
        let renames = self.renames(back.into_iter().map(|(name, old)| (old, name)));
        self.execute(what, &format!("{drops}\n{renames}"))
    }

    /// A server does not notice that the client is gone that it makes keys for (PostgreSQL: or fills a view for), which can take long
    /// and keeps the table: a load that was ended leaves such. Nobody else alters tables of a site that is being restored.
    fn end_alterations(&self) -> Result<()> {
        let find = match self.engine {
            Engine::MariaDb => {
                "SELECT ID FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND ID <> CONNECTION_ID() \
                 AND USER = SUBSTRING_INDEX(USER(), '@', 1) AND INFO LIKE 'ALTER TABLE%ADD %'"
                    .to_owned()
            }
            Engine::Postgres => format!(
                "SELECT pid FROM pg_catalog.pg_stat_activity WHERE datname = current_database() AND usename = current_user \
                 AND application_name = '{LOAD_APPLICATION}'"
            ),
        };
        let end = |id: String| match self.engine {
            Engine::MariaDb => format!("KILL {id};"),
            Engine::Postgres => format!("SELECT pg_catalog.pg_terminate_backend({id});"),
        };
        let mut session = self.session()?;
        let deadline = Instant::now() + ALTERATIONS_END;
        loop {
            let busy: Vec<String> = session.query(&find)?.into_iter().flatten().flatten().collect();
            if busy.is_empty() || Instant::now() > deadline {
                return Ok(());
            }
            for id in busy {
                // It may have ended by itself.
                let _ = self.execute("end what is left of the load", &end(id));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// One statement: the server does all of it or nothing.
    fn renames<'a>(&self, pairs: impl Iterator<Item = (&'a String, &'a String)>) -> String {
        let pairs: Vec<String> =
            pairs.map(|(from, to)| format!("{} TO {}", self.sql_name(from), self.sql_name(to))).collect();
        format!("RENAME TABLE {};", pairs.join(", "))
    }

    fn drops<'a>(&self, tables: impl Iterator<Item = &'a (String, Kind)>) -> String {
        let drops: String = tables
            .map(|(name, kind)| {
                let kind = match kind {
                    Kind::Table => "TABLE",
                    Kind::View => "VIEW",
                    Kind::Sequence => "SEQUENCE",
                };
                format!("DROP {kind} IF EXISTS {};\n", self.sql_name(name))
            })
            .collect();
        format!("SET SESSION foreign_key_checks = 0;\n{drops}")
    }
}

impl Session {
    /// Whether the database holds nothing, where Moodle's tables are to be.
    pub fn is_empty(&mut self) -> Result<bool> {
        match self.engine() {
            Engine::MariaDb => Ok(mariadb_tables(self)?.iter().all(|(name, _)| name.starts_with(ASIDE))),
            Engine::Postgres => {
                let connection = self.connection();
                let named = connection.schema.as_ref().map(|schema| connection.sql_text(schema));
                let live = named.unwrap_or_else(|| "current_schema()".into());
                let sql = format!(
                    "SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                     WHERE n.nspname = {live} AND relkind IN ('r', 'p', 'f') AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
                     WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')"
                );
                Ok(self.value(&sql)?.is_none_or(|count| count == "0"))
            }
        }
    }
}

/// What a name in a database of MariaDB stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Table,
    View,
    Sequence,
}

fn mariadb_tables(session: &mut Session) -> Result<Vec<(String, Kind)>> {
    let rows = session.query(
        "SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() ORDER BY TABLE_NAME",
    )?;
    let named = rows.into_iter().filter_map(|row| {
        let mut row = row.into_iter();
        let kind = |text: &str| match text {
            "VIEW" => Kind::View,
            "SEQUENCE" => Kind::Sequence,
            _ => Kind::Table,
        };
        Some((row.next()??, kind(&row.next()??)))
    });
    Ok(named.collect())
}

fn has_schema(session: &mut Session, connection: &Connection, name: &str) -> Result<bool> {
    let sql = format!("SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = {}", connection.sql_text(name));
    Ok(session.value(&sql)?.is_some_and(|count| count != "0"))
}

/// The name of a table while it is aside: its own with the mark before it, or where that is too long as much of a digest of it as
/// there is room for.
fn aside_name(name: &str, id: &str) -> String {
    let mark = format!("{ASIDE}{id}_");
    let room = LONGEST_NAME - mark.len();
    if name.chars().count() <= room {
        return mark + name;
    }
    let digest = crate::hashes::to_hex(&Sha1::digest(name));
    mark + &digest[..digest.len().min(room)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_aside_differ_and_are_short_enough() {
        // As many digits as the milliseconds since 1970 have, for the next two centuries.
        let id = "1795775525675";
        assert_eq!(aside_name("mdl_config", id), "moodle_backup_old_1795775525675_mdl_config");
        for length in [31, 32, 33, 60, 63] {
            let long = |end: &str| aside_name(&format!("{}{end}", "x".repeat(length - 1)), id);
            assert!(long("a").len() <= LONGEST_NAME && long("a") != long("b"), "{length}");
        }
    }
}
