//! What an administrator reads when a settings file is wrong: a file for each case in `tests/golden/settings/`.

mod common;

use common::golden;
use moodle_backup::error;
use moodle_backup::settings::load;
use std::path::Path;

fn refusal(path: &Path) -> String {
    let error = load(path).expect_err("this file is wrong");
    assert_eq!(error::kind(&error), error::Kind::Unfit, "{}", path.display());
    let folder = path.parent().unwrap().display().to_string();
    error::lines(&error).join("\n").replace(&folder, "/etc/moodle-backup") + "\n"
}

#[test]
fn refusals_read_as_agreed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/settings");
    let mut cases = 0;
    for file in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "toml") {
            let name = file.with_extension("txt");
            golden(&format!("settings/{}", name.file_name().unwrap().display()), &refusal(&file));
            cases += 1;
        }
    }
    assert!(cases > 10);
}

#[test]
fn a_missing_file_leads_to_setup_and_sample() {
    let folder = tempfile::tempdir().unwrap();
    golden("settings/missing.txt", &refusal(&folder.path().join("settings.toml")));
}

#[test]
fn the_installed_file_says_what_to_set_first() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/settings.toml");
    golden("settings/as-installed.txt", &refusal(&sample));
}

#[test]
fn a_file_is_known_by_its_full_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("two.toml");
    std::fs::write(&file, "[site]\nroot = \"/var/www/moodle/\"\n[target]\npath = \"/srv//backup\"\n").unwrap();
    let settings = load(&file).unwrap();
    assert_eq!(settings.file, file);
    assert_eq!(settings.site.root.as_os_str(), "/var/www/moodle");
    assert_eq!(settings.target.path.as_os_str(), "/srv/backup");
}
