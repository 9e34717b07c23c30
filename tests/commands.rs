//! The commands that look, pin and prune, as an administrator or a monitoring program meets them: what they print, in
//! text and as documented JSON, their exit codes, and that they work when most else is broken.

mod common;
mod support;

use chrono::{DateTime, Utc};
use common::{documented, json_paths};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use support::{Engine, Output, PocketSite, Server, TestTarget, World, assert_same, succeed};

/// The command's JSON, held against its section of `docs/json.md`: every documented key is there, and no other.
#[track_caller]
fn json(world: &World, args: &[&str], code: i32, section: &str) -> Value {
    let output = world.run(&[args, &["--json"]].concat()).expect_code(code);
    let value: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.stdout));
    let (explained, _) = documented(include_str!("../docs/json.md"), section);
    let mut printed = BTreeSet::new();
    json_paths(&value, "", &mut printed);
    let unexplained: Vec<_> = printed.difference(&explained).collect();
    assert!(unexplained.is_empty(), "{args:?} prints what docs/json.md does not explain: {unexplained:?}");
    let top = |keys: &BTreeSet<String>| -> BTreeSet<String> {
        keys.iter().filter(|key| !key.contains(['.', '['])).cloned().collect()
    };
    assert_eq!(top(&printed), top(&explained), "{args:?}");
    value
}

fn list(world: &World) -> Value {
    json(world, &["list"], 0, "`list`")
}

fn status(world: &World, code: i32) -> Value {
    json(world, &["status"], code, "`status`")
}

/// What wants attention, as one text.
fn attention(status: &Value) -> String {
    status["attention"].as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned() + "\n").collect()
}

#[track_caller]
fn assert_fits(output: &Output) {
    for line in output.stdout.lines() {
        // A path cannot be broken.
        let fits = line.chars().count() <= 80 || line.split_whitespace().any(|word| word.len() > 60);
        assert!(fits, "wider than 80 columns: {line}");
    }
}

fn small() -> PocketSite {
    PocketSite::builder().files(10).build()
}

/// A world whose target is a disk of its own: there `check` finds nothing to warn of.
fn world() -> World {
    World::builder(small()).target(TestTarget::ext4(300)).build()
}

/// Everything below a folder, with sizes and times of change.
fn everything_in(folder: &Path) -> BTreeSet<String> {
    let mut find = Command::new("find");
    find.arg(folder).args(["-printf", "%P %y %s %T@ %C@\n"]);
    String::from_utf8_lossy(&succeed(&mut find)).lines().map(str::to_owned).collect()
}

