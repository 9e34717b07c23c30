//! Replacing parts of a site so that it can be undone: each move is written down, durably, before it is made, so that
//! this process or any later one can put everything back. What is replaced is renamed, never deleted.
//! Knows nothing of backups: what takes the place of what is `restore.rs`'s matter.

mod record;

use record::Kind;
pub use record::{Record, Step, is_aside};

use crate::database::{Aside, Connection, Wanted};
use crate::error::{Fault, OrFault, Result};
use crate::sys::files;
use crate::sys::folder_lock::FolderLock;
use crate::sys::log::Log;
use crate::sys::paths::Paths;
use crate::sys::privileges::Identity;
use crate::sys::signals;
use serde::{Deserialize, Serialize};
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The folder, beside or in what is replaced, that holds what is staged and what was set aside. Open to root alone, and
/// part of no backup.
pub const FOLDER: &str = ".moodle-backup-restore";

/// A lock that is taken to look who holds it is let go of within this time.
const A_MOMENT: Duration = Duration::from_millis(200);

/// Changes that are being made to a site. Unless they are kept in the end, dropping this puts everything back.
#[derive(Debug)]
pub struct Changes {
    paths: Paths,
    record: Record,
    file: PathBuf,
    log: Log,
    open: bool,
}

impl Changes {
    /// Begins: from now on a crash is noticed, and undone, by [`recover`]. The caller holds the site's lock.
    pub fn begin(paths: &Paths, mut record: Record, log: &Log) -> Result<Changes> {
        let file = paths.restoring(&record.dataroot);
        files::make_folders(files::parent(&file), 0o700)?;
        // What the newest of them has made is there now.
        if let Some(last) = kept(paths, &record.dataroot)?.first() {
            record.before.clone_from(&last.after);
        }
        record.write(&file)?;
        Ok(Changes { paths: paths.clone(), record, file, log: log.clone(), open: true })
    }

    /// What the names of this restore have in them, and no other's: for tables that are set aside.
    pub fn id(&self) -> &str {
        &self.record.id
    }

    /// The folder for things that are staged for `place`, or set aside from there: on the same file system, so that a rename
    /// does it; open to root alone. Made if it is not there yet.
    pub fn folder_for(&mut self, place: &Path) -> Result<PathBuf> {
        self.folder_in(&container(place)?)
    }

    /// As [`Changes::folder_for`], beside where an earlier restore has set `aside` something.
    pub fn folder_like(&mut self, aside: &Path) -> Result<PathBuf> {
        let is_container = |path: &&Path| path.file_name().is_some_and(|name| name == FOLDER);
        match aside.ancestors().find(is_container) {
            Some(container) => self.folder_in(container),
            None => self.folder_for(aside),
        }
    }

    fn folder_in(&mut self, container: &Path) -> Result<PathBuf> {
        let folder = container.join(&self.record.id);
        if !self.record.folders.contains(&folder) {
            self.record.folders.push(folder.clone());
            self.record.write(&self.file)?;
            make_private(files::parent(&folder))?;
            make_private(&folder)?;
        }
        Ok(folder)
    }

    /// Renames, if there is something to rename; nothing may stand at `to`. True if there was something.
    pub fn rename(&mut self, from: &Path, to: &Path) -> Result<bool> {
        if from.symlink_metadata().is_err() {
            return Ok(false);
        }
        if to.symlink_metadata().is_ok() {
            return Err(Fault::failed(format!("{} stands where {} belongs", to.display(), from.display())).into());
        }
        self.note(Step::Renamed { from: from.to_path_buf(), to: to.to_path_buf() })?;
        files::rename_durably(from, to)?;
        Ok(true)
    }

    /// Takes a folder for a new site: one that is empty, or not there and made here.
    pub fn occupy(&mut self, folder: &Path, owner: &Identity) -> Result<()> {
        let was_there = folder.exists();
        self.note(Step::Occupied { folder: folder.to_path_buf(), was_there })?;
        if was_there {
            return Ok(());
        }
        make_folder_for(folder, owner)
    }

    /// Notes that a dataroot was made where none was.
    pub fn note_dataroot(&mut self, folder: &Path) -> Result<()> {
        self.note(Step::MadeDataroot { folder: folder.to_path_buf() })
    }

