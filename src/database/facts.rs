//! What a server and a database are like, for the manifest and for choosing a client. No secrets.

use super::rows::Row;
use super::{ASIDE, Connection, Engine, Session, mariadb, postgres};
use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A database and its server, as they are kept in a backup's manifest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// `mariadb`, `mysql` or `postgresql`.
    pub product: String,
    /// What the server says of its version.
    pub version: String,
    /// The first number of the version.
    pub major: u32,
    /// Name of the database.
    pub database: String,
    /// The database's character set (PostgreSQL: encoding).
    pub character_set: Option<String>,
    /// The database's collation.
    pub collation: Option<String>,
    /// Who owns the database (PostgreSQL).
    pub owner: Option<String>,
    /// The schema in which names without one are looked for (PostgreSQL).
    pub schema: Option<String>,
    /// Extensions in the database, with versions (PostgreSQL).
    pub extensions: Vec<String>,
    /// Whether some of them belong to another role than ours: an administrator has to create them before a restore.
    pub foreign_extensions: bool,
    /// What the account may do, without password hashes (MariaDB: `SHOW GRANTS`; PostgreSQL: access lists).
    pub grants: Vec<String>,
    /// How large the database is on the server's disk, in bytes.
    pub size_bytes: u64,
    /// How many tables there are.
    pub tables: u64,
}

impl Session {
    /// Describes the server and the database.
    pub fn facts(&mut self) -> Result<ServerFacts> {
        match self.engine() {
            Engine::MariaDb => mariadb_facts(self),
            Engine::Postgres => postgres_facts(self),
        }
    }

    /// The folder in which the server keeps its data; `None` where this account is not told.
    fn data_folder(&mut self) -> Option<PathBuf> {
        let sql = match self.engine() {
            Engine::MariaDb => "SELECT @@datadir",
            // To others than administrators this row is not shown.
            Engine::Postgres => "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory'",
        };
        self.value(sql).ok().flatten().map(PathBuf::from)
    }

    /// Tables whose engine knows no transactions: a dump of them is of one moment only if they are locked.
    pub fn non_transactional_tables(&mut self) -> Result<Vec<String>> {
        if self.engine() == Engine::Postgres {
            return Ok(Vec::new());
        }
        let rows = self.query(
            "SELECT TABLE_NAME FROM information_schema.TABLES t JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'BASE TABLE' AND COALESCE(TRANSACTIONS, 'NO') <> 'YES' \
             ORDER BY TABLE_NAME",
        )?;
        Ok(rows.into_iter().flatten().flatten().filter(|name| !name.starts_with(ASIDE)).collect())
    }

    /// Tables that a restore has set aside (MariaDB; PostgreSQL's dumps leave out their schemas by name). They belong to
    /// no backup.
    pub fn tables_aside(&mut self) -> Result<Vec<String>> {
        if self.engine() == Engine::Postgres {
            return Ok(Vec::new());
        }
        let rows = self.query("SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()")?;
        Ok(rows.into_iter().flatten().flatten().filter(|name| name.starts_with(ASIDE)).collect())
    }

    /// Whether there is a table of this name, in `schema` or else where names without one are looked for.
    pub fn has_table(&mut self, schema: Option<&str>, table: &str) -> Result<bool> {
        let sql = match self.engine() {
            Engine::MariaDb => format!(
                "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = {}",
                mariadb::sql_text(table)
            ),
            Engine::Postgres => format!(
                "SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname = {} AND tablename = {}",
                schema.map_or("current_schema()".into(), postgres::sql_text),
                postgres::sql_text(table)
            ),
        };
        Ok(self.value(&sql)?.is_some_and(|count| count != "0"))
    }
}

impl Connection {
    /// The folder in which the server keeps its data, where it is one of this machine and says so. Only a socket shows that: behind an
    /// address may be a container, in which a folder of that name is another.
    pub fn data_folder_here(&self) -> Option<PathBuf> {
        let is_here = match self.engine {
            Engine::MariaDb => self.uses_socket(),
            Engine::Postgres => self.socket.is_some() || self.host.as_deref().is_none_or(|host| host.starts_with('/')),
        };
        is_here.then(|| self.session().ok()?.data_folder()).flatten().filter(|folder| folder.is_dir())
    }

    /// Text as a string in SQL for this engine.
    pub fn sql_text(&self, text: &str) -> String {
        match self.engine {
            Engine::MariaDb => mariadb::sql_text(text),
            Engine::Postgres => postgres::sql_text(text),
        }
    }

