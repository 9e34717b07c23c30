//! The record of a restore's changes: what was moved where, in order, and how to take it back. It lies in
//! `/var/lib/moodle-backup/restore/`, readable by root alone: it has what is needed to reach the database.

use crate::database::{Aside, Connection, Missing};
use crate::error::{Fault, OrFault, Result};
use crate::sys::files;
use crate::sys::paths::Paths;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// How the words begin for the state that a restore has replaced.
const BEFORE: &str = "the state before ";

/// The changes of one restore.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Name of the site.
    pub site: String,
    /// Its dataroot.
    pub dataroot: PathBuf,
    /// Its ROOT; not in records of earlier versions.
    #[serde(default)]
    pub root: Option<PathBuf>,
    /// Name of the web user; not in records of earlier versions.
    #[serde(default)]
    pub web_user: Option<String>,
    /// What was restored, in words: `backup 2026-11-23T010003Z`.
    pub what: String,
    /// Names the folders and tables of this restore; of two of a site the later one is greater.
    pub id: String,
    /// Whether it put back what a restore had replaced.
    #[serde(default)]
    pub is_undo: bool,
    /// The state of the site that it found, and set aside: by a name among this site's records.
    #[serde(default)]
    pub before: String,
    /// The state that it made.
    #[serde(default)]
    pub after: String,
    /// The restore (or the undo of one) that it took back: what that had set aside is in its place again.
    #[serde(default)]
    pub took_back: Option<String>,
    /// The process.
    pub pid: u32,
    /// When it began, in seconds since 1970.
    pub started: i64,
    /// When it had succeeded.
    pub finished: Option<i64>,
    /// Folders that hold what is staged and set aside.
    pub folders: Vec<PathBuf>,
    /// What was done, in order; the last may not have been begun.
    pub steps: Vec<Step>,
}

/// One change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Something was renamed.
    Renamed {
        /// Its name before.
        from: PathBuf,
        /// Its name after.
        to: PathBuf,
    },
    /// The content of a database was set aside; what stands there since came from elsewhere.
    SetAside {
        /// The database.
        connection: Connection,
        /// Where its content is.
        aside: Aside,
    },
    /// A database, or its account, was made that was not there.
    MadeDatabase {
        /// The database.
        connection: Connection,
        /// What was missing of it.
        missing: Box<Missing>,
    },
    /// A folder that was not there, or was empty, was taken for a new site: all that is in it came since.
    Occupied {
        /// The folder.
        folder: PathBuf,
        /// Whether it was there.
        was_there: bool,
    },
    /// The dataroot of a site was made that was lost with it: all that is in it came since.
    MadeDataroot {
        /// The folder.
        folder: PathBuf,
    },
    /// All that was in such a dataroot was set aside, and the folder itself is to go.
    EmptiedDataroot {
        /// The folder.
        folder: PathBuf,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Its mode.
        mode: u32,
    },
    /// What an earlier restore had set aside was brought back.
    BroughtBack {
        /// The database.
        connection: Connection,
        /// Where its content was.
        aside: Aside,
    },
}

