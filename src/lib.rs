//! Backs up a whole Moodle site and brings it back. The library exists for the binary and its tests;
//! its layers, from the top down, are drawn in `docs/design.md` and kept by `tests/layers.rs`.
//! This file holds the list of modules only.

pub mod error;
pub mod run;
pub mod sys;
