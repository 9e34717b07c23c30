//! What `export` has written.

use super::layout::{pair, wrapped};
use super::show::section;
use super::{Look, human};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What `export` prints at its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exported {
    /// Name of the site.
    pub site: String,
    /// The backup's name.
    pub backup: String,
    /// The moment that it shows.
    pub when: DateTime<Utc>,
    /// The file; `-` for standard output.
    pub to: String,
    /// Whether it is compressed.
    pub compressed: bool,
    /// Its size in bytes.
    pub bytes: u64,
    /// Size of the content before it was compressed.
    pub content_bytes: u64,
    /// Pool files in it.
    pub pool_files: u64,
    /// How long it took.
    pub took_seconds: f64,
    /// What it warned of.
    pub warnings: Vec<String>,
}

/// As text.
pub fn text(exported: &Exported, look: &Look) -> String {
    let head = format!("Backup {} of {} ({})", exported.backup, exported.site, look.minute(exported.when));
    let size = match exported.compressed {
        true => format!("{}, compressed from {}", human::bytes(exported.bytes), human::bytes(exported.content_bytes)),
        false => human::bytes(exported.bytes),
    };
    let mut text = wrapped("", &head);
    text += &pair("Written to", &exported.to);
    text += &pair("Size", &size);
    text += &pair("Files", &format!("{} of the pool", human::count(exported.pool_files, "file")));
    text += &pair("Took", &human::duration(exported.took_seconds));
    text + &section("Warnings", &exported.warnings, look)
}
