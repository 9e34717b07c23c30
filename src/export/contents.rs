//! What goes into an export, in its order: RESTORE.txt at the front, so that whoever has the file alone learns from it what to do;
//! then the manifest, so that a reader knows what is to come; the backup; its pool files; the link to it. Writes to a stream
//! only, and knows nothing of where that goes.

use super::destination::Stream;
use super::{Job, damaged, guide};
use crate::archive::{Expected, Pack};
use crate::entry::{At, Entry, Exclusions, Findings, Kind, Step, Time, Trouble, open_read, shown, walk};
use crate::error::{Fault, OrFault, Result};
use crate::hashes::{self, Hash, to_hex};
use crate::store::{layout, sums};
use crate::sys::files;
use crate::sys::log::Log;
use nix::fcntl::OFlag;
use nix::sys::stat::lstat;
use std::fs::File;
use std::io::Read;
use std::iter::Peekable;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The longest RESTORE.txt or SITE.json that is believed to be one.
const LONGEST: u64 = 16 << 20;

/// An export being written.
pub(super) struct Contents<'a> {
    job: &'a Job<'a>,
    log: &'a Log,
    pack: Pack<Stream>,
    /// The site's folder, by which every name begins.
    site: Vec<u8>,
    total: u64,
}

impl<'a> Contents<'a> {
    pub fn begin(job: &'a Job<'a>, stream: Stream, total: u64, log: &'a Log) -> Result<Self> {
        let site = job.store.folder().file_name().unwrap_or(job.backup.manifest.site.name.as_ref());
        let site = site.as_bytes().to_vec();
        Ok(Contents { job, log, pack: Pack::new(stream), site, total })
    }

    /// Everything before the backup itself.
    pub fn front(&mut self) -> Result<()> {
        let backup = self.job.backup;
        let text = self.checked(layout::RESTORE)?;
        let mut guide = self.entry(&backup.path.join(layout::RESTORE), layout::RESTORE)?;
        guide.mtime = Time::now();
        self.folder("")?;
        self.pack
            .add_content(&guide, guide::text(&backup.manifest, &self.site, &text, self.job.compression).as_bytes())?;
        self.site_file()?;
        self.folder(&backup.name)?;
        let manifest = self.checked(layout::MANIFEST)?;
        let name = format!("{}/{}", backup.name, layout::MANIFEST);
        let entry = self.entry(&backup.path.join(layout::MANIFEST), &name)?;
        self.pack.add_content(&entry, &manifest)
    }

    /// SITE.json has no sum; a backup can be brought back without it.
    fn site_file(&mut self) -> Result<()> {
        let path = self.job.store.folder().join(layout::SITE_FILE);
        let content = self.job.store.site_file().and_then(|_| read(&path));
        match content {
            Ok(content) => {
                let entry = self.entry(&path, layout::SITE_FILE)?;
                self.pack.add_content(&entry, &content)
            }
            Err(error) => {
                self.log.warn(format!("{} is left out: {error:#}", layout::SITE_FILE));
                Ok(())
            }
        }
    }

