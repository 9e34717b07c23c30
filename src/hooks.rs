//! The administrator's own programs around a run, from `pre-job.d`, `maintenance.d`, `post-job.d` and `failure.d`.
//! They run as a user without rights of its own who may read everything and write nothing of a backup.

use crate::error::{Fault, OrFault, Result};
use crate::settings;
use crate::sys::log::Log;
use crate::sys::privileges::Identity;
use crate::sys::process::Program;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// `CAP_DAC_READ_SEARCH` of linux/capability.h: read any file and folder, write none.
const CAP_DAC_READ_SEARCH: u32 = 2;

/// The exit code by which a pre-job hook asks to skip the run, `EX_TEMPFAIL` of sysexits.h.
const SKIP: i32 = 75;

/// So many characters of an error are told to hooks; all of it is in the log.
const LONGEST_ERROR: usize = 4000;

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before anything is copied.
    PreJob,
    /// While the site is closed and all of it is copied.
    Maintenance,
    /// After the backup is published and the site is open.
    PostJob,
    /// After a run that failed.
    Failure,
}

impl Phase {
    /// As in the folder's name and in `MOODLE_BACKUP_PHASE`.
    pub fn name(self) -> &'static str {
        match self {
            Phase::PreJob => "pre-job",
            Phase::Maintenance => "maintenance",
            Phase::PostJob => "post-job",
            Phase::Failure => "failure",
        }
    }
}

/// What hooks are told. The predecessor's five arguments are made of it too: the site's folder, 1 for a run by hand
/// or 0, 1 (moodledata as a directory), 1 while in maintenance or 0, 1 if another call follows or 0.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Name of the site.
    pub site: String,
    /// The site's folder on the target: a copy of it is whole.
    pub site_folder: PathBuf,
    /// The backup's folder, once it is published; until then the one being made.
    pub backup: Option<PathBuf>,
    /// The file that the backup was exported to, if that was asked for and done.
    pub export: Option<PathBuf>,
    /// The run's label, if it has one.
    pub label: String,
    /// Whether the timer started the run.
    pub scheduled: bool,
    /// `full`, `half` or `none`.
    pub restart: String,
    /// Whether the site is closed at that time.
    pub closed: bool,
    /// How the run ended: `done`, `warnings`, `failed`; empty before its end.
    pub result: String,
    /// The error of a run that failed.
    pub error: String,
}

/// The hooks of one site.
#[derive(Debug)]
pub struct Hooks<'a> {
    settings: &'a settings::Hooks,
    user: Option<Identity>,
}

impl<'a> Hooks<'a> {
    /// Looks at the hooks there are: an error if one cannot be run safely.
    pub fn new(settings: &'a settings::Hooks) -> Result<Self> {
        let hooks = Hooks { settings, user: None };
        let mut any = false;
        for phase in [Phase::PreJob, Phase::Maintenance, Phase::PostJob, Phase::Failure] {
            any |= !hooks.programs(phase)?.is_empty();
        }
        let user = if any { Some(user(&settings.user)?) } else { None };
        Ok(Hooks { settings, user })
    }

    /// Whether there is any for this phase.
    pub fn any(&self, phase: Phase) -> Result<bool> {
        Ok(!self.programs(phase)?.is_empty())
    }

    /// Runs the hooks of a phase in the order of their names. Before the job the first failure ends the run, or skips
    /// it; later ones are warnings, and the others still run.
    pub fn run(&self, phase: Phase, context: &Context, log: &Log) -> Result<()> {
        for program in self.programs(phase)? {
            let outcome = self.run_one(&program, phase, context, log);
            match (phase, outcome) {
                (_, Ok(())) => {}
                (Phase::PreJob, Err(error)) => return Err(error),
                (_, Err(error)) => {
                    let lines: Vec<String> = crate::error::lines(&error);
                    let words: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
                    log.warn(words.join("; ").replacen("error: ", "", 1));
                }
            }
        }
        Ok(())
    }

