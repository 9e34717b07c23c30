//! The guided set-up: by a person at a terminal, key by key, and by answers in a file; what it makes, what it leaves alone,
//! and what is lost when somebody changes his mind. Nothing, that is.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use support::{Disk, Engine, Person, PocketSite, World, elsewhere, newcomer, number_of, script, succeed, without_xfs};

fn target(world: &World) -> String {
    world.target.path().display().to_string()
}

/// All files below the machine's /etc, with their content.
fn etc(world: &World) -> Vec<(String, Vec<u8>)> {
    let found = succeed(Command::new("find").arg(world.root.join("etc")).args(["-type", "f"]));
    let mut files: Vec<(String, Vec<u8>)> =
        String::from_utf8(found).unwrap().lines().map(|name| (name.to_owned(), fs::read(name).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn without_a_person_it_ends_in_a_verified_backup_and_a_second_time_changes_nothing() {
    for engine in Engine::ALL {
        let world = newcomer(engine);
        let target = target(&world);
        let args = ["setup", "--yes", "--target", &target, "--time", "02:10", "--mail", "root"];
        let plan = world.run(&[&args[..], &["--plan"]].concat()).expect_code(0).stdout;
        assert_eq!(plan.matches("wait for the disk").count(), 1, "{plan}");
        let output = world.run(&[&args[..], &["--first-backup"]].concat()).expect_code(0);
        assert!(output.stdout.contains("moodle is ready to be backed up"), "{}", output.stdout);
        let check = world.run(&["check"]).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(check.contains(" needed") && !check.contains("about 0.0"), "{check}");
        let backups = fs::read_dir(world.target.path().join("moodle")).unwrap();
        let backups = backups.flatten().filter(|it| it.file_name().to_string_lossy().starts_with("20")).count();
        assert_eq!(backups, 1);
        let list = world.run(&["list", "--json"]).expect_code(0).stdout;
        assert!(list.contains("\"verified\"") && list.contains("the first backup"), "{list}");

        // The settings are the sample with its comments, and the values in their places.
        let settings = fs::read_to_string(world.settings_file()).unwrap();
        assert!(settings.contains("# The folder of Moodle's code"), "{settings}");
        assert!(settings.contains(&format!("\nroot = {:?}\n", world.site.root.display().to_string())), "{settings}");
        assert!(settings.contains(&format!("\npath = {target:?}\n")), "{settings}");
        let mail = world.root.join("etc/moodle-backup/failure.d/50-mail");
        assert_eq!(fs::metadata(&mail).unwrap().permissions().mode() & 0o777, 0o755);
        let timer = world.root.join("etc/systemd/system/moodle-backup.timer.d/schedule.conf");
        assert!(fs::read_to_string(timer).unwrap().contains("OnCalendar=\nOnCalendar=*-*-* 02:10"));
        let mount = world.root.join("etc/systemd/system/moodle-backup.service.d/target.conf");
        // The tests' folders lie on a disk of their own.
        let mount = fs::read_to_string(mount).unwrap();
        assert!(mount.contains("\nWants=tmp-") && mount.contains("\nAfter=tmp-"), "{mount}");

        let before = etc(&world);
        let output = world.run(&args).expect_code(0);
        assert!(output.stdout.contains("nothing was changed"), "{}", output.stdout);
        assert!(before == etc(&world), "a second time changes nothing");
        world.run(&["setup", "--yes", "--first-backup"]).expect_code(0);
        let backups = fs::read_dir(world.target.path().join("moodle")).unwrap();
        let backups = backups.flatten().filter(|it| it.file_name().to_string_lossy().starts_with("20")).count();
        assert_eq!(backups, 2, "a backup was asked for");
        assert!(before == etc(&world), "and nothing else");
        let output = world.run(&["setup", "--yes"]).expect_code(0);
        assert!(output.stdout.contains("nothing was changed"), "{}", output.stdout);
        assert!(before == etc(&world), "what is not said is as it was");
    }
}

#[test]
fn an_empty_disk_is_made_ready_by_answers_and_full_ones_are_not() {
    let world = newcomer(Engine::MariaDb);
    let place = world.scratch().join("backup");
    let answers = |disk: &Disk, more: &str| {
        let file = world.scratch().join("answers.toml");
        let device = disk.path.display();
        let target =
            format!("first_backup = true\n[target]\nway = \"format\"\ndevice = \"{device}\"\npath = {place:?}\n{more}");
        fs::write(&file, target).unwrap();
        file.display().to_string()
    };
    let full = Disk::new().with("mkfs.ext4", &["-q", "-F", "-L", "exams"]);
    let content = full.content();
    let before = etc(&world);
    // A plan looks at what the real call looks at, and says what would be lost.
    for more in ["", "destroy = \"/dev/sda\"\n"] {
        let refused = world.run(&["setup", "--plan", "--answers", &answers(&full, more)]).expect_code(5);
        assert!(refused.stderr.contains("\"exams\"") && refused.stderr.contains("destroy ="), "{}", refused.stderr);
    }
    let typed = format!("destroy = \"{}\"\n", full.path.display());
    let planned = world.run(&["setup", "--plan", "--answers", &answers(&full, &typed)]).expect_code(0);
    assert!(planned.stdout.replace("\n    ", " ").contains("ALL THAT IS ON IT IS LOST"), "{}", planned.stdout);
    assert!(planned.stdout.contains("\"exams\""), "{}", planned.stdout);
    let refused = world.run(&["setup", "--answers", &answers(&full, "")]).expect_code(5);
    assert!(refused.stderr.contains("ext4 with the label \"exams\""), "{}", refused.stderr);
    assert!(refused.stderr.contains("destroy ="), "{}", refused.stderr);
    assert!(content == full.content(), "something was written to a disk with exams on it");
    assert!(before == etc(&world), "and nothing else was done");

    let mistyped = world.run(&["setup", "--answers", &answers(&full, "destory = \"x\"\n")]).expect_code(5);
    assert!(mistyped.stderr.contains("destory"), "{}", mistyped.stderr);

    let empty = Disk::of_mebibytes(500);
    let file = answers(&empty, "");
    let planned = world.run(&["setup", "--plan", "--answers", &file]).expect_code(0);
    assert!(planned.stdout.contains("make an ext4 file system on"), "{}", planned.stdout);
    assert!(before == etc(&world) && empty.content().iter().all(|byte| *byte == 0), "a plan does nothing");
    world.run(&["setup", "--answers", &file]).expect_code(0);
    let settings = fs::read_to_string(world.settings_file()).unwrap();
    assert!(settings.contains("\nmount_uuid = \""), "{settings}");
    assert!(place.join("moodle/latest/RESTORE.txt").exists());

    let before = etc(&world);
    let again = world.run(&["setup", "--answers", &file.clone()]).expect_code(0);
    assert!(again.stdout.contains("nothing was changed"), "{}", again.stdout);
    assert!(before == etc(&world));
    drop(empty);
    let _ = Command::new("chattr").arg("-i").arg(&place).status();
}

/// Answers that format a disk, and take its name for agreed.
fn format_answers(world: &World, disk: &Disk) -> String {
    let (file, place) = (world.scratch().join("answers.toml"), world.scratch().join("backup"));
    let device = disk.path.display();
    let text = format!(
        "first_backup = true\n[target]\nway = \"format\"\ndevice = \"{device}\"\nfile_system = \"ext4\"\npath = {place:?}\n\
         destroy = \"{device}\"\n"
    );
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

/// P2: what was typed once in a file of answers is there for ever, and the disk has backups on it by then.
#[test]
fn the_same_answers_never_format_the_disk_of_the_backups_again() {
    let world = newcomer(Engine::MariaDb);
    let place = world.scratch().join("backup");
    let disk = Disk::of_mebibytes(500).with("mkfs.ext4", &["-q", "-F", "-L", "exams"]);
    let file = format_answers(&world, &disk);
    world.run(&["setup", "--answers", &file]).expect_code(0);
    world.run(&["run"]).expect_code(0);
    let unmount = || support::unmount(&place);
    let settings = fs::read_to_string(world.settings_file()).unwrap();
    unmount();
    // What shows that the disk is absent shows how it comes back, of the right site.
    let further = world.settings_file().with_file_name("further.toml");
    fs::copy(world.settings_file(), &further).unwrap();
    let named = further.display().to_string();
    let told = world.run(&["check"]).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains(&format!("\"mount {}\" mounts it again", place.display())), "{told}");
    fs::remove_file(world.root.join("etc/fstab")).unwrap();
    for command in ["check", "status"] {
        for (more, way) in [
            (&[][..], "\"moodle-backup setup --yes\" mounts it".to_owned()),
            (&["--settings", &named], format!("\"moodle-backup --settings {named} setup --yes\" mounts it")),
        ] {
            let told = world.run(&[more, &[command]].concat()).stdout;
            let words = told.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.contains(&way), "{command}: {told}");
        }
    }
    fs::remove_file(further).unwrap();
    succeed(Command::new("mount").arg(&disk.path).arg(&place));
    for more in [&[][..], &["--target", place.to_str().unwrap()]] {
        unmount();
        let unasked = world.run(&[&["setup", "--yes"], more].concat()).expect_code(0);
        assert!(unasked.stderr.contains("done: mount it at"), "{}", unasked.stderr);
        assert!(place.join("moodle/latest").exists());
        assert_eq!(fs::read_to_string(world.settings_file()).unwrap(), settings);
    }
    let backups = || {
        let there = fs::read_dir(place.join("moodle")).into_iter().flatten().flatten();
        there.filter(|it| it.file_name().to_string_lossy().starts_with("20")).count()
    };
    assert_eq!(backups(), 2);

    // The same disk at another place: what is on it comes along, so nothing is to be moved.
    let elsewhere = world.scratch().join("elsewhere");
    let moved = world.scratch().join("moved.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&moved, text.replace(place.to_str().unwrap(), elsewhere.to_str().unwrap())).unwrap();
    let planned = world.run(&["setup", "--plan", "--answers", moved.to_str().unwrap()]).expect_code(0).stdout;
    assert!(planned.contains("without formatting it") && planned.contains("elsewhere"), "{planned}");
    assert!(!planned.contains("not be found") && !planned.contains("mv "), "{planned}");

    // As after a boot at which the disk was not mounted.
    unmount();
    let planned = world.run(&["setup", "--plan", "--answers", &file]).expect_code(0);
    assert!(planned.stdout.contains("without formatting it"), "{}", planned.stdout);
    let again = world.run(&["setup", "--answers", &file]).expect_code(0);
    assert!(again.stderr.contains("is not formatted") && !again.stderr.contains("IS LOST"), "{}", again.stderr);
    assert_eq!(backups(), 2);

    // Nothing but what lies on it tells what it is.
    unmount();
    succeed(Command::new("e2label").arg(&disk.path).arg(""));
    fs::remove_file(world.settings_file()).unwrap();
    let unnamed = world.run(&["setup", "--answers", &file]).expect_code(0);
    assert!(unnamed.stderr.contains("there are backups on it, in its folder moodle"), "{}", unnamed.stderr);
    assert_eq!(backups(), 2);

    // Another disk has its name by now.
    unmount();
    let photos = Disk::of_mebibytes(500).with("mkfs.ext4", &["-q", "-F", "-L", "photos"]);
    let content = photos.content();
    let file = format_answers(&world, &photos);
    let told = world.run(&["setup", "--answers", &file]).expect_code(0);
    let words = told.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(&format!("the answers name {}", photos.path.display())), "{words}");
    assert!(content == photos.content(), "something was written to a disk with photos on it");
    assert_eq!(backups(), 2);

    unmount();
    drop(disk);
    let settings = fs::read_to_string(world.settings_file()).unwrap();
    let absent = world.run(&["setup", "--yes"]).expect_code(5);
    assert!(absent.stdout.contains("is not mounted at"), "{}", absent.stdout);
    assert_eq!(
        fs::read_to_string(world.settings_file()).unwrap(),
        settings,
        "its disk is still the one that is wanted"
    );
    let refused = world.run(&["setup", "--answers", &file]).expect_code(5);
    assert!(refused.stderr.contains("photos") && refused.stderr.contains("wipefs --all"), "{}", refused.stderr);
    assert!(content == photos.content(), "something was written to a disk with photos on it");

    // An empty one in place of a broken one is taken, and the settings know it.
    let file = format_answers(&world, &Disk::of_mebibytes(500));
    let gone = world.run(&["setup", "--answers", &file]).expect_code(5);
    assert!(gone.stderr.contains("there is no disk"), "{}", gone.stderr);
    let new = Disk::of_mebibytes(500);
    let told = world.run(&["setup", "--answers", &format_answers(&world, &new)]).expect_code(0).stdout;
    let words = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("WARNING: the disk of the backups until now, "), "{told}");
    assert_eq!(backups(), 1);
    let settings = fs::read_to_string(world.settings_file()).unwrap();
    let uuid = settings.lines().find_map(|line| line.strip_prefix("mount_uuid = ")).unwrap().trim_matches('"');
    let fstab = fs::read_to_string(world.root.join("etc/fstab")).unwrap();
    assert_eq!(fstab.matches("UUID=").count(), 1, "{fstab}");
    assert!(fstab.contains(&format!("UUID={uuid} {} ", place.display())), "the next start mounts the new one: {fstab}");
    drop(new);
    let _ = Command::new("chattr").arg("-i").arg(&place).status();
}

/// P7: to look for sites is not to run what anybody has laid down.
#[test]
fn what_others_have_laid_down_is_not_run_to_see_what_it_is() {
    let world = newcomer(Engine::MariaDb);
    let (planted, ran) = (world.root.join("home/eve/moodle"), world.site.dataroot.join("ran"));
    fs::create_dir_all(planted.join("lib")).unwrap();
    for (name, text) in [("version.php", "<?php $release = '9.9';"), ("lib/setup.php", "<?php")] {
        fs::write(planted.join(name), text).unwrap();
    }
    let (data, mark) = (world.site.dataroot.display(), ran.display());
    fs::write(planted.join("config.php"), format!("<?php touch('{mark}');\n$CFG->dataroot = '{data}';\n")).unwrap();
    succeed(Command::new("chown").args(["-R", "nobody"]).arg(world.root.join("home/eve")));
    let args = ["setup", "--yes", "--plan", "--target", &target(&world)];
    let several = world.run(&args).expect_code(5);
    assert!(several.stderr.contains("nobody can change it"), "{}", several.stderr);
    fs::remove_file(world.root.join("var/www/moodle")).unwrap();
    let alone = world.run(&args).expect_code(5);
    assert!(alone.stderr.contains("not taken unasked"), "{}", alone.stderr);
    assert!(!ran.exists(), "it was run");
    // Who names it has looked at it.
    world.run(&[&args[..], &["--root", planted.to_str().unwrap()]].concat());
    assert!(ran.exists(), "a test that could not fail");
}

/// Its settings are its pool's user's, as elsewhere they are the web server's; and nobody else runs them.
#[test]
fn a_site_of_a_user_for_whom_php_has_a_pool_is_found() {
    let world = newcomer(Engine::MariaDb);
    let (root, data) = (&world.site.root, &world.site.dataroot);
    succeed(Command::new("chown").args(["-R", "games"]).args([root, data]));
    let args = ["setup", "--yes", "--plan", "--target", &target(&world)];
    let foreign = world.run(&args).expect_code(5);
    assert!(foreign.stderr.contains("games can change it"), "{}", foreign.stderr);
    let pools = world.root.join("etc/php/8.2/fpm/pool.d");
    fs::create_dir_all(&pools).unwrap();
    fs::write(pools.join("school.conf"), "[school]\nuser = games\n").unwrap();
    let found = world.run(&args);
    let words = found.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("as the user games"), "{words} {}", found.stderr);
    // Somebody else can change what he runs.
    succeed(Command::new("chown").arg("nobody").arg(root));
    world.run(&args).expect_code(5);
    succeed(Command::new("chown").args(["-R", support::WEB_USER]).args([root, data]));
}

