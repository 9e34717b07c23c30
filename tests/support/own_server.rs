//! What every database server of one's own is: a process that can be killed and started again, on data and a port that
//! stay. Which program it is, and how one talks to it, is in `mariadb` and `postgres`.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use nix::sys::signal::Signal;

use super::ports;
use super::process::{Daemon, owner_ids};
use super::scratch::Scratch;
use super::tls::{self, Certificate};

/// A server's process, folder and port.
pub struct OwnServer {
    daemon: Mutex<Option<Daemon>>,
    port: u16,
    tls: Option<Certificate>,
    scratch: Scratch,
}

impl OwnServer {
    /// A port, a certificate if there is to be one, and a folder in which this user can make a socket. Nothing runs yet.
    pub fn new(scratch: Scratch, user: &str, with_tls: bool) -> Self {
        let tls = with_tls.then(|| tls::certificate(&scratch, user));
        // Not the scratch folder itself: that is root's.
        scratch.folder_of("run", user);
        let port = ports::reserve();
        let server = OwnServer { daemon: Mutex::new(None), port: port.port(), tls, scratch };
        port.release();
        server
    }

    /// Starts it, or starts it again: `start` is given the log.
    pub fn start_by(&self, start: impl FnOnce(&Path) -> Daemon) {
        let mut slot = self.lock();
        drop(slot.take());
        *slot = Some(start(&self.join("server.log")));
    }

    /// A path in its folder.
    pub fn join(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn tls(&self) -> Option<&Certificate> {
        self.tls.as_ref()
    }

    /// The certificate by which clients can verify the server, if it has one.
    pub fn certificate(&self) -> Option<&Path> {
        self.tls.as_ref().map(|tls| tls.certificate.as_path())
    }

    /// The server's first process.
    pub fn process_id(&self) -> Option<u32> {
        self.lock().as_ref().map(Daemon::id)
    }

    /// Ends the server at once, as a crash would.
    pub fn kill(&self) {
        drop(self.lock().take());
    }

    /// Signals all its processes: SIGSTOP makes a database that hangs.
    pub fn signal(&self, signal: Signal) {
        if let Some(daemon) = &*self.lock() {
            daemon.signal_family(signal);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Daemon>> {
        self.daemon.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Makes the folder for a server's data.
pub fn make_data_folder(data: &Path, user: &str) {
    std::fs::create_dir(data).expect("a folder can be made");
    let (uid, gid) = owner_ids(user);
    std::os::unix::fs::chown(data, Some(uid), Some(gid)).expect("a folder can be given away");
}
