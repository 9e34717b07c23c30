//! `restore --to`: parts of a backup, single files and tables, brought back into a folder beside the site. What comes back
//! is like what was there; what is damaged or hostile does not come back; and nothing else is touched.

mod common;
mod support;

use common::{documented, json_paths};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{
    Connect, Engine, Layout, Output, PocketSite, TestTarget, TreeCompare, World, assert_same, changes, fingerprint,
    flip, owner_ids, rows_compare, succeed, tree_compare,
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

fn backup(world: &World) -> PathBuf {
    world.site_folder().join(world.backups().last().unwrap())
}

/// A folder that is not there yet.
fn place(world: &World, name: &str) -> (PathBuf, String) {
    let place = world.scratch().join(name);
    let text = place.to_str().unwrap().to_owned();
    (place, text)
}

fn restore(world: &World, args: &[&str], code: i32) -> Output {
    world.run(&[&["restore"], args].concat()).expect_code(code)
}

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Which files lie in a folder, whatever their names.
fn inodes(folder: &Path) -> BTreeSet<(u64, u64)> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        found.insert((meta.dev(), meta.ino()));
        if meta.is_dir() {
            found.extend(inodes(&path));
        }
    }
    found
}

fn data_compare() -> TreeCompare {
    NOT_KEPT.iter().fold(TreeCompare::new().without_folder_times().skip("filedir/warning.txt"), TreeCompare::skip)
}

#[test]
fn all_of_a_backup_comes_back_into_a_folder() {
    for engine in Engine::ALL {
        let site = PocketSite::builder().engine(engine).layout(Layout::Public).files(50).build();
        let extra = site.scratch().join("etc/web server");
        fs::create_dir_all(&extra).unwrap();
        fs::write(extra.join("site.conf"), "listen 80").unwrap();
        let world = backed_up(site, &format!("[directories]\npaths = [{extra:?}]\n"));
        let (site_before, target_before) = (fingerprint(&world.site.dataroot), fingerprint(&world.site_folder()));
        let (to, text) = place(&world, "back");

        let output = restore(&world, &["--to", &text], 0);

        assert_eq!(names(&to), ["code", "database", "directories", "moodledata"].map(String::from).into());
        assert_same("code", tree_compare(&world.site.root, &to.join("code")));
        assert_same("moodledata", data_compare().run(&world.site.dataroot, &to.join("moodledata")));
        let directory = to.join("directories").join(names(&to.join("directories")).first().unwrap());
        assert_same("directory", tree_compare(&extra, &directory));
        let dump = Path::new("database/site.sql.zst");
        assert_eq!(fs::read(to.join(dump)).unwrap(), fs::read(backup(&world).join(dump)).unwrap());
        for name in ["cache", "temp", "trashdir"] {
            let (there, here) = (world.site.dataroot.join(name), to.join("moodledata").join(name));
            let rights = |path: &Path| fs::metadata(path).map(|meta| (meta.uid(), meta.gid(), meta.mode())).ok();
            assert_eq!(rights(&there), rights(&here), "{name}");
        }
        assert_eq!(fs::metadata(&to).unwrap().mode() & 0o7777, 0o700, "a site's secrets are in it");
        assert!(output.stdout.contains("moodledata") && output.stdout.contains(&text), "{}", output.stdout);
        assert_same("the site", changes(&site_before, &fingerprint(&world.site.dataroot)));
        assert_same("the target", changes(&target_before, &fingerprint(&world.site_folder())));
        // What is brought back is the administrator's to write: nothing of the backup may change with it.
        let shared: Vec<_> = inodes(&to).intersection(&inodes(&world.site_folder())).copied().collect();
        assert!(shared.is_empty(), "shared with the backup");
    }
}

#[test]
fn a_dump_that_was_written_out_can_be_loaded() {
    for engine in Engine::ALL {
        let world = backed_up(small(engine), "");
        let (to, text) = place(&world, "back");
        restore(&world, &["--to", &text, "--only", "database", "--plain"], 0);
        assert_eq!(names(&to), ["database".to_owned()].into());
        let again = empty_database(&world.site);
        load(&to.join("database/site.sql"), &again);
        assert_same("rows", rows_compare(&world.site.database, &again));
    }
}