#[test]
fn a_site_that_only_an_included_file_names_is_found() {
    let world = newcomer(Engine::MariaDb);
    fs::rename(world.root.join("var/www"), world.root.join("data")).unwrap();
    let (apache, target) = (world.root.join("etc/apache2"), target(&world));
    fs::create_dir_all(apache.join("schools/north")).unwrap();
    fs::write(apache.join("envvars"), "export SCHOOLS=/data\n").unwrap();
    fs::write(apache.join("apache2.conf"), "Include schools/*/*.conf\n").unwrap();
    let args = ["setup", "--yes", "--plan", "--target", &target];
    let none = world.run(&args).expect_code(5);
    assert!(none.stderr.contains("no Moodle site was found"), "{}", none.stderr);
    fs::write(apache.join("schools/north/a.conf"), "Define SITE ${SCHOOLS}/moodle\nDocumentRoot ${SITE}/public\n")
        .unwrap();
    fs::create_dir_all(world.site.root.join("public")).unwrap();
    let found = world.run(&args).expect_code(0);
    let words = found.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(&format!("back up the site in {},", world.site.root.display())), "{}", found.stdout);
}

#[test]
fn nobody_is_nobody_wherever_it_is_said() {
    let world = newcomer(Engine::MariaDb);
    let (place, hook) = (target(&world), world.root.join("etc/moodle-backup/failure.d/50-mail"));
    let set_up = |more: &[&str]| world.run(&[&["setup", "--yes", "--target", &place], more].concat()).expect_code(0);
    set_up(&["--mail", "nobody"]);
    assert!(!hook.exists());
    let told = set_up(&["--mail", "root", "--time", "03:05"]);
    // What the questions say of an answer is said without questions too.
    let words = told.stdout.replace("\n         ", " ");
    assert!(words.contains("sendmail") && words.contains("empty a table"), "{}", told.stdout);
    let mails = |address: &str| fs::read_to_string(&hook).unwrap().contains(&format!("to='{address}'"));
    assert!(mails("root"));

    // One for all sites: who is told of a further one says so, and to tell nobody of it takes nothing away.
    let second = second_site(&world);
    let (two, root) = (world.settings_file().with_file_name("two.toml"), second.root.display().to_string());
    let further = |mail: &str| {
        let args = ["--settings", two.to_str().unwrap(), "setup", "--yes", "--root", &root, "--target", &place];
        world.run(&[&args[..], &["--mail", mail]].concat()).expect_code(0)
    };
    further("nobody");
    assert!(mails("root"));
    let told = further("admin@example.org");
    let words = told.stderr.replace("\n  ", " ");
    assert!(words.contains("of all sites of this server, and no more to root"), "{}", told.stderr);
    assert!(mails("admin@example.org"));

    let file = world.scratch().join("answers.toml");
    fs::write(&file, format!("[site]\nroot = {:?}\n[notification]\nmail = \"nobody\"\n", world.site.root)).unwrap();
    world.run(&["setup", "--answers", file.to_str().unwrap()]).expect_code(0);
    assert!(!hook.exists());
}

