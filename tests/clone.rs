//! Restores to another place: a copy beside the original, which stays as it was, and a site on another server.

mod support;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use support::{
    Database, Engine, Fingerprint, PocketSite, Scratch, Snapshot, World, assert_same, changes, compare_snapshots,
    fingerprint, rows_snapshot, text, wait_for,
};

const LIMIT: Duration = Duration::from_secs(60);
const PASSWORD: &str = "the clone's \\ \"new\" $pass";

/// All of a site that must not change.
struct State {
    rows: Snapshot,
    code: Fingerprint,
    data: Fingerprint,
}

impl State {
    fn of(site: &PocketSite) -> State {
        State { rows: rows_snapshot(&site.database), code: fingerprint(&site.root), data: fingerprint(&site.dataroot) }
    }

    #[track_caller]
    fn assert_untouched(&self, site: &PocketSite, what: &str) {
        assert_same(&format!("{what}: code"), changes(&self.code, &fingerprint(&site.root)));
        assert_same(&format!("{what}: moodledata"), changes(&self.data, &fingerprint(&site.dataroot)));
        assert_same(&format!("{what}: database"), compare_snapshots(&self.rows, &rows_snapshot(&site.database)));
    }
}

/// A place for a clone: folders, a port, and a database of which only the account is there.
struct Beside {
    scratch: Scratch,
    database: Database,
    port: u16,
    reserved: Option<support::Reserved>,
}

impl Beside {
    fn new(world: &World, name: &str) -> Beside {
        let scratch = Scratch::new();
        fs::create_dir(scratch.join("it's \\ here")).unwrap();
        fs::write(scratch.join("password"), format!("{PASSWORD}\n")).unwrap();
        let server = &world.site.database.server;
        let database = server.create_database(name, &format!("{name}_user"), PASSWORD);
        let reserved = support::reserve();
        Beside { scratch, database, port: reserved.port(), reserved: Some(reserved) }
    }

    fn root(&self) -> PathBuf {
        self.scratch.join("it's \\ here/moodle")
    }

    fn dataroot(&self) -> PathBuf {
        self.scratch.join("it's \\ here/data")
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The options that name it.
    fn options(&self) -> Vec<String> {
        let server = format!("127.0.0.1:{}", self.database.server.port());
        [
            ("--root", text(&self.root())),
            ("--dataroot", text(&self.dataroot())),
            ("--wwwroot", self.address().as_str()),
            ("--database-host", server.as_str()),
            ("--database-name", self.database.name.as_str()),
            ("--database-user", self.database.user.as_str()),
            ("--database-password-file", text(&self.scratch.join("password"))),
        ]
        .into_iter()
        .flat_map(|(option, value)| [option.to_owned(), value.to_owned()])
        .collect()
    }

    #[track_caller]
    fn assert_nothing_left(&self, what: &str) {
        let left: Vec<_> = fs::read_dir(self.root().parent().unwrap()).unwrap().flatten().map(|it| it.path()).collect();
        assert!(left.is_empty(), "{what}: {left:?}");
        let tables = match self.database.server.engine() {
            Engine::MariaDb => "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
            Engine::Postgres => {
                "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'moodle%' UNION ALL \
                 SELECT relname FROM pg_class WHERE relname LIKE 'mdl%'"
            }
        };
        assert_eq!(self.database.query(tables), Vec::<Vec<String>>::new(), "{what}");
    }

    fn site(mut self, original: &PocketSite) -> PocketSite {
        let (root, dataroot) = (self.root(), self.dataroot());
        let mut site =
            original.brought_back(root, dataroot, self.database, self.reserved.take().unwrap(), self.scratch);
        site.serve();
        site
    }
}

fn with<'a>(first: &[&'a str], more: &'a [String]) -> Vec<&'a str> {
    first.iter().copied().chain(more.iter().map(String::as_str)).collect()
}

