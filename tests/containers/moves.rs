//! A site that moves: a backup of an old server comes back on a new one, with a newer database server, under another address.

use std::process::Command;

use crate::package;
use crate::roots::Release;
use crate::server::{SITE_FOLDER, Server};
use crate::support::succeed;

/// What counts in the database, in a form that does not depend on the server.
const CONTENT: &str = "SELECT COUNT(*), SUM(CRC32(CONCAT_WS('|', contenthash, filename, filesize))) FROM mdl_files; \
    SELECT COUNT(*), SUM(CRC32(CONCAT_WS('|', label, words, amount, HEX(`blob`)))) FROM mdl_pocket_nasty; \
    SELECT COUNT(*), SUM(CRC32(other)) FROM mdl_logstore_standard_log";

/// A web server for the site, as an administrator has set it up before the site comes.
const WEB: &str = r"
echo '127.0.0.1 new.example.org' >>/etc/hosts
cat >/etc/nginx/sites-available/default <<NGINX
server {
    listen 80;
    root /srv/www/learning;
    index index.php;
    location ~ [^/]\.php(/|\$) {
        include fastcgi_params;
        fastcgi_param SCRIPT_FILENAME \$document_root\$fastcgi_script_name;
        fastcgi_pass unix:$(find /run/php -name 'php[0-9]*-fpm.sock');
    }
}
NGINX
systemctl restart nginx
";

fn content(server: &Server, database: &str) -> String {
    server.machine.shell(&format!(
        "mariadb --batch --skip-column-names {database} --execute='{}'",
        CONTENT.replace('\'', "'\\''")
    ))
}

/// Debian 11 with MariaDB 10.5 to Debian 13 with MariaDB 11.8.
pub fn an_old_server_s_site_comes_to_a_new_one() {
    let old = Server::with_a_site(Release::Bullseye);
    let link = "UPDATE mdl_course SET summary = 'see http://localhost/mod/page/view.php?id=5' WHERE id = 7";
    old.machine.shell(&format!("mariadb moodle --execute=\"{link}\""));
    package::install(&old);
    old.set("root", "\"/var/www/moodle\"");
    old.set("path", "\"/srv/backup\"");
    old.program("run", 0);
    let before = content(&old, "moodle");
    old.machine.shell(&format!("cp -a {SITE_FOLDER} /opt/carried"));

    let new = Server::without_a_site(Release::TrixieWithMariaDb);
    package::install(&new);
    new.machine.shell("mkdir -p /mnt/usb /srv/www; (umask 077; printf 'of the new server' >/root/password)");
    succeed(
        Command::new("cp").arg("-a").arg(old.machine.path("/opt/carried")).arg(new.machine.path("/mnt/usb/moodle")),
    );
    drop(old);
    new.machine.shell(WEB);
    let place = "restore --from /mnt/usb --root /srv/www/learning --dataroot /srv/moodledata --wwwroot http://new.example.org \
                 --database-name learning --database-user learner --database-password-file /root/password";
    let plan = new.program(&format!("{place} --plan"), 0);
    assert!(plan.contains("database: database \"learning\" on localhost"), "{plan}");
    // The pocket Moodle's checks miss a file that no backup has.
    new.program(&format!("{place} --yes"), 3);

    assert_eq!(content(&new, "learning"), before);
    let page = "curl --silent --fail http://new.example.org/";
    assert!(new.machine.holds(&format!("{page}index.php")), "it is served");
    let hash =
        new.machine.shell("mariadb -BN learning -e 'SELECT MAX(contenthash) FROM mdl_files WHERE filesize > 1000'");
    let served = new.machine.shell(&format!("{page}pluginfile.php?hash={hash} | sha1sum"));
    assert!(served.starts_with(&hash), "{served}");
    let summary = new.machine.shell("mariadb -BN learning -e 'SELECT summary FROM mdl_course WHERE id = 7'");
    assert_eq!(summary, "see http://new.example.org/mod/page/view.php?id=5");
    assert_eq!(new.machine.shell("ls /var/lib/moodle-backup/restore"), "", "nothing is left half made");
}
