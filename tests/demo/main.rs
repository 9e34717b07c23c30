//! `make demo`: what the program does, shown on a site of its own within a few minutes. Nothing here is taken from any
//! real site, and nothing stays. It is not a test, but it stops at the first thing that is not as it should be.

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use support::{
    ByHand, Closed, Engine, Layout, LoadOptions, PocketSite, Server, TreeCompare, World, assert_same,
    compare_snapshots, rows_snapshot, wait_for,
};

const FILES: usize = 3_000;
const CODE_FILES: usize = 5_000;
const LOG_ROWS: usize = 50_000;
const CLIENTS: usize = 2;
/// What the clients have to have done before and between the backups.
const ACTIONS: u64 = 200;

/// Tables that the clients and the closing of the site write to all the time: the snapshot is older than the site.
const BUSY_TABLES: [&str; 4] = ["files", "logstore_standard_log", "config", "tag"];

fn main() -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        println!("The demo starts servers and web servers as their own users: run it as root.");
        return ExitCode::FAILURE;
    }
    let started = Instant::now();
    demo();
    support::finish();
    say(&format!("Done in {:.0} s. The servers are stopped and all folders removed.", started.elapsed().as_secs_f64()));
    ExitCode::SUCCESS
}

fn demo() {
    say("A site, a target and a database server of the demo's own are made in temporary folders.");
    let clock = Instant::now();
    let server = Server::start(Engine::MariaDb);
    let site = PocketSite::builder().server(&server).layout(Layout::Public).code_owner("root");
    let site = site.files(FILES).code_files(CODE_FILES).log_rows(LOG_ROWS).build();
    let world = World::builder(site).build();
    let site = &world.site;
    let version = site.value("SELECT VERSION()");
    note(&format!("a pocket-sized Moodle at http://127.0.0.1:{} with MariaDB {version}:", site.port()));
    note(&format!("{FILES} users' files, {CODE_FILES} files of code, {LOG_ROWS} rows of log"));
    note(&format!("made in {:.1} s", clock.elapsed().as_secs_f64()));

    heading("Clients go to work");
    note(&format!("{CLIENTS} clients upload, read and delete files without a pause; another reloads the front page"));
    note("every few milliseconds and notes when it is told that the site is in maintenance");
    let load = site.load(LoadOptions { clients: CLIENTS, ..LoadOptions::default() });
    let first = backup(&world, &load, "The first backup: everything is new");
    let second = backup(&world, &load, "The second backup: only what is new is copied");
    let report = load.stop();
    heading("What the clients saw");
    note(&format!("{} uploads, {} downloads, {} deletions", report.uploads, report.downloads, report.deletes));
    note(&format!("answers: {}; nothing that was uploaded is lost", statuses(&report.statuses)));
    assert_same("files that clients lost", report.lost);

    heading("moodle-backup list");
    shown(&world, &["list"]);
    let served = bring_back(&world);
    heading("In short");
    note(&format!("first backup    site closed for {}", closed(&first)));
    note(&format!("second backup   site closed for {}", closed(&second)));
    note(&format!("brought back    {served} files, each served by the site that came back as it was stored"));
    println!();
}

/// Makes a backup with the clients at work, and returns what the watching one saw.
fn backup(world: &World, load: &support::Load, title: &str) -> Closed {
    let begin = load.done();
    wait_for("the clients are at work", Duration::from_secs(60), || load.done() > begin + ACTIONS);
    heading(title);
    let watch = world.site.watch();
    shown(world, &["run", "--foreground"]);
    let seen = watch.stop();
    assert!(!seen.closed_at_end && !seen.times.is_empty(), "the watching client saw no window: {seen:?}");
    note(&format!("as a web client saw it: closed for {}", closed(&seen)));
    seen
}

