//! Whole runs on whole sites: what is published, what is shared, what is left out, and what is told of it.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use support::{
    Connect, Engine, HOOK_USER, Layout, PocketSite, ProcessWatch, Running, Scratch, Server, TreeCompare, World,
    add_hook, assert_same, changes, command_as, descendant, fingerprint, owner_ids, succeed, wait_for,
};

const LIMIT: Duration = Duration::from_secs(60);
/// What Moodle fills again by itself, and the pool, which stands beside the backups.
const NOT_COPIED: [&str; 8] =
    ["filedir", "trashdir", "cache", "localcache", "temp", "sessions", "lock", "climaintenance.html"];

fn manifest(backup: &Path) -> Value {
    serde_json::from_slice(&fs::read(backup.join("manifest.json")).unwrap()).unwrap()
}

fn newest(world: &World) -> PathBuf {
    world.site_folder().join(world.backups().pop().expect("a backup"))
}

fn write_as_web_user(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    let (uid, gid) = owner_ids("www-data");
    for path in [path, path.parent().unwrap()] {
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
    }
}

/// As a person would, with the tools of any Debian.
fn assert_sums_hold(world: &World, backup: &Path) {
    let name = backup.file_name().unwrap().to_str().unwrap();
    succeed(Command::new("sha256sum").args(["--quiet", "--strict", "-c", "SHA256SUMS"]).current_dir(backup));
    let listed = fs::read(backup.join("SHA256SUMS")).unwrap().iter().filter(|byte| **byte == b'\n').count();
    let files = succeed(Command::new("find").arg(".").args(["-type", "f", "-printf", "x"]).current_dir(backup)).len();
    assert_eq!(listed, files - 1, "every file but the list itself has a sum");
    let check = format!("set -e -o pipefail; zstdcat {name}/filedir.sha1.zst | sha1sum --quiet --strict -c");
    succeed(Command::new("bash").args(["-c", &check]).current_dir(world.site_folder()));
    let marks = format!(
        "set -e -o pipefail; diff <(zstdcat {name}/index/filedir.zst) \
         <(zstdcat {name}/filedir.sha1.zst | cut -c43- | xargs stat -c '%s %.9Y')"
    );
    succeed(Command::new("bash").args(["-c", &marks]).current_dir(world.site_folder()));
}

fn assert_moodledata_is_there(world: &World, backup: &Path) {
    let compare = NOT_COPIED.iter().fold(TreeCompare::new().without_folder_times(), TreeCompare::skip);
    assert_same("moodledata", compare.run(&world.site.dataroot, &backup.join("moodledata")));
}

fn assert_code_is_there(world: &World, backup: &Path) {
    let unpacked = Scratch::new();
    succeed(
        Command::new("tar").args(["--zstd", "-xpf"]).arg(backup.join("code.tar.zst")).arg("-C").arg(unpacked.path()),
    );
    let compare = TreeCompare::new().without_folder_times();
    assert_same("code", compare.run(&world.site.root, &unpacked.path().join("")));
}

#[test]
fn a_run_publishes_a_backup_that_standard_tools_verify() {
    for engine in Engine::ALL {
        for layout in [Layout::Classic, Layout::Public] {
            let site = PocketSite::builder().engine(engine).layout(layout).files(40).persistent(true).build();
            let world = World::builder(site).build();
            assert!(world.site.is_open(), "a request leaves a persistent connection behind");
            world.run(&["run"]).expect_code(0);

            let backups = world.backups();
            assert_eq!(backups.len(), 1);
            assert_eq!(fs::read_link(world.site_folder().join("latest")).unwrap(), Path::new(&backups[0]));
            let backup = newest(&world);
            assert_sums_hold(&world, &backup);
            assert_moodledata_is_there(&world, &backup);
            assert_code_is_there(&world, &backup);
            let manifest = manifest(&backup);
            assert_eq!(manifest["complete"], true);
            assert_eq!(manifest["window"]["windows"], 1);
            let (port, socket) = match &world.site.database.server {
                Server::MariaDb(server) => (Value::Null, server.socket()),
                Server::Postgres(server) => (server.port().into(), server.socket_folder()),
            };
            assert_eq!(manifest["database"]["port"], port);
            assert_eq!(manifest["database"]["socket"], socket.to_str().unwrap());
            assert_eq!(manifest["pool"]["files"].to_string(), pool_files(&world));
            assert!(world.site.is_open() && !world.site.ran_as_root());
            assert_eq!(fs::read_dir(world.root.join("var/lib/moodle-backup/closed")).unwrap().count(), 0);
        }
    }
}

