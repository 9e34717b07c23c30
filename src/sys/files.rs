//! Making files durable: the only place that publishes by fsync and rename.
//! Copies no trees: that is `tree.rs` and `pool.rs`.

use crate::error::{Fault, OrFault, Result};
use nix::errno::Errno;
use nix::libc;
use nix::sys::stat::SFlag;
use nix::sys::statvfs::statvfs;
use sha1::{Digest, Sha1};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Beginning of the name of a file on its way to its real name. Short, since the real name may have all of 255 bytes.
const TEMPORARY: &str = ".mb-tmp";

/// A name beside `path` that no other process and no other thread uses.
fn temporary(path: &Path) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!("{TEMPORARY}-{}-{count}", std::process::id()))
}

/// Writes a small file so that after a power cut the old or the new content stands there, whole.
pub fn write_durably(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let temporary = temporary(path);
    write_and_sync(&temporary, content, mode)
        .and_then(|()| rename_durably(&temporary, path))
        .or_fault(|| Fault::failed(format!("cannot write {}", path.display())))
}

/// Keeps what a file said under a name that is free: `path`, or that with `-2`, `-3` behind it. Content that one of them has
/// already is kept there. Returns where.
pub fn keep(path: &Path, content: &[u8], mode: u32) -> Result<PathBuf> {
    let further = (2_u32..).map(|number| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("-{number}"));
        PathBuf::from(name)
    });
    for place in std::iter::once(path.to_path_buf()).chain(further) {
        match std::fs::read(&place) {
            Ok(kept) if kept == content => return Ok(place),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                make_folders(parent(&place), 0o755)?;
                write_durably(&place, content, mode)?;
                return Ok(place);
            }
            _ => {}
        }
    }
    Err(Fault::failed(format!("cannot keep {}", path.display())).into())
}

/// Creates (or empties) a file, writes it and waits until the disk has it.
pub fn write_and_sync(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.set_permissions(PermissionsExt::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(())
}

/// Opens a file for reading only if it is a plain one: a symbolic link at the end of the path is not followed, a pipe is not
/// waited for, and a device is an error.
pub fn open_plain(path: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(std::io::Error::other("it is no plain file")),
    }
}

/// Whether what is open is a device, such as a terminal.
pub fn is_device(file: impl AsFd) -> bool {
    let kind = nix::sys::stat::fstat(file).map(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT);
    kind.is_ok_and(|kind| kind == SFlag::S_IFCHR)
}

/// Renames and waits until the disk has the new name.
pub fn rename_durably(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to)
        .or_fault(|| Fault::failed(format!("cannot rename {} to {}", from.display(), to.display())))?;
    sync_folder(parent(to))?;
    if parent(from) != parent(to) {
        sync_folder(parent(from))?;
    }
    Ok(())
}

/// Points a symbolic link at a new place; a reader sees the old or the new one, never none.
pub fn switch_link(link: &Path, destination: &Path) -> Result<()> {
    let temporary = temporary(link);
    let _ = std::fs::remove_file(&temporary);
    std::os::unix::fs::symlink(destination, &temporary)
        .or_fault(|| Fault::failed(format!("cannot make {}", link.display())))?;
    rename_durably(&temporary, link)
}

/// A file on its way to its name: until it is published it is called `NAME.part`. Dropped before that it is removed; one that a
/// killed process has left gives way to the next of that name.
#[derive(Debug)]
pub struct Unfinished {
    file: File,
    part: PathBuf,
    path: PathBuf,
    published: bool,
}

impl Unfinished {
    /// Begins a file that its owner alone may read. An error if another process is writing one of that name.
    pub fn begin(path: &Path) -> Result<Self> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let fault = || Fault::unfit(format!("cannot make {}", part.display()));
        let create = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part);
        let file = match create() {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let left = open_plain(&part).or_fault(|| fault().hint("remove what stands in its place"))?;
                let free = left.metadata().or_fault(fault)?.uid() == nix::unistd::geteuid().as_raw()
                    && fs2::FileExt::try_lock_exclusive(&left).is_ok();
                if !free {
                    return Err(fault().hint("another process is writing it, or it is somebody else's").into());
                }
                std::fs::remove_file(&part).or_fault(fault)?;
                create().or_fault(fault)?
            }
            made => made.or_fault(fault)?,
        };
        fs2::FileExt::try_lock_exclusive(&file).or_fault(|| Fault::unfit(format!("cannot lock {}", part.display())))?;
        Ok(Unfinished { file, part, path: path.to_path_buf(), published: false })
    }

    /// The file, to write to.
    pub fn file(&self) -> std::io::Result<File> {
        self.file.try_clone()
    }

    /// Waits until the disk has the content, and gives it the name. An error if something has that name meanwhile, unless it
    /// is to be replaced.
    pub fn publish(mut self, replace: bool) -> Result<()> {
        let fault = || Fault::failed(format!("cannot write {}", self.path.display()));
        self.file.sync_all().or_fault(fault)?;
        let meta = std::fs::symlink_metadata(&self.part).or_fault(fault)?;
        let own = self.file.metadata().or_fault(fault)?;
        if (meta.dev(), meta.ino()) != (own.dev(), own.ino()) {
            return Err(fault().hint("another process has taken its place: try again").into());
        }
        if replace {
            std::fs::rename(&self.part, &self.path).or_fault(fault)?;
        } else {
            rename_new(&self.part, &self.path).or_fault(fault)?;
        }
        self.published = true;
        sync_folder(parent(&self.path))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.published {
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

/// Renames to a name that must be free; EEXIST if it is not.
pub fn rename_new(from: &Path, to: &Path) -> nix::Result<()> {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat, renameat2};
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        // Some file systems, such as those of the network, know plain renames only.
        Err(Errno::EINVAL | Errno::ENOSYS) if to.symlink_metadata().is_err() => renameat(AT_FDCWD, from, AT_FDCWD, to),
        Err(Errno::EINVAL | Errno::ENOSYS) => Err(Errno::EEXIST),
        renamed => renamed,
    }
}

