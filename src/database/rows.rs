//! The answers of the query clients, taken apart into rows: MariaDB's XML and PostgreSQL's COPY text. Both tell NULL
//! from any text. Pure: bytes in, rows out.

/// A row; `None` is NULL. What is not UTF-8 is shown with replacement characters.
pub type Row = Vec<Option<String>>;

/// What comes before the name of a field.
const FIELD: &[u8] = b"<field name=\"";

/// The fields in one `<row>` of the XML of `mariadb --xml` (up to, not with, `</row>`). The client writes NUL bytes
/// as blanks there; ask for HEX(…) where they matter.
pub fn from_xml(row: &[u8]) -> Row {
    let mut fields = Vec::new();
    let mut rest = row;
    while let Some(start) = memchr::memmem::find(rest, FIELD) {
        rest = &rest[start + FIELD.len()..];
        // Quotes in the name are written &quot;
        let Some(end) = memchr::memchr(b'"', rest) else { break };
        rest = &rest[end + 1..];
        if rest.first() != Some(&b'>') {
            fields.push(None);
            continue;
        }
        rest = &rest[1..];
        let end = memchr::memchr(b'<', rest).unwrap_or(rest.len());
        fields.push(Some(unescape_xml(&rest[..end])));
        rest = &rest[end..];
    }
    fields
}

fn unescape_xml(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    if !text.contains('&') {
        return text.into_owned();
    }
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

/// The fields of one line of `COPY … TO STDOUT` (without its line end).
pub fn from_copy(line: &[u8]) -> Row {
    line.split(|byte| *byte == b'\t').map(copy_field).collect()
}

fn copy_field(field: &[u8]) -> Option<String> {
    if field == b"\\N" {
        return None;
    }
    let mut plain = Vec::with_capacity(field.len());
    let mut bytes = field.iter();
    while let Some(&byte) = bytes.next() {
        let byte = match (byte, byte == b'\\') {
            (byte, false) => byte,
            (_, true) => match bytes.next() {
                Some(b'b') => 8,
                Some(b'f') => 12,
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'v') => 11,
                Some(&other) => other,
                None => b'\\',
            },
        };
        plain.push(byte);
    }
    Some(String::from_utf8_lossy(&plain).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn xml_rows_tell_null_from_its_name_and_undo_escapes() {
        let row = b"\n\t<field name=\"a&quot;b\">x&lt;&amp;amp;&gt;&quot;\n</field>\n\t<field name=\"n\" xsi:nil=\"true\" />\n\
                    \t<field name=\"c\">NULL</field>\n\t<field name=\"d\"></field>\n  ";
        assert_eq!(from_xml(row), [some("x<&amp;>\"\n"), None, some("NULL"), some("")]);
    }

    #[test]
    fn copy_lines_tell_null_from_its_name_and_undo_escapes() {
        assert_eq!(
            from_copy(b"1\t\\N\tNULL\ta\\tb\\\\c\\n\t"),
            [some("1"), None, some("NULL"), some("a\tb\\c\n"), some("")]
        );
    }
}
