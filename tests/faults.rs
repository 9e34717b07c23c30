//! P1 and P2: whatever ends a run, at whatever step, the site stands as it was found, earlier backups are bit for bit
//! what they were, and the next run works. Needs a build with `--features failpoints`.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use moodle_backup::backup::STEPS;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::{
    Engine, FileSystem, Fingerprint, MariaDb, PocketSite, Running, Server, TestTarget, World, assert_same, changes,
    descendant, fingerprint, succeed, wait_for,
};

const LIMIT: Duration = Duration::from_secs(60);
/// From the first of these steps on the backup is published.
const AFTER: [&str; 3] = ["prune", "post-job", "report"];
/// While these are announced the site is closed.
const CLOSED: [&str; 4] = ["snapshot", "copy-delta", "maintenance", "reopen"];
/// Keeps all, and lets the guard come soon.
const SETTINGS: &str = "min_free = \"0\"\n[retention]\nlast = 1000\n[window]\nmax_seconds = 4\nfull_max_seconds = 4\n";

/// A world with one good backup, and what that looked like.
struct Bench {
    world: World,
    first: Fingerprint,
}

impl Bench {
    fn new(target: TestTarget) -> Self {
        Self::around(PocketSite::builder().files(10).build(), target)
    }

    fn around(site: PocketSite, target: TestTarget) -> Self {
        let world = World::builder(site).target(target).build();
        world.write_settings(SETTINGS);
        world.run(&["run"]).expect_code(0);
        let first = fingerprint(&world.site_folder().join(&world.backups()[0]));
        Bench { world, first }
    }

    fn spawn(&mut self, step: &str, how: &str) -> Running {
        self.spawn_with(step, how, &[])
    }

    fn spawn_with(&mut self, step: &str, how: &str, options: &[&str]) -> Running {
        self.world.spawn_failing(&[&["run"], options].concat(), step, how)
    }

    fn page(&self) -> PathBuf {
        self.world.site.maintenance_page()
    }

    fn notes(&self) -> usize {
        fs::read_dir(self.world.root.join("var/lib/moodle-backup/closed")).map_or(0, Iterator::count)
    }

    /// What must hold after every run, however it ended.
    #[track_caller]
    fn assert_unharmed(&self, what: &str) {
        assert!(self.world.site.is_open(), "{what}: the site is closed");
        assert_eq!(self.notes(), 0, "{what}: something is left to undo");
        let backups = self.world.backups();
        let first = self.world.site_folder().join(&backups[0]);
        assert_same(&format!("{what}: the first backup"), changes(&self.first, &fingerprint(&first)));
        for backup in &backups {
            let folder = self.world.site_folder().join(backup);
            assert!(folder.join("SHA256SUMS").exists() && folder.join("manifest.json").exists(), "{what}: {backup}");
        }
        let newest = self.world.site_folder().join(backups.last().unwrap());
        succeed(Command::new("sha256sum").args(["--quiet", "--strict", "-c", "SHA256SUMS"]).current_dir(&newest));
        for locked in [&self.world.site.dataroot, &self.world.site_folder()] {
            wait_for("the lock to be free", LIMIT, || {
                Command::new("flock").arg("-n").arg(locked).arg("true").status().unwrap().success()
            });
        }
        assert!(!self.world.site.ran_as_root());
    }

    /// No run, guard, client or hook is left.
    #[track_caller]
    fn assert_nobody_is_left(&self, what: &str) {
        wait_for(&format!("{what}: all processes to end"), LIMIT, || self.world.processes().is_empty());
    }

    fn partials(&self) -> usize {
        let names = fs::read_dir(self.world.site_folder()).unwrap().flatten();
        names.filter(|entry| entry.file_name().to_string_lossy().starts_with(".partial-")).count()
    }

    #[track_caller]
    fn assert_next_run_works(&self, what: &str) {
        let before = self.world.backups().len();
        let output = self.world.run(&["run"]);
        assert_eq!(output.code, Some(0), "{what}: {}", output.stderr);
        assert_eq!(self.world.backups().len(), before + 1, "{what}");
        assert_eq!(self.partials(), 0, "{what}");
        self.assert_unharmed(what);
    }
}

/// Runs that end by themselves: all in order at once.
fn ends_by_itself(how: &str, words: &str) {
    let mut bench = Bench::new(TestTarget::folder());
    for step in STEPS {
        let what = format!("{how} at {step}");
        let before = bench.world.backups().len();
        let output = bench.spawn(step, how).wait();
        let published = AFTER.contains(&step);
        assert_eq!(output.code, Some(if published { 3 } else { 1 }), "{what}: {}", output.stderr);
        assert!(output.stderr.contains(words), "{what}: {}", output.stderr);
        assert!(!output.output_held, "{what}: something still holds the output");
        assert_eq!(bench.world.backups().len(), before + usize::from(published), "{what}");
        bench.assert_nobody_is_left(&what);
        bench.assert_unharmed(&what);
        assert_eq!(bench.partials(), 0, "{what}");
    }
    bench.assert_next_run_works(how);
}

