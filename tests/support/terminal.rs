//! A terminal with a program on it, as a person at a shell has: what it shows, what is typed, and its sudden end.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::pty::openpty;
use nix::unistd::setsid;

const LIMIT: Duration = Duration::from_secs(120);
/// Within which what a program has shown is read.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A program on a terminal of its own; dropping it closes the terminal.
pub struct Terminal {
    child: Child,
    keyboard: Option<OwnedFd>,
    shown: Arc<Mutex<Vec<u8>>>,
    /// Reads what is shown, until nobody has the terminal open any more.
    reader: JoinHandle<()>,
}

impl Terminal {
    /// Starts a program as the leader of a session on a new terminal.
    pub fn start(mut command: Command) -> Self {
        let pty = openpty(None, None).expect("there are terminals");
        let side = |fd: &OwnedFd| File::from(fd.try_clone().expect("a handle can be copied"));
        command.stdin(side(&pty.slave)).stdout(side(&pty.slave)).stderr(side(&pty.slave));
        // SAFETY: both calls are async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                setsid()?;
                match nix::libc::ioctl(0, nix::libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let child = command.spawn().expect("it starts");
        drop(command);
        drop(pty.slave);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (kept, mut screen) = (Arc::clone(&shown), side(&pty.master));
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                kept.lock().expect("nobody panics with it").extend_from_slice(&buffer[..count]);
            }
        });
        Terminal { child, keyboard: Some(pty.master), shown, reader }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Types; `\x03` is Ctrl-C.
    pub fn type_keys(&self, keys: &str) {
        let keyboard = self.keyboard.as_ref().expect("the terminal is open");
        let mut file = File::from(keyboard.try_clone().expect("a handle can be copied"));
        file.write_all(keys.as_bytes()).expect("keys can be typed");
    }

    /// All that was shown so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("nobody panics with it")).into_owned()
    }

    /// Waits until something is shown.
    #[track_caller]
    pub fn wait_for_text(&mut self, wanted: &str) {
        self.wait_for_text_behind(0, wanted);
    }

    /// The same behind what was read already; up to where it is read by then.
    #[track_caller]
    pub fn wait_for_text_behind(&mut self, read: usize, wanted: &str) -> usize {
        let end = Instant::now() + LIMIT;
        loop {
            let text = self.text();
            if let Some(at) = text[read..].find(wanted) {
                return read + at + wanted.len();
            }
            assert!(Instant::now() < end, "{wanted:?} was never shown:\n{text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the program's end, and until its last words are read: that takes longer where the machine is busy.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        super::wait_for("the program on the terminal to end", LIMIT, || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        // What it has started may have the terminal open for longer.
        let end = Instant::now() + LAST_WORDS;
        while !self.reader.is_finished() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        status.expect("it has ended")
    }

    /// Ends the program as the kernel does when a connection is lost: its whole session is hung up.
    pub fn hang_up(&mut self) {
        let leader = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        self.keyboard = None;
        let _ = nix::sys::signal::killpg(leader, nix::sys::signal::Signal::SIGHUP);
        let _ = nix::sys::signal::killpg(leader, nix::sys::signal::Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
