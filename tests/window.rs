//! P1: the site is closed for a moment, or as long as was asked for, and then stands as it was found. What happens when
//! a run dies in the window is in `faults`.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use support::{Engine, Gate, HOOK_USER, Layout, PocketSite, Server, World, owner_ids, succeed, wait_for};

const LIMIT: Duration = Duration::from_secs(60);

fn newest(world: &World) -> PathBuf {
    world.site_folder().join(world.backups().pop().expect("a backup"))
}

fn window(world: &World) -> Value {
    let manifest: Value = serde_json::from_slice(&fs::read(newest(world).join("manifest.json")).unwrap()).unwrap();
    manifest["window"].clone()
}

fn dump(world: &World) -> String {
    let sql = succeed(Command::new("zstdcat").arg(newest(world).join("database/site.sql.zst")));
    String::from_utf8_lossy(&sql).into_owned()
}

/// What says how a site is to be reopened; nothing of it may stay.
fn notes(world: &World) -> usize {
    fs::read_dir(world.root.join("var/lib/moodle-backup/closed")).map_or(0, Iterator::count)
}

#[test]
fn the_site_is_closed_for_as_long_as_the_mode_says() {
    let site = PocketSite::builder().files(20).log_rows(60_000).build();
    let world = World::builder(site).build();
    for mode in ["short", "full", "none"] {
        let watch = world.site.watch();
        world.run(&["run", "--window", mode]).expect_code(0);
        let seen = watch.stop();
        assert!(seen.statuses.keys().all(|status| [200, 503].contains(status)), "{mode}: {:?}", seen.statuses);
        assert!(!seen.closed_at_end);
        let told = window(&world);
        assert_eq!(told["mode"], mode);
        let windows = if mode == "none" { 0 } else { 1 };
        assert_eq!((&told["windows"], seen.times.len()), (&windows.into(), windows), "{mode}");
        if windows == 1 {
            let (seen, told) = (seen.longest.as_secs_f64(), told["closed_seconds"].as_f64().unwrap());
            assert!((seen - told).abs() < 1.0, "{mode}: {seen} {told}");
        }
        assert_eq!(notes(&world), 0);
        assert!(world.site.is_open());
    }
}

#[test]
fn a_site_in_maintenance_is_left_so_and_its_page_untouched() {
    for layout in [Layout::Classic, Layout::Public] {
        let site = PocketSite::builder().layout(layout).files(5).build();
        let world = World::builder(site).build();
        assert!(world.site.cli("maintenance", &["--enable"]).status.success());
        let before = (fs::read(world.site.maintenance_page()).unwrap(), world.site.config("maintenance_enabled"));
        world.run(&["run"]).expect_code(0);
        let after = (fs::read(world.site.maintenance_page()).unwrap(), world.site.config("maintenance_enabled"));
        assert_eq!(before, after);
        assert!(world.site.get("/").is_maintenance());
        assert_eq!(window(&world)["found"], "cli");
        assert_eq!(notes(&world), 0);
        assert!(!newest(&world).join("moodledata/climaintenance.html").exists());
        assert!(world.site.cli("maintenance", &["--disable"]).status.success());
        assert!(world.site.is_open());
    }
}

#[test]
fn legacy_and_planned_maintenance_stay_as_they_were_in_the_site_and_in_the_dump() {
    for layout in [Layout::Classic, Layout::Public] {
        let site = PocketSite::builder().layout(layout).files(5).build();
        let world = World::builder(site).build();
        assert!(world.site.cli("maintenance", &["--enableold"]).status.success());
        world.run(&["run"]).expect_code(0);
        assert_eq!(world.site.config("maintenance_enabled").as_deref(), Some("1"));
        assert_eq!(window(&world)["found"], "legacy");
        assert!(dump(&world).contains("'maintenance_enabled','1'"));
        assert!(world.site.get("/").is_maintenance() && !world.site.maintenance_page().exists());
        assert!(world.site.cli("maintenance", &["--disable"]).status.success());

        world.site.set_config("maintenance_later", "99999999999");
        world.run(&["run"]).expect_code(0);
        assert_eq!(world.site.config("maintenance_later").as_deref(), Some("99999999999"));
        assert_eq!(window(&world)["found"], "later");
        assert!(dump(&world).contains("'maintenance_later','99999999999'"));
        assert!(world.site.is_open());
    }
}

