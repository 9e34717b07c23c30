//! Names of tables and columns as the two engines write them, taken out of their quotes.

use memchr::memchr;

/// The name that `text` begins with, in backquotes, and what follows it.
pub fn in_backquotes(text: &[u8]) -> Option<(String, &[u8])> {
    let mut name = Vec::new();
    let mut rest = text.trim_ascii_start().strip_prefix(b"`")?;
    loop {
        let end = memchr(b'`', rest)?;
        name.extend_from_slice(&rest[..end]);
        rest = &rest[end + 1..];
        if rest.first() != Some(&b'`') {
            return Some((String::from_utf8_lossy(&name).into_owned(), rest));
        }
        name.push(b'`');
        rest = &rest[1..];
    }
}

/// The columns in the body of a CREATE TABLE: the server writes each on a line of its own that begins with its name.
pub fn column_lines(body: &[u8]) -> impl Iterator<Item = String> + '_ {
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_start);
    lines.filter(|line| line.starts_with(b"`")).filter_map(|line| Some(in_backquotes(line)?.0))
}

/// The names in a list like ` (`a`,`b`)`.
pub fn all_in_backquotes(list: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = list;
    while let Some(start) = memchr(b'`', rest) {
        let Some((name, after)) = in_backquotes(&rest[start..]) else { break };
        names.push(name);
        rest = after;
    }
    names
}

/// Whether the byte can stand within a name that is not quoted.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The name that `text` begins with, quoted or not, and what follows it.
fn plain_or_quoted(text: &[u8]) -> (String, &[u8]) {
    let mut plain = Vec::new();
    let Some(mut rest) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|byte| !is_word(*byte) && *byte != b'$').unwrap_or(text.len());
        return (String::from_utf8_lossy(&text[..end]).into_owned(), &text[end..]);
    };
    while let Some(end) = memchr(b'"', rest) {
        plain.extend_from_slice(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix(b"\"") {
            Some(after) => rest = after,
            None => break,
        }
        plain.push(b'"');
    }
    (String::from_utf8_lossy(&plain).into_owned(), rest)
}

/// The names in `a.b.c`, and what follows.
pub fn path(text: &[u8]) -> (Vec<String>, &[u8]) {
    let (first, mut rest) = plain_or_quoted(text);
    let mut names = vec![first];
    while let Some(after) = rest.strip_prefix(b".") {
        let (next, after) = plain_or_quoted(after);
        names.push(next);
        rest = after;
    }
    (names, rest)
}

/// The names in `a, b, c)`.
pub fn list(text: &[u8]) -> Vec<String> {
    let (first, mut rest) = plain_or_quoted(text);
    let mut names = vec![first];
    while let Some(after) = rest.strip_prefix(b", ") {
        let (next, after) = plain_or_quoted(after);
        names.push(next);
        rest = after;
    }
    names
}
