//! The administrator's own programs round a run: when they run, as whom, what they are told, and what they can do.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{HOOK_USER, PocketSite, TreeCompare, World, add_hook, assert_same, lines, owner_ids, succeed};

const PHASES: [&str; 4] = ["pre-job", "maintenance", "post-job", "failure"];

/// A world, and a file that hooks can write their lines into.
fn world(more: &str) -> (World, PathBuf) {
    let site = PocketSite::builder().files(8).build();
    let world = World::builder(site).build();
    world.write_settings(&format!("group = \"{HOOK_USER}\"\n[hooks]\nuser = \"{HOOK_USER}\"\n{more}"));
    let told = world.scratch().folder_of("told", HOOK_USER).join("told");
    (world, told)
}

#[test]
fn hooks_run_in_order_and_are_told_everything() {
    let (world, told) = world("");
    for phase in PHASES {
        let folder = format!("{phase}.d");
        for name in ["20-second", "10-first"] {
            let body = format!(
                "echo \"$MOODLE_BACKUP_PHASE {name} $# $2 $3 $4 $5 $MOODLE_BACKUP_SITE_STATE $MOODLE_BACKUP_MODE \
                 [$MOODLE_BACKUP_LABEL] $MOODLE_BACKUP_RESTART $MOODLE_BACKUP_RESULT\" >>{told}\n\
                 [ \"$1\" = \"$MOODLE_BACKUP_SITE_FOLDER\" ] || echo \"no site folder: $1\" >>{told}\n\
                 [ -r \"$MOODLE_BACKUP_LOG\" ] || echo 'no log' >>{told}",
                told = told.display()
            );
            add_hook(&world, &folder, name, &body);
        }
        // None of these is a hook by its name or mode.
        for name in ["30-not.sh", "40-not~", ".50-not", "60-not.dpkg-old"] {
            add_hook(&world, &folder, name, &format!("echo ran {name} >>{}", told.display()));
        }
        let plain = add_hook(&world, &folder, "70-not", &format!("echo ran 70 >>{}", told.display()));
        fs::set_permissions(plain, PermissionsExt::from_mode(0o644)).unwrap();
    }
    world.run(&["run", "--label", "a b"]).expect_code(0);
    world.run(&["run", "--scheduled"]).expect_code(0);
    let expected = |by_hand: &str, mode: &str, label: &str| {
        let line = |phase: &str, name: &str, closed: &str, more: &str, result: &str| {
            let state = if closed == "1" { "closed" } else { "open" };
            format!("{phase} {name} 5 {by_hand} 1 {closed} {more} {state} {mode} [{label}] full {result}")
                .trim_end()
                .to_owned()
        };
        let mut lines = Vec::new();
        for (phase, closed, more, result) in
            [("pre-job", "0", "0", ""), ("maintenance", "1", "1", ""), ("post-job", "0", "0", "done")]
        {
            lines.extend(["10-first", "20-second"].map(|name| line(phase, name, closed, more, result)));
        }
        lines
    };
    let told = lines(&told).iter().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    assert_eq!(told, [expected("1", "manual", "a b"), expected("0", "scheduled", "")].concat());
}

#[test]
fn hooks_read_all_of_a_backup_and_write_none_of_it() {
    let (world, told) = world("");
    let secret = world.site.dataroot.join("secret.key");
    fs::write(&secret, "only its owner reads this").unwrap();
    let (uid, gid) = owner_ids("www-data");
    std::os::unix::fs::chown(&secret, Some(uid), Some(gid)).unwrap();
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o400)).unwrap();
    let body = format!(
        "{{ id -un; cat \"$MOODLE_BACKUP_BACKUP/moodledata/secret.key\" && echo; \
           grep -c '\"format\"' \"$MOODLE_BACKUP_MANIFEST\"; grep Cap /proc/self/status; \
           for try in \"touch $1/x\" \"rm -f $MOODLE_BACKUP_MANIFEST\" \"chmod 777 $1\" \"rm -rf $1/latest\"; do \
             $try 2>/dev/null && echo \"could $try\"; done; :; }} >>{}",
        told.display()
    );
    add_hook(&world, "post-job.d", "10-look", &body);
    world.run(&["run"]).expect_code(0);
    let told = lines(&told);
    assert_eq!(told[..3], [HOOK_USER, "only its owner reads this", "1"], "{told:?}");
    assert!(told.iter().any(|line| line.starts_with("CapEff:") && line.ends_with("0000000000000004")), "{told:?}");
    assert!(!told.iter().any(|line| line.starts_with("could")), "{told:?}");
}

