//! The command `prune`. It needs the settings and the target only.

use super::{Session, listing};
use crate::backup;
use crate::error::{EXIT_WARNINGS, Result};
use crate::preflight;
use crate::prune::{self, Outcome, Request};
use crate::report::plan::{self, Fate};
use crate::retention::Reason;
use crate::settings::Settings;
use crate::store::{Backup, Store};
use crate::undo;
use std::collections::HashMap;
use std::path::PathBuf;

/// Removes what the retention settings do not ask for, or says what that would be.
pub fn prune(session: &Session, dry_run: bool) -> Result<u8> {
    let settings = session.settings()?;
    let store = listing::existing_store(&settings)?;
    let dataroot = dataroot(&settings, &store);
    let activity = dataroot.as_ref().map(|dataroot| session.paths.activity(dataroot));
    let lock = backup::hold_store(&store, &settings.site.name, activity, "prune", &session.log)?;
    if !dry_run {
        for name in store.clean_partials(&lock)? {
            session.log.info(format!("removed {name}, which an interrupted run had left"));
        }
    }
    let backups = sizes(&store)?;
    let restored = dataroot.map(|dataroot| undo::restored(&session.paths, &dataroot)).unwrap_or_default();
    let request = Request { dry_run, whole_pool: true, restored: &restored };
    let outcome = prune::prune(&store, &settings.retention.into(), request, &lock, &session.log);
    session.log.finish();
    let view = view(&settings, backups, outcome?, dry_run);
    session.print(&view, plan::prune_text)?;
    Ok(if view.refused_because.is_empty() && view.pool_refused_because.is_none() { 0 } else { EXIT_WARNINGS })
}

/// The dataroot, by which other commands find out what works on a site: from config.php, or else as the newest backup
/// remembers it.
fn dataroot(settings: &Settings, store: &Store) -> Option<PathBuf> {
    let remembered = || store.backups().ok()?.newest().map(|newest| newest.manifest.paths.dataroot.clone());
    match preflight::read_site(settings) {
        Ok(site) => Some(site.config.dataroot),
        Err(_) => remembered(),
    }
}

/// The backups, each with the room that goes with it, as it is before anything is removed.
fn sizes(store: &Store) -> Result<Vec<(Backup, u64)>> {
    let backups = store.backups()?.backups.into_iter();
    backups.map(|backup| backup.usage().map(|usage| (backup, usage.own_bytes))).collect()
}

fn view(settings: &Settings, backups: Vec<(Backup, u64)>, outcome: Outcome, dry_run: bool) -> plan::Prune {
    let kept: HashMap<&str, &[Reason]> =
        outcome.kept.iter().map(|(name, reasons)| (name.as_str(), reasons.as_slice())).collect();
    let fate = |(backup, own_bytes): (Backup, u64)| {
        let because = match kept.get(backup.name.as_str()) {
            Some(reasons) => reasons.iter().map(|reason| reason.as_str().to_owned()).collect(),
            None if outcome.stopped.is_empty() => Vec::new(),
            None => vec!["refused".to_owned()],
        };
        Fate {
            keep: !outcome.removed.contains(&backup.name),
            when: backup.manifest.moment(),
            own_bytes: Some(own_bytes),
            name: backup.name,
            because,
        }
    };
    plan::Prune {
        site: settings.site.name.clone(),
        dry_run,
        backups: backups.into_iter().map(fate).collect(),
        pool_files: outcome.pool_files,
        pool_bytes: outcome.pool_bytes,
        finished: outcome.finished,
        refused_because: outcome.stopped,
        pool_refused_because: outcome.pool_stopped,
    }
}
