<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * The front page: 200, with words from the database, when the site is open.
 */

require_once(__DIR__ . '/config.php');
require_once("$CFG->libdir/weblib.php");

start_page();
$fullname = $DB->value('SELECT fullname FROM {course} WHERE id = 1');
echo "$fullname is open.\n";
