//! Reading what a program writes, on a thread, within bounds of memory and time. What it means is the caller's matter.

use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Which part of a stream is kept where it is longer than wanted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keep {
    /// The first so many bytes.
    First(usize),
    /// About the last so many bytes.
    Last(usize),
}

/// A stream that is being read.
#[derive(Debug)]
pub(super) struct Tap {
    kept: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
}

impl Tap {
    /// Begins to read. All is read, so that the program never waits; not all is kept.
    pub fn new(mut stream: impl Read + Send + 'static, keep: Keep) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (sender, ended) = channel();
        let shared = Arc::clone(&kept);
        std::thread::spawn(move || {
            // Dropped at the end of the stream, which is what the other side waits for.
            let _sender = sender;
            let mut buffer = [0; 16 * 1024];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                if let Ok(mut kept) = shared.lock() {
                    add(&mut kept, &buffer[..count], keep);
                }
            }
        });
        Tap { kept, ended }
    }

    /// Waits for the end of the stream; false if it does not come in time, since some process still holds it open.
    pub fn wait(&self, limit: Duration) -> bool {
        self.ended.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected)
    }

    /// What was kept so far.
    pub fn take(&self) -> Vec<u8> {
        self.kept.lock().map(|mut kept| std::mem::take(&mut *kept)).unwrap_or_default()
    }
}

fn add(kept: &mut Vec<u8>, bytes: &[u8], keep: Keep) {
    match keep {
        Keep::First(limit) => kept.extend_from_slice(&bytes[..bytes.len().min(limit.saturating_sub(kept.len()))]),
        Keep::Last(limit) => {
            kept.extend_from_slice(bytes);
            if kept.len() > 2 * limit {
                kept.drain(..kept.len() - limit);
            }
        }
    }
}
