//! Files of the pool, brought back into a filedir.

use crate::world::{Disk, log, touch};
use moodle_backup::error::Result;
use moodle_backup::hashes::{self, Hash};
use moodle_backup::pool::marks::{self, Marks};
use moodle_backup::pool::{self, Effort, Ownership, Restore, Restored};
use moodle_backup::sys::priority::Io;
use moodle_backup::sys::threads::GivenUp;
use sha1::{Digest, Sha1};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const MAKE: Ownership = Ownership { uid: 33, gid: 34, folder_mode: 0o2775, file_mode: 0o664 };

fn hash_of(content: &[u8]) -> Hash {
    Sha1::digest(content).into()
}

/// Puts a content under the name of `name`'s hash into a pool or filedir.
fn put(folder: &Path, name: &[u8], content: &[u8], mtime: i64) -> PathBuf {
    let path = folder.join(hashes::relative_path(&hash_of(name)));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    touch(&path, (mtime, 5));
    path
}

struct Work {
    disk: Disk,
    pool: PathBuf,
    filedir: PathBuf,
    aside: Mutex<Vec<Hash>>,
}

impl Work {
    fn new() -> Self {
        let disk = Disk::ext4(128);
        let pool = disk.folder("pool");
        let filedir = disk.path().join("filedir");
        Work { disk, pool, filedir, aside: Mutex::default() }
    }

    fn restore(&self, contents: &[&[u8]]) -> Result<Restored> {
        self.restore_knowing(contents, None)
    }

    fn restore_knowing(&self, contents: &[&[u8]], marks: Option<&Path>) -> Result<Restored> {
        let mut list: Vec<Hash> = contents.iter().map(|content| hash_of(content)).collect();
        list.sort_unstable();
        let set_aside = |hash: &Hash, path: &Path| -> Result<()> {
            self.aside.lock().unwrap().push(*hash);
            Ok(fs::rename(path, self.disk.path().join("aside"))?)
        };
        let job = Restore {
            pool: &self.pool,
            filedir: &self.filedir,
            ownership: MAKE,
            marks,
            effort: Effort { threads: 3, nice: 0, io: Io::Normal },
            set_aside: &set_aside,
            expected: 0,
            given_up: &GivenUp::never(),
        };
        pool::restore(&job, list.into_iter().map(Ok), &log())
    }

    fn live(&self, content: &[u8]) -> PathBuf {
        self.filedir.join(hashes::relative_path(&hash_of(content)))
    }
}

#[test]
fn a_lost_filedir_comes_back_with_owners_modes_and_times() {
    let work = Work::new();
    let contents: Vec<Vec<u8>> = (0..2000u32).map(|number| number.to_string().repeat(number as usize).into()).collect();
    for content in &contents {
        put(&work.pool, content, content, 1_500_000_000);
    }
    let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
    let done = work.restore(&contents).unwrap();
    assert_eq!((done.copied, done.present), (2000, 0));
    assert_eq!(done.bytes, contents.iter().map(|content| content.len() as u64).sum::<u64>());
    for content in &contents {
        let path = work.live(content);
        assert_eq!(fs::read(&path).unwrap(), *content);
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (33, 34, 0o664));
        assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_500_000_000, 5));
        for folder in path.ancestors().skip(1).take(3) {
            let meta = fs::metadata(folder).unwrap();
            assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (33, 34, 0o2775), "{}", folder.display());
        }
        for beside in fs::read_dir(path.parent().unwrap()).unwrap() {
            assert_eq!(beside.unwrap().file_name().len(), 40, "nothing half made is left there");
        }
    }
    let again = work.restore(&contents).unwrap();
    assert_eq!((again.copied, again.present), (0, 2000));
}

#[test]
fn only_what_is_lacking_or_wrong_is_brought_back() {
    let work = Work::new();
    for content in [&b"right"[..], b"other time", b"flipped", b"absent", b"a link", b"cut", b"no list names it"] {
        put(&work.pool, content, content, 1_000);
    }
    put(&work.filedir, b"right", b"right", 1_000);
    let other_time = put(&work.filedir, b"other time", b"other time", 2_000);
    put(&work.filedir, b"flipped", b"flopped", 2_000);
    put(&work.filedir, b"cut", b"c", 1_000);
    let mine = put(&work.filedir, b"mine", b"mine", 3_000);
    let kept = fs::metadata(&other_time).unwrap().ino();

    let done = work.restore(&[b"right", b"other time", b"flipped", b"absent"]).unwrap();
    assert_eq!((done.present, done.copied), (2, 2));
    assert_eq!(done.replaced, [hash_of(b"flipped")]);
    assert_eq!(fs::read(work.disk.path().join("aside")).unwrap(), b"flopped", "what was wrong is kept");
    assert_eq!(fs::read(work.live(b"flipped")).unwrap(), b"flipped");
    assert_eq!(fs::metadata(&other_time).unwrap().ino(), kept, "right, whatever its time");
    assert_eq!(fs::read(mine).unwrap(), b"mine");
    assert!(!work.live(b"no list names it").exists());

    let done = work.restore(&[b"cut"]).unwrap();
    assert_eq!(done.replaced, [hash_of(b"cut")]);
    symlink("/etc/shadow", {
        let path = work.live(b"a link");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    })
    .unwrap();
    let done = work.restore(&[b"a link"]).unwrap();
    assert_eq!(done.replaced, [hash_of(b"a link")]);
    assert_eq!(fs::read(work.live(b"a link")).unwrap(), b"a link");
}

