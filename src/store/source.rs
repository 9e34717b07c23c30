//! Backups of a site that this machine has no settings for: in a folder that was mounted or copied here. Changes
//! nothing there.

use super::{Owner, Store, label, layout};
use crate::error::{Fault, OrFault, Result};
use nix::unistd::Uid;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where backups were found.
#[derive(Debug)]
pub struct Source {
    /// The site's folder.
    pub store: Store,
    /// The backup that was named, where the folder is that of a backup.
    pub backup: Option<String>,
}

/// Finds the backups in a folder: a site's, a target with one site, or one backup in a site's folder.
pub fn open(folder: &Path) -> Result<Source> {
    let folder = std::fs::canonicalize(folder).or_fault(|| {
        Fault::unfit(format!("cannot open {}", folder.display())).hint("is it mounted, and its name right?")
    })?;
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if label::is_label(name) && folder.join(layout::MANIFEST).is_file() {
        let site = folder.parent().unwrap_or(&folder);
        return Ok(Source { store: at(site)?, backup: Some(name.to_owned()) });
    }
    if holds_backups(&folder) {
        return Ok(Source { store: at(&folder)?, backup: None });
    }
    let nothing = || Fault::unfit(format!("there are no backups in {}", folder.display()));
    let inner = std::fs::read_dir(&folder).or_fault(nothing)?;
    let mut sites: Vec<PathBuf> =
        inner.flatten().map(|entry| entry.path()).filter(|path| holds_backups(path)).collect();
    sites.sort();
    match sites.as_slice() {
        [site] => Ok(Source { store: at(site)?, backup: None }),
        [] => Err(nothing().hint(instead(&folder)).into()),
        sites => {
            let names: Vec<_> = sites.iter().map(|site| site.display().to_string()).collect();
            Err(Fault::usage(format!("there is more than one site in {}", folder.display()))
                .hint(format!("name one of them: {}", names.join(", ")))
                .into())
        }
    }
}

/// What to name in place of a folder without backups: what `export` writes is a file.
fn instead(folder: &Path) -> String {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut exports: Vec<String> =
        names.filter_map(|name| name.into_string().ok()).filter(|it| is_export(it)).collect();
    exports.sort();
    let named: Vec<String> = exports.iter().map(|it| format!("--from {}", folder.join(it).display())).collect();
    match named.is_empty() {
        true => "name the folder of a site on the target: it has folders in it such as 2026-11-23T010003Z".to_owned(),
        false => format!("an export is a file, and is named itself: {}", named.join(", or ")),
    }
}

/// As `export` names its files: `SITE-BACKUP.tar.zst`, or `.tar`.
fn is_export(name: &str) -> bool {
    let stem = name.strip_suffix(".tar.zst").or_else(|| name.strip_suffix(".tar"));
    stem.is_some_and(|stem| stem.match_indices('-').any(|(at, _)| label::is_label(&stem[at + 1..])))
}

fn at(folder: &Path) -> Result<Store> {
    let meta = std::fs::metadata(folder).or_fault(|| Fault::unfit(format!("cannot open {}", folder.display())))?;
    let owner = Owner { uid: Uid::effective().as_raw(), gid: meta.gid() };
    Ok(Store { folder: folder.to_path_buf(), owner })
}

fn holds_backups(folder: &Path) -> bool {
    let Ok(names) = std::fs::read_dir(folder) else { return false };
    names
        .flatten()
        .any(|entry| layout::classify(entry.file_name().as_bytes()) == layout::Name::Backup && entry.path().is_dir())
}

#[cfg(test)]
mod tests {
    use super::is_export;

    #[test]
    fn exports_are_known_by_their_names() {
        assert!(is_export("my-school-2026-11-23T010003Z.tar.zst") && is_export("a-2026-11-23T010003Z.tar"));
        assert!(!is_export("a-2026-11-23T010003Z.zip") && !is_export("photos.tar.zst") && !is_export("2026.tar"));
    }
}
