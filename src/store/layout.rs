//! The names of format 1 and what they mean; `docs/format.md` is the authority. Small helpers on names only.

use super::label;
use crate::error::{Fault, OrFault, Result};
use std::path::{Path, PathBuf};

/// The format this program writes, and the newest it reads.
pub const FORMAT: u32 = 1;

/// Whose backups a folder holds.
pub const SITE_FILE: &str = "SITE.json";
/// The link to the newest backup.
pub const LATEST: &str = "latest";
/// The pool, in the site's folder; and the link to it in a backup's moodledata.
pub const POOL: &str = "filedir";
/// Files on their way into the pool.
pub const INCOMING: &str = ".incoming";
/// Files whose content does not match their name.
pub const DAMAGED: &str = "damaged";
/// What is learnt about backups after they were sealed.
pub const NOTES: &str = "notes";
/// Prefix of a backup that is being made.
pub const PARTIAL: &str = ".partial-";
/// Prefix of a backup that is being removed.
pub const REMOVING: &str = ".removing-";
/// Prefix of the folder in which a target is tried out; it lies beside the sites' folders.
pub const PROBE: &str = ".probe-";
/// Prefix of a file or link on its way to its real name.
pub const TEMPORARY: &str = ".mb-tmp";

/// In a backup: what it is.
pub const MANIFEST: &str = "manifest.json";
/// In a backup: for `sha256sum -c`.
pub const SUMS: &str = "SHA256SUMS";
/// In a backup: how to bring it back by hand.
pub const RESTORE: &str = "RESTORE.txt";
/// In a backup: the run's log up to the seal.
pub const RUN_LOG: &str = "run.log";
/// In a backup: the pool files that belong to it, for `sha1sum -c` in the site's folder.
pub const POOL_LIST: &str = "filedir.sha1.zst";
/// In a backup: the database's dump.
pub const DATABASE: &str = "database/site.sql.zst";
/// In a backup: the folder of the dumps of extra databases.
pub const EXTRA_DATABASES: &str = "database/extra";
/// In a backup: the code.
pub const CODE: &str = "code.tar.zst";
/// In a backup: what git says of the code.
pub const CODE_CHANGES: &str = "code-changes";
/// In a backup: one archive for each extra directory.
pub const DIRECTORIES: &str = "directories";
/// In a backup: all of moodledata but the pool and the caches.
pub const MOODLEDATA: &str = "moodledata";
/// In a backup: lists of the entries of code, directories and moodledata.
pub const INDEX: &str = "index";

/// Mode of every folder but those inside moodledata.
pub const FOLDER_MODE: u32 = 0o750;
/// Mode of every file but those inside moodledata.
pub const FILE_MODE: u32 = 0o640;

/// What a name in a site's folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// A published backup.
    Backup,
    /// A backup being made, or left by a run that died.
    Partial,
    /// A backup being removed.
    Removing,
    /// Part of the layout.
    Own,
    /// Something the program did not put there.
    Unknown,
}

/// Tells what a name in a site's folder is.
pub fn classify(name: &[u8]) -> Name {
    let Ok(name) = std::str::from_utf8(name) else { return Name::Unknown };
    match name {
        SITE_FILE | LATEST | POOL | INCOMING | DAMAGED | NOTES => Name::Own,
        // Where an export was unpacked.
        RESTORE => Name::Own,
        // Made by mkfs where the site's folder is a file system of its own.
        "lost+found" => Name::Own,
        name if label::is_label(name) => Name::Backup,
        name if name.strip_prefix(PARTIAL).is_some_and(label::is_label) => Name::Partial,
        name if name.strip_prefix(REMOVING).is_some_and(label::is_label) => Name::Removing,
        _ => Name::Unknown,
    }
}

/// Where the list of entries of a part lies: `index/1-etc-apache2.zst` for `directories/1-etc-apache2.tar.zst`, and
/// `index/moodledata.zst` for `moodledata`.
pub fn index_of(file: &Path) -> PathBuf {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Path::new(INDEX).join(format!("{}.zst", name.strip_suffix(".tar.zst").unwrap_or(&name)))
}

/// Where sizes and times of pool files lie, in the order of [`POOL_LIST`].
pub fn pool_index() -> PathBuf {
    index_of(Path::new(POOL))
}

/// Where the list of entries of moodledata lies.
pub fn moodledata_index() -> PathBuf {
    index_of(Path::new(MOODLEDATA))
}

/// Removes a folder with all that is in it; none there is fine.
pub fn remove_tree(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.or_fault(|| {
            Fault::failed(format!("cannot remove {}", folder.display())).hint("remove it by hand; nothing needs it")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        assert_eq!(classify(b"2026-11-23T010003Z"), Name::Backup);
        assert_eq!(classify(b".partial-2026-11-23T010003Z-2"), Name::Partial);
        assert_eq!(classify(b".removing-2026-11-23T010003Z"), Name::Removing);
        assert_eq!(classify(b"filedir"), Name::Own);
        for stranger in [&b"2026-11-23"[..], b"2026-11-23T010003Z.old", b".partial-x", b"\xff", b"filedir.bak"] {
            assert_eq!(classify(stranger), Name::Unknown, "{stranger:?}");
        }
    }
}