/// What was or has become otherwise.
fn differences(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Vec<String> {
    before.symmetric_difference(after).cloned().collect()
}

/// Bytes that folders take on the disk, each without what the ones before share with it.
fn disk_usage(folders: &[&Path]) -> Vec<u64> {
    let mut du = Command::new("du");
    du.args(["--summarize", "--block-size=1"]).args(folders);
    let sizes = succeed(&mut du);
    let sizes = String::from_utf8_lossy(&sizes);
    sizes.lines().map(|line| line.split_whitespace().next().unwrap().parse().unwrap()).collect()
}

#[test]
fn before_the_first_backup_everything_says_so() {
    let world = world();
    let empty = list(&world);
    assert_eq!(empty["backups"], Value::Array(vec![]));
    assert!(empty["free_bytes"].as_u64() > Some(0));
    assert!(world.run(&["list"]).expect_code(0).stdout.contains("There are no backups of pocket"));
    for args in [&["show", "latest"][..], &["pin", "latest"], &["unpin", "latest"], &["prune"]] {
        let output = world.run(args).expect_code(1);
        assert!(output.stderr.contains("error: there are no backups of site \"pocket\""), "{args:?} {}", output.stderr);
        assert!(output.stderr.contains("next: \"moodle-backup run\" makes the first"), "{args:?} {}", output.stderr);
    }
    let status = status(&world, 3);
    assert_eq!((&status["state"], &status["last"], &status["running"]), (&"open".into(), &Value::Null, &Value::Null));
    assert!(attention(&status).contains("there is no backup yet"));
    world.run(&["status", "--max-age", "26h"]).expect_code(1);
    json(&world, &["show", "latest"], 1, "Errors");
}

#[test]
fn check_says_what_is_fine_and_what_is_not() {
    let world = world();
    let found = json(&world, &["check"], 0, "`check`");
    let groups: Vec<&str> = found["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
    assert_eq!(groups, ["settings", "site", "database", "target"]);
    let output = world.run(&["check"]).expect_code(0);
    assert!(output.stdout.contains("All is well: a backup of pocket can be made."), "{}", output.stdout);
    assert_fits(&output);
    assert!(!world.site_folder().exists(), "it has made something on the target");

    world.site.query("CREATE TABLE {old} (id INT) ENGINE=MyISAM");
    let output = world.run(&["check"]).expect_code(3);
    assert!(output.stdout.contains("1 warning: a backup of pocket can be made"), "{}", output.stdout);
    assert!(output.stdout.contains("mdl_old"), "{}", output.stdout);

    // Several problems at once are all told.
    std::fs::write(world.site.root.join("config.php"), "<?php\n$CFG = ;\n").unwrap();
    world.write_settings("mount_uuid = \"2f6b9d1e-5c4a-4d0e-9a57-0d9f5a3c7b21\"\n");
    let output = world.run(&["check"]).expect_code(5);
    assert!(output.stdout.contains("2 problems: a backup of pocket would be refused."), "{}", output.stdout);
    assert!(output.stdout.contains("syntax error"), "PHP's own words: {}", output.stdout);
    assert!(output.stdout.contains("2f6b9d1e-5c4a-4d0e-9a57-0d9f5a3c7b21 is not mounted"), "{}", output.stdout);
    assert_fits(&output);
    json(&world, &["check"], 5, "`check`");
}

#[test]
fn a_dry_run_says_what_a_run_would_copy_and_touches_nothing() {
    let world = world();
    let plan = json(&world, &["run", "--dry-run"], 0, "`run --dry-run`");
    let files: u64 = plan["new_files"].as_u64().unwrap();
    assert!(!world.site_folder().exists());
    assert!(world.run(&["run", "--dry-run"]).expect_code(0).stdout.contains("archive code ("));

    let run = json(&world, &["run"], 0, "`run`\n");
    assert_eq!(run["new_files"].as_u64(), Some(files), "what was foretold came");

    // What was changed a moment ago may be changed again without its times showing it, so it would be copied again.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    world.run(&["run"]).expect_code(0);
    let (before, site) = (everything_in(&world.site_folder()), everything_in(&world.site.dataroot));
    let plan = world.run(&["run", "--dry-run", "--restart", "half"]).expect_code(0);
    assert!(plan.stdout.contains("code is unchanged"), "{}", plan.stdout);
    assert!(plan.stdout.contains("until \"moodle-backup resume\""), "{}", plan.stdout);
    assert_fits(&plan);
    assert_same("the site", differences(&site, &everything_in(&world.site.dataroot)));

    world.site.upload(&[7; 5000]);
    std::fs::write(world.site.root.join("lib/added.php"), "<?php").unwrap();
    let plan = json(&world, &["run", "--dry-run"], 0, "`run --dry-run`");
    assert_eq!((plan["new_files"].as_u64(), plan["new_bytes"].as_u64()), (Some(1), Some(5000)));
    let copy = plan["steps"].as_array().unwrap().iter().find(|step| step["name"] == "copy-ahead").unwrap();
    let copy = copy["text"].as_str().unwrap();
    assert!(copy.contains("archive code again (1 file new or changed, 1 folder changed)"), "{copy}");
    assert_same("the target", differences(&before, &everything_in(&world.site_folder())));
    assert!(!differences(&site, &everything_in(&world.site.dataroot)).is_empty(), "the upload is seen by this look");
    assert!(world.site.is_open());
}

#[test]
fn backups_are_listed_and_shown() {
    for engine in Engine::ALL {
        let world = World::builder(PocketSite::builder().engine(engine).files(10).build())
            .target(TestTarget::ext4(300))
            .build();
        world.run(&["run"]).expect_code(0);
        world.run(&["run", "--label", "before the upgrade"]).expect_code(0);
        let names = world.backups();
        let listed = list(&world);
        let lines = listed["backups"].as_array().unwrap();
        assert_eq!(lines.iter().map(|line| line["name"].as_str().unwrap()).collect::<Vec<_>>(), names);
        assert_eq!((&lines[0]["label"], &lines[1]["label"]), (&Value::Null, &"before the upgrade".into()));
        assert_eq!((&lines[1]["complete"], &lines[1]["pinned"]), (&true.into(), &false.into()));
        assert!(lines[1]["age_seconds"].as_i64().is_some_and(|age| (0..600).contains(&age)), "{listed}");

        // What goes with the last backup is what the first does not share with it.
        let folders: Vec<_> = names.iter().map(|name| world.site_folder().join(name)).collect();
        let own = disk_usage(&[&folders[0], &folders[1]])[1];
        assert_eq!(lines[1]["own_bytes"].as_u64(), Some(own));

        let output = world.run(&["list"]).expect_code(0);
        assert!(output.stdout.contains("\"before the upgrade\""), "{}", output.stdout);
        assert_fits(&output);
        let output = world.run(&["show", "latest"]).expect_code(0);
        assert_fits(&output);
        let shown = json(&world, &["show", &names[0]], 0, "`show`");
        assert_eq!((&shown["name"], &shown["sequence"]), (&names[0].as_str().into(), &1.into()));
        let part = |name: &str| shown["parts"].as_array().unwrap().iter().find(|part| part["name"] == name).cloned();
        for name in ["database", "code", "moodledata"] {
            let part = part(name).unwrap_or_else(|| panic!("{name} is not shown: {shown}"));
            assert!(part["bytes"].as_u64() > Some(0) && part["stored_bytes"].as_u64() > Some(0), "{part}");
        }
        let code = json(&world, &["show", "latest"], 0, "`show`")["parts"].as_array().unwrap()[0].clone();
        assert_eq!(code["name"], "database");
        assert_fits(&world.run(&["status"]).expect_code(0));
    }
}

#[test]
fn a_backup_is_found_by_name_or_time_and_nothing_else() {
    let world = world();
    world.run(&["run"]).expect_code(0);
    let line = list(&world)["backups"][0].clone();
    let (name, when) = (line["name"].as_str().unwrap(), line["when"].as_str().unwrap());
    let when: DateTime<Utc> = when.parse().unwrap();
    for wanted in [when.format("%Y-%m-%dZ"), when.format("%Y-%m-%d %H:%MZ")].map(|text| text.to_string()) {
        assert_eq!(json(&world, &["show", &wanted], 0, "`show`")["name"], name, "{wanted}");
    }
    let output = world.run(&["show", "2020-01-01"]).expect_code(1);
    assert!(output.stderr.contains("there is no backup 2020-01-01"), "{}", output.stderr);
    let output = world.run(&["show", "yesterday"]).expect_code(2);
    assert!(output.stderr.contains("\"yesterday\" is no backup"), "{}", output.stderr);
    assert!(output.stderr.contains("next: give a name"), "{}", output.stderr);
}

fn parts_lost(status: &Value) -> Vec<&str> {
    status["lost"].as_array().unwrap().iter().map(|lost| lost["part"].as_str().unwrap()).collect()
}

#[test]
fn code_that_does_not_run_is_told_in_a_sentence_with_what_brings_it_back() {
    let world = World::builder(PocketSite::builder().files(3).build()).without_web().build();
    world.run(&["run"]).expect_code(0);
    std::fs::remove_file(world.site.root.join("lib/setuplib.php")).unwrap();
    let status = world.run(&["status"]).expect_code(3).stdout;
    let words = status.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("lib/setuplib.php") && words.contains("moodle-backup restore --plan"), "{status}");
    assert!(!words.contains("Stack trace") && !words.contains("#0 "), "{status}");
}

/// Cron sends a mail for each word that is printed.
#[test]
fn who_wants_warnings_and_errors_only_hears_nothing_else() {
    let world = World::builder(PocketSite::builder().files(3).build()).without_web().build();
    let back = world.scratch().join("back");
    let back = back.to_str().unwrap();
    for args in [
        &["run", "-q"][..],
        &["run", "-q", "--foreground"],
        &["verify", "-q"],
        &["pin", "latest", "-q"],
        &["restore", "--to", back, "-q"],
        &["export", "latest", back, "-q"],
    ] {
        let output = world.run(args).expect_code(0);
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""), "{args:?}");
    }
    let hash = world.site.value("SELECT contenthash FROM {files} WHERE filesize > 0 ORDER BY id LIMIT 1");
    std::fs::remove_file(support::hashed_path(&world.site.filedir(), &hash)).unwrap();
    std::fs::remove_dir_all(world.site_folder().join("filedir")).unwrap();
    let output = world.run(&["run", "-q"]).expect_code(3);
    assert!(output.stdout.contains("done, with warnings"), "{}", output.stdout);
}

