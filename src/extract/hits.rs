//! What a search has found, each thing once, with the backups that have it. However much that is, only so much is kept as
//! will be shown; of the rest no more than that it was there.

use crate::database::uploads::Upload;
use crate::entry::{Kind, Time};
use crate::store::Part;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// So many places of one file are kept.
const USES: usize = 20;

/// What was found. Things that are equal in it are one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Thing {
    /// A file, folder or link of a tree.
    Entry {
        /// The part of the backup.
        part: Part,
        /// Its full path on the server.
        path: Vec<u8>,
        /// What it is.
        kind: Kind,
        /// Its size in bytes and the time of its last change; none for folders, which change with all that is in them.
        version: Option<(u64, Time)>,
    },
    /// A content that users have uploaded under this name.
    Upload {
        /// SHA-1 of the content, in hexadecimal digits.
        contenthash: String,
        /// The name.
        filename: String,
    },
}

impl Thing {
    /// The part that it is in; `None` for users' files.
    fn part(&self) -> Option<&Part> {
        match self {
            Thing::Entry { part, .. } => Some(part),
            Thing::Upload { .. } => None,
        }
    }
}

/// A place that an uploaded file has in Moodle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// What the table of files says.
    pub upload: Upload,
    /// Where that is: `course "Botany" (bot1)`. Empty until it was looked up.
    pub place: String,
}

/// A thing with what is known of it.
#[derive(Clone, Debug)]
pub struct Hit {
    /// What it is.
    pub thing: Thing,
    /// Its size in bytes, in the newest backup that has it.
    pub bytes: u64,
    /// When it was changed last, in that backup; seconds since 1970.
    pub changed: i64,
    /// Where Moodle has it.
    pub uses: Vec<Use>,
    /// The backups that have it, by their numbers in the order of the search.
    pub backups: Vec<usize>,
}

/// Hits as they come.
#[derive(Debug, Default)]
pub struct Hits {
    limit: usize,
    kept: Vec<Hit>,
    known: HashMap<Thing, usize>,
    rest: BTreeMap<Option<Part>, HashSet<u64>>,
}

impl Hits {
    /// Keeps up to `limit` things.
    pub fn new(limit: usize) -> Self {
        Hits { limit, ..Hits::default() }
    }

    /// A thing was met in the backup with this number; with it comes where Moodle has it.
    pub fn add(&mut self, thing: Thing, bytes: u64, changed: i64, upload: Option<Upload>, backup: usize) {
        let at = match self.known.get(&thing) {
            Some(at) => *at,
            None if self.kept.len() < self.limit => {
                self.known.insert(thing.clone(), self.kept.len());
                self.kept.push(Hit { thing, bytes, changed, uses: Vec::new(), backups: Vec::new() });
                self.kept.len() - 1
            }
            None => {
                let mut hasher = DefaultHasher::new();
                thing.hash(&mut hasher);
                self.rest.entry(thing.part().cloned()).or_default().insert(hasher.finish());
                return;
            }
        };
        let Some(hit) = self.kept.get_mut(at) else { return };
        if hit.backups.first().is_none_or(|first| *first == backup) {
            hit.changed = hit.changed.max(changed);
        }
        if hit.backups.last() != Some(&backup) {
            hit.backups.push(backup);
        }
        hit.uses.extend(
            upload.filter(|upload| is_new(&hit.uses, upload)).map(|upload| Use { upload, place: String::new() }),
        );
    }

    /// The contexts of places that were not looked up yet.
    pub fn unknown_contexts(&self) -> BTreeSet<String> {
        let uses = self.kept.iter().flat_map(|hit| &hit.uses);
        uses.filter(|one| one.place.is_empty()).map(|one| one.upload.contextid.clone()).collect()
    }

    /// Names the places that were not looked up yet.
    pub fn name_places(&mut self, name: impl Fn(&str) -> String) {
        let uses = self.kept.iter_mut().flat_map(|hit| &mut hit.uses);
        uses.filter(|one| one.place.is_empty()).for_each(|one| one.place = name(&one.upload.contextid));
    }

    /// How many things were found in each part; `None` are the users' files.
    pub fn counts(&self) -> BTreeMap<Option<Part>, u64> {
        let mut counts: BTreeMap<Option<Part>, u64> =
            self.rest.iter().map(|(part, rest)| (part.clone(), rest.len() as u64)).collect();
        for hit in &self.kept {
            *counts.entry(hit.thing.part().cloned()).or_default() += 1;
        }
        counts
    }

    /// What was kept, as it is shown: trees by their parts and paths, then users' files by their names; the same in its latest
    /// form first; what is but a draft last.
    pub fn sorted(mut self) -> Vec<Hit> {
        self.kept.iter_mut().for_each(|hit| hit.uses.sort_by_key(|one| one.upload.is_draft()));
        self.kept.sort_by(|one, other| one.order().cmp(&other.order()));
        self.kept
    }
}

impl Hit {
    /// Whether Moodle has it as a draft only.
    fn is_draft(&self) -> bool {
        self.uses.first().is_some_and(|one| one.upload.is_draft())
    }

    fn order(&self) -> impl Ord {
        let (rank, part, name) = match &self.thing {
            Thing::Entry { part, path, .. } => (0, Some(part.clone()), path.clone()),
            Thing::Upload { filename, .. } => {
                (if self.is_draft() { 2 } else { 1 }, None, filename.to_lowercase().into_bytes())
            }
        };
        (rank, part, name, self.backups.first().copied(), std::cmp::Reverse(self.changed))
    }
}

/// Whether a place is another than those that are known. One draft tells as much as all of them.
fn is_new(uses: &[Use], upload: &Upload) -> bool {
    let same = |one: &Use| {
        let known = &one.upload;
        known.is_draft() && upload.is_draft()
            || (&known.contextid, &known.component, &known.filearea, &known.filepath)
                == (&upload.contextid, &upload.component, &upload.filearea, &upload.filepath)
    };
    uses.len() < USES && !uses.iter().any(same)
}
