//! The program that dumps: found, of the right kind and version, and tried out with the very options of the
//! real dump. Starts no real dump: that is `dump.rs`.

use super::scanner::{Scanned, Scanner};
use super::{Connection, Engine, ServerFacts, Tables, mariadb, postgres, refusal};
use crate::error::{Fault, Result};
use crate::sys::process::{self, Output, Program};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the trial may take: it locks nothing away from others, but may wait behind a lock.
const TRIAL_LIMIT: Duration = Duration::from_secs(120);

/// How long a program may take to tell its version.
const VERSION_LIMIT: Duration = Duration::from_secs(20);

/// Stored routines, among what a dump is without.
pub const ROUTINES: &str = "routines";

/// Scheduled events, among what a dump is without.
pub const EVENTS: &str = "events";

/// Whose client it is: they understand different options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// MariaDB's.
    MariaDb,
    /// MySQL's.
    MySql,
    /// PostgreSQL's.
    Postgres,
}

/// What a dump holds beside tables, as far as the account may read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extras {
    /// Stored routines (MariaDB; always there with PostgreSQL).
    pub routines: bool,
    /// Scheduled events (MariaDB).
    pub events: bool,
    /// Triggers (MariaDB; always there with PostgreSQL).
    pub triggers: bool,
    /// Comments (PostgreSQL; always there with MariaDB). Left out where an extension belongs to somebody else: only its
    /// owner may comment it, so that loading the dump would stop there.
    pub comments: bool,
}

/// A dump client that is fit for a server.
#[derive(Clone, Debug)]
pub struct Client {
    /// The program.
    pub path: PathBuf,
    /// Whose it is.
    pub flavour: Flavour,
    /// What it says of its version.
    pub version: String,
    /// What it is asked for.
    pub extras: Extras,
}

impl Client {
    /// What its dumps are without, that others have, by the words of the manifest.
    pub fn left_out(&self) -> Vec<String> {
        let all = [(self.extras.routines, ROUTINES), (self.extras.events, EVENTS)];
        let left_out = all.into_iter().filter(|(has, _)| !has && self.flavour != Flavour::Postgres);
        left_out.map(|(_, what)| what.to_owned()).collect()
    }

    /// This program, ready to dump; as a trial without rows.
    /// `name` is what its connection calls itself, where the server knows such names.
    pub(super) fn program(&self, connection: &Connection, tables: &Tables, trial: bool, name: &str) -> Result<Program> {
        Ok(match connection.engine {
            Engine::MariaDb => mariadb::program(connection, &self.path, self.flavour)?
                .args(mariadb::dump_arguments(connection, self, tables, trial)),
            Engine::Postgres => {
                postgres::program(connection, &self.path, name)?.args(postgres::dump_arguments(self, trial))
            }
        })
    }
}

impl Connection {
    /// The installed dump client, if it is fit for the server that `server` describes.
    pub fn check_client(&self, server: &ServerFacts) -> Result<Client> {
        match self.engine {
            Engine::MariaDb => mariadb_client(),
            Engine::Postgres => postgres_client(server),
        }
    }

    /// Dumps everything but the rows with the very client and options of the real dump, and throws it away: so that
    /// a missing privilege, a refused connection or a bad option shows before the site is closed. Takes out of
    /// `client.extras` what the account may not read, and returns a warning for each.
    pub fn probe_dump(&self, client: &mut Client) -> Result<Vec<String>> {
        if self.engine == Engine::Postgres {
            self.check_sequences()?;
        }
        let mut warnings = Vec::new();
        loop {
            let tables = Tables::Snapshot { but: Vec::new() };
            let output = client.program(self, &tables, true, postgres::APPLICATION)?.timeout(TRIAL_LIMIT).output()?;
            if output.status.success() && ended_well(self.engine, &output) {
                return Ok(warnings);
            }
            // A server that was started without its event scheduler neither has events run nor shows them (error 1577).
            if client.extras.events && output.stderr.contains("1577") {
                client.extras.events = false;
                continue;
            }
            match refused_extra(&output.stderr, &mut client.extras) {
                Some(what) => warnings.push(format!(
                    "the dump of the {} is without {what}: {} may not read them all",
                    self.title(),
                    self.account()
                )),
                None => return Err(self.trial_failed(client, &output)),
            }
        }
    }

