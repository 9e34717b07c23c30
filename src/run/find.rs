//! The command `find`: which backups have a file, and how it is brought back. It needs the target only, and with `--from` no
//! settings.

use super::{Session, extract, watched};
use crate::cli;
use crate::database::uploads::Upload;
use crate::entry::{Kind, shown, to_path};
use crate::error::{EXIT_WARNINGS, Result};
use crate::extract::find::{Hit, Outcome, Search, Thing};
use crate::extract::searched::Searched;
use crate::extract::unpack::{self, Needed, Unpacked};
use crate::hashes;
use crate::report::find::{self as view, Count, Find, Found, Use};
use crate::store::{Backup, Listing, shell};
use crate::sys::commands;
use chrono::{DateTime, Local};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Exit code where nothing was found, as grep has it.
const NOT_FOUND: u8 = 1;

/// Where things are brought back to in the commands that are told.
const BACK: &str = "/root/back";

/// Searches, and says what was found.
pub fn find(session: &Session, args: &cli::Find) -> Result<u8> {
    let unpacked = unpack(session, args)?;
    let from = unpacked.as_ref().map(Unpacked::folder).or(args.from.as_deref());
    let (store, named) = extract::store(session, from)?;
    let listing = store.backups()?;
    let backups = chosen(&listing, args, named.as_deref())?;
    require_parts(&backups, &args.within)?;
    let outcome = watched::shown(session, |log| {
        if std::io::stderr().is_terminal() {
            // The bar has this name. Elsewhere what looks only says nothing beside what it has found.
            log.step("search")?;
        }
        let limit = if args.limit == 0 { usize::MAX } else { args.limit };
        let mut search = Search::new(&args.pattern, &args.within, limit, &backups, log);
        let exact = args.backup.as_deref().or(named.as_deref());
        let unread = |name: &str| args.all || may_be_meant(exact, &backups, name);
        for damaged in listing.unreadable.iter().filter(|damaged| unread(&damaged.name)) {
            search.leave_out(&damaged.name, &damaged.reason);
        }
        for (number, backup) in backups.iter().enumerate() {
            match backup.hold() {
                Ok(_held) => search.backup(backup, number)?,
                Err(error) if args.all => search.leave_out(&backup.name, &format!("{error:#}")),
                Err(error) => return Err(error),
            }
        }
        Ok(search.end())
    })?;
    // What users have uploaded was not unpacked.
    let pool = unpacked.is_none().then(|| store.pool());
    let others = listing.backups.len() - backups.len();
    let found = view(args, &backups, others, &outcome, pool.as_deref());
    session.print(&found, view::text)?;
    Ok(match (found.found.is_empty(), found.not_searched.is_empty()) {
        (true, _) => NOT_FOUND,
        (false, true) => 0,
        (false, false) => EXIT_WARNINGS,
    })
}

/// An export's lists and dump are unpacked first: what users have uploaded stays in it.
fn unpack(session: &Session, args: &cli::Find) -> Result<Option<Unpacked>> {
    let Some(file) = args.from.as_deref().filter(|from| from.is_file()) else { return Ok(None) };
    let needs_dump = args.within.is_empty() || args.within.contains(&Searched::Uploads);
    let needed = if needs_dump { Needed::Databases } else { Needed::Parts(Vec::new()) };
    unpack::unpack(file, Path::new("/var/tmp"), &needed, &session.log).map(Some)
}

/// The backups to search, the newest first.
fn chosen(listing: &Listing, args: &cli::Find, named: Option<&str>) -> Result<Vec<Backup>> {
    if args.all && !listing.backups.is_empty() {
        return Ok(listing.backups.iter().rev().cloned().collect());
    }
    let wanted = args.backup.as_deref().or(named.filter(|_| !args.all)).unwrap_or("latest");
    listing.find(wanted, &Local).map(|backup| vec![backup])
}

/// Whether a backup that cannot be read may be the one that was meant by something else than its name.
fn may_be_meant(wanted: Option<&str>, backups: &[Backup], name: &str) -> bool {
    backups.first().is_some_and(|backup| wanted != Some(&backup.name) && name > backup.name.as_str())
}

/// An error, with the parts that there are, if no backup has one of those that are to be searched.
fn require_parts(backups: &[Backup], within: &[Searched]) -> Result<()> {
    for part in within {
        let mut found = backups.iter().map(|backup| part.components(&backup.manifest).map(drop));
        let newest = found.next().unwrap_or(Ok(()));
        if newest.is_err() && !found.any(|found| found.is_ok()) {
            return newest;
        }
    }
    Ok(())
}

