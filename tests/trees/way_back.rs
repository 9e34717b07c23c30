//! Archives, copies and pools brought back by the program itself.

use crate::world::{
    Disk, archived, assert_same_tree, attributes, awkward, index_of, inode, log, looks, picture, set_attribute, sync,
    touch, write,
};
use moodle_backup::archive::{self, Extract};
use moodle_backup::entry::owners::Then;
use moodle_backup::entry::{Owners, Selection};
use moodle_backup::sys::priority::{Effort, Io};
use moodle_backup::sys::threads::GivenUp;
use moodle_backup::tree::{self, Restore};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// More threads than the cores of most machines.
const EFFORT: Effort = Effort { threads: 5, nice: 0, io: Io::Normal };

fn extract_some(file: &Path, into: &Path, only: &Selection) -> Result<archive::Extracted, String> {
    let owners = Owners::as_they_were();
    archive::extract(
        &Extract { file, into, only, owners: &owners, effort: EFFORT, given_up: &GivenUp::never() },
        &log(),
    )
    .map_err(|error| format!("{error:#}"))
}

fn extract(file: &Path, into: &Path) -> Result<archive::Extracted, String> {
    extract_some(file, into, &Selection::all())
}

fn restore(source: &Path, into: &Path, only: &Selection) -> Result<tree::Restored, String> {
    let (index, owners) = (index_of(source), Owners::as_they_were());
    let job = Restore { source, index: Some(&index), into, only, owners: &owners, given_up: &GivenUp::never() };
    tree::restore(&job, &log()).map_err(|error| format!("{error:#}"))
}

fn some(paths: &[&str]) -> Selection {
    Selection::of(paths.iter().map(|path| path.as_bytes().to_vec()).collect())
}

#[test]
fn an_archive_comes_back_as_the_tree_it_was_made_of() {
    let disk = Disk::ext4(128);
    let source = disk.folder("source");
    awkward(&source);
    let (file, back) = (disk.path().join("tar.zst"), disk.path().join("back"));
    let made = archived(&source, &file);

    let done = extract(&file, &back).unwrap();

    assert_same_tree(&source, &back);
    assert_eq!(inode(&back.join("plain")), inode(&back.join("secret/plain again")));
    assert_eq!((done.entries, done.sha256), (made.entries, made.sha256));
}

/// Files of all sizes in many folders, every tenth with a further name in the folder before.
fn crowd(root: &Path) {
    let block: Vec<u8> = (0..300_000_u32).map(|number| (number % 251) as u8).collect();
    for folder in 0..40 {
        fs::create_dir(root.join(format!("{folder:02}"))).unwrap();
        for file in 0..50 {
            let size = if file == 7 { block.len() } else { (folder * 997 + file * 131) % 9000 };
            let path = root.join(format!("{folder:02}/{file}"));
            write(&path, &block[..size], 0o640, (33, file as u32), (1_600_000_000 + file as i64, folder as u32));
            if file % 10 == 0 && folder > 0 {
                fs::hard_link(&path, root.join(format!("{:02}/of {folder:02} {file}", folder - 1))).unwrap();
            }
        }
    }
    (0..40).for_each(|folder| touch(&root.join(format!("{folder:02}")), (1_500_000_000 + folder, 9)));
}

#[test]
fn a_crowd_of_files_comes_back_each_with_its_own_content() {
    let disk = Disk::ext4(128);
    let source = disk.folder("source");
    crowd(&source);
    let (file, back) = (disk.path().join("tar.zst"), disk.path().join("back"));
    let made = archived(&source, &file);

    let done = extract(&file, &back).unwrap();

    assert_same_tree(&source, &back);
    assert_eq!(done.entries, made.entries);
    for folder in 1..40 {
        let other = back.join(format!("{:02}/of {folder:02} 20", folder - 1));
        assert_eq!(inode(&back.join(format!("{folder:02}/20"))), inode(&other), "{folder}");
    }
}

#[test]
fn a_full_disk_in_the_midst_of_a_crowd_is_told_with_a_file() {
    let (disk, small) = (Disk::ext4(128), Disk::ext4(8));
    let source = disk.folder("source");
    crowd(&source);
    let file = disk.path().join("tar.zst");
    archived(&source, &file);

    let error = extract(&file, &small.path().join("back")).unwrap_err();

    assert!(error.contains("tar.zst cannot be brought back: member "), "{error}");
    assert!(error.contains("cannot write") && error.contains("No space left on device"), "{error}");
}

