//! The folders that the configurations of Apache, nginx and PHP's pools name: any of them may be a site, or have one in it.
//! Their languages are read no further than for that.

mod walk;

use std::path::{Path, PathBuf};
use walk::{Statement, statements};

/// Each server's folder, and what is read in it: first what the server itself begins with, which as a rule includes the rest.
const SERVERS: [(&str, &[&str]); 6] = [
    ("etc/apache2", &["apache2.conf", "sites-enabled/*", "conf-enabled/*", "*.conf"]),
    ("etc/httpd", &["conf/httpd.conf", "conf.d/*.conf"]),
    ("etc/nginx", &["nginx.conf", "sites-enabled/*", "conf.d/*.conf", "*.conf"]),
    // As they are built from their sources.
    ("usr/local/apache2", &["conf/httpd.conf"]),
    ("usr/local/nginx/conf", &["nginx.conf"]),
    ("etc", &["php-fpm.d/*.conf", "php/*/fpm/pool.d/*.conf"]),
];

/// Words before a folder, in small letters.
const WORDS: [&str; 5] = ["documentroot", "<directory", "root", "alias", "chdir"];

/// Those before one that is shown to everybody.
const SHOWN: [&str; 3] = ["documentroot", "root", "alias"];

/// Folders, each with the file that names it.
pub fn folders(machine: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut found = Vec::new();
    for (folder, file) in SERVERS.iter().flat_map(|(base, patterns)| named(machine, base, patterns)) {
        let folder = machine.join(folder.trim_start_matches('/'));
        // A site may lie in a folder of the server's, as in https://example.org/moodle.
        found.extend(super::folders_in(&folder).into_iter().map(|inner| (inner, file.clone())));
        found.push((folder, file));
    }
    found
}

/// Folders that a web server shows to everybody, each with the file that says so.
pub fn served(machine: &Path) -> Vec<(PathBuf, PathBuf)> {
    let servers = SERVERS.iter().filter(|(base, _)| *base != "etc");
    let statements = servers.flat_map(|(base, patterns)| statements(machine, base, patterns));
    let shown = statements.filter(|it| SHOWN.contains(&it.word.as_str()) && is_folder(&it.value));
    shown.map(|it| (machine.join(it.value.trim_matches('/')), it.file)).collect()
}

/// The users that PHP's pools run as.
pub fn pool_users(machine: &Path) -> Vec<String> {
    let pools = SERVERS.iter().filter(|(base, _)| *base == "etc");
    let statements = pools.flat_map(|(base, patterns)| statements(machine, base, patterns));
    let users = statements.filter(|it| it.word == "user").map(|it| it.value);
    users.filter(|user| user != "root").collect()
}

/// The folders that a server's configuration names, from `/` on, each with the file that does.
fn named(machine: &Path, base: &str, patterns: &[&str]) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for Statement { word, value, file } in statements(machine, base, patterns) {
        if is_folder(&value) && WORDS.contains(&word.as_str()) {
            found.push((value.trim_end_matches('/').to_owned(), file));
        }
    }
    found
}