fn view(args: &cli::Find, backups: &[Backup], others: usize, outcome: &Outcome, pool: Option<&Path>) -> Find {
    let mut parts: Vec<String> = args.within.iter().map(ToString::to_string).collect();
    for part in backups.iter().filter(|_| args.within.is_empty()).flat_map(|backup| Searched::all(&backup.manifest)) {
        let part = part.to_string();
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    let found = outcome.hits.iter().map(|hit| found(args, backups, hit, pool)).collect::<Vec<_>>();
    let nothing = found.is_empty();
    Find {
        site: backups.first().map(|backup| backup.manifest.site.name.clone()).unwrap_or_default(),
        pattern: args.pattern.clone(),
        backups: backups.iter().map(|backup| backup.name.clone()).collect(),
        parts,
        found,
        count: outcome.counts.iter().map(|(_, count)| count).sum(),
        counts: outcome.counts.iter().map(|(part, count)| Count { part: part.to_string(), count: *count }).collect(),
        not_searched: outcome.not_searched.clone(),
        to_try: if nothing { to_try(args, others) } else { Vec::new() },
    }
}

fn found(args: &cli::Find, backups: &[Backup], hit: &Hit, pool: Option<&Path>) -> Found {
    let names = hit.backups.iter().filter_map(|number| backups.get(*number)).map(|backup| backup.name.clone());
    let names: Vec<String> = names.collect();
    let restore = restore(args, names.first().map_or("latest", String::as_str), &hit.thing);
    let found = Found {
        part: Searched::Uploads.to_string(),
        kind: "file".into(),
        path: String::new(),
        bytes: Some(hit.bytes),
        changed: DateTime::from_timestamp(hit.changed, 0),
        contenthash: None,
        uses: hit.uses.iter().map(|one| used(&one.upload, &one.place)).collect(),
        lost: false,
        backups: names,
        restore,
    };
    match &hit.thing {
        Thing::Entry { part, path, kind, .. } => Found {
            part: part.to_string(),
            kind: word(*kind).into(),
            path: shown(path),
            bytes: (*kind == Kind::File).then_some(hit.bytes),
            ..found
        },
        Thing::Upload { contenthash, filename } => {
            let hash = hashes::from_hex(contenthash.as_bytes());
            let place = pool.zip(hash).map(|(pool, hash)| pool.join(hashes::relative_path(&hash)));
            Found {
                path: shown(filename.as_bytes()),
                contenthash: Some(contenthash.clone()),
                lost: place.is_some_and(|place| !place.symlink_metadata().is_ok_and(|meta| meta.is_file())),
                ..found
            }
        }
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Folder => "folder",
        Kind::Symlink => "link",
    }
}

fn used(upload: &Upload, place: &str) -> Use {
    Use {
        component: upload.component.clone(),
        filearea: upload.filearea.clone(),
        folder: upload.filepath.clone(),
        contextid: upload.contextid.clone(),
        place: place.to_owned(),
        author: upload.author.clone(),
    }
}

/// The command that brings a thing back. Users' files are named by their content: there may be others of that name.
fn restore(args: &cli::Find, backup: &str, thing: &Thing) -> String {
    let what = match thing {
        Thing::Entry { path, .. } => format!("--path {}", shell::word(to_path(path))),
        Thing::Upload { contenthash, .. } => format!("--file {}", shell::word(contenthash)),
    };
    commands::complete(&format!("moodle-backup restore {backup}{} {what} --to {BACK}", from(args))).into_owned()
}

/// The place of the backups as it is named in commands, which may be typed elsewhere.
fn from(args: &cli::Find) -> String {
    let whole = |from: &PathBuf| std::path::absolute(from).unwrap_or_else(|_| from.clone());
    args.from.as_ref().map(|from| format!(" --from {}", shell::word(whole(from)))).unwrap_or_default()
}

/// What helps where nothing was found.
fn to_try(args: &cli::Find, others: usize) -> Vec<String> {
    let mut tries = Vec::new();
    if !args.all && others > 0 {
        let within: String =
            args.within.iter().map(|part| format!(" --in {}", shell::word(part.to_string()))).collect();
        let pattern = shell::quote(&args.pattern);
        let other = if others == 1 { "1 other backup".to_owned() } else { format!("{others} other backups") };
        tries.push(format!("{other} may have it: moodle-backup find --all{within}{} {pattern}", from(args)));
    }
    if !args.within.is_empty() {
        tries.push("without --in everything is searched".to_owned());
    }
    if args.pattern.contains('/') {
        tries.push("without a slash the name alone is compared, in whatever folder".to_owned());
    }
    if !args.pattern.is_ascii() {
        tries.push("letters with accents can be written in two ways: put * in their place".to_owned());
    }
    tries.push("a shorter part of the name; a file from Moodle has the name that it was uploaded with".to_owned());
    tries
}