#[test]
fn attributes_and_lists_come_back() {
    let disk = Disk::ext4(64);
    let source = disk.folder("source");
    fs::create_dir(source.join("folder")).unwrap();
    fs::write(source.join("folder/without"), b"x").unwrap();
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [(1u16, 7u16, !0u32), (2, 5, 1234), (4, 5, !0), (16, 5, !0), (32, 0, !0)] {
        list.extend(tag.to_le_bytes().iter().chain(&permissions.to_le_bytes()).chain(&id.to_le_bytes()));
    }
    set_attribute(&source.join("folder"), "system.posix_acl_access", &list);
    set_attribute(&source.join("folder"), "system.posix_acl_default", &list);
    fs::write(source.join("folder/with"), b"x").unwrap();
    set_attribute(&source.join("folder/with"), "user.note", b"a line end\nin it=\0\n");
    let (file, copy) = (disk.path().join("tar.zst"), disk.path().join("copy"));
    archived(&source, &file);
    sync(&source, &copy, None, false);

    let (unpacked, restored) = (disk.path().join("unpacked"), disk.path().join("restored"));
    extract(&file, &unpacked).unwrap();
    restore(&copy, &restored, &Selection::all()).unwrap();

    for back in [unpacked, restored] {
        for path in ["folder", "folder/without", "folder/with"] {
            assert_eq!(attributes(&back.join(path)), attributes(&source.join(path)), "{path}");
        }
        assert_same_tree(&source, &back);
    }
    assert_eq!(attributes(&source.join("folder/with")).len(), 2);
}

#[test]
fn some_files_of_an_archive_come_back_with_the_way_to_them() {
    let disk = Disk::ext4(128);
    let source = disk.folder("source");
    awkward(&source);
    let (file, back) = (disk.path().join("tar.zst"), disk.path().join("back"));
    archived(&source, &file);

    let done = extract_some(&file, &back, &some(&["secret/plain again", "empty folder", "link"])).unwrap();

    let names: Vec<_> = picture(&back).into_keys().map(|name| String::from_utf8(name).unwrap()).collect();
    assert_eq!(names, ["", "empty folder", "link", "secret", "secret/plain again"]);
    for path in ["empty folder", "link", "secret", "secret/plain again"] {
        assert_eq!(looks(&back.join(path)), looks(&source.join(path)), "{path}");
    }
    assert_eq!(done.entries, 5);
}

#[test]
fn owners_are_mapped() {
    let disk = Disk::ext4(128);
    let source = disk.folder("source");
    awkward(&source);
    let (file, copy) = (disk.path().join("tar.zst"), disk.path().join("copy"));
    archived(&source, &file);
    sync(&source, &copy, None, false);
    let mut owners = Owners::as_they_were();
    owners.map_user(Then { number: Some(33), name: "www-data" }, 2001);
    owners.map_group(Then { number: Some(33), name: "www-data" }, 2002);

    let (unpacked, restored) = (disk.path().join("unpacked"), disk.path().join("restored"));
    let only = Selection::all();
    let job = Extract {
        file: &file,
        into: &unpacked,
        only: &only,
        owners: &owners,
        effort: EFFORT,
        given_up: &GivenUp::never(),
    };
    archive::extract(&job, &log()).unwrap();
    let index = index_of(&copy);
    let job = Restore {
        source: &copy,
        index: Some(&index),
        into: &restored,
        only: &only,
        owners: &owners,
        given_up: &GivenUp::never(),
    };
    tree::restore(&job, &log()).unwrap();

    for back in [unpacked, restored] {
        let owner = |path: &str| fs::symlink_metadata(back.join(path)).map(|meta| (meta.uid(), meta.gid())).unwrap();
        assert_eq!(owner("plain"), (2001, 2002));
        assert_eq!(owner("link"), (2001, 34));
        assert_eq!(owner("great uid"), (3_000_000_000, 4_000_000_000));
        assert_eq!(fs::metadata(back.join("setuid")).unwrap().mode() & 0o7777, 0o4755, "a new owner keeps setuid");
    }
}

/// A member's kind, name and target.
type Member<'a> = (tar::EntryType, &'a [u8], &'a [u8]);

