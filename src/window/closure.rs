//! What was changed to close a site and how to undo it, written down before it is done, so that any later process can
//! undo it without settings. Lies in `/var/lib/moodle-backup/closed/`.

use super::{Request, now, page, services};
use crate::error::{Fault, OrFault, Result};
use crate::hashes::to_hex;
use crate::sys::files;
use crate::sys::log::Log;
use crate::sys::paths::Paths;
use crate::sys::privileges::{Identity, as_user};
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use std::path::{Path, PathBuf};

/// How a site is left closed on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hold {
    /// In maintenance, the web server running.
    Half,
    /// In maintenance, the web server stopped.
    None,
}

impl Hold {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Hold::Half => "half",
            Hold::None => "none",
        }
    }
}

/// A closed site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closure {
    /// Name of the site in its settings.
    pub site: String,
    /// Its dataroot.
    pub dataroot: PathBuf,
    /// The web user.
    pub user: Identity,
    /// Stands in our page, so that nobody else's page is ever taken down.
    pub nonce: String,
    /// Whether the page is ours; false if the site was in maintenance already.
    pub page_put_up: bool,
    /// Services that ran and were stopped.
    pub services: Vec<String>,
    /// Whether parts of the site are being replaced: a crash must undo that before the site is opened.
    #[serde(default)]
    pub restoring: bool,
    /// Set while the site is left closed on purpose.
    pub held: Option<Hold>,
    /// The run that closed it.
    pub pid: u32,
    /// When, in seconds since 1970.
    pub closed_at: i64,
    /// That run's log.
    pub log: Option<PathBuf>,
}

impl Closure {
    pub(super) fn new(request: &Request, log: Option<PathBuf>) -> Self {
        let (pid, closed_at) = (std::process::id(), now());
        let unique = format!("{pid} {closed_at} {:?}", std::time::Instant::now());
        Closure {
            site: request.site.to_owned(),
            dataroot: request.dataroot.to_path_buf(),
            user: request.user.clone(),
            nonce: to_hex(&Sha1::digest(unique)),
            // Until it is known: taking down a page that is not ours is impossible anyway.
            page_put_up: true,
            services: request.services.clone(),
            restoring: request.restoring,
            held: None,
            pid,
            closed_at,
            log,
        }
    }

    /// The folder of all such notes.
    pub(super) fn folder(paths: &Paths) -> PathBuf {
        paths.state().join("closed")
    }

    /// Where the note about a site lies, if a run is at work on it or has died.
    pub(super) fn file_for(paths: &Paths, dataroot: &Path) -> PathBuf {
        Self::folder(paths).join(format!("{}.json", files::unique_name(dataroot)))
    }

    pub(super) fn state_file(&self, paths: &Paths) -> PathBuf {
        Self::file_for(paths, &self.dataroot)
    }

    pub(super) fn write(&self, state: &Path) -> Result<()> {
        files::make_folders(files::parent(state), 0o700)?;
        files::write_durably(state, &serde_json::to_vec_pretty(self)?, 0o600)
    }

    /// Reads a note.
    pub(super) fn read(state: &Path) -> Result<Self> {
        let read = || -> Result<Self> { Ok(serde_json::from_slice(&std::fs::read(state)?)?) };
        read().or_fault(|| {
            Fault::failed(format!("cannot read {}, which says how to reopen a site", state.display()))
                .hint("if the site is closed, delete climaintenance.html in its dataroot; then delete this file")
        })
    }

    /// Where the note lies while the site is held: apart, so that later runs do not take it for their own.
    pub(super) fn held_file(state: &Path) -> PathBuf {
        state.with_extension("held.json")
    }

    pub(super) fn hold(&mut self, hold: Hold, state: &Path) -> Result<()> {
        let held_file = Self::held_file(state);
        if held_file.exists() {
            // Held before this run came: the page is that one's, and what either has stopped is to be started.
            let earlier = Self::read(&held_file)?;
            let ours = std::mem::take(&mut self.services);
            self.clone_from(&earlier);
            let new = ours.into_iter().filter(|unit| !earlier.services.contains(unit));
            self.services.extend(new);
        }
        self.held = Some(hold);
        self.write(&held_file)?;
        std::fs::remove_file(state)?;
        files::sync_folder(files::parent(state))
    }

    /// An error while the page may be out of sight, as at boot before moodledata is mounted: the note must stay then.
    fn require_dataroot(&self, state: &Path) -> Result<()> {
        let has_entries = || Ok(std::fs::read_dir(&self.dataroot)?.next().is_some());
        match as_user(&self.user, has_entries) {
            Ok(true) => Ok(()),
            _ if !self.page_put_up => Ok(()),
            _ => Err(Fault::failed(format!("{} is empty or missing: is it not mounted?", self.dataroot.display()))
                .hint(format!(
                    "mount it, then run \"moodle-backup recover\"; if the site is gone for good, delete {}",
                    state.display()
                ))
                .into()),
        }
    }

    /// Brings the site back to the state it was found in. Safe to repeat, and safe beside another process that does
    /// the same. The page goes first: it needs nothing but the local disk.
    pub(super) fn undo(&self, state: &Path, log: &Log) -> Result<()> {
        let page = page::take_down(self);
        let services = services::start(&self.services, log);
        let was_there = page?;
        services?;
        // Where the page was seen, its folder is mounted, whatever else is in it.
        if !was_there {
            self.require_dataroot(state)?;
        }
        match std::fs::remove_file(state) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => files::sync_folder(files::parent(state)),
        }
    }
}
