//! Hooks for a world: little scripts in its own folders, and ways to keep one waiting.

use std::fs;
use std::path::{Path, PathBuf};

use super::scratch::{set_mode, text};
use super::world::World;

/// A user that every Debian has, to run hooks as.
pub const HOOK_USER: &str = "backup";

/// Puts a hook into a folder of the world, such as `pre-job.d`: a shell script with this body.
pub fn add_hook(world: &World, phase: &str, name: &str, body: &str) -> PathBuf {
    let folder = world.root.join("etc/moodle-backup").join(phase);
    fs::create_dir_all(&folder).expect("a folder can be made");
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("a hook can be written");
    set_mode(&path, 0o755);
    path
}

/// A hook that waits until it is let go.
pub struct Gate {
    go: PathBuf,
}

impl Gate {
    /// Makes the runs of this world wait before they copy anything.
    pub fn before_job(world: &World) -> Self {
        let go = world.scratch().join("go");
        add_hook(world, "pre-job.d", "50-gate", &format!("while [ ! -e {} ]; do sleep 0.05; done", text(&go)));
        Gate { go }
    }

    /// Lets all go on, those that come later too.
    pub fn open(&self) {
        fs::write(&self.go, "").expect("a file can be written");
    }

    /// Makes those that come wait again.
    pub fn close(&self) {
        let _ = fs::remove_file(&self.go);
    }
}

/// Lines that hooks have written into a file of the world.
pub fn lines(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}
