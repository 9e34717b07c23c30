<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * Makes a new site in an empty database and an empty dataroot. Run as the web user, with config.php in place:
 *
 *   php install.php --root=DIR [--files=100] [--file-size=10000] [--log-rows=1000]
 *
 * --root is the folder of config.php, --file-size the mean in bytes (up to 256 KiB). This is the order only: tables,
 * rows and files are made by the files beside this one.
 */

define('CLI_SCRIPT', true);
define('POCKET_INSTALL', true);

$options = getopt('', ['root:', 'files:', 'file-size:', 'log-rows:'])
    + ['files' => 100, 'file-size' => 10000, 'log-rows' => 1000];

require($options['root'] . '/config.php');
require(__DIR__ . '/schema.php');
require(__DIR__ . '/content.php');
require(__DIR__ . '/pool.php');
require(__DIR__ . '/dataroot.php');

require("$CFG->dirroot/version.php");

foreach (\pocket\install\create_statements($CFG->prefix, $DB->is_postgres()) as $statement) {
    $DB->query($statement);
}
$DB->query('BEGIN');
\pocket\install\add_settings($DB, sprintf('%.2f', $version), $release, $branch);
\pocket\install\add_people_and_courses($DB);
\pocket\install\add_tasks($DB);
\pocket\install\add_nasty_rows($DB, $CFG->prefix);
$DB->query('COMMIT');
\pocket\install\add_log($DB, (int) $options['log-rows']);
\pocket\install\start_pool($CFG);
\pocket\install\add_files_in_parallel($DB, $CFG, (int) $options['files'], (int) $options['file-size']);
\pocket\install\fill_dataroot($CFG);
echo "installed\n";
