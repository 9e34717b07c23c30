//! The database of a restore: what is there is set aside within it, the dump is loaded in its place. And what has to
//! follow: caches emptied, sessions ended.

use super::place::require_empty;
use super::{Here, Job, apart, links};
use crate::database::{Connection, Replaced, Scope, Wanted};
use crate::error::{Fault, Result};
use crate::moodle::table;
use crate::preflight::{Site, extra_connection};
use crate::store::{Part, inside, manifest};
use crate::sys::human;
use crate::sys::log::Log;
use crate::undo::Changes;
use std::path::Path;
use std::time::Duration;

const PURGE_TIMEOUT: Duration = Duration::from_secs(600);

/// Loads the databases that are asked for, but for those that are as they were: these stay, and there is nothing to undo. Tells
/// whether Moodle's own was loaded.
pub fn databases(job: &Job, here: &Here, site: Option<&Site>, changes: &mut Changes, log: &Log) -> Result<bool> {
    let mut loaded = false;
    for part in &job.parts {
        let site = || site.ok_or_else(|| Fault::failed("the site's config.php is not there"));
        match part {
            Part::Database => {
                let then = &job.backup.manifest.database;
                let connection = &site()?.connection;
                let made = make(job, then, connection, changes, log)?;
                if job.place.is_some() {
                    require_empty(connection, here)?;
                }
                if made || !is_unchanged(job, then, connection, log)? {
                    exchange(job, then, connection, changes, log)?;
                    loaded = true;
                }
            }
            Part::ExtraDatabase(name) => {
                let then = extra(&job.backup.manifest, name)?;
                let known = job.settings.database.extra.iter().find(|extra| extra.name == *name);
                let known = known.ok_or_else(|| {
                    Fault::unfit(format!("the settings do not say how to reach the database {name:?}"))
                        .hint("name it in [[database.extra]]; or bring the dump back with --to DIR and load it by hand")
                })?;
                let connection = extra_connection(site()?, known)?;
                let made = make(job, then, &connection, changes, log)?;
                if made || !is_unchanged(job, then, &connection, log)? {
                    exchange(job, then, &connection, changes, log)?;
                }
            }
            _ => {}
        }
    }
    Ok(loaded)
}

/// Whether a database holds now what it held then. The site is closed, so it stays so.
fn is_unchanged(job: &Job, then: &manifest::Database, connection: &Connection, log: &Log) -> Result<bool> {
    // Tables without transactions have dumps of their own.
    if job.place.is_some() || !then.more_files.is_empty() {
        return Ok(false);
    }
    log.info(format!("comparing the {} with {}", connection.title(), then.file.display()));
    match connection.is_as_in(&inside::named(&job.backup.path, &then.file)?) {
        Ok(true) => {
            log.info("it is as it was then, so it stays");
            Ok(true)
        }
        Ok(false) => Ok(false),
        Err(error) => {
            crate::sys::signals::check()?;
            log.detail(format!("they cannot be compared, so the dump is loaded: {error:#}"));
            Ok(false)
        }
    }
}

/// An extra database of a backup, by the name of its dump.
pub(super) fn extra<'m>(manifest: &'m manifest::Manifest, name: &str) -> Result<&'m manifest::Database> {
    let named = |database: &&manifest::Database| {
        let file = database.file.file_name().unwrap_or_default().to_string_lossy();
        file.strip_suffix(".sql.zst") == Some(name)
    };
    manifest.extra_databases.iter().find(named).ok_or_else(|| {
        Fault::usage(format!("the backup has no database {name:?}")).hint("moodle-backup show names its parts").into()
    })
}

/// Makes a database that is not there; true if it was not.
fn make(
    job: &Job,
    then: &manifest::Database,
    connection: &Connection,
    changes: &mut Changes,
    log: &Log,
) -> Result<bool> {
    if connection.engine != engine_of(then)? {
        return Err(Fault::failed(format!(
            "the backup holds a dump of {}, and the database here is of {}",
            then.engine,
            connection.engine.name()
        ))
        .hint("a dump can be loaded into a server of its own kind only")
        .into());
    }
    let mut wanted = wanted(then);
    if job.place.as_ref().is_some_and(|place| place.database.server.is_some()) {
        // Another server may see this machine by another name.
        wanted.user_host.clear();
    }
    let made = changes.make_database(connection, &wanted, job.admin.as_deref())?;
    if made {
        log.info(format!("made the {}, which was not there", connection.title()));
    }
    Ok(made)
}