/// An alias has the address before the folder, and a pool's chdir a "=".
fn is_folder(value: &str) -> bool {
    value.starts_with('/') && value.len() > 1 && !value.contains(['$', '*', '^'])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with these files, and the folders that its server names.
    fn named_by(base: &str, files: &[(&str, &str)]) -> Vec<String> {
        let machine = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = machine.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let (base, patterns) = SERVERS.iter().find(|(it, _)| *it == base).unwrap();
        named(machine.path(), base, patterns).into_iter().map(|(folder, _)| folder).collect()
    }

    #[test]
    fn folders_of_apache_nginx_and_pools_are_found() {
        let apache = "<VirtualHost *:443>\n  ServerName moodle.example.org\n  DocumentRoot \"/var/www/my moodle/public\"\n\
                      DocumentRoot /var/www/moodle/\n  # DocumentRoot /var/www/old\n  Alias /school /srv/school\n\
                      <Directory \"/srv/other\">\n Require all granted\n</Directory>\n Alias /x ${HOME}/y\n</VirtualHost>\n";
        let found = named_by("etc/apache2", &[("etc/apache2/sites-enabled/moodle", apache)]);
        assert_eq!(found, ["/var/www/my moodle/public", "/var/www/moodle", "/srv/school", "/srv/other"]);
        let nginx = "server { listen 80; root /var/www/html/public; }\nlocation /two/ { alias '/srv/two/'; }\n\
                     location ~ \\.php$ { root $document_root; }\n";
        assert_eq!(named_by("etc/nginx", &[("etc/nginx/conf.d/a.conf", nginx)]), ["/var/www/html/public", "/srv/two"]);
        let pool = "[www]\nuser = www-data\nchdir = /srv/pool\n;chdir = /var/www\n";
        assert_eq!(named_by("etc", &[("etc/php/8.2/fpm/pool.d/www.conf", pool)]), ["/srv/pool"]);
    }

    #[test]
    fn what_apache_includes_and_defines_is_followed() {
        let found = named_by(
            "etc/apache2",
            &[
                ("etc/apache2/envvars", "export SITES=/data/sites\n"),
                (
                    "etc/apache2/apache2.conf",
                    "Define TOP /data/top\nInclude vhosts/*/*.conf\nIncludeOptional \"/opt/vhosts\"\n",
                ),
                ("etc/apache2/vhosts/one/a.conf", "DocumentRoot ${SITES}/one\nDefine SCHOOL \"${TOP}/two x\"\n"),
                ("etc/apache2/vhosts/two/b.conf", "DocumentRoot \"${SCHOOL}\"\nAlias /a \\\n  ${TOP}/three\n"),
                ("etc/apache2/vhosts/two/.hidden.conf", "DocumentRoot /hidden\n"),
                ("etc/apache2/vhosts/two/b.conf.old", "DocumentRoot /old\n"),
                // One text for several sites.
                (
                    "opt/vhosts/a",
                    "Define NAME four\nInclude site.inc\nDefine NAME five\nInclude /etc/apache2/site.inc\n",
                ),
                ("etc/apache2/site.inc", "DocumentRoot ${TOP}/${NAME}\n<Directory ${NOWHERE}/x>\n"),
                ("etc/apache2/sites-enabled/left.conf", "DocumentRoot /data/left\n"),
            ],
        );
        let there = ["/data/sites/one", "/data/top/two x", "/data/top/three", "/data/top/four", "/data/top/five"];
        assert_eq!(found, [&there[..], &["/data/left"]].concat());
        let main =
            "ServerRoot \"/etc/httpd\"\nDefine D /data\nIncludeOptional conf.d/*.conf\nInclude schools/[ab].conf\n";
        let found = named_by(
            "etc/httpd",
            &[
                ("etc/httpd/conf/httpd.conf", main),
                ("etc/httpd/conf.d/ssl.conf", "DocumentRoot ${D}/ssl\n"),
                ("etc/httpd/schools/a.conf", "DocumentRoot ${D}/a\n"),
                ("etc/httpd/schools/c.conf", "DocumentRoot ${D}/c\n"),
            ],
        );
        assert_eq!(found, ["/data/ssl", "/data/a"]);
    }

    #[test]
    fn macros_variables_and_another_server_root_are_followed() {
        let apache = "ServerRoot /opt/web\nInclude vhosts/*.conf\n";
        let macros = "<Macro VHost $name $dir>\n ServerName $name\n DocumentRoot \"$dir/public\"\n Alias /x \"${dir}/x\"\n</Macro>\n\
                      <Macro Again>\n Use Again\n</Macro>\n\
                      Use VHost one.example.org \"/srv/one school\"\nUse vhost two /srv/two\nUse Nothing /srv/no\nUse Again\n";
        let found = named_by(
            "etc/apache2",
            &[
                ("etc/apache2/apache2.conf", apache),
                ("opt/web/vhosts/a.conf", macros),
                ("etc/apache2/vhosts/b.conf", "DocumentRoot /srv/no\n"),
                ("etc/apache2/sites-enabled/c.conf", "DocumentRoot /srv/three\n"),
            ],
        );
        let there = ["/srv/one school/public", "/srv/one school/x", "/srv/two/public", "/srv/two/x", "/srv/three"];
        assert_eq!(found, there);
        let nginx = "server {\n set $top /srv/four; set $root $top/code;\n root $root/public;\n}\n\
                     server {\n set $root \"/srv/five\";\n root ${root};\n location / { alias $other/x; }\n}\n";
        assert_eq!(named_by("etc/nginx", &[("etc/nginx/nginx.conf", nginx)]), ["/srv/four/code/public", "/srv/five"]);
    }

    #[test]
    fn pools_tell_their_users() {
        let machine = tempfile::tempdir().unwrap();
        let pools = machine.path().join("etc/php/8.2/fpm/pool.d");
        std::fs::create_dir_all(&pools).unwrap();
        std::fs::write(pools.join("a.conf"), "[a]\nuser = moodle\n;user = old\nlisten.owner = x\n[b]\nuser=root\n")
            .unwrap();
        assert_eq!(pool_users(machine.path()), ["moodle"]);
    }

    #[test]
    fn what_nginx_includes_is_followed() {
        let found = named_by(
            "etc/nginx",
            &[
                ("etc/nginx/nginx.conf", "http { include mime.types; include /srv/hosts/*/nginx.conf;\n}\n"),
                ("srv/hosts/one/nginx.conf", "server { listen 80; include snippets/one.inc; # include no.inc;\n}\n"),
                ("srv/hosts/two/nginx.conf", "server {\n  root /data/two;\n  include 'snippets/t*.inc'; }\n"),
                ("etc/nginx/snippets/one.inc", "root /data/one/public;"),
                ("etc/nginx/snippets/two.inc", "location /x { alias /data/x; }"),
                ("etc/nginx/no.inc", "root /data/no;"),
                ("etc/nginx/conf.d/more.conf", "root /data/more;"),
            ],
        );
        assert_eq!(found, ["/data/one/public", "/data/two", "/data/x", "/data/more"]);
    }
}
