//! The base systems of Debian's releases, made once and kept between runs: what a server that hosts a site has installed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::succeed;

/// What each of them has, beside web server and database.
const COMMON: &str =
    "systemd,systemd-sysv,dbus,adduser,ca-certificates,curl,e2fsprogs,php-cli,php-mbstring,php-xml,procps,zstd";

/// To be raised when what a root has is to be another: the old ones are not used any more.
const EDITION: u32 = 2;

/// A release of Debian, with the web server and the database that its test has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// 11: Apache, MariaDB 10.5, PHP 7.4, systemd 247.
    Bullseye,
    /// 12: nginx, MariaDB 10.11, PHP 8.2, systemd 252.
    Bookworm,
    /// 13: nginx, PostgreSQL 17, PHP 8.4, systemd 257.
    Trixie,
    /// The same with MariaDB 11.8.
    TrixieWithMariaDb,
    /// The one that is never released, with nginx and MySQL, which no other has. It changes daily.
    SidWithMySql,
}

impl Release {
    /// As the archive calls it.
    pub fn suite(self) -> &'static str {
        match self {
            Release::Bullseye => "bullseye",
            Release::Bookworm => "bookworm",
            Release::Trixie | Release::TrixieWithMariaDb => "trixie",
            Release::SidWithMySql => "sid",
        }
    }

    /// What its root is called.
    fn name(self) -> String {
        let beside = match self {
            Release::Bullseye | Release::Bookworm | Release::Trixie => "",
            Release::TrixieWithMariaDb => "-mariadb",
            Release::SidWithMySql => "-mysql",
        };
        format!("{}{beside}", self.suite())
    }

    /// The unit of its web server.
    pub fn web_server(self) -> &'static str {
        match self {
            Release::Bullseye => "apache2.service",
            _ => "nginx.service",
        }
    }

    /// `mariadb`, `mysqli` or `pgsql`, as `$CFG->dbtype` has it.
    pub fn database(self) -> &'static str {
        match self {
            Release::Bullseye | Release::Bookworm | Release::TrixieWithMariaDb => "mariadb",
            Release::Trixie => "pgsql",
            Release::SidWithMySql => "mysqli",
        }
    }

    /// Whether its systemd knows nothing any more but one hierarchy of control groups for all.
    pub fn wants_one_hierarchy(self) -> bool {
        self == Release::SidWithMySql
    }

    fn packages(self) -> &'static str {
        match self {
            Release::Bullseye => "apache2,libapache2-mod-php,mariadb-client,mariadb-server,php-mysql",
            Release::Bookworm | Release::TrixieWithMariaDb => {
                "nginx-light,php-fpm,mariadb-client,mariadb-server,php-mysql"
            }
            Release::Trixie => "nginx-light,php-fpm,postgresql,postgresql-client,php-pgsql",
            Release::SidWithMySql => "nginx-light,php-fpm,mysql-client,mysql-server,php-mysql",
        }
    }

    /// The folder of its root, made if it is not there. Nothing may be changed in it.
    pub fn root(self) -> PathBuf {
        let folder = cache().join("roots");
        std::fs::create_dir_all(&folder).expect("a folder for the roots can be made");
        // Whoever else makes them waits here.
        let lock = File::create(folder.join(format!("{}.lock", self.name()))).expect("a lock can be made");
        lock.lock().expect("a lock can be taken");
        let root = folder.join(format!("{}-{EDITION}", self.name()));
        if !root.exists() {
            println!("making a root of Debian {} in {}", self.name(), root.display());
            self.make(&root);
        }
        root
    }

    fn make(self, root: &Path) {
        let new = root.with_extension("new");
        let _ = std::fs::remove_dir_all(&new);
        let packages = format!("--include={COMMON},{}", self.packages());
        let mut command = Command::new("mmdebstrap");
        command.args(["--quiet", "--variant=minbase", &packages]);
        if self == Release::SidWithMySql {
            // Its lists are good for a week, and a mirror may be behind by more; they are signed all the same.
            command.arg("--aptopt=Acquire::Check-Valid-Until \"false\"");
        }
        succeed(command.arg(self.suite()).arg(&new));
        std::fs::rename(&new, root).expect("a root gets its name");
    }
}

/// Where what is dear to make is kept: outside of the repository.
fn cache() -> PathBuf {
    let usual = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(usual, PathBuf::from).join("moodle-backup-tests")
}