impl Record {
    /// A record without any change yet, of the site with this name, ROOT, dataroot and web user.
    pub fn new(site: &str, root: &Path, dataroot: &Path, web_user: &str, what: String) -> Record {
        let now = crate::sys::time::now();
        // Two restores of a site are further apart than that.
        let id = now.timestamp_millis().to_string();
        Record {
            site: site.to_owned(),
            dataroot: dataroot.to_path_buf(),
            root: Some(root.to_path_buf()),
            web_user: Some(web_user.to_owned()),
            what,
            is_undo: false,
            before: format!("before {id}"),
            after: id.clone(),
            took_back: None,
            id,
            pid: std::process::id(),
            started: now.timestamp(),
            finished: None,
            folders: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// A record of taking `last` back, of the site with this ROOT and web user; `is_undo` unless that was an undo itself.
    pub fn of_taking_back(last: &Record, root: &Path, web_user: &str) -> Record {
        Record {
            is_undo: !last.is_undo,
            before: last.after.clone(),
            after: last.before.clone(),
            took_back: Some(last.id.clone()),
            ..Record::new(&last.site, root, &last.dataroot, web_user, last.holds())
        }
    }

    /// Whether it is of the site with this ROOT, as settings name it: that may be its public/ folder.
    pub(super) fn is_of(&self, root: &Path) -> bool {
        self.root.as_ref().is_some_and(|own| own == root || own.join("public") == root)
    }

    /// What it has set aside, in words: `the state before backup 2026-11-23T010003Z`, or of an undo the backup itself.
    pub fn holds(&self) -> String {
        match self.what.strip_prefix(BEFORE) {
            Some(what) if self.is_undo => what.to_owned(),
            _ => format!("{BEFORE}{}", self.what),
        }
    }

    /// Where what it has set aside is, in words: folders, and tables or schemas of databases.
    pub fn places(&self) -> Vec<String> {
        let folders = self.folders.iter().map(|folder| folder.display().to_string());
        let databases = self.steps.iter().filter_map(|step| match step {
            Step::SetAside { connection, aside } => aside.place(connection),
            _ => None,
        });
        folders.chain(databases).collect()
    }

    /// Reads a record; `None` where there is none.
    pub fn read(file: &Path) -> Result<Option<Record>> {
        let text = match std::fs::read(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.or_fault(|| Fault::failed(format!("cannot read {}", file.display())))?,
        };
        let record = serde_json::from_slice(&text).or_fault(|| {
            Fault::failed(format!("{} is damaged; it says what a restore has moved", file.display())).hint(
                "look into the .moodle-backup-restore folders beside ROOT and in the dataroot, and for tables whose names \
                 begin with moodle_backup_old_: put them back by hand, then delete that file",
            )
        })?;
        Ok(Some(record))
    }

    /// A restore that has died, taken for one that is done as far as it came: what it has replaced can be put back by an undo. The state
    /// that it made is one of its own, also where it was an undo itself: what it had not come to is still where the other has set it aside.
    pub(super) fn into_kept(mut self) -> Result<Record> {
        self.leave_out_what_was_not_begun()?;
        self.what = format!("an interrupted restore of {}", self.what);
        self.after.clone_from(&self.id);
        (self.is_undo, self.took_back) = (false, None);
        self.finished = Some(crate::sys::time::now().timestamp());
        Ok(self)
    }

    /// A step is written down before it is made; the last may have been written down only.
    fn leave_out_what_was_not_begun(&mut self) -> Result<()> {
        let was_begun = match self.steps.last() {
            Some(Step::Renamed { to, .. }) => to.symlink_metadata().is_ok(),
            Some(Step::SetAside { connection, aside }) if !aside.was_empty() && !connection.is_aside(aside)? => {
                // What cannot be renamed may have been dropped already.
                connection.put_back(aside)?;
                false
            }
            _ => true,
        };
        if !was_begun {
            self.steps.pop();
        }
        Ok(())
    }

    /// Whether it was to put a site where none was: such a site is closed by a page that nobody has noted.
    pub fn is_of_new_site(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Occupied { .. }))
    }

    pub(super) fn write(&self, file: &Path) -> Result<()> {
        files::write_durably(file, &serde_json::to_vec_pretty(self)?, 0o600)
    }

    /// Whether anything of the site was changed, or may have been.
    pub(super) fn has_changed_anything(&self) -> bool {
        !self.steps.is_empty()
    }

    /// An error if a folder that something was set aside in is not there: as long as its disk is not mounted, nothing could
    /// be put back, and it would look as if there were nothing to put back.
    pub(super) fn require_folders(&self) -> Result<()> {
        let used = |folder: &&PathBuf| {
            self.steps.iter().any(|step| match step {
                Step::Renamed { from, to } => from.starts_with(folder) || to.starts_with(folder),
                _ => false,
            })
        };
        match self.folders.iter().filter(used).find(|folder| !folder.exists()) {
            None => Ok(()),
            Some(folder) => Err(Fault::failed(format!(
                "{} is not there, in which a restore of {} has set things aside",
                folder.display(),
                self.site
            ))
            .hint("mount its file system, then: moodle-backup recover")
            .into()),
        }
    }

    /// An error if anything is gone that was set aside: a site would be taken away, and nothing would come in its place.
    pub fn require_set_aside(&self) -> Result<()> {
        self.require_folders()?;
        for step in &self.steps {
            let (what, is_there) = match step {
                Step::Renamed { from, to } if is_aside(to) && !is_aside(from) => {
                    (to.display().to_string(), to.symlink_metadata().is_ok())
                }
                Step::SetAside { connection, aside } => {
                    (format!("what the {} held", connection.title()), connection.is_whole(aside)?)
                }
                _ => continue,
            };
            if !is_there {
                return Err(Fault::unfit(format!(
                    "{what} is gone, which was set aside when {} was put in its place",
                    self.what
                ))
                .hint("\"moodle-backup restore\" brings back a backup instead")
                .into());
            }
        }
        Ok(())
    }

