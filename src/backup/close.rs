//! Closing the site in a run: what is got ready beforehand, so that the window is short, and the steps that some
//! administrators want round it.

use super::Job;
use crate::database::Session;
use crate::error::{Fault, OrFault, Result};
use crate::moodle::{Facts, maintenance_page};
use crate::preflight::{Site, read_site};
use crate::settings::{Settings, WindowMode};
use crate::sys::log::Log;
use crate::sys::process::Program;
use crate::sys::process::unit;
use crate::sys::{priority, signals, time};
use crate::window::{self, Hold, Request, Window};
use std::ffi::OsStr;
use std::time::Duration;

/// A run of Moodle's cron can take hours; one that does is left to go on by itself.
const CRON_TIMEOUT: Duration = Duration::from_secs(3600);
const PURGE_TIMEOUT: Duration = Duration::from_secs(600);

/// The first branch whose cron.php keeps running for minutes unless told otherwise (`--keep-alive`).
const FIRST_WITH_KEEP_ALIVE: u32 = 402;

/// Everything that closing needs, ready.
#[derive(Debug)]
pub struct Closing<'a> {
    job: &'a Job<'a>,
    site: &'a Site,
    mode: WindowMode,
    stays: bool,
    session: Session,
    page: Vec<u8>,
    services: Vec<String>,
}

impl<'a> Closing<'a> {
    /// Gets everything ready while the site is open.
    ///
    /// `stays` says that the site will stay closed until the dumps are complete, whatever the mode.
    pub fn prepare(job: &'a Job, site: &'a Site, mode: WindowMode, stays: bool, log: &Log) -> Result<Self> {
        if job.settings.window.cron_before {
            log.info("running Moodle's cron");
            if let Err(error) = cron_before(job, site) {
                signals::check()?;
                log.warn(format!("Moodle's cron before the backup: {error:#}"));
            }
        }
        let page = maintenance_page(&site.layout, &site.php).unwrap_or_else(|error| {
            log.detail(format!("users will see a plain page, since Moodle gave none: {error:#}"));
            window::fallback_page()
        });
        let stop = job.hold == Some(Hold::None) || job.settings.window.stop_services;
        let services = if stop { window::active(&job.settings.site.services)? } else { Vec::new() };
        Ok(Closing { job, site, mode, stays, session: site.connection.session()?, page, services })
    }

    /// Closes the site and waits until it has come to rest; `None` where the window's mode is not to close it.
    pub fn close(&mut self, log: &Log) -> Result<Option<Window>> {
        priority::set_for_this_thread(0, priority::Io::Normal);
        let facts = Facts::read(&mut self.session, &self.site.connection, &self.site.config.prefix)?;
        if facts.upgrade_running(time::now().timestamp()) {
            return Err(Fault::failed("an upgrade of Moodle has begun during the backup")
                .hint("back it up when the upgrade is complete")
                .into());
        }
        let settings = &self.job.settings.window;
        let max = match self.mode {
            WindowMode::None => return Ok(None),
            WindowMode::Short if !self.stays => settings.max,
            WindowMode::Short | WindowMode::Full => settings.full_max,
        };
        let request = Request {
            paths: self.job.paths,
            site: &self.job.settings.site.name,
            dataroot: &self.site.config.dataroot,
            user: self.site.web_user(),
            page: &self.page,
            page_mode: self.site.config.file_mode,
            services: std::mem::take(&mut self.services),
            max,
            tally: &self.job.closed,
            restoring: false,
        };
        let window = Window::close(&request, log)?;
        signals::wait(settings.settle)?;
        window::drain(&mut self.session, settings.drain, log)?;
        if settings.purge_caches {
            purge_caches(self.site, log)?;
        }
        Ok(Some(window))
    }

    /// A session with the site's database.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }
}

fn purge_caches(site: &Site, log: &Log) -> Result<()> {
    log.info("purging Moodle's caches");
    script(site, "purge_caches.php")?
        .timeout(PURGE_TIMEOUT)
        .success()
        .or_fault(|| Fault::failed("Moodle cannot purge its caches").hint("set purge_caches in [window] to false"))?;
    Ok(())
}

/// Runs Moodle's cron. It may have anything to do, such as to send mail by a program that a sandbox stops: so in a
/// sandbox this program does it, by its command `cron`, from outside.
fn cron_before(job: &Job, site: &Site) -> Result<()> {
    if !unit::in_sandbox() {
        return cron(site)?.timeout(CRON_TIMEOUT).success().map(drop);
    }
    let unit = format!("moodle-backup-cron-{}-{}", job.settings.site.name, std::process::id());
    own_cron(job)?.timeout(CRON_TIMEOUT).output_outside(&unit)?.require_success("Moodle's cron")
}

/// This program's command `cron`.
fn own_cron(job: &Job) -> Result<Program> {
    let program = std::env::current_exe().or_fault(|| Fault::failed("cannot find the program itself"))?;
    let args = [OsStr::new("--settings"), job.settings.file.as_os_str(), OsStr::new("cron")];
    Ok(Program::new(program).args(args).env("MOODLE_BACKUP_ROOT", job.paths.root()))
}

/// Starts Moodle's cron, where the settings want that after a run, in a process apart from this one: it may go on for
/// hours, and what is started in a unit of systemd's ends with that unit. The process is this program again, by its
/// command `cron`, since the environment of PHP, which may hold secrets, must not be told to systemd.
pub fn cron_after(job: &Job, log: &Log) -> Result<()> {
    if !job.settings.window.cron_after || job.hold.is_some() {
        return Ok(());
    }
    log.info("starting Moodle's cron in the background");
    let program = std::env::current_exe().or_fault(|| Fault::failed("cannot find the program itself"))?;
    let args = [OsStr::new("--settings"), job.settings.file.as_os_str(), OsStr::new("cron")];
    let (site, root) = (&job.settings.site.name, job.paths.root());
    match unit::systemd_runs() {
        true => unit::start(
            &format!("moodle-backup-cron-{site}-{}", std::process::id()),
            &format!("Cron of Moodle site {site} after a backup"),
        )
        .arg(format!("--setenv=MOODLE_BACKUP_ROOT={}", root.display()))
        .arg("--")
        .arg(program)
        .args(args)
        .success()
        .map(drop),
        false => Program::new(program).args(args).env("MOODLE_BACKUP_ROOT", root).spawn_detached(),
    }
}

/// Runs Moodle's cron to its end, however long that takes.
pub fn run_cron(settings: &Settings) -> Result<()> {
    cron(&read_site(settings)?)?.success().map(drop)
}

fn cron(site: &Site) -> Result<Program> {
    let program = script(site, "cron.php")?;
    let keeps_alive = site.release.branch.parse::<u32>().is_ok_and(|branch| branch >= FIRST_WITH_KEEP_ALIVE);
    Ok(if keeps_alive { program.arg("--keep-alive=0") } else { program })
}

fn script(site: &Site, name: &str) -> Result<Program> {
    let path = site.layout.cli(&site.config.admin, name).ok_or_else(|| {
        Fault::failed(format!("this Moodle has no admin/cli/{name}")).hint("is the code tree complete?")
    })?;
    Ok(site.php.start().folder(&site.layout.root).arg(path))
}