/// How many files there are, by the database: all that it refers to, the empty content among them.
fn pool_files(world: &World) -> String {
    world.site.value("SELECT COUNT(DISTINCT contenthash) FROM {files}")
}

fn inodes(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().flatten().map(|entry| entry.path()));
        } else if meta.is_file() {
            found.push((path.strip_prefix(folder).unwrap().to_owned(), meta.ino()));
        }
    }
    found.sort();
    found
}

fn same_file(one: &Path, other: &Path) -> bool {
    fs::metadata(one).unwrap().ino() == fs::metadata(other).unwrap().ino()
}

/// What was written within a tick of a file system's clock before it was looked at may change again unnoticed, so that
/// it is not shared.
fn wait_until_settled(youngest: &Path) {
    let changed = fs::metadata(youngest).unwrap().ctime();
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().cast_signed();
    wait_for("the clock to tick", LIMIT, || now() > changed + 3);
}

#[test]
fn later_runs_share_what_is_unchanged_and_show_what_is_not() {
    let site = PocketSite::builder().files(40).code_files(50).build();
    let world = World::builder(site).build();
    let dataroot = world.site.dataroot.clone();
    for name in ["changed", "removed", "chmodded", "same"] {
        write_as_web_user(&dataroot.join("models").join(name), name.as_bytes());
    }
    wait_until_settled(&dataroot.join("models/same"));
    world.run(&["run"]).expect_code(0);
    let first = newest(&world);
    world.run(&["run"]).expect_code(0);
    let second = newest(&world);
    assert_ne!(first, second);
    assert_eq!(inodes(&first.join("moodledata")), inodes(&second.join("moodledata")));
    for file in ["code.tar.zst", "filedir.sha1.zst", "index/filedir.zst"] {
        assert!(same_file(&first.join(file), &second.join(file)), "{file}");
    }
    assert_sums_hold(&world, &second);
    let before = fingerprint(&second);

    let models = dataroot.join("models");
    // Of the same size, so that only the time tells.
    write_as_web_user(&models.join("changed"), b"CHANGED");
    fs::remove_file(models.join("removed")).unwrap();
    fs::set_permissions(models.join("chmodded"), PermissionsExt::from_mode(0o600)).unwrap();
    write_as_web_user(&models.join("new/deep/one"), b"new");
    fs::write(world.site.root.join("index.php.extra"), "changed code").unwrap();
    let (id, hash) = world.site.upload(b"uploaded between two runs");
    world.run(&["run"]).expect_code(0);
    let third = newest(&world);
    assert_moodledata_is_there(&world, &third);
    assert_code_is_there(&world, &third);
    assert_sums_hold(&world, &third);
    assert_same("the backup before", changes(&before, &fingerprint(&second)));
    assert!(same_file(&second.join("moodledata/models/same"), &third.join("moodledata/models/same")));
    assert_eq!(manifest(&third)["pool"]["new_files"], 1);
    let pooled = world.site_folder().join("filedir").join(&hash[..2]).join(&hash[2..4]).join(&hash);
    assert_eq!(fs::read(&pooled).unwrap(), b"uploaded between two runs");

    world.site.post(&format!("/delete.php?id={id}"), b"");
    assert_eq!(world.site.get("/task.php?task=purge_trash").status, 200);
    world.run(&["run"]).expect_code(0);
    assert!(pooled.exists(), "an earlier backup has it still");
    assert_eq!(manifest(&newest(&world))["pool"]["files"], manifest(&second)["pool"]["files"]);
    assert_sums_hold(&world, &third);
}

