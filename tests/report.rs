//! What is printed, as text and as JSON: golden files, 80 columns, plain ASCII, and `docs/json.md`.

mod common;

use chrono::{DateTime, TimeDelta, Utc};
use common::{documented, golden, json_paths};
use moodle_backup::error::Fault;
use moodle_backup::report::check::{Check, Finding, Group, Level};
use moodle_backup::report::export::Exported;
use moodle_backup::report::extract::{self, Extracted};
use moodle_backup::report::find::{self, Find, Found};
use moodle_backup::report::list::{Line, List, Verified};
use moodle_backup::report::outcome::{Ending, Outcome};
use moodle_backup::report::pin::Pin;
use moodle_backup::report::plan::{Fate, Plan, Prune, Step};
use moodle_backup::report::show::{Part, Show};
use moodle_backup::report::status::{Last, LastRun, Lost, SetAside, SiteState, Status};
use moodle_backup::report::verify::{Damage, RestoreTest, Verdict, Verify};
use moodle_backup::report::{self, Failure, Look};
use moodle_backup::restore;
use moodle_backup::sys::log::{Activity, StepTime};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

const NAME: &str = "2026-11-23T010003Z";

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A reader one hour east of UTC, in the afternoon.
fn look(color: bool) -> Look {
    Look { color, now: time("2026-11-23T15:00:00Z"), local: |time| (time + TimeDelta::hours(1)).naive_utc() }
}

fn line(name: &str, when: &str) -> Line {
    let when = time(when);
    Line {
        name: name.into(),
        when,
        age_seconds: (look(false).now - when).num_seconds(),
        own_bytes: 190_840_832,
        files: 234_467,
        closed_seconds: Some(0.62),
        label: None,
        pinned: false,
        warning_count: 0,
        complete: true,
        verified: None,
    }
}

fn full_line() -> Line {
    Line {
        label: Some("before the upgrade to 5.1".into()),
        pinned: true,
        warning_count: 1,
        verified: Some(Verified { when: time("2026-11-23T04:00:00Z"), how: "checksums".into(), good: true }),
        ..line(NAME, "2026-11-23T01:00:05Z")
    }
}

fn list() -> List {
    let damaged = Verified { when: time("2026-11-22T04:00:00Z"), how: "checksums".into(), good: false };
    let unfit = Line { complete: false, verified: Some(damaged), ..line("2026-11-21T010002Z", "2026-11-21T01:00:02Z") };
    let never_closed = Line { closed_seconds: None, ..line("2026-11-22T010004Z", "2026-11-22T01:00:04Z") };
    List {
        site: "moodle".into(),
        folder: "/srv/backup/moodle".into(),
        backups: vec![unfit, never_closed, full_line()],
        pool_files: 201_344,
        pool_bytes: 2 << 30,
        free_bytes: 80 << 30,
        total_bytes: 100 << 30,
        others: vec![".partial-2026-11-20T010001Z".into()],
    }
}

fn step(step: &str, seconds: f64) -> StepTime {
    StepTime { step: step.into(), seconds }
}

fn part(name: &str, file: &str, entries: u64, bytes: u64, stored_bytes: u64) -> Part {
    Part { name: name.into(), file: file.into(), entries, bytes, stored_bytes, same_as: None }
}

fn show() -> Show {
    let code = Part {
        same_as: Some("2026-11-22T010004Z".into()),
        ..part("code", "code.tar.zst", 33_123, 512 << 20, 98 << 20)
    };
    Show {
        site: "moodle".into(),
        line: full_line(),
        folder: format!("/srv/backup/moodle/{NAME}"),
        sequence: 12,
        wwwroot: "https://moodle.example.org".into(),
        release: "4.2.3 (Build: 20231009)".into(),
        database: "mariadb 10.11.6".into(),
        tool: "moodle-backup 1.0.0".into(),
        window: "short".into(),
        windows: 1,
        took_seconds: 74.2,
        parts: vec![part("database", "database/site.sql.zst", 0, 249 << 20, 31 << 20), code],
        pool_files: 201_344,
        pool_bytes: 2 << 30,
        new_files: 312,
        new_bytes: 14 << 20,
        restore_test: Some(Verified { when: time("2026-11-23T05:00:00Z"), how: "restore-test".into(), good: true }),
        damage: vec![damage()],
        incomplete_because: vec!["1 file that the database lists was lost at the site already".into()],
        missing_at_source: vec!["da39a3ee5e6b4b0d3255bfef95601890afd80709".into()],
        warnings: vec![
            "table mdl_old is MyISAM and takes no part in the snapshot; it was dumped apart, while the site was closed"
                .into(),
        ],
        steps: vec![step("copy-ahead", 40.1), step("snapshot", 0.04)],
    }
}

