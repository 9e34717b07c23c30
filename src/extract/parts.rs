//! The parts of a backup, brought back one by one below the folder where they are made. Which, and the order of it all,
//! is decided in `extract.rs`.

use super::wanted::Wanted;
use super::{Job, Placed, sums};
use crate::archive::{self, Extract};
use crate::entry::{Owners, Selection};
use crate::error::{Fault, OrFault, Result};
use crate::hashes::{self, Hash, to_hex};
use crate::pool::{self, Effort};
use crate::store::manifest::{Component, ComponentKind};
use crate::store::{Part, inside, layout, owners, sums as lines};
use crate::sys::log::Log;
use crate::sys::priority::Io;
use crate::sys::{files, signals};
use crate::tree::{self, Restore};
use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

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
    pub fn new(job: &'a Job<'a>, staging: &'a Path, log: &'a Log) -> Result<Self> {
        let owners = owners::of_backup(&job.backup.path, &job.backup.manifest, job.owner);
        Ok(Parts { job, staging, owners, log, placed: Vec::new() })
    }

    fn components(&self, kinds: &'a [ComponentKind]) -> impl Iterator<Item = (&'a Wanted, &'a Component)> + use<'a> {
        let wanted: &'a [Wanted] = self.job.wanted;
        let of = |wanted: &'a Wanted| wanted.components.iter().map(move |component| (wanted, component));
        wanted.iter().flat_map(of).filter(|(_, component)| kinds.contains(&component.kind))
    }

    fn moodledata_wanted(&self) -> Option<(&'a Wanted, &'a Component)> {
        self.components(&[ComponentKind::Moodledata]).next()
    }

    /// Checks what is not checked while it is read: the manifest, moodledata, lists.
    pub fn verify(&self) -> Result<()> {
        let mut single: HashSet<Vec<u8>> = HashSet::from([layout::MANIFEST.into()]);
        let moodledata = self.moodledata_wanted();
        if let Some((wanted, component)) = moodledata {
            single.insert(layout::index_of(&component.file).into_os_string().into_encoded_bytes());
            if wanted.whole {
                single.insert(layout::POOL_LIST.into());
            }
        }
        let top = moodledata.map(|(wanted, component)| (component.file.as_os_str().as_bytes(), &wanted.only));
        let is_wanted = |path: &[u8]| {
            let below = |(top, only): (&[u8], &Selection)| {
                path.strip_prefix(top).and_then(|rest| rest.strip_prefix(b"/")).is_some_and(|rest| only.wants(rest))
            };
            single.contains(path) || top.is_some_and(below)
        };
        let damaged = sums::damaged(&self.job.backup.path, &is_wanted, self.job.threads, self.log);
        match damaged {
            Ok(damaged) if self.job.force => {
                damaged.iter().for_each(|damage| self.log.warn(format!("damaged: {damage}")));
                Ok(())
            }
            Ok(damaged) => sums::refuse(&damaged),
            Err(error) if self.job.force => {
                signals::check()?;
                self.log.warn(format!("nothing can be compared with its sum: {error:#}"));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// An error if it is certain that there is too little room.
    pub fn require_room(&self) -> Result<()> {
        let manifest = &self.job.backup.manifest;
        let mut needed = 0;
        for wanted in self.job.wanted.iter().filter(|wanted| wanted.whole) {
            let size = |component: &Component| match wanted.part {
                Part::Database | Part::ExtraDatabase(_) if !self.job.plain => component.stored_bytes,
                _ => component.bytes,
            };
            needed += wanted.components.iter().map(size).sum::<u64>();
            needed += if wanted.part == Part::Moodledata { manifest.pool.bytes } else { 0 };
        }
        let free = files::space(self.staging)?.free_bytes;
        if free >= needed {
            return Ok(());
        }
        Err(Fault::unfit(format!(
            "{} has too little room: {needed} bytes are needed, {free} are free",
            self.job.to.display()
        ))
        .hint("name a folder on a larger disk, or bring back parts of the backup: --only, --path")
        .into())
    }

    /// The dumps, as they are or uncompressed.
    pub fn databases(&mut self) -> Result<()> {
        for (_, component) in self.components(&[ComponentKind::Database, ComponentKind::ExtraDatabase]) {
            let source = inside::component(&self.job.backup.path, component)?;
            let name = if self.job.plain { component.file.with_extension("") } else { component.file.clone() };
            let place = self.staging.join(&name);
            files::make_folders(files::parent(&place), 0o700)?;
            let copied = self.copy_dump(&source, &place);
            let damaged = match copied {
                Ok((bytes, sum)) => {
                    let right = self.is_right(component, &lines::hex(&sum))?;
                    self.place(&component.name, name, 1, bytes);
                    if right {
                        continue;
                    } else {
                        self.damaged(component, "has another content than it was sealed with")
                    }
                }
                Err(error) => {
                    signals::check()?;
                    let _ = std::fs::remove_file(&place);
                    if self.job.force {
                        self.damaged(component, &format!("cannot be copied: {error:#}"))
                    } else {
                        Err(error)
                    }
                }
            };
            damaged?;
        }
        Ok(())
    }

    /// Returns how many bytes were written, and the sum of what was read.
    fn copy_dump(&self, source: &Path, place: &Path) -> Result<(u64, lines::Sum)> {
        let fault = || Fault::failed(format!("cannot copy {} to {}", source.display(), place.display()));
        let mut tee = Tee { file: File::open(source).or_fault(fault)?, hasher: sha2::Digest::new() };
        let mut copy = create(place).or_fault(fault)?;
        let bytes = if self.job.plain {
            let mut decoder = zstd::Decoder::new(&mut tee).or_fault(fault)?;
            pass(&mut decoder, &mut copy).or_fault(fault)?
        } else {
            pass(&mut tee, &mut copy).or_fault(fault)?
        };
        // What follows the last frame belongs to the sum too.
        pass(&mut tee, &mut std::io::sink()).or_fault(fault)?;
        Ok((bytes, sha2::Digest::finalize(tee.hasher).into()))
    }

    /// Code and directories.
    pub fn archives(&mut self) -> Result<()> {
        for (wanted, component) in self.components(&[ComponentKind::Code, ComponentKind::Directory]) {
            let name = self.name_of(wanted, component);
            let into = self.staging.join(&name);
            files::make_folders(files::parent(&into), 0o700)?;
            let extracted = inside::component(&self.job.backup.path, component).and_then(|file| {
                let job = Extract { file: &file, into: &into, only: &wanted.only, owners: &self.owners };
                archive::extract(&job, self.log)
            });
            let done = match extracted {
                Ok(done) => done,
                Err(error) => {
                    self.leave_out(component, &into, error)?;
                    continue;
                }
            };
            if !self.is_right(component, &done.sha256)? {
                self.damaged(component, "has another content than it was sealed with")?;
            }
            self.tell_of_attributes(&component.name, done.attributes_lost);
            self.place(&component.name, name, done.entries, done.bytes);
        }
        Ok(())
    }

    /// What becomes of an archive that cannot be brought back: where that is its own fault it is damaged like any other
    /// file; else nothing can be brought back.
    fn leave_out(&self, component: &Component, into: &Path, error: anyhow::Error) -> Result<()> {
        signals::check()?;
        let file = inside::component(&self.job.backup.path, component);
        let is_damaged = match &file {
            Ok(file) => !self.is_right(component, &lines::hex(&lines::sum_of_file(file)?))?,
            Err(_) => false,
        };
        if !is_damaged && !self.job.force {
            return Err(error);
        }
        layout::remove_tree(into)?;
        self.damaged(component, &format!("cannot be unpacked: {error:#}"))
    }

    /// Where a tree goes.
    fn name_of(&self, wanted: &Wanted, component: &Component) -> PathBuf {
        let Part::Directory(_) = wanted.part else { return "code".into() };
        let stem = component.file.file_name().map(|name| name.to_string_lossy().replace(".tar.zst", ""));
        let stem = stem.unwrap_or_default();
        let plain = stem.split_once('-').map_or(stem.as_str(), |(_, name)| name);
        let alike = self.components(&[ComponentKind::Directory]).filter(|(_, other)| {
            other.file.file_name().is_some_and(|name| name.to_string_lossy().ends_with(&format!("-{plain}.tar.zst")))
        });
        let name = if alike.count() > 1 { &stem } else { plain };
        Path::new(layout::DIRECTORIES).join(name)
    }

    /// moodledata without its pool.
    pub fn moodledata(&mut self) -> Result<()> {
        let Some((wanted, component)) = self.moodledata_wanted() else { return Ok(()) };
        let backup = &self.job.backup.path;
        let index = inside::named(backup, &layout::index_of(&component.file))?;
        // With force, what stands there counts, should the index be damaged.
        let usable = !self.job.force || is_readable(&index);
        let into = self.staging.join(layout::MOODLEDATA);
        let done = tree::restore(
            &Restore {
                source: &inside::component(backup, component)?,
                index: usable.then_some(&index),
                into: &into,
                only: &wanted.only,
                owners: &self.owners,
            },
            self.log,
        )?;
        if !done.missing.is_empty() {
            let named: Vec<_> = done.missing.iter().take(NAMED).map(|path| crate::entry::shown(path)).collect();
            let what = format!("lacks {} of its entries: {}", done.missing.len(), named.join(", "));
            self.damaged(component, &what)?;
        }
        if wanted.whole {
            tree::add_folders(&into, &super::emptied(self.job.backup, &self.owners))?;
        }
        self.tell_of_attributes(&component.name, done.attributes_lost);
        self.place(&component.name, layout::MOODLEDATA.into(), done.entries, done.bytes);
        Ok(())
    }

    /// The files that users uploaded, all that belong to the backup.
    pub fn pool(&mut self) -> Result<()> {
        if !self.moodledata_wanted().is_some_and(|(wanted, _)| wanted.whole) {
            return Ok(());
        }
        let paths = &self.job.backup.manifest.paths;
        let below = paths.filedir.strip_prefix(&paths.dataroot).ok();
        let below =
            below.filter(|below| below.components().all(|step| matches!(step, std::path::Component::Normal(_))));
        let name = below.map_or_else(|| layout::POOL.into(), |below| Path::new(layout::MOODLEDATA).join(below));
        let list = hashes::read_list(&inside::named(&self.job.backup.path, Path::new(layout::POOL_LIST))?)?;
        let nothing_there = |_: &Hash, _: &Path| -> Result<()> { Ok(()) };
        let effort = Effort { threads: self.job.threads, nice: 0, io: Io::Normal };
        let moodledata = self.staging.join(layout::MOODLEDATA);
        let filedir = self.staging.join(&name);
        let time = moodledata.metadata().and_then(|meta| meta.modified());
        if filedir.symlink_metadata().is_ok() {
            return Err(Fault::failed(format!("moodledata has something else in place of {}", name.display())).into());
        }
        let done = pool::restore(
            &pool::Restore {
                pool: self.job.pool,
                filedir: &filedir,
                ownership: owners::of_pool(&paths.filedir_ownership, &self.owners)?,
                effort,
                set_aside: &nothing_there,
                expected: self.job.backup.manifest.pool.files,
            },
            list,
            self.log,
        )?;
        if let Ok(time) = time {
            File::open(&moodledata)?.set_modified(time)?;
        }
        for (hashes, what) in [(&done.missing, "are gone from the pool"), (&done.damaged, "are damaged in the pool")] {
            if !hashes.is_empty() {
                let named: Vec<_> = hashes.iter().take(NAMED).map(|hash| to_hex(hash)).collect();
                let more = if hashes.len() > NAMED { " and more" } else { "" };
                hashes.iter().for_each(|hash| self.log.detail(format!("{} {what}", to_hex(hash))));
                self.log.warn(format!(
                    "uploaded files {what} and not brought back, {} in all: {}{more}",
                    hashes.len(),
                    named.join(", ")
                ));
            }
        }
        self.place("uploaded files", name, done.copied, done.bytes);
        Ok(())
    }

    /// What was brought back, by its final names.
    pub fn end(self) -> Vec<Placed> {
        self.placed
    }

    fn place(&mut self, name: &str, path: PathBuf, entries: u64, bytes: u64) {
        self.placed.push(Placed { name: name.to_owned(), path: self.job.to.join(path), entries, bytes });
    }

    /// Whether a file that was read has the sum that it was sealed with.
    fn is_right(&self, component: &Component, sha256: &str) -> Result<bool> {
        let sums = self.job.backup.path.join(layout::SUMS);
        match lines::find(&sums, component.file.as_os_str().as_bytes()) {
            Ok(sum) => Ok(lines::hex(&sum) == sha256),
            // Without the list the manifest has sums of its own.
            Err(_) if self.job.force => Ok(component.sha256 == sha256),
            Err(error) => Err(error),
        }
    }

    /// Damage is an error, or a warning where the administrator wants what is left.
    fn damaged(&self, component: &Component, what: &str) -> Result<()> {
        if self.job.force {
            self.log.warn(format!("damaged: {} {what}", component.file.display()));
            return Ok(());
        }
        sums::refuse(&[sums::Damage { file: component.file.as_os_str().as_bytes().to_vec(), what: what.to_owned() }])
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

/// Reads a file and sums it.
struct Tee {
    file: File,
    hasher: sha2::Sha256,
}

impl Read for Tee {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if signals::received() {
            return Err(std::io::Error::other("a signal asks the program to end"));
        }
        let count = self.file.read(buffer)?;
        sha2::Digest::update(&mut self.hasher, &buffer[..count]);
        Ok(count)
    }
}

fn pass(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<u64> {
    std::io::copy(&mut std::io::BufReader::with_capacity(256 << 10, from), to)
}

fn create(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

fn is_readable(index: &Path) -> bool {
    let read = || -> Result<()> {
        let mut reader = crate::entry::Reader::open(index)?;
        while reader.next_entry()?.is_some() {}
        Ok(())
    };
    read().is_ok()
}
