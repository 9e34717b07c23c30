<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * Deletes a file by ?id= or ?hash=.
 */

require_once(__DIR__ . '/config.php');
require_once("$CFG->libdir/weblib.php");

start_page();
$file = requested_file();
delete_stored_file($file);
log_event('deleted', (int) $file['id']);
echo "deleted $file[id]\n";
