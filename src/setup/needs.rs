//! The programs that backups and restores of a site need, and the packages of this release that have them. Installing them is
//! here too; whether to is asked elsewhere.

use super::disks::{FileSystem, Way};
use crate::database::{Engine, ServerFacts};
use crate::error::{Fault, OrFault, Result};
use crate::preflight::Site;
use crate::sys::log::Log;
use crate::sys::process::{Program, find};
use std::time::Duration;

/// Packages may be large, and the archive slow.
const LIMIT: Duration = Duration::from_secs(1800);
const QUESTION: Duration = Duration::from_secs(30);

/// The package with the clients of the PostgreSQL that this release has.
const USUAL_POSTGRES: &str = "postgresql-client";

/// Something that should be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The program, or the extension of PHP.
    pub what: String,
    /// The package that has it.
    pub package: String,
    /// What it is for.
    pub why: &'static str,
    /// Whether no backup can be made without it.
    pub required: bool,
}

/// What is missing. Without a site, because it cannot be read, only what every site needs is looked for.
pub fn missing(site: Option<&Site>, way: Option<&Way>) -> Vec<Need> {
    let mut missing: Vec<Need> = site.and_then(dump_client).into_iter().collect();
    let mut program = |names: &[&str], package: String, why: &'static str, required: bool| {
        if find(names).is_none() {
            missing.push(Need { what: names[0].to_owned(), package, why, required });
        }
    };
    let own_php = site.is_some_and(|site| site.php.program().exists());
    if !own_php {
        program(&["php"], "php-cli".into(), "it reads config.php", true);
    }
    if site.is_some_and(|site| site.layout.root.join(".git").exists()) {
        program(&["git"], "git".into(), "it tells how the code differs from its commit", false);
    }
    program(&["zstd"], "zstd".into(), "a restore by hand unpacks with it", false);
    missing.extend(way.map(tools_for).unwrap_or_default());
    missing.extend(site.map(extensions).unwrap_or_default());
    missing
}

/// What is missing to make the place for the backups ready.
pub fn tools_for(way: &Way) -> Vec<Need> {
    match way {
        Way::Folder { .. } | Way::Mounted { .. } | Way::Mount { .. } => Vec::new(),
        Way::Format { file_system, .. } => tools(*file_system, false),
        Way::Partition { file_system, .. } => tools(*file_system, true),
    }
}

/// What is missing to make a file system, and the partition for it where that is made too.
pub fn tools(file_system: FileSystem, in_partition: bool) -> Vec<Need> {
    let partition = in_partition.then_some(("sfdisk", "fdisk", "it makes a partition"));
    let wanted = partition.into_iter().chain([mkfs(file_system)]);
    let missing = wanted.filter(|(program, ..)| find(&[program]).is_none());
    missing
        .map(|(what, package, why)| Need { what: what.into(), package: package.into(), why, required: true })
        .collect()
}

/// The program that makes a file system, its package, and what it is for.
fn mkfs(file_system: FileSystem) -> (&'static str, &'static str, &'static str) {
    let (program, package) = match file_system {
        FileSystem::Ext4 => ("mkfs.ext4", "e2fsprogs"),
        FileSystem::Xfs => ("mkfs.xfs", "xfsprogs"),
        FileSystem::Btrfs => ("mkfs.btrfs", "btrfs-progs"),
    };
    (program, package, "it makes the file system")
}

/// The program that dumps, where the run would find none that is fit for the server.
fn dump_client(site: &Site) -> Option<Need> {
    let connection = &site.connection;
    let told = || connection.session().and_then(|mut session| session.facts()).unwrap_or_default();
    // MariaDB's client may be of any version, so its server is asked only if the package's name is wanted.
    let server = match connection.engine {
        Engine::MariaDb => ServerFacts::default(),
        Engine::Postgres => told(),
    };
    connection.check_client(&server).err()?;
    let (what, package) = match (connection.engine, server.major) {
        (Engine::MariaDb, _) if told().product == "mysql" => ("mysqldump".into(), "default-mysql-client".into()),
        (Engine::MariaDb, _) => ("mariadb-dump".into(), "mariadb-client".into()),
        // It does not answer.
        (Engine::Postgres, 0) => ("pg_dump".into(), USUAL_POSTGRES.into()),
        (Engine::Postgres, major) => (format!("pg_dump {major} or newer"), postgres_package(major)),
    };
    Some(Need { what, package, why: "it dumps the database", required: true })
}

/// The package with the clients for a server of this version.
fn postgres_package(major: u32) -> String {
    let versioned = format!("postgresql-client-{major}");
    // That of the release follows the server that the release has: `15+248+deb12u2`.
    let newest = || version_of(USUAL_POSTGRES)?.split('+').next()?.parse::<u32>().ok();
    let too_old = || newest().is_some_and(|newest| newest < major);
    if version_of(&versioned).is_some() || too_old() { versioned } else { USUAL_POSTGRES.into() }
}

/// The version that this release has of a package; of several the newest.
fn version_of(package: &str) -> Option<String> {
    let shown = Program::new("apt-cache").args(["show", package]).timeout(QUESTION).success().ok()?;
    shown.text().lines().find_map(|line| line.strip_prefix("Version: ")).map(str::to_owned)
}

/// PHP extensions with which Moodle's own command line runs: for the checks after a restore.
fn extensions(site: &Site) -> Vec<Need> {
    let Ok(php) = site.php.loaded() else { return Vec::new() };
    let database = match site.connection.engine {
        Engine::MariaDb => "mysqli",
        Engine::Postgres => "pgsql",
    };
    let missing = [database, "dom", "mbstring"].into_iter().filter(|name| !php.has(name));
    let need = |name: &str| {
        Some(Need {
            what: format!("PHP's extension {name}"),
            package: php.package(name)?,
            why: "Moodle's own command line needs it, for the checks after a restore",
            required: false,
        })
    };
    missing.filter_map(need).collect()
}

/// The packages, each once.
pub fn packages(needs: &[Need]) -> Vec<String> {
    let mut packages: Vec<String> = needs.iter().map(|need| need.package.clone()).collect();
    packages.sort();
    packages.dedup();
    packages
}

/// The command that installs them.
pub fn command(packages: &[String]) -> String {
    let versioned = packages.iter().any(|package| package.starts_with("postgresql-client-"));
    let elsewhere = if versioned { " (from apt.postgresql.org if your release lacks it)" } else { "" };
    format!("apt install {}{elsewhere}", packages.join(" "))
}

/// Installs packages.
pub fn install(packages: &[String], log: &Log) -> Result<()> {
    log.info(format!("installing {}", packages.join(", ")));
    let apt = |arguments: &[&str]| {
        Program::new("apt-get")
            .args(["-y", "-q", "-o", "Dpkg::Options::=--force-confold", "-o", "Dpkg::Options::=--force-confdef"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .timeout(LIMIT)
    };
    let wanted: Vec<&str> = packages.iter().map(String::as_str).collect();
    let install = [&["install", "--no-install-recommends"], wanted.as_slice()].concat();
    if apt(&install).success().is_ok() {
        return Ok(());
    }
    // The lists of packages may be old, or not there yet.
    let _ = apt(&["update"]).output();
    apt(&install).success().map(drop).or_fault(|| {
        Fault::failed(format!("apt could not install {}", packages.join(", ")))
            .hint(format!("try it by hand: {}", command(packages)))
    })
}
