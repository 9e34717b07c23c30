//! The damage matrix: every kind of thing that lies on the target is cut short, deleted, bent and swapped, and every command
//! that reads it either works or says what is damaged. Nothing crashes, nothing good is deleted, and the next backup is whole
//! whatever happened to those before it. And backups that somebody has made up are refused.

mod support;
#[path = "common/whole.rs"]
mod whole;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Output, PocketSite, World, assert_same, changes, fingerprint, succeed, tree_compare};
use whole::{assert_whole, listed};

/// What can happen to a file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    CutShort,
    Deleted,
    Bent,
    Swapped,
}

const ALL: [How; 4] = [How::CutShort, How::Deleted, How::Bent, How::Swapped];

/// A site with two backups that differ in everything, and what the matrix needs to know of them.
struct Matrix {
    world: World,
    /// A copy of the site's folder as it was.
    whole: PathBuf,
    names: Vec<String>,
    _etc: support::Scratch,
}

/// What `verify` must make of it.
enum Expected {
    /// It names this as damaged.
    Damage(String),
    /// It names this as something that stood in the way.
    Trouble(String),
    /// It may say so, or have nothing to say, since what is left is as good as it can be known to be.
    Harmless,
}

impl Matrix {
    fn new() -> Self {
        let etc = support::Scratch::new();
        let site = PocketSite::builder().files(12).file_size(2000).build();
        fs::create_dir(etc.join("etc")).unwrap();
        let directories = format!("[directories]\npaths = [{:?}]\n", etc.join("etc").display().to_string());
        let keep = "[retention]\nlast = 9\ndaily = 0\nweekly = 0\nmonthly = 0\nyearly = 0\n";
        let world = World::builder(site).without_web().settings(&(directories + keep)).build();
        world.run(&["run"]).expect_code(0);
        fs::write(etc.join("etc/two.conf"), "two").unwrap();
        fs::write(world.site.root.join("lib/added.php"), "<?php").unwrap();
        fs::write(world.site.dataroot.join("added.txt"), "added to moodledata").unwrap();
        fs::write(world.site.dataroot.join("another.txt"), "another in moodledata").unwrap();
        // Else two dumps of the same second are the same.
        world.site.set_config("changed", "since");
        add_to_pool(&world);
        world.run(&["run"]).expect_code(0);
        world.run(&["verify", "--all"]).expect_code(0);
        let names = world.backups();
        world.run(&["pin", &names[0]]).expect_code(0);
        let whole = world.target.path().join("whole");
        copy(&world.site_folder(), &whole);
        Matrix { world, whole, names, _etc: etc }
    }

    fn path(&self, name: &str, file: &str) -> PathBuf {
        self.world.site_folder().join(name).join(file)
    }

    fn newest(&self, file: &str) -> PathBuf {
        self.path(&self.names[1], file)
    }

    fn older(&self, file: &str) -> PathBuf {
        self.path(&self.names[0], file)
    }

    /// Does it to a file in each way, and lets every command meet it. `other` is what it is swapped with.
    fn each(&self, file: &Path, other: &Path, expected: impl Fn(How) -> Expected) {
        for how in ALL {
            self.reset();
            damage(how, file, other);
            self.commands(how, file, &expected(how));
        }
    }

    fn reset(&self) {
        let folder = self.world.site_folder();
        fs::remove_dir_all(&folder).unwrap();
        copy(&self.whole, &folder);
        let _ = fs::remove_dir_all(self.world.root.join("var/lib/moodle-backup/verify"));
    }

