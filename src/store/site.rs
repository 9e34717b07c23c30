//! Whose backups a folder holds (`SITE.json`), so that two sites never share one. Reads no Moodle.

use super::{Store, layout};
use crate::error::{Fault, OrFault, Result};
use crate::sys::log::Log;
use crate::sys::{files, time};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What tells one Moodle from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteIdentity {
    /// SHA-256, in hex, of Moodle's `siteidentifier`: the same for the site's whole life, and on a careless clone.
    pub siteidentifier_sha256: String,
    /// The site's address.
    pub wwwroot: String,
    /// Name of its database.
    pub database_name: String,
    /// Where its database server is.
    pub database_host: String,
}

/// The content of `SITE.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteFile {
    /// The format of what lies in the folder.
    pub format: u32,
    /// Whose it is.
    #[serde(flatten)]
    pub identity: SiteIdentity,
    /// When the folder was made.
    pub created: DateTime<Utc>,
}

impl Store {
    /// What `SITE.json` says; `None` if there is none.
    pub fn site_file(&self) -> Result<Option<SiteFile>> {
        let path = self.folder.join(layout::SITE_FILE);
        let fault = || {
            Fault::unfit(format!("cannot read {}", path.display()))
                .hint("if it is damaged, remove it: the next run writes it anew from the newest backup's site")
        };
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.or_fault(fault)?,
        };
        let site: SiteFile = serde_json::from_slice(&text).or_fault(fault)?;
        if site.format > layout::FORMAT {
            return Err(newer_format(&path.display().to_string(), site.format));
        }
        Ok(Some(site))
    }

    /// An error if the folder is another site's. Changes nothing.
    pub fn require(&self, identity: &SiteIdentity) -> Result<()> {
        match self.site_file()? {
            Some(site) => self.refuse_stranger(&site.identity, identity),
            None => self.refuse_stranger_by_newest_backup(identity),
        }
    }

    /// Makes the folder this site's, or refuses it.
    pub(super) fn claim(&self, identity: &SiteIdentity, log: &Log) -> Result<()> {
        let known = self.site_file()?;
        match &known {
            Some(site) => self.refuse_stranger(&site.identity, identity)?,
            None => self.refuse_stranger_by_newest_backup(identity)?,
        }
        if known.as_ref().is_some_and(|site| site.identity == *identity) {
            return Ok(());
        }
        if let Some(site) = &known {
            log.info(format!("the site was {} and is {} now", describe(&site.identity), describe(identity)));
        }
        let created = known.map_or_else(time::now, |site| site.created);
        let site = SiteFile { format: layout::FORMAT, identity: identity.clone(), created };
        let path = self.folder.join(layout::SITE_FILE);
        files::write_durably(&path, &serde_json::to_vec_pretty(&site)?, layout::FILE_MODE)?;
        self.owner.apply_to_file(&path)
    }

    fn refuse_stranger(&self, known: &SiteIdentity, identity: &SiteIdentity) -> Result<()> {
        let same_database =
            (&known.database_name, &known.database_host) == (&identity.database_name, &identity.database_host);
        if known.siteidentifier_sha256 != identity.siteidentifier_sha256 {
            return Err(Fault::unfit(format!(
                "{} holds the backups of another site: {}",
                self.folder.display(),
                describe(known)
            ))
            .hint("give this site another [site] name, or another [target] path")
            .into());
        }
        // A clone has its original's identifier, but not its address and database both.
        if known.wwwroot != identity.wwwroot && !same_database {
            return Err(Fault::unfit(format!(
                "{} holds the backups of {}, of which this site ({}) seems to be a copy",
                self.folder.display(),
                describe(known),
                describe(identity)
            ))
            .hint(format!(
                "if these are two sites, each needs a name of its own: set name in [site] for this one (moodle-backup setup --name \
                 NAME). Only if {} is not in use any more, and this is the same site at a new address with a new database: remove {} \
                 and try again",
                known.wwwroot,
                self.folder.join(layout::SITE_FILE).display()
            ))
            .into());
        }
        Ok(())
    }

    /// Without `SITE.json` the newest manifest tells whose the backups are, if there are any.
    fn refuse_stranger_by_newest_backup(&self, identity: &SiteIdentity) -> Result<()> {
        let Some(newest) = self.backups()?.backups.pop() else { return Ok(()) };
        let site = newest.manifest.site;
        if site.siteidentifier_sha256 == identity.siteidentifier_sha256 {
            return Ok(());
        }
        Err(Fault::unfit(format!("{} holds backups of another site: {}", self.folder.display(), site.wwwroot))
            .hint("give this site another [site] name, or another [target] path")
            .into())
    }
}

fn describe(identity: &SiteIdentity) -> String {
    format!("{} (database {} at {})", identity.wwwroot, identity.database_name, identity.database_host)
}

/// The refusal of what a later version of this program wrote.
pub(super) fn newer_format(what: &str, format: u32) -> anyhow::Error {
    Fault::unfit(format!("{what} has format {format}, and this moodle-backup knows formats up to {}", layout::FORMAT))
        .hint("install a newer moodle-backup; RESTORE.txt in the backup tells how to bring it back without it")
        .into()
}
