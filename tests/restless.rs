//! Sites that do not stand still while they are backed up, and that have something in them that nobody can read.

mod support;
#[path = "common/whole.rs"]
mod whole;

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use serde_json::Value;

use support::{Engine, MountedOver, PocketSite, World, hashed_path, succeed, text, wait_for};
use whole::assert_whole;

const LIMIT: Duration = Duration::from_secs(60);

fn newest(world: &World) -> PathBuf {
    world.site_folder().join(world.backups().pop().expect("a backup"))
}

fn manifest(backup: &Path) -> Value {
    serde_json::from_slice(&fs::read(backup.join("manifest.json")).unwrap()).unwrap()
}

/// A world with a small site and one extra directory, whose files are old enough to count as unchanged.
fn world_with_directory() -> (World, PathBuf) {
    let world = World::builder(PocketSite::builder().files(3).build()).without_web().build();
    let directory = world.scratch().join("config");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("settings"), "what an administrator has set").unwrap();
    world.write_settings(&format!("[directories]\npaths = [{:?}]\n", text(&directory)));
    settle(&directory.join("settings"));
    (world, directory)
}

/// What was written within a tick of a file system's clock before it was looked at may change again unnoticed.
fn settle(youngest: &Path) {
    let changed = fs::metadata(youngest).unwrap().ctime();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
    wait_for("the clock to tick", LIMIT, || now() > changed + 3);
}

fn directory_archive(backup: &Path) -> PathBuf {
    fs::read_dir(backup.join("directories")).unwrap().next().expect("one directory").unwrap().path()
}

fn content_in(archive: &Path, member: &str) -> String {
    let found = succeed(Command::new("tar").args(["--zstd", "-xOf"]).arg(archive).arg(member));
    String::from_utf8(found).unwrap()
}

/// Runs while a file is written to all the while; the run's log.
fn log_of_run_beside_writer(world: &World, busy: &Path) -> String {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = fs::OpenOptions::new().append(true).create(true).open(busy).unwrap();
            while !over.load(Ordering::Relaxed) {
                writeln!(file, "something happens all the time").unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let output = world.run(&["run"]);
        over.store(true, Ordering::Relaxed);
        // A file may be met at the very moment at which it is written to, which is worth a warning.
        assert!(matches!(output.code, Some(0 | 3)), "{}", output.stderr);
    });
    fs::read_to_string(newest(world).join("run.log")).unwrap()
}

#[test]
fn what_cannot_be_read_is_told_each_time_but_costs_no_new_archive() {
    let (world, directory) = world_with_directory();
    let spoilt = directory.join("spoilt");
    fs::write(&spoilt, "on a bad sector").unwrap();
    settle(&spoilt);
    // A file that no root can read.
    let unreadable = MountedOver::new(&PathBuf::from(format!("/proc/{}/mem", std::process::id())), &spoilt);
    let mut archives = Vec::new();
    for _ in 0..2 {
        let output = world.run(&["run"]).expect_code(3);
        assert!(output.stderr.contains("cannot be read: spoilt"), "{}", output.stderr);
        let backup = newest(&world);
        assert_eq!(manifest(&backup)["complete"], false);
        archives.push(fs::metadata(directory_archive(&backup)).unwrap().ino());
    }
    assert_eq!(archives[0], archives[1], "nothing has changed, so the archive is shared");

    drop(unreadable);
    world.run(&["run"]).expect_code(0);
    let backup = newest(&world);
    assert_eq!(content_in(&directory_archive(&backup), "spoilt"), "on a bad sector");
    assert_eq!(manifest(&backup)["complete"], true);
}

#[test]
fn p3_a_file_uploaded_late_and_purged_at_once_is_in_the_backup() {
    for engine in Engine::ALL {
        let site = PocketSite::builder().engine(engine).files(5).build();
        let mut world = World::builder(site).build();
        let run = world.spawn_failing(&["run"], "close", "stop,copy-referenced=stop");
        run.wait_until_stopped();
        let content = b"uploaded when all had been copied that there was";
        let (id, hash) = world.site.upload(content);
        run.signal(Signal::SIGCONT);
        wait_for("the site to be open again", LIMIT, || run.words().contains("step copy-referenced"));
        run.wait_until_stopped();
        world.site.post(&format!("/delete.php?id={id}"), b"");
        assert_eq!(world.site.get("/task.php?task=purge_trash").status, 200);
        assert!(!hashed_path(&world.site.filedir(), &hash).exists());
        assert!(!hashed_path(&world.site.trashdir(), &hash).exists());
        run.go_on().expect_code(0);

        let backup = newest(&world);
        let dump = succeed(Command::new("zstdcat").arg(backup.join("database/site.sql.zst")));
        assert!(String::from_utf8_lossy(&dump).contains(&hash), "the snapshot has its row");
        assert_eq!(manifest(&backup)["complete"], true);
        assert_eq!(fs::read(hashed_path(&world.site_folder().join("filedir"), &hash)).unwrap(), content);
        assert_whole(&backup);
    }
}

#[test]
fn p5_a_directory_that_never_stands_still_is_archived_outside_of_the_window() {
    let (world, directory) = world_with_directory();
    let log = log_of_run_beside_writer(&world, &directory.join("busy.log"));
    let again: Vec<usize> = log.match_indices("is archived again\n").map(|(at, _)| at).collect();
    assert_eq!(again.len(), 1, "{log}");
    assert!(log[..again[0]].contains("step reopen"), "{log}");
    let archive = directory_archive(&newest(&world));
    assert!(content_in(&archive, "busy.log").contains("something happens"));
    assert_eq!(content_in(&archive, "settings"), "what an administrator has set");
}

#[test]
fn p5_a_log_in_the_code_is_no_reason_to_archive_the_code_in_the_window() {
    let site = PocketSite::builder().files(3).code_files(40).build();
    let mut world = World::builder(site).without_web().build();
    let root = world.site.root.clone();
    let busy = root.join("cron.log");
    fs::write(&busy, "begins\n").unwrap();
    settle(&busy);
    let log = log_of_run_beside_writer(&world, &busy);
    assert!(log.contains("code: cron.log changes all the while"), "{log}");
    assert!(!log.contains("code has changed"), "{log}");
    assert!(content_in(&newest(&world).join("code.tar.zst"), "cron.log").starts_with("begins\nsomething happens"));

    // What an administrator changes meanwhile is another thing.
    settle(&busy);
    let run = world.spawn_stopped("close");
    fs::write(root.join("version.php"), "<?php // changed before the site was closed").unwrap();
    run.go_on().expect_code(0);
    let backup = newest(&world);
    let log = fs::read_to_string(backup.join("run.log")).unwrap();
    assert!(log.contains("code has changed (version.php) and is archived again"), "{log}");
    assert!(content_in(&backup.join("code.tar.zst"), "version.php").contains("before the site was closed"));
}
