//! By which rules a database of MariaDB or MySQL sorts its texts, and which of them a server knows: MySQL has some that MariaDB had
//! not before 11.4, MariaDB some that MySQL has not. Asks only; what follows from it is the caller's matter.

use super::{ASIDE, Connection, Engine, Session};
use crate::error::Result;
use std::path::Path;

impl Session {
    /// Those in which the database has anything: tables, columns, triggers, routines, views. Nothing with PostgreSQL, whose dumps
    /// name them only where they are other than the database's.
    pub fn collations(&mut self) -> Result<Vec<String>> {
        if self.engine() == Engine::Postgres {
            return Ok(Vec::new());
        }
        let from = |column: &str, table: &str, schema: &str| {
            format!("SELECT {column} AS name FROM information_schema.{table} WHERE {schema} = DATABASE()")
        };
        // What a restore has set aside is in no dump.
        let of_tables = |column: &str, table: &str| {
            let all = from(column, table, "TABLE_SCHEMA");
            format!("{all} AND LEFT(TABLE_NAME, {}) <> '{ASIDE}'", ASIDE.len())
        };
        let all = [
            of_tables("COLLATION_NAME", "COLUMNS"),
            of_tables("TABLE_COLLATION", "TABLES"),
            of_tables("COLLATION_CONNECTION", "VIEWS"),
            from("COLLATION_CONNECTION", "TRIGGERS", "TRIGGER_SCHEMA"),
            from("COLLATION_CONNECTION", "ROUTINES", "ROUTINE_SCHEMA"),
        ];
        let all = all.join(" UNION ");
        let rows = self.query(&format!("SELECT name FROM ({all}) AS them WHERE name IS NOT NULL ORDER BY name"))?;
        Ok(rows.into_iter().flatten().flatten().collect())
    }

    /// Whether the server knows it. It is asked to use it: what its lists call it differs.
    pub(super) fn knows(&mut self, collation: &str) -> bool {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let charset = collation.split('_').next().unwrap_or_default();
        // It belongs to no character set, and is known to all.
        charset == "binary"
            || !collation.contains(|c| !is_word(c))
                && self.query(&format!("SELECT CONVERT('' USING {charset}) COLLATE {collation}")).is_ok()
    }
}

impl Connection {
    /// Which of these the server does not know, as this account tells or its administrator (see [`Connection::missing`]). An error if
    /// neither is let in.
    pub fn unknown_collations(&self, collations: &[String], admin: Option<&Path>) -> Result<Vec<String>> {
        if self.engine == Engine::Postgres || collations.is_empty() {
            return Ok(Vec::new());
        }
        let mut session = self.session().or_else(|_| self.administrator(admin)?.session())?;
        Ok(collations.iter().filter(|it| !session.knows(it)).cloned().collect())
    }
}