/// Whoever has lost a site is told what of it, and how it comes back.
#[test]
fn status_tells_what_is_lost_and_what_brings_it_back() {
    for engine in Engine::ALL {
        let world = World::builder(PocketSite::builder().engine(engine).build()).build();
        let site = &world.site;
        world.run(&["run"]).expect_code(0);
        assert_eq!(parts_lost(&status(&world, 0)), [""; 0]);

        let moved = |from: &Path| {
            let to = from.with_extension("away");
            std::fs::rename(from, &to).unwrap();
            to
        };
        let filedir = moved(&site.filedir());
        let told = status(&world, 3);
        assert_eq!((&told["state"], parts_lost(&told)), (&"down".into(), vec!["moodledata"]));
        std::fs::rename(filedir, site.filedir()).unwrap();

        let (code, data) = (moved(&site.root), moved(&site.dataroot));
        let told = status(&world, 3);
        assert_eq!((&told["state"], parts_lost(&told)), (&"down".into(), vec!["code", "moodledata"]));
        let words = attention(&told);
        assert!(words.contains("see first whether all file systems are mounted"), "{words}");
        assert!(words.contains("\"moodle-backup restore\" brings back"), "{words}");
        let text = world.run(&["status"]).expect_code(3).stdout;
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("DOES NOT WORK (not there, or not to be reached: code, moodledata)"), "{text}");

        // A disk that is not mounted leaves an empty folder.
        std::fs::rename(code, &site.root).unwrap();
        std::fs::create_dir(&site.dataroot).unwrap();
        std::os::unix::fs::chown(&site.dataroot, Some(33), Some(33)).unwrap();
        assert_eq!(parts_lost(&status(&world, 3)), ["moodledata"]);
        std::fs::remove_dir(&site.dataroot).unwrap();
        std::fs::rename(data, &site.dataroot).unwrap();

        site.database.lose();
        let told = status(&world, 3);
        assert_eq!((&told["state"], parts_lost(&told)), (&"down".into(), vec!["database"]));
        assert!(attention(&told).contains("see first whether the database server runs"), "{told}");
    }
}

