//! Starting a run that the end of this terminal, session or login does not touch.

use super::Session;
use crate::cli;
use crate::error::{Fault, OrFault, Result};
use crate::settings::Settings;
use crate::sys::process::unit::{self, word};
use crate::sys::process::{Outliving, Program};
use clap::ValueEnum;
use std::ffi::OsString;
use std::path::Path;

/// Starts `run` anew: as a unit of systemd's, or where there is none in a session of its own.
pub fn start(session: &Session, settings: &Settings, run: &cli::Run, log: &Path) -> Result<Option<Outliving>> {
    let program = std::env::current_exe().or_fault(|| Fault::failed("cannot find the program itself"))?;
    let args = arguments(settings, run, log);
    let root = session.paths.root();
    if !unit::systemd_runs() {
        let child = Program::new(&program).args(args).env("MOODLE_BACKUP_ROOT", root).spawn_outliving()?;
        return Ok(Some(child));
    }
    let name = format!("moodle-backup-by-hand-{}-{}", settings.site.name, std::process::id());
    unit::start(&name, &format!("Backup of Moodle site {} by hand", settings.site.name))
        .arg("--service-type=oneshot")
        .args(["NotifyAccess=main", "SuccessExitStatus=3 6", "KillMode=mixed", "TimeoutStopSec=5min"].map(property))
        .arg(property(&format!("ExecStopPost={}", recovery(&program, settings))))
        .arg(format!("--setenv=MOODLE_BACKUP_ROOT={}", root.display()))
        .arg("--")
        .arg(&program)
        .args(args.iter().map(|arg| word(arg)))
        .success()
        .or_fault(|| Fault::failed("systemd does not start the run").hint("try again with --foreground"))?;
    Ok(None)
}

fn property(setting: &str) -> String {
    format!("--property={setting}")
}

/// What undoes all that a run with these settings can leave.
fn recovery(program: &Path, settings: &Settings) -> String {
    format!("{} --settings {} recover", quoted(program), quoted(&settings.file))
}

/// A word of a command line that systemd takes apart.
fn quoted(path: &Path) -> String {
    let plain = word(path.as_os_str()).to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{plain}\"")
}

fn arguments(settings: &Settings, run: &cli::Run, log: &Path) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["--settings".into(), settings.file.clone().into()];
    args.extend(["run", "--foreground", "--quiet", "--log"].map(Into::into));
    args.push(log.into());
    let name = |value: Option<clap::builder::PossibleValue>| value.map(|value| value.get_name().to_owned());
    if let Some(restart) = name(run.restart.to_possible_value()) {
        args.push(format!("--restart={restart}").into());
    }
    if let Some(window) = run.window.and_then(|window| name(window.to_possible_value())) {
        args.push(format!("--window={window}").into());
    }
    if let Some(export) = run.export.as_ref().and_then(|export| std::path::absolute(export).ok()) {
        args.extend(["--export".into(), export.into()]);
    }
    args.extend(run.keep_all.then(|| "--keep-all".into()));
    args.extend(run.label.iter().map(|label| format!("--label={label}").into()));
    args
}
