//! Copies of trees, and what they share.

use crate::world::{
    Disk, archived, assert_same_tree, attributes, awkward, inode, is_current, name, picture, set_attribute, settle,
    sync, touch, write,
};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

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

#[test]
fn holes_stay_holes() {
    let disk = Disk::ext4(64);
    let source = disk.folder("source");
    awkward(&source);
    sync(&source, &disk.path().join("copy"), None, false);
    let used = fs::metadata(disk.path().join("copy/sparse")).unwrap().blocks() * 512;
    assert!(used < 1 << 20, "{used} bytes used of 20 MiB with one word in them");
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
    assert!(!is_current(&source, &file));
    assert_eq!(sync(&source, &copy, None, true).files_copied, 1, "it may have changed within the same tick");
    settle(&source);
    sync(&source, &copy, None, true);
    assert_eq!(sync(&source, &copy, None, true).files_copied, 0);
    archived(&source, &file);
    assert!(is_current(&source, &file));
}
