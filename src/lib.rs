//! Backs up a whole Moodle site and brings it back. The library exists for the binary and its tests;
//! its layers, from the top down, are drawn in `docs/design.md` and kept by `tests/layers.rs`.
//! This file holds the list of modules only.

pub mod run;

pub mod cli;
pub mod report;

pub mod backup;
pub mod export;
pub mod extract;
pub mod prune;
pub mod restore;
pub mod setup;
pub mod verify;

pub mod hooks;
pub mod preflight;
pub mod undo;
pub mod window;

pub mod archive;
pub mod database;
pub mod git;
pub mod moodle;
pub mod pool;
pub mod retention;
pub mod store;
pub mod tree;

pub mod entry;
pub mod hashes;
pub mod settings;

pub mod error;
pub mod sys;
