//! `find`: which backups have a file, under which name, and the command that brings it back. Nothing of the site is needed for
//! it, what is damaged is told, and no name plays tricks.

mod common;
mod support;

use common::{documented, json_paths};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Engine, Output, PocketSite, World, flip, succeed};

fn small(engine: Engine) -> PocketSite {
    PocketSite::builder().engine(engine).files(20).build()
}

fn world(site: PocketSite, settings: &str) -> World {
    World::builder(site).settings(settings).without_web().build()
}

/// Makes a backup, and returns its name.
fn back_up(world: &World) -> String {
    world.run(&["run", "--foreground"]).expect_code(0);
    world.backups().pop().unwrap()
}

fn find(world: &World, args: &[&str], code: i32) -> Output {
    world.run(&[&["find"], args].concat()).expect_code(code)
}

/// The same as JSON, with no key that is not documented.
#[track_caller]
fn json(world: &World, args: &[&str], code: i32) -> Value {
    let value = serde_json::from_str(&find(world, &[args, &["--json"]].concat(), code).stdout).unwrap();
    let (explained, _) = documented(include_str!("../docs/json.md"), "`find`");
    let mut printed = BTreeSet::new();
    json_paths(&value, "", &mut printed);
    let unexplained: Vec<_> = printed.difference(&explained).collect();
    assert!(unexplained.is_empty(), "{unexplained:?}");
    value
}

/// The names that were found.
fn names(found: &Value) -> Vec<&str> {
    found["found"].as_array().unwrap().iter().map(|found| found["path"].as_str().unwrap()).collect()
}

/// Types a command that was told into a shell, but for the place where things go.
#[track_caller]
fn typed(world: &World, command: &str, to: &Path) {
    let script = format!("set -- {command}; printf '%s\\0' \"$@\"");
    let words = succeed(Command::new("bash").args(["-c", &script]));
    let mut words: Vec<OsString> =
        words.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect();
    words.pop();
    assert_eq!(words[0], "moodle-backup");
    for word in words.iter_mut().filter(|word| *word == "/root/back") {
        *word = to.into();
    }
    succeed(world.command(&[]).args(&words[1..]));
}

/// A text that was wrapped.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn an_upload_that_somebody_deleted_is_found_with_its_place_and_comes_back() {
    for engine in Engine::ALL {
        let mut site = small(engine);
        site.serve();
        let (id, hash) = site.upload(b"what was said in the third lecture");
        let course = site.value("SELECT MAX(id) FROM {course}");
        site.query(&format!(
            "INSERT INTO {{context}} (id, contextlevel, instanceid, path, depth) VALUES (900, 50, {course}, '/1/900', 2)"
        ));
        site.query(&format!(
            "UPDATE {{files}} SET filename = 'Lecture 3 Übung.pdf', filepath = '/week 4/', contextid = 900, \
             author = 'Dr. Meier' WHERE id = {id}"
        ));
        let world = world(site, "");
        let first = back_up(&world);
        world.site.query(&format!("DELETE FROM {{files}} WHERE id = {id}"));
        back_up(&world);

        let output = find(&world, &["lecture 3"], 1);
        for words in
            ["Nothing of the name \"lecture 3\"", "Searched: code, moodledata, uploads", "1 other backup may have it"]
        {
            assert!(output.stdout.contains(words), "{words}: {}", output.stdout);
        }
        let next = "moodle-backup find --all 'lecture 3'";
        assert!(output.stdout.contains(next), "{}", output.stdout);

        let output = find(&world, &["--all", "LECTURE*übung.pdf"], 0);
        for words in [
            "uploads",
            "Lecture 3 Übung.pdf",
            "course \"",
            "in /week 4/, by Dr. Meier",
            &format!("in {first} 1 found in the 2 backups"),
            &format!("restore {first} \\ --file {hash} --to /root/back"),
        ] {
            assert!(one_line(&output.stdout).contains(words), "{words}: {}", output.stdout);
        }
        let found = json(&world, &["week 4/lecture", "--all", "--in", "uploads"], 0);
        assert_eq!(names(&found), ["Lecture 3 Übung.pdf"]);
        assert_eq!(names(&json(&world, &[&hash, &first], 0)), ["Lecture 3 Übung.pdf"]);
        let back = world.scratch().join("back");
        typed(&world, found["found"][0]["restore"].as_str().unwrap(), &back);
        assert_eq!(fs::read(back.join("Lecture 3 Übung.pdf")).unwrap(), b"what was said in the third lecture");

        fs::remove_file(support::hashed_path(&world.site_folder().join("filedir"), &hash)).unwrap();
        let output = find(&world, &["--all", "lecture 3"], 0);
        assert!(output.stdout.contains("LOST"), "{}", output.stdout);
    }
}

