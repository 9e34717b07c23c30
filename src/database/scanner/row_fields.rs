//! The values of a row: collected over the borders of buffers, then taken out of the form in which the dump has them.

use super::sink::Syntax;
use super::{EachRow, TableRows};

/// How much of a value is kept, as it stands in the dump.
pub const LONGEST: usize = 1 << 20;

/// Collects the wanted fields of a row.
pub struct RowFields {
    syntax: Syntax,
    raw: Vec<Vec<u8>>,
    each: EachRow<'static>,
}

impl std::fmt::Debug for RowFields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowFields").field("syntax", &self.syntax).finish_non_exhaustive()
    }
}

impl RowFields {
    pub fn new(table: TableRows, syntax: Syntax) -> Self {
        RowFields { syntax, raw: vec![Vec::new(); table.columns.len()], each: table.each }
    }

    /// A part of a field.
    pub fn push(&mut self, column: usize, part: &[u8]) {
        let raw = &mut self.raw[column];
        let room = LONGEST.saturating_sub(raw.len());
        raw.extend_from_slice(&part[..part.len().min(room)]);
    }

    /// The row is over: hands on its values.
    pub fn end_row(&mut self) {
        let take = match self.syntax {
            Syntax::Sql => in_sql,
            Syntax::Copy => in_copy,
        };
        let values: Vec<_> = self.raw.iter().map(|raw| take(raw)).collect();
        (self.each)(&values);
        self.raw.iter_mut().for_each(Vec::clear);
    }
}

/// Values as `mariadb-dump` writes them: NULL, numbers, `'text'`, `_binary 'bytes'`, `0x` and digits.
fn in_sql(raw: &[u8]) -> Option<Vec<u8>> {
    if raw.is_empty() || raw == b"NULL" {
        return None;
    }
    let raw = raw.strip_prefix(b"_binary").map_or(raw, <[u8]>::trim_ascii_start);
    if let Some(text) = raw.strip_prefix(b"'") {
        let escape = |byte| match byte {
            b'0' => 0,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'b' => 8,
            b'Z' => 26,
            other => other,
        };
        return Some(unquoted(text, escape));
    }
    let digits = raw.strip_prefix(b"0x").filter(|digits| digits.len() % 2 == 0);
    let bytes = digits.and_then(|digits| {
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        digits.chunks_exact(2).map(pair).collect()
    });
    Some(bytes.unwrap_or_else(|| raw.to_vec()))
}

/// What stands up to the quote that is not doubled.
fn unquoted(text: &[u8], escape: impl Fn(u8) -> u8) -> Vec<u8> {
    let mut bytes = text.iter().copied().peekable();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => plain.extend(bytes.next().map(&escape)),
            b'\'' if bytes.next_if_eq(&b'\'').is_none() => break,
            byte => plain.push(byte),
        }
    }
    plain
}

/// Values as COPY writes them (the manual's page of COPY, text format).
fn in_copy(raw: &[u8]) -> Option<Vec<u8>> {
    if raw == b"\\N" {
        return None;
    }
    let mut bytes = raw.iter().copied();
    let mut plain = Vec::with_capacity(raw.len());
    while let Some(byte) = bytes.next() {
        plain.extend(match byte {
            b'\\' => bytes.next().map(|byte| match byte {
                b'b' => 8,
                b'f' => 12,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'v' => 11,
                other => other,
            }),
            byte => Some(byte),
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_out_of_sql() {
        let take = |raw: &str| in_sql(raw.as_bytes()).map(|value| String::from_utf8_lossy(&value).into_owned());
        assert_eq!(take("NULL"), None);
        assert_eq!(take("-12.50").as_deref(), Some("-12.50"));
        assert_eq!(take(r"'it\'s ''so'', a\\b\n'").as_deref(), Some("it's 'so', a\\b\n"));
        assert_eq!(take("_binary 'x'").as_deref(), Some("x"));
        assert_eq!(take("0x4142").as_deref(), Some("AB"));
        assert_eq!(take("''").as_deref(), Some(""));
    }

    #[test]
    fn values_come_out_of_copy() {
        let take = |raw: &str| in_copy(raw.as_bytes()).map(|value| String::from_utf8_lossy(&value).into_owned());
        assert_eq!(take(r"\N"), None);
        assert_eq!(take("").as_deref(), Some(""));
        assert_eq!(take(r"a\tb\\N").as_deref(), Some("a\tb\\N"));
    }
}
