//! Whether a tree is bit for bit what it was: contents, names, owners, modes and times, to be compared later.

use sha1::{Digest, Sha1};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Each entry below a folder with all that is to stay as it is.
pub type Fingerprint = BTreeMap<PathBuf, String>;

/// Reads a tree. What stands beside it does not count, nor how many names a file has.
pub fn fingerprint(root: &Path) -> Fingerprint {
    let mut found = Fingerprint::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let meta = fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let content = match () {
            () if meta.is_dir() => {
                waiting.extend(fs::read_dir(&path).expect("a folder can be read").flatten().map(|entry| entry.path()));
                "folder".to_owned()
            }
            () if meta.is_symlink() => format!("{:?}", fs::read_link(&path).expect("a link can be read")),
            () => {
                Sha1::digest(fs::read(&path).expect("a file can be read")).iter().map(|b| format!("{b:02x}")).collect()
            }
        };
        let told =
            format!("{content} {:o} {}:{} {}.{}", meta.mode(), meta.uid(), meta.gid(), meta.mtime(), meta.mtime_nsec());
        found.insert(path.strip_prefix(root).expect("it is below").to_owned(), told);
    }
    found
}

/// Differences between two fingerprints, one a line.
pub fn changes(before: &Fingerprint, after: &Fingerprint) -> Vec<String> {
    let gone = before.iter().filter(|(path, told)| after.get(*path) != Some(told));
    let gone = gone.map(|(path, told)| format!("{}: {told} became {:?}", path.display(), after.get(path)));
    let new = after.keys().filter(|path| !before.contains_key(*path)).map(|path| format!("{}: new", path.display()));
    gone.chain(new).collect()
}
