//! Databases: who answers where, how to ask it things, and how it is dumped. This file holds the one description of
//! a database that everything below shares; it decides nothing about when to dump or whether to try again.

mod aside;
mod client;
mod collations;
mod create;
mod dump;
pub mod excerpt;
mod execute;
mod facts;
mod grants;
mod load;
mod mariadb;
mod objects;
mod options_file;
mod postgres;
mod private;
mod programs;
mod pump;
mod refusal;
mod rights;
mod rows;
mod same;
pub mod scanner;
mod session;
pub mod table;
pub mod uploads;
mod watch;

pub use aside::{ASIDE, Aside};
pub use client::{Client, EVENTS, Extras, ROUTINES};
pub use create::{Missing, Wanted};
pub use dump::{Dump, DumpFailure, Dumped, Order, Tables};
pub use facts::ServerFacts;
pub use load::Replaced;
pub use private::PrivateServer;
pub use programs::{Defined, Scope};
pub use scanner::{FilesTable, Scanned};
pub use session::Session;
pub use watch::{Blocked, Work};

use crate::error::{Fault, Result};
use crate::sys::privileges::Identity;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// The families of databases that can be backed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Engine {
    /// MariaDB, MySQL and what speaks like them.
    MariaDb,
    /// PostgreSQL.
    Postgres,
}

impl Engine {
    /// The engine that Moodle's `$CFG->dbtype` names (lib/dml/*_native_moodle_database.php).
    pub fn from_dbtype(dbtype: &str) -> Result<Self> {
        match dbtype {
            "mysqli" | "mariadb" | "auroramysql" => Ok(Engine::MariaDb),
            "pgsql" => Ok(Engine::Postgres),
            other => Err(Fault::unfit(format!("databases of the type {other:?} cannot be backed up"))
                .hint("the types that can be: mariadb, mysqli, auroramysql, pgsql")
                .into()),
        }
    }

    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Engine::MariaDb => "MariaDB or MySQL",
            Engine::Postgres => "PostgreSQL",
        }
    }
}

/// How the connection is protected on its way: Moodle's `$CFG->dboptions['ssl']` (config-dist.php since 4.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tls {
    /// Nothing is said: encrypted where both sides can, not verified.
    #[default]
    Default,
    /// Never.
    Disable,
    /// As `Default`, but said.
    Prefer,
    /// Always encrypted, the certificate not verified.
    Require,
    /// Always encrypted, certificate and host name verified.
    VerifyFull,
}

impl Tls {
    /// The meaning of Moodle's word; an empty one means nothing is said.
    pub fn from_moodle(word: &str) -> Result<Self> {
        match word {
            "" => Ok(Tls::Default),
            "disable" => Ok(Tls::Disable),
            "prefer" => Ok(Tls::Prefer),
            "require" => Ok(Tls::Require),
            "verify-full" => Ok(Tls::VerifyFull),
            other => Err(Fault::unfit(format!("the database option ssl = {other:?} in config.php is not known"))
                .hint("Moodle knows disable, prefer, require and verify-full")
                .into()),
        }
    }
}

/// A database and the account to reach it with. Written down only where root alone can read it: it has the password.
#[derive(Clone, Serialize, Deserialize)]
pub struct Connection {
    /// What kind of server it is.
    pub engine: Engine,
    /// Name or address; `None` (or `localhost`, for MariaDB) means this machine's socket.
    pub host: Option<String>,
    /// TCP port; with PostgreSQL also the number in the socket's name.
    pub port: Option<u16>,
    /// MariaDB: the socket itself. PostgreSQL: the folder that holds it; it goes before `host`.
    pub socket: Option<PathBuf>,
    /// The account of Moodle; also the one whose work `active_work` looks for.
    pub user: String,
    /// Its password.
    pub password: Option<String>,
    /// Name of the database.
    pub name: String,
    /// PostgreSQL: the schema that holds Moodle's tables, if config.php names one.
    pub schema: Option<String>,
    /// Encryption.
    pub tls: Tls,
    /// A file with another account for the dump, in place of `user` and `password`: an option file of the MariaDB
    /// clients, or a `pg_service.conf` of PostgreSQL whose first section counts. What it says goes before the rest, which
    /// must not come from config.php then: see [`Connection::by_options_file`].
    pub options_file: Option<PathBuf>,
    /// The user of this machine as whom the clients run, so that a server that looks at it (`unix_socket`, `peer`) lets
    /// them in as it lets Moodle in. With `options_file` they run as the caller, that is root.
    pub run_as: Option<Identity>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("engine", &self.engine)
            .field("place", &self.place())
            .field("account", &self.account())
            .field("password", &self.password.as_ref().map(|_| "(not shown)"))
            .field("name", &self.name)
            .field("schema", &self.schema)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Where the server is, in words.
    pub fn place(&self) -> String {
        let port = self.port.map(|port| format!(" port {port}")).unwrap_or_default();
        match (&self.socket, self.host.as_deref()) {
            (Some(socket), _) if self.uses_socket() => format!("{}{port}", socket.display()),
            (_, Some(host)) => format!("{host}{port}"),
            (_, None) => format!("localhost{port}"),
        }
    }

    /// Who connects, in words.
    pub fn account(&self) -> String {
        match &self.options_file {
            Some(path) => format!("the account in {}", path.display()),
            None => format!("user {:?}", self.user),
        }
    }

    /// The database and its place, in words.
    pub fn title(&self) -> String {
        format!("database {:?} on {}", self.name, self.place())
    }

    /// What is to be corrected where the server is not where this says, in words.
    fn source_of_place(&self) -> String {
        match &self.options_file {
            Some(path) => format!("host, port and socket in {}", path.display()),
            None => "dbhost and the port or socket in config.php".into(),
        }
    }

    /// A MariaDB client (and PHP) takes the socket only where the host is this one by that very name.
    fn uses_socket(&self) -> bool {
        match self.engine {
            Engine::MariaDb => matches!(self.host.as_deref(), None | Some("" | "localhost")),
            Engine::Postgres => true,
        }
    }

    /// As whom clients run; `None` means as the caller.
    fn client_user(&self) -> Option<&Identity> {
        self.run_as.as_ref().filter(|_| self.options_file.is_none())
    }
}
