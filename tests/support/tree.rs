//! Comparing two trees as a user who restored one would want them compared: everything but inode numbers.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Enough to see what is wrong; the rest is counted.
const SHOWN: usize = 50;

/// Every difference between the trees, readable, one a line.
pub fn tree_compare(a: &Path, b: &Path) -> Vec<String> {
    TreeCompare::new().run(a, b)
}

/// A comparison that leaves something out.
#[derive(Default)]
pub struct TreeCompare {
    skipped: Vec<PathBuf>,
    in_seconds: bool,
    without_folder_times: bool,
    without_owners: bool,
}

impl TreeCompare {
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves out an entry with all below it, by its path in the tree.
    pub fn skip(mut self, path: impl AsRef<Path>) -> Self {
        self.skipped.push(path.as_ref().to_owned());
        self
    }

    /// Compares modification times by their whole seconds: a plain tar keeps no more, and rsync leaves a time alone that
    /// is right to the second.
    pub fn in_seconds(mut self) -> Self {
        self.in_seconds = true;
        self
    }

    /// Leaves out the modification times of folders, and of links to anything.
    pub fn without_folder_times(mut self) -> Self {
        self.without_folder_times = true;
        self
    }

    pub fn without_owners(mut self) -> Self {
        self.without_owners = true;
        self
    }

    /// Names, kinds, contents, owners, modes, times, link targets, and which names are one file.
    pub fn run(&self, a: &Path, b: &Path) -> Vec<String> {
        let mut differences = Vec::new();
        let (entries_a, entries_b) = (self.list(a), self.list(b));
        for (path, entry) in &entries_a {
            match entries_b.get(path) {
                None => differences.push(format!("{}: only in {}", path.display(), a.display())),
                Some(other) => self.compare(path, (a, entry), (b, other), &mut differences),
            }
        }
        for path in entries_b.keys().filter(|path| !entries_a.contains_key(*path)) {
            differences.push(format!("{}: only in {}", path.display(), b.display()));
        }
        shortened(differences)
    }

    /// Every entry below the root and the root itself, by its path.
    fn list(&self, root: &Path) -> BTreeMap<PathBuf, Entry> {
        let mut found = BTreeMap::new();
        let mut first_names = HashMap::new();
        let mut waiting = vec![PathBuf::new()];
        while let Some(path) = waiting.pop() {
            if self.skipped.contains(&path) {
                continue;
            }
            let full = root.join(&path);
            let metadata = fs::symlink_metadata(&full).unwrap_or_else(|error| panic!("{}: {error}", full.display()));
            if metadata.is_dir() {
                let below = fs::read_dir(&full).unwrap_or_else(|error| panic!("{}: {error}", full.display()));
                let mut names: Vec<OsString> = below.map(|entry| entry.expect("an entry").file_name()).collect();
                // In a fixed order, so that both sides call the same name of a pair the first.
                names.sort();
                waiting.extend(names.iter().rev().map(|name| path.join(name)));
            }
            let first = first_name(&metadata, &path, &mut first_names);
            found.insert(path, Entry { metadata, first });
        }
        found
    }

    fn compare(&self, path: &Path, (root_a, a): (&Path, &Entry), (root_b, b): (&Path, &Entry), out: &mut Vec<String>) {
        let mut differ = |what: &str, a: String, b: String| {
            if a != b {
                out.push(format!("{}: {what}: {a} and {b}", path.display()));
            }
        };
        let (full_a, full_b) = (root_a.join(path), root_b.join(path));
        let (kind_a, kind_b) = (kind(&a.metadata), kind(&b.metadata));
        differ("kind", kind_a.into(), kind_b.into());
        if kind_a != kind_b {
            return;
        }
        differ("mode", format!("{:o}", a.metadata.mode()), format!("{:o}", b.metadata.mode()));
        if !self.without_owners {
            differ("owner", owner(&a.metadata), owner(&b.metadata));
        }
        if self.compares_time(kind_a) {
            differ("time", self.time(&a.metadata), self.time(&b.metadata));
        }
        differ("same file as", shown(a.first.as_deref()), shown(b.first.as_deref()));
        match kind_a {
            "link" => differ("target", link_target(&full_a), link_target(&full_b)),
            "file" if !same_content(&full_a, a, &full_b, b) => {
                differ("content", size(a), format!("{} (other)", size(b)))
            }
            _ => {}
        }
    }

    fn compares_time(&self, kind: &str) -> bool {
        !(self.without_folder_times && matches!(kind, "folder" | "link"))
    }

    fn time(&self, metadata: &Metadata) -> String {
        let nanoseconds = if self.in_seconds { 0 } else { metadata.mtime_nsec() };
        format!("{}.{nanoseconds:09}", metadata.mtime())
    }
}

struct Entry {
    metadata: Metadata,
    /// The first name in this tree of a file with several.
    first: Option<PathBuf>,
}

/// The name under which this file was met first, if that was another.
fn first_name(metadata: &Metadata, path: &Path, names: &mut HashMap<(u64, u64), PathBuf>) -> Option<PathBuf> {
    if metadata.is_dir() || metadata.nlink() < 2 {
        return None;
    }
    let first = names.entry((metadata.dev(), metadata.ino())).or_insert_with(|| path.to_owned());
    (first != path).then(|| first.clone())
}

fn kind(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_file() {
        "file"
    } else if kind.is_dir() {
        "folder"
    } else if kind.is_symlink() {
        "link"
    } else if kind.is_fifo() {
        "pipe"
    } else if kind.is_socket() {
        "socket"
    } else {
        "device"
    }
}

fn owner(metadata: &Metadata) -> String {
    format!("{}:{}", metadata.uid(), metadata.gid())
}

fn size(entry: &Entry) -> String {
    format!("{} bytes", entry.metadata.len())
}

fn link_target(path: &Path) -> String {
    let target = fs::read_link(path).expect("a link can be read");
    format!("{target:?}")
}

fn shown(path: Option<&Path>) -> String {
    path.map_or_else(|| "itself".into(), |path| path.display().to_string())
}

fn same_content(path_a: &Path, a: &Entry, path_b: &Path, b: &Entry) -> bool {
    a.metadata.len() == b.metadata.len() && read(path_a) == read(path_b)
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn shortened(mut differences: Vec<String>) -> Vec<String> {
    if differences.len() > SHOWN {
        let more = differences.len() - SHOWN;
        differences.truncate(SHOWN);
        differences.push(format!("and {more} more"));
    }
    differences
}
