//! Which files of the code are other than in the backup: what an administrator has changed by hand since, and would lose. Told by
//! the backup's index, without reading a file. Changes nothing.

use super::{Here, Job};
use crate::entry::{Cursor, Entry, Exclusions, Findings, Kind, Step, lies_below, shown, walk};
use crate::error::Result;
use crate::store::{Part, inside, layout};
use crate::undo;
use serde::Serialize;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Files and links of the code, relative to ROOT, that a restore makes other than they are. What git keeps of itself is left out.
#[derive(Clone, Debug, Default, Serialize, PartialEq)]
pub struct CodeChanges {
    /// Those that have another size, time, mode or target than in the backup.
    pub changed: Vec<String>,
    /// Those that are not in the backup, and go.
    pub only_here: Vec<String>,
    /// Those that are not here, and come back.
    pub only_in_backup: Vec<String>,
}

/// Compares the code that is here; `None` where it stays, or none is there.
pub fn look(job: &Job, here: &Here) -> Result<Option<CodeChanges>> {
    if !job.wants(&Part::Code) || here.is_new() || !here.root.is_dir() {
        return Ok(None);
    }
    let index = inside::named(&job.backup.path, &layout::index_of(Path::new(layout::CODE)))?;
    let mut cursor = Cursor::open(&index)?;
    let mut changes = CodeChanges::default();
    walk(&here.root, &left_out(here), &mut Findings::default(), &mut |step, _| {
        let Step::Entry(entry, _) = step else { return Ok(ControlFlow::Continue(())) };
        let then = cursor.take(&entry.path, &mut |gone| {
            note(&mut changes.only_in_backup, &gone);
            Ok(())
        })?;
        match then {
            Some(then) if is_same(&then, entry) => {}
            Some(_) => note(&mut changes.changed, entry),
            None => note(&mut changes.only_here, entry),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    cursor.pass_below(b"", &mut |gone| {
        note(&mut changes.only_in_backup, &gone);
        Ok(())
    })?;
    if job.keep_config {
        changes.changed.retain(|path| path != "config.php");
    }
    Ok(Some(changes))
}

/// What lies in the code and is no part of it.
fn left_out(here: &Here) -> Exclusions {
    let mut exclude = Exclusions::none();
    let own = [Path::new(undo::FOLDER), Path::new("lost+found")];
    let inside = [&here.dataroot, &here.filedir].into_iter().filter_map(|path| path.strip_prefix(&here.root).ok());
    inside.chain(own).for_each(|path| exclude.add_path(path.as_os_str().as_bytes()));
    exclude
}

/// Owners, inodes and their times are others after each restore.
fn is_same(then: &Entry, now: &Entry) -> bool {
    let folders = then.kind == Kind::Folder && now.kind == Kind::Folder;
    let told = |it: &Entry| (it.kind, it.size, it.mtime, it.mode);
    folders || told(then) == told(now) && then.target == now.target
}

fn note(paths: &mut Vec<String>, entry: &Entry) {
    if entry.kind != Kind::Folder && !lies_below(&entry.path, b".git") {
        paths.push(shown(&entry.path));
    }
}
