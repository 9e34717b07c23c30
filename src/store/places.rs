//! Where in Moodle a file belongs, in words: the courses and users of contexts, out of a backup's dump.

use super::{Backup, rows};
use crate::database::table::text;
use crate::error::Result;
use crate::sys::log::Log;
use crate::sys::signals;
use std::collections::{BTreeSet, HashMap};

/// Levels of contexts (lib/classes/context/*.php).
const USER: &str = "30";
const COURSE: &str = "50";

/// What is known of contexts.
#[derive(Clone, Debug, Default)]
pub struct Places {
    contexts: HashMap<String, Context>,
    /// Names of courses by their numbers.
    courses: HashMap<String, String>,
}

/// What of a context is of interest.
#[derive(Clone, Debug, Default)]
struct Context {
    level: String,
    instance: String,
    /// The contexts that it lies in, from the outermost: `/1/3/17`.
    path: String,
}

impl Places {
    /// Looks up these contexts. Both tables stand far in front in a dump, so that no more than its beginning is read.
    /// What cannot be read is not known then; the error is a signal's.
    pub fn read(backup: &Backup, wanted: &BTreeSet<String>, log: &Log) -> Result<Places> {
        let mut places = Places::default();
        if let Err(error) = places.fill(backup, wanted) {
            signals::check()?;
            log.detail(format!("{error:#}"));
        }
        Ok(places)
    }

    fn fill(&mut self, backup: &Backup, wanted: &BTreeSet<String>) -> Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        let columns = ["id", "contextlevel", "instanceid", "path"];
        rows::each(backup, "context", &columns, &|_| {}, &mut |row| {
            let id = text(&row[0]);
            let context = Context { level: text(&row[1]), instance: text(&row[2]), path: text(&row[3]) };
            // Those that lie in courses name the courses' contexts only.
            if context.level == COURSE || wanted.contains(&id) {
                self.contexts.insert(id, context);
            }
        })?;
        let courses: BTreeSet<String> = wanted.iter().filter_map(|id| self.course(id)).collect();
        if !courses.is_empty() {
            rows::each(backup, "course", &["id", "shortname", "fullname"], &|_| {}, &mut |row| {
                let id = text(&row[0]);
                if courses.contains(&id) {
                    let name = format!("{:?} ({})", text(&row[2]), text(&row[1]));
                    self.courses.insert(id, name);
                }
            })?;
        }
        Ok(())
    }

    /// The number of the course that a context lies in.
    fn course(&self, id: &str) -> Option<String> {
        let context = self.contexts.get(id)?;
        let above = context.path.split('/').rev().filter_map(|id| self.contexts.get(id));
        let course = std::iter::once(context).chain(above).find(|context| context.level == COURSE);
        course.map(|course| course.instance.clone())
    }

    /// `course "Botany" (bot1)`, `user 2`, `context 99`.
    pub fn of(&self, id: &str) -> String {
        match (self.course(id).and_then(|course| self.courses.get(&course)), self.contexts.get(id)) {
            (Some(course), _) => format!("course {course}"),
            (None, Some(context)) if context.level == USER => format!("user {}", context.instance),
            (None, _) => format!("context {id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_by_the_course_it_lies_in() {
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
        let places = Places { contexts, courses };
        assert_eq!(places.of("20"), "course \"Botany\" (bot1)");
        assert_eq!(places.of("17"), places.of("20"));
        assert_eq!(places.of("30"), "user 2");
        assert_eq!(places.of("99"), "context 99");
    }
}
