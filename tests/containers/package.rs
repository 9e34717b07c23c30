//! Installing, upgrading, removing: what the package does to a server, and what it leaves alone.

use std::process::Command;

use crate::server::{PACKAGE, Server};
use crate::support::succeed;

const INSTALL: &str = "DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet";

/// Installs it, for those who try something else.
pub fn install(server: &Server) {
    server.machine.shell(&format!("{INSTALL} {PACKAGE}"));
}

/// With nothing but what it depends on, from the very base of a server: no network is there to get more.
pub fn installing_starts_nothing(server: &mut Server) {
    install(server);
    let machine = &server.machine;
    machine.shell("getent passwd moodle-backup && getent group moodle-backup");
    for file in [
        "man/man8/moodle-backup-restore.8.gz",
        "man/man5/moodle-backup.settings.5.gz",
        "bash-completion/completions/moodle-backup",
        "zsh/vendor-completions/_moodle-backup",
        "fish/vendor_completions.d/moodle-backup.fish",
    ] {
        // The base systems leave man pages out.
        assert!(machine.holds(&format!("dpkg-deb --contents {PACKAGE} | grep -q ' ./usr/share/{file}$'")), "{file}");
    }
    for timer in ["moodle-backup.timer", "moodle-backup-verify.timer"] {
        assert_eq!(server.unit(timer, "ActiveState"), "inactive");
        assert_eq!(server.unit(timer, "UnitFileState"), "disabled");
    }
    assert_eq!(server.unit("moodle-backup-recover.service", "UnitFileState"), "enabled");
    assert_eq!(server.unit("moodle-backup.service", "ExecMainStartTimestampMonotonic"), "0", "no backup was started");
    assert_eq!(machine.shell("stat --format='%a %U %G' /etc/moodle-backup/settings.toml"), "640 root root");
    let said = machine.run(&["moodle-backup", "check"]);
    assert_eq!(said.status.code(), Some(5));
    let said = String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout);
    assert!(said.contains("/etc/moodle-backup/settings.toml"), "the next step is told: {said}");
}

/// The same package under a later version, with other settings in its sample: made from what is tried, there is no other yet.
fn make_next_version(server: &Server) -> String {
    let parts = server.machine.path("/opt/next");
    let run = |command: &mut Command| drop(succeed(command));
    run(Command::new("dpkg-deb").arg("--raw-extract").arg(server.machine.path(PACKAGE)).arg(&parts));
    run(Command::new("sed").args(["-i", "s/^Version: .*/&+next/"]).arg(parts.join("DEBIAN/control")));
    run(Command::new("sed")
        .args(["-i", "1s/.*/# The sample of the next version./"])
        .arg(parts.join("etc/moodle-backup/settings.toml")));
    run(Command::new("dpkg-deb")
        .args(["--root-owner-group", "-Znone", "--build"])
        .arg(&parts)
        .arg(server.machine.path("/opt/next.deb")));
    std::fs::remove_dir_all(&parts).expect("a folder can be removed");
    "/opt/next.deb".to_owned()
}

/// A backup that is at work is completed by the binary that began it; settings, hooks and choices stay.
pub fn an_upgrade_leaves_alone_what_runs(server: &mut Server) {
    let next = make_next_version(server);
    let before = server.backups();
    let machine = &server.machine;
    machine.shell(
        "printf '#!/bin/sh\\n' >/etc/moodle-backup/post-job.d/50-own; chmod 755 /etc/moodle-backup/post-job.d/50-own",
    );
    machine.shell(
        "systemctl disable --quiet moodle-backup-recover.service; systemctl enable --now --quiet moodle-backup.timer",
    );
    server.close_for_long(true);
    server.set("settle_seconds", "8");
    server.start_and_wait_until_closed();
    machine.shell(&format!("{INSTALL} -o Dpkg::Options::=--force-confold {next}"));
    assert_eq!(server.answer(), 503, "the run is still at work");
    server.wait_for_end("moodle-backup.service");
    server.close_for_long(false);
    assert_eq!(server.unit("moodle-backup.service", "Result"), "success");
    assert_eq!(server.backups().len(), before.len() + 1);
    assert!(machine.shell("dpkg-query --show moodle-backup").contains("+next"));
    assert_eq!(machine.shell("grep -c '^root = \"/var/www/moodle\"' /etc/moodle-backup/settings.toml"), "1");
    assert!(machine.holds("test -x /etc/moodle-backup/post-job.d/50-own"));
    assert_eq!(server.unit("moodle-backup-recover.service", "UnitFileState"), "disabled");
    assert_eq!(server.unit("moodle-backup.timer", "ActiveState"), "active");
    server.assert_as_before();
}

/// A run that is at work is ended in good order, and no timer is left.
pub fn removing_ends_what_runs(server: &mut Server) {
    server.close_for_long(true);
    server.start_and_wait_until_closed();
    server.machine.shell("DEBIAN_FRONTEND=noninteractive apt-get remove --yes --quiet moodle-backup");
    server.assert_as_before();
    assert_eq!(
        server
            .machine
            .shell("systemctl list-units --all --plain --no-legend 'moodle-backup*.timer' | grep ' active ' || true"),
        ""
    );
    assert!(server.machine.holds("test -e /etc/moodle-backup/settings.toml"));
    assert_backups_are_whole(server);
}

/// P2, P4: what the program knew is gone, and every backup is there, readable, and right by its own sums.
pub fn purging_keeps_every_backup(server: &mut Server) {
    let machine = &server.machine;
    machine.shell("DEBIAN_FRONTEND=noninteractive apt-get purge --yes --quiet moodle-backup");
    let left = "find /etc/moodle-backup /var/lib/moodle-backup /var/log/moodle-backup /var/lib/systemd/timers/stamp-moodle-backup* \
        /etc/systemd/system -name '*moodle-backup*' -o -path '/etc/moodle-backup/*' -type f 2>/dev/null || true";
    assert_eq!(
        machine.shell(left).trim(),
        "/etc/moodle-backup\n/etc/moodle-backup/post-job.d/50-own",
        "what the administrator made"
    );
    machine.shell("getent passwd moodle-backup && getent group moodle-backup");
    for file in [
        "man/man8/moodle-backup-restore.8.gz",
        "man/man5/moodle-backup.settings.5.gz",
        "bash-completion/completions/moodle-backup",
        "zsh/vendor-completions/_moodle-backup",
        "fish/vendor_completions.d/moodle-backup.fish",
    ] {
        // The base systems leave man pages out.
        assert!(machine.holds(&format!("dpkg-deb --contents {PACKAGE} | grep -q ' ./usr/share/{file}$'")), "{file}");
    }
    assert_backups_are_whole(server);
}

pub fn it_can_be_installed_again(server: &mut Server) {
    server.machine.shell(&format!("{INSTALL} {PACKAGE}"));
    server.set("root", "\"/var/www/moodle\"");
    server.set("path", "\"/srv/backup\"");
    let before = server.backups();
    assert!(!before.is_empty(), "it finds the backups that were there");
    server.program("run", 0);
    assert!(server.backups().len() > 1);
}

fn assert_backups_are_whole(server: &Server) {
    server.machine.shell(
        "cd /srv/backup/moodle
        for backup in 20*; do (cd \"$backup\"; sha256sum --check --quiet SHA256SUMS); done
        zstdcat latest/filedir.sha1.zst | sha1sum --check --quiet",
    );
}
