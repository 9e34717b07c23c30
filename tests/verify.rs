//! `verify` as an administrator meets it: damage is named with what it affects, and mended; nothing that is well is said to
//! be damaged; and it stands in nobody's way.

mod common;
mod support;
#[path = "common/whole.rs"]
mod whole;

use common::{documented, json_paths};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::{Engine, PocketSite, World, flip};
use whole::{assert_whole, listed};

const EMPTY: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

fn world_of(engine: Engine) -> World {
    World::builder(PocketSite::builder().engine(engine).files(10).build()).without_web().build()
}

fn world() -> World {
    world_of(Engine::MariaDb)
}

/// The command's JSON, held against its section of `docs/json.md`.
#[track_caller]
fn verify(world: &World, args: &[&str], code: i32) -> Value {
    let output = world.run(&[&["verify", "--json"], args].concat()).expect_code(code);
    let value = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.stdout));
    let (explained, _) = documented(include_str!("../docs/json.md"), "`verify`");
    let mut printed = BTreeSet::new();
    json_paths(&value, "", &mut printed);
    let unexplained: Vec<_> = printed.difference(&explained).collect();
    assert!(unexplained.is_empty(), "{args:?} prints what docs/json.md does not explain: {unexplained:?}");
    value
}

/// What is damaged in the backups, as `backup file what`.
fn damage(verified: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for backup in verified["backups"].as_array().unwrap() {
        for damage in backup["damage"].as_array().unwrap() {
            let text = |key: &str| damage[key].as_str().unwrap().to_owned();
            all.push(format!("{} {} {}", backup["name"].as_str().unwrap(), text("file"), text("what")));
        }
    }
    all
}

fn json(world: &World, args: &[&str]) -> Value {
    let output = world.run(&[args, &["--json"]].concat());
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {} {}", output.stdout, output.stderr))
}

fn pool_file(world: &World, hash: &str) -> PathBuf {
    world.site_folder().join("filedir").join(&hash[..2]).join(&hash[2..4]).join(hash)
}

/// A file of the pool that belongs to a backup and holds something.
fn some_file(world: &World, backup: &str) -> String {
    listed(&world.site_folder().join(backup)).into_iter().find(|hash| hash != EMPTY).unwrap()
}

#[test]
fn whole_backups_are_found_whole_without_site_and_database() {
    for engine in Engine::ALL {
        let world = world_of(engine);
        world.run(&["run"]).expect_code(0);
        world.run(&["run"]).expect_code(0);
        let names = world.backups();
        fs::remove_dir_all(&world.site.root).unwrap();
        let verified = verify(&world, &[], 0);
        assert_eq!(verified["backups"].as_array().unwrap().len(), 1, "the newest alone");
        assert_eq!((&verified["backups"][0]["name"], &verified["finished"]), (&names[1].as_str().into(), &true.into()));
        assert_eq!(verified["pool_files"].as_u64(), Some(listed(&world.site_folder().join(&names[1])).len() as u64));
        let line = |at: usize| json(&world, &["list"])["backups"][at]["verified"].clone();
        assert_eq!((&line(1)["how"], &line(1)["good"]), (&"checksums".into(), &true.into()));
        assert_eq!(line(0), Value::Null);
        let all = verify(&world, &["--all"], 0);
        assert_eq!(damage(&all), [""; 0]);
        assert_eq!(line(0)["good"], true);
        let output = world.run(&["verify", &names[0]]).expect_code(0);
        assert!(output.stdout.contains("Nothing of pocket is damaged."), "{}", output.stdout);
        assert!(world.run(&["show", "latest"]).stdout.contains("found whole"));
    }
}