    /// Takes all changes back, the last first. Each is looked at: some may have been taken back already.
    pub(super) fn roll_back(&self) -> Result<()> {
        self.require_folders()?;
        for step in self.steps.iter().rev() {
            match step {
                Step::Renamed { from, to } => rename_back(from, to)?,
                // It goes with the database.
                Step::SetAside { connection, .. } if self.made(connection) => {}
                Step::SetAside { connection, aside } => connection.put_back(aside)?,
                Step::MadeDatabase { connection, missing } => connection.unmake(missing)?,
                Step::Occupied { folder, was_there } => vacate(folder, *was_there)?,
                Step::BroughtBack { connection, aside } if !connection.is_aside(aside)? => {
                    connection.set_aside(aside)?;
                }
                // Users' files that are in it already save the next restore from copying them again.
                Step::BroughtBack { .. } | Step::MadeDataroot { .. } | Step::EmptiedDataroot { .. } => {}
            }
        }
        Ok(())
    }

    /// Whether this restore has made that database.
    fn made(&self, connection: &Connection) -> bool {
        self.steps.iter().any(|step| {
            matches!(step, Step::MadeDatabase { connection: made, missing }
                if missing.is_all() && made.title() == connection.title())
        })
    }

    /// Deletes what was set aside, for good.
    pub(super) fn discard(&self) -> Result<()> {
        for step in &self.steps {
            match step {
                // Of a restore that was undone it went with the database, and perhaps the account did.
                Step::SetAside { connection, .. } if self.finished.is_none() && self.made(connection) => {}
                Step::SetAside { connection, aside } => connection.drop_aside(aside)?,
                _ => {}
            }
        }
        self.folders.iter().try_for_each(|folder| remove_container(folder))
    }
}

/// Whether a path lies where things are staged and set aside.
pub fn is_aside(path: &Path) -> bool {
    path.components().any(|step| step.as_os_str() == super::FOLDER)
}

/// What a record tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A restore that is at work, or has died.
    AtWork,
    /// One whose leavings nobody needs.
    Swept,
    /// One that has succeeded, and can be undone.
    Done,
}

/// All records of a kind.
pub(super) fn all(paths: &Paths, wanted: Kind) -> Result<Vec<PathBuf>> {
    let folder = paths.restores();
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.or_fault(|| Fault::failed(format!("cannot read {}", folder.display())))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.to_string_lossy();
        let kind = match () {
            () if name.ends_with(".swept.json") => Some(Kind::Swept),
            () if name.ends_with(".done.json") => Some(Kind::Done),
            () => name.ends_with(".json").then_some(Kind::AtWork),
        };
        if kind == Some(wanted) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Something may have come to stand in the old place meanwhile (a cache that Moodle has made anew): it goes where the other
/// comes from.
fn rename_back(from: &Path, to: &Path) -> Result<()> {
    if to.symlink_metadata().is_err() {
        return Ok(());
    }
    if from.symlink_metadata().is_ok() {
        let name = from.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let free = (0..).map(|number| files::parent(to).join(format!("in-the-way-{number}-{name}")));
        let free = free.into_iter().find(|path| path.symlink_metadata().is_err());
        if let Some(free) = free {
            files::rename_durably(from, &free)?;
        }
    }
    files::rename_durably(to, from)
}

/// Empties a folder that was empty, or removes it where it was not there.
fn vacate(folder: &Path, was_there: bool) -> Result<()> {
    let failed = || Fault::failed(format!("cannot delete what was brought to {}", folder.display()));
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.or_fault(failed)?,
    };
    for entry in entries {
        let entry = entry.or_fault(failed)?;
        if entry.file_name() == "lost+found" {
            continue;
        }
        let removed = match entry.file_type().or_fault(failed)?.is_dir() {
            true => std::fs::remove_dir_all(entry.path()),
            false => std::fs::remove_file(entry.path()),
        };
        removed.or_fault(failed)?;
    }
    match was_there {
        true => Ok(()),
        false => std::fs::remove_dir(folder).or_fault(failed),
    }
}

fn remove_container(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).or_fault(|| Fault::failed(format!("cannot delete {}", folder.display())));
        }
        _ => {}
    }
    // Others may have theirs beside it.
    let _ = std::fs::remove_dir(files::parent(folder));
    Ok(())
}