fn damage() -> Damage {
    Damage {
        when: time("2026-11-23T04:00:00Z"),
        file: "filedir/51/2f/512f60d14cd5ee99ce4d0e79e1f4a7d3e2e2c1a0".into(),
        what: "has another content than its name says".into(),
        affects: vec!["/week 1/notes.pdf (mod_resource, content), course \"Botany\" (bot1)".into()],
        next:
            "The next run fetches it from the site if that has it still; \"moodle-backup verify --repair\" does so now."
                .into(),
    }
}

fn verify() -> Verify {
    let verdict =
        |name: &str, damage: Vec<Damage>| Verdict { name: name.into(), files: 1204, bytes: 182 << 20, damage };
    Verify {
        site: "moodle".into(),
        finished: true,
        begun: Some(time("2026-11-21T04:00:00Z")),
        backups: vec![verdict("2026-11-22T010004Z", vec![]), verdict(NAME, vec![damage()])],
        unreadable: vec!["2026-11-21T010002Z: cannot read /srv/backup/moodle/2026-11-21T010002Z/manifest.json".into()],
        pool_listed: 201_344,
        pool_files: 201_344,
        pool_bytes: 2 << 30,
        sampled: false,
        set_aside: 1,
        mended: vec!["filedir/da/39/da39a3ee5e6b4b0d3255bfef95601890afd80709".into()],
        restore_test: Some(restore_test()),
        troubles: vec!["the link latest points to 2026-11-22T010004Z, and the newest backup is 2026-11-23T010003Z; the next run puts it right".into()],
    }
}

fn restore_test() -> RestoreTest {
    RestoreTest {
        good: true,
        tables: 487,
        rows: 1_204_311,
        entries: 33_123,
        release: Some("4.2.3 (Build: 20231009)".into()),
        problems: vec![],
    }
}

fn verify_failed() -> Verify {
    let problem = "3 tables are not as they were: mdl_course has 0 rows, and had 51";
    let test = RestoreTest { good: false, release: None, problems: vec![problem.into()], ..restore_test() };
    Verify { restore_test: Some(test), ..verify_whole() }
}

fn verify_whole() -> Verify {
    let whole = Verdict { damage: vec![], ..verify().backups.remove(0) };
    let nothing = Verify {
        begun: None,
        unreadable: vec![],
        set_aside: 0,
        mended: vec![],
        troubles: vec![],
        restore_test: None,
        ..verify()
    };
    Verify { backups: vec![whole], ..nothing }
}

fn verify_unfinished() -> Verify {
    Verify { finished: false, pool_files: 88_000, pool_bytes: 900 << 20, ..verify_whole() }
}

