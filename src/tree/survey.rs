//! How a tree differs from what an index tells of it: what a copy would have to do. Reads no file, changes nothing.

use crate::entry::{Cursor, Exclusions, Findings, Kind, Step, to_path, walk};
use crate::error::Result;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A tree, against an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Entries in the tree, the root among them.
    pub entries: u64,
    /// Sizes of all files in it, in bytes.
    pub bytes: u64,
    /// Files and links that are new or have changed.
    pub changed: u64,
    /// Sizes of those.
    pub changed_bytes: u64,
    /// Folders that are new, or whose owner, mode or times have changed.
    pub changed_folders: u64,
    /// What the index has and the tree has not.
    pub gone: u64,
    /// What cannot be read, and could be when the index was made.
    pub unreadable: u64,
    /// What the walk met.
    pub findings: Findings,
}

impl Survey {
    /// Whether the tree is as the index says, as far as it can be read.
    pub fn is_unchanged(&self) -> bool {
        self.changed + self.changed_folders + self.gone + self.unreadable == 0
    }
}

/// Compares a tree with an index of it; without one everything is new. `unread` has the paths of what could not be read
/// when the index was made, and is taken to be so still.
pub fn survey(source: &Path, exclude: &Exclusions, index: Option<&Path>, unread: &HashSet<PathBuf>) -> Result<Survey> {
    let mut survey = Survey::default();
    let mut cursor = index.map(Cursor::open).transpose()?;
    let mut findings = Findings::default();
    walk(source, exclude, &mut findings, &mut |step, _| {
        let Step::Entry(entry, _) = step else { return Ok(ControlFlow::Continue(())) };
        let same = cursor.as_mut().map_or(Ok(false), |cursor| {
            let began = cursor.began();
            let then = cursor.take(&entry.path, &mut |_| {
                survey.gone += 1;
                Ok(())
            })?;
            Ok::<_, anyhow::Error>(match then {
                Some(then) => then.is_same(entry) && !then.is_racy(began),
                None => unread.contains(to_path(&entry.path)),
            })
        })?;
        survey.entries += 1;
        let bytes = if entry.kind == Kind::File { entry.size } else { 0 };
        survey.bytes += bytes;
        match entry.kind {
            _ if same => {}
            Kind::Folder => survey.changed_folders += 1,
            Kind::File | Kind::Symlink => {
                survey.changed += 1;
                survey.changed_bytes += bytes;
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if let Some(cursor) = &mut cursor {
        cursor.pass_below(b"", &mut |_| {
            survey.gone += 1;
            Ok(())
        })?;
    }
    survey.unreadable = findings.problems.iter().filter(|it| !unread.contains(to_path(&it.path))).count() as u64;
    survey.findings = findings;
    Ok(survey)
}
