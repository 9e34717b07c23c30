//! What the tests that cut the power share: a disk that commits all the time, and an end for threads. No test of its own.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Makes the file system write its journal all the time, as others who use the disk would: otherwise names and
/// removals reach the disk only where the program itself waits for that, and every cut is a harmless one.
pub fn commit_all_the_time(target: &Path, over: &AtomicBool) {
    let other = File::create(target.join("of-others")).expect("a file can be made");
    while !over.load(Ordering::Relaxed) {
        (&other).write_all(b".").expect("a file can be written");
        other.sync_all().expect("a file can be synced");
    }
}

/// Tells the threads to stop when it goes out of scope, also in a panic.
pub struct Stop<'a>(pub &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// `latest` is switched after the name is there, so it never points at nothing.
#[track_caller]
pub fn assert_latest_is_there(site_folder: &Path) {
    if site_folder.join("latest").symlink_metadata().is_ok() {
        assert!(site_folder.join("latest/manifest.json").exists(), "latest points at nothing");
    }
}
