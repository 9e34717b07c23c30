//! What the dumps of a backup are without, as a rule since the account that made them may not read it, and what becomes of
//! it in a restore. Changes nothing.

use super::{Here, Job, load};
use crate::database::{Connection, EVENTS, ROUTINES, Session};
use crate::error::Result;
use crate::preflight::extra_connection;
use crate::store::{Part, manifest};

/// A line for each database that is brought back without something.
pub(super) fn told(job: &Job, here: &Here) -> Result<Vec<String>> {
    let manifest = &job.backup.manifest;
    let mut lines = Vec::new();
    for part in &job.parts {
        let (what, then, connection) = match part {
            Part::Database => ("this backup".to_owned(), &manifest.database, here.connection().cloned()),
            Part::ExtraDatabase(name) => {
                let then = load::extra(manifest, name)?;
                (format!("the dump of database {:?}", then.name), then, extra(job, here, name))
            }
            _ => continue,
        };
        let session = connection.filter(|_| !here.is_new()).and_then(|connection| connection.session().ok());
        let there = session.is_some();
        lines.extend(line(&what, &kinds(then, session), there));
    }
    Ok(lines)
}

/// How to reach a database beside Moodle's own, where that is known.
fn extra(job: &Job, here: &Here, name: &str) -> Option<Connection> {
    let known = job.settings.database.extra.iter().find(|extra| extra.name == name)?;
    extra_connection(here.site.as_ref()?, known).ok()
}

/// What the dump is without; nothing that the server here does not have either.
fn kinds(then: &manifest::Database, session: Option<Session>) -> Vec<String> {
    let left_out = then.left_out.iter().flatten();
    let mut kinds: Vec<String> = left_out.cloned().collect();
    if kinds.iter().any(|kind| kind == EVENTS)
        && let Some(mut session) = session
        && session.has_events().is_ok_and(|has| !has)
    {
        kinds.retain(|kind| kind != EVENTS);
    }
    kinds
}

/// What is not in a dump is not dropped either; a database that is made anew does not have it.
fn line(what: &str, kinds: &[String], there: bool) -> Option<String> {
    let words = |kind: &String| match kind.as_str() {
        ROUTINES => "stored routines".to_owned(),
        EVENTS => "scheduled events".to_owned(),
        other => other.to_owned(),
    };
    let kinds: Vec<String> = kinds.iter().map(words).collect();
    if kinds.is_empty() {
        return None;
    }
    let after = match there {
        true => "what the database has of them now stays as it is",
        false => "a database that is made anew has none; make them again if the site had any",
    };
    Some(format!("{what} is without {} (its dump could not have them): {after}", kinds.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dump_is_without_is_told_with_what_becomes_of_it() {
        assert_eq!(line("this backup", &[], true), None);
        let kinds = ["routines".to_owned(), "events".to_owned()];
        let line = |there| line("this backup", &kinds, there).unwrap();
        assert!(line(true).contains("without stored routines and scheduled events"), "{}", line(true));
        assert!(line(true).contains("stays as it is"), "{}", line(true));
        assert!(line(false).contains("has none; make them again"), "{}", line(false));
    }
}
