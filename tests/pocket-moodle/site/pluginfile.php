<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * Sends a file by ?id= or ?hash=. A row without its content is the worst that can happen to a site, and answers 500.
 */

require_once(__DIR__ . '/config.php');
require_once("$CFG->libdir/weblib.php");

start_page();
$file = requested_file();
$path = readable_content($file);
$content = $path === null ? false : @file_get_contents($path);
if ($content === false) {
    page_error(500, "Content of file $file[id] is lost: $file[contenthash]");
}
log_event('read', (int) $file['id']);
header('Content-Type: application/octet-stream');
header('Content-Length: ' . strlen($content));
echo $content;