/// What is needed most when the site is broken must not need the site.
#[test]
fn backups_can_be_seen_and_kept_when_moodle_is_broken() {
    let server = Server::start(Engine::MariaDb);
    let mut site = PocketSite::builder().server(&server).files(10).build();
    site.serve();
    let mut world = World::builder(site).target(TestTarget::ext4(300)).build();
    world.run(&["run"]).expect_code(0);
    world.run(&["run"]).expect_code(0);
    let names = world.backups();

    server.kill();
    world.site.stop_serving();
    let standing = status(&world, 3);
    assert_eq!((&standing["state"], &standing["last"]["name"]), (&"down".into(), &names[1].as_str().into()));
    assert_eq!(parts_lost(&standing), ["database"]);
    assert!(attention(&standing).contains("is the database server running"), "{standing}");

    std::fs::remove_dir_all(&world.site.root).unwrap();
    assert_eq!(list(&world)["backups"].as_array().unwrap().len(), 2);
    json(&world, &["show", "latest"], 0, "`show`");
    let pinned = json(&world, &["pin", &names[0]], 0, "`pin` and `unpin`");
    assert_eq!((&pinned["pinned"], &pinned["changed"]), (&true.into(), &true.into()));
    assert_eq!(json(&world, &["pin", &names[0]], 0, "`pin` and `unpin`")["changed"], false);
    json(&world, &["prune", "--dry-run"], 0, "`prune`");
    let standing = status(&world, 3);
    assert_eq!(parts_lost(&standing), ["code", "database"], "where that is, the backup's config.php tells");
    assert!(attention(&standing).contains("\"moodle-backup restore\""), "{standing}");
    let refused = world.run(&["run", "--dry-run"]).expect_code(5);
    assert!(refused.stderr.contains("error: there is no folder"), "{}", refused.stderr);
}

