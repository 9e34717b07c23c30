//! Text within the width of a terminal. Knows nothing of what stands in it.

use super::log::plain;

/// The width that all text keeps to, unless a single word is wider.
pub const WIDTH: usize = 80;

/// Wraps `text` behind `first`; further lines begin with as many spaces. Ends with a newline.
pub fn wrapped(first: &str, text: &str) -> String {
    let indent = width(first);
    let mut lines = vec![first.to_owned()];
    let mut used = indent;
    for word in plain(text).split(' ') {
        if used > indent && used + 1 + width(word) > WIDTH {
            lines.push(" ".repeat(indent));
            used = indent;
        }
        let Some(line) = lines.last_mut() else { continue };
        if used > indent {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += width(word);
    }
    lines.iter().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// How many columns a text takes.
pub fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_under_itself() {
        let text = wrapped("  - ", &"word ".repeat(20));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("  - word") && lines[0].len() <= WIDTH);
        assert!(lines[1].starts_with("    word"));
    }
}
