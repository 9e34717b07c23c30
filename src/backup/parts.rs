//! The parts of a site that are trees of files: code, extra directories, and moodledata without its pool. Each is copied
//! while the site is open, and once more while it is closed, when only what changed in between is left to do.

use crate::archive::{self, Compared, Unread};
use crate::entry::{Exclusions, Findings, Note, shown, to_path};
use crate::error::Result;
use crate::preflight::Site;
use crate::settings::Settings;
use crate::store::manifest::{self, Component, ComponentKind};
use crate::store::{Backup, Draft, layout};
use crate::sys::files;
use crate::sys::log::Log;
use crate::tree;
use crate::undo;
use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How often code that changes while it is read is archived with the site open.
const ATTEMPTS: usize = 3;

/// So many files that cannot be read are remembered for the next run; with more the tree is archived each time.
const REMEMBERED: usize = 1000;

/// All parts of a run.
#[derive(Debug)]
pub struct Parts<'a> {
    draft: &'a Path,
    previous: Option<&'a Backup>,
    archives: Vec<Archive>,
    moodledata: Moodledata,
    level: i32,
    threads: u32,
}

/// A tree that is stored as one file.
#[derive(Debug)]
pub(super) struct Archive {
    pub component: Component,
    pub exclude: Exclusions,
    findings: Findings,
    /// What was seen to change from one look to the next with the site open, such as a log: no reason to archive the
    /// tree once more while the site is closed.
    restless: Vec<Vec<u8>>,
    /// It was found changed in the window, and is to be archived again when the site is open.
    stale: bool,
}

#[derive(Debug)]
struct Moodledata {
    source: PathBuf,
    exclude: Exclusions,
    synced: tree::Synced,
}

/// The trees that settings and config.php name, each with what is left out of it.
pub(super) fn archives(settings: &Settings, site: &Site) -> Vec<Archive> {
    let mut archives = vec![Archive::new(ComponentKind::Code, "code", &site.layout.root, layout::CODE.into(), site)];
    for (number, path) in settings.directories.paths.iter().enumerate() {
        let name = files::slug(path);
        let file = Path::new(layout::DIRECTORIES).join(format!("{}-{name}.tar.zst", number + 1));
        archives.push(Archive::new(ComponentKind::Directory, &format!("directory {name}"), path, file, site));
    }
    archives
}

/// What is left out of moodledata.
pub(super) fn left_out(settings: &Settings, site: &Site) -> Result<Exclusions> {
    let mut exclude = Exclusions::none();
    exclude.add_path(undo::FOLDER.as_bytes());
    for path in site.config.left_out() {
        exclude.add_path(path.as_os_str().as_bytes());
    }
    for pattern in &settings.moodledata.exclude {
        exclude.add_pattern(pattern)?;
    }
    Ok(exclude)
}

impl<'a> Parts<'a> {
    /// The parts that settings and config.php name.
    pub fn new(settings: &Settings, site: &Site, draft: &'a Draft, previous: Option<&'a Backup>) -> Result<Self> {
        let source = site.config.dataroot.clone();
        Ok(Parts {
            draft: draft.path(),
            // An index tells of the very files it was made of: another place has others.
            previous: previous.filter(|previous| previous.manifest.paths.dataroot == source),
            archives: archives(settings, site),
            moodledata: Moodledata { source, exclude: left_out(settings, site)?, synced: tree::Synced::default() },
            level: settings.database.compression,
            threads: settings.resources.threads as u32,
        })
    }

    /// Copies everything, sharing with the backup before what is unchanged.
    pub fn copy(&mut self, log: &Log) -> Result<()> {
        self.copy_moodledata(false, log)?;
        // Code comes last: the less time passes until the site is closed, the less is left to be done then.
        for number in (0..self.archives.len()).rev() {
            self.share_or_archive(number, log)?;
        }
        Ok(())
    }

    /// Copies what has changed since. The trees are looked at side by side: the site is closed meanwhile. A changed extra
    /// directory is left for [`Parts::copy_late`]: it may be one that never stands still, and need no closed site.
    pub fn copy_again(&mut self, log: &Log) -> Result<()> {
        let states: Vec<_> = self.archives.iter().map(|archive| archive.state(self.draft)).collect();
        let (looks, moodledata) = std::thread::scope(|scope| {
            let looks: Vec<_> = states.into_iter().map(|state| scope.spawn(move || state.compare())).collect();
            let moodledata = self.copy_moodledata(true, log);
            let panicked = || Err(anyhow::anyhow!("a thread panicked"));
            let looks = looks.into_iter().map(|look| look.join().unwrap_or_else(|_| panicked()));
            (looks.collect::<Vec<Result<Compared>>>(), moodledata)
        });
        moodledata?;
        for (number, look) in looks.into_iter().enumerate() {
            self.after_look(number, &look?, log)?;
        }
        Ok(())
    }