#[test]
fn a_planned_maintenance_that_is_due_is_not_begun_by_a_backup() {
    let site = PocketSite::builder().files(5).build();
    let mut world = World::builder(site).build();
    world.site.set_config("maintenance_later", "99999999999");
    // Whoever comes next begins it: so nobody but the backup may come.
    world.site.stop_serving();
    world.site.query("UPDATE {config} SET value = '1000' WHERE name = 'maintenance_later'");
    assert!(world.site.cli("purge_caches", &["--help"]).status.code().is_some());
    let due = world.site.config("maintenance_later").as_deref() == Some("1000");
    world.run(&["run"]).expect_code(0);
    if due {
        assert_eq!(world.site.config("maintenance_later").as_deref(), Some("1000"));
        assert!(!world.site.maintenance_page().exists());
        assert!(dump(&world).contains("'maintenance_later','1000'"));
    }
}

#[test]
fn a_site_can_be_held_closed_until_it_is_resumed() {
    for hold in ["half", "none"] {
        let site = PocketSite::builder().files(5).build();
        let world = World::builder(site).build();
        let output = world.run(&["run", "--restart", hold]).expect_code(0);
        assert!(output.stdout.contains("KEPT CLOSED"), "{}", output.stdout);
        assert!(world.site.get("/").is_maintenance());
        assert_eq!(window(&world)["restart"], hold);
        assert_eq!(world.processes(), Vec::new(), "the guard has gone with its work");

        let output = world.run(&["recover"]).expect_code(0);
        assert!(output.stderr.contains("kept closed on purpose"), "{}", output.stderr);
        assert!(world.site.get("/").is_maintenance());

        let output = world.run(&["run"]).expect_code(0);
        assert!(output.stderr.contains("held closed since"), "{}", output.stderr);
        assert!(world.site.get("/").is_maintenance(), "a later run leaves it alone");
        world.run(&["run", "--restart", hold]).expect_code(0);
        assert!(world.site.get("/").is_maintenance());

        if hold == "none" {
            fs::remove_file(world.settings_file()).unwrap();
        }
        world.run(&["resume"]).expect_code(0);
        assert!(world.site.is_open());
        assert_eq!(notes(&world), 0);
        let output = world.run(&["resume"]).expect_code(0);
        assert!(output.stderr.contains("no site is held closed"), "{}", output.stderr);
    }
}

/// A world on a server of its own, whose account may see transactions, as it must on MariaDB to be waited for, and with
/// a gate that runs wait at until a request is under way.
fn busy_world(engine: Engine, settings: &str) -> (World, Gate) {
    let server = Server::start(engine);
    let site = PocketSite::builder().server(&server).files(5).build();
    if let Server::MariaDb(server) = &server {
        server.run_sql(None, &format!("GRANT PROCESS ON *.* TO '{}'@'localhost'", site.database.user));
    }
    let world = World::builder(site).build();
    world.write_settings(&format!("[hooks]\nuser = \"{HOOK_USER}\"\n[window]\n{settings}\n"));
    let gate = Gate::before_job(&world);
    (world, gate)
}

/// Lets the run go on when the request has begun its transaction.
fn let_in(world: &World, gate: &Gate) {
    let asked = match world.site.database.server.engine() {
        Engine::MariaDb => "SHOW ENGINE INNODB STATUS",
        Engine::Postgres => "SELECT state FROM pg_stat_activity",
    };
    wait_for("the request's transaction", LIMIT, || {
        let shown = world.site.query(asked).concat().concat();
        shown.contains("idle in transaction")
            || shown.lines().any(|line| line.contains("TRANSACTION") && line.contains(", ACTIVE"))
    });
    gate.open();
}

#[test]
fn the_snapshot_waits_for_requests_that_were_let_in() {
    for engine in Engine::ALL {
        let (world, gate) = busy_world(engine, "drain_seconds = 60\nmax_seconds = 120");
        world.site.query("UPDATE {user} SET lastaccess = 777000111 WHERE id = 2");
        let mut run = world.spawn(&["run", "--verbose"]);
        std::thread::scope(|scope| {
            run.wait_for_words("50-gate");
            let slow = scope.spawn(|| world.site.get("/slow.php?ms=9000"));
            let_in(&world, &gate);
            run.wait_for_words("step close");
            assert!(!slow.is_finished(), "the machine is too slow for this test");
            assert_eq!(slow.join().unwrap().status, 200, "it was let in, so it is served");
        });
        run.wait().expect_code(0);
        // Committed before the snapshot, since the snapshot has waited.
        assert!(dump(&world).contains("777000112") && !dump(&world).contains("777000111"), "{engine:?}");
    }
}

