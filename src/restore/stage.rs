//! Laying everything ready beside the site while that is still open: unpacked, compared with the backup's sums, on the
//! same file systems, so that the exchange is a matter of renames. Users' files are added to the site's pool: what
//! is there is never touched, so that needs no exchange.

use super::relocate::{self, Relocated};
use super::{Here, Job, apart};
use crate::archive::{self, Extract};
use crate::entry::owners::Owner;
use crate::entry::{Owners, Reading, Selection, shown};
use crate::error::{Fault, OrFault, Result, unpanicked};
use crate::hashes;
use crate::pool;
use crate::store::check::Checker;
use crate::store::{Part, inside, layout, owners, sums};
use crate::sys::files;
use crate::sys::log::Log;
use crate::sys::priority::{Effort, Io};
use crate::sys::threads::GivenUp;
use crate::tree;
use crate::undo::Changes;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is ready.
#[derive(Debug, Default)]
pub struct Staged {
    /// Trees that are exchanged whole, the code first: where each belongs, and the new one.
    pub trees: Vec<(PathBuf, PathBuf)>,
    /// The new dataroot, without the pool.
    pub moodledata: Option<PathBuf>,
    /// Users' files that were added to the pool.
    pub pool_files: u64,
    /// The code's config.php, where it was given new values.
    pub config: Option<Relocated>,
}

/// Holds the dumps, lists and plain files that will be used against their sums. Archives are compared while they are
/// unpacked, pool files while they are copied: each before it is used.
pub fn verify(job: &Job, log: &Log) -> Result<()> {
    let manifest = &job.backup.manifest;
    let mut wanted = vec![PathBuf::from(layout::MANIFEST)];
    for part in &job.parts {
        if let Part::Database | Part::ExtraDatabase(_) = part {
            wanted.extend(part.components(manifest)?.into_iter().map(|component| component.file.clone()));
        }
    }
    if job.wants(&Part::Moodledata) {
        wanted.extend([layout::POOL_LIST.into(), layout::moodledata_index(), layout::MOODLEDATA.into()]);
    }
    let wanted: Vec<&Path> = wanted.iter().map(PathBuf::as_path).collect();
    // What is read now is read again in a moment: it may stay in memory.
    let reading = Reading { effort: effort(job), from_disk: false };
    match Checker::new(reading, log).check(job.backup, &wanted)?.findings.first() {
        None => Ok(()),
        Some(finding) => Err(damaged(job, &finding.to_string())),
    }
}

/// How much of the machine a restore may take: the site waits for it.
pub(super) fn effort(job: &Job) -> Effort {
    Effort { threads: job.settings.resources.threads, nice: 0, io: Io::Normal }
}

/// Lays everything ready. Users' files are looked at while the rest is unpacked: the one waits for disks, the other for a processor.
pub fn stage(job: &Job, here: &Here, changes: &mut Changes, log: &Log) -> Result<Staged> {
    let owners = owners::of_backup(&job.backup.path, &job.backup.manifest, web_user(job, here));
    let (changes, failure) = (Mutex::new(changes), Mutex::new(None));
    let work = Stage { job, here, owners, changes, given_up: GivenUp::default(), failure, log };
    let staged = std::thread::scope(|scope| {
        let pool_files = scope.spawn(|| work.unless_given_up(Stage::pool_files));
        let staged = work.unless_given_up(Stage::trees)?;
        Some(Staged { pool_files: pool_files.join().ok()??, ..staged })
    });
    let failure = work.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    match (failure, staged) {
        (None, Some(staged)) => Ok(staged),
        (failure, _) => Err(failure.unwrap_or_else(|| Fault::failed("a thread panicked").into())),
    }
}

/// What is at work on it.
struct Stage<'a> {
    job: &'a Job<'a>,
    here: &'a Here,
    owners: Owners,
    changes: Mutex<&'a mut Changes>,
    /// The one has failed, so the other can end too.
    given_up: GivenUp,
    /// The first error: another may be of its making.
    failure: Mutex<Option<anyhow::Error>>,
    log: &'a Log,
}

