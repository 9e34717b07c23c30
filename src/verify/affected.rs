//! What a damaged pool file is to Moodle's users: its names, and the courses that it belongs to, out of a dump.

use super::dump;
use crate::database::scanner::{Scanner, TableRows};
use crate::error::Result;
use crate::hashes::{self, Hash};
use crate::store::Backup;
use crate::sys::log::Log;
use crate::sys::signals;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

/// So many dumps are gone through at most, the newest first: each takes its time.
const DUMPS: usize = 3;

/// So many names of a file are told.
const NAMED: usize = 5;

/// Levels of contexts (lib/classes/context/*.php).
const USER: &str = "30";
const COURSE: &str = "50";

/// A row of Moodle's table of files.
#[derive(Clone, Debug)]
struct FileRow {
    hash: Hash,
    context: String,
    component: String,
    area: String,
    path: String,
    name: String,
}

/// What of a context is of interest.
#[derive(Clone, Debug, Default)]
struct Context {
    level: String,
    instance: String,
    /// The contexts that it lies in, from the outermost: `/1/3/17`.
    path: String,
}

/// The names of these files by the newest dumps that refer to them; with each backup those of them that it lists.
pub fn by_pool_files(listed: &[(&Backup, BTreeSet<Hash>)], log: &Log) -> Result<BTreeMap<Hash, Vec<String>>> {
    let mut known: BTreeMap<Hash, Vec<String>> = BTreeMap::new();
    let mut left = DUMPS;
    for (backup, hashes) in listed.iter().rev() {
        let wanted: BTreeSet<Hash> = hashes.iter().filter(|hash| !known.contains_key(*hash)).copied().collect();
        if wanted.is_empty() || left == 0 {
            continue;
        }
        left -= 1;
        match of_backup(backup, &wanted, log) {
            Ok(found) => known.extend(found),
            // A dump that is damaged itself tells nothing; that it is, is told elsewhere.
            Err(error) => {
                signals::check()?;
                log.detail(format!("{error:#}"));
            }
        }
    }
    Ok(known)
}

fn of_backup(backup: &Backup, wanted: &BTreeSet<Hash>, log: &Log) -> Result<BTreeMap<Hash, Vec<String>>> {
    let hashes = wanted.clone();
    let columns = ["contenthash", "contextid", "component", "filearea", "filepath", "filename"];
    let files = rows(backup, "files", &columns, log, move |values| {
        let hash = values[0].as_deref().and_then(hashes::from_hex).filter(|hash| hashes.contains(hash))?;
        let row = FileRow {
            hash,
            context: text(&values[1]),
            component: text(&values[2]),
            area: text(&values[3]),
            path: text(&values[4]),
            name: text(&values[5]),
        };
        // Folders have rows too.
        (row.name != ".").then_some(row)
    })?;
    let contexts = contexts(backup, &files, log)?;
    let courses = courses(backup, &contexts, log)?;
    let mut named: BTreeMap<Hash, Vec<String>> = BTreeMap::new();
    // Copies that forms were filled in with say little.
    let (drafts, files): (Vec<FileRow>, Vec<FileRow>) = files.into_iter().partition(|file| file.area == "draft");
    for file in files.into_iter().chain(drafts) {
        let names = named.entry(file.hash).or_default();
        let name = file.words(&contexts, &courses);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    for names in named.values_mut() {
        let more = names.len().saturating_sub(NAMED);
        names.truncate(NAMED);
        if more > 0 {
            names.push(format!("and {more} more"));
        }
    }
    Ok(named)
}

/// The contexts of these files, and those of all courses.
fn contexts(backup: &Backup, files: &[FileRow], log: &Log) -> Result<HashMap<String, Context>> {
    let wanted: BTreeSet<String> = files.iter().map(|file| file.context.clone()).collect();
    let columns = ["id", "contextlevel", "instanceid", "path"];
    let found = rows(backup, "context", &columns, log, move |values| {
        let id = text(&values[0]);
        let context = Context { level: text(&values[1]), instance: text(&values[2]), path: text(&values[3]) };
        (context.level == COURSE || wanted.contains(&id)).then_some((id, context))
    })?;
    Ok(found.into_iter().collect())
}

/// Names of the courses that contexts belong to.
fn courses(backup: &Backup, contexts: &HashMap<String, Context>, log: &Log) -> Result<HashMap<String, String>> {
    let wanted: BTreeSet<String> =
        contexts.values().filter(|context| context.level == COURSE).map(|context| context.instance.clone()).collect();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let found = rows(backup, "course", &["id", "shortname", "fullname"], log, move |values| {
        let id = text(&values[0]);
        let name = format!("{:?} ({})", text(&values[2]), text(&values[1]));
        wanted.contains(&id).then_some((id, name))
    })?;
    Ok(found.into_iter().collect())
}

/// What `keep` makes of the rows of a table of Moodle's.
fn rows<T: Send + 'static>(
    backup: &Backup,
    table: &str,
    columns: &[&str],
    log: &Log,
    keep: impl Fn(&[Option<Vec<u8>>]) -> Option<T> + Send + Clone + 'static,
) -> Result<Vec<T>> {
    let database = &backup.manifest.database;
    let kept = Arc::new(Mutex::new(Vec::new()));
    let Some(engine) = dump::engine(database) else { return Ok(Vec::new()) };
    for file in database.dumps() {
        let (keep, into) = (keep.clone(), Arc::clone(&kept));
        let table = TableRows {
            schema: Some(database.schema.clone()).filter(|schema| !schema.is_empty()),
            name: format!("{}{table}", database.prefix),
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            each: Box::new(move |values| {
                if let (Some(row), Ok(mut into)) = (keep(values), into.lock()) {
                    into.push(row);
                }
            }),
        };
        dump::scan(&backup.path.join(file), Scanner::of_rows(engine, table), log)?;
    }
    Ok(Arc::into_inner(kept).and_then(|kept| kept.into_inner().ok()).unwrap_or_default())
}

