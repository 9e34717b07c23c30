//! The store on a real file system: backups are sealed, listed, found and pinned; strangers and unfit targets are
//! refused; pruning keeps what it must and stops at what it does not know.

#[path = "common/draft.rs"]
mod draft;
mod support;

use chrono::{DateTime, TimeDelta, Utc};
use draft::{Sketch, hash_of, identity, pool_file};
use moodle_backup::error::{Kind, kind, lines};
use moodle_backup::prune::{Outcome, Request, prune};
use moodle_backup::retention::{Reason, Rules};
use moodle_backup::store::{Backup, Store, layout, probe};
use moodle_backup::sys::files::FileSystem;
use moodle_backup::sys::lock::{Lock, Mode};
use moodle_backup::sys::log::{Log, Verbosity};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use support::{TestTarget, succeed};

/// Removes everything that nothing else speaks for.
const ONE: Rules = Rules { last: 1, daily: 0, weekly: 0, monthly: 0, yearly: 0 };
const BY_HAND: Request<'_> = Request { dry_run: false, whole_pool: true, restored: &[] };

fn quiet() -> Log {
    Log::to_stderr(Verbosity::Quiet)
}

fn new_store(target: &TestTarget) -> Store {
    Store::create(target.path(), "school", &identity("a", "https://school.example"), "no-such-group", &quiet()).unwrap()
}

/// Seals a backup with these pool files, `days` days ago.
fn publish(store: &Store, days: i64, files: &[&str]) -> Backup {
    let previous = store.backups().unwrap().backups.pop();
    Sketch::new(store, Utc::now() - TimeDelta::days(days)).files(files).seal(previous.as_ref())
}

fn names(store: &Store) -> Vec<String> {
    store.backups().unwrap().backups.into_iter().map(|backup| backup.name).collect()
}

fn pooled(store: &Store) -> usize {
    let output = succeed(Command::new("find").arg(store.pool()).args(["-type", "f"]));
    output.iter().filter(|byte| **byte == b'\n').count()
}

fn pruned(store: &Store, rules: Rules, request: Request) -> Outcome {
    let lock = store.try_lock().unwrap().expect("nobody else works on the store");
    prune(store, &rules, request, &lock, &quiet()).unwrap()
}

#[track_caller]
fn assert_whole(backup: &Path) {
    let check = format!("cd '{}' && sha256sum --quiet --strict -c SHA256SUMS", backup.display());
    succeed(Command::new("bash").args(["-c", &check]));
    let check = format!(
        "set -o pipefail; cd '{}/..' && zstdcat '{}/filedir.sha1.zst' | sha1sum --quiet --strict -c -",
        backup.display(),
        backup.display()
    );
    succeed(Command::new("bash").args(["-c", &check]));
}

#[test]
fn a_sealed_backup_is_whole_listed_and_found() {
    let target = TestTarget::ext4(64);
    let store = new_store(&target);
    let first = publish(&store, 2, &["a", "b"]);
    let second = publish(&store, 1, &["a", "b", "c"]);
    for backup in [&first, &second] {
        assert_whole(&backup.path);
    }
    assert_eq!(names(&store), [first.name.clone(), second.name.clone()]);
    assert_eq!((first.manifest.sequence, second.manifest.sequence), (1, 2));
    assert_eq!(store.find("latest").unwrap().name, second.name);
    assert_eq!(store.find(&first.name).unwrap().name, first.name);
    let day = (first.manifest.times.started + TimeDelta::minutes(1)).format("%Y-%m-%dT%H:%MZ").to_string();
    assert_eq!(store.find(&day).unwrap().name, first.name);
    let link = fs::read_link(store.folder().join("latest")).unwrap();
    assert_eq!(link.to_str(), Some(second.name.as_str()));
    assert_eq!(store.backups().unwrap().partial, Vec::<String>::new());
}

#[test]
fn what_did_not_change_is_the_same_file_and_its_sum_is_taken_over() {
    let target = TestTarget::ext4(64);
    let store = new_store(&target);
    let first = publish(&store, 2, &["a"]);
    // A sum that is wrong shows whose sums the next backup takes.
    let sums = fs::read_to_string(first.path.join("SHA256SUMS")).unwrap();
    let line = sums.lines().find(|line| line.ends_with("  moodledata/lang/de/lang.php")).unwrap();
    let wrong = format!("{}  moodledata/lang/de/lang.php", "0".repeat(64));
    fs::write(first.path.join("SHA256SUMS"), sums.replace(line, &wrong)).unwrap();
    let second = publish(&store, 1, &["a"]);
    let sums = fs::read_to_string(second.path.join("SHA256SUMS")).unwrap();
    assert!(sums.contains(&wrong), "hard links take over the sums of the backup before");
    let code = &second.manifest.components.iter().find(|it| it.name == "code").unwrap();
    assert_eq!(code.same_as.as_deref(), Some(first.name.as_str()));
    // Without that, and with the sums of the first damaged, everything is summed anew.
    fs::write(first.path.join("SHA256SUMS"), "rubbish\n").unwrap();
    fs::remove_dir_all(&second.path).unwrap();
    assert_whole(&publish(&store, 1, &["a"]).path);
}