#[test]
fn an_error_at_any_step_leaves_all_in_order() {
    ends_by_itself("error", "failed on purpose at");
}

#[test]
fn sigterm_at_any_step_leaves_all_in_order() {
    ends_by_itself("term", "interrupted by SIGTERM");
}

#[test]
fn a_panic_at_any_step_leaves_all_in_order() {
    ends_by_itself("panic", "panicked on purpose at");
}

#[test]
fn a_run_killed_at_any_step_is_tidied_up() {
    let mut bench = Bench::new(TestTarget::folder());
    for (number, step) in STEPS.into_iter().enumerate() {
        let what = format!("killed at {step}");
        let before = bench.world.backups().len();
        let output = bench.spawn(step, "kill").wait();
        assert_eq!(output.signal, Some(Signal::SIGKILL as i32), "{what}: {}", output.stderr);
        assert_eq!(bench.world.backups().len(), before + usize::from(AFTER.contains(&step)), "{what}");
        // The guard has it in hand, without any further command.
        bench.assert_nobody_is_left(&what);
        assert!(!bench.page().exists(), "{what}: the guard did not reopen");
        if number % 2 == 0 {
            bench.world.run(&["recover"]).expect_code(0);
            bench.assert_unharmed(&what);
        }
        bench.assert_next_run_works(&what);
    }
}

#[test]
fn a_run_and_its_guard_killed_together_are_undone_by_recover_or_the_next_run() {
    let mut bench = Bench::new(TestTarget::folder());
    for by_recover in [true, false] {
        let run = bench.world.spawn_stopped("copy-delta");
        assert!(bench.world.site.get("/").is_maintenance());
        let mut all = bench.world.processes();
        // The guard first: it would do its work as soon as the run is gone.
        all.sort_by_key(|(_, line)| !line.contains(" guard "));
        for (id, _) in all {
            kill(Pid::from_raw(id), Signal::SIGKILL).unwrap();
        }
        drop(run);
        bench.assert_nobody_is_left("killed");
        assert!(bench.world.site.get("/").is_maintenance(), "as after a power cut");
        if by_recover {
            let settings = fs::read(bench.world.settings_file()).unwrap();
            fs::remove_file(bench.world.settings_file()).unwrap();
            let output = bench.world.run(&["recover"]).expect_code(0);
            assert!(output.stderr.contains("reopened pocket"), "{}", output.stderr);
            bench.assert_unharmed("recover");
            let output = bench.world.run(&["recover"]).expect_code(0);
            assert!(output.stderr.contains("no site was left closed"), "{}", output.stderr);
            fs::write(bench.world.settings_file(), settings).unwrap();
            bench.assert_next_run_works("recover");
        } else {
            let output = bench.world.run(&["run"]).expect_code(3);
            assert!(output.stderr.contains("had left the site closed; it was reopened"), "{}", output.stderr);
            bench.assert_unharmed("the next run");
        }
    }
}

#[test]
fn a_run_that_hangs_at_any_step_does_not_keep_the_site_closed() {
    let mut bench = Bench::new(TestTarget::folder());
    for step in STEPS {
        let what = format!("hung at {step}");
        let mut run = bench.spawn(step, "hang");
        run.wait_for_words(&format!("step {step}"));
        if CLOSED.contains(&step) {
            wait_for(&format!("{what}: the guard to reopen"), LIMIT, || !bench.page().exists());
            assert!(!run.has_ended());
        }
        wait_for("an open site", LIMIT, || bench.world.site.is_open());
        if step != "lock" {
            let output = bench.world.run(&["run"]).expect_code(4);
            assert!(output.stderr.contains(&format!("process {}", run.id())), "{what}: {}", output.stderr);
            assert!(output.stderr.contains(&format!("now at the step {step}")), "{what}: {}", output.stderr);
        }
        run.signal(Signal::SIGKILL);
        assert_eq!(run.wait().signal, Some(9));
        bench.assert_nobody_is_left(&what);
        bench.world.run(&["recover"]).expect_code(0);
        bench.assert_unharmed(&what);
    }
    bench.assert_next_run_works("hung");
}