#[test]
fn what_is_the_same_in_several_backups_is_shown_once_with_all_that_have_it() {
    let site = small(Engine::MariaDb);
    let nginx = site.scratch().join("etc/nginx");
    fs::create_dir_all(nginx.join("plugin folder")).unwrap();
    let conf = nginx.join("nginx.conf");
    fs::write(&conf, "listen 80").unwrap();
    let world = world(site, &format!("[directories]\npaths = [{nginx:?}]\n[retention]\nlast = 9\n"));
    let first = back_up(&world);
    let second = back_up(&world);
    fs::write(&conf, "listen 443, and not as before").unwrap();
    fs::remove_dir(nginx.join("plugin folder")).unwrap();
    let third = back_up(&world);

    let output = find(&world, &["--all", "nginx.conf"], 0);
    let (newer, older) = (format!("in {third}\n"), format!("in {first} to {second} (2 backups)"));
    let (newer, older) = (output.stdout.find(&newer), output.stdout.find(&older));
    assert!(newer.is_some() && newer < older, "{}", output.stdout);
    assert!(output.stdout.contains("2 found in the 3 backups"), "{}", output.stdout);

    let found = json(&world, &["--all", "nginx.conf"], 0);
    assert_eq!(found["count"], 2);
    let back = world.scratch().join("back");
    typed(&world, found["found"][1]["restore"].as_str().unwrap(), &back);
    assert_eq!(fs::read(&files(&back)[0]).unwrap(), b"listen 80");

    // A folder is found as such, and not all that lies in it.
    let found = json(&world, &["--all", "nginx/plug"], 0);
    assert_eq!(found["found"][0]["kind"], "folder");
    assert_eq!(found["found"][0]["backups"], serde_json::json!([second, first]));
    assert_eq!(found["count"], 1);
    assert_eq!(json(&world, &["nginx/plug"], 1)["count"], 0);
}

