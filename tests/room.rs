//! A target on which room is short: what is removed to make room for the next backup, and what is not.

mod support;
#[path = "common/whole.rs"]
mod whole;

use std::fs;
use std::path::Path;

use support::{
    Engine, MariaDb, PocketSite, Postgres, Scratch, Server, TestTarget, World, assert_same, changes, fingerprint, text,
};
use whole::{assert_whole, published};

const MIB: u64 = 1 << 20;
/// What each backup adds to the target: a directory that is all different each time.
const EACH: u64 = 8 * MIB;

/// Changes all of the extra directory, so that the next backup of it is as large as the last.
fn renew(directory: &Path, night: u32) {
    let mut state = night;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    fs::write(directory.join("noise"), noise.take(EACH as usize).collect::<Vec<u8>>()).unwrap();
}

fn set_retention(world: &World, directory: &Path, retention: &str) {
    let directories = format!("[directories]\npaths = [{:?}]\n", text(directory));
    world.write_settings(&format!("min_free = \"0\"\n{directories}[retention]\ndaily = 0\nweekly = 0\n{retention}\n"));
}

#[test]
fn p2_make_room_removes_what_the_rules_let_go_and_nothing_else() {
    let target = TestTarget::ext4(96);
    let world = World::builder(PocketSite::builder().files(5).build()).target(target).build();
    let directory = world.scratch().join("directory");
    fs::create_dir(&directory).unwrap();
    set_retention(&world, &directory, "last = 3");
    for night in 1..=3 {
        renew(&directory, night);
        world.run(&["run"]).expect_code(0);
    }
    let backups = published(&world.site_folder());
    let before: Vec<_> = backups.iter().map(|backup| fingerprint(backup)).collect();
    renew(&directory, 4);

    // Room is short, and the rules would let a backup go; but nobody has allowed that before the next one is made.
    world.target.fill_up(EACH / 2);
    set_retention(&world, &directory, "last = 2");
    let output = world.run(&["run"]).expect_code(5);
    assert!(output.stderr.contains("this backup needs about"), "{}", output.stderr);
    assert_eq!(published(&world.site_folder()), backups);

    set_retention(&world, &directory, "last = 2\nmake_room = true");
    let output = world.run(&["run"]).expect_code(3);
    assert!(output.stderr.contains("make_room"), "{}", output.stderr);
    let now = published(&world.site_folder());
    assert_eq!(now.len(), 2);
    assert_eq!(now[0], backups[2], "the newest of the old ones stays until there are two newer ones");
    assert_same("the backup before", changes(&before[2], &fingerprint(&now[0])));
    assert_whole(&now[1]);

    // Now there is nothing that the rules let go.
    let before: Vec<_> = now.iter().map(|backup| fingerprint(backup)).collect();
    world.target.fill_up(EACH / 2);
    renew(&directory, 5);
    let output = world.run(&["run"]).expect_code(5);
    assert!(output.stderr.contains("this backup needs about"), "{}", output.stderr);
    assert!(world.site.is_open());
    assert_eq!(published(&world.site_folder()), now);
    for (before, backup) in before.iter().zip(&now) {
        assert_same("a backup that is wanted", changes(before, &fingerprint(backup)));
    }
}

/// A day with many uploads is not the rule: the next run needs no room for the like. And what it needs room for is seen beforehand.
#[test]
fn the_room_that_is_asked_for_is_that_for_what_is_new() {
    let world = World::builder(PocketSite::builder().files(5).build()).target(TestTarget::ext4(256)).build();
    world.write_settings("min_free = \"0\"\n");
    world.run(&["run"]).expect_code(0);
    let upload = |seed: u8, mebibytes: u64| {
        let content: Vec<u8> = (0..mebibytes * MIB / 8).flat_map(|n| (n * 8 + u64::from(seed)).to_le_bytes()).collect();
        let hash = moodle_backup::hashes::to_hex(&<sha1::Sha1 as sha1::Digest>::digest(&content));
        let folder = world.site.filedir().join(&hash[..2]).join(&hash[2..4]);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(hash), content).unwrap();
    };
    upload(1, 100);
    world.run(&["run"]).expect_code(0);
    assert!(world.target.free_bytes() < 150 * MIB, "less than twice as much again");
    world.run(&["run"]).expect_code(0);
    upload(2, 170);
    for command in ["check", "run"] {
        let refused = world.run(&[command]).expect_code(5);
        let said = refused.stdout + &refused.stderr;
        assert!(said.contains("this backup needs about 17"), "{said}");
    }
}

