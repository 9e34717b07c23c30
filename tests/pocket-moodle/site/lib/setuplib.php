<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * The single steps of setup.php, up to the database connection.
 *
 * Functions here must not need the database, but for setup_connect and what setup.php calls after it.
 */

defined('MOODLE_INTERNAL') || die();

/** Ends the request as Moodle does when it cannot start: words for people, 500 for browsers, 1 for shells. */
function setup_fatal(string $message): void {
    if (isset($_SERVER['REMOTE_ADDR'])) {
        header($_SERVER['SERVER_PROTOCOL'] . ' 500 Internal Server Error');
    }
    echo $message . "\n";
    exit(1);
}

/** What is made in moodledata is open to whom config.php says, by default to all: the folder above has to be closed. */
function setup_fill_permissions(stdClass $cfg): void {
    if (!isset($cfg->config_php_settings)) {
        // Kept so that cfg.php can tell what is fixed in config.php.
        $cfg->config_php_settings = (array) $cfg;
    }
    if (!isset($cfg->directorypermissions)) {
        $cfg->directorypermissions = 02777;
    }
    if (!isset($cfg->filepermissions)) {
        $cfg->filepermissions = $cfg->directorypermissions & 0666;
    }
    if (!isset($cfg->umaskpermissions)) {
        $cfg->umaskpermissions = ($cfg->directorypermissions & 0777) ^ 0777;
    }
    umask($cfg->umaskpermissions);
}

/** Moodle's first questions about config.php, in its order and its words. */
function setup_check_essentials(stdClass $cfg): void {
    if (!isset($cfg->dataroot)) {
        setup_fatal('Fatal error: $CFG->dataroot is not specified in config.php! Exiting.');
    }
    $dataroot = realpath($cfg->dataroot);
    if ($dataroot === false) {
        setup_fatal('Fatal error: $CFG->dataroot is not configured properly, '
            . 'directory does not exist or is not accessible! Exiting.');
    }
    if (!is_writable($dataroot)) {
        setup_fatal('Fatal error: $CFG->dataroot is not writable, admin has to fix directory permissions! Exiting.');
    }
    $cfg->dataroot = $dataroot;
    if (!isset($cfg->wwwroot) || $cfg->wwwroot === 'http://example.com/moodle') {
        setup_fatal('Fatal error: $CFG->wwwroot is not configured! Exiting.');
    }
}

/** Fills in every path that Moodle derives; filedir and trashdir stay unset there, so here too. */
function setup_fill_defaults(stdClass $cfg): void {
    $cfg->dirroot = dirname(__DIR__);
    $cfg->libdir = __DIR__;
    if (basename($cfg->dirroot) === 'public') {
        $cfg->root = dirname($cfg->dirroot);
    }
    $defaults = [
        'admin' => 'admin',
        'prefix' => '',
        'dboptions' => [],
        'tempdir' => "$cfg->dataroot/temp",
        'cachedir' => "$cfg->dataroot/cache",
        'localcachedir' => "$cfg->dataroot/localcache",
        'localrequestdir' => sys_get_temp_dir() . '/requestdir',
        'langotherroot' => "$cfg->dataroot/lang",
        'langlocalroot' => "$cfg->dataroot/lang",
    ];
    foreach ($defaults as $name => $value) {
        if (!isset($cfg->$name)) {
            $cfg->$name = $value;
        }
    }
    if (!isset($cfg->backuptempdir)) {
        $cfg->backuptempdir = "$cfg->tempdir/backup";
    }
}

/** A script on the command line has to say so, or it is taken for a page that lost its server. */
function setup_check_cli(): void {
    if (!defined('CLI_SCRIPT')) {
        define('CLI_SCRIPT', false);
    }
    if (PHP_SAPI === 'cli' && !CLI_SCRIPT) {
        echo "Command line scripts must define CLI_SCRIPT before requiring config.php\n";
        exit(1);
    }
}

/** While climaintenance.html exists, web requests end here: without a database, and even for ABORT_AFTER_CONFIG. */
function setup_stop_if_closed(stdClass $cfg): void {
    $page = "$cfg->dataroot/climaintenance.html";
    defined('CLI_MAINTENANCE') || define('CLI_MAINTENANCE', file_exists($page));
    if (CLI_MAINTENANCE && !CLI_SCRIPT) {
        send_maintenance_headers();
        // The site may be opened between the question and the answer.
        @readfile($page);
        exit(0);
    }
}

/** The headers by which a browser, and our own watch, knows a closed site from a broken one. */
function send_maintenance_headers(): void {
    header($_SERVER['SERVER_PROTOCOL'] . ' 503 Moodle under maintenance');
    header('Status: 503 Moodle under maintenance');
    header('Retry-After: 300');
    header('Content-Type: text/html; charset=utf-8');
}

/** Connects, or ends the request with Moodle's words for a database that does not answer. */
function setup_connect(stdClass $cfg): \pocket\database {
    try {
        return \pocket\database::connect($cfg);
    } catch (\pocket\database_exception $e) {
        setup_fatal("!!! <p>Error: Database connection failed</p>\n<p>" . $e->getMessage() . '</p> !!!');
    }
}

/** While an upgrade runs, Moodle lets nothing else in. */
function setup_stop_if_upgrading(stdClass $cfg): void {
    if (defined('NO_UPGRADE_CHECK') || empty($cfg->upgraderunning)) {
        return;
    }
    if ($cfg->upgraderunning < time()) {
        unset_config('upgraderunning');
    } else {
        setup_fatal('!!! Site is being upgraded, please retry later. !!!');
    }
}

/** A planned maintenance is not started by a clock: the first request after its time starts it. */
function setup_start_planned_maintenance(stdClass $cfg): void {
    if (empty($cfg->maintenance_later) || $cfg->maintenance_later > time()) {
        return;
    }
    if (!file_exists("$cfg->dataroot/climaintenance.html")) {
        enable_cli_maintenance_mode($cfg);
        mark_cli_maintenance($cfg);
    }
    unset_config('maintenance_later');
    if (!CLI_SCRIPT) {
        header("Location: $cfg->wwwroot/");
        exit(0);
    }
}
