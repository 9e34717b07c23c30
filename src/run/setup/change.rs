//! The page for a site that is set up already: how it is, each thing with its number, and what of that is to be changed. Only the
//! pages about that are asked then.

use super::ask::{self, Choice, Reply};
use super::pages::{DATABASES, DIRECTORIES, HOW_MANY, MAIL, Move, NAME, NEEDS, PLACE, SITE, VERIFY, WHEN};
use super::{Wizard, site, unasked};
use crate::error::Result;
use crate::preflight;
use crate::settings::Settings;
use crate::setup::disks::Way;
use crate::setup::notify;
use crate::setup::units::{self, Units};
use crate::sys::process::unit::systemd_runs;
use std::path::PathBuf;

/// What Enter means.
const NOTHING: &str = "nothing";

const HELP: &str = "\
Type the numbers of what is to be changed, with spaces between: only that is asked then, and all else stays as it is. \"all\" \
goes through all questions. Enter goes to the summary. Nothing is changed before you have agreed to that.";

/// One thing that is set.
struct Item {
    what: &'static str,
    /// As it is now.
    now: String,
    /// As it was answered, where it was.
    answered: Option<String>,
    /// The page that asks for it.
    page: &'static str,
}

/// What is set, and what of it is to be changed.
pub fn what(wizard: &mut Wizard) -> Result<Move> {
    if wizard.site_is_clear && wizard.looked.is_none() && !site::look(wizard)? {
        // Perhaps it is to be another one.
        wizard.site_is_clear = false;
        return Ok(Move::To(SITE));
    }
    let Some(old) = wizard.old.clone() else { return Ok(Move::Pass) };
    let items = items(wizard, &old);
    let choices: Vec<Choice> = items.iter().map(|item| Choice::new(told(item))).collect();
    let ask = format!(
        "This site is set up already, in {}. What is to be changed? (Numbers with spaces between, \"all\" or \"{NOTHING}\".)",
        wizard.file.display()
    );
    let chosen = wizard.person.pick(&ask, HELP, &choices, Some(NOTHING.into()), |answer| match answer {
        NOTHING | "none" => Ok(Vec::new()),
        "all" => Ok((0..choices.len()).collect()),
        some => ask::several(some, &choices),
    })?;
    wizard.wanted = None;
    let Reply::Given(chosen) = chosen else { return Ok(Move::Back) };
    let another_site = wizard.site_is_clear && chosen.contains(&0);
    let wanted = pages(wizard, chosen.into_iter().map(|at| items[at].page));
    leave_place(wizard, &old, wanted.contains(&PLACE));
    wizard.wanted = Some(wanted);
    if another_site {
        wizard.site_is_clear = false;
        return Ok(Move::To(SITE));
    }
    Ok(Move::Next)
}

/// The pages that were chosen, with that about missing programs where there are some.
fn pages(wizard: &Wizard, chosen: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let needs = (!wizard.missing().is_empty()).then_some(NEEDS);
    chosen.chain(needs).collect()
}

/// A place that is not asked about stays as it is: also without the UUID of its disk, if the settings do without.
fn leave_place(wizard: &mut Wizard, old: &Settings, asked: bool) {
    let path = &old.target.path;
    let same = wizard.answers.target.as_ref().is_some_and(|way| way.path() == path);
    if same && old.target.mount_uuid.is_none() {
        wizard.answers.target = Some(if asked { unasked::folder(path) } else { Way::Folder { path: path.clone() } });
    }
}

fn told(item: &Item) -> String {
    let Item { what, now, answered, .. } = item;
    match answered.as_ref().filter(|answered| *answered != now) {
        Some(answered) => format!("{what}: {answered} (until now: {now})"),
        None => format!("{what}: {now}"),
    }
}

fn items(wizard: &Wizard, old: &Settings) -> Vec<Item> {
    let answers = &wizard.answers;
    let item = |what, page, now, answered| Item { what, now, answered, page };
    let name = |root: String, name: &str| format!("{root}, called {name:?}");
    let (root, units) = (old.site.root.display().to_string(), Units::of(&wizard.session.paths, &wizard.file));
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let databases = old.database.extra.iter().map(|it| it.name.clone());
    let added: Vec<String> = databases.clone().chain(answers.databases.iter().map(|it| it.name.clone())).collect();
    let place = answers.target.as_ref().map(|way| way.path()).filter(|path| *path != old.target.path);
    vec![
        item("The site", NAME, name(root.clone(), &old.site.name), Some(name(root, &wizard.name()))),
        item("The backups go to", PLACE, at_present(old), place.map(|path| path.display().to_string())),
        item("Each night at", WHEN, night(&units), answers.schedule.nightly.clone()),
        item(
            "Read again each week, to find damage",
            VERIFY,
            yes(units::is_enabled(&units.verify_timer())),
            answers.schedule.weekly_verify.map(yes),
        ),
        item("Kept are", HOW_MANY, wizard.retention_until_now().told(), answers.retention.map(|kept| kept.told())),
        item(
            "Folders that are saved too",
            DIRECTORIES,
            listed(&old.directories.paths),
            answers.directories.as_deref().map(listed),
        ),
        item("Other databases that are saved too", DATABASES, or_none(databases.collect()), Some(or_none(added))),
        item(
            "A mail if a backup fails, to",
            MAIL,
            notify::present(&wizard.session.paths).unwrap_or_else(|| notify::NOBODY.into()),
            answers.notification.mail.clone(),
        ),
    ]
}

/// The place of the backups, and whether its disk is there.
fn at_present(old: &Settings) -> String {
    let path = old.target.path.display();
    match &old.target.mount_uuid {
        None => format!("{path}, a plain folder"),
        Some(_) => match preflight::require_mounted(old) {
            Ok(()) => format!("{path}, on its disk, which is mounted"),
            Err(error) => format!("{path}, BUT {error:#}"),
        },
    }
}

/// When the nightly backup begins.
fn night(units: &Units) -> String {
    match units.present() {
        Some(time) if time == "never" => "never (the timer is switched off)".into(),
        Some(time) if systemd_runs() => time,
        Some(time) => format!("{time}, if cron starts it (there is no systemd here)"),
        None => "as cron says (there is no systemd here)".into(),
    }
}

fn listed(paths: &[PathBuf]) -> String {
    or_none(paths.iter().map(|path| path.display().to_string()).collect())
}

fn or_none(texts: Vec<String>) -> String {
    if texts.is_empty() { "none".into() } else { texts.join(", ") }
}
