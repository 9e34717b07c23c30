//! What of a backup is asked for: parts by their names, files and folders by their paths on the old server. Looks them
//! up in the backup's indexes; brings nothing back.

use crate::entry::{Reader, Selection, lies_below, shown};
use crate::error::{Fault, Result};
use crate::store::manifest::{Component, ComponentKind, Manifest};
use crate::store::{Backup, Part, inside, layout};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How many files of the same name are told when a path is not found.
const TOLD: usize = 5;

/// A part that is wanted, in whole or not.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The part.
    pub part: Part,
    /// What belongs to it.
    pub components: Vec<Component>,
    /// What of it, by its paths: the empty one is everything.
    pub paths: Vec<Vec<u8>>,
    /// The same, to choose by.
    pub only: Selection,
    /// Whether that is all.
    pub whole: bool,
}

impl Wanted {
    /// The files and folders of the backup that hold it.
    pub fn files(&self) -> Vec<PathBuf> {
        let of = |component: &Component| match component.kind {
            // Plain files, of which some may do.
            ComponentKind::Moodledata => {
                let below = |path: &Vec<u8>| match path.is_empty() {
                    // Joined with nothing it would end with a slash.
                    true => component.file.clone(),
                    false => component.file.join(crate::entry::to_path(path)),
                };
                self.paths.iter().map(below).collect()
            }
            _ => vec![component.file.clone()],
        };
        self.components.iter().flat_map(of).collect()
    }
}

/// What `--only` and `--path` ask for; everything where neither does. Of a part that both name only the paths. An error if a
/// part or a path is not there.
pub fn wanted(backup: &Backup, only: &[Part], paths: &[PathBuf]) -> Result<Vec<Wanted>> {
    let manifest = &backup.manifest;
    let parts = if only.is_empty() && paths.is_empty() { Part::all(manifest) } else { only.to_vec() };
    let mut of_parts: Vec<(&Component, Vec<Vec<u8>>)> = Vec::new();
    for path in paths {
        let (component, below) = locate(manifest, path)?;
        require_in_index(backup, component, &below)?;
        match of_parts.iter_mut().find(|(other, _)| *other == component) {
            Some((_, paths)) => paths.push(below),
            None => of_parts.push((component, vec![below])),
        }
    }
    let mut found: Vec<Wanted> = Vec::new();
    for part in parts {
        let components: Vec<Component> = part.components(manifest)?.into_iter().cloned().collect();
        let is_narrowed = of_parts.iter().any(|(narrowed, _)| components.contains(narrowed));
        if !is_narrowed && !found.iter().any(|other| other.components == components) {
            found.push(Wanted { part, components, paths: vec![Vec::new()], only: Selection::all(), whole: true });
        }
    }
    for (component, paths) in of_parts {
        let Some(part) = Part::of(component) else { continue };
        let only = Selection::of(paths.clone());
        found.push(Wanted { part, components: vec![component.clone()], paths, only, whole: false });
    }
    Ok(found)
}

/// Where a path of the old server, or `PART:path`, lies: the component, and the path in it.
fn locate<'m>(manifest: &'m Manifest, path: &Path) -> Result<(&'m Component, Vec<u8>)> {
    let bytes = path.as_os_str().as_bytes();
    let trees = || manifest.components.iter().filter(|component| is_tree(component));
    let (component, below) = if bytes.starts_with(b"/") {
        // The innermost, where one tree lies in another.
        let holding = trees().filter(|component| path.starts_with(&component.source));
        let holding = holding.max_by_key(|component| component.source.components().count());
        let component = holding.ok_or_else(|| {
            let sources: Vec<_> = trees().map(|component| component.source.display().to_string()).collect();
            Fault::usage(format!("{} is in no part of backup {}", path.display(), manifest.label))
                .hint(format!("it has what was below {}", sources.join(", ")))
        })?;
        (component, path.strip_prefix(&component.source).unwrap_or(path).to_path_buf())
    } else {
        of_part(manifest, path)?
    };
    let mut clean = Vec::new();
    for step in below.components() {
        match step {
            std::path::Component::Normal(name) if clean.is_empty() => clean.extend_from_slice(name.as_bytes()),
            std::path::Component::Normal(name) => clean.extend([b"/", name.as_bytes()].concat()),
            std::path::Component::CurDir => {}
            _ => return Err(Fault::usage(format!("{} leads out of its part", path.display())).into()),
        }
    }
    let in_pool = component.kind == ComponentKind::Moodledata
        && component.source.join(&below).starts_with(&manifest.paths.filedir);
    if in_pool {
        return Err(Fault::usage(format!("{} is one of the files that users uploaded", path.display()))
            .hint("bring it back with --file and its name, or the 40 digits of its content's hash")
            .into());
    }
    Ok((component, clean))
}

/// `code:config.php`, `directory:etc-apache2:sites/moodle.conf`.
fn of_part<'m>(manifest: &'m Manifest, path: &Path) -> Result<(&'m Component, PathBuf)> {
    let usage = || {
        Fault::usage(format!("{} is neither a full path nor PART:PATH", path.display()))
            .hint("write it as it was on the server, such as /var/www/moodle/config.php, or code:config.php")
    };
    let bytes = path.as_os_str().as_bytes();
    let from = if bytes.starts_with(b"directory:") { b"directory:".len() } else { 0 };
    let colon = bytes[from..].iter().position(|byte| *byte == b':').map(|at| from + at).ok_or_else(usage)?;
    let part: Part = std::str::from_utf8(&bytes[..colon]).ok().and_then(|part| part.parse().ok()).ok_or_else(usage)?;
    let component = part.components(manifest)?.into_iter().find(|component| is_tree(component)).ok_or_else(|| {
        Fault::usage(format!("{part} has no files that could be named")).hint("--table brings back one table of it")
    })?;
    let below = bytes[colon + 1..].strip_prefix(b"/").unwrap_or(&bytes[colon + 1..]);
    Ok((component, PathBuf::from(std::ffi::OsStr::from_bytes(below))))
}

fn is_tree(component: &Component) -> bool {
    matches!(component.kind, ComponentKind::Code | ComponentKind::Directory | ComponentKind::Moodledata)
}

/// An error if the backup does not have this path, with those that are called the same.
fn require_in_index(backup: &Backup, component: &Component, path: &[u8]) -> Result<()> {
    let mut index = Reader::open(&inside::named(&backup.path, &layout::index_of(&component.file))?)?;
    let name = crate::entry::split(path).1;
    let mut alike = Vec::new();
    while let Some(entry) = index.next_entry()? {
        if entry.path == path || lies_below(&entry.path, path) {
            return Ok(());
        }
        if alike.len() < TOLD && crate::entry::split(&entry.path).1 == name {
            alike.push(component.source.join(crate::entry::to_path(&entry.path)).display().to_string());
        }
    }
    let whole = component.source.join(crate::entry::to_path(path));
    let fault = Fault::failed(format!("backup {} has no {}", backup.name, shown(whole.as_os_str().as_bytes())));
    Err(match alike.is_empty() {
        true => fault.hint("another backup may have it: \"moodle-backup find --all NAME\" searches all of them"),
        false => fault.hint(format!("of that name there is {}", alike.join(", "))),
    }
    .into())
}
