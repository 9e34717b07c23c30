//! The commands `list` and `show`. They need the settings and the target only: no Moodle, no database, no web server.

use super::{Session, record, verify};
use crate::error::{EXIT_WARNINGS, Fault, Result};
use crate::preflight;
use crate::report::list::{self, Line, List, Verified};
use crate::report::show::{self, Part, Show};
use crate::settings::Settings;
use crate::store::manifest::{Component, ComponentKind, Manifest};
use crate::store::notes::{self, Notes};
use crate::store::{Backup, Listing, Store, layout, usage};
use crate::sys::log::Log;
use crate::sys::{files, mounts, time};
use std::io::Write;
use std::path::Path;

/// The store of the site; `None` if it has none yet.
pub fn store(settings: &Settings) -> Result<Option<Store>> {
    preflight::require_mounted(settings)?;
    let folder = settings.target.path.join(&settings.site.name);
    // A link or a file of that name is for `open` to judge.
    match std::fs::symlink_metadata(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        _ => Store::open(&settings.target.path, &settings.site.name).map(Some),
    }
}

/// The store of the site, which must be there.
pub fn existing_store(settings: &Settings) -> Result<Store> {
    store(settings)?.ok_or_else(|| {
        let (site, target) = (&settings.site.name, settings.target.path.display());
        Fault::failed(format!("there are no backups of site {site:?} at {target}")).hint(nothing_there(settings)).into()
    })
}

/// What an empty target may mean.
fn nothing_there(settings: &Settings) -> String {
    match mounts::same_file_system(&settings.target.path, Path::new("/")) {
        true => format!(
            "if they are on a disk of their own, it is not mounted at {}: see findmnt and lsblk -f",
            settings.target.path.display()
        ),
        false => {
            "\"moodle-backup run\" makes the first; if there were some, compare name in [site] and path in [target]"
                .to_owned()
        }
    }
}

/// The command `list`.
pub fn list(session: &Session) -> Result<u8> {
    let settings = session.settings()?;
    let store = store(&settings)?;
    let listing = store.as_ref().map_or_else(|| Ok(Listing::default()), Store::backups)?;
    let vanished = record::vanished(&session.paths, &settings, &listing);
    match &vanished {
        Some(words) => session.log.warn(format!("{words}: {}", record::VANISHED)),
        None if store.is_none() => session.log.info(format!("note: {}", nothing_there(&settings))),
        None => {}
    }
    warn_of_damage(&listing, &session.log);
    let folder = settings.target.path.join(&settings.site.name);
    let space = files::space(if store.is_some() { &folder } else { &settings.target.path })?;
    let newest = listing.newest().map(|backup| &backup.manifest.pool);
    let view = List {
        site: settings.site.name.clone(),
        folder: folder.display().to_string(),
        pool_files: newest.map_or(0, |pool| pool.files),
        pool_bytes: newest.map_or(0, |pool| pool.bytes),
        free_bytes: space.free_bytes,
        total_bytes: space.total_bytes,
        others: others(&listing),
        backups: listing.backups.iter().map(line).collect::<Result<_>>()?,
    };
    session.print(&view, list::text)?;
    // Where others are there, somebody may have removed the newest.
    Ok(if vanished.is_some() && listing.backups.is_empty() && listing.unreadable.is_empty() {
        EXIT_WARNINGS
    } else {
        0
    })
}

fn others(listing: &Listing) -> Vec<String> {
    let unknown = listing.unknown.iter().map(|name| name.to_string_lossy().into_owned());
    let damaged = listing.unreadable.iter().map(|damaged| damaged.name.clone());
    let own = listing.partial.iter().chain(&listing.removing).cloned();
    own.chain(damaged).chain(unknown).collect()
}

/// Says what cannot be shown as it should.
fn warn_of_damage(listing: &Listing, log: &Log) {
    for damaged in &listing.unreadable {
        log.warn(format!(
            "{} is not listed, as it is damaged: {}; RESTORE.txt in it tells how to bring back what is left",
            damaged.name, damaged.reason
        ));
    }
    for backup in &listing.backups {
        if let Some(reason) = &backup.notes.unreadable {
            log.warn(format!("it is not known whether {} is pinned, so it is kept: cannot read {reason}", backup.name));
        }
    }
}

/// The command `show`.
pub fn show(session: &Session, wanted: &str) -> Result<u8> {
    let settings = session.settings()?;
    let backup = existing_store(&settings)?.find(wanted)?;
    session.print(&whole(&settings, &backup)?, show::text)?;
    Ok(0)
}

