<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * Closes and opens the site, and shows which it is.
 *
 * Which settings each option clears is Moodle's, and differs from 5.1 on; a backup has to put back what it found.
 */

define('CLI_SCRIPT', true);

require(__DIR__ . '/../../config.php');
require_once("$CFG->libdir/clilib.php");

$options = cli_options(
    ['enable' => false, 'enablelater' => 0, 'enableold' => false, 'disable' => false, 'help' => false],
    ['h' => 'help']
);
cli_help($options, "Maintenance mode settings.
Current status displayed if not option specified.

Options:
--enable              Enable CLI maintenance mode
--enablelater=MINUTES Number of minutes before entering CLI maintenance mode
--enableold           Enable legacy half-maintenance mode
--disable             Disable maintenance mode
-h, --help            Print out this help
");

$page = "$CFG->dataroot/climaintenance.html";
echo "== Site maintenance mode ($CFG->wwwroot) ==\n";

if ($options['enablelater']) {
    if (file_exists($page)) {
        echo "Status: enabled\n";
        return 1;
    }
    $time = time() + 60 * (int) $options['enablelater'];
    set_config('maintenance_later', (string) $time);
    echo 'CLI maintenance mode will be enabled on ' . date('r', $time) . "\n";
    return 0;
}

if ($options['enable'] && marks_cli_maintenance($CFG)) {
    if (!file_exists($page)) {
        enable_cli_maintenance_mode($CFG);
        mark_cli_maintenance($CFG);
        unset_config('maintenance_later');
        echo "Your site is currently in Command Line Interface (CLI) maintenance mode. No web access is allowed.\n";
    }
    exit(0);
}

if ($options['enable']) {
    if (!file_exists($page)) {
        enable_cli_maintenance_mode($CFG);
    }
    set_config('maintenance_enabled', '0');
    unset_config('maintenance_later');
    echo "Your site is currently in CLI maintenance mode.\n";
    exit(0);
}

if ($options['enableold']) {
    set_config('maintenance_enabled', '1');
    unset_config('maintenance_later');
    echo "Maintenance mode has been enabled\n";
    exit(0);
}

if ($options['disable']) {
    set_config('maintenance_enabled', '0');
    unset_config('maintenance_later');
    if (file_exists($page)) {
        unlink($page);
    }
    echo "Maintenance mode has been disabled\n";
    exit(0);
}

if (!empty($CFG->maintenance_enabled) || file_exists($page)) {
    echo "Status: enabled\n";
} else if (isset($CFG->maintenance_later)) {
    echo 'Status: CLI maintenance mode will be enabled on ' . date('r', (int) $CFG->maintenance_later) . "\n";
} else {
    echo "Status: disabled\n";
}
