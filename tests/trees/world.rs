//! File systems, trees and what a user could see of them.

use moodle_backup::archive::{self, Unread};
use moodle_backup::entry::{Exclusions, Time};
use moodle_backup::sys::log::{Log, Verbosity};
use moodle_backup::tree::{self, Previous, Synced};
use std::collections::BTreeMap;
use std::collections::HashSet;
use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of its own, unmounted when it goes out of scope.
pub struct Disk {
    pub folder: tempfile::TempDir,
}

impl Disk {
    pub fn ext4(megabytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        fs::File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-I", "256"]).arg(&image));
        let disk = Disk { folder };
        fs::create_dir(disk.path()).unwrap();
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(disk.path()));
        disk
    }

    pub fn tmpfs() -> Self {
        let disk = Disk { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(disk.path()).unwrap();
        run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(disk.path()));
        disk
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.path().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

pub fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

pub fn log() -> Log {
    Log::to_stderr(Verbosity::Quiet)
}

/// Everything that a user could compare of what a path names.
#[derive(Debug, PartialEq, Eq)]
pub struct Looks {
    kind: u32,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    pub content: Vec<u8>,
}

pub fn looks(path: &Path) -> Looks {
    let meta = fs::symlink_metadata(path).unwrap();
    let content = match meta.file_type() {
        kind if kind.is_file() => fs::read(path).unwrap(),
        kind if kind.is_symlink() => fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec(),
        _ => Vec::new(),
    };
    Looks {
        kind: meta.mode() & 0o170000,
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        content,
    }
}

/// A tree as seen through the standard library, not through the code under test. Sockets and pipes left out.
pub fn picture(root: &Path) -> BTreeMap<Vec<u8>, Looks> {
    fn add(root: &Path, path: &Path, picture: &mut BTreeMap<Vec<u8>, Looks>) {
        let looks = looks(path);
        let is_folder = looks.kind == 0o040000;
        if is_folder || [0o100000, 0o120000].contains(&looks.kind) {
            picture.insert(path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec(), looks);
        }
        if is_folder {
            for item in fs::read_dir(path).unwrap() {
                add(root, &item.unwrap().path(), picture);
            }
        }
    }
    let mut found = BTreeMap::new();
    add(root, root, &mut found);
    found
}

pub fn assert_same_tree(one: &Path, other: &Path) {
    let (one, other) = (picture(one), picture(other));
    let names = |tree: &BTreeMap<Vec<u8>, Looks>| -> Vec<String> {
        tree.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    };
    assert_eq!(names(&one), names(&other));
    for (path, looks) in &one {
        assert_eq!(looks, &other[path], "{}", String::from_utf8_lossy(path));
    }
}

pub fn write(path: &Path, content: &[u8], mode: u32, owner: (u32, u32), mtime: (i64, u32)) {
    fs::write(path, content).unwrap();
    std::os::unix::fs::chown(path, Some(owner.0), Some(owner.1)).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    touch(path, mtime);
}

/// Sets the time of last change, of links too.
pub fn touch(path: &Path, (seconds, nanos): (i64, u32)) {
    use nix::sys::stat::{UtimensatFlags, utimensat};
    let time = nix::sys::time::TimeSpec::new(seconds, nanos.into());
    utimensat(nix::fcntl::AT_FDCWD, path, &time, &time, UtimensatFlags::NoFollowSymlink).unwrap();
}

pub fn name(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

/// A tree with all that is awkward in it.
pub fn awkward(root: &Path) {
    let www = (33, 33);
    write(&root.join("plain"), b"content", 0o644, www, (1_600_000_000, 123_456_789));
    write(&root.join("empty"), b"", 0o600, (0, 0), (0, 0));
    write(&root.join("old"), b"before the moon", 0o644, www, (-86_400, 500_000_000));
    write(&root.join("setuid"), b"#!", 0o4755, (1000, 33), (1_500_000_000, 1));
    write(&root.join("great uid"), b"", 0o664, (3_000_000_000, 4_000_000_000), (1_500_000_000, 0));
    write(&root.join(name(b"caf\xe9 \n\x01")), b"not utf-8", 0o644, www, (1_500_000_000, 999_999_999));
    write(&root.join("n".repeat(255)), b"long name", 0o644, www, (1_500_000_000, 0));
    write(&root.join("large"), &(0..9_000_000u32).map(|i| (i / 7) as u8).collect::<Vec<_>>(), 0o640, www, (1, 2));
    let deep = (0..20).fold(root.to_path_buf(), |path, level| path.join(format!("{level:0>200}")));
    fs::create_dir_all(&deep).unwrap();
    write(&deep.join("bottom"), b"deep", 0o644, www, (1_500_000_000, 5));
    fs::create_dir_all(root.join("secret/key")).unwrap();
    write(&root.join("secret/key/openssl.key"), b"key", 0o400, www, (1_500_000_000, 0));
    fs::set_permissions(root.join("secret"), PermissionsExt::from_mode(0o2770)).unwrap();
    fs::create_dir(root.join("empty folder")).unwrap();
    fs::set_permissions(root.join("empty folder"), PermissionsExt::from_mode(0o1777)).unwrap();
    symlink("plain", root.join("link")).unwrap();
    symlink("/nowhere//./at/all/", root.join("dangling")).unwrap();
    symlink("t".repeat(300), root.join("long link")).unwrap();
    std::os::unix::fs::lchown(root.join("link"), Some(33), Some(34)).unwrap();
    touch(&root.join("link"), (1_400_000_000, 77));
    fs::hard_link(root.join("plain"), root.join("secret/plain again")).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(20 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"island", 10 << 20).unwrap();
    touch(&root.join("secret/key"), (1_450_000_000, 9));
    touch(&root.join("secret"), (1_450_000_000, 10));
    touch(root, (1_450_000_000, 11));
}

/// Waits until no entry of a tree counts as just changed any more.
pub fn settle(root: &Path) {
    let newest = picture(root)
        .keys()
        .map(|path| {
            let meta = fs::symlink_metadata(root.join(name(path))).unwrap();
            Time { seconds: meta.ctime(), nanos: meta.ctime_nsec() as u32 }
        })
        .max()
        .unwrap();
    while Time::now() <= (Time { seconds: newest.seconds + 2, ..newest }) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// A run's copy of a tree, with its index beside it.
pub fn sync(source: &Path, to: &Path, previous: Option<&Path>, already: bool) -> Synced {
    sync_without(source, to, previous, already, &Exclusions::none())
}

pub fn sync_without(source: &Path, to: &Path, previous: Option<&Path>, already: bool, exclude: &Exclusions) -> Synced {
    let index = index_of(to);
    let previous_index = previous.map(index_of);
    let damaged = HashSet::new();
    let previous = previous.zip(previous_index.as_deref());
    let previous = previous.map(|(folder, index)| Previous { folder, index, damaged: &damaged });
    let job = tree::Job {
        source,
        exclude,
        destination: to,
        previous,
        already: already.then_some(index.as_path()),
        index: &index,
    };
    tree::sync(&job, &log()).unwrap()
}

pub fn index_of(folder: &Path) -> PathBuf {
    folder.with_extension("index.zst")
}

pub fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

pub fn archived(root: &Path, to: &Path) -> archive::Archived {
    let index = index_of(to);
    let exclude = Exclusions::none();
    let job = archive::Job { root, exclude: &exclude, file: to, index: &index, level: 1, threads: 2 };
    archive::create(&job, &log()).unwrap()
}

/// Whether an archive that was just made is that of the tree as it is now.
pub fn is_current(root: &Path, file: &Path) -> bool {
    archive::compare(root, &Exclusions::none(), &index_of(file), Unread::AsItWas(&[])).unwrap().is_same()
}

/// Brings an archive back as an administrator without this program would.
pub fn extract(file: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    let shell =
        format!("set -o pipefail; zstd -dc {} | tar -xpf - -C {} --numeric-owner", file.display(), to.display());
    run(Command::new("bash").args(["-c", &shell]));
}

/// What `getfacl` and `getfattr` would show of files and folders.
pub fn attributes(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    ["system.posix_acl_access", "system.posix_acl_default", "user.note"]
        .iter()
        .filter_map(|name| {
            let (mut value, key) = (vec![0u8; 1000], CString::new(*name).unwrap());
            // SAFETY: both strings end with a NUL, and the buffer has the size that is told.
            let size =
                unsafe { nix::libc::lgetxattr(path.as_ptr(), key.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
            value.truncate(usize::try_from(size).ok()?);
            Some((name.as_bytes().to_vec(), value))
        })
        .collect()
}

pub fn set_attribute(path: &Path, name: &str, value: &[u8]) {
    let (path, name) = (CString::new(path.as_os_str().as_bytes()).unwrap(), CString::new(name).unwrap());
    // SAFETY: both strings end with a NUL, and the value has the size that is told.
    let set = unsafe { nix::libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}