    fn commands(&self, how: How, file: &Path, expected: &Expected) {
        let what = format!("{how:?} {}", file.display());
        let said = |args: &[&str], codes: &[i32]| -> String {
            let output = self.world.run(args);
            sane(&output, codes, &format!("{what}: {args:?}"));
            output.stdout + &output.stderr
        };
        let before = self.folders();
        said(&["list"], &[0]);
        said(&["list", "--json"], &[0]);
        for name in &self.names {
            said(&["show", name], &[0, 1]);
        }
        // Of swapped manifests both are useless.
        said(&["show", "latest"], &[0, 1]);
        said(&["status"], &[0, 3]);
        self.restores(how, &what, expected);
        let verified = match expected {
            Expected::Damage(_) => said(&["verify", "--all"], &[1]),
            Expected::Trouble(_) => said(&["verify", "--all"], &[3]),
            Expected::Harmless => said(&["verify", "--all"], &[0, 3]),
        };
        // Lines are broken at blanks.
        let verified = verified.split_whitespace().collect::<Vec<_>>().join(" ");
        match expected {
            Expected::Damage(words) | Expected::Trouble(words) => {
                assert!(verified.contains(words.as_str()), "{what}: verify does not say {words:?}:\n{verified}");
            }
            Expected::Harmless => {}
        }
        // The last backup is damaged, and the next is whole all the same.
        said(&["run"], &[0, 3]);
        let now = self.world.backups();
        assert_eq!(now.len(), 3, "{what}: {now:?}");
        assert_whole(&self.world.site_folder().join(&now[2]));
        said(&["verify", now[2].as_str()], &[0, 3]);
        said(&["prune"], &[0, 3]);
        said(&["status"], &[0, 3]);
        let gone: Vec<_> = before.difference(&self.folders()).cloned().collect();
        assert!(gone.is_empty(), "{what}: deleted were {gone:?}");
        assert_whole(&self.world.site_folder().join(&now[2]));
    }

    /// What is damaged is not brought back, and the site is left as it is; what is not damaged comes back.
    fn restores(&self, how: How, what: &str, expected: &Expected) {
        let to = self.world.scratch().join("to");
        let output = self.world.run(&["restore", &self.names[1], "--to", to.to_str().unwrap()]);
        // What only says when a tree has last changed is of no use to a restore, and no hindrance.
        let refuses = matches!(expected, Expected::Damage(words) if !words.starts_with("index/"));
        let left_out = output.stderr.contains("the pool and not brought back")
            && matches!(expected, Expected::Damage(words) if output.stderr.contains(words.as_str()));
        sane(&output, if refuses && !left_out { &[1] } else { &[0, 1, 3] }, &format!("{what}: restore --to"));
        if output.code != Some(1) {
            assert_same(what, tree_compare(&self.world.site.root, &to.join("code")));
        }
        let _ = fs::remove_dir_all(&to);
        // A site gets its directories back only by name, and pool files that it has still are not fetched.
        let in_place = !matches!(expected, Expected::Damage(words) if words.starts_with("directories/")) && !left_out;
        if refuses && in_place && how == How::Bent {
            let folders = [&self.world.site.root, &self.world.site.dataroot];
            let before = folders.map(|folder| fingerprint(folder));
            let rows = self.world.site.value("SELECT COUNT(*) FROM {files}");
            let output = self.world.run(&["restore", &self.names[1], "--yes"]);
            sane(&output, &[1, 5], &format!("{what}: restore"));
            for (folder, before) in folders.iter().zip(before) {
                assert_same(what, changes(&before, &fingerprint(folder)));
            }
            assert_eq!(self.world.site.value("SELECT COUNT(*) FROM {files}"), rows, "{what}");
        }
    }

    /// The names in the site's folder, and all files of the backups and the pool that are in their places, or were set aside.
    fn folders(&self) -> BTreeSet<String> {
        let mut find = Command::new("find");
        find.arg(self.world.site_folder()).args(["-type", "f", "-path", "*/20*", "-printf", "%P\n"]);
        let found = succeed(&mut find);
        let mut names: BTreeSet<String> = String::from_utf8_lossy(&found).lines().map(str::to_owned).collect();
        let mut find = Command::new("find");
        let (pool, damaged) = (self.world.site_folder().join("filedir"), self.world.site_folder().join("damaged"));
        find.args([pool, damaged]).args(["-type", "f", "-printf", "%f\n"]);
        names.extend(String::from_utf8_lossy(&succeed(&mut find)).lines().map(str::to_owned));
        // Notes change, and the link is switched.
        names.retain(|name| !name.starts_with("notes/"));
        names
    }
}

