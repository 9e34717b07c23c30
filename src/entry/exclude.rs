//! What is left out of a tree. Patterns are anchored to the tree's root: Moodle's code has folders named `cache`,
//! `lang` and `backup` that are not what these names mean in moodledata, so a bare name never matches at any depth.
//! Which paths to leave out is not decided here.

use crate::error::{Fault, Result};
use std::collections::HashSet;

/// Paths and patterns that a walk leaves out, with all that lies below them.
#[derive(Clone, Debug, Default)]
pub struct Exclusions {
    paths: HashSet<Vec<u8>>,
    patterns: Vec<Vec<Vec<u8>>>,
}

impl Exclusions {
    /// Leaves nothing out.
    pub fn none() -> Self {
        Self::default()
    }

    /// Leaves out exactly this path, relative to the tree's root; no byte in it is special.
    pub fn add_path(&mut self, path: &[u8]) {
        let path: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
        if !path.is_empty() {
            self.paths.insert(path.join(&b'/'));
        }
    }

    /// Leaves out what matches a pattern as the administrator writes it: a path relative to the tree's root (a
    /// slash before it changes nothing), in which `*` stands for any part of one name. An error for an empty
    /// pattern, `.` and `..`, and for `**`, which would promise more than it does.
    pub fn add_pattern(&mut self, pattern: &str) -> Result<()> {
        let names: Vec<Vec<u8>> =
            pattern.split('/').filter(|name| !name.is_empty()).map(|name| name.as_bytes().to_vec()).collect();
        let unfit = |why: &str| {
            Fault::unfit(format!("the exclusion {pattern:?} {why}")).hint(
                "write the path as seen from the top of the tree, such as \"repository/big\"; * stands for a part of one name",
            )
        };
        if names.is_empty() {
            return Err(unfit("names nothing").into());
        }
        if names.iter().any(|name| name == b"." || name == b"..") {
            return Err(unfit("has a . or .. in it").into());
        }
        if pattern.contains("**") || pattern.contains('\0') {
            return Err(unfit("cannot be understood").into());
        }
        if pattern.contains('*') {
            self.patterns.push(names);
        } else {
            self.add_path(pattern.as_bytes());
        }
        Ok(())
    }

    /// Whether this very path is left out. What lies below it is never asked for, since walks do not get there.
    pub fn excludes(&self, path: &[u8]) -> bool {
        self.paths.contains(path) || self.patterns.iter().any(|pattern| matches_path(pattern, path))
    }
}

fn matches_path(pattern: &[Vec<u8>], path: &[u8]) -> bool {
    let mut names = path.split(|byte| *byte == b'/');
    pattern.iter().all(|part| names.next().is_some_and(|name| matches_name(part, name))) && names.next().is_none()
}

/// Whether a name is what stands between the `*` of a pattern, in this order, with anything for each `*`.
fn matches_name(pattern: &[u8], name: &[u8]) -> bool {
    let mut parts = pattern.split(|byte| *byte == b'*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts.filter(|part| !part.is_empty()) {
        let Some(at) = rest.windows(part.len()).position(|window| window == part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excludes(pattern: &str, path: &str) -> bool {
        let mut exclusions = Exclusions::none();
        exclusions.add_pattern(pattern).unwrap();
        exclusions.excludes(path.as_bytes())
    }

    #[test]
    fn patterns_are_anchored_and_a_star_stays_within_one_name() {
        assert!(excludes("cache", "cache") && excludes("/cache/", "cache"));
        assert!(!excludes("cache", "theme/cache") && !excludes("cache", "cache2"));
        assert!(excludes("repository/*/tmp", "repository/big/tmp"));
        assert!(!excludes("repository/*/tmp", "repository/a/b/tmp"));
        assert!(excludes("*.log", "a.log") && !excludes("*.log", "a/b.log") && !excludes("*.log", "a.log.1"));
        assert!(excludes("a*b*c", "axxbxbc") && excludes("a*b*c", "abc") && !excludes("a*b*c", "acb"));
        assert!(!excludes("ab*ba", "aba"), "the two ends may not overlap");
    }

    #[test]
    fn exact_paths_know_no_patterns() {
        let mut exclusions = Exclusions::none();
        exclusions.add_path(b"odd*name/");
        assert!(exclusions.excludes(b"odd*name") && !exclusions.excludes(b"oddXname"));
    }

    #[test]
    fn a_pattern_that_cannot_be_meant_is_refused() {
        for pattern in ["", "/", "../up", "a/./b", "**/cache"] {
            assert!(Exclusions::none().add_pattern(pattern).is_err(), "{pattern:?}");
        }
    }
}