#[test]
fn odd_names_are_summed_so_that_sha256sum_reads_them() {
    let target = TestTarget::ext4(64);
    let store = new_store(&target);
    let odd: [&[u8]; 6] = [b"new\nline", b"back\\slash", b"\xff\xfe", b" *blank", b"-c", &[b'x'; 255]];
    let backup = Sketch::new(&store, Utc::now()).files(&["a"]).moodledata(&odd).seal(None);
    assert_whole(&backup.path);
    let lines = fs::read(backup.path.join("SHA256SUMS")).unwrap();
    let summed =
        lines.split(|byte| *byte == b'\n').filter(|line| line.windows(15).any(|part| part == b"moodledata/odd/"));
    assert_eq!(summed.count(), odd.len());
}

#[test]
fn only_root_and_the_group_may_look_and_moodledata_keeps_its_owners() {
    let target = TestTarget::ext4(64);
    let group = "daemon";
    let store =
        Store::create(target.path(), "school", &identity("a", "https://school.example"), group, &quiet()).unwrap();
    let backup = Sketch::new(&store, Utc::now()).files(&["a"]).seal(None);
    let gid = nix::unistd::Group::from_name(group).unwrap().unwrap().gid.as_raw();
    let look = |path: &Path| {
        let meta = fs::symlink_metadata(path).unwrap();
        (meta.uid(), meta.gid(), meta.mode() & 0o7777)
    };
    for folder in [store.folder(), &backup.path, &backup.path.join("database"), &store.folder().join("notes")] {
        assert_eq!(look(folder), (0, gid, 0o750), "{}", folder.display());
    }
    for file in ["manifest.json", "SHA256SUMS", "RESTORE.txt", "code.tar.zst", "run.log"] {
        assert_eq!(look(&backup.path.join(file)), (0, gid, 0o640), "{file}");
    }
    assert_eq!(look(&backup.path.join("moodledata")), (33, 33, 0o2770));
    assert_eq!(look(&backup.path.join("moodledata/lang/de/lang.php")), (33, 33, 0o600));
}

#[test]
fn another_site_is_refused_with_the_name_of_the_owner() {
    let target = TestTarget::folder();
    let store = new_store(&target);
    let create = |site: &_| Store::create(target.path(), "school", site, "root", &quiet()).map(drop);
    let error = create(&identity("b", "https://other.example")).unwrap_err();
    assert_eq!(kind(&error), Kind::Unfit);
    let text = lines(&error).join("\n");
    assert!(text.contains("https://school.example (database moodle at localhost)"), "{text}");
    assert!(text.contains("next: give this site another [site] name"), "{text}");
    // A clone has the same identifier.
    let mut clone = identity("a", "https://test.example");
    clone.database_name = "moodle_test".into();
    let text = lines(&create(&clone).unwrap_err()).join("\n");
    assert!(text.contains("seems to be a copy") && text.contains("https://test.example"), "{text}");
    // What would mix two sites' backups comes last.
    let at = |words: &str| text.find(words).unwrap_or_else(|| panic!("no {words:?}: {text}"));
    assert!(at("if these are two sites") < at("Only if https://school.example is not in use any more"));
    // A new address alone is the same site.
    create(&identity("a", "https://school.example.org")).unwrap();
    assert_eq!(store.site_file().unwrap().unwrap().identity.wwwroot, "https://school.example.org");
    // Without SITE.json the backups tell.
    Sketch::new(&store, Utc::now()).seal(None);
    fs::remove_file(store.folder().join("SITE.json")).unwrap();
    assert!(create(&identity("b", "https://other.example")).is_err());
    create(&clone).unwrap();
}