#[test]
fn who_keeps_fewer_backups_is_told_how_many_go() {
    let world = newcomer(Engine::MariaDb);
    world.run(&["setup", "--yes", "--target", &target(&world), "--first-backup"]).expect_code(0);
    world.run(&["run"]).expect_code(0);
    world.run(&["run"]).expect_code(0);
    let file = world.scratch().join("answers.toml");
    let plan = |last: u32| {
        let kept = format!("last = {last}\ndaily = 0\nweekly = 0\nmonthly = 0\n");
        fs::write(&file, format!("[site]\nroot = {:?}\n[retention]\n{kept}", world.site.root)).unwrap();
        let planned = world.run(&["setup", "--plan", "--answers", file.to_str().unwrap()]).expect_code(0).stdout;
        planned.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(plan(1).contains("WARNING: fewer backups are kept from now on: the next run removes 2 of the 3"));
    assert!(!plan(3).contains("fewer backups"));
}

#[test]
fn who_renames_a_site_or_moves_its_place_is_told_of_the_backups_that_stay() {
    let world = newcomer(Engine::MariaDb);
    let place = target(&world);
    world.run(&["setup", "--yes", "--target", &place, "--first-backup"]).expect_code(0);
    let moved = world.scratch().join("elsewhere").display().to_string();
    let command = format!("mv -T '{place}/moodle' '{moved}/moodle'");
    let planned = world.run(&["setup", "--yes", "--plan", "--target", &moved]).expect_code(0);
    let words = planned.stdout.replace("\n         ", " ");
    assert!(words.contains("WARNING: the backup stays where it is") && words.contains(&command), "{}", planned.stdout);
    // One that was made before they are moved would be in their way.
    let renamed = world.run(&["setup", "--yes", "--name", "gymnasium", "--first-backup"]).expect_code(3);
    assert!(renamed.stderr.contains("No backup is made now"), "{}", renamed.stderr);
    let command = format!("mv -T '{place}/moodle' '{place}/gymnasium'");
    let words = renamed.stdout.replace("\n         ", " ");
    assert!(words.contains("not be found any more") && words.contains(&command), "{}", renamed.stdout);
    // What it says to do is right.
    succeed(Command::new("sh").args(["-c", &command]));
    let list = world.run(&["list", "--json"]).expect_code(0).stdout;
    assert!(list.contains("the first backup"), "{list}");
    world.run(&["run"]).expect_code(0);
    let again = world.run(&["setup", "--yes"]).expect_code(0);
    assert!(!again.stdout.contains("not be found"), "{}", again.stdout);
}

#[test]
fn a_bad_place_for_backups_is_refused_whoever_names_it() {
    let world = newcomer(Engine::MariaDb);
    let before = etc(&world);
    let (code, data) = (world.site.root.join("b/c"), world.site.dataroot.join("backup"));
    let (code, data) = (code.to_str().unwrap(), data.to_str().unwrap());
    let file = world.scratch().join("answers.toml");
    let bad = [
        (code, "lies in"),
        (data, "lies in"),
        ("/dev/shm/bk", "lies in memory"),
        ("relative/x", "from \"/\" on"),
        ("/dev/null", "is no folder"),
        ("/dev/null/x", "is no folder"),
    ];
    for (place, words) in bad {
        let refused = world.run(&["setup", "--yes", "--plan", "--target", place]).expect_code(5);
        assert!(refused.stderr.contains(words), "{place}: {}", refused.stderr);
        fs::write(&file, format!("[target]\nway = \"folder\"\npath = {place:?}\n")).unwrap();
        let refused = world.run(&["setup", "--answers", file.to_str().unwrap()]).expect_code(5);
        assert!(refused.stderr.contains(words), "{place}: {}", refused.stderr);
    }
    assert!(before == etc(&world) && !Path::new(code).exists() && !Path::new(data).exists());

    let mut person = Person::at(&world, &["setup"]);
    person.answer("Which site is to be backed up?", "\n");
    person.answer("What is it to be called here?", "\n");
    person.wait_for("  a plain folder");
    let number = number_of(&person, "a plain folder");
    person.answer("", &format!("{number}\n"));
    person.wait_for("Which folder?");
    for (place, words) in bad {
        person.answer("", &format!("{place}\n"));
        person.wait_for(words);
    }
    assert!(!person.terminal.text().contains("[target]"), "words of the settings: {}", person.terminal.text());
    person.answer("", &format!("{}\n", target(&world)));
    person.answer("When is the backup", "\x03");

    // What everybody can fetch is a bad place too, but perhaps not on this server.
    fs::create_dir_all(world.root.join("etc/apache2/sites-enabled")).unwrap();
    fs::write(world.root.join("etc/apache2/sites-enabled/a.conf"), "DocumentRoot /var/www/html\n").unwrap();
    let shown = world.root.join("var/www/html/backup").display().to_string();
    let args = ["setup", "--yes", "--target", &shown];
    let planned = world.run(&[&args[..], &["--plan"]].concat()).expect_code(0);
    assert!(
        planned.stdout.contains("WARNING: ") && planned.stdout.contains("shows to everybody"),
        "{}",
        planned.stdout
    );
    let done = world.run(&args).expect_code(0);
    assert!(done.stdout.contains("shows to everybody"), "{}", done.stdout);
}

#[test]
fn a_person_is_led_through_it() {
    let mut world = newcomer(Engine::MariaDb);
    world.set_env("NO_COLOR", "1");
    let target = target(&world);
    let before = etc(&world);
    let mut person = Person::at(&world, &["setup"]);
    // As its users call it.
    person.wait_for("Which site is to be backed up?");
    person.wait_for("\"Pocket Moodle\",");
    person.answer("", "?\n");
    person.wait_for("holds config.php");
    person.answer("", "9\n");
    person.wait_for("Please answer with a number");
    person.answer("", "\n");
    person.answer("What is it to be called here?", "Not A Name\n");
    person.wait_for("It must be");
    person.answer("", "pocket\n");
    person.answer("Where are the backups to go?", "<\n");
    // Back a step, and on again.
    person.answer("What is it to be called here?", "\n");
    person.choose("a plain folder");
    person.answer("Which folder?", &format!("{target}\n"));
    person.answer("When is the backup to be made", "25:00\n");
    person.wait_for("no time of the day");
    person.answer("", "04:05\n");
    person.answer("read again each week", "y\n");
    person.answer("How many backups are to be kept?", "2 5 0 0 0\n");
    person.answer("Which folders of the server's own", "none\n");
    person.answer("in another database", "none\n");
    person.answer("Who is to get a mail", "nobody\n");
    person.wait_for("This will be done:");
    // In sentences, not as keys of a file.
    person.wait_for("and call it");
    person.wait_for("put the backups into");
    assert!(!person.terminal.text().contains("path = "), "{}", person.terminal.text());
    // Nothing of the old scripts is here, and nothing is said of them.
    assert!(person.terminal.text().contains("The site (1 of 11)"), "{}", person.terminal.text());
    assert!(before == etc(&world), "nothing is done before the summary was agreed to");
    person.answer("Do all of this now?", "yes\n");
    person.wait_for("is ready to be backed up");
    person.answer("Make the first backup now", "yes\n");
    person.wait_for("restore --plan");
    assert!(person.terminal.wait().success(), "{}", person.terminal.text());
    let text = person.terminal.text();
    assert!(text.is_ascii(), "a serial line shows it too");
    let wide =
        text.split('\n').map(|line| line.trim_end_matches('\r')).find(|line| line.contains("> ") && line.len() > 100);
    assert_eq!(wide, None);
    assert!(world.target.path().join("pocket/latest/manifest.json").exists());
    let settings = fs::read_to_string(world.settings_file()).unwrap();
    for line in ["name = \"pocket\"", "last = 2", "daily = 5", "monthly = 0"] {
        assert!(settings.lines().any(|it| it == line), "{line}: {settings}");
    }
}

/// The program where PostgreSQL's clients are of 9.6, until apt-get is asked a second time for those of the server.
fn with_old_clients(world: &World, args: &[&str], server: &str) -> Command {
    let place = world.scratch().join("old clients");
    script(&place, "pg_dump", "echo 'pg_dump (PostgreSQL) 9.6.24'");
    let (apart, shown) = ("/usr/lib/postgresql", place.display());
    script(
        &place,
        "apt-get",
        &format!(
            "echo \"$*\" >>'{shown}/asked'\ncase \"$*\" in *update) exit 0; esac\n\
             [ $(grep -c install '{shown}/asked') -gt 2 ] || exit 100\n\
             mkdir -p {apart}/{server} && mount --bind '{shown}/new' {apart}/{server}"
        ),
    );
    let mounts = format!(
        "mkdir '{shown}/new' && mount --bind {apart}/{server} '{shown}/new' && mount -t tmpfs tmpfs {apart} && \
         mkdir -p {apart}/9/bin && cp '{shown}/new/bin/psql' '{shown}/pg_dump' {apart}/9/bin && \
         mount -t tmpfs tmpfs /usr/local/sbin && cp '{shown}/pg_dump' '{shown}/apt-get' /usr/local/sbin/"
    );
    elsewhere(world, args, &mounts)
}

#[test]
fn a_person_chooses_a_disk_and_finds_the_answers_again() {
    let world = newcomer(Engine::MariaDb);
    let place = world.scratch().join("backup").display().to_string();
    let (empty, secret) = (Disk::of_mebibytes(500), Disk::of_mebibytes(500));
    // Data without a name, where neither end of the disk shows it.
    let output = format!("of={}", secret.path.display());
    let range = ["if=/dev/urandom", "bs=1M", "seek=100", "count=100", "conv=notrunc,fsync", "status=none"];
    succeed(Command::new("dd").args(range).arg(output));
    let mut person = Person::of(without_xfs(&world, &["setup"]));
    person.answer("Which site is to be backed up?", "\n");
    person.answer("What is it to be called here?", "\n");
    person.wait_for("All programs that are needed are here.");
    person.wait_for("  a plain folder");
    let text = person.terminal.text();
    let line = |disk: &Disk| {
        let name = format!("{},", disk.path.display());
        text.lines().skip_while(|line| !line.contains(&name)).take(2).map(str::trim).collect::<Vec<_>>().join(" ")
    };
    assert!(line(&empty).contains("MiB: empty, to be formatted"), "{text}");
    assert!(line(&secret).contains("nothing known on it, but NOT empty"), "{text}");
    let number = number_of(&person, &format!("{},", empty.path.display()));
    person.answer("", &format!("{number}\n"));
    person.answer("Which file system?", "2\n");
    // What that needs is known only now. Without it that one cannot be chosen.
    person.wait_for("mkfs.xfs is missing");
    person.answer("Install xfsprogs now?", "no\n");
    person.wait_for("Without mkfs.xfs no xfs file system can be made");
    person.wait_for("Which file system?");
    person.answer("[1]", "2\n");
    person.answer("Install xfsprogs now?", "yes\n");
    person.answer("Where is it to be mounted?", &format!("{place}\n"));
    person.answer("When is the backup to be made", "<\n");

    for _ in 0..2 {
        person.answer("Where are the backups to go?", "<\n");
        person.answer("What is it to be called here?", "\n");
    }
    person.wait_for("Where are the backups to go?");
    person.wait_for("  a plain folder");
    // Disks of other tests come and go.
    let number = number_of(&person, &format!("{},", empty.path.display()));
    person.answer(&format!("[{number}]"), "\n");
    person.wait_for("Which file system?");
    person.answer("[2]", "\n");
    person.wait_for("Where is it to be mounted?");
    person.answer(&format!("[{place}]"), "\n");
    person.answer_up_to_the_summary();
    person.wait_for(&format!("make an xfs file system on {}", empty.path.display()));
    person.answer("Do all of this now?", "\x03");
    // A package was installed.
    person.wait_for("nothing more was changed");
    assert!(empty.content().iter().all(|byte| *byte == 0));

    // In a plan it is only told.
    let file = world.scratch().join("answers.toml");
    let device = empty.path.display();
    let text = format!("[target]\nway = \"format\"\ndevice = \"{device}\"\nfile_system = \"xfs\"\npath = {place:?}\n");
    fs::write(&file, text).unwrap();
    let args = ["setup", "--plan", "--install-packages", "--answers", file.to_str().unwrap()];
    let planned = without_xfs(&world, &args).output().unwrap();
    let told = String::from_utf8_lossy(&planned.stdout);
    assert!(planned.status.success() && told.contains("- install xfsprogs\n"), "{planned:?}");
}

#[test]
fn a_pg_dump_that_is_older_than_the_server_is_not_enough() {
    let world = newcomer(Engine::Postgres);
    let installed = fs::read_dir("/usr/lib/postgresql").unwrap().flatten();
    let server = installed.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok()).max().unwrap().to_string();
    let args = ["setup", "--yes", "--plan", "--target", &target(&world)];
    let refused = with_old_clients(&world, &args, &server).output().unwrap();
    assert_eq!(refused.status.code(), Some(5));
    let words = String::from_utf8_lossy(&refused.stderr).replace("\n  ", " ");
    assert!(words.contains(&format!("missing: pg_dump {server} or newer")), "{words}");
    assert!(words.contains(&format!("apt install postgresql-client-{server}")), "{words}");
    world.run(&args).expect_code(0);

    fs::remove_dir(world.scratch().join("old clients/new")).unwrap();
    let mut person = Person::of(with_old_clients(&world, &["setup"], &server));
    person.answer("Which site is to be backed up?", "\n");
    person.answer("What is it to be called here?", "\n");
    person.wait_for(&format!("pg_dump {server} or newer is missing: it dumps the database"));
    person.answer(&format!("Install postgresql-client-{server} now?"), "yes\n");
    person.wait_for("apt could not install");
    person.answer(&format!("Install postgresql-client-{server} now?"), "yes\n");
    person.answer("Where are the backups to go?", "<\n");
    person.wait_for("All programs that are needed are here.");
    person.answer("What is it to be called here?", "\x03");
    person.wait_for("nothing more was changed");
}

