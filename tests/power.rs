//! P2 for the whole program: a power cut at any instant leaves every published backup whole, and the next run goes on
//! from there. While runs publish and prune on a file system of its own, its disk is copied at many instants; each copy is
//! mounted, as after a cut, and each backup on it is checked. What the store alone makes of it is in `powercut`.

#[path = "common/cut.rs"]
mod cut;
mod support;
#[path = "common/whole.rs"]
mod whole;

use cut::{Stop, assert_latest_is_there, commit_all_the_time};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{Engine, PocketSite, Response, Server, TestTarget, World};
use whole::{assert_whole, published};

/// How many cuts are wanted, how many at least, and for how long at the most.
const CUTS: usize = 50;
const FEWEST_CUTS: usize = 12;
const LIMIT: Duration = Duration::from_secs(60);
/// Runs that must have published before the cuts prove anything: enough that some are pruned.
const ENOUGH: usize = 4;
/// The exit code where another run is at work on the site.
const LOCKED: i32 = 4;

#[test]
fn p2_every_published_backup_survives_a_power_cut_during_runs_and_prunes() {
    let target = TestTarget::ext4_with_copies(400);
    let disk = target.path().to_owned();
    let site = PocketSite::builder().server(&Server::start(Engine::MariaDb)).files(60).log_rows(200).build();
    let world = World::builder(site).target(target).settings("[retention]\nlast = 2\n").build();
    let (over, runs) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut seen = Seen::default();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| run_night_after_night(&world, &over, &runs));
        scope.spawn(|| commit_all_the_time(&disk, &over));
        // Also when a check panics: the scope waits for its threads.
        let _stop = Stop(&over);
        let started = Instant::now();
        let proven = |seen: &Seen| seen.cuts >= CUTS && runs.load(Ordering::Relaxed) >= ENOUGH;
        while !worker.is_finished() && started.elapsed() < LIMIT && !proven(&seen) {
            let copy = world.target.after_power_cut();
            seen.add(copy.path());
            // One cut that hit a run, to go on from.
            if seen.partial > 0 && seen.went_on == 0 {
                go_on_from(&world, &copy);
                seen.went_on += 1;
            }
        }
    });
    let runs = runs.load(Ordering::Relaxed);
    println!("{runs} runs; {seen:?}");
    assert!(runs >= ENOUGH && seen.cuts >= FEWEST_CUTS, "too few runs ({runs}) or cuts: {seen:?}");
    assert!(seen.backups > seen.cuts / 2, "the copies had hardly any backups: {seen:?}");
    // Otherwise the cuts came between the runs, not in them.
    assert!(seen.partial > 0 && seen.went_on > 0, "no cut hit a run: {seen:?}");
}

/// Runs, each with something new in the pool and something that is no longer wanted there.
fn run_night_after_night(world: &World, over: &AtomicBool, runs: &AtomicUsize) {
    let mut last_upload = None;
    while !over.load(Ordering::Relaxed) {
        let night = runs.load(Ordering::Relaxed);
        let uploaded = post(world, "/upload.php", format!("a file of night {night}").repeat(500).as_bytes());
        let (id, _) =
            uploaded.text().trim().split_once(' ').map(|(id, hash)| (id.to_owned(), hash.to_owned())).unwrap();
        if let Some(id) = last_upload.replace(id) {
            post(world, &format!("/delete.php?id={id}"), b"");
        }
        let output = world.run(&["run", "--foreground"]);
        // The one that goes on from a cut holds the site's lock for once.
        if output.code != Some(LOCKED) {
            output.expect_code(0);
            runs.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A request that waits while the site is closed, as it may be by the run that goes on from a cut.
fn post(world: &World, path: &str, body: &[u8]) -> Response {
    loop {
        let response = world.site.post(path, body);
        if response.status != 503 {
            assert_eq!(response.status, 200, "{}", response.text());
            return response;
        }
    }
}

/// Starts the machine again after the cut: the next run clears up, publishes, and harms nothing.
fn go_on_from(world: &World, copy: &TestTarget) {
    let before = published(&copy.path().join("pocket"));
    let settings = world.scratch().join("after-the-cut.toml");
    let text = std::fs::read_to_string(world.settings_file()).expect("settings can be read");
    let moved = text.replace(&format!("{:?}", world.target.path()), &format!("{:?}", copy.path()));
    assert_ne!(text, moved, "the settings name the target");
    std::fs::write(&settings, moved).expect("settings can be written");
    let args = ["--settings", settings.to_str().expect("our own path"), "run", "--foreground"];
    // The other runs hold the site's lock most of the time.
    let output = loop {
        let output = world.run(&args);
        if output.code != Some(LOCKED) {
            break output.expect_code(0);
        }
    };
    let after = published(&copy.path().join("pocket"));
    assert!(after.iter().any(|backup| !before.contains(backup)), "no new backup: {}", output.stderr);
    for backup in &after {
        assert_whole(backup);
    }
    assert_eq!(left_over(&copy.path().join("pocket"), ".partial-"), Vec::<PathBuf>::new());
}

/// What the copies had.
#[derive(Debug, Default)]
struct Seen {
    cuts: usize,
    backups: usize,
    partial: usize,
    removing: usize,
    went_on: usize,
}

impl Seen {
    /// Checks a copy of the disk.
    fn add(&mut self, disk: &Path) {
        self.cuts += 1;
        let folder = disk.join("pocket");
        let backups = published(&folder);
        for backup in &backups {
            assert_whole(backup);
        }
        self.backups += backups.len();
        self.partial += left_over(&folder, ".partial-").len();
        self.removing += left_over(&folder, ".removing-").len();
        assert_latest_is_there(&folder);
    }
}

/// Entries of a site's folder that begin so.
fn left_over(folder: &Path, begin: &str) -> Vec<PathBuf> {
    let Ok(found) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = found.flatten().map(|entry| entry.path());
    paths.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(begin))).collect()
}
