//! Moving over from the Moodle Backup Scripts: what becomes of each of their settings, of their hook, of their line in cron,
//! and of the users' files that they have saved.

mod support;

#[path = "import/adoption.rs"]
mod adoption;
#[path = "import/trouble.rs"]
mod trouble;

use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Engine, Output, PocketSite, Scratch, World, succeed};

/// A machine on which the scripts are at work.
struct Old {
    world: World,
    scripts: PathBuf,
}

impl Old {
    fn new() -> Old {
        let world =
            World::builder(PocketSite::builder().engine(Engine::MariaDb).files(40).build()).without_web().build();
        fs::remove_file(world.settings_file()).unwrap();
        let scripts = world.root.join("opt/moodlebackup");
        fs::create_dir_all(&scripts).unwrap();
        Old { world, scripts }
    }

    fn settings(&self) -> PathBuf {
        self.scripts.join("settings.sh")
    }

    /// A settings file as theirs, for this site.
    fn write(&self, more: &str) {
        let site = &self.world.site;
        let parts = |path: &Path| (path.parent().unwrap().display().to_string(), name(path));
        let ((root_parent, root), (data_parent, data)) = (parts(&site.root), parts(&site.dataroot));
        let target = self.world.target.path().display();
        let text = format!(
            "#!/bin/bash\n# settings\nbackuptargetparentpath='{target}'\nbackuptargetdirname='Moodle'\n\
             moodlesiteparentpath=\"{root_parent}\"\nmoodlesitedirname='{root}'\nmoodledataparentpath='{data_parent}'\n\
             moodledatadirname='{data}'\n{more}"
        );
        fs::write(self.settings(), text).unwrap();
    }

    fn import(&self, args: &[&str]) -> Output {
        let file = self.settings().display().to_string();
        self.world.run(&[&["import-settings", &file], args].concat())
    }

    /// What became of their keys.
    fn lines(&self, args: &[&str]) -> Vec<Value> {
        let output = self.import(&[&["--json"], args].concat());
        let json: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{}", output.stderr));
        json["lines"].as_array().unwrap().clone()
    }

