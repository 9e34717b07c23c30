//! The bench itself: the pocket site behaves as Moodle does, and the tools that judge others are right.
//!
//! The program under test is not used here.

mod support;

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{
    Connect, Database, Engine, FileSystem, Layout, LoadOptions, MariaDb, PocketSite, Postgres, Scratch, Server,
    TestTarget, TreeCompare, World, assert_same, command_as, compare_snapshots, rows_compare, rows_snapshot, succeed,
    tree_compare, wait_for,
};

/// Longer than anything takes on a busy machine.
const EASY_LIMIT: Duration = Duration::from_secs(90);

fn words(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

// ---- The site as users see it

#[test]
fn every_engine_and_layout_serves_files() {
    for engine in Engine::ALL {
        for layout in Layout::ALL {
            let mut site = PocketSite::builder().engine(engine).layout(layout).files(20).build();
            site.serve();
            serves_files(&site);
            assert!(!site.ran_as_root());
        }
    }
}

fn serves_files(site: &PocketSite) {
    let page = site.get("/");
    assert_eq!((page.status, page.text().as_str()), (200, "Pocket Moodle is open.\n"));

    let content = b"what a user sends, with \0 and \xff in it";
    let (id, hash) = site.upload(content);
    let stored = site.filedir().join(&hash[..2]).join(&hash[2..4]).join(&hash);
    assert_eq!(std::fs::read(&stored).unwrap(), content);
    assert_eq!(site.get(&format!("/pluginfile.php?id={id}")).body, content);
    assert_eq!(site.get(&format!("/pluginfile.php?hash={hash}")).body, content);
    assert_eq!(site.value(&format!("SELECT filesize FROM {{files}} WHERE id = {id}")), content.len().to_string());

    assert_eq!(site.post(&format!("/delete.php?id={id}"), b"").status, 200);
    assert!(!stored.exists());
    assert!(site.trashdir().join(&hash[..2]).join(&hash[2..4]).join(&hash).exists());
    assert_eq!(site.get(&format!("/pluginfile.php?id={id}")).status, 404);
    assert_eq!(site.lost_files(), Vec::<String>::new());
}

#[test]
fn content_goes_to_trash_with_its_last_row_and_comes_back_when_read() {
    let mut site = PocketSite::builder().files(5).build();
    site.serve();
    let (first, hash) = site.upload(b"shared by two rows");
    let (second, same) = site.upload(b"shared by two rows");
    assert_eq!(hash, same);
    let below = Path::new(&hash[..2]).join(&hash[2..4]).join(&hash);
    let (pool, trash) = (site.filedir().join(&below), site.trashdir().join(&below));

    site.post(&format!("/delete.php?id={first}"), b"");
    assert!(pool.exists() && !trash.exists());

    // As a deletion that raced an upload leaves it.
    succeed(command_as("www-data", "mkdir").arg("-p").arg(trash.parent().unwrap()));
    std::fs::rename(&pool, &trash).unwrap();
    assert_eq!(site.get(&format!("/pluginfile.php?id={second}")).body, b"shared by two rows");
    assert!(pool.exists() && !trash.exists());

    std::fs::remove_file(&pool).unwrap();
    assert_eq!(site.get(&format!("/pluginfile.php?id={second}")).status, 500);
    assert_eq!(site.lost_files(), [format!("{second} {hash}")]);
}

#[test]
fn tasks_do_what_cron_would() {
    for engine in Engine::ALL {
        let mut site = PocketSite::builder().engine(engine).files(5).build();
        site.serve();
        let task = |name: &str| assert_eq!(site.get(&format!("/task.php?task={name}")).status, 200, "{name}");
        task("truncate_tags");
        assert_eq!(site.value("SELECT COUNT(*) FROM {tag}"), "0");
        task("rebuild_tags");
        assert_eq!(site.value("SELECT COUNT(*) FROM {tag}"), "20");
        task("alter_table");
        let (id, _) = site.upload(b"rubbish");
        site.post(&format!("/delete.php?id={id}"), b"");
        task("purge_trash");
        assert_eq!(std::fs::read_dir(site.trashdir()).unwrap().count(), 0);
    }
}

#[test]
fn a_slow_page_keeps_its_transaction_open() {
    for engine in Engine::ALL {
        // A server of its own: on a shared one others have transactions too.
        let mut site = PocketSite::builder().server(&Server::start(engine)).files(5).build();
        site.serve();
        std::thread::scope(|scope| {
            let slow = scope.spawn(|| site.get("/slow.php?ms=2000"));
            wait_for("a transaction", EASY_LIMIT, || has_open_transaction(&site));
            assert!(!slow.is_finished());
            assert_eq!(slow.join().unwrap().status, 200);
        });
        assert!(!has_open_transaction(&site));
    }
}

fn has_open_transaction(site: &PocketSite) -> bool {
    let state = match site.database.server.engine() {
        // Not INNODB_TRX: it shows what was last asked for as long as somebody asks more often than ten times a second.
        Engine::MariaDb => "SHOW ENGINE INNODB STATUS",
        Engine::Postgres => "SELECT state FROM pg_stat_activity WHERE state = 'idle in transaction'",
    };
    let shown = site.query(state).concat().concat();
    shown.contains("idle in transaction")
        || shown.lines().any(|line| line.contains("TRANSACTION") && line.contains(", ACTIVE"))
}

// ---- The connection

#[test]
fn every_form_of_connection_works() {
    let mariadb = Server::MariaDb(MariaDb::start_with_tls());
    let postgres = Server::Postgres(Postgres::start_with_tls());
    let odd = [" sp ace ", "quo'te\"s", "back\\slash\\", "100%#$=;", "ключ 鍵", "`$(id)`\\'"];
    for (server, dbtypes) in [(&mariadb, ["mariadb", "mysqli", "auroramysql"]), (&postgres, ["pgsql"; 3])] {
        for (number, connect) in [Connect::Socket, Connect::Tcp, Connect::Tls].into_iter().enumerate() {
            let user = format!("u{number} {}", odd[number]);
            let password = odd[number + 3];
            let mut site = PocketSite::builder()
                .server(server)
                .dbtype(dbtypes[number])
                .connect(connect)
                .account(&user, password)
                .persistent(number > 0)
                .prefix(["m2_", "x", "mdl_"][number])
                .files(2)
                .build();
            site.serve();
            assert!(site.is_open(), "{connect:?} {user} {password}");
            if number > 0 {
                assert!(site.is_open(), "the second request on a persistent connection");
            }
        }
    }
}

#[test]
fn postgres_tables_can_lie_in_a_schema() {
    let mut site = PocketSite::builder().engine(Engine::Postgres).schema("Odd schema").files(2).build();
    site.serve();
    assert!(site.is_open());
    let schema = "SELECT schemaname FROM pg_tables WHERE tablename = 'mdl_files'";
    assert_eq!(site.value(schema), "Odd schema");
}

#[test]
fn a_server_can_be_killed_and_comes_back_with_its_data() {
    for engine in Engine::ALL {
        let server = Server::start(engine);
        let mut site = PocketSite::builder().server(&server).files(2).build();
        site.serve();
        server.kill();
        let page = site.get("/");
        assert!(page.status == 500 && !page.is_maintenance(), "{} {}", page.status, page.text());
        let output = site.cli("maintenance", &["--enable"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(words(&output).contains("Database connection failed"));
        server.restart();
        assert!(site.is_open());
    }
}

#[test]
fn a_server_can_hang() {
    for engine in Engine::ALL {
        let server = Server::start(engine);
        let mut site = PocketSite::builder().server(&server).persistent(true).files(2).build();
        site.serve();
        server.freeze();
        std::thread::scope(|scope| {
            let page = scope.spawn(|| site.get("/"));
            let begin = Instant::now();
            wait_for("a while", EASY_LIMIT, || begin.elapsed() > Duration::from_millis(300));
            assert!(!page.is_finished());
            server.thaw();
            assert_eq!(page.join().unwrap().status, 200);
        });
        server.freeze();
    }
}

// ---- config.php and setup.php

/// PHP that reads the settings as a backup has to, and prints some of them.
const READ_SETTINGS: &str = "define('CLI_SCRIPT', true); define('ABORT_AFTER_CONFIG', true); \
    require $argv[1] . '/config.php'; \
    foreach (['dbtype', 'prefix', 'dataroot', 'tempdir', 'backuptempdir', 'localrequestdir', 'dirroot', 'filedir'] as $name) { \
        echo $name, '=', $CFG->$name ?? 'unset', \"\\n\"; } \
    echo isset($DB) ? 'connected' : 'not connected';";

#[test]
fn settings_can_be_read_without_a_database() {
    for layout in Layout::ALL {
        let server = Server::start(Engine::MariaDb);
        let site = PocketSite::builder().server(&server).layout(layout).files(2).build();
        server.kill();
        let output = site.php(&["-r", READ_SETTINGS, site.root.to_str().unwrap()]).output().unwrap();
        let dataroot = site.dataroot.to_str().unwrap();
        let expected = format!(
            "dbtype=mariadb\nprefix=mdl_\ndataroot={dataroot}\ntempdir={dataroot}/temp\n\
             backuptempdir={dataroot}/temp/backup\nlocalrequestdir=/tmp/requestdir\ndirroot={}\nfiledir=unset\nnot connected",
            site.docroot().display(),
        );
        assert_eq!(words(&output), expected);
    }
}

#[test]
fn a_dataroot_that_cannot_be_written_is_fatal() {
    let site = PocketSite::builder().files(2).build();
    std::fs::set_permissions(&site.dataroot, PermissionsExt::from_mode(0o500)).unwrap();
    chown(&site.dataroot, Some(0), Some(0)).unwrap();
    std::fs::set_permissions(&site.dataroot, PermissionsExt::from_mode(0o755)).unwrap();
    let output = site.cli("cfg", &["--name=version"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).starts_with("Fatal error: $CFG->dataroot is not writable"), "{}", words(&output));
}

#[test]
fn php_as_root_is_noticed() {
    let site = PocketSite::builder().files(2).build();
    assert!(!site.ran_as_root());
    succeed(Command::new("php").arg(site.cli_folder().join("cfg.php")).arg("--name=version"));
    assert!(site.ran_as_root());
}

#[test]
fn dirs_can_lie_elsewhere_and_admin_can_be_renamed() {
    for layout in Layout::ALL {
        let mut site = PocketSite::builder().layout(layout).relocated(true).admin("manage").files(5).build();
        site.serve();
        serves_files(&site);
        assert!(site.cli_folder().ends_with("manage/cli"));
        assert_eq!(site.cli("checks", &[]).status.code(), Some(0));
        for name in ["filedir", "trashdir", "cache", "localcache", "temp"] {
            assert!(!site.dataroot.join(name).exists(), "{name}");
        }
    }
}

// ---- The command line scripts

#[test]
fn maintenance_closes_the_site_and_keeps_to_its_release() {
    for (layout, mark) in [(Layout::Classic, "0"), (Layout::Public, "cli mode")] {
        for engine in Engine::ALL {
            let mut site = PocketSite::builder().engine(engine).layout(layout).files(2).build();
            site.serve();
            site.set_config("maintenance_later", "99999999999");

            assert_eq!(site.cli("maintenance", &["--enable"]).status.code(), Some(0));
            let closed = site.get("/");
            assert!(closed.is_maintenance());
            assert!(closed.text().contains("Pocket Moodle is closed for a moment."), "the admin's template");
            assert_eq!(site.post("/upload.php", b"x").status, 503);
            assert_eq!(site.config("maintenance_enabled").as_deref(), Some(mark));
            assert_eq!(site.config("maintenance_later"), None);
            let page = std::fs::metadata(site.maintenance_page()).unwrap();
            assert_eq!((page.mode() & 0o7777, page.uid()), (0o666, support::owner_ids("www-data").0));
            assert!(words(&site.cli("maintenance", &[])).contains("Status: enabled"));

            // Only the file is removed: from 5.1 on that is half a job.
            std::fs::remove_file(site.maintenance_page()).unwrap();
            assert_eq!(site.is_open(), mark == "0");

            assert_eq!(site.cli("maintenance", &["--disable"]).status.code(), Some(0));
            assert!(site.is_open());
            assert_eq!(site.config("maintenance_enabled").as_deref(), Some("0"));
        }
    }
}

#[test]
fn older_and_planned_maintenance_are_there_too() {
    let mut site = PocketSite::builder().files(2).build();
    site.serve();
    assert_eq!(site.cli("maintenance", &["--enableold"]).status.code(), Some(0));
    assert!(site.get("/").is_maintenance());
    assert!(!site.maintenance_page().exists());
    site.cli("maintenance", &["--disable"]);

    site.cli("maintenance", &["--enablelater=10"]);
    assert!(site.config("maintenance_later").is_some());
    assert!(site.is_open());
    site.set_config("maintenance_later", "1000");
    // The first one to come after the time closes the site, and does not see it himself.
    wait_for("the site to close", EASY_LIMIT, || site.get("/").is_maintenance());
    assert!(site.maintenance_page().exists());
    assert_eq!(site.config("maintenance_later"), None);

    assert_eq!(site.cli("maintenance", &["--status"]).status.code(), Some(1), "there is no such option");
}

#[test]
fn cfg_tells_by_its_exit_code() {
    let site = PocketSite::builder().files(2).config("$CFG->noemailever = true;").build();
    let cfg = |args: &[&str]| {
        let output = site.cli("cfg", args);
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(cfg(&["--name=cron_enabled", "--no-eol"]), (0, "1".into()));
    assert_eq!(cfg(&["--name=cron_enabled"]), (0, "1\n".into()));
    assert_eq!(cfg(&["--name=nothing"]).0, 3);
    assert_eq!(cfg(&["--name=noemailever", "--set=0"]).0, 4);
    assert_eq!(cfg(&["--name=x", "--set=it's"]).0, 0);
    assert_eq!(cfg(&["--name=x", "--json"]), (0, "\"it's\"\n".into()));
    assert_eq!(cfg(&["--name=x", "--unset"]).0, 0);
    assert_eq!(cfg(&["--name=x"]).0, 3);
    assert_eq!(cfg(&["--component=mod_quiz", "--name=version"]), (0, "2024100700\n".into()));
    assert_eq!(cfg(&["--component=mod_quiz", "--json"]), (0, "{\"version\":\"2024100700\"}\n".into()));
    assert_eq!(cfg(&["--nonsense"]).0, 1);
}

#[test]
fn settings_are_cached_until_they_are_changed_by_the_site() {
    let site = PocketSite::builder().files(2).build();
    site.set_config("theme", "one");
    let seen = || String::from_utf8(site.cli("cfg", &["--name=theme", "--no-eol"]).stdout).unwrap();
    assert_eq!(seen(), "one");
    site.query("UPDATE {config} SET value = 'two' WHERE name = 'theme'");
    assert_eq!(seen(), "one");
    assert_eq!(site.cli("purge_caches", &[]).status.code(), Some(0));
    assert_eq!(seen(), "two");
}

#[test]
fn cron_runs_tasks_unless_it_may_not() {
    let site = PocketSite::builder().files(2).build();
    let code = |args: &[&str]| site.cli("cron", args).status.code();
    let output = site.cli("cron", &["--keep-alive=0"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(words(&output).contains("Scheduled task complete: \\core\\task\\tag_cron_task"));

    assert_eq!(code(&["--disable"]), Some(0));
    assert_eq!(code(&["--keep-alive=0"]), Some(1));
    assert_eq!(code(&["--enable"]), Some(0));

    site.cli("maintenance", &["--enable"]);
    let output = site.cli("cron", &["--keep-alive=0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("cron execution suspended"));
}

#[test]
fn a_running_task_is_seen_and_a_staying_cron_can_be_stopped() {
    let site = PocketSite::builder().files(2).build();
    site.set_config("pocket_task_ms", "1500");
    let script = site.cli_folder().join("cron.php");
    let mut cron = site.php(&[script.to_str().unwrap()]).stdout(std::process::Stdio::null()).spawn().unwrap();
    let running = || site.value("SELECT classname FROM {task_scheduled} WHERE timestarted IS NOT NULL");
    wait_for("the task", EASY_LIMIT, || running() == "\\pocket\\task\\sleep_task");
    assert!(words(&site.cli("cron", &["--list"])).contains("sleep_task"));
    assert_eq!(site.cli("cron", &["--stop"]).status.code(), Some(0));
    // It would stay three minutes.
    wait_for("cron to stop", EASY_LIMIT, || cron.try_wait().unwrap().is_some());
    assert_eq!(running(), "");
}

#[test]
fn an_upgrade_locks_everybody_out() {
    let mut site = PocketSite::builder().files(2).build();
    site.serve();
    site.set_config("upgraderunning", "99999999999");
    assert_eq!(site.get("/").status, 500);
    let output = site.cli("maintenance", &["--enable"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("Site is being upgraded"));
}

#[test]
fn checks_tell_of_a_version_that_differs() {
    let site = PocketSite::builder().files(2).build();
    assert_eq!(site.cli("checks", &[]).status.code(), Some(0));
    site.set_config("version", "2001010100.00");
    let output = site.cli("checks", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(words(&output).starts_with("CRITICAL:"));
}

// ---- Load and watch

#[test]
fn a_site_under_load_loses_nothing() {
    for engine in Engine::ALL {
        let mut site = PocketSite::builder().engine(engine).files(20).build();
        site.serve();
        let tasks = vec!["rebuild_tags", "alter_table"];
        let load = site.load(LoadOptions { clients: 2, tasks, keep: 20, ..LoadOptions::default() });
        wait_for("some load", EASY_LIMIT, || load.done() > 100);

        let watch = site.watch();
        site.cli("maintenance", &["--enable"]);
        let closed = Instant::now();
        wait_for("a while", EASY_LIMIT, || closed.elapsed() > Duration::from_millis(300));
        site.cli("maintenance", &["--disable"]);
        let at_least = closed.elapsed();
        let before = load.done();
        wait_for("more load", EASY_LIMIT, || load.done() > before + 50);
        let (seen, report) = (watch.stop(), load.stop());

        assert_eq!((seen.times.len(), seen.closed_at_end), (1, false), "{seen:?}");
        assert!(
            seen.longest > Duration::from_millis(300) && seen.longest < at_least + Duration::from_millis(500),
            "{seen:?}"
        );
        assert!(report.lost.is_empty(), "{:?}", report.lost);
        assert!(report.uploads > 10 && report.downloads > 10 && report.deletes > 5 && report.tasks > 0, "{report:?}");
        assert!(report.statuses.keys().all(|status| [200, 503].contains(status)), "{:?}", report.statuses);
        assert!(report.statuses[&503] > 0);
        assert_eq!(site.lost_files(), Vec::<String>::new());
        for id in report.kept {
            assert_eq!(site.get(&format!("/pluginfile.php?id={id}")).status, 200);
        }
    }
}

#[test]
fn a_watch_that_ends_while_the_site_is_closed_says_so() {
    let mut site = PocketSite::builder().files(2).build();
    site.serve();
    site.cli("maintenance", &["--enable"]);
    let watch = site.watch();
    let begin = Instant::now();
    wait_for("a while", EASY_LIMIT, || begin.elapsed() > Duration::from_millis(100));
    let seen = watch.stop();
    assert!(seen.closed_at_end && seen.longest > Duration::from_millis(50), "{seen:?}");
}

// ---- Comparing

#[test]
fn databases_are_compared_row_by_row() {
    for engine in Engine::ALL {
        let site = PocketSite::builder().engine(engine).files(20).build();
        let copy = copied(&site.database);
        assert_same("a copy", rows_compare(&site.database, &copy));

        let before = rows_snapshot(&copy);
        let rows: usize = before.values().map(Vec::len).sum();
        assert!(rows > 1300, "{rows}");
        for (change, table) in [
            ("UPDATE mdl_pocket_nasty SET words = 'NULL' WHERE label = 'null'", "pocket_nasty"),
            ("DELETE FROM mdl_files WHERE id = 3", "files"),
            ("CREATE INDEX mdl_more_ix ON mdl_course (format)", "course"),
            ("ALTER TABLE mdl_pocket_empty ADD COLUMN more INT", "pocket_empty"),
            ("DROP TABLE mdl_tag", "tag"),
        ] {
            let before = rows_snapshot(&copy);
            copy.query(change);
            let found = compare_snapshots(&before, &rows_snapshot(&copy));
            assert!(!found.is_empty() && found.iter().all(|line| line.contains(table)), "{change}: {found:?}");
        }
    }
}

/// A copy of a database, made with the engine's own tools.
fn copied(database: &Database) -> Database {
    let name = format!("{}_copy", database.name);
    let copy = database.server.create_database(&name, &format!("{name} user"), "x");
    let script = match &database.server {
        Server::MariaDb(server) => format!(
            "mariadb-dump --no-defaults --socket='{0}' --max-allowed-packet=1G {1} | \
             mariadb --no-defaults --socket='{0}' --max-allowed-packet=1G {name}",
            server.socket().display(),
            database.name,
        ),
        Server::Postgres(server) => {
            let mut client = server.client();
            client.arg("--dbname").arg(&copy.name);
            server.run_sql(
                None,
                &format!("DROP DATABASE \"{name}\"; CREATE DATABASE \"{name}\" TEMPLATE \"{}\"", database.name),
            );
            return copy;
        }
    };
    succeed(Command::new("bash").args(["-o", "pipefail", "-c", &script]));
    copy
}

#[test]
fn trees_are_compared_in_every_respect() {
    let site = PocketSite::builder().files(20).build();
    let scratch = Scratch::new();
    let copy = scratch.join("copy");
    succeed(Command::new("cp").arg("-a").arg(&site.dataroot).arg(&copy));
    assert_same("a copy", tree_compare(&site.dataroot, &copy));

    let odd = copy.join("repository/odd");
    let changes: [(&str, &dyn Fn()); 10] = [
        ("content", &|| std::fs::write(odd.join("empty file"), "x").unwrap()),
        ("mode", &|| std::fs::set_permissions(odd.join("private"), PermissionsExt::from_mode(0o644)).unwrap()),
        ("owner", &|| chown(odd.join("private"), Some(0), None).unwrap()),
        ("time", &|| drop(succeed(Command::new("touch").arg(odd.join("private"))))),
        ("only in", &|| std::fs::remove_file(odd.join("old")).unwrap()),
        ("only in", &|| std::fs::write(odd.join("new"), "").unwrap()),
        ("target", &|| replace(&odd.join("link"), |path| symlink("elsewhere", path).unwrap())),
        ("kind", &|| replace(&odd.join("link"), |path| std::fs::write(path, "empty file").unwrap())),
        ("same file as", &|| {
            replace(&odd.join("pair two"), |path| std::fs::write(path, "one file, two names").unwrap())
        }),
        ("only in", &|| std::fs::remove_dir(odd.join("empty folder")).unwrap()),
    ];
    let known = TreeCompare::new().without_folder_times();
    for (wanted, change) in changes {
        change();
        let found = known.run(&site.dataroot, &copy);
        assert!(found.iter().any(|line| line.contains(wanted)), "{wanted}: {found:?}");
        succeed(Command::new("rm").arg("-rf").arg(&copy));
        succeed(Command::new("cp").arg("-a").arg(&site.dataroot).arg(&copy));
    }
    std::fs::write(odd.join("new"), "").unwrap();
    assert_same("what is left out", TreeCompare::new().skip("repository").run(&site.dataroot, &copy));
}

fn replace(path: &Path, make: impl FnOnce(&Path)) {
    std::fs::remove_file(path).unwrap();
    make(path);
}

// ---- Targets

#[test]
fn every_file_system_can_be_a_target() {
    for (kind, name) in [(FileSystem::Ext4, "ext4"), (FileSystem::Xfs, "xfs"), (FileSystem::Btrfs, "btrfs")] {
        let target = TestTarget::formatted(kind, 400);
        let found = succeed(Command::new("findmnt").args(["-no", "FSTYPE"]).arg(target.path()));
        assert_eq!(String::from_utf8_lossy(&found).trim(), name);
        assert_eq!(target.uuid().len(), 36);
        std::fs::write(target.path().join("file"), "x").unwrap();
        let (path, device) = (target.path().to_owned(), target.device());
        drop(target);
        assert!(!path.exists());
        let attached =
            String::from_utf8(succeed(Command::new("losetup").args(["-l", "-n", "-O", "NAME,BACK-FILE"]))).unwrap();
        let folder = path.parent().unwrap().to_str().unwrap();
        assert!(!attached.contains(folder), "{} is left: {attached}", device.display());
    }
}

#[test]
fn a_target_can_be_full_read_only_lost_or_gone() {
    let target = TestTarget::ext4(64);
    let file = target.path().join("file");
    let error = |result: std::io::Result<()>| result.map_err(|error| error.raw_os_error().unwrap());

    target.fill_up(1 << 20);
    assert!((1 << 19..=1 << 20).contains(&target.free_bytes()), "{}", target.free_bytes());
    assert_eq!(error(std::fs::write(&file, vec![1; 2 << 20])), Err(nix::libc::ENOSPC));
    target.make_room();
    assert_eq!(error(std::fs::write(&file, vec![1; 2 << 20])), Ok(()));

    target.set_read_only(true);
    assert_eq!(error(std::fs::write(&file, "x")), Err(nix::libc::EROFS));
    target.set_read_only(false);
    assert_eq!(error(std::fs::write(&file, "x")), Ok(()));

    target.unmount();
    assert!(!file.exists());
    target.mount_again();
    assert!(file.exists());

    target.lose_disk();
    assert_eq!(error(std::fs::write(target.path().join("new"), "x")), Err(nix::libc::EIO));
}

#[test]
fn a_thin_disk_fails_when_it_is_synced() {
    let target = TestTarget::ext4_on_thin_disk(200, 40);
    let mut file = std::fs::File::create(target.path().join("file")).unwrap();
    file.write_all(&vec![1; 60 << 20]).unwrap();
    assert!(file.sync_all().is_err());
}

#[test]
fn a_target_that_hangs_goes_on_when_it_is_thawed() {
    let target = TestTarget::ext4(64);
    target.freeze();
    let path = target.path().join("file");
    let writer = std::thread::spawn(move || std::fs::write(path, "x"));
    let begin = Instant::now();
    wait_for("a while", EASY_LIMIT, || begin.elapsed() > Duration::from_millis(200));
    assert!(!writer.is_finished());
    target.thaw();
    writer.join().unwrap().unwrap();

    // What is left frozen goes all the same.
    target.freeze();
    let path = target.path().to_owned();
    drop(target);
    assert!(!path.exists());
}

#[test]
fn a_power_cut_takes_what_was_not_synced() {
    let target = TestTarget::ext4(64);
    let safe = target.path().join("safe");
    write_synced(&safe);
    let open = std::fs::File::create(target.path().join("hasty")).unwrap();
    target.cut_power();
    assert_eq!(std::fs::read(&safe).unwrap(), b"synced");
    assert!(!target.path().join("hasty").exists());
    assert!(open.sync_all().is_err(), "what was open stays lost");
    write_synced(&target.path().join("after"));
}

#[test]
fn a_power_cut_can_be_looked_at_while_work_goes_on() {
    let target = TestTarget::ext4_with_copies(100);
    write_synced(&target.path().join("safe"));
    std::fs::write(target.path().join("hasty"), "x").unwrap();
    let copies = [target.after_power_cut(), target.after_power_cut()];
    for copy in &copies {
        assert_eq!(std::fs::read(copy.path().join("safe")).unwrap(), b"synced");
        assert!(!copy.path().join("hasty").exists());
    }
    write_synced(&target.path().join("later"));
    assert!(target.path().join("hasty").exists() && !copies[0].path().join("later").exists());
    // In the other order than they were made.
    drop(target);
    assert!(copies[1].path().join("safe").exists());
}

fn write_synced(path: &Path) {
    std::fs::write(path, "synced").unwrap();
    std::fs::File::open(path).unwrap().sync_all().unwrap();
    std::fs::File::open(path.parent().unwrap()).unwrap().sync_all().unwrap();
}

// ---- The program in its world

#[test]
fn a_world_runs_the_program_and_knows_its_processes() {
    let mut world =
        World::builder(PocketSite::builder().files(2).build()).settings("[window]\nmode = \"full\"").build();
    let settings = std::fs::read_to_string(world.settings_file()).unwrap();
    assert!(settings.contains("name = \"pocket\"") && settings.contains("mode = \"full\""));
    assert!(world.site.is_open());

    world.set_env("GREETING", "hello");
    let output = world.run(&["--version"]).expect_code(0);
    assert!(
        output.stdout.starts_with("moodle-backup ") && output.stderr.is_empty() && !output.output_held,
        "{output:?}"
    );
    assert_eq!((world.processes(), world.backups()), (vec![], vec![]));

    // Whoever has the environment of this world belongs to it, whichever program it is.
    let environment: Vec<_> =
        world.command(&[]).get_envs().map(|(name, value)| (name.to_owned(), value.unwrap().to_owned())).collect();
    let mut stray = Command::new("sleep").arg("1000").env_clear().envs(environment).spawn().unwrap();
    wait_for("the stray", EASY_LIMIT, || world.processes() == [(stray.id() as i32, "sleep 1000".into())]);
    drop(world);
    assert!(!stray.wait().unwrap().success());
}

// ---- Cleaning up

const VICTIM: &str = "MOODLE_BACKUP_TEST_VICTIM";

/// Started by the test below, which kills it.
#[test]
#[ignore = "hangs by design"]
fn victim() {
    let Some(note) = std::env::var_os(VICTIM) else { return };
    let target = TestTarget::ext4(64);
    let mut site = PocketSite::builder().engine(Engine::MariaDb).files(2).build();
    let other = PocketSite::builder().engine(Engine::Postgres).files(2).build();
    site.serve();
    let things = [target.path(), site.scratch().path(), other.scratch().path()];
    let text: Vec<String> = things.iter().map(|path| path.display().to_string()).collect();
    std::fs::write(&note, format!("{}\n{}\n.", site.port(), text.join("\n"))).unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_killed_test_leaves_nothing() {
    let scratch = Scratch::new();
    let note = scratch.join("note");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "victim"])
        .env(VICTIM, &note)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let read = || std::fs::read_to_string(&note).unwrap_or_default();
    wait_for("the victim", EASY_LIMIT, || read().ends_with('.'));
    child.kill().unwrap();
    child.wait().unwrap();
    let note = read();
    let mut lines = note.lines();
    let port: u16 = lines.next().unwrap().parse().unwrap();
    let things: Vec<&str> = lines.filter(|line| *line != ".").collect();
    assert_eq!(things.len(), 3);
    wait_for("the janitor", EASY_LIMIT, || {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        things.iter().all(|thing| !Path::new(thing).exists() && !mounts.contains(thing))
            && std::net::TcpStream::connect(("127.0.0.1", port)).is_err()
    });
}

#[test]
fn code_and_files_come_in_the_numbers_asked_for() {
    let site =
        PocketSite::builder().files(120).file_size(500).log_rows(2500).code_files(200).code_owner("www-data").build();
    assert_eq!(site.value("SELECT COUNT(DISTINCT contenthash) FROM {files} WHERE filesize > 0"), "120");
    assert_eq!(site.value("SELECT COUNT(*) FROM {logstore_standard_log}"), "2500");
    let plugins = succeed(Command::new("find").arg(site.root.join("local")).args(["-type", "f"]));
    assert_eq!(plugins.iter().filter(|byte| **byte == b'\n').count(), 200);
    let owner = std::fs::metadata(site.root.join("index.php")).unwrap().uid();
    assert_eq!(owner, support::owner_ids("www-data").0);
    assert_eq!(site.lost_files(), Vec::<String>::new());
}