#[test]
fn a_target_that_is_not_mounted_is_no_empty_target() {
    let world = world();
    world.write_settings(&format!("mount_uuid = {:?}\n", world.target.uuid()));
    world.run(&["run"]).expect_code(0);
    world.run(&["status", "--max-age", "26h"]).expect_code(0);
    world.target.unmount();
    for args in [&["list"][..], &["show", "latest"], &["pin", "latest"], &["prune"]] {
        let output = world.run(args).expect_code(5);
        assert!(output.stderr.contains("is not mounted at"), "{args:?}: {}", output.stderr);
        assert!(
            output.stderr.contains("\"moodle-backup setup --yes\" mounts it again (and formats nothing)"),
            "{}",
            output.stderr
        );
    }
    let (fstab, place) = (world.root.join("etc/fstab"), world.target.path().display().to_string());
    std::fs::write(&fstab, format!("UUID={} {place} ext4 nofail 0 2\n", world.target.uuid())).unwrap();
    let output = world.run(&["list"]).expect_code(5);
    assert!(output.stderr.contains(&format!("\"mount {place}\" mounts it again")), "{}", output.stderr);
    assert!(attention(&status(&world, 3)).contains("the backups cannot be seen: the backup disk"));
    world.run(&["status", "--max-age", "26h"]).expect_code(1);
}

#[test]
fn backups_that_have_vanished_are_missed() {
    let world = world();
    world.run(&["run"]).expect_code(0);
    let name = list(&world)["backups"][0]["name"].as_str().unwrap().to_owned();
    std::fs::remove_dir_all(world.site_folder()).unwrap();
    let list = world.run(&["list"]).expect_code(3);
    let check = world.run(&["check"]).expect_code(3);
    for told in [list.stderr, check.stdout] {
        let words = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(&format!("the last run has made {name}, on ")), "{words}");
        assert!(words.contains("is it the right disk"), "{words}");
    }
    world.run(&["run"]).expect_code(0);
    world.run(&["list"]).expect_code(0);
    world.run(&["check"]).expect_code(0);
}

#[test]
fn a_held_site_wants_attention_until_it_is_resumed() {
    let world = world();
    world.run(&["run", "--restart", "half"]).expect_code(0);
    let held = status(&world, 3);
    assert_eq!(held["state"], "held");
    assert!(held["state_because"].as_str().unwrap().starts_with("run --restart half, since 20"), "{held}");
    assert!(attention(&held).contains("open it with \"moodle-backup resume\""), "{held}");
    let output = world.run(&["check"]).expect_code(3);
    assert!(output.stdout.contains("the site is closed by this program"), "{}", output.stdout);

    // A broken site can be opened all the same.
    let config = world.site.root.join("config.php");
    let works = std::fs::read(&config).unwrap();
    std::fs::write(&config, "<?php\n$CFG = ;\n").unwrap();
    world.run(&["resume"]).expect_code(0);
    std::fs::write(&config, works).unwrap();
    assert!(world.site.is_open());
    assert_eq!(status(&world, 0)["state"], "open");
    world.site.cli("maintenance", &["--enable"]);
    let maintenance = status(&world, 0);
    assert_eq!(maintenance["state"], "maintenance");
    assert!(maintenance["state_because"].as_str().unwrap().contains("climaintenance.html is there since"));
}

#[test]
fn what_nobody_asked_for_is_settled_by_the_administrator() {
    let world = world();
    world.run(&["run"]).expect_code(0);
    std::fs::write(world.site_folder().join("my notes.txt"), "").unwrap();
    assert_eq!(list(&world)["others"], Value::Array(vec!["my notes.txt".into()]));
    let refused = json(&world, &["prune"], 3, "`prune`");
    assert!(refused["refused_because"][0].as_str().unwrap().contains("my notes.txt"), "{refused}");
    assert_eq!(refused["backups"][0]["because"][0], "refused");
    assert!(attention(&status(&world, 3)).contains("my notes.txt"));
    let output = world.run(&["prune"]).expect_code(3);
    assert!(output.stdout.starts_with("Nothing of pocket is removed:\n"), "{}", output.stdout);
    assert_eq!((output.stdout.matches("my notes").count(), output.stderr.matches("my notes").count()), (1, 0));
}

#[test]
fn settings_that_are_missing_or_wrong_are_the_first_thing_said() {
    let world = World::builder(small()).without_web().build();
    let commands =
        [&["check"][..], &["list"], &["show", "latest"], &["status"], &["pin", "x"], &["unpin", "x"], &["prune"]];
    std::fs::remove_file(world.settings_file()).unwrap();
    for args in commands.into_iter().chain([&["run", "--dry-run"][..]]) {
        let output = world.run(args).expect_code(5);
        assert!(output.stderr.contains("error: there is no settings file"), "{args:?}: {}", output.stderr);
    }
    json(&world, &["status"], 5, "Errors");
}

