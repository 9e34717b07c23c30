//! Runs by hand, at a terminal, in a session that ends when it likes.

use crate::server::Server;

const BY_HAND: &str = "moodle-backup-by-hand-*.service";

/// Starts a run in a login session of its own, waits until it has closed the site, and then takes the session away, as
/// systemd-logind does where it is told to.
fn begin_and_lose_the_session(server: &Server) {
    let words = [
        "systemd-run",
        "--quiet",
        "--scope",
        "--unit=session-try",
        "moodle-backup",
        "run",
        "--label",
        "it's $5, \"by hand\"",
    ];
    let mut terminal = server.machine.terminal(&words);
    terminal.wait_for_text("close");
    server.wait_until_closed();
    server.machine.shell("systemctl kill --signal=KILL session-try.scope");
    terminal.hang_up();
    server.wait_for_end("session-try.scope");
}

/// Ctrl-C and the end of the session end the showing only; `attach` shows the run again, and how it ends.
pub fn a_run_survives_its_session(server: &mut Server) {
    let before = server.backups();
    server.close_for_long(true);
    server.set("settle_seconds", "5");
    begin_and_lose_the_session(server);
    assert_eq!(server.answer(), 503, "the run goes on");
    assert_eq!(server.status()["running"]["step"], "close");

    let mut looking = server.machine.terminal(&["moodle-backup", "attach"]);
    looking.wait_for_text("close");
    looking.type_keys("\x03");
    looking.wait_for_text("The backup goes on.");
    looking.wait();

    let mut looking = server.machine.terminal(&["moodle-backup", "attach"]);
    looking.wait_for_text(": done");
    assert_eq!(looking.wait().code(), Some(0), "{}", looking.text());
    server.wait_for_end(BY_HAND);
    server.assert_as_before();
    assert_eq!(server.backups().len(), before.len() + 1);
    let newest = server.program("show latest", 0);
    assert!(newest.contains("it's $5, \"by hand\""), "{newest}");
}

/// P1: `systemctl stop` of a run by hand, and a kill of its main process, while the site is closed.
pub fn a_run_is_stopped_through_systemd(server: &mut Server) {
    let before = server.backups();
    server.close_for_long(true);
    for (how, words) in [
        (format!("systemctl stop '{BY_HAND}'"), "interrupted by SIGTERM"),
        (format!("systemctl kill --kill-who=main --signal=KILL '{BY_HAND}'"), "ended without saying how"),
    ] {
        let mut terminal = server.machine.terminal(&["moodle-backup", "run"]);
        server.wait_until_closed();
        server.machine.shell(&how);
        terminal.wait_for_text(words);
        assert_eq!(terminal.wait().code(), Some(1), "{}", terminal.text());
        server.wait_for_end(BY_HAND);
        server.assert_as_before();
    }
    server.close_for_long(false);
    assert_eq!(server.backups(), before);
}

/// PHP that never looks whether files have changed serves what was restored all the same, and what comes back when that is undone.
pub fn a_restore_is_what_is_served(server: &mut Server) {
    let php =
        "systemctl list-units --plain --no-legend 'php*-fpm.service' apache2.service nginx.service | cut -d' ' -f1";
    let units: Vec<String> = server.machine.shell(php).lines().map(|unit| format!("\"{}\"", unit.trim())).collect();
    server.set("services", &format!("[{}]", units.join(", ")));
    server.machine.shell(
        "for folder in /etc/php/*/fpm/conf.d /etc/php/*/apache2/conf.d; do [ ! -d $folder ] || \
         printf 'opcache.enable=1\\nopcache.validate_timestamps=0\\n' >$folder/99-frozen.ini; done",
    );
    let break_it = "sed -i '1s/^<?php/<?php echo \"not what was backed up\";/' /var/www/moodle/index.php";
    server.machine.shell(break_it);
    server.machine.shell(&format!("systemctl restart {}", units.join(" ")));
    let is_broken =
        || server.machine.shell("curl --silent http://localhost/index.php").contains("not what was backed up");
    assert!(is_broken(), "as it was broken");
    for (how, broken) in [("--ignore-environment", false), ("--undo", true), ("--redo", false)] {
        server.machine.shell(&format!("moodle-backup restore {how} --yes || test $? = 3"));
        assert_eq!(is_broken(), broken, "restore {how}");
        server.assert_as_before();
    }
    server.program("restore --discard --yes", 0);
    server.machine.shell(&format!("rm /etc/php/*/*/conf.d/99-frozen.ini; systemctl restart {}", units.join(" ")));
    server.set("services", &format!("[\"{}\"]", server.release.web_server()));
}

/// `--restart none` stops the web server for good, until `resume`; a run with `stop_services` that is killed does not.
pub fn the_web_server_is_stopped_and_started(server: &mut Server) {
    let mut terminal = server.machine.terminal(&["moodle-backup", "run", "--restart", "none"]);
    assert_eq!(terminal.wait().code(), Some(0), "{}", terminal.text());
    assert_eq!(server.unit(server.release.web_server(), "ActiveState"), "inactive");
    assert_eq!(server.status()["state"], "held");
    server.program("recover", 0);
    assert_eq!(server.answer(), 0, "a site that is held is left so");
    server.program("resume", 0);
    server.assert_as_before();

    server.close_for_long(true);
    server.set("stop_services", "true");
    server.machine.shell("systemctl start --no-block moodle-backup.service");
    server.wait_until_stopped();
    server.machine.shell("kill -KILL \"$(systemctl show --property=MainPID --value moodle-backup.service)\"");
    server.machine.wait_until("systemctl is-failed --quiet moodle-backup.service");
    server.assert_as_before();
    server.set("stop_services", "false");
    server.close_for_long(false);
    server.machine.shell("systemctl reset-failed moodle-backup.service");
}