#[test]
fn a_damaged_pool_file_is_named_set_aside_and_fetched_again() {
    for engine in Engine::ALL {
        let world = world_of(engine);
        let site = &world.site;
        let course = site.value("SELECT MAX(id) FROM {course}");
        let context = site.value("SELECT MAX(contextid) FROM {files}");
        let add = "INSERT INTO {context} (id, contextlevel, instanceid, path, depth) VALUES";
        site.query(&format!("{add} (900, 50, {course}, '/2/900', 2)"));
        site.query(&format!("{add} ({context}, 70, 1, '/2/900/{context}', 3)"));
        world.run(&["run"]).expect_code(0);
        world.run(&["run"]).expect_code(0);
        let names = world.backups();
        let hash = some_file(&world, &names[0]);
        flip(&pool_file(&world, &hash));

        // Found in one, and known of all that list it.
        let verified = verify(&world, &[&names[0]], 1);
        let file = format!("filedir/{}/{}/{hash}", &hash[..2], &hash[2..4]);
        assert_eq!(damage(&verified), [format!("{} {file} has another content than its name says", names[0])]);
        let affects = verified["backups"][0]["damage"][0]["affects"].to_string();
        assert!(affects.contains("file ") && affects.contains("course ") && affects.contains("(c50)"), "{affects}");
        assert_eq!(verified["set_aside"], 1);
        assert!(!pool_file(&world, &hash).exists());
        assert!(world.site_folder().join("damaged").join(&hash).exists(), "nothing is thrown away");
        for name in &names {
            let shown = json(&world, &["show", name]);
            assert_eq!(
                (&shown["damage"][0]["file"], &shown["verified"]["good"]),
                (&file.as_str().into(), &false.into())
            );
        }
        let status = world.run(&["status"]).expect_code(3);
        assert!(status.stdout.contains("damage was found in 2 backups"), "{}", status.stdout);
        world.run(&["status", "--max-age", "1d"]).expect_code(1);
        assert!(world.run(&["list"]).stdout.contains("DAMAGE FOUND"));
        // Until it is mended, it stays known.
        assert_eq!(damage(&verify(&world, &["--all"], 1)).len(), 2);

        // The next run has it again, and all are well.
        world.run(&["run"]).expect_code(0);
        world.backups().iter().for_each(|name| assert_whole(&world.site_folder().join(name)));
        world.run(&["status", "--max-age", "1d"]).expect_code(0);
        for name in &names {
            assert_eq!(json(&world, &["show", name])["damage"], Value::Array(vec![]));
        }
        assert_eq!(damage(&verify(&world, &["--all"], 0)), [""; 0]);
    }
}

#[test]
fn repair_fetches_at_once_and_says_what_it_cannot() {
    let world = world();
    world.run(&["run"]).expect_code(0);
    let name = world.backups().remove(0);
    let mut hashes = listed(&world.site_folder().join(&name)).into_iter().filter(|hash| hash != EMPTY);
    let (one, other) = (hashes.next().unwrap(), hashes.next().unwrap());
    flip(&pool_file(&world, &one));
    let mended = verify(&world, &["--repair"], 3);
    assert_eq!(damage(&mended), [""; 0]);
    assert!(mended["mended"][0].as_str().unwrap().ends_with(&one), "{mended}");
    assert_whole(&world.site_folder().join(&name));
    assert_eq!(json(&world, &["list"])["backups"][0]["verified"]["good"], true);

    // What the site has lost too stays damaged, and is said to be.
    fs::write(pool_file(&world, &other), "").unwrap();
    let at_site = world.site.filedir().join(&other[..2]).join(&other[2..4]).join(&other);
    let kept = world.scratch().join("kept");
    fs::rename(&at_site, &kept).unwrap();
    assert_eq!(damage(&verify(&world, &["--repair"], 1)).len(), 1);
    let output = world.run(&["verify", "--repair"]).expect_code(1);
    assert!(output.stdout.contains("is missing"), "{}", output.stdout);
    let words = output.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("The site has no whole copy of it either.") && !words.contains("does so now"), "{words}");
    // A run that finds it lost says so, and the earlier backup goes on saying so.
    world.run(&["run"]).expect_code(3);
    assert_eq!(json(&world, &["show", &name])["damage"].as_array().unwrap().len(), 1);
    // A site that cannot be asked is told.
    let config = world.site.root.join("config.php");
    fs::rename(&config, world.scratch().join("config")).unwrap();
    let told = verify(&world, &["--repair", &name], 1);
    assert!(told["troubles"][0].as_str().unwrap().contains("config.php"), "{told}");
    fs::rename(world.scratch().join("config"), &config).unwrap();
    fs::rename(&kept, &at_site).unwrap();
    verify(&world, &["--repair", &name], 3);
    assert_whole(&world.site_folder().join(&name));
}

