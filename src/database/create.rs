//! A database that is gone, made anew, with its account: needs administrative access, which root has on a server of
//! this machine (MariaDB lets root in by the socket, PostgreSQL the user postgres), or which an option file gives.

use super::{Connection, Engine, ServerFacts, refusal};
use crate::error::{Fault, OrFault, Result, hint};
use crate::sys::privileges::Identity;
use serde::{Deserialize, Serialize};
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

/// Where the password is to be had.
const LOST_CONFIG: &str = "if that is lost, \"moodle-backup find config.php\" tells how to get it out of the backup";

/// What is missing of a database, and who can make it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Missing {
    admin: Connection,
    database: bool,
    account: bool,
    /// MariaDB: the host part of the account.
    host: String,
}

impl Missing {
    /// Whether the database itself is missing, and not its account alone.
    pub fn is_all(&self) -> bool {
        self.database
    }
}

impl Connection {
    /// What is missing of the database; `None` if it answers. An error if it does not and nothing is missing (a wrong
    /// password), or if that cannot be told. `admin` is an option file with an administrator's account (see
    /// [`Connection::options_file`]). Changes nothing.
    pub fn missing(&self, wanted: &Wanted, admin: Option<&Path>) -> Result<Option<Missing>> {
        let Err(refused) = self.session() else { return Ok(None) };
        let look = || -> Result<Missing> {
            let mut missing = Missing {
                admin: self.administrator(admin)?,
                database: false,
                account: false,
                host: self.account_host(wanted),
            };
            (missing.database, missing.account) = self.look_for(&missing)?;
            Ok(missing)
        };
        let missing = look().map_err(|error| self.not_made(error, &refused, wanted))?;
        if !missing.account && refusal::is_not_accepted(self.engine, &format!("{refused:#}")) {
            return Err(self.another_password(refused, &missing.host));
        }
        // The account may lack its rights only, which making it gives (MariaDB's error 1044).
        match missing.database || missing.account || format!("{refused:#}").contains("1044") {
            true => Ok(Some(missing)),
            false => Err(refused),
        }
    }

    /// What the server is, told by this account; or where that is not let in (any more), by its administrator, as in
    /// [`Connection::missing`].
    pub fn server_facts(&self, admin: Option<&Path>) -> Result<ServerFacts> {
        match self.session() {
            Ok(mut session) => session.facts(),
            // The first refusal is the one to be understood.
            Err(refused) => match self.administrator(admin).and_then(|admin| admin.session()?.facts()) {
                Ok(facts) => Ok(facts),
                Err(_) => Err(refused),
            },
        }
    }

    /// Makes what is missing.
    pub fn make(&self, missing: &Missing, wanted: &Wanted) -> Result<()> {
        let made = match self.engine {
            Engine::MariaDb => self.make_mariadb(missing, wanted),
            Engine::Postgres => self.make_postgres(missing, wanted),
        };
        made.map_err(|error| self.not_made(error, &anyhow::anyhow!(""), wanted))?;
        self.session().map(drop).or_fault(|| {
            Fault::unfit(format!("the {} was made, and still {} is not let in", self.title(), self.account())).hint(
                "compare how that account may log in (pg_hba.conf; the host part of a MariaDB account), and its password",
            )
        })
    }

    /// Takes back what [`Connection::make`] has made, as far as it came. Can be called again and again.
    pub fn unmake(&self, missing: &Missing) -> Result<()> {
        let what = "remove the database that was made";
        let name = self.sql_name(&self.name);
        match self.engine {
            Engine::MariaDb => {
                let account = self.sql_account(&missing.host);
                let database =
                    if missing.database { format!("DROP DATABASE IF EXISTS {name};\n") } else { String::new() };
                let account = if missing.account { format!("DROP USER IF EXISTS {account};") } else { String::new() };
                missing.admin.execute(what, &format!("{database}{account}"))
            }
            Engine::Postgres => {
                if missing.database {
                    let end = format!(
                        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname = {};",
                        self.sql_text(&self.name)
                    );
                    missing.admin.execute_one(what, &format!("{end}\nDROP DATABASE IF EXISTS {name};"))?;
                }
                match missing.account {
                    true => missing.admin.execute(what, &format!("DROP ROLE IF EXISTS {};", self.sql_name(&self.user))),
                    false => Ok(()),
                }
            }
        }
    }