/// Such a backup is a good one of a site that is broken: somebody is to know before better ones are gone.
#[test]
fn tables_that_are_gone_since_the_last_backup_are_named() {
    for engine in Engine::ALL {
        let world = World::builder(PocketSite::builder().engine(engine).files(3).build()).without_web().build();
        world.run(&["run"]).expect_code(0);
        world.site.query("DROP TABLE mdl_tag");
        let output = world.run(&["run"]).expect_code(3);
        // With PostgreSQL behind the name of its schema.
        let said = format!("mdl_tag; unless a plugin was removed, keep backup {}", world.backups()[0]);
        assert!(output.stderr.contains("lacks tables that it had"), "{}", output.stderr);
        assert!(output.stderr.contains(&said), "{}", output.stderr);
        world.run(&["run"]).expect_code(0);
    }
}

#[test]
fn old_logs_go_and_those_of_failed_runs_stay_for_a_year() {
    let world = World::builder(PocketSite::builder().files(3).build()).without_web().build();
    let folder = world.root.join("var/log/moodle-backup");
    let days_ago = |days: i64| (chrono::Utc::now() - chrono::TimeDelta::days(days)).format("%Y-%m-%dT%H%M%S%.3fZ");
    let write = |name: String, end: &str| {
        let path = folder.join(name);
        fs::write(&path, format!("2026-01-01T01:00:00.000Z step lock\n2026-01-01T01:00:01.000Z {end}\n")).unwrap();
        path
    };
    let log = |days: i64, end: &str| write(format!("pocket-{}.log", days_ago(days)), end);
    let done: Vec<PathBuf> = (1..=110).map(|days| log(days, "step report")).collect();
    let failed = [log(200, "error: the target is full"), log(365, "step copy-ahead")];
    let failed_long_ago = log(400, "error: the target is full");
    let others = [
        write(format!("pocket-2-{}.log", days_ago(300)), "step report"),
        write(format!("other-{}.log", days_ago(300)), "step report"),
        write("pocket-notes.log".into(), "step report"),
    ];
    world.run(&["run"]).expect_code(0);
    // The new one is the hundredth.
    let (kept, gone) = done.split_at(99);
    assert!(kept.iter().chain(&failed).chain(&others).all(|path| path.exists()));
    let left: Vec<_> = gone.iter().chain([&failed_long_ago]).filter(|path| path.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_is_left_out_goes_by_the_effective_settings_alone() {
    for relocated in [false, true] {
        let site = PocketSite::builder().files(20).relocated(relocated).build();
        let world = World::builder(site).settings("[moodledata]\nexclude = [\"private*\"]").build();
        let dataroot = world.site.dataroot.clone();
        let long = "n".repeat(255);
        let kept: Vec<PathBuf> = [
            &b"muc/config.php"[..],
            b"secret/key/sodium.key",
            b"lang/de_local/moodle.php",
            b"unknown plugin/cache/inner",
            b"unknown plugin/temp",
            b"odd \xff\xfe\n\\ name",
            long.as_bytes(),
            b"climaintenance.template.html",
        ]
        .map(|name| PathBuf::from(OsStr::from_bytes(name)))
        .into();
        for path in &kept {
            write_as_web_user(&dataroot.join(path), b"to be kept");
        }
        fs::set_permissions(dataroot.join("secret/key/sodium.key"), PermissionsExt::from_mode(0o400)).unwrap();
        // Elsewhere by config.php, so these are just names.
        let caches = ["cache/x", "localcache/x", "temp/x", "trashdir/x", "sessions/x", "lock/x"];
        for path in caches {
            write_as_web_user(&dataroot.join(path), b"a cache, unless it is elsewhere");
        }
        write_as_web_user(&dataroot.join("private/x"), b"the administrator does not want it");
        write_as_web_user(&dataroot.join("models/private"), b"but this one");
        world.run(&["run"]).expect_code(0);

        let copy = newest(&world).join("moodledata");
        for path in kept.iter().map(PathBuf::as_path).chain([Path::new("models/private")]) {
            assert_eq!(fs::read(copy.join(path)).unwrap(), fs::read(dataroot.join(path)).unwrap(), "{path:?}");
            let meta = |base: &Path| {
                let meta = fs::metadata(base.join(path)).unwrap();
                (meta.mode(), meta.uid(), meta.gid(), meta.mtime_nsec())
            };
            assert_eq!(meta(&copy), meta(&dataroot), "{path:?}");
        }
        for (number, path) in caches.iter().enumerate() {
            assert_eq!(copy.join(path).exists(), relocated && number < 4, "{path}");
        }
        assert!(!copy.join("private").exists());
        assert!(!copy.join("climaintenance.html").exists());
        assert_sums_hold(&world, &newest(&world));
        let list = format!("zstdcat {}/filedir.sha1.zst", newest(&world).display());
        let listed = succeed(Command::new("sh").args(["-c", &list])).iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(listed.to_string(), pool_files(&world));
    }
}

/// A repository whose every setting that can start a program starts one that notes who runs it.
fn evil_repository(world: &World, owner: &str) -> PathBuf {
    let root = &world.site.root;
    let place = world.site.scratch().folder_of("evil", owner);
    fs::set_permissions(&place, PermissionsExt::from_mode(0o777)).unwrap();
    let (witness, script) = (place.join("witness"), place.join("evil.sh"));
    fs::write(&script, format!("#!/bin/sh\necho \"$(id -u) $0 $*\" >>{}\ncat\n", witness.display())).unwrap();
    fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"];
        succeed(command_as(owner, "git").args(identity).args(args).current_dir(root));
    };
    git(&["init", "--quiet"]);
    fs::write(root.join("page.html"), "<p>as released").unwrap();
    fs::write(root.join(".gitattributes"), "*.php diff=evil filter=evil\n*.html diff=evil filter=e=vil\n").unwrap();
    succeed(Command::new("chown").arg(owner).arg(root.join(".gitattributes")));
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "as released"]);
    let script = script.to_str().unwrap();
    for setting in [
        "core.fsmonitor",
        "core.pager",
        "core.sshCommand",
        "core.editor",
        "core.askPass",
        "core.alternateRefsCommand",
        "core.gitProxy",
        "diff.external",
        "diff.evil.command",
        "diff.evil.textconv",
        "filter.evil.clean",
        "filter.evil.smudge",
        "filter.e=vil.process",
        "pager.status",
        "pager.diff",
        "gpg.program",
        "credential.helper",
    ] {
        git(&["config", setting, script]);
    }
    git(&["config", "filter.evil.required", "true"]);
    git(&["config", "alias.status", &format!("!{script}")]);
    for hook in ["post-index-change", "pre-auto-gc", "fsmonitor-watchman", "reference-transaction"] {
        let hook = root.join(".git/hooks").join(hook);
        fs::create_dir_all(hook.parent().unwrap()).unwrap();
        fs::copy(script, &hook).unwrap();
        succeed(Command::new("chown").arg(owner).arg(&hook));
    }
    fs::write(root.join("version.php"), fs::read_to_string(root.join("version.php")).unwrap() + "// changed\n")
        .unwrap();
    fs::write(root.join("page.html"), "<p>changed").unwrap();
    fs::write(root.join("unknown.php"), "<?php").unwrap();
    witness
}

