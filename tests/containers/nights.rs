//! What happens at night, when nobody looks: the timer's runs, and their ends.

use std::time::Duration;

use serde_json::Value;

use crate::server::Server;
use crate::support;

/// Times of the timer for a test: every few seconds.
const OFTEN: &str = r"
mkdir -p /etc/systemd/system/moodle-backup.timer.d
cat >/etc/systemd/system/moodle-backup.timer.d/test-often.conf <<TIMER
[Timer]
OnCalendar=
OnCalendar=*-*-* *:*:0/5
RandomizedDelaySec=0
AccuracySec=100ms
TIMER
systemctl daemon-reload
systemctl enable --now --quiet moodle-backup.timer
";

/// As an administrator sets it up after the installation, down to the first backup that he finds in the morning.
pub fn the_timer_makes_a_backup(server: &mut Server) {
    let machine = &server.machine;
    server.set("root", "\"/var/www/moodle\"");
    server.set("path", "\"/srv/backup\"");
    server.set("mount_uuid", &format!("\"{}\"", machine.disk().uuid()));
    server.set("last", "100");
    server.set("services", &format!("[\"{}\"]", server.release.web_server()));
    // All is fit, and nothing starts it yet.
    assert!(server.program("check", 3).contains("moodle-backup.timer is off"));

    // Nothing is made up for that was never missed.
    machine.shell("systemctl enable --now --quiet moodle-backup.timer");
    assert_eq!(server.unit("moodle-backup.service", "ActiveState"), "inactive");
    let next = server.status()["next_run"].as_str().expect("the timer's time").to_owned();
    assert!(next.contains("T01:"), "{next}");

    machine.shell(OFTEN);
    machine.wait_until("moodle-backup status --max-age 1h --json >/dev/null");
    machine
        .shell("systemctl disable --now --quiet moodle-backup.timer; rm -r /etc/systemd/system/moodle-backup.timer.d");
    machine.shell("systemctl daemon-reload");
    server.wait_for_end("moodle-backup.service");
    assert_eq!(server.unit("moodle-backup.service", "Result"), "success");
    server.assert_as_before();
    let journal = server.journal("moodle-backup.service");
    for words in ["step close", "the site was closed for", &server.backups()[0]] {
        assert!(journal.contains(words), "{words}\n{journal}");
    }
}

/// The timer, as it was set up, makes one more backup, only sooner.
pub fn the_timer_makes_one_more(server: &Server) {
    let before = server.backups().len();
    server.machine.shell(OFTEN);
    support::wait_for("one more backup", Duration::from_secs(60), || server.backups().len() > before);
    server.machine.shell("rm /etc/systemd/system/moodle-backup.timer.d/test-often.conf; systemctl daemon-reload");
    server.machine.shell("systemctl restart moodle-backup.timer");
    server.wait_for_end("moodle-backup.service");
    assert_eq!(server.unit("moodle-backup.service", "Result"), "success");
}

/// P1: `systemctl stop`, as also at shutdown, while the site is closed.
pub fn a_stopped_run_leaves_the_site_open(server: &mut Server) {
    let before = server.backups();
    server.close_for_long(true);
    server.start_and_wait_until_closed();
    assert_eq!(server.unit("moodle-backup.service", "StatusText"), "close");
    server.machine.shell("systemctl stop moodle-backup.service");
    server.assert_as_before();
    assert_eq!(server.unit("moodle-backup.service", "Result"), "exit-code");
    assert_eq!(server.unit("moodle-backup.service", "ExecMainStatus"), "1");
    assert!(server.journal("moodle-backup.service").contains("interrupted by SIGTERM"));
    assert_eq!(server.backups(), before);
}