    fn not_made(&self, error: anyhow::Error, refused: &anyhow::Error, wanted: &Wanted) -> anyhow::Error {
        if self.is_absent(&error) && self.is_absent(refused) {
            return self.no_server(error);
        }
        // What is wrong with the file that was named comes first.
        let first = hint(&error).map(|hint| format!("{hint}; or ")).unwrap_or_default();
        let advice = format!(
            "{first}make them by hand, as an administrator of the server, with dbpass of config.php ({LOST_CONFIG}) for the password: {}; \
             or name an administrator's account by --database-admin FILE{}",
            self.statements_by_hand(&self.account_host(wanted), wanted).join(" ").trim_end_matches(';'),
            hint(refused).map(|hint| format!("; the site's own account was refused ({hint})")).unwrap_or_default()
        );
        let words = format!("the {} is not there for {}, and cannot be made", self.title(), self.account());
        error.context(Fault::unfit(words).hint(advice))
    }

    /// Whose account it is, and who else uses it, only an administrator can know: its password is not changed unasked.
    fn another_password(&self, refused: anyhow::Error, host: &str) -> anyhow::Error {
        let words = format!("{} is there on the server of the {}, with another password", self.account(), self.title());
        refused.context(Fault::unfit(words).hint(format!(
            "if nobody else uses that account, as an administrator of the server, with dbpass of config.php ({LOST_CONFIG}): {}",
            self.set_password(host).trim_end_matches(';')
        )))
    }

    fn set_password(&self, host: &str) -> String {
        match self.engine {
            Engine::MariaDb => format!("ALTER USER {} IDENTIFIED BY '...';", self.sql_account(host)),
            Engine::Postgres => format!("ALTER ROLE {} PASSWORD '...';", self.sql_name(&self.user)),
        }
    }

    /// The same as [`Connection::statements`], for somebody who may have typed them before, with another password.
    fn statements_by_hand(&self, host: &str, wanted: &Wanted) -> Vec<String> {
        let mut statements = self.statements(host, wanted, "...");
        let made = statements.iter().position(|it| it.starts_with("CREATE USER ") || it.starts_with("CREATE ROLE "));
        statements.insert(made.map_or(0, |at| at + 1), self.set_password(host));
        statements
    }

    /// An error if no server answers where this database is to be, whoever asks; `admin` as in [`Connection::missing`].
    pub fn require_server(&self, admin: Option<&Path>) -> Result<()> {
        let absent = |error: &anyhow::Error| self.is_absent(error);
        let Err(refused) = self.session() else { return Ok(()) };
        match self.administrator(admin).and_then(|admin| admin.session()) {
            Err(error) if absent(&error) && absent(&refused) => Err(self.no_server(error)),
            _ => Ok(()),
        }
    }

    fn is_absent(&self, error: &anyhow::Error) -> bool {
        refusal::is_absent(self.engine, &format!("{error:#}"))
    }

    fn no_server(&self, error: anyhow::Error) -> anyhow::Error {
        let (service, package) = match self.engine {
            Engine::MariaDb => ("mariadb, or mysql if it is MySQL", "mariadb-server, or mysql-server"),
            Engine::Postgres => ("postgresql", "postgresql"),
        };
        let advice = format!(
            "start it (systemctl start {service}), or install it (apt install {package}); if it is elsewhere, correct {}",
            self.source_of_place()
        );
        let words = format!("no database server answers on {}, so the {} is not to be had", self.place(), self.title());
        error.context(Fault::unfit(words).hint(advice))
    }

    /// Whether database and account are missing.
    fn look_for(&self, missing: &Missing) -> Result<(bool, bool)> {
        let mut session = missing.admin.session()?;
        let (name, user) = (self.sql_text(&self.name), self.sql_text(&self.user));
        let (database, account) = match self.engine {
            Engine::MariaDb => (
                format!("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {name}"),
                format!(
                    "SELECT COUNT(*) FROM mysql.user WHERE User = {user} AND Host = {}",
                    self.sql_text(&missing.host)
                ),
            ),
            Engine::Postgres => (
                format!("SELECT count(*) FROM pg_catalog.pg_database WHERE datname = {name}"),
                format!("SELECT count(*) FROM pg_catalog.pg_roles WHERE rolname = {user}"),
            ),
        };
        let mut none = |sql: &str| -> Result<bool> { Ok(session.value(sql)?.is_none_or(|count| count == "0")) };
        Ok((none(&database)?, none(&account)?))
    }