/// Brings the newest backup back beside the site, by its RESTORE.txt alone; how many files it serves.
fn bring_back(world: &World) -> usize {
    heading("Bringing it back beside the original, by RESTORE.txt alone");
    let clock = Instant::now();
    let folder = world.site_folder().join("latest");
    let text = std::fs::read_to_string(folder.join("RESTORE.txt")).expect("RESTORE.txt can be read");
    let fresh = Server::start(Engine::MariaDb);
    let by_hand = ByHand::elsewhere(&world.site, &fresh);
    let steps = text.lines().filter(|line| line.starts_with("    # ")).count();
    note(&format!("its {steps} steps are typed into a shell, with other names, and a fresh database server"));
    by_hand.follow_until(&text, "climaintenance.html");
    let (original, back) = (rows_snapshot(&world.site.database), rows_snapshot(by_hand.database()));
    by_hand.follow_from(&text, "climaintenance.html");
    note(&format!("done in {:.1} s", clock.elapsed().as_secs_f64()));

    heading("The two sites compared");
    let is_busy = |table: &str| BUSY_TABLES.iter().any(|busy| table.contains(&format!("{}{busy}", world.site.prefix)));
    let quiet = |all: support::Snapshot| -> support::Snapshot {
        all.into_iter().filter(|(table, _)| !is_busy(table)).collect()
    };
    let (original, back) = (quiet(original), quiet(back));
    assert_same("tables", compare_snapshots(&original, &back));
    let rows: usize = original.iter().filter(|(name, _)| name.ends_with("(rows)")).map(|(_, rows)| rows.len()).sum();
    note(&format!("the same   {rows} rows, all of the tables that clients did not write to meanwhile"));
    let code = TreeCompare::new().skip("config.php").skip("config.php.as-backed-up");
    assert_same("code", without_top(code.run(&world.site.root, by_hand.root())));
    note("the same   all code: content, owners, modes and times (config.php: with the new names)");
    let data = ["filedir", "cache", "localcache", "temp", "sessions", "trashdir", "lock"];
    let data = data.iter().fold(TreeCompare::new(), |compare, name| compare.skip(name));
    assert_same("moodledata", without_top(data.run(&world.site.dataroot, by_hand.dataroot())));
    note("the same   all of moodledata but caches: content, owners, modes and times");

    let mut site = by_hand.site(&world.site);
    site.serve();
    assert_eq!(site.get("/").status, 200);
    let served: usize = site.value("SELECT COUNT(*) FROM {files} WHERE filesize > 0").parse().expect("a number");
    assert_same("files over the web", site.unserved_files());
    note(&format!("whole      {served} files of the snapshot, asked for over the web, each with the right SHA-1"));
    served
}

/// Runs the program and shows what it says, a little to the right.
fn shown(world: &World, args: &[&str]) {
    println!("   $ moodle-backup {}", args.join(" "));
    let output = world.run(args);
    let words = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
    words.lines().for_each(|line| println!("   | {line}"));
    assert!(matches!(output.code, Some(0 | 3)), "it ended with {:?}\n{}", output.code, output.stderr);
}

/// The times for which a client was told that the site is in maintenance.
fn closed(seen: &Closed) -> String {
    let times: Vec<String> = seen.times.iter().map(|time| format!("{:.2} s", time.as_secs_f64())).collect();
    format!("{} (longest wait for the front page {:.2} s)", times.join(" and "), seen.longest_wait.as_secs_f64())
}

fn statuses(seen: &BTreeMap<u16, u64>) -> String {
    let words = |(status, count): (&u16, &u64)| match status {
        200 => format!("{count} good"),
        503 => format!("{count} times \"in maintenance\""),
        0 => format!("{count} without an answer"),
        other => format!("{count} with status {other}"),
    };
    seen.iter().map(words).collect::<Vec<_>>().join(", ")
}

/// Differences but for the time of the top folder, which closing the site and editing config.php change.
fn without_top(differences: Vec<String>) -> Vec<String> {
    differences.into_iter().filter(|line| !line.starts_with(": time: ")).collect()
}

fn say(words: &str) {
    println!("{words}");
}

fn heading(words: &str) {
    println!("\n{words}");
}

fn note(words: &str) {
    println!("   {words}");
}
