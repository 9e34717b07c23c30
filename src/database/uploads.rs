//! Rows of Moodle's table of files: which names a content has had, and which contents a name. Knows no dump and no pool.

use super::table::{Row, text};

/// The table, without its prefix.
pub const TABLE: &str = "files";

/// What is taken of a row.
pub const COLUMNS: [&str; 9] =
    ["contenthash", "contextid", "component", "filearea", "filepath", "filename", "filesize", "author", "timemodified"];

/// A file as Moodle knows it: the columns of its table of files (lib/db/install.xml).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upload {
    /// SHA-1 of its content, in hexadecimal digits.
    pub contenthash: String,
    /// Number of the context it belongs to: a course, an activity, a user.
    pub contextid: String,
    /// The plugin it belongs to: `mod_resource`.
    pub component: String,
    /// The plugin's own division: `content`.
    pub filearea: String,
    /// The folder that it lies in there, with a slash at both ends.
    pub filepath: String,
    /// The name that it was uploaded under.
    pub filename: String,
    /// Its size in bytes.
    pub filesize: u64,
    /// Who made it, as the uploader said.
    pub author: String,
    /// When it was last changed, in seconds since 1970.
    pub timemodified: i64,
}

impl Upload {
    /// The file of a row with [`COLUMNS`]; `None` for folders, which have rows too.
    pub fn from_row(row: &Row) -> Option<Self> {
        let field = |number: usize| row.get(number).map(text).unwrap_or_default();
        let upload = Upload {
            contenthash: field(0),
            contextid: field(1),
            component: field(2),
            filearea: field(3),
            filepath: field(4),
            filename: field(5),
            filesize: field(6).parse().unwrap_or_default(),
            author: field(7),
            timemodified: field(8).parse().unwrap_or_default(),
        };
        (upload.filename != ".").then_some(upload)
    }

    /// Whether it is a copy that a form was filled in with, and that Moodle deletes after some days.
    pub fn is_draft(&self) -> bool {
        self.filearea == "draft"
    }
}