/// The backup goes on, and nothing is said to be wrong; that it is not verified is said.
#[test]
fn who_does_not_wait_for_the_first_backup_is_told_so() {
    let world = newcomer(Engine::MariaDb);
    let gate = world.scratch().join("go-on");
    support::add_hook(&world, "pre-job.d", "10-hold", &format!("until [ -e {} ]; do sleep 0.05; done", gate.display()));
    let mut person = Person::at(&world, &["setup"]);
    person.answer("Which site is to be backed up?", "\n");
    person.answer("What is it to be called here?", "\n");
    person.choose("a plain folder");
    person.answer("Which folder?", &format!("{}\n", target(&world)));
    person.answer_up_to_the_summary();
    person.answer("Do all of this now?", "yes\n");
    person.answer("Make the first backup now", "yes\n");
    person.wait_for("pre-job");
    person.terminal.type_keys("\x03");
    person.wait_for("The backup goes on");
    person.wait_for("It is not verified then");
    person.terminal.wait();
    assert!(!person.terminal.text().contains("error:"), "{}", person.terminal.text());
    fs::write(gate, "").unwrap();
    support::wait_for("the backup to end", std::time::Duration::from_secs(60), || world.processes().is_empty());
    assert!(Path::new(&target(&world)).join("moodle/latest/manifest.json").exists());
}