#[test]
fn a_new_backup_shares_nothing_that_is_known_to_be_damaged() {
    let world = world();
    world.run(&["run"]).expect_code(0);
    // What was changed a moment ago would be copied again anyway.
    std::thread::sleep(Duration::from_millis(2500));
    world.run(&["run"]).expect_code(0);
    world.run(&["run"]).expect_code(0);
    let names = world.backups();
    let shared = |name: &str, file: &str| fs::metadata(world.site_folder().join(name).join(file)).unwrap().ino();
    let sums = fs::read(world.site_folder().join(&names[2]).join("SHA256SUMS")).unwrap();
    let sums = String::from_utf8_lossy(&sums).into_owned();
    let is_plain = |file: &String| file.starts_with("moodledata/") && file.is_ascii();
    let mut files = sums.lines().filter_map(|line| line.get(66..)).map(str::to_owned).filter(is_plain);
    let file =
        files.find(|file| fs::metadata(world.site_folder().join(&names[2]).join(file)).unwrap().len() > 0).unwrap();
    for file in [&file, "code.tar.zst"] {
        assert_eq!(shared(&names[1], file), shared(&names[2], file), "{file} is one file");
        flip(&world.site_folder().join(&names[1]).join(file));
    }
    // Looked at in one of them, known of both.
    assert_eq!(
        damage(&verify(&world, &[&names[1]], 1)),
        [
            format!("{} code.tar.zst has another content than it had", names[1]),
            format!("{} {file} has another content than it had", names[1]),
        ]
    );
    assert_eq!(json(&world, &["show", &names[2]])["damage"].as_array().unwrap().len(), 2);
    world.run(&["run"]).expect_code(0);
    let new = world.backups().pop().unwrap();
    assert_whole(&world.site_folder().join(&new));
    assert_eq!(damage(&verify(&world, &[&new], 0)), [""; 0]);
    assert_eq!(damage(&verify(&world, &[&names[1]], 1)).len(), 2, "what is damaged stays so");
}

fn sum(bytes: &[u8]) -> String {
    moodle_backup::hashes::to_hex(&<sha2::Sha256 as sha2::Digest>::digest(bytes))
}

/// Changes some digits of a file, and its own sum.
fn put_in_place_of(path: &Path, old: &str, new: &str, backup: &Path) {
    let text = fs::read(path).unwrap();
    let changed = replaced(&text, old, new);
    fs::write(path, &changed).unwrap();
    let sums = backup.join("SHA256SUMS");
    fs::write(&sums, replaced(&fs::read(&sums).unwrap(), &sum(&text), &sum(&changed))).unwrap();
}

fn replaced(text: &[u8], old: &str, new: &str) -> Vec<u8> {
    let Some(at) = text.windows(old.len()).position(|part| part == old.as_bytes()) else { return text.to_vec() };
    [&text[..at], new.as_bytes(), &text[at + old.len()..]].concat()
}

