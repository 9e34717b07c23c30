//! What the questions of the set-up say to an answer that will not do, where they lead back to, and what they propose then.

mod support;

use std::fs;
use support::{Disk, Engine, Person, World, newcomer, number_of};

/// The questions before that for the place of the backups.
fn up_to_the_place(person: &mut Person) {
    person.answer("Which site is to be backed up?", "\n");
    person.answer("What is it to be called here?", "\n");
}

/// A person who has come to the question for a plain folder.
fn at_a_plain_folder(world: &World) -> Person {
    let mut person = Person::at(world, &["setup"]);
    up_to_the_place(&mut person);
    person.choose("a plain folder");
    person.wait_for("Which folder?");
    person
}

#[test]
fn what_the_summary_refuses_leads_back_to_the_page_that_can_change_it() {
    let world = newcomer(Engine::MariaDb);
    let place = world.scratch().join("place");
    let mut person = at_a_plain_folder(&world);
    person.answer("", &format!("{}\n", place.display()));
    person.wait_for("When (");
    fs::write(&place, "").unwrap();
    person.answer_up_to_the_summary();
    person.wait_for("This cannot be done: ");
    person.wait_for("is no folder");
    person.wait_for("Where the backups go (");
    fs::remove_file(&place).unwrap();
    person.choose("a plain folder");
    person.answer("Which folder?", "\n");
    person.answer_up_to_the_summary();
    person.answer("Do all of this now?", "\x03");
}

#[test]
fn an_address_at_which_nobody_is_is_asked_about() {
    let world = newcomer(Engine::MariaDb);
    fs::write(world.root.join("etc/aliases"), "moodle-team: eve@example.org\n").unwrap();
    let target = world.target.path().display().to_string();
    let mut person = at_a_plain_folder(&world);
    person.answer("", &format!("{target}\n"));
    person.answer_up_to_the_mail();
    person.answer("Who is to get a mail", "nobdoy\n");
    person.wait_for("there is no account \"nobdoy\" on this server");
    person.answer("Keep that address all the same?", "\n");
    person.answer("Who is to get a mail", "nobdoy\n");
    person.answer("Keep that address all the same?", "yes\n");
    person.wait_for("send a mail to nobdoy");
    for known in ["moodle-team", "root", "eve@example.org"] {
        person.answer("Do all of this now?", "<\n");
        person.answer("Who is to get a mail", &format!("{known}\n"));
        person.wait_for(&format!("send a mail to {known}"));
    }
    person.answer("Do all of this now?", "\x03");
    assert_eq!(person.terminal.text().matches("Keep that address").count(), 2, "{}", person.terminal.text());

    let planned = |mail: &str| world.run(&["setup", "--yes", "--plan", "--target", &target, "--mail", mail]).stdout;
    assert!(planned("nobdoy").replace("\n         ", " ").contains("no account \"nobdoy\""), "{}", planned("nobdoy"));
    assert!(!planned("moodle-team").contains("no account"), "{}", planned("moodle-team"));
}

#[test]
fn a_disk_is_mounted_over_nothing_that_is_used() {
    let world = newcomer(Engine::MariaDb);
    let used = world.scratch().join("used");
    fs::create_dir(&used).unwrap();
    ["ann", "bob", "eve", "tom"].iter().for_each(|name| fs::write(used.join(name), "").unwrap());
    let disk = Disk::of_mebibytes(500);
    let mut person = Person::at(&world, &["setup"]);
    up_to_the_place(&mut person);
    person.choose(&format!("{},", disk.path.display()));
    person.answer("Which file system?", "\n");
    person.wait_for("Where is it to be mounted?");
    for system in ["/home", "/mnt", "/srv/", "/var", "/srv/../srv"] {
        person.answer("", &format!("{system}\n"));
        person.wait_for("is a folder of the system itself");
    }
    person.answer("", &format!("{}\n", used.display()));
    person.wait_for("(ann, bob, eve and 1 more)");
    person.terminal.type_keys("\x03");
}

#[test]
fn back_leads_to_the_question_before() {
    let (world, disk) = (newcomer(Engine::MariaDb), Disk::of_mebibytes(500));
    let mut person = Person::at(&world, &["setup"]);
    up_to_the_place(&mut person);
    person.choose(&format!("{},", disk.path.display()));
    person.answer("Which file system?", "3\n");
    person.answer("Where is it to be mounted?", "<\n");
    person.wait_for("Which file system?");
    person.answer("[3]", "<\n");
    person.answer("Where are the backups to go?", "<\n");
    person.answer("What is it to be called here?", "\x03");
}

#[test]
fn a_disk_that_was_looked_at_and_left_is_not_proposed() {
    let (world, empty) = (newcomer(Engine::MariaDb), Disk::of_mebibytes(500));
    let photos = Disk::of_mebibytes(500).with("mkfs.ext4", &["-q", "-F", "-L", "photos"]);
    let place = world.scratch().join("backup").display().to_string();
    let (as_it_is, lost) =
        (format!("{}, 500 MiB: its", photos.path.display()), format!("{}, 500 MiB: NOT", photos.path.display()));
    let mut person = Person::at(&world, &["setup"]);
    up_to_the_place(&mut person);
    let mut left_again = |choose: &str, questions: &[(&str, &str)]| {
        person.choose(choose);
        questions.iter().for_each(|(question, keys)| person.answer(question, keys));
        person.answer("When is the backup", "<\n");
        person.wait_for("  a plain folder");
        person.wait_for("]> ");
        let shown = person.terminal.text();
        let proposed = shown.rsplit('[').next().unwrap().trim_end_matches("]> ").to_owned();
        assert!(![number_of(&person, &as_it_is), number_of(&person, &lost)].contains(&proposed), "{shown}");
        // The list once more, for the next.
        person.terminal.type_keys("<\n");
        person.answer("What is it to be called here?", "\n");
        proposed == number_of(&person, &format!("{},", empty.path.display()))
    };
    let point = [("Where is it to be mounted?", &*format!("{place}\n"))];
    left_again(&as_it_is, &point);
    let name = format!("{}\n", photos.path.display());
    left_again(&lost, &[("type its name", &*name), ("Which file system?", "\n"), point[0]]);
    // What nothing is lost by is.
    let again = left_again(&format!("{},", empty.path.display()), &[("Which file system?", "\n"), point[0]]);
    assert!(again, "an answer is kept");
}

