//! From the command line to the exit code: parses, reads the settings, hands the work to one function a command, and
//! says how it ended. The work itself is elsewhere.

mod aside;
mod check;
mod detach;
mod export;
mod extract;
mod find;
mod follow;
mod import;
mod job;
mod listing;
mod logs;
mod lost;
mod pins;
mod place;
mod plan;
mod prompt;
mod prune;
mod record;
mod recover;
mod restore;
mod setup;
mod standing;
mod status;
mod syslog;
mod timer;
mod verify;
mod watched;

use crate::backup;
use crate::cli::{self, Cli, Command};
use crate::error::{self, EXIT_WARNINGS, Fault, Result};
use crate::report::{self, Look};
use crate::settings::{self, Settings};
use crate::sys::log::Log;
use crate::sys::paths::Paths;
use crate::sys::{files, limits, privileges, signals, time};
use crate::window;
use clap::{ColorChoice, Parser};
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The program. Returns its exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    let session = Session::new(&cli);
    // A panic is an error like any other: what is open is closed on the way, and the exit code says so.
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| session.run(&cli.command)));
    match result.unwrap_or_else(|_| Err(Fault::failed("the program has a mistake and gave up (see above)").into())) {
        Ok(code) => code,
        Err(error) => session.fail(&error),
    }
}

/// One call of the program.
#[derive(Debug)]
struct Session<'a> {
    global: &'a cli::Global,
    paths: Paths,
    log: Log,
}

impl<'a> Session<'a> {
    fn new(cli: &'a Cli) -> Self {
        if let Some(file) = cli.global.settings.as_deref().filter(|file| *file != Paths::from_environment().settings())
        {
            crate::sys::commands::name_settings(&std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf()));
        }
        Session { global: &cli.global, paths: Paths::from_environment(), log: Log::to_stderr(cli.global.verbosity()) }
    }

    fn run(&self, command: &Command) -> Result<u8> {
        // A shell asks for names as whoever types; what he may not read is not offered.
        if !matches!(command, Command::Guard(_) | Command::BackupNames) {
            privileges::require_root()?;
            signals::install()?;
            limits::raise_open_files();
        }
        match command {
            Command::Run(run) => job::run(self, run),
            Command::Attach => follow::attach(self),
            Command::Recover(args) => recover::recover(self, args),
            Command::Resume => self.resume(),
            Command::Setup(args) => setup::setup(self, args),
            Command::Check => check::check(self),
            Command::List => listing::list(self),
            Command::Show(one) => listing::show(self, &one.backup),
            Command::Find(args) => find::find(self, args),
            Command::Status(status) => status::status(self, status.max_age),
            Command::Restore(args) => restore::restore(self, args),
            Command::Export(args) => export::export(self, args),
            Command::Pin(one) => pins::set(self, &one.backup, true),
            Command::Unpin(one) => pins::set(self, &one.backup, false),
            Command::Prune(prune) => prune::prune(self, prune.dry_run),
            Command::ImportSettings(args) => import::import(self, args),
            Command::BackupNames => listing::names(self),
            Command::Cron => backup::run_cron(&self.settings()?).map(|()| 0),
            Command::Verify(verify) => verify::verify(self, verify),
            Command::Guard(guard) => window::watch(&guard.state, Duration::from_millis(guard.max)).map(|()| 0),
        }
    }

    /// Says an error where it is wanted, and gives its exit code.
    fn fail(&self, error: &anyhow::Error) -> u8 {
        if self.global.json {
            let _ = report::json(&report::Failure::of(error)).map(|json| print!("{json}"));
        } else {
            self.log.error(error);
        }
        error::kind(error).exit_code()
    }

    /// The settings, with the program's own folders where they are.
    fn settings(&self) -> Result<Settings> {
        let mut settings = settings::load(&self.settings_file())?;
        if settings.hooks.folder == Path::new("/etc/moodle-backup") {
            settings.hooks.folder = self.paths.etc();
        }
        Ok(settings)
    }

    fn settings_file(&self) -> PathBuf {
        self.global.settings.clone().unwrap_or_else(|| self.paths.settings())
    }

    /// Whether there are settings, or they are said to be. The file that the package brings says nothing as long as nobody has filled
    /// it in.
    fn has_settings(&self) -> bool {
        let usual = self.paths.settings();
        self.global.settings.is_some() || usual.exists() && !settings::is_unfilled(&usual)
    }

    fn look(&self) -> Look {
        let color = match self.global.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        Look::here(color, time::now())
    }

    /// Prints a result as text or as JSON.
    fn print<T: serde::Serialize>(&self, view: &T, text: impl FnOnce(&T, &Look) -> String) -> Result<()> {
        use std::io::Write;
        let text = if self.global.json { report::json(view)? } else { text(view, &self.look()) };
        // A reader that has seen enough (head, less) is no failure, nor is a terminal that is closed meanwhile.
        let is_gone = |error: &std::io::Error| {
            let hung_up = || error.raw_os_error() == Some(nix::libc::EIO) && files::is_device(std::io::stdout());
            error.kind() == std::io::ErrorKind::BrokenPipe || hung_up()
        };
        match std::io::stdout().write_all(text.as_bytes()) {
            Err(error) if is_gone(&error) => Ok(()),
            written => Ok(written?),
        }
    }

    /// Prints how work has ended, and hands its exit code on. Whoever wants to hear of warnings and errors only hears nothing where there
    /// are none.
    fn report<T: serde::Serialize>(&self, view: &T, text: impl FnOnce(&T, &Look) -> String, code: u8) -> Result<u8> {
        if code != 0 || self.global.json || !self.global.quiet {
            self.print(view, text)?;
        }
        Ok(code)
    }

    /// The dataroot of the site to resume. A site whose code is broken can be resumed too, by its name.
    fn held_dataroot(&self, settings: &Settings) -> Result<PathBuf> {
        crate::preflight::read_site(settings).map(|site| site.config.dataroot).or_else(|error| {
            let held = window::closures(&self.paths)?
                .into_iter()
                .find(|it| it.held.is_some() && it.site == settings.site.name);
            held.map(|closure| closure.dataroot).ok_or(error)
        })
    }

    /// Without settings all held sites are meant.
    fn resume(&self) -> Result<u8> {
        let dataroot = match self.settings_file().exists() {
            true => Some(self.held_dataroot(&self.settings()?)?),
            false => None,
        };
        let resumed = window::resume(&self.paths, dataroot.as_deref(), &self.log)?;
        if resumed.is_empty() {
            self.log.info("no site is held closed");
        }
        for site in resumed {
            self.log.info(format!("{} is open again", site.site));
        }
        Ok(0)
    }
}

/// The exit code of a run that made its backup.
fn exit_code(warnings: &[String]) -> u8 {
    if warnings.is_empty() { 0 } else { EXIT_WARNINGS }
}
