//! Everything that must be true before a run touches anything, and what is learnt on the way. `check` shows all of it;
//! a run goes on only if nothing of it is a problem. Changes nothing but its own probe files on the target.

mod database;
mod findings;
mod site;
mod target;

pub use database::{Databases, Dumpable, extra_connection};
pub use findings::{Finding, Findings, Outcome};
pub use site::{Site, WEB_USERS, php_for_config, read_site};
pub use target::{Forecast, require_mounted, require_outside, require_room};

use crate::error::Result;
use crate::hooks::{Hooks, Phase};
use crate::moodle::Facts;
use crate::settings::Settings;
use crate::store::{SiteIdentity, Store};
use crate::sys::log::Log;

/// A site that can be backed up.
#[derive(Debug)]
pub struct Ready {
    /// What its database says of it.
    pub facts: Facts,
    /// Its database, and the others to be dumped.
    pub databases: Databases,
    /// What tells it from other sites.
    pub identity: SiteIdentity,
    /// Its folder on the target; `None` before the first backup.
    pub store: Option<Store>,
    /// What will be written, as far as can be said.
    pub forecast: Forecast,
}

/// Looks at everything. What is found comes as a list; `Ready` if none of it is a problem.
pub fn examine(settings: &Settings, site: &Site, log: &Log) -> (Findings, Option<Ready>) {
    look(settings, site, target::Room::Asked, log)
}

fn look(settings: &Settings, site: &Site, room: target::Room, log: &Log) -> (Findings, Option<Ready>) {
    let mut findings = Findings::default();
    site::examine(settings, site, &mut findings);
    findings.note("hooks", hooks(settings));
    let database = database::examine(settings, site, &mut findings);
    let ready = database.and_then(|(facts, databases)| {
        let identity = site.identity(&facts);
        let (store, forecast) = target::examine(settings, site, &identity, &databases, room, log, &mut findings)?;
        Some(Ready { facts, databases, identity, store, forecast })
    });
    (findings, ready)
}

/// Which hooks there are, each of which can be run.
fn hooks(settings: &Settings) -> Result<String> {
    let hooks = Hooks::new(&settings.hooks)?;
    let mut folders = Vec::new();
    for phase in [Phase::PreJob, Phase::Maintenance, Phase::PostJob, Phase::Failure] {
        if hooks.any(phase)? {
            folders.push(format!("{}.d", phase.name()));
        }
    }
    Ok(if folders.is_empty() { "none".into() } else { format!("in {}", folders.join(", ")) })
}

/// As [`examine`], for a run: warnings go to the log, the first problem is the error.
pub fn require(settings: &Settings, site: &Site, log: &Log) -> Result<Ready> {
    ready(look(settings, site, target::Room::Asked, log), log)
}

/// As [`require`], for what is no backup: whether there is room is the caller's question.
pub fn require_but_room(settings: &Settings, site: &Site, log: &Log) -> Result<Ready> {
    ready(look(settings, site, target::Room::Unasked, log), log)
}

fn ready((findings, ready): (Findings, Option<Ready>), log: &Log) -> Result<Ready> {
    findings.require(log)?;
    ready.ok_or_else(|| anyhow::anyhow!("the preflight found no problem and yet is not complete"))
}
