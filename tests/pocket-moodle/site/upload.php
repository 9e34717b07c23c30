<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * Stores the body of a POST as a file; answers with its id and content hash.
 */

require_once(__DIR__ . '/config.php');
require_once("$CFG->libdir/weblib.php");

start_page();
if ($_SERVER['REQUEST_METHOD'] !== 'POST') {
    page_error(405, 'Files are sent by POST.');
}
$name = optional_param('name', 'upload-' . bin2hex(random_bytes(8)));
$file = create_stored_file(file_get_contents('php://input'), ['itemid' => random_int(1, PHP_INT_MAX), 'filename' => $name]);
log_event('uploaded', $file['id']);
echo "$file[id] $file[contenthash]\n";
