//! Restores in place: the site comes back as it was backed up, and what was there comes back when that is undone.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use moodle_backup::restore::STEPS;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::{
    Engine, HOOK_USER, Layout, PocketSite, Server, Snapshot, TestTarget, TreeCompare, World, assert_same,
    compare_snapshots, rows_snapshot, text, wait_for,
};

/// Folders of moodledata that Moodle fills again by itself.
const EMPTIED: [&str; 6] = ["cache", "localcache", "temp", "sessions", "localrequest", "trashdir"];
/// Our own folder, while something is set aside.
const OWN: &str = ".moodle-backup-restore";

const LIMIT: Duration = Duration::from_secs(60);

/// All of a site at one moment.
struct State {
    rows: Snapshot,
    copy: support::Scratch,
}

impl State {
    fn of(site: &PocketSite) -> State {
        let copy = support::Scratch::new();
        for (from, name) in [(&site.root, "code"), (&site.dataroot, "data")] {
            support::succeed(std::process::Command::new("cp").arg("-a").arg(from).arg(copy.join(name)));
        }
        State { rows: rows(site), copy }
    }

    #[track_caller]
    fn assert_is(&self, site: &PocketSite, what: &str) {
        assert_same(&format!("{what}: code"), compare_top(&TreeCompare::new(), &self.copy.join("code"), &site.root));
        let data = EMPTIED.iter().chain(&["filedir", "lock", OWN]).fold(TreeCompare::new(), |it, name| it.skip(name));
        assert_same(&format!("{what}: moodledata"), compare_top(&data, &self.copy.join("data"), &site.dataroot));
        assert_same(&format!("{what}: database"), compare_snapshots(&self.rows, &rows(site)));
    }
}

/// A comparison that leaves out the time of the top folder: to close the site changes it.
fn compare_top(compare: &TreeCompare, a: &Path, b: &Path) -> Vec<String> {
    compare.run(a, b).into_iter().filter(|line| !line.starts_with(": time: ")).collect()
}

/// The database, but for what the purging of caches counts up, sessions, and what is set aside.
fn rows(site: &PocketSite) -> Snapshot {
    const COUNTERS: [&str; 3] = ["scheduledtaskreset", "localcachedirpurged", "themerev"];
    let mut rows = rows_snapshot(&site.database);
    rows.retain(|table, _| {
        let of = |name: &str| table.contains(name);
        !of("moodle_backup_old_")
            && !of("sessions")
            && !of("mdl_course")
            && !table.ends_with("mdl_config")
            && !of("mdl_config_id_seq")
    });
    for (table, rows) in &mut rows {
        if table.ends_with("mdl_config (rows)") {
            rows.retain(|row| !COUNTERS.iter().any(|name| String::from_utf8_lossy(row).contains(name)));
        }
    }
    rows.insert("programs".into(), programs(site));
    let courses = site.query("SELECT id, fullname, shortname, summary, format FROM mdl_course ORDER BY id");
    rows.insert("courses".into(), courses.into_iter().map(|row| row.join("\t").into_bytes()).collect());
    rows
}

/// The other server would say so at the first table of such texts, with the site closed.
#[test]
fn a_collation_that_the_server_does_not_know_is_told_before_anything_is_touched() {
    let site = PocketSite::builder().engine(Engine::MariaDb).build();
    site.query("CREATE TABLE mdl_words (word varchar(9) COLLATE utf8mb4_danish_ci)");
    let world = World::builder(site).build();
    world.run(&["run"]).expect_code(0);
    // As if another server had made it.
    let manifest = world.site_folder().join("latest/manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    assert!(text.contains("utf8mb4_danish_ci"), "{text}");
    fs::write(&manifest, text.replace("utf8mb4_danish_ci", "utf8mb4_0900_danish_ci")).unwrap();
    world.site.set_config("changed", "since");
    let plan = world.run(&["restore", "--plan"]).expect_code(5);
    let said = plan.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("does not know collations that the backup has: utf8mb4_0900_danish_ci"), "{said}");
    let refused = world.run(&["restore", "--yes"]).expect_code(5);
    assert!(refused.stderr.contains("utf8mb4_0900_danish_ci"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("step stage"), "{}", refused.stderr);
    assert_eq!(world.site.config("changed").as_deref(), Some("since"));
}

/// Two wrong backups one after the other: what was there first comes back all the same.
#[test]
fn restores_are_undone_one_after_the_other() {
    for engine in Engine::ALL {
        let world = world(engine);
        let site = &world.site;
        let first = latest(&world);
        change(site);
        world.run(&["run"]).expect_code(0);
        let second = latest(&world);
        site.upload(b"uploaded after both backups");
        site.set_config("precious", "yes");
        fs::write(site.root.join("precious.php"), "<?php\n").unwrap();
        fs::write(site.dataroot.join("precious"), "new").unwrap();
        let today = State::of(site);

        world.run(&["restore", "--yes", &first]).expect_code(0);
        let at_first = State::of(site);
        world.run(&["restore", "--yes", &second]).expect_code(0);
        let at_second = State::of(site);
        let output = world.run(&["status"]);
        let words = output.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        let told =
            [&first, &second].iter().all(|name| words.contains(&format!("the state before backup {name}, replaced")));
        assert!(told, "{words}");
        // The tables, too, with where they are.
        let asides = tables_aside(site);
        let title = if engine == Engine::MariaDb { "tables of the database" } else { "of the database" };
        let names: BTreeSet<&str> =
            asides.iter().map(|name| &name[.."moodle_backup_old_1795440600000".len()]).collect();
        assert!(names.len() == 2 && names.iter().all(|name| words.contains(name)), "{names:?} {words}");
        assert!(words.contains(title), "{words}");

        for (direction, state, what) in [
            ("--undo", &at_first, "one undone"),
            ("--undo", &today, "both undone"),
            ("--redo", &at_first, "one brought back"),
            ("--redo", &at_second, "both brought back"),
            ("--undo", &at_first, "one undone again"),
            ("--undo", &today, "both undone again"),
        ] {
            world.run(&["restore", direction, "--yes"]).expect_code(0);
            state.assert_is(site, what);
            assert!(site.is_open());
        }
        let output = world.run(&["restore", "--undo", "--yes"]).expect_code(5);
        assert!(output.stderr.contains("no restore of this site is left"), "{}", output.stderr);
        // Another way is taken: what was undone before is no more, and this can be undone.
        world.run(&["restore", "--yes", &first]).expect_code(0);
        let output = world.run(&["restore", "--redo", "--yes"]).expect_code(5);
        assert!(output.stderr.contains("nothing to bring back"), "{}", output.stderr);
        world.run(&["restore", "--undo", "--yes"]).expect_code(0);
        today.assert_is(site, "undone at last");

        world.run(&["restore", "--discard", "--yes"]).expect_code(0);
        assert_same("folders set aside", set_aside(site));
        assert_same("tables set aside", tables_aside(site));
        today.assert_is(site, "discarded");
    }
}

/// What was set aside lies on the site's own disks: whatever became of that of the backups, it comes back, and can be deleted.
#[test]
fn an_undo_needs_no_target() {
    for engine in Engine::ALL {
        let site = PocketSite::builder().engine(engine).build();
        let world = World::builder(site).target(TestTarget::ext4(200)).build();
        let site = &world.site;
        world.run(&["run"]).expect_code(0);
        let yesterday = State::of(site);
        change(site);
        let today = State::of(site);
        world.run(&["restore", "--yes"]).expect_code(0);

        world.target.unmount();
        let status = flat(&world.run(&["status"]).expect_code(3).stdout);
        assert!(status.contains("the state before backup"), "{status}");
        let output = world.run(&["restore", "--undo", "--yes"]).expect_code(0);
        assert!(!output.stderr.contains("target"), "{}", output.stderr);
        today.assert_is(site, "not mounted");

        world.target.mount_again();
        world.target.lose_disk();
        world.run(&["restore", "--redo", "--yes"]).expect_code(0);
        yesterday.assert_is(site, "a disk that is broken");

        // Where the site's own config.php does not tell either where all of it is.
        world.target.unmount();
        fs::remove_dir(world.target.path()).unwrap();
        fs::remove_file(site.root.join("config.php")).unwrap();
        let status = flat(&world.run(&["status"]).expect_code(3).stdout);
        assert!(status.contains("the state before backup"), "{status}");
        world.run(&["restore", "--undo", "--yes"]).expect_code(0);
        today.assert_is(site, "no folder, and a site that cannot be read");
        assert!(site.is_open());

        world.run(&["restore", "--discard", "--yes"]).expect_code(0);
        assert_same("folders set aside", set_aside(site));
        assert_same("tables set aside", tables_aside(site));
        fs::create_dir(world.target.path()).unwrap();
    }
}

/// What was there before is wanted as it was, whatever that was.
#[test]
fn a_broken_state_comes_back_too() {
    let world = world(Engine::MariaDb);
    let site = &world.site;
    fs::remove_file(site.root.join("lib/setup.php")).unwrap();
    let today = State::of(site);
    world.run(&["restore", "--yes"]).expect_code(0);
    assert!(site.is_open());
    let output = world.run(&["restore", "--undo", "--yes"]).expect_code(3);
    assert!(output.stderr.contains("is as it was when it was set aside, and cannot be read"), "{}", output.stderr);
    today.assert_is(site, "broken as before");
    world.run(&["restore", "--redo", "--yes"]).expect_code(0);
    assert!(site.is_open());
}

/// What was set aside is gone, by whoever's hand: to undo would take the site away.
#[test]
fn what_is_not_set_aside_any_more_is_not_put_back() {
    for engine in Engine::ALL {
        let world = world(engine);
        let site = &world.site;
        change(site);
        world.run(&["restore", "--yes"]).expect_code(0);
        let restored = State::of(site);
        let gone = tables_aside(site);
        let drops: Vec<String> = match engine {
            Engine::MariaDb => gone.iter().map(|table| format!("DROP TABLE {table}")).collect(),
            Engine::Postgres => gone.iter().map(|schema| format!("DROP SCHEMA {schema} CASCADE")).collect(),
        };
        site.query(&drops.join("; "));
        let output = world.run(&["restore", "--undo", "--yes"]).expect_code(5);
        assert!(output.stderr.contains("is gone, which was set aside"), "{}", output.stderr);
        restored.assert_is(site, "refused");
        assert!(site.is_open());
    }
}

/// A restore that died with its guard had replaced broken code: when that is back, nothing is backed up from what was read before.
#[test]
fn a_run_that_undoes_a_dead_restore_looks_at_the_site_again() {
    let mut world = world(Engine::MariaDb);
    let good = latest(&world);
    fs::remove_dir_all(world.site.root.join("lib")).unwrap();
    cut_power(&mut world, "check");
    let output = world.run(&["run"]).expect_code(5);
    assert!(output.stderr.contains("is no installed Moodle"), "{}", output.stderr);
    assert_eq!(latest(&world), good, "nothing was published");
    let status = world.run(&["status"]).expect_code(3).stdout;
    let said = status.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("the restore of") && said.contains("died before it was complete, and was undone"), "{said}");
    // The same goes for a restore.
    cut_power(&mut world, "check");
    world.run(&["restore", "--yes"]).expect_code(3);
    assert!(world.site.root.join("lib/setup.php").exists() && world.site.is_open());
    assert!(!world.run(&["status"]).stdout.contains("and was undone"), "one has succeeded since");
}

