//! Table, structs and sample agree; mistakes are told as an administrator needs them.

use super::reference::{Absent, SECTIONS, sample, section};
use super::{Engine, Room, Settings, WindowMode, parse, told};
use crate::error;
use crate::sys::priority::Io;
use std::path::Path;
use std::time::Duration;

const LEAST: &str = "[site]\nroot = \"/var/www/moodle\"\n[target]\npath = \"/srv/backup\"\n";

fn messages(text: &str) -> Vec<String> {
    let mistakes = parse(text).expect_err("these settings are wrong");
    let error = told(mistakes, Path::new("/etc/moodle-backup/settings.toml"));
    assert_eq!(error::kind(&error), error::Kind::Unfit);
    let mut lines = error::lines(&error);
    assert!(lines.pop().is_some_and(|hint| hint.starts_with("  next: correct /etc/moodle-backup/settings.toml")));
    lines
}

fn with(more: &str) -> Settings {
    parse(&format!("{LEAST}{more}")).expect("these settings are right")
}

#[test]
fn root_and_path_are_enough() {
    let settings = with("");
    assert_eq!(settings.site.name, "moodle");
    assert_eq!(settings.site.root, Path::new("/var/www/moodle"));
    assert_eq!(settings.target.min_free, Room::Percent(5));
    assert_eq!(settings.window.mode, WindowMode::Short);
    assert_eq!(settings.window.max, Duration::from_secs(60));
    assert_eq!(settings.hooks.timeout, Duration::from_secs(3600));
    assert_eq!((settings.retention.last, settings.retention.monthly), (3, 12));
    assert_eq!(settings.resources.io, Io::Low);
    assert!((1..=4).contains(&settings.resources.threads));
}

#[test]
fn what_is_written_wins_over_defaults() {
    let settings = with(
        "[window]\nmax_seconds = \"2m\"\nmode = \"none\"\n[resources]\nthreads = 3\n[directories]\npaths = [\"/etc/apache2/\"]\n\
         [[database.extra]]\nname = \"one\"\n[[database.extra]]\nname = \"two\"\nengine = \"postgres\"\nport = 5433\n",
    );
    assert_eq!((settings.window.max, settings.window.mode), (Duration::from_secs(120), WindowMode::None));
    assert_eq!(settings.resources.threads, 3);
    assert_eq!(settings.directories.paths, [Path::new("/etc/apache2")]);
    assert_eq!((settings.database.extra.len(), settings.database.extra[1].engine), (2, Some(Engine::Postgres)));
}

#[test]
fn the_sample_is_the_reference() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/settings.toml");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, sample()).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        sample(),
        "set UPDATE_GOLDEN=1 to write etc/settings.toml anew"
    );
}

#[test]
fn the_sample_uncommented_is_right_in_every_key() {
    // A database has a host or a socket, not both.
    let sample = sample();
    let lines = sample.lines().filter(|line| !line.starts_with("#host = "));
    let uncommented: String = lines
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.starts_with(' ') => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let settings = parse(&uncommented).expect("the sample is right");
    assert_eq!(settings.database.extra.len(), 1);
    assert_eq!(settings.site.environment.0["STAGE"], "live");
    let table: toml::Table = toml::from_str(&uncommented).unwrap();
    for section in SECTIONS.iter().filter(|section| !section.repeated) {
        let written = table[section.name].as_table().unwrap();
        section.keys.iter().for_each(|key| assert!(written.contains_key(key.name), "{}.{}", section.name, key.name));
    }
}

#[test]
fn the_sample_as_installed_asks_for_what_must_be_set() {
    assert_eq!(
        messages(&sample()),
        [
            "error: 2 mistakes in /etc/moodle-backup/settings.toml",
            "  because: line 6: \"site.root\" is not set: write root = \"/var/www/moodle\" under [site]",
            "  because: line 35: \"target.path\" is not set: write path = \"/srv/backup\" under [target]",
        ]
    );
}