    /// Notes that a dataroot is to go, with what a new one is to be like when its content comes back.
    pub fn note_end_of_dataroot(&mut self, folder: &Path) -> Result<()> {
        let meta = std::fs::metadata(folder)?;
        let (uid, gid, mode) = (meta.uid(), meta.gid(), meta.mode() & 0o7777);
        self.note(Step::EmptiedDataroot { folder: folder.to_path_buf(), uid, gid, mode })
    }

    /// Makes a database and its account where they are missing; true if there was anything to make.
    pub fn make_database(&mut self, connection: &Connection, wanted: &Wanted, admin: Option<&Path>) -> Result<bool> {
        let Some(missing) = connection.missing(wanted, admin)? else { return Ok(false) };
        self.note(Step::MadeDatabase { connection: connection.clone(), missing: Box::new(missing.clone()) })?;
        connection.make(&missing, wanted)?;
        Ok(true)
    }

    /// Sets the content of a database aside.
    pub fn set_aside(&mut self, connection: &Connection, aside: Aside) -> Result<()> {
        self.note(Step::SetAside { connection: connection.clone(), aside: aside.clone() })?;
        connection.set_aside(&aside)
    }

    /// Brings back what an earlier restore has set aside; the database is empty.
    pub fn bring_back(&mut self, connection: &Connection, aside: Aside) -> Result<()> {
        self.note(Step::BroughtBack { connection: connection.clone(), aside: aside.clone() })?;
        connection.put_back(&aside)
    }

    fn note(&mut self, step: Step) -> Result<()> {
        self.record.steps.push(step);
        self.record.write(&self.file)
    }

    /// All is well: the changes stay, and what was set aside can be put back later, as can what earlier restores had set aside.
    pub fn keep(mut self) -> Result<Record> {
        self.record.finished = Some(crate::sys::time::now().timestamp());
        self.record.write(&self.file)?;
        files::rename_durably(&self.file, &self.paths.restored(&self.record.dataroot, &self.record.id))?;
        self.open = false;
        // That only tells of something; the restore has succeeded.
        if let Err(error) = remove_file(&self.paths.undone(&self.record.dataroot)) {
            self.log.warn(format!("{error:#}"));
        }
        Ok(self.record.clone())
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        if self.record.has_changed_anything() {
            self.log.info("putting everything back as it was");
        }
        // It may be what brought us here; what follows must be done all the same.
        signals::forget();
        if let Err(error) = roll_back(&self.paths, &self.file, &self.record) {
            self.log.error(&error);
        }
    }
}

/// Sweeps when it is dropped: held by whoever changes a site, to be dropped when that is open again.
#[derive(Debug)]
pub struct Broom {
    paths: Paths,
    log: Log,
}

impl Broom {
    /// Ready.
    pub fn new(paths: &Paths, log: &Log) -> Broom {
        Broom { paths: paths.clone(), log: log.clone() }
    }
}

impl Drop for Broom {
    fn drop(&mut self) {
        sweep(&self.paths, &self.log);
    }
}

/// Deletes what nothing needs any more: what was staged for restores that were undone, and what is left of those that were taken
/// back. Takes its time, so it is done when the site is open again.
pub fn sweep(paths: &Paths, log: &Log) {
    let delete = |file: PathBuf, record: Record| -> Result<()> {
        record.discard()?;
        remove_file(&file)
    };
    let swept = || -> Result<()> {
        let swept = record::all(paths, Kind::Swept)?;
        if !swept.is_empty() {
            log.info("deleting what was laid ready, or has come, and is not needed any more");
        }
        for file in swept {
            Record::read(&file)?.map_or(Ok(()), |record| delete(file, record))?;
        }
        let done = done(paths)?;
        let was_taken_back = |id: &String| done.iter().any(|(_, other)| other.took_back.as_ref() == Some(id));
        let (over, _): (Vec<_>, Vec<_>) = done.iter().cloned().partition(|(_, record)| was_taken_back(&record.id));
        over.into_iter().try_for_each(|(file, record)| delete(file, record))
    };
    if let Err(error) = swept() {
        log.warn(format!("what is left of an earlier restore is still there: {error:#}"));
    }
}

fn done(paths: &Paths) -> Result<Vec<(PathBuf, Record)>> {
    let mut done = Vec::new();
    for file in record::all(paths, Kind::Done)? {
        done.extend(Record::read(&file)?.map(|record| (file, record)));
    }
    Ok(done)
}