    fn after_look(&mut self, number: usize, look: &Compared, log: &Log) -> Result<()> {
        let archive = &mut self.archives[number];
        let name = &archive.component.name;
        archive.stale = false;
        if look.is_same_but_for(&archive.restless) {
            for path in look.differences() {
                log.info(format!("{name}: {} changes all the while; it is kept as it was just before", shown(path)));
            }
            return Ok(());
        }
        let changed = look.differences().find(|path| !archive.restless.contains(path));
        let changed = changed.map_or_else(String::new, |path| shown(path));
        if archive.component.kind == ComponentKind::Code {
            log.info(format!("{name} has changed ({changed}) and is archived again"));
            return self.archive(number, log);
        }
        log.detail(format!("{name} has changed ({changed}) and is archived again later"));
        archive.stale = true;
        Ok(())
    }

    /// Archives the extra directories again that had changed in the window; the site is open. Once, whatever they do
    /// meanwhile.
    pub fn copy_late(&mut self, log: &Log) -> Result<()> {
        for number in 0..self.archives.len() {
            if std::mem::take(&mut self.archives[number].stale) {
                log.info(format!("{} has changed and is archived again", self.archives[number].component.name));
                self.archive(number, log)?;
            }
        }
        Ok(())
    }

    fn copy_moodledata(&mut self, again: bool, log: &Log) -> Result<()> {
        let index = self.draft.join(layout::moodledata_index());
        let (folder, index_before) = self.previous.map_or_else(Default::default, |previous| {
            (previous.path.join(layout::MOODLEDATA), previous.path.join(layout::moodledata_index()))
        });
        let damaged = self.previous.map(damaged_moodledata).unwrap_or_default();
        let previous = tree::Previous { folder: &folder, index: &index_before, damaged: &damaged };
        let part = &mut self.moodledata;
        part.synced = tree::sync(
            &tree::Job {
                source: &part.source,
                exclude: &part.exclude,
                destination: &self.draft.join(layout::MOODLEDATA),
                previous: index_before.is_file().then_some(previous),
                already: again.then_some(&index),
                index: &index,
            },
            log,
        )?;
        let done = &part.synced;
        log.detail(format!(
            "moodledata: {} entries, {} copied ({} bytes), {} shared, {} removed",
            done.entries, done.files_copied, done.bytes_copied, done.linked, done.removed
        ));
        Ok(())
    }

    fn share_or_archive(&mut self, number: usize, log: &Log) -> Result<()> {
        if self.share(number)? {
            log.detail(format!(
                "{} is unchanged and shared with the backup before",
                self.archives[number].component.name
            ));
            return Ok(());
        }
        self.archive(number, log)?;
        if self.archives[number].component.kind == ComponentKind::Code { self.settle(number, log) } else { Ok(()) }
    }

    /// Archives a tree again that has changed while it was read, until it stands still but for what never does.
    fn settle(&mut self, number: usize, log: &Log) -> Result<()> {
        let mut changed_before = Vec::new();
        for left in (0..ATTEMPTS).rev() {
            let look = self.archives[number].state(self.draft).compare()?;
            let restless = &mut self.archives[number].restless;
            restless.extend(look.changed.iter().filter(|path| changed_before.contains(*path)).cloned());
            if left == 0 || look.is_same_but_for(restless) {
                break;
            }
            changed_before = look.changed;
            self.archive(number, log)?;
        }
        Ok(())
    }

    /// Takes over the archive of the backup before if the tree is as it was and that archive is whole.
    fn share(&mut self, number: usize) -> Result<bool> {
        let archive = &mut self.archives[number];
        let Some(previous) = self.previous else { return Ok(false) };
        let Some(before) = archive.before(previous) else { return Ok(false) };
        let (file, index) = (previous.path.join(&before.file), previous.path.join(layout::index_of(&before.file)));
        if !index.is_file() || !file.is_file() {
            return Ok(false);
        }
        // A damaged index or archive is no reason to fail: a new one is made.
        let unread: Vec<Note> = before.unread.iter().map(to_note).collect();
        let look = archive::compare(&before.source, &archive.exclude, &index, Unread::TriedAgain(&unread));
        let Some(look) = look.ok().filter(Compared::is_same) else { return Ok(false) };
        if !archive::verify_sum(&file, &before.sha256)? {
            return Ok(false);
        }
        let linked = std::fs::hard_link(&file, self.draft.join(&before.file))
            .and_then(|()| std::fs::hard_link(&index, self.draft.join(layout::index_of(&before.file))));
        if linked.is_err() {
            // The file system's limit of links to one file.
            return Ok(false);
        }
        archive.findings = look.findings;
        archive.component.clone_from(before);
        Ok(true)
    }

