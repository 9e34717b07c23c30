//! A run, from lock to report: the page to read first. Each step is announced by its name, and each is done elsewhere.
//! What is published is never written again; whatever ends a run, the site comes back to the state it was found in.

mod close;
mod dumps;
mod files;
mod locks;
mod parts;
pub mod plan;
mod record;

pub use close::run_cron;
pub use locks::{hold_site, hold_store};

use crate::error::{Fault, Kind, OrFault, Result, kind, unpanicked};
use crate::export::{self, Destination, To};
use crate::hooks::{Context, Hooks, Phase};
use crate::pool::Pool;
use crate::preflight::{self, Ready, Site};
use crate::prune;
use crate::settings::{Settings, WindowMode};
use crate::store::{Draft, Published, Sealing, Store};
use crate::sys::log::Log;
use crate::sys::paths::Paths;
use crate::sys::{priority, signals};
use crate::undo;
use crate::window::{Closed, Hold, Tally, Window};
use close::Closing;
use dumps::{Disturbed, Dumps};
use files::Files;
use parts::Parts;
use record::Record;
use std::path::{Path, PathBuf};

/// The steps of a run in their order, by the names that log and status show.
pub const STEPS: [&str; 15] = [
    "lock",
    "preflight",
    "pre-job",
    "copy-ahead",
    "close",
    "snapshot",
    "copy-delta",
    "maintenance",
    "reopen",
    "copy-referenced",
    "finish-dump",
    "seal",
    "prune",
    "post-job",
    "report",
];

/// What to do.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// The site and all about it.
    pub settings: &'a Settings,
    /// The program's own folders.
    pub paths: &'a Paths,
    /// `short`, `full` or `none`, from the settings or the command line.
    pub mode: WindowMode,
    /// How the site is left; `None` means as it was found.
    pub hold: Option<Hold>,
    /// Whether the timer started it.
    pub scheduled: bool,
    /// The administrator's note.
    pub label: Option<String>,
    /// Whether no backup is removed, whatever the rules ask for.
    pub keep_all: bool,
    /// Where the new backup is to be written as one file too.
    pub export: Option<PathBuf>,
    /// Where the run keeps account of how long it has closed the site, for its end, whatever that is.
    pub closed: Tally,
}

/// What a run leaves.
#[derive(Debug)]
pub struct Outcome {
    /// The new backup.
    pub published: Published,
    /// What was deleted to keep the rules.
    pub pruned: Vec<String>,
    /// The file that it was exported to.
    pub exported: Option<PathBuf>,
}

/// Makes a backup. On an error nothing of it is left under a final name, and the hooks for failures have run.
pub fn run(job: &Job, log: &Log) -> Result<Outcome> {
    let mut context = hook_context(job);
    let result = unpanicked(|| published(job, &mut context, log));
    let result = result.map_err(|error| as_end_of_run(error, context.backup.is_some(), log));
    if let Err(error) = &result
        && kind(error) != Kind::Skipped
        // By hand somebody sees that another run is at work; at night nobody does.
        && (job.scheduled || kind(error) != Kind::Locked)
    {
        context.result = "failed".into();
        context.closed = job.closed.totals().held;
        context.error = format!("{error:#}");
        context.backup = None;
        let hooks = Hooks::new(&job.settings.hooks);
        // What went wrong with them must not hide what went wrong before.
        if let Err(trouble) = hooks.and_then(|hooks| hooks.run(Phase::Failure, &context, log))
            && format!("{trouble:#}") != context.error
        {
            log.warn(format!("the hooks for failures did not run: {trouble:#}"));
        }
    }
    result
}

/// The error as the end of the run that it is. A signal is the reason for all that follows it; and what would have been
/// a refusal at first, such as a database that is gone, is a failure once the work has begun.
fn as_end_of_run(error: anyhow::Error, begun: bool, log: &Log) -> anyhow::Error {
    match (signals::check(), kind(&error)) {
        (_, Kind::Interrupted) => error,
        (Err(interrupted), _) => {
            log.detail(format!("{error:#}"));
            interrupted
        }
        (Ok(()), Kind::Unfit) if begun => {
            error.context(Fault::failed("the backup was begun and could not be completed"))
        }
        _ => error,
    }
}