/// As one line, however it was wrapped.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What is meant is the restore that had died: what another before it has restored stays.
#[test]
fn the_undo_of_a_dead_restore_undoes_no_other() {
    let mut world = world(Engine::MariaDb);
    let good = latest(&world);
    let yesterday = State::of(&world.site);
    change(&world.site);
    // Also where there is no other.
    let today = State::of(&world.site);
    cut_power(&mut world, "load");
    let output = world.run(&["restore", "--undo", "--yes"]).expect_code(0);
    assert!(flat(&output.stderr).contains("which had died, is undone: the site is as it was"), "{}", output.stderr);
    today.assert_is(&world.site, "the only one is undone");
    world.run(&["restore", "--yes"]).expect_code(0);
    cut_power(&mut world, "load");
    let output = world.run(&["restore", "--undo", "--yes"]).expect_code(0);
    assert!(flat(&output.stderr).contains("which had died, is undone: the site is as it was"), "{}", output.stderr);
    yesterday.assert_is(&world.site, "the first restore stays");
    assert!(world.site.is_open());
    // What is to be looked at again is not pruned, whatever the rules say.
    world.write_settings("[retention]\nlast = 1\ndaily = 0\nweekly = 0\nmonthly = 0\nyearly = 0\n");
    world.run(&["run"]).expect_code(0);
    assert!(world.site_folder().join(&good).exists());
    world.run(&["restore", "--discard", "--yes"]).expect_code(0);
    assert!(!world.run(&["status"]).stdout.contains("had died"), "it is forgotten");
    world.run(&["prune"]).expect_code(0);
    assert!(!world.site_folder().join(&good).exists());
}

/// Whoever looks at a restore that takes its time is not told that it had died.
#[test]
fn a_restore_that_is_at_work_is_seen() {
    let mut world = world(Engine::MariaDb);
    let mut running = world.spawn_failing(&["restore", "--yes"], "load", "hang");
    running.wait_for_words("step load");
    let status = flat(&world.run(&["status"]).stdout);
    assert!(status.contains("closed by what is at work on it"), "{status}");
    assert!(status.contains("a restore, step load"), "{status}");
    assert!(!status.contains("LEFT CLOSED") && !status.contains("Wants attention"), "{status}");
    let mut watching = world.spawn(&["attach"]);
    watching.wait_for_words("load");
    running.signal(Signal::SIGKILL);
    running.wait();
    let output = watching.wait();
    assert!(output.code == Some(0) && output.stderr.contains("The restore has ended"), "{}", output.stderr);
    world.run(&["recover"]);
}

/// What an administrator has made among Moodle's tables, Moodle's own account cannot move.
#[test]
fn what_others_own_in_the_schema_is_told_before_the_site_is_closed() {
    let world = world(Engine::Postgres);
    let site = &world.site;
    site.query("CREATE VIEW mdl_report AS SELECT id FROM mdl_user");
    let today = State::of(site);
    let plan = flat(&world.run(&["restore", "--plan"]).expect_code(5).stdout);
    assert!(plan.contains("it will be REFUSED, and nothing changed - 1 object of the database"), "{plan}");
    let output = world.run(&["restore", "--yes"]).expect_code(5);
    assert!(!output.stderr.contains("step close"), "{}", output.stderr);
    let statement =
        flat(&output.stderr).split_once("as an administrator of that database: ").expect("what to do").1.to_owned();
    assert!(statement.starts_with("ALTER VIEW ") && statement.contains("mdl_report OWNER TO"), "{statement}");
    today.assert_is(site, "refused");
    site.query(statement.split_inclusive(';').next().unwrap());
    world.run(&["restore", "--yes"]).expect_code(0);
}

/// Code that PHP here cannot run is no site that works, whatever it asks for by itself.
#[test]
fn a_moodle_that_does_not_start_is_not_left_there() {
    let world = world(Engine::MariaDb);
    let site = &world.site;
    let script = site.cli_folder().join("cfg.php");
    fs::write(&script, "<?php echo 'Deprecated: so much', PHP_EOL; no_such_function_in_this_php();").unwrap();
    world.run(&["run"]).expect_code(0);
    fs::remove_file(&script).unwrap();
    let today = State::of(site);
    let output = world.run(&["restore", "--yes"]).expect_code(1);
    let words = flat(&output.stderr);
    assert!(words.contains("does not start here: Fatal error: Uncaught Error: Call to undefined"), "{words}");
    today.assert_is(site, "put back");
    assert!(site.is_open());
    world.run(&["restore", "--yes", "--ignore-environment"]).expect_code(3);
    assert!(script.exists() && site.is_open());
}

/// A file of one user that the backup has lost is no reason to bring nothing back.
#[test]
fn where_the_backup_has_lost_a_file_all_else_comes_back_when_that_is_asked_for() {
    let world = world(Engine::MariaDb);
    let site = &world.site;
    let hash = site.value("SELECT contenthash FROM mdl_files WHERE filesize > 0 ORDER BY id LIMIT 1");
    let below = format!("{}/{}/{hash}", &hash[..2], &hash[2..4]);
    fs::remove_file(world.site_folder().join("filedir").join(&below)).unwrap();
    fs::remove_file(site.filedir().join(&below)).unwrap();
    let plan = flat(&world.run(&["restore", "--plan"]).expect_code(0).stdout);
    assert!(plan.contains("1 are LOST: neither here nor in the pool"), "{plan}");
    let output = world.run(&["restore", "--yes"]).expect_code(1);
    assert!(
        output.stderr.contains(&hash) && flat(&output.stderr).contains("with --force restores everything else"),
        "{}",
        output.stderr
    );
    fs::remove_dir_all(&site.root).unwrap();
    let output = world.run(&["restore", "--yes", "--force"]).expect_code(3);
    assert!(output.stderr.contains(&hash), "{}", output.stderr);
    assert!(site.root.join("lib/setup.php").exists() && site.is_open());
}

