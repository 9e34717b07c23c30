//! Where the program keeps its own things. Everything else is told by the settings.

use std::path::{Path, PathBuf};

/// The program's own folders, all below one root.
#[derive(Clone, Debug)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// The usual places; `MOODLE_BACKUP_ROOT` puts a folder before all of them, for tests and for chroots.
    pub fn from_environment() -> Self {
        let root = std::env::var_os("MOODLE_BACKUP_ROOT").unwrap_or_else(|| "/".into());
        Paths { root: root.into() }
    }

    /// The same places below another root.
    pub fn below(root: &Path) -> Self {
        Paths { root: root.to_path_buf() }
    }

    fn below_root(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// `/etc/moodle-backup`: settings and hooks.
    pub fn etc(&self) -> PathBuf {
        self.below_root("/etc/moodle-backup")
    }

    /// The settings file that is read when none is named.
    pub fn settings(&self) -> PathBuf {
        self.etc().join("settings.toml")
    }

    /// `/var/lib/moodle-backup`: what must survive a power cut (the state of a closed site).
    pub fn state(&self) -> PathBuf {
        self.below_root("/var/lib/moodle-backup")
    }

    /// The answers of a set-up that is under way, or was broken off.
    pub fn answers(&self) -> PathBuf {
        self.state().join("setup-answers.json")
    }

    /// `/var/log/moodle-backup`: one log a run.
    pub fn logs(&self) -> PathBuf {
        self.below_root("/var/log/moodle-backup")
    }

    /// `/run/moodle-backup`: what runs now.
    pub fn run(&self) -> PathBuf {
        self.below_root("/run/moodle-backup")
    }

    /// Where a run of the site with this dataroot notes what it is doing.
    pub fn activity(&self, dataroot: &Path) -> PathBuf {
        self.run().join(format!("{}.json", super::files::unique_name(dataroot)))
    }

    /// Where restores note what they have moved.
    pub fn restores(&self) -> PathBuf {
        self.state().join("restore")
    }

    /// The note of a restore of the site with this dataroot that is at work, or has died.
    pub fn restoring(&self, dataroot: &Path) -> PathBuf {
        self.restores().join(format!("{}.json", super::files::unique_name(dataroot)))
    }

    /// The note of what nobody needs any more of a restore of that site, until it is deleted.
    pub fn swept(&self, dataroot: &Path, id: &str) -> PathBuf {
        self.restores().join(format!("{}.{id}.swept.json", super::files::unique_name(dataroot)))
    }

    /// The note that a restore of that site had died and was undone, until one succeeds.
    pub fn undone(&self, dataroot: &Path) -> PathBuf {
        self.restores().join(format!("{}.undone", super::files::unique_name(dataroot)))
    }

    /// The note of a restore of that site that has succeeded, as long as what it set aside is kept.
    pub fn restored(&self, dataroot: &Path, id: &str) -> PathBuf {
        self.restores().join(format!("{}.{id}.done.json", super::files::unique_name(dataroot)))
    }

    /// The file by which runs on the site with this dataroot exclude each other. It is never removed: who waits for it
    /// would hold another one than who comes later.
    pub fn lock(&self, dataroot: &Path) -> PathBuf {
        self.state().join("locks").join(format!("{}.lock", super::files::unique_name(dataroot)))
    }

    /// Where a run of the site with this dataroot notes that it has begun, for as long as it has not ended.
    pub fn begun(&self, dataroot: &Path) -> PathBuf {
        self.state().join("begun").join(format!("{}.json", super::files::unique_name(dataroot)))
    }

    /// `/etc/systemd/system`: the administrator's units, and drop-ins of ours.
    pub fn units(&self) -> PathBuf {
        self.below_root("/etc/systemd/system")
    }

    /// `/etc/fstab`.
    pub fn fstab(&self) -> PathBuf {
        self.below_root("/etc/fstab")
    }

    /// The root itself; `/` on a real system.
    pub fn root(&self) -> &Path {
        &self.root
    }
}
