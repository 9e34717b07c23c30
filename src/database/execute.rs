//! Statements that change something: run by a client of their own, which stops at the first that fails. Only a restore
//! has any; a backup asks and dumps, and changes nothing.

use super::client::Flavour;
use super::{Connection, Engine, mariadb, postgres, refusal};
use crate::error::Result;
use crate::sys::process::Program;
use std::path::Path;
use std::time::Duration;

/// How long such statements may take: they rename and drop, which is quick once nobody is in the way.
const LIMIT: Duration = Duration::from_secs(600);

/// How long one may wait for others to let go of a table, in seconds.
const LOCK_SECONDS: u32 = 60;

impl Connection {
    /// Runs statements, each with its semicolon, up to the first that fails. `what` they do, in words, is for the error:
    /// `cannot …`. PostgreSQL takes them all or none; MariaDB each for itself.
    pub fn execute(&self, what: &str, sql: &str) -> Result<()> {
        let sql = match self.engine {
            Engine::MariaDb => format!("SET SESSION lock_wait_timeout = {LOCK_SECONDS};\n{sql}\n"),
            Engine::Postgres => format!("BEGIN;\nSET LOCAL lock_timeout = '{LOCK_SECONDS}s';\n{sql}\nCOMMIT;\n"),
        };
        self.run(what, sql)
    }

    /// As [`Connection::execute`], for what cannot stand in a transaction (`CREATE DATABASE`).
    pub fn execute_one(&self, what: &str, sql: &str) -> Result<()> {
        self.run(what, format!("{sql}\n"))
    }

    fn run(&self, what: &str, sql: String) -> Result<()> {
        let output = self.feeding_client()?.input(sql).timeout(LIMIT).output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(refusal::explain(self, &format!("cannot {what}"), &output.stderr)),
        }
    }

    /// The client that runs what it is fed, and says nothing but errors.
    pub(super) fn feeding_client(&self) -> Result<Program> {
        let (path, flavour) = self.query_client()?;
        let client = self.fed(&path, flavour, postgres::APPLICATION)?;
        Ok(if flavour == Flavour::Postgres { client.arg("--output=/dev/null") } else { client })
    }

    /// One of the clients that load a dump: it runs what it is fed, and at once says what is answered, bare values, a row to a
    /// line.
    pub(super) fn loading_client(&self) -> Result<Program> {
        let (path, flavour) = self.query_client()?;
        let client = self.fed(&path, flavour, postgres::LOAD_APPLICATION)?;
        let bare: &[&str] = if flavour == Flavour::Postgres { &[] } else { &["--unbuffered", "--skip-column-names"] };
        Ok(client.args(bare))
    }

    fn fed(&self, path: &Path, flavour: Flavour, application: &str) -> Result<Program> {
        Ok(match flavour {
            Flavour::Postgres => postgres::program(self, path, application)?
                .args(postgres::session_arguments())
                // What the end of the statements makes durable is all that counts.
                .env("PGOPTIONS", "-c synchronous_commit=off -c client_min_messages=warning")
                .env("PGCLIENTENCODING", "UTF8"),
            flavour => mariadb::program(self, path, flavour)?.args(mariadb::load_arguments(self)),
        })
    }
}
