//! What an administrator reads when something is not as it should be: a file for each case in `tests/golden/bad_input/`.
//! In each the program says what to do next, nothing is begun, and earlier backups stay as they are.

mod common;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use common::golden;
use support::{Engine, Fingerprint, PocketSite, TestTarget, World, add_hook, assert_same, changes, fingerprint};

/// A world with one backup, which every case finds and leaves as it is.
struct Bench {
    world: World,
    config: String,
    first: Fingerprint,
}

impl Bench {
    fn new(engine: Engine) -> Self {
        let world = World::builder(PocketSite::builder().engine(engine).files(3).build()).build();
        world.run(&["run"]).expect_code(0);
        let config = fs::read_to_string(world.site.root.join("config.php")).unwrap();
        let first = fingerprint(&world.site_folder());
        Bench { world, config, first }
    }

    /// Runs the program on what the case has made of the world, compares its words, and puts the world right again.
    #[track_caller]
    fn refused(&self, name: &str, code: i32) {
        let output = self.world.run(&["run"]);
        self.judge(name, code, output.code, &output.stderr, &output.stdout);
        self.set_config(&self.config);
        self.world.write_settings("");
    }

    #[track_caller]
    fn judge(&self, name: &str, code: i32, found: Option<i32>, stderr: &str, stdout: &str) {
        assert_eq!(found, Some(code), "{name}: {stderr}{stdout}");
        let said: Vec<&str> = stderr.lines().filter(|line| !line.starts_with("step ")).collect();
        assert!(said.iter().any(|line| line.starts_with("  next: ")), "{name} does not say what to do: {stderr}");
        golden(&format!("bad_input/{name}.txt"), &(self.without_places(&said.join("\n")) + "\n"));
        assert!(!self.world.site.maintenance_page().exists(), "{name}: the site is closed");
        let closed = self.world.root.join("var/lib/moodle-backup/closed");
        assert_eq!(fs::read_dir(closed).map_or(0, Iterator::count), 0, "{name}");
        assert_same(name, changes(&self.first, &fingerprint(&self.world.site_folder())));
        let left = fs::read_dir(self.world.target.path()).unwrap().flatten();
        let left: Vec<_> = left.map(|entry| entry.file_name()).filter(|name| name != "pocket").collect();
        assert!(left.is_empty(), "{name} left {left:?}");
    }

    /// The words with the places that an administrator would have.
    fn without_places(&self, words: &str) -> String {
        let site = &self.world.site;
        let mut words = words.to_owned();
        let places = [
            (site.root.as_path(), "/var/www/moodle"),
            (site.dataroot.as_path(), "/var/moodledata"),
            (self.world.target.path(), "/srv/backup"),
            (self.world.root.as_path(), ""),
            (self.world.scratch().path(), "/scratch"),
        ];
        for (place, shown) in places {
            words = words.replace(place.to_str().unwrap(), shown);
        }
        let socket = match &site.database.server {
            support::Server::MariaDb(server) => server.socket().display().to_string(),
            support::Server::Postgres(server) => server.socket_folder().display().to_string(),
        };
        words = words.replace(&socket, "/run/socket").replace(&site.database.name, "moodle");
        words.replace(&site.database.server.port().to_string(), "5432")
    }

    fn set_config(&self, config: &str) {
        fs::write(self.world.site.root.join("config.php"), config).unwrap();
    }

    /// Changes config.php, which must have had what is replaced.
    fn replace_in_config(&self, old: &str, new: &str) {
        assert!(self.config.contains(old), "{old}");
        self.set_config(&self.config.replace(old, new));
    }

    fn write_settings(&self, site: &str, target: &Path, more: &str) {
        let root = self.world.site.root.display();
        let text =
            format!("[site]\nname = \"pocket\"\nroot = \"{root}\"\n{site}\n[target]\npath = {target:?}\n{more}\n");
        fs::write(self.world.settings_file(), text).unwrap();
    }
}

