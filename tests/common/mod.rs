//! What several test files need. No test of its own.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The project's folder.
pub fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Compares with a file below `tests/golden/`; with `UPDATE_GOLDEN` set, writes it.
pub fn golden(name: &str, actual: &str) {
    stored(&project().join("tests/golden").join(name), actual);
}

/// The same for any file of the project that is made from its tables.
pub fn stored(path: &Path, actual: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        actual,
        expected,
        "{} differs; UPDATE_GOLDEN=1 writes it anew, then read the difference",
        path.display()
    );
}

/// The paths of all values: `backups[].name`.
pub fn json_paths(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
            found.insert(path.clone());
            json_paths(value, &path, found);
        }),
        Value::Array(items) => items.iter().for_each(|item| json_paths(item, &format!("{at}[]"), found)),
        _ => {}
    }
}

/// A section of `docs/json.md`: what it explains, and its example.
pub fn documented(document: &str, title: &str) -> (BTreeSet<String>, String) {
    let section = document.split("\n## ").find(|section| section.starts_with(title));
    let section = section.unwrap_or_else(|| panic!("docs/json.md has no section {title}"));
    let keys = section.lines().filter_map(|line| line.strip_prefix("- `")?.split_once('`'));
    let example = section.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
    (keys.map(|(key, _)| key.to_owned()).collect(), example.to_owned())
}