#[test]
fn a_request_that_does_not_end_is_named_and_not_waited_for_for_ever() {
    for engine in Engine::ALL {
        let (world, gate) = busy_world(engine, "drain_seconds = 1");
        std::thread::scope(|scope| {
            let mut run = world.spawn(&["run"]);
            run.wait_for_words("50-gate");
            let slow = scope.spawn(|| world.site.get("/slow.php?ms=15000"));
            let_in(&world, &gate);
            let output = run.wait().expect_code(3);
            assert!(output.stderr.contains("after 1 s the database was still busy with"), "{}", output.stderr);
            assert!(world.site.is_open());
            assert_eq!(slow.join().unwrap().status, 200);
        });
    }
}

#[test]
fn a_page_that_the_administrator_puts_up_meanwhile_is_left() {
    let (world, gate) = busy_world(Engine::MariaDb, "drain_seconds = 8");
    std::thread::scope(|scope| {
        let mut run = world.spawn(&["run"]);
        run.wait_for_words("50-gate");
        // Keeps the window open.
        scope.spawn(|| world.site.get("/slow.php?ms=15000"));
        let_in(&world, &gate);
        wait_for("the page", LIMIT, || world.site.maintenance_page().exists());
        let own = world.site.dataroot.join("mine.html");
        fs::write(&own, "closed by the administrator").unwrap();
        fs::rename(&own, world.site.maintenance_page()).unwrap();
        let output = run.wait().expect_code(1);
        assert!(output.stderr.contains("the site was reopened before the copy was complete"), "{}", output.stderr);
    });
    assert_eq!(fs::read_to_string(world.site.maintenance_page()).unwrap(), "closed by the administrator");
    assert_eq!(notes(&world), 0);
    assert!(world.backups().is_empty());
}

/// A world whose cron says as whom it runs, and goes on until it is let go.
fn world_with_cron_after() -> (World, PathBuf) {
    let site = PocketSite::builder().files(3).build();
    let place = site.scratch().folder_of("cron", "www-data");
    let script = format!(
        "<?php chdir('{}'); file_put_contents('began', '');\n\
         while (!file_exists('go')) {{ usleep(10000); clearstatcache(); }}\n\
         file_put_contents('done', posix_getuid() . ' ' . implode(' ', array_slice($argv, 1)));\n",
        place.display()
    );
    fs::write(site.cli_folder().join("cron.php"), script).unwrap();
    (World::builder(site).settings("[window]\ncron_after = true").build(), place)
}

fn let_cron_end(place: &Path) {
    wait_for("cron to begin", LIMIT, || place.join("began").exists());
    fs::write(place.join("go"), "").unwrap();
    wait_for("cron to end", LIMIT, || fs::read_to_string(place.join("done")).is_ok_and(|text| !text.is_empty()));
    let (web_user, _) = owner_ids("www-data");
    assert_eq!(fs::read_to_string(place.join("done")).unwrap(), format!("{web_user} --keep-alive=0"));
}

#[test]
fn cron_after_a_run_goes_on_by_itself() {
    let (world, place) = world_with_cron_after();
    let output = world.run(&["run"]).expect_code(0);
    assert!(!place.join("done").exists() && !output.output_held);
    let_cron_end(&place);
    wait_for("all processes to end", LIMIT, || world.processes().is_empty());
}

/// With a systemd in place of the real one: what matters is that the work is handed over, and the run does not wait.
#[test]
fn cron_after_a_run_is_handed_to_systemd_where_that_runs() {
    let (world, place) = world_with_cron_after();
    let fake = world.scratch().join("systemd-run");
    let told = world.scratch().join("told");
    let script = format!(
        "#!/bin/sh\necho \"$*\" >>{}\nwhile [ \"$1\" != -- ]; do\n  case $1 in --setenv=*) export \"${{1#--setenv=}}\";; esac\n  \
         shift\ndone\nshift\nsetsid \"$@\" </dev/null >/dev/null 2>&1 &\n",
        told.display()
    );
    fs::write(&fake, script).unwrap();
    let run = world.command(&["run"]);
    let mounts = format!(
        "mkdir -p /run/systemd && mount -t tmpfs tmpfs /run/systemd && mkdir /run/systemd/system && \
         mount -t tmpfs tmpfs /usr/local/sbin && install -m 755 {} /usr/local/sbin/ && exec \"$@\"",
        fake.display()
    );
    let mut apart = Command::new("unshare");
    apart.args(["--mount", "sh", "-c", &mounts, "sh"]).arg(run.get_program()).args(run.get_args()).env_clear();
    let output = apart.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?)))).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!place.join("done").exists());
    let_cron_end(&place);
    let told = fs::read_to_string(&told).unwrap();
    assert!(told.contains("--unit=moodle-backup-cron-pocket-") && told.contains("--no-block"), "{told}");
    assert!(told.trim_end().ends_with("settings.toml cron"), "{told}");
}