/// What cannot be brought back whole is not laid ready to its end first.
#[test]
fn where_users_files_are_lost_unpacking_ends_too() {
    let world = World::builder(PocketSite::builder().code_files(20_000).build()).build();
    world.run(&["run"]).expect_code(0);
    for filedir in [world.site.filedir(), world.site_folder().join("filedir")] {
        fs::remove_dir_all(&filedir).unwrap();
        fs::create_dir(&filedir).unwrap();
    }
    let output = world.run(&["restore", "--yes"]).expect_code(1);
    let words = flat(&output.stderr);
    assert!(words.contains("are missing in the pool and are not here either"), "{words}");
    // What comes after the code.
    assert!(words.contains("unpacking code.tar.zst") && !words.contains("copying moodledata"), "{words}");
    assert!(!words.contains("given up"), "the cause is told, and not what came of it: {words}");
    assert_same("folders set aside", set_aside(&world.site));
}

/// The name of the newest backup.
fn latest(world: &World) -> String {
    let latest = fs::read_link(world.site_folder().join("latest")).unwrap();
    latest.file_name().unwrap().to_string_lossy().into_owned()
}

/// Triggers, routines, events and views, with their definers; MariaDB's, since PostgreSQL's go with their schema.
fn programs(site: &PocketSite) -> Vec<Vec<u8>> {
    if site.database.server.engine() == Engine::Postgres {
        return Vec::new();
    }
    let told = [
        "SELECT TRIGGER_NAME, ACTION_STATEMENT, DEFINER, SQL_MODE, CHARACTER_SET_CLIENT FROM information_schema.TRIGGERS \
         WHERE TRIGGER_SCHEMA = DATABASE() ORDER BY 1",
        "SELECT ROUTINE_NAME, ROUTINE_DEFINITION, DEFINER, SQL_MODE, SECURITY_TYPE FROM information_schema.ROUTINES \
         WHERE ROUTINE_SCHEMA = DATABASE() ORDER BY 1",
        "SELECT EVENT_NAME, EVENT_DEFINITION, DEFINER, STATUS, TIME_ZONE, INTERVAL_VALUE FROM information_schema.EVENTS \
         WHERE EVENT_SCHEMA = DATABASE() ORDER BY 1",
        "SELECT TABLE_NAME, VIEW_DEFINITION, DEFINER FROM information_schema.VIEWS WHERE TABLE_SCHEMA = DATABASE() \
         AND TABLE_NAME NOT LIKE 'moodle_backup_old_%' ORDER BY 1",
    ];
    told.iter().flat_map(|sql| site.query(sql)).map(|row| row.join("\t").into_bytes()).collect()
}

/// What a plugin of the site and an administrator of the server have made beside its tables.
fn make_programs(site: &PocketSite) {
    let own = format!("`{}`@localhost", site.database.user);
    for sql in [
        "CREATE TABLE mdl_audit (id bigint AUTO_INCREMENT PRIMARY KEY, what text)".to_owned(),
        "CREATE DEFINER=root@localhost TRIGGER mdl_of_root AFTER INSERT ON mdl_tag FOR EACH ROW \
         INSERT INTO mdl_audit (what) VALUES (concat('a tag; ', NEW.name))"
            .into(),
        format!("CREATE DEFINER={own} TRIGGER mdl_own BEFORE UPDATE ON mdl_tag FOR EACH ROW SET NEW.id = OLD.id"),
        format!("CREATE DEFINER={own} PROCEDURE mdl_p() SELECT 'yesterday; ;; ''Übung''' AS x"),
        format!("CREATE DEFINER={own} FUNCTION mdl_f() RETURNS int RETURN 1"),
        format!("CREATE DEFINER={own} EVENT mdl_e ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM mdl_audit"),
        format!("CREATE DEFINER={own} VIEW mdl_v AS SELECT name FROM mdl_tag"),
    ] {
        site.query(&sql);
    }
}

fn change_programs(site: &PocketSite) {
    let own = format!("`{}`@localhost", site.database.user);
    for sql in [
        "DROP TRIGGER mdl_own; DROP PROCEDURE mdl_p".to_owned(),
        format!("CREATE DEFINER={own} PROCEDURE mdl_p() SELECT 'today'"),
        "CREATE EVENT mdl_later ON SCHEDULE EVERY 2 HOUR DISABLE DO DELETE FROM mdl_audit WHERE id < 0".into(),
    ] {
        site.query(&sql);
    }
}

fn world(engine: Engine) -> World {
    let site = PocketSite::builder().engine(engine).build();
    let world = World::builder(site).build();
    world.run(&["run"]).expect_code(0);
    world
}

/// What users and an unlucky administrator do in a day.
fn change(site: &PocketSite) {
    site.upload(b"uploaded after the backup");
    site.query("DELETE FROM mdl_config WHERE name = 'siteidentifier_backup'");
    site.set_config("changed", "since");
    fs::write(site.root.join("new.php"), "<?php\n").unwrap();
    fs::write(site.root.join("version_note.txt"), "changed").unwrap();
    fs::create_dir(site.dataroot.join("new-folder")).unwrap();
    fs::write(site.dataroot.join("new-folder/file"), "new").unwrap();
    fs::remove_dir_all(site.dataroot.join("lang")).unwrap();
}

#[test]
fn a_restore_brings_yesterday_back_and_its_undo_today() {
    for engine in Engine::ALL {
        let world = world(engine);
        let site = &world.site;
        let yesterday = State::of(site);
        change(site);
        let today = State::of(site);

        let output = world.run(&["restore", "--yes"]).expect_code(0);
        assert!(output.stdout.contains("restore --undo"), "{}", output.stdout);
        yesterday.assert_is(site, "restored");
        assert!(site.is_open());
        assert!(!site.ran_as_root());

        world.run(&["restore", "--undo", "--yes"]).expect_code(0);
        today.assert_is(site, "undone");

        let output = world.run(&["restore", "--undo", "--yes"]).expect_code(5);
        assert!(output.stderr.contains("restore --redo"), "{}", output.stderr);
        world.run(&["restore", "--redo", "--yes"]).expect_code(0);
        yesterday.assert_is(site, "the undo undone");

        // What is aside is in no backup.
        world.run(&["run"]).expect_code(0);
        let manifest = fs::read_to_string(world.site_folder().join("latest/manifest.json")).unwrap();
        assert!(!manifest.contains("moodle_backup_old_"), "{manifest}");
        assert!(!world.site_folder().join("latest/moodledata").join(OWN).exists());

        world.run(&["restore", "--discard", "--yes"]).expect_code(0);
        assert_same("folders set aside", set_aside(site));
        assert_same("tables set aside", tables_aside(site));
        world.run(&["restore", "--undo", "--yes"]).expect_code(5);
        yesterday.assert_is(site, "after all");
        assert_same("files over the web", site.unserved_files());
    }
}

/// Triggers and the like cannot be renamed out of the way: they are dropped, and made again by those who may.
#[test]
fn triggers_routines_and_events_come_back_too() {
    let site = PocketSite::builder().engine(Engine::MariaDb).build();
    make_programs(&site);
    let mut world = World::builder(site).build();
    world.run(&["run"]).expect_code(0);
    let yesterday = State::of(&world.site);
    change(&world.site);
    change_programs(&world.site);
    let today = State::of(&world.site);
    assert_eq!(programs(&world.site).len(), 6);

    world.run(&["restore", "--yes"]).expect_code(0);
    yesterday.assert_is(&world.site, "restored");
    world.run(&["restore", "--undo", "--yes"]).expect_code(0);
    today.assert_is(&world.site, "undone");
    for (step, how) in [("load", "error"), ("post", "kill"), ("check", "term")] {
        ends_at(&mut world, step, how);
        today.assert_is(&world.site, &format!("{how} at {step}"));
    }
    cut_power(&mut world, "post");
    world.run(&["recover"]).expect_code(0);
    today.assert_is(&world.site, "after a power cut");

    world.run(&["restore", "--yes"]).expect_code(0);
    yesterday.assert_is(&world.site, "at last");
    let site = &world.site;
    site.query("INSERT INTO mdl_tag (id, name) VALUES (4711, 'new')");
    assert_eq!(site.query("SELECT what FROM mdl_audit"), [["a tag; new"]]);
}