/// An archive with these members, as somebody who means harm would write it.
fn hostile(file: &Path, members: &[Member]) {
    let mut builder = tar::Builder::new(zstd::Encoder::new(fs::File::create(file).unwrap(), 1).unwrap());
    for (kind, name, target) in members {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        let content: &[u8] = if *kind == tar::EntryType::Regular { b"harm" } else { b"" };
        header.set_size(content.len() as u64);
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap();
}

#[test]
fn hostile_archives_are_refused_and_write_nothing_elsewhere() {
    use tar::EntryType::{Block, Char, Directory, Fifo, Link, Regular, Symlink};
    let disk = Disk::ext4(64);
    let outside = disk.folder("outside");
    let root: Member = (Directory, b"./", b"");
    let way_out = outside.as_os_str().as_encoded_bytes();
    let absolute = [way_out, b"/planted"].concat();
    let shadow = [way_out, b"/secret"].concat();
    write(&outside.join("secret"), b"secret", 0o600, (0, 0), (1, 1));
    touch(&outside, (7, 7));
    let before = picture(&outside);
    let cases: [(&[Member], &str); 12] = [
        (&[root, (Regular, b"../outside/planted", b"")], "the name ../outside/planted leads out of its folder"),
        (&[root, (Regular, &absolute, b"")], "is absolute"),
        (
            &[root, (Symlink, b"a", way_out), (Regular, b"a/planted", b"")],
            "member a/planted lies in something that is no",
        ),
        (&[root, (Symlink, b"a", way_out), (Directory, b"a/", b"")], "member a stands twice"),
        (&[root, (Symlink, b"a", &shadow), (Regular, b"a", b"")], "member a stands twice"),
        (&[root, (Symlink, b"a", &shadow), (Link, b"b", b"a")], "another name of a, which did not come before it"),
        (&[root, (Link, b"b", &shadow)], "is absolute"),
        (&[root, (Link, b"b", b"../outside/secret")], "the name ../outside/secret leads out"),
        (&[root, (Char, b"null", b"")], "null is a device"),
        (&[root, (Block, b"disk", b"")], "disk is a device"),
        (&[root, (Fifo, b"pipe", b"")], "pipe is a pipe"),
        (&[(Symlink, b"./", way_out), (Regular, b"planted", b"")], "is no folder"),
    ];
    for (number, (members, why)) in cases.into_iter().enumerate() {
        let (file, into) = (disk.path().join("hostile.tar.zst"), disk.path().join(format!("into{number}")));
        hostile(&file, members);
        let error = extract(&file, &into).unwrap_err();
        assert!(error.contains(why) && error.contains("hostile.tar.zst"), "{error}\nshould say: {why}");
        assert_eq!(picture(&outside), before, "{why}");
    }
}

#[test]
fn a_damaged_archive_is_never_taken_for_a_whole_one() {
    let disk = Disk::ext4(128);
    let source = disk.folder("source");
    awkward(&source);
    let file = disk.path().join("tar.zst");
    let made = archived(&source, &file);
    let whole = fs::read(&file).unwrap();
    let damages: Vec<(&str, Vec<u8>)> = [1, 4, 9]
        .map(|part| whole.len() * part / 10)
        .into_iter()
        .flat_map(|at| {
            let mut flipped = whole.clone();
            flipped[at] ^= 8;
            [("flipped", flipped), ("cut", whole[..at].to_vec())]
        })
        .collect();
    for (number, (what, bytes)) in damages.into_iter().enumerate() {
        fs::write(&file, bytes).unwrap();
        let done = extract(&file, &disk.path().join(format!("back{number}")));
        let told = done.map_or(true, |done| done.sha256 != made.sha256);
        assert!(told, "{what} ({number}) was not noticed");
    }
}

#[test]
fn only_an_empty_folder_is_extracted_into_and_it_is_closed_meanwhile() {
    let disk = Disk::ext4(64);
    let source = disk.folder("source");
    fs::write(source.join("file"), b"x").unwrap();
    let file = disk.path().join("tar.zst");
    archived(&source, &file);
    let full = disk.folder("full");
    fs::write(full.join("mine"), b"mine").unwrap();
    let error = extract(&file, &full).unwrap_err();
    assert!(error.contains("full is not empty"), "{error}");
    let empty = disk.folder("empty");
    fs::set_permissions(&empty, PermissionsExt::from_mode(0o777)).unwrap();
    extract(&file, &empty).unwrap();
    assert_same_tree(&source, &empty);
    // What fails stays closed.
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 8]).unwrap();
    let broken = disk.folder("broken");
    extract(&file, &broken).unwrap_err();
    assert_eq!(fs::metadata(&broken).unwrap().mode() & 0o7777, 0o700);
}

fn copied(disk: &Disk) -> (PathBuf, PathBuf) {
    let source = disk.folder("source");
    awkward(&source);
    touch(&source, (1_450_000_000, 11));
    let copy = disk.path().join("copy");
    sync(&source, &copy, None, false);
    // As the seal does, which leaves the folder's time as it is.
    symlink("../../filedir", copy.join("filedir")).unwrap();
    touch(&copy, (1_450_000_000, 11));
    (source, copy)
}