/// What `list` says of a backup.
pub fn line(backup: &Backup) -> Result<Line> {
    let manifest = &backup.manifest;
    Ok(Line {
        name: backup.name.clone(),
        when: manifest.moment(),
        age_seconds: (time::now() - manifest.moment()).num_seconds(),
        own_bytes: backup.usage()?.own_bytes,
        files: manifest.pool.files
            + manifest.components.iter().filter(|part| is_tree(part)).map(|p| p.entries).sum::<u64>(),
        closed_seconds: (manifest.window.windows > 0).then_some(manifest.window.closed_seconds),
        label: manifest.comment.clone(),
        pinned: backup.notes.is_pinned(),
        warning_count: manifest.warnings.len() as u64,
        complete: manifest.complete,
        verified: verified(&backup.notes),
    })
}

/// The list of the pool's files has entries too, but those are files of the pool.
fn is_tree(part: &Component) -> bool {
    matches!(part.kind, ComponentKind::Code | ComponentKind::Directory | ComponentKind::Moodledata)
}

/// The last check. Damage that was found when another backup was checked, or after it, counts more.
fn verified(notes: &Notes) -> Option<Verified> {
    let damage =
        notes.damage.iter().map(|damage| Verified { when: damage.at, how: "checksums".to_owned(), good: false });
    let damage = damage.max_by_key(|found| found.when);
    match (notes.verified.as_ref().map(tested), damage) {
        (Some(checked), Some(_)) if !checked.good => Some(checked),
        (checked, damage) => damage.or(checked),
    }
}

fn tested(test: &notes::Verified) -> Verified {
    let how = if test.how == "sums" { "checksums" } else { &test.how };
    Verified { when: test.at, how: how.to_owned(), good: test.good }
}

fn whole(settings: &Settings, backup: &Backup) -> Result<Show> {
    let manifest = backup.manifest.clone();
    let Manifest { pool, times, window, database, .. } = &manifest;
    Ok(Show {
        site: settings.site.name.clone(),
        line: line(backup)?,
        folder: backup.path.display().to_string(),
        sequence: manifest.sequence,
        wwwroot: manifest.site.wwwroot.clone(),
        release: manifest.site.release.clone(),
        database: format!("{} {}", database.engine, database.server_version),
        tool: manifest.tool.clone(),
        window: window.mode.clone(),
        windows: window.windows,
        took_seconds: (times.finished - times.started).as_seconds_f64(),
        parts: parts(backup)?,
        pool_files: pool.files,
        pool_bytes: pool.bytes,
        new_files: pool.new_files,
        new_bytes: pool.new_bytes,
        restore_test: backup.notes.restore_test.as_ref().map(tested),
        damage: verify::damages(&backup.notes.damage),
        incomplete_because: manifest.incomplete_because.clone(),
        missing_at_source: pool.missing_at_source.clone(),
        warnings: manifest.warnings.clone(),
        steps: times.steps.clone(),
    })
}

fn parts(backup: &Backup) -> Result<Vec<Part>> {
    let shown = backup.manifest.components.iter();
    let shown = shown.filter(|part| !matches!(part.kind, ComponentKind::PoolList | ComponentKind::Index));
    let part = |part: &Component| {
        let stored_bytes = match part.kind {
            // Plain files, of which the manifest holds no size on the disk.
            ComponentKind::Moodledata => usage::usage(&backup.path.join(&part.file))?.all_bytes,
            _ => part.stored_bytes,
        };
        Ok(Part {
            name: part.name.clone(),
            file: part.file.display().to_string(),
            entries: part.entries,
            bytes: part.bytes,
            stored_bytes,
            same_as: part.same_as.clone(),
        })
    };
    shown.map(part).collect()
}

/// The command `backup-names`, which shells call while somebody types: it reads no manifest, and where something is not as
/// it should be there is nothing to offer, and nothing to say.
pub fn names(session: &Session) -> Result<u8> {
    let store = session.settings().and_then(|settings| store(&settings));
    let names = store.ok().flatten().and_then(|store| store.names().ok()).unwrap_or_default();
    let latest = names.first().map(|_| layout::LATEST);
    let text: String = latest.into_iter().chain(names.iter().map(String::as_str)).map(|it| format!("{it}\n")).collect();
    // A shell that does not listen any more has what it wanted.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(0)
}
