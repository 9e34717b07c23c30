//! `export`: one backup as one file or stream that needs nothing else. What is brought back from it, by the program or by hand, is
//! like what was there; what is damaged, cut off or hostile is refused; and no file has its name that is not whole.

mod common;
mod support;

use common::{documented, json_paths};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{
    ByHand, Engine, Layout, Output, PocketSite, Server, Terminal, TestTarget, TreeCompare, World, add_hook,
    assert_same, flip, hashed_path, rows_compare, succeed, tree_compare, wait_for,
};

/// Folders of dataroot that come back empty, since Moodle fills them again, and what belongs to a moment.
const NOT_KEPT: [&str; 6] = ["cache", "localcache", "temp", "sessions", "trashdir", "lock"];

/// A world with one backup.
fn backed_up(site: PocketSite, settings: &str) -> World {
    let world = World::builder(site).settings(settings).without_web().build();
    world.run(&["run", "--foreground"]).expect_code(0);
    world
}

fn small(engine: Engine) -> PocketSite {
    PocketSite::builder().engine(engine).files(30).build()
}

/// What lies in the folder where this test puts things.
fn around(world: &World) -> BTreeSet<String> {
    names(&world.scratch().join("."))
}

/// A path that is not there yet.
fn place(world: &World, name: &str) -> (PathBuf, String) {
    let place = world.scratch().join(name);
    let text = place.to_str().unwrap().to_owned();
    (place, text)
}

fn export(world: &World, args: &[&str], code: i32) -> Output {
    world.run(&[&["export"], args].concat()).expect_code(code)
}

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn data_compare() -> TreeCompare {
    NOT_KEPT.iter().fold(TreeCompare::new().without_folder_times().skip("filedir/warning.txt"), TreeCompare::skip)
}

/// A shell of an administrator: no program of ours.
fn bash(script: &str, args: &[&Path]) -> String {
    let output = succeed(Command::new("bash").args(["-e", "-o", "pipefail", "-c", script, "bash"]).args(args));
    String::from_utf8(output).unwrap()
}

/// Unpacks an export by hand; the site's folder.
fn unpacked(world: &World, file: &Path, name: &str) -> PathBuf {
    let (folder, _) = place(world, name);
    fs::create_dir(&folder).unwrap();
    bash("zstd -dc \"$1\" | tar -xpf - -C \"$2\"", &[file, &folder]);
    folder.join("pocket")
}

fn some_hash(world: &World) -> String {
    world.site.value("SELECT contenthash FROM {files} WHERE filesize > 0 ORDER BY id LIMIT 1")
}