    /// MariaDB: the host part of the account that is made.
    fn account_host(&self, wanted: &Wanted) -> String {
        match (wanted.user_host.as_str(), self.host.as_deref()) {
            ("", None | Some("" | "localhost" | "127.0.0.1" | "::1")) => "localhost",
            ("", _) => "%",
            (host, _) => host,
        }
        .to_owned()
    }

    fn sql_account(&self, host: &str) -> String {
        format!("{}@{}", self.sql_text(&self.user), self.sql_text(host))
    }

    /// Makes the database on a server that does not have it, as this administrator; and the account, if that is another.
    pub fn make_as(&self, admin: &Connection, wanted: &Wanted) -> Result<()> {
        let host = self.account_host(wanted);
        let missing = Missing { admin: admin.clone(), database: true, account: self.user != admin.user, host };
        match self.engine {
            Engine::MariaDb => self.make_mariadb(&missing, wanted),
            Engine::Postgres => self.make_postgres(&missing, wanted),
        }
    }

    /// The same server, as its administrator.
    pub(super) fn administrator(&self, options_file: Option<&Path>) -> Result<Connection> {
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

    fn make_mariadb(&self, missing: &Missing, wanted: &Wanted) -> Result<()> {
        let mut wanted = wanted.clone();
        // It is for tables that do not name theirs, as all of a dump do.
        if !wanted.collation.is_empty() && !missing.admin.session()?.knows(&wanted.collation) {
            wanted.collation.clear();
        }
        let statements = self.statements(&missing.host, &wanted, self.password.as_deref().unwrap_or(""));
        let sql = format!("SET SESSION sql_mode = '';\n{}", statements.join("\n"));
        missing.admin.execute("make the database", &sql)
    }

    /// What makes database, account and all that belongs to them, in this order.
    fn statements(&self, host: &str, wanted: &Wanted, password: &str) -> Vec<String> {
        let (name, password) = (self.sql_name(&self.name), self.sql_text(password));
        if self.engine == Engine::Postgres {
            let role = format!("CREATE ROLE {} LOGIN PASSWORD {password};", self.sql_name(&self.user));
            let extensions = self.create_extensions(wanted);
            let inside = (!extensions.is_empty()).then(|| format!("\\connect {name}"));
            return [role, self.create_database(wanted)].into_iter().chain(inside).chain(extensions).collect();
        }
        let account = self.sql_account(host);
        let word = |text: &str, usual: &str| -> String {
            let plain: String = text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if plain.is_empty() { usual.to_owned() } else { plain }
        };
        let (charset, collation) = (word(&wanted.charset, "utf8mb4"), word(&wanted.collation, "utf8mb4_unicode_ci"));
        vec![
            format!("CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET {charset} COLLATE {collation};"),
            format!("CREATE USER IF NOT EXISTS {account} IDENTIFIED BY {password};"),
            format!("GRANT ALL PRIVILEGES ON {name}.* TO {account};"),
        ]
    }

    fn make_postgres(&self, missing: &Missing, wanted: &Wanted) -> Result<()> {
        let admin = &missing.admin;
        if missing.account {
            let password = self.sql_text(self.password.as_deref().unwrap_or(""));
            let role = self.sql_name(&self.user);
            admin.execute("make the account", &format!("CREATE ROLE {role} LOGIN PASSWORD {password};"))?;
        }
        if missing.database {
            admin.execute_one("make the database", &self.create_database(wanted))?;
        }
        let inside = Connection { name: self.name.clone(), ..admin.clone() };
        inside.execute("make the extensions", &self.create_extensions(wanted).join("\n"))
    }

    fn create_extensions(&self, wanted: &Wanted) -> Vec<String> {
        let names = wanted.extensions.iter().filter_map(|it| it.split(' ').next()).filter(|name| *name != "plpgsql");
        names.map(|name| format!("CREATE EXTENSION IF NOT EXISTS {};", self.sql_name(name))).collect()
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