/// These tests set the program's clock, or stop it at a step.
#[cfg(feature = "failpoints")]
mod with_failpoints {
    use super::*;
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use std::time::Duration;
    use support::{Running, wait_for};

    const LIMIT: Duration = Duration::from_secs(60);

    /// Makes a backup as it would have been made so many days ago.
    fn run_days_ago(world: &mut World, days: u32) {
        world.set_env("MOODLE_BACKUP_CLOCK_SHIFT", format!("-{}", days * 86_400));
        world.run(&["run"]).expect_code(0);
        world.set_env("MOODLE_BACKUP_CLOCK_SHIFT", "0");
    }

    fn keeping(world: &World, last: u32) {
        world.write_settings(&format!("[retention]\nlast = {last}\ndaily = 0\nweekly = 0\nmonthly = 0\nyearly = 0\n"));
    }

    #[test]
    fn prune_removes_what_it_said_and_no_pinned_backup() {
        let mut world = world();
        keeping(&world, 9);
        (2..=4).rev().for_each(|days| run_days_ago(&mut world, days));
        let names = world.backups();
        keeping(&world, 1);
        world.run(&["pin", &names[0]]).expect_code(0);
        assert_eq!(list(&world)["backups"][0]["pinned"], true);

        let foretold = json(&world, &["prune", "--dry-run"], 0, "`prune`");
        let keep: Vec<_> = foretold["backups"].as_array().unwrap().iter().map(|it| it["keep"] == true).collect();
        assert_eq!(keep, [true, false, true], "{foretold}");
        assert_eq!(foretold["backups"][0]["because"], Value::Array(vec!["pinned".into()]));
        assert_eq!(world.backups(), names, "nothing has gone");

        let pruned = json(&world, &["prune"], 0, "`prune`");
        assert_eq!(pruned["backups"], foretold["backups"]);
        assert_eq!(world.backups(), [names[0].clone(), names[2].clone()]);
        let output = world.run(&["prune"]).expect_code(0);
        assert!(output.stdout.contains("Removed 0 backups"), "{}", output.stdout);
        assert_fits(&output);

        world.run(&["unpin", &names[0]]).expect_code(0);
        world.run(&["prune"]).expect_code(0);
        assert_eq!(world.backups(), names[2..]);
    }

    #[test]
    fn an_old_backup_is_not_recent_enough() {
        let mut world = world();
        run_days_ago(&mut world, 3);
        world.run(&["status"]).expect_code(0);
        let stale = json(&world, &["status", "--max-age", "2d"], 1, "`status`");
        assert_eq!((&stale["recent_enough"], &stale["max_age_seconds"]), (&false.into(), &172_800.into()));
        assert!(attention(&stale).contains("is 3 d old"), "{stale}");
        assert_eq!(json(&world, &["status", "--max-age", "4d"], 0, "`status`")["recent_enough"], true);
    }

    /// A run that hangs in the window.
    fn hanging(world: &mut World) -> Running {
        world.set_env("MOODLE_BACKUP_FAILPOINT", "copy-delta=hang");
        let mut run = world.spawn(&["run", "--foreground"]);
        run.wait_for_words("step copy-delta");
        run
    }

    fn kill_guard(world: &World) {
        let guards = world.processes().into_iter().filter(|(_, line)| line.contains(" guard "));
        let guards: Vec<i32> = guards.map(|(id, _)| id).collect();
        assert_eq!(guards.len(), 1, "one guard watches");
        kill(Pid::from_raw(guards[0]), Signal::SIGKILL).unwrap();
    }