/// Routines that the site's account may not read are in no backup, so a restore leaves them all alone.
#[test]
fn routines_that_the_backup_does_not_have_stay() {
    let site = PocketSite::builder().engine(Engine::MariaDb).build();
    make_programs(&site);
    site.query("CREATE DEFINER=root@localhost PROCEDURE mdl_hidden() SELECT 1");
    let world = World::builder(site).build();
    let site = &world.site;
    let output = world.run(&["run"]).expect_code(3);
    assert!(output.stderr.contains("is without stored routines"), "{}", output.stderr);
    let words = output.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    let file = world.settings_file().with_file_name("database.cnf");
    let named = format!("options_file = \"{}\" below [database]", file.display());
    assert!(words.contains("\"[client]\", \"user=root\"") && words.contains(&named), "{words}");
    let routines = "SELECT ROUTINE_NAME, ROUTINE_DEFINITION, DEFINER FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE()";
    let before = site.query(routines);
    assert_eq!(before.len(), 3);
    change(site);
    site.query("DROP TRIGGER mdl_own");
    let plan = world.run(&["restore", "--plan"]).expect_code(0).stdout;
    let done = world.run(&["restore", "--yes"]).expect_code(3).stdout;
    for told in [plan, done] {
        let words = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("this backup is without stored routines"), "{words}");
        assert!(words.contains("what the database has of them now stays as it is"), "{words}");
    }
    assert_eq!(site.query(routines), before);
    assert_eq!(
        site.query("SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE()"),
        [["2"]]
    );
    world.run(&["restore", "--undo", "--yes"]).expect_code(0);
    assert_eq!(site.query(routines), before);
    assert_eq!(
        site.query("SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE()"),
        [["1"]]
    );
}

/// The program's own folders in and beside the site.
fn set_aside(site: &PocketSite) -> Vec<String> {
    let places: Vec<PathBuf> = [&site.root, &site.dataroot]
        .into_iter()
        .flat_map(|place| [place.join(OWN), place.parent().unwrap().join(OWN)])
        .collect();
    places.into_iter().filter(|place| place.exists()).map(|place| place.display().to_string()).collect()
}

fn tables_aside(site: &PocketSite) -> Vec<String> {
    let sql = match site.database.server.engine() {
        Engine::MariaDb => {
            "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() \
             AND table_name LIKE 'moodle_backup_old_%'"
        }
        Engine::Postgres => "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'moodle_backup_old_%'",
    };
    site.query(sql).into_iter().flatten().collect()
}

#[test]
fn a_site_of_which_nothing_is_left_comes_back() {
    for engine in Engine::ALL {
        let server = Server::start(engine);
        let site = PocketSite::builder().server(&server).account("web", "it's \\ a \"secret\" #1");
        let mut world = World::builder(site.build()).build();
        world.run(&["run"]).expect_code(0);
        let before = State::of(&world.site);
        if let Server::Postgres(server) = &server {
            server.trust_local_account();
        }

        assert!(world.run(&["restore", "--plan"]).expect_code(0).stdout.contains("--backup-first"));
        lose(&mut world.site);
        let output = world.run(&["restore", "--plan"]).expect_code(0);
        assert!(output.stdout.contains("not there now"), "{}", output.stdout);
        assert!(!output.stdout.contains("--backup-first"), "there is nothing to back up: {}", output.stdout);
        assert!(!world.site.root.exists() && !world.site.dataroot.exists(), "a plan changes nothing");
        // The web server is not running: that is said.
        let output = world.run(&["restore", "--yes"]).expect_code(3);
        assert!(output.stderr.contains("does not answer from here"), "{}", output.stderr);
        before.assert_is(&world.site, "brought back");
        world.site.serve();
        assert!(world.site.is_open());
        assert_same("files over the web", world.site.unserved_files());
        world.run(&["run"]).expect_code(0);
    }
}

/// What was there before was nothing.
#[test]
fn the_undo_after_the_loss_of_everything_leaves_nothing_and_can_be_undone() {
    for engine in Engine::ALL {
        let server = Server::start(engine);
        let mut world = World::builder(PocketSite::builder().server(&server).build()).build();
        world.run(&["run"]).expect_code(0);
        lose(&mut world.site);
        if let Server::Postgres(server) = &server {
            server.trust_local_account();
        }
        world.run(&["restore", "--yes"]).expect_code(3);
        world.site.serve();
        world.site.upload(b"uploaded after the restore");
        fs::create_dir(world.site.dataroot.join("made-since")).unwrap();
        let restored = State::of(&world.site);
        for _ in 0..2 {
            world.run(&["restore", "--undo", "--yes"]).expect_code(3);
            assert!(!world.site.root.exists() && !world.site.dataroot.exists(), "as it was before");
            let output = world.run(&["restore", "--undo", "--yes"]).expect_code(5);
            assert!(output.stderr.contains("restore --redo"), "{}", output.stderr);
            assert!(!world.site.dataroot.exists(), "refused");
            world.run(&["restore", "--redo", "--yes"]).expect_code(0);
            restored.assert_is(&world.site, "brought back");
            assert!(world.site.is_open());
        }
        world.run(&["restore", "--discard", "--yes"]).expect_code(0);
        assert_same("folders set aside", set_aside(&world.site));
        assert_same("files over the web", world.site.unserved_files());
    }
}

/// Takes code, data and database with its account away, as a disaster would.
fn lose(site: &mut PocketSite) {
    site.stop_serving();
    fs::remove_dir_all(&site.root).unwrap();
    fs::remove_dir_all(&site.dataroot).unwrap();
    site.database.lose();
}

/// A site that is lost with its database, on a server of its own; and what it was.
fn lost_with_all(engine: Engine) -> (Server, World, State) {
    let server = Server::start(engine);
    let mut world = World::builder(PocketSite::builder().server(&server).build()).build();
    world.run(&["run"]).expect_code(0);
    let before = State::of(&world.site);
    lose(&mut world.site);
    (server, world, before)
}

/// Nobody is let in who could make the database anew: that is said before hours of copying, with what to do.
#[test]
fn a_database_that_cannot_be_made_is_told_before_anything_is_brought_back() {
    for engine in Engine::ALL {
        let (server, world, before) = lost_with_all(engine);
        if engine == Engine::MariaDb {
            shut_root_out(&server);
        }
        let plan = flat(&world.run(&["restore", "--plan"]).expect_code(5).stdout);
        let refused = world.run(&["restore", "--yes"]).expect_code(5);
        assert!(!refused.stderr.contains("step stage"), "{}", refused.stderr);
        assert!(!world.site.root.exists(), "nothing was brought back");
        let told = flat(&refused.stderr);
        for told in [&plan, &told] {
            assert!(told.contains("and cannot be made") && told.contains("--database-admin FILE"), "{told}");
            assert!(told.contains("CREATE DATABASE") && !told.contains(&world.site.database.password), "{told}");
        }

        server.kill();
        let plan = flat(&world.run(&["restore", "--plan"]).expect_code(5).stdout);
        let refused = world.run(&["restore", "--yes"]).expect_code(5);
        assert!(!world.site.root.exists(), "nothing was brought back");
        for told in [plan, flat(&refused.stderr)] {
            assert!(told.contains("no database server answers on") && told.contains("systemctl start"), "{told}");
        }
        server.restart();

        make_by_hand(&world.site, &told, true);
        let output = world.run(&["restore", "--yes"]).expect_code(3);
        assert!(!output.stderr.contains("made the database"), "{}", output.stderr);
        before.assert_is(&world.site, "brought back");
    }
}

/// Plugins may have tables with names almost as long as a server takes, and so may a site whose prefix is long.
#[test]
fn tables_with_long_names_are_set_aside_and_come_back() {
    let site = PocketSite::builder().build();
    let long = ["a".repeat(29), "b".repeat(30), "c".repeat(59), format!("{}2", "c".repeat(59))];
    for name in &long {
        site.query(&format!("CREATE TABLE mdl_{name} (error_words varchar(10))"));
        site.query(&format!("INSERT INTO mdl_{name} VALUES ('then')"));
    }
    let world = World::builder(site).build();
    world.run(&["run"]).expect_code(0);
    for name in &long {
        world.site.query(&format!("UPDATE mdl_{name} SET error_words = 'now'"));
    }
    let all = |words: &str| {
        for name in &long {
            assert_eq!(world.site.query(&format!("SELECT error_words FROM mdl_{name}")), [[words]], "{name}");
        }
    };
    world.run(&["restore", "--yes"]).expect_code(0);
    all("then");
    world.run(&["restore", "--undo", "--yes"]).expect_code(0);
    all("now");
}

