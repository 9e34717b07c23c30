//! P6 and P7: passwords show nowhere, backups are closed to strangers, and what is the site's own never runs as root.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use support::{Connect, Engine, PocketSite, ProcessWatch, Server, World, command_as, owner_ids, succeed};

/// A user and a group that every Debian has.
const READERS: &str = "backup";
const PASSWORD: &str = "needle-in-a-haystack-1";
const EXTRA_PASSWORD: &str = "needle-in-a-haystack-2";

fn world(engine: Engine, connect: Connect) -> World {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let server = Server::shared(engine);
    let user = format!("extra_{number}");
    let extra = server.create_database(&user, &user, EXTRA_PASSWORD);
    let site = PocketSite::builder()
        .server(&server)
        .connect(connect)
        .account(&format!("needy_{number}"), PASSWORD)
        .code_owner("games")
        .files(10);
    let world = World::builder(site.build()).build();
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"];
        succeed(command_as("games", "git").args(identity).args(args).current_dir(&world.site.root));
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "x"]);
    let url = "https://somebody:needle-in-a-haystack-1@example.org/moodle.git";
    git(&["remote", "add", "origin", url]);
    let options = world.scratch().join("extra.cnf");
    let text = match engine {
        Engine::MariaDb => format!("[client]\nuser={user}\npassword={EXTRA_PASSWORD}\n"),
        Engine::Postgres => format!("[dump]\nuser={user}\npassword={EXTRA_PASSWORD}\n"),
    };
    write_private(&options, &(text + &server.option_lines()));
    world.write_settings(&format!(
        "group = \"{READERS}\"\n[[database.extra]]\nname = \"{}\"\nuser = \"{user}\"\noptions_file = {options:?}\n",
        extra.name
    ));
    world
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

fn entries(root: &Path) -> Vec<PathBuf> {
    let found = succeed(Command::new("find").arg(root).arg("-print0"));
    let names = found.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect()
}

#[test]
fn passwords_show_in_no_process_no_log_and_no_text_of_the_backup() {
    for (engine, connect) in [(Engine::MariaDb, Connect::Socket), (Engine::Postgres, Connect::Tcp)] {
        let world = world(engine, connect);
        // Several, so that the short-lived programs are met too.
        for _ in 0..3 {
            let run = world.spawn(&["run", "--verbose"]);
            let watch = ProcessWatch::start(run.id(), &[PASSWORD, EXTRA_PASSWORD]);
            let output = run.wait().expect_code(0);
            let sight = watch.stop();
            assert!(sight.leaks.is_empty(), "{:?}", sight.leaks);
            assert!(sight.rounds > 5, "the watch was not awake");
            let (web_user, _) = owner_ids("www-data");
            let of =
                |prefix: &str| sight.started.iter().filter(|(name, _)| name.starts_with(prefix)).collect::<Vec<_>>();
            assert!(of("php").iter().all(|(_, uid)| *uid == web_user), "{:?}", sight.started);
            assert!(of("git").iter().all(|(_, uid)| *uid == owner_ids("games").0), "{:?}", sight.started);
            assert!(!sight.started.is_empty(), "the watch has seen nothing of the run");
            assert!(!output.stderr.contains("needle") && !output.stdout.contains("needle"));
        }
        assert!(!world.site.ran_as_root());

        let state = entries(&world.root).into_iter();
        let told = entries(&world.site_folder()).into_iter();
        let told = told.filter(|path| {
            let ends = ["json", "txt", "log", "SHA256SUMS", "patch"];
            ends.iter().any(|end| path.to_string_lossy().ends_with(end))
                && !path.to_string_lossy().contains("moodledata")
        });
        for path in state.chain(told).filter(|path| path.is_file()) {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            assert!(!text.contains("needle"), "{}", path.display());
        }
    }
}

#[test]
fn backups_are_open_to_root_and_one_group_and_writable_by_root_alone() {
    let world = world(Engine::MariaDb, Connect::Socket);
    world.run(&["run"]).expect_code(0);
    let (_, group) = owner_ids(READERS);
    let mut files = 0;
    for path in entries(&world.site_folder()) {
        let inside = path.to_string_lossy().contains("/moodledata/");
        let meta = fs::symlink_metadata(&path).unwrap();
        if inside || meta.is_symlink() {
            continue;
        }
        let mode = meta.mode() & 0o7777;
        // What closes moodledata, whose own modes are kept, is the folder above it.
        if path.file_name().is_some_and(|name| name == "moodledata") {
            continue;
        }
        assert_eq!((meta.uid(), meta.gid()), (0, group), "{}", path.display());
        assert_eq!(mode, if meta.is_dir() { 0o750 } else { 0o640 }, "{}", path.display());
        files += 1;
    }
    assert!(files > 20);
    let backup = world.site_folder().join(&world.backups()[0]);
    for command in [["ls", ""], ["cat", "manifest.json"], ["cat", "moodledata/muc/config.php"], ["touch", "x"]] {
        let path = backup.join(command[1]);
        for user in ["www-data", "nobody"] {
            assert!(!command_as(user, command[0]).arg(&path).output().unwrap().status.success(), "{user} {path:?}");
        }
    }
    succeed(command_as(READERS, "cat").arg(backup.join("manifest.json")));
    assert!(!command_as(READERS, "touch").arg(backup.join("x")).output().unwrap().status.success());
    for (path, mode) in [("var/log/moodle-backup", 0o750), ("var/lib/moodle-backup/closed", 0o700)] {
        // The first folder is the package's, and here the test's own.
        let folder = world.root.join(path);
        assert!(folder.is_dir() && fs::metadata(&folder).unwrap().mode() & 0o7777 & !mode & 0o022 == 0, "{path}");
    }
    let log = fs::read_dir(world.root.join("var/log/moodle-backup")).unwrap().next().unwrap().unwrap();
    assert_eq!(log.metadata().unwrap().mode() & 0o7777, 0o640);
}

#[test]
fn the_password_of_an_options_file_goes_to_no_server_that_config_php_names() {
    for (engine, connect) in
        [(Engine::MariaDb, Connect::Socket), (Engine::MariaDb, Connect::Tcp), (Engine::Postgres, Connect::Tcp)]
    {
        let server = Server::shared(engine);
        let site = PocketSite::builder().server(&server).connect(connect).files(3).build();
        let (user, password) = (site.database.user.clone(), site.database.password.clone());
        let world = World::builder(site).without_web().build();
        let options = world.scratch().join("dump.cnf");
        let account = format!("[client]\nuser={user}\npassword={password}\n");
        for settings in ["[database]\n", "[[database.extra]]\nname = \"pocket\"\n"] {
            world.write_settings(&format!("{settings}options_file = {options:?}\n"));
            write_private(&options, &account);
            let output = world.run(&["run"]).expect_code(5);
            assert!(output.stderr.contains("does not say where the server"), "{}", output.stderr);
            assert!(world.backups().is_empty());
        }
        // What is to be done is said to the letter.
        world.write_settings(&format!("[database]\noptions_file = {options:?}\n"));
        let said = world.run(&["run"]).expect_code(5).stderr;
        let next = said.split(&format!("first section of {}: ", options.display())).nth(1).expect(&said);
        let lines = next.lines().next().unwrap().replace(", ", "\n");
        write_private(&options, &format!("{account}{lines}\n"));
        world.run(&["run"]).expect_code(0);
    }
}
