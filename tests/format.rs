//! What a person can lose by the questions of the set-up: a disk with something on it, by typing its name; and what he cannot,
//! whatever he types.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use support::{Disk, Engine, Person, World, elsewhere, newcomer, number_of, script, succeed, unmount};

fn photos() -> Disk {
    Disk::of_mebibytes(500).with("mkfs.ext4", &["-q", "-F", "-L", "photos"])
}

/// A person before the list of places for the backups.
fn at_the_list(world: &World) -> Person {
    let mut person = Person::at(world, &["setup"]);
    person.answer("Which site is to be backed up?", "\n");
    person.answer("What is it to be called here?", "\n");
    person
}

/// The same, where an earlier call was broken off.
fn anew_at_the_list(world: &World) -> Person {
    let mut person = Person::at(world, &["setup"]);
    person.answer("Go on with them?", "no\n");
    person.answer("Which site is to be backed up?", "\n");
    person.answer("What is it to be called here?", "\n");
    person
}

/// What the list offers of a device.
fn offered(person: &Person, device: &Path) -> String {
    let text = person.terminal.text();
    let list = text.rsplit("Where are the backups to go?").next().unwrap();
    let name = format!(" {},", device.display());
    let lines: Vec<&str> = list.lines().map(str::trim_end).collect();
    let first = (0..lines.len()).filter(|at| lines[*at].contains(&name));
    // An item is wrapped under itself.
    let item = |at: usize| lines[at + 1..].iter().take_while(|line| line.starts_with("      ")).map(|line| line.trim());
    first.map(|at| [lines[at].trim()].into_iter().chain(item(at)).collect::<Vec<_>>().join(" ") + "\n").collect()
}

/// The number of something that is set already, where that is shown.
fn number_of_what_is_set(person: &mut Person, what: &str) -> String {
    person.wait_for("What is to be changed?");
    person.wait_for(what);
    number_of(person, what)
}

/// Types the name of a disk that is to be lost, and goes on to the summary.
fn up_to_the_summary(person: &mut Person, disk: &Disk, place: &Path) {
    let name = disk.path.display().to_string();
    person.choose(&format!("{name}, 500 MiB: NOT empty"));
    person.answer("type its name", &format!("{name}\n"));
    person.answer("Which file system?", "\n");
    person.answer("Where is it to be mounted?", &format!("{}\n", place.display()));
    person.answer_up_to_the_summary();
    person.wait_for("ALL THAT IS ON IT IS LOST");
}

#[test]
fn a_disk_with_something_on_it_is_formatted_once_its_name_was_typed() {
    let (world, disk) = (newcomer(Engine::MariaDb), photos());
    let place = world.scratch().join("a-disk-of-its-own-for-the-backups");
    let name = disk.path.display().to_string();
    let before = disk.content();
    let mut person = at_the_list(&world);
    person.choose(&format!("{name}, 500 MiB: NOT empty"));
    person.wait_for("ext4 with the label \"photos\"");
    person.wait_for(&format!("ALL THAT IS ON {name} WILL BE LOST"));
    for wrong in ["", "yes", "/dev/sda", &name[..name.len() - 1]] {
        person.answer("", &format!("{wrong}\n"));
        person.wait_for(if wrong.is_empty() { "nothing that could be taken for granted" } else { "not its name" });
    }
    person.answer("", "<\n");
    person.wait_for("  a plain folder");
    let number = number_of(&person, &format!("{name}, 500 MiB: NOT empty"));
    person.wait_for("]> ");
    let text = person.terminal.text();
    assert!(!text.ends_with(&format!("[{number}]> ")), "it is not proposed: {text}");
    let found = offered(&person, &disk.path);
    assert!(found.contains("its file system (ext4 \"photos\") as it is"), "{found}");
    drop(person);

    let mut person = anew_at_the_list(&world);
    up_to_the_summary(&mut person, &disk, &place);
    assert!(before == disk.content(), "nothing is done before the summary was agreed to");
    person.answer("Do all of this now?", "yes\n");
    person.answer("Make the first backup now", "no\n");
    assert!(person.terminal.wait().success(), "{}", person.terminal.text());
    let label = succeed(Command::new("blkid").args(["--probe", "-o", "value", "-s", "LABEL"]).arg(&disk.path));
    assert_eq!(String::from_utf8(label).unwrap().trim(), "moodle-backup");

    let text = person.terminal.text();
    assert!(text.contains("mounted /dev/loop"), "{text}");
    let broken = |line: &&str| line.len() > 80 && line.trim().contains(' ') && !line.contains("> ");
    assert_eq!(text.lines().find(broken), None, "a terminal would break it within a word");

    // By now it is a disk of backups.
    unmount(&place);
    let mut person = Person::at(&world, &["setup"]);
    let number = number_of_what_is_set(&mut person, "The backups go to");
    person.answer("", &format!("{number}\n"));
    person.wait_for("  a plain folder");
    let found = offered(&person, &disk.path);
    assert!(found.contains("as it is") && !found.contains("NOT empty"), "{found}");
    person.answer("", "\x03");
    drop(disk);
    let _ = Command::new("chattr").arg("-i").arg(&place).status();
}