#[test]
fn git_tells_of_changes_and_starts_nothing_and_is_never_root() {
    for owner in ["games", "root"] {
        let site = PocketSite::builder().files(5).code_owner(owner).build();
        let world = World::builder(site).without_web().build();
        let witness = evil_repository(&world, owner);
        let git = world.site.root.join(".git");
        // What is root's is asked about by the web user.
        fs::set_permissions(&git, PermissionsExt::from_mode(if owner == "root" { 0o755 } else { 0o700 })).unwrap();
        let run = world.spawn(&["run"]);
        let watch = ProcessWatch::start(run.id(), &[]);
        run.wait().expect_code(0);
        let started = watch.stop().started;
        assert!(!started.iter().any(|(name, uid)| name.starts_with("git") && *uid == 0), "{started:?}");
        let backup = newest(&world);
        let status = fs::read_to_string(backup.join("code-changes/status.txt")).unwrap();
        assert!(status.contains(" M version.php\n") && status.contains("?? unknown.php\n"), "{status}");
        assert!(status.contains(" M page.html\n"), "{status}");
        let patch = fs::read_to_string(backup.join("code-changes/diff.patch")).unwrap();
        assert!(patch.contains("+// changed") && patch.contains("+<p>changed"), "{patch}");
        let code = &manifest(&backup)["code"];
        assert_eq!(code["head"].as_str().unwrap().len(), 40);
        assert_eq!(code["changed"], true);
        assert_eq!(fs::read_to_string(&witness).unwrap_or_default(), "");
        assert_code_is_there(&world, &backup);

        // A clone that lacks an object would have it fetched, by whatever program its settings name.
        let script = witness.with_file_name("evil.sh");
        let ask = |args: &[&str]| {
            let found = succeed(command_as(owner, "git").args(args).current_dir(&world.site.root));
            String::from_utf8(found).unwrap().trim().to_owned()
        };
        let blob = ask(&["rev-parse", "HEAD:version.php"]);
        fs::remove_file(git.join("objects").join(&blob[..2]).join(&blob[2..])).unwrap();
        for (name, value) in [
            ("remote.origin.url", format!("ext::{} fetch", script.display()).as_str()),
            ("remote.origin.promisor", "true"),
            ("remote.origin.partialclonefilter", "blob:none"),
            ("protocol.ext.allow", "always"),
            ("core.repositoryformatversion", "1"),
            ("extensions.partialClone", "origin"),
        ] {
            ask(&["config", name, value]);
        }
        let output = world.run(&["run"]).expect_code(3);
        assert!(output.stderr.contains("git"), "{}", output.stderr);
        assert_eq!(fs::read_to_string(&witness).unwrap_or_default(), "");
        if owner == "root" {
            fs::set_permissions(&git, PermissionsExt::from_mode(0o700)).unwrap();
            world.run(&["run"]).expect_code(0);
            assert!(!newest(&world).join("code-changes").exists());
            assert!(world.run(&["check"]).stdout.replace("\n", " ").contains("only root may read .git"));
        }
    }
}