impl<'a> Stage<'a> {
    /// What comes of some work; nothing if it fails, and then the other is to end.
    fn unless_given_up<T>(&self, work: impl FnOnce(&Self) -> Result<T>) -> Option<T> {
        let failed = match unpanicked(|| work(self)) {
            Ok(done) => return Some(done),
            Err(error) => error,
        };
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failed);
        self.given_up.give_up();
        None
    }

    /// Everything but users' files.
    fn trees(&self) -> Result<Staged> {
        let Stage { job, here, log, .. } = self;
        let mut staged = Staged::default();
        if job.wants(&Part::Code) {
            let new = self.archive(Path::new(layout::CODE), &here.root)?;
            if job.keep_config {
                keep_config(here, &new)?;
            }
            if let Some(place) = &job.place {
                staged.config = Some(relocate::put_in(job, here, place, &new, log)?);
            }
            staged.trees.push((here.root.clone(), new));
        }
        for part in &job.parts {
            if let Part::Directory(_) = part {
                let component = part.components(&job.backup.manifest)?[0];
                let new = self.archive(&component.file, &component.source)?;
                staged.trees.push((component.source.clone(), new));
            }
        }
        if job.wants(&Part::Moodledata) {
            staged.moodledata = Some(self.moodledata()?);
        }
        Ok(staged)
    }

    fn folder_for(&self, place: &Path) -> Result<PathBuf> {
        self.changes().folder_for(place)
    }

    fn changes(&self) -> MutexGuard<'_, &'a mut Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unpacks an archive beside the place where it belongs.
    fn archive(&self, file: &Path, place: &Path) -> Result<PathBuf> {
        let Stage { job, owners, log, .. } = self;
        log.info(format!("unpacking {}", file.display()));
        let into = self.folder_for(place)?.join(format!("new-{}", files::slug(file)));
        let source = inside::named(&job.backup.path, file)?;
        let extracted = archive::extract(
            &Extract {
                file: &source,
                into: &into,
                only: &Selection::all(),
                owners,
                effort: effort(job),
                given_up: &self.given_up,
            },
            log,
        )?;
        let expected = sums::find(&job.backup.path.join(layout::SUMS), file.as_os_str().as_bytes())?;
        match extracted.sha256 == sums::hex(&expected) {
            true => Ok(into),
            false => Err(damaged(job, &format!("{} is not what was backed up", file.display()))),
        }
    }

    fn moodledata(&self) -> Result<PathBuf> {
        let Stage { job, here, owners, log, .. } = self;
        log.info("copying moodledata");
        let into = self.folder_for(&here.dataroot)?.join("new-moodledata");
        let source = job.backup.path.join(layout::MOODLEDATA);
        let index = job.backup.path.join(layout::moodledata_index());
        let (only, given_up) = (&Selection::all(), &self.given_up);
        let work = tree::Restore { source: &source, index: Some(&index), into: &into, only, owners, given_up };
        let restored = tree::restore(&work, log)?;
        if let Some(missing) = restored.missing.first() {
            return Err(damaged(job, &format!("{}/{} is missing", layout::MOODLEDATA, shown(missing))));
        }
        make_emptied(job, owners, &into)?;
        if job.place.as_ref().is_some_and(|place| place.clone) {
            apart::set_caches_aside(&into, log)?;
        }
        Ok(into)
    }

    fn pool_files(&self) -> Result<u64> {
        let Stage { job, here, owners, log, .. } = self;
        let manifest = &job.backup.manifest;
        if !job.wants(&Part::Moodledata) || manifest.pool.files == 0 {
            return Ok(0);
        }
        log.info("bringing back users' files that are missing");
        let set_aside = |hash: &hashes::Hash, path: &Path| -> Result<()> {
            let mut changes = self.changes();
            let name = hashes::to_hex(hash);
            log.warn(format!("{} had another content than its name says; it was set aside", path.display()));
            let aside = changes.folder_for(&here.filedir)?.join(format!("wrong-{name}"));
            changes.rename(path, &aside).map(drop)
        };
        let marks = job.backup.pool_marks();
        let work = pool::Restore {
            pool: &job.site_folder.join(layout::POOL),
            filedir: &here.filedir,
            ownership: owners::of_pool(&manifest.paths.filedir_ownership, owners)?,
            marks: marks.as_deref(),
            effort: effort(job),
            set_aside: &set_aside,
            expected: manifest.pool.files,
            given_up: &self.given_up,
        };
        let restored = pool::restore(&work, hashes::read_list(&job.backup.path.join(layout::POOL_LIST))?, log)?;
        for (what, lost) in
            [("are missing in the pool", &restored.missing), ("are damaged in the pool", &restored.damaged)]
        {
            let Some(first) = lost.first() else { continue };
            let words = format!(
                "{} users' files of this backup {what} and are not here either; the first is {}",
                lost.len(),
                hashes::to_hex(first)
            );
            match job.force {
                true => log.warn(words),
                false => return Err(Fault::failed(words).hint(LOST).into()),
            }
        }
        Ok(restored.copied)
    }
}

