//! The databases: whether they answer, can be dumped, and belong to a Moodle that is not being upgraded.

use super::findings::Findings;
use super::site::Site;
use crate::database::{Client, Connection, Defined, Engine, ServerFacts};
use crate::error::{Fault, Result};
use crate::moodle::Facts;
use crate::settings::{self, ExtraDatabase, Settings};
use crate::sys::time;
use std::path::Path;

/// A database to be dumped.
#[derive(Debug)]
pub struct Dumpable {
    /// Name of the dump: `site` for Moodle's own.
    pub name: String,
    /// How to reach it for the dump.
    pub connection: Connection,
    /// The client that dumps it.
    pub client: Client,
    /// What its server says.
    pub server: ServerFacts,
    /// Tables that a snapshot does not cover.
    pub non_transactional: Vec<String>,
    /// Tables that a restore has set aside: they are not dumped.
    pub aside: Vec<String>,
    /// What others than Moodle's account have defined in it.
    pub of_others: Vec<Defined>,
    /// The collations in which it has anything.
    pub collations: Vec<String>,
}

/// All databases of a run.
#[derive(Debug)]
pub struct Databases {
    /// Moodle's own.
    pub site: Dumpable,
    /// The others of the settings.
    pub extra: Vec<Dumpable>,
}

/// Asks each database whether it can be dumped, by the very client and options that will do it.
pub(super) fn examine(settings: &Settings, site: &Site, findings: &mut Findings) -> Option<(Facts, Databases)> {
    let facts = findings.keep("database", read_facts(site));
    if let Some(facts) = &facts {
        findings.note("upgrade", require_no_upgrade(facts));
        compare_versions(site, facts, findings);
        note_maintenance(site, facts, findings);
    }
    let own = own_connection(site, settings.database.options_file.as_deref());
    let own = own.and_then(|connection| dumpable("site", connection, settings, findings));
    let own = findings.keep("database", own);
    if let Some(own) = &own {
        findings.fine("database", described(own));
        if !own.non_transactional.is_empty() {
            findings.warning(
                "database",
                format!("these tables take no part in a snapshot: {}", own.non_transactional.join(", ")),
                "they are dumped apart while the site is closed, which takes longer; convert them to InnoDB",
            );
        }
    }
    let extra: Vec<_> = settings
        .database
        .extra
        .iter()
        .map(|extra| {
            let connection = extra_connection(site, extra);
            let extra = connection.and_then(|connection| dumpable(&extra.name, connection, settings, findings));
            findings.keep("extra database", extra)
        })
        .collect();
    for extra in extra.iter().flatten() {
        findings.fine("extra database", described(extra));
    }
    Some((facts?, Databases { site: own?, extra: extra.into_iter().collect::<Option<_>>()? }))
}

fn described(database: &Dumpable) -> String {
    format!("{}, {} {}", database.connection.title(), database.server.product, database.server.version)
}

fn read_facts(site: &Site) -> Result<Facts> {
    let mut session = site.connection.session()?;
    Facts::read(&mut session, &site.connection, &site.config.prefix)
}

fn dumpable(name: &str, connection: Connection, settings: &Settings, findings: &mut Findings) -> Result<Dumpable> {
    let mut session = connection.session()?;
    let server = session.facts()?;
    let non_transactional = session.non_transactional_tables()?;
    let aside = session.tables_aside()?;
    // The dump has it in any case; a restore only knows less of it.
    let of_others = session.defined_by_others().unwrap_or_default();
    let collations = session.collations().unwrap_or_default();
    let mut client = connection.check_client(&server)?;
    for left_out in connection.probe_dump(&mut client)? {
        findings.warning("database", left_out, another_account(&connection, settings));
    }
    Ok(Dumpable { name: name.to_owned(), client, server, non_transactional, aside, of_others, collations, connection })
}

/// How a dump comes to have what Moodle's own account may not read.
fn another_account(connection: &Connection, settings: &Settings) -> String {
    let lines = connection.administrator_lines().join("\", \"");
    let no_harm = "where Moodle's own tables are all that counts this does no harm; to have them too,";
    if let Some(file) = &connection.options_file {
        return format!("{no_harm} name an administrator of the server in {}: the lines \"{lines}\"", file.display());
    }
    let file = settings.file.with_file_name("database.cnf");
    let own = settings.database.extra.iter().all(|extra| extra.name != connection.name);
    format!(
        "{no_harm} make the file {0} (chmod 600) of the lines \"{lines}\", and write options_file = \"{0}\" below {1} in {2}",
        file.display(),
        if own { "[database]" } else { "its [[database.extra]]" },
        settings.file.display()
    )
}

/// Moodle's own server; by its own account, or by that of an options file.
fn own_connection(site: &Site, options_file: Option<&Path>) -> Result<Connection> {
    let own = site.connection.clone();
    options_file.map_or_else(|| Ok(own.clone()), |path| own.clone().by_options_file(path))
}

/// How to reach one of the extra databases. What the settings leave out is as for Moodle's own.
pub fn extra_connection(site: &Site, extra: &ExtraDatabase) -> Result<Connection> {
    let elsewhere = extra.engine.is_some() || extra.host.is_some() || extra.socket.is_some();
    let own = match (elsewhere, &extra.options_file) {
        (true, Some(path)) => {
            let tls = site.connection.tls.if_stricter();
            Connection { options_file: Some(path.clone()), tls, ..site.connection.clone() }
        }
        (_, options_file) => own_connection(site, options_file.as_deref())?,
    };
    Ok(Connection {
        engine: match extra.engine {
            Some(settings::Engine::Mariadb) => Engine::MariaDb,
            Some(settings::Engine::Postgres) => Engine::Postgres,
            None => own.engine,
        },
        host: if elsewhere { extra.host.clone() } else { own.host },
        port: extra.port.or(if elsewhere { None } else { own.port }),
        socket: if elsewhere { extra.socket.clone() } else { own.socket },
        // Moodle's password is for Moodle's account on Moodle's server only.
        password: if extra.user.is_none() && !elsewhere { own.password } else { None },
        user: extra.user.clone().unwrap_or(own.user),
        name: extra.name.clone(),
        schema: extra.schema.clone(),
        tls: own.tls,
        options_file: own.options_file,
        run_as: own.run_as,
    })
}

fn require_no_upgrade(facts: &Facts) -> Result<String> {
    if facts.upgrade_running(time::now().timestamp()) {
        return Err(Fault::unfit("Moodle is being upgraded now")
            .hint("back it up when the upgrade is complete")
            .into());
    }
    Ok("none is running".into())
}

fn compare_versions(site: &Site, facts: &Facts, findings: &mut Findings) {
    let (code, tables) = (&site.release.version, facts.version());
    // The database has no trailing zeros.
    let number = |text: &str| text.parse::<f64>().ok();
    if number(code) != number(tables) {
        findings.warning(
            "upgrade",
            format!("the code is of version {code} and the database of {tables}: an upgrade is not complete"),
            "finish it with admin/cli/upgrade.php; until then the backup holds the site in this state",
        );
    }
}

fn note_maintenance(site: &Site, facts: &Facts, findings: &mut Findings) {
    if site.config.maintenance_page().exists() {
        findings.fine("maintenance", "the site is closed now (climaintenance.html) and will be left so");
    } else if facts.legacy_maintenance() {
        findings.fine("maintenance", "the site is in maintenance for all but administrators, and will be left so");
    } else if facts.planned_maintenance().is_some() {
        findings.fine("maintenance", "maintenance is planned, and will be left so");
    }
}
