//! The parts of a backup, brought back one by one below the folder where they are made. Which, and the order of it all,
//! is decided in `extract.rs`.

use super::wanted::Wanted;
use super::{Job, Placed, sums};
use crate::archive::{self, Extract};
use crate::entry::{Owners, Reader, shown};
use crate::error::{Fault, OrFault, Result};
use crate::hashes::{self, Hash, to_hex};
use crate::pool;
use crate::store::manifest::{Component, ComponentKind};
use crate::store::{Part, inside, layout, owners};
use crate::sys::log::Log;
use crate::sys::threads::GivenUp;
use crate::sys::{files, signals};
use crate::tree::{self, Restore};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component as Step, Path, PathBuf};

/// So many names go into a warning.
const NAMED: usize = 5;

/// Parts on their way.
pub(super) struct Parts<'a> {
    job: &'a Job<'a>,
    staging: &'a Path,
    owners: Owners,
    log: &'a Log,
    placed: Vec<Placed>,
}

impl<'a> Parts<'a> {
    pub fn new(job: &'a Job<'a>, staging: &'a Path, log: &'a Log) -> Self {
        let owners = owners::of_backup(&job.backup.path, &job.backup.manifest, job.owner);
        Parts { job, staging, owners, log, placed: Vec::new() }
    }