/// The restores of a site (and undos of them) whose replaced state is kept, the newest first.
pub fn kept(paths: &Paths, dataroot: &Path) -> Result<Vec<Record>> {
    let mut kept: Vec<Record> =
        done(paths)?.into_iter().map(|(_, record)| record).filter(|record| record.dataroot == *dataroot).collect();
    let over: Vec<String> = kept.iter().filter_map(|record| record.took_back.clone()).collect();
    kept.retain(|record| !over.contains(&record.id));
    // Numbers of milliseconds.
    kept.sort_by_key(|record| std::cmp::Reverse(record.id.parse::<u64>().unwrap_or(0)));
    Ok(kept)
}

/// The newest restore of the site with this ROOT, whatever became of it: it tells where the site's other parts are, for when its
/// config.php does not. None where no record of such a restore is left.
pub fn newest(paths: &Paths, root: &Path) -> Result<Option<Record>> {
    let mut newest: Option<Record> = None;
    for kind in [Kind::Done, Kind::AtWork] {
        for file in record::all(paths, kind)? {
            let of_site = Record::read(&file)?.filter(|record| record.is_of(root));
            let later = of_site.filter(|one| newest.as_ref().is_none_or(|other| one.started >= other.started));
            newest = later.or(newest);
        }
    }
    Ok(newest)
}

/// The restore that an undo takes back, or the undo that a redo takes back: the newest that has made what is there now.
pub fn last(kept: &[Record], is_undo: bool) -> Option<&Record> {
    let now = &kept.first()?.after;
    kept.iter().find(|record| record.is_undo == is_undo && record.after == *now)
}

/// Forgets a restore and deletes what it had set aside. The caller holds the site's lock.
pub fn discard(paths: &Paths, record: &Record) -> Result<()> {
    record.discard()?;
    remove_file(&paths.restored(&record.dataroot, &record.id))
}

/// What becomes of a restore that has died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// All that it has moved is put back.
    Undone,
    /// The site stays as it is; what was set aside is kept, as by a restore that has succeeded.
    Kept,
}

/// Decides on a restore that has died; an error if neither is to be done now. Asked only if it has changed anything.
pub type Judge<'a> = &'a dyn Fn(&Record) -> Result<Fate>;

/// Puts back what a restore of this site has moved that died, or keeps it. The caller holds the site's lock, which shows that it
/// is dead.
pub fn recover_site(paths: &Paths, dataroot: &Path, judge: Judge) -> Result<Option<(Record, Fate)>> {
    recover_file(paths, &paths.restoring(dataroot), judge)
}

/// Puts back what dead restores have moved, on all sites, or keeps it. Returns those records.
pub fn recover(paths: &Paths, judge: Judge, log: &Log) -> Result<Vec<(Record, Fate)>> {
    let mut recovered = Vec::new();
    let mut failed = None;
    for file in record::all(paths, Kind::AtWork)? {
        let Some(record) = Record::read(&file)? else { continue };
        let lock = FolderLock::hold_within(&record.dataroot, &paths.lock(&record.dataroot), A_MOMENT)?;
        // Whoever holds it is at work on that very restore.
        match if lock.is_none() { Ok(None) } else { recover_file(paths, &file, judge) } {
            Ok(one) => recovered.extend(one),
            // One site that cannot be put in order must not keep another from it.
            Err(error) => {
                log.error(&error);
                failed = Some(error);
            }
        }
    }
    failed.map_or(Ok(recovered), Err)
}

fn recover_file(paths: &Paths, file: &Path, judge: Judge) -> Result<Option<(Record, Fate)>> {
    let Some(record) = Record::read(file)? else { return Ok(None) };
    if record.has_changed_anything() {
        // First: on a disk that is not mounted nothing of the site can be seen.
        record.require_folders()?;
        if judge(&record)? == Fate::Kept {
            return keep_dead(paths, file, record).map(|record| Some((record, Fate::Kept)));
        }
    }
    roll_back(paths, file, &record).or_fault(|| {
        Fault::failed(format!(
            "a restore of {} was interrupted, and what it had moved cannot be put back; the site stays closed",
            record.site
        ))
        .hint("mend what the error names (is the database server running?), then: moodle-backup recover")
    })?;
    let undone = Undone { what: record.what.clone(), started: record.started };
    files::write_durably(&paths.undone(&record.dataroot), &serde_json::to_vec(&undone)?, 0o600)?;
    Ok(Some((record, Fate::Undone)))
}

