//! The answers of the query clients and the rows in dumps, taken apart: MariaDB's XML and the values of its INSERT, and
//! PostgreSQL's COPY text. All tell NULL from any text. Pure: bytes in, rows out.

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

/// The rows of `(1,'text',NULL),(2,'more',0x41);`, as MariaDB's dump client writes them.
pub fn from_insert(values: &[u8], each: &mut dyn FnMut(Row)) {
    let mut rest = values;
    while let Some(open) = memchr::memchr(b'(', rest) {
        rest = &rest[open + 1..];
        let mut row = Row::new();
        loop {
            let (value, after) = insert_value(rest);
            row.push(value);
            match after.split_first() {
                Some((b',', after)) => rest = after,
                Some((_, after)) => {
                    rest = after;
                    break;
                }
                None => return,
            }
        }
        each(row);
    }
}

/// A value, and what follows it.
fn insert_value(text: &[u8]) -> (Option<String>, &[u8]) {
    let text = text.strip_prefix(b"_binary ").unwrap_or(text);
    if let Some(quoted) = text.strip_prefix(b"'") {
        let (plain, rest) = unescape_insert(quoted);
        return (Some(String::from_utf8_lossy(&plain).into_owned()), rest);
    }
    let end = text.iter().position(|byte| matches!(byte, b',' | b')')).unwrap_or(text.len());
    let (value, rest) = text.split_at(end);
    if value == b"NULL" {
        return (None, rest);
    }
    let hexadecimal = value.strip_prefix(b"0x").and_then(|digits| {
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect::<Option<Vec<u8>>>()
    });
    (Some(String::from_utf8_lossy(hexadecimal.as_deref().unwrap_or(value)).into_owned()), rest)
}

/// The text up to the quote that ends it, and what follows that.
fn unescape_insert(quoted: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut plain = Vec::new();
    let mut at = 0;
    while let Some(&byte) = quoted.get(at) {
        let next = quoted.get(at + 1).copied();
        let (byte, taken) = match (byte, next) {
            (b'\\', Some(b'0')) => (0, 2),
            (b'\\', Some(b'n')) => (b'\n', 2),
            (b'\\', Some(b'r')) => (b'\r', 2),
            (b'\\', Some(b't')) => (b'\t', 2),
            (b'\\', Some(b'Z')) => (26, 2),
            (b'\\', Some(other)) => (other, 2),
            (b'\'', Some(b'\'')) => (b'\'', 2),
            (b'\'', _) => return (plain, &quoted[at + 1..]),
            (byte, _) => (byte, 1),
        };
        plain.push(byte);
        at += taken;
    }
    (plain, &[])
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

    #[test]
    fn inserted_rows_tell_null_from_its_name_and_undo_escapes() {
        let mut rows = Vec::new();
        let values = b" (1,NULL,'NULL','a\\'b''c\\\\d\\n(,);',''),\n(-2,0x4142,_binary 'x',1.5e3,NULL);";
        from_insert(values, &mut |row| rows.push(row));
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0], [some("1"), None, some("NULL"), some("a'b'c\\d\n(,);"), some("")]);
        assert_eq!(rows[1], [some("-2"), some("AB"), some("x"), some("1.5e3"), None]);
    }
}