fn published(job: &Job, context: &mut Context, log: &Log) -> Result<Outcome> {
    log.step("lock")?;
    let found = preflight::read_site(job.settings)?;
    let mut locks = locks::hold(job, &found, log)?;
    // Whoever held them before may have changed it, as may have the undoing of a restore that had died.
    let site = preflight::read_site(job.settings)?;
    if site.config.dataroot != found.config.dataroot {
        return Err(Fault::failed("the site was changed by a restore just now").hint("try again").into());
    }

    log.step("preflight")?;
    let ready = preflight::require(job.settings, &site, log)?;
    let hooks = Hooks::new(&job.settings.hooks)?;

    log.step("pre-job")?;
    hooks.run(Phase::PreJob, context, log)?;

    log.step("copy-ahead")?;
    let store = locks.store(job, &ready, log)?;
    make_room(job, &ready, &store, &locks, log)?;
    let previous = store.backups()?.newest().cloned();
    let draft = store.draft(store.new_label())?;
    context.backup = Some(draft.path().to_path_buf());
    priority::set_for_this_thread(job.settings.resources.nice, job.settings.resources.io);
    let pool = Pool::open(store.folder(), store.owner().gid())?;
    let suspects = store.set_damaged_aside(&pool, files::reading(job.settings), log)?;
    let mut files = Files::copy_ahead(job.settings, &site, pool, ready.forecast.pool_files, log)?;
    files.fetch_lost(&suspects.lost)?;
    let mut parts = Parts::new(job.settings, &site, &draft, previous.as_ref())?;
    parts.copy(log)?;
    let mut record = Record::begin(job, &site, &ready, &store, &draft, log)?;

    let capture = Capture { job, site: &site, ready: &ready, draft: &draft, hooks: &hooks, log };
    capture.all(&mut files, &mut parts, &mut record, context)?;
    parts.copy_late(log)?;

    log.step("seal")?;
    record.files(&files, &draft, previous.as_ref(), log)?;
    record.parts(&parts, log);
    let manifest = record.finish(log)?;
    let published =
        draft.seal(Sealing { manifest, previous: previous.as_ref(), log: log.activity().log.as_deref() })?;

    if let Some(trouble) = &published.trouble {
        log.warn(trouble);
    }
    context.backup = Some(published.path.clone());
    files.forget_mended(&store, &suspects, log);
    // With its folder for what is on its way: the hooks may copy all that is there.
    drop(files);
    let pruned = after_publishing(job, &store, &locks, &hooks, context, log);
    Ok(Outcome { published, pruned, exported: context.export.clone() })
}

/// Everything that needs the site to stand still for a moment, and what follows from it.
struct Capture<'a> {
    job: &'a Job<'a>,
    site: &'a Site,
    ready: &'a Ready,
    draft: &'a Draft,
    hooks: &'a Hooks<'a>,
    log: &'a Log,
}

impl Capture<'_> {
    /// Tries until a dump comes to its end undisturbed: in short windows first, at last in one that lasts as long as
    /// the dump, when nothing can disturb it.
    fn all(&self, files: &mut Files, parts: &mut Parts, record: &mut Record, context: &mut Context) -> Result<()> {
        let retries = self.job.settings.window.retries;
        for attempt in 0..=retries + 1 {
            let mode = match self.job.mode {
                WindowMode::Short if attempt > retries => WindowMode::Full,
                mode => mode,
            };
            match self.once(mode, files, parts, record, context)? {
                Ok(()) => return Ok(()),
                Err(disturbed) if attempt > retries => return Err(disturbed.into()),
                Err(disturbed) => self.log.warn(format!("{disturbed}; the dump is begun again")),
            }
        }
        unreachable!("the last attempt returns")
    }

    fn once(
        &self,
        mode: WindowMode,
        files: &mut Files,
        parts: &mut Parts,
        record: &mut Record,
        context: &mut Context,
    ) -> Result<Result<(), Disturbed>> {
        let log = self.log;
        let stays = mode == WindowMode::Full || self.hooks.any(Phase::Maintenance)?;
        let mut closing = Closing::prepare(self.job, self.site, mode, stays, log)?;
        // Declared before the window, so that on an error the site is open before anything else is tidied up.
        let mut dumps = Dumps::new(self.ready, self.draft, files.scratch());

        log.step("close")?;
        let mut window = closing.close(log)?;

        log.step("snapshot")?;
        dumps.start(&self.site.config.prefix, &self.job.settings.database, log)?;

        log.step("copy-delta")?;
        parts.copy_again(log)?;
        dumps.established(closing.session())?;
        record.snapshot_taken();
        files.hold_new(closing.session(), &self.site.config.prefix)?;
        if let Some(window) = &window {
            window.still_closed()?;
        }

        log.step("maintenance")?;
        if stays && let Err(disturbed) = self.stay(&mut dumps, window.as_mut(), context)? {
            return Ok(Err(disturbed));
        }

        log.step("reopen")?;
        record.window(mode, self.leave(window)?, self.job.closed.totals());

        log.step("copy-referenced")?;
        priority::set_for_this_thread(self.job.settings.resources.nice, self.job.settings.resources.io);
        files.copy_referenced(&self.site.connection, &self.site.config.prefix)?;

        log.step("finish-dump")?;
        if let Err(disturbed) = dumps.wait(Some(self.job.settings.window.blocked), log)? {
            return Ok(Err(disturbed));
        }
        let dumped = dumps.finish()?;
        files.copy_dumped(&dumped.referenced)?;
        record.dumps(dumped, log);
        Ok(Ok(()))
    }

    /// Stays closed until the dumps are complete, and for the administrator's own steps, whose time is their own.
    fn stay(
        &self,
        dumps: &mut Dumps,
        window: Option<&mut Window>,
        context: &mut Context,
    ) -> Result<Result<(), Disturbed>> {
        if let Err(disturbed) = dumps.wait(None, self.log)? {
            return Ok(Err(disturbed));
        }
        context.closed = window.is_some();
        match window {
            None => self.hooks.run(Phase::Maintenance, context, self.log)?,
            Some(window) => {
                window.pause_guard();
                window.still_closed()?;
                self.hooks.run(Phase::Maintenance, context, self.log)?;
                window.resume_guard();
            }
        }
        context.closed = false;
        Ok(Ok(()))
    }

    /// Brings the site back to the state it was found in, or leaves it closed if that was asked for.
    fn leave(&self, window: Option<Window>) -> Result<Option<Closed>> {
        match (window, self.job.hold) {
            (None, _) => Ok(None),
            (Some(window), None) => {
                let closed = window.reopen()?;
                self.log.info(format!("the site was closed for {:.2} s", closed.seconds));
                Ok(Some(closed))
            }
            (Some(window), Some(hold)) => {
                let closed = window.hold(hold)?;
                self.log.info("the site stays closed, as asked for: \"moodle-backup resume\" opens it");
                Ok(Some(closed))
            }
        }
    }
}

