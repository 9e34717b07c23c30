//! What a restore would do, said before anything is done. Changes nothing.

use super::environment::Comparison;
use super::stage::effort;
use super::{CodeChanges, Here, Job, code_changes, environment, lacking};
use crate::database::Connection;
use crate::error::{self, Result};
use crate::hashes;
use crate::pool::{self, Lacking};
use crate::store::manifest::Component;
use crate::store::{Part, layout};
use crate::sys::signals;
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::path::Path;

/// What copying and loading do in a second on a plain machine, in bytes. For a rough word only, that rather tells too much.
const COPIED_PER_SECOND: u64 = 60_000_000;
const LOADED_PER_SECOND: u64 = 8_000_000;

/// So many files and folders are made in a second beside that.
const ENTRIES_PER_SECOND: u64 = 3000;

/// So many tables are made, and looked at by Moodle's own checks, in a second: of the 535 of a Moodle 5.1 each took 15 ms in MariaDB,
/// and 7 ms in the checks.
const TABLES_PER_SECOND: u64 = 50;

/// What closing, exchanging, and Moodle's command line take of seconds whatever is restored.
const AT_LEAST: u64 = 5;

/// One thing that is replaced, or added to.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Piece {
    /// `code`, `moodledata`, `files`, `database`, `directory etc-apache2`, `database wiki`.
    pub part: String,
    /// Where it is.
    pub place: String,
    /// How many bytes are brought back.
    pub bytes: u64,
    /// How many files and folders; 0 for databases.
    pub entries: u64,
    /// What becomes of what is there, in words.
    pub what: String,
}

/// A restore that is to be.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Plan {
    /// Name of the site.
    pub site: String,
    /// Name of the backup.
    pub backup: String,
    /// The moment that it shows.
    pub when: DateTime<Utc>,
    /// What is brought back.
    pub pieces: Vec<Piece>,
    /// How the code that is here differs from the one that is brought back; none where it stays, or where it was not asked for.
    pub code_changes: Option<CodeChanges>,
    /// Parts of the backup that are not.
    pub left_out: Vec<String>,
    /// What to know before.
    pub warnings: Vec<String>,
    /// Why the restore will be refused as things are; empty where nothing is known to stand in its way.
    pub refused: Vec<String>,
    /// How long the site will be closed, roughly, in seconds.
    pub closed_seconds: u64,
    /// How long all of it takes, roughly, in seconds.
    pub seconds: u64,
    /// What will be other than it was in the backup, in words.
    pub changed: Vec<String>,
    /// Whether the site comes to a place where there is none: then nothing is replaced.
    pub new: bool,
    /// Whether the site as it is now could be backed up first.
    pub backup_first: bool,
}

/// Looks at backup and site, and says what would be done; each file of the code is looked at only if that is asked for.
pub fn plan(job: &Job, compare_code: bool) -> Result<Plan> {
    let here = Here::look(job)?;
    let manifest = &job.backup.manifest;
    if let Some(place) = &job.place {
        place.require(job, &here)?;
    }
    let mut pieces = Vec::new();
    for part in &job.parts {
        match part {
            Part::Code => pieces.push(tree(part.components(manifest)?[0], "code", &here.root)),
            Part::Moodledata => {
                let mut piece = tree(part.components(manifest)?[0], "moodledata", &here.dataroot);
                if !here.is_new() {
                    piece.what += ", caches and sessions emptied";
                }
                pieces.extend([piece, files(job, &here)?]);
            }
            Part::Database => pieces.push(database(job, &here)?),
            Part::Directory(name) => {
                let component = part.components(manifest)?[0];
                pieces.push(tree(component, &format!("directory {name}"), &component.source));
            }
            Part::ExtraDatabase(name) => {
                let then = super::load::extra(manifest, name)?;
                pieces.push(Piece {
                    part: format!("database {name}"),
                    place: format!("database {:?}", then.name),
                    bytes: then.bytes,
                    entries: 0,
                    what: format!("replaced, {} tables", then.tables.len()),
                });
            }
        }
    }
    let environment = environment::compare(job, &here);
    let mut warnings = warnings(job, &here, &environment)?;
    let code_changes = match compare_code.then(|| code_changes::look(job, &here)).transpose() {
        Ok(changes) => changes.flatten(),
        Err(error) => {
            signals::check()?;
            warnings.push(format!("which files of the code would be others cannot be told: {error:#}"));
            None
        }
    };
    let closed_seconds = closed_seconds(job, &pieces);
    Ok(Plan {
        site: job.settings.site.name.clone(),
        backup: job.backup.name.clone(),
        when: manifest.moment(),
        left_out: left_out(job),
        code_changes,
        warnings,
        refused: refused(job, &here, &environment),
        changed: changed(job, &here),
        new: here.is_new(),
        backup_first: can_be_backed_up(job, &here),
        closed_seconds,
        seconds: closed_seconds + copied_seconds(&pieces),
        pieces,
    })
}