#[test]
fn who_goes_away_leaves_nothing_half_done() {
    let world = newcomer(Engine::MariaDb);
    let before = etc(&world);
    for (keys, code) in [("\x03", 1), ("\x04", 1)] {
        let mut person = Person::at(&world, &["setup"]);
        person.answer("Which site is to be backed up?", "\n");
        person.answer("What is it to be called here?", keys);
        person.wait_for("othing was changed");
        assert_eq!(person.terminal.wait().code(), Some(code));
    }
    let mut person = Person::at(&world, &["setup"]);
    person.answer("Which site is to be backed up?", "\n");
    person.wait_for("What is it to be called here?");
    person.terminal.hang_up();
    assert!(before == etc(&world));
}

#[test]
fn who_changes_one_thing_is_asked_for_that_alone() {
    let world = newcomer(Engine::MariaDb);
    world.run(&["setup", "--yes", "--target", &target(&world), "--time", "04:05"]).expect_code(0);
    let before = etc(&world);
    let mut person = Person::at(&world, &["setup"]);
    person.wait_for("This site is set up already");
    for set in ["called \"moodle\"", &target(&world), "04:05", "the 3 newest, one a day", "to: nobody"] {
        person.wait_for(set);
    }
    person.answer("", "?\n");
    person.wait_for("only that is asked then");
    person.answer("", "5 8\n");
    person.answer("How many backups are to be kept?", "<\n");
    person.answer("What is to be changed?", "8 5\n");
    person.answer("How many backups are to be kept?", "1\n");
    person.answer("Who is to get a mail", "root\n");
    person.answer("Do all of this now?", "<\n");
    person.answer("Who is to get a mail", "<\n");
    person.answer("How many backups are to be kept?", "<\n");
    // What was answered is shown, and still only that.
    person.wait_for("What is to be changed?");
    person.wait_for("(until now:");
    person.answer("", "5\n");
    person.answer("How many backups are to be kept?", "\n");
    person.answer("Do all of this now?", "yes\n");
    person.answer("Make the first backup now", "no\n");
    assert!(person.terminal.wait().success(), "{}", person.terminal.text());
    let text = person.terminal.text();
    assert!(!text.contains("Which site") && !text.contains("Where are the backups"), "{text}");
    assert!(text.contains("If a backup fails (2 of 3)"), "{text}");
    let settings = fs::read_to_string(world.settings_file()).unwrap();
    assert!(settings.contains("\nweekly = 0\n") && etc(&world) != before, "{settings}");

    // Nothing more leads to the end, and another site, or name, is asked for where that is wanted.
    let before = etc(&world);
    let mut person = Person::at(&world, &["setup"]);
    person.answer("What is to be changed?", "nothing\n");
    person.wait_for("All of it is so already");
    person.answer("Make the first backup now", "no\n");
    assert!(person.terminal.wait().success(), "{}", person.terminal.text());
    assert!(before == etc(&world));
    let mut person = Person::at(&world, &["setup"]);
    person.answer("What is to be changed?", "1\n");
    person.answer("Which site is to be backed up?", "\n");
    person.answer("What is it to be called here?", "school\n");
    person.wait_for("\"school\"");
    person.answer("Do all of this now?", "\x03");
}