#[test]
fn a_backup_goes_into_one_file_and_comes_back_from_it() {
    for engine in Engine::ALL {
        let site = PocketSite::builder().engine(engine).layout(Layout::Public).files(50).build();
        let inside = site.dataroot.join("lang");
        symlink("de", inside.join("a link")).unwrap();
        let mut world = backed_up(site, "");
        world.site.serve();
        let (_, later) = world.site.upload(b"of another backup");
        world.site.stop_serving();
        world.run(&["run", "--foreground"]).expect_code(0);
        let oldest = world.backups()[0].clone();
        let (file, text) = place(&world, "one.tar.zst");

        let output = export(&world, &[&oldest, &text], 0);

        assert!(output.stdout.contains(&oldest) && output.stdout.contains(&text), "{}", output.stdout);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "it holds passwords");
        let listed = bash("zstd -dc \"$1\" | tar -tf -", &[&file]);
        let members: Vec<&str> = listed.lines().collect();
        let manifest = format!("pocket/{oldest}/manifest.json");
        assert_eq!(members[..3], ["pocket/", "pocket/RESTORE.txt", "pocket/SITE.json"]);
        assert_eq!(members[4], manifest);
        assert_eq!(members.iter().filter(|member| **member == manifest).count(), 1);
        let unpacked = unpacked(&world, &file, "unpacked");
        assert_eq!(
            names(&unpacked),
            ["RESTORE.txt", "SITE.json", "filedir", "latest", &oldest].map(String::from).into(),
            "one backup, and what belongs to it"
        );
        assert_eq!(fs::read_link(unpacked.join("latest")).unwrap(), Path::new(&oldest));
        assert_same("the backup", tree_compare(&world.site_folder().join(&oldest), &unpacked.join(&oldest)));
        assert!(!hashed_path(&unpacked.join("filedir"), &later).exists(), "another backup's file");
        bash(
            "cd \"$1\" && zstd -dc latest/filedir.sha1.zst | sha1sum --quiet -c - && cd latest && sha256sum --quiet -c SHA256SUMS",
            &[&unpacked],
        );

        let settings = world.scratch().join("unpacked.toml");
        let (root, target) = (world.site.root.to_str().unwrap(), unpacked.parent().unwrap().to_str().unwrap());
        fs::write(&settings, format!("[site]\nname = \"pocket\"\nroot = {root:?}\n[target]\npath = {target:?}\n"))
            .unwrap();
        world.run(&["--settings", settings.to_str().unwrap(), "verify", "--all"]).expect_code(0);

        // Neither settings nor target are needed any more.
        fs::remove_file(world.settings_file()).unwrap();
        fs::rename(world.site_folder(), world.scratch().join("gone")).unwrap();
        for (name, from) in [("from file", &file), ("from folder", &unpacked)] {
            let (to, text) = place(&world, name);
            world.run(&["restore", "--from", from.to_str().unwrap(), "--to", &text]).expect_code(0);
            assert_eq!(names(&to), ["code", "database", "moodledata"].map(String::from).into());
            assert_same("code", tree_compare(&world.site.root, &to.join("code")));
            let data = data_compare().skip(hashed_path(Path::new("filedir"), &later));
            let differences = data.run(&world.site.dataroot, &to.join("moodledata"));
            let folders = |line: &String| !line.contains(&later[..2]);
            assert_same("moodledata", differences.into_iter().filter(folders).collect());
        }
        let left = around(&world);
        assert!(!left.iter().any(|name| name.starts_with(".moodle-backup")), "{left:?}");
    }
}

#[test]
fn p4_an_export_comes_back_by_hand() {
    let site = PocketSite::builder().server(&Server::start(Engine::MariaDb)).build();
    let world = backed_up(site, "");
    let (file, text) = place(&world, "one.tar");
    export(&world, &["latest", &text], 0);
    let restore = bash("tar -xOf \"$1\" --occurrence=1 pocket/RESTORE.txt", &[&file]);
    assert!(restore.contains("tar -xpf FILE") && restore.contains("    # SITE=\"$PWD\"\n"), "{restore}");
    let (folder, _) = place(&world, "unpacked here");
    fs::create_dir(&folder).unwrap();
    bash("tar -xpf \"$1\" -C \"$2\"", &[&file, &folder]);
    fs::rename(world.site_folder(), world.scratch().join("gone")).unwrap();

    let mut by_hand = ByHand::elsewhere(&world.site, &Server::start(Engine::MariaDb));
    by_hand.set("SITE", folder.join("pocket").to_str().unwrap());
    by_hand.follow_until(&restore, "climaintenance.html");
    let edited = TreeCompare::new().without_folder_times().skip("config.php").skip("config.php.as-backed-up");
    assert_same("code", edited.run(&world.site.root, by_hand.root()));
    let skipped = data_compare().skip("climaintenance.html");
    assert_same("moodledata", skipped.run(&world.site.dataroot, by_hand.dataroot()));
    assert_same("database", rows_compare(&world.site.database, by_hand.database()));
    by_hand.follow_from(&restore, "climaintenance.html");
    let mut back = by_hand.site(&world.site);
    back.serve();
    assert_eq!(back.get("/").status, 200);
    assert_same("files over the web", back.unserved_files());
}

