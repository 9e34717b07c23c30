//! Reading backups and pool files again: what is damaged is named, whoever did it, and nothing is followed out of a backup.

#[path = "common/draft.rs"]
mod draft;
mod support;

use chrono::Utc;
use draft::{Sketch, hash_of, identity, pool_file};
use moodle_backup::entry::{Reading, Trouble};
use moodle_backup::hashes::{self, Hash};
use moodle_backup::pool::check::{Checked, Order};
use moodle_backup::pool::{self, Effort};
use moodle_backup::store::check::Checker;
use moodle_backup::store::{Backup, Store, layout, sums};
use moodle_backup::sys::log::{Log, Verbosity};
use moodle_backup::sys::priority::Io;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Instant;
use support::TestTarget;

const READING: Reading = Reading { effort: Effort { threads: 3, nice: 0, io: Io::Normal }, from_disk: true };

fn quiet() -> Log {
    Log::to_stderr(Verbosity::Quiet)
}

/// A backup with an odd name in moodledata, whose sums line is escaped.
fn published(target: &TestTarget, files: &[&str]) -> (Store, Backup) {
    let identity = identity("a", "https://school.example");
    let store = Store::create(target.path(), "school", &identity, "no-such-group", &quiet()).unwrap();
    let odd: [&[u8]; 2] = [b"new\nline", b"plain"];
    let backup = Sketch::new(&store, Utc::now()).files(files).moodledata(&odd).seal(None);
    // As a listing has it.
    let backup = store.find(&backup.name).unwrap();
    (store, backup)
}

fn check(backup: &Backup, wanted: &[&str]) -> Vec<String> {
    let wanted: Vec<&Path> = wanted.iter().map(Path::new).collect();
    let checked = Checker::new(READING, &quiet()).check(backup, &wanted).unwrap();
    checked.findings.iter().map(ToString::to_string).collect()
}

fn add_line(backup: &Backup, path: &str) {
    let file = backup.path.join("SHA256SUMS");
    let mut text = fs::read(&file).unwrap();
    text.extend(sums::line(&[7; 32], path.as_bytes()));
    fs::write(file, text).unwrap();
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_whole_backup_is_found_whole() {
    let target = TestTarget::folder();
    let (_, backup) = published(&target, &["a", "b"]);
    let checked = Checker::new(READING, &quiet()).check(&backup, &[Path::new("")]).unwrap();
    assert_eq!(checked.findings, []);
    let lines = fs::read_to_string(backup.path.join("SHA256SUMS")).unwrap().lines().count();
    assert_eq!(checked.files, lines as u64, "every file that has a sum was read");
    assert!(checked.bytes > 0);
}

#[test]
fn damage_is_named_file_by_file() {
    let target = TestTarget::folder();
    let (_, backup) = published(&target, &["a"]);
    flip(&backup.path.join("code.tar.zst"), 1);
    fs::remove_file(backup.path.join("moodledata/odd/plain")).unwrap();
    fs::write(backup.path.join("moodledata/odd/added"), "x").unwrap();
    fs::remove_file(backup.path.join("directories/1-etc.tar.zst")).unwrap();
    fs::create_dir(backup.path.join("directories/1-etc.tar.zst")).unwrap();
    let found = check(&backup, &[""]);
    assert_eq!(
        found,
        [
            "code.tar.zst has another content than it had",
            "directories/1-etc.tar.zst is a folder where a file should be",
            "moodledata/odd/added has no checksum, so that nobody knows whether it is right",
            "moodledata/odd/plain is missing",
        ]
    );
    // Only what is asked for is looked at.
    assert_eq!(check(&backup, &["database/site.sql.zst"]), [""; 0]);
    assert_eq!(check(&backup, &["code.tar.zst"]), found[..1]);
    assert_eq!(check(&backup, &["moodledata/odd"]), found[2..]);
    assert_eq!(check(&backup, &["moodledata/lang"]), [""; 0]);
    assert_eq!(check(&backup, &["moodledata/"]), found[2..], "as joining an empty path leaves it");
    assert_eq!(check(&backup, &["moodledata/none"]), ["moodledata/none is missing"]);
}

#[test]
fn sums_that_are_damaged_themselves_are_told_from_damaged_files() {
    let target = TestTarget::folder();
    let (_, backup) = published(&target, &["a"]);
    let file = backup.path.join("SHA256SUMS");
    let whole = fs::read_to_string(&file).unwrap();
    // The manifest knows better: the file is as it was, and the line is wrong, or gone.
    let at = whole.find("  code.tar.zst").unwrap() - 1;
    flip(&file, at);
    assert_eq!(check(&backup, &[""]), ["SHA256SUMS has another content than it had"]);
    let line = whole.lines().find(|line| line.ends_with("  code.tar.zst")).unwrap();
    fs::write(&file, whole.replace(&format!("{line}\n"), "")).unwrap();
    assert_eq!(check(&backup, &["code.tar.zst"]), ["SHA256SUMS has another content than it had"]);
    // Cut off in the middle of a line.
    fs::write(&file, &whole[..whole.len() - 20]).unwrap();
    let found = check(&backup, &[""]);
    assert!(found.contains(&"SHA256SUMS has another content than it had".into()), "{found:?}");
    // Gone: what the manifest has sums of is still checked.
    fs::remove_file(&file).unwrap();
    assert_eq!(check(&backup, &[""]), ["SHA256SUMS is missing"]);
    flip(&backup.path.join("code.tar.zst"), 1);
    assert_eq!(
        check(&backup, &["code.tar.zst"]),
        ["SHA256SUMS is missing", "code.tar.zst has another content than it had"]
    );
}

#[test]
fn a_hostile_backup_is_not_followed_and_called_what_it_is() {
    let target = TestTarget::folder();
    let (_, backup) = published(&target, &["a"]);
    for path in ["../../outside", "/etc/passwd", "moodledata/../../x", "moodledata//odd/plain"] {
        add_line(&backup, path);
    }
    let found = check(&backup, &["code.tar.zst"]);
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(
        found.iter().all(|found| found.ends_with("is a name that leads elsewhere, which moodle-backup never writes"))
    );

    let other = TestTarget::folder();
    let (_, backup) = published(&other, &["a"]);
    let secret = other.path().join("secret");
    fs::write(&secret, "root's own").unwrap();
    // Links and devices in the place of files, and a folder that is a link.
    for name in ["code.tar.zst", "moodledata/odd/plain", "manifest.json"] {
        fs::remove_file(backup.path.join(name)).unwrap();
        symlink(&secret, backup.path.join(name)).unwrap();
    }
    fs::remove_file(backup.path.join("directories/1-etc.tar.zst")).unwrap();
    let device = backup.path.join("directories/1-etc.tar.zst");
    mknod(&device, SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 5)).unwrap();
    fs::rename(backup.path.join("moodledata/lang"), other.path().join("lang")).unwrap();
    symlink(other.path().join("lang"), backup.path.join("moodledata/lang")).unwrap();
    assert_eq!(
        check(&backup, &[""]),
        [
            "code.tar.zst is a symbolic link where a file should be",
            "directories/1-etc.tar.zst is a socket, a pipe or a device where a file should be",
            "manifest.json is a symbolic link where a file should be",
            "moodledata/lang/de/lang.php is missing",
            "moodledata/odd/plain is a symbolic link where a file should be",
        ]
    );
}

