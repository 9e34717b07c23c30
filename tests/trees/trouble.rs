//! What cannot be read, written, shared or entered.

use crate::world::{
    Disk, archived, assert_same_tree, awkward, index_of, log, picture, run, settle, sync, sync_without, write,
};
use moodle_backup::archive::{self, Unread};
use moodle_backup::entry::{Exclusions, Findings};
use moodle_backup::sys::privileges::{Identity, as_user};
use moodle_backup::tree::{self};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

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

    settle(&source);
    let (index, exclude) = (index_of(&file), Exclusions::none());
    as_user(&nobody, || Ok(archived(&source, &file))).unwrap();
    let known = done.findings.problems;
    let look = |unread| archive::compare(&source, &exclude, &index, unread);
    assert!(!as_user(&nobody, || look(Unread::TriedAgain(&[]))).unwrap().is_same(), "these are new");
    assert!(!as_user(&nobody, || look(Unread::TriedAgain(&known[1..]))).unwrap().is_same(), "a folder is new");
    let same = as_user(&nobody, || look(Unread::TriedAgain(&known))).unwrap();
    assert!(same.is_same(), "{:?}", same.changed);
    assert_eq!(named(&same.findings), expected, "still missing, and still to be told");
    let readable = look(Unread::TriedAgain(&known)).unwrap();
    assert_eq!(readable.changed, [b"closed".to_vec(), b"closed file".to_vec()], "root can read them");
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
    assert!(lines.contains("No space left") && lines.contains("next: the disk is full"), "{lines}");
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