/// The options but for one, which has another value.
fn but(options: &[String], name: &str, value: &str) -> Vec<String> {
    let mut options = options.to_vec();
    let at = options.iter().position(|it| it == name).unwrap();
    options[at + 1] = value.into();
    options
}

fn world(engine: Engine) -> World {
    let site = PocketSite::builder()
        .engine(engine)
        .relocated(true)
        // A server of the original's own, which a clone must not use.
        .config("$CFG->session_handler_class = '\\core\\session\\redis';\n// require 'lib/setup.php';");
    let site = site.build();
    fs::create_dir_all(site.dataroot.join("muc")).unwrap();
    fs::write(site.dataroot.join("muc/config.php"), "<?php // caches of the original\n").unwrap();
    let address = format!("http://127.0.0.1:{}", site.port());
    site.query(&format!("UPDATE {{course}} SET summary = 'see <a href=\"{address}/x\">it</a>' WHERE id = 7"));
    let old_content = address.replace("http:", "https:");
    site.query(&format!("UPDATE {{course}} SET summary = 'see {old_content}/y' WHERE id = 8"));
    site.query(&format!("INSERT INTO {{config}} (name, value) VALUES ('supportpage', '{address}/help')"));
    // What Moodle makes of its address by itself.
    let host = address.trim_start_matches("http://");
    site.query(&format!("UPDATE {{config}} SET value = 'aB3dE6gH9jK2mN5p{host}' WHERE name = 'siteidentifier'"));
    site.query(&format!(
        "INSERT INTO {{config_plugins}} (plugin, name, value) VALUES ('auth_shibboleth', 'auth_instructions', \
         'Use the <a href=\"{address}/auth/shibboleth/index.php\">Shibboleth login</a>')"
    ));
    let world = World::builder(site).build();
    world.run(&["run"]).expect_code(0);
    world
}

#[test]
fn a_clone_lives_beside_its_original_which_stays_untouched() {
    for engine in Engine::ALL {
        let world = world(engine);
        let beside = Beside::new(&world, "clone_one");
        let before = State::of(&world.site);
        let options = beside.options();

        let plan = world.run(&with(&["restore", "--clone", "--plan"], &options)).expect_code(0);
        for part in [text(&beside.root()), &beside.address(), "$CFG->noemailever", "no mail, no cron"] {
            let unwrapped = plan.stdout.replace("\n  ", " ");
            assert!(unwrapped.contains(part), "{part}: {}", plan.stdout);
        }
        assert!(!plan.stdout.contains("new\" $pass"), "{}", plan.stdout);
        beside.assert_nothing_left("a plan changes nothing");

        let output = world.run(&with(&["restore", "--clone", "--yes"], &options)).expect_code(3);
        assert!(output.stderr.contains("is still in: supportpage"), "{}", output.stderr);
        assert!(!output.stderr.contains("auth_shibboleth"), "{}", output.stderr);
        assert!(!output.stderr.contains("new\" $pass"), "{}", output.stderr);
        before.assert_untouched(&world.site, "after the clone");
        assert!(world.site.is_open());
        let left = fs::read_dir(beside.root().parent().unwrap()).unwrap().count();
        assert_eq!(left, 2, "code and data, and nothing of ours");

        let address = beside.address();
        let clone = beside.site(&world.site);
        assert!(clone.is_open());
        assert_same("files over the web", clone.unserved_files());
        assert!(!clone.ran_as_root());
        assert_eq!(
            clone.query("SELECT summary FROM {course} WHERE id IN (7, 8) ORDER BY id"),
            [[format!("see <a href=\"{address}/x\">it</a>")], [format!("see {address}/y")]]
        );
        let told = clone.value("SELECT value FROM {config_plugins} WHERE plugin = 'auth_shibboleth'");
        assert_eq!(told, format!("Use the <a href=\"{address}/auth/shibboleth/index.php\">Shibboleth login</a>"));
        assert_ne!(clone.config("siteidentifier"), world.site.config("siteidentifier"));
        assert!(clone.config("siteidentifier").unwrap().ends_with(&format!("127.0.0.1:{}", clone.port())));
        assert_eq!(clone.value("SELECT COUNT(*) FROM {sessions}"), "0");
        assert!(!clone.dataroot.join("muc/config.php").exists());
        assert!(clone.dataroot.join("muc/config.php.original").exists());
        let cron = clone.cli("cron", &[]);
        assert_eq!(cron.status.code(), Some(1), "cron is off");
        assert!(String::from_utf8_lossy(&cron.stdout).contains("Cron is disabled"));
        let config = fs::read_to_string(clone.root.join("config.php")).unwrap();
        for line in
            ["$CFG->noemailever = true;", "$CFG->tempdir = ", "session_handler_class = '\\\\core\\\\session\\\\file'"]
        {
            assert!(config.contains(line), "{line}: {config}");
        }
        // What is done to the one is not seen in the other.
        clone.upload(b"in the clone alone");
        clone.cli("purge_caches", &[]);
        before.assert_untouched(&world.site, "after the clone was used");
        // The original can be backed up as ever.
        world.run(&["run"]).expect_code(0);
    }
}