#[test]
fn settings_and_rights() {
    let bench = Bench::new(Engine::MariaDb);
    let target = bench.world.target.path();
    fs::remove_file(bench.world.settings_file()).unwrap();
    bench.refused("no-settings", 5);
    bench.world.write_settings("[window]\nmax_second = 5\n");
    bench.refused("unknown-key", 5);
    bench.world.write_settings("[window]\nmode = \"shrt\"\n");
    bench.refused("mistyped-value", 5);

    let program = bench.world.scratch().join("moodle-backup");
    fs::copy(env!("CARGO_BIN_EXE_moodle-backup"), &program).unwrap();
    let output = Command::new(&program).arg("run").uid(65534).gid(65534).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    bench.judge("not-root", 5, output.status.code(), &text(&output.stderr), &text(&output.stdout));

    bench.write_settings("php = \"/usr/bin/php0.9\"", target, "");
    bench.refused("no-php", 5);
    bench.write_settings("web_user = \"nosuchuser\"", target, "");
    bench.refused("no-web-user", 5);
    bench.write_settings("web_user = \"root\"", target, "");
    bench.refused("web-user-root", 5);
    bench.world.write_settings("[directories]\npaths = [\"/nonexistent/etc\"]\n");
    bench.refused("no-directory", 5);
    let hook = add_hook(&bench.world, "post-job.d", "10-hook", "true");
    bench.world.write_settings("[hooks]\nuser = \"nosuchuser\"\n");
    bench.refused("no-hook-user", 5);
    fs::remove_file(hook).unwrap();
    bench.world.run(&["run"]).expect_code(0);
}

#[test]
fn the_site() {
    let bench = Bench::new(Engine::MariaDb);
    let root = bench.world.site.root.display().to_string();
    let settings = fs::read_to_string(bench.world.settings_file()).unwrap();
    let empty = bench.world.scratch().folder_of("empty", "root");
    fs::write(bench.world.settings_file(), settings.replace(&root, empty.to_str().unwrap())).unwrap();
    bench.refused("no-moodle", 5);

    bench.set_config(&bench.config.replace("$CFG->prefix", "this is no PHP; $CFG->prefix"));
    let output = bench.world.run(&["run"]).expect_code(5);
    assert!(output.stderr.contains("syntax error, unexpected identifier \"is\""), "PHP's own words: {}", output.stderr);
    bench.set_config(
        &bench.config.replace("require_once(", "throw new Exception('the secrets are gone');\nrequire_once("),
    );
    let output = bench.world.run(&["run"]).expect_code(5);
    assert!(output.stderr.contains("the secrets are gone"), "PHP's own words: {}", output.stderr);
    bench.set_config("<?php\n$CFG = new stdClass();\n");
    let output = bench.world.run(&["run"]).expect_code(5);
    assert!(output.stderr.contains("  next: "), "{}", output.stderr);
    fs::remove_file(bench.world.site.root.join("config.php")).unwrap();
    bench.refused("no-config", 5);
    bench.set_config(&bench.config);

    let dataroot = bench.world.site.dataroot.display().to_string();
    bench.replace_in_config(&dataroot, "/nonexistent/moodledata");
    bench.refused("no-dataroot", 5);
    let mode = fs::metadata(&dataroot).unwrap().permissions();
    fs::set_permissions(&dataroot, PermissionsExt::from_mode(0o000)).unwrap();
    bench.refused("dataroot-unreadable", 5);
    fs::set_permissions(&dataroot, mode).unwrap();
    bench.world.site.set_config("upgraderunning", "99999999999");
    bench.refused("upgrade-running", 5);
    bench.world.site.query("DELETE FROM {config} WHERE name = 'upgraderunning'");
    bench.world.run(&["run"]).expect_code(0);
}