#[test]
fn a_set_up_that_was_broken_off_goes_on() {
    let world = newcomer(Engine::MariaDb);
    let (target, kept) = (target(&world), world.root.join("var/lib/moodle-backup/setup-answers.json"));
    let break_off = |person: &mut Person| {
        person.answer("Which site is to be backed up?", "\n");
        person.answer("What is it to be called here?", "pocket\n");
        person.choose("a plain folder");
        person.answer("Which folder?", &format!("{target}\n"));
        person.answer("When is the backup to be made", "04:05\n");
        person.wait_for("read again each week");
    };
    let mut person = Person::at(&world, &["setup"]);
    break_off(&mut person);
    person.terminal.type_keys("\x03");
    person.wait_for("nothing was changed, and the answers are kept for the next call");
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);

    // It ends once more, without a word this time; and it can be gone back.
    let mut person = Person::at(&world, &["setup"]);
    person.wait_for("s ago (");
    person.answer("Go on with them?", "\n");
    person.answer("read again each week", "<\n");
    person.wait_for("When is the backup to be made");
    person.answer("[04:05]", "04:10\n");
    person.wait_for("read again each week");
    person.terminal.hang_up();
    let mut person = Person::at(&world, &["setup"]);
    person.answer("Go on with them?", "\n");
    person.answer("read again each week", "\n");
    person.answer("How many backups", "\n");
    person.answer("Which folders of the server's own", "none\n");
    person.answer("in another database", "\n");
    person.answer("Who is to get", "\n");
    person.answer("Do all of this now?", "yes\n");
    person.answer("Make the first backup now", "no\n");
    assert!(person.terminal.wait().success(), "{}", person.terminal.text());
    assert!(fs::read_to_string(world.settings_file()).unwrap().contains("\nname = \"pocket\"\n"));
    let timer = world.root.join("etc/systemd/system/moodle-backup.timer.d/schedule.conf");
    assert!(fs::read_to_string(timer).unwrap().contains("04:10"));
    assert!(!kept.exists(), "all is done");

    // Answers to settings that are others by now are forgotten, and so are those that are not wanted.
    let change = |keys: &str| {
        let mut person = Person::at(&world, &["setup"]);
        person.answer("What is to be changed?", "3 5\n");
        person.answer("When is the backup to be made", "05:05\n");
        person.answer("How many backups", keys);
        person.terminal.wait();
    };
    change("\x03");
    let mut person = Person::at(&world, &["setup"]);
    person.answer("Go on with them?", "no\n");
    person.answer("What is to be changed?", "\x03");
    person.terminal.wait();
    assert!(!kept.exists());
    change("\x03");
    world.run(&["setup", "--yes", "--name", "other"]).expect_code(0);
    let mut person = Person::at(&world, &["setup"]);
    person.wait_for("the settings have changed since");
    person.answer("What is to be changed?", "\x03");
    person.terminal.wait();
    assert!(!kept.exists());
}

/// What was typed for a disk with something on it is not kept: it is asked about again.
#[test]
fn that_a_disk_may_be_lost_is_not_kept() {
    let world = newcomer(Engine::MariaDb);
    let photos = Disk::of_mebibytes(500).with("mkfs.ext4", &["-q", "-F", "-L", "photos"]);
    let content = photos.content();
    let name = format!("{}\n", photos.path.display());
    let mut person = Person::at(&world, &["setup"]);
    person.answer("Which site is to be backed up?", "\n");
    person.answer("What is it to be called here?", "\n");
    person.choose(&format!("{}, 500 MiB: NOT", photos.path.display()));
    person.answer("type its name", &name);
    person.answer("Which file system?", "\n");
    person.answer("Where is it to be mounted?", &format!("{}\n", world.scratch().join("backup").display()));
    person.answer("When is the backup to be made", "\n");
    person.answer("read again each week", "\x03");
    person.terminal.wait();
    let kept = fs::read_to_string(world.root.join("var/lib/moodle-backup/setup-answers.json")).unwrap();
    assert!(!kept.contains(photos.path.to_str().unwrap()), "{kept}");
    let mut person = Person::at(&world, &["setup"]);
    person.answer("Go on with them?", "\n");
    person.wait_for("Where the backups go (");
    person.wait_for("  a plain folder");
    person.wait_for("]> ");
    let shown = person.terminal.text();
    let proposed = shown.rsplit('[').next().unwrap().trim_end_matches("]> ").to_owned();
    assert_ne!(proposed, number_of(&person, &format!("{}, 500 MiB: NOT", photos.path.display())), "{shown}");
    assert!(content == photos.content());
}

/// A second site on the machine, and the settings that the package would bring for it.
fn second_site(world: &World) -> PocketSite {
    let second = PocketSite::builder().engine(Engine::MariaDb).build();
    std::os::unix::fs::symlink(&second.root, world.root.join("var/www/second")).unwrap();
    fs::copy(world.settings_file(), world.settings_file().with_file_name("two.toml")).unwrap();
    second
}

/// The keys of all pages from the place for the backups to the summary, Enter for what is proposed.
fn take_what_is_proposed(person: &mut Person, further: bool) {
    person.answer("Where are the backups to go?", "\n");
    person.answer("older", "\n");
    for question in ["When is the backup", "read again each week", "How many backups"] {
        person.answer(question, "\n");
    }
    if !further {
        person.answer("Which folders of the server's own", "\n");
    }
    person.answer("in another database", "\n");
    person.answer("Who is to get", "\n");
}

/// All questions of the first of several sites, up to the summary.
fn answer_for_the_first(person: &mut Person, world: &World, which: &str) {
    person.answer("Which site is to be backed up?", "?\n");
    person.wait_for("one after the other");
    person.answer("", which);
    person.answer("What is it to be called here?", "one\n");
    person.choose("a plain folder");
    person.answer("Which folder?", &format!("{}\n", target(world)));
    person.answer("When is the backup to be made", "04:05\n");
    person.answer("read again each week", "y\n");
    person.answer("How many backups are to be kept?", "2 5 0 0 0\n");
    person.answer("Which folders of the server's own", "none\n");
    person.answer("in another database", "\n");
    person.answer("Who is to get a mail", "root\n");
}

/// Without a person the settings of a site are not given to another: it would have no backups any more.
#[test]
fn the_settings_of_a_site_that_is_here_are_not_given_to_another() {
    let world = newcomer(Engine::MariaDb);
    let second = second_site(&world);
    let root = |site: &PocketSite| site.root.display().to_string();
    world.run(&["setup", "--yes", "--root", &root(&world.site), "--target", &target(&world)]).expect_code(0);
    let before = etc(&world);
    let args = ["setup", "--yes", "--root", &root(&second), "--target", &target(&world)];
    let refused = world.run(&args).expect_code(5);
    let said = refused.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains("is the settings file of another site") && said.contains("moodle-backup --settings "),
        "{said}"
    );
    assert!(before == etc(&world));
    // By its name it is, and where the other site is gone.
    let file = world.settings_file().display().to_string();
    let named = [&["--settings", &file], &args[..], &["--plan"]].concat();
    world.run(&named).expect_code(0);
    fs::rename(&world.site.root, world.scratch().join("gone")).unwrap();
    world.run(&[&args[..], &["--plan"]].concat()).expect_code(0);
}

