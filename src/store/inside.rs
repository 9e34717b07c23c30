//! The files of a backup by the names that its manifest has for them. A manifest may come from anywhere: what it names
//! must lie in the backup itself, and be reached without any link. Opens nothing.

use super::manifest::{Component, ComponentKind};
use crate::error::{Fault, OrFault, Result};
use std::path::{Component as Step, Path, PathBuf};

/// The file of a component, or for moodledata its folder.
pub fn component(backup: &Path, component: &Component) -> Result<PathBuf> {
    let path = named(backup, &component.file)?;
    let fault = || {
        Fault::failed(format!("the backup lacks its part {}: there is no {}", component.name, path.display()))
            .hint("use another backup; \"moodle-backup list\" shows them")
    };
    let meta = path.symlink_metadata().or_fault(fault)?;
    let wanted = if component.kind == ComponentKind::Moodledata { meta.is_dir() } else { meta.is_file() };
    if wanted { Ok(path) } else { Err(strange(&path, "is not of the kind that it should be").into()) }
}

/// The path of something in a backup, by its name there.
pub fn named(backup: &Path, name: &Path) -> Result<PathBuf> {
    let mut path = backup.to_path_buf();
    let mut steps = name.components().peekable();
    if steps.peek().is_none() {
        return Err(strange(name, "is no name of a file in it").into());
    }
    for step in steps {
        let Step::Normal(step) = step else {
            return Err(strange(name, "leads out of it").into());
        };
        path.push(step);
        if path.symlink_metadata().is_ok_and(|meta| meta.is_symlink()) {
            return Err(strange(&path, "is a link").into());
        }
    }
    Ok(path)
}

fn strange(path: &Path, what: &str) -> Fault {
    Fault::failed(format!("this is no backup that can be trusted: {path:?} {what}"))
        .hint("no run makes such a backup: find out who changed it, and use another")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_cannot_name_files_outside() {
        let folder = tempfile::tempdir().unwrap();
        let backup = folder.path().join("backup");
        std::fs::create_dir_all(backup.join("database")).unwrap();
        std::fs::write(folder.path().join("outside"), "secret").unwrap();
        std::fs::write(backup.join("database/site.sql.zst"), "dump").unwrap();
        std::os::unix::fs::symlink(folder.path(), backup.join("link")).unwrap();
        std::os::unix::fs::symlink("../outside", backup.join("code.tar.zst")).unwrap();
        let refused = |file: &str| {
            let it = Component { name: "it".into(), file: file.into(), ..Component::default() };
            component(&backup, &it).map_err(|error| error.to_string())
        };
        assert_eq!(refused("database/site.sql.zst"), Ok(backup.join("database/site.sql.zst")));
        for file in ["../outside", "database/../../outside", "/etc/passwd", "", "link/outside", "code.tar.zst"] {
            let error = refused(file).unwrap_err();
            assert!(error.starts_with("this is no backup that can be trusted"), "{file}: {error}");
        }
        assert!(refused("database").is_err() && refused("gone").is_err());
    }
}