/// Where the settings allow it and room is short: removes what the rules do not ask for, before anything is copied. An
/// error if that is not enough.
fn make_room(job: &Job, ready: &Ready, store: &Store, locks: &locks::Locks, log: &Log) -> Result<()> {
    if job.keep_all
        || !job.settings.retention.make_room
        || preflight::require_room(job.settings, ready.forecast).is_ok()
    {
        return Ok(());
    }
    prune(job, store, locks, log)?;
    preflight::require_room(job.settings, ready.forecast).map(drop)
}

fn prune(job: &Job, store: &Store, locks: &locks::Locks, log: &Log) -> Result<Vec<String>> {
    let dataroot = store.backups()?.newest().map(|newest| newest.manifest.paths.dataroot.clone());
    let restored = dataroot.map(|dataroot| undo::restored(job.paths, &dataroot)).unwrap_or_default();
    let request = prune::Request { dry_run: false, whole_pool: false, restored: &restored };
    let outcome = prune::prune(store, &job.settings.retention.into(), request, locks.store_lock()?, log)?;
    outcome.warnings().into_iter().for_each(|warning| log.warn(warning));
    Ok(outcome.removed)
}

/// What follows a published backup. Nothing here can make it less of a backup: troubles are warnings.
fn after_publishing(
    job: &Job,
    store: &Store,
    locks: &locks::Locks,
    hooks: &Hooks,
    context: &mut Context,
    log: &Log,
) -> Vec<String> {
    let mut pruned = Vec::new();
    // Each for itself: a prune that fails must not keep the hooks from copying the backup elsewhere.
    let attempt = |step: &mut dyn FnMut() -> Result<()>| {
        if let Err(error) = unpanicked(step) {
            log.warn(format!("the backup is published, but what follows it was not completed: {error:#}"));
        }
    };
    attempt(&mut || {
        log.step("prune")?;
        if !job.keep_all {
            pruned = prune(job, store, locks, log)?;
        }
        Ok(())
    });
    attempt(&mut || {
        let name = context.backup.as_deref().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        context.export = job.export.as_ref().map(|to| export_new(job, store, &name, to, log)).transpose()?;
        Ok(())
    });
    attempt(&mut || {
        log.step("post-job")?;
        context.result = if log.warnings().is_empty() { "done".into() } else { "warnings".into() };
        context.closed = job.closed.totals().held;
        hooks.run(Phase::PostJob, context, log)?;
        close::cron_after(job, log)
    });
    attempt(&mut || log.step("report"));
    pruned
}

/// Writes the new backup as one file; where that is now.
fn export_new(job: &Job, store: &Store, name: &str, to: &Path, log: &Log) -> Result<PathBuf> {
    let fault = || Fault::failed("the new backup was not exported").hint(format!("moodle-backup export {name} FILE"));
    let write = || -> Result<PathBuf> {
        let to = To::typed(to);
        let compression = to.compression(false)?;
        let backup = store.find(name)?;
        let destination = Destination::begin(&to, store, &backup, compression, false)?;
        let path = destination.path().map(Path::to_path_buf).unwrap_or_default();
        let threads = job.settings.resources.threads as u32;
        export::export(&export::Job { store, backup: &backup, compression, threads }, destination, log)?;
        Ok(path)
    };
    write().or_fault(fault)
}

fn hook_context(job: &Job) -> Context {
    Context {
        site: job.settings.site.name.clone(),
        site_folder: job.settings.target.path.join(&job.settings.site.name),
        label: job.label.clone().unwrap_or_default(),
        scheduled: job.scheduled,
        restart: job.hold.map_or("full", Hold::name).into(),
        ..Context::default()
    }
}
