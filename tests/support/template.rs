//! Freshly initialised data folders of servers, made once and copied for each instance: a copy takes a fraction of the
//! time that initialising takes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};

use super::process::succeed;

/// Copies the template of that name to `to`, making the template first by `make` where there is none.
pub fn copy(name: &str, to: &Path, make: impl FnOnce(&Path)) {
    let template = cached(name, make);
    succeed(Command::new("cp").arg("-a").arg("--reflink=auto").arg(&template).arg(to));
}

/// The template's folder. It is made in `make`'s own place and moved here when it is complete.
fn cached(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let cache = cache();
    std::fs::create_dir_all(&cache).expect("the cache can be made");
    let _lock = lock(&cache.join(format!("{name}.lock")));
    let template = cache.join(name);
    if !template.exists() {
        // The server's user may not be able to enter our cache, but it can enter a scratch folder.
        let scratch = super::Scratch::new();
        let fresh = scratch.join("data");
        make(&fresh);
        let half = cache.join(format!("{name}.new"));
        succeed(Command::new("rm").arg("-rf").arg(&half));
        succeed(Command::new("cp").arg("-a").arg(&fresh).arg(&half));
        std::fs::rename(&half, &template).expect("a folder can be renamed");
    }
    template
}

/// Cargo's folder for such things where there is one: it lasts from run to run.
fn cache() -> PathBuf {
    let base = option_env!("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from);
    base.join("moodle-backup-templates")
}

fn lock(path: &Path) -> Flock<File> {
    let file = File::create(path).expect("a lock file can be made");
    Flock::lock(file, FlockArg::LockExclusive).unwrap_or_else(|(_, error)| panic!("{}: {error}", path.display()))
}

/// A program's words about its version, fit for a file name: a newer server needs a newer template.
pub fn version_of(program: &Path) -> String {
    let words = succeed(Command::new(program).arg("--version"));
    String::from_utf8_lossy(&words).chars().filter(|c| c.is_ascii_digit() || *c == '.').collect()
}