fn keep_dead(paths: &Paths, file: &Path, record: Record) -> Result<Record> {
    let record = record.into_kept()?;
    record.write(file)?;
    // Where no site was, nothing was replaced that an undo would bring back.
    let kept = match record.is_of_new_site() {
        true => paths.swept(&record.dataroot, &record.id),
        false => paths.restored(&record.dataroot, &record.id),
    };
    files::rename_durably(file, &kept)?;
    Ok(record)
}

/// The restore of a site that is at work, or has died.
pub fn at_work(paths: &Paths, dataroot: &Path) -> Result<Option<Record>> {
    Record::read(&paths.restoring(dataroot))
}

/// A restore that had died, and was undone by somebody else.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Undone {
    /// What was to be restored: `backup 2026-11-23T010003Z`.
    pub what: String,
    /// When it began, in seconds since 1970.
    pub started: i64,
}

/// The last restore of a site, if it had died and was undone.
pub fn undone(paths: &Paths, dataroot: &Path) -> Option<Undone> {
    serde_json::from_slice(&std::fs::read(paths.undone(dataroot)).ok()?).ok()
}

/// Forgets the last restore of a site that had died and was undone; true if there was one.
pub fn forget_undone(paths: &Paths, dataroot: &Path) -> Result<bool> {
    let there = undone(paths, dataroot).is_some();
    remove_file(&paths.undone(dataroot))?;
    Ok(there)
}

/// The names of the backups that were restored on the site with this dataroot, as far as that can be undone, or was undone since it
/// had died.
pub fn restored(paths: &Paths, dataroot: &Path) -> Vec<String> {
    let kept = kept(paths, dataroot).unwrap_or_default().into_iter().map(|record| record.what);
    let all = kept.chain(undone(paths, dataroot).map(|undone| undone.what));
    all.filter_map(|what| what.rsplit(' ').next().map(str::to_owned)).collect()
}

/// Puts everything back. What is left of it is for [`sweep`].
fn roll_back(paths: &Paths, file: &Path, record: &Record) -> Result<()> {
    record.roll_back()?;
    files::rename_durably(file, &paths.swept(&record.dataroot, &record.id))
}

/// The folder that holds such folders for `place`: in it where it is a mount point (or lies at one's top), else beside it.
fn container(place: &Path) -> Result<PathBuf> {
    let beside = files::parent(place);
    let device = |path: &Path| std::fs::metadata(path).map(|meta| meta.dev()).ok();
    // What is not there yet will be made on the file system of the folder above it.
    let there = place.ancestors().find(|path| path.exists()).unwrap_or(beside);
    let own_file_system = place.exists() && device(place) != device(beside);
    let above = if own_file_system || place.is_dir() && place_is_own_container(place) { place } else { beside };
    let above = if above.exists() { above } else { there };
    Ok(above.join(FOLDER))
}

/// Whether the folders for a place have been in it before: so it stays when a file system is mounted differently.
fn place_is_own_container(place: &Path) -> bool {
    place.join(FOLDER).is_dir()
}

/// Makes a dataroot, whose owner then sees to the rest.
pub fn make_folder_for(folder: &Path, owner: &Identity) -> Result<()> {
    let make = || -> std::io::Result<()> {
        DirBuilder::new().mode(0o770).create(folder)?;
        chown(folder, Some(owner.uid), Some(owner.gid))
    };
    make().or_fault(|| Fault::failed(format!("cannot make the folder {}", folder.display())))?;
    files::sync_folder(files::parent(folder))
}

fn make_private(folder: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let meta = folder.symlink_metadata()?;
            if meta.is_dir() && meta.uid() == nix::unistd::geteuid().as_raw() {
                return Ok(());
            }
            Err(Fault::unfit(format!("{} is there already, and is not this program's", folder.display()))
                .hint("move it away")
                .into())
        }
        made => made
            .or_fault(|| Fault::failed(format!("cannot make the folder {}", folder.display())))
            .and_then(|()| files::sync_folder(files::parent(folder))),
    }
}

fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).or_fault(|| Fault::failed(format!("cannot remove {}", path.display())))
        }
        _ => files::sync_folder(files::parent(path)),
    }
}
