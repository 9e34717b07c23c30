//! MariaDB and MySQL: how their clients are told where to go and who we are, and what their dump client is asked for.
//! Holds what differs between the two families of clients; queries about the server are in `facts.rs` and `watch.rs`.

use super::client::{Client, Flavour};
use super::{Connection, Tables, Tls, options_file};
use crate::error::{Fault, Result};
use crate::sys::process::Program;
use std::path::Path;

/// Where Debian keeps the certificates it trusts; PHP uses the same when it verifies.
const TRUSTED_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The clients read option files in lines of 4096 bytes (mysys/my_default.c), escapes included.
const LONGEST_VALUE: usize = 1500;

/// How long a client waits for the server to answer at all.
const CONNECT_SECONDS: u32 = 10;

/// A client at `path`, told all that it must not have in its arguments.
pub fn program(connection: &Connection, path: &Path, flavour: Flavour) -> Result<Program> {
    let mut program = Program::new(path);
    if let Some(user) = connection.client_user() {
        program = program.user(user);
    }
    let (program, file) = program.secret_file(&option_file(connection, flavour)?)?;
    let mut argument = std::ffi::OsString::from("--defaults-file=");
    argument.push(file);
    // Must be the first argument.
    Ok(program.arg(argument))
}

/// The arguments of a client that answers queries on its standard input.
pub fn session_arguments(connection: &Connection) -> Vec<String> {
    // XML tells NULL from "NULL", and ends each answer; binary mode keeps backslashes from being commands.
    let fixed = "--xml --batch --quick --unbuffered --binary-mode --no-auto-rehash --default-character-set=utf8mb4";
    let mut arguments: Vec<String> = fixed.split(' ').map(str::to_owned).collect();
    arguments.push(format!("--connect-timeout={CONNECT_SECONDS}"));
    // A server can ask its clients for files of theirs.
    arguments.push("--local-infile=0".into());
    // A server may be set to take quotes and backslashes otherwise; the dump clients do the same for themselves.
    arguments.push("--init-command=SET SESSION sql_mode = ''".into());
    arguments.push(format!("--database={}", connection.name));
    arguments
}

/// The arguments of a client that runs the statements on its standard input.
pub fn load_arguments(connection: &Connection) -> Vec<String> {
    // With comments: those in the text of a routine belong to it.
    let fixed =
        "--batch --binary-mode --comments --no-auto-rehash --default-character-set=utf8mb4 --max-allowed-packet=1G";
    let mut arguments: Vec<String> = fixed.split(' ').map(str::to_owned).collect();
    arguments.push(format!("--connect-timeout={CONNECT_SECONDS}"));
    arguments.push(format!("--database={}", connection.name));
    arguments
}

/// The arguments of a dump; a trial asks each table for rows as a real dump does, but for none of them.
pub fn dump_arguments(connection: &Connection, client: &Client, tables: &Tables, trial: bool) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "--quick",
        "--no-tablespaces",
        "--hex-blob",
        "--comments",
        "--default-character-set=utf8mb4",
        "--max-allowed-packet=1G",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.extend(foreign_options(client.flavour));
    if trial {
        // Unlike --no-data this needs the privilege to read.
        arguments.push("--where=1=0".into());
    }
    match tables {
        Tables::Snapshot { but } => {
            arguments.extend(["--single-transaction".into(), "--skip-lock-tables".into()]);
            arguments.push(extra(client.extras.triggers, "triggers"));
            arguments.push(extra(client.extras.routines, "routines"));
            arguments.push(extra(client.extras.events, "events"));
            arguments.extend(but.iter().map(|table| format!("--ignore-table={}.{table}", connection.name)));
            arguments.extend(["--".into(), connection.name.clone()]);
        }
        Tables::Locked { only } => {
            arguments.extend(["--lock-tables".into(), "--skip-single-transaction".into()]);
            arguments.push(extra(client.extras.triggers, "triggers"));
            arguments.extend(["--".into(), connection.name.clone()]);
            arguments.extend(only.iter().cloned());
        }
    }
    arguments
}

fn extra(wanted: bool, name: &str) -> String {
    if wanted { format!("--{name}") } else { format!("--skip-{name}") }
}

/// What the dump client of MySQL is told beside. Neither is known to older clients; both would make a newer one ask for what
/// Moodle's account may not do.
fn foreign_options(flavour: Flavour) -> Vec<String> {
    match flavour {
        Flavour::MySql => vec!["--loose-column-statistics=0".into(), "--loose-set-gtid-purged=OFF".into()],
        _ => Vec::new(),
    }
}

/// What goes into the file in memory that a client reads first and only.
fn option_file(connection: &Connection, flavour: Flavour) -> Result<Vec<u8>> {
    let mut content = String::from("[client]\n");
    let mut set = |name: &str, value: &str| -> Result<()> {
        content.push_str(&format!("{name}={}\n", quote(value, name)?));
        Ok(())
    };
    if connection.options_file.is_none() {
        set("user", &connection.user)?;
        // An empty one keeps the client from asking.
        set("password", connection.password.as_deref().unwrap_or(""))?;
    }
    if let Some(host) = connection.host.as_deref().filter(|host| !host.is_empty()) {
        set("host", host)?;
    }
    if let Some(port) = connection.port {
        set("port", &port.to_string())?;
    }
    if let Some(socket) = &connection.socket {
        set("socket", &socket.to_string_lossy())?;
    }
    content.push_str(&tls_options(connection.tls, flavour));
    let mut content = content.into_bytes();
    if let Some(path) = &connection.options_file {
        content.extend_from_slice(&options_file::read(path)?);
        content.push(b'\n');
    }
    Ok(content)
}

/// MariaDB's clients from 11.4 on verify the certificate unless told not to; older ones encrypt where both can. MySQL's give a
/// password to a server without TLS only by its public key, which PHP asks for too.
fn tls_options(tls: Tls, flavour: Flavour) -> String {
    let trusted = match Path::new(TRUSTED_CERTIFICATES).exists() {
        true => format!("ssl-ca={TRUSTED_CERTIFICATES}\n"),
        false => String::new(),
    };
    match (flavour, tls) {
        (Flavour::MySql, Tls::Default | Tls::Prefer) => "ssl-mode=PREFERRED\nget-server-public-key\n".into(),
        (Flavour::MySql, Tls::Disable) => "ssl-mode=DISABLED\nget-server-public-key\n".into(),
        (Flavour::MySql, Tls::Require) => "ssl-mode=REQUIRED\n".into(),
        (Flavour::MySql, Tls::VerifyFull) => format!("ssl-mode=VERIFY_IDENTITY\n{trusted}"),
        (_, Tls::Default | Tls::Prefer) => "skip-ssl-verify-server-cert\n".into(),
        (_, Tls::Disable) => "skip-ssl\n".into(),
        (_, Tls::Require) => "ssl\nskip-ssl-verify-server-cert\n".into(),
        (_, Tls::VerifyFull) => format!("ssl\nssl-verify-server-cert\n{trusted}"),
    }
}

/// A value as the option files of the clients want it.
pub(super) fn quote(value: &str, name: &str) -> Result<String> {
    if value.contains('\0') || value.len() > LONGEST_VALUE {
        return Err(Fault::unfit(format!("the database {name} is too long or holds a NUL byte"))
            .hint("a database client cannot be given such a value; choose another")
            .into());
    }
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for letter in value.chars() {
        match letter {
            '"' | '\\' | '\'' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    Ok(quoted)
}

/// Text as a string in SQL.
pub fn sql_text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
