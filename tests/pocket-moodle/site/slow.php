<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * Keeps a transaction open for ?ms= milliseconds after it has written, for those who wait until the database is quiet.
 */

require_once(__DIR__ . '/config.php');
require_once("$CFG->libdir/weblib.php");

start_page();
$DB->query('BEGIN');
$DB->query('UPDATE {user} SET lastaccess = lastaccess + 1 WHERE id = 2');
usleep(1000 * (int) optional_param('ms', '1000'));
$DB->query('COMMIT');
echo "done\n";