#[test]
fn a_dump_that_the_list_does_not_cover_is_damage() {
    let world = world();
    world.run(&["run"]).expect_code(0);
    let backup = world.site_folder().join(&world.backups()[0]);
    // A list with right sums that lacks a file: a mistake of the program would look so.
    let hashes = listed(&backup);
    let shorter: String =
        hashes.iter().skip(1).map(|h| format!("{h}  filedir/{}/{}/{h}\n", &h[..2], &h[2..4])).collect();
    let list = zstd::encode_all(shorter.as_bytes(), 1).unwrap();
    let before = fs::read(backup.join("filedir.sha1.zst")).unwrap();
    fs::write(backup.join("filedir.sha1.zst"), &list).unwrap();
    put_in_place_of(&backup.join("manifest.json"), &sum(&before), &sum(&list), &backup);
    put_in_place_of(&backup.join("SHA256SUMS"), &sum(&before), &sum(&list), &backup);
    let found = damage(&verify(&world, &[], 1));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("filedir.sha1.zst lacks 1 files that the database refers to"), "{found:?}");
}

#[test]
fn a_long_verification_goes_on_where_it_was() {
    let world = world();
    world.run(&["run"]).expect_code(0);
    let first = world.backups().remove(0);
    let cut = verify(&world, &["--all", "--max-time", "0s"], 0);
    assert_eq!((&cut["finished"], &cut["pool_files"]), (&false.into(), &0.into()));
    assert_eq!(json(&world, &["list"])["backups"][0]["verified"], Value::Null, "that was no verification");
    let output = world.run(&["verify", "--all", "--max-time", "0s"]).expect_code(0);
    assert!(output.stdout.contains("goes on from here"), "{}", output.stdout);

    // As if a night had brought it to the middle of the pool; what lies before it is damaged since.
    let folder = world.root.join("var/lib/moodle-backup/verify");
    let folder = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let state = folder.join("all.json");
    let mut kept: Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    let mut hashes: Vec<String> = listed(&world.site_folder().join(&first)).into_iter().collect();
    hashes.sort();
    let middle = hashes.len() / 2;
    kept["backups"] = Value::Array(vec![first.as_str().into()]);
    kept["upto"] = hashes[middle].as_str().into();
    kept["files"] = (middle as u64 + 1).into();
    fs::write(&state, kept.to_string()).unwrap();
    let (before, after) = (&hashes[usize::from(hashes[0] == EMPTY)], hashes.last().unwrap());
    let nonempty_after = if after == EMPTY { &hashes[hashes.len() - 2] } else { after };
    flip(&pool_file(&world, before));
    flip(&pool_file(&world, nonempty_after));
    // A backup that is new since: of what lies before the middle only its own new files are read.
    let (_, uploaded) = upload_below(&world, &hashes[middle]);
    world.run(&["run"]).expect_code(0);
    flip(&pool_file(&world, &uploaded));
    let found = verify(&world, &["--all"], 1);
    let found: BTreeSet<String> =
        damage(&found).iter().map(|line| line.split(' ').nth(1).unwrap()[14..].to_owned()).collect();
    let short = |hash: &String| hash[..].to_owned();
    assert_eq!(found, BTreeSet::from([nonempty_after, &uploaded].map(short)));
    // Done: the next one begins at the beginning.
    assert!(!state.exists());
    assert_eq!(damage(&verify(&world, &[&first], 1)).len(), 2);
}

/// Puts a file into the site's pool whose name sorts before another.
fn upload_below(world: &World, limit: &str) -> (u64, String) {
    let fits = (0..1000_u64).map(|number| (number, format!("content {number}")));
    let (number, content, hash) = fits
        .map(|(number, text)| {
            let hash = moodle_backup::hashes::to_hex(&<sha1::Sha1 as sha1::Digest>::digest(&text));
            (number, text, hash)
        })
        .find(|(_, _, hash)| hash.as_str() < limit)
        .unwrap();
    let folder = world.site.filedir().join(&hash[..2]).join(&hash[2..4]);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(&hash), content).unwrap();
    (number, hash)
}