/// With the list of sizes and times the pool is asked for nothing that stands in filedir as it was backed up, and for all else.
#[test]
fn what_is_known_of_the_pool_is_not_looked_at_there() {
    let work = Work::new();
    let mut contents = [&b"as it was"[..], b"changed", b"absent", b"other time"];
    contents.sort_unstable_by_key(|content| hash_of(content));
    let list = work.disk.path().join("marks");
    let mut marks = marks::Writer::create(&list).unwrap();
    for content in contents {
        put(&work.pool, content, content, 1_000);
        marks.add(Marks { size: content.len() as i64, seconds: 1_000, nanoseconds: 5 }).unwrap();
    }
    marks.finish().unwrap();
    put(&work.filedir, b"as it was", b"AS IT WAS", 1_000);
    put(&work.filedir, b"changed", b"CHANGED", 2_000);
    put(&work.filedir, b"other time", b"other time", 2_000);
    // Whoever looked for it there would find it missing, and what stands in filedir wrong.
    fs::remove_file(work.pool.join(hashes::relative_path(&hash_of(b"as it was")))).unwrap();
    let done = work.restore_knowing(&contents, Some(&list)).unwrap();
    assert_eq!((done.present, done.copied), (2, 2));
    assert_eq!(done.replaced, [hash_of(b"changed")]);
    assert_eq!(fs::read(work.live(b"absent")).unwrap(), b"absent");
    let done = work.restore(&contents).unwrap();
    assert_eq!((done.present, done.missing), (3, vec![hash_of(b"as it was")]), "without it all are looked at");
}

/// A list that has fewer lines than there are files tells nothing.
#[test]
fn a_list_of_other_files_is_not_taken_for_theirs() {
    let work = Work::new();
    let list = work.disk.path().join("marks");
    let mut marks = marks::Writer::create(&list).unwrap();
    marks.add(Marks { size: 3, seconds: 1_000, nanoseconds: 5 }).unwrap();
    marks.finish().unwrap();
    for content in [b"one", b"two"] {
        put(&work.pool, content, content, 2_000);
        put(&work.filedir, content, content, 1_000);
    }
    fs::write(work.live(b"two"), "bad").unwrap();
    touch(&work.live(b"two"), (1_000, 5));
    let done = work.restore_knowing(&[b"one", b"two"], Some(&list)).unwrap();
    assert_eq!(done.replaced, [hash_of(b"two")]);
}

#[test]
fn nothing_rotten_gets_into_a_site() {
    let work = Work::new();
    put(&work.pool, b"good", b"good", 1);
    put(&work.pool, b"rotten", b"r0tten", 1);
    put(&work.pool, b"cut", b"cu", 1);
    put(&work.pool, b"right here", b"rotten there", 1);
    fs::create_dir_all(work.pool.join(hashes::relative_path(&hash_of(b"a folder")))).unwrap();
    put(&work.filedir, b"right here", b"right here", 2);
    put(&work.filedir, b"wrong here, not there", b"wrong", 2);

    let contents: [&[u8]; 7] =
        [b"good", b"rotten", b"cut", b"right here", b"wrong here, not there", b"nowhere", b"a folder"];
    let done = work.restore(&contents).unwrap();

    let sorted = |contents: &[&[u8]]| {
        let mut hashes: Vec<Hash> = contents.iter().map(|content| hash_of(content)).collect();
        hashes.sort_unstable();
        hashes
    };
    assert_eq!((done.copied, done.present), (1, 1));
    assert_eq!(done.damaged, sorted(&[b"rotten", b"cut"]));
    assert_eq!(done.missing, sorted(&[b"nowhere", b"wrong here, not there", b"a folder"]));
    assert_eq!(*work.aside.lock().unwrap(), Vec::<Hash>::new());
    assert!(!work.live(b"rotten").exists() && !work.live(b"cut").exists());
    assert_eq!(fs::read(work.live(b"wrong here, not there")).unwrap(), b"wrong", "the best there is stays");
    assert_eq!(fs::read_dir(work.live(b"rotten").parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn a_planted_link_leads_nothing_out_of_a_filedir() {
    let work = Work::new();
    put(&work.pool, b"file", b"file", 1);
    let outside = work.disk.folder("outside");
    let top = work.filedir.join(&hashes::to_hex(&hash_of(b"file"))[..2]);
    fs::create_dir_all(&work.filedir).unwrap();
    symlink(&outside, &top).unwrap();
    let error = format!("{:#}", work.restore(&[b"file"]).unwrap_err());
    assert!(error.contains(top.to_str().unwrap()), "{error}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn what_a_killed_restore_left_is_no_obstacle() {
    let work = Work::new();
    put(&work.pool, b"file", b"file", 1);
    let left = put(&work.filedir, b"file", b"fi", 1);
    fs::rename(&left, format!("{}.restore.tmp", left.display())).unwrap();
    fs::set_permissions(left.parent().unwrap(), PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(work.restore(&[b"file"]).unwrap().copied, 1);
    assert_eq!(fs::read_dir(left.parent().unwrap()).unwrap().count(), 1);
}