/// An account for reports reads the tables, but for that of the users, of which it may see the numbers.
#[test]
fn what_other_accounts_may_read_they_may_read_after_a_restore_too() {
    let server = Server::start(Engine::Postgres);
    let Server::Postgres(postgres) = &server else { unreachable!("it is one") };
    let site = PocketSite::builder().server(&server).build();
    let owner = site.database.identifier(&site.database.user);
    let name = site.database.name.clone();
    postgres.run_sql(
        Some(&name),
        &format!(
            "CREATE ROLE \"the reports\"; \
             GRANT SELECT ON ALL TABLES IN SCHEMA public TO \"the reports\"; \
             ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public GRANT SELECT ON TABLES TO \"the reports\"; \
             REVOKE ALL ON mdl_user FROM \"the reports\"; GRANT SELECT (id) ON mdl_user TO \"the reports\"; \
             GRANT SELECT ON mdl_config TO PUBLIC"
        ),
    );
    let rights = |site: &PocketSite| {
        site.query(
            "SELECT has_table_privilege('the reports', 'mdl_course', 'SELECT'), \
             has_table_privilege('the reports', 'mdl_user', 'SELECT'), \
             has_column_privilege('the reports', 'mdl_user', 'id', 'SELECT'), \
             has_column_privilege('the reports', 'mdl_user', 'username', 'SELECT'), \
             (SELECT relacl::text LIKE '%,=r/%' FROM pg_class WHERE oid = 'mdl_config'::regclass)",
        )
    };
    let before = rights(&site);
    assert_eq!(before, [["t", "f", "t", "f", "t"]]);
    let world = World::builder(site).build();
    world.run(&["run"]).expect_code(0);
    world.site.set_config("changed", "since");
    world.run(&["restore", "--yes"]).expect_code(0);
    assert_eq!(rights(&world.site), before);
    world.run(&["restore", "--undo", "--yes"]).expect_code(0);
    assert_eq!(rights(&world.site), before);
}

/// The account is there and has another password: nobody changes that unasked, and it is told before anything is brought back.
#[test]
fn an_account_with_another_password_is_told_before_anything_is_brought_back() {
    for engine in Engine::ALL {
        let (server, world, before) = lost_with_all(engine);
        let user = world.site.database.identifier(&world.site.database.user);
        let as_admin = |mariadb: &str, postgres: &str| match &server {
            Server::MariaDb(_) => drop(
                server.database("mysql", "", "").query(&format!("{mariadb} {user}@localhost IDENTIFIED BY 'other'")),
            ),
            Server::Postgres(server) => {
                drop(server.run_sql(None, &format!("{postgres} {user} LOGIN PASSWORD 'other'")))
            }
        };
        as_admin("CREATE USER", "CREATE ROLE");
        if let Server::Postgres(server) = &server {
            server.trust_local_account();
        }
        let plan = flat(&world.run(&["restore", "--plan"]).expect_code(5).stdout);
        let refused = flat(&world.run(&["restore", "--yes"]).expect_code(5).stderr);
        assert!(!world.site.root.exists(), "nothing was brought back");
        for told in [&plan, &refused] {
            assert!(told.contains("with another password") && told.contains("moodle-backup find config.php"), "{told}");
        }
        let (_, statement) = refused.split_once("of the backup): ").expect("a statement");
        let (statement, _) = statement.split_once("'...'").expect("a statement for the password");
        let statement = format!("{statement}'...'").replace("'...'", &format!("'{}'", world.site.database.password));
        match &server {
            Server::MariaDb(_) => drop(server.database("mysql", "", "").query(&statement)),
            Server::Postgres(server) => drop(server.run_sql(None, &statement)),
        }
        world.run(&["restore", "--yes"]).expect_code(3);
        before.assert_is(&world.site, "brought back");
    }
}

/// MariaDB: root of this machine as an administrator.
const ROOT: &str =
    "CREATE USER root@localhost IDENTIFIED VIA unix_socket; GRANT ALL ON *.* TO root@localhost WITH GRANT OPTION";

/// MariaDB: another administrator is there, and root of this machine is none any more.
fn shut_root_out(server: &Server) {
    let admin = server.database("mysql", "", "");
    admin.query("CREATE USER admin@localhost IDENTIFIED BY 'secret'");
    admin.query("GRANT ALL ON *.* TO admin@localhost WITH GRANT OPTION");
    admin.query("DROP USER root@localhost");
}

/// What an administrator of the server had defined is his again, as far as the server had told so when it was backed up.
#[test]
fn what_others_had_defined_is_theirs_again_after_the_loss_of_everything() {
    let server = Server::start(Engine::MariaDb);
    let site = PocketSite::builder().server(&server).build();
    make_programs(&site);
    let mut world = World::builder(site).build();
    world.run(&["run"]).expect_code(0);
    let before = State::of(&world.site);
    lose(&mut world.site);
    assert!(!world.run(&["restore", "--plan"]).expect_code(0).stdout.contains("what others had"));
    let output = world.run(&["restore", "--yes"]).expect_code(3);
    assert!(!output.stderr.contains("has defined now what others had"), "{}", output.stderr);
    before.assert_is(&world.site, "brought back");

    // Anybody may have written a backup that comes from elsewhere: by its word nobody becomes root of the database.
    lose_again(&world.site, &server);
    let from = text(world.target.path()).to_owned();
    let output = world.run(&["restore", "--from", &from, "--yes"]).expect_code(3);
    assert!(flat(&output.stderr).contains("has defined now what others had: trigger mdl_of_root"), "{}", output.stderr);

    // Somebody has made the database by hand, and no administrator is let in.
    lose_again(&world.site, &server);
    shut_root_out(&server);
    let told = flat(&world.run(&["restore", "--yes"]).expect_code(5).stderr);
    make_by_hand(&world.site, &told, false);
    let plan = flat(&world.run(&["restore", "--plan"]).expect_code(0).stdout);
    let words = "Moodle's account will have defined what others had: trigger mdl_of_root of root@localhost";
    assert!(plan.contains(words) && plan.contains("--database-admin FILE"), "{plan}");
    let output = world.run(&["restore", "--yes"]).expect_code(3);
    assert!(flat(&output.stderr).contains("has defined now what others had: trigger mdl_of_root"), "{}", output.stderr);
}

/// As [`lose`], of a site that was brought back: a restore makes one account.
fn lose_again(site: &PocketSite, server: &Server) {
    fs::remove_dir_all(&site.root).unwrap();
    fs::remove_dir_all(&site.dataroot).unwrap();
    let (name, user) = (site.database.identifier(&site.database.name), site.database.identifier(&site.database.user));
    server.database("mysql", "", "").query(&format!("DROP DATABASE {name}; DROP USER {user}@localhost"));
}

/// Types the statements that were told, as another administrator than the one who was refused.
fn make_by_hand(site: &PocketSite, told: &str, with_root: bool) {
    let (_, statements) = told.split_once("for the password: ").expect("statements");
    let (statements, _) = statements.split_once("; or name an administrator").expect("their end");
    let statements = statements.replace("'...'", &format!("'{}'", site.database.password));
    match &site.database.server {
        Server::MariaDb(server) => {
            let mut client = server.client();
            // Root is for the test's own eyes.
            let root = if with_root { ROOT } else { "" };
            client.args(["--user=admin", "--password=secret", "--execute", &format!("{statements}; {root}")]);
            support::succeed(&mut client);
        }
        // CREATE DATABASE stands in no transaction.
        Server::Postgres(server) => statements.split_inclusive(';').for_each(|it| drop(server.run_sql(None, it))),
    }
}

/// Steps after which everything is as restored.
const AFTER: [&str; 1] = ["report"];

/// A restore that is ended at a step, and after which the site is open again.
fn ends_at(world: &mut World, step: &str, how: &str) {
    let what = format!("{step}={how}");
    world.set_env("MOODLE_BACKUP_FAILPOINT", &what);
    let output = world.run(&["restore", "--yes"]);
    world.set_env("MOODLE_BACKUP_FAILPOINT", "");
    assert_ne!(output.code, Some(0), "{what}: {}", output.stderr);
    let is_told = output.stderr.contains("the restore was interrupted");
    assert!(how != "term" || is_told && output.code == Some(1), "{what}: {:?} {}", output.code, output.stderr);
    // What was killed is undone by its guard, and where that was not started yet, by the next command.
    wait_for(&format!("{what}: all processes to end"), LIMIT, || world.processes().is_empty());
    world.run(&["recover"]).expect_code(0);
    assert!(world.site.is_open(), "{what}: {}", output.stderr);
}

