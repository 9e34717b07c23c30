<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * What the pages share: answers, parameters, a row of the log.
 */

defined('MOODLE_INTERNAL') || die();

/** A page that needs the site to be open to its users. */
function start_page(): void {
    global $CFG;
    stop_in_legacy_maintenance($CFG);
    header('Content-Type: text/plain; charset=utf-8');
}

/** Ends the request with an error. */
function page_error(int $status, string $message): void {
    http_response_code($status);
    echo "$message\n";
    exit(0);
}

function optional_param(string $name, string $default = ''): string {
    return isset($_GET[$name]) && is_string($_GET[$name]) ? $_GET[$name] : $default;
}

/** Writes what a user did to the log table. */
function log_event(string $action, int $objectid): void {
    global $DB;
    $DB->insert('logstore_standard_log', [
        'eventname' => "\\core\\event\\file_$action",
        'component' => 'core',
        'action' => $action,
        'target' => 'file',
        'objectid' => $objectid,
        'userid' => 2,
        'courseid' => 1,
        'other' => '{"by":"web"}',
        'timecreated' => time(),
        'ip' => '127.0.0.1',
    ]);
}

/** The row of files by id or content hash, or the end of the request. */
function requested_file(): array {
    global $DB;
    $id = optional_param('id');
    $rows = $id !== ''
        ? $DB->query('SELECT * FROM {files} WHERE id = ?', [(int) $id])
        : $DB->query('SELECT * FROM {files} WHERE contenthash = ? ORDER BY id LIMIT 1', [optional_param('hash')]);
    if ($rows === []) {
        page_error(404, 'No such file.');
    }
    return $rows[0];
}
