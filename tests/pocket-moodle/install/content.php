<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * The rows a new site starts with, some of them chosen to break a careless dump; and the log, as long as wanted.
 *
 * Files and their rows are in pool.php.
 */

namespace pocket\install;

/** Inserts rows in bulk; every row has the same columns. Values are strings, numbers or null. */
function insert_rows(\pocket\database $db, string $table, array $rows): void {
    foreach (array_chunk($rows, 500) as $chunk) {
        $lines = [];
        foreach ($chunk as $row) {
            $lines[] = '(' . implode(',', array_map(function ($value) use ($db) {
                return is_int($value) ? (string) $value : $db->quote($value);
            }, $row)) . ')';
        }
        $db->query("INSERT INTO {{$table}} (" . implode(',', array_keys($chunk[0])) . ') VALUES ' . implode(',', $lines));
    }
}

function add_settings(\pocket\database $db, string $version, string $release, string $branch): void {
    $settings = [
        'version' => $version,
        'release' => $release,
        'branch' => $branch,
        'siteidentifier' => bin2hex(random_bytes(16)) . 'pocket',
        'maintenance_enabled' => '0',
        'maintenance_message' => '',
        'cron_enabled' => '1',
        'cron_keepalive' => '180',
        'lang' => 'en',
        'theme' => 'boost',
        'supportemail' => 'help@example.org',
        'fileslastcleanup' => (string) time(),
        'scheduledtaskreset' => '0',
        'jsrev' => '1',
    ];
    foreach ($settings as $name => $value) {
        $db->insert('config', ['name' => $name, 'value' => $value]);
    }
    foreach (['mod_forum' => '2024100700', 'mod_quiz' => '2024100700', 'local_pocket' => '2026110900'] as $plugin => $value) {
        $db->insert('config_plugins', ['plugin' => $plugin, 'name' => 'version', 'value' => $value]);
    }
    $db->insert('config_plugins', ['plugin' => 'backup', 'name' => 'backup_auto_destination', 'value' => '']);
}

function add_people_and_courses(\pocket\database $db): void {
    $now = time();
    $courses = [];
    for ($number = 1; $number <= 50; $number++) {
        $courses[] = ['category' => $number === 1 ? 0 : 1, 'fullname' => $number === 1 ? 'Pocket Moodle' : "Course $number: Größe & 数学",
            'shortname' => "c$number", 'summary' => str_repeat("Week $number. ", $number), 'format' => 'topics',
            'startdate' => $now, 'cacherev' => 1, 'timecreated' => $now];
    }
    insert_rows($db, 'course', $courses);
    $users = [];
    for ($number = 1; $number <= 200; $number++) {
        $users[] = ['username' => $number === 1 ? 'guest' : ($number === 2 ? 'admin' : "user$number"),
            'password' => '$2y$10$' . substr(base64_encode(random_bytes(48)), 0, 53), 'firstname' => 'Zoë', 'lastname' => "O'Brien $number",
            'email' => "user$number@example.org", 'lang' => 'en', 'description' => null, 'lastaccess' => 0,
            'timecreated' => $now];
    }
    insert_rows($db, 'user', $users);
    insert_rows($db, 'sessions', [['state' => 0, 'sid' => bin2hex(random_bytes(13)), 'userid' => 2, 'sessdata' => '',
        'timecreated' => $now, 'timemodified' => $now, 'firstip' => '127.0.0.1', 'lastip' => '127.0.0.1']]);
}

function add_tasks(\pocket\database $db): void {
    $rows = [];
    foreach (array_keys(scheduled_tasks()) as $classname) {
        $rows[] = ['component' => 'moodle', 'classname' => $classname, 'lastruntime' => 0, 'nextruntime' => 0,
            'faildelay' => 0, 'disabled' => 0];
    }
    insert_rows($db, 'task_scheduled', $rows);
    task_fill_tags();
}

