//! `run --dry-run`: what a run would do now. Takes no lock, copies nothing, closes nothing.

use super::{Session, exit_code, follow};
use crate::backup::plan::{Part, Plan};
use crate::cli;
use crate::error::Result;
use crate::hooks::{Hooks, Phase};
use crate::preflight::{self, Outcome, Ready};
use crate::report::human;
use crate::report::plan::{self, Step};
use crate::settings::{Retention, Settings, WindowMode};
use crate::sys::files;
use clap::ValueEnum;

/// Prints what a run would do. What would refuse the run is an error here too.
pub fn plan(session: &Session, settings: &Settings, run: &cli::Run) -> Result<u8> {
    let site = preflight::read_site(settings)?;
    let (findings, ready) = preflight::examine(settings, &site, &session.log);
    let warning = |finding: &preflight::Finding| match &finding.outcome {
        Outcome::Warning(found, next) => Some(format!("{}: {found}; {next}", finding.what)),
        Outcome::Fine(_) | Outcome::Problem(_) => None,
    };
    let mut warnings: Vec<String> = findings.0.iter().filter_map(warning).collect();
    let Some(ready) = ready.filter(|_| !findings.any_problem()) else {
        findings.require(&session.log)?;
        return Err(anyhow::anyhow!("the preflight found no problem and yet is not complete"));
    };
    if let Some(running) = follow::activities(&session.paths).iter().find(|run| run.site == settings.site.name) {
        warnings
            .push(format!("a run is at work now (process {}): another would be refused until it ends", running.pid));
    }
    let copied = Plan::new(settings, &site, &ready, &session.log)?;
    let mode = run.window.map_or(settings.window.mode, Into::into);
    let space = files::space(&settings.target.path)?;
    let view = plan::Plan {
        site: settings.site.name.clone(),
        folder: settings.target.path.join(&settings.site.name).display().to_string(),
        window: mode_name(mode).into(),
        restart: run.restart.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned()),
        steps: steps(settings, run.restart, mode, &ready, &copied)?,
        new_files: copied.pool.files,
        new_bytes: copied.pool.bytes,
        other_bytes: copied.other_bytes(),
        free_bytes: space.free_bytes,
        min_free_bytes: settings.target.min_free.bytes(space.total_bytes),
        warnings,
    };
    session.print(&view, plan::run_text)?;
    Ok(exit_code(&view.warnings))
}

fn mode_name(mode: WindowMode) -> &'static str {
    match mode {
        WindowMode::Short => "short",
        WindowMode::Full => "full",
        WindowMode::None => "none",
    }
}

/// The steps that do something, by the names that logs show.
fn steps(
    settings: &Settings,
    restart: cli::Restart,
    mode: WindowMode,
    ready: &Ready,
    copied: &Plan,
) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut add = |name: &str, text: String| steps.push(Step { name: name.into(), text });
    let hooks = Hooks::new(&settings.hooks)?;
    let closed = mode != WindowMode::None;
    if hooks.any(Phase::PreJob)? {
        add("pre-job", "run the hooks of pre-job.d".into());
    }
    add("copy-ahead", copy_ahead(copied));
    add(
        "close",
        if closed { "put the site into maintenance".into() } else { "leave the site open (mode none)".into() },
    );
    add("snapshot", snapshot(ready, mode));
    add("copy-delta", "copy what has changed since copy-ahead".into());
    if hooks.any(Phase::Maintenance)? {
        add("maintenance", "wait for the end of the dump, then run the hooks of maintenance.d".into());
    }
    add("reopen", reopen(restart, closed));
    add("copy-referenced", "copy files that the database has come to refer to meanwhile".into());
    add("finish-dump", "wait for the end of the dump, and copy what it refers to".into());
    add("seal", "write sums, manifest and RESTORE.txt, and publish the backup".into());
    add("prune", prune(settings.retention));
    if hooks.any(Phase::PostJob)? {
        add("post-job", "run the hooks of post-job.d".into());
    }
    Ok(steps)
}

fn copy_ahead(copied: &Plan) -> String {
    let pool = match copied.pool.files {
        0 => "nothing is new for the pool".to_owned(),
        files => {
            format!("copy {} into the pool ({})", human::count(files, "new file"), human::bytes(copied.pool.bytes))
        }
    };
    let parts = copied.parts.iter().map(part);
    std::iter::once(pool).chain(parts).collect::<Vec<_>>().join("; ")
}

fn part(part: &Part) -> String {
    let Part { name, survey, .. } = part;
    let archived = name != crate::store::layout::MOODLEDATA;
    match (part.known, archived) {
        (false, _) => {
            let what = if archived { "archive" } else { "copy" };
            format!(
                "{what} {name} ({} files and folders, {})",
                human::number(survey.entries),
                human::bytes(survey.bytes)
            )
        }
        (true, _) if survey.is_unchanged() => format!("{name} is unchanged"),
        (true, true) => format!("archive {name} again ({})", changes(part)),
        (true, false) => format!("copy what is new in {name} ({})", changes(part)),
    }
}

fn changes(part: &Part) -> String {
    let survey = &part.survey;
    let counts = [
        (survey.changed, "file", "new or changed"),
        (survey.changed_folders, "folder", "changed"),
        (survey.gone, "name", "gone"),
        (survey.unreadable, "name", "unreadable"),
    ];
    let said = counts.iter().filter(|(count, ..)| *count > 0);
    said.map(|(number, what, how)| format!("{} {how}", human::count(*number, what))).collect::<Vec<_>>().join(", ")
}

fn snapshot(ready: &Ready, mode: WindowMode) -> String {
    let databases = &ready.databases;
    let all = std::iter::once(&databases.site).chain(&databases.extra);
    let names: Vec<String> = all.map(|database| database.connection.title()).collect();
    let rest = if mode == WindowMode::Full { ", with the site closed until it ends" } else { "" };
    format!("begin the dump of {}{rest}", names.join(", "))
}

fn reopen(restart: cli::Restart, closed: bool) -> String {
    match (closed, restart) {
        (false, _) => "nothing to do: the site was not closed".into(),
        (true, cli::Restart::Full) => "bring the site back to the state it was found in".into(),
        (true, cli::Restart::Half) => "keep the site in maintenance until \"moodle-backup resume\"".into(),
        (true, cli::Restart::None) => {
            "keep the site in maintenance, its services stopped, until \"moodle-backup resume\"".into()
        }
    }
}

fn prune(Retention { last, daily, weekly, monthly, yearly, make_room: _ }: Retention) -> String {
    let rules = [(last, "last"), (daily, "daily"), (weekly, "weekly"), (monthly, "monthly"), (yearly, "yearly")];
    let rules = rules.iter().filter(|(count, _)| *count > 0);
    let rules: Vec<String> = rules.map(|(count, what)| format!("{what} {count}")).collect();
    format!("remove what the retention settings do not ask for ({})", rules.join(", "))
}
