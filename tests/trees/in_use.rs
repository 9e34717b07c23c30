//! Trees that are written to, moved about and turned against us while they are read.

use crate::world::{Disk, archived, assert_same_tree, awkward, extract, index_of, is_current, picture, run, sync};
use moodle_backup::entry::Reader;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Does `work` again and again on another thread until dropped.
struct Meanwhile {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Meanwhile {
    fn repeat(mut work: impl FnMut(u32) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut round = 0;
            while !seen.load(Ordering::SeqCst) {
                work(round);
                round += 1;
            }
        });
        Meanwhile { stop, thread: Some(thread) }
    }

    fn end(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn a_tree_in_use_is_copied_and_archived_and_the_last_pass_is_exact() {
    let (from, to) = (Disk::ext4(64), Disk::ext4(256));
    let source = from.folder("source");
    awkward(&source);
    let at = source.clone();
    let users = Meanwhile::repeat(move |round| {
        let folder = at.join(format!("busy{}", round % 17));
        let _ = fs::create_dir(&folder);
        for number in 0..20 {
            fs::write(folder.join(format!("{number}")), vec![round as u8; (round as usize * 37) % 9000]).unwrap();
        }
        if round % 3 == 0 {
            fs::remove_dir_all(&folder).unwrap();
        } else if round % 3 == 1 {
            let other = at.join(format!("moved{}", round % 5));
            let _ = fs::remove_dir_all(&other);
            fs::rename(&folder, &other).unwrap();
        }
        let swap = at.join("swap");
        let _ = fs::remove_file(&swap).or_else(|_| fs::remove_dir(&swap));
        match round % 3 {
            0 => fs::create_dir(&swap).unwrap(),
            1 => symlink("plain", &swap).unwrap(),
            _ => fs::write(&swap, b"file").unwrap(),
        }
    });
    let (copy, file) = (to.path().join("copy"), to.path().join("tar.zst"));
    let mut restless = 0;
    for pass in 0..30 {
        let findings = sync(&source, &copy, None, pass > 0).findings;
        assert_eq!(findings.problems, vec![], "what vanishes is no problem");
        restless += findings.vanished + findings.changed_while_read.len() as u64;
        assert_eq!(archived(&source, &file).findings.problems, vec![]);
        run(Command::new("bash")
            .args(["-c", &format!("set -o pipefail; zstd -dc {} | tar -tf - >/dev/null", file.display())]));
    }
    users.end();
    assert!(restless > 0, "nothing happened while the tree was read");

    sync(&source, &copy, None, true);
    assert_same_tree(&source, &copy);
    let mut indexed = Reader::open(&index_of(&copy)).unwrap();
    let mut paths = Vec::new();
    while let Some(entry) = indexed.next_entry().unwrap() {
        paths.push(entry.path);
    }
    paths.sort();
    assert_eq!(paths, picture(&copy).into_keys().collect::<Vec<_>>(), "the index tells what is there");
}

#[test]
fn a_file_that_is_written_to_all_the_while_is_noted_and_never_spoils_an_archive() {
    let (from, to) = (Disk::ext4(256), Disk::ext4(256));
    let source = from.folder("source");
    let (small, large) = (source.join("small.log"), source.join("large.log"));
    let content: Vec<u8> = vec![b'x'; 12 << 20];
    fs::write(&large, &content).unwrap();
    fs::write(&small, b"").unwrap();
    let writer = Meanwhile::repeat(move |round| {
        let large = fs::OpenOptions::new().write(true).open(&large).unwrap();
        large.set_len(if round % 2 == 0 { 1000 } else { 12 << 20 }).unwrap();
        fs::write(&small, vec![b'y'; (round as usize * 7919) % 60_000]).unwrap();
    });
    let (copy, file) = (to.path().join("copy"), to.path().join("tar.zst"));
    let (mut copied_restless, mut archived_restless) = (false, false);
    let mut archives = 0;
    while !(copied_restless && archived_restless) {
        archives += 1;
        assert!(archives < 500, "the writer was never met");
        copied_restless |= !sync(&source, &copy, None, archives > 1).findings.changed_while_read.is_empty();
        let done = archived(&source, &file);
        archived_restless |= !done.findings.changed_while_read.is_empty();
        run(Command::new("bash")
            .args(["-c", &format!("set -o pipefail; zstd -dc {} | tar -tf - >/dev/null", file.display())]));
        assert!(!is_current(&source, &file));
    }
    writer.end();
    sync(&source, &copy, None, true);
    assert_same_tree(&source, &copy);
}

#[test]
fn a_folder_that_becomes_a_link_never_leads_out_of_the_tree() {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    let (from, to) = (Disk::ext4(64), Disk::ext4(64));
    let outside = from.folder("outside");
    fs::write(outside.join("shadow"), b"secret").unwrap();
    let source = from.folder("source");
    fs::create_dir_all(source.join("trap/inner")).unwrap();
    fs::write(source.join("trap/inner/file"), b"harmless").unwrap();
    fs::write(source.join("trap/shadow"), b"harmless").unwrap();
    symlink(&outside, source.join("other")).unwrap();
    fs::write(source.join("file"), b"harmless").unwrap();
    symlink(outside.join("shadow"), source.join("file2")).unwrap();
    let at = source.clone();
    let attacker = Meanwhile::repeat(move |_| {
        let swap = |one: &str, other: &str| {
            renameat2(AT_FDCWD, &at.join(one), AT_FDCWD, &at.join(other), RenameFlags::RENAME_EXCHANGE).unwrap();
        };
        swap("trap", "other");
        swap("file", "file2");
    });
    let outside_before = picture(&outside);
    let (copy, file, back) = (to.path().join("copy"), to.path().join("tar.zst"), to.path().join("back"));
    for pass in 0..100 {
        sync(&source, &copy, None, pass > 0);
        archived(&source, &file);
        extract(&file, &back);
        for tree in [&copy, &back] {
            for (path, looks) in picture(tree) {
                assert_ne!(looks.content, b"secret", "{} came from outside", String::from_utf8_lossy(&path));
            }
        }
        fs::remove_dir_all(&back).unwrap();
    }
    attacker.end();
    assert_eq!(picture(&outside), outside_before);
}