#[test]
fn a_clone_shares_nothing_with_its_original() {
    let world = world(Engine::MariaDb);
    let beside = Beside::new(&world, "clone_two");
    let before = State::of(&world.site);
    let options = beside.options();
    let inside = world.site.dataroot.join("clone");
    let occupied = beside.scratch.join("occupied");
    fs::create_dir(&occupied).unwrap();
    fs::write(occupied.join("something"), "of somebody").unwrap();
    let site = &world.site;
    let address = format!("http://127.0.0.1:{}", site.port());
    for (option, value, words) in [
        ("--root", text(&site.root), "must not share"),
        ("--dataroot", text(&site.dataroot), "must not share"),
        ("--dataroot", text(&inside), "must not share"),
        ("--dataroot", text(&site.filedir()), "must not share"),
        ("--wwwroot", address.as_str(), "needs an address of its own"),
        ("--database-name", site.database.name.as_str(), "must not share the database"),
        ("--root", text(&occupied), "neither empty nor"),
        ("--dataroot", text(&occupied), "neither empty nor"),
        ("--dataroot", text(&beside.root().join("data")), "must not lie in each other"),
    ] {
        for how in ["--plan", "--yes"] {
            let changed = but(&options, option, value);
            let output = world.run(&with(&["restore", "--clone", how], &changed));
            assert!(matches!(output.code, Some(2 | 5)), "{option} {value}: {:?} {}", output.code, output.stderr);
            assert!(output.stderr.contains(words), "{option} {value}: {}", output.stderr);
        }
    }
    // The database by another name of its server shows by what is in it.
    let user = &site.database.user;
    let password = beside.scratch.join("password");
    fs::write(&password, &site.database.password).unwrap();
    let changed = but(&but(&options, "--database-name", &site.database.name), "--database-user", user);
    let output = world.run(&with(&["restore", "--yes"], &changed)).expect_code(5);
    assert!(output.stderr.contains("is not empty"), "{}", output.stderr);

    before.assert_untouched(site, "after all refusals");
    beside.assert_nothing_left("after all refusals");
    assert!(site.is_open());
}

#[test]
fn a_wrong_password_is_told_before_anything_is_done() {
    for engine in Engine::ALL {
        let world = world(engine);
        let beside = Beside::new(&world, "clone_three");
        fs::write(beside.scratch.join("password"), "wrong").unwrap();
        let output = world.run(&with(&["restore", "--clone", "--yes"], &beside.options())).expect_code(5);
        assert!(output.stderr.contains("clone_three_user"), "{}", output.stderr);
        beside.assert_nothing_left("refused");
        fs::write(beside.scratch.join("password"), "two\nlines").unwrap();
        world.run(&with(&["restore", "--clone", "--yes"], &beside.options())).expect_code(5);
        beside.assert_nothing_left("refused");
    }
}