#[test]
fn a_search_can_be_narrowed_and_limited() {
    let world = world(small(Engine::Postgres), "");
    back_up(&world);
    let root = world.site.root.to_str().unwrap();
    assert_eq!(names(&json(&world, &["VERSION.php", "--in", "code"], 0))[0], format!("{root}/version.php"));
    assert_eq!(json(&world, &["version.php", "--in", "moodledata", "--in", "uploads"], 1)["parts"][1], "uploads");
    let all = json(&world, &["*.php", "--limit", "0"], 0);
    let some = json(&world, &["*.php", "--limit", "2"], 0);
    assert_eq!(some["found"].as_array().unwrap().len(), 2);
    assert_eq!(some["count"].as_u64(), all["found"].as_array().map(|found| found.len() as u64));
    let output = find(&world, &["*.php", "--limit", "2"], 0);
    assert!(one_line(&output.stdout).contains("more than are shown here"), "{}", output.stdout);
    assert_eq!(output.stderr, "", "it only looks");
    let count = |part: &str| -> u64 {
        let counts = some["counts"].as_array().unwrap().iter();
        counts.filter(|one| one["part"] == part).map(|one| one["count"].as_u64().unwrap()).sum()
    };
    assert_eq!(some["count"].as_u64(), Some(count("code") + count("moodledata")), "{}", some["counts"]);
    for line in output.stdout.lines() {
        assert!(line.chars().count() <= 80 || line.split(' ').any(|word| word.len() > 40), "{line}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_what_there_is() {
    let world = world(small(Engine::MariaDb), "");
    let name = back_up(&world);
    let cases: [(&[&str], i32, &[&str]); 6] = [
        (&["x", "--in", "database"], 2, &["cannot be searched", "uploads"]),
        (&["x", "--in", "directory"], 2, &["directory:NAME"]),
        (&["x", "--in", "directory:etc"], 2, &["has no part directory:etc", "it has database, code, moodledata"]),
        (&["x", "--all", "--in", "directory:etc"], 2, &["has no part directory:etc"]),
        (&["x", &name, "--all"], 2, &["cannot be used with"]),
        (&[""], 2, &["part of the name"]),
    ];
    for (args, code, expected) in cases {
        let output = find(&world, args, code);
        for words in expected {
            assert!(output.stderr.contains(words), "{args:?} should say {words:?}:\n{}", output.stderr);
        }
    }
}

#[test]
fn odd_names_are_shown_harmlessly_and_come_back_by_what_is_told() {
    let site = small(Engine::MariaDb);
    let folder = site.scratch().join("odd");
    fs::create_dir(&folder).unwrap();
    let odd: [&[u8]; 6] = [
        b"odd two  blanks's",
        b"odd \xc3\xbcber",
        b"odd line\nfeed",
        b"odd caf\xe9",
        b"odd \x1b[31mred",
        "odd \u{202e}fdp.exe".as_bytes(),
    ];
    for name in odd {
        fs::write(folder.join(OsStr::from_bytes(name)), name).unwrap();
    }
    let world = world(site, &format!("[directories]\npaths = [{folder:?}]\n"));
    back_up(&world);

    let output = find(&world, &["odd "], 0);
    let tricky = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    assert!(!output.stdout.contains(tricky), "{:?}", output.stdout);
    assert!(!output.stdout.lines().any(|line| line.starts_with("feed")), "{}", output.stdout);
    let found = json(&world, &["odd "], 0);
    let mut brought_back: Vec<Vec<u8>> = Vec::new();
    for (number, one) in found["found"].as_array().unwrap().iter().enumerate() {
        let back = world.scratch().join(&format!("back {number}"));
        typed(&world, one["restore"].as_str().unwrap(), &back);
        for file in files(&back) {
            assert_eq!(fs::read(&file).unwrap(), file.file_name().unwrap().as_bytes());
            brought_back.push(fs::read(&file).unwrap());
        }
    }
    brought_back.sort();
    let mut odd: Vec<Vec<u8>> = odd.iter().map(|name| name.to_vec()).collect();
    odd.sort();
    assert_eq!(brought_back, odd);
}

#[test]
fn backups_elsewhere_and_exports_need_no_settings() {
    for engine in Engine::ALL {
        let world = world(small(engine), "");
        let name = back_up(&world);
        let export = world.scratch().join("an export.tar.zst");
        world.run(&["export", "latest", export.to_str().unwrap()]).expect_code(0);
        let upload = world.site.value("SELECT filename FROM {files} WHERE filesize > 0 ORDER BY id LIMIT 1");
        fs::remove_file(world.settings_file()).unwrap();
        fs::remove_dir_all(&world.site.root).unwrap();

        let target = world.target.path().to_str().unwrap().to_owned();
        let places = [target.clone(), format!("{target}/pocket/{name}"), export.to_str().unwrap().to_owned()];
        for (number, from) in places.iter().enumerate() {
            let found = json(&world, &["--from", from, "version.php", "--all"], 0);
            let back = world.scratch().join(&format!("back {number}"));
            typed(&world, found["found"][0]["restore"].as_str().unwrap(), &back);
            assert_eq!(files(&back).len(), 1, "{from}");

            let found = json(&world, &["--from", from, &upload, "--in", "uploads"], 0);
            assert_eq!(found["found"][0]["lost"], false, "{from}");
            let back = world.scratch().join(&format!("upload {number}"));
            typed(&world, found["found"][0]["restore"].as_str().unwrap(), &back);
            assert_eq!(files(&back).len(), 1, "{from}");
        }
        let left = fs::read_dir("/var/tmp").unwrap().flatten().map(|entry| entry.file_name());
        let own: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with(".moodle-backup-unpacked")).collect();
        assert!(own.is_empty(), "{own:?}");
    }
}

#[test]
fn damaged_backups_are_searched_as_far_as_can_be() {
    let world = world(small(Engine::MariaDb), "");
    let first = back_up(&world);
    let second = back_up(&world);
    let folder = |name: &str| world.site_folder().join(name);
    let dump = folder(&second).join("database/site.sql.zst");
    let whole = fs::read(&dump).unwrap();
    fs::write(&dump, &whole[..40]).unwrap();
    let output = find(&world, &["version.php"], 3);
    assert!(output.stdout.contains("/version.php"), "{}", output.stdout);
    let words = format!("uploads of {second}, in whole or in part: cannot read");
    assert!(output.stdout.contains("Not searched") && output.stdout.contains(&words), "{}", output.stdout);
    find(&world, &["version.php", "--in", "code"], 0);
    fs::write(&dump, whole).unwrap();

    // A list may be a link to that of the backup before.
    let index = folder(&second).join("index/code.zst");
    let bytes = fs::read(&index).unwrap();
    fs::remove_file(&index).unwrap();
    fs::write(&index, bytes).unwrap();
    flip(&index);
    let output = find(&world, &["moodle.php", "--in", "moodledata", "--in", "code"], 3);
    assert!(output.stdout.contains("moodledata  "), "{}", output.stdout);
    assert!(output.stdout.contains(&format!("code of {second}, in whole or in part")), "{}", output.stdout);

    fs::write(folder(&first).join("manifest.json"), "{").unwrap();
    // An older one is not what the newest means.
    assert_eq!(json(&world, &["version.php", "--in", "moodledata"], 1)["not_searched"], serde_json::json!([]));
    let found = json(&world, &["nothing has this name", "--all"], 1);
    let told = found["not_searched"].to_string();
    assert!(told.contains(&first) && told.contains(&format!("code of {second}")), "{told}");
}

#[test]
fn a_backup_that_is_being_removed_is_left_out() {
    let world = world(small(Engine::MariaDb), "");
    let first = back_up(&world);
    let second = back_up(&world);
    let removed = fs::File::open(world.site_folder().join(&first)).unwrap();
    fs2::FileExt::lock_exclusive(&removed).unwrap();
    let output = find(&world, &["version.php", "--all"], 3);
    assert!(output.stdout.contains(&format!("{first}: backup {first} is being removed")), "{}", output.stdout);
    let found = json(&world, &["version.php", "--all"], 3);
    assert_eq!(found["found"][0]["backups"], serde_json::json!([second]));
    let output = find(&world, &["version.php", &first], 1);
    assert!(output.stderr.contains("is being removed"), "{}", output.stderr);
}
