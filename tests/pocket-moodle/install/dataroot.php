<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * The rest of moodledata: what Moodle keeps there beside the pool, and names that test a backup's patience.
 */

namespace pocket\install;

/** Writes a file and its folder. */
function put(string $path, string $content, int $mode = 0666): void {
    make_shared_dir(dirname($path));
    file_put_contents($path, $content);
    chmod($path, $mode);
}

/** What every Moodle has, and some of what plugins leave. */
function fill_dataroot(\stdClass $cfg): void {
    $root = $cfg->dataroot;
    put("$root/.htaccess", "order deny,allow\ndeny from all\n");
    put("$root/muc/config.php", "<?php defined('MOODLE_INTERNAL') || die();\n\$configuration = ['siteidentifier' => 'pocket'];\n");
    put("$root/secret/key/sodium.key", random_bytes(32), 0400);
    put("$root/dkim/example.org/pocket.private", "not a real key\n", 0600);
    put("$root/climaintenance.template.html", "<!DOCTYPE html>\n<html><body><p>Pocket Moodle is closed for a moment.</p></body></html>\n");
    put("$root/lang/de/moodle.php", "<?php\n\$string['save'] = 'Änderungen sichern';\n");
    put("$root/lang/de_local/moodle.php", "<?php\n\$string['save'] = 'Los!';\n");
    put("$root/models/1/model.json", '{"weights":[0.25,0.5]}');
    put("$root/repository/shared/handout.pdf", "%PDF-1.4\n" . random_bytes(20000));
    put("$root/geoip/GeoLite2.mmdb", random_bytes(5000));
    fill_passing_dirs($cfg);
    fill_odd_names("$root/repository/odd");
}

/** Folders whose content comes back by itself. */
function fill_passing_dirs(\stdClass $cfg): void {
    put("$cfg->cachedir/core_component.php", "<?php return [];\n");
    put("$cfg->cachedir/cachestore_file/default/core_string/a1.cache", random_bytes(1000));
    put("$cfg->localcachedir/bootstrap.php", "<?php\n\$CFG->siteidentifier = 'pocket';\n");
    put("$cfg->tempdir/backup/1234abcd/moodle_backup.xml", '<moodle_backup/>');
    put("$cfg->dataroot/sessions/sess_" . bin2hex(random_bytes(13)), 'USER|O:8:"stdClass":0:{}', 0600);
    put("$cfg->dataroot/lock/core_cron", '');
    put(hashed_path(trashdir(), sha1('thrown away')), 'thrown away');
}

/** Names of any bytes, of the greatest length, and entries that are not plain files. */
function fill_odd_names(string $dir): void {
    foreach (["caf\xe9 latin1", "\xff\xfe bytes", "new\nline", "-rf", "~tilde", " blank ", 'quote\'"`$(id)', 'back\\slash',
            'ünï日本', 'a*?[b]', 'percent%20', str_repeat('n', 255), str_repeat("\xc3\xa9", 127)] as $name) {
        put("$dir/$name", "content of $name");
    }
    put("$dir/empty file", '');
    put("$dir/private", 'for the owner', 0600);
    put("$dir/program", "#!/bin/sh\n", 0755);
    put("$dir/pair one", 'one file, two names');
    link("$dir/pair one", "$dir/pair two");
    symlink('empty file', "$dir/link");
    symlink('../../nowhere', "$dir/dangling link");
    symlink('..', "$dir/link to a folder");
    make_shared_dir("$dir/empty folder");
    $old = "$dir/old";
    put($old, 'from before the epoch was a nuisance');
    touch($old, 86400);
}