fn status() -> Status {
    Status {
        site: "moodle".into(),
        state: SiteState::Held,
        state_because: Some("run --restart half, since 2026-11-23 14:00".into()),
        lost: vec![Lost { part: "moodledata", why: "/srv/moodledata is not there, or empty".into() }],
        backups_seen: true,
        last: Some(Last {
            name: NAME.into(),
            when: time("2026-11-23T01:00:05Z"),
            age_seconds: 50_395,
            warning_count: 1,
            complete: true,
        }),
        max_age_seconds: Some(93_600),
        recent_enough: Some(true),
        last_run: Some(LastRun {
            ended: time("2026-11-23T12:00:00Z"),
            result: Ending::Failed,
            closed_seconds: Some(0.62),
            log: Some("/var/log/moodle-backup/moodle-2026-11-23T115900Z.log".into()),
        }),
        set_aside: vec![SetAside {
            when: time("2026-11-23T13:30:00Z"),
            what: format!("the state before backup {NAME}"),
            made: format!("backup {NAME}"),
            places: vec![
                "/var/www/.moodle-backup-restore/1795440600000".into(),
                "489 tables of the database \"moodle\" on localhost, by names that begin with moodle_backup_old_1795440600000_".into(),
            ],
            back_by: Some("undo"),
        }],
        running: Some(Activity {
            pid: 4242,
            site: "moodle".into(),
            started: time("2026-11-23T14:57:00Z").timestamp(),
            step: "copy-ahead".into(),
            done: 900 << 20,
            total: 2000 << 20,
            unit: "bytes".into(),
            log: Some("/var/log/moodle-backup/moodle-2026-11-23T145700Z.log".into()),
            is_restore: false,
        }),
        next_run: Some(time("2026-11-24T01:00:00Z")),
        attention: vec!["the site is kept closed: open it with \"moodle-backup resume\"".into()],
    }
}

fn finding(level: Level, text: &str, next: Option<&str>) -> Finding {
    Finding { level, text: text.into(), next: next.map(Into::into) }
}

fn check() -> Check {
    let unmounted = finding(
        Level::Problem,
        "nothing is mounted at /srv/backup, but the settings ask for the file system 2f6b9d1e-5c4a-4d0e-9a57-0d9f5a3c7b21",
        Some("mount /srv/backup, or correct target.mount_uuid in /etc/moodle-backup/settings.toml"),
    );
    let tables = finding(
        Level::Warning,
        "1 table takes no part in the snapshot: mdl_old (MyISAM)",
        Some("convert it to InnoDB"),
    );
    Check {
        site: "moodle".into(),
        groups: vec![
            Group {
                name: "site".into(),
                findings: vec![finding(Level::Fine, "Moodle 4.2.3 at /var/www/moodle", None)],
            },
            Group { name: "database".into(), findings: vec![tables] },
            Group { name: "target".into(), findings: vec![unmounted] },
        ],
    }
}

fn plan() -> Plan {
    let step = |name: &str, text: &str| Step { name: name.into(), text: text.into() };
    Plan {
        site: "moodle".into(),
        folder: "/srv/backup/moodle".into(),
        window: "short".into(),
        restart: "full".into(),
        steps: vec![
            step(
                "copy-ahead",
                "copy 312 new files into the pool, and what has changed of moodledata, code and directories",
            ),
            step("close", "put the site into maintenance"),
        ],
        new_files: 312,
        new_bytes: 14 << 20,
        other_bytes: 200 << 20,
        free_bytes: 80 << 30,
        min_free_bytes: 5 << 30,
        warnings: vec!["1 table takes no part in the snapshot: mdl_old (MyISAM)".into()],
    }
}

fn prune() -> Prune {
    let fate = |name: &str, when: &str, because: &[&str]| Fate {
        name: name.into(),
        when: time(when),
        keep: !because.is_empty(),
        because: because.iter().map(|why| (*why).to_owned()).collect(),
        own_bytes: Some(190_840_832),
    };
    Prune {
        site: "moodle".into(),
        dry_run: true,
        backups: vec![
            fate("2026-11-21T010002Z", "2026-11-21T01:00:02Z", &[]),
            fate("2026-11-22T010004Z", "2026-11-22T01:00:04Z", &["last", "daily"]),
            fate(NAME, "2026-11-23T01:00:05Z", &["last", "daily", "weekly", "monthly", "pinned"]),
        ],
        pool_files: 17,
        pool_bytes: 3 << 20,
        finished: vec!["2026-11-14T010001Z".into()],
        refused_because: vec![],
        pool_refused_because: Some("the folder filedir/zz is none of ours".into()),
    }
}

fn failure() -> Failure {
    let cause = anyhow::anyhow!("mariadb-dump: Error 1412: Table definition has changed, please retry transaction");
    let fault = Fault::failed("the dump of the database moodle was disturbed three times, last in the table mdl_tag");
    Failure::of(
        &cause
            .context(fault.hint("run it at an hour when no upgrade and no clean-up is at work, or with --window full")),
    )
}

