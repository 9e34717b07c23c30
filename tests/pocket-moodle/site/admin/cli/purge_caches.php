<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * Empties the caches, and marks them as purged where users' browsers and other servers look.
 */

define('CLI_SCRIPT', true);

require(__DIR__ . '/../../config.php');
require_once("$CFG->libdir/clilib.php");

$options = cli_options([
    'help' => false,
    'muc' => false,
    'courses' => false,
    'theme' => false,
    'lang' => false,
    'js' => false,
    'filter' => false,
    'other' => false,
], ['h' => 'help']);
cli_help($options, "Invalidates Moodle internal caches

Specific caches can be defined (alone or in combination) using arguments. If none are specified,
all caches will be purged.
");

$all = array_filter($options) === [];
if ($all || $options['muc'] || $options['other']) {
    delete_tree($CFG->cachedir, true);
    delete_tree($CFG->localcachedir, true);
    set_config('localcachedirpurged', (string) time());
    set_config('scheduledtaskreset', sprintf('%.6f', microtime(true)));
}
if ($all || $options['courses']) {
    $DB->query('UPDATE {course} SET cacherev = cacherev + 1');
}
if ($all || $options['theme']) {
    set_config('themerev', (string) time());
}
exit(0);
