//! Undoing what an interrupted run left, and ending a hold. Needs no settings: all is in the closure's note.

use super::closure::Closure;
use super::page;
use crate::error::{Fault, OrFault, Result};
use crate::moodle::MAINTENANCE_PAGE;
use crate::sys::folder_lock::FolderLock;
use crate::sys::log::Log;
use crate::sys::paths::Paths;
use crate::undo::{self, Record};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long another `recover`, or a run that is just refused, may hold a site's lock.
const OTHERS_RECOVER: Duration = Duration::from_secs(1);

/// What `recover` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// A site was reopened that a dead run had left closed.
    Reopened(Closure),
    /// A site is held closed on purpose, and was left so.
    Held(Closure),
    /// A run is at work on the site, and was left alone.
    Running(Closure),
}

/// Reopens every site that a run has left closed without meaning to. Safe to repeat.
pub fn recover(paths: &Paths, log: &Log) -> Result<Vec<Recovered>> {
    each(notes(paths)?, log, |state, closure| recover_one(paths, state, closure, log).map(Some))
}

/// Does something with each note. One site that cannot be reopened must not keep another closed: its error comes last.
fn each<T>(
    notes: Vec<(PathBuf, Result<Closure>)>,
    log: &Log,
    work: impl Fn(&Path, Closure) -> Result<Option<T>>,
) -> Result<Vec<T>> {
    let mut done = Vec::new();
    let mut failed = None;
    for (state, closure) in notes {
        match closure.and_then(|closure| work(&state, closure)) {
            Ok(one) => done.extend(one),
            Err(error) => {
                log.error(&error);
                failed = Some(error);
            }
        }
    }
    failed.map_or(Ok(done), Err)
}

fn recover_one(paths: &Paths, state: &Path, closure: Closure, log: &Log) -> Result<Recovered> {
    if closure.held.is_some() {
        return Ok(Recovered::Held(closure));
    }
    let dataroot = &closure.dataroot;
    let Some(lock) = FolderLock::hold_within(dataroot, &paths.lock(dataroot), OTHERS_RECOVER)? else {
        return Ok(Recovered::Running(closure));
    };
    lock.complaint(dataroot).into_iter().for_each(|complaint| log.warn(complaint));
    require_whole(paths, &closure)?;
    closure.undo(state, log)?;
    Ok(Recovered::Reopened(closure))
}

/// Reopens one site that a dead run has left closed. The caller holds the site's lock, which shows that the run is dead.
pub fn recover_site(paths: &Paths, dataroot: &Path, log: &Log) -> Result<Option<Closure>> {
    let state = Closure::file_for(paths, dataroot);
    let Some(closure) = read(&state).transpose()? else { return Ok(None) };
    require_whole(paths, &closure)?;
    closure.undo(&state, log)?;
    Ok(Some(closure))
}

/// A site that a restore has left half replaced is not opened.
pub(super) fn require_whole(paths: &Paths, closure: &Closure) -> Result<()> {
    if !closure.restoring || !paths.restoring(&closure.dataroot).exists() {
        return Ok(());
    }
    if closure.page_put_up && page::stands(closure).is_ok_and(|stands| !stands) {
        let words = format!(
            "an interrupted restore of {} is not undone yet, and somebody has opened the site since",
            closure.site
        );
        return Err(Fault::failed(words).hint(OPENED).into());
    }
    Err(Fault::failed(format!("{} stays closed: an interrupted restore of it is not undone yet", closure.site))
        .hint("moodle-backup recover")
        .into())
}

/// Whether somebody has opened a site by hand that this restore, which has died, had left closed.
pub fn is_opened(paths: &Paths, restore: &Record) -> Result<bool> {
    let dataroot = &restore.dataroot;
    match read(&Closure::file_for(paths, dataroot)).transpose()? {
        Some(closure) if closure.restoring && closure.page_put_up && dataroot.exists() => Ok(!page::stands(&closure)?),
        None if restore.is_of_new_site() => Ok(is_in_use(dataroot)),
        _ => Ok(false),
    }
}

/// Whether a place that was empty before a restore has got something, and no page closes it: the page comes first of all.
fn is_in_use(dataroot: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(dataroot) else { return false };
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    let own = [undo::FOLDER, "lost+found"];
    names.iter().any(|name| own.iter().all(|own| name != own)) && !names.iter().any(|name| name == MAINTENANCE_PAGE)
}

/// An error if somebody has opened the site since this restore has died: what was done there since, such as a dump that was
/// loaded by hand, would be lost if the restore were undone now.
pub fn require_not_opened(paths: &Paths, restore: &Record) -> Result<()> {
    if !is_opened(paths, restore)? {
        return Ok(());
    }
    Err(Fault::failed(format!(
        "a restore of {} was interrupted, and somebody has opened the site since: it is left as it is now",
        restore.site
    ))
    .hint(OPENED)
    .into())
}

/// What can be done with a site that was opened by hand.
pub const OPENED: &str = "\"moodle-backup recover --keep\" keeps the site as it is, and what the restore had replaced set aside: \
     \"moodle-backup restore --undo\" can then still bring that back, and set aside what was done since; \"moodle-backup recover \
     --undo-restore\" brings it back at once, and what was done since is LOST";

/// The note about a site that is held closed on purpose.
pub fn held(paths: &Paths, dataroot: &Path) -> Result<Option<Closure>> {
    read(&Closure::held_file(&Closure::file_for(paths, dataroot))).transpose()
}

/// All notes about closed sites: held, closed by a run that is at work, or left so by one that died.
pub fn closures(paths: &Paths) -> Result<Vec<Closure>> {
    notes(paths)?.into_iter().map(|(_, closure)| closure).collect()
}

/// Reopens the sites that are held closed; only the one of that dataroot if one is named.
pub fn resume(paths: &Paths, dataroot: Option<&Path>, log: &Log) -> Result<Vec<Closure>> {
    let notes = match dataroot {
        None => notes(paths)?,
        Some(dataroot) => {
            let state = Closure::held_file(&Closure::file_for(paths, dataroot));
            read(&state).map(|closure| (state, closure)).into_iter().collect()
        }
    };
    each(notes, log, |state, closure| {
        if closure.held.is_none() {
            return Ok(None);
        }
        closure.undo(state, log)?;
        Ok(Some(closure))
    })
}

/// The note that lies there; `None` if none does (any more): the site was opened.
fn read(state: &Path) -> Option<Result<Closure>> {
    match Closure::read(state) {
        Err(_) if !state.exists() => None,
        read => Some(read),
    }
}

/// All notes about closed sites, with their places. Those that go while one looks are left out.
fn notes(paths: &Paths) -> Result<Vec<(PathBuf, Result<Closure>)>> {
    let folder = Closure::folder(paths);
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.or_fault(|| Fault::failed(format!("cannot read {}", folder.display())))?,
    };
    let mut places = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            places.push(path);
        }
    }
    places.sort();
    Ok(places.into_iter().filter_map(|state| read(&state).map(|closure| (state, closure))).collect())
}