fn outcome() -> Outcome {
    Outcome {
        site: "moodle".into(),
        result: Ending::Warnings,
        exit_code: 3,
        backup: Some(NAME.into()),
        folder: Some(format!("/srv/backup/moodle/{NAME}")),
        took_seconds: 74.2,
        closed_seconds: Some(0.62),
        held: false,
        added_bytes: 205_520_896,
        new_files: 312,
        pruned: vec!["2026-11-15T010001Z".into()],
        export: Some(format!("/mnt/usb/moodle-{NAME}.tar.zst")),
        warnings: show().warnings,
        failure: None,
        steps: vec![
            step("preflight", 1.2),
            step("copy-ahead", 40.1),
            step("snapshot", 0.04),
            step("finish-dump", 21.0),
        ],
        log: Some("/var/log/moodle-backup/moodle-2026-11-23T010003Z.log".into()),
    }
}

fn failed() -> Outcome {
    Outcome {
        result: Ending::Failed,
        exit_code: 1,
        backup: None,
        folder: None,
        warnings: vec![],
        pruned: vec![],
        export: None,
        failure: Some(failure()),
        ..outcome()
    }
}

fn empty_list() -> List {
    List { backups: vec![], others: vec![], ..list() }
}

fn bare_status() -> Status {
    Status {
        state: SiteState::Open,
        state_because: None,
        lost: Vec::new(),
        last: None,
        recent_enough: Some(false),
        last_run: None,
        running: None,
        next_run: None,
        attention: vec![],
        ..status()
    }
}

fn refused_prune() -> Prune {
    let why = "the newest backup is oddly small: 3.0 MiB, where the one before has 190 MiB";
    Prune { refused_because: vec![why.into()], ..prune() }
}

fn pin() -> Pin {
    Pin { site: "moodle".into(), name: NAME.into(), pinned: true, changed: true }
}

fn unpin() -> Pin {
    Pin { pinned: false, ..pin() }
}

fn restore_plan() -> restore::Plan {
    let piece = |part: &str, place: &str, (bytes, entries), what: &str| restore::Piece {
        part: part.into(),
        place: place.into(),
        bytes,
        entries,
        what: what.into(),
    };
    restore::Plan {
        site: "moodle".into(),
        backup: NAME.into(),
        when: "2026-11-23T01:00:05Z".parse().unwrap(),
        pieces: vec![
            piece("code", "/var/www/moodle", (512_345_678, 33_123), "replaced"),
            piece("moodledata", "/srv/moodledata", (73_400_320, 4321), "replaced, caches and sessions emptied"),
            piece("files", "/srv/moodledata/filedir", (12_000_000, 1203), "1,203 of 201,344 are missing and come back"),
            piece("database", "database \"moodle\" on localhost", (250_000_000, 0), "replaced, 494 tables"),
        ],
        code_changes: Some(restore::CodeChanges {
            changed: vec!["config.php".into(), "theme/boost/lib.php".into()],
            only_here: (1..8).map(|number| format!("local/new/{number}.php")).collect(),
            only_in_backup: Vec::new(),
        }),
        new: false,
        backup_first: true,
        changed: vec!["wwwroot: https://test.example.org".into()],
        left_out: vec!["directory:etc-apache2".into()],
        warnings: vec!["this backup is not complete: files are kept elsewhere".into()],
        refused: Vec::new(),
        closed_seconds: 33,
        seconds: 47,
    }
}

fn restored() -> report::restore::Done {
    report::restore::Done {
        site: "moodle".into(),
        restored: format!("backup {NAME}"),
        closed_seconds: 31.2,
        pool_files: 1203,
        set_aside_in: vec!["/var/www/.moodle-backup-restore/1795399205".into()],
        took_seconds: 48.9,
        steps: vec![step("stage", 17.2), step("load", 30.4)],
        log: Some("/var/log/moodle-backup/moodle-restore-2026-11-23T080000.000Z.log".into()),
        warnings: vec![
            "https://moodle.example.org/ does not answer from here: look whether the web server runs".into(),
        ],
        is_undo: false,
        parts: vec!["database".into(), "moodledata".into()],
        place: None,
        new: false,
        exit_code: 3,
    }
}

