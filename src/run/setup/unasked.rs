//! Answers that nobody is asked for: from the options, from the settings that are there, and, without a terminal, what the
//! set-up would propose.

use super::{Wizard, more, site, turns};
use crate::cli;
use crate::error::{Fault, Result};
use crate::moodle::Layout;
use crate::settings::Settings;
use crate::setup::answers::{Answers, time_of_day};
use crate::setup::disks::Way;
use crate::setup::units::{self, Units};
use crate::setup::{discover, needs};
use crate::sys::mounts;
use std::path::{Path, PathBuf};

/// Those of a file, if one is named, and over them those of the options.
pub fn from_options(args: &cli::Setup) -> Result<Answers> {
    let mut answers = args.answers.as_deref().map(Answers::read).transpose()?.unwrap_or_default();
    over(&mut answers, args)?;
    Ok(answers)
}

/// What the options say, whatever was answered.
pub fn over(answers: &mut Answers, args: &cli::Setup) -> Result<()> {
    answers.site.root = args.root.clone().or(answers.site.root.take());
    answers.site.name = args.name.clone().or(answers.site.name.take());
    answers.target = args.target.as_ref().map(|path| folder(path)).or(answers.target.take());
    answers.schedule.nightly = args.time.clone().or(answers.schedule.nightly.take());
    answers.notification.mail = args.mail.clone().or(answers.notification.mail.take());
    answers.first_backup = args.first_backup.then_some(true).or(answers.first_backup);
    answers.install_packages = args.install_packages.then_some(true).or(answers.install_packages);
    if let Some(time) = &answers.schedule.nightly {
        time_of_day(time).map_err(Fault::usage)?;
    }
    Ok(())
}

/// A folder that was named: of a disk that is mounted there, or a plain one.
pub fn folder(path: &Path) -> Way {
    let disk = path.is_dir() && mounts::of(path).is_ok_and(|mount| mount.point != Path::new("/"));
    let path = path.to_path_buf();
    if disk { Way::Mounted { path } } else { Way::Folder { path } }
}

/// Fills in what the settings say already.
pub fn from_settings(answers: &mut Answers, old: &Settings) {
    let site = &mut answers.site;
    site.root.get_or_insert_with(|| old.site.root.clone());
    site.name.get_or_insert_with(|| old.site.name.clone());
    site.php = site.php.take().or_else(|| old.site.php.clone());
    site.web_user = site.web_user.take().or_else(|| old.site.web_user.clone());
    site.services.get_or_insert_with(|| old.site.services.clone());
    answers.directories.get_or_insert_with(|| old.directories.paths.clone());
    answers.target.get_or_insert_with(|| match old.target.mount_uuid {
        Some(_) => Way::Mounted { path: old.target.path.clone() },
        None => folder(&old.target.path),
    });
}

impl Wizard<'_> {
    /// Everything that was not answered, as it would be proposed.
    pub fn resolve(&mut self) -> Result<()> {
        if let Some(predecessor) = &self.answers.predecessor {
            let translation = crate::setup::predecessor::read(&predecessor.settings)?;
            super::predecessor::propose(&mut self.answers, &translation);
        }
        if self.answers.site.root.is_none() {
            self.answers.site.root = Some(self.only_site()?);
        }
        self.require_own_settings()?;
        self.install_missing()?;
        self.take_web_user();
        self.looked = Some(site::looked(self)?);
        // Only a site that can be read tells which database and what else it needs; without its client nothing was measured.
        if self.install_missing()? {
            self.looked = Some(site::looked(self)?);
        }
        let units = Units::of(&self.session.paths, &self.file);
        let time = units.present().filter(|_| self.old.is_some()).unwrap_or_else(|| self.proposed_time());
        self.answers.schedule.nightly.get_or_insert(time);
        let verify = self.old.is_none() || units::is_enabled(&units.verify_timer());
        self.answers.schedule.weekly_verify.get_or_insert(verify);
        self.propose_rest();
        Ok(())
    }

    /// A settings file that is not named is not taken from another site that is still here, and would have no backups any more.
    fn require_own_settings(&self) -> Result<()> {
        let (Some(old), Some(root)) = (&self.old, &self.answers.site.root) else { return Ok(()) };
        let is_own = turns::whole(root) == turns::whole(&old.site.root);
        if is_own || self.session.global.settings.is_some() || Layout::find(&old.site.root).is_err() {
            return Ok(());
        }
        let own = turns::file_named(&self.session.paths, &self.free_name(root, &self.known()));
        let (file, there) = (self.file.display(), old.site.root.display());
        Err(Fault::unfit(format!("{file} is the settings file of another site, {there}, which is still here"))
            .hint(format!(
                "a further site has settings of its own: moodle-backup --settings {} setup ...; to give this file to {} all the same, \
                 after which {there} has no backups: --settings {file}",
                own.display(),
                root.display()
            ))
            .into())
    }

    /// What no page asks for, or what has a proposal that does without asking.
    pub fn propose_rest(&mut self) {
        self.answers.directories.get_or_insert_with(more::proposed);
        self.answers.site.services.get_or_insert_with(units::web_services);
        self.answers.site.name = Some(self.name());
    }

    /// The user of PHP's pools is the web user of a site whose settings are his, unless somebody has named one.
    pub fn take_web_user(&mut self) {
        let found = self.discovery.iter().flat_map(|found| &found.sites);
        let mut found = found.filter(|it| self.answers.site.root.as_ref() == Some(&it.root));
        let web_user = found.next().and_then(|it| it.web_user.clone());
        self.answers.site.web_user = self.answers.site.web_user.take().or(web_user);
    }

    fn only_site(&mut self) -> Result<PathBuf> {
        let discovery = self.discovery().clone();
        match discovery.sites.as_slice() {
            [one] if one.foreign => {
                Err(Fault::unfit(format!("the only site is not taken unasked: {}", discover::told(one)))
                    .hint(format!("if it is the one: --root {}", one.root.display()))
                    .into())
            }
            [one] => Ok(one.root.clone()),
            [] => Err(Fault::unfit(format!("no Moodle site was found; looked at: {}", discovery.looked_at.join(", ")))
                .hint("name the folder with its config.php: --root DIR")
                .into()),
            several => {
                let several: Vec<String> = several.iter().map(discover::told).collect();
                Err(Fault::unfit(format!("there is more than one site here: {}", several.join("; ")))
                    .hint("say which: --root DIR; and give each a settings file: --settings FILE")
                    .into())
            }
        }
    }

    /// Whether anything was installed.
    fn install_missing(&mut self) -> Result<bool> {
        let missing = self.missing();
        let packages = needs::packages(&missing);
        if packages.is_empty() {
            return Ok(false);
        }
        if self.answers.install_packages == Some(true) {
            if self.planned {
                self.to_install = Some(packages);
                return Ok(false);
            }
            needs::install(&packages, self.log())?;
            return Ok(true);
        }
        let required: Vec<&str> = missing.iter().filter(|need| need.required).map(|need| need.what.as_str()).collect();
        if required.is_empty() {
            return Ok(false);
        }
        Err(Fault::unfit(format!("what a backup needs is missing: {}", required.join(", ")))
            .hint(format!("{}; or let it be done: --install-packages", needs::command(&packages)))
            .into())
    }
}