/// P9: whatever ends a restore at whatever step, the site is as before or as restored, whole, and open.
fn ends_at_each_step(engine: Engine, how: &str) {
    let mut world = world(engine);
    let yesterday = State::of(&world.site);
    change(&world.site);
    let today = State::of(&world.site);
    for step in STEPS {
        let what = format!("{step}={how}");
        ends_at(&mut world, step, how);
        let expected = if AFTER.contains(&step) { &yesterday } else { &today };
        expected.assert_is(&world.site, &what);
        if !AFTER.contains(&step) {
            assert_same(&format!("{what}: folders set aside"), set_aside(&world.site));
            assert_same(&format!("{what}: tables set aside"), tables_aside(&world.site));
        }
        assert!(!world.site.ran_as_root());
    }
    world.run(&["restore", "--yes"]).expect_code(0);
    yesterday.assert_is(&world.site, "at last");
}

#[test]
fn p9_an_error_at_any_step_leaves_the_site_as_it_was() {
    ends_at_each_step(Engine::MariaDb, "error");
}

#[test]
fn p9_a_panic_at_any_step_leaves_the_site_as_it_was() {
    ends_at_each_step(Engine::Postgres, "panic");
}

#[test]
fn p9_a_signal_at_any_step_leaves_the_site_as_it_was() {
    ends_at_each_step(Engine::Postgres, "term");
}

#[test]
fn p9_killed_at_any_step_a_restore_is_undone_by_its_guard() {
    for engine in Engine::ALL {
        ends_at_each_step(engine, "kill");
    }
}

/// Ends a restore at a step with all that belongs to it at once, as a power cut does.
fn cut_power(world: &mut World, step: &str) {
    let run = world.spawn_failing(&["restore", "--yes"], step, "stop");
    run.wait_until_stopped();
    // The guard first: it must not see the end of the others.
    let mut processes = world.processes();
    processes.sort_by_key(|(_, line)| !line.contains(" guard "));
    assert!(processes[0].1.contains(" guard "), "{processes:?}");
    for (id, _) in processes {
        let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
    }
    run.wait();
    wait_for("all processes to end", LIMIT, || world.processes().is_empty());
}

/// A restore that is cut off with its guard, as by a power cut, at a step while the site is half replaced.
#[test]
fn p9_a_power_cut_is_undone_by_recover() {
    for engine in Engine::ALL {
        for step in ["exchange", "load", "check"] {
            let mut world = world(engine);
            change(&world.site);
            let today = State::of(&world.site);
            cut_power(&mut world, step);
            assert!(!world.site.is_open(), "{step}: half a site is not to be opened");

            let output = world.run(&["recover"]).expect_code(0);
            assert!(output.stderr.contains("undid an interrupted restore"), "{}", output.stderr);
            assert!(world.site.is_open());
            today.assert_is(&world.site, step);
            assert_same("folders set aside", set_aside(&world.site));
        }
    }
}

#[test]
fn a_dataroot_that_is_a_disk_of_its_own_stays_mounted() {
    let disk = TestTarget::ext4(200);
    let site = PocketSite::builder().dataroot(disk.path()).build();
    let world = World::builder(site).build();
    world.run(&["run"]).expect_code(0);
    let yesterday = State::of(&world.site);
    change(&world.site);
    let today = State::of(&world.site);
    world.run(&["restore", "--yes"]).expect_code(0);
    yesterday.assert_is(&world.site, "restored");
    world.run(&["restore", "--undo", "--yes"]).expect_code(0);
    today.assert_is(&world.site, "undone");
    // What is set aside there is in no backup, and goes when it is no longer wanted.
    world.run(&["run"]).expect_code(0);
    assert!(disk.path().join(OWN).exists());
    assert!(!world.site_folder().join("latest/moodledata").join(OWN).exists());
    world.run(&["restore", "--discard", "--yes"]).expect_code(0);
    assert!(!disk.path().join(OWN).exists());
}

#[test]
fn a_dataroot_in_the_code_is_no_part_of_the_code() {
    let place = support::Scratch::new();
    let site = PocketSite::builder().place(place.path()).dataroot(&place.join("www/moodle/data")).build();
    let world = World::builder(site).build();
    world.run(&["run"]).expect_code(0);
    let site = &world.site;
    site.upload(b"uploaded after the backup");
    fs::write(site.root.join("new.php"), "<?php\n").unwrap();
    let uploads = site.value("SELECT COUNT(*) FROM mdl_files");
    world.run(&["restore", "--only", "code", "--yes"]).expect_code(0);
    assert!(!site.root.join("new.php").exists());
    assert_eq!(site.value("SELECT COUNT(*) FROM mdl_files"), uploads, "the database is not touched");
    assert_same("files over the web", site.unserved_files());
    world.run(&["restore", "--yes"]).expect_code(0);
    assert_same("files over the web", site.unserved_files());
    world.run(&["restore", "--undo", "--yes"]).expect_code(0);
    assert_eq!(site.value("SELECT COUNT(*) FROM mdl_files"), uploads);
    assert_same("files over the web", site.unserved_files());
}

#[test]
fn what_cannot_be_restored_is_refused_before_anything_is_touched() {
    let world = world(Engine::MariaDb);
    let site = &world.site;
    let today = State::of(site);
    let output = world.run(&["restore"]).expect_code(2);
    assert!(output.stderr.contains("nobody is here to be asked"), "{}", output.stderr);
    let output = world.run(&["restore", "--yes", "--only", "directory:nowhere"]).expect_code(2);
    assert!(output.stderr.contains("has no part directory:nowhere"), "{}", output.stderr);
    let output = world.run(&["restore", "--undo", "--yes"]).expect_code(5);
    assert!(output.stderr.contains("there is no restore of this site that could be undone"), "{}", output.stderr);

    let code = world.site_folder().join("latest/code.tar.zst");
    let whole = fs::read(&code).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&code, damaged).unwrap();
    let output = world.run(&["restore", "--yes"]).expect_code(1);
    assert!(output.stderr.contains("code.tar.zst") && output.stderr.contains("damaged"), "{}", output.stderr);
    fs::write(&code, whole).unwrap();

    today.assert_is(site, "after refusals");
    assert_same("folders set aside", set_aside(site));
    assert!(site.is_open());
}

#[test]
fn p9_a_site_that_was_opened_by_hand_since_is_left_as_it_is() {
    for engine in Engine::ALL {
        let mut world = world(engine);
        change(&world.site);
        let today = State::of(&world.site);
        cut_power(&mut world, "check");
        // Somebody helps himself, and people work on.
        fs::remove_file(world.site.maintenance_page()).unwrap();
        world.site.set_config("by_hand", "loaded and worked on");
        let by_hand = State::of(&world.site);
        let status = flat(&world.run(&["status"]).expect_code(3).stdout);
        assert!(status.contains("for a restore that has died half-way, and opened by other hands"), "{status}");
        assert!(status.contains("\"moodle-backup recover --keep\" keeps the site as it is"), "{status}");
        for command in [&["recover"][..], &["run"], &["restore", "--yes"], &["restore", "--undo", "--yes"]] {
            let output = world.run(command).expect_code(1);
            assert!(output.stderr.contains("somebody has opened the site since"), "{command:?}: {}", output.stderr);
            let words = flat(&output.stderr);
            assert!(
                words.contains("recover --keep") && words.contains("recover --undo-restore"),
                "{command:?}: {words}"
            );
            by_hand.assert_is(&world.site, "left as it is");
        }
        world.run(&["recover", "--undo-restore"]).expect_code(0);
        today.assert_is(&world.site, "undone when that was asked for");
        assert!(world.site.is_open());
    }
}

/// Whoever works on in a site that a restore has left half replaced loses neither that nor what was there before.
#[test]
fn a_site_that_was_opened_by_hand_can_be_kept_and_what_was_there_before_too() {
    let cases = [(Engine::MariaDb, "check"), (Engine::Postgres, "check"), (Engine::MariaDb, "load")];
    for (engine, step) in cases {
        let mut world = world(engine);
        change(&world.site);
        let today = State::of(&world.site);
        cut_power(&mut world, step);
        // A half replaced site that nobody uses is not kept.
        let output = world.run(&["recover", "--keep"]).expect_code(5);
        assert!(output.stderr.contains("is still closed, and half replaced"), "{}", output.stderr);
        assert!(!world.site.is_open());

        fs::remove_file(world.site.maintenance_page()).unwrap();
        fs::write(world.site.dataroot.join("lang/by-hand"), "worked on").unwrap();
        world.run(&["run"]).expect_code(1);
        // What was not replaced yet is not undone either.
        if step != "load" {
            world.site.set_config("by_hand", "worked on");
        }
        let by_hand = State::of(&world.site);
        let output = world.run(&["recover", "--keep"]).expect_code(0);
        assert!(flat(&output.stderr).contains("pocket is kept as it is now"), "{}", output.stderr);
        assert!(!output.stderr.contains("reopened"), "{}", output.stderr);
        by_hand.assert_is(&world.site, "kept");
        let status = flat(&world.run(&["status"]).stdout);
        assert!(status.contains("the state before an interrupted restore of backup"), "{status}");
        assert!(!status.contains("opened by other hands"), "{status}");
        assert!(
            status.contains("made no backup") && !status.contains("recover --"),
            "what was to be done is done: {status}"
        );

        world.run(&["restore", "--undo", "--yes"]);
        today.assert_is(&world.site, &format!("{step}: undone"));
        assert!(world.site.is_open());
        world.run(&["restore", "--redo", "--yes"]);
        by_hand.assert_is(&world.site, &format!("{step}: brought back"));
        world.run(&["restore", "--undo", "--yes"]);
        world.run(&["run"]).expect_code(0);
        world.run(&["restore", "--discard", "--yes"]).expect_code(0);
        assert_same("folders set aside", set_aside(&world.site));
        assert_same("tables set aside", tables_aside(&world.site));
        today.assert_is(&world.site, &format!("{step}: at last"));
    }
}

