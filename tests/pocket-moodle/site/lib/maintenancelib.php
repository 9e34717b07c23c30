<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * Closing the site: the file that closes it for all, and the older setting that closes it for users.
 */

defined('MOODLE_INTERNAL') || die();

/** Writes climaintenance.html from the admin's message, else from the template, else a page of our own. */
function enable_cli_maintenance_mode(stdClass $cfg): void {
    $page = "$cfg->dataroot/climaintenance.html";
    $template = "$cfg->dataroot/climaintenance.template.html";
    if (!empty($cfg->maintenance_message)) {
        $html = maintenance_page($cfg->maintenance_message);
    } else if (file_exists($template)) {
        $html = file_get_contents($template);
    } else {
        $html = maintenance_page('This site is undergoing maintenance and is currently not available');
    }
    file_put_contents($page, $html);
    chmod($page, $cfg->filepermissions);
}

/** Whether a release sets maintenance_enabled to a text of its own besides making the file. */
function marks_cli_maintenance(stdClass $cfg): bool {
    return (int) $cfg->branch >= 501;
}

/** From 5.1 on, a site whose file is merely removed stays closed by this setting. */
function mark_cli_maintenance(stdClass $cfg): void {
    if (marks_cli_maintenance($cfg)) {
        set_config('maintenance_enabled', 'cli mode');
    }
}

function maintenance_page(string $message): string {
    return "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>Maintenance</title></head>"
        . "<body><p>$message</p></body></html>\n";
}

/** For pages: ends the request while the older maintenance mode is on. There is no admin here to let in. */
function stop_in_legacy_maintenance(stdClass $cfg): void {
    if (!empty($cfg->maintenance_enabled)) {
        send_maintenance_headers();
        echo maintenance_page($cfg->maintenance_message ?? 'The site is undergoing maintenance');
        exit(0);
    }
}
