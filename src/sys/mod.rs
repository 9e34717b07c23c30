//! Everything of the operating system, so that the layers above read as what they mean.
//! Knows nothing of Moodle, of databases or of backups.

pub mod commands;
#[cfg(feature = "failpoints")]
pub mod failpoint;
pub mod files;
pub mod folder_lock;
pub mod holders;
pub mod human;
pub mod kept;
pub mod limits;
pub mod lock;
pub mod log;
pub mod mounts;
pub mod paths;
pub mod priority;
pub mod privileges;
pub mod process;
pub mod random;
pub mod signals;
mod tap;
pub mod threads;
pub mod time;
pub mod wrap;