/** Text that looks like a dump, like the end of a string, like nothing at all. */
function nasty_words(string $prefix): array {
    return [
        'quotes' => "it's \"quoted\" `back` \\ and \\\\ and \\' and '' and \\n",
        'unicode' => "naïve Ωμέγα 日本語 \u{1F393}\u{1F469}\u{200D}\u{1F393} \u{202E}rtl\u{202C} e\u{301} \u{FEFF}",
        'controls' => "tab\there\nnewline\r\nreturn\rbell\x07 escape\x1b[31m delete\x7f substitute\x1a end",
        'insert' => "';\nINSERT INTO `{$prefix}files` VALUES (1,'da39a3ee5e6b4b0d3255bfef95601890afd80709','x');\n"
            . "INSERT INTO `{$prefix}files` (`id`) VALUES\n(1,'0123456789012345678901234567890123456789'),(2,'",
        'copy' => "\nCOPY public.{$prefix}files (id, contenthash) FROM stdin;\n1\t0123456789012345678901234567890123456789\n\\.\n",
        'trailer' => "-- Dump completed on 2001-01-01  1:01:01\n--\n-- PostgreSQL database dump complete\n--\n\\unrestrict x\n",
        'comment' => "-- not a comment\n/*!40101 SET NAMES latin1 */; # neither\n/* open",
        'delimiter' => "DELIMITER ;;\nDROP TABLE {$prefix}files;;\n\\q\n\\! true\n",
        'empty' => '',
        'null' => null,
        'nullword' => 'NULL',
        'slashn' => '\N',
        'long' => str_repeat('All work and no play makes a long row. ', 27000),
        'oneline' => str_repeat("x'\\", 100000),
    ];
}

/** Bytes that no text column would take. */
function nasty_bytes(): array {
    $every = implode('', array_map('chr', range(0, 255)));
    return [
        'every-byte' => $every . strrev($every),
        'zeros' => str_repeat("\0", 4096),
        'quotes-and-zeros' => str_repeat("\0'\\\"\x1a\n\r\xff", 1000),
        'empty-bytes' => '',
        'random' => random_bytes(300000),
    ];
}

function add_nasty_rows(\pocket\database $db, string $prefix): void {
    foreach (nasty_words($prefix) as $label => $words) {
        $db->insert('pocket_nasty', ['label' => $label, 'words' => $words, 'amount' => '-12345.67890']);
    }
    $column = $db->is_postgres() ? '"blob"' : '`blob`';
    foreach (nasty_bytes() as $label => $bytes) {
        $db->query("INSERT INTO {pocket_nasty} (label, $column) VALUES (" . $db->quote($label) . ', '
            . $db->quote_bytes($bytes) . ')');
    }
}

/** Fills the log: the server makes the rows itself, out of a row of numbers. */
function add_log(\pocket\database $db, int $wanted): void {
    for ($first = 1; $first <= $wanted; $first += 100000) {
        $last = min($first + 99999, $wanted);
        $db->query($db->is_postgres() ? postgres_log($first, $last) : mysql_log($first, $last));
    }
}

const LOG_COLUMNS = 'eventname, component, action, target, objectid, userid, courseid, other, timecreated, ip';

/** A token a row, so that a dump does not compress better than a real one. */
function mysql_log(int $first, int $last): string {
    // A row of numbers that MySQL can make too, which has no sequences.
    $digit = '(SELECT ' . implode(' UNION ALL SELECT ', range(0, 9)) . ')';
    $digits = "SELECT $first + a.`0` + 10 * b.`0` + 100 * c.`0` + 1000 * d.`0` + 10000 * e.`0` AS seq "
        . "FROM $digit a, $digit b, $digit c, $digit d, $digit e";
    return 'INSERT INTO {logstore_standard_log} (' . LOG_COLUMNS . ") SELECT '\\\\core\\\\event\\\\course_viewed', 'core', 'viewed', "
        . "'course', seq, 2 + seq % 200, 1 + seq % 50, concat('{\"token\":\"', sha2(rand(), 256), '\"}'), "
        . "1760000000 + 60 * seq, concat('192.0.2.', seq % 255) FROM ($digits) numbers WHERE seq <= $last ORDER BY seq";
}

function postgres_log(int $first, int $last): string {
    return 'INSERT INTO {logstore_standard_log} (' . LOG_COLUMNS . ") SELECT '\\core\\event\\course_viewed', 'core', 'viewed', "
        . "'course', seq, 2 + seq % 200, 1 + seq % 50, '{\"token\":\"' || md5(random()::text) || md5(random()::text) || '\"}', "
        . "1760000000 + 60 * seq, '192.0.2.' || seq % 255 FROM generate_series($first, $last) seq";
}