fn closed_seconds(job: &Job, pieces: &[Piece]) -> u64 {
    let loaded: u64 = pieces.iter().filter(|piece| piece.part.starts_with("database")).map(|piece| piece.bytes).sum();
    let tables = if job.wants(&Part::Database) { job.backup.manifest.database.tables.len() as u64 } else { 0 };
    AT_LEAST + tables / TABLES_PER_SECOND + loaded / LOADED_PER_SECOND
}

fn copied_seconds(pieces: &[Piece]) -> u64 {
    let sum = |of: fn(&Piece) -> u64| pieces.iter().map(of).sum::<u64>();
    sum(|piece| piece.bytes) / COPIED_PER_SECOND + sum(|piece| piece.entries) / ENTRIES_PER_SECOND
}

fn tree(component: &Component, part: &str, place: &Path) -> Piece {
    Piece {
        part: part.to_owned(),
        place: place.display().to_string(),
        bytes: component.bytes,
        entries: component.entries,
        what: match std::fs::read_dir(place).map(|mut entries| entries.next().is_none()) {
            Err(_) => "not there now".into(),
            Ok(true) => "empty now".into(),
            Ok(false) => "replaced".into(),
        },
    }
}

/// Users' files: only what is lacking is copied, and nothing is removed.
fn files(job: &Job, here: &Here) -> Result<Piece> {
    let manifest = &job.backup.manifest;
    let mut lacking = Lacking::default();
    if manifest.pool.files > 0 {
        let list = hashes::read_list(&job.backup.path.join(layout::POOL_LIST))?;
        lacking = pool::lacking_of(list, &here.filedir, &job.site_folder.join(layout::POOL), effort(job))?;
    }
    let bytes = lacking.bytes;
    let mut what = match lacking.files - lacking.lost {
        0 if lacking.lost == 0 => format!("all {} are there already", manifest.pool.files),
        back => format!("{back} of {} are missing and come back", manifest.pool.files),
    };
    if lacking.lost > 0 {
        what += &format!(
            "; {} are LOST: neither here nor in the pool (\"moodle-backup verify\" names them), and without --force nothing is \
             restored",
            lacking.lost
        );
    }
    Ok(Piece { part: "files".into(), place: here.filedir.display().to_string(), bytes, entries: lacking.files, what })
}

fn database(job: &Job, here: &Here) -> Result<Piece> {
    let then = &job.backup.manifest.database;
    let (place, there) = match (&job.place, here.connection()) {
        (Some(place), _) => {
            let connection = place.connection(&job.backup.manifest)?;
            // Without its password, which is in config.php, nobody is let in.
            (connection.title(), connection.password.is_none() || connection.session().is_ok())
        }
        (None, Some(connection)) => (connection.title(), connection.session().is_ok()),
        (None, None) => (format!("database {:?}, as config.php of the backup says", then.name), false),
    };
    let what = match (there, here.is_new()) {
        // Config.php tells how to reach it.
        (false, false) if job.place.is_none() && here.connection().is_none() => {
            format!(
                "replaced, or will be made, {} tables; it cannot be seen now, since config.php here cannot be read",
                then.tables.len()
            )
        }
        (true, true) => format!("empty, or will be made, {} tables", then.tables.len()),
        (false, true) => format!("will be made, {} tables", then.tables.len()),
        (true, false) => format!("replaced, {} tables", then.tables.len()),
        (false, false) if can_be_made(job, here) => {
            format!("not there now, will be made, {} tables", then.tables.len())
        }
        (false, false) => format!("cannot be reached now; {} tables", then.tables.len()),
    };
    Ok(Piece { part: "database".into(), place, bytes: then.bytes, entries: 0, what })
}