    /// All files of the backup, each compared with its sum.
    pub fn backup(&mut self) -> Result<()> {
        let backup = self.job.backup;
        let sums = sums::Reader::open(&backup.path.join(layout::SUMS)).or_fault(|| damaged(backup))?;
        let mut sums = Sums { lines: sums.peekable() };
        let mut findings = Findings::default();
        walk(&backup.path, &Exclusions::none(), &mut findings, &mut |step, _| {
            if let Step::Entry(entry, at) = step {
                self.of_backup(entry, at, &mut sums)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let left = sums.lines.next().transpose()?.map(|(_, path)| (path, Trouble::Missing.to_string()));
        let unread = findings.problems.into_iter().chain(findings.skipped).map(|note| (note.path, note.what));
        let vanished = (findings.vanished > 0).then(|| (Vec::new(), "changes while it is read".to_owned()));
        match left.into_iter().chain(unread).chain(vanished).next() {
            Some((path, what)) => {
                Err(anyhow::Error::from(Fault::failed(format!("{} {what}", shown(&path)))).context(damaged(backup)))
            }
            None => Ok(()),
        }
    }

    fn of_backup(&mut self, entry: &Entry, at: At<'_>, sums: &mut Sums) -> Result<()> {
        let backup = self.job.backup;
        let name = [self.site.as_slice(), b"/", backup.name.as_bytes(), b"/", &entry.path].concat();
        let named = |name| Entry { path: name, ..entry.clone() };
        match entry.kind {
            Kind::Folder if entry.path.is_empty() => Ok(()),
            Kind::Folder => self.pack.add_empty(&named(name), Some(&at.folder)),
            Kind::Symlink => self.pack.add_empty(&named(name), None),
            Kind::File => {
                let fault = || damaged(backup);
                let expected = match entry.path.as_slice() {
                    path if path == layout::SUMS.as_bytes() => Expected::Anything,
                    path => Expected::Sha256(sums.take(path).or_fault(fault)?),
                };
                if entry.path == layout::MANIFEST.as_bytes() {
                    // It is in already.
                    return Ok(());
                }
                let unreadable = || Fault::failed(format!("{} cannot be read", shown(&entry.path)));
                let file = File::from(open_read(at.folder, at.name, OFlag::empty()).or_fault(unreadable)?);
                self.file(name, &file, expected)
            }
        }
    }

    /// The pool files that the backup lists; how many there are.
    pub fn pool(&mut self) -> Result<u64> {
        let backup = self.job.backup;
        let pool = self.job.store.pool();
        self.folder(layout::POOL)?;
        let mut count = 0;
        let mut last: Option<[u8; 2]> = None;
        for hash in hashes::read_list(&backup.path.join(layout::POOL_LIST))? {
            let hash = hash?;
            self.pool_folders(&hash, &mut last)?;
            let below = Path::new(layout::POOL).join(hashes::relative_path(&hash));
            let file = files::open_plain(&pool.join(hashes::relative_path(&hash))).or_fault(|| {
                let what = format!("the uploaded file {} is missing or cannot be read", to_hex(&hash));
                Fault::failed(what)
            });
            let file = file.or_fault(|| damaged(backup))?;
            let name = self.name(&below);
            self.file(name, &file, Expected::Sha1(hash))?;
            count += 1;
        }
        Ok(count)
    }

    /// `filedir/ab` and `filedir/ab/cd`, where a file is the first in them.
    fn pool_folders(&mut self, hash: &Hash, last: &mut Option<[u8; 2]>) -> Result<()> {
        let now = [hash[0], hash[1]];
        if *last == Some(now) {
            return Ok(());
        }
        let (top, second) = (to_hex(&hash[..1]), to_hex(&hash[1..2]));
        let fault = || damaged(self.job.backup);
        if last.is_none_or(|last| last[0] != now[0]) {
            self.folder(&format!("{}/{top}", layout::POOL)).or_fault(fault)?;
        }
        let fault = || damaged(self.job.backup);
        self.folder(&format!("{}/{top}/{second}", layout::POOL)).or_fault(fault)?;
        *last = Some(now);
        Ok(())
    }

    /// The link to the backup, and the end of the tar. Returns how many bytes of content are in it.
    pub fn end(mut self) -> Result<(Stream, u64)> {
        let latest = Entry {
            path: self.name(Path::new(layout::LATEST)),
            kind: Kind::Symlink,
            mode: 0o777,
            target: self.job.backup.name.clone().into_bytes(),
            mtime: Time::now(),
            ..self.entry(&self.job.backup.path, "")?
        };
        self.pack.add_empty(&latest, None)?;
        let bytes = self.pack.bytes();
        Ok((self.pack.finish()?, bytes))
    }

    fn file(&mut self, name: Vec<u8>, file: &File, expected: Expected) -> Result<()> {
        let (log, total) = (self.log, self.total);
        let each = |bytes| log.progress(bytes, total, "bytes");
        let added = self.pack.add_file(name, file, expected, &each);
        // A stream that cannot be written says so by itself; all else is wrong with the backup.
        added.map_err(|error| match error.root_cause().downcast_ref::<std::io::Error>() {
            Some(_) => error,
            None if crate::error::kind(&error) == crate::error::Kind::Interrupted => error,
            None => error.context(damaged(self.job.backup)),
        })
    }

    /// A folder of the site, by its path there, as it is.
    fn folder(&mut self, below: &str) -> Result<()> {
        let entry = self.entry(&self.job.store.folder().join(below), below)?;
        if entry.kind != Kind::Folder {
            return Err(Fault::failed(format!("{} is no folder", shown(&entry.path))).into());
        }
        self.pack.add_empty(&entry, None)
    }

    /// What is known of something, under the name that it has in the archive.
    fn entry(&self, path: &Path, below: &str) -> Result<Entry> {
        let fault = || Fault::failed(format!("cannot look at {}", path.display()));
        let stat = lstat(path.as_os_str().as_bytes()).or_fault(fault)?;
        Ok(Entry::from_stat(self.name(Path::new(below)), &stat).ok_or_else(fault)?)
    }

    fn name(&self, below: &Path) -> Vec<u8> {
        let below = below.as_os_str().as_bytes();
        if below.is_empty() { self.site.clone() } else { [self.site.as_slice(), b"/", below].concat() }
    }

    /// A small file of the backup, compared with its sum.
    fn checked(&self, name: &str) -> Result<Vec<u8>> {
        let backup = self.job.backup;
        let read = || -> Result<Vec<u8>> {
            let sum = sums::find(&backup.path.join(layout::SUMS), name.as_bytes())?;
            let content = read(&backup.path.join(name))?;
            match sums::sum_of(content.as_slice())? == sum {
                true => Ok(content),
                false => Err(Fault::failed(format!("{name} {}", Trouble::Changed)).into()),
            }
        };
        read().or_fault(|| damaged(backup))
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let fault = || Fault::failed(format!("cannot read {}", path.display()));
    let mut content = Vec::new();
    files::open_plain(path).or_fault(fault)?.take(LONGEST).read_to_end(&mut content).or_fault(fault)?;
    Ok(content)
}

/// The sums of a backup, beside a walk of it.
struct Sums {
    lines: Peekable<sums::Reader>,
}

impl Sums {
    /// The sum of the file that the walk has come to. An error if it has none, or if one before it was not there.
    fn take(&mut self, path: &[u8]) -> Result<sums::Sum> {
        let Some((sum, named)) = self
            .lines
            .next_if(|line| line.as_ref().map_or(true, |(_, named)| sums::walk_order(named, path).is_le()))
            .transpose()?
        else {
            return Err(Fault::failed(format!("{} {}", shown(path), Trouble::Unknown)).into());
        };
        match named == path {
            true => Ok(sum),
            false => Err(Fault::failed(format!("{} {}", shown(&named), Trouble::Missing)).into()),
        }
    }
}
