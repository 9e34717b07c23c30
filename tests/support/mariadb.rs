//! A MariaDB server of one's own, on a socket and a loopback port.
//!
//! What both engines share is in `database`; nothing about Moodle here.

use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use nix::sys::signal::Signal;

use super::own_server::{OwnServer, make_data_folder};
use super::process::{Daemon, command_as, succeed, succeed_with_input};
use super::scratch::Scratch;
use super::template;

const USER: &str = "mysql";

/// A running server. Root of this machine is its root, by the socket.
pub struct MariaDb {
    own: OwnServer,
    /// More options of its command line.
    options: Vec<String>,
}

impl Deref for MariaDb {
    type Target = OwnServer;

    fn deref(&self) -> &OwnServer {
        &self.own
    }
}

impl MariaDb {
    /// A server of its own for one test.
    pub fn start() -> Arc<Self> {
        Self::start_in(Scratch::new(), false)
    }

    /// A server that is told something more, by options of its command line.
    pub fn start_with(options: &[&str]) -> Arc<Self> {
        let mut server = Self::without_start(Scratch::new(), false);
        server.options = options.iter().map(|option| (*option).to_owned()).collect();
        server.restart();
        Arc::new(server)
    }

    /// The same, with a self-signed certificate, for clients that want TLS.
    pub fn start_with_tls() -> Arc<Self> {
        Self::start_in(Scratch::new(), true)
    }

    /// The server that all tests of this process may share, if they leave it as it is.
    pub fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Arc<MariaDb>> = OnceLock::new();
        Arc::clone(SHARED.get_or_init(Self::start))
    }

    /// A server whose data lie in a folder of one's choice: for benches, on a file system of its own.
    pub fn start_in(scratch: Scratch, with_tls: bool) -> Arc<Self> {
        let server = Self::without_start(scratch, with_tls);
        server.restart();
        Arc::new(server)
    }

    fn without_start(scratch: Scratch, with_tls: bool) -> Self {
        let version = template::version_of(Path::new("mariadbd"));
        template::copy(&format!("mariadb-{version}"), &scratch.join("data"), initialise);
        MariaDb { own: OwnServer::new(scratch, USER, with_tls), options: Vec::new() }
    }

    /// Starts the server again on its data, after `kill`.
    pub fn restart(&self) {
        // Its socket is there only when it can answer.
        let answers = || UnixStream::connect(self.socket()).is_ok();
        self.start_by(|log| Daemon::start(&mut self.server_command(), Signal::SIGKILL, log, answers));
    }

    fn server_command(&self) -> Command {
        let mut command = command_as(USER, "mariadbd");
        command
            .arg("--no-defaults")
            .arg(option("--datadir", &self.join("data")))
            .arg(option("--socket", &self.socket()))
            .arg(option("--pid-file", &self.join("run/server.pid")))
            // A server that starts deletes the temporary tables of all others in the same folder.
            .arg(option("--tmpdir", &self.join("run")))
            .arg(format!("--port={}", self.port()))
            .args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--performance-schema=off"])
            .args(["--character-set-server=utf8mb4", "--collation-server=utf8mb4_unicode_ci"])
            .args(["--max-allowed-packet=64M", "--innodb-buffer-pool-size=256M", "--innodb-log-file-size=256M"])
            // The data are thrown away, so nothing waits for the disk, but what is committed survives the server's being
            // killed; and compressing well is not the point.
            .args(["--innodb-flush-log-at-trx-commit=2", "--skip-innodb-doublewrite", "--innodb-flush-method=nosync"])
            .arg("--innodb-compression-level=1");
        command.args(&self.options);
        if let Some(tls) = self.tls() {
            command.arg(option("--ssl-cert", &tls.certificate)).arg(option("--ssl-key", &tls.key));
        }
        command
    }

    pub fn socket(&self) -> PathBuf {
        self.join("run/db.sock")
    }

    /// Makes a database and a user that may do anything in it, by the socket and by TCP, and nothing elsewhere.
    pub fn create_database(&self, name: &str, user: &str, password: &str) {
        let user = quoted(user);
        let mut sql = format!("CREATE DATABASE {};\n", identifier(name));
        for host in ["localhost", "127.0.0.1"] {
            sql.push_str(&format!(
                "CREATE USER IF NOT EXISTS {user}@'{host}' IDENTIFIED BY {};\n\
                 GRANT ALL PRIVILEGES ON {}.* TO {user}@'{host}';\n",
                quoted(password),
                identifier(name).replace('_', "\\_").replace('%', "\\%"),
            ));
        }
        self.run_sql(None, &sql);
    }

    /// Runs statements as root and returns what the client prints: tab-separated, escaped, without a header.
    #[track_caller]
    pub fn run_sql(&self, database: Option<&str>, sql: &str) -> Vec<u8> {
        succeed_with_input(self.client().args(database), sql.as_bytes())
    }

    /// The client as root, in batch mode, without any settings of this machine.
    pub fn client(&self) -> Command {
        let mut command = Command::new("mariadb");
        command
            .args(["--no-defaults", "--user=root", "--batch", "--skip-column-names"])
            .args(["--default-character-set=utf8mb4", "--max-allowed-packet=1G"])
            .arg(option("--socket", &self.socket()));
        command
    }
}

fn initialise(data: &Path) {
    make_data_folder(data, USER);
    succeed(
        Command::new("mariadb-install-db")
            .args(["--no-defaults", "--user=mysql", "--skip-test-db", "--auth-root-authentication-method=socket"])
            // A small log, so that the template is copied quickly; the server makes it larger when it starts.
            .args(["--innodb-log-file-size=4M"])
            .arg(option("--datadir", data)),
    );
}

fn option(name: &str, path: &Path) -> String {
    format!("{name}={}", super::scratch::text(path))
}

/// Text as a literal of MariaDB's SQL.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A name as an identifier of MariaDB's SQL.
pub fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
