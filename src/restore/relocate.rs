//! config.php for another place: the new values are put into the copy that came from the backup, and what comes of them
//! is read back with PHP before anything else is done with it.

use super::place::Place;
use super::{Here, Job};
use crate::error::{Fault, OrFault, Result};
use crate::moodle::overrides::{self, Assigned, Override};
use crate::moodle::{Config, Php};
use crate::preflight::{Site, read_site};
use crate::sys::log::Log;
use std::path::{Path, PathBuf};

/// Folders that each site needs for itself, by their names in `$CFG`, and where they are in a dataroot by default.
const FOLDERS: [(&str, &str); 6] = [
    ("cachedir", "cache"),
    ("localcachedir", "localcache"),
    ("tempdir", "temp"),
    ("backuptempdir", "temp/backup"),
    ("session_file_save_path", "sessions"),
    ("file_lock_root", "lock"),
];

/// Folders that config.php may have elsewhere, and that are not in the backup as parts of the site.
const ELSEWHERE: [&str; 4] = ["secretdataroot", "altcacheconfigpath", "langotherroot", "themedir"];

/// A config.php that has been given new values.
#[derive(Debug)]
pub struct Relocated {
    /// As it was backed up, or made by hand.
    original: Vec<u8>,
    overrides: Vec<Override>,
}

/// Puts the new values into the config.php of code that is laid ready.
pub fn put_in(job: &Job, here: &Here, place: &Place, code: &Path, log: &Log) -> Result<Relocated> {
    let path = code.join("config.php");
    let overrides = place.overrides(&job.backup.manifest, here);
    let original = match &place.config_php {
        Some(file) => std::fs::read(file).or_fault(|| Fault::unfit(format!("cannot read {}", file.display())))?,
        None => as_backed_up(job, &path, &overrides, log)?,
    };
    let relocated = Relocated { original, overrides };
    match place.config_php {
        Some(_) => write(&path, &relocated.original)?,
        None => relocated.write(job, here, &path, log)?,
    }
    Ok(relocated)
}

/// A link would lead to another site's file.
fn as_backed_up(job: &Job, path: &Path, overrides: &[Override], log: &Log) -> Result<Vec<u8>> {
    match path.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
        true => Ok(std::fs::read(path)?),
        false => Err(by_hand(job, overrides, "config.php of the backup is no plain file", log)),
    }
}

impl Relocated {
    fn write(&self, job: &Job, here: &Here, path: &Path, log: &Log) -> Result<()> {
        if self.overrides.is_empty() {
            return Ok(());
        }
        let site = &job.settings.site;
        let php = Php::new(site.php.as_deref(), here.web_user.clone(), site.environment.0.clone())?;
        match overrides::put_in(&self.original, &self.overrides, &php)? {
            Some(text) => write(path, &text),
            None => {
                Err(by_hand(job, &self.overrides, "config.php of the backup has no plain line that starts Moodle", log))
            }
        }
    }

    /// Reads the config.php that stands in its place now, and compares every value with what it is to be. Folders that it
    /// still has where the original has them are given values too.
    pub fn prove(mut self, job: &Job, here: &Here, place: &Place, log: &Log) -> Result<Site> {
        let mut site = self.read(job, log)?;
        let more = self.missing(&site.config, here, place);
        if !more.is_empty() {
            let names: Vec<String> = more.iter().map(Override::title).collect();
            self.overrides.extend(more);
            if place.config_php.is_some() {
                let why = format!("the config.php that was named still shares with the original {}", names.join(", "));
                return Err(by_hand(job, &self.overrides, &why, log));
            }
            self.write(job, here, &here.root.join("config.php"), log)?;
            site = self.read(job, log)?;
        }
        let config = &site.config;
        let wrong: Vec<String> = self.overrides.iter().filter(|it| !it.holds_in(config)).map(Override::title).collect();
        if !wrong.is_empty() {
            let why = format!("config.php does not take the new values of {}", wrong.join(", "));
            return Err(by_hand(job, &self.overrides, &why, log));
        }
        if config.dataroot != here.dataroot || config.filedir != here.filedir && here.is_new() {
            let why = format!("config.php leads to the dataroot {}", config.dataroot.display());
            return Err(by_hand(job, &self.overrides, &why, log));
        }
        let code = config.path("dirroot").unwrap_or_default();
        if !code.starts_with(&here.root) {
            let why = format!("config.php starts the Moodle in {}, and not the one in its own folder", code.display());
            return Err(by_hand(job, &self.overrides, &why, log));
        }
        if !self.overrides.is_empty() {
            let names: Vec<String> = self.overrides.iter().map(Override::title).collect();
            log.info(format!("config.php has new values of {}, as reading it shows", names.join(", ")));
        }
        warn_of_others(job, &site, here, log);
        Ok(site)
    }

