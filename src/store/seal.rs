//! Making a draft a backup. The order of the steps is the promise that a power cut leaves a draft or a whole
//! backup, never something between: content and sums, then one sync of all, then the name, then `latest`.

use super::manifest::Manifest;
use super::sums::{self, Sum};
use super::{Backup, Damage, Draft, Owner, damage, layout, restore_text};
use crate::error::{Fault, OrFault, Result};
use crate::sys::{files, signals, time};
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};
use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::iter::Peekable;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What the seal needs beside the draft itself.
#[derive(Debug)]
pub struct Sealing<'a> {
    /// All that the run knows; the seal adds sums and sizes of components, and the time of the end.
    pub manifest: Manifest,
    /// The backup before, whose sums hold for the files that are hard links to its own.
    pub previous: Option<&'a Backup>,
    /// The run's log, copied as it is now.
    pub log: Option<&'a Path>,
}

/// A backup that was just published.
#[derive(Clone, Debug)]
pub struct Published {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// What it is.
    pub manifest: Manifest,
    /// What went wrong after it had its name, such as that `latest` could not be switched.
    pub trouble: Option<String>,
}

impl Draft {
    /// Makes it a backup: sums, manifest, RESTORE.txt, owners and modes; everything on the disk; then its name.
    pub fn seal(mut self, sealing: Sealing<'_>) -> Result<Published> {
        let Sealing { mut manifest, previous, log } = sealing;
        if let Some(log) = log {
            std::fs::copy(log, self.file(layout::RUN_LOG))
                .or_fault(|| Fault::failed(format!("cannot copy {} into the backup", log.display())))?;
        }
        self.link_pool()?;
        let known = self.complete_components(&mut manifest, previous)?;
        manifest.times.finished = time::now();
        let text = restore_text::render(&manifest, &self.site_folder);
        self.write(layout::RESTORE, text.as_bytes())?;
        self.write(layout::MANIFEST, &serde_json::to_vec_pretty(&manifest)?)?;
        self.write_sums(previous, known)?;
        own_folder(self.path(), self.owner, true)?;
        self.sync()?;
        signals::check()?;
        let trouble = self.publish()?;
        Ok(Published { name: self.label.to_string(), path: self.final_path(), manifest, trouble })
    }

    /// Waits until the disk has all of it, and whatever else was written to its file system.
    fn sync(&self) -> Result<()> {
        if !files::file_system_sync_reports_errors() {
            sync_each(self.path())?;
        }
        self.file_system.sync()
    }

    /// Gives it its name. From then on it is a backup, whatever else goes wrong: that is returned as words.
    fn publish(&mut self) -> Result<Option<String>> {
        let path = self.final_path();
        if path.exists() {
            return Err(Fault::failed(format!("{} is there already", path.display())).into());
        }
        let renamed = files::rename_durably(self.path(), &path);
        // Whatever came after the rename: what has the final name is whole, and no longer ours to remove.
        self.published = path.exists();
        if !self.published {
            return renamed.map(|()| None);
        }
        let latest = self.site_folder.join(layout::LATEST);
        let finished = renamed.and_then(|()| files::switch_link(&latest, Path::new(self.label.as_str())));
        Ok(finished.err().map(|error| format!("the backup is published, but {error:#}")))
    }

    /// `moodledata/filedir`, so that moodledata reads like the original.
    fn link_pool(&self) -> Result<()> {
        let link = self.file(layout::MOODLEDATA).join(layout::POOL);
        if std::fs::symlink_metadata(&link).is_ok() {
            // The site keeps its pool elsewhere and has something else of this name.
            return Ok(());
        }
        let folder = files::parent(&link);
        let before = std::fs::metadata(folder).and_then(|meta| meta.modified());
        std::os::unix::fs::symlink("../../filedir", &link)
            .or_fault(|| Fault::failed(format!("cannot make the link {}", link.display())))?;
        // The folder's time is the original's and stays so.
        if let Ok(time) = before {
            let times = std::fs::FileTimes::new().set_modified(time);
            File::open(folder)
                .and_then(|folder| folder.set_times(times))
                .or_fault(|| Fault::failed(format!("cannot set the time of {}", folder.display())))?;
        }
        Ok(())
    }

    /// Fills in what the run left open of the components that are files, and returns their sums by name.
    fn complete_components(&self, manifest: &mut Manifest, previous: Option<&Backup>) -> Result<HashMap<Vec<u8>, Sum>> {
        let mut known = HashMap::new();
        for component in &mut manifest.components {
            let path = self.file(&component.file);
            let missing = || {
                Fault::failed(format!("the backup lacks its part {}: there is no {}", component.name, path.display()))
            };
            let meta = std::fs::symlink_metadata(&path).or_fault(missing)?;
            if !meta.is_file() {
                continue;
            }
            component.stored_bytes = meta.len();
            let sum = match sums::parse_sum(component.sha256.as_bytes()) {
                Some(sum) => sum,
                None => sums::sum_of_file(&path)?,
            };
            component.sha256 = sums::hex(&sum);
            known.insert(component.file.as_os_str().as_bytes().to_vec(), sum);
            component.same_as = previous
                .filter(|previous| is_same_file(&meta, &previous.path.join(&component.file)))
                .map(|previous| previous.name.clone());
        }
        if !self.file(layout::POOL_LIST).is_file() {
            return Err(Fault::failed(format!("the backup lacks its list of pool files, {}", layout::POOL_LIST)).into());
        }
        Ok(known)
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.file(name);
        std::fs::write(&path, content).or_fault(|| Fault::failed(format!("cannot write {}", path.display())))
    }