/// P1: the main process is killed outright while the site is closed, as when memory is short.
pub fn a_killed_run_leaves_the_site_open(server: &mut Server) {
    let before = server.backups();
    server.start_and_wait_until_closed();
    server.machine.shell("kill -KILL \"$(systemctl show --property=MainPID --value moodle-backup.service)\"");
    server.machine.wait_until("systemctl is-failed --quiet moodle-backup.service");
    server.assert_as_before();
    assert_eq!(server.unit("moodle-backup.service", "Result"), "signal");
    let attention = server.status()["attention"].to_string();
    assert!(attention.contains("was killed at the step close"), "{attention}");
    assert_eq!(server.backups(), before);
    server.machine.shell("systemctl reset-failed moodle-backup.service");
}

/// P1: everything ends at once while the site is closed, the guard too.
pub fn a_power_cut_leaves_the_site_open(server: &mut Server) {
    let before = server.backups();
    server.start_and_wait_until_closed();
    server.machine.cut_power();
    assert!(server.machine.path("/var/moodledata/climaintenance.html").exists(), "it was closed until the end");

    server.machine.boot();
    server.machine.wait_until("! test -e /var/moodledata/climaintenance.html");
    let journal = server.journal("moodle-backup-recover.service");
    assert!(journal.contains("reopened moodle (/var/moodledata): a run closed it on"), "{journal}");
    // The disk is mounted by hand here; what is half made on it goes then.
    server.mount_target();
    let attention = server.status()["attention"].to_string();
    assert!(attention.contains("was cut off when the machine stopped"), "{attention}");
    server.program("recover", 0);
    server.assert_as_before();
    assert_eq!(server.backups(), before);

    server.close_for_long(false);
    server.machine.shell("systemctl start moodle-backup.service");
    assert_eq!(server.backups().len(), before.len() + 1);
    assert_eq!(server.status()["attention"].to_string(), "[]");
}

/// P1: an orderly shutdown while the site is closed, and its web server stopped, which nothing starts again by then.
pub fn a_shutdown_leaves_the_site_open(server: &mut Server) {
    let before = server.backups();
    server.close_for_long(true);
    server.set("stop_services", "true");
    server.machine.shell("systemctl start --no-block moodle-backup.service");
    server.wait_until_stopped();
    server.machine.shut_down();
    assert!(!server.machine.path("/var/moodledata/climaintenance.html").exists(), "it was opened on the way down");

    server.machine.boot();
    server.mount_target();
    server.assert_as_before();
    server.set("stop_services", "false");
    server.close_for_long(false);
    assert_eq!(server.backups(), before);
}

/// P10: whoever is to be told of a failure is told, and the journal says what to do.
pub fn a_failure_is_told(server: &mut Server) {
    let machine = &server.machine;
    machine.shell(
        r"mkdir -p /run/systemd/system/moodle-backup.service.d
        printf '[Unit]\nOnFailure=tell.service\n' >/run/systemd/system/moodle-backup.service.d/tell.conf
        printf '[Service]\nType=oneshot\nExecStart=/usr/bin/touch /opt/told\n' >/run/systemd/system/tell.service
        systemctl daemon-reload",
    );
    server.set("root", "\"/var/www/nowhere\"");
    assert!(!machine.holds("systemctl start moodle-backup.service 2>/dev/null"));
    assert_eq!(server.unit("moodle-backup.service", "ExecMainStatus"), "5");
    machine.wait_until("test -e /opt/told");
    let journal = server.journal("moodle-backup.service");
    assert!(journal.contains("error: ") && journal.contains("/var/www/nowhere"), "{journal}");
    assert!(journal.contains("  next: "), "{journal}");
    server.set("root", "\"/var/www/moodle\"");
    machine.shell("rm -r /run/systemd/system/moodle-backup.service.d; systemctl daemon-reload; systemctl reset-failed");
}

/// The weekly check finds nothing, and says so.
pub fn the_weekly_check_reads_backups(server: &mut Server) {
    server.machine.shell("systemctl start moodle-backup-verify.service");
    let shown: Value = serde_json::from_str(&server.program("show latest --json", 0)).expect("show prints JSON");
    assert_eq!(shown["verified"]["good"], true, "{shown}");
}
