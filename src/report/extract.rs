//! What `restore` brought back into a folder.

use super::layout::{Side, Table, item, pair, wrapped};
use super::show::section;
use super::{Look, human};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What `restore --to` prints at its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Extracted {
    /// Name of the site.
    pub site: String,
    /// The backup's name.
    pub backup: String,
    /// The moment that it shows.
    pub when: DateTime<Utc>,
    /// The folder where everything is now; the file, for a table; `-` for standard output.
    pub to: String,
    /// What was brought back.
    pub parts: Vec<Part>,
    /// With `--file`: the files that were found.
    pub files: Vec<File>,
    /// How long it took.
    pub took_seconds: f64,
    /// What it warned of: damage, and what could not be brought back.
    pub warnings: Vec<String>,
}

/// Something that was brought back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    /// What it is.
    pub name: String,
    /// Where it is now.
    pub path: String,
    /// Files in it, without folders; for a table: rows.
    pub entries: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A file that users uploaded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct File {
    /// SHA-1 of its content.
    pub contenthash: String,
    /// Where it is now; none if the pool has lost it.
    pub path: Option<String>,
    /// Its size in bytes.
    pub bytes: u64,
    /// Where Moodle had it.
    pub uses: Vec<Use>,
}

/// A use of a content in Moodle.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Use {
    /// The name that it was uploaded under.
    pub filename: String,
    /// The plugin.
    pub component: String,
    /// The plugin's division.
    pub filearea: String,
    /// Number of the context: a course, an activity, a user.
    pub contextid: String,
    /// What that is: a course by its names, a user or a context by its number.
    pub place: String,
    /// Who made it, as the uploader said.
    pub author: String,
    /// When it was last changed.
    pub changed: Option<DateTime<Utc>>,
}

/// As text.
pub fn text(extracted: &Extracted, look: &Look) -> String {
    let head = format!("Backup {} of {} ({})", extracted.backup, extracted.site, look.minute(extracted.when));
    let mut text = wrapped("", &head);
    text += &pair("To", &extracted.to);
    text += &pair("Took", &human::duration(extracted.took_seconds));
    if !extracted.parts.is_empty() {
        let is_table = extracted.parts.iter().all(|part| part.name.starts_with("table "));
        let mut table = Table::new(&[
            ("PART", Side::Left),
            (if is_table { "ROWS" } else { "FILES" }, Side::Right),
            ("SIZE", Side::Right),
            ("WHERE IT IS NOW", Side::Left),
        ]);
        for part in &extracted.parts {
            let bytes = human::bytes(part.bytes);
            table.row(vec![part.name.clone(), human::number(part.entries), bytes, part.path.clone()]);
        }
        text = text + "\n" + &table.text(look);
    }
    for file in &extracted.files {
        text += "\n";
        text += &wrapped("", file.path.as_deref().unwrap_or("lost: the pool does not have it any more"));
        text += &pair("Content", &format!("{}, {}", file.contenthash, human::bytes(file.bytes)));
        text.extend(file.uses.iter().map(|one| item(&used(one, look))));
    }
    text + &section("Warnings", &extracted.warnings, look)
}

fn used(one: &Use, look: &Look) -> String {
    let mut words = format!("{}, in {}/{} of {}", one.filename, one.component, one.filearea, one.place);
    if !one.author.is_empty() {
        words += &format!(", by {}", one.author);
    }
    if let Some(changed) = one.changed {
        words += &format!(", {}", look.minute(changed));
    }
    words
}
