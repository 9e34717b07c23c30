<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * Does at once what cron does at its time: ?task=truncate_tags, rebuild_tags, alter_table or purge_trash.
 */

require_once(__DIR__ . '/config.php');
require_once("$CFG->libdir/weblib.php");

start_page();
switch (optional_param('task')) {
    case 'truncate_tags':
        $DB->query('TRUNCATE TABLE {tag}');
        break;
    case 'rebuild_tags':
        task_rebuild_tags();
        break;
    case 'alter_table':
        task_alter_table();
        break;
    case 'purge_trash':
        purge_trash(true);
        break;
    default:
        page_error(404, 'No such task.');
}
echo "done\n";