#[test]
fn a_predecessors_script_takes_a_whole_copy_along() {
    let (world, _) = world("");
    let copies = world.scratch().folder_of("copies", HOOK_USER);
    let body = format!(
        "set -e\nrsync -a \"$1\" {copies}/rsync/\ntar -C \"$(dirname \"$1\")\" -cf {copies}/site.tar \"$(basename \"$1\")\"",
        copies = copies.display()
    );
    add_hook(&world, "post-job.d", "10-away", &body);
    world.run(&["run"]).expect_code(0);
    world.run(&["run"]).expect_code(0);
    // What rsync copied belongs to the hook's user, and both keep whole seconds: only that is lost.
    let compare = || TreeCompare::new().in_seconds();
    let rsynced = compare().without_folder_times().without_owners();
    assert_whole("rsync", rsynced, &world, &copies.join("rsync/pocket"));
    std::fs::create_dir(copies.join("tar")).unwrap();
    succeed(Command::new("tar").args(["-xpf", "site.tar", "-C", "tar"]).current_dir(&copies));
    assert_whole("tar", compare(), &world, &copies.join("tar/pocket"));
}

fn assert_whole(way: &str, compare: TreeCompare, world: &World, copy: &Path) {
    let differences = compare.run(&world.site_folder(), copy);
    // Without -H, rsync makes files of hard links.
    assert_same(way, differences.into_iter().filter(|line| !line.contains(": same file as: ")).collect());
    let check = "set -e -o pipefail; cd latest; sha256sum --quiet --strict -c SHA256SUMS; cd ..; \
                 zstdcat latest/filedir.sha1.zst | sha1sum --quiet --strict -c";
    succeed(Command::new("bash").args(["-c", check]).current_dir(copy));
    assert!(fs::read_dir(copy.join("latest/moodledata/filedir")).unwrap().count() > 0);
}

#[test]
fn exit_codes_of_hooks_decide_what_becomes_of_a_run() {
    let (world, told) = world("timeout = 1\n");
    add_hook(&world, "failure.d", "10-tell", &format!("echo failure >>{}", told.display()));
    add_hook(&world, "pre-job.d", "20-later", &format!("echo later >>{}", told.display()));

    let judge = add_hook(&world, "pre-job.d", "10-judge", "echo not tonight; exit 75");
    let output = world.run(&["run"]).expect_code(6);
    assert!(output.stderr.contains("10-judge asked to skip this run"), "{}", output.stderr);
    assert!(lines(&told).is_empty(), "neither later hooks nor those for failures run");

    add_hook(&world, "pre-job.d", "10-judge", "echo words of the hook; exit 7");
    let output = world.run(&["run"]).expect_code(1);
    assert!(output.stderr.contains("10-judge ended with exit code 7"), "{}", output.stderr);
    assert!(output.stderr.contains("words of the hook"), "{}", output.stderr);
    assert_eq!(lines(&told), ["failure"]);
    assert!(world.backups().is_empty());

    add_hook(&world, "pre-job.d", "10-judge", "sleep 100");
    let output = world.run(&["run"]).expect_code(1);
    assert!(output.stderr.contains("did not end within 1 seconds"), "{}", output.stderr);
    fs::remove_file(judge).unwrap();

    for phase in ["maintenance.d", "post-job.d"] {
        let failing = add_hook(&world, phase, "10-fail", "exit 9");
        add_hook(&world, phase, "20-still", &format!("echo still >>{}", told.display()));
        fs::write(&told, "").unwrap();
        let output = world.run(&["run"]).expect_code(3);
        assert!(output.stderr.contains("10-fail ended with exit code 9"), "{}", output.stderr);
        assert!(lines(&told).contains(&"still".to_owned()), "the others still run");
        fs::remove_file(failing).unwrap();
        assert!(world.site.is_open());
    }
    world.run(&["run"]).expect_code(0);
    assert_eq!(world.backups().len(), 3);
}

#[test]
fn the_time_of_maintenance_hooks_is_not_the_windows() {
    let (world, _) = world("[window]\nmax_seconds = 2\n");
    add_hook(&world, "maintenance.d", "10-slow", "sleep 4");
    world.run(&["run"]).expect_code(0);
    assert!(world.site.is_open());
}

#[test]
fn a_hook_that_others_can_write_is_refused_before_anything_is_done() {
    let (world, told) = world("");
    let hook = add_hook(&world, "post-job.d", "10-open", &format!("echo ran >>{}", told.display()));
    add_hook(&world, "failure.d", "10-tell", &format!("echo failure >>{}", told.display()));
    let folder = hook.parent().unwrap();
    for path in [&*hook, folder] {
        let mode = fs::metadata(path).unwrap().permissions();
        fs::set_permissions(path, PermissionsExt::from_mode(0o775)).unwrap();
        let output = world.run(&["run"]).expect_code(5);
        let words = format!("{} must belong to root and be writable by nobody else", path.display());
        assert!(output.stderr.contains(&words), "{}", output.stderr);
        assert!(output.stderr.contains("  next: chown root"), "{}", output.stderr);
        fs::set_permissions(path, mode).unwrap();
    }
    std::os::unix::fs::chown(&hook, Some(owner_ids(HOOK_USER).0), None).unwrap();
    world.run(&["run"]).expect_code(5);
    assert!(!lines(&told).contains(&"ran".to_owned()) && world.backups().is_empty());
}
