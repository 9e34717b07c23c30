//! The answers of a set-up that was broken off, by Ctrl-C or a lost connection: kept from page to page, offered by the next call,
//! gone when all is done. Neither passwords are kept, nor that all on a disk may be lost: both are asked for again.

use super::ask::Reply;
use super::pages::{self, DATABASES, PLACE};
use super::{Wizard, site, turns};
use crate::cli;
use crate::error::Result;
use crate::hashes;
use crate::setup::answers::Answers;
use crate::setup::disks::{Device, Way};
use crate::sys::{files, human, time};
use chrono::{DateTime, Local, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

const HELP: &str = "\
Yes goes on with the question at which it ended; with < those before can be seen again, with your answers. No forgets them, and begins \
anew. Passwords were not kept, and are asked for again; so is a disk with something on it.";

/// What is kept.
#[derive(Debug, Deserialize, Serialize)]
struct BrokenOff {
    when: DateTime<Utc>,
    /// The page that comes next.
    page: String,
    wanted: Option<Vec<String>>,
    /// The settings file that is to be written, and what it was made of.
    file: PathBuf,
    named_by_site: bool,
    settings: Option<String>,
    further: bool,
    waiting: Vec<PathBuf>,
    answers: Answers,
    /// The disk as it was seen: another one of its name is not taken for it.
    seen: Option<Device>,
}

impl Wizard<'_> {
    /// Keeps what was answered, for a call that goes on with this page. That it cannot be kept stands in nobody's way.
    pub fn keep_answers(&mut self, page: &str) {
        if !self.several || self.planned {
            return;
        }
        let file = self.session.paths.answers();
        let written = serde_json::to_vec_pretty(&self.broken_off(page)).is_ok_and(|text| {
            files::make_folders(files::parent(&file), 0o755).is_ok()
                && files::write_durably(&file, &text, 0o600).is_ok()
        });
        self.person.is_kept = written;
    }

    /// Forgets them: all is done, or begun anew.
    pub fn forget_answers(&mut self) {
        if self.several {
            let _ = std::fs::remove_file(self.session.paths.answers());
            self.person.is_kept = false;
        }
    }

    fn broken_off(&self, page: &str) -> BrokenOff {
        let (mut answers, mut seen, mut page) = (self.answers.clone(), self.seen.clone(), page);
        let is_typed = |file: &PathBuf| self.accounts.iter().any(|(known, _)| known == file);
        answers.databases.retain(|it| !it.options_file.as_ref().is_some_and(is_typed));
        if !self.accounts.is_empty() && pages::is_before(DATABASES, page) {
            page = DATABASES;
        }
        if matches!(answers.target, Some(Way::Format { destroy: Some(_), .. })) {
            (answers.target, seen) = (None, None);
            page = if pages::is_before(PLACE, page) { PLACE } else { page };
        }
        BrokenOff {
            when: time::now(),
            page: page.to_owned(),
            wanted: self.wanted.as_ref().map(|titles| titles.iter().map(|it| (*it).to_owned()).collect()),
            file: self.file.clone(),
            named_by_site: self.named_by_site,
            settings: fingerprint(&self.file),
            further: self.is_further(),
            waiting: self.waiting.iter().cloned().collect(),
            answers,
            seen,
        }
    }

    /// Offers to go on where an earlier call was broken off; the page with which.
    pub fn go_on(&mut self, args: &cli::Setup) -> Result<Option<&'static str>> {
        let Some(kept) = self.broken_off_before().filter(|_| !self.planned) else { return Ok(None) };
        if kept.settings != fingerprint(&kept.file) {
            self.person.tell("What was answered in an earlier set-up is forgotten: the settings have changed since.");
            self.forget_answers();
            return Ok(None);
        }
        let page = pages::known(&kept.page);
        let root = kept.answers.site.root.as_deref().unwrap_or(Path::new("a folder"));
        self.person.tell(&format!(
            "\nA set-up of the site in {} was broken off {} ago ({}), at {:?}. Its answers are kept.",
            root.display(),
            human::age((time::now() - kept.when).num_seconds()),
            kept.when.with_timezone(&Local).format("%Y-%m-%d %H:%M"),
            kept.page
        ));
        let reply = loop {
            match self.person.yes("Go on with them?", HELP, true)? {
                Reply::Given(yes) => break yes,
                Reply::Back => {}
            }
        };
        if !reply {
            self.forget_answers();
            return Ok(None);
        }
        self.take(kept)?;
        super::unasked::over(&mut self.answers, args)?;
        Ok(if site::look(self)? { page } else { Some(pages::SITE) })
    }

    /// What is kept, of the site and the settings that this call is about.
    fn broken_off_before(&self) -> Option<BrokenOff> {
        let text = std::fs::read(self.session.paths.answers()).ok()?;
        let kept: BrokenOff = serde_json::from_slice(&text).ok()?;
        let root = kept.answers.site.root.as_deref().map(turns::whole);
        let is_meant = self.meant.is_none() || self.meant == root;
        let in_file = self.session.global.settings.is_none() || kept.file == self.file;
        Some(kept).filter(|_| is_meant && in_file)
    }

    fn take(&mut self, kept: BrokenOff) -> Result<()> {
        self.old = turns::filled(&kept.file)?;
        self.wanted = kept.wanted.map(|titles| titles.iter().filter_map(|it| pages::known(it)).collect());
        self.goes_on_with_further = kept.further;
        (self.file, self.named_by_site) = (kept.file, kept.named_by_site);
        (self.answers, self.seen, self.waiting) = (kept.answers, kept.seen, kept.waiting.into());
        self.person.is_kept = true;
        Ok(())
    }
}

/// By what a settings file is known to be as it was.
fn fingerprint(file: &Path) -> Option<String> {
    let text = std::fs::read(file).ok()?;
    Some(hashes::to_hex(&Sha256::digest(text)))
}