#[test]
fn odd_accounts_and_passwords_reach_the_database() {
    let odd = " sp ace'\"\\back\\%#$=;ключ鍵`$(id)\\";
    for engine in Engine::ALL {
        for connect in [Connect::Socket, Connect::Tcp] {
            let site = PocketSite::builder()
                .server(&Server::shared(engine))
                .connect(connect)
                .account(&format!("u{connect:?} {}", &odd[..14]), odd)
                .files(3)
                .build();
            let world = World::builder(site).without_web().build();
            world.run(&["run"]).expect_code(0);
            let backup = newest(&world);
            for file in ["manifest.json", "RESTORE.txt", "run.log", "SITE.json"] {
                let path = if file == "SITE.json" { world.site_folder().join(file) } else { backup.join(file) };
                assert!(!fs::read_to_string(path).unwrap().contains("back\\"), "{file}");
            }
        }
    }
}

#[test]
fn extra_databases_are_dumped_with_their_own_accounts() {
    for engine in Engine::ALL {
        let server = Server::shared(engine);
        let extra = format!("gradebook_{engine:?}").to_lowercase();
        let password = "extra's #own% \"pass\\word";
        let database = server.create_database(&extra, &format!("{extra}_user"), password);
        database.query("CREATE TABLE grades (id INT PRIMARY KEY, note VARCHAR(50))");
        if engine == Engine::Postgres {
            database.query(&format!("ALTER TABLE grades OWNER TO {extra}_user"));
        }
        database.query("INSERT INTO grades VALUES (7, 'a very good one')");
        let site = PocketSite::builder().server(&server).files(3).build();
        let world = World::builder(site).without_web().build();
        let options = world.scratch().join("extra.cnf");
        let text = match engine {
            Engine::MariaDb => {
                format!("[client]\nuser={extra}_user\npassword=\"extra's #own% \\\"pass\\\\word\"\n")
            }
            Engine::Postgres => format!("[dump]\nuser={extra}_user\npassword={password}\n"),
        };
        fs::write(&options, text + &server.option_lines()).unwrap();
        fs::set_permissions(&options, PermissionsExt::from_mode(0o600)).unwrap();
        world.write_settings(&format!(
            "[[database.extra]]\nname = \"{extra}\"\nuser = \"{extra}_user\"\noptions_file = {options:?}\n"
        ));
        world.run(&["run"]).expect_code(0);
        let dump = newest(&world).join("database/extra").join(format!("{extra}.sql.zst"));
        let sql = succeed(Command::new("zstdcat").arg(&dump));
        assert!(String::from_utf8_lossy(&sql).contains("a very good one"));
        assert_sums_hold(&world, &newest(&world));
    }
}

