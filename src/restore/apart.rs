//! What makes a clone a site of its own, beside what its config.php says: a name of its own, and no cache that the original
//! uses too.

use super::place::Place;
use crate::error::{Fault, OrFault, Result};
use crate::moodle::table;
use crate::preflight::Site;
use crate::sys::log::Log;
use crate::sys::random;
use std::path::Path;

/// Sets the settings of Moodle's caches aside, which may name a server (Redis, Memcached) of the original. Moodle writes new
/// ones, with caches in its own files.
pub fn set_caches_aside(moodledata: &Path, log: &Log) -> Result<()> {
    let settings = moodledata.join("muc/config.php");
    if settings.symlink_metadata().is_err() {
        return Ok(());
    }
    log.info("setting muc/config.php aside, as muc/config.php.original: the clone gets caches of its own");
    std::fs::rename(&settings, moodledata.join("muc/config.php.original"))
        .or_fault(|| Fault::failed(format!("cannot rename {}", settings.display())))
}

/// Gives the site a new `siteidentifier`, in Moodle's form: `random_string(32)` and the host (`get_site_identifier` in
/// lib/moodlelib.php).
pub fn rename(place: &Place, site: &Site, log: &Log) -> Result<()> {
    let rest = place.wwwroot.split_once("://").map_or(place.wwwroot.as_str(), |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    let config = table(&site.connection, &site.config.prefix, "config")?;
    let identifier = site.connection.sql_text(&format!("{}{host}", random::letters(32)?));
    log.info("giving the clone a site identifier of its own");
    site.connection.execute(
        "give the site a new identifier",
        &format!("UPDATE {config} SET value = {identifier} WHERE name = 'siteidentifier';"),
    )?;
    let cron = site.layout.cli(&site.config.admin, "cron.php").and_then(|path| std::fs::read(path).ok());
    if cron.is_none_or(|text| memchr::memmem::find(&text, b"cron_enabled").is_none()) {
        log.warn("this Moodle has no switch for its cron: start none for the clone");
    }
    Ok(())
}
