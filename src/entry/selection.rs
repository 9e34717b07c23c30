//! Which entries of a tree are wanted, by their paths. Knows no patterns.

use super::lies_below;

/// All of a tree, or some files and folders of it, folders with all that is in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    paths: Option<Vec<Vec<u8>>>,
}

impl Selection {
    /// Everything.
    pub fn all() -> Self {
        Selection { paths: None }
    }

    /// These paths, relative to the root of the tree; an empty one is the root, and so everything.
    pub fn of(paths: Vec<Vec<u8>>) -> Self {
        Selection { paths: Some(paths) }
    }

    /// Whether an entry is wanted.
    pub fn wants(&self, path: &[u8]) -> bool {
        self.paths.as_ref().is_none_or(|paths| paths.iter().any(|wanted| path == wanted || lies_below(path, wanted)))
    }

    /// Whether something wanted lies in this folder, or it is wanted itself.
    pub fn wants_in(&self, folder: &[u8]) -> bool {
        self.wants(folder) || self.paths.iter().flatten().any(|wanted| lies_below(wanted, folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_wanted_with_all_in_it_and_the_way_to_it_is_known() {
        let some = Selection::of(vec![b"lang/de".to_vec(), b"config.php".to_vec()]);
        assert!(some.wants(b"lang/de") && some.wants(b"lang/de/a/b") && some.wants(b"config.php"));
        assert!(!some.wants(b"lang") && !some.wants(b"lang/den") && !some.wants(b""));
        assert!(some.wants_in(b"lang") && some.wants_in(b"") && some.wants_in(b"lang/de/a"));
        assert!(!some.wants_in(b"lan") && !some.wants_in(b"lang/fr"));
        assert!(Selection::all().wants(b"x") && Selection::of(vec![vec![]]).wants(b"x"));
        assert!(!Selection::of(vec![]).wants(b"x"));
    }
}
