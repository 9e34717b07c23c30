//! Links in the content of a site that has another address now: replaced with Moodle's own tool, which knows its tables.
//! What that tool leaves alone is looked through and listed.

use super::Job;
use super::place::Place;
use crate::database::Engine;
use crate::error::Result;
use crate::moodle::table;
use crate::preflight::Site;
use crate::sys::log::Log;
use crate::sys::signals;
use std::path::PathBuf;
use std::time::Duration;

/// It reads every text in the database.
const TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// How many names of settings are listed.
const NAMED: usize = 10;

/// Tables that the tool leaves (`db_should_replace` in lib/adminlib.php), and what tells their rows apart. It leaves logs too,
/// which are to say what was.
const LEFT: [(&str, &str, &str); 5] = [
    ("config", "value", "name"),
    ("config_plugins", "value", "CONCAT(plugin, '/', name)"),
    ("filter_config", "value", "CONCAT(filter, '/', name)"),
    ("repository_instance_config", "value", "name"),
    ("files", "source", "CONCAT('file ', id)"),
];

/// Settings whose default Moodle makes out of its own address, and keeps as it was made: plugin, name, and the page of its own that
/// the text leads to. Moodle's tool leaves them alone. Source: auth/shibboleth/settings.php. Those of
/// other plugins, if there are any, are among the links that are told as left.
const MADE_OF_ADDRESS: [(&str, &str, &str); 1] =
    [("auth_shibboleth", "auth_instructions", "/auth/shibboleth/index.php")];

/// What has the address in it and leads nowhere: the identifier that a site got when it was installed (lib/setuplib.php).
const NO_LINK: (&str, &str) = ("config", "siteidentifier");

/// Replaces the original's address. Where that cannot be done the site works all the same, so it is a warning.
pub fn replace(job: &Job, place: &Place, site: &Site, log: &Log) -> Result<()> {
    let (old, new) = (&job.backup.manifest.site.wwwroot, &place.wwwroot);
    if old == new {
        return Ok(());
    }
    for (plugin, name, page) in MADE_OF_ADDRESS {
        if let Err(error) = lead_home(site, (plugin, name), &format!("{old}{page}"), &format!("{new}{page}")) {
            signals::check()?;
            log.warn(format!("the setting {plugin}/{name} still leads to {old}: {error:#}"));
        }
    }
    let Some(script) = tool(site) else {
        log.warn(format!("links to {old} were not replaced: Moodle's tool for that (tool_replace) is not there"));
        return Ok(());
    };
    let mut searched = vec![old.clone()];
    // Content of the time before the site had HTTPS.
    searched.extend(other_scheme(old).filter(|other| !new.contains(other.as_str())));
    for search in searched {
        log.info(format!("replacing {search} by {new} in the content with Moodle's own tool"));
        let done = site
            .php
            .start()
            .folder(&site.layout.root)
            .arg(&script)
            .args([format!("--search={search}"), format!("--replace={new}")])
            .args(["--shorten", "--non-interactive"])
            .timeout(TIMEOUT)
            .success();
        if let Err(error) = done {
            signals::check()?;
            log.warn(format!(
                "Moodle's tool could not replace all links to {search}: {error:#}; again by hand: php {} \
                 --search={search} --replace={new} --shorten --non-interactive",
                script.display()
            ));
        }
    }
    left(site, (old, new), log);
    Ok(())
}

/// Has a setting of a plugin lead to the page here that it led to there. Nothing where it does not, or is not set.
fn lead_home(site: &Site, (plugin, name): (&str, &str), old: &str, new: &str) -> Result<()> {
    let connection = &site.connection;
    let table = table(connection, &site.config.prefix, "config_plugins")?;
    let [plugin, name, old, new] = [plugin, name, old, new].map(|text| connection.sql_text(text));
    let sql =
        format!("UPDATE {table} SET value = REPLACE(value, {old}, {new}) WHERE plugin = {plugin} AND name = {name};");
    connection.execute("change a setting that leads to the original", &sql)
}

/// In the admin folder, which lies with the rest of the code.
fn tool(site: &Site) -> Option<PathBuf> {
    let folders = [site.layout.code.join(&site.config.admin), site.layout.code.join("admin")];
    folders.map(|folder| folder.join("tool/replace/cli/replace.php")).into_iter().find(|path| path.is_file())
}

fn other_scheme(address: &str) -> Option<String> {
    match address.split_once("://")? {
        ("http", rest) => Some(format!("https://{rest}")),
        (_, rest) => Some(format!("http://{rest}")),
    }
}

/// Names what still has the old address, with or without http. Only looks; what cannot be looked at (a Moodle without that table)
/// has none.
fn left(site: &Site, (old, new): (&str, &str), log: &Log) {
    let bare = |address: &'_ str| address.split_once("://").map_or(address.to_owned(), |(_, rest)| rest.to_owned());
    let address = (bare(old), bare(new));
    let old = &address.0;
    for (name, column, title) in LEFT {
        let mut found = rows_with(site, name, column, title, &address).unwrap_or_default();
        found.retain(|row| (name, row.as_str()) != NO_LINK);
        if found.is_empty() {
            continue;
        }
        let more = found.len().saturating_sub(NAMED);
        let named = found.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        log.warn(format!("Moodle's tool leaves the table {name} alone, and {old} is still in: {named}{more}"));
    }
    for block in blocks_with(site, old).unwrap_or_default() {
        log.warn(format!("{old} is still in the settings of blocks of the kind {block}"));
    }
}

fn rows_with(site: &Site, name: &str, column: &str, title: &str, (old, new): &(String, String)) -> Result<Vec<String>> {
    let (connection, table) = (&site.connection, table(&site.connection, &site.config.prefix, name)?);
    // The new address may have the old one in it: test.example.org.
    let column = match new.contains(old.as_str()) {
        true => format!("REPLACE({column}, {}, '')", connection.sql_text(new)),
        false => column.to_owned(),
    };
    let old = connection.sql_text(old);
    let holds = match connection.engine {
        Engine::MariaDb => format!("LOCATE({old}, {column}) > 0"),
        Engine::Postgres => format!("strpos({column}, {old}) > 0"),
    };
    let rows = connection.session()?.query(&format!("SELECT {title} FROM {table} WHERE {holds} ORDER BY 1"))?;
    Ok(rows.into_iter().flatten().flatten().collect())
}

/// Settings of blocks are kept in base64.
fn blocks_with(site: &Site, address: &str) -> Result<Vec<String>> {
    let (connection, table) = (&site.connection, table(&site.connection, &site.config.prefix, "block_instances")?);
    let address = connection.sql_text(address);
    let holds = match connection.engine {
        Engine::MariaDb => format!("LOCATE({address}, FROM_BASE64(configdata)) > 0"),
        Engine::Postgres => {
            format!("position(convert_to({address}, 'UTF8') IN decode(configdata, 'base64')) > 0")
        }
    };
    let rows =
        connection.session()?.query(&format!("SELECT DISTINCT blockname FROM {table} WHERE {holds} ORDER BY 1"))?;
    Ok(rows.into_iter().flatten().flatten().collect())
}
