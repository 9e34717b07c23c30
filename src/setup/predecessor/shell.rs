//! Reads a settings file of the Moodle Backup Scripts: assignments in the shell's language, taken apart and never run.

use std::collections::BTreeMap;

/// What such a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignments {
    /// Names and values; of a name that is set twice the last value counts.
    pub values: BTreeMap<String, String>,
    /// Lines that are no plain assignments, by number, with what was not understood.
    pub strange: Vec<(usize, String)>,
}

/// Takes a file apart.
pub fn read(text: &str) -> Assignments {
    let mut found = Assignments::default();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let mut logical = line.to_owned();
        // A value may go on in the next line, behind a backslash.
        while goes_on(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, more)) => logical.push_str(more.trim_start()),
                None => break,
            }
        }
        let logical = logical.trim();
        if logical.is_empty() || logical.starts_with('#') {
            continue;
        }
        match assignment(logical, &found.values) {
            Ok((name, value)) => {
                found.values.insert(name, value);
            }
            Err(why) => found.strange.push((number + 1, why)),
        }
    }
    found
}

/// Whether a line ends with a backslash that joins the next to it: one that is not itself escaped, nor in a comment.
fn goes_on(line: &str) -> bool {
    let (mut quote, mut before) = (None, ' ');
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '#') if before.is_whitespace() => return false,
            (None | Some('"'), '\\') if chars.next().is_none() => return true,
            // Not one in the shell, but it is what whoever wrote it meant.
            (Some('\''), '\\') if chars.as_str().is_empty() => return true,
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
        before = c;
    }
    false
}

/// `name=value`, perhaps after `export`.
fn assignment(line: &str, known: &BTreeMap<String, String>) -> Result<(String, String), String> {
    let line = ["export ", "readonly ", "declare "].iter().find_map(|word| line.strip_prefix(word)).unwrap_or(line);
    let (name, rest) = line.split_once('=').ok_or("it is no assignment")?;
    let is_name = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return Err("it is no assignment".into());
    }
    Ok((name.to_owned(), value(rest, known)?))
}

/// A value of quoted and plain parts, one behind the other.
fn value(text: &str, known: &BTreeMap<String, String>) -> Result<String, String> {
    let mut value = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => loop {
                match chars.next().ok_or("a quote is not closed")? {
                    '\'' => break,
                    other => value.push(other),
                }
            },
            '"' => loop {
                match chars.next().ok_or("a quote is not closed")? {
                    '"' => break,
                    '\\' => match chars.next().ok_or("a quote is not closed")? {
                        escaped @ ('"' | '\\' | '$' | '`') => value.push(escaped),
                        other => value.extend(['\\', other]),
                    },
                    '$' => value.push_str(variable(&mut chars, known)?),
                    '`' => return Err("it would run a command".into()),
                    other => value.push(other),
                }
            },
            '$' => value.push_str(variable(&mut chars, known)?),
            '`' => return Err("it would run a command".into()),
            '\\' => value.extend(chars.next()),
            // What follows is another command, or a comment.
            ';' | ' ' | '\t' => {
                let rest: String = chars.collect();
                let rest = rest.trim_start();
                return match rest.is_empty() || rest.starts_with('#') {
                    true => Ok(value),
                    false => Err(format!("there is more than an assignment: {rest}")),
                };
            }
            '(' | ')' | '|' | '&' | '<' | '>' => return Err("it is more than a plain value".into()),
            other => value.push(other),
        }
    }
    Ok(value)
}

/// `$name` or `${name}`, of a value that was set before.
fn variable<'a>(
    chars: &mut std::iter::Peekable<std::str::Chars>,
    known: &'a BTreeMap<String, String>,
) -> Result<&'a str, String> {
    let braced = chars.next_if_eq(&'{').is_some();
    let mut name = String::new();
    while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
        name.push(c);
    }
    if braced && chars.next() != Some('}') || name.is_empty() {
        return Err("it would run a command, or is more than a plain value".into());
    }
    known.get(&name).map(String::as_str).ok_or_else(|| format!("the value of ${name} is not in this file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_however_they_are_quoted() {
        let text = "#!/bin/bash\n# where to\nparent='/srv/my backup'\nname=\"moodle\"   # a comment\nuuid=1234-ABCD\n\
                    both=\"${parent}/$name\"\nexport mixed='a'\"b\"c\nlist='one;'\\\n  'two;'\\\n'three'\nquote='it'\\''s'\n\
                    escaped=\"a\\\"b\\$c\"\nempty=\n";
        let found = read(text);
        assert_eq!(found.strange, []);
        let expected = [
            ("parent", "/srv/my backup"),
            ("name", "moodle"),
            ("uuid", "1234-ABCD"),
            ("both", "/srv/my backup/moodle"),
            ("mixed", "abc"),
            ("list", "one;two;three"),
            ("quote", "it's"),
            ("escaped", "a\"b$c"),
            ("empty", ""),
        ];
        for (name, value) in expected {
            assert_eq!(found.values.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert_eq!(found.values.len(), expected.len());
    }

    #[test]
    fn comments_end_with_their_lines() {
        let found = read("# one \\\na=1 # two \\\nb='#' \\\n\nc=\"x#y\"\\\n'z'\nd='e\\\\'\n");
        let values: Vec<(&str, &str)> = found.values.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(values, [("a", "1"), ("b", "#"), ("c", "x#yz"), ("d", "e\\\\")], "{found:?}");
    }

    #[test]
    fn what_would_run_something_is_not_understood() {
        let text =
            "a=$(touch /tmp/x)\nb=`id`\nc=\"$(id)\"\nif true; then\nd=1; rm -rf /\ne=$UNKNOWN\nf='open\ng=(1 2)\n";
        let found = read(text);
        assert_eq!(found.values, BTreeMap::new());
        assert_eq!(found.strange.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
