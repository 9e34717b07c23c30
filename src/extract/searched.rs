//! Where in a backup files are searched, as people name it on the command line. Reads no file.

use crate::error::Result;
use crate::store::Part;
use crate::store::manifest::{Component, ComponentKind, Manifest};
use std::fmt;
use std::str::FromStr;

/// A part of a backup that has files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Searched {
    /// Code, a directory, or moodledata without the users' files.
    Tree(Part),
    /// The users' files, by their names in Moodle.
    Uploads,
}

impl FromStr for Searched {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "uploads" => Ok(Searched::Uploads),
            Ok(part @ (Part::Code | Part::Moodledata | Part::Directory(_))) => Ok(Searched::Tree(part)),
            Err(words) if text.starts_with("directory") => Err(words),
            _ => Err(format!("{text:?} cannot be searched; there are code, moodledata, directory:NAME and uploads")),
        }
    }
}

impl fmt::Display for Searched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Searched::Tree(part) => part.fmt(f),
            Searched::Uploads => f.write_str("uploads"),
        }
    }
}

impl Searched {
    /// What can be searched in a backup, in the order of its manifest, the users' files last.
    pub fn all(manifest: &Manifest) -> Vec<Searched> {
        let is_tree = |part: &Part| matches!(part, Part::Code | Part::Moodledata | Part::Directory(_));
        let trees = Part::all(manifest).into_iter().filter(is_tree).map(Searched::Tree);
        trees.chain([Searched::Uploads]).collect()
    }

    /// What of a backup belongs to it: for users' files nothing. An error if the backup has no such part.
    pub fn components<'m>(&self, manifest: &'m Manifest) -> Result<Vec<&'m Component>> {
        match self {
            Searched::Uploads => Ok(Vec::new()),
            // Of two directories with names alike both are meant.
            Searched::Tree(part @ Part::Directory(_)) => {
                let alike = |component: &&Component| {
                    component.kind == ComponentKind::Directory && Part::of(component).as_ref() == Some(part)
                };
                let alike: Vec<_> = manifest.components.iter().filter(alike).collect();
                if alike.is_empty() { part.components(manifest) } else { Ok(alike) }
            }
            Searched::Tree(part) => part.components(manifest),
        }
    }
}
