//! What the site's database says of the site. Asked by plain SQL: it is what the dump will hold, it works with broken
//! plugins, and a start of Moodle has side effects (it may begin a planned maintenance or forget an upgrade).

use crate::database::{Connection, Engine, Session};
use crate::error::{Fault, OrFault, Result};
use std::collections::BTreeMap;

/// Rows of Moodle's config tables that a backup cares about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    values: BTreeMap<String, String>,
    /// Each plugin with its version, as installed in the database.
    pub plugins: BTreeMap<String, String>,
}

const NAMES: [&str; 6] =
    ["maintenance_enabled", "maintenance_later", "upgraderunning", "version", "release", "siteidentifier"];

impl Facts {
    /// Asks the database. An error says that it is not the database of a Moodle.
    pub fn read(session: &mut Session, connection: &Connection, prefix: &str) -> Result<Self> {
        let config = table(connection, prefix, "config")?;
        let plugins = table(connection, prefix, "config_plugins")?;
        let names = NAMES.map(|name| format!("'{name}'")).join(",");
        let mut pairs = |sql: String| -> Result<BTreeMap<String, String>> {
            let rows = session.query(&sql)?;
            Ok(rows.into_iter().filter_map(pair).collect())
        };
        let values = pairs(format!("SELECT name, value FROM {config} WHERE name IN ({names})")).or_fault(|| {
            Fault::unfit(format!("the database {} has no Moodle tables with the prefix {prefix:?}", connection.name))
                .hint("compare dbname and prefix in config.php with what the database has")
        })?;
        if !values.contains_key("version") {
            return Err(Fault::unfit(format!(
                "the database {} has Moodle's tables with the prefix {prefix:?}, but no installed Moodle in them",
                connection.name
            ))
            .hint("compare dbname and prefix in config.php with what the database has; was the installation completed?")
            .into());
        }
        let plugins = pairs(format!("SELECT plugin, value FROM {plugins} WHERE name = 'version'"))?;
        Ok(Facts { values, plugins })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty() && *value != "0")
    }

    /// Whether an upgrade runs now: Moodle notes the time until which it is to be believed.
    pub fn upgrade_running(&self, now: i64) -> bool {
        self.get("upgraderunning").and_then(|until| until.parse::<i64>().ok()).is_some_and(|until| until > now)
    }

    /// The legacy maintenance mode, in which administrators may still come in. From Moodle 5.1 on the value may be
    /// a word (`cli mode`), so anything that is not empty or 0 counts.
    pub fn legacy_maintenance(&self) -> bool {
        self.get("maintenance_enabled").is_some()
    }

    /// When the administrator has planned to close the site, in seconds since 1970.
    pub fn planned_maintenance(&self) -> Option<i64> {
        self.get("maintenance_later").and_then(|time| time.parse().ok())
    }

    /// The version of the database's tables; differs from the code's while an upgrade is half done.
    pub fn version(&self) -> &str {
        self.get("version").unwrap_or_default()
    }

    /// The site's own secret name.
    pub fn site_identifier(&self) -> &str {
        self.get("siteidentifier").unwrap_or_default()
    }
}

fn pair(row: Vec<Option<String>>) -> Option<(String, String)> {
    let mut fields = row.into_iter();
    Some((fields.next()??, fields.next()?.unwrap_or_default()))
}

/// The quoted name of one of Moodle's tables.
pub fn table(connection: &Connection, prefix: &str, name: &str) -> Result<String> {
    if !prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(Fault::unfit(format!(
            "the table prefix {prefix:?} in config.php has characters that Moodle does not allow"
        ))
        .into());
    }
    Ok(match (connection.engine, &connection.schema) {
        (Engine::MariaDb, _) => format!("`{prefix}{name}`"),
        (Engine::Postgres, Some(schema)) => format!("\"{}\".\"{prefix}{name}\"", schema.replace('"', "\"\"")),
        (Engine::Postgres, None) => format!("\"{prefix}{name}\""),
    })
}
