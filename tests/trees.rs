//! Copies and archives of trees, on real file systems (ext4 on loop devices, and tmpfs). Needs root.

use moodle_backup::archive;
use moodle_backup::entry::{Exclusions, Findings, Reader, Time};
use moodle_backup::sys::log::{Log, Verbosity};
use moodle_backup::sys::privileges::{Identity, as_user};
use moodle_backup::tree::{self, Previous, Synced};
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A file system of its own, unmounted when it goes out of scope.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn ext4(megabytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        fs::File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-I", "256"]).arg(&image));
        let disk = Disk { folder };
        fs::create_dir(disk.path()).unwrap();
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(disk.path()));
        disk
    }

    fn tmpfs() -> Self {
        let disk = Disk { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(disk.path()).unwrap();
        run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(disk.path()));
        disk
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn folder(&self, name: &str) -> PathBuf {
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

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn log() -> Log {
    Log::to_stderr(Verbosity::Quiet)
}

/// Everything that a user could compare of what a path names.
#[derive(Debug, PartialEq, Eq)]
struct Looks {
    kind: u32,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    content: Vec<u8>,
}

fn looks(path: &Path) -> Looks {
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
fn picture(root: &Path) -> BTreeMap<Vec<u8>, Looks> {
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

fn assert_same_tree(one: &Path, other: &Path) {
    let (one, other) = (picture(one), picture(other));
    let names = |tree: &BTreeMap<Vec<u8>, Looks>| -> Vec<String> {
        tree.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    };
    assert_eq!(names(&one), names(&other));
    for (path, looks) in &one {
        assert_eq!(looks, &other[path], "{}", String::from_utf8_lossy(path));
    }
}

fn write(path: &Path, content: &[u8], mode: u32, owner: (u32, u32), mtime: (i64, u32)) {
    fs::write(path, content).unwrap();
    std::os::unix::fs::chown(path, Some(owner.0), Some(owner.1)).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    touch(path, mtime);
}

/// Sets the time of last change, of links too.
fn touch(path: &Path, (seconds, nanos): (i64, u32)) {
    use nix::sys::stat::{UtimensatFlags, utimensat};
    let time = nix::sys::time::TimeSpec::new(seconds, nanos.into());
    utimensat(nix::fcntl::AT_FDCWD, path, &time, &time, UtimensatFlags::NoFollowSymlink).unwrap();
}

fn name(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

/// A tree with all that is awkward in it.
fn awkward(root: &Path) {
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
fn settle(root: &Path) {
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
fn sync(source: &Path, to: &Path, previous: Option<&Path>, already: bool) -> Synced {
    sync_without(source, to, previous, already, &Exclusions::none())
}

fn sync_without(source: &Path, to: &Path, previous: Option<&Path>, already: bool, exclude: &Exclusions) -> Synced {
    let index = index_of(to);
    let previous_index = previous.map(index_of);
    let previous = previous.zip(previous_index.as_deref()).map(|(folder, index)| Previous { folder, index });
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

fn index_of(folder: &Path) -> PathBuf {
    folder.with_extension("index.zst")
}

fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

#[test]
fn a_copy_is_like_its_source() {
    for (from, to) in
        [(Disk::ext4(64), Disk::ext4(64)), (Disk::tmpfs(), Disk::ext4(64)), (Disk::ext4(64), Disk::tmpfs())]
    {
        let source = from.folder("source");
        awkward(&source);
        nix::unistd::mkfifo(&source.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
        touch(&source, (1_450_000_000, 11));

        let copy = to.path().join("copy");
        let synced = sync(&source, &copy, None, false);

        assert_same_tree(&source, &copy);
        assert_eq!(inode(&copy.join("plain")), inode(&copy.join("secret/plain again")));
        let skipped: Vec<String> = synced.findings.skipped.iter().map(ToString::to_string).collect();
        assert_eq!(skipped, ["pipe: a pipe", "socket: a socket"]);
        assert_eq!(synced.entries, picture(&copy).len() as u64);
        assert_eq!((synced.linked, synced.findings.problems), (1, vec![]));
    }
}

fn archived(root: &Path, to: &Path) -> archive::Archived {
    let index = index_of(to);
    let exclude = Exclusions::none();
    let job = archive::Job { root, exclude: &exclude, file: to, index: &index, level: 1, threads: 2 };
    archive::create(&job, &log()).unwrap()
}

/// Brings an archive back as an administrator without this program would.
fn extract(file: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    let shell =
        format!("set -o pipefail; zstd -dc {} | tar -xpf - -C {} --numeric-owner", file.display(), to.display());
    run(Command::new("bash").args(["-c", &shell]));
}

#[test]
fn plain_tar_and_zstd_bring_an_archive_back() {
    let disk = Disk::ext4(128);
    let source = disk.folder("source");
    awkward(&source);
    nix::unistd::mkfifo(&source.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    touch(&source, (1_450_000_000, 11));
    let file = disk.path().join("code.tar.zst");

    let done = archived(&source, &file);

    let back = disk.path().join("back");
    extract(&file, &back);
    assert_same_tree(&source, &back);
    assert_eq!(inode(&back.join("plain")), inode(&back.join("secret/plain again")));
    assert_eq!(done.findings.skipped.len(), 1);
    assert_eq!(done.compressed_bytes, fs::metadata(&file).unwrap().len());
    assert!(archive::verify_sum(&file, &done.sha256).unwrap());
    run(Command::new("bash").args(["-c", &format!("echo '{}  {}' | sha256sum -c", done.sha256, file.display())]));
}

#[test]
fn holes_stay_holes() {
    let disk = Disk::ext4(64);
    let source = disk.folder("source");
    awkward(&source);
    sync(&source, &disk.path().join("copy"), None, false);
    let used = fs::metadata(disk.path().join("copy/sparse")).unwrap().blocks() * 512;
    assert!(used < 1 << 20, "{used} bytes used of 20 MiB with one word in them");
}

/// What `getfacl` and `getfattr` would show of files and folders.
fn attributes(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
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

fn set_attribute(path: &Path, name: &str, value: &[u8]) {
    let (path, name) = (CString::new(path.as_os_str().as_bytes()).unwrap(), CString::new(name).unwrap());
    // SAFETY: both strings end with a NUL, and the value has the size that is told.
    let set = unsafe { nix::libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// An access control list that lets user 1234 in besides, in the kernel's form (version 2, five entries).
fn list_for_1234() -> Vec<u8> {
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [(1u16, 7u16, !0u32), (2, 5, 1234), (4, 5, !0), (16, 5, !0), (32, 0, !0)] {
        list.extend(tag.to_le_bytes().iter().chain(&permissions.to_le_bytes()).chain(&id.to_le_bytes()));
    }
    list
}

#[test]
fn access_control_lists_and_attributes_are_kept() {
    let (from, to) = (Disk::ext4(64), Disk::ext4(64));
    let source = from.folder("source");
    fs::create_dir(source.join("folder")).unwrap();
    fs::write(source.join("folder/without"), b"x").unwrap();
    set_attribute(&source.join("folder"), "system.posix_acl_access", &list_for_1234());
    set_attribute(&source.join("folder"), "system.posix_acl_default", &list_for_1234());
    fs::write(source.join("folder/with"), b"x").unwrap();
    set_attribute(&source.join("folder/with"), "user.note", b"hello\0world\n");
    assert_eq!(attributes(&source.join("folder/with")).len(), 2, "a list inherited and a note");

    let (copy, file, back) = (to.path().join("copy"), to.path().join("tar.zst"), to.path().join("back"));
    sync(&source, &copy, None, false);
    // Moved in from elsewhere, so without the list that new files get there.
    fs::write(source.join("later"), b"x").unwrap();
    fs::rename(source.join("later"), source.join("folder/later")).unwrap();
    sync(&source, &copy, None, true);
    archived(&source, &file);
    fs::create_dir(&back).unwrap();
    let shell = format!(
        "set -o pipefail; zstd -dc {} | tar -xpf - -C {} --xattrs --xattrs-include='*' --acls",
        file.display(),
        back.display()
    );
    run(Command::new("bash").args(["-c", &shell]));

    for path in ["folder", "folder/without", "folder/with", "folder/later"] {
        assert_eq!(attributes(&copy.join(path)), attributes(&source.join(path)), "copy of {path}");
        assert_eq!(attributes(&back.join(path)), attributes(&source.join(path)), "archive of {path}");
    }
    assert_same_tree(&source, &copy);
    assert_same_tree(&source, &back);
}

#[test]
fn what_is_unchanged_is_shared_and_what_is_published_is_never_written() {
    let (from, to) = (Disk::ext4(64), Disk::ext4(128));
    let source = from.folder("source");
    awkward(&source);
    settle(&source);
    let (first, second) = (to.path().join("first"), to.path().join("second"));
    sync(&source, &first, None, false);
    let published = picture(&first);

    fs::set_permissions(source.join("plain"), PermissionsExt::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(source.join("empty"), Some(1000), None).unwrap();
    write(&source.join("old"), b"rewritten", 0o644, (33, 33), (-86_400, 500_000_000));
    set_attribute(&source.join("setuid"), "user.note", b"only this is new");
    fs::set_permissions(source.join("secret"), PermissionsExt::from_mode(0o700)).unwrap();
    std::os::unix::fs::lchown(source.join("dangling"), Some(44), Some(44)).unwrap();
    fs::write(source.join("added"), b"new").unwrap();
    fs::remove_file(source.join("large")).unwrap();
    let synced = sync(&source, &second, Some(&first), false);

    assert_same_tree(&source, &second);
    assert_eq!(picture(&first), published, "the published copy was written to");
    for shared in ["link", "secret/key/openssl.key", "sparse", "great uid"] {
        assert_eq!(inode(&first.join(shared)), inode(&second.join(shared)), "{shared} should be shared");
    }
    for changed in ["plain", "empty", "old", "setuid", "dangling"] {
        assert_ne!(inode(&first.join(changed)), inode(&second.join(changed)), "{changed} must not be shared");
    }
    assert_eq!(inode(&second.join("plain")), inode(&second.join("secret/plain again")));
    assert_eq!(attributes(&second.join("setuid")).len(), 1);
    assert_eq!(attributes(&first.join("setuid")).len(), 0);
    assert_eq!(synced.files_copied, 6, "plain, empty, old, setuid, dangling, added");
}

#[test]
fn a_second_pass_touches_only_what_differs() {
    let (from, to) = (Disk::ext4(64), Disk::ext4(64));
    let source = from.folder("source");
    awkward(&source);
    for folder in ["gone/deep/er", "to file", "stays/inner"] {
        fs::create_dir_all(source.join(folder)).unwrap();
        fs::write(source.join(folder).join("inside"), folder).unwrap();
    }
    settle(&source);
    let copy = to.path().join("copy");
    sync(&source, &copy, None, false);
    let before: BTreeMap<_, _> =
        picture(&copy).into_keys().map(|path| (inode(&copy.join(name(&path))), path)).collect();

    let idle = sync(&source, &copy, None, true);
    assert_eq!((idle.files_copied, idle.linked, idle.removed), (0, 0, 0));

    fs::remove_dir_all(source.join("gone")).unwrap();
    fs::remove_dir_all(source.join("to file")).unwrap();
    fs::write(source.join("to file"), b"now a file").unwrap();
    fs::remove_file(source.join("plain")).unwrap();
    fs::create_dir(source.join("plain")).unwrap();
    fs::write(source.join("plain/inside"), b"now a folder").unwrap();
    fs::remove_file(source.join("link")).unwrap();
    symlink("elsewhere", source.join("link")).unwrap();
    fs::remove_file(source.join("sparse")).unwrap();
    // Written in place: the folder's own times stay as they are, and must in the copy.
    fs::write(source.join("stays/inner/inside"), b"other words").unwrap();
    let synced = sync(&source, &copy, None, true);

    assert_same_tree(&source, &copy);
    // The last one since it has lost its other name, which the kernel notes as a change.
    assert_eq!(synced.files_copied, 5, "to file, plain/inside, link, stays/inner/inside, secret/plain again");
    let kept = before
        .iter()
        .filter(|(number, path)| fs::symlink_metadata(copy.join(name(path))).is_ok_and(|meta| meta.ino() == **number));
    // Gone: gone, deep, er, inside; to file, inside; plain; link; sparse; the one written in place. And its second
    // name, since `plain` had one.
    assert!(kept.count() >= before.len() - 12);
}

#[test]
fn what_was_changed_a_moment_ago_counts_as_changed_next_time() {
    let disk = Disk::ext4(64);
    let source = disk.folder("source");
    fs::write(source.join("fresh"), b"one").unwrap();
    let copy = disk.path().join("copy");
    let file = disk.path().join("tar.zst");
    sync(&source, &copy, None, false);
    archived(&source, &file);
    assert!(archive::unchanged(&source, &Exclusions::none(), &index_of(&file)).unwrap().is_none());
    assert_eq!(sync(&source, &copy, None, true).files_copied, 1, "it may have changed within the same tick");
    settle(&source);
    sync(&source, &copy, None, true);
    assert_eq!(sync(&source, &copy, None, true).files_copied, 0);
    archived(&source, &file);
    assert!(archive::unchanged(&source, &Exclusions::none(), &index_of(&file)).unwrap().is_some());
}

#[test]
fn a_file_with_all_the_names_it_can_have_is_copied() {
    const LIMIT: u32 = 65_000; // EXT4_LINK_MAX
    let (from, to) = (Disk::ext4(64), Disk::ext4(64));
    let source = from.folder("source");
    fs::write(source.join("file"), b"content").unwrap();
    settle(&source);
    let (first, second) = (to.path().join("first"), to.path().join("second"));
    sync(&source, &first, None, false);
    let names = to.folder("names");
    for number in 1..LIMIT {
        fs::hard_link(first.join("file"), names.join(number.to_string())).unwrap();
    }
    assert!(fs::hard_link(first.join("file"), names.join("one more")).is_err());

    let synced = sync(&source, &second, Some(&first), false);

    assert_eq!((synced.linked, synced.files_copied), (0, 1));
    assert_same_tree(&source, &second);
}

/// Does `work` again and again on another thread until dropped.
struct Meanwhile {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Meanwhile {
    fn repeat(mut work: impl FnMut(u32) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut round = 0;
            while !seen.load(Ordering::SeqCst) {
                work(round);
                round += 1;
            }
        });
        Meanwhile { stop, thread: Some(thread) }
    }

    fn end(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn a_tree_in_use_is_copied_and_archived_and_the_last_pass_is_exact() {
    let (from, to) = (Disk::ext4(64), Disk::ext4(256));
    let source = from.folder("source");
    awkward(&source);
    let at = source.clone();
    let users = Meanwhile::repeat(move |round| {
        let folder = at.join(format!("busy{}", round % 17));
        let _ = fs::create_dir(&folder);
        for number in 0..20 {
            fs::write(folder.join(format!("{number}")), vec![round as u8; (round as usize * 37) % 9000]).unwrap();
        }
        if round % 3 == 0 {
            fs::remove_dir_all(&folder).unwrap();
        } else if round % 3 == 1 {
            let other = at.join(format!("moved{}", round % 5));
            let _ = fs::remove_dir_all(&other);
            fs::rename(&folder, &other).unwrap();
        }
        let swap = at.join("swap");
        let _ = fs::remove_file(&swap).or_else(|_| fs::remove_dir(&swap));
        match round % 3 {
            0 => fs::create_dir(&swap).unwrap(),
            1 => symlink("plain", &swap).unwrap(),
            _ => fs::write(&swap, b"file").unwrap(),
        }
    });
    let (copy, file) = (to.path().join("copy"), to.path().join("tar.zst"));
    let mut restless = 0;
    for pass in 0..30 {
        let findings = sync(&source, &copy, None, pass > 0).findings;
        assert_eq!(findings.problems, vec![], "what vanishes is no problem");
        restless += findings.vanished + findings.changed_while_read.len() as u64;
        assert_eq!(archived(&source, &file).findings.problems, vec![]);
        run(Command::new("bash")
            .args(["-c", &format!("set -o pipefail; zstd -dc {} | tar -tf - >/dev/null", file.display())]));
    }
    users.end();
    assert!(restless > 0, "nothing happened while the tree was read");

    sync(&source, &copy, None, true);
    assert_same_tree(&source, &copy);
    let mut indexed = Reader::open(&index_of(&copy)).unwrap();
    let mut paths = Vec::new();
    while let Some(entry) = indexed.next_entry().unwrap() {
        paths.push(entry.path);
    }
    paths.sort();
    assert_eq!(paths, picture(&copy).into_keys().collect::<Vec<_>>(), "the index tells what is there");
}

#[test]
fn a_file_that_is_written_to_all_the_while_is_noted_and_never_spoils_an_archive() {
    let (from, to) = (Disk::ext4(256), Disk::ext4(256));
    let source = from.folder("source");
    let (small, large) = (source.join("small.log"), source.join("large.log"));
    let content: Vec<u8> = vec![b'x'; 30 << 20];
    fs::write(&large, &content).unwrap();
    fs::write(&small, b"").unwrap();
    let writer = Meanwhile::repeat(move |round| {
        let large = fs::OpenOptions::new().write(true).open(&large).unwrap();
        large.set_len(if round % 2 == 0 { 1000 } else { 30 << 20 }).unwrap();
        fs::write(&small, vec![b'y'; (round as usize * 7919) % 60_000]).unwrap();
    });
    let (copy, file) = (to.path().join("copy"), to.path().join("tar.zst"));
    let (mut copied_restless, mut archived_restless) = (false, false);
    let mut archives = 0;
    while !(copied_restless && archived_restless) {
        archives += 1;
        assert!(archives < 500, "the writer was never met");
        copied_restless |= !sync(&source, &copy, None, archives > 1).findings.changed_while_read.is_empty();
        let done = archived(&source, &file);
        archived_restless |= !done.findings.changed_while_read.is_empty();
        run(Command::new("bash")
            .args(["-c", &format!("set -o pipefail; zstd -dc {} | tar -tf - >/dev/null", file.display())]));
        assert!(archive::unchanged(&source, &Exclusions::none(), &index_of(&file)).unwrap().is_none());
    }
    writer.end();
    sync(&source, &copy, None, true);
    assert_same_tree(&source, &copy);
}

#[test]
fn a_folder_that_becomes_a_link_never_leads_out_of_the_tree() {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    let (from, to) = (Disk::ext4(64), Disk::ext4(64));
    let outside = from.folder("outside");
    fs::write(outside.join("shadow"), b"secret").unwrap();
    let source = from.folder("source");
    fs::create_dir_all(source.join("trap/inner")).unwrap();
    fs::write(source.join("trap/inner/file"), b"harmless").unwrap();
    fs::write(source.join("trap/shadow"), b"harmless").unwrap();
    symlink(&outside, source.join("other")).unwrap();
    fs::write(source.join("file"), b"harmless").unwrap();
    symlink(outside.join("shadow"), source.join("file2")).unwrap();
    let at = source.clone();
    let attacker = Meanwhile::repeat(move |_| {
        let swap = |one: &str, other: &str| {
            renameat2(AT_FDCWD, &at.join(one), AT_FDCWD, &at.join(other), RenameFlags::RENAME_EXCHANGE).unwrap();
        };
        swap("trap", "other");
        swap("file", "file2");
    });
    let outside_before = picture(&outside);
    let (copy, file, back) = (to.path().join("copy"), to.path().join("tar.zst"), to.path().join("back"));
    for pass in 0..100 {
        sync(&source, &copy, None, pass > 0);
        archived(&source, &file);
        extract(&file, &back);
        for tree in [&copy, &back] {
            for (path, looks) in picture(tree) {
                assert_ne!(looks.content, b"secret", "{} came from outside", String::from_utf8_lossy(&path));
            }
        }
        fs::remove_dir_all(&back).unwrap();
    }
    attacker.end();
    assert_eq!(picture(&outside), outside_before);
}

#[test]
fn other_file_systems_in_the_tree_belong_to_it_but_what_is_left_out_is_not_entered() {
    let (disk, inner) = (Disk::ext4(64), Disk::tmpfs());
    let source = disk.folder("source");
    for folder in ["mounted", "cache", "theme/cache", "repository/a/tmp", "repository/b/tmp", "repository/b/keep"] {
        fs::create_dir_all(source.join(folder)).unwrap();
        fs::write(source.join(folder).join("file"), folder).unwrap();
    }
    let _socket = std::os::unix::net::UnixListener::bind(source.join("cache/socket")).unwrap();
    run(Command::new("mount").arg("--bind").arg(inner.path()).arg(source.join("mounted")));
    fs::write(source.join("mounted/other disk"), b"here").unwrap();
    let mut exclude = Exclusions::none();
    exclude.add_path(b"cache");
    exclude.add_pattern("/repository/*/tmp").unwrap();
    let copy = disk.path().join("copy");
    let synced = sync_without(&source, &copy, None, false, &exclude);
    run(Command::new("umount").arg(source.join("mounted")));

    let paths: Vec<String> = picture(&copy).into_keys().map(|path| String::from_utf8(path).unwrap()).collect();
    let expected = "|mounted|mounted/other disk|repository|repository/a|repository/b|repository/b/keep|\
                    repository/b/keep/file|theme|theme/cache|theme/cache/file";
    assert_eq!(paths.join("|"), expected);
    assert_eq!(synced.findings, Findings { mounts: vec![b"mounted".to_vec()], ..Findings::default() });
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_copied() {
    let disk = Disk::ext4(64);
    let nobody = Identity::by_name("nobody").unwrap();
    let own = |path: &Path| std::os::unix::fs::chown(path, Some(nobody.uid), Some(nobody.gid)).unwrap();
    run(Command::new("chmod").arg("755").arg(disk.folder.path()).arg(disk.path()));
    let (source, work) = (disk.folder("source"), disk.folder("work"));
    fs::create_dir(source.join("closed")).unwrap();
    fs::set_permissions(source.join("closed"), PermissionsExt::from_mode(0o700)).unwrap();
    write(&source.join("closed file"), b"x", 0o400, (0, 0), (1, 1));
    fs::write(source.join("open"), b"y").unwrap();
    [&source, &work, &source.join("open")].into_iter().for_each(|path| own(path));
    let (copy, file) = (work.join("copy"), work.join("tar.zst"));

    let (synced, done) =
        as_user(&nobody, || Ok((sync(&source, &copy, None, false), archived(&source, &file)))).unwrap();

    let named = |findings: &Findings| findings.problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    let expected = ["closed: cannot be read: Permission denied", "closed file: cannot be read: Permission denied"];
    assert_eq!(named(&synced.findings), expected);
    assert_eq!(named(&done.findings), expected);
    let paths: Vec<_> = picture(&copy).into_keys().collect();
    assert_eq!(paths, [b"".to_vec(), b"open".to_vec()]);
    let same = as_user(&nobody, || archive::unchanged(&source, &Exclusions::none(), &index_of(&file))).unwrap();
    assert!(same.is_none(), "an archive that lacks something is not one to keep");
}

#[test]
fn a_full_target_is_an_error_that_says_so() {
    let (from, to) = (Disk::ext4(64), Disk::ext4(8));
    let source = from.folder("source");
    fs::write(source.join("large"), vec![7; 20 << 20]).unwrap();
    let mut state = 1u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    fs::write(source.join("larger"), noise.take(20 << 20).collect::<Vec<u8>>()).unwrap();
    let (copy, index, exclude) = (to.path().join("copy"), to.path().join("copy.zst"), Exclusions::none());
    let job = tree::Job {
        source: &source,
        exclude: &exclude,
        destination: &copy,
        previous: None,
        already: None,
        index: &index,
    };
    let error = tree::sync(&job, &log()).unwrap_err();
    let lines = moodle_backup::error::lines(&error).join("\n");
    assert!(lines.contains(&format!("cannot write {}", copy.join("large").display())), "{lines}");
    assert!(lines.contains("No space left") && lines.contains("next: make room"), "{lines}");
    assert!(!index.exists());

    fs::remove_dir_all(&copy).unwrap();
    let file = to.path().join("tar.zst");
    let job = archive::Job { root: &source, exclude: &exclude, file: &file, index: &index, level: 1, threads: 2 };
    let lines = moodle_backup::error::lines(&archive::create(&job, &log()).unwrap_err()).join("\n");
    assert!(lines.contains(&file.display().to_string()) && lines.contains("No space left"), "{lines}");
}

#[test]
fn a_spoilt_earlier_backup_is_not_built_upon() {
    let (from, to) = (Disk::ext4(64), Disk::ext4(128));
    let source = from.folder("source");
    awkward(&source);
    settle(&source);
    let (first, second, third) = (to.path().join("first"), to.path().join("second"), to.path().join("third"));
    sync(&source, &first, None, false);
    fs::write(first.join("large"), b"cut").unwrap();
    fs::remove_file(first.join("old")).unwrap();
    let synced = sync(&source, &second, Some(&first), false);
    assert_same_tree(&source, &second);
    assert_eq!(synced.files_copied, 2);

    let index = fs::read(index_of(&second)).unwrap();
    fs::write(index_of(&second), &index[..index.len() / 2]).unwrap();
    sync(&source, &third, Some(&second), false);
    assert_same_tree(&source, &third);
}

#[test]
fn a_tree_that_is_too_deep_is_copied_as_far_as_can_be() {
    let disk = Disk::ext4(64);
    let source = disk.folder("source");
    let deepest = (0..400).fold(source.clone(), |path, _| path.join("d"));
    fs::create_dir_all(&deepest).unwrap();
    fs::write(source.join("z"), b"after").unwrap();
    let synced = sync(&source, &disk.path().join("copy"), None, false);
    assert_eq!(synced.findings.problems.len(), 1);
    assert!(synced.findings.problems[0].what.contains("300 folders deep"));
    assert_eq!(fs::read(disk.path().join("copy/z")).unwrap(), b"after");
}

#[test]
fn an_archive_is_kept_only_while_nothing_at_all_has_changed() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 7] = [
        ("mode", |root| fs::set_permissions(root.join("plain"), PermissionsExt::from_mode(0o600)).unwrap()),
        ("owner of a link", |root| std::os::unix::fs::lchown(root.join("link"), Some(5), None).unwrap()),
        ("content, with the old time", |root| {
            write(&root.join("old"), b"before the noon", 0o644, (33, 33), (-86_400, 500_000_000))
        }),
        ("a new file", |root| fs::write(root.join("added"), b"").unwrap()),
        ("the last file gone", |root| fs::remove_file(root.join("setuid")).unwrap()),
        ("an empty folder gone", |root| fs::remove_dir(root.join("empty folder")).unwrap()),
        ("the time of a folder", |root| touch(&root.join("secret"), (1, 1))),
    ];
    let disk = Disk::ext4(128);
    let trees: Vec<PathBuf> =
        changes.iter().enumerate().map(|(number, _)| disk.folder(&format!("tree{number}"))).collect();
    trees.iter().for_each(|tree| awkward(tree));
    settle(&disk.path().join("tree6"));
    for (tree, (what, change)) in trees.iter().zip(changes) {
        let file = disk.path().join("tar.zst");
        archived(tree, &file);
        let unchanged = || archive::unchanged(tree, &Exclusions::none(), &index_of(&file)).unwrap().is_some();
        assert!(unchanged(), "nothing has changed yet");
        change(tree);
        assert!(!unchanged(), "{what} was not noticed");
    }
}

#[test]
fn an_archive_that_is_shared_with_an_earlier_backup_is_not_written_to() {
    let disk = Disk::ext4(64);
    let source = disk.folder("source");
    fs::write(source.join("file"), b"one").unwrap();
    let (published, file) = (disk.path().join("published.tar.zst"), disk.path().join("new.tar.zst"));
    let done = archived(&source, &published);
    fs::hard_link(&published, &file).unwrap();
    fs::hard_link(index_of(&published), index_of(&file)).unwrap();
    let index = fs::read(index_of(&published)).unwrap();

    fs::write(source.join("file"), b"two").unwrap();
    archived(&source, &file);

    assert!(archive::verify_sum(&published, &done.sha256).unwrap());
    assert!(!archive::verify_sum(&file, &done.sha256).unwrap());
    assert_eq!(fs::read(index_of(&published)).unwrap(), index);
}