/// What another place brings with it.
fn changed(job: &Job, here: &Here) -> Vec<String> {
    let Some(place) = &job.place else { return Vec::new() };
    let manifest = &job.backup.manifest;
    let mut changed = Vec::new();
    if place.wwwroot != manifest.site.wwwroot {
        changed.push(format!(
            "the address: {}, and links to {} in the content lead there (Moodle's own tool changes them)",
            place.wwwroot, manifest.site.wwwroot
        ));
    }
    let names: Vec<String> = place.overrides(manifest, here).iter().map(|it| it.title()).collect();
    if place.config_php.is_some() {
        changed.push("config.php: the one that was named".into());
    } else if !names.is_empty() {
        changed.push(format!("config.php: {}", names.join(", ")));
    }
    if here.web_user.name != manifest.site.web_user {
        changed.push(format!("the owner: {} in place of {}", here.web_user.name, manifest.site.web_user));
    }
    if place.clone {
        changed.push(
            "as a clone: no mail, no cron, a site identifier of its own, caches and sessions in its own files".into(),
        );
    }
    changed
}

/// What others have defined, where it cannot be given back to them.
fn definers(job: &Job, here: &Here) -> Option<String> {
    let others = &job.backup.manifest.database.of_others;
    let may = |it: &Connection| job.may_give_definers() && it.may_give_definers(job.admin.as_deref());
    if !job.wants(&Part::Database) || others.is_empty() || here.connection().is_some_and(may) {
        return None;
    }
    // What the server shows now with the very same text it gives back by itself.
    let now = here.connection().and_then(|it| it.session().ok()?.defined_by_others().ok()).unwrap_or_default();
    let named: Vec<String> = others.iter().filter(|it| !now.contains(it)).map(ToString::to_string).collect();
    if named.is_empty() {
        return None;
    }
    Some(format!(
        "Moodle's account will have defined what others had: {}; only an administrator of the database server can give it back{}",
        named.join(", "),
        if job.may_give_definers() { ", whom --database-admin FILE names" } else { "" }
    ))
}

/// What cannot be read cannot be backed up either.
fn can_be_backed_up(job: &Job, here: &Here) -> bool {
    let site = here.site.as_ref().filter(|_| job.place.is_none() && !job.from_elsewhere);
    site.is_some_and(|site| site.connection.session().is_ok())
}

fn can_be_made(job: &Job, here: &Here) -> bool {
    let missing =
        |it: &Connection| it.missing(&super::load::wanted(&job.backup.manifest.database), job.admin.as_deref());
    here.connection().is_some_and(|connection| missing(connection).is_ok_and(|missing| missing.is_some()))
}

fn left_out(job: &Job) -> Vec<String> {
    let all = Part::all(&job.backup.manifest);
    all.into_iter().filter(|part| !job.wants(part)).map(|part| part.to_string()).collect()
}

fn warnings(job: &Job, here: &Here, environment: &Comparison) -> Result<Vec<String>> {
    let manifest = &job.backup.manifest;
    let mut warnings = Vec::new();
    if !manifest.complete {
        warnings.push(format!("this backup is not complete: {}", manifest.incomplete_because.join("; ")));
    }
    if job.backup.notes.is_damaged() {
        warnings.push("this backup is known to be damaged: see moodle-backup show".into());
    }
    if let Some(trouble) = &here.trouble {
        warnings.push(format!("the site cannot be read as it is now, the backup tells where it belongs: {trouble}"));
    }
    let is = |part: &Part| job.wants(part);
    if is(&Part::Database) != is(&Part::Moodledata) {
        warnings.push("database and moodledata belong together: restored apart they are of two different times".into());
    }
    warnings.extend(shared_account(job));
    warnings.extend(lacking::told(job, here)?);
    warnings.extend(environment.warnings(job));
    warnings.extend(definers(job, here));
    warnings.extend(here.unknown_connection());
    Ok(warnings)
}

/// Whoever tries things out in a clone is not to reach the original's database by a slip.
fn shared_account(job: &Job) -> Option<String> {
    let place = job.place.as_ref().filter(|place| place.clone)?;
    let is_shared = place.database.user.is_none() && place.database.server.is_none();
    is_shared.then(|| {
        format!(
            "the clone comes to its database by the original's account, {}, which may change the original's too: --database-user NAME, \
             with --database-password-file FILE, gives it one of its own",
            job.backup.manifest.database.user
        )
    })
}

fn refused(job: &Job, here: &Here, environment: &Comparison) -> Vec<String> {
    here.refusals(job).iter().chain(&environment.refusal(job)).map(error::sentence).collect()
}
