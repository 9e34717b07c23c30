//! Archives of trees, brought back with plain tar and zstd.

use crate::world::{
    Disk, archived, assert_same_tree, attributes, awkward, extract, index_of, inode, is_current, run, set_attribute,
    settle, sync, touch, write,
};
use moodle_backup::archive;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

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
        let unchanged = || is_current(tree, &file);
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
