//! A PostgreSQL server of one's own, on a socket and a loopback port.
//!
//! What both engines share is in `database`; nothing about Moodle here.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use nix::sys::signal::Signal;

use super::own_server::{OwnServer, make_data_folder};
use super::process::{Daemon, command_as, succeed, succeed_with_input};
use super::scratch::{Scratch, text};
use super::template;

const USER: &str = "postgres";
/// The superuser's password: every way in asks for one.
const PASSWORD: &str = "the superuser's own";

/// A running server. Passwords are asked for everywhere; nobody is let in by the name of their account.
pub struct Postgres {
    own: OwnServer,
}

impl Deref for Postgres {
    type Target = OwnServer;

    fn deref(&self) -> &OwnServer {
        &self.own
    }
}

impl Postgres {
    /// A server of its own for one test.
    pub fn start() -> Arc<Self> {
        Self::start_in(Scratch::new(), false)
    }

    /// The same, with a self-signed certificate, for clients that want TLS.
    pub fn start_with_tls() -> Arc<Self> {
        Self::start_in(Scratch::new(), true)
    }

    /// The server that all tests of this process may share, if they leave it as it is.
    pub fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Arc<Postgres>> = OnceLock::new();
        Arc::clone(SHARED.get_or_init(Self::start))
    }

    /// A server whose data lie in a folder of one's choice: for benches, on a file system of its own.
    pub fn start_in(scratch: Scratch, with_tls: bool) -> Arc<Self> {
        let version = template::version_of(&program("postgres"));
        template::copy(&format!("postgres-{version}"), &scratch.join("data"), initialise);
        let server = Postgres { own: OwnServer::new(scratch, USER, with_tls) };
        server.restart();
        Arc::new(server)
    }

    /// Starts the server again on its data, after `kill`.
    pub fn restart(&self) {
        // The signal is the one for an immediate stop: the server's processes leave with it.
        let answers = || self.is_ready();
        self.start_by(|log| Daemon::start(&mut self.server_command(), Signal::SIGQUIT, log, answers));
    }

    /// Moves the server's log of changes to another file system, as careful administrators do: with no room for that the server
    /// could not go on at all.
    pub fn move_log_to(&self, folder: &Path) {
        self.kill();
        let (from, to) = (self.join("data/pg_wal"), folder.join("pg_wal"));
        succeed(Command::new("cp").arg("-a").arg(&from).arg(&to));
        std::fs::remove_dir_all(&from).expect("the log can be removed");
        std::os::unix::fs::symlink(&to, &from).expect("a link can be made");
        self.restart();
    }

    /// Lets the account `postgres` of this machine in by the socket without a password, as Debian does.
    pub fn trust_local_account(&self) {
        let rules = self.join("data/pg_hba.conf");
        let others = std::fs::read_to_string(&rules).expect("the rules can be read");
        std::fs::write(&rules, format!("local all postgres peer\n{others}")).expect("the rules can be written");
        self.run_sql(None, "SELECT pg_reload_conf();");
    }

    fn server_command(&self) -> Command {
        let mut command = command_as(USER, program("postgres"));
        command.arg("-D").arg(self.join("data"));
        command.current_dir("/");
        let mut set = |name: &str, value: &str| {
            command.arg("-c").arg(format!("{name}={value}"));
        };
        set("port", &self.port().to_string());
        set("listen_addresses", "127.0.0.1");
        set("unix_socket_directories", text(&self.socket_folder()));
        set("shared_buffers", "64MB");
        // The data are thrown away, so nothing waits for the disk, but what is committed survives a killed server.
        set("fsync", "off");
        set("full_page_writes", "off");
        set("synchronous_commit", "on");
        if let Some(tls) = self.tls() {
            set("ssl", "on");
            set("ssl_cert_file", text(&tls.certificate));
            set("ssl_key_file", text(&tls.key));
        }
        command
    }

    fn is_ready(&self) -> bool {
        let mut command = Command::new(program("pg_isready"));
        command.arg("--quiet").arg("--host").arg(self.socket_folder()).arg("--port").arg(self.port().to_string());
        command.stdin(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// The folder of the socket; its name ends in the port.
    pub fn socket_folder(&self) -> PathBuf {
        self.join("run")
    }

    /// Makes a user and a database that belongs to it.
    pub fn create_database(&self, name: &str, user: &str, password: &str) {
        let sql = format!(
            "CREATE ROLE {user} LOGIN PASSWORD {};\nCREATE DATABASE {} OWNER {user} TEMPLATE template0;\n",
            quoted(password),
            identifier(name),
            user = identifier(user),
        );
        self.run_sql(None, &sql);
    }

    /// Runs statements as the superuser and returns what the client prints: columns parted by the control character made
    /// for it, rows ended by zero bytes, as no text here can hold one.
    #[track_caller]
    pub fn run_sql(&self, database: Option<&str>, sql: &str) -> Vec<u8> {
        let mut command = self.client();
        command.arg("--dbname").arg(database.unwrap_or("postgres"));
        succeed_with_input(&mut command, sql.as_bytes())
    }

    /// The client as the superuser, stopping at the first error, without any settings of this machine.
    pub fn client(&self) -> Command {
        let mut command = Command::new(program("psql"));
        command
            .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"])
            .args(["--field-separator=\x1f", "--record-separator-zero", "--pset=null=NULL"])
            .args(["--username", USER, "--port", &self.port().to_string()])
            // Not by the socket: see trust_local_account.
            .args(["--host", "127.0.0.1"])
            .env("PGPASSWORD", PASSWORD)
            .env("PGCLIENTENCODING", "UTF8");
        command
    }
}

fn initialise(data: &Path) {
    make_data_folder(data, USER);
    // A file: the server's user could not open a pipe of ours.
    let password = data.with_extension("password");
    std::fs::write(&password, PASSWORD).expect("a file can be written");
    let mut command = command_as(USER, program("initdb"));
    command
        .args([
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "--wal-segsize=4",
            "--username",
            USER,
        ])
        .arg(format!("--pwfile={}", text(&password)))
        .arg("--pgdata")
        .arg(data)
        .current_dir("/");
    succeed(&mut command);
}

/// A program of the newest PostgreSQL that is installed; Debian keeps servers out of the usual path.
pub fn program(name: &str) -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL is installed")
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin").join(name))))
        .filter(|(_, path)| path.exists())
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| panic!("{name} of PostgreSQL is not installed")).1
}

/// Text as a literal of PostgreSQL's SQL.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name as an identifier of PostgreSQL's SQL.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