fn add_to_pool(world: &World) {
    let content = "uploaded between the backups";
    let hash = moodle_backup::hashes::to_hex(&<sha1::Sha1 as sha1::Digest>::digest(content));
    let folder = world.site.filedir().join(&hash[..2]).join(&hash[2..4]);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(hash), content).unwrap();
}

/// With hard links, owners and times.
fn copy(from: &Path, to: &Path) {
    succeed(Command::new("cp").arg("-a").arg(from).arg(to));
}

fn damage(how: How, file: &Path, other: &Path) {
    match how {
        How::CutShort => {
            let length = fs::metadata(file).unwrap().len();
            fs::File::options().write(true).open(file).unwrap().set_len(length / 2).unwrap();
        }
        How::Deleted => fs::remove_file(file).unwrap(),
        How::Bent => {
            let mut bytes = fs::read(file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(file, bytes).unwrap();
        }
        How::Swapped => {
            assert_ne!(fs::read(file).unwrap(), fs::read(other).unwrap(), "swapping them would change nothing");
            let between = file.with_file_name("between");
            fs::rename(file, &between).unwrap();
            fs::rename(other, file).unwrap();
            fs::rename(between, other).unwrap();
        }
    }
}

#[track_caller]
fn sane(output: &Output, codes: &[i32], what: &str) {
    let text = format!("{what}\n{}\n{}", output.stdout, output.stderr);
    assert!(output.code.is_some_and(|code| codes.contains(&code)), "exit code {:?}: {text}", output.code);
    for word in ["panicked", "has a mistake"] {
        assert!(!text.contains(word), "{text}");
    }
    if output.code == Some(1) {
        assert!(
            text.contains("next:") || text.contains("damage") || text.contains("DAMAGE"),
            "nothing to go on by: {text}"
        );
    }
}

/// A file of a backup itself.
fn own_file(file: &str) {
    let matrix = Matrix::new();
    let file = if file.starts_with("directories/") { matrix.directory() } else { file.to_owned() };
    matrix.each(&matrix.newest(&file), &matrix.older(&file), |_| Expected::Damage(format!("{file} ")));
}

impl Matrix {
    fn directory(&self) -> String {
        let found = fs::read_dir(self.newest("directories")).unwrap().next().unwrap().unwrap();
        format!("directories/{}", found.file_name().to_str().unwrap())
    }
}

#[test]
fn manifests() {
    let matrix = Matrix::new();
    let (newest, older) = (matrix.newest("manifest.json"), matrix.older("manifest.json"));
    matrix.each(&newest, &older, |_| Expected::Damage("manifest".into()));
}

#[test]
fn sums() {
    let matrix = Matrix::new();
    matrix.each(&matrix.newest("SHA256SUMS"), &matrix.older("SHA256SUMS"), |how| match how {
        // Another digit of a sum cannot be told from another content of the file.
        How::Bent => Expected::Damage("Damage in".into()),
        _ => Expected::Damage("SHA256SUMS ".into()),
    });
}

#[test]
fn dumps() {
    own_file("database/site.sql.zst");
}

#[test]
fn code() {
    own_file("code.tar.zst");
}

#[test]
fn directories() {
    own_file("directories/");
}

#[test]
fn moodledata() {
    let matrix = Matrix::new();
    let (file, other) = ("moodledata/added.txt", "moodledata/another.txt");
    matrix.each(&matrix.newest(file), &matrix.newest(other), |_| Expected::Damage(format!("{file} ")));
}

#[test]
fn indexes() {
    for file in ["index/code.zst", "index/moodledata.zst", "index/filedir.zst"] {
        own_file(file);
    }
}

#[test]
fn lists() {
    own_file("filedir.sha1.zst");
}

#[test]
fn notes() {
    let matrix = Matrix::new();
    let notes = |name: &str| matrix.world.site_folder().join("notes").join(format!("{name}.json"));
    let (file, other) = (notes(&matrix.names[0]), notes(&matrix.names[1]));
    matrix.each(&file, &other, |how| match how {
        How::CutShort | How::Swapped => Expected::Trouble("cannot read".into()),
        // A letter in a text, or a digit of a time, cannot be told from what was meant.
        How::Deleted | How::Bent => Expected::Harmless,
    });
}

#[test]
fn pool_files() {
    let matrix = Matrix::new();
    let hashes = listed(&matrix.world.site_folder().join(&matrix.names[0]));
    let mut paths = hashes.iter().map(|hash| {
        let path = matrix.world.site_folder().join("filedir").join(&hash[..2]).join(&hash[2..4]).join(hash);
        (hash.clone(), path)
    });
    let mut next = || paths.find(|(_, path)| fs::metadata(path).unwrap().len() > 0).unwrap();
    let ((hash, file), (_, other)) = (next(), next());
    matrix.each(&file, &other, |_| Expected::Damage(hash.clone()));
}

#[test]
fn the_link_to_the_newest() {
    let matrix = Matrix::new();
    let link = matrix.world.site_folder().join("latest");
    let newest = &matrix.names[1];
    let bent = newest.replace('Z', "z");
    for (how, points_to) in [
        (How::CutShort, Some(&newest[..10])),
        (How::Deleted, None),
        (How::Bent, Some(bent.as_str())),
        (How::Swapped, Some(matrix.names[0].as_str())),
    ] {
        matrix.reset();
        fs::remove_file(&link).unwrap();
        points_to.iter().for_each(|name| symlink(name, &link).unwrap());
        matrix.commands(how, &link, &Expected::Trouble("the link latest".into()));
        let now = matrix.world.backups();
        assert_eq!(fs::read_link(&link).unwrap().to_str(), Some(now[2].as_str()), "the run puts it right");
    }
}

/// A backup that claims to hold files elsewhere, or in which links, pipes and devices stand for files.
#[test]
fn made_up_backups_are_refused() {
    let matrix = Matrix::new();
    let secret = matrix.world.scratch().join("secret");
    fs::write(&secret, "only root may read this").unwrap();
    let manifest = matrix.newest("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    for path in ["../../../etc/shadow", "/etc/shadow", "code/../../x"] {
        fs::write(&manifest, text.replace("\"code.tar.zst\"", &format!("{path:?}"))).unwrap();
        let output = matrix.world.run(&["show", &matrix.names[1]]).expect_code(1);
        assert!(output.stderr.contains("names a file that is not in the backup"), "{}", output.stderr);
        let output = matrix.world.run(&["verify", "--all"]).expect_code(1);
        assert!(output.stdout.contains("not in the backup"), "{}", output.stdout);
    }
    // What stands for files: each time with a pipe, at which a careless reader would wait for ever.
    for file in ["manifest.json", "SHA256SUMS", "filedir.sha1.zst", "code.tar.zst", "index/code.zst"] {
        matrix.reset();
        let path = matrix.newest(file);
        for kind in ["link", "pipe", "device"] {
            fs::remove_file(&path).unwrap();
            match kind {
                "link" => symlink(&secret, &path).unwrap(),
                "pipe" => drop(succeed(Command::new("mkfifo").arg(&path))),
                _ => drop(succeed(Command::new("mknod").arg(&path).args(["c", "1", "5"]))),
            }
            for args in [&["list"][..], &["show", "latest"], &["status"], &["prune", "--dry-run"]] {
                sane(&matrix.world.run(args), &[0, 3], &format!("{file} is a {kind}: {args:?}"));
            }
            let output = matrix.world.run(&["verify", "--all"]);
            sane(&output, &[1], &format!("{file} is a {kind}"));
            assert!(output.stdout.contains(file), "{file} is a {kind}: {}", output.stdout);
            assert!(!(output.stdout + &output.stderr).contains("only root"));
        }
        sane(&matrix.world.run(&["run"]), &[0, 3], file);
        assert_whole(&matrix.world.site_folder().join(matrix.world.backups().pop().unwrap()));
        fs::remove_dir_all(matrix.world.site_folder().join(matrix.world.backups().pop().unwrap())).unwrap();
    }
    assert_eq!(fs::read_to_string(&secret).unwrap(), "only root may read this");
}
