//! What adoption must leave alone, and what must not undo it.

use super::{Old, files, old_set};
use crate::support::succeed;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

/// Whose the files are, and who may do what with them.
fn owners(folder: &Path) -> Vec<(u32, u32, u32)> {
    let meta = |file: &std::path::PathBuf| fs::metadata(file).unwrap();
    files(folder).iter().map(|file| (meta(file).uid(), meta(file).gid(), meta(file).mode())).collect()
}

#[test]
fn files_that_the_site_shares_with_the_set_stay_the_sites() {
    let old = Old::new();
    old.write("");
    let live = old.world.site.filedir();
    let set = old.world.target.path().join("Moodle-last/moodledata");
    fs::create_dir_all(&set).unwrap();
    // By links, as an administrator who is short of room may have made it.
    succeed(Command::new("cp").arg("-al").arg(&live).arg(&set));
    let before = owners(&live);
    old.import(&["--adopt", &set.display().to_string()]).expect_code(0);
    assert_eq!(owners(&live), before);
    assert_eq!(files(&old.world.target.path().join("moodle/filedir")).len(), before.len(), "copied");
}

#[test]
fn a_link_in_the_set_does_not_lead_to_the_sites_files() {
    let old = Old::new();
    old.write("");
    let set = old_set(&old);
    let top = files(&set)[0].parent().unwrap().parent().unwrap().to_path_buf();
    let live = old.world.site.filedir().join(top.file_name().unwrap());
    fs::remove_dir_all(&top).unwrap();
    symlink(&live, &top).unwrap();
    let before = owners(&live);
    old.import(&["--adopt", &set.display().to_string()]).expect_code(0);
    assert_eq!(owners(&live), before);
}

#[test]
fn what_is_not_taken_is_left_as_it_was() {
    let old = Old::new();
    old.write("");
    let set = old_set(&old);
    let in_set = files(&set);
    let (bad, open) = (&in_set[0], &in_set[1]);
    fs::write(bad, "other").unwrap();
    let _writer = fs::File::options().append(true).open(open).unwrap();
    let is = |file: &Path| fs::metadata(file).map(|meta| (meta.uid(), meta.gid(), meta.mode())).unwrap();
    let before = (is(bad), is(open));
    old.import(&["--adopt", &set.display().to_string()]).expect_code(3);
    assert_eq!((is(bad), is(open)), before);
    assert_eq!(is(&in_set[2]).0, 0, "and this one was taken");
}

#[test]
fn what_was_adopted_waits_for_the_first_backup() {
    let old = Old::new();
    old.write("");
    let set = old_set(&old);
    old.import(&["--adopt", &set.display().to_string()]).expect_code(0);
    let pool = old.world.target.path().join("moodle/filedir");
    let adopted = files(&pool);
    assert_eq!(adopted.len(), files(&set).len());
    old.world.run(&["prune"]).expect_code(0);
    assert_eq!(files(&pool), adopted);
    old.world.run(&["run"]).expect_code(0);
    // From then on lists tell what may go.
    fs::create_dir_all(pool.join("ab/cd")).unwrap();
    let stray = pool.join("ab/cd").join(format!("abcd{}", "0".repeat(36)));
    fs::write(&stray, "nobody's").unwrap();
    old.world.run(&["prune"]).expect_code(0);
    assert!(!stray.exists());
}

#[test]
fn there_need_be_no_room_for_what_is_not_copied() {
    let old = Old::new();
    old.write("");
    let set = old_set(&old);
    old.import(&[]).expect_code(0);
    let settings = old.set().replacen("#min_free = \"5%\"", "min_free = \"900000G\"", 1);
    fs::write(old.world.settings_file(), settings).unwrap();
    old.world.run(&["run"]).expect_code(5);
    old.import(&["--adopt", &set.display().to_string()]).expect_code(0);
}

/// One of 200 MiB, of zeros.
fn large_file(filedir: &Path) {
    let part = filedir.join("large");
    fs::File::create(&part).unwrap().set_len(200 << 20).unwrap();
    let sum = String::from_utf8(succeed(Command::new("sha1sum").arg(&part))).unwrap();
    let folder = filedir.join(&sum[..2]).join(&sum[2..4]);
    fs::create_dir_all(&folder).unwrap();
    fs::rename(&part, folder.join(&sum[..40])).unwrap();
}

#[test]
fn a_first_backup_needs_no_room_for_what_the_pool_has() {
    let old = Old::new();
    old.write("");
    large_file(&old.world.site.filedir());
    let set = old_set(&old);
    old.import(&["--adopt", &set.display().to_string()]).expect_code(0);
    let needed = |old: &Old| {
        let checked = old.world.run(&["check", "--json"]).stdout;
        let at = checked.find(" free, about ").unwrap_or_else(|| panic!("{checked}")) + " free, about ".len();
        let mut words = checked[at..].split(' ');
        let (number, unit) = (words.next().unwrap().parse::<f64>().unwrap(), words.next().unwrap());
        number * f64::from(["B", "KiB", "MiB", "GiB"].iter().position(|it| *it == unit).map_or(0, |at| 1 << (10 * at)))
    };
    let with = needed(&old);
    succeed(Command::new("rm").arg("-r").arg(old.world.target.path().join("moodle/filedir")));
    let without = needed(&old);
    assert!(with > 0.0 && without > with + f64::from(190 << 20), "{with} {without}");
}