/// What can be done about users' files that nobody has any more.
const LOST: &str = "\"moodle-backup verify\" names them; another backup disk or an export may have them; the same command with \
                    --force restores everything else";

/// Who is to own what the web server's user had, where that is another one here.
fn web_user(job: &Job, here: &Here) -> Option<Owner> {
    let then = &job.backup.manifest.site.web_user;
    let other = job.place.is_some() && here.web_user.name != *then;
    other.then_some(Owner { uid: here.web_user.uid, gid: here.web_user.gid })
}

/// Puts the present config.php in place of the one that came with the code.
fn keep_config(here: &Here, code: &Path) -> Result<()> {
    let (from, to) = (here.root.join("config.php"), code.join("config.php"));
    let keep = || -> std::io::Result<()> {
        let meta = from.metadata()?;
        std::fs::copy(&from, &to)?;
        chown(&to, Some(meta.uid()), Some(meta.gid()))?;
        std::fs::set_permissions(&to, PermissionsExt::from_mode(meta.mode() & 0o7777))
    };
    keep().or_fault(|| Fault::failed(format!("cannot copy {}", from.display())))
}

/// Makes the folders that were left out, since Moodle fills them again by itself: in the copy without following any link
/// of it; and those that config.php has elsewhere, where they are gone.
fn make_emptied(job: &Job, owners: &Owners, copy: &Path) -> Result<()> {
    let manifest = &job.backup.manifest;
    tree::add_folders(copy, &owners::emptied(manifest, owners))?;
    for folder in &manifest.paths.emptied {
        let place = &folder.path;
        // In another place they come into the dataroot, where Moodle makes them.
        let elsewhere = place.starts_with(&manifest.paths.dataroot) || job.place.is_some();
        if elsewhere || place.symlink_metadata().is_ok() {
            continue;
        }
        let make = || -> std::io::Result<()> {
            DirBuilder::new().mode(0o700).create(place)?;
            lchown(place, owners.user_called(&folder.user), owners.group_called(&folder.group))?;
            std::fs::set_permissions(place, PermissionsExt::from_mode(folder.mode))
        };
        match make() {
            // In a folder that is not there either: Moodle makes it when it wants it.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            made => made.or_fault(|| Fault::failed(format!("cannot make the folder {}", place.display())))?,
        }
    }
    Ok(())
}

fn damaged(job: &Job, what: &str) -> anyhow::Error {
    Fault::failed(format!("the backup {} is damaged: {what}", job.backup.path.display()))
        .hint("nothing was changed here; another backup may have it whole: moodle-backup list, moodle-backup verify")
        .into()
}