/// serde lists the fields of a struct when it meets one that is not there.
fn fields(section: &str) -> Vec<String> {
    let mut table = super::as_written::read(LEAST).unwrap().table;
    let unknown = toml::Value::Integer(1);
    match section.split_once('.') {
        Some((outer, inner)) => {
            let entry = toml::Table::from_iter([("nothing".to_owned(), unknown)]);
            table[outer].as_table_mut().unwrap().insert(inner.into(), vec![toml::Value::Table(entry)].into());
        }
        None => drop(table[section].as_table_mut().unwrap().insert("nothing".into(), unknown)),
    }
    let message = serde::Deserialize::deserialize(toml::Value::Table(table)).map(|_: Settings| ()).unwrap_err();
    let message = message.message().to_owned();
    assert!(message.contains("unknown field `nothing`"), "{message}");
    let mut fields: Vec<String> = message.split('`').skip(3).step_by(2).map(str::to_owned).collect();
    fields.retain(|name| super::reference::section(&format!("{section}.{name}")).is_none());
    fields.sort();
    fields
}

#[test]
fn table_and_structs_have_the_same_keys() {
    for section in SECTIONS {
        let mut keys: Vec<String> = section.keys.iter().map(|key| key.name.to_owned()).collect();
        keys.sort();
        assert_eq!(fields(section.name), keys, "[{}]", section.name);
    }
}

#[test]
fn defaults_are_values_that_may_be_written() {
    for section in SECTIONS {
        for key in section.keys {
            let text = format!("value = {}", key.absent.shown());
            let value: toml::Table =
                toml::from_str(&text).unwrap_or_else(|e| panic!("{}.{}: {e}", section.name, key.name));
            assert!(value.contains_key("value"));
            assert!(
                !(section.repeated && matches!(key.absent, Absent::Default(_))),
                "repeated sections get no defaults"
            );
        }
    }
    assert!(section("database.extra").is_some());
}

#[test]
fn unknown_names_get_a_line_and_a_suggestion() {
    for (text, expected) in [
        ("[retension]\nlast = 1\n", "unknown section \"retension\" in line 5 of F; did you mean \"retention\"?"),
        (
            "[window]\nmax_second = 1\n",
            "unknown key \"window.max_second\" in line 6 of F; did you mean \"window.max_seconds\"?",
        ),
        (
            "[window]\nMax-Seconds = 1\n",
            "unknown key \"window.Max-Seconds\" in line 6 of F; did you mean \"window.max_seconds\"?",
        ),
        (
            "[window]\nthreads = 1\n",
            "unknown key \"window.threads\" in line 6 of F; did you mean \"threads\" under [resources]?",
        ),
        ("[hooks]\nshell = 1\n", "unknown key \"hooks.shell\" in line 6 of F; known here: folder, user, timeout"),
        (
            "[[database.extra]]\nname = \"a\"\nhots = \"b\"\n",
            "unknown key \"database.extra.hots\" in line 7 of F; did you mean \"database.extra.host\"?",
        ),
    ] {
        let text = format!("{LEAST}{text}");
        assert_eq!(messages(&text), [format!("error: {expected}").replace(" F", " /etc/moodle-backup/settings.toml")]);
    }
}