    fn archive(&mut self, number: usize, log: &Log) -> Result<()> {
        let archive = &mut self.archives[number];
        let done = archive::create(
            &archive::Job {
                root: &archive.component.source,
                exclude: &archive.exclude,
                file: &self.draft.join(&archive.component.file),
                index: &self.draft.join(layout::index_of(&archive.component.file)),
                level: self.level,
                threads: self.threads,
            },
            log,
        )?;
        archive.component.entries = done.entries;
        archive.component.bytes = done.bytes;
        archive.component.sha256 = done.sha256;
        let problems = done.findings.problems.iter().take(REMEMBERED + 1).map(to_unread).collect::<Vec<_>>();
        archive.component.unread = if problems.len() > REMEMBERED { Vec::new() } else { problems };
        archive.findings = done.findings;
        Ok(())
    }

    /// The parts as the manifest has them.
    pub fn components(&self) -> Vec<Component> {
        let moodledata = Component {
            kind: ComponentKind::Moodledata,
            name: "moodledata".into(),
            source: self.moodledata.source.clone(),
            file: layout::MOODLEDATA.into(),
            entries: self.moodledata.synced.entries,
            bytes: self.moodledata.synced.bytes,
            ..Component::default()
        };
        let archives = self.archives.iter().map(|archive| archive.component.clone());
        archives.chain([moodledata]).collect()
    }

    /// What each part's last pass met besides files and folders, with the part's name.
    pub fn findings(&self) -> impl Iterator<Item = (&str, &Findings)> {
        let archives = self.archives.iter().map(|archive| (archive.component.name.as_str(), &archive.findings));
        archives.chain([("moodledata", &self.moodledata.synced.findings)])
    }
}

/// What tells how a tree differs from the archive that this run has made of it.
#[derive(Debug)]
struct State {
    source: PathBuf,
    exclude: Exclusions,
    index: PathBuf,
    unread: Vec<Note>,
}

impl State {
    fn compare(&self) -> Result<Compared> {
        archive::compare(&self.source, &self.exclude, &self.index, Unread::AsItWas(&self.unread))
    }
}

impl Archive {
    fn state(&self, draft: &Path) -> State {
        let index = draft.join(layout::index_of(&self.component.file));
        let (source, exclude) = (self.component.source.clone(), self.exclude.clone());
        State { source, exclude, index, unread: self.findings.problems.clone() }
    }

    fn new(kind: ComponentKind, name: &str, source: &Path, file: PathBuf, site: &Site) -> Self {
        let component = Component { kind, name: name.into(), source: source.into(), file, ..Component::default() };
        let mut exclude = Exclusions::none();
        exclude.add_path(undo::FOLDER.as_bytes());
        // Some sites have the dataroot in the code tree; an extra directory may hold either.
        for inner in [&site.config.dataroot, &site.config.filedir, &site.layout.root] {
            if let Some(below) = inner.strip_prefix(source).ok().filter(|below| !below.as_os_str().is_empty()) {
                exclude.add_path(below.as_os_str().as_bytes());
            }
        }
        Archive { component, exclude, findings: Findings::default(), restless: Vec::new(), stale: false }
    }

    /// The same part in the backup before, if it was of the same tree.
    pub fn before<'p>(&self, previous: &'p Backup) -> Option<&'p Component> {
        let same = |part: &&Component| part.file == self.component.file && part.source == self.component.source;
        previous.manifest.components.iter().find(same)
    }
}

fn to_unread(note: &Note) -> manifest::Unread {
    manifest::Unread { path: to_path(&note.path).to_path_buf(), what: note.what.clone() }
}

fn to_note(unread: &manifest::Unread) -> Note {
    Note { path: unread.path.as_os_str().as_bytes().to_vec(), what: unread.what.clone() }
}

/// Paths in moodledata that were found damaged in a backup: another must not share them.
fn damaged_moodledata(backup: &Backup) -> HashSet<String> {
    let below = |file: &str| Some(file.strip_prefix(layout::MOODLEDATA)?.strip_prefix('/')?.to_owned());
    backup.notes.damage.iter().filter_map(|damage| below(&damage.file)).collect()
}