#[test]
fn a_sample_reads_some_and_says_so() {
    let world = World::builder(PocketSite::builder().files(300).file_size(100).build()).without_web().build();
    world.run(&["run"]).expect_code(0);
    let sampled = verify(&world, &["--sample", "10%"], 0);
    let files = sampled["pool_files"].as_u64().unwrap();
    assert!((1..100).contains(&files), "{sampled}");
    assert_eq!(sampled["sampled"], true);
    assert_eq!(json(&world, &["list"])["backups"][0]["verified"]["how"], "sample");
    let all = verify(&world, &["--sample", "100%"], 0);
    assert_eq!(all["pool_files"], all["pool_listed"]);
    verify(&world, &[], 0);
    verify(&world, &["--sample", "20"], 0);
    assert_eq!(json(&world, &["list"])["backups"][0]["verified"]["how"], "checksums", "a sample says less");
    let output = world.run(&["verify", "--sample", "most"]).expect_code(2);
    assert!(output.stderr.contains("is no share"), "{}", output.stderr);
}

#[test]
fn damage_is_told_where_it_cannot_be_noted() {
    let site = PocketSite::builder().files(10).build();
    let world = World::builder(site).target(support::TestTarget::ext4(300)).without_web().build();
    world.run(&["run"]).expect_code(0);
    let name = world.backups().remove(0);
    let hash = some_file(&world, &name);
    flip(&pool_file(&world, &hash));
    flip(&world.site_folder().join(&name).join("code.tar.zst"));
    world.target.set_read_only(true);
    let verified = verify(&world, &["--all"], 1);
    let found = damage(&verified);
    assert!(found.len() == 2 && found[0].contains("code.tar.zst") && found[1].contains(&hash), "{found:?}");
    assert!(verified["troubles"].to_string().contains("read-only"), "{verified}");
    world.target.set_read_only(false);
    assert_eq!(damage(&verify(&world, &["--all"], 1)).len(), 2);
}

#[test]
fn without_backups_there_is_nothing_to_verify() {
    let world = world();
    for args in [&["verify"][..], &["verify", "--all"]] {
        let output = world.run(args).expect_code(1);
        assert!(output.stderr.contains("there are no backups of site"), "{}", output.stderr);
    }
    world.run(&["run"]).expect_code(0);
    let output = world.run(&["verify", "2020-01-01"]).expect_code(1);
    assert!(output.stderr.contains("there is no backup 2020-01-01"), "{}", output.stderr);
}

/// These tests stop the program at a step.
#[cfg(feature = "failpoints")]
mod with_failpoints {
    use super::*;
    use nix::sys::signal::Signal;

    const ONE: &str = "[retention]\nlast = 1\ndaily = 0\nweekly = 0\nmonthly = 0\nyearly = 0\n";

    #[test]
    fn a_run_goes_on_beside_it_and_prunes_nothing_that_it_reads() {
        let mut world = world();
        world.run(&["run"]).expect_code(0);
        world.set_env("MOODLE_BACKUP_FAILPOINT", "pool=hang");
        let mut verifying = world.spawn(&["verify"]);
        verifying.wait_for_words("step pool");
        world.set_env("MOODLE_BACKUP_FAILPOINT", "");
        world.write_settings(ONE);
        world.run(&["run"]).expect_code(0);
        assert_eq!(world.backups().len(), 2);
        verifying.signal(Signal::SIGKILL);
        verifying.wait();
        world.run(&["prune"]).expect_code(0);
        assert_eq!(world.backups().len(), 1);
    }

    /// Damage that is found while a run is at work is left where it is, and the next run sees to it.
    #[test]
    fn what_is_found_beside_a_run_is_mended_by_the_next() {
        let mut world = world();
        world.run(&["run"]).expect_code(0);
        let hash = some_file(&world, &world.backups()[0]);
        flip(&pool_file(&world, &hash));
        world.set_env("MOODLE_BACKUP_FAILPOINT", "copy-referenced=hang");
        let mut run = world.spawn(&["run", "--foreground"]);
        run.wait_for_words("step copy-referenced");
        world.set_env("MOODLE_BACKUP_FAILPOINT", "");
        let verified = verify(&world, &["latest"], 1);
        assert_eq!(verified["set_aside"], 0);
        assert!(verified["troubles"][0].as_str().unwrap().contains("a run is at work"), "{verified}");
        assert!(pool_file(&world, &hash).exists());
        run.signal(Signal::SIGKILL);
        run.wait();
        world.run(&["run"]).expect_code(0);
        world.backups().iter().for_each(|name| assert_whole(&world.site_folder().join(name)));
        verify(&world, &["--all"], 0);
        assert!(world.site_folder().join("damaged").join(&hash).exists());
    }