#[test]
fn a_draft_that_is_dropped_or_left_is_no_backup() {
    let target = TestTarget::folder();
    let store = new_store(&target);
    drop(store.draft(store.new_label()).unwrap());
    assert_eq!(store.backups().unwrap(), Default::default());
    // What a killed run leaves.
    let left = store.folder().join(".partial-2026-11-23T010003Z");
    fs::create_dir_all(left.join("moodledata/deep")).unwrap();
    assert_eq!(store.backups().unwrap().partial, [".partial-2026-11-23T010003Z"]);
    assert_eq!(names(&store), Vec::<String>::new());
    let lock = store.try_lock().unwrap().unwrap();
    assert_eq!(store.clean_partials(&lock).unwrap(), [".partial-2026-11-23T010003Z"]);
    assert!(!left.exists());
}

#[test]
fn a_draft_without_a_part_that_its_manifest_names_is_not_sealed() {
    let target = TestTarget::folder();
    let store = new_store(&target);
    for part in ["code.tar.zst", "filedir.sha1.zst", "database/site.sql.zst"] {
        let error = Sketch::new(&store, Utc::now()).without(part).try_seal(None).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(store.backups().unwrap(), Default::default(), "nothing is left of it");
    }
}

#[test]
fn a_damaged_manifest_is_listed_as_such() {
    let target = TestTarget::folder();
    let store = new_store(&target);
    let (first, second) = (publish(&store, 2, &["a"]), publish(&store, 1, &["a"]));
    fs::write(first.path.join("manifest.json"), "{\"format\": 1").unwrap();
    let listing = store.backups().unwrap();
    assert_eq!(listing.backups.len(), 1);
    assert_eq!(listing.unreadable[0].name, first.name);
    assert!(store.find(&first.name).unwrap_err().to_string().contains("is damaged"));
    fs::write(second.path.join("manifest.json"), "{\"format\": 9}").unwrap();
    let reason = &store.backups().unwrap().unreadable[1].reason;
    assert!(reason.contains("has format 9, and this moodle-backup knows formats up to 1"), "{reason}");
}

#[test]
fn targets_are_tried_out() {
    let target = TestTarget::ext4(32);
    probe::probe(target.path()).unwrap();
    assert_eq!(left_in(target.path()), ["lost+found"], "nothing stays behind");
    target.fill_up(0);
    let error = probe::probe(target.path()).unwrap_err();
    assert!(error.to_string().ends_with("cannot hold backups: it is full"), "{error:#}");
    target.make_room();
    target.set_read_only(true);
    let error = probe::probe(target.path()).unwrap_err();
    assert_eq!(kind(&error), Kind::Unfit);
    assert!(error.to_string().ends_with("cannot hold backups: it is read-only"), "{error:#}");
}

#[test]
fn a_target_without_owners_is_refused() {
    // In a user namespace with one user nobody else can own a file: as on a network file system with root squash.
    const INSIDE: &str = "MOODLE_BACKUP_TEST_PROBE";
    if let Some(target) = std::env::var_os(INSIDE) {
        let error = probe::probe(Path::new(&target)).unwrap_err();
        assert!(error.to_string().contains("cannot hold backups: no owners ("), "{error:#}");
        return;
    }
    let target = TestTarget::folder();
    let mut inside = Command::new("unshare");
    inside.args(["--user", "--map-root-user"]).arg(std::env::current_exe().unwrap());
    inside.args(["--exact", "a_target_without_owners_is_refused"]).env(INSIDE, target.path());
    succeed(&mut inside);
    assert_eq!(left_in(target.path()), Vec::<String>::new());
}