    #[test]
    fn a_run_at_work_is_seen_and_keeps_others_off() {
        let mut world = world();
        world.run(&["run"]).expect_code(0);
        let run = hanging(&mut world);
        let standing = status(&world, 0);
        assert_eq!((&standing["state"], &standing["running"]["step"]), (&"closed".into(), &"copy-delta".into()));
        assert_eq!(standing["running"]["pid"].as_u64(), Some(run.id().into()));
        assert!(list(&world)["others"][0].as_str().unwrap().starts_with(".partial-"));
        for args in [&["prune"][..], &["run"]] {
            let output = world.run(args).expect_code(4);
            let said = format!("process {}", run.id());
            assert!(
                output.stderr.contains(&said) && output.stderr.contains("copy-delta"),
                "{args:?}: {}",
                output.stderr
            );
        }
        world.run(&["pin", "latest"]).expect_code(0);
        let plan = world.run(&["run", "--dry-run"]).expect_code(3);
        assert!(plan.stdout.contains("a run is at work now"), "{}", plan.stdout);

        // A killed run: its guard opens the site at once.
        run.signal(Signal::SIGKILL);
        assert_eq!(run.wait().signal, Some(9));
        wait_for("the guard to open the site", LIMIT, || world.site.is_open());
        let standing = status(&world, 3);
        assert_eq!((&standing["state"], &standing["running"]), (&"open".into(), &Value::Null));
        assert!(attention(&standing).contains("was killed at the step copy-delta"), "{standing}");

        // What it left half made goes with the next prune.
        world.run(&["prune"]).expect_code(0);
        assert_eq!(list(&world)["others"], Value::Array(vec![]));
    }

    #[test]
    fn a_site_whose_moodledata_is_not_mounted_is_not_forgotten() {
        let mut world = world();
        let run = hanging(&mut world);
        kill_guard(&world);
        run.signal(Signal::SIGKILL);
        run.wait();
        let (dataroot, elsewhere) = (&world.site.dataroot, world.site.dataroot.with_extension("elsewhere"));
        std::fs::rename(dataroot, &elsewhere).unwrap();
        for folder_below_the_mount in [false, true] {
            if folder_below_the_mount {
                std::fs::create_dir(dataroot).unwrap();
            }
            let output = world.run(&["recover"]).expect_code(1);
            assert!(output.stderr.contains("is it not mounted?"), "{}", output.stderr);
        }
        std::fs::remove_dir(dataroot).unwrap();
        std::fs::rename(&elsewhere, dataroot).unwrap();
        assert!(!world.site.is_open());
        world.run(&["recover"]).expect_code(0);
        assert!(world.site.is_open());
    }

    #[test]
    fn a_site_that_was_left_closed_wants_attention_until_it_is_recovered() {
        let mut world = world();
        let run = hanging(&mut world);
        kill_guard(&world);
        run.signal(Signal::SIGKILL);
        run.wait();
        let left = status(&world, 3);
        assert_eq!(left["state"], "interrupted");
        assert!(attention(&left).contains("open it with \"moodle-backup recover\""), "{left}");
        assert!(!world.site.is_open());
        world.run(&["recover"]).expect_code(0);
        assert_eq!(status(&world, 3)["state"], "open");
        assert!(world.site.is_open());
        assert_eq!(list(&world)["others"], Value::Array(vec![]), "nothing is left half made");

        // The next run that ends well leaves nothing to say.
        world.set_env("MOODLE_BACKUP_FAILPOINT", "");
        world.run(&["run"]).expect_code(0);
        assert_eq!(attention(&status(&world, 0)), "");
    }

    #[test]
    fn a_failed_run_tells_how_long_the_site_was_closed_and_whether_it_still_is() {
        let mut world = world();
        for (step, closed) in [("copy-ahead", false), ("copy-delta", true), ("copy-referenced", true)] {
            world.set_env("MOODLE_BACKUP_FAILPOINT", format!("{step}=error"));
            let failed = json(&world, &["run"], 1, "`run`");
            assert_eq!(
                failed["closed_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0),
                closed,
                "{step}: {failed}"
            );
            assert_eq!(failed["held"], false, "{step}");
            assert_eq!(status(&world, 3)["last_run"]["closed_seconds"], failed["closed_seconds"], "{step}");
        }
        let output = world.run(&["run", "--restart", "half"]).expect_code(1);
        assert!(output.stdout.contains("KEPT CLOSED, until \"moodle-backup resume\""), "{}", output.stdout);
        assert!(output.stderr.contains("the site stays closed"), "{}", output.stderr);
        assert_eq!(json(&world, &["run", "--restart", "half"], 1, "`run`")["held"], true);
        assert!(!world.site.is_open());
        world.run(&["resume"]).expect_code(0);
        // What is never closed is not held.
        world.set_env("MOODLE_BACKUP_FAILPOINT", "");
        let open = json(&world, &["run", "--restart", "half", "--window", "none"], 0, "`run`");
        assert_eq!((&open["held"], &open["closed_seconds"]), (&Value::Bool(false), &Value::Null));
        assert!(world.site.is_open());
    }
}
