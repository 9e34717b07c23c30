//! What the black-box tests, the demo and the bench stand on: real database servers, a pocket Moodle that is served and
//! put under load, file systems of their own, and ways to compare what came back with what was there.
//!
//! Nothing here knows how the program works inside; it only starts the built binary. Everything that is started or
//! mounted ends with its owner, and with the test process if that should die (see `janitor`).
//!
//! Needs root, and the packages mariadb-server, postgresql, php-cli, php-mysql, php-pgsql, php-mbstring, php-xml.
//! Use it by `mod support;` and the names re-exported below.

#![allow(dead_code, unused_imports, reason = "each test binary uses a part of this")]

mod bit_rot;
mod by_hand;
mod database;
mod disk;
pub mod dumps;
mod fingerprint;
mod hooks;
mod http;
mod janitor;
mod load;
mod mariadb;
mod own_server;
mod person;
mod ports;
mod postgres;
mod process;
mod processes;
mod rows;
mod running;
mod scratch;
mod site;
mod target;
mod template;
mod terminal;
mod tls;
mod tree;
mod watch;
mod world;

pub use bit_rot::flip;
pub use by_hand::ByHand;
pub use database::{Connect, Database, Engine, Server};
pub use disk::{Disk, unmount};
pub use fingerprint::{Fingerprint, changes, fingerprint};
pub use hooks::{Gate, HOOK_USER, add_hook, lines};
pub use http::Response;
pub use janitor::finish;
pub use load::{Load, LoadOptions, LoadReport};
pub use mariadb::MariaDb;
pub use person::{Person, elsewhere, newcomer, number_of, script, without_xfs};
pub use ports::{Reserved, reserve};
pub use postgres::Postgres;
pub use process::{Daemon, command_as, owner_ids, succeed, wait_for};
pub use processes::{ProcessWatch, Seen, descendant, descendants};
pub use rows::{Snapshot, compare_snapshots, rows_compare, rows_snapshot};
pub use running::{Output, Running};
pub use scratch::{Scratch, text};
pub use site::{Layout, PocketSite, SiteBuilder, hashed_path};
pub use target::{FileSystem, MountedOver, TestTarget};
pub use terminal::Terminal;
pub use tree::{TreeCompare, tree_compare};
pub use watch::{Closed, ClosedWatch};
pub use world::{World, WorldBuilder};

/// The user that web servers and PHP run as.
pub const WEB_USER: &str = "www-data";

/// Panics with every difference on a line of its own, if there are any.
#[track_caller]
pub fn assert_same(what: &str, differences: Vec<String>) {
    assert!(differences.is_empty(), "{what}: {} differences\n{}", differences.len(), differences.join("\n"));
}