/// Ways to write a config.php that takes no new values from a block in front of the line that starts Moodle.
const STUBBORN: [(&str, &str, &str); 3] = [
    ("a require that is no statement", "if (true) require_once(__DIR__ . '/lib/setup.php');", "no plain line"),
    (
        "two of them",
        "if (false) { require_once('/x/lib/setup.php'); }\nrequire_once(__DIR__ . '/lib/setup.php');",
        "no plain line",
    ),
    (
        "a value that is set on the way",
        "function start() { global $CFG; $CFG->wwwroot = 'http://127.0.0.1:1'; return __DIR__; }\n\
         require_once(start() . '/lib/setup.php');",
        "does not take the new values of $CFG->wwwroot",
    ),
];

#[test]
fn a_config_that_does_not_take_its_new_values_is_refused_with_the_block() {
    let world = world(Engine::MariaDb);
    let config = world.site.root.join("config.php");
    let plain = fs::read_to_string(&config).unwrap();
    let beside = Beside::new(&world, "clone_four");
    let options = beside.options();
    for (what, start, words) in STUBBORN {
        fs::write(&config, plain.replace("require_once(__DIR__ . '/lib/setup.php');", start)).unwrap();
        world.run(&["run"]).expect_code(0);
        let output = world.run(&with(&["restore", "--clone", "--yes"], &options)).expect_code(5);
        assert!(output.stderr.contains(words), "{what}: {}", output.stderr);
        assert!(
            output.stderr.contains(&format!("$CFG->wwwroot = '{}';", beside.address())),
            "{what}: {}",
            output.stderr
        );
        assert!(!output.stderr.contains("new\" $pass"), "{what}: {}", output.stderr);
        beside.assert_nothing_left(what);
    }
    // By hand it can be done all the same.
    let start = "if (true) require_once(__DIR__ . '/lib/setup.php');";
    let by_hand = plain.replace("require_once(__DIR__ . '/lib/setup.php');", start);
    fs::write(&config, &by_hand).unwrap();
    world.run(&["run"]).expect_code(0);
    let output = world.run(&with(&["restore", "--clone", "--yes"], &options)).expect_code(5);
    let file = beside.scratch.join("config.php");
    let write = |block: &str| fs::write(&file, by_hand.replace(start, &format!("{block}{start}"))).unwrap();
    write(&block_of(&output.stderr));
    let named = with(&["restore", "--clone", "--yes", "--config-php", text(&file)], &options);
    // What only running it shows is asked for too.
    let output = world.run(&named).expect_code(5);
    assert!(output.stderr.contains("still shares with the original"), "{}", output.stderr);
    assert!(output.stderr.contains("$CFG->localcachedir = "), "{}", output.stderr);
    beside.assert_nothing_left("refused again");
    write(&block_of(&output.stderr));
    world.run(&named).expect_code(3);
    let clone = beside.site(&world.site);
    assert!(clone.is_open());
    assert_same("files over the web", clone.unserved_files());
}

