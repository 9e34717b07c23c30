//! An export, unpacked for the time that something is brought back from it: then it is a site's folder like any other. It may
//! come from anywhere, and nothing in it is trusted. What is wanted of it is the caller's to say.

use super::sums;
use crate::archive::{self, Extract};
use crate::entry::{Owners, Selection, split};
use crate::error::{Fault, OrFault, Result};
use crate::store::manifest::{ComponentKind, Manifest};
use crate::store::{Part, label, layout};
use crate::sys::files;
use crate::sys::log::Log;
use crate::sys::threads::GivenUp;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The longest manifest that is believed to be one.
const LONGEST: u64 = 256 << 20;

/// What is needed of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needed {
    /// All of it.
    Everything,
    /// These parts, and of all others no more than what they are.
    Parts(Vec<Part>),
    /// Code, directories and moodledata, without what users have uploaded; and these parts.
    Trees(Vec<Part>),
    /// The databases.
    Databases,
    /// The databases, and what users have uploaded.
    Uploads,
}

/// An export that is unpacked. Dropped, it is removed.
#[derive(Debug)]
pub struct Unpacked {
    folder: PathBuf,
}

impl Unpacked {
    /// The folder in which the site's folder lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        // What stays says by its name what it is.
        let _ = layout::remove_tree(&self.folder);
    }
}

/// Unpacks what is needed of an export into a folder of its own in `near`. An error if it is none, if it is damaged or
/// hostile, if there is too little room, or on a signal; then nothing is left.
pub fn unpack(file: &Path, near: &Path, needed: &Needed, log: &Log) -> Result<Unpacked> {
    let (inner, manifest) = manifest(file)?;
    let (only, bytes) = selection(&inner, &manifest, needed)?;
    require_room(near, file, bytes)?;
    let folder = near.join(format!(".moodle-backup-unpacked-{}", std::process::id()));
    let made = std::fs::DirBuilder::new().mode(0o700).create(&folder);
    made.or_fault(|| {
        Fault::failed(format!("cannot make {}", folder.display())).hint("the export is unpacked there first")
    })?;
    let unpacked = Unpacked { folder };
    log.info(format!("unpacking {}", file.display()));
    let owners = Owners::as_they_were();
    let (into, effort) = (&unpacked.folder, sums::effort());
    archive::extract(&Extract { file, into, only: &only, owners: &owners, effort, given_up: &GivenUp::never() }, log)?;
    require_plain(&unpacked.folder, &inner)?;
    Ok(unpacked)
}

/// Where the backup lies in an export, `SITE/BACKUP`, and what it is.
fn manifest(file: &Path) -> Result<(PathBuf, Manifest)> {
    let none = || {
        Fault::unfit(format!("{} is no export of moodle-backup", file.display()))
            .hint("name a file that \"moodle-backup export\" has written, or the folder of the backups")
    };
    let is_manifest = |path: &[u8]| {
        let (backup, name) = split(path);
        let (site, backup) = split(backup);
        let plain = !site.is_empty() && !site.contains(&b'/') && !site.starts_with(b".");
        name == layout::MANIFEST.as_bytes() && plain && std::str::from_utf8(backup).is_ok_and(label::is_label)
    };
    let (path, text) = archive::first_file(file, &is_manifest, LONGEST).or_fault(none)?.ok_or_else(none)?;
    let manifest = Manifest::parse(&text, &format!("the manifest in {}", file.display()))?;
    let backup = crate::entry::to_path(split(&path).0).to_path_buf();
    match backup.file_name().is_some_and(|name| name == manifest.label.as_str()) {
        true => Ok((backup, manifest)),
        false => Err(none().into()),
    }
}