#[test]
fn bad_values_get_a_line_and_what_is_allowed() {
    for (text, line, expected) in [
        (
            "[window]\nmax_seconds = \"soon\"",
            6,
            "\"window.max_seconds\"|it must be whole seconds, or a text such as \"30s\", \"10m\", \"26h\" or \"2d\"; 1 s at least",
        ),
        ("[window]\n\nmode = \"shorter\"", 7, "\"window.mode\"|it must be \"short\" or \"full\" or \"none\""),
        ("[window]\ncron_after = \"yes\"", 6, "\"window.cron_after\"|it must be true or false"),
        ("[resources]\nnice = 20", 6, "\"resources.nice\"|it must be a whole number from 0 to 19"),
        (
            "[directories]\npaths = [\n  \"etc\",\n]",
            6,
            "\"directories.paths\"|it must be a list of paths that begin with \"/\" and have no \"..\", such as [\"/etc/apache2\"]",
        ),
        (
            "[hooks]\nfolder = \"/etc/../x\"",
            6,
            "\"hooks.folder\"|it must be a path in quotes that begins with \"/\" and has no \"..\"",
        ),
        (
            "[moodledata]\nexclude = [\"/repository\"]",
            6,
            "\"moodledata.exclude\"|it must be a list of names below moodledata, such as [\"repository/video\", \"*.bak\"]",
        ),
        (
            "[moodledata]\nexclude = [\"filedir/ab\"]",
            6,
            "\"moodledata.exclude\"|\"filedir/ab\" would leave out files of users, without which no backup is whole",
        ),
        (
            "[directories]\npaths = [\"/srv\"]",
            6,
            "\"directories.paths\"|/srv would save the backups themselves, /srv/backup",
        ),
        (
            "[retention]\nlast = 0\ndaily=0\nweekly=0\nmonthly=0",
            6,
            "\"retention.last\"|with 0 on every line nothing would be kept: set one of them",
        ),
        (
            "[[database.extra]]\nname = \"a\"\n[[database.extra]]\nname = \"a\"",
            8,
            "\"database.extra.name\"|\"a\" is there twice, and both dumps would have one name",
        ),
    ] {
        let (key, why) = expected.split_once('|').unwrap();
        let text = format!("{LEAST}{text}\n");
        let expected = format!("error: bad value of {key} in line {line} of /etc/moodle-backup/settings.toml: {why}");
        assert_eq!(messages(&text), [expected]);
    }
}

#[test]
fn several_mistakes_are_told_at_once() {
    let lines = messages("[site]\nroot = \"moodle\"\nnmae = 1\n[target]\npath = \"/srv\"\nmin_free = 5.5\n");
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert_eq!(lines[0], "error: 3 mistakes in /etc/moodle-backup/settings.toml");
    assert!(lines[1].starts_with("  because: line 2: bad value of \"site.root\": it must be"), "{}", lines[1]);
    assert_eq!(lines[2], "  because: line 3: unknown key \"site.nmae\"; did you mean \"site.name\"?");
}

#[test]
fn target_and_site_do_not_contain_each_other() {
    for (root, target, why) in [
        ("/var/www/moodle", "/var/www/moodle/backup/", "the backups would lie inside the site's code, /var/www/moodle"),
        (
            "/srv/backup/moodle",
            "/srv/backup",
            "the site's code, /srv/backup/moodle, lies inside the folder for backups",
        ),
        ("/var/www/moodle", "/", "it must be a folder of its own, not the whole machine"),
    ] {
        let text = format!("[site]\nroot = \"{root}\"\n[target]\npath = \"{target}\"\n");
        let expected =
            format!("error: bad value of \"target.path\" in line 4 of /etc/moodle-backup/settings.toml: {why}");
        assert_eq!(messages(&text), [expected]);
    }
    assert!(parse("[site]\nroot = \"/var/www/moodle\"\n[target]\npath = \"/var/www/moodle-backup\"\n").is_ok());
}

#[test]
fn broken_toml_is_told_with_its_line() {
    let lines = messages("[site]\nroot = /var/www/moodle\n");
    assert!(lines[0].contains("this is not TOML in line 2 of /etc/"), "{lines:?}");
    assert!(lines[0].ends_with("(texts stand in double quotes, lists in [ ])"), "{lines:?}");
}

#[test]
fn secrets_in_the_environment_are_not_shown() {
    let settings = with("[site.environment]\nDB_PASS = \"hunter2\"\n");
    let shown = format!("{settings:?}");
    assert!(shown.contains("DB_PASS") && !shown.contains("hunter2"));
}
