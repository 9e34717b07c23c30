//! The folders that the configurations of Apache, nginx and PHP's pools name: any of them may be a site, or have one in it.
//! Their languages are read no further than for that.

use std::path::{Path, PathBuf};

/// Where they lie, as patterns of one folder and the ending of names in it.
const PLACES: [(&str, &str); 8] = [
    ("etc/apache2/sites-enabled", ""),
    ("etc/apache2/conf-enabled", ""),
    ("etc/apache2", ".conf"),
    ("etc/httpd/conf.d", ".conf"),
    ("etc/nginx/sites-enabled", ""),
    ("etc/nginx/conf.d", ".conf"),
    ("etc/nginx", ".conf"),
    ("etc/php-fpm.d", ".conf"),
];

/// Words before a folder, in small letters.
const WORDS: [&str; 5] = ["documentroot", "<directory", "root", "alias", "chdir"];

/// Folders, each with the file that names it.
pub fn folders(machine: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut files: Vec<PathBuf> =
        PLACES.iter().flat_map(|(folder, ending)| files_in(&machine.join(folder), ending)).collect();
    for version in super::folders_in(&machine.join("etc/php")) {
        files.extend(files_in(&version.join("fpm/pool.d"), ".conf"));
    }
    let mut found = Vec::new();
    for file in files {
        let Ok(text) = std::fs::read(&file) else { continue };
        for folder in named(&String::from_utf8_lossy(&text)) {
            let folder = machine.join(folder.trim_start_matches('/'));
            // A site may lie in a folder of the server's, as in https://example.org/moodle.
            found.extend(super::folders_in(&folder).into_iter().map(|inner| (inner, file.clone())));
            found.push((folder, file.clone()));
        }
    }
    found
}

fn files_in(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file() && path.to_string_lossy().ends_with(ending))
        .collect();
    files.sort();
    files
}

/// The folders that a text names, from `/` on.
fn named(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        // Several statements of nginx may stand on a line.
        for statement in line.split([';', '{']) {
            let mut words = statement.split_whitespace();
            let word = words.next().unwrap_or_default().to_lowercase();
            if !WORDS.contains(&word.as_str()) {
                continue;
            }
            // An alias has two: the address, then the folder. A pool's has a "=".
            let quoted = statement.split(['"', '\'']).rfind(|part| part.starts_with('/'));
            let folder = quoted.or(words.next_back()).unwrap_or_default().trim_end_matches('>');
            if folder.starts_with('/') && folder.len() > 1 && !folder.contains(['$', '*', '^']) {
                found.push(folder.trim_end_matches('/').to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_apache_nginx_and_pools_are_found() {
        let apache = "<VirtualHost *:443>\n  ServerName moodle.example.org\n  DocumentRoot \"/var/www/my moodle/public\"\n\
                      DocumentRoot /var/www/moodle/\n  # DocumentRoot /var/www/old\n  Alias /school /srv/school\n\
                      <Directory \"/srv/other\">\n Require all granted\n</Directory>\n Alias /x ${HOME}/y\n</VirtualHost>\n";
        assert_eq!(named(apache), ["/var/www/my moodle/public", "/var/www/moodle", "/srv/school", "/srv/other"]);
        let nginx = "server { listen 80; root /var/www/html/public; }\nlocation /two/ { alias '/srv/two/'; }\n\
                     location ~ \\.php$ { root $document_root; }\n";
        assert_eq!(named(nginx), ["/var/www/html/public", "/srv/two"]);
        assert_eq!(named("[www]\nuser = www-data\nchdir = /srv/pool\n;chdir = /var/www\n"), ["/srv/pool"]);
    }
}
