//! Copies and archives of trees, on real file systems (ext4 on loop devices, and tmpfs). Needs root.

mod archives;
mod copies;
mod in_use;
mod pools;
mod trouble;
mod way_back;
mod world;
