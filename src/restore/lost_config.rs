//! The database of a site whose config.php is gone: that of the backup says how it is to be reached, and so whether it can be
//! reached, or made, before anything is brought back. Changes nothing.

use super::Job;
use super::environment::remembered;
use super::here::web_user;
use crate::archive;
use crate::database::Connection;
use crate::error::{Fault, Result};
use crate::moodle::connection_of;
use crate::preflight::php_for_config;
use crate::settings::Settings;
use crate::store::{Backup, inside, layout};
use crate::sys::privileges::Identity;
use std::path::Path;

/// No config.php is longer.
const LONGEST: u64 = 1 << 20;

/// How to reach the database of the site that was lost with its code, as its backup tells.
pub fn lost_database(settings: &Settings, backup: &Backup) -> Result<Connection> {
    let web_user = web_user(settings, &backup.manifest.site.web_user)?;
    connection(settings, backup, &backup.manifest.paths.root, &web_user)
}

/// How config.php of the backup says that the database is to be reached, if it is run for a site in `root`.
pub(super) fn connection(settings: &Settings, backup: &Backup, root: &Path, web_user: &Identity) -> Result<Connection> {
    let archive = inside::named(&backup.path, Path::new(layout::CODE))?;
    let found = archive::first_file(&archive, &|path| path == b"config.php", LONGEST)?;
    let (_, text) = found.ok_or_else(|| Fault::unfit("the code of the backup has no config.php"))?;
    by_text(settings, &text, root, web_user)
}

/// The same, by the text of a config.php.
pub(super) fn by_text(settings: &Settings, text: &[u8], root: &Path, web_user: &Identity) -> Result<Connection> {
    connection_of(text, root, &php_for_config(settings, web_user.clone())?)
}

/// That a server answers where the backup's manifest has it, where config.php does not tell more.
pub(super) fn require_server(job: &Job) -> Result<()> {
    remembered(job)?.require_server(job.admin.as_deref())
}