/// What of the archive is needed, and how many bytes that is at least.
fn selection(inner: &Path, manifest: &Manifest, needed: &Needed) -> Result<(Selection, u64)> {
    let is_tree = |kind| matches!(kind, ComponentKind::Code | ComponentKind::Directory | ComponentKind::Moodledata);
    let is_dump = |kind| matches!(kind, ComponentKind::Database | ComponentKind::ExtraDatabase);
    let mut files = Vec::new();
    if let Needed::Parts(parts) | Needed::Trees(parts) = needed {
        for part in parts {
            files.extend(part.components(manifest)?.iter().map(|component| component.file.clone()));
        }
    }
    let wants = |kind, file: &PathBuf| match needed {
        Needed::Everything => true,
        Needed::Parts(_) => files.contains(file),
        Needed::Trees(_) => files.contains(file) || is_tree(kind),
        Needed::Databases | Needed::Uploads => is_dump(kind),
    };
    let pool = match needed {
        Needed::Everything | Needed::Uploads => true,
        Needed::Databases => false,
        Needed::Parts(parts) | Needed::Trees(parts) => parts.contains(&Part::Moodledata),
    };
    let wanted: Vec<_> = manifest.components.iter().filter(|part| wants(part.kind, &part.file)).collect();
    let size = |kind, stored, content| if kind == ComponentKind::Moodledata { content } else { stored };
    let bytes: u64 = wanted.iter().map(|part| size(part.kind, part.stored_bytes, part.bytes)).sum();
    let bytes = bytes + if pool { manifest.pool.bytes } else { 0 };
    if *needed == Needed::Everything {
        return Ok((Selection::all(), bytes));
    }
    let own = [layout::MANIFEST, layout::SUMS, layout::RESTORE, layout::POOL_LIST, layout::INDEX];
    let mut paths: Vec<PathBuf> = own.iter().map(|name| inner.join(name)).collect();
    paths.extend(wanted.iter().map(|part| inner.join(&part.file)));
    if wanted.iter().any(|part| is_dump(part.kind)) {
        // Some dumps have several files.
        paths.push(inner.join("database"));
    }
    if pool {
        paths.push(files::parent(inner).join(layout::POOL));
    }
    let paths = paths.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect();
    Ok((Selection::of(paths), bytes))
}

fn require_room(near: &Path, file: &Path, bytes: u64) -> Result<()> {
    let free = files::space(near)?.free_bytes;
    if free >= bytes {
        return Ok(());
    }
    Err(Fault::unfit(format!(
        "{} has too little room to unpack {}: {bytes} bytes are needed, {free} are free",
        near.display(),
        file.display()
    ))
    .hint("it is unpacked beside the folder of --to: name one on a larger disk, or bring back less: --only, --path")
    .into())
}

/// An error if what was unpacked is not a site's folder with this one backup: links would lead to other places.
fn require_plain(folder: &Path, inner: &Path) -> Result<()> {
    let strange = |what: String| {
        Fault::failed(format!("this is no export that can be trusted: {what}"))
            .hint("no export has such a thing: find out who made it, and use another")
    };
    let is_folder = |path: &Path| path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    let site = folder.join(files::parent(inner));
    let pool = site.join(layout::POOL);
    for path in [&site, &folder.join(inner), &pool] {
        // Where no uploaded files are needed the pool is not unpacked.
        let left_out = path == &pool && path.symlink_metadata().is_err();
        if !left_out && !is_folder(path) {
            return Err(strange(format!("{} is no folder", path.display())).into());
        }
    }
    let known = |parent: &Path, name: &[u8]| match layout::classify(name) {
        _ if parent == folder => site.file_name().is_some_and(|site| site.as_bytes() == name),
        layout::Name::Backup => inner.file_name().is_some_and(|backup| backup.as_bytes() == name),
        kind => kind == layout::Name::Own,
    };
    for parent in [folder, &site] {
        for entry in std::fs::read_dir(parent)? {
            let name = entry?.file_name();
            if !known(parent, name.as_bytes()) {
                return Err(strange(format!("it has {}", crate::entry::shown(name.as_bytes()))).into());
            }
        }
    }
    Ok(())
}