fn set_up() -> report::setup::Done {
    report::setup::Done {
        steps: vec!["switch moodle-backup.timer on".into()],
        warnings: Vec::new(),
        planned: false,
        settings: "/etc/moodle-backup/settings.toml".into(),
        problems: vec![
            "the target /srv/backup is not there -> mount the backup disk, or correct path in [target]".into(),
        ],
        site: "moodle".into(),
        cron: None,
        further: false,
    }
}

fn imported() -> report::import::Import {
    report::import::Import {
        file: "/root/moodlebackup/settings".into(),
        settings: "/etc/moodle-backup/settings.toml".into(),
        written: true,
        clashes: vec!["name is \"school\", not \"moodle\"".into()],
        set: Some("/backup/moodle-last/moodledata".into()),
        adopted: Some(201_344),
        lines: vec![moodle_backup::setup::predecessor::Line {
            key: "serverservicename".into(),
            value: "apache2".into(),
            becomes: "services = [\"apache2.service\"] in [site]".into(),
            look: false,
        }],
    }
}

fn exported() -> Exported {
    Exported {
        site: "moodle".into(),
        backup: NAME.into(),
        when: time("2026-11-23T01:00:05Z"),
        to: format!("/mnt/usb/moodle-{NAME}.tar.zst"),
        compressed: true,
        bytes: 2_012_345_678,
        content_bytes: 2_338_324_480,
        pool_files: 201_344,
        took_seconds: 31.4,
        warnings: vec![],
    }
}

fn extracted() -> Extracted {
    let part = |name: &str, path: &str, entries, bytes| extract::Part {
        name: name.into(),
        path: format!("/root/back/{path}"),
        entries,
        bytes,
    };
    let used = |filename: &str, author: &str| extract::Use {
        filename: filename.into(),
        component: "assignsubmission_file".into(),
        filearea: "submission_files".into(),
        contextid: "4711".into(),
        place: "course \"Botany\" (bot1)".into(),
        author: author.into(),
        changed: Some(time("2026-11-20T09:30:00Z")),
    };
    let file = |hash: &str, path: Option<&str>, uses| extract::File {
        contenthash: hash.into(),
        path: path.map(str::to_owned),
        bytes: 48_213,
        uses,
    };
    Extracted {
        site: "moodle".into(),
        backup: "2026-11-23T010003Z".into(),
        when: time("2026-11-23T01:00:05Z"),
        to: "/root/back".into(),
        parts: vec![
            part("database", "database/site.sql.zst", 1, 104_857_600),
            part("code", "code", 33_123, 512_345_678),
            part("directory etc-apache2", "directories/etc-apache2", 214, 312_000),
            part("moodledata", "moodledata", 4_321, 73_400_320),
            part("uploaded files", "moodledata/filedir", 201_344, 2_147_483_648),
        ],
        files: vec![
            file(
                "da39a3ee5e6b4b0d3255bfef95601890afd80709",
                Some("/root/back/da39a3ee-Essay 3.docx"),
                vec![used("Essay 3.docx", "Ann O'Nym"), used("Essay 3.docx", "")],
            ),
            file("356a192b7913b04c54574d18c28d46e6395428ab", None, vec![used("Essay 3.docx", "Bob")]),
        ],
        took_seconds: 73.2,
        warnings: vec!["uploaded files are gone from the pool and not brought back, 1 in all: 356a192b7913b04c54574d18c28d46e6395428ab".into()],
    }
}