#[test]
fn a_run_that_was_stuck_in_the_window_gives_its_backup_up() {
    let mut bench = Bench::new(TestTarget::folder());
    let run = bench.world.spawn_stopped("copy-delta");
    wait_for("the guard to reopen", LIMIT, || bench.world.site.is_open());
    let output = run.go_on().expect_code(1);
    assert!(output.stderr.contains("the site was reopened before the copy was complete"), "{}", output.stderr);
    assert!(output.stderr.contains("max_seconds"), "{}", output.stderr);
    assert_eq!(bench.world.backups().len(), 1);
    bench.assert_unharmed("stuck");
    bench.assert_next_run_works("stuck");
}

#[test]
fn the_guard_is_awake_again_after_the_hooks_of_maintenance() {
    let mut bench = Bench::new(TestTarget::folder());
    // There are no hooks, so that it is told to pause and to go on in the same breath.
    let mut run = bench.spawn_with("reopen", "hang", &["--window", "full"]);
    run.wait_for_words("step reopen");
    assert!(bench.page().exists());
    wait_for("the guard to reopen", LIMIT, || !bench.page().exists());
    run.signal(Signal::SIGKILL);
    run.wait();
    bench.assert_nobody_is_left("paused");
    bench.assert_unharmed("paused");
}

#[test]
fn a_dump_client_that_is_killed_is_an_error_and_no_backup() {
    for (engine, client) in [(Engine::MariaDb, "mariadb-dump"), (Engine::Postgres, "pg_dump")] {
        let site = PocketSite::builder().engine(engine).files(10).log_rows(120_000).build();
        let mut bench = Bench::around(site, TestTarget::folder());
        let run = bench.world.spawn_stopped("copy-delta");
        let dump = descendant(run.id(), client).expect("the dump is not so quick");
        kill(Pid::from_raw(dump), Signal::SIGKILL).unwrap();
        let output = run.go_on().expect_code(1);
        assert!(output.stderr.contains("SIGKILL"), "{}", output.stderr);
        assert_eq!((bench.world.backups().len(), bench.partials()), (1, 0));
        bench.assert_unharmed("dump killed");
        bench.assert_next_run_works("dump killed");
    }
}

#[test]
fn the_guard_needs_no_database() {
    for stopped in [true, false] {
        let server = MariaDb::start();
        let site = PocketSite::builder().server(&Server::MariaDb(server.clone())).files(10).build();
        let mut bench = Bench::around(site, TestTarget::folder());
        let run = bench.world.spawn_stopped("snapshot");
        assert!(bench.page().exists());
        match stopped {
            true => server.signal(Signal::SIGSTOP),
            false => server.kill(),
        }
        run.signal(Signal::SIGCONT);
        wait_for("the page to go", LIMIT, || !bench.page().exists());
        if stopped {
            // The run still waits for a snapshot; a person ends it.
            run.signal(Signal::SIGTERM);
        }
        let output = run.wait().expect_code(1);
        assert!(output.stderr.contains("error: "), "{}", output.stderr);
        assert!(!bench.page().exists());
        match stopped {
            true => server.signal(Signal::SIGCONT),
            false => server.restart(),
        }
        bench.assert_nobody_is_left("database");
        bench.assert_unharmed("database");
        bench.assert_next_run_works("database");
    }
}

#[test]
fn a_database_killed_in_the_middle_of_the_dump_is_an_error_and_no_backup() {
    for engine in Engine::ALL {
        let server = Server::start(engine);
        let site = PocketSite::builder().server(&server).files(10).log_rows(60_000).build();
        let mut bench = Bench::around(site, TestTarget::folder());
        let run = bench.spawn("copy-delta", "stop");
        let client = if engine == Engine::MariaDb { "mariadb-dump" } else { "pg_dump" };
        let mut dump = None;
        wait_for("the dump", LIMIT, || {
            dump = descendant(run.id(), client);
            dump.is_some() && run.words().contains("step snapshot")
        });
        // Not a trial of preflight, which is over by then.
        let dump = Pid::from_raw(dump.unwrap());
        let _ = kill(dump, Signal::SIGSTOP);
        let stat = format!("/proc/{}/stat", run.id());
        wait_for("the run to stop", LIMIT, || {
            // Stopped before its first byte it would never be established.
            let _ = kill(dump, Signal::SIGCONT);
            fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T "))
        });
        server.kill();
        let output = run.go_on().expect_code(1);
        assert!(output.stderr.contains("  because: ") || output.stderr.contains("it said"), "{}", output.stderr);
        assert!(!bench.page().exists());
        assert_eq!((bench.world.backups().len(), bench.partials()), (1, 0));
        server.restart();
        bench.assert_unharmed("database killed");
        bench.assert_next_run_works("database killed");
    }
}

