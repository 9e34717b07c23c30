//! The guided set-up on a whole system: from a fresh installation and an empty disk to backups that the timer makes.

use crate::nights;
use crate::server::{SITE_FOLDER, Server};

/// By a file of answers, as a tool for many servers would do it.
pub fn answers_set_everything_up(server: &mut Server) {
    let machine = &server.machine;
    // As after an installation: nobody has said anything yet, and the disk is empty.
    machine.shell(
        "umount /srv/backup; rm -rf /srv/backup; DEBIAN_FRONTEND=noninteractive apt-get -y -q purge moodle-backup",
    );
    machine.shell(&format!("DEBIAN_FRONTEND=noninteractive apt-get -y -q install {}", crate::server::PACKAGE));
    let disk = machine.blank().path.display();
    machine.shell(&format!(
        "cat >/root/answers.toml <<ANSWERS
first_backup = true
[target]
way = \"format\"
device = \"{disk}\"
file_system = \"ext4\"
path = \"/srv/backup\"
[schedule]
nightly = \"00:45\"
weekly_verify = true
[notification]
mail = \"root\"
ANSWERS"
    ));
    let planned = server.program("setup --answers /root/answers.toml --plan", 0);
    for words in ["make an ext4 file system on", "mount it at /srv/backup", "switch moodle-backup.timer on"] {
        assert!(planned.contains(words), "{words}: {planned}");
    }
    let told = server.program("setup --answers /root/answers.toml 2>&1", 0);
    assert!(told.contains("there is no /dev/disk/by-uuid/"), "no udev here: {told}");
    server.assert_as_before();

    // The disk is mounted, at each start too, and nothing waits for it in vain.
    assert_eq!(machine.shell("findmnt --noheadings --output SOURCE /srv/backup"), disk.to_string());
    assert_eq!(machine.shell("systemctl is-enabled srv-backup.mount"), "enabled");
    machine.shell("systemd-analyze verify --man=no /etc/systemd/system/srv-backup.mount");
    let unit = machine.shell("cat /etc/systemd/system/srv-backup.mount");
    assert!(unit.contains("DefaultDependencies=no") && unit.contains("nofail"), "{unit}");
    assert!(server.unit("moodle-backup.service", "After").contains("srv-backup.mount"));
    for timer in ["moodle-backup.timer", "moodle-backup-verify.timer"] {
        assert_eq!(machine.shell(&format!("systemctl is-enabled {timer}")), "enabled");
        assert_eq!(server.unit(timer, "ActiveState"), "active");
    }
    let next = server.status()["next_run"].as_str().expect("the timer's time").to_owned();
    assert!(next.contains("T00:") || next.contains("T01:00"), "{next}");

    // A first backup, which was read again.
    let listed = server.program("list --json", 0);
    assert!(listed.contains("the first backup") && listed.contains("\"verified\""), "{listed}");
    let again = server.program("setup --answers /root/answers.toml", 0);
    assert!(again.contains("nothing was changed"), "{again}");

    nights::the_timer_makes_one_more(server);
    server.program("verify", 0);

    // P10: a disk that is absent is told of, and nothing is written in its place. (It is absent for systemd as long as there
    // is no udev that would make the link.)
    let machine = &server.machine;
    machine.shell("umount /srv/backup");
    assert!(!machine.holds("touch /srv/backup/below"), "the empty folder below takes nothing");
    assert!(!machine.holds("systemctl start moodle-backup.service"));
    let journal = server.journal("moodle-backup.service");
    assert!(journal.contains("is not mounted at /srv/backup"), "{journal}");
    assert!(server.status()["attention"].to_string().contains("not mounted"), "{}", server.status());
    assert!(server.is_open());
    machine.shell("systemctl reset-failed moodle-backup.service srv-backup.mount");

    // Once it is there, the service has it mounted.
    machine.shell(&format!(
        "mkdir -p /dev/disk/by-uuid; ln -s {disk} /dev/disk/by-uuid/$(blkid -p -s UUID -o value {disk})"
    ));
    machine.shell("systemctl start moodle-backup.service");
    assert!(machine.holds(&format!("test -e {SITE_FOLDER}/latest/RESTORE.txt")));
}

