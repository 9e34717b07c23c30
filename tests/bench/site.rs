//! How fast the program is, beside what people use today, on one site in one run: ratios, not seconds, since machines
//! differ. Site and target each lie on an ext4 of their own. Not a test: it fails only if something cannot be done.
//!
//! `make bench` runs it whole; `BENCH_SCALE=0.05` makes everything smaller, to try the bench itself, and `BENCH_ONLY=larger`
//! (or `smaller`, or `restore` for the restores of the smaller one) takes a part.

#[path = "../support/mod.rs"]
mod support;
mod table;
mod tools;

use moodle_backup::pool::{Effort, Pool, Source};
use moodle_backup::settings;
use moodle_backup::sys::log::{Log, Verbosity};
use moodle_backup::sys::priority::Io;
use std::path::Path;
use std::time::Duration;
use support::{MariaDb, PocketSite, Scratch, Server, TestTarget, World};
use table::Table;
use tools::{Tools, drop_caches, timed};

/// The smaller site, as a school's: so many files of so many bytes, code files, and rows of log (about 250 MB).
const FILES: usize = 200_000;
const FILE_SIZE: usize = 10_000;
const CODE_FILES: usize = 30_000;
const LOG_ROWS: usize = 750_000;

/// How often each figure is taken; the median counts.
const ROUNDS: usize = 3;

fn main() {
    // `cargo test` hands every target its own arguments; a bench has no tests.
    if std::env::args().any(|arg| arg == "--test" || arg == "--list") {
        return;
    }
    let scale: f64 = std::env::var("BENCH_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1.0);
    let mut table = Table::default();
    let only = std::env::var("BENCH_ONLY").ok();
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let smaller = wanted("smaller").then(|| bench("smaller", scale, 1, 1, &mut table));
    if wanted("restore") {
        bench("restore", scale, 1, 1, &mut table);
    }
    let larger = wanted("larger").then(|| bench("larger", scale, 5, 4, &mut table));
    if let (Some(smaller), Some(larger)) = (smaller, larger) {
        let ratio = larger.as_secs_f64() / smaller.as_secs_f64();
        table.ratio("window of the larger site / of the smaller", ratio, "at most 1.3");
    }
    table.print();
}

/// All figures of one site. Returns the window as a client sees it.
fn bench(name: &str, scale: f64, files: usize, rows: usize, table: &mut Table) -> Duration {
    let count = |number: usize| (number as f64 * scale) as usize;
    eprintln!("{name} site: making it");
    let disk = TestTarget::ext4(40_000);
    let target = TestTarget::ext4(40_000);
    let server = MariaDb::start_in(Scratch::below(disk.path()), false);
    let site = PocketSite::builder()
        .server(&Server::MariaDb(server))
        .place(disk.path())
        .files(count(FILES * files))
        .file_size(FILE_SIZE)
        .code_files(count(CODE_FILES))
        .log_rows(count(LOG_ROWS * rows))
        .build();
    let small = files == 1;
    let backups = name != "restore";
    if small && backups {
        first_copy(&site, table);
    }
    let mut world = World::builder(site).target(target).build();
    world.set_limit(Duration::from_secs(3600));
    let tools = Tools::new(&world);

    eprintln!("{name} site: first run");
    let first = timed(|| tools.run());
    table.figure(&format!("{name}: first run"), first, "s");
    if !backups {
        restores(&tools, table);
        return Duration::ZERO;
    }
    eprintln!("{name} site: later runs");
    let later = tools.watched(ROUNDS, || tools.run());
    table.figure(&format!("{name}: window, as a web client sees it"), later.closed, "s, at most 2");
    table.figure(&format!("{name}: run on the unchanged site"), later.seconds, "s");
    table.figure(&format!("{name}: peak memory of the run"), later.peak_mib, "MB, at most 120 on the larger site");

    let dump = tools.median(ROUNDS, || tools.dump_through_zstd());
    table.figure(&format!("{name}: mariadb-dump --single-transaction | zstd -1"), dump, "s");
    table.ratio(
        &format!("{name}: (run on the unchanged site - 3 s) / that dump"),
        (later.seconds - 3.0).max(0.0) / dump,
        "at most 1.5",
    );
    if small {
        eprintln!("{name} site: the ways of today");
        tools.predecessor();
        let predecessor = tools.watched(1, || tools.predecessor());
        table.figure("smaller: window of the predecessor's way", predecessor.closed, "s");
        table.ratio("smaller: that window / ours", predecessor.closed / later.closed, "at least 5");
        for (other, seconds) in tools.others() {
            table.figure(&format!("smaller: {other}, second time"), seconds, "s");
            table.ratio(&format!("smaller: our run / {other}"), later.seconds / seconds, "");
        }
    }
    Duration::from_secs_f64(later.closed)
}

/// Bringing the smaller site back, beside the same done by hand with the same backup.
fn restores(tools: &Tools, table: &mut Table) {
    for (what, all, wanted) in
        [("after total loss", true, "at most 0.7"), ("after the loss of 1 % of users' files", false, "at most 0.2")]
    {
        eprintln!("smaller site: restore {what}");
        let rounds = |way: &dyn Fn()| {
            let round = |_| {
                // What is lost is lost since the last backup: a restore by hand or by us has changed the site a little.
                if all {
                    tools.lose_all()
                } else {
                    tools.run();
                    tools.lose_some()
                }
                timed(way)
            };
            table::median((0..ROUNDS).map(round).collect())
        };
        let (ours, by_hand) = (rounds(&|| tools.restore()), rounds(&|| tools.restore_by_hand()));
        table.figure(&format!("restore {what}"), ours, "s");
        table.figure(&format!("restore {what}: rsync -a, tar x, zstdcat | mariadb"), by_hand, "s");
        table.ratio(&format!("restore {what} / by hand"), ours / by_hand, wanted);
    }
}

/// The first copy of the pool alone, against `rsync -a` of the same tree; both are on the disk when the clock stops.
fn first_copy(site: &PocketSite, table: &mut Table) {
    eprintln!("smaller site: first copies of the pool");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let target = TestTarget::ext4(20_000);
        drop_caches();
        ours.push(timed(|| copy_pool(site, target.path())));
        let target = TestTarget::ext4(20_000);
        drop_caches();
        let rsync = || {
            support::succeed(std::process::Command::new("rsync").arg("-a").arg(site.filedir()).arg(target.path()));
            tools::sync(target.path());
        };
        theirs.push(timed(rsync));
    }
    let (ours, theirs) = (table::median(ours), table::median(theirs));
    table.figure("smaller: first copy of the pool", ours, "s");
    table.figure("smaller: rsync -a of the same tree, synced", theirs, "s");
    table.ratio("smaller: first copy of the pool / rsync -a", ours / theirs, "at most 0.6");
}

fn copy_pool(site: &PocketSite, folder: &Path) {
    let pool = Pool::open(folder, 0).expect("a pool can be made");
    let usual = settings::without_file("bench", Path::new("/site"), folder).expect("nothing else must be set");
    let threads = usual.resources.threads;
    let effort = Effort { threads, nice: 0, io: Io::Normal };
    let source = Source { filedir: site.filedir(), trashdir: site.trashdir() };
    let log = Log::to_stderr(Verbosity::Quiet);
    pool.copy_all(&source, effort, 0, &log).expect("the pool can be copied");
    tools::sync(folder);
}
