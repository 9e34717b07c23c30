//! The layers of the library: imports go down only, and only certain files start programs or leave the process.
//! A newcomer who breaks one of these rules is told here which, and where the thing belongs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// From the bottom up. Modules of one layer may use each other only downward in this order as well.
const LAYERS: [&[&str]; 7] = [
    &["error", "sys"],
    &["hashes", "entry", "settings"],
    &["retention", "database", "git", "moodle", "pool", "tree", "archive", "store"],
    &["hooks", "undo", "window", "preflight"],
    &["prune", "export", "backup", "verify", "restore", "extract", "setup"],
    &["cli", "report"],
    &["run"],
];

/// All source files but those of unit tests.
fn sources() -> Vec<PathBuf> {
    fn add(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                add(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    add(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found.sort();
    found
}

/// The top-level module a file belongs to.
fn module(path: &Path) -> String {
    let below = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The code of a file, without its unit tests and comments.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Names of the modules that a file takes from `crate::`, in `use` lines or in the midst of code.
fn used(code: &str) -> Vec<String> {
    let mut used = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let names = group.split('}').next().unwrap().split(',');
            used.extend(names.map(|name| name.trim().split("::").next().unwrap().to_owned()));
        } else {
            used.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    used
}

#[test]
fn imports_go_down_only() {
    let rank: BTreeMap<&str, usize> =
        LAYERS.concat().into_iter().enumerate().map(|(rank, name)| (name, rank)).collect();
    let mut wrong = Vec::new();
    for path in sources() {
        let own = module(&path);
        if own == "lib" || own == "main" {
            continue;
        }
        let own_rank =
            *rank.get(own.as_str()).unwrap_or_else(|| panic!("{own} has no layer: give it one in this test"));
        for name in used(&code(&path)) {
            if rank.get(name.as_str()).is_some_and(|rank| *rank > own_rank) {
                wrong.push(format!("{} uses crate::{name}, which lies above it", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn one_door_out() {
    let rules = [
        ("Command::new", "sys/process.rs", "start programs through sys::process"),
        ("process::exit", "main.rs", "return an error instead: guards must drop"),
        ("std::env::var", "sys/", "the environment is read in sys only"),
        ("Utc::now()", "sys/time.rs", "take the time from sys::time, which tests can shift"),
    ];
    let exempt = [("std::env::var", "run.rs")];
    let mut wrong = Vec::new();
    for path in sources() {
        let text = code(&path);
        let name = path.to_string_lossy();
        for (what, home, instead) in rules {
            let excused = exempt.iter().any(|(rule, file)| *rule == what && name.ends_with(file));
            if text.contains(what) && !name.contains(&format!("src/{home}")) && !excused {
                wrong.push(format!("{name} has {what}: {instead}"));
            }
        }
        if text.lines().any(|line| line.trim_start().starts_with("use ") && line.contains("::*")) {
            wrong.push(format!("{name} imports everything of a module: name what is used"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<_> =
        sources().into_iter().filter(|path| !std::fs::read_to_string(path).unwrap().starts_with("//! ")).collect();
    assert!(silent.is_empty(), "these files do not begin with //!: {silent:#?}");
}

/// The design page draws the layers; it must not draw others than these.
#[test]
fn the_design_page_names_every_module() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/design.md")).unwrap();
    let missing: Vec<_> = LAYERS.concat().into_iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/design.md does not name {missing:?}");
}
