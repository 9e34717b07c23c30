//! The parts of a backup as people name them on the command line, and what they are in a manifest. Reads no file.

use super::manifest::{Component, ComponentKind, Manifest};
use crate::error::{Fault, Result};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// A part of a backup.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// All of ROOT.
    Code,
    /// The site's database.
    Database,
    /// moodledata with the pool.
    Moodledata,
    /// An extra directory, by its name in `directories/` without number and ending, or by its path.
    Directory(String),
    /// An extra database, by its name in `database/extra/` without ending.
    ExtraDatabase(String),
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = |name: &str, what: fn(String) -> Part| match name {
            "" => Err(format!("{text:?} lacks a name behind the colon; \"moodle-backup show\" has the names")),
            name => Ok(what(name.to_owned())),
        };
        match text.split_once(':') {
            None if text == "code" => Ok(Part::Code),
            None if text == "database" => Ok(Part::Database),
            None if text == "moodledata" => Ok(Part::Moodledata),
            None if text == "directory" => Err("which directory? Write directory:NAME".to_owned()),
            Some(("directory", name)) => named(name, Part::Directory),
            Some(("database", name)) => named(name, Part::ExtraDatabase),
            _ => Err(format!(
                "{text:?} is no part of a backup; there are code, database, moodledata, directory:NAME and database:NAME"
            )),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Code => f.write_str("code"),
            Part::Database => f.write_str("database"),
            Part::Moodledata => f.write_str("moodledata"),
            Part::Directory(name) => write!(f, "directory:{name}"),
            Part::ExtraDatabase(name) => write!(f, "database:{name}"),
        }
    }
}

impl Part {
    /// The parts that a backup has, in the order of its manifest.
    pub fn all(manifest: &Manifest) -> Vec<Part> {
        let mut parts = Vec::new();
        for part in manifest.components.iter().filter_map(Part::of) {
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        parts
    }

    /// The part to which a component belongs; `None` for lists and the like.
    pub fn of(component: &Component) -> Option<Part> {
        match component.kind {
            ComponentKind::Code => Some(Part::Code),
            ComponentKind::Database => Some(Part::Database),
            ComponentKind::Moodledata => Some(Part::Moodledata),
            ComponentKind::Directory => Some(Part::Directory(name_of(component, "directory "))),
            ComponentKind::ExtraDatabase => Some(Part::ExtraDatabase(name_of(component, "database "))),
            ComponentKind::CodeChanges | ComponentKind::PoolList | ComponentKind::Index | ComponentKind::Other => None,
        }
    }

    /// What belongs to this part; databases may have several files. An error, with the parts that there are, if the
    /// backup has no such part.
    pub fn components<'m>(&self, manifest: &'m Manifest) -> Result<Vec<&'m Component>> {
        let found: Vec<_> = manifest.components.iter().filter(|component| self.is(component)).collect();
        if found.is_empty() {
            let parts: Vec<String> = Part::all(manifest).iter().map(ToString::to_string).collect();
            return Err(Fault::usage(format!("backup {} has no part {self}", manifest.label))
                .hint(format!("it has {}", parts.join(", ")))
                .into());
        }
        if matches!(self, Part::Directory(_)) && found.len() > 1 {
            let paths: Vec<_> = found.iter().map(|found| format!("directory:{}", found.source.display())).collect();
            return Err(Fault::usage(format!("backup {} has more than one {self}", manifest.label))
                .hint(format!("name one by its path: {}", paths.join(", ")))
                .into());
        }
        Ok(found)
    }

    fn is(&self, component: &Component) -> bool {
        let by_path = |name: &String| name.starts_with('/') && component.source == Path::new(name);
        Part::of(component).is_some_and(|part| match (self, &part) {
            (Part::Directory(name), Part::Directory(_)) => *self == part || by_path(name),
            _ => *self == part,
        })
    }
}

/// The last part of a component's name: `etc-apache2` of `directory etc-apache2`. Databases have further files, whose
/// names go on behind a comma.
fn name_of(component: &Component, before: &str) -> String {
    let name = component.name.strip_prefix(before).unwrap_or(&component.name);
    name.split_once(", ").map_or(name, |(name, _)| name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let mut manifest = Manifest::new("2026-11-23T010003Z", 1);
        let part = |kind, name: &str, source: &str| Component {
            kind,
            name: name.into(),
            source: source.into(),
            ..Component::default()
        };
        manifest.components = vec![
            part(ComponentKind::Database, "database", ""),
            part(ComponentKind::Database, "database, tables without snapshots", ""),
            part(ComponentKind::ExtraDatabase, "database stats", ""),
            part(ComponentKind::ExtraDatabase, "database stats, tables without snapshots", ""),
            part(ComponentKind::Directory, "directory etc-a-b", "/etc/a-b"),
            part(ComponentKind::Directory, "directory etc-a-b", "/etc/a b"),
            part(ComponentKind::Directory, "directory srv", "/srv"),
            part(ComponentKind::PoolList, "pool list", ""),
        ];
        manifest
    }

    #[test]
    fn parts_are_named_as_they_are_shown() {
        for text in ["code", "database", "moodledata", "directory:etc-apache2", "database:stats"] {
            assert_eq!(text.parse::<Part>().unwrap().to_string(), text);
        }
        for text in ["", "Code", "directory", "directory:", "database:", "moodle:data"] {
            assert!(text.parse::<Part>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_part_is_found_with_all_that_belongs_to_it() {
        let manifest = manifest();
        let count = |text: &str| text.parse::<Part>().unwrap().components(&manifest).map(|found| found.len());
        assert_eq!(count("database").unwrap(), 2);
        assert_eq!(count("database:stats").unwrap(), 2);
        assert_eq!(count("directory:srv").unwrap(), 1);
        assert_eq!(count("directory:/etc/a b").unwrap(), 1);
        assert!(count("directory:etc-a-b").unwrap_err().to_string().contains("more than one"));
        let error = count("code").unwrap_err();
        assert!(crate::error::hint(&error).unwrap().contains("database:stats, directory:etc-a-b"), "{error}");
    }
}