#[test]
fn what_to_do_about_a_site_that_cannot_be_read_is_said_in_the_words_of_the_questions() {
    let world = newcomer(Engine::MariaDb);
    let none = world.scratch().join("none");
    fs::create_dir(&none).unwrap();
    fs::write(none.join("config.php"), "<?php").unwrap();
    let mut person = Person::at(&world, &["setup"]);
    person.answer("Which site is to be backed up?", "2\n");
    person.answer("In which folder is Moodle's code?", &format!("{}\n", none.display()));
    person.wait_for("it has no version.php");
    person.wait_for("name the folder that holds its config.php.");
    person.answer("Which site is to be backed up?", "\x03");
}

#[test]
fn why_a_site_of_the_list_cannot_be_read_is_one_line() {
    let world = newcomer(Engine::MariaDb);
    let config = world.site.root.join("config.php");
    let old = fs::read_to_string(&config).unwrap();
    fs::write(&config, old.replacen("<?php", "<?php function f() { throw new Exception('no such value'); } f();", 1))
        .unwrap();
    let mut person = Person::at(&world, &["setup"]);
    person.wait_for("its config.php cannot be read: ");
    person.wait_for("> ");
    let text = person.terminal.text();
    assert!(text.contains("no such value") && !text.contains("Stack trace"), "{text}");
    person.terminal.type_keys("\x03");
}

#[test]
fn what_speaks_against_an_answer_is_said_at_its_question() {
    let world = newcomer(Engine::MariaDb);
    let mut person = at_a_plain_folder(&world);
    person.answer("", "/home\n");
    person.wait_for("is a folder of the system itself");
    person.answer("Take it all the same?", "\n");
    person.choose("a plain folder");
    person.answer("Which folder?", &format!("{}\n", world.target.path().display()));
    person.answer("When is the backup", "03:05\n");
    person.wait_for("empty a table");
    person.answer("Keep that hour all the same?", "\n");
    person.answer("When is the backup", "04:05\n");
    for question in ["read again each week", "How many backups"] {
        person.answer(question, "\n");
    }
    person.answer("Which folders of the server's own", "none\n");
    person.answer("in another database", "\n");
    person.wait_for("no /usr/sbin/sendmail: no mail will leave it");
    person.answer("Who is to get a mail", "\x03");
}

#[test]
fn folders_are_added_to_the_list_and_left_out_of_it() {
    let world = newcomer(Engine::MariaDb);
    let (one, two) = (world.scratch().join("one"), world.scratch().join("two and more"));
    [&one, &two].into_iter().for_each(|folder| fs::create_dir(folder).unwrap());
    let target = world.target.path().display().to_string();
    world.run(&["setup", "--yes", "--target", &target]).expect_code(0);
    let mut person = Person::at(&world, &["setup"]);
    person.answer("What is to be changed?", "6\n");
    for (keys, words) in [
        (format!("+{}\n", two.display()), "- /"),
        (format!("+{}\n", one.display()), "- /"),
        ("-/nowhere\n".to_owned(), "is not in the list"),
        ("+/nowhere\n".to_owned(), "There is no folder"),
        (format!("-{}\n", one.display()), "- /"),
    ] {
        person.answer("", &keys);
        person.wait_for(words);
    }
    person.answer("[these]", "\n");
    person.answer("Do all of this now?", "\n");
    person.answer("Make the first backup now", "no\n");
    assert!(person.terminal.wait().success(), "{}", person.terminal.text());
    let settings = fs::read_to_string(world.settings_file()).unwrap();
    let paths = settings.lines().find(|line| line.starts_with("paths = ")).unwrap();
    assert!(paths.contains("two and more\"") && !paths.contains(one.to_str().unwrap()), "{paths}");
}

#[test]
fn a_disk_that_is_too_small_and_that_of_the_backups_are_marked() {
    let world = newcomer(Engine::MariaDb);
    let small = Disk::of_mebibytes(1);
    let target = world.target.path().display().to_string();
    world.run(&["setup", "--yes", "--target", &target]).expect_code(0);
    let mut person = Person::at(&world, &["setup"]);
    person.answer("What is to be changed?", "2\n");
    person.wait_for(&format!("{},", small.path.display()));
    person.wait_for("TOO SMALL");
    person.wait_for("  a plain folder");
    person.wait_for("> ");
    let text = person.terminal.text().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(text.matches("the backups are here at present").count(), 1, "{text}");
    let number = number_of(&person, &format!("{},", small.path.display()));
    person.terminal.type_keys(&format!("{number}\n"));
    person.wait_for("and the first backup needs about");
    person.answer("type its name", "<\n");
    person.answer("Where are the backups to go?", "\x03");
}