#[test]
fn a_copy_comes_back_as_it_was_and_shares_nothing_with_the_backup() {
    let disk = Disk::ext4(128);
    let (source, copy) = copied(&disk);
    let published = picture(&copy);
    let back = disk.path().join("back");

    let done = restore(&copy, &back, &Selection::all()).unwrap();

    assert_same_tree(&source, &back);
    assert_eq!(inode(&back.join("plain")), inode(&back.join("secret/plain again")));
    assert!(fs::metadata(back.join("sparse")).unwrap().blocks() * 512 < 1 << 20, "holes stay holes");
    assert_eq!((done.entries, done.missing), (picture(&source).len() as u64, vec![]));
    for path in ["plain", "large", "link"] {
        assert_ne!(inode(&back.join(path)), inode(&copy.join(path)), "{path}");
    }
    fs::write(back.join("plain"), b"written after the restore").unwrap();
    assert_eq!(picture(&copy), published);
}

#[test]
fn a_backup_that_was_copied_without_owners_and_times_comes_back_with_them() {
    let disk = Disk::ext4(128);
    let (source, copy) = copied(&disk);
    let carried = disk.path().join("carried");
    let done = Command::new("cp").args(["-r", "--no-preserve=all"]).arg(&copy).arg(&carried).status().unwrap();
    assert!(done.success());
    fs::copy(index_of(&copy), index_of(&carried)).unwrap();

    restore(&carried, &disk.path().join("back"), &Selection::all()).unwrap();

    assert_same_tree(&source, &disk.path().join("back"));
    assert_eq!(inode(&disk.path().join("back/plain")), inode(&disk.path().join("back/secret/plain again")));
}

#[test]
fn some_files_of_a_copy_come_back() {
    let disk = Disk::ext4(128);
    let (source, copy) = copied(&disk);
    let back = disk.path().join("back");
    restore(&copy, &back, &some(&["secret/key", "dangling"])).unwrap();
    let names: Vec<_> = picture(&back).into_keys().map(|name| String::from_utf8(name).unwrap()).collect();
    assert_eq!(names, ["", "dangling", "secret", "secret/key", "secret/key/openssl.key"]);
    for path in ["dangling", "secret", "secret/key", "secret/key/openssl.key"] {
        assert_eq!(looks(&back.join(path)), looks(&source.join(path)), "{path}");
    }
}

#[test]
fn what_no_run_puts_into_a_backup_is_not_brought_back() {
    type Harm = fn(&Path);
    let harms: [(Harm, &str); 6] = [
        (|copy| fs::write(copy.join("planted.php"), b"<?php").unwrap(), "planted.php is not brought back"),
        (
            |copy| {
                fs::remove_file(copy.join("link")).unwrap();
                symlink("/etc/shadow", copy.join("link")).unwrap();
            },
            "link is not brought back: it leads elsewhere",
        ),
        (
            |copy| {
                fs::remove_dir_all(copy.join("secret")).unwrap();
                symlink("/etc", copy.join("secret")).unwrap();
            },
            "secret is not brought back: it is something else",
        ),
        (
            |copy| nix::unistd::mkfifo(&copy.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap(),
            "pipe is not brought back: a pipe",
        ),
        (
            |copy| {
                let mode = nix::sys::stat::Mode::S_IRWXU;
                let kind = nix::sys::stat::SFlag::S_IFCHR;
                nix::sys::stat::mknod(&copy.join("zz"), kind, mode, nix::sys::stat::makedev(1, 3)).unwrap();
            },
            "zz is not brought back: a device",
        ),
        (
            |copy| {
                fs::remove_file(copy.join("filedir")).unwrap();
                symlink("/etc", copy.join("filedir")).unwrap();
            },
            "filedir is not brought back",
        ),
    ];
    for (harm, why) in harms {
        let disk = Disk::ext4(128);
        let (_, copy) = copied(&disk);
        harm(&copy);
        let error = restore(&copy, &disk.path().join("back"), &Selection::all()).unwrap_err();
        assert!(error.contains(why), "{error}\nshould say: {why}");
    }
    let disk = Disk::ext4(128);
    let (_, copy) = copied(&disk);
    let moved = disk.path().join("elsewhere");
    fs::rename(&copy, &moved).unwrap();
    symlink(&moved, &copy).unwrap();
    assert!(restore(&copy, &disk.path().join("back"), &Selection::all()).unwrap_err().contains("is no folder"));
}

#[test]
fn what_a_backup_has_lost_is_named() {
    let disk = Disk::ext4(128);
    let (_, copy) = copied(&disk);
    fs::remove_file(copy.join("old")).unwrap();
    fs::remove_dir_all(copy.join("secret")).unwrap();
    let done = restore(&copy, &disk.path().join("back"), &Selection::all()).unwrap();
    let missing: Vec<_> = done.missing.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
    assert_eq!(missing, ["old", "secret", "secret/key", "secret/key/openssl.key", "secret/plain again"]);
    let mut content = String::new();
    fs::File::open(disk.path().join("back/plain")).unwrap().read_to_string(&mut content).unwrap();
    assert_eq!(content, "content");
}