#[test]
fn a_target_that_fills_up_is_an_error_that_says_so() {
    // Early, by files of the pool; late, by the dump.
    for late in [false, true] {
        let mut bench = Bench::new(TestTarget::ext4(96));
        // Leaves enough for a run like the last one, by which a forecast is made.
        bench.world.target.fill_up(6 << 20);
        let output = match late {
            false => {
                // What is there before that is forecast.
                let run = bench.world.spawn_stopped("pre-job");
                let content: Vec<u8> =
                    (0..12u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
                bench.world.site.upload(&content);
                run.go_on()
            }
            true => {
                let random = "CONCAT(SHA2(RAND(), 512), SHA2(RAND(), 512))";
                bench.world.site.query(&format!(
                    "CREATE TABLE {{big}} AS SELECT {random} a, {random} b, {random} c FROM seq_1_to_30000"
                ));
                bench.world.run(&["run"])
            }
        };
        let output = output.expect_code(1);
        assert!(output.stderr.contains("No space left on device"), "{}", output.stderr);
        assert!(output.stderr.contains("next: the disk is full"), "{}", output.stderr);
        bench.assert_nobody_is_left("full");
        bench.assert_unharmed("full");
        assert_eq!((bench.world.backups().len(), bench.partials()), (1, 0), "late {late}");
        bench.world.target.make_room();
        bench.assert_next_run_works("room again");
    }
}

#[test]
fn a_target_that_turns_read_only_or_loses_its_disk_is_an_error_and_the_site_is_open() {
    let (ext4, xfs) = (FileSystem::Ext4, FileSystem::Xfs);
    for (step, loses_disk, kind) in
        [("seal", false, ext4), ("snapshot", true, ext4), ("copy-referenced", true, xfs), ("seal", true, xfs)]
    {
        let mut bench = Bench::new(TestTarget::formatted(kind, 320));
        let what = format!("{step} {loses_disk} {kind:?}");
        let run = bench.world.spawn_stopped(step);
        match loses_disk {
            true => bench.world.target.lose_disk(),
            false => bench.world.target.set_read_only(true),
        }
        let output = run.go_on().expect_code(1);
        let said = if loses_disk { "Input/output error" } else { "Read-only file system" };
        assert!(output.stderr.contains(said) && output.stderr.contains("  next: "), "{what}: {}", output.stderr);
        assert!(bench.world.site.is_open(), "{what}");
        assert_eq!(bench.notes(), 0, "{what}");
        bench.assert_nobody_is_left(&what);
        match loses_disk {
            true => {
                bench.world.target.unmount();
                bench.world.target.mount_again();
            }
            false => bench.world.target.set_read_only(false),
        }
        bench.assert_unharmed(&what);
        bench.assert_next_run_works(&what);
    }
}

#[test]
fn a_disk_that_is_full_only_when_data_are_synced_is_an_error_and_no_backup() {
    let bench = Bench::new(TestTarget::ext4_on_smaller_disk(256, 24));
    for seed in 1..5u32 {
        let content = (0..8u32 << 20).map(|at| ((at + (seed << 23)).wrapping_mul(2_654_435_761) >> 20) as u8);
        bench.world.site.upload(&content.collect::<Vec<u8>>());
    }
    let output = bench.world.run(&["run"]).expect_code(1);
    assert!(output.stderr.contains("error: ") && output.stderr.contains("  next: "), "{}", output.stderr);
    assert!(bench.world.site.is_open());
    assert_eq!((bench.world.backups().len(), bench.notes()), (1, 0));
    bench.assert_nobody_is_left("late ENOSPC");
    // What has a name in the pool is right.
    let check = "find . -type f -printf '%f  %p\\n' | sha1sum --quiet --strict -c";
    succeed(Command::new("sh").args(["-c", check]).current_dir(bench.world.site_folder().join("filedir")));
}

#[test]
fn a_target_that_hangs_does_not_keep_the_site_closed() {
    let mut bench = Bench::new(TestTarget::ext4(128));
    let target = bench.world.target.path().to_owned();
    let run = bench.world.spawn_stopped("snapshot");
    succeed(Command::new("fsfreeze").arg("--freeze").arg(&target));
    run.signal(Signal::SIGCONT);
    wait_for("the guard to reopen", LIMIT, || !bench.page().exists());
    let open = bench.world.site.is_open();
    // Not even SIGKILL ends whoever waits for such a disk.
    run.signal(Signal::SIGKILL);
    succeed(Command::new("fsfreeze").arg("--unfreeze").arg(&target));
    assert!(open);
    run.wait();
    bench.assert_nobody_is_left("hanging target");
    bench.world.run(&["recover"]).expect_code(0);
    bench.assert_unharmed("hanging target");
    bench.assert_next_run_works("hanging target");
}