fn hash(content: &str) -> Hash {
    hashes::from_hex(hash_of(content).as_bytes()).unwrap()
}

fn check_pool(store: &Store, wanted: &[Hash]) -> Checked {
    let mut wanted = wanted.to_vec();
    wanted.sort();
    let mut order = Order::all(READING, wanted.len() as u64);
    pool::check::check(&store.pool(), wanted.into_iter().map(Ok), &mut order, &quiet()).unwrap()
}

#[test]
fn pool_files_are_held_against_their_names() {
    let target = TestTarget::folder();
    let names = ["a", "b", "c", "d", "e", "f"];
    let (store, _) = published(&target, &names);
    let all: Vec<Hash> = names.iter().map(|name| hash(name)).collect();
    let whole = check_pool(&store, &all);
    assert_eq!((whole.files, whole.bytes, whole.findings.len(), whole.cut_short), (6, 6, 0, false));
    assert_eq!(whole.position, all.iter().max().copied());

    let path = |name: &str| pool_file(&store, name);
    flip(&path("a"), 0);
    let gone = path("b");
    fs::remove_file(&gone).unwrap();
    let linked = path("c");
    fs::rename(&linked, target.path().join("c")).unwrap();
    symlink(target.path().join("c"), &linked).unwrap();
    let device = path("d");
    fs::remove_file(&device).unwrap();
    mknod(&device, SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 3)).unwrap();
    let folder = path("e").parent().unwrap().to_path_buf();
    fs::rename(&folder, target.path().join("moved")).unwrap();
    symlink(target.path().join("moved"), &folder).unwrap();
    let found = check_pool(&store, &all).findings;
    let mut expected = [
        (hash("a"), Trouble::Changed),
        (hash("b"), Trouble::Missing),
        (hash("c"), Trouble::NotAFile("a symbolic link")),
        (hash("d"), Trouble::NotAFile("a device")),
        (hash("e"), Trouble::NotAFile("below something that is no folder")),
    ];
    expected.sort();
    assert_eq!(found.into_iter().map(|found| (found.hash, found.trouble)).collect::<Vec<_>>(), expected);
}

#[test]
fn a_check_of_the_pool_ends_in_time_and_says_how_far_it_is() {
    let target = TestTarget::folder();
    let (store, _) = published(&target, &["a"]);
    let mut told = Vec::new();
    let mut note = |checked: &Checked| {
        told.push(checked.clone());
        Ok(())
    };
    let mut order = Order { reading: READING, until: Some(Instant::now()), expected: 1, checkpoint: Some(&mut note) };
    let checked = pool::check::check(&store.pool(), [Ok(hash("a"))].into_iter(), &mut order, &quiet()).unwrap();
    assert!(checked.cut_short && checked.position.is_none(), "{checked:?}");
    assert_eq!(told, [checked]);
    // A pool that is not there at all is an error, not a thousand findings.
    fs::remove_dir_all(store.folder().join(layout::POOL)).unwrap();
    let mut order = Order::all(READING, 1);
    let error = pool::check::check(&store.pool(), [Ok(hash("a"))].into_iter(), &mut order, &quiet()).unwrap_err();
    assert!(error.to_string().starts_with("cannot open the pool"), "{error}");
}
