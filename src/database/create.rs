//! A database that is gone, made anew, with its account: needs administrative access, which root has on a server of
//! this machine (MariaDB lets root in by the socket, PostgreSQL the user postgres), or which an option file gives.

use super::{Connection, Engine};
use crate::error::{Fault, OrFault, Result, hint};
use crate::sys::privileges::Identity;
use std::path::Path;

/// What the new database is to be like: as it was, by the backup's manifest.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// MariaDB: default character set. PostgreSQL: encoding.
    pub charset: String,
    /// MariaDB: default collation. PostgreSQL: `LC_COLLATE`.
    pub collation: String,
    /// PostgreSQL: `LC_CTYPE`.
    pub ctype: String,
    /// PostgreSQL: extensions, by name.
    pub extensions: Vec<String>,
    /// MariaDB: the host part of Moodle's account; empty where it is not known.
    pub user_host: String,
}

impl Connection {
    /// Makes the database and the account where they are missing; true if there was anything to make.
    /// `admin` is an option file with an administrator's account (see [`Connection::options_file`]).
    pub fn ensure_there(&self, wanted: &Wanted, admin: Option<&Path>) -> Result<bool> {
        let Err(refused) = self.session() else { return Ok(false) };
        let admin = self.administrator(admin)?;
        self.make(&admin, wanted).map_err(|error| {
            let advice = format!(
                "make database and account by hand, as RESTORE.txt of the backup tells, or name an administrator's \
                 account by --database-admin FILE{}",
                hint(&refused).map(|hint| format!("; the site's own account was refused ({hint})")).unwrap_or_default()
            );
            error.context(Fault::unfit(format!("the {} is not there, and cannot be made", self.title())).hint(advice))
        })?;
        self.session().or_fault(|| {
            Fault::unfit(format!("the {} was made, and still {} is not let in", self.title(), self.account()))
                .hint("compare how that account may log in (pg_hba.conf; the host part of a MariaDB account)")
        })?;
        Ok(true)
    }

    /// Makes the database, and the account where it is missing, as this administrator.
    pub fn make(&self, admin: &Connection, wanted: &Wanted) -> Result<()> {
        match self.engine {
            Engine::MariaDb => self.make_mariadb(admin, wanted),
            Engine::Postgres => self.make_postgres(admin, wanted),
        }
    }

    /// The same server, as its administrator.
    fn administrator(&self, options_file: Option<&Path>) -> Result<Connection> {
        let (user, database) = match self.engine {
            Engine::MariaDb => ("root", "mysql"),
            Engine::Postgres => ("postgres", "postgres"),
        };
        let mut admin = Connection {
            user: user.into(),
            password: None,
            name: database.into(),
            schema: None,
            options_file: None,
            run_as: None,
            ..self.clone()
        };
        if let Some(path) = options_file {
            return admin.by_options_file(path);
        }
        if matches!(self.host.as_deref(), None | Some("" | "localhost" | "127.0.0.1" | "::1")) {
            // By the socket: that is where the server looks at who we are.
            admin.host = None;
            if self.engine == Engine::Postgres {
                admin.run_as = Some(Identity::by_name("postgres")?);
            }
        }
        Ok(admin)
    }

    fn make_mariadb(&self, admin: &Connection, wanted: &Wanted) -> Result<()> {
        let host = match (wanted.user_host.as_str(), self.host.as_deref()) {
            ("", None | Some("" | "localhost" | "127.0.0.1" | "::1")) => "localhost",
            ("", _) => "%",
            (host, _) => host,
        };
        let account = format!("{}@{}", self.sql_text(&self.user), self.sql_text(host));
        let word = |text: &str, usual: &str| -> String {
            let plain: String = text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if plain.is_empty() { usual.to_owned() } else { plain }
        };
        let name = self.sql_name(&self.name);
        let sql = format!(
            "SET SESSION sql_mode = '';\n\
             CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET {} COLLATE {};\n\
             CREATE USER IF NOT EXISTS {account} IDENTIFIED BY {};\n\
             GRANT ALL PRIVILEGES ON {name}.* TO {account};",
            word(&wanted.charset, "utf8mb4"),
            word(&wanted.collation, "utf8mb4_unicode_ci"),
            self.sql_text(self.password.as_deref().unwrap_or("")),
        );
        admin.execute("make the database", &sql)
    }

    fn make_postgres(&self, admin: &Connection, wanted: &Wanted) -> Result<()> {
        let mut session = admin.session()?;
        let is_there = |session: &mut super::Session, table: &str, column: &str, name: &str| -> Result<bool> {
            let sql = format!("SELECT count(*) FROM pg_catalog.{table} WHERE {column} = {}", admin.sql_text(name));
            Ok(session.value(&sql)?.is_some_and(|count| count != "0"))
        };
        if !is_there(&mut session, "pg_roles", "rolname", &self.user)? {
            let password = self.sql_text(self.password.as_deref().unwrap_or(""));
            let role = self.sql_name(&self.user);
            admin.execute("make the account", &format!("CREATE ROLE {role} LOGIN PASSWORD {password};"))?;
        }
        if !is_there(&mut session, "pg_database", "datname", &self.name)? {
            admin.execute_one("make the database", &self.create_database(wanted))?;
        }
        let inside = Connection { name: self.name.clone(), ..admin.clone() };
        let names = wanted.extensions.iter().filter_map(|it| it.split(' ').next()).filter(|name| *name != "plpgsql");
        let extensions: String =
            names.map(|name| format!("CREATE EXTENSION IF NOT EXISTS {};\n", self.sql_name(name))).collect();
        inside.execute("make the extensions", &extensions)
    }

    fn create_database(&self, wanted: &Wanted) -> String {
        let locale = |key: &str, value: &str| match value {
            "" => String::new(),
            value => format!(" {key} {}", self.sql_text(value)),
        };
        let encoding = if wanted.charset.is_empty() { "UTF8" } else { &wanted.charset };
        format!(
            "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING {}{}{};",
            self.sql_name(&self.name),
            self.sql_name(&self.user),
            self.sql_text(encoding),
            locale("LC_COLLATE", &wanted.collation),
            locale("LC_CTYPE", &wanted.ctype),
        )
    }
}