#[test]
fn p9_what_is_set_aside_on_a_disk_that_is_not_mounted_is_not_forgotten() {
    let disk = TestTarget::ext4(200);
    let site = PocketSite::builder().dataroot(disk.path()).build();
    let mut world = World::builder(site).build();
    world.run(&["run"]).expect_code(0);
    change(&world.site);
    let today = State::of(&world.site);
    cut_power(&mut world, "load");
    disk.unmount();
    let output = world.run(&["recover"]).expect_code(1);
    assert!(output.stderr.contains("mount its file system"), "{}", output.stderr);
    disk.mount_again();
    world.run(&["recover"]).expect_code(0);
    today.assert_is(&world.site, "with its disk");
    assert!(world.site.is_open());
}

#[test]
fn a_place_that_is_gone_with_the_folder_above_it_is_not_made() {
    let place = support::Scratch::new();
    let above = place.join("disk");
    fs::create_dir(&above).unwrap();
    let site = PocketSite::builder().dataroot(&above.join("data")).build();
    let world = World::builder(site).build();
    world.run(&["run"]).expect_code(0);
    fs::remove_dir_all(&above).unwrap();
    let output = world.run(&["restore", "--yes"]).expect_code(5);
    assert!(output.stderr.contains("there is no folder") && output.stderr.contains("mounted?"), "{}", output.stderr);
    assert!(!above.exists());
}

/// Sets what the site's code asks for: this in place of that.
fn ask_for(site: &PocketSite, this: &str, that: &str) {
    let file = [site.root.join("admin/environment.xml"), site.root.join("public/admin/environment.xml")];
    let file = file.into_iter().find(|file| file.exists()).expect("the code says what it asks for");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(that), "{text}");
    fs::write(file, text.replace(that, this)).unwrap();
}