#[test]
fn what_is_in_use_or_has_backups_on_it_cannot_be_lost() {
    let world = newcomer(Engine::MariaDb);
    let (mounted, opened, backups) = (photos(), photos(), photos());
    let (parts, used_parts) = (Disk::of_mebibytes(500).with_partitions(), Disk::of_mebibytes(500).with_partitions());
    let swap = Disk::of_mebibytes(500).with("mkswap", &["-q"]).with("swapon", &[]);
    succeed(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(used_parts.part(1)));
    for (device, disk) in [(&mounted.path, &mounted), (&used_parts.part(1), &used_parts)] {
        fs::create_dir(disk.scratch.join("mnt")).unwrap();
        succeed(Command::new("mount").args(["-o", "ro"]).arg(device).arg(disk.scratch.join("mnt")));
    }
    fs::create_dir(backups.scratch.join("mnt")).unwrap();
    succeed(Command::new("mount").arg(&backups.path).arg(backups.scratch.join("mnt")));
    fs::create_dir(backups.scratch.join("mnt/school")).unwrap();
    fs::write(backups.scratch.join("mnt/school/SITE.json"), "{}").unwrap();
    unmount(backups.scratch.join("mnt"));
    let file = fs::File::open(&opened.path).unwrap();
    // It must not outlive a test that fails for long, nor hold its output.
    let mut program =
        Command::new("sleep").arg("120").stdin(file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();

    let mut person = at_the_list(&world);
    person.wait_for("Where are the backups to go?");
    person.wait_for("  a plain folder");
    assert!(!offered(&person, &mounted.path).contains("NOT empty"), "{}", offered(&person, &mounted.path));
    let as_a_whole = offered(&person, &used_parts.path);
    assert!(
        !as_a_whole.contains("to be formatted") && as_a_whole.contains("[cannot be chosen: too small"),
        "{as_a_whole}"
    );
    assert!(offered(&person, &parts.path).contains("2 partitions"), "{}", offered(&person, &parts.path));
    for (disk, why) in [(&opened, "it is open: sleep"), (&swap, "it is swap, and in use")] {
        let number = number_of(&person, &format!("{},", disk.path.display()));
        person.answer("", &format!("{number}\n"));
        person.wait_for("cannot be chosen");
        person.wait_for(why);
    }
    let number = number_of(&person, &format!("{}, 500 MiB: NOT empty", backups.path.display()));
    person.answer("", &format!("{number}\n"));
    person.wait_for("is a disk of backups: there are backups on it, in its folder school");
    person.wait_for("wipefs --all");
    person.wait_for("Where are the backups to go?");
    person.answer("", "\x03");
    program.kill().unwrap();
    program.wait().unwrap();
}

/// Whoever ends it while a disk is formatted must not believe that the disk is as it was.
#[test]
fn what_was_begun_is_not_told_as_not_done() {
    let world = newcomer(Engine::MariaDb);
    let (disk, place) = (photos(), world.scratch().join("backup"));
    let slow = world.scratch().join("slow");
    let begun = world.scratch().join("begun");
    let text =
        format!("case \"$*\" in *loop*) touch '{}'; exec sleep 60;; esac; exec mke2fs -t ext4 \"$@\"", begun.display());
    script(&slow, "mkfs.ext4", &text);
    let stand_in = format!("mount --bind '{}/mkfs.ext4' /usr/sbin/mkfs.ext4", slow.display());
    let mut person = Person::of(elsewhere(&world, &["setup"], &stand_in));
    person.answer("Which site is to be backed up?", "\n");
    person.answer("What is it to be called here?", "\n");
    up_to_the_summary(&mut person, &disk, &place);
    // Nothing is taken for granted where something is lost.
    person.wait_for("[no]");
    person.answer("", "yes\n");
    support::wait_for("mkfs.ext4", std::time::Duration::from_secs(60), || begun.exists());
    person.terminal.type_keys("\x03");
    person.wait_for("begun, and not complete: make an ext4 file system on");
    assert_eq!(person.terminal.wait().code(), Some(1), "{}", person.terminal.text());
}

/// Between the summary and the work, somebody else is at work too.
#[test]
fn what_has_changed_since_its_name_was_typed_is_not_lost() {
    let world = newcomer(Engine::MariaDb);
    let place = world.scratch().join("backup");
    let relabel = |disk: &Disk| drop(succeed(Command::new("e2label").arg(&disk.path).arg("exams")));
    let mount = |disk: &Disk| {
        fs::create_dir(disk.scratch.join("mnt")).unwrap();
        succeed(Command::new("mount").args(["-o", "ro"]).arg(&disk.path).arg(disk.scratch.join("mnt")));
    };
    let changes = [(&relabel as &dyn Fn(&Disk), "has changed since it was chosen"), (&mount, "it is mounted at")];
    // The second time there are answers of the first.
    let begin: [fn(&World) -> Person; 2] = [at_the_list, anew_at_the_list];
    for ((change, why), begin) in changes.into_iter().zip(begin) {
        let disk = photos();
        let mut person = begin(&world);
        up_to_the_summary(&mut person, &disk, &place);
        change(&disk);
        succeed(Command::new("sync").arg("-f").arg(disk.scratch.path()));
        let before = disk.content();
        person.answer("Do all of this now?", "yes\n");
        assert_eq!(person.terminal.wait().code(), Some(5), "{}", person.terminal.text());
        let text = person.terminal.text().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(why), "{text}");
        assert!(before == disk.content(), "something was written: {text}");
    }
}