/// Sets what a database holds aside, and loads the dump in its place.
fn exchange(
    job: &Job,
    then: &manifest::Database,
    connection: &Connection,
    changes: &mut Changes,
    log: &Log,
) -> Result<()> {
    let scope = Scope::without(then.left_out.as_deref());
    let aside = connection.plan_aside(changes.id(), scope, job.admin.as_deref())?;
    changes.set_aside(connection, aside.clone())?;
    let mut replaced = load(job, then, connection, log)?;
    match connection.give_back_grants(&aside) {
        Ok(0) => {}
        Ok(rights) => log.info(format!("gave {} on the tables back to other accounts", human::count(rights, "right"))),
        // The site does not need them.
        Err(error) => log.warn(format!("what other accounts may do with the tables was not given back: {error:#}")),
    }
    let given_back = connection.give_back_definers(&aside)?;
    replaced.retain(|it| !given_back.contains(&(it.kind.clone(), it.name.clone())));
    if !replaced.is_empty() && job.may_give_definers() {
        let given = connection.give_definers(&then.of_others, scope, job.admin.as_deref())?;
        replaced.retain(|it| !given.contains(&(it.kind.clone(), it.name.clone())));
    }
    if !replaced.is_empty() {
        let told = replaced.iter().map(|it| format!("{} {} of {}", it.kind.to_lowercase(), it.name, it.definer));
        log.warn(format!(
            "{} has defined now what others had: {}; where that matters, give it back as an administrator of the server, by the \
             statements in {}",
            connection.account(),
            told.collect::<Vec<_>>().join(", "),
            then.file.display()
        ));
    }
    Ok(())
}

fn load(job: &Job, then: &manifest::Database, connection: &Connection, log: &Log) -> Result<Vec<Replaced>> {
    let files = std::iter::once(then.file.as_path()).chain(then.more_files.iter().map(Path::new));
    let mut replaced = Vec::new();
    for file in files {
        log.info(format!("loading {} into the {}", file.display(), connection.title()));
        let dump = inside::named(&job.backup.path, file)?;
        replaced.extend(connection.load(&dump, &mut |done, total| log.progress(done, total, "bytes"))?);
    }
    Ok(replaced)
}

pub(super) fn engine_of(then: &manifest::Database) -> Result<crate::database::Engine> {
    crate::database::Engine::from_dbtype(match then.engine.as_str() {
        "postgresql" => "pgsql",
        "mysql" => "mysqli",
        other => other,
    })
}

pub(super) fn wanted(then: &manifest::Database) -> Wanted {
    Wanted {
        charset: then.charset.clone(),
        collation: then.collation.clone(),
        ctype: then.ctype.clone(),
        extensions: then.extensions.clone(),
        user_host: then.user_host.clone(),
    }
}

/// What has to follow before anybody comes in: sessions of another time ended, caches of another state emptied.
pub fn post(job: &Job, site: Option<&Site>, loaded: bool, log: &Log) -> Result<()> {
    if let Some(site) = site.filter(|_| loaded) {
        let sessions = table(&site.connection, &site.config.prefix, "sessions")?;
        site.connection.execute("end the sessions", &format!("DELETE FROM {sessions};"))?;
    }
    if let (Some(place), Some(site)) = (&job.place, site) {
        if place.clone {
            apart::rename(place, site, log)?;
        }
        purge(Some(site), log)?;
        links::replace(job, place, site, log)?;
    }
    purge(site, log)
}

/// Empties Moodle's caches.
pub(super) fn purge(site: Option<&Site>, log: &Log) -> Result<()> {
    let Some(site) = site else { return Ok(()) };
    log.info("purging Moodle's caches");
    let Some(script) = site.layout.cli(&site.config.admin, "purge_caches.php") else { return Ok(()) };
    let purge = site.php.start().folder(&site.layout.root).arg(script).timeout(PURGE_TIMEOUT);
    if let Err(error) = purge.success() {
        crate::sys::signals::check()?;
        log.warn(format!("Moodle could not purge its caches: {error:#}"));
    }
    Ok(())
}
