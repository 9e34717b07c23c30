//! Files of theirs and lines of cron that are not as one would have them, and what must not be lost over it.

use super::Old;
use std::fs;
use std::path::PathBuf;

/// What cron has for root; `@` stands for the folder of the scripts.
fn crontab(old: &Old, text: &str) -> PathBuf {
    let folder = old.world.root.join("var/spool/cron/crontabs");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("root"), text.replace('@', &old.scripts.display().to_string())).unwrap();
    folder.join("root")
}

fn in_use(crontab: &PathBuf) -> Vec<String> {
    let text = fs::read_to_string(crontab).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn cron_goes_on_if_the_rest_has_failed() {
    let old = Old::new();
    old.write("");
    let crontab = crontab(&old, "30 2 * * * @/cron.sh CRON_FULL_RESTART\n");
    old.import(&["--disable-cron", "--adopt", "/nowhere"]).expect_code(5);
    assert_eq!(in_use(&crontab).len(), 1);
    let dry = old.import(&["--disable-cron", "--dry-run"]).expect_code(0);
    assert!(dry.stdout.contains("line in cron = 30 2 * * *"), "{}", dry.stdout);
    assert_eq!(in_use(&crontab).len(), 1);
}

#[test]
fn lines_of_cron_are_known_however_they_are_written() {
    for (lines, left) in [
        ("30 2 * * 1-5 @/cron.sh FULL\n30 4 * * 6,0 @/cron.sh FULL\n", 0),
        ("30 2 * * * cd @ && ./cron.sh FULL\n", 0),
        ("30 2 * * * /bin/bash '@/cron.sh' FULL >/dev/null 2>&1", 0),
        ("30 2 * * * @/cron.sh FULL\n0 9 * * 1 @/report.sh\n", 1),
        ("0 9 * * 1 tar -cf /tmp/x.tar @\n", 1),
    ] {
        let old = Old::new();
        old.write("");
        let crontab = crontab(&old, lines);
        let other = old.world.root.join("etc/cron.d/other");
        fs::create_dir_all(other.parent().unwrap()).unwrap();
        fs::write(&other, format!("0 1 * * * root {}/cron.sh FULL\n", old.scripts.display())).unwrap();
        let output = old.import(&["--disable-cron"]);
        assert_eq!(in_use(&crontab).len(), left, "{lines}: {:?}", in_use(&crontab));
        assert_eq!(in_use(&other).len(), 0, "{lines}");
        assert_eq!(output.stderr.contains("which stays"), lines.contains("report.sh"), "{}", output.stderr);
    }
}

#[test]
fn their_file_is_found_by_a_relative_name_and_with_exported_keys() {
    let old = Old::new();
    old.write("");
    let text = fs::read_to_string(old.settings()).unwrap();
    fs::write(old.settings(), text.replace("\nbackuptarget", "\nexport backuptarget")).unwrap();
    let crontab = crontab(&old, "30 2 * * * @/cron.sh FULL\n");
    let mut command = old.world.command(&["import-settings", "settings.sh", "--disable-cron"]);
    let output = command.current_dir(&old.scripts).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(in_use(&crontab), Vec::<String>::new());
}

#[test]
fn what_somebody_wrote_is_never_lost() {
    let old = Old::new();
    old.write("");
    let settings = "# mine\n[site]\nname = \"a\"\n";
    fs::write(old.world.settings_file(), settings).unwrap();
    let script = old.scripts.join("postjob.sh");
    fs::write(&script, "#!/bin/sh\ntrue\n").unwrap();
    let script = script.display().to_string();
    let hook = old.world.root.join("etc/moodle-backup/post-job.d/50-predecessor");
    old.import(&["--replace", "--post-job", &script]).expect_code(0);
    let edited = "#!/bin/sh\n# a day's work\n";
    fs::write(&hook, edited).unwrap();
    old.write("serverservicename='apache2'\n");
    old.import(&["--replace", "--post-job", &script]).expect_code(0);
    let kept = |path: &str| fs::read_to_string(old.world.root.join(path)).unwrap();
    assert_eq!(kept("etc/moodle-backup/settings.toml.old"), settings);
    assert!(kept("etc/moodle-backup/settings.toml.old-2").starts_with("# mine\n"));
    assert_eq!(kept("var/lib/moodle-backup/post-job.before-moodle-backup"), edited);
    assert!(kept("etc/moodle-backup/post-job.d/50-predecessor").contains("Taken over"));
}

#[test]
fn a_script_that_is_not_utf8_is_refused_before_anything_is_written() {
    let old = Old::new();
    old.write("");
    let script = old.scripts.join("postjob.sh");
    fs::write(&script, b"#!/bin/sh\n# perch\xe9\n").unwrap();
    let refused = old.import(&["--post-job", &script.display().to_string()]).expect_code(5);
    assert!(refused.stderr.contains("iconv -f latin1"), "{}", refused.stderr);
    assert!(!old.world.settings_file().exists());
}

#[test]
fn what_has_no_equal_is_to_be_looked_at() {
    for (lines, key, look, words) in [
        ("moodledataparentpath='/srv'\nmoodledatadirname='x'\n", "moodledataparentpath", true, "/srv/x"),
        ("saveddataownerandgroup='keeper:keeper'\n", "saveddataownerandgroup", true, "adduser keeper moodle-backup"),
        ("saveddataownerandgroup='www-data:www-data'\n", "saveddataownerandgroup", false, "root's"),
        ("phpexecpath='php7.4'\n", "phpexecpath", true, "php in [site]"),
        ("# a note \\\nserverservicename='apache2'\n", "serverservicename", false, "apache2.service"),
    ] {
        let old = Old::new();
        old.write(lines);
        let found = old.lines(&[]).into_iter().find(|it| it["key"] == key).expect(key);
        assert_eq!(found["look"], look, "{found}");
        assert!(found["becomes"].as_str().unwrap().contains(words), "{found}");
    }
    let old = Old::new();
    old.write("");
    let output = old.import(&[]).expect_code(0);
    assert!(output.stdout.contains("Next:") && output.stdout.contains("moodle-backup.timer"), "{}", output.stdout);
}