fn find() -> Find {
    let backups: Vec<String> = (20..=23).rev().map(|day| format!("2026-11-{day}T010003Z")).collect();
    let found = |part: &str, kind: &str, path: &str, bytes, having: std::ops::Range<usize>| Found {
        part: part.into(),
        kind: kind.into(),
        path: path.into(),
        bytes,
        changed: Some(time("2026-11-20T09:30:00Z")),
        contenthash: None,
        uses: vec![],
        lost: false,
        backups: backups[having.clone()].to_vec(),
        restore: format!("moodle-backup restore {} --path {path} --to /root/back", backups[having.start]),
    };
    let used = |component: &str, filearea: &str, folder: &str, author: &str| find::Use {
        component: component.into(),
        filearea: filearea.into(),
        folder: folder.into(),
        contextid: "4711".into(),
        place: "course \"Botany\" (bot1)".into(),
        author: author.into(),
    };
    let hash = "512f60d14cd5ee99ce4d0e79e1f4a7d3e2e2c1a0";
    let upload = Found {
        contenthash: Some(hash.into()),
        uses: vec![
            used("mod_resource", "content", "/", "Dr. Meier"),
            used("mod_folder", "content", "/week 4/", ""),
            used("user", "draft", "/", ""),
        ],
        restore: format!("moodle-backup restore {} --file {hash} --to /root/back", backups[1]),
        ..found("uploads", "file", "lecture3.pdf", Some(48_213), 1..4)
    };
    Find {
        site: "moodle".into(),
        pattern: "lecture3".into(),
        parts: ["code", "directory:etc-nginx", "moodledata", "uploads"].map(String::from).into(),
        found: vec![
            found("code", "file", "/var/www/moodle/theme/botany/pix/lecture3.svg", Some(12_480), 0..4),
            found("code", "folder", "/var/www/moodle/mod/lecture3", None, 3..4),
            found("directory:etc-nginx", "link", "/etc/nginx/sites-enabled/lecture3", None, 0..1),
            upload.clone(),
            Found { lost: true, backups: vec![backups[0].clone(), backups[2].clone()], ..upload },
        ],
        count: 1205,
        counts: vec![
            find::Count { part: "code".into(), count: 1100 },
            find::Count { part: "uploads".into(), count: 105 },
        ],
        not_searched: vec![
            "2026-11-19T010003Z: cannot read /srv/backup/moodle/2026-11-19T010003Z/manifest.json".into(),
        ],
        to_try: vec![],
        backups,
    }
}

fn one_found() -> Find {
    let all = find();
    let restore = all.found[3].restore.replace("2026-11-22T010003Z", NAME);
    Find {
        backups: vec![NAME.into()],
        found: vec![Found { backups: vec![NAME.into()], restore, ..all.found[3].clone() }],
        count: 1,
        counts: vec![find::Count { part: "uploads".into(), count: 1 }],
        not_searched: vec![],
        ..all
    }
}

fn nothing_found() -> Find {
    Find {
        found: vec![],
        count: 0,
        not_searched: vec![],
        backups: vec![NAME.into()],
        to_try: vec!["3 other backups may have it: moodle-backup find --all 'lecture3'".into()],
        ..find()
    }
}

fn texts(look: &Look) -> Vec<(&'static str, String)> {
    vec![
        ("list", report::list::text(&list(), look)),
        ("list-empty", report::list::text(&empty_list(), look)),
        ("show", report::show::text(&show(), look)),
        ("find", report::find::text(&find(), look)),
        ("find-one", report::find::text(&one_found(), look)),
        ("find-nothing", report::find::text(&nothing_found(), look)),
        ("status", report::status::text(&status(), look)),
        ("status-bare", report::status::text(&bare_status(), look)),
        ("check", report::check::text(&check(), look)),
        ("dry-run", report::plan::run_text(&plan(), look)),
        ("prune", report::plan::prune_text(&prune(), look)),
        ("prune-refused", report::plan::prune_text(&refused_prune(), look)),
        ("pin", report::pin::text(&pin(), look)),
        ("unpin", report::pin::text(&unpin(), look)),
        ("restore-to", report::extract::text(&extracted(), look)),
        ("restore-plan", report::restore::plan_text(&restore_plan(), look, false)),
        ("restore", report::restore::done_text(&restored(), look)),
        ("export", report::export::text(&exported(), look)),
        ("verify", report::verify::text(&verify(), look)),
        ("verify-failed", report::verify::text(&verify_failed(), look)),
        ("verify-whole", report::verify::text(&verify_whole(), look)),
        ("verify-unfinished", report::verify::text(&verify_unfinished(), look)),
        ("run", report::outcome::text(&outcome(), look)),
        ("run-failed", report::outcome::text(&failed(), look)),
    ]
}

