//! Undoing what an interrupted run left, and ending a hold. Needs no settings: all is in the closure's note.

use super::closure::{Closure, Hold};
use crate::error::{Fault, OrFault, Result};
use crate::sys::lock::{Lock, Mode};
use crate::sys::log::Log;
use crate::sys::paths::Paths;
use std::path::{Path, PathBuf};

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
    let mut recovered = Vec::new();
    let mut failed = None;
    for state in notes(paths)? {
        match recover_one(paths, &state, log) {
            Ok(one) => recovered.push(one),
            // One site that cannot be reopened must not keep another closed.
            Err(error) => {
                log.error(&error);
                failed = Some(error);
            }
        }
    }
    failed.map_or(Ok(recovered), Err)
}

fn recover_one(paths: &Paths, state: &Path, log: &Log) -> Result<Recovered> {
    let closure = Closure::read(state)?;
    if closure.held.is_some() {
        return Ok(Recovered::Held(closure));
    }
    // A dataroot that is gone has nobody at work on it.
    let lock = if closure.dataroot.exists() { Lock::try_hold(&closure.dataroot, Mode::Exclusive)? } else { None };
    if lock.is_none() && closure.dataroot.exists() {
        return Ok(Recovered::Running(closure));
    }
    require_whole(paths, &closure)?;
    closure.undo(state, log)?;
    Ok(Recovered::Reopened(closure))
}

/// Reopens one site that a dead run has left closed. The caller holds the site's lock, which shows that the run is dead.
pub fn recover_site(paths: &Paths, dataroot: &Path, log: &Log) -> Result<Option<Closure>> {
    let state = Closure::file_for(paths, dataroot);
    if !state.exists() {
        return Ok(None);
    }
    let closure = Closure::read(&state)?;
    require_whole(paths, &closure)?;
    closure.undo(&state, log)?;
    Ok(Some(closure))
}

/// A site that a restore has left half replaced is not opened.
fn require_whole(paths: &Paths, closure: &Closure) -> Result<()> {
    if !closure.restoring || !paths.restoring(&closure.dataroot).exists() {
        return Ok(());
    }
    Err(Fault::failed(format!("{} stays closed: an interrupted restore of it is not undone yet", closure.site))
        .hint("moodle-backup recover")
        .into())
}

/// The note about a site that is held closed on purpose.
pub fn held(paths: &Paths, dataroot: &Path) -> Result<Option<Closure>> {
    for state in notes(paths)? {
        let closure = Closure::read(&state)?;
        if closure.held.is_some() && closure.dataroot == dataroot {
            return Ok(Some(closure));
        }
    }
    Ok(None)
}

/// All notes about closed sites: held, closed by a run that is at work, or left so by one that died.
pub fn closures(paths: &Paths) -> Result<Vec<Closure>> {
    let mut closures = Vec::new();
    for state in notes(paths)? {
        match Closure::read(&state) {
            Ok(closure) => closures.push(closure),
            // The site was opened meanwhile.
            Err(_) if !state.exists() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(closures)
}

/// Reopens the sites that are held closed; only the one of that dataroot if one is named.
pub fn resume(paths: &Paths, dataroot: Option<&Path>, log: &Log) -> Result<Vec<Closure>> {
    let mut resumed = Vec::new();
    for state in notes(paths)? {
        let closure = Closure::read(&state)?;
        let meant = dataroot.is_none_or(|dataroot| dataroot == closure.dataroot);
        if matches!(closure.held, Some(Hold::Half | Hold::None)) && meant {
            closure.undo(&state, log)?;
            resumed.push(closure);
        }
    }
    Ok(resumed)
}

fn notes(paths: &Paths) -> Result<Vec<PathBuf>> {
    let folder = Closure::folder(paths);
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.or_fault(|| Fault::failed(format!("cannot read {}", folder.display())))?,
    };
    let mut notes = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            notes.push(path);
        }
    }
    notes.sort();
    Ok(notes)
}