    fn run_one(&self, path: &Path, phase: Phase, context: &Context, log: &Log) -> Result<()> {
        log.info(format!("hook {}", path.display()));
        // It may have anything to do. Names of hooks are fit for names of units.
        let unit =
            format!("moodle-backup-hook-{}-{}", path.file_name().unwrap_or_default().display(), std::process::id());
        let output = self.program(path, phase, context, log).output_outside(&unit).or_fault(|| failed(path))?;
        for line in output.text().lines().chain(output.stderr.lines()) {
            log.info(format!("  {line}"));
        }
        if phase == Phase::PreJob && output.status.code() == Some(SKIP) {
            return Err(Fault::skipped(format!("the hook {} asked to skip this run", path.display())).into());
        }
        if !output.status.success() {
            let what = format!("the hook {} ended with {}", path.display(), output.ending());
            return Err(Fault::failed(what).hint("what it said is in the run's log").into());
        }
        Ok(())
    }

    fn program(&self, path: &Path, phase: Phase, context: &Context, log: &Log) -> Program {
        let text = |flag: bool| if flag { "1" } else { "0" };
        let another_follows = phase == Phase::Maintenance;
        let backup = context.backup.clone().unwrap_or_default();
        let program = Program::new(path)
            .arg(&context.site_folder)
            .args([text(!context.scheduled), "1", text(context.closed), text(another_follows)])
            .env("MOODLE_BACKUP_PHASE", phase.name())
            .env("MOODLE_BACKUP_SITE", &context.site)
            .env("MOODLE_BACKUP_SITE_FOLDER", &context.site_folder)
            .env("MOODLE_BACKUP_BACKUP", &backup)
            .env(
                "MOODLE_BACKUP_MANIFEST",
                if context.backup.is_some() { backup.join("manifest.json") } else { PathBuf::new() },
            )
            .env("MOODLE_BACKUP_EXPORT", context.export.clone().unwrap_or_default())
            .env("MOODLE_BACKUP_LABEL", &context.label)
            .env("MOODLE_BACKUP_MODE", if context.scheduled { "scheduled" } else { "manual" })
            .env("MOODLE_BACKUP_RESTART", &context.restart)
            .env("MOODLE_BACKUP_SITE_STATE", if context.closed { "closed" } else { "open" })
            .env("MOODLE_BACKUP_LOG", log.activity().log.unwrap_or_default())
            .env("MOODLE_BACKUP_RESULT", &context.result)
            .env("MOODLE_BACKUP_ERROR", one_line(&context.error))
            .timeout(self.settings.timeout);
        // A run that a signal has ended is a failure that somebody wants to hear of too.
        let program = if phase == Phase::Failure { program.despite_signals() } else { program };
        match &self.user {
            Some(user) if !user.is_root() => program.user(user).capabilities(&[CAP_DAC_READ_SEARCH]),
            _ => program,
        }
    }

    /// The programs of a phase, in order. Names are as for run-parts(8): others, such as `x.dpkg-old`, are not run.
    fn programs(&self, phase: Phase) -> Result<Vec<PathBuf>> {
        let folder = self.settings.folder.join(format!("{}.d", phase.name()));
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.or_fault(|| Fault::unfit(format!("cannot read {}", folder.display())))?,
        };
        let mut programs = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if !name.as_encoded_bytes().iter().all(plain) {
                continue;
            }
            let meta = std::fs::metadata(entry.path())
                .or_fault(|| Fault::unfit(format!("cannot look at the hook {}", entry.path().display())))?;
            if meta.is_file() && meta.permissions().mode() & 0o111 != 0 {
                require_safe(&folder)?;
                require_safe(&entry.path())?;
                programs.push(entry.path());
            }
        }
        programs.sort();
        Ok(programs)
    }
}

fn user(name: &str) -> Result<Identity> {
    Identity::by_name(name).or_fault(|| {
        Fault::unfit(format!("there are hooks, but no user {name:?} to run them as"))
            .hint(format!("adduser --system --group {name}, or set user in [hooks]"))
    })
}

/// Text for an environment variable: what others have said may be long, and hold what no variable can.
fn one_line(text: &str) -> String {
    text.chars().take(LONGEST_ERROR).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn failed(path: &Path) -> Fault {
    Fault::failed(format!("the hook {} could not be run to its end", path.display()))
        .hint("it must be executable, begin with a line like #!/bin/sh, and end within timeout of [hooks]")
}

/// Whoever can write a hook decides what is done with every backup.
fn require_safe(path: &Path) -> Result<()> {
    let meta = std::fs::metadata(path)?;
    if meta.uid() == 0 && meta.permissions().mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(Fault::unfit(format!("{} must belong to root and be writable by nobody else", path.display()))
        .hint(format!("chown root {0}; chmod go-w {0}", path.display()))
        .into())
}
