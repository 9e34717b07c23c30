//! A restore in place, from lock to report: the page to read first. What is there now is set aside by renaming and never
//! deleted; whatever ends a restore before its end, the site comes back to the state it was found in.

mod apart;
mod check;
mod code_changes;
mod collations;
mod environment;
mod exchange;
mod here;
mod lacking;
mod links;
mod load;
mod lost_config;
mod place;
mod plan;
mod relocate;
mod revert;
mod room;
mod stage;

pub use code_changes::CodeChanges;
pub use here::Here;
pub use lost_config::lost_database;
pub use place::{Database, Place, Server, resolved};
pub use plan::{Piece, Plan, plan};
pub use revert::{Found, Undoing, discard, kept, last, nothing_aside, take_back, undone};

use crate::backup;
use crate::error::{Fault, OrFault, Result, unpanicked};
use crate::moodle::{MAINTENANCE_PAGE, maintenance_page};
use crate::preflight::{Site, read_site};
use crate::settings::Settings;
use crate::store::{Backup, Part};
use crate::sys::folder_lock::FolderLock;
use crate::sys::log::Log;
use crate::sys::paths::Paths;
use crate::sys::priority;
use crate::undo::{self, Broom, Changes, Record};
use crate::window::{self, Request, Tally, Window};
use std::path::PathBuf;
use std::time::Duration;

/// The steps of a restore in their order, by the names that log and status show.
pub const STEPS: [&str; 11] =
    ["lock", "preflight", "verify", "stage", "close", "exchange", "load", "post", "check", "reopen", "report"];

/// A restore takes as long as its database takes to load: its guard only looks whether it is alive.
const NO_LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// What to do.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// The site and all about it.
    pub settings: &'a Settings,
    /// The program's own folders.
    pub paths: &'a Paths,
    /// The site's folder on the target.
    pub site_folder: PathBuf,
    /// What is brought back.
    pub backup: &'a Backup,
    /// Which parts of it.
    pub parts: Vec<Part>,
    /// Whether the present config.php stays.
    pub keep_config: bool,
    /// Whether it goes on although PHP or the database is older than this Moodle asks for.
    pub ignore_environment: bool,
    /// An option file with an administrator's account of the database server.
    pub admin: Option<PathBuf>,
    /// Whether users' files may stay lost that the backup has lost.
    pub force: bool,
    /// Whether the backup was found without the settings: it may be another site's.
    pub from_elsewhere: bool,
    /// Another place than the one that the backup and the site's config.php say.
    pub place: Option<Place>,
}

impl Job<'_> {
    fn wants(&self, part: &Part) -> bool {
        self.parts.contains(part)
    }

    /// Whether what others had defined in the database may become theirs again by this backup's word. A backup from elsewhere may have
    /// been written by anybody, who would so become the database's root; and in another place the names in it may still lead to the
    /// original, where Moodle's account of there does not come.
    fn may_give_definers(&self) -> bool {
        self.place.is_none() && !self.from_elsewhere
    }
}

/// What a restore leaves.
#[derive(Debug)]
pub struct Outcome {
    /// For how many seconds the site was closed.
    pub closed_seconds: f64,
    /// What was replaced, for an undo.
    pub record: Record,
    /// Pool files that were brought back.
    pub pool_files: u64,
    /// Whether a site is there now where none was: then nothing was set aside.
    pub new: bool,
}

/// What is under way. Dropped in this order: everything is put back, then the site is opened, then what was laid ready
/// is deleted.
struct Work {
    changes: Changes,
    window: Option<Window>,
    broom: Broom,
    site: Locked,
}

/// A site's lock.
struct Locked {
    _lock: FolderLock,
    /// The dataroot, where that had to be made for its lock. It goes with the lock if nothing came into it.
    made: Option<PathBuf>,
}

impl Drop for Locked {
    fn drop(&mut self) {
        // One that holds anything stays.
        let _ = self.made.as_ref().map(std::fs::remove_dir);
    }
}

impl Work {
    fn begin(paths: &Paths, record: Record, site: Locked, log: &Log) -> Result<Work> {
        let mut changes = Changes::begin(paths, record, log)?;
        if let Some(made) = &site.made {
            changes.note_dataroot(made)?;
        }
        Ok(Work { changes, window: None, broom: Broom::new(paths, log), site })
    }

    /// All is well: opens the site, then deletes what is left of a restore that was taken back. For how many seconds it was closed.
    fn keep(self) -> Result<(Record, f64)> {
        let Work { changes, window, broom, site } = self;
        let record = changes.keep()?;
        let closed = window.map(Window::reopen).transpose()?;
        drop(broom);
        drop(site);
        Ok((record, closed.map_or(0.0, |closed| closed.seconds)))
    }
}

/// Brings the parts back. On an error everything is as it was before.
pub fn run(job: &Job, log: &Log) -> Result<Outcome> {
    unpanicked(|| restored(job, log))
}

