//! What the system allows this process.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Enough for the deepest trees, which are walked with a descriptor a folder.
const WANTED: u64 = 65_536;

/// Allows as many open files as may be had, up to what is of use. What the system refuses stays as it is.
pub fn raise_open_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(WANTED).max(soft), hard);
    }
}