/// Waits until the disk has the names in a folder.
pub fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .or_fault(|| Fault::failed(format!("cannot sync the folder {}", folder.display())))
}

/// A file system that is watched for data which cannot be written.
///
/// Open it before the first write of what is to be made durable: syncfs(2) reports the errors since its descriptor was
/// opened. The kernel writes back on its own account at any time, and an error of that which somebody else was told
/// of already (whoever else syncs) is not told to a descriptor that is opened after it.
#[derive(Debug)]
pub struct FileSystem {
    folder: File,
    path: PathBuf,
}

impl FileSystem {
    /// The file system that holds this folder, watched from now on.
    pub fn watch(folder: &Path) -> Result<Self> {
        let opened = File::open(folder).or_fault(|| Fault::failed(format!("cannot open {}", folder.display())))?;
        Ok(FileSystem { folder: opened, path: folder.to_path_buf() })
    }

    /// Waits until the disk has everything of it. An error also where something could not be written at any time since
    /// it is watched, unless an earlier call has said so.
    pub fn sync(&self) -> Result<()> {
        nix::unistd::syncfs(self.folder.as_fd())
            .or_fault(|| Fault::failed(format!("cannot sync the file system of {}", self.path.display())))
    }
}

/// Whether [`FileSystem::sync`] reports data that could not be written. Kernels before 5.8 lose such
/// errors (Linux commit 735e4ae5ba28), so there each file has to be synced by itself.
pub fn file_system_sync_reports_errors() -> bool {
    let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    let mut numbers = release.as_deref().unwrap_or("0.0").split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let mut next = || numbers.next().and_then(|number| number.ok()).unwrap_or(0);
    (next(), next()) >= (5, 8)
}

/// Makes a folder and the missing ones above it, each with this mode whatever the umask says.
pub fn make_folders(path: &Path, mode: u32) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    make_folders(parent(path), mode)?;
    let make = || -> Result<()> {
        std::fs::create_dir(path)?;
        Ok(std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?)
    };
    make().or_fault(|| Fault::failed(format!("cannot make the folder {}", path.display())))
}

/// The folder that holds `path`.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Room on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All of it, in bytes.
    pub total_bytes: u64,
    /// What may still be written, in bytes, as df(1) has it: what is reserved for root is for emergencies, and no room for a database
    /// server, nor for the web user.
    pub free_bytes: u64,
    /// How many files and folders can still be made; `u64::MAX` where the file system has no such limit.
    pub free_inodes: u64,
}

/// Room on the file system that holds `path`.
pub fn space(path: &Path) -> Result<Space> {
    let stat = statvfs(path).or_fault(|| Fault::failed(format!("cannot see the free space of {}", path.display())))?;
    let unit = stat.fragment_size();
    Ok(Space {
        total_bytes: stat.blocks() * unit,
        free_bytes: stat.blocks_available() * unit,
        free_inodes: if stat.files() == 0 { u64::MAX } else { stat.files_free() },
    })
}

/// The mount point of the file system that holds `path`.
pub fn mount_point(path: &Path) -> Result<PathBuf> {
    let path = std::fs::canonicalize(path).or_fault(|| Fault::unfit(format!("there is no {} here", path.display())))?;
    let device = std::fs::metadata(&path)?.dev();
    let top = path.ancestors().take_while(|folder| std::fs::metadata(folder).is_ok_and(|meta| meta.dev() == device));
    Ok(top.last().unwrap_or(&path).to_path_buf())
}

/// Whether `inner` is `outer` or lies in it; both are resolved first, as far as they are there.
pub fn lies_in(inner: &Path, outer: &Path) -> bool {
    let resolve = |path: &Path| {
        let there = path.ancestors().find_map(|it| Some((it, std::fs::canonicalize(it).ok()?)));
        let whole = there.and_then(|(there, real)| Some(real.join(path.strip_prefix(there).ok()?)));
        whole.unwrap_or_else(|| path.to_path_buf())
    };
    resolve(inner).starts_with(resolve(outer))
}

/// A path for use in names: what is not a letter or a digit becomes one dash.
pub fn slug(path: &Path) -> String {
    let mut slug = String::new();
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || b == b'.' || b == b'_' => slug.push(b as char),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    slug.trim_end_matches('-').chars().take(100).collect()
}

/// A name for notes about a path: readable, and another one for each path.
pub fn unique_name(path: &Path) -> String {
    let digest: [u8; 20] = Sha1::digest(path.as_os_str().as_bytes()).into();
    format!("{}-{:02x}{:02x}{:02x}{:02x}", slug(path), digest[0], digest[1], digest[2], digest[3])
}