fn left_in(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[test]
fn prune_keeps_pinned_used_and_newest_ones_and_the_files_they_name() {
    let target = TestTarget::ext4(64);
    let store = new_store(&target);
    let backups: Vec<Backup> = (0..5).map(|n| publish(&store, 5 - n, &["all", &format!("only-{n}")])).collect();
    let orphan = pool_file(&store, "orphan");
    store.pin(&backups[0], "before the upgrade").unwrap();
    let reading = backups[1].hold().unwrap();

    let plan = pruned(&store, ONE, Request { dry_run: true, whole_pool: true, restored: &[] });
    assert_eq!(plan.removed, [backups[2].name.clone(), backups[3].name.clone()]);
    assert_eq!(plan.pool_files, 3);
    assert_eq!((names(&store).len(), pooled(&store)), (5, 7), "a dry run removes nothing");

    let outcome = pruned(&store, ONE, BY_HAND);
    assert_eq!(outcome, plan);
    let reasons: Vec<_> = outcome.kept.iter().map(|(_, reasons)| reasons[0]).collect();
    assert_eq!(reasons, [Reason::Pinned, Reason::InUse, Reason::Newest]);
    assert_eq!(names(&store), [&backups[0], &backups[1], &backups[4]].map(|backup| backup.name.clone()));
    assert!(!orphan.exists());
    assert_eq!(pooled(&store), 4);
    for backup in [&backups[0], &backups[1], &backups[4]] {
        assert_whole(&backup.path);
    }

    drop(reading);
    store.unpin(&backups[0]).unwrap();
    assert_eq!(pruned(&store, ONE, BY_HAND).removed.len(), 2);
    assert_eq!((names(&store).len(), pooled(&store)), (1, 2));
    assert!(!store.folder().join("notes").join(format!("{}.json", backups[0].name)).exists());
    assert!(backups[1].hold().is_err(), "what is gone cannot be held");
}

#[test]
fn prune_ends_a_removal_that_was_cut_off() {
    let target = TestTarget::folder();
    let store = new_store(&target);
    let (first, second) = (publish(&store, 2, &["a", "b"]), publish(&store, 1, &["a"]));
    let removing = store.folder().join(format!(".removing-{}", first.name));
    fs::rename(&first.path, &removing).unwrap();
    fs::remove_file(removing.join("manifest.json")).unwrap();
    let outcome = pruned(&store, ONE, Request { dry_run: false, whole_pool: false, restored: &[] });
    assert_eq!(outcome.finished, [format!(".removing-{}", first.name)]);
    assert!(!removing.exists());
    assert_eq!(pooled(&store), 1);
    assert_whole(&second.path);
}

/// Prunes after something was done to the store, and checks that nothing went.
#[track_caller]
fn assert_stopped(spoil: impl FnOnce(&Store, &[Backup]), words: &str) {
    let target = TestTarget::folder();
    let store = new_store(&target);
    let backups: Vec<Backup> = (0..4).map(|n| publish(&store, 4 - n, &["a", "b", "c", &format!("only-{n}")])).collect();
    spoil(&store, &backups);
    let pool = pooled(&store);
    let outcome = pruned(&store, ONE, BY_HAND);
    let stopped = outcome.stopped.join("; ");
    assert!(stopped.contains(words), "{stopped}");
    assert_eq!(outcome.removed, Vec::<String>::new());
    assert!(backups.iter().all(|backup| backup.path.exists()));
    assert_eq!(pooled(&store), pool);
}

#[test]
fn doubts_stop_pruning() {
    assert_stopped(|store, _| fs::write(store.folder().join("notes.txt"), "").unwrap(), "unknown in the site's folder");
    assert_stopped(|_, backups| fs::write(backups[1].path.join("manifest.json"), "").unwrap(), "cannot be judged");
    // Who does as he is told loses nothing: without the folder, the pool would lose what only that backup lists.
    assert_stopped(
        |_, backups| fs::remove_file(backups[0].path.join("manifest.json")).unwrap(),
        "leave its folder where it is",
    );
    assert_stopped(|store, _| drop(publish(store, 0, &[])), "oddly smaller");
    assert_stopped(|store, _| drop(publish(store, 9, &["a", "b", "c", "only-9"])), "was made before it");
    assert_stopped(|store, _| drop(publish(store, -9, &["a", "b", "c", "only-9"])), "the clock says");
}

#[test]
fn a_backup_under_another_name_is_not_to_leave_its_pool() {
    let target = TestTarget::folder();
    let store = new_store(&target);
    let (first, _) = (publish(&store, 2, &["a", "only-1"]), publish(&store, 1, &["a", "only-2"]));
    let renamed = first.path.with_extension("old");
    fs::rename(&first.path, &renamed).unwrap();
    let stopped = pruned(&store, ONE, BY_HAND).stopped.join("; ");
    assert!(stopped.contains("give it its own name back"), "{stopped}");
    assert_eq!(pooled(&store), 3);
    fs::rename(&renamed, &first.path).unwrap();
    assert_whole(&first.path);
    assert_eq!(pruned(&store, ONE, BY_HAND).removed, [first.name]);
}

/// Prunes after something was done to the store, and checks that a backup went but no pool file.
#[track_caller]
fn assert_pool_left_alone(spoil: impl FnOnce(&Store, &[Backup]), words: &str) {
    let target = TestTarget::folder();
    let store = new_store(&target);
    let backups: Vec<Backup> = (0..3).map(|n| publish(&store, 3 - n, &["a", &format!("only-{n}")])).collect();
    store.pin(&backups[1], "").unwrap();
    spoil(&store, &backups);
    let pool = pooled(&store);
    let outcome = pruned(&store, ONE, BY_HAND);
    let stopped = outcome.pool_stopped.unwrap_or_default();
    assert!(stopped.contains(words), "{stopped}");
    assert_eq!(outcome.removed, [backups[0].name.clone()]);
    assert_eq!((outcome.pool_files, pooled(&store)), (0, pool));
}

#[test]
fn doubts_stop_the_pool_clean_up() {
    let list = |backup: &Backup| backup.path.join("filedir.sha1.zst");
    let untrusted = "cannot be trusted";
    assert_pool_left_alone(|_, backups| fs::remove_file(list(&backups[1])).unwrap(), untrusted);
    assert_pool_left_alone(|_, backups| fs::write(list(&backups[1]), "").unwrap(), untrusted);
    assert_pool_left_alone(
        |_, backups| {
            let whole = fs::read(list(&backups[1])).unwrap();
            fs::write(list(&backups[1]), &whole[..whole.len() - 5]).unwrap();
        },
        untrusted,
    );
    assert_pool_left_alone(|_, backups| fs::write(backups[2].path.join("SHA256SUMS"), "").unwrap(), untrusted);
    assert_pool_left_alone(
        |store, _| fs::create_dir(store.folder().join(".partial-2026-11-23T010003Z")).unwrap(),
        "was left by an interrupted run",
    );
    assert_pool_left_alone(|store, _| fs::write(store.pool().join("README"), "").unwrap(), "unknown in the pool");
    assert_pool_left_alone(
        |store, _| {
            let hash = hash_of("a");
            fs::write(store.pool().join(&hash[..2]).join(&hash[2..4]).join("0".repeat(40)), "").unwrap();
        },
        "unknown in the pool",
    );
}

#[test]
fn notes_that_cannot_be_read_count_as_a_pin() {
    let target = TestTarget::folder();
    let store = new_store(&target);
    let (first, _) = (publish(&store, 2, &["a"]), publish(&store, 1, &["a"]));
    fs::write(store.folder().join("notes").join(format!("{}.json", first.name)), "{").unwrap();
    assert_eq!(pruned(&store, ONE, BY_HAND).removed, Vec::<String>::new());
    assert!(store.unpin(&first).is_err());
}

#[test]
fn one_works_on_a_store_at_a_time() {
    let target = TestTarget::folder();
    let store = new_store(&target);
    let _lock = Lock::try_hold(store.folder(), Mode::Exclusive).unwrap().unwrap();
    assert!(store.try_lock().unwrap().is_none());
}

#[test]
fn what_is_sealed_is_not_changed_by_what_comes_after() {
    let target = TestTarget::ext4(64);
    let store = new_store(&target);
    let first = publish(&store, 3, &["a", "b"]);
    let state = |path: &Path| -> Vec<(String, i64, i64, u32)> {
        let found = succeed(Command::new("find").arg(path).args(["-type", "f", "-print"]));
        let paths = String::from_utf8(found).unwrap();
        let mut state: Vec<_> = paths
            .lines()
            .map(|line| {
                let meta = fs::metadata(line).unwrap();
                (line.to_owned(), meta.mtime(), meta.mtime_nsec(), meta.permissions().mode())
            })
            .collect();
        state.sort();
        state
    };
    let before = state(&first.path);
    publish(&store, 2, &["a", "b"]);
    publish(&store, 1, &["a", "b"]);
    pruned(&store, Rules { last: 2, ..ONE }, BY_HAND);
    assert!(!first.path.exists());
    let second = names(&store)[0].clone();
    assert_whole(&store.folder().join(second));
    assert!(before.iter().any(|(path, ..)| path.ends_with(layout::MANIFEST)));
}

#[test]
fn data_that_could_not_be_written_are_told_of_though_somebody_else_was_told_before() {
    let target = TestTarget::ext4_on_smaller_disk(256, 24);
    let watched = FileSystem::watch(target.path()).unwrap();
    watched.sync().unwrap();
    let mut state = 1u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    fs::write(target.path().join("large"), noise.take(40 << 20).collect::<Vec<u8>>()).unwrap();
    let somebody_else = Command::new("sync").arg("--file-system").arg(target.path()).output().unwrap();
    assert!(!somebody_else.status.success(), "the disk is not full");
    assert!(watched.sync().is_err(), "it would be taken for durable");
}

/// The clock of a test is that of the machine.
#[test]
fn labels_are_the_time_in_utc() {
    let target = TestTarget::folder();
    let store = new_store(&target);
    let label = store.new_label();
    let time: DateTime<Utc> = moodle_backup::store::label::time(label.as_str()).unwrap();
    assert!((Utc::now() - time).num_seconds().abs() < 5);
    let _draft = store.draft(label.clone()).unwrap();
    assert_ne!(store.new_label(), label);
}
