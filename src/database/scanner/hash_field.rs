//! One field of a row of the files table: collected over the borders of buffers, then taken for a hash, for NULL, or
//! for something that should not be there.

use super::FilesTable;
use super::sink::Syntax;

/// The column of the files table that holds the SHA-1 of the content, as 40 hexadecimal digits (lib/db/install.xml).
pub const COLUMN: &str = "contenthash";

/// No form of a hash is longer: `_binary '` and 40 digits, or `0x` and 80.
const LONGEST: usize = 96;

/// What a field holds.
enum Content {
    Hash([u8; 20]),
    Null,
    Malformed,
}

/// Collects the field that holds the hash.
#[derive(Debug)]
pub struct HashField {
    files: FilesTable,
    syntax: Syntax,
    raw: Vec<u8>,
    pub null: u64,
    pub malformed: u64,
}

impl HashField {
    pub fn new(files: FilesTable, syntax: Syntax) -> Self {
        HashField { files, syntax, raw: Vec::with_capacity(LONGEST + 1), null: 0, malformed: 0 }
    }

    /// A part of the field, as it stands in the dump.
    pub fn push(&mut self, part: &[u8]) {
        let room = (LONGEST + 1).saturating_sub(self.raw.len());
        self.raw.extend_from_slice(&part[..part.len().min(room)]);
    }

    /// The row is over: hands on its hash. A row without such a field has none.
    pub fn end_row(&mut self) {
        let content = match self.syntax {
            Syntax::Sql => in_sql(&self.raw),
            Syntax::Copy => in_copy(&self.raw),
        };
        match content {
            Content::Hash(hash) => (self.files.each)(hash),
            Content::Null => self.null += 1,
            Content::Malformed => self.malformed += 1,
        }
        self.raw.clear();
    }
}

fn in_sql(raw: &[u8]) -> Content {
    if raw == b"NULL" {
        return Content::Null;
    }
    let raw = raw.strip_prefix(b"_binary").map_or(raw, <[u8]>::trim_ascii_start);
    let quoted = raw.strip_prefix(b"'").and_then(|rest| rest.strip_suffix(b"'"));
    // A column of a binary character set is dumped as the hexadecimal form of its text.
    let decoded: Option<[u8; 40]> = raw.strip_prefix(b"0x").and_then(|digits| from_hex(digits, false));
    hash(decoded.as_ref().map(<[u8; 40]>::as_slice).or(quoted).unwrap_or_default())
}

fn in_copy(raw: &[u8]) -> Content {
    if raw == b"\\N" { Content::Null } else { hash(raw) }
}

/// Moodle names files in lower case; another case is another name.
fn hash(text: &[u8]) -> Content {
    from_hex(text, true).map_or(Content::Malformed, Content::Hash)
}

/// The bytes that `digits` stand for, if they are exactly so many digits.
fn from_hex<const N: usize>(digits: &[u8], lower_case_only: bool) -> Option<[u8; N]> {
    if digits.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' if !lower_case_only => Some(byte - b'A' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}