#[test]
fn it_can_be_sent_through_a_pipe() {
    let world = backed_up(small(Engine::MariaDb), "");
    let (file, text) = place(&world, "sent");
    let mut sending =
        world.command(&["export", "latest", "-"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pipe = sending.stdout.take().unwrap();
    let sent = Command::new("dd").arg("bs=512").arg(format!("of={text}")).stdin(pipe).stderr(Stdio::null()).status();
    assert!(sent.unwrap().success());
    let output = sending.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let (to, text) = place(&world, "back");
    world.run(&["restore", "--from", file.to_str().unwrap(), "--only", "code", "--to", &text]).expect_code(0);
    assert_same("code", tree_compare(&world.site.root, &to.join("code")));

    // A reader that ends before the end.
    let mut sending =
        world.command(&["export", "latest", "-"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(sending.stdout.take());
    let output = sending.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("whoever reads the export has ended"), "{words}");

    let refused = export(&world, &["latest", "-", "--json"], 2);
    assert!(refused.stdout.contains("--json has no place to go"), "{}", refused.stdout);
}

#[test]
fn a_signal_ends_it_while_nobody_reads() {
    let world = backed_up(PocketSite::builder().files(100).file_size(30_000).build(), "");
    let mut sending =
        world.command(&["export", "latest", "-"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let waits = || fs::read_to_string(format!("/proc/{}/wchan", sending.id())).is_ok_and(|wait| wait.contains("pipe"));
    wait_for("it to wait for a reader", Duration::from_secs(60), waits);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(sending.id().cast_signed()), nix::sys::signal::Signal::SIGTERM)
        .unwrap();
    wait_for("its end", Duration::from_secs(60), || sending.try_wait().unwrap().is_some());
    let output = sending.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("interrupted by SIGTERM"), "{words}");
}

#[test]
fn a_terminal_is_refused() {
    let world = backed_up(small(Engine::MariaDb), "");
    let mut terminal = Terminal::start(world.command(&["export", "latest", "-"]));
    terminal.wait_for_text("cannot be written to a terminal");
    assert_eq!(terminal.wait().code(), Some(2));
}

#[test]
fn parts_files_and_tables_come_back_from_an_export() {
    let mut site = small(Engine::MariaDb);
    site.serve();
    let (_, hash) = site.upload(b"the essay");
    let world = backed_up(site, "");
    let (_, file) = place(&world, "one.tar.zst");
    export(&world, &["latest", &file], 0);
    let restore = |args: &[&str]| world.run(&[&["restore", "--from", &file], args].concat()).expect_code(0);

    let (to, text) = place(&world, "data");
    restore(&["--only", "moodledata", "--to", &text]);
    assert_eq!(names(&to), ["moodledata".to_owned()].into());
    assert_same("moodledata", data_compare().run(&world.site.dataroot, &to.join("moodledata")));
    let (to, text) = place(&world, "config");
    restore(&["--path", "code:config.php", "--to", &text]);
    assert_eq!(names(&to.join("code")), ["config.php".to_owned()].into());
    let (to, text) = place(&world, "essay");
    restore(&["--file", &hash, "--to", &text]);
    assert_eq!(names(&to).len(), 1);
    assert_eq!(fs::read(to.join(names(&to).first().unwrap())).unwrap(), b"the essay");
    let table = restore(&["--table", "user"]).stdout;
    assert!(table.contains("INSERT INTO `mdl_user`"), "{table}");
    assert!(!names(Path::new("/var/tmp")).iter().any(|name| name.starts_with(".moodle-backup-unpacked")));
}

#[test]
fn what_is_damaged_is_named_and_no_file_is_made() {
    let world = backed_up(small(Engine::MariaDb), "");
    let backup = world.site_folder().join(&world.backups()[0]);
    let hash = some_hash(&world);
    let pooled = hashed_path(&world.site_folder().join("filedir"), &hash);
    let (file, text) = place(&world, "one.tar.zst");
    let mut cases: Vec<(PathBuf, &str)> =
        ["RESTORE.txt", "manifest.json", "code.tar.zst", "filedir.sha1.zst", "run.log"]
            .map(|name| (backup.join(name), name))
            .into();
    cases.push((backup.join("moodledata/lang/de/moodle.php"), "moodledata/lang/de/moodle.php"));
    cases.push((pooled.clone(), &hash));
    for (path, named) in &cases {
        let whole = fs::read(path).unwrap();
        if *named == "manifest.json" {
            fs::write(path, String::from_utf8_lossy(&whole).replace("\"comment\": null", "\"comment\": \"x\"") + "\n")
                .unwrap();
        } else {
            flip(path);
        }
        let output = export(&world, &["latest", &text], 1);
        assert!(output.stderr.contains("is damaged and cannot be exported"), "{named}: {}", output.stderr);
        assert!(
            output.stderr.contains(named) && output.stderr.contains("another content"),
            "{named}: {}",
            output.stderr
        );
        assert!(!around(&world).iter().any(|name| name.starts_with("one.")), "{named}");
        let stream = world.command(&["export", "latest", "-", "--uncompressed"]).output().unwrap();
        assert_eq!(stream.status.code(), Some(1));
        let trailer =
            stream.stdout.len() >= 1024 && stream.stdout[stream.stdout.len() - 1024..].iter().all(|byte| *byte == 0);
        assert!(!trailer, "{named}: a stream that is not whole has no end");
        if !["RESTORE.txt", "manifest.json"].contains(named) {
            fs::remove_file(path).unwrap();
            let output = export(&world, &["latest", &text], 1);
            assert!(output.stderr.contains(named), "{named}: {}", output.stderr);
        }
        fs::write(path, whole).unwrap();
    }
    fs::write(backup.join("moodledata/planted"), "x").unwrap();
    let output = export(&world, &["latest", &text], 1);
    assert!(output.stderr.contains("moodledata/planted has no checksum"), "{}", output.stderr);
    fs::remove_file(backup.join("moodledata/planted")).unwrap();
    export(&world, &["latest", &text], 0);
    assert!(file.exists());
}

#[test]
fn what_cannot_be_written_is_refused_beforehand() {
    let world = backed_up(small(Engine::MariaDb), "");
    let (file, text) = place(&world, "one.tar.zst");
    let inside = world.site_folder().join("one.tar.zst");
    for (to, code, words) in [
        ("/nowhere/one.tar.zst", 5, "there is no folder /nowhere"),
        ("/tmp/one.tar.gz", 2, "no .gz"),
        (inside.to_str().unwrap(), 5, "lies among the backups"),
        ("/dev/null", 5, "is no plain file"),
    ] {
        let output = export(&world, &["latest", to], code);
        assert!(output.stderr.contains(words), "{to}: {}", output.stderr);
    }
    fs::write(&file, "mine").unwrap();
    let output = export(&world, &["latest", &text], 5);
    assert!(output.stderr.contains("is there already") && output.stderr.contains("--replace"), "{}", output.stderr);
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    export(&world, &["latest", &text, "--replace"], 0);
    assert!(fs::metadata(&file).unwrap().len() > 1000);
    let (folder, text) = place(&world, "a folder");
    fs::create_dir(&folder).unwrap();
    export(&world, &["latest", &text], 0);
    assert_eq!(names(&folder), [format!("pocket-{}.tar.zst", world.backups()[0])].into());
    assert_eq!(names(&world.site_folder()).len(), 6, "nothing was left among the backups");
}

#[test]
fn a_full_disk_is_no_file() {
    let site = PocketSite::builder().files(400).file_size(30_000).build();
    let world = backed_up(site, "");
    let disk = TestTarget::ext4(12);
    let file = disk.path().join("one.tar");
    let output = export(&world, &["latest", file.to_str().unwrap()], 5);
    assert!(output.stderr.contains("too little room"), "{}", output.stderr);
    // How far it can be compressed nobody knows beforehand.
    let file = disk.path().join("one.tar.zst");
    let hashes =
        "head -c 30000000 /dev/urandom > \"$1\"/filled 2>/dev/null || true; truncate -s -3000000 \"$1\"/filled";
    bash(hashes, &[disk.path()]);
    let output = world.run(&["export", "latest", file.to_str().unwrap()]);
    assert_ne!(output.code, Some(0), "{}", output.stderr);
    assert_eq!(names(disk.path()), ["filled", "lost+found"].map(String::from).into(), "{}", output.stderr);
}

#[test]
fn killed_at_any_step_it_leaves_no_file() {
    let mut world = backed_up(small(Engine::MariaDb), "");
    let (file, text) = place(&world, "one.tar.zst");
    for step in moodle_backup::export::STEPS {
        for how in ["error", "term", "panic", "kill"] {
            world.set_env("MOODLE_BACKUP_FAILPOINT", format!("{step}={how}"));
            let output = world.run(&["export", "latest", &text]);
            assert_ne!(output.code, Some(0), "{step}={how}");
            assert!(!file.exists(), "{step}={how}");
            assert_eq!(world.scratch().join("one.tar.zst.part").exists(), how == "kill", "{step}={how}");
        }
    }
    // Two at once: the second does not spoil the first.
    world.set_env("MOODLE_BACKUP_FAILPOINT", "export-pool=stop");
    let first = world.spawn(&["export", "latest", &text]);
    first.wait_until_stopped();
    world.set_env("MOODLE_BACKUP_FAILPOINT", "");
    let second = export(&world, &["latest", &text], 5);
    assert!(second.stderr.contains("another process is writing it"), "{}", second.stderr);
    first.go_on().expect_code(0);
    let (_, back) = place(&world, "back");
    world.run(&["restore", "--from", &text, "--to", &back]).expect_code(0);
}

#[test]
fn what_is_exported_is_not_pruned_meanwhile() {
    let mut world = backed_up(small(Engine::MariaDb), "[retention]\nlast = 1\n");
    world.run(&["run", "--foreground"]).expect_code(0);
    let oldest = world.backups()[0].clone();
    let (file, text) = place(&world, "one.tar.zst");
    world.set_env("MOODLE_BACKUP_FAILPOINT", "export-pool=stop");
    let running = world.spawn(&["export", &oldest, &text]);
    running.wait_until_stopped();
    world.set_env("MOODLE_BACKUP_FAILPOINT", "");
    world.run(&["prune"]);
    assert!(world.backups().contains(&oldest));
    running.go_on().expect_code(0);
    assert!(file.exists());
}

#[test]
fn a_run_exports_its_backup_and_goes_well_without_it() {
    let hooks = "[hooks]\nuser = \"root\"\n";
    let world = World::builder(small(Engine::MariaDb)).settings(hooks).without_web().build();
    let (told, told_text) = place(&world, "told");
    add_hook(&world, "post-job.d", "10-tell", &format!("printf %s \"$MOODLE_BACKUP_EXPORT\" > '{told_text}'"));
    let (folder, text) = place(&world, "exports");
    fs::create_dir(&folder).unwrap();
    let output = world.run(&["--json", "run", "--foreground", "--export", &text]);
    let value: Value = serde_json::from_str(&output.stdout).unwrap();
    let file = folder.join(format!("pocket-{}.tar.zst", world.backups()[0]));
    assert_eq!(value["export"], file.to_str().unwrap(), "{}", output.stderr);
    assert_eq!(fs::read_to_string(&told).unwrap(), file.to_str().unwrap());
    let (_, back) = place(&world, "back");
    world.run(&["restore", "--from", file.to_str().unwrap(), "--to", &back]).expect_code(0);

    let output = world.run(&["run", "--foreground", "--export", file.to_str().unwrap()]).expect_code(5);
    assert!(output.stderr.contains("is there already"), "{}", output.stderr);
    world.run(&["run", "--foreground", "--export", "-"]).expect_code(2);
    assert_eq!(world.backups().len(), 1, "refused before anything was begun");

    let disk = TestTarget::ext4(8);
    bash("head -c 30000000 /dev/zero > \"$1\"/filled 2>/dev/null || true", &[disk.path()]);
    let output = world.run(&["run", "--foreground", "--export", disk.path().to_str().unwrap()]).expect_code(3);
    assert!(output.stderr.contains("the new backup was not exported"), "{}", output.stderr);
    assert_eq!(world.backups().len(), 2, "the backup is there all the same");
    assert_eq!(names(disk.path()), ["filled", "lost+found"].map(String::from).into());
}

#[test]
fn a_hostile_export_is_refused() {
    let world = backed_up(small(Engine::MariaDb), "");
    let (whole, text) = place(&world, "one.tar.zst");
    export(&world, &["latest", &text], 0);
    let backup = world.backups()[0].clone();
    let (bad, bad_text) = place(&world, "bad.tar");
    let (to, to_text) = place(&world, "back");
    let refused = |script: &str, expected: &str| {
        let _ = fs::remove_file(&bad);
        let work = unpacked(&world, &whole, "work");
        bash(
            &format!("cd \"$1\"; B={backup}; OUT=\"$2\"; OLD=\"$3\"; {script}"),
            &[work.parent().unwrap(), &bad, &whole],
        );
        let output = world.run(&["restore", "--from", &bad_text, "--to", &to_text]);
        assert_ne!(output.code, Some(0), "{script}");
        assert!(output.stderr.contains(expected), "{script}:\n{}", output.stderr);
        assert!(!to.exists(), "{script}");
        let left = around(&world);
        assert!(!left.iter().any(|name| name.starts_with(".moodle-backup")), "{script}: {left:?}");
        fs::remove_dir_all(work.parent().unwrap()).unwrap();
    };
    let head = "tar -cf $OUT --no-recursion pocket pocket/$B pocket/$B/manifest.json";
    refused("head -c 100000 $OLD > $OUT", "damaged");
    refused("zstd -dqc $OLD 2>/dev/null | head -c 100000 > $OUT || true", "");
    refused("echo no tar > $OUT", "is no export of moodle-backup");
    refused("tar -cf $OUT pocket/SITE.json", "is no export of moodle-backup");
    refused(&format!("{head}; touch x; tar -P --transform='s|^x$|../x|' -rf $OUT x"), "leads out of its folder");
    refused(&format!("{head}; touch x; tar -P --transform='s|^x$|/tmp/x|' -rf $OUT x"), "is absolute");
    refused(&format!("{head}; mknod pocket/null c 1 3; tar -rf $OUT pocket/null"), "a device");
    refused(
        &format!("{head}; rm -r pocket/filedir; ln -s /etc pocket/filedir; tar -rf $OUT pocket/filedir"),
        "no export that can be trusted",
    );
    refused(&format!("{head}; ln -s /etc other; tar -rf $OUT other"), "no export that can be trusted");
    refused(
        &format!("{head}; ln -s /etc pocket/more; tar -rf $OUT --no-recursion pocket/more"),
        "no export that can be trusted",
    );
    refused(
        &format!(
            "{head}; rm pocket/$B/code.tar.zst; ln -s /etc/passwd pocket/$B/code.tar.zst; tar -rf $OUT --exclude=manifest.json --no-recursion pocket/$B/*"
        ),
        "",
    );
    refused("tar -cf $OUT --exclude=code.tar.zst pocket", "code.tar.zst");
}

#[test]
fn json_is_as_documented() {
    let world = backed_up(small(Engine::MariaDb), "");
    let (_, text) = place(&world, "one.tar");
    let output = export(&world, &["--json", "latest", &text], 0);
    let value: Value = serde_json::from_str(&output.stdout).unwrap();
    let (explained, _) = documented(include_str!("../docs/json.md"), "`export`");
    let mut printed = BTreeSet::new();
    json_paths(&value, "", &mut printed);
    assert!(printed.is_subset(&explained), "{:?}", printed.difference(&explained));
    assert_eq!((&value["to"], &value["compressed"]), (&Value::from(text), &Value::from(false)));
    assert_eq!(value["bytes"].as_u64().unwrap() % 512, 0);
    wait_for("nothing to be left", Duration::from_secs(5), || !around(&world).contains("one.tar.part"));
}