/// A further database of the site's account.
fn empty_database(site: &PocketSite) -> support::Database {
    let original = &site.database;
    let name = format!("{}_again", original.name);
    let owner = match original.server.engine() {
        Engine::MariaDb => String::new(),
        Engine::Postgres => format!(" OWNER {}", original.identifier(&original.user)),
    };
    original.query(&format!("CREATE DATABASE {}{owner}", original.identifier(&name)));
    original.server.database(&name, &original.user, &original.password)
}

/// Has the engine's own client read a file.
fn load(sql: &Path, database: &support::Database) {
    let mut text = String::from_utf8(fs::read(sql).unwrap()).unwrap();
    if database.server.engine() == Engine::Postgres {
        text = format!("SET ROLE {};\n{text}", database.identifier(&database.user));
    }
    // Newer dump clients begin with a command that older clients do not know.
    let text = text.strip_prefix("/*M!999999\\- enable the sandbox mode */").unwrap_or(&text);
    database.query(text);
}

#[test]
fn parts_and_single_files_come_back_by_the_paths_that_they_had() {
    let world = backed_up(small(Engine::MariaDb), "");
    let (code, text) = place(&world, "code");
    restore(&world, &["latest", "--only", "code", "--to", &text], 0);
    assert_eq!(names(&code), ["code".to_owned()].into());

    let (some, text) = place(&world, "some");
    let config = world.site.root.join("config.php");
    let lang = world.site.dataroot.join("lang");
    let output = restore(
        &world,
        &[
            "--path",
            config.to_str().unwrap(),
            "--path",
            lang.to_str().unwrap(),
            "--path",
            "code:version.php",
            "--to",
            &text,
        ],
        0,
    );
    assert_eq!(names(&some), ["code", "moodledata"].map(String::from).into(), "{}", output.stdout);
    assert_eq!(names(&some.join("code")), ["config.php", "version.php"].map(String::from).into());
    let (there, here) = (fs::metadata(&config).unwrap(), fs::metadata(some.join("code/config.php")).unwrap());
    assert_eq!((there.uid(), there.gid(), there.mode()), (here.uid(), here.gid(), here.mode()));
    assert_eq!(names(&some.join("moodledata")), ["lang".to_owned()].into());
    assert_same("lang", tree_compare(&lang, &some.join("moodledata/lang")));

    // Another one of them may come to the same folder; nothing is written over, and then nothing comes at all.
    let other = world.site.root.join("lib/setup.php");
    restore(&world, &["--path", other.to_str().unwrap(), "--to", &text], 0);
    assert_eq!(names(&some.join("code")), ["config.php", "lib", "version.php"].map(String::from).into());
    let version = some.join("code/version.php");
    fs::write(&version, "mine").unwrap();
    let index = world.site.root.join("index.php");
    let both = ["--path", "code:version.php", "--path", index.to_str().unwrap(), "--to", &text];
    let refused = restore(&world, &both, 5).stderr;
    assert!(refused.contains(&format!("{} is there already", version.display())), "{refused}");
    assert_eq!(fs::read(&version).unwrap(), b"mine");
    assert_eq!(names(&some), ["code", "moodledata"].map(String::from).into());
    assert_eq!(names(&some.join("code")), ["config.php", "lib", "version.php"].map(String::from).into());

    // A part and a path in it: that path alone.
    let (one, text) = place(&world, "one");
    let told = restore(&world, &["--only", "code", "--path", config.to_str().unwrap(), "--to", &text], 0).stdout;
    let row = told.lines().find(|line| line.starts_with("code ")).expect("the part is told");
    assert_eq!(row.split_whitespace().nth(1), Some("1"), "one file, whatever folders it lies in: {told}");
    assert_eq!(names(&one), ["code".to_owned()].into());
    assert_eq!(names(&one.join("code")), ["config.php".to_owned()].into());
}

