//! What the service may not do, and that hooks may.

use crate::server::Server;

const HOOK: &str = r"
cat >/etc/moodle-backup/post-job.d/10-witness <<'HOOK'
#!/bin/sh
# Into the journal, and so into what the test reads.
echo witness user=$(id -un) $(grep -E '^(NoNewPrivs|CapEff)' /proc/self/status | tr -d '\n\t')
head -c 1 $MOODLE_BACKUP_MANIFEST >/dev/null && echo witness reads
touch $MOODLE_BACKUP_BACKUP/new 2>/dev/null || echo witness writes not
echo witness label=$MOODLE_BACKUP_LABEL folder=$1
exit 9
HOOK
chmod 755 /etc/moodle-backup/post-job.d/10-witness
";

/// What the service must not be able to do although it is root, and root outside can.
const FORBIDDEN: [&str; 9] = [
    "touch /usr/new",
    "touch /etc/new",
    "touch /boot/new",
    "unshare --net true",
    "unshare --mount true",
    "hostname another",
    "chroot / true",
    "chrt --fifo 1 true",
    "sh -c 'echo 1 >/sys/fs/cgroup/cgroup.procs || echo 1 >/sys/fs/cgroup/systemd/cgroup.procs'",
];

/// What it needs, tried the same way, so that the test cannot pass by trying in vain.
const NEEDED: [&str; 4] = [
    "touch /var/moodledata/new",
    "chown www-data /var/moodledata/new",
    "chmod 2770 /var/moodledata/new",
    "renice -n 5 -p 1",
];

/// P7: a hook is outside the sandbox, as the hooks' user, who reads all and writes nothing.
pub fn hooks_run_outside(server: &mut Server) {
    server.machine.shell(HOOK);
    server.machine.shell("systemctl start moodle-backup.service");
    server.machine.shell("rm /etc/moodle-backup/post-job.d/10-witness");
    let journal = server.journal("moodle-backup.service");
    let said = |words: &str| assert!(journal.contains(words), "{words}\n{journal}");
    said("witness user=moodle-backup CapEff:0000000000000004NoNewPrivs:0");
    said("witness reads");
    said("witness writes not");
    said("folder=/srv/backup/moodle");
    said("10-witness ended with exit code 9");
    // Done with warnings is no failure of the unit.
    assert_eq!(server.status()["last_run"]["result"], "warnings");
    assert_eq!(server.unit("moodle-backup.service", "ActiveState"), "inactive");
}

/// The same unit with other commands in it.
pub fn it_forbids_what_it_says(server: &mut Server) {
    let machine = &server.machine;
    let inside = |command: &str| {
        machine.shell(&format!(
            "mkdir -p /run/systemd/system/moodle-backup.service.d
            printf '%s\\n' '#!/bin/sh' \"$(cat <<'COMMAND'\n{command}\nCOMMAND\n)\" >/opt/attempt
            chmod 755 /opt/attempt
            printf '[Service]\\nExecStopPost=\\nExecStart=\\nExecStart=/opt/attempt\\nSuccessExitStatus=\\n' \
                >/run/systemd/system/moodle-backup.service.d/attempt.conf
            systemctl daemon-reload"
        ));
        machine.holds("systemctl start moodle-backup.service 2>/dev/null")
    };
    for command in NEEDED {
        assert!(inside(command), "the service needs: {command}");
    }
    for command in FORBIDDEN {
        assert!(!inside(command), "the service must not: {command}");
        assert!(machine.holds(command), "outside it works: {command}");
    }
    machine.shell(
        "rm -r /run/systemd/system/moodle-backup.service.d /opt/attempt /var/moodledata/new
        rm -f /usr/new /etc/new /boot/new
        systemctl daemon-reload; systemctl reset-failed",
    );
    let words = machine.shell("systemd-analyze security --no-pager moodle-backup.service 2>&1 | tail -1");
    let exposure = words.split_whitespace().find_map(|word| word.parse::<f64>().ok()).expect("a number");
    assert!(exposure <= 4.0, "{words}");
    machine.shell("systemd-analyze verify --man=no /usr/lib/systemd/system/moodle-backup*.service /usr/lib/systemd/system/moodle-backup*.timer");
}

/// P8: the web user, who may lock his folder as well, cannot keep a run off by it, also where the run is in its sandbox.
pub fn a_lock_of_the_web_user_is_no_run(server: &mut Server) {
    let before = server.backups();
    let machine = &server.machine;
    machine.shell("systemd-run --quiet --unit=locker --uid=www-data flock /var/moodledata sleep 600");
    machine.wait_until("! flock --nonblock /var/moodledata true");
    machine.shell("systemctl start moodle-backup.service; systemctl stop locker.service");
    assert_eq!(server.backups().len(), before.len() + 1);
}