#[test]
fn all_sites_are_set_up_one_after_the_other() {
    let world = newcomer(Engine::MariaDb);
    let second = second_site(&world);
    // Anybody can lay down what looks like a site: "all" is none of those.
    let planted = world.root.join("home/eve/moodle");
    succeed(Command::new("mkdir").arg("-p").arg(planted.join("lib")));
    for name in ["version.php", "lib/setup.php", "config.php"] {
        fs::write(planted.join(name), "<?php").unwrap();
    }
    succeed(Command::new("chown").args(["-R", "nobody"]).arg(world.root.join("home/eve")));
    let mut person = Person::at(&world, &["setup"]);
    answer_for_the_first(&mut person, &world, "all\n");
    person.answer("Do all of this now?", "yes\n");
    person.answer("Make the first backup now", "yes\n");
    person.wait_for("The next site: ");
    person.answer("What is it to be called here?", "one\n");
    person.wait_for("the name of another site");
    person.answer("", "<\n");
    person.answer("What is it to be called here?", "two\n");
    person.answer("Where are the backups to go?", "<\n");
    person.answer("What is it to be called here?", "\n");
    person.wait_for("Its settings go into");
    take_what_is_proposed(&mut person, true);
    person.wait_for("This will be done:");
    person.answer("Do all of this now?", "yes\n");
    person.answer("Make the first backup now", "yes\n");
    person.wait_for("There is another site");
    assert!(person.terminal.wait().success(), "{}", person.terminal.text());
    let text = person.terminal.text().replace("\r\n", " ");
    assert!(
        text.contains("home/eve/moodle. To set up its backups:") && !text.contains("The next site: /home"),
        "{text}"
    );

    let two = world.settings_file().with_file_name("two.toml");
    let settings = [world.settings_file(), two.clone()].map(|file| fs::read_to_string(file).unwrap());
    for (text, name) in settings.iter().zip(["one", "two"]) {
        for line in [&format!("name = \"{name}\""), &format!("path = \"{}\"", target(&world)), "last = 2"] {
            assert!(text.lines().any(|it| it == line), "{line}: {text}");
        }
    }
    for site in [&world.site, &second] {
        let root = format!("\nroot = \"{}\"\n", site.root.display());
        assert_eq!(settings.iter().filter(|text| text.contains(&root)).count(), 1, "{root}: {settings:?}");
    }
    for timer in ["moodle-backup.timer", "moodle-backup@two.timer"] {
        let time = fs::read_to_string(world.root.join(format!("etc/systemd/system/{timer}.d/schedule.conf")));
        assert!(time.unwrap().contains("04:05"), "{timer}");
    }
    world.run(&["--settings", two.to_str().unwrap(), "run"]).expect_code(0);
    for (name, backups) in [("one", 1), ("two", 2)] {
        let there = fs::read_dir(world.target.path().join(name)).unwrap().flatten();
        assert_eq!(there.filter(|it| it.file_name().to_string_lossy().starts_with("20")).count(), backups, "{name}");
    }

    // Once more: each has its own settings, which are what is proposed.
    let before = etc(&world);
    let mut person = Person::at(&world, &["setup"]);
    person.answer("Which site is to be backed up?", "all\n");
    for _ in 0..2 {
        person.answer("What is to be changed?", "\n");
        person.wait_for("All of it is so already");
        person.answer("Make a backup now", "\n");
    }
    assert!(person.terminal.wait().success(), "{}", person.terminal.text());
    assert!(before == etc(&world), "a second time changes nothing");
}

#[test]
fn a_no_at_one_site_leaves_those_before_it_done() {
    let world = newcomer(Engine::MariaDb);
    let second = second_site(&world);
    let two = world.settings_file().with_file_name("two.toml");
    let mut person = Person::at(&world, &["setup"]);
    answer_for_the_first(&mut person, &world, "1 2\n");
    person.answer("Do all of this now?", "yes\n");
    person.answer("Make the first backup now", "no\n");
    let done = etc(&world);
    person.answer("What is it to be called here?", "two\n");
    take_what_is_proposed(&mut person, true);
    person.answer("Do all of this now?", "no\n");
    person.wait_for("It ended at ");
    person.wait_for("nothing more was changed");
    assert_eq!(person.terminal.wait().code(), Some(1));
    assert!(done == etc(&world));
    let first = fs::read_to_string(world.settings_file()).unwrap();
    let is_first = |site: &PocketSite| first.contains(&format!("\"{}\"", site.root.display()));
    assert!(is_first(&world.site) != is_first(&second), "{first}");

    // Both once more, and somebody who goes away at the second.
    let mut person = Person::at(&world, &["setup"]);
    person.answer("Go on with them?", "no\n");
    person.answer("Which site is to be backed up?", "all\n");
    person.answer("What is to be changed?", "\n");
    person.answer("Make the first backup now", "no\n");
    person.answer("What is it to be called here?", "\x03");
    person.wait_for("nothing more was changed");
    assert_eq!(person.terminal.wait().code(), Some(1));
    assert!(done == etc(&world));

    // What is left is set up beside the first when it is chosen alone, too.
    let mut person = Person::at(&world, &["setup"]);
    let number = if is_first(&world.site) == (world.site.root < second.root) { "2\n" } else { "1\n" };
    person.answer("Which site is to be backed up?", number);
    person.answer("What is it to be called here?", "two\n");
    take_what_is_proposed(&mut person, false);
    person.answer("Do all of this now?", "yes\n");
    person.answer("Make the first backup now", "yes\n");
    person.wait_for("two.toml restore --plan");
    assert!(person.terminal.wait().success(), "{}", person.terminal.text());
    assert_eq!(fs::read_to_string(world.settings_file()).unwrap(), first);
    assert!(world.target.path().join("two/latest/manifest.json").exists());
    let check = || world.run(&["--settings", two.to_str().unwrap(), "check"]);
    let lacking = check().expect_code(3);
    assert!(lacking.stdout.contains("cannot mail to root"), "{}", lacking.stdout);
    fs::create_dir_all(world.root.join("usr/sbin")).unwrap();
    fs::write(world.root.join("usr/sbin/sendmail"), "").unwrap();
    check().expect_code(0);
    world.run(&["run"]).expect_code(0);
}

#[test]
fn for_further_settings_a_site_without_any_and_a_free_name_are_proposed() {
    let world = newcomer(Engine::MariaDb);
    let second = second_site(&world);
    let root = world.site.root.display().to_string();
    world.run(&["setup", "--yes", "--root", &root, "--target", &target(&world)]).expect_code(0);
    let two = world.settings_file().with_file_name("two.toml").display().to_string();
    let mut person = Person::at(&world, &["--settings", &two, "setup"]);
    person.wait_for("Which site is to be backed up?");
    let number = if world.site.root < second.root { 2 } else { 1 };
    person.answer(&format!("[{number}]"), "\n");
    person.wait_for("What is it to be called here?");
    person.answer("[two]", "moodle\n");
    person.wait_for("moodle is the name of another site here");
    person.answer("", "\x03");
    let root = second.root.display().to_string();
    world.run(&["--settings", &two, "setup", "--yes", "--root", &root, "--target", &target(&world)]).expect_code(0);
    assert!(fs::read_to_string(&two).unwrap().contains("\nname = \"two\"\n"));
}

