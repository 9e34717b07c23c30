//! A backup that is being made: `.partial-<label>/`. It becomes a backup by [`Draft::seal`] only.

use super::{Label, Owner, Store, layout};
use crate::error::{Fault, OrFault, Result};
use crate::sys::files::{self, FileSystem};
use std::path::{Path, PathBuf};

/// A backup that is being made. Dropping it removes it.
#[derive(Debug)]
pub struct Draft {
    pub(super) site_folder: PathBuf,
    pub(super) owner: Owner,
    pub(super) label: Label,
    path: PathBuf,
    /// Watched from before the first file is written.
    pub(super) file_system: FileSystem,
    pub(super) published: bool,
}

impl Store {
    /// A name for a run that begins now.
    pub fn new_label(&self) -> Label {
        let exists = |name: String| std::fs::symlink_metadata(self.folder.join(name)).is_ok();
        Label::new(crate::sys::time::now(), |name| {
            exists(name.to_owned())
                || exists(format!("{}{name}", layout::PARTIAL))
                || exists(format!("{}{name}", layout::REMOVING))
        })
    }

    /// Begins a backup.
    pub fn draft(&self, label: Label) -> Result<Draft> {
        let file_system = FileSystem::watch(&self.folder)?;
        let path = self.folder.join(format!("{}{label}", layout::PARTIAL));
        std::fs::create_dir(&path).or_fault(|| Fault::failed(format!("cannot make the folder {}", path.display())))?;
        let (site_folder, owner) = (self.folder.clone(), self.owner);
        let draft = Draft { site_folder, owner, label, path, file_system, published: false };
        self.owner.apply_to_folder(draft.path())?;
        for folder in ["database", layout::DIRECTORIES, layout::MOODLEDATA, layout::INDEX] {
            draft.folder(folder)?;
        }
        Ok(draft)
    }
}

impl Draft {
    /// Where it lies now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it will lie once it is sealed.
    pub fn final_path(&self) -> PathBuf {
        self.site_folder.join(self.label.as_str())
    }

    /// Its name.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// The path of a file in it, by its name in the layout.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// A folder in it, made if need be.
    pub fn folder(&self, name: impl AsRef<Path>) -> Result<PathBuf> {
        let folder = self.path.join(name);
        files::make_folders(&folder, layout::FOLDER_MODE)?;
        Ok(folder)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published {
            // What stays behind has a name that nobody takes for a backup, and the next run removes it.
            let _ = layout::remove_tree(&self.path);
        }
    }
}