#[test]
fn what_cannot_be_meant_is_refused_with_what_there_is() {
    let world = backed_up(small(Engine::MariaDb), "");
    let dataroot = world.site.dataroot.to_str().unwrap();
    let hash = world.site.value("SELECT contenthash FROM {files} WHERE filesize > 0 ORDER BY id LIMIT 1");
    let pooled = format!("{dataroot}/filedir/{}/{}/{hash}", &hash[..2], &hash[2..4]);
    let (full, full_text) = place(&world, "full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("mine"), "mine").unwrap();
    let (to, text) = place(&world, "back");
    let gone = format!("{}/lib/version.php", world.site.root.display());
    let cases: [(&[&str], i32, &[&str]); 14] = [
        (&["--path", "code:config.php"], 2, &["--to <DIR>|--table <TABLE>"]),
        (&["--to", &full_text], 5, &["is not empty: mine is in it", "nothing is written over"]),
        (&["--to", "/nowhere/at/all"], 1, &["cannot make /nowhere/at/all", "must be there"]),
        (&["--to", &text, "--only", "datbase"], 2, &["is no part of a backup", "directory:NAME"]),
        (
            &["--to", &text, "--only", "directory:etc"],
            2,
            &["has no part directory:etc", "it has database, code, moodledata"],
        ),
        (&["--to", &text, "--path", "/etc/passwd"], 2, &["is in no part of backup", dataroot]),
        (&["--to", &text, "--path", "config.php"], 2, &["neither a full path nor PART:PATH", "code:config.php"]),
        (&["--to", &text, "--path", "code:../x"], 2, &["leads out of its part"]),
        (&["--to", &text, "--path", &gone], 1, &["has no ", "of that name there is", "/version.php"]),
        (&["--to", &text, "--path", &pooled], 2, &["is one of the files that users uploaded", "--file"]),
        (&["--to", &text, "--file", "no such file.pdf"], 1, &["is called \"no such file.pdf\"", "older backup"]),
        (&["--to", &text, "--owner", "nobody-here"], 2, &["there is no user \"nobody-here\" here"]),
        (&["--table", "usr"], 2, &["has no table \"usr\"", "names like this: mdl_user"]),
        (&["--to", &text, "--from", "/usr/share"], 5, &["there are no backups in /usr/share", "2026-11-23T010003Z"]),
    ];
    for (args, code, expected) in cases {
        let output = restore(&world, args, code);
        for words in expected {
            assert!(output.stderr.contains(words), "{args:?} should say {words:?}:\n{}", output.stderr);
        }
        assert!(!to.exists(), "{args:?} left something");
    }
    assert_eq!(names(&full), ["mine".to_owned()].into());
    let stick = world.scratch().join("stick");
    fs::create_dir(&stick).unwrap();
    world.run(&["export", "latest", stick.to_str().unwrap()]).expect_code(0);
    let export = fs::read_dir(&stick).unwrap().next().unwrap().unwrap().path();
    let output = restore(&world, &["--to", &text, "--from", stick.to_str().unwrap()], 5);
    assert!(output.stderr.contains(&format!("--from {}", export.display())), "{}", output.stderr);
}

#[test]
fn an_uploaded_file_is_found_by_its_name_or_its_hash() {
    for engine in Engine::ALL {
        let mut site = small(engine);
        site.serve();
        let (_, essay) = site.upload(b"the essay");
        let (_, other) = site.upload(b"another essay of that name");
        let course = site.value("SELECT MAX(id) FROM {course}");
        site.query(&format!(
            "INSERT INTO {{context}} (id, contextlevel, instanceid, path, depth) VALUES (900, 50, {course}, '/1/900', 2)"
        ));
        for (hash, name) in [(&essay, "it's an essay\\ä.odt"), (&other, "it's an essay\\ä.odt")] {
            let name = name.replace('\'', "''");
            let name = if engine == Engine::MariaDb { name.replace('\\', "\\\\") } else { name };
            site.query(&format!(
                "UPDATE {{files}} SET filename = '{name}', author = 'Ann O''Nym', contextid = 900 WHERE contenthash = '{hash}'"
            ));
        }
        let world = backed_up(site, "");

        let (to, text) = place(&world, "by name");
        let output = restore(&world, &["--file", "it's an essay\\ä.odt", "--to", &text], 0);
        assert_eq!(names(&to).len(), 2);
        let name = |hash: &str| to.join(format!("{}-it's an essay\\ä.odt", &hash[..8]));
        assert_eq!(fs::read(name(&essay)).unwrap(), b"the essay");
        assert_eq!(fs::read(name(&other)).unwrap(), b"another essay of that name");
        assert!(output.stdout.contains(&essay) && output.stdout.contains("Ann O'Nym"), "{}", output.stdout);
        assert!(output.stdout.contains("of course \""), "as find tells it: {}", output.stdout);

        // Into the same folder: that one has a name of its own.
        restore(&world, &["--file", &essay, "--to", &text], 0);
        assert_eq!(fs::read(to.join("it's an essay\\ä.odt")).unwrap(), b"the essay");
        let refused = restore(&world, &["--file", &other, "--to", &text], 5).stderr;
        assert!(refused.contains("is there already"), "{refused}");
        assert_eq!(fs::read(to.join("it's an essay\\ä.odt")).unwrap(), b"the essay");
    }
}

#[test]
fn a_table_comes_back_as_sql_that_drops_nothing() {
    for engine in Engine::ALL {
        let world = backed_up(small(engine), "");
        let (to, text) = place(&world, "user.sql");
        let told = restore(&world, &["--table", "user", "--to", &text], 0).stdout;
        assert!(told.contains("  ROWS  ") && !told.contains("FILES"), "{told}");
        let words = fs::read_to_string(&to).unwrap();
        assert!(!words.to_uppercase().contains("DROP TABLE"), "{words}");
        let printed = restore(&world, &["--table", "mdl_user"], 0).stdout;
        assert_eq!(printed, words);

        let again = empty_database(&world.site);
        load(&to, &again);
        let rows = |database: &support::Database| database.query("SELECT * FROM mdl_user ORDER BY id");
        assert_eq!(rows(&again), rows(&world.site.database));
        assert!(!rows(&again).is_empty());
        let tables = "SELECT COUNT(*) FROM information_schema.tables WHERE table_name LIKE 'mdl%' AND table_schema = ";
        let own = if engine == Engine::MariaDb { "DATABASE()" } else { "'public'" };
        assert_eq!(again.value(&format!("{tables}{own}")), "1", "no other table comes with it");

        let refused = restore(&world, &["--table", "user", "--to", &text], 5);
        assert!(refused.stderr.contains("not there yet"), "{}", refused.stderr);
    }
}

#[test]
fn backups_from_another_server_need_no_settings_here() {
    let world = backed_up(small(Engine::MariaDb), "");
    let carried = world.scratch().join("carried");
    // As over a network that knows no owners, and without what shares content.
    succeed(Command::new("cp").args(["-r", "--no-preserve=all"]).arg(world.site_folder()).arg(&carried));
    fs::remove_file(world.settings_file()).unwrap();
    let (carried, target) = (carried.to_str().unwrap(), world.target.path().to_str().unwrap());

    for from in [carried.to_owned(), target.to_owned(), format!("{carried}/{}", world.backups()[0])] {
        let (to, text) = place(&world, "back");
        restore(&world, &["--from", &from, "--to", &text], 0);
        assert_same("code", tree_compare(&world.site.root, &to.join("code")));
        // Times of the pool's files have no list of their own.
        let compare = data_compare().skip("filedir");
        assert_same("moodledata", compare.run(&world.site.dataroot, &to.join("moodledata")));
        let filedirs = [world.site.filedir(), to.join("moodledata/filedir")];
        let sums = "cd \"$0\" && find . -mindepth 2 -type f -printf '%P %U %G %m\\n' | sort";
        let [there, here] = filedirs.map(|folder| succeed(Command::new("bash").args(["-c", sums]).arg(folder)));
        assert_eq!(there, here);
        fs::remove_dir_all(&to).unwrap();
    }

    let (to, text) = place(&world, "owned");
    restore(&world, &["--from", carried, "--to", &text, "--owner", "nobody:nogroup"], 0);
    let (uid, gid) = owner_ids("nobody");
    let owners = |path: &Path| fs::symlink_metadata(path).map(|meta| (meta.uid(), meta.gid())).unwrap();
    assert_eq!(owners(&to.join("moodledata")), (uid, gid));
    assert_eq!(owners(&to.join("moodledata/filedir")), (uid, gid));
    assert_eq!(owners(&to.join("code/config.php")), (0, gid), "root's file, for the group of the web user");
    let strangers = format!("find {text}/moodledata ! -user nobody | head -3");
    assert_eq!(String::from_utf8_lossy(&succeed(Command::new("bash").args(["-c", &strangers]))), "");
}

#[test]
fn what_is_damaged_is_named_and_comes_back_by_force_only() {
    let world = backed_up(small(Engine::MariaDb), "");
    let backup = backup(&world);
    let (to, text) = place(&world, "back");
    for (file, left) in [
        ("code.tar.zst", &["database", "moodledata"][..]),
        ("database/site.sql.zst", &["code", "database", "moodledata"]),
        ("moodledata/lang/de/moodle.php", &["code", "database", "moodledata"]),
        ("manifest.json", &["code", "database", "moodledata"]),
    ] {
        let file_path = backup.join(file);
        let whole = fs::read(&file_path).unwrap();
        if file == "manifest.json" {
            fs::write(&file_path, [whole.as_slice(), b"\n"].concat()).unwrap();
        } else {
            flip(&file_path);
        }
        let output = restore(&world, &["--to", &text], 1);
        assert!(output.stderr.contains(file) && output.stderr.contains("--force"), "{file}:\n{}", output.stderr);
        assert!(!to.exists(), "{file}");

        let output = restore(&world, &["--to", &text, "--force"], 3);
        assert!(output.stderr.contains(&format!("damaged: {file}")), "{file}:\n{}", output.stderr);
        let came: Vec<String> = names(&to).into_iter().filter(|name| name != "directories").collect();
        let came: Vec<&str> = came.iter().map(String::as_str).filter(|name| left.contains(name)).collect();
        assert_eq!(came, left, "{file}");
        fs::remove_dir_all(&to).unwrap();
        fs::write(&file_path, whole).unwrap();
    }
}

#[test]
fn a_pool_that_lost_files_is_told_by_their_hashes() {
    let world = backed_up(small(Engine::MariaDb), "");
    let row =
        world.site.query("SELECT DISTINCT contenthash FROM {files} WHERE filesize > 10 ORDER BY contenthash LIMIT 2");
    let path = |hash: &str| world.site_folder().join("filedir").join(&hash[..2]).join(&hash[2..4]).join(hash);
    let (gone, rotten) = (row[0][0].clone(), row[1][0].clone());
    fs::remove_file(path(&gone)).unwrap();
    flip(&path(&rotten));
    let (to, text) = place(&world, "back");
    let output = restore(&world, &["--to", &text], 3);
    assert!(output.stderr.contains(&gone) && output.stderr.contains("gone from the pool"), "{}", output.stderr);
    assert!(output.stderr.contains(&rotten) && output.stderr.contains("damaged in the pool"), "{}", output.stderr);
    let live = |hash: &str| to.join("moodledata/filedir").join(&hash[..2]).join(&hash[2..4]).join(hash);
    assert!(!live(&gone).exists() && !live(&rotten).exists(), "nothing rotten is brought back");
    let (_, text) = place(&world, "one");
    let output = restore(&world, &["--to", &text, "--file", &rotten], 1);
    assert!(output.stderr.contains("nothing is left"), "{}", output.stderr);
}

#[test]
fn hostile_backups_are_refused() {
    let world = backed_up(small(Engine::MariaDb), "");
    let backup = backup(&world);
    let secret = world.scratch().join("secret");
    fs::write(&secret, "root's own").unwrap();
    let (to, text) = place(&world, "back");
    let manifest = fs::read_to_string(backup.join("manifest.json")).unwrap();
    let lines = fs::read(backup.join("SHA256SUMS")).unwrap();
    // Whoever writes a backup writes its sums as well.
    let seal = || {
        let sums = "cd \"$0\" && find . -type f ! -name SHA256SUMS -printf '%P\\0' | sort -z | xargs -0 sha256sum > SHA256SUMS";
        succeed(Command::new("bash").args(["-c", sums]).arg(&backup));
    };
    let outside = format!("../../..{}", secret.display());
    for (from, into) in [
        ("code.tar.zst", outside.as_str()),
        ("code.tar.zst", secret.to_str().unwrap()),
        ("\"file\": \"moodledata\"", "\"file\": \"/etc\""),
        ("database/site.sql.zst", "../../filedir/warning"),
    ] {
        fs::write(backup.join("manifest.json"), manifest.replace(from, into)).unwrap();
        seal();
        let output = restore(&world, &["--to", &text, "--force"], 1);
        assert!(output.stderr.contains("none can be read"), "{into}:\n{}", output.stderr);
        let output = restore(&world, &[&world.backups()[0], "--to", &text, "--force"], 1);
        assert!(output.stderr.contains("names a file that is not in the backup"), "{into}:\n{}", output.stderr);
        assert!(!to.exists());
    }
    fs::write(backup.join("manifest.json"), manifest).unwrap();

    let planted = backup.join("moodledata/planted");
    symlink("/etc", &planted).unwrap();
    seal();
    let output = restore(&world, &["--to", &text], 1);
    assert!(output.stderr.contains("planted is not brought back"), "{}", output.stderr);
    fs::remove_file(&planted).unwrap();

    let code = backup.join("code.tar.zst");
    fs::rename(&code, backup.join("real")).unwrap();
    symlink("real", &code).unwrap();
    let output = restore(&world, &["--to", &text], 1);
    assert!(output.stderr.contains("is a link"), "{}", output.stderr);
    fs::rename(backup.join("real"), &code).unwrap();
    fs::write(backup.join("SHA256SUMS"), lines).unwrap();
    restore(&world, &["--to", &text], 0);
}

#[test]
fn nothing_half_done_stays() {
    let mut world = backed_up(small(Engine::MariaDb), "");
    let (to, text) = place(&world, "back");
    for step in moodle_backup::extract::STEPS {
        for how in ["error", "term", "panic"] {
            world.set_env("MOODLE_BACKUP_FAILPOINT", format!("{step}={how}"));
            restore(&world, &["--to", &text], 1);
            assert!(!to.exists(), "{step}={how}");
        }
    }
    world.set_env("MOODLE_BACKUP_FAILPOINT", "name=kill");
    assert_eq!(world.run(&["restore", "--to", &text]).signal, Some(9));
    assert_eq!(names(&to), [".restoring".to_owned()].into(), "nothing has its name that is not whole");
    world.set_env("MOODLE_BACKUP_FAILPOINT", "");
    let output = restore(&world, &["--to", &text], 5);
    assert!(output.stderr.contains("rm -r "), "{}", output.stderr);
}

#[test]
fn a_disk_that_is_too_small_is_refused_before_anything_is_written() {
    let site = PocketSite::builder().files(600).file_size(30_000).build();
    let world = backed_up(site, "");
    let disk = TestTarget::ext4(12);
    let to = disk.path().join("back");
    let output = restore(&world, &["--to", to.to_str().unwrap()], 5);
    assert!(output.stderr.contains("too little room") && output.stderr.contains("--only"), "{}", output.stderr);
    assert!(!to.exists());
}

#[test]
fn a_backup_that_is_brought_back_is_not_pruned_meanwhile() {
    let mut world = backed_up(small(Engine::MariaDb), "[retention]\nlast = 1\n");
    world.run(&["run", "--foreground"]).expect_code(0);
    let (_, text) = place(&world, "back");
    let oldest = world.backups()[0].clone();
    world.set_env("MOODLE_BACKUP_FAILPOINT", "moodledata=stop");
    let running = world.spawn(&["restore", &oldest, "--to", &text]);
    support::wait_for("a stop", std::time::Duration::from_secs(60), || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", running.id())).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    });
    world.set_env("MOODLE_BACKUP_FAILPOINT", "");
    world.run(&["prune"]);
    assert!(world.backups().contains(&oldest));
    running.signal(nix::sys::signal::Signal::SIGCONT);
    assert_eq!(running.wait().code, Some(0));
}

#[test]
fn json_is_as_documented() {
    let mut site = small(Engine::MariaDb);
    site.serve();
    let (_, hash) = site.upload(b"content");
    let world = backed_up(site, "");
    for (number, more) in [&[][..], &["--file", &hash], &["--table", "user"]].into_iter().enumerate() {
        let (_, text) = place(&world, &format!("back{number}"));
        let output = restore(&world, &[&["--json", "--to", &text], more].concat(), 0);
        let value: Value = serde_json::from_str(&output.stdout).unwrap();
        let (explained, _) = documented(include_str!("../docs/json.md"), "`restore --to`");
        let mut printed = BTreeSet::new();
        json_paths(&value, "", &mut printed);
        assert!(printed.is_subset(&explained), "{:?}", printed.difference(&explained));
        assert_eq!(value["to"], text);
    }
    let output = restore(&world, &["--json", "--table", "user"], 2);
    let value: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(value["exit_code"], 2);
}

#[test]
fn a_dump_of_a_schema_of_its_own_is_found() {
    let site = PocketSite::builder().engine(Engine::Postgres).connect(Connect::Socket).schema("moodle schema").files(5);
    let world = backed_up(site.build(), "");
    let (_, text) = place(&world, "table");
    restore(&world, &["--table", "user", "--to", &text], 0);
    let words = fs::read_to_string(&text).unwrap();
    assert!(words.contains("CREATE TABLE \"moodle schema\".mdl_user ("), "{words}");
    let hash = world.site.value("SELECT contenthash FROM {files} WHERE filesize > 10 ORDER BY id LIMIT 1");
    let (to, text) = place(&world, "file");
    restore(&world, &["--file", &hash, "--to", &text], 0);
    assert_eq!(names(&to).len(), 1);
    assert_eq!(fs::metadata(to.join(names(&to).first().unwrap())).unwrap().permissions().mode() & 0o777, 0o640);
}