/// By a person who takes all sites: one is set up already, and the other gets settings and timers of its own.
pub fn a_further_site_gets_timers_of_its_own(server: &mut Server) {
    let machine = &server.machine;
    machine.shell(
        "cp -a /var/www/moodle /var/www/two; cp -a /var/moodledata /var/moodledata-two; \
         sed -i 's|/var/moodledata|/var/moodledata-two|' /var/www/two/config.php",
    );
    let mut terminal = machine.terminal(&["moodle-backup", "setup"]);
    let mut read = 0;
    let first = [("This site is set up already", "\n"), ("backup now", "no\n")];
    let second = [
        ("What is it to be called here?", "two\n"),
        ("Where are the backups to go?", "\n"),
        ("In which folder there?", "\n"),
        ("When is the backup to be made", "00:45\n"),
        ("read again each week", "\n"),
        ("How many backups are to be kept?", "\n"),
        ("in another database", "\n"),
        ("Who is to get a mail", "\n"),
        ("Do all of this now?", "yes\n"),
        ("backup now", "yes\n"),
    ];
    for (question, keys) in [("Which site is to be backed up?", "all\n")].into_iter().chain(first).chain(second) {
        read = terminal.wait_for_text_behind(read, question);
        terminal.type_keys(keys);
    }
    assert!(terminal.wait().success(), "{}", terminal.text());
    for timer in ["moodle-backup", "moodle-backup@two", "moodle-backup-verify@two"].map(|name| format!("{name}.timer"))
    {
        assert_eq!(machine.shell(&format!("systemctl is-enabled {timer}")), "enabled");
        assert_eq!(server.unit(&timer, "ActiveState"), "active");
    }
    assert!(machine.shell("systemctl cat moodle-backup@two.timer").contains("OnCalendar=*-*-* 00:45"));
    assert!(server.unit("moodle-backup@two.service", "After").contains("srv-backup.mount"));
    machine.shell("systemctl start moodle-backup@two.service");
    assert_eq!(machine.shell("ls -d /srv/backup/two/20* | wc -l"), "2");
    machine.shell("rm -rf /var/www/two /var/moodledata-two");
}

/// By a person at a terminal, who wants fewer backups.
pub fn a_person_changes_something(server: &mut Server) {
    let mut terminal = server.machine.terminal(&["moodle-backup", "setup"]);
    for (question, keys) in [
        ("This site is set up already", "4 5\n"),
        ("read again each week", "no\n"),
        ("How many backups are to be kept?", "1 2 3 4 5\n"),
        ("Do all of this now?", "yes\n"),
        ("Make a backup now", "no\n"),
    ] {
        terminal.wait_for_text(question);
        terminal.type_keys(keys);
    }
    assert!(terminal.wait().success(), "{}", terminal.text());
    let text = terminal.text();
    assert!(text.contains("switch moodle-backup-verify.timer off"), "{text}");
    assert!(!text.contains("file system on") && !text.contains("mount it at"), "{text}");
    assert!(server.machine.holds("grep -qx 'yearly = 5' /etc/moodle-backup/settings.toml"));
    assert!(!server.machine.holds("systemctl is-enabled --quiet moodle-backup-verify.timer"));
    assert_eq!(server.machine.shell("systemctl is-enabled moodle-backup.timer"), "enabled");
    // A mail is wanted, and this server cannot send any.
    assert!(server.program("check", 3).contains("cannot mail to root"));
    server.machine.shell("ln -s /bin/true /usr/sbin/sendmail");
    server.program("check", 0);
    // Purging takes what the set-up has written for the units, and neither a backup nor the mount of its disk.
    server.machine.shell("DEBIAN_FRONTEND=noninteractive apt-get -y -q purge moodle-backup");
    assert!(server.machine.holds("! ls -d /etc/systemd/system/moodle-backup*.d"));
    assert!(server.machine.holds(&format!("test -e {SITE_FOLDER}/latest/RESTORE.txt")));
}