    #[test]
    fn the_last_good_backup_stays_and_shared_damage_stops_nothing() {
        let mut world = world();
        let days_ago = |world: &mut World, days: u32| {
            world.set_env("MOODLE_BACKUP_CLOCK_SHIFT", format!("-{}", days * 86_400));
            world.run(&["run"]).expect_code(0);
            world.set_env("MOODLE_BACKUP_CLOCK_SHIFT", "0");
        };
        days_ago(&mut world, 4);
        days_ago(&mut world, 3);
        let names = world.backups();
        // Only the newer one is damaged.
        flip(&world.site_folder().join(&names[1]).join("database/site.sql.zst"));
        verify(&world, &["--all"], 1);
        world.write_settings(ONE);
        world.run(&["prune"]).expect_code(0);
        assert_eq!(world.backups(), names, "the newest, and the newest good one");
        // All share a rotten file that is nowhere else: new backups come, and old ones go.
        let hash = some_file(&world, &names[1]);
        fs::remove_file(pool_file(&world, &hash)).unwrap();
        fs::remove_file(world.site.filedir().join(&hash[..2]).join(&hash[2..4]).join(&hash)).unwrap();
        verify(&world, &["--all"], 1);
        days_ago_with_loss(&mut world, 2);
        days_ago_with_loss(&mut world, 1);
        let left = world.backups();
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(!names.contains(&left[0]));
    }

    fn days_ago_with_loss(world: &mut World, days: u32) {
        world.set_env("MOODLE_BACKUP_CLOCK_SHIFT", format!("-{}", days * 86_400));
        world.run(&["run"]).expect_code(3);
        world.set_env("MOODLE_BACKUP_CLOCK_SHIFT", "0");
    }
}

/// The restore test, on servers that the program starts itself.
mod restore_tests {
    use super::*;