    fn components(&self, kinds: &'a [ComponentKind]) -> impl Iterator<Item = (&'a Wanted, &'a Component)> + use<'a> {
        let wanted: &'a [Wanted] = self.job.wanted;
        let of = |wanted: &'a Wanted| wanted.components.iter().map(move |component| (wanted, component));
        wanted.iter().flat_map(of).filter(|(_, component)| kinds.contains(&component.kind))
    }

    fn moodledata_wanted(&self) -> Option<(&'a Wanted, &'a Component)> {
        self.components(&[ComponentKind::Moodledata]).next()
    }

    fn whole_moodledata(&self) -> bool {
        self.moodledata_wanted().is_some_and(|(wanted, _)| wanted.whole)
    }

    /// Holds all that will be read against its sums, but for the pool, whose files are hashed on their way.
    pub fn verify(&self) -> Result<()> {
        // Names that lead elsewhere are no damage: with those nothing is done at all.
        for component in self.job.wanted.iter().flat_map(|wanted| &wanted.components) {
            inside::named(&self.job.backup.path, &component.file)?;
        }
        let mut paths: Vec<PathBuf> = self.job.wanted.iter().flat_map(Wanted::files).collect();
        paths.extend(self.moodledata_wanted().map(|(_, component)| layout::index_of(&component.file)));
        paths.extend(self.whole_moodledata().then(|| layout::POOL_LIST.into()));
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        sums::verify(self.job.backup, &paths, self.job.force, self.log).map(drop)
    }

    /// An error if it is certain that there is too little room.
    pub fn require_room(&self) -> Result<()> {
        let manifest = &self.job.backup.manifest;
        let mut needed = if self.whole_moodledata() { manifest.pool.bytes } else { 0 };
        for wanted in self.job.wanted.iter().filter(|wanted| wanted.whole) {
            let size = |component: &Component| match wanted.part {
                Part::Database | Part::ExtraDatabase(_) if !self.job.plain => component.stored_bytes,
                _ => component.bytes,
            };
            needed += wanted.components.iter().map(size).sum::<u64>();
        }
        let free = files::space(self.staging)?.free_bytes;
        if free >= needed {
            return Ok(());
        }
        let to = self.job.to.display();
        Err(Fault::unfit(format!("{to} has too little room: {needed} bytes are needed, {free} are free"))
            .hint("name a folder on a larger disk, or bring back parts of the backup: --only, --path")
            .into())
    }

    /// The dumps, as they are or uncompressed.
    pub fn databases(&mut self) -> Result<()> {
        for (_, component) in self.components(&[ComponentKind::Database, ComponentKind::ExtraDatabase]) {
            let source = inside::component(&self.job.backup.path, component);
            let name = if self.job.plain { component.file.with_extension("") } else { component.file.clone() };
            let place = self.staging.join(&name);
            match source.and_then(|source| self.copy_dump(&source, &place)) {
                Ok(bytes) => self.place(&component.name, name, 1, bytes),
                Err(error) => self.leave_out(component, &place, error)?,
            }
        }
        Ok(())
    }

    /// Returns how many bytes were written.
    fn copy_dump(&self, source: &Path, place: &Path) -> Result<u64> {
        let fault = || Fault::failed(format!("cannot copy {} to {}", source.display(), place.display()));
        files::make_folders(files::parent(place), 0o700)?;
        let dump = Interruptible(File::open(source).or_fault(fault)?);
        let mut copy = File::options().write(true).create_new(true).mode(0o600).open(place).or_fault(fault)?;
        match self.job.plain {
            true => zstd::stream::copy_decode(dump, &mut copy).or_fault(fault)?,
            false => drop(std::io::copy(&mut { dump }, &mut copy).or_fault(fault)?),
        }
        Ok(copy.metadata().or_fault(fault)?.len())
    }

    /// Code and directories.
    pub fn archives(&mut self) -> Result<()> {
        for (wanted, component) in self.components(&[ComponentKind::Code, ComponentKind::Directory]) {
            let name = self.name_of(wanted, component);
            let into = self.staging.join(&name);
            let extracted = inside::component(&self.job.backup.path, component).and_then(|file| {
                files::make_folders(files::parent(&into), 0o700)?;
                let (only, owners, effort) = (&wanted.only, &self.owners, sums::effort());
                let job = Extract { file: &file, into: &into, only, owners, effort, given_up: &GivenUp::never() };
                archive::extract(&job, self.log)
            });
            match extracted {
                Ok(done) => {
                    self.tell_of_attributes(&component.name, done.attributes_lost);
                    self.place(&component.name, name, done.entries - done.folders, done.bytes);
                }
                Err(error) => self.leave_out(component, &into, error)?,
            }
        }
        Ok(())
    }

    /// A part that cannot be brought back is an error, unless the administrator wants what is left of the backup.
    fn leave_out(&self, component: &Component, place: &Path, error: anyhow::Error) -> Result<()> {
        signals::check()?;
        if !self.job.force {
            return Err(error);
        }
        match place.symlink_metadata() {
            Ok(meta) if meta.is_dir() => layout::remove_tree(place)?,
            Ok(_) => std::fs::remove_file(place)?,
            Err(_) => {}
        }
        self.log.warn(format!("{} is not brought back: {error:#}", component.name));
        Ok(())
    }

    /// Where a tree goes.
    fn name_of(&self, wanted: &Wanted, component: &Component) -> PathBuf {
        let Part::Directory(name) = Part::of(component).unwrap_or_else(|| wanted.part.clone()) else {
            return "code".into();
        };
        let same = |(_, other): &(&Wanted, &Component)| Part::of(other) == Some(Part::Directory(name.clone()));
        let is_plain = Path::new(&name).components().eq([Step::Normal(name.as_ref())]);
        let alone = is_plain && self.components(&[ComponentKind::Directory]).filter(same).count() == 1;
        let numbered = || component.file.file_name().map(|file| file.to_string_lossy().replace(".tar.zst", ""));
        Path::new(layout::DIRECTORIES).join(if alone { name.clone() } else { numbered().unwrap_or_default() })
    }

    /// moodledata without its pool.
    pub fn moodledata(&mut self) -> Result<()> {
        let Some((wanted, component)) = self.moodledata_wanted() else { return Ok(()) };
        let backup = &self.job.backup.path;
        let index = inside::named(backup, &layout::index_of(&component.file))?;
        // Where the index is damaged, what stands there has to do.
        let usable = !self.job.force || is_readable(&index);
        let into = self.staging.join(layout::MOODLEDATA);
        let done = tree::restore(
            &Restore {
                source: &inside::component(backup, component)?,
                index: usable.then_some(&index),
                into: &into,
                only: &wanted.only,
                owners: &self.owners,
                given_up: &GivenUp::never(),
            },
            self.log,
        )?;
        if !done.missing.is_empty() {
            let named: Vec<_> = done.missing.iter().take(NAMED).map(|path| shown(path)).collect();
            let what = format!("moodledata lacks {} of its entries: {}", done.missing.len(), named.join(", "));
            if !self.job.force {
                return Err(Fault::failed(what)
                    .hint("use another backup (\"moodle-backup list\"); --force brings back what is left of this one")
                    .into());
            }
            self.log.warn(what);
        }
        if wanted.whole {
            tree::add_folders(&into, &owners::emptied(&self.job.backup.manifest, &self.owners))?;
        }
        self.tell_of_attributes(&component.name, done.attributes_lost);
        self.place(&component.name, layout::MOODLEDATA.into(), done.entries - done.folders, done.bytes);
        Ok(())
    }

    /// The files that users uploaded, all that belong to the backup.
    pub fn pool(&mut self) -> Result<()> {
        if !self.whole_moodledata() {
            return Ok(());
        }
        let paths = &self.job.backup.manifest.paths;
        // A site may keep its pool elsewhere; then it goes beside moodledata.
        let below = paths.filedir.strip_prefix(&paths.dataroot).ok().filter(|below| is_below(below));
        let name = below.map_or_else(|| layout::POOL.into(), |below| Path::new(layout::MOODLEDATA).join(below));
        let filedir = inside::named(self.staging, &name)?;
        if filedir.symlink_metadata().is_ok() {
            return Err(Fault::failed(format!("moodledata has something else in place of {}", name.display())).into());
        }
        let list = hashes::read_list(&inside::named(&self.job.backup.path, Path::new(layout::POOL_LIST))?)?;
        let moodledata = self.staging.join(layout::MOODLEDATA);
        let time = moodledata.metadata().and_then(|meta| meta.modified());
        let done = pool::restore(
            &pool::Restore {
                pool: self.job.pool,
                filedir: &filedir,
                ownership: owners::of_pool(&paths.filedir_ownership, &self.owners)?,
                marks: self.job.backup.pool_marks().as_deref(),
                effort: sums::effort(),
                set_aside: &|_, _| Ok(()),
                expected: self.job.backup.manifest.pool.files,
                given_up: &GivenUp::never(),
            },
            list,
            self.log,
        )?;
        if let Ok(time) = time {
            File::open(&moodledata)?.set_modified(time)?;
        }
        self.tell_of_losses(&done.missing, "are gone from the pool");
        self.tell_of_losses(&done.damaged, "are damaged in the pool");
        self.place("uploaded files", name, done.copied, done.bytes);
        Ok(())
    }

    /// What was brought back, by its final names.
    pub fn end(self) -> Vec<Placed> {
        self.placed
    }

    fn place(&mut self, name: &str, path: PathBuf, files: u64, bytes: u64) {
        self.placed.push(Placed { name: name.to_owned(), path: self.job.to.join(path), files, bytes });
    }

    fn tell_of_losses(&self, hashes: &[Hash], what: &str) {
        if hashes.is_empty() {
            return;
        }
        hashes.iter().for_each(|hash| self.log.detail(format!("{} {what}", to_hex(hash))));
        let named: Vec<_> = hashes.iter().take(NAMED).map(|hash| to_hex(hash)).collect();
        let more = if hashes.len() > NAMED { " and more (-v names all)" } else { "" };
        let (count, named) = (hashes.len(), named.join(", "));
        self.log.warn(format!("uploaded files {what} and not brought back, {count} in all: {named}{more}"));
    }

    fn tell_of_attributes(&self, name: &str, lost: u64) {
        if lost > 0 {
            self.log.warn(format!(
                "{name}: {lost} files and folders lost access control lists or attributes, which {} cannot keep",
                self.job.to.display()
            ));
        }
    }
}

/// Whether a relative path leads to something below, and nowhere else.
fn is_below(path: &Path) -> bool {
    let mut steps = path.components().peekable();
    steps.peek().is_some() && steps.all(|step| matches!(step, Step::Normal(_)))
}

fn is_readable(index: &Path) -> bool {
    let read = || -> Result<()> {
        let mut reader = Reader::open(index)?;
        while reader.next_entry()?.is_some() {}
        Ok(())
    };
    read().is_ok()
}

/// Reading a file that may take long.
struct Interruptible(File);

impl Read for Interruptible {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if signals::received() {
            return Err(std::io::Error::other("a signal asks the program to end"));
        }
        self.0.read(buffer)
    }
}