    /// A name as an identifier in SQL for this engine.
    pub fn sql_name(&self, name: &str) -> String {
        match self.engine {
            Engine::MariaDb => format!("`{}`", name.replace('`', "``")),
            Engine::Postgres => format!("\"{}\"", name.replace('"', "\"\"")),
        }
    }
}

fn mariadb_facts(session: &mut Session) -> Result<ServerFacts> {
    let row = first(session.query(
        "SELECT VERSION(), @@version_comment, DATABASE(), \
         (SELECT DEFAULT_CHARACTER_SET_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = DATABASE()), \
         (SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = DATABASE()), \
         (SELECT COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) FROM information_schema.TABLES \
          WHERE TABLE_SCHEMA = DATABASE()), \
         (SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'BASE TABLE')",
    )?);
    let [version, comment, database, character_set, collation, size, tables] = fields(row);
    let grants = session.query("SHOW GRANTS")?.into_iter().flatten().flatten().map(without_password).collect();
    let version = version.unwrap_or_default();
    let is_mariadb = format!("{version} {}", comment.unwrap_or_default()).contains("MariaDB");
    Ok(ServerFacts {
        product: if is_mariadb { "mariadb" } else { "mysql" }.into(),
        major: leading_number(&version),
        version,
        database: database.unwrap_or_default(),
        character_set,
        collation,
        grants,
        size_bytes: number(size),
        tables: number(tables),
        ..ServerFacts::default()
    })
}

/// A line of `SHOW GRANTS` up to where password hashes begin.
fn without_password(grant: String) -> String {
    grant.split(" IDENTIFIED ").next().unwrap_or_default().to_owned()
}

fn postgres_facts(session: &mut Session) -> Result<ServerFacts> {
    let schema = match session.connection().schema.clone() {
        Some(schema) => postgres::sql_text(&schema),
        None => "current_schema()".into(),
    };
    let row = first(session.query(&format!(
        "SELECT current_setting('server_version'), current_setting('server_version_num')::int / 10000, \
         datname, pg_encoding_to_char(encoding), datcollate, pg_get_userbyid(datdba), {schema}, \
         pg_database_size(oid), (SELECT count(*) FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p') AND relnamespace \
         NOT IN (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname LIKE 'pg\\_%' OR nspname = 'information_schema')) \
         FROM pg_catalog.pg_database WHERE datname = current_database()"
    ))?);
    let [version, major, database, character_set, collation, owner, schema_name, size, tables] = fields(row);
    let extensions = session.query(
        "SELECT extname || ' ' || extversion, extowner = current_user::regrole AND NOT (SELECT rolsuper FROM \
         pg_catalog.pg_roles WHERE rolname = current_user) FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql' ORDER BY 1",
    )?;
    let grants = session.query(&format!(
        "SELECT 'database ' || datname || ': ' || datacl::text FROM pg_catalog.pg_database \
         WHERE datname = current_database() AND datacl IS NOT NULL UNION ALL \
         SELECT 'schema ' || nspname || ': ' || nspacl::text FROM pg_catalog.pg_namespace \
         WHERE nspname = {schema} AND nspacl IS NOT NULL UNION ALL \
         SELECT count(*) || ' tables, like ' || min(relname) || ': ' || relacl::text FROM pg_catalog.pg_class \
         WHERE relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = {schema}) AND relacl IS NOT NULL \
         AND relkind = 'r' GROUP BY relacl::text"
    ))?;
    Ok(ServerFacts {
        product: "postgresql".into(),
        version: version.unwrap_or_default(),
        major: number(major) as u32,
        database: database.unwrap_or_default(),
        character_set,
        collation,
        owner,
        schema: schema_name,
        foreign_extensions: extensions.iter().any(|row| row.get(1).is_some_and(|own| own.as_deref() != Some("t"))),
        extensions: extensions.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect(),
        grants: grants.into_iter().flatten().flatten().collect(),
        size_bytes: number(size),
        tables: number(tables),
    })
}

fn first(rows: Vec<Row>) -> Row {
    rows.into_iter().next().unwrap_or_default()
}

/// The row as an array; what it lacks is `None`.
fn fields<const N: usize>(row: Row) -> [Option<String>; N] {
    let mut row = row.into_iter();
    std::array::from_fn(|_| row.next().flatten())
}

fn number(text: Option<String>) -> u64 {
    text.and_then(|text| text.split('.').next().and_then(|whole| whole.parse().ok())).unwrap_or(0)
}

fn leading_number(version: &str) -> u32 {
    version.split('.').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