    fn temporary(world: &World) -> Vec<String> {
        let found = fs::read_dir(world.scratch().join("trial")).unwrap().flatten();
        found.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// With a scratch folder of its own.
    fn restore_test(world: &World, code: i32) -> Value {
        let folder = world.scratch().join("trial");
        fs::create_dir_all(&folder).unwrap();
        let folder = folder.display().to_string();
        let tested = verify(world, &["--restore-test", "--scratch-folder", &folder], code);
        assert_eq!(temporary(world), [""; 0], "nothing is left behind");
        assert!(world.processes().is_empty(), "{:?}", world.processes());
        tested
    }

    #[test]
    fn a_backup_comes_back_to_life_beside_the_site() {
        for engine in Engine::ALL {
            let world = world_of(engine);
            world.run(&["run"]).expect_code(0);
            let backup = world.site_folder().join(&world.backups()[0]);
            let manifest: Value = serde_json::from_slice(&fs::read(backup.join("manifest.json")).unwrap()).unwrap();
            let tables = manifest["database"]["tables"].as_object().unwrap();
            // Not from the site: that is gone.
            fs::remove_dir_all(&world.site.root).unwrap();
            let tested = restore_test(&world, 0);
            let test = &tested["restore_test"];
            assert_eq!(test["good"], true, "{tested}");
            assert_eq!(test["tables"].as_u64(), Some(tables.len() as u64));
            assert_eq!(test["rows"].as_u64(), Some(tables.values().map(|rows| rows.as_u64().unwrap()).sum()));
            assert_eq!(test["release"], manifest["site"]["release"]);
            let shown = json(&world, &["show", "latest"]);
            assert_eq!((&shown["restore_test"]["good"], &shown["damage"]), (&true.into(), &Value::Array(vec![])));
            assert!(world.run(&["show", "latest"]).stdout.contains("could be brought back"));
        }
    }

    #[test]
    fn what_cannot_be_brought_back_is_told() {
        let world = world();
        world.run(&["run"]).expect_code(0);
        let name = world.backups().remove(0);
        let backup = world.site_folder().join(&name);
        // A dump with right sums that no server takes: a mistake of the program, or of the dump client, would look so.
        let dump = backup.join("database/site.sql.zst");
        let before = fs::read(&dump).unwrap();
        let sql = zstd::decode_all(&before[..]).unwrap();
        let bent = replaced(&sql, "CREATE TABLE `mdl_course`", "CREATE TABEL `mdl_course`");
        assert_ne!(sql, bent);
        let bent = zstd::encode_all(&bent[..], 1).unwrap();
        fs::write(&dump, &bent).unwrap();
        put_in_place_of(&backup.join("manifest.json"), &sum(&before), &sum(&bent), &backup);
        put_in_place_of(&backup.join("SHA256SUMS"), &sum(&before), &sum(&bent), &backup);
        let tested = restore_test(&world, 1);
        let problems = tested["restore_test"]["problems"].to_string();
        assert!(problems.contains("the dump cannot be loaded") && problems.contains("TABEL"), "{tested}");
        assert!(world.run(&["show", &name]).stdout.contains("COULD NOT BE BROUGHT BACK"));
        world.run(&["status", "--max-age", "1d"]).expect_code(1);
        // A next one that succeeds takes that back.
        fs::write(&dump, &before).unwrap();
        put_in_place_of(&backup.join("manifest.json"), &sum(&bent), &sum(&before), &backup);
        put_in_place_of(&backup.join("SHA256SUMS"), &sum(&bent), &sum(&before), &backup);
        restore_test(&world, 0);
        world.run(&["status", "--max-age", "1d"]).expect_code(0);
    }

    #[test]
    fn a_named_database_is_used_if_it_is_empty_and_left_empty() {
        for engine in Engine::ALL {
            let world = world_of(engine);
            world.run(&["run"]).expect_code(0);
            let server = support::Server::start(engine);
            let database = server.create_database("moodle_backup_test", "tester", "its password");
            let file = world.scratch().join("scratch.cnf");
            let port = server.port();
            let (section, place) = match engine {
                Engine::MariaDb => ("client", format!("host=127.0.0.1\nport={port}\n")),
                Engine::Postgres => ("scratch", format!("host=127.0.0.1\nport={port}\n")),
            };
            fs::write(&file, format!("[{section}]\nuser=tester\npassword=its password\n{place}")).unwrap();
            fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            let args = ["--restore-test", "--scratch-database", file.to_str().unwrap()];
            for _ in 0..2 {
                let tested = verify(&world, &args, 0);
                assert_eq!(tested["restore_test"]["good"], true, "{tested}");
            }
            // What is not empty is somebody's.
            database.query("CREATE TABLE precious (id INT)");
            let tested = verify(&world, &args, 3);
            assert!(tested["troubles"].to_string().contains("is not empty"), "{tested}");
            assert_eq!(database.value("SELECT COUNT(*) FROM precious"), "0");
        }
    }

    #[test]
    fn without_room_nothing_is_tried_and_that_is_said() {
        let world = world();
        world.run(&["run"]).expect_code(0);
        let small = support::TestTarget::ext4(50);
        let folder = small.path().display().to_string();
        let output = world.run(&["verify", "--restore-test", "--scratch-folder", &folder]).expect_code(3);
        let words = output.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("name a folder with more room by --scratch-folder"), "{words}");
        assert_eq!(json(&world, &["show", "latest"])["restore_test"], Value::Null);
    }
}