#[test]
fn texts_read_as_agreed() {
    for (name, text) in texts(&look(false)) {
        golden(&format!("report/{name}.txt"), &text);
    }
}

#[test]
fn texts_fit_80_columns_and_are_plain_ascii() {
    for (name, text) in texts(&look(false)) {
        assert!(text.ends_with('\n'), "{name} has no newline at its end");
        for line in text.lines() {
            assert!(line.len() <= 80, "{name}: {line}");
            assert!(line.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{name}: {line}");
        }
    }
}

#[test]
fn colour_adds_nothing_but_colour() {
    let without_codes = |text: &str| {
        let mut parts = text.split("\x1b[");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |plain, part| plain + part.split_once('m').unwrap().1)
    };
    for ((name, plain), (_, colored)) in texts(&look(false)).into_iter().zip(texts(&look(true))) {
        assert_eq!(without_codes(&colored), plain, "{name}");
    }
}

#[test]
fn names_from_outside_cannot_play_with_the_terminal() {
    let mut list = list();
    list.backups[0].label = Some("\x1b[2Jgone\nnext".into());
    list.others = vec!["\x1b]0;title\x07".into()];
    let mut show = show();
    show.line.label = list.backups[0].label.clone();
    show.warnings = vec!["file \x1b[31m".into()];
    let texts = [report::list::text(&list, &look(false)), report::show::text(&show, &look(false))];
    for text in texts {
        assert!(!text.contains('\x1b') && !text.contains('\x07'), "{text:?}");
    }
}

fn json<T: Serialize>(view: &T) -> String {
    report::json(view).unwrap()
}

#[test]
fn json_is_as_documented() {
    let mut run = outcome();
    run.failure = Some(failure());
    let mut prune = prune();
    prune.refused_because = refused_prune().refused_because;
    let mut list = list();
    list.backups = vec![full_line()];
    let found = one_found();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json.md");
    let mut document = std::fs::read_to_string(&path).unwrap();
    for (title, text) in [
        ("`list`", json(&list)),
        ("`show`", json(&show())),
        ("`find`", json(&found)),
        ("`status`", json(&status())),
        ("`check`", json(&check())),
        ("`run`\n", json(&run)),
        ("`run --dry-run`", json(&plan())),
        ("`prune`", json(&prune)),
        ("`restore`\n", json(&restored())),
        ("`restore --plan`", json(&restore_plan())),
        ("`restore --to`", json(&extracted())),
        ("`export`", json(&exported())),
        ("`setup`", json(&set_up())),
        ("`import-settings`", json(&imported())),
        ("`pin` and `unpin`", json(&pin())),
        ("`verify`", json(&verify())),
        ("Errors", json(&failure())),
    ] {
        let (keys, example) = documented(&document, title);
        let mut real = BTreeSet::new();
        json_paths(&serde_json::from_str(&text).unwrap(), "", &mut real);
        assert_eq!(keys, real, "what docs/json.md explains under {title} is not what is printed");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            document = document.replace(&format!("```json\n{example}```"), &format!("```json\n{text}```"));
            std::fs::write(&path, &document).unwrap();
        } else {
            assert_eq!(example, text, "the example under {title} in docs/json.md; UPDATE_GOLDEN=1 writes it anew");
        }
    }
}

#[test]
fn words_with_a_meaning_are_documented() {
    use Ending::{Done, Failed, Interrupted, Refused, Skipped, Warnings};
    use SiteState::{Closed, Down, Held, Interrupted as Left, Maintenance, Open, Unknown};
    let document = include_str!("../docs/json.md");
    let words = [
        ("`run`\n", json(&[Done, Warnings, Failed, Interrupted, Skipped, Refused])),
        ("`status`", json(&[Open, Maintenance, Closed, Held, Left, Down, Unknown])),
        ("`check`", json(&[Level::Fine, Level::Warning, Level::Problem])),
    ];
    for (title, words) in words {
        let section = document.split("\n## ").find(|section| section.starts_with(title)).unwrap();
        for word in serde_json::from_str::<Vec<String>>(&words).unwrap() {
            assert!(section.contains(&format!("`{word}`")), "{word} under {title}");
        }
    }
}
