<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * Brings the site up; required by config.php, so every page and script starts here.
 *
 * The order of these steps is Moodle's, and backups depend on it: paths, the closed site, ABORT_AFTER_CONFIG, and only
 * then the database. What a page does belongs in the page.
 */

defined('MOODLE_INTERNAL') || define('MOODLE_INTERNAL', true);

global $CFG, $DB;

require_once(__DIR__ . '/setuplib.php');

setup_fill_permissions($CFG);
setup_check_essentials($CFG);
setup_fill_defaults($CFG);
setup_check_cli();
setup_stop_if_closed($CFG);

// A script may look at the settings first, define the second constant, and come here again for the rest.
if (defined('ABORT_AFTER_CONFIG') && !defined('ABORT_AFTER_CONFIG_CANCEL')) {
    return;
}

require_once(__DIR__ . '/database.php');
require_once(__DIR__ . '/configlib.php');
require_once(__DIR__ . '/maintenancelib.php');
require_once(__DIR__ . '/filestorage.php');
require_once(__DIR__ . '/tasklib.php');

$DB = setup_connect($CFG);

if (defined('POCKET_INSTALL')) {
    return;
}

load_site_config($CFG);
setup_stop_if_upgrading($CFG);
setup_start_planned_maintenance($CFG);
