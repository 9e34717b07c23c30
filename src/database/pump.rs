//! The thread between a dump client and the disk: takes the stream from its first byte, scans it, compresses it,
//! writes it. A client whose output is not taken is cut off by the server after a minute, so that nothing here waits for
//! anything but the disk.

use super::scanner::{Scanned, Scanner};
use crate::error::{Fault, OrFault, Result};
use nix::libc;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::ChildStdout;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// How much is read at once, and how much the pipe from the client holds.
const BUFFER: usize = 256 * 1024;
const PIPE: libc::c_int = 1024 * 1024;

/// What the pump tells while it works, and at its end.
#[derive(Debug)]
pub enum News {
    /// The snapshot is open.
    Established,
    /// The stream has ended, or could not be kept.
    Ended(Result<Pumped>),
}

/// A whole stream.
#[derive(Debug)]
pub struct Pumped {
    pub bytes: u64,
    pub compressed_bytes: u64,
    pub scanned: Scanned,
}

/// How far the pump is.
#[derive(Clone, Debug)]
pub struct Gauge {
    started: Instant,
    bytes: Arc<AtomicU64>,
    /// Milliseconds from the start to the last piece.
    last: Arc<AtomicU64>,
}

impl Gauge {
    /// Bytes of SQL taken so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How long ago the last piece came.
    pub fn silence(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }

    fn note(&self, count: usize) {
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        self.last.store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    }
}

/// Starts the thread.
pub fn start(stdout: ChildStdout, scanner: Scanner, out: File, level: i32) -> Result<(Receiver<News>, Gauge)> {
    let (news, receiver) = channel();
    let gauge = Gauge { started: Instant::now(), bytes: Arc::default(), last: Arc::default() };
    let counters = gauge.clone();
    std::thread::Builder::new().name("dump".into()).spawn(move || {
        let ended = pump(stdout, scanner, out, level, &counters, &news);
        // Nobody listens any more when the dump was given up.
        let _ = news.send(News::Ended(ended));
    })?;
    Ok((receiver, gauge))
}

fn pump(
    mut stdout: ChildStdout,
    mut scanner: Scanner,
    out: File,
    level: i32,
    gauge: &Gauge,
    news: &Sender<News>,
) -> Result<Pumped> {
    // SAFETY: plain fcntl on an open descriptor; a refusal leaves the pipe as it is.
    unsafe { libc::fcntl(stdout.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE) };
    let shown = std::fs::read_link(format!("/proc/self/fd/{}", out.as_raw_fd())).unwrap_or_default();
    let unwritable = || Fault::failed(format!("cannot write the database dump to {}", shown.display()));
    let mut encoder = encoder(out, level).or_fault(unwritable)?;
    let mut buffer = vec![0; BUFFER];
    let mut established = false;
    loop {
        let count = match stdout.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).or_fault(|| Fault::failed("cannot read the output of the dump client")),
        };
        let piece = &buffer[..count];
        scanner.feed(piece);
        gauge.note(count);
        if scanner.established() && !established {
            established = true;
            let _ = news.send(News::Established);
        }
        encoder.write_all(piece).or_fault(unwritable)?;
    }
    let counted = encoder.finish().or_fault(unwritable)?;
    Ok(Pumped { bytes: gauge.bytes(), compressed_bytes: counted.bytes, scanned: scanner.finish() })
}

/// One thread of its own compresses, so that this one is free to drain. The levels in use need no more than a window
/// of 8 MiB, far below what a plain `zstd -d` takes.
fn encoder(out: File, level: i32) -> std::io::Result<zstd::Encoder<'static, Counted>> {
    let mut encoder = zstd::Encoder::new(Counted { out, bytes: 0 }, level)?;
    encoder.include_checksum(true)?;
    encoder.multithread(1)?;
    Ok(encoder)
}

/// A file and how much went into it.
struct Counted {
    out: File,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
