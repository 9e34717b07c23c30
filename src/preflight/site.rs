//! The site as its code tree and config.php show it.

use super::findings::Findings;
use crate::database::Connection;
use crate::error::{Fault, OrFault, Result};
use crate::git::Checkout;
use crate::hashes::to_hex;
use crate::moodle::{Config, Facts, Layout, Php, Release, read_config};
use crate::settings::Settings;
use crate::store::SiteIdentity;
use crate::sys::privileges::Identity;
use crate::window;
use sha2::{Digest, Sha256};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Users that web servers run as, by the names that distributions give them.
pub const WEB_USERS: [&str; 5] = ["www-data", "apache", "nginx", "http", "wwwrun"];

/// A site, as far as it can be known without its database.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its code tree.
    pub layout: Layout,
    /// The version of its code.
    pub release: Release,
    /// PHP, as the web user.
    pub php: Php,
    /// What config.php sets.
    pub config: Config,
    /// How to reach its database as Moodle does.
    pub connection: Connection,
}

impl Site {
    /// What tells this site from others.
    pub fn identity(&self, facts: &Facts) -> SiteIdentity {
        SiteIdentity {
            siteidentifier_sha256: to_hex(&Sha256::digest(facts.site_identifier())),
            wwwroot: self.config.wwwroot.clone(),
            database_name: self.config.database_name().to_owned(),
            database_host: self.config.database_host().to_owned(),
        }
    }

    /// The web user.
    pub fn web_user(&self) -> &Identity {
        self.php.user()
    }
}

/// Reads code tree and config.php.
pub fn read_site(settings: &Settings) -> Result<Site> {
    let layout = Layout::find(&settings.site.root)?;
    let release = layout.release()?;
    let (php, config) = match &settings.site.web_user {
        Some(name) => read_as(settings, &layout, named_web_user(name)?)?,
        None => read_as_owner(settings, &layout)?,
    };
    let connection = config.connection(php.user());
    Ok(Site { layout, release, php, config, connection })
}

fn named_web_user(name: &str) -> Result<Identity> {
    Identity::by_name(name).or_fault(|| {
        Fault::unfit(format!("the web user {name:?} is not known here"))
            .hint("correct web_user in [site] of the settings, or leave it out: then it is the owner of moodledata")
    })
}

/// The web user is the owner of the dataroot. Where that is, only config.php says, which is to be read as the web
/// user: so a first guess is read from its text, and read again as the right one if the guess was wrong.
fn read_as_owner(settings: &Settings, layout: &Layout) -> Result<(Php, Config)> {
    let guess = match dataroot_by_text(&layout.config_php()) {
        Some(dataroot) => web_user_by(&dataroot)?,
        None => Identity::by_name("www-data").or_fault(|| {
            Fault::unfit("cannot tell which user the web server runs as").hint("set web_user in [site] of the settings")
        })?,
    };
    require_plausible(layout, &guess)?;
    let (php, config) = read_as(settings, layout, guess)?;
    let owner = web_user_by(&config.dataroot)?;
    if owner.uid == php.user().uid {
        return Ok((php, config));
    }
    require_plausible(layout, &owner)?;
    read_as(settings, layout, owner)
}

fn web_user_by(dataroot: &Path) -> Result<Identity> {
    let owner = Identity::owner_of(dataroot)?;
    match owner.is_root() {
        false => Ok(owner),
        true => Err(Fault::unfit(format!(
            "{} belongs to root, and should to the web server's user, so it does not tell who that is",
            dataroot.display()
        ))
        .hint("give it back: chown --recursive www-data: that folder; or set web_user in [site] of the settings")
        .into()),
    }
}

/// Whoever can write config.php decides what the dataroot is, and so as whom PHP would run. Unless that is a web server's
/// usual user, he may be nobody but root or that very user: else a web server that was broken into could have its code run as anybody of this machine.
fn require_plausible(layout: &Layout, user: &Identity) -> Result<()> {
    if WEB_USERS.contains(&user.name.as_str()) {
        return Ok(());
    }
    for path in [layout.config_php(), layout.root.clone()] {
        let meta = std::fs::metadata(&path)?;
        let writers = [(meta.uid() != 0 && meta.uid() != user.uid), meta.mode() & 0o002 != 0];
        if writers.contains(&true) {
            return Err(Fault::unfit(format!(
                "cannot tell which user the web server runs as: {} can be written by others than root and {}",
                path.display(),
                user.name
            ))
            .hint("set web_user in [site] of the settings, or correct the owner and mode of the code")
            .into());
        }
    }
    Ok(())
}

