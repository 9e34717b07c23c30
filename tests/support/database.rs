//! What the two engines have in common for a test: a server, and a database on it with its own user.
//!
//! How each engine is started and spoken to is in `mariadb` and `postgres`.

use std::sync::Arc;

use nix::sys::signal::Signal;

use super::mariadb::{self, MariaDb};
use super::postgres::{self, Postgres};

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    MariaDb,
    Postgres,
}

impl Engine {
    /// Both, for tests that loop.
    pub const ALL: [Engine; 2] = [Engine::MariaDb, Engine::Postgres];
}

/// How the site reaches its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connect {
    Socket,
    Tcp,
    /// TCP with `ssl` set to `require`; the server has to be started with TLS.
    Tls,
}

/// A server of either engine.
#[derive(Clone)]
pub enum Server {
    MariaDb(Arc<MariaDb>),
    Postgres(Arc<Postgres>),
}

impl Server {
    /// The server that all tests of this process share.
    pub fn shared(engine: Engine) -> Self {
        match engine {
            Engine::MariaDb => Server::MariaDb(MariaDb::shared()),
            Engine::Postgres => Server::Postgres(Postgres::shared()),
        }
    }

    /// A server that is nobody else's: to kill, to freeze, to restore into.
    pub fn start(engine: Engine) -> Self {
        match engine {
            Engine::MariaDb => Server::MariaDb(MariaDb::start()),
            Engine::Postgres => Server::Postgres(Postgres::start()),
        }
    }

    pub fn engine(&self) -> Engine {
        match self {
            Server::MariaDb(_) => Engine::MariaDb,
            Server::Postgres(_) => Engine::Postgres,
        }
    }

    pub fn port(&self) -> u16 {
        match self {
            Server::MariaDb(server) => server.port(),
            Server::Postgres(server) => server.port(),
        }
    }

    /// The lines of a client's option file or service file that say where it is.
    pub fn option_lines(&self) -> String {
        match self {
            Server::MariaDb(server) => format!("socket={}\n", server.socket().display()),
            Server::Postgres(server) => format!("host={}\nport={}\n", server.socket_folder().display(), server.port()),
        }
    }

    /// Ends the server at once, as a crash would.
    pub fn kill(&self) {
        match self {
            Server::MariaDb(server) => server.kill(),
            Server::Postgres(server) => server.kill(),
        }
    }

    /// Starts it again on its data.
    pub fn restart(&self) {
        match self {
            Server::MariaDb(server) => server.restart(),
            Server::Postgres(server) => server.restart(),
        }
    }

    /// Makes it hang: connections stay, and nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        match self {
            Server::MariaDb(server) => server.signal(signal),
            Server::Postgres(server) => server.signal(signal),
        }
    }

    /// Makes an empty database with its user; any text will do for each.
    pub fn create_database(&self, name: &str, user: &str, password: &str) -> Database {
        match self {
            Server::MariaDb(server) => server.create_database(name, user, password),
            Server::Postgres(server) => server.create_database(name, user, password),
        }
        self.database(name, user, password)
    }

    /// A database that is there already.
    pub fn database(&self, name: &str, user: &str, password: &str) -> Database {
        Database { server: self.clone(), name: name.into(), user: user.into(), password: password.into() }
    }
}

/// A database and the account that its site uses.
#[derive(Clone)]
pub struct Database {
    pub server: Server,
    pub name: String,
    pub user: String,
    pub password: String,
}

impl Database {
    /// Takes the database and its account away, as a disaster would.
    pub fn lose(&self) {
        let admin =
            self.server.database(if self.server.engine() == Engine::MariaDb { "mysql" } else { "postgres" }, "", "");
        let (name, user) = (admin.identifier(&self.name), admin.identifier(&self.user));
        match self.server.engine() {
            Engine::MariaDb => admin
                .query(&format!("DROP DATABASE {name}; DROP USER {user}@'localhost'; DROP USER {user}@'127.0.0.1'")),
            Engine::Postgres => admin.query(&format!("DROP DATABASE {name} WITH (FORCE);\nDROP ROLE {user}")),
        };
    }

    /// Runs statements as the server's administrator; the rows of the last ones as text, NULL as `NULL`.
    #[track_caller]
    pub fn query(&self, sql: &str) -> Vec<Vec<String>> {
        let table = self.query_bytes(sql);
        let text = |cell: &Vec<u8>| String::from_utf8_lossy(cell).into_owned();
        table.iter().map(|row| row.iter().map(text).collect()).collect()
    }

    /// The same, byte by byte.
    #[track_caller]
    pub fn query_bytes(&self, sql: &str) -> Vec<Vec<Vec<u8>>> {
        match &self.server {
            Server::MariaDb(server) => {
                let output = server.run_sql(Some(&self.name), sql);
                split(&output, b'\n', b'\t').map(|row| row.map(unescaped).collect()).collect()
            }
            Server::Postgres(server) => {
                let output = server.run_sql(Some(&self.name), sql);
                split(&output, 0, 0x1f).map(|row| row.map(<[u8]>::to_vec).collect()).collect()
            }
        }
    }

    /// The first column of the first row, or an empty text.
    #[track_caller]
    pub fn value(&self, sql: &str) -> String {
        self.query(sql).into_iter().flatten().next().unwrap_or_default()
    }

    /// A name as an identifier of this engine's SQL.
    pub fn identifier(&self, name: &str) -> String {
        match self.server {
            Server::MariaDb(_) => mariadb::identifier(name),
            Server::Postgres(_) => postgres::identifier(name),
        }
    }
}

/// Rows and cells of a client's output; no output is no row.
fn split(output: &[u8], row_end: u8, cell_end: u8) -> impl Iterator<Item = impl Iterator<Item = &[u8]>> {
    let output = output.strip_suffix(&[row_end]).unwrap_or(output);
    let rows = (!output.is_empty()).then(|| output.split(move |byte| *byte == row_end));
    rows.into_iter().flatten().map(move |row| row.split(move |byte| *byte == cell_end))
}

/// Takes back what MariaDB's client does to keep one row on one line.
fn unescaped(cell: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(cell.len());
    let mut bytes = cell.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(b'0') => 0,
                Some(&other) => other,
                None => b'\\',
            },
            byte => byte,
        });
    }
    plain
}