/// The lines that are to be put into config.php, with the password.
fn block_of(words: &str) -> String {
    let is_line = |line: &&str| line.starts_with("$CFG->") || line.starts_with("unset($CFG");
    let block: String = words.lines().filter(is_line).map(|line| format!("{line}\n")).collect();
    block.replace("(the password)", &PASSWORD.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Whatever ends it at whatever step, nothing is left of the new place, and the original is as it was.
#[test]
fn p9_an_end_in_the_middle_leaves_nothing_of_the_new_place() {
    for (engine, how) in
        [(Engine::MariaDb, "error"), (Engine::Postgres, "term"), (Engine::MariaDb, "kill"), (Engine::Postgres, "kill")]
    {
        let mut world = world(engine);
        let beside = Beside::new(&world, &format!("clone_{how}"));
        let before = State::of(&world.site);
        for step in ["preflight", "stage", "close", "exchange", "load", "post", "check", "reopen"] {
            let what = format!("{step}={how}");
            world.set_env("MOODLE_BACKUP_FAILPOINT", &what);
            let output = world.run(&with(&["restore", "--clone", "--yes"], &beside.options()));
            world.set_env("MOODLE_BACKUP_FAILPOINT", "");
            assert!(!matches!(output.code, Some(0 | 3)), "{what}: {}", output.stderr);
            wait_for(&format!("{what}: all processes to end"), LIMIT, || world.processes().is_empty());
            if how == "kill" {
                world.run(&["recover"]).expect_code(0);
            }
            beside.assert_nothing_left(&what);
        }
        before.assert_untouched(&world.site, how);
        world.run(&with(&["restore", "--clone", "--yes"], &beside.options())).expect_code(3);
        assert!(beside.site(&world.site).is_open());
        assert!(world.site.is_open());
    }
}

/// A new site that somebody has taken into use is not taken away again because its restore did not end well.
#[test]
fn a_new_site_that_was_opened_by_hand_is_kept_when_that_is_asked_for() {
    let mut world = world(Engine::MariaDb);
    let beside = Beside::new(&world, "clone_kept");
    world.set_env("MOODLE_BACKUP_FAILPOINT", "check=kill");
    world.run(&with(&["restore", "--clone", "--yes"], &beside.options()));
    world.set_env("MOODLE_BACKUP_FAILPOINT", "");
    wait_for("all processes to end", LIMIT, || world.processes().is_empty());
    world.run(&["recover", "--keep"]).expect_code(5);
    fs::remove_file(beside.dataroot().join("climaintenance.html")).unwrap();
    let output = world.run(&["recover"]).expect_code(1);
    assert!(output.stderr.contains("somebody has opened the site since"), "{}", output.stderr);
    let output = world.run(&["recover", "--keep"]).expect_code(0);
    assert!(output.stderr.contains("is kept as it is now"), "{}", output.stderr);
    let left = fs::read_dir(beside.root().parent().unwrap()).unwrap().count();
    assert_eq!(left, 2, "code and data, and nothing of ours");
    world.run(&["recover"]).expect_code(0);
    assert!(beside.site(&world.site).is_open());
}

/// On another server: the target was mounted there, there are no settings yet, and root makes database and account.
#[test]
fn a_site_comes_to_a_server_that_knows_nothing_of_it() {
    for engine in Engine::ALL {
        let world = world(engine);
        let (mut there, beside) =
            (World::builder(PocketSite::builder().build()).without_web().build(), Beside::new(&world, "moved"));
        match engine {
            // As the package brings it.
            Engine::MariaDb => drop(fs::copy("etc/settings.toml", there.settings_file()).unwrap()),
            Engine::Postgres => fs::remove_file(there.settings_file()).unwrap(),
        }
        let server = support::Server::start(engine);
        if let support::Server::Postgres(server) = &server {
            server.trust_local_account();
        }
        let socket = match &server {
            support::Server::MariaDb(server) => text(&server.socket()).to_owned(),
            support::Server::Postgres(it) => format!("{}:{}", text(&it.socket_folder()), server.port()),
        };
        let (root, dataroot, address) = (beside.root(), beside.dataroot(), beside.address());
        let options: Vec<String> = [
            ("--from", text(world.target.path())),
            ("--root", text(&root)),
            ("--dataroot", text(&dataroot)),
            ("--wwwroot", address.as_str()),
            ("--database-host", socket.as_str()),
        ]
        .into_iter()
        .flat_map(|(option, value)| [option.to_owned(), value.to_owned()])
        .collect();
        let before = State::of(&world.site);
        there.set_env("MOODLE_BACKUP_FAILPOINT", "post=error");
        let failed = there.run(&with(&["restore", "--yes"], &options)).expect_code(1);
        // Now, or by each restore that follows.
        assert!(!failed.stderr.contains("is still there"), "{}", failed.stderr);
        there.set_env("MOODLE_BACKUP_FAILPOINT", "");
        let admin = server.database(if engine == Engine::MariaDb { "mysql" } else { "postgres" }, "", "");
        let databases = match engine {
            Engine::MariaDb => {
                "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE 'pocket%' UNION ALL SELECT user FROM mysql.user WHERE user LIKE 'pocket%'"
            }
            Engine::Postgres => {
                "SELECT datname::text FROM pg_database WHERE datname LIKE 'pocket%' UNION ALL SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'pocket%'"
            }
        };
        assert_eq!(admin.query(databases), Vec::<Vec<String>>::new(), "what was made is gone again");

        there.run(&with(&["restore", "--yes"], &options)).expect_code(3);
        let database =
            server.database(&world.site.database.name, &world.site.database.user, &world.site.database.password);
        let Beside { scratch, mut reserved, .. } = beside;
        let mut site = world.site.brought_back(root, dataroot, database, reserved.take().unwrap(), scratch);
        site.serve();
        assert!(site.is_open());
        assert_same("files over the web", site.unserved_files());
        assert_eq!(site.config("siteidentifier"), world.site.config("siteidentifier"), "it is that very site");
        assert!(site.dataroot.join("muc/config.php").exists());
        before.assert_untouched(&world.site, "the original");
    }
}

/// The site stays where it is and gets another address: a restore in place, which can be undone.
#[test]
fn a_site_in_its_place_gets_another_address() {
    let world = world(Engine::MariaDb);
    let before = fs::read_to_string(world.site.root.join("config.php")).unwrap();
    let address = format!("http://localhost:{}", world.site.port());
    world.run(&["restore", "--yes", "--wwwroot", &address]).expect_code(3);
    assert!(world.site.is_open());
    let summary = world.site.value("SELECT summary FROM {course} WHERE id = 7");
    assert!(summary.contains(&address), "{summary}");
    world.run(&["restore", "--undo", "--yes"]).expect_code(0);
    assert_eq!(fs::read_to_string(world.site.root.join("config.php")).unwrap(), before);
    assert!(world.site.is_open());
}

/// Another site's place is not taken, with or without options.
#[test]
fn a_backup_is_not_restored_over_another_site() {
    let world = world(Engine::MariaDb);
    let other = World::builder(PocketSite::builder().build()).build();
    let before = State::of(&other.site);
    let from = text(world.target.path());
    let output = other.run(&["restore", "--yes", "--from", from]).expect_code(5);
    assert!(
        output.stderr.contains("neither empty nor") || output.stderr.contains("is not the one in this backup"),
        "{}",
        output.stderr
    );
    let data = text(&other.site.dataroot);
    let output = other.run(&["restore", "--yes", "--from", from, "--dataroot", data]).expect_code(5);
    assert!(output.stderr.contains("is not the one in this backup"), "{}", output.stderr);
    before.assert_untouched(&other.site, "refused");
}

#[test]
fn a_site_comes_back_from_an_export() {
    let world = World::builder(PocketSite::builder().build()).build();
    world.run(&["run"]).expect_code(0);
    let file = world.scratch().join("site.tar.zst");
    let file = file.to_str().unwrap();
    world.run(&["export", "latest", file]).expect_code(0);
    std::fs::remove_dir_all(world.site_folder()).unwrap();
    let files = world.site.value("SELECT COUNT(*) FROM mdl_files");
    world.site.upload(b"uploaded after the backup");
    std::fs::remove_file(world.site.root.join("version.php")).unwrap();
    world.run(&["restore", "--from", file, "--yes"]).expect_code(0);
    assert_eq!(world.site.value("SELECT COUNT(*) FROM mdl_files"), files);
    assert!(world.site.is_open());
    support::assert_same("files over the web", world.site.unserved_files());
}