    fn write_sums(&self, previous: Option<&Backup>, known: HashMap<Vec<u8>, Sum>) -> Result<()> {
        let fault = || Fault::failed(format!("cannot sum up the files of {}", self.path().display()));
        // Where something of that backup is known to be damaged, it may be its sums.
        let is_own = |damage: &Damage| damage::pool_file(&damage.file).is_none();
        let trusted = previous.filter(|previous| !previous.notes.damage.iter().any(is_own));
        let carried = trusted.and_then(|previous| sums::Reader::open(&previous.path.join(layout::SUMS)).ok());
        let mut writer = SumsWriter {
            out: BufWriter::new(File::create(self.file(layout::SUMS)).or_fault(fault)?),
            known,
            carried: carried.map(Iterator::peekable),
        };
        let folder = open_folder(nix::fcntl::AT_FDCWD, self.path()).or_fault(fault)?;
        let before = previous.and_then(|previous| open_folder(nix::fcntl::AT_FDCWD, &previous.path).ok());
        writer.walk(folder, before, &mut Vec::new()).or_fault(fault)?;
        writer.out.flush().or_fault(fault)
    }
}

/// Writes `SHA256SUMS` along a walk of the draft, with the backup before walked beside it.
struct SumsWriter {
    out: BufWriter<File>,
    /// Sums that are known already.
    known: HashMap<Vec<u8>, Sum>,
    /// The sums of the backup before, in the order of the walk; `None` once they turn out to be damaged.
    carried: Option<Peekable<sums::Reader>>,
}

impl SumsWriter {
    /// `path` is the folder's own, below the draft; it is the same again at the end.
    fn walk(&mut self, mut folder: Dir, before: Option<Dir>, path: &mut Vec<u8>) -> Result<()> {
        signals::check()?;
        let length = path.len();
        for name in sorted_names(&mut folder)? {
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            let stat = fstatat(&folder, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            match file_type(&stat) {
                SFlag::S_IFDIR => {
                    let before = before.as_ref().and_then(|before| open_folder(before, name.as_c_str()).ok());
                    self.walk(open_folder(&folder, name.as_c_str())?, before, path)?;
                }
                SFlag::S_IFREG if path != layout::SUMS.as_bytes() => {
                    let shared = stat.st_nlink > 1
                        && before.as_ref().is_some_and(|before| {
                            fstatat(before, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
                                .is_ok_and(|old| (old.st_dev, old.st_ino) == (stat.st_dev, stat.st_ino))
                        });
                    let sum = self.sum(&folder, &name, path, shared)?;
                    self.out.write_all(&sums::line(&sum, path))?;
                }
                _ => {}
            }
            path.truncate(length);
        }
        Ok(())
    }

    fn sum(&mut self, folder: &Dir, name: &CString, path: &[u8], shared: bool) -> Result<Sum> {
        if let Some(sum) = self.known.get(path) {
            return Ok(*sum);
        }
        if let Some(sum) = self.carried_sum(path).filter(|_| shared) {
            return Ok(sum);
        }
        let file =
            openat(folder, name.as_c_str(), OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
        sums::sum_of(File::from(file))
            .or_fault(|| Fault::failed(format!("cannot read {}", String::from_utf8_lossy(path))))
    }

    /// The sum that the backup before has for this path. Paths are asked for in the order of the walk.
    fn carried_sum(&mut self, path: &[u8]) -> Option<Sum> {
        loop {
            match self.carried.as_mut()?.peek() {
                Some(Ok((sum, old))) => match sums::walk_order(old, path) {
                    std::cmp::Ordering::Less => drop(self.carried.as_mut()?.next()),
                    std::cmp::Ordering::Equal => return Some(*sum),
                    std::cmp::Ordering::Greater => return None,
                },
                Some(Err(_)) | None => self.carried = None,
            }
        }
    }
}

fn open_folder<P: ?Sized + nix::NixPath>(at: impl AsFd, path: &P) -> nix::Result<Dir> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Dir::openat(at, path, flags, Mode::empty())
}

fn sorted_names(folder: &mut Dir) -> Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in folder.iter() {
        let name = entry?.file_name().to_owned();
        if !matches!(name.as_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn file_type(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

fn is_same_file(meta: &std::fs::Metadata, other: &Path) -> bool {
    std::fs::symlink_metadata(other).is_ok_and(|other| (other.dev(), other.ino()) == (meta.dev(), meta.ino()))
}

/// Gives everything but what is inside moodledata, which keeps its own, the store's owner and modes.
fn own_folder(folder: &Path, owner: Owner, top: bool) -> Result<()> {
    owner.apply_to_folder(folder)?;
    let fault = || Fault::failed(format!("cannot read the folder {}", folder.display()));
    for entry in std::fs::read_dir(folder).or_fault(fault)? {
        let entry = entry.or_fault(fault)?;
        let kind = entry.file_type().or_fault(fault)?;
        match (kind.is_dir(), kind.is_file()) {
            (true, _) if top && entry.file_name() == layout::MOODLEDATA => {}
            (true, _) => own_folder(&entry.path(), owner, false)?,
            (_, true) => owner.apply_to_file(&entry.path())?,
            _ => {}
        }
    }
    Ok(())
}

fn sync_each(folder: &Path) -> Result<()> {
    let fault = || Fault::failed(format!("cannot sync {}", folder.display()));
    for entry in std::fs::read_dir(folder).or_fault(fault)? {
        let entry = entry.or_fault(fault)?;
        let kind = entry.file_type().or_fault(fault)?;
        if kind.is_dir() {
            sync_each(&entry.path())?;
        } else if kind.is_file() && entry.metadata().or_fault(fault)?.nlink() == 1 {
            File::open(entry.path()).and_then(|file| file.sync_all()).or_fault(fault)?;
        }
    }
    files::sync_folder(folder)
}
