//! P2: a power cut at any instant leaves every published backup whole. While backups are sealed and pruned on a file
//! system of its own, its disk is copied at many instants; each copy is mounted and each backup on it is checked.

#[path = "common/cut.rs"]
mod cut;
#[path = "common/draft.rs"]
mod draft;
mod support;
#[path = "common/whole.rs"]
mod whole;

use chrono::Utc;
use cut::{Stop, assert_latest_is_there, commit_all_the_time};
use draft::{Sketch, identity};
use moodle_backup::prune::{Request, prune};
use moodle_backup::retention::Rules;
use moodle_backup::store::Store;
use moodle_backup::sys::log::{Log, Verbosity};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::TestTarget;
use whole::assert_whole;

/// How many cuts, and for how long at the most.
const CUTS: usize = 60;
const LIMIT: Duration = Duration::from_secs(40);

/// Backups that must have been published before the cuts prove anything.
const ENOUGH: usize = 10;

#[test]
fn p2_every_published_backup_survives_a_power_cut_at_any_instant() {
    let target = TestTarget::ext4_with_copies(64);
    let log = Log::to_stderr(Verbosity::Quiet);
    let site = identity("a", "https://school.example");
    let store = Store::create(target.path(), "school", &site, "root", &log).unwrap();

    let (over, sealed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut seen = Seen::default();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                seal_and_prune(&store, sealed.load(Ordering::Relaxed), &log);
                sealed.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| commit_all_the_time(target.path(), &over));
        // Also when a check panics: the scope waits for its threads.
        let _stop = Stop(&over);
        let started = Instant::now();
        while !worker.is_finished()
            && started.elapsed() < LIMIT
            && (seen.cuts < CUTS || sealed.load(Ordering::Relaxed) < ENOUGH)
        {
            seen.add(&target.after_power_cut());
        }
    });
    println!("{} backups sealed; {seen:?}", sealed.load(Ordering::Relaxed));
    assert!(sealed.load(Ordering::Relaxed) >= ENOUGH && seen.cuts >= CUTS / 3, "too few cuts: {seen:?}");
    assert!(seen.backups > seen.cuts, "the copies had hardly any backups: {seen:?}");
    // Otherwise the cuts came between the works, not in them.
    assert!(seen.partial + seen.removing > 0, "no cut hit a backup being made or removed: {seen:?}");
}

/// What the copies had.
#[derive(Debug, Default)]
struct Seen {
    cuts: usize,
    backups: usize,
    partial: usize,
    removing: usize,
}

impl Seen {
    /// Checks a copy of the disk.
    fn add(&mut self, copy: &TestTarget) {
        self.cuts += 1;
        let Ok(store) = Store::open(copy.path(), "school") else { return };
        let listing = store.backups().unwrap();
        assert_eq!(listing.unreadable, [], "no published backup is half there");
        assert_eq!(listing.unknown, Vec::<std::ffi::OsString>::new());
        for backup in &listing.backups {
            assert_whole(&backup.path);
        }
        self.backups += listing.backups.len();
        self.partial += listing.partial.len();
        self.removing += listing.removing.len();
        assert_latest_is_there(store.folder());
    }
}

/// One night: some files come, some go; a backup is sealed and older ones are pruned.
fn seal_and_prune(store: &Store, night: usize, log: &Log) {
    let files: Vec<String> = (night * 5..night * 5 + 20).map(|number| format!("content of file {number}")).collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let previous = store.backups().unwrap().backups.pop();
    Sketch::new(store, Utc::now()).files(&files).seal(previous.as_ref());
    let lock = store.try_lock().unwrap().unwrap();
    let rules = Rules { last: 3, ..Rules::default() };
    let outcome =
        prune(store, &rules, Request { dry_run: false, whole_pool: false, restored: &[] }, &lock, log).unwrap();
    assert_eq!((outcome.stopped, outcome.pool_stopped), (vec![], None));
}