fn read_as(settings: &Settings, layout: &Layout, user: Identity) -> Result<(Php, Config)> {
    let php = php_for_config(settings, user)?;
    let config = read_config(layout, &php)?;
    Ok((php, config))
}

/// PHP as this user, with all that config.php may ask its surroundings for.
pub fn php_for_config(settings: &Settings, user: Identity) -> Result<Php> {
    let mut environment = settings.site.environment.0.clone();
    if let Some(host) = &settings.site.http_host {
        environment.insert("MOODLE_BACKUP_HTTP_HOST".into(), host.clone());
    }
    Php::new(settings.site.php.as_deref(), user, environment)
}

/// The dataroot where config.php sets it plainly; a guess, never used for more than whom to run PHP as.
fn dataroot_by_text(config_php: &Path) -> Option<PathBuf> {
    let text = std::fs::read(config_php).ok()?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rfind(|line| line.trim_start().starts_with("$CFG->dataroot"))?;
    let path = PathBuf::from(line.split(['\'', '"']).nth(1)?);
    path.is_dir().then_some(path)
}

/// Looks at what is known of the site.
pub(super) fn examine(settings: &Settings, site: &Site, findings: &mut Findings) {
    let config = &site.config;
    findings.fine("site", format!("{}, Moodle {}", config.wwwroot, site.release.release));
    findings.fine("code", site.layout.root.display().to_string());
    findings.fine("php", format!("{} as user {}", config.php_version, site.web_user().name));
    findings.note("dataroot", require_folders(config));
    if let Some(class) = &config.alternative_file_system {
        findings.warning(
            "files",
            format!(
                "{class} keeps files outside of this server: they are not in the backup, which will not be complete"
            ),
            "copy the object storage by its own means as well",
        );
    }
    for path in &config.relocated {
        if !settings.directories.paths.iter().any(|covered| path.starts_with(covered)) {
            findings.warning(
                "files",
                format!("config.php uses {}, which lies outside of code and dataroot", path.display()),
                "add it to paths in [directories]",
            );
        }
    }
    match Checkout::at(&site.layout.root, site.web_user()) {
        Ok(None) if Checkout::is_for_root_alone(&site.layout.root, site.web_user()) => findings
            .fine("git", "only root may read .git, and git never runs as root: changes of the code will not be noted"),
        Ok(None) => {}
        Ok(Some(_)) => findings.fine("git", "the code is a git checkout; its changes will be noted"),
        Err(error) => findings.warning("git", error.to_string(), error::hint_of(&error)),
    }
    for path in &settings.directories.paths {
        if !path.is_dir() {
            findings.note("directories", Err(missing_directory(path)));
        }
    }
    findings.note(
        "services",
        window::active(&settings.site.services).map(|active| match active.is_empty() {
            true => "none to stop".into(),
            false => format!("running: {}", active.join(", ")),
        }),
    );
}

fn missing_directory(path: &Path) -> anyhow::Error {
    let (what, hint) = match path.exists() {
        true => ("is no folder", "name the folder that holds it in paths of [directories]"),
        false => ("is not there", "correct paths in [directories]"),
    };
    Fault::unfit(format!("{}, which [directories] names, {what}", path.display())).hint(hint).into()
}

fn require_folders(config: &Config) -> Result<String> {
    for folder in [&config.dataroot, &config.filedir] {
        std::fs::read_dir(folder).or_fault(|| {
            Fault::unfit(format!("cannot read the folder {}", folder.display()))
                .hint("is its file system mounted? compare dataroot and filedir in config.php")
        })?;
    }
    Ok(config.dataroot.display().to_string())
}

mod error {
    /// The next step an error names, for a warning made of it.
    pub fn hint_of(error: &anyhow::Error) -> String {
        crate::error::hint(error).unwrap_or("see above").to_owned()
    }
}