#[test]
fn a_machine_that_this_moodle_does_not_work_on_is_refused_before_anything_is_touched() {
    let php = (r#"<PHP version="99.1.0""#, r#"<PHP version="8.1.0""#, "PHP 99.1.0");
    let extension = (r#"name="frobnicate""#, r#"name="json""#, "extensions frobnicate");
    // As the release whose code has a public/ has it.
    let mariadb = (r#"name="mariadb" version="99""#, r#"name="mariadb" version="10.11.0""#, "mariadb 99 is the oldest");
    let postgres = (r#"name="postgres" version="99""#, r#"name="postgres" version="13""#, "postgres 99 is the oldest");
    let vendor = (r#"name="oracle""#, r#"name="mariadb""#, "it does not work with mariadb");
    let cases = [
        (Engine::MariaDb, Layout::Classic, php),
        (Engine::Postgres, Layout::Public, extension),
        (Engine::MariaDb, Layout::Public, mariadb),
        (Engine::Postgres, Layout::Classic, postgres),
        (Engine::MariaDb, Layout::Classic, vendor),
    ];
    for (engine, layout, (this, that, words)) in cases {
        let site = PocketSite::builder().engine(engine).layout(layout).build();
        ask_for(&site, this, that);
        let world = World::builder(site).build();
        world.run(&["run"]).expect_code(0);
        change(&world.site);
        let today = State::of(&world.site);
        let planned = world.run(&["restore", "--plan"]).expect_code(5).stdout;
        assert!(spaced(&planned).contains(words) && spaced(&planned).contains("will be REFUSED"), "{words}: {planned}");
        let refused = world.run(&["restore", "--yes"]).expect_code(5);
        assert!(refused.stderr.contains(words), "{words}: {}", refused.stderr);
        assert!(refused.stderr.contains("--ignore-environment"), "{}", refused.stderr);
        today.assert_is(&world.site, "refused");
        assert!(world.site.is_open());
        assert_same("folders set aside", set_aside(&world.site));
        let warned = world.run(&["restore", "--yes", "--ignore-environment"]).expect_code(3);
        assert!(warned.stderr.contains(words), "{}", warned.stderr);
    }
}

/// Which PHP is too new for a Moodle its own files do not say.
#[test]
fn another_php_than_ran_the_site_then_is_told_in_the_plan() {
    let world = world(Engine::MariaDb);
    let told = |world: &World| spaced(&world.run(&["restore", "--plan"]).expect_code(0).stdout);
    assert!(!told(&world).contains("when it was backed up"), "the same PHP");
    let file = world.site_folder().join("latest/manifest.json");
    let text = fs::read_to_string(&file).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    let now = manifest["site"]["php"].as_str().unwrap().to_owned();
    manifest["site"]["php"] = "7.2.1".into();
    fs::write(&file, manifest.to_string()).unwrap();
    let plan = told(&world);
    assert!(plan.contains(&format!("PHP here is {now}")) && plan.contains("ran with 7.2.1 when"), "{plan}");
}

/// What an administrator has done to the code since the backup is not lost without a word.
#[test]
fn a_plan_names_the_files_of_the_code_that_become_others() {
    let world = world(Engine::MariaDb);
    let site = &world.site;
    let plan = world.run(&["restore", "--plan"]).expect_code(0).stdout;
    assert!(!plan.contains("Code that is otherwise"), "{plan}");
    fs::write(site.root.join("version.php.orig"), "mine").unwrap();
    for number in 0..7 {
        fs::write(site.root.join(format!("new-{number}.php")), "<?php\n").unwrap();
    }
    let file = site.root.join("lib/setup.php");
    fs::write(&file, fs::read_to_string(&file).unwrap() + "\n").unwrap();
    fs::remove_file(site.root.join("admin/environment.xml")).unwrap();
    let plan = spaced(&world.run(&["restore", "--plan"]).expect_code(0).stdout);
    assert!(plan.contains("1 file changed, and will be as in the backup: lib/setup.php"), "{plan}");
    assert!(plan.contains("8 files not in the backup") && plan.contains("new-4.php and 3 more"), "{plan}");
    assert!(plan.contains("1 file only in the backup, and will come back: admin/environment.xml"), "{plan}");
    let plan = spaced(&world.run(&["restore", "--plan", "-v"]).expect_code(0).stdout);
    assert!(plan.contains("new-6.php, version.php.orig") && !plan.contains("more ("), "{plan}");
    let plan: serde_json::Value =
        serde_json::from_str(&world.run(&["restore", "--plan", "--json"]).expect_code(0).stdout).unwrap();
    assert_eq!(plan["code_changes"]["only_here"].as_array().unwrap().len(), 8);
    assert_eq!(plan["code_changes"]["changed"], serde_json::json!(["lib/setup.php"]));
    // After a restore nothing is otherwise, whatever its inodes are.
    world.run(&["restore", "--yes"]).expect_code(0);
    let plan = world.run(&["restore", "--plan"]).expect_code(0).stdout;
    assert!(!plan.contains("Code that is otherwise"), "{plan}");
}

/// A text without the breaks of its lines.
fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_server_that_is_too_old_is_found_out_after_the_loss_of_everything_too() {
    for (engine, this, that) in [
        (Engine::MariaDb, r#"name="mariadb" version="99""#, r#"name="mariadb" version="10.6.7""#),
        (Engine::Postgres, r#"name="postgres" version="99""#, r#"name="postgres" version="13""#),
    ] {
        let server = Server::start(engine);
        let site = PocketSite::builder().server(&server).build();
        ask_for(&site, this, that);
        let mut world = World::builder(site).build();
        world.run(&["run"]).expect_code(0);
        lose(&mut world.site);
        if let Server::Postgres(server) = &server {
            server.trust_local_account();
        }
        let refused = world.run(&["restore", "--yes"]).expect_code(5);
        assert!(refused.stderr.contains(" 99 is the oldest"), "{}", refused.stderr);
        assert!(!world.site.root.exists(), "nothing was brought back");
        assert!(!world.site.dataroot.exists() || world.site.dataroot.read_dir().unwrap().next().is_none());
    }
}

#[test]
fn code_that_does_not_say_what_it_asks_for_is_brought_back_with_a_warning() {
    let remove = |file: &Path| fs::remove_file(file).unwrap();
    let spoil = |file: &Path| fs::write(file, "<COMPATIBILITY_MATRIX><MOODLE ver").unwrap();
    let other = |file: &Path| {
        let text = fs::read_to_string(file).unwrap();
        fs::write(file, text.replace("<MOODLE version=\"", "<MOODLE version=\"1")).unwrap();
    };
    type Way<'a> = (&'a dyn Fn(&Path), &'a str);
    let ways: [Way; 3] = [
        (&remove, "has no admin/environment.xml"),
        (&spoil, "cannot be read, or says nothing"),
        (&other, "says nothing of Moodle"),
    ];
    for (way, words) in ways {
        let site = PocketSite::builder().build();
        way(&site.root.join("admin/environment.xml"));
        let world = World::builder(site).build();
        world.run(&["run"]).expect_code(0);
        change(&world.site);
        let warned = world.run(&["restore", "--yes"]).expect_code(3);
        assert!(spaced(&warned.stdout).contains(words), "{words}: {}", warned.stdout);
        assert!(world.site.is_open());
    }
}

#[test]
fn a_database_is_not_put_under_code_that_does_not_work_with_it() {
    let world = world(Engine::MariaDb);
    ask_for(&world.site, r#"name="mariadb" version="99""#, r#"name="mariadb" version="10.6.7""#);
    let refused = world.run(&["restore", "--only", "database", "--yes"]).expect_code(5);
    assert!(refused.stderr.contains("mariadb 99 is the oldest"), "{}", refused.stderr);
}

/// What is lost but for the database: that is not loaded again, and nothing of it can be undone.
#[test]
fn a_database_that_is_as_it_was_stays() {
    for engine in Engine::ALL {
        let world = world(engine);
        let site = &world.site;
        let before = State::of(site);
        fs::remove_dir_all(site.dataroot.join("lang")).unwrap();
        fs::remove_file(site.root.join("version.php")).unwrap();
        fs::write(site.root.join("version.php"), "<?php\n").unwrap();
        let sessions = || site.value("SELECT count(*) FROM mdl_sessions");
        let output = world.run(&["restore", "--yes"]).expect_code(0);
        assert!(output.stderr.contains("it is as it was then, so it stays"), "{}", output.stderr);
        assert_same("tables set aside", tables_aside(site));
        before.assert_is(site, "brought back");
        // What is written afterwards is not taken back with the files.
        site.set_config("changed", "since");
        let now = sessions();
        world.run(&["restore", "--undo", "--yes"]).expect_code(0);
        assert_eq!(site.config("changed").as_deref(), Some("since"));
        assert_eq!(sessions(), now);
        assert_eq!(fs::read_to_string(site.root.join("version.php")).unwrap(), "<?php\n");
    }
}

#[test]
fn a_backup_is_made_first_where_that_is_wanted() {
    let world = world(Engine::MariaDb);
    let first = world.backups()[0].clone();
    change(&world.site);
    let today = State::of(&world.site);
    // Retention asks for the newest alone: what is being restored is not pruned by the run before it.
    world.write_settings("[retention]\nlast = 1\ndaily = 0\nweekly = 0\nmonthly = 0\nyearly = 0\n");
    let output = world.run(&["restore", &first, "--yes", "--backup-first", "--json"]).expect_code(0);
    let done: serde_json::Value = serde_json::from_str(&output.stdout).expect("one document");
    assert_eq!(done["restored"], format!("backup {first}"));
    assert!(done["steps"].as_array().unwrap().iter().all(|step| STEPS.contains(&step["step"].as_str().unwrap())));
    let backups = world.backups();
    assert_eq!(backups.len(), 2, "{backups:?}");
    let shown = world.run(&["show", "latest"]).expect_code(0).stdout;
    assert!(shown.contains(&format!("before the restore of {first}")), "{shown}");
    // It holds what was replaced.
    world.run(&["restore", "latest", "--yes"]).expect_code(0);
    today.assert_is(&world.site, "as it was before the restore");
    // On a terminal it is asked, and no is taken for granted.
    let mut terminal = support::Terminal::start(world.command(&["restore", &first]));
    terminal.wait_for_text("Make a backup of the site as it is now");
    // Typed too early: that is neither.
    terminal.type_keys("pocket\n");
    terminal.wait_for_text("Please answer yes or no.");
    terminal.type_keys("?\n");
    terminal.wait_for_text("A backup like that of each night");
    terminal.type_keys("\n");
    terminal.wait_for_text("Type the name of the site");
    terminal.type_keys("?\n");
    terminal.wait_for_text("What would be done stands above");
    terminal.type_keys("pocket\n");
    assert!(terminal.wait().success(), "{}", terminal.text());
    assert_eq!(world.backups().len(), 2);
    for (option, help) in [("--undo", "changes place with what was set aside"), ("--discard", "Nothing brings back")] {
        let mut terminal = support::Terminal::start(world.command(&["restore", option]));
        terminal.wait_for_text("Type the name of the site");
        terminal.type_keys("?\n");
        terminal.wait_for_text(help);
        terminal.type_keys("no\n");
        assert_eq!(terminal.wait().code(), Some(2), "{}", terminal.text());
    }
}

/// Ctrl-C at a question ends it at once, without Enter; so does the end of what is typed, after which nobody answers anything.
#[test]
fn questions_are_left_by_ctrl_c_and_ctrl_d() {
    let world = world(Engine::MariaDb);
    change(&world.site);
    let today = State::of(&world.site);
    for (question, keys) in [("Make a backup of the site", ""), ("Type the name of the site", "no\n")] {
        for end in ["\x03", "\x04"] {
            let mut terminal = support::Terminal::start(world.command(&["restore"]));
            terminal.wait_for_text("Make a backup of the site");
            terminal.type_keys(keys);
            terminal.wait_for_text(question);
            terminal.type_keys(end);
            assert_eq!(terminal.wait().code(), Some(1), "{}", terminal.text());
            assert!(end == "\x03" || terminal.text().contains("nobody here to answer"), "{}", terminal.text());
            today.assert_is(&world.site, question);
        }
    }
}

/// What was typed before a question was shown is no answer to it.
#[test]
fn keys_that_were_typed_ahead_agree_to_nothing() {
    let world = world(Engine::MariaDb);
    change(&world.site);
    let today = State::of(&world.site);
    let mut terminal = support::Terminal::start(world.command(&["restore"]));
    terminal.type_keys("no\npocket\n");
    terminal.wait_for_text("Make a backup of the site as it is now first? (yes, no, or ? for help) [no]: ");
    terminal.type_keys("\n");
    terminal.wait_for_text("Type the name of the site");
    terminal.type_keys("\x03");
    assert_eq!(terminal.wait().code(), Some(1), "{}", terminal.text());
    today.assert_is(&world.site, "not restored");
}

/// A backup that is not seen to its end is none that a restore may rely on.
#[test]
fn a_restore_whose_backup_is_not_waited_for_is_not_begun() {
    let world = world(Engine::MariaDb);
    let keep = "[retention]\nlast = 1\ndaily = 0\nweekly = 0\nmonthly = 0\nyearly = 0\n";
    world.write_settings(&format!("group = \"{HOOK_USER}\"\n[hooks]\nuser = \"{HOOK_USER}\"\n{keep}"));
    let first = world.backups()[0].clone();
    change(&world.site);
    let today = State::of(&world.site);
    let gate = world.scratch().join("go-on");
    let held = format!("until [ -e {} ]; do sleep 0.05; done", gate.display());
    support::add_hook(&world, "pre-job.d", "10-hold", &held);
    let mut restore = world.spawn(&["restore", &first, "--yes", "--backup-first"]);
    restore.wait_for_words("10-hold");
    restore.signal(Signal::SIGINT);
    let output = restore.wait();
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    assert!(output.stderr.contains("nothing was restored"), "{}", output.stderr);
    fs::write(gate, "").unwrap();
    wait_for("the backup to end", LIMIT, || world.processes().is_empty());
    today.assert_is(&world.site, "not restored");
    assert_eq!(world.backups().len(), 2, "the one that is to be restored is still there");
    assert_eq!(world.backups()[0], first);
}