#[test]
fn the_database() {
    for engine in Engine::ALL {
        let bench = Bench::new(engine);
        let name = |case: &str| format!("{}-{case}", if engine == Engine::MariaDb { "mariadb" } else { "postgres" });
        bench.replace_in_config("p&ssw0rd of the site", "another");
        bench.refused(&name("refused"), 5);
        let database = format!("'{}'", bench.world.site.database.name);
        let dbname = bench.config.lines().find(|line| line.contains("$CFG->dbname")).unwrap();
        bench.replace_in_config(dbname, &dbname.replace(&database, "'nosuchdatabase'"));
        bench.refused(&name("no-database"), 5);
        bench.replace_in_config("'mdl_'", "'other_'");
        bench.refused(&name("no-tables"), 5);
        let socket = bench.config.lines().find(|line| line.contains("'dbsocket'")).unwrap();
        bench.replace_in_config(socket, "'dbsocket' => '/nonexistent/socket',");
        bench.refused(&name("not-running"), 5);
        for dbtype in ["sqlsrv", "oci", "sqlite3_pdo"] {
            let old = if engine == Engine::MariaDb { "'mariadb'" } else { "'pgsql'" };
            bench.replace_in_config(old, &format!("'{dbtype}'"));
            bench.refused(&format!("dbtype-{dbtype}"), 5);
        }
        bench.world.run(&["run"]).expect_code(0);
    }
}

#[test]
fn the_target() {
    let bench = Bench::new(Engine::MariaDb);
    let target = bench.world.target.path();
    bench.write_settings("", Path::new("/nonexistent/backup"), "");
    bench.refused("no-target", 5);
    bench.write_settings("", target, "mount_uuid = \"2f6b9d1e-5c4a-4d0e-9a57-0d9f5a3c7b21\"");
    let output = bench.world.run(&["run"]).expect_code(5);
    let words = "the backup disk 2f6b9d1e-5c4a-4d0e-9a57-0d9f5a3c7b21 is not mounted at";
    assert!(output.stderr.contains(words) && output.stderr.contains("setup --yes"), "{}", output.stderr);
    assert!(output.stderr.contains("formats nothing"), "{}", output.stderr);
    for inside in [&bench.world.site.root, &bench.world.site.dataroot] {
        let folder = inside.join("backup");
        fs::create_dir(&folder).unwrap();
        bench.write_settings("", &folder, "");
        let name = if *inside == bench.world.site.root { "target-in-code" } else { "target-in-dataroot" };
        bench.refused(name, 5);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir(&folder).unwrap();
    }
    let file = bench.world.site_folder().join("SITE.json");
    let known = fs::read_to_string(&file).unwrap();
    let mut other: serde_json::Value = serde_json::from_str(&known).unwrap();
    other["siteidentifier_sha256"] = "0".repeat(64).into();
    other["wwwroot"] = "https://other.example.org".into();
    fs::write(&file, other.to_string()).unwrap();
    let output = bench.world.run(&["run"]).expect_code(5);
    assert!(
        output.stderr.contains("holds the backups of another site: https://other.example.org"),
        "{}",
        output.stderr
    );
    fs::write(&file, known).unwrap();

    let disk = TestTarget::ext4(64);
    bench.write_settings("", disk.path(), &format!("mount_uuid = \"{}\"", disk.uuid()));
    bench.world.run(&["run"]).expect_code(0);
    let before = fingerprint(&disk.path().join("pocket"));
    let shown = |words: &str| words.replace(disk.path().to_str().unwrap(), "/srv/backup");
    disk.set_read_only(true);
    let output = bench.world.run(&["run"]).expect_code(5);
    golden("bad_input/target-read-only.txt", &refusal(&shown(&output.stderr)));
    disk.set_read_only(false);
    disk.fill_up(0);
    let output = bench.world.run(&["run"]).expect_code(5);
    assert!(output.stderr.contains("it is full") || output.stderr.contains(" free; "), "{}", output.stderr);
    assert!(output.stderr.contains("  next: "), "{}", output.stderr);
    disk.make_room();
    disk.unmount();
    let output = bench.world.run(&["run"]).expect_code(5);
    assert!(output.stderr.contains("is not mounted at"), "{}", output.stderr);
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0, "nothing fills the disk below");
    disk.mount_again();
    assert_same("the disk", changes(&before, &fingerprint(&disk.path().join("pocket"))));
    bench.world.run(&["run"]).expect_code(0);
    assert!(!bench.world.site.maintenance_page().exists());
}

/// The lines about the refusal.
fn refusal(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().skip_while(|line| !line.starts_with("error: ")).collect();
    lines.join("\n") + "\n"
}