/// A server with its data on a disk; PostgreSQL's log of changes is in `log`.
fn server_on(disk: &TestTarget, engine: Engine, log: &Scratch) -> Server {
    let scratch = Scratch::below(disk.path());
    match engine {
        Engine::MariaDb => Server::MariaDb(MariaDb::start_in(scratch, false)),
        Engine::Postgres => {
            let server = Postgres::start_in(scratch, false);
            server.move_log_to(&log.folder_of("log", "postgres"));
            Server::Postgres(server)
        }
    }
}

/// The load fails; nothing that is then done to put everything back may need room on the same disk.
#[test]
fn p9_a_database_server_whose_disk_is_full_in_the_load_leaves_the_site_as_it_was() {
    for engine in Engine::ALL {
        let disk = TestTarget::ext4(900);
        let log = Scratch::new();
        let server = server_on(&disk, engine, &log);
        let site = PocketSite::builder().server(&server).files(5).log_rows(120_000).build();
        let mut world = World::builder(site).build();
        world.run(&["run"]).expect_code(0);
        world.site.query("UPDATE mdl_logstore_standard_log SET userid = userid + 1");
        let sum = "SELECT COUNT(*) + SUM(userid) FROM mdl_logstore_standard_log";
        let today = world.site.value(sum);
        let run = world.spawn_failing(&["restore", "--yes"], "load", "stop");
        run.wait_until_stopped();
        disk.fill_up(4 * MIB);
        let output = run.go_on().expect_code(1);
        let said = ["the disk of the database server is full", "the disk of the database server, or"];
        assert!(said.iter().any(|words| output.stderr.contains(words)), "{}", output.stderr);
        assert!(world.site.is_open(), "{}", output.stderr);
        assert_eq!(world.site.value(sum), today);
        disk.make_room();
        world.run(&["restore", "--yes"]).expect_code(0);
        assert_ne!(world.site.value(sum), today);
    }
}

/// What is known beforehand is not found out with the site closed.
#[test]
fn a_restore_for_which_there_is_no_room_touches_nothing() {
    // PostgreSQL does not tell everybody where its data are.
    let disk = TestTarget::ext4(900);
    let place = TestTarget::ext4(200);
    let dataroot = place.path().join("moodledata");
    let server = server_on(&disk, Engine::MariaDb, &Scratch::new());
    let site = PocketSite::builder().server(&server).dataroot(&dataroot).files(5).log_rows(120_000).build();
    let world = World::builder(site).build();
    world.run(&["run"]).expect_code(0);
    world.site.query("UPDATE mdl_logstore_standard_log SET userid = userid + 1");
    for (disk, what) in [(&disk, "the database ("), (&place, "moodledata (")] {
        disk.fill_up(8 * MIB);
        let mount = disk.path().display().to_string();
        let plan = world.run(&["restore", "--plan"]).expect_code(5);
        let said = plan.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            said.contains(&format!("it will be REFUSED, and nothing changed - the disk at {mount} has")),
            "{}",
            plan.stdout
        );
        let refused = world.run(&["restore", "--yes"]).expect_code(5);
        assert!(refused.stderr.contains(&mount) && refused.stderr.contains(what), "{}", refused.stderr);
        assert!(!refused.stderr.contains("step stage"), "{}", refused.stderr);
        disk.make_room();
    }
    assert!(world.site.is_open());
    world.run(&["restore", "--yes"]).expect_code(0);
}