    fn read(&self, job: &Job, log: &Log) -> Result<Site> {
        read_site(job.settings).map_err(|error| {
            error.context(by_hand_fault(job, &self.overrides, "config.php cannot be read in its new place", log))
        })
    }

    /// Values that only show when config.php is run: of folders that are those of the original still, and of what a clone
    /// must not share.
    fn missing(&self, config: &Config, here: &Here, place: &Place) -> Vec<Override> {
        let mut more = Vec::new();
        if here.is_new() {
            let own = |path: &Path| path.starts_with(&here.dataroot);
            let pool = [("filedir", &here.filedir), ("trashdir", &here.trashdir)];
            let pool = pool.map(|(name, place)| (name, place.clone()));
            let folders = FOLDERS.map(|(name, default)| (name, here.dataroot.join(default)));
            for (name, default) in pool.into_iter().chain(folders) {
                if config.path(name).is_some_and(|path| !own(&path)) {
                    more.push(Override::new(name, Assigned::Path(default)));
                }
            }
        }
        if place.clone {
            for name in ["altcacheconfigpath", "alternative_file_system_class"] {
                if config.is_set(name) {
                    more.push(Override::new(name, Assigned::Text(String::new())));
                }
            }
        }
        if place.wwwroot.starts_with("http://") && config.is_set("sslproxy") {
            more.push(Override::new("sslproxy", Assigned::Number(0)));
        }
        more.retain(|it| !self.overrides.contains(it));
        more
    }
}

/// What config.php names besides, and the backup does not bring along.
fn warn_of_others(job: &Job, site: &Site, here: &Here, log: &Log) {
    let own = |path: &PathBuf| path.starts_with(&here.dataroot) || path.starts_with(&here.root);
    for name in ELSEWHERE {
        if let Some(path) = site.config.path(name).filter(|path| here.is_new() && !own(path)) {
            log.warn(format!(
                "config.php has $CFG->{name} at {}, which lies outside of code and dataroot: it was not brought along",
                path.display()
            ));
        }
    }
    let elsewhere = &job.backup.manifest.pool;
    if elsewhere.external && site.config.alternative_file_system.as_deref().unwrap_or_default().is_empty() {
        log.warn(
            "the original keeps users' files in object storage, which a clone must not share: those are missing here",
        );
    }
}

fn write(path: &Path, text: &[u8]) -> Result<()> {
    // In the same file: it has the owner and mode that it is to have.
    std::fs::write(path, text).or_fault(|| Fault::failed(format!("cannot write {}", path.display())))
}

fn by_hand(job: &Job, overrides: &[Override], why: &str, log: &Log) -> anyhow::Error {
    by_hand_fault(job, overrides, why, log).into()
}

fn by_hand_fault(job: &Job, overrides: &[Override], why: &str, log: &Log) -> Fault {
    log.info("what config.php is to have, in front of the line that starts Moodle:");
    String::from_utf8_lossy(&overrides::block(overrides, false)).lines().for_each(|line| log.info(line));
    Fault::unfit(why.to_owned()).hint(format!(
        "fetch the file (moodle-backup restore --path {} --to DIR), put the lines above in front of the line that starts \
         Moodle, and name it: --config-php FILE",
        job.backup.manifest.paths.root.join("config.php").display()
    ))
}
