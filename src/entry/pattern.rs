//! Patterns that people type to find files by their names, in whatever case. Pure; what is searched is not decided here.

use super::split;

const GLOB: [char; 3] = ['*', '?', '['];

/// What a file is called, or a part of it.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    glob: Option<glob::Pattern>,
    whole_path: bool,
}

impl Pattern {
    /// A text with `*`, `?` or `[…]` is the whole name, any other a part of it; where it has a slash, the path is meant. `*`
    /// stands for slashes too. Nothing is an error: names may have brackets of their own.
    pub fn new(text: &str) -> Pattern {
        let text = text.to_lowercase();
        let whole_path = text.contains('/');
        let glob = text.contains(GLOB).then(|| compiled(&text, whole_path)).flatten();
        Pattern { text, glob, whole_path }
    }

    /// Whether something with this path is meant; the path begins at the root.
    pub fn matches(&self, path: &[u8]) -> bool {
        let (folder, name) = split(path);
        let looked_at = String::from_utf8_lossy(if self.whole_path { path } else { name }).to_lowercase();
        // What lies in a folder is another thing than the folder: a part of a path must reach into the last name.
        let reaches = |at: usize| !self.whole_path || at + self.text.len() > lower_length(folder);
        looked_at.rfind(&self.text).is_some_and(reaches)
            || self.glob.as_ref().is_some_and(|glob| glob.matches(&looked_at))
    }
}

fn lower_length(folder: &[u8]) -> usize {
    // The slash behind it is of the folder.
    String::from_utf8_lossy(folder).to_lowercase().len()
}

fn compiled(text: &str, whole_path: bool) -> Option<glob::Pattern> {
    let text = match whole_path && !text.starts_with(['/', '*']) {
        true => format!("*/{text}"),
        false => text.to_owned(),
    };
    // Two of them are refused in some places, and mean no more than one.
    glob::Pattern::new(&text).or_else(|_| glob::Pattern::new(&text.replace("**", "*"))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Pattern::new(pattern).matches(path.as_bytes())
    }

    #[test]
    fn a_text_is_a_part_of_the_name_in_whatever_case() {
        for pattern in ["lecture3.pdf", "LECTURE", "3.p", "*.PDF", "lec*", "lecture?.pdf", "lecture[0-9].pdf", "*"] {
            assert!(matches(pattern, "/week 1/Lecture3.pdf"), "{pattern}");
        }
        for pattern in ["week2", "lecture", "*.pd", "ecture?.pdf", "lecture??.pdf"] {
            assert!(!matches(pattern, "/lecture/week1.pdf"), "{pattern}");
        }
        assert!(matches("übung", "/ÜBUNG 1.odt") && matches("*ü*.odt", "/Übung 1.odt"));
    }

    #[test]
    fn a_slash_means_the_path_up_to_the_name() {
        let folder = "/var/www/moodle/mod/Attendance";
        for pattern in ["mod/attendance", "/mod/att", folder, "mod/*", "*/moodle/*attend*", "/var/**/attendance"] {
            assert!(matches(pattern, folder), "{pattern}");
        }
        let inside = "/var/www/moodle/mod/attendance/version.php";
        assert!(!matches("mod/attendance", inside) && !matches(folder, inside));
        for pattern in ["mod/attendance/", "mod/attendance/*", "attendance/ver", "mod/*.php"] {
            assert!(matches(pattern, inside), "{pattern}");
        }
        assert!(!matches("od/*.php", inside), "a pattern begins where a name begins");
    }

    #[test]
    fn names_with_brackets_and_any_bytes_are_found() {
        assert!(matches("Essay [final].docx", "/essay [final].docx") && matches("essay [fin", "/essay [final].docx"));
        assert!(Pattern::new("caf?").matches(b"/caf\xe9") && Pattern::new("caf").matches(b"/caf\xe9"));
        assert!(matches("a**b", "/aXb"));
    }
}
