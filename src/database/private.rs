//! A server of our own for a while, to try a dump out: started from the programs of this machine as an ordinary user, in a
//! folder that this user alone can enter, without a network. What is done with it is the caller's matter.

use super::client::{Flavour, flavour_of};
use super::{Connection, Engine, Tls, postgres};
use crate::error::{Fault, OrFault, Result};
use crate::sys::privileges::Identity;
use crate::sys::process::{self, Program, Running};
use crate::sys::signals;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long making an empty database folder may take, and the first start.
const MAKING: Duration = Duration::from_secs(300);
const STARTING: Duration = Duration::from_secs(120);
const INTERVAL: Duration = Duration::from_millis(100);

/// The administrator of a private server of PostgreSQL.
const SUPERUSER: &str = "administrator";
/// A port that is only part of the name of a socket.
const PORT: u16 = 5432;

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct PrivateServer {
    engine: Engine,
    folder: PathBuf,
    user: Identity,
    _running: Running,
}

impl PrivateServer {
    /// Makes and starts a server of this product, as a manifest names it, in this folder, which belongs to `user`. `major` is the
    /// version that PostgreSQL must have at least; 0 for any. Unfit if no such server's programs are installed.
    pub fn start(product: &str, major: u32, folder: &Path, user: &Identity) -> Result<Self> {
        let (engine, running) = match product {
            "mariadb" => (Engine::MariaDb, start_mariadb(folder, user)?),
            "mysql" => (Engine::MariaDb, start_mysql(folder, user)?),
            "postgresql" => (Engine::Postgres, start_postgres(major, folder, user)?),
            other => return Err(Fault::unfit(format!("dumps of {other} are not known to this version")).into()),
        };
        let server = PrivateServer { engine, folder: folder.to_path_buf(), user: user.clone(), _running: running };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// How to reach a database of this name there, as the server's administrator.
    pub fn connection(&self, name: &str) -> Connection {
        let (user, port, socket) = match self.engine {
            Engine::MariaDb => ("root", None, self.folder.join("socket")),
            Engine::Postgres => (SUPERUSER, Some(PORT), self.folder.clone()),
        };
        Connection {
            engine: self.engine,
            host: None,
            port,
            socket: Some(socket),
            user: user.into(),
            password: None,
            name: name.into(),
            schema: None,
            tls: Tls::Disable,
            options_file: None,
            run_as: Some(self.user.clone()),
        }
    }

    /// The same, to the database that is always there.
    pub fn administrator(&self) -> Connection {
        self.connection(match self.engine {
            Engine::MariaDb => "mysql",
            Engine::Postgres => "postgres",
        })
    }

    fn wait_until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + STARTING;
        loop {
            signals::check()?;
            match self.administrator().session() {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= deadline => {
                    return Err(error.context(Fault::unfit(format!(
                        "a private server of {} does not start: {}",
                        self.engine.name(),
                        last_words(&self.folder)
                    ))));
                }
                Err(_) => signals::wait(INTERVAL)?,
            }
        }
    }
}

/// The end of the server's log.
fn last_words(folder: &Path) -> String {
    let words = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    let lines: Vec<&str> = words.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("; ")
}

fn start_mariadb(folder: &Path, user: &Identity) -> Result<Running> {
    let missing = || {
        Fault::unfit("no MariaDB server is installed to try the dump out with")
            .hint("apt install mariadb-server (it need not run), or name an empty database by --scratch-database FILE")
    };
    let server = process::find(&["mariadbd", "mysqld"]).ok_or_else(missing)?;
    let install = process::find(&["mariadb-install-db", "mysql_install_db"]).ok_or_else(missing)?;
    if flavour_of(&server)? == Flavour::MySql {
        return Err(missing().into());
    }
    let option = |name: &str, path: &str| format!("--{name}={}", folder.join(path).display());
    Program::new(install)
        .user(user)
        .folder(folder)
        .args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"])
        .args(["--skip-name-resolve", "--innodb-log-file-size=16M"])
        .arg(option("datadir", "data"))
        .timeout(MAKING)
        .success()
        .or_fault(|| Fault::unfit("cannot make an empty MariaDB database"))?;
    serve(&server, folder, user).spawn()
}

fn start_mysql(folder: &Path, user: &Identity) -> Result<Running> {
    let by_hand = "name an empty database by --scratch-database FILE";
    let server = process::find(&["mysqld"]).map(|path| flavour_of(&path).map(|flavour| (path, flavour))).transpose()?;
    // MariaDB has a program of this name too.
    let (server, _) = server.filter(|(_, flavour)| *flavour == Flavour::MySql).ok_or_else(|| {
        Fault::unfit("no MySQL server is installed to try the dump out with")
            .hint(format!("apt install mysql-server (it need not run), or {by_hand}"))
    })?;
    serve(&server, folder, user).arg("--initialize-insecure").timeout(MAKING).success().or_fault(|| {
        let confined = "if AppArmor keeps mysqld from all but its usual folders";
        Fault::unfit(format!("cannot make an empty MySQL database: {}", last_words(folder)))
            .hint(format!("{confined}, {by_hand}"))
    })?;
    // Its usual folder for files may be missing, or not be entered by this user.
    serve(&server, folder, user).args(["--mysqlx=OFF", "--secure-file-priv=NULL"]).spawn()
}

/// A server of MariaDB or MySQL with its data in this folder.
fn serve(server: &Path, folder: &Path, user: &Identity) -> Program {
    let option = |name: &str, path: &str| format!("--{name}={}", folder.join(path).display());
    Program::new(server)
        .user(user)
        .folder(folder)
        .arg("--no-defaults")
        .args([
            option("datadir", "data"),
            option("socket", "socket"),
            option("pid-file", "pid"),
            option("log-error", "log"),
        ])
        .arg(option("tmpdir", ""))
        .args(["--skip-networking", "--skip-log-bin", "--max-allowed-packet=1G", "--innodb-buffer-pool-size=256M"])
        // Nobody misses these data after a power cut.
        .args(["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--innodb-strict-mode=OFF"])
}

fn start_postgres(major: u32, folder: &Path, user: &Identity) -> Result<Running> {
    let found = postgres::versioned("initdb").into_iter().find(|(version, _)| *version >= major);
    let (_, initdb) = found.ok_or_else(|| {
        let version = if major == 0 { String::new() } else { format!("-{major}") };
        Fault::unfit("no PostgreSQL server of the dump's version is installed to try it out with").hint(format!(
            "apt install postgresql{version} (it need not run), or name an empty database by --scratch-database FILE"
        ))
    })?;
    let data = folder.join("data");
    Program::new(&initdb)
        .user(user)
        .folder(folder)
        .args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--username", SUPERUSER, "--pgdata"])
        .arg(&data)
        .timeout(MAKING)
        .success()
        .or_fault(|| Fault::unfit("cannot make an empty PostgreSQL database"))?;
    let set = |name: &str, value: &str| ["-c".to_owned(), format!("{name}={value}")];
    Program::new(initdb.with_file_name("postgres"))
        .user(user)
        .folder(folder)
        .arg("-D")
        .arg(&data)
        .args(set("unix_socket_directories", &folder.display().to_string()))
        .args(set("listen_addresses", ""))
        .args(set("port", &PORT.to_string()))
        .args(set("logging_collector", "off"))
        .args(set("shared_buffers", "128MB"))
        .args(set("maintenance_work_mem", "128MB"))
        .args(set("max_locks_per_transaction", "256"))
        // Nobody misses these data after a power cut.
        .args(set("fsync", "off"))
        .args(set("full_page_writes", "off"))
        .spawn()
}
