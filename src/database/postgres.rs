//! PostgreSQL: how its clients are told where to go and who we are, where they are installed, and what `pg_dump` is
//! asked for. Queries about the server are in `facts.rs` and `watch.rs`.

use super::client::Client;
use super::{ASIDE, Connection, Tls, options_file};
use crate::error::{Fault, Result};
use crate::sys::process::Program;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// What our connections call themselves, so that we can tell them from the site's.
pub const APPLICATION: &str = "moodle-backup";

/// What the connections call themselves by which a dump is loaded.
pub const LOAD_APPLICATION: &str = "moodle-backup load";

/// How the names begin that the connections of dumps call themselves.
pub const DUMP_APPLICATION: &str = "moodle-backup dump ";

/// A name for the connection of one dump, which no other dump on this machine has.
pub fn dump_application() -> String {
    static DUMPS: AtomicU32 = AtomicU32::new(0);
    let number = DUMPS.fetch_add(1, Ordering::Relaxed);
    format!("{DUMP_APPLICATION}{}.{number}", std::process::id())
}

/// How long a client waits for the server to answer at all.
const CONNECT_SECONDS: &str = "10";

/// Folders of clients that carry their major version in their path: Debian's and Red Hat's.
const VERSIONED_FOLDERS: [(&str, &str); 2] = [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")];

/// A client at `path`, told all that it must not have in its arguments. The secrets are in files in memory, the rest
/// in the environment, where a database name with `=` in it is not taken for a connection string.
pub fn program(connection: &Connection, path: &Path, application: &str) -> Result<Program> {
    let mut program = Program::new(path).env("PGAPPNAME", application).env("PGCONNECT_TIMEOUT", CONNECT_SECONDS);
    if let Some(user) = connection.client_user() {
        program = program.user(user);
    }
    program = program.env("PGDATABASE", &connection.name);
    let host = connection.socket.as_deref().map(Path::as_os_str).or(connection.host.as_deref().map(str::as_ref));
    if let Some(host) = host.filter(|host| !host.is_empty()) {
        program = program.env("PGHOST", host);
    }
    if let Some(port) = connection.port {
        program = program.env("PGPORT", port.to_string());
    }
    if let Some(mode) = ssl_mode(connection.tls) {
        program = program.env("PGSSLMODE", mode);
    }
    if let Some(path) = &connection.options_file {
        let content = options_file::read(path)?;
        let service = first_section(&content).ok_or_else(|| {
            Fault::unfit(format!("the database options file {} has no section", path.display()))
                .hint("it is a pg_service.conf: a line [dump], then lines like user=… and password=…")
        })?;
        let (program, file) = program.secret_file(&content)?;
        return Ok(program.env("PGSERVICEFILE", file).env("PGSERVICE", service));
    }
    program = program.env("PGUSER", &connection.user);
    if let Some(password) = connection.password.as_deref().filter(|password| !password.is_empty()) {
        let (with_file, file) = program.secret_file(password_file(password)?.as_bytes())?;
        program = with_file.env("PGPASSFILE", file);
    }
    Ok(program)
}

/// The arguments of a client that answers queries on its standard input.
pub fn session_arguments() -> Vec<String> {
    let fixed = "--no-psqlrc --quiet --no-align --tuples-only --no-password --set=ON_ERROR_STOP=1";
    fixed.split(' ').map(str::to_owned).collect()
}

/// The arguments of a dump; a trial reads no rows, but takes the same locks, which needs the privilege to read.
///
/// Owners, grants, tablespaces and replication belong to the server and not to the site: without them the dump can be
/// loaded by any role into an empty database; the manifest keeps owner and grants.
pub fn dump_arguments(client: &Client, trial: bool) -> Vec<String> {
    let fixed = "--format=plain --no-password --no-owner --no-privileges --no-tablespaces --no-security-labels \
                 --no-publications --no-subscriptions";
    let mut arguments: Vec<String> = fixed.split_whitespace().map(str::to_owned).collect();
    arguments.push(format!("--exclude-schema={ASIDE}*"));
    if !client.extras.comments {
        arguments.push("--no-comments".into());
    }
    if trial {
        arguments.push("--schema-only".into());
    }
    arguments
}

fn ssl_mode(tls: Tls) -> Option<&'static str> {
    match tls {
        Tls::Default => None,
        Tls::Disable => Some("disable"),
        Tls::Prefer => Some("prefer"),
        Tls::Require => Some("require"),
        Tls::VerifyFull => Some("verify-full"),
    }
}

/// A password file for this one connection; its syntax is that of `~/.pgpass`.
fn password_file(password: &str) -> Result<String> {
    if password.contains(['\n', '\r', '\0']) {
        return Err(Fault::unfit("the database password holds a line break or a NUL byte")
            .hint("PostgreSQL's clients cannot be given such a password from a file; choose another")
            .into());
    }
    Ok(format!("*:*:*:*:{}\n", password.replace('\\', "\\\\").replace(':', "\\:")))
}

/// The name of the first section of an ini file.
fn first_section(content: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(content);
    let heading = text.lines().map(str::trim).find(|line| line.starts_with('['))?;
    let name = heading.strip_prefix('[')?.strip_suffix(']')?;
    Some(name.to_owned())
}

/// All installed clients of this name whose path tells their major version, oldest first. `/usr/bin/pg_dump` of Debian
/// is a script that chooses one of them by rules of its own, and takes longer to start.
pub fn versioned(name: &str) -> Vec<(u32, PathBuf)> {
    let mut found: Vec<(u32, PathBuf)> = VERSIONED_FOLDERS
        .iter()
        .flat_map(|(folder, prefix)| {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.filter_map(move |entry| {
                let major = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
                let path = entry.path().join("bin").join(name);
                path.is_file().then_some((major, path))
            })
        })
        .collect();
    found.sort();
    found
}

/// Text as a string in SQL.
pub fn sql_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
