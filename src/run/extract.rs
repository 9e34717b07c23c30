//! The command `restore` as far as it brings things back into a folder or a file, beside the site. It needs neither
//! Moodle nor a database, and with `--from` no settings.

use super::{Session, exit_code, listing};
use crate::cli::Restore;
use crate::error::{Fault, OrFault, Result};
use crate::extract::unpack::{self, Needed, Unpacked};
use crate::extract::{self, Job, tables, uploads, wanted};
use crate::report::extract::{self as view, Extracted, File, Part, Use};
use crate::store::{Backup, Store, source};
use crate::sys::files;
use chrono::{DateTime, Local};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// Brings back what was asked for.
pub fn restore(session: &Session, args: &Restore) -> Result<u8> {
    let started = Instant::now();
    let unpacked = unpack(session, args)?;
    let from = unpacked.as_ref().map(Unpacked::folder).or(args.from.as_deref());
    let (store, backup) = backup(session, args.backup.as_deref(), from)?;
    let _held = backup.hold()?;
    let mut shown = Extracted {
        site: backup.manifest.site.name.clone(),
        backup: backup.name.clone(),
        when: backup.manifest.moment(),
        to: args.to.as_deref().unwrap_or(Path::new("-")).display().to_string(),
        parts: Vec::new(),
        files: Vec::new(),
        took_seconds: 0.0,
        warnings: Vec::new(),
    };
    if let Some(name) = &args.table {
        table(session, &backup, name, args, &mut shown)?;
    } else if let Some(to) = &args.to {
        into_folder(session, &store, &backup, args, to, &mut shown)?;
    }
    shown.warnings = session.log.warnings();
    shown.took_seconds = started.elapsed().as_secs_f64();
    let code = exit_code(&shown.warnings);
    if shown.to == "-" { Ok(code) } else { session.report(&shown, view::text, code) }
}

/// An export is unpacked first, beside the place where things are to go.
fn unpack(session: &Session, args: &Restore) -> Result<Option<Unpacked>> {
    let Some(file) = args.from.as_deref().filter(|from| from.is_file()) else { return Ok(None) };
    let needed = match (&args.table, &args.file, args.path.is_empty(), args.only.is_empty()) {
        (Some(_), ..) => Needed::Databases,
        (_, Some(_), ..) => Needed::Uploads,
        (.., true, true) => Needed::Everything,
        (.., true, false) => Needed::Parts(args.only.clone()),
        (.., false, _) => Needed::Trees(args.only.clone()),
    };
    let to = args.to.as_deref().filter(|to| *to != Path::new("-"));
    // What goes to standard output needs no large disk.
    let near = to.map_or(Path::new("/var/tmp"), files::parent);
    unpack::unpack(file, near, &needed, &session.log).map(Some)
}

/// The backups of the settings, or those in another folder; with them the one that the folder names.
pub fn store(session: &Session, from: Option<&Path>) -> Result<(Store, Option<String>)> {
    match from {
        Some(from) => source::open(from).map(|source| (source.store, source.backup)),
        None => Ok((listing::existing_store(&session.settings()?)?, None)),
    }
}

fn backup(session: &Session, wanted: Option<&str>, from: Option<&Path>) -> Result<(Store, Backup)> {
    let (store, named) = store(session, from)?;
    let wanted = wanted.or(named.as_deref()).unwrap_or("latest");
    let backups = store.backups()?;
    let backup = backups.find(wanted, &Local)?;
    if backup.name != wanted {
        // One of them may be the one that was meant.
        for damaged in backups.unreadable {
            session.log.warn(format!("{} is damaged and was not considered: {}", damaged.name, damaged.reason));
        }
    }
    Ok((store, backup))
}

fn into_folder(
    session: &Session,
    store: &Store,
    backup: &Backup,
    args: &Restore,
    to: &Path,
    shown: &mut Extracted,
) -> Result<()> {
    if let Some(file) = &args.file {
        tables::verify(backup, &backup.manifest.database, args.force, &session.log)?;
        let placed = uploads::extract(backup, &store.pool(), file, to, &session.log)?;
        shown.files = placed.iter().map(described).collect();
        return Ok(());
    }
    let wanted = wanted::wanted(backup, &args.only, &args.path)?;
    let job = Job {
        backup,
        pool: &store.pool(),
        wanted: &wanted,
        to,
        owner: args.owner,
        plain: args.plain,
        force: args.force,
    };
    let placed = extract::extract(&job, &session.log)?;
    let part = |placed: &extract::Placed| Part {
        name: placed.name.clone(),
        path: placed.path.display().to_string(),
        entries: placed.files,
        bytes: placed.bytes,
    };
    shown.parts = placed.iter().map(part).collect();
    Ok(())
}

fn described(placed: &uploads::Placed) -> File {
    let used = |extract::find::Use { upload, place }: &extract::find::Use| Use {
        filename: upload.filename.clone(),
        component: upload.component.clone(),
        filearea: upload.filearea.clone(),
        contextid: upload.contextid.clone(),
        place: place.clone(),
        author: upload.author.clone(),
        changed: DateTime::from_timestamp(upload.timemodified, 0),
    };
    File {
        contenthash: placed.contenthash.clone(),
        path: placed.path.as_ref().map(|path| path.display().to_string()),
        bytes: placed.uses.first().map_or(0, |one| one.upload.filesize),
        uses: placed.uses.iter().map(used).collect(),
    }
}

fn table(session: &Session, backup: &Backup, name: &str, args: &Restore, shown: &mut Extracted) -> Result<()> {
    let found = tables::find(backup, name)?;
    tables::verify(backup, &backup.manifest.database, args.force, &session.log)?;
    match args.to.as_deref().filter(|to| *to != Path::new("-")) {
        None if session.global.json => {
            return Err(Fault::usage("--json needs a place for the table: --to FILE").into());
        }
        None => {
            let written = tables::write(backup, &found, &mut std::io::stdout().lock());
            // A reader that has seen enough (head, less) is no failure.
            return written.or_else(|error| match error.root_cause().downcast_ref::<std::io::Error>() {
                Some(cause) if cause.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
                _ => Err(error),
            });
        }
        Some(to) => to_file(backup, &found, to)?,
    }
    let bytes = std::fs::metadata(&shown.to).map_or(0, |meta| meta.len());
    shown.parts =
        vec![Part { name: format!("table {}", found.name), path: shown.to.clone(), entries: found.rows, bytes }];
    Ok(())
}

/// Writes a table into a file that must not be there yet; on an error nothing of it is left.
fn to_file(backup: &Backup, found: &tables::Found, to: &Path) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let made = std::fs::File::options().write(true).create_new(true).mode(0o600).open(to);
    let file = made.or_fault(|| {
        Fault::unfit(format!("cannot make {}", to.display()))
            .hint("name a file that is not there yet: nothing is written over")
    })?;
    let mut out = std::io::BufWriter::new(file);
    let written = tables::write(backup, found, &mut out).and_then(|()| Ok(out.flush()?));
    written.inspect_err(|_| drop(std::fs::remove_file(to)))
}
