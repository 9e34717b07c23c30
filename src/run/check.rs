//! The command `check`: all that a run looks at before it begins, and nothing else.

use super::{Session, listing, record, standing};
use crate::error::{EXIT_WARNINGS, Kind, Result};
use crate::preflight::{self, Findings, Outcome, Site};
use crate::report::check::{self, Check, Finding, Group, Level};
use crate::report::status::SiteState;
use crate::settings::Settings;
use crate::setup::units::{self, Units};
use crate::setup::{needs, notify};
use crate::store::Listing;
use crate::sys::process::unit::systemd_runs;

/// The groups of findings, each with the names of what was looked at.
const GROUPS: [(&str, &[&str]); 4] = [
    ("settings", &["settings", "schedule", "hooks", "directories"]),
    ("site", &["site", "code", "git", "php", "dataroot", "files", "maintenance", "upgrade", "services", "programs"]),
    ("database", &["database", "extra database"]),
    ("target", &["target", "backups"]),
];

/// Looks whether a backup could be made now, and prints all that was found.
pub fn check(session: &Session) -> Result<u8> {
    let settings = session.settings()?;
    let view = look(session, &settings)?;
    session.print(&view, check::text)?;
    Ok(match (view.count(Level::Problem), view.count(Level::Warning)) {
        (0, 0) => 0,
        (0, _) => EXIT_WARNINGS,
        _ => Kind::Unfit.exit_code(),
    })
}

/// All that a run looks at before it begins.
pub fn look(session: &Session, settings: &Settings) -> Result<Check> {
    let mut findings = Findings::default();
    findings.fine("settings", settings.file.display().to_string());
    note_schedule(session, settings, &mut findings);
    match preflight::read_site(settings) {
        Ok(site) => {
            note_state(session, settings, &site.config.dataroot, &mut findings);
            findings.0.extend(preflight::examine(settings, &site, &session.log).0.0);
            note_programs(&site, &mut findings);
            note_vanished(session, settings, &mut findings);
        }
        Err(error) => {
            crate::sys::signals::check()?;
            findings.note("site", Err(error));
            // What else is wrong is worth knowing at the same time.
            findings.note("target", preflight::require_mounted(settings).map(|()| path_of_target(settings)));
        }
    }
    Ok(view(settings, findings))
}

/// A backup that nothing starts, and a mail that nothing sends, are found out too late.
fn note_schedule(session: &Session, settings: &Settings, findings: &mut Findings) {
    let timer = Units::of(&session.paths, &settings.file).timer();
    if systemd_runs() && !units::is_scheduled(&session.paths, &timer) {
        let next = format!("systemctl enable --now {timer}; or \"moodle-backup setup\"");
        findings.warning(
            "schedule",
            format!("nothing makes backups by itself: {timer} is off, and cron has no line"),
            next,
        );
    }
    if let Some(address) = notify::present(&session.paths)
        && let Some(why) = notify::lacking(&session.paths)
    {
        let file = notify::file(&session.paths);
        findings.warning("hooks", format!("{} cannot mail to {address}", file.display()), why);
    }
}

/// Programs that are missing and without which backups can be made all the same; the others are problems by themselves.
fn note_programs(site: &Site, findings: &mut Findings) {
    for need in needs::missing(Some(site), None).into_iter().filter(|need| !need.required) {
        let package = [need.package];
        findings.warning("programs", format!("{} is missing: {}", need.what, need.why), needs::command(&package));
    }
}

/// An empty target may be another disk than that of the backups.
fn note_vanished(session: &Session, settings: &Settings, findings: &mut Findings) {
    let store = listing::store(settings);
    let there = store.and_then(|store| store.map_or_else(|| Ok(Listing::default()), |store| store.backups()));
    // What cannot be looked at is a problem that is told of already.
    if let Some(words) = there.ok().and_then(|there| record::vanished(&session.paths, settings, &there)) {
        findings.warning("backups", words, record::VANISHED);
    }
}

fn path_of_target(settings: &Settings) -> String {
    settings.target.path.display().to_string()
}

/// A site that this program keeps closed is nothing that stands in the way of a backup, but somebody should know.
fn note_state(session: &Session, settings: &Settings, dataroot: &std::path::Path, findings: &mut Findings) {
    let state = standing::state(&session.paths, &settings.site.name, Some(dataroot));
    let next = match state.state {
        SiteState::Held => "\"moodle-backup resume\" opens it",
        SiteState::Interrupted => "\"moodle-backup recover\" opens it, and so does the next run",
        _ => return,
    };
    let since = state.because.map_or(String::new(), |why| format!(": {why}"));
    findings.warning("maintenance", format!("the site is closed by this program{since}"), next);
}

fn view(settings: &Settings, findings: Findings) -> Check {
    let mut groups: Vec<Group> =
        GROUPS.iter().map(|(name, _)| Group { name: (*name).to_owned(), findings: Vec::new() }).collect();
    for finding in findings.0 {
        let group = GROUPS.iter().position(|(_, names)| names.contains(&finding.what.as_str()));
        // What preflight may come to look at besides is about the site.
        let group = &mut groups[group.unwrap_or(1)];
        let finding = told(finding, &group.name);
        group.findings.push(finding);
    }
    groups.retain(|group| !group.findings.is_empty());
    Check { site: settings.site.name.clone(), groups }
}

/// Warnings and problems say by themselves what they are about.
fn told(preflight::Finding { what, outcome }: preflight::Finding, group: &str) -> Finding {
    match outcome {
        Outcome::Fine(text) if what == group => Finding { level: Level::Fine, text, next: None },
        Outcome::Fine(found) => Finding { level: Level::Fine, text: format!("{what}: {found}"), next: None },
        Outcome::Warning(found, next) => Finding { level: Level::Warning, text: found, next: Some(next) },
        Outcome::Problem(error) => Finding {
            level: Level::Problem,
            text: format!("{error:#}"),
            next: crate::error::hint(&error).map(str::to_owned),
        },
    }
}
