//! A site on MySQL, whose programs, rights and ways differ from MariaDB's. Only Debian's sid has a server of it.

use crate::package;
use crate::roots::Release;
use crate::server::{SITE_FOLDER, Server};

/// What is no table, by Moodle's account and by the administrator. With its binary log, which is usual, MySQL takes no trigger from
/// Moodle's account otherwise.
const PROGRAMS: &str = "mysql moodle <<'SQL'
SET GLOBAL log_bin_trust_function_creators = 1;
CREATE TRIGGER mdl_root BEFORE INSERT ON mdl_tag FOR EACH ROW SET @a = 'x''y';
CREATE DEFINER=moodle@localhost TRIGGER mdl_own BEFORE UPDATE ON mdl_tag FOR EACH ROW SET @a = 1;
CREATE DEFINER=moodle@localhost FUNCTION mdl_f() RETURNS text DETERMINISTIC RETURN 'a';
CREATE DEFINER=moodle@localhost EVENT mdl_e ON SCHEDULE EVERY 2 HOUR DISABLE DO DELETE FROM mdl_tag WHERE id < 0;
CREATE VIEW mdl_root_view AS SELECT name FROM mdl_tag;
SQL";

/// All of them with their definers, and what else tells one state of the site from another.
fn state(server: &Server) -> String {
    server.machine.shell(
        "mysql -BN moodle <<'SQL'
SELECT TRIGGER_NAME, DEFINER FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'moodle'
UNION SELECT ROUTINE_NAME, DEFINER FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'moodle'
UNION SELECT EVENT_NAME, DEFINER FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'moodle'
UNION SELECT TABLE_NAME, DEFINER FROM information_schema.VIEWS WHERE TABLE_SCHEMA = 'moodle'
AND TABLE_NAME NOT LIKE 'moodle_backup%' ORDER BY 1;
SELECT COUNT(*), SUM(CRC32(CONCAT_WS('|', label, words, amount, HEX(`blob`)))) FROM mdl_pocket_nasty;
SELECT COUNT(*) FROM mdl_config WHERE name = 'changed';
SQL",
    )
}

/// By TCP, on a server that does not encrypt: PHP is let in all the same.
fn without_tls(server: &Server) {
    let machine = &server.machine;
    machine.shell(
        "printf '[mysqld]\\ntls_version=\\n' >/etc/mysql/conf.d/no-tls.cnf; systemctl restart mysql
         mysql -e \"RENAME USER moodle@localhost TO moodle@'127.0.0.1'\"
         sed -i \"s/'localhost'/'127.0.0.1'/\" /var/www/moodle/config.php",
    );
    server.program("run", 0);
    machine.shell(
        "rm /etc/mysql/conf.d/no-tls.cnf; systemctl restart mysql
         mysql -e \"RENAME USER moodle@'127.0.0.1' TO moodle@localhost\"
         sed -i \"s/'127.0.0.1'/'localhost'/\" /var/www/moodle/config.php",
    );
}

fn lose_everything(server: &Server) {
    server
        .machine
        .shell("mysql -e 'DROP DATABASE moodle; DROP USER moodle@localhost'; rm -rf /var/www/moodle /var/moodledata");
}

pub fn a_life_on_mysql() {
    let server = &Server::with_a_site(Release::SidWithMySql);
    package::install(server);
    server.set("root", "\"/var/www/moodle\"");
    server.set("path", "\"/srv/backup\"");
    without_tls(server);
    server.machine.shell(PROGRAMS);
    server.program("run", 0);
    // A server of its own takes the dump.
    server.program("verify --restore-test", 0);

    let of_backup = state(server).replace("mdl_root_view\troot@", "mdl_root_view\tmoodle@");
    server.machine.shell("mysql moodle -e \"INSERT INTO mdl_config (name, value) VALUES ('changed', 'since')\"");
    let before = state(server);
    // It is told that the view is another's now.
    server.program("restore --yes", 3);
    assert_eq!(state(server), of_backup);
    server.program("restore --undo --yes", 0);
    assert_eq!(state(server), before);
    server.program("restore --redo --yes", 0);
    assert_eq!(state(server), of_backup);
    // The view that is aside is the administrator's: Moodle's account may not drop it.
    server.program("restore --discard --yes", 0);
    let left = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_NAME LIKE 'moodle_backup_old%'";
    assert_eq!(server.machine.shell(&format!("mysql -BN -e \"{left}\"")), "0");

    lose_everything(server);
    server.program("restore --yes", 3);
    assert_eq!(state(server), of_backup);
    server.assert_as_before();
    server.program("restore --discard --yes", 0);

    let text = server.machine.shell(&format!("cat {SITE_FOLDER}/latest/RESTORE.txt"));
    lose_everything(server);
    let commands: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("    # ")).filter(|it| !it.starts_with("apt-get ")).collect();
    server
        .machine
        .shell(&format!("cat >/root/by-hand <<'COMMANDS'\n{}\nCOMMANDS\nbash -e /root/by-hand", commands.join("\n")));
    assert_eq!(
        state(server).replace("root@localhost", "moodle@localhost"),
        of_backup.replace("root@localhost", "moodle@localhost")
    );
    server.assert_as_before();
}