    fn set(&self) -> String {
        fs::read_to_string(self.world.settings_file()).unwrap()
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn each_key_becomes_a_setting_or_is_explained() {
    for (line, setting, words) in [
        ("backuptargetcheckmountbyuuid='1b2c-3d'", "mount_uuid = \"1b2c-3d\"", "mount_uuid"),
        (
            "listofadditionaldbtodump='wiki;'\\\n'grades'",
            "[[database.extra]]\nname = \"wiki\"\n\n[[database.extra]]\nname = \"grades\"",
            "wiki, grades",
        ),
        (
            "listofadditionaldirtosave='/etc/apache2;/etc/cron.d'",
            "paths = [\"/etc/apache2\", \"/etc/cron.d\"]",
            "paths",
        ),
        ("servermoodledaemon='www-data'", "web_user = \"www-data\"", "web_user"),
        ("serverservicename='apache2'", "services = [\"apache2.service\"]", "services"),
        ("phpexecpath='/usr/bin/php'", "php = \"/usr/bin/php\"", "php"),
        ("rsynctosavemoodledata='1'", "", "saved as files"),
        ("manualrsynctosavemoodledata='0'", "", "run --export FILE"),
        ("saveddataownerandgroup='www-data:www-data'", "", "the group moodle-backup may read"),
        ("manualsaveddataownerandgroup='admin:admin'", "", "the group moodle-backup may read"),
    ] {
        let old = Old::new();
        old.write(&format!("{line}\n"));
        let key = line.split('=').next().unwrap();
        let found = old.lines(&[]).into_iter().find(|it| it["key"] == key).expect(key);
        assert!(found["becomes"].as_str().unwrap().contains(words), "{found}");
        let settings = old.set();
        assert!(setting.is_empty() || settings.contains(&format!("\n{setting}\n")), "{setting}: {settings}");
    }
}

#[test]
fn the_whole_file_becomes_settings_that_work() {
    let old = Old::new();
    old.write("listofadditionaldirtosave=''\n");
    let dry = old.import(&["--dry-run"]).expect_code(0);
    assert!(dry.stdout.contains("Nothing was written"), "{}", dry.stdout);
    assert!(!old.world.settings_file().exists());
    old.import(&[]).expect_code(0);
    let settings = old.set();
    let root = format!("root = {:?}", old.world.site.root.display().to_string());
    assert!(settings.contains(&root) && settings.contains("name = \"moodle\""), "{settings}");
    old.world.run(&["check"]).expect_code(0);
    old.world.run(&["run"]).expect_code(0);
    // Once more is no change; another value is not written over.
    old.import(&[]).expect_code(0);
    assert_eq!(old.set(), settings);
    let edited = settings.replace("name = \"moodle\"", "name = \"school\" # mine");
    fs::write(old.world.settings_file(), &edited).unwrap();
    let refused = old.import(&[]).expect_code(5);
    assert!(refused.stderr.contains("name is \"school\", not \"moodle\""), "{}", refused.stderr);
    assert_eq!(old.set(), edited);
    old.import(&["--replace"]).expect_code(0);
    assert!(old.set().contains("name = \"moodle\" # mine"), "{}", old.set());
}

#[test]
fn nothing_in_their_file_is_run() {
    let old = Old::new();
    let trap = old.world.scratch().join("was-run");
    old.write(&format!(
        "a=$(touch {0})\nb=`touch {0}`\ntouch {0}\nserverservicename=\"$(touch {0})\"\n",
        trap.display()
    ));
    let lines = old.lines(&[]);
    assert!(!trap.exists());
    let strange: Vec<&Value> = lines.iter().filter(|it| it["look"] == true).collect();
    assert_eq!(strange.len(), 4, "{lines:?}");
    assert!(!old.set().contains("\nservices ="), "{}", old.set());
    let other = old.world.root.join("opt/other");
    fs::write(&other, "x=1\n").unwrap();
    let refused = old.world.run(&["import-settings", &other.display().to_string()]).expect_code(5);
    assert!(refused.stderr.contains("is no settings file of the Moodle Backup Scripts"), "{}", refused.stderr);
}

#[test]
fn their_hook_and_their_line_in_cron_are_taken_over() {
    let old = Old::new();
    old.write("");
    let script = old.scripts.join("postjob.sh");
    fs::write(&script, "#!/bin/bash\nrsync -a \"$1\" backup:/moodle\ncp $1/moodle.sql.gz /somewhere\n").unwrap();
    let crontabs = old.world.root.join("var/spool/cron/crontabs");
    fs::create_dir_all(&crontabs).unwrap();
    let crontab = crontabs.join("root");
    let line = format!("30 2 * * * {}/cron.sh CRON_FULL_RESTART", old.scripts.display());
    fs::write(&crontab, format!("# mine\n0 5 * * * /usr/bin/true\n{line}\n")).unwrap();
    fs::set_permissions(&crontab, fs::Permissions::from_mode(0o600)).unwrap();

    let script = script.display().to_string();
    let output = old.import(&["--post-job", &script, "--disable-cron"]).expect_code(3);
    let words = output.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("line 6: cp $1/moodle.sql.gz /somewhere"), "{words}");
    let hook = old.world.root.join("etc/moodle-backup/post-job.d/50-predecessor");
    let text = fs::read_to_string(&hook).unwrap();
    assert!(text.starts_with("#!/bin/bash\n# Taken over") && text.contains("rsync -a \"$1\""), "{text}");
    assert_eq!(fs::metadata(&hook).unwrap().permissions().mode() & 0o777, 0o755);
    let now = fs::read_to_string(&crontab).unwrap();
    let expected = format!("# mine\n0 5 * * * /usr/bin/true\n# put out of use by moodle-backup setup: {line}\n");
    assert_eq!(now, expected);
    assert_eq!(fs::metadata(&crontab).unwrap().permissions().mode() & 0o777, 0o600);
    let kept = fs::read_to_string(old.world.root.join("var/lib/moodle-backup/crontab.before-moodle-backup")).unwrap();
    assert!(kept.contains(&format!("\n{line}\n")));
}

/// Their last set: the files of users as the web user's.
fn old_set(old: &Old) -> PathBuf {
    let set = old.world.target.path().join("Moodle-last/moodledata");
    fs::create_dir_all(&set).unwrap();
    succeed(Command::new("cp").arg("-a").arg(old.world.site.filedir()).arg(&set));
    succeed(Command::new("chown").args(["-R", "www-data:www-data"]).arg(&set));
    set
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let found = succeed(Command::new("find").arg(folder).args([
        "-type",
        "f",
        "-name",
        "????????????????????????????????????????",
    ]));
    let mut files: Vec<PathBuf> = String::from_utf8(found).unwrap().lines().map(PathBuf::from).collect();
    files.sort();
    files
}

#[test]
fn their_last_set_becomes_the_pool_and_nothing_is_copied_again() {
    let old = Old::new();
    old.write("");
    let set = old_set(&old);
    let in_set = files(&set);
    // One was tampered with, and one is open for writing by somebody.
    let (bad, open) = (&in_set[0], &in_set[1]);
    let content = fs::read(bad).unwrap();
    fs::write(bad, [&content[..], b"!"].concat()).unwrap();
    let mut writer = fs::File::options().append(true).open(open).unwrap();
    let shown = old.import(&[]).expect_code(0);
    assert!(shown.stdout.split_whitespace().any(|word| word == set.to_str().unwrap()), "{}", shown.stdout);

    let output = old.import(&["--adopt", &set.display().to_string()]).expect_code(3);
    assert!(output.stderr.contains(&name(bad)), "{}", output.stderr);
    let pool = old.world.target.path().join("moodle/filedir");
    let pooled = files(&pool);
    assert_eq!(pooled.len(), in_set.len() - 1);
    for file in &pooled {
        let meta = fs::metadata(file).unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o022), (0, 0), "{} can be written", file.display());
    }
    let of_set = |file: &Path| fs::metadata(file).unwrap().ino();
    let same = |file: &Path| {
        let pooled = pool.join(file.strip_prefix(set.join("filedir")).unwrap());
        of_set(&pooled) == of_set(file)
    };
    assert!(same(&in_set[2]), "taken, not copied");
    assert!(!same(open), "what somebody can write is copied");
    std::io::Write::write_all(&mut writer, b"changed later").unwrap();

    let run = old.world.run(&["run", "--json"]).expect_code(0);
    let run: Value = serde_json::from_str(&run.stdout).unwrap();
    let manifest = old.world.target.path().join("moodle/latest/manifest.json");
    let manifest: Value = serde_json::from_str(&fs::read_to_string(manifest).unwrap()).unwrap();
    assert_eq!(manifest["pool"]["new_files"], 1, "only the one that was not whole is copied: {run}");
    old.world.run(&["verify"]).expect_code(0);
}

#[test]
fn a_set_that_is_none_is_refused() {
    let old = Old::new();
    old.write("");
    let empty = Scratch::new();
    let refused = old.import(&["--adopt", &empty.path().display().to_string()]).expect_code(5);
    assert!(refused.stderr.contains("has no folder filedir"), "{}", refused.stderr);
    let own = old.world.site.filedir().parent().unwrap().display().to_string();
    let refused = old.import(&["--adopt", &own]).expect_code(5);
    assert!(refused.stderr.contains("the site's own filedir"), "{}", refused.stderr);
}