    /// The one privilege that the trial does not need and the dump does.
    fn check_sequences(&self) -> Result<()> {
        // CASE, since AND keeps no order, and the function fails on what is no sequence.
        let forbidden = self.session()?.value(
            "SELECT min(oid::regclass::text) FROM pg_catalog.pg_class WHERE relpersistence = 'p' \
             AND CASE WHEN relkind = 'S' THEN NOT has_sequence_privilege(oid, 'SELECT') ELSE false END",
        )?;
        match forbidden {
            None => Ok(()),
            Some(name) => Err(Fault::unfit(format!("{} may not read the sequence {name}", self.account()))
                .hint("GRANT SELECT ON ALL SEQUENCES IN SCHEMA … to it, or name another account by options_file")
                .into()),
        }
    }

    fn trial_failed(&self, client: &Client, output: &Output) -> anyhow::Error {
        let what = format!("{} cannot dump the {}", client.path.display(), self.title());
        match output.status.success() {
            true => Fault::unfit(format!("{what}: its output has no end mark"))
                .hint("a my.cnf option like skip-comments or compact does that; remove it from options_file")
                .into(),
            false => refusal::explain(self, &what, &output.stderr),
        }
    }
}

fn ended_well(engine: Engine, output: &Output) -> bool {
    let mut scanner = Scanner::new(engine, None);
    scanner.feed(&output.stdout);
    let Scanned { complete, .. } = scanner.finish();
    complete
}

/// Turns off the kind of thing that the client says it may not read; `None` if it complains of something else.
fn refused_extra(words: &str, extras: &mut Extras) -> Option<&'static str> {
    let denied = words.contains("1044") || words.contains("1227") || words.contains("insufficient privileges");
    let lower = words.to_lowercase();
    if !denied {
        None
    } else if extras.events && lower.contains("event") {
        extras.events = false;
        Some("scheduled events")
    } else if extras.routines && ["function", "procedure", "package", "routine"].iter().any(|it| lower.contains(it)) {
        extras.routines = false;
        Some("stored routines")
    } else {
        None
    }
}

/// What a program says of its version: the first line of `--version`.
pub fn version_of(path: &Path) -> Result<String> {
    let output = Program::new(path).arg("--version").timeout(VERSION_LIMIT).success()?;
    Ok(output.text().lines().next().unwrap_or_default().trim().to_owned())
}

/// Whether a client with one of MySQL's names is MySQL's own or MariaDB's.
pub fn flavour_of(path: &Path) -> Result<Flavour> {
    let named_so = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("mariadb"));
    if named_so || version_of(path)?.contains("MariaDB") {
        return Ok(Flavour::MariaDb);
    }
    Ok(Flavour::MySql)
}

fn mariadb_client() -> Result<Client> {
    let path = process::find(&["mariadb-dump", "mysqldump"]).ok_or_else(|| {
        Fault::unfit("neither mariadb-dump nor mysqldump is installed")
            .hint("apt install mariadb-client (with a MySQL server: mysql-client)")
    })?;
    let extras = Extras { routines: true, events: true, triggers: true, comments: true };
    Ok(Client { flavour: flavour_of(&path)?, version: version_of(&path)?, path, extras })
}

/// The client of the server's own major version, else the next newer one: an older one refuses to work.
fn postgres_client(server: &ServerFacts) -> Result<Client> {
    let wanted = server.major;
    let versioned = postgres::versioned("pg_dump").into_iter().find(|(major, _)| *major >= wanted);
    let path = versioned.map(|(_, path)| path).or_else(|| process::find(&["pg_dump"])).ok_or_else(|| {
        Fault::unfit("pg_dump is not installed").hint(format!("apt install postgresql-client-{wanted}"))
    })?;
    let version = version_of(&path)?;
    let major = major_of(&version);
    if major < wanted {
        return Err(Fault::unfit(format!("pg_dump {major} cannot dump a PostgreSQL {wanted} server"))
            .hint(format!("apt install postgresql-client-{wanted} (from apt.postgresql.org if your release lacks it)"))
            .into());
    }
    let extras = Extras { routines: true, events: false, triggers: true, comments: !server.foreign_extensions };
    Ok(Client { path, flavour: Flavour::Postgres, version, extras })
}

/// The major version in what a PostgreSQL client says: `pg_dump (PostgreSQL) 15.18 (Debian …)`.
fn major_of(version: &str) -> u32 {
    let number = version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let digits = number.and_then(|number| number.split(|c: char| !c.is_ascii_digit()).next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::major_of;

    #[test]
    fn major_versions_are_read_from_what_clients_say() {
        assert_eq!(major_of("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), 15);
        assert_eq!(major_of("pg_dump (PostgreSQL) 17beta1"), 17);
        assert_eq!(major_of("nonsense"), 0);
    }
}