fn text(value: &Option<Vec<u8>>) -> String {
    value.as_deref().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
}

impl FileRow {
    /// `/week 1/notes.pdf (mod_resource, content), course "Botany" (bot1)`
    fn words(&self, contexts: &HashMap<String, Context>, courses: &HashMap<String, String>) -> String {
        let what = format!("{}{} ({}, {})", self.path, self.name, self.component, self.area);
        let Some(context) = contexts.get(&self.context) else { return format!("{what}, context {}", self.context) };
        let above = context.path.split('/').rev().filter_map(|id| contexts.get(id));
        let course = std::iter::once(context).chain(above).find(|context| context.level == COURSE);
        match course.and_then(|course| courses.get(&course.instance)) {
            Some(course) => format!("{what}, course {course}"),
            None if context.level == USER => format!("{what}, user {}", context.instance),
            None => format!("{what}, context {}", self.context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_by_the_course_it_lies_in() {
        let context = |level: &str, instance: &str, path: &str| Context {
            level: level.into(),
            instance: instance.into(),
            path: path.into(),
        };
        let contexts = HashMap::from([
            ("17".to_owned(), context("50", "4", "/1/3/17")),
            ("20".to_owned(), context("70", "9", "/1/3/17/20")),
            ("30".to_owned(), context("30", "2", "/1/30")),
        ]);
        let courses = HashMap::from([("4".to_owned(), "\"Botany\" (bot1)".to_owned())]);
        let words = |context: &str| {
            let file = FileRow {
                hash: hashes::EMPTY,
                context: context.into(),
                component: "mod_resource".into(),
                area: "content".into(),
                path: "/".into(),
                name: "a.pdf".into(),
            };
            file.words(&contexts, &courses)
        };
        assert_eq!(words("20"), "/a.pdf (mod_resource, content), course \"Botany\" (bot1)");
        assert_eq!(words("17"), words("20"));
        assert_eq!(words("30"), "/a.pdf (mod_resource, content), user 2");
        assert_eq!(words("99"), "/a.pdf (mod_resource, content), context 99");
    }
}