fn restored(job: &Job, log: &Log) -> Result<Outcome> {
    log.step("lock")?;
    let _held = job.backup.hold()?;
    let (here, lock) = hold(|| Here::look(job), job.paths, &job.settings.site.name, log)?;

    log.step("preflight")?;
    here.require(job, log)?;
    environment::compare(job, &here).require(job, log)?;
    priority::set_for_this_thread(0, priority::Io::Normal);

    log.step("verify")?;
    stage::verify(job, log)?;

    log.step("stage")?;
    let what = format!("backup {}", job.backup.name);
    let record = Record::new(&job.settings.site.name, &here.root, &here.dataroot, &here.web_user.name, what);
    let mut work = Work::begin(job.paths, record, lock, log)?;
    if here.is_new() {
        work.changes.occupy(&here.dataroot, &here.web_user)?;
        put_up_page(&here)?;
    }
    let mut staged = stage::stage(job, &here, &mut work.changes, log)?;

    log.step("close")?;
    if !here.is_new() {
        work.window = Some(close(job.paths, job.settings, &here, log)?);
    }

    log.step("exchange")?;
    exchange::all(job, &here, &staged, &mut work.changes, log)?;
    let site = match (&job.place, staged.config.take()) {
        (Some(place), Some(config)) => Some(config.prove(job, &here, place, log)?),
        // The site's code is not there, and was not asked for.
        _ if !job.wants(&Part::Code) && here.site.is_none() => None,
        _ => Some(read_again(job.settings, &here)?),
    };

    log.step("load")?;
    let loaded = load::databases(job, &here, site.as_ref(), &mut work.changes, log)?;

    log.step("post")?;
    load::post(job, site.as_ref(), loaded, log)?;

    log.step("check")?;
    check::site(job, &here, site.as_ref(), log)?;

    log.step("reopen")?;
    if here.is_new() {
        take_down_page(&here)?;
    } else if job.wants(&Part::Code) {
        window::reload(&job.settings.site.services, log);
    }
    let (mut record, closed_seconds) = work.keep()?;
    if let Some(site) = &site {
        check::over_http(site, here.is_new(), log);
    }
    if here.is_new() {
        // Nothing was replaced, so there is nothing that an undo would bring back.
        undo::discard(job.paths, &record)?;
        record.folders.clear();
    }

    log.step("report")?;
    Ok(Outcome { closed_seconds, record, pool_files: staged.pool_files, new: here.is_new() })
}

/// Nobody is to come into a site that is half there; a web server may have been set up for it already.
fn put_up_page(here: &Here) -> Result<()> {
    let page = here.dataroot.join(MAINTENANCE_PAGE);
    std::fs::write(&page, window::fallback_page())
        .or_fault(|| Fault::failed(format!("cannot write {}", page.display())))
}

fn take_down_page(here: &Here) -> Result<()> {
    let page = here.dataroot.join(MAINTENANCE_PAGE);
    std::fs::remove_file(&page).or_fault(|| Fault::failed(format!("cannot remove {}", page.display())))
}

/// The site, and its lock. Whoever held it before, or had died at work, may have changed the site: so it is looked at again.
fn hold(look: impl Fn() -> Result<Here>, paths: &Paths, site: &str, log: &Log) -> Result<(Here, Locked)> {
    let before = look()?;
    let lock = lock(paths, site, &before, log)?;
    let here = look()?;
    match here.dataroot == before.dataroot {
        true => Ok((here, lock)),
        false => Err(Fault::failed("the site was changed by another restore just now").hint("try again").into()),
    }
}

/// The site's lock; then what an interrupted restore or run has left is undone. A dataroot that is gone is made: the lock
/// and the page that closes the site are to be in it.
fn lock(paths: &Paths, site: &str, here: &Here, log: &Log) -> Result<Locked> {
    let dataroot = &here.dataroot;
    here.require_places()?;
    let is_lost = !dataroot.exists() && !here.is_new();
    if is_lost {
        undo::make_folder_for(dataroot, &here.web_user)?;
    }
    let made = is_lost.then(|| dataroot.clone());
    let lock = backup::hold_site(paths, site, dataroot, log).inspect_err(|_| {
        let _ = made.as_ref().map(std::fs::remove_dir);
    })?;
    Ok(Locked { _lock: lock, made })
}

/// Closes the site, for as long as it takes.
fn close(paths: &Paths, settings: &Settings, here: &Here, log: &Log) -> Result<Window> {
    let made = here.site.as_ref().and_then(|site| maintenance_page(&site.layout, &site.php).ok());
    let page = made.unwrap_or_else(window::fallback_page);
    let request = Request {
        paths,
        site: &settings.site.name,
        dataroot: &here.dataroot,
        user: &here.web_user,
        page: &page,
        page_mode: here.site.as_ref().map_or(0o660, |site| site.config.file_mode),
        services: Vec::new(),
        max: NO_LIMIT,
        tally: &Tally::default(),
        restoring: true,
    };
    let window = Window::close(&request, log)?;
    // A site whose database is gone has come to rest.
    if let Some(mut session) = here.site.as_ref().and_then(|site| site.connection.session().ok()) {
        window::drain(&mut session, settings.window.drain, log)?;
    }
    Ok(window)
}

/// The site as it is with what was brought back.
fn read_again(settings: &Settings, here: &Here) -> Result<Site> {
    let site = read_site(settings)?;
    if site.config.dataroot != here.dataroot {
        return Err(Fault::failed(format!(
            "the config.php that was brought back names the dataroot {}, and the site here has {}",
            site.config.dataroot.display(),
            here.dataroot.display()
        ))
        .hint("--keep-config keeps the present config.php")
        .into());
    }
    Ok(site)
}