#[test]
fn tables_without_snapshots_are_dumped_apart_and_named() {
    let site = PocketSite::builder().files(3).build();
    site.query("CREATE TABLE {oldtable} (id INT PRIMARY KEY, word VARCHAR(20)) ENGINE=MyISAM");
    site.query("INSERT INTO {oldtable} VALUES (1, 'from the old table')");
    let world = World::builder(site).without_web().build();
    let output = world.run(&["run"]).expect_code(3);
    assert!(output.stderr.contains("mdl_oldtable"), "{}", output.stderr);
    let apart = newest(&world).join("database/site.non-transactional.sql.zst");
    let text = String::from_utf8_lossy(&succeed(Command::new("zstdcat").arg(apart))).into_owned();
    assert!(text.contains("from the old table"));
    assert!(manifest(&newest(&world))["warnings"].to_string().contains("mdl_oldtable"));
    let restore = fs::read_to_string(newest(&world).join("RESTORE.txt")).unwrap();
    assert!(restore.contains("non-transactional"), "it has to be loaded too");
}

#[test]
fn lost_and_damaged_files_are_named_and_never_pooled() {
    let site = PocketSite::builder().files(20).build();
    let rows = site.query("SELECT DISTINCT contenthash FROM {files} WHERE filesize > 100 ORDER BY contenthash");
    let (lost, damaged) = (rows[0][0].clone(), rows[1][0].clone());
    let place = |hash: &str| site.filedir().join(&hash[..2]).join(&hash[2..4]).join(hash);
    fs::remove_file(place(&lost)).unwrap();
    fs::write(place(&damaged), "something else").unwrap();
    let world = World::builder(site).without_web().build();
    let output = world.run(&["run"]).expect_code(3);
    for hash in [&lost, &damaged] {
        assert!(output.stderr.contains(hash.as_str()), "{}", output.stderr);
        let pooled = world.site_folder().join("filedir").join(&hash[..2]).join(&hash[2..4]).join(hash);
        assert!(!pooled.exists());
    }
    let backup = newest(&world);
    let told = manifest(&backup);
    assert_eq!(told["pool"]["missing_at_source"], serde_json::json!([lost]));
    assert_eq!(told["pool"]["damaged_at_source"], serde_json::json!([damaged]));
    assert_eq!(told["complete"], false);
    assert_eq!(fs::read(world.site_folder().join("damaged").join(&damaged)).unwrap(), b"something else");
    assert_sums_hold(&world, &backup);

    world.write_settings("[moodledata]\naccept_missing = true\n");
    world.run(&["run"]).expect_code(0);
    assert_eq!(manifest(&newest(&world))["complete"], false, "accepted is not the same as there");
}

#[test]
fn what_does_not_belong_into_filedir_is_one_warning_and_a_list_in_the_log() {
    let site = PocketSite::builder().files(3).build();
    for number in 0..20 {
        write_as_web_user(&site.filedir().join(format!("ab/cd/upload-{number:02}.bak")), b"by hand");
    }
    let world = World::builder(site).without_web().build();
    let output = world.run(&["run"]).expect_code(3);
    let warnings: Vec<&str> = output.stderr.lines().filter(|line| line.starts_with("warning")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].contains("20 in all") && warnings[0].contains("upload-00.bak"), "{warnings:#?}");
    let log = fs::read_to_string(newest(&world).join("run.log")).unwrap();
    assert!((0..20).all(|number| log.contains(&format!("upload-{number:02}.bak"))), "{log}");
}

/// Stops the dump of a run as soon as it has begun.
fn freeze_dump(run: &mut Running, client: &str, nth: usize) -> Pid {
    wait_for("a further snapshot", LIMIT, || run.words().matches("step maintenance").count() >= nth);
    let mut found = None;
    wait_for("the dump", LIMIT, || {
        found = descendant(run.id(), client);
        found.is_some()
    });
    let dump = Pid::from_raw(found.unwrap());
    kill(dump, Signal::SIGSTOP).unwrap();
    dump
}

