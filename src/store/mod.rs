//! What lies on the target for one site: backups, their manifests and notes, drafts on their way to being one.
//! The layout is that of `docs/format.md`. Copies nothing of a site and decides nothing about which backup to
//! keep: that is for `pool`, `tree`, `archive` and for `retention`.

pub mod check;
pub mod damage;
pub mod draft;
pub mod inside;
pub mod label;
pub mod layout;
pub mod listing;
pub mod manifest;
pub mod notes;
pub mod owners;
pub mod part;
pub mod places;
pub mod probe;
pub mod restore_database;
pub mod restore_text;
pub mod rows;
pub mod seal;
pub mod shell;
pub mod site;
pub mod source;
pub mod sums;
pub mod usage;

pub use draft::Draft;
pub use label::Label;
pub use listing::{Backup, Listing};
pub use manifest::Manifest;
pub use notes::{Damage, Notes};
pub use part::Part;
pub use seal::{Published, Sealing};
pub use site::SiteIdentity;
pub use usage::Usage;

use crate::error::{Fault, OrFault, Result};
use crate::sys::files;
use crate::sys::lock::{Lock, Mode};
use crate::sys::log::Log;
use nix::unistd::{Gid, Group, Uid};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folder of one site on a target.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
    owner: Owner,
}

/// Who owns what the store makes: root, and the group that may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    uid: u32,
    gid: u32,
}

impl Store {
    /// The store of a site that has one already. Its group is the one that its folder has.
    pub fn open(target: &Path, site_name: &str) -> Result<Store> {
        let folder = site_folder(target, site_name)?;
        let meta = std::fs::metadata(&folder).or_fault(|| {
            Fault::unfit(format!("there are no backups of site {site_name:?} at {}", target.display()))
                .hint("is the target mounted, and are [target] path and [site] name in the settings right?")
        })?;
        Ok(Store { folder, owner: Owner { uid: Uid::effective().as_raw(), gid: meta.gid() } })
    }

    /// The store of this site, made if it is not there yet. Another site's store is refused, with its owner's name.
    ///
    /// `group` may read the backups; where there is no such group root alone can.
    pub fn create(target: &Path, site_name: &str, identity: &SiteIdentity, group: &str, log: &Log) -> Result<Store> {
        let folder = site_folder(target, site_name)?;
        let store = Store { folder, owner: Owner::root_and(group, log) };
        if !store.folder.exists() {
            files::make_folders(&store.folder, layout::FOLDER_MODE)?;
            files::sync_folder(target)?;
        }
        store.owner.apply_to_folder(&store.folder)?;
        store.claim(identity, log)?;
        for name in [layout::POOL, layout::DAMAGED, layout::NOTES] {
            let folder = store.folder.join(name);
            files::make_folders(&folder, layout::FOLDER_MODE)?;
            store.owner.apply_to_folder(&folder)?;
        }
        files::sync_folder(&store.folder)?;
        Ok(store)
    }

    /// `<target>/<site>`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The pool of content-addressed files, laid out as Moodle's own.
    pub fn pool(&self) -> PathBuf {
        self.folder.join(layout::POOL)
    }

    /// Where files are put whose content does not match their name.
    pub fn damaged(&self) -> PathBuf {
        self.folder.join(layout::DAMAGED)
    }

    /// Who owns what the store makes.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// The lock that every command which changes the store holds; `None` if another process has it.
    pub fn try_lock(&self) -> Result<Option<Lock>> {
        Lock::try_hold(&self.folder, Mode::Exclusive)
    }

    /// Removes what interrupted runs left half made. Returns the names of what was removed.
    /// The caller shows by `_site_lock` that no run is at work on it.
    pub fn clean_partials(&self, _site_lock: &Lock) -> Result<Vec<String>> {
        let listing = self.backups()?;
        let mut removed = Vec::new();
        for name in listing.partial {
            layout::remove_tree(&self.folder.join(&name))?;
            removed.push(name);
        }
        if !removed.is_empty() {
            files::sync_folder(&self.folder)?;
        }
        Ok(removed)
    }
}

impl Owner {
    fn root_and(group: &str, log: &Log) -> Owner {
        let uid = Uid::effective().as_raw();
        match Group::from_name(group) {
            Ok(Some(group)) => Owner { uid, gid: group.gid.as_raw() },
            _ => {
                log.detail(format!("there is no group {group:?} here: the backups are open to root alone"));
                Owner { uid, gid: Gid::effective().as_raw() }
            }
        }
    }

    /// User id.
    pub fn uid(self) -> u32 {
        self.uid
    }

    /// Group id.
    pub fn gid(self) -> u32 {
        self.gid
    }

    /// Gives a folder of the store its owner and mode.
    pub fn apply_to_folder(self, folder: &Path) -> Result<()> {
        self.apply(folder, layout::FOLDER_MODE)
    }

    /// Gives a file of the store its owner and mode.
    pub fn apply_to_file(self, file: &Path) -> Result<()> {
        self.apply(file, layout::FILE_MODE)
    }

    /// Touches only what is not right yet: the file may be shared with a published backup.
    fn apply(self, path: &Path, mode: u32) -> Result<()> {
        let set = || -> std::io::Result<()> {
            let meta = std::fs::symlink_metadata(path)?;
            if (meta.uid(), meta.gid()) != (self.uid, self.gid) {
                std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid))?;
            }
            if meta.mode() & 0o7777 != mode && !meta.is_symlink() {
                std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?;
            }
            Ok(())
        };
        set().or_fault(|| Fault::failed(format!("cannot set owner and mode of {}", path.display())))
    }
}

/// `<target>/<site>`, for a site name that is one plain name.
fn site_folder(target: &Path, site_name: &str) -> Result<PathBuf> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if site_name.is_empty() || site_name.starts_with('.') || site_name.len() > 100 || !site_name.chars().all(plain) {
        return Err(Fault::unfit(format!("{site_name:?} cannot be the name of a site"))
            .hint(
                "[site] name may have letters, digits, dots, dashes and underscores, up to 100, and begin with no dot",
            )
            .into());
    }
    if !target.is_dir() {
        return Err(Fault::unfit(format!("the target {} is not there", target.display()))
            .hint("mount it, or correct [target] path in the settings")
            .into());
    }
    Ok(target.join(site_name))
}
