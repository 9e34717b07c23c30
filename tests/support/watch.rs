//! A user who reloads the front page every few milliseconds, and notes for how long it was closed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::http;

const PAUSE: Duration = Duration::from_millis(5);

/// A watch at work; dropping it stops it.
pub struct ClosedWatch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Closed>>,
}

/// What the watch saw.
#[derive(Clone, Debug, Default)]
pub struct Closed {
    /// The longest time from the first answer "in maintenance" to the next answer that was not.
    pub longest: Duration,
    /// Every such time, in order.
    pub times: Vec<Duration>,
    /// The longest time from one good answer to the next, closed or merely slow.
    pub longest_wait: Duration,
    /// Whether the site was closed when the watch ended.
    pub closed_at_end: bool,
    /// How often each status came; 0 stands for no answer.
    pub statuses: BTreeMap<u16, u64>,
}

impl Closed {
    /// How long it was closed in all.
    pub fn total(&self) -> Duration {
        self.times.iter().sum()
    }
}

impl ClosedWatch {
    pub(super) fn start(port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || watch(port, &told));
        ClosedWatch { stop, thread: Some(thread) }
    }

    /// Ends the watch and tells what it saw.
    pub fn stop(mut self) -> Closed {
        self.end().unwrap_or_default()
    }

    fn end(&mut self) -> Option<Closed> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take()?.join().ok()
    }
}

impl Drop for ClosedWatch {
    fn drop(&mut self) {
        self.end();
    }
}

fn watch(port: u16, stop: &AtomicBool) -> Closed {
    let mut seen = Closed::default();
    let mut closed_since = None;
    let mut last_good = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let answer = http::request(port, "/", None).ok();
        let now = Instant::now();
        let status = answer.as_ref().map_or(0, |response| response.status);
        *seen.statuses.entry(status).or_default() += 1;
        if status == 200 {
            seen.longest_wait = seen.longest_wait.max(now - last_good);
            last_good = now;
        }
        if answer.is_some_and(|response| response.is_maintenance()) {
            closed_since.get_or_insert(now);
        } else if let Some(since) = closed_since.take() {
            seen.add(now - since);
        }
        std::thread::sleep(PAUSE);
    }
    if let Some(since) = closed_since {
        seen.closed_at_end = true;
        seen.add(since.elapsed());
    }
    seen
}

impl Closed {
    fn add(&mut self, time: Duration) {
        self.longest = self.longest.max(time);
        self.times.push(time);
    }
}