#[test]
fn a_dump_disturbed_by_the_open_site_is_made_again_and_at_last_with_the_site_closed() {
    let site = PocketSite::builder().files(10).log_rows(120_000).build();
    let world = World::builder(site).build();
    let mut run = world.spawn(&["run"]);
    for attempt in 1..=2 {
        let dump = freeze_dump(&mut run, "mariadb-dump", attempt);
        wait_for("the site to open", LIMIT, || world.site.is_open());
        match attempt {
            1 => assert_eq!(world.site.get("/task.php?task=truncate_tags").status, 200),
            _ => drop(world.site.query("ALTER TABLE {user} ADD COLUMN extra_one INT")),
        }
        kill(dump, Signal::SIGCONT).unwrap();
    }
    let output = run.wait().expect_code(3);
    for table in ["mdl_tag", "mdl_user"] {
        assert!(output.stderr.contains(&format!("the table {table} of")), "{}", output.stderr);
    }
    let backup = newest(&world);
    let window = &manifest(&backup)["window"];
    assert_eq!((&window["windows"], &window["mode"]), (&3.into(), &"full".into()));
    assert_sums_hold(&world, &backup);
    assert!(world.site.is_open());
}

#[test]
fn a_site_that_waits_for_the_dump_of_postgresql_is_noticed() {
    let site = PocketSite::builder().engine(Engine::Postgres).files(10).log_rows(60_000).build();
    let world = World::builder(site).settings("[window]\nblocked_seconds = 1").build();
    let mut run = world.spawn(&["run"]);
    freeze_dump(&mut run, "pg_dump", 1);
    wait_for("the site to open", LIMIT, || world.site.is_open());
    // Waits for the dump, which is stopped: only the run can end that.
    assert_eq!(world.site.get("/task.php?task=truncate_tags").status, 200);
    let output = run.wait().expect_code(3);
    assert!(output.stderr.contains("the dump made the site wait for"), "{}", output.stderr);
    assert!(output.stderr.to_uppercase().contains("TRUNCATE"), "{}", output.stderr);
    assert_eq!(manifest(&newest(&world))["window"]["windows"], 2);
    assert_sums_hold(&world, &newest(&world));
}

#[test]
fn a_window_in_vain_counts_in_full_mode_too() {
    let site = PocketSite::builder().files(10).log_rows(120_000).build();
    let world = World::builder(site).build();
    let mut run = world.spawn(&["run", "--window", "full"]);
    let dump = freeze_dump(&mut run, "mariadb-dump", 1);
    world.site.query("ALTER TABLE {user} ADD COLUMN extra_one INT");
    kill(dump, Signal::SIGCONT).unwrap();
    run.wait().expect_code(3);
    assert_eq!(manifest(&newest(&world))["window"]["windows"], 2);
}

#[test]
fn names_and_words_from_outside_stay_on_their_line_and_do_nothing_to_the_terminal() {
    let site = PocketSite::builder().files(3).build();
    let name = OsStr::from_bytes(b"evil\nstep seal\nwarning: \x1b[2J\x1b]0;title\x07\xc2\x9b31m");
    succeed(command_as("www-data", "mkfifo").arg(site.dataroot.join(name)));
    let world = World::builder(site).without_web().settings(&format!("[hooks]\nuser = \"{HOOK_USER}\"")).build();
    add_hook(&world, "pre-job.d", "10-colours", r"printf 'one \033[31mred\033[0m\rtwo\n'");
    let output = world.run(&["run", "--verbose"]).expect_code(0);
    let logs = fs::read_dir(world.root.join("var/log/moodle-backup")).unwrap().flatten();
    let mut texts: Vec<String> = logs.map(|log| fs::read_to_string(log.path()).unwrap()).collect();
    texts.extend([output.stderr, fs::read_to_string(newest(&world).join("run.log")).unwrap()]);
    for text in &texts {
        assert!(text.contains("left out") && text.contains("red"), "{text}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("step seal ") || line.starts_with("warning: ")), "{text}");
    }
    assert_eq!(texts[0].lines().filter(|line| line.ends_with("step seal")).count(), 1, "{}", texts[0]);
}