#[test]
fn answers_are_printed_and_taken_again() {
    let world = newcomer(Engine::MariaDb);
    let target = target(&world);
    let answers = format!(
        "[site]\nname = \"one\"\n[target]\nway = \"folder\"\npath = {target:?}\n[retention]\nlast = 1\ndaily = 2\nweekly = 3\nmonthly = 4\n"
    );
    let file = world.scratch().join("answers.toml");
    fs::write(&file, answers).unwrap();
    let file = file.display().to_string();
    world.run(&["setup", "--answers", &file]).expect_code(0);
    let settings = fs::read_to_string(world.settings_file()).unwrap();
    assert!(settings.contains("\nyearly = 0\n") && settings.contains("\nweekly = 3\n"), "{settings}");
    let nobody = world.run(&["setup"]).expect_code(2);
    assert!(nobody.stderr.contains("--answers FILE"), "{}", nobody.stderr);

    // Asked for again, they are printed, and nothing is done.
    let before = etc(&world);
    let printed = world.scratch().join("printed.toml");
    let program = world.command(&[]).get_program().to_owned();
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" setup --print-answers >\"$1\""]).arg(program).arg(&printed);
    shell.env("MOODLE_BACKUP_ROOT", &world.root);
    let mut person = Person::of(shell);
    for (question, keys) in [
        ("Which site is to be backed up?", "\n"),
        ("What is it to be called here?", "two\n"),
        ("Where are the backups to go?", "\n"),
        ("older", "\n"),
        ("When is the backup to be made", "05:15\n"),
        ("read again each week", "\n"),
        ("How many backups are to be kept?", "\n"),
        ("Which folders of the server's own", "\n"),
        ("in another database", "\n"),
        ("Who is to get a mail", "\n"),
    ] {
        person.answer(question, keys);
    }
    assert!(person.terminal.wait().success(), "{}", person.terminal.text());
    assert!(before == etc(&world), "answers are only printed");
    let text = fs::read_to_string(&printed).unwrap();
    assert!(text.contains("nightly = \"05:15\"") && text.contains("name = \"two\""), "{text}");
    world.run(&["setup", "--answers", &printed.display().to_string()]).expect_code(0);
    assert!(fs::read_to_string(world.settings_file()).unwrap().contains("\nname = \"two\"\n"));
}

#[test]
fn a_settings_file_that_somebody_wrote_stays_his() {
    let world = newcomer(Engine::MariaDb);
    let target = target(&world);
    let mine = format!(
        "# mine\n[site]\nroot = '{}' # the school's\n\n[target]\npath = '{target}'\n[window]\ndrain_seconds = 5 # quick\n",
        world.site.root.display()
    );
    fs::write(world.settings_file(), &mine).unwrap();
    world.run(&["setup", "--yes", "--name", "school"]).expect_code(0);
    let settings = fs::read_to_string(world.settings_file()).unwrap();
    for line in mine.lines() {
        assert!(settings.lines().any(|it| it == line), "{line:?} is gone: {settings}");
    }
    assert!(settings.contains("name = \"school\""), "{settings}");
    assert_eq!(fs::read_to_string(world.settings_file().with_extension("toml.old")).unwrap(), mine);
}

#[test]
fn a_person_moves_over_from_the_old_scripts() {
    let world = newcomer(Engine::MariaDb);
    let scripts = world.root.join("opt/moodlebackup");
    fs::create_dir_all(&scripts).unwrap();
    let (site, target) = (&world.site, target(&world));
    let parts =
        |path: &Path| (path.parent().unwrap().display().to_string(), path.file_name().unwrap().display().to_string());
    let (parent, root) = parts(&site.root);
    fs::write(
        scripts.join("settings"),
        format!("backuptargetparentpath='{target}'\nbackuptargetdirname='school'\nmoodlesiteparentpath='{parent}'\nmoodlesitedirname='{root}'\n"),
    )
    .unwrap();
    let set = world.target.path().join("school-last/moodledata");
    fs::create_dir_all(&set).unwrap();
    succeed(Command::new("cp").arg("-a").arg(site.filedir()).arg(&set));
    let crontab = world.root.join("etc/cron.d/moodlebackup");
    fs::create_dir_all(crontab.parent().unwrap()).unwrap();
    fs::write(&crontab, format!("0 2 * * * root {}/run CRON\n", scripts.display())).unwrap();

    let mut person = Person::at(&world, &["setup"]);
    person.answer("Take over their settings?", "\n");
    person.answer("Put their line in cron out of use?", "\n");
    person.answer("Take over the users' files", "\n");
    for question in ["Which site is to be backed up?", "What is it to be called here?", "Where are the backups to go?"]
    {
        person.answer(question, "\n");
    }
    // It is the folder of a disk, or a plain one, as the machine has it.
    person.answer("older", "\n");
    person.answer_up_to_the_summary();
    person.answer("Do all of this now?", "\n");
    person.answer("Make the first backup now", "\n");
    person.wait_for("restore --plan");
    assert!(person.terminal.wait().success(), "{}", person.terminal.text());
    let manifest = fs::read_to_string(world.target.path().join("school/latest/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["pool"]["new_files"], 0, "nothing was copied again");
    assert!(
        fs::read_to_string(&crontab).unwrap().starts_with("# put out of use by moodle-backup setup: 0 2 * * * root")
    );
}

#[test]
fn a_database_with_an_account_of_its_own_is_saved_too() {
    for engine in Engine::ALL {
        let server = support::Server::shared(engine);
        let (name, user) = (format!("wiki_{engine:?}").to_lowercase(), format!("wiki_{engine:?}_user").to_lowercase());
        let database = server.create_database(&name, &user, "pass \"word\" #1");
        database.query("CREATE TABLE pages (id INT PRIMARY KEY)");
        if engine == Engine::Postgres {
            database.query(&format!("ALTER TABLE pages OWNER TO {user}"));
        }
        let world = newcomer(engine);
        let target = target(&world);
        let mut person = Person::at(&world, &["setup"]);
        person.answer("Which site is to be backed up?", "\n");
        person.answer("What is it to be called here?", "\n");
        person.wait_for("Where are the backups to go?");
        person.wait_for("  a plain folder");
        let text = person.terminal.text();
        let number = text.lines().rfind(|line| line.contains("a plain folder")).unwrap().trim();
        let number = number.split_whitespace().next().unwrap().to_owned();
        person.answer("", &format!("{number}\n"));
        person.answer("Which folder?", &format!("{target}\n"));
        for question in ["When is the backup", "read again each week", "How many backups"] {
            person.answer(question, "\n");
        }
        person.answer("Which folders of the server's own", "none\n");
        if engine == Engine::Postgres {
            // There an account may see databases that it cannot read.
            person.answer("Which other databases", "none\n");
        }
        person.answer("in another database", "yes\n");
        person.wait_for("What is it called?");
        person.answer("", &format!("{name}\n"));
        person.answer("By which account", "wrong\n");
        person.answer("The password of", "<\n");
        person.answer("By which account", &format!("{user}\n"));
        person.answer("The password of", "wrong\n");
        person.wait_for("That does not work");
        person.answer("in another database", &format!("{name}\n"));
        person.answer("By which account", &format!("{user}\n"));
        person.answer("The password of", "pass \"word\" #1\n");
        person.wait_for("is let in");
        person.answer("in another database", "no\n");
        for question in ["Who is to get", "Do all of this", "Make the first backup"] {
            person.answer(question, "\n");
        }
        person.wait_for("restore --plan");
        assert!(person.terminal.wait().success(), "{}", person.terminal.text());
        assert!(!person.terminal.text().contains("pass \"word\""), "the password was shown");
        let file = world.root.join(format!("etc/moodle-backup/{name}.cnf"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(world.target.path().join(format!("moodle/latest/database/extra/{name}.sql.zst")).exists());
    }
}
