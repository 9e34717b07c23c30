<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * Looks whether the site is well; words and exit codes as monitoring programs want them.
 */

define('CLI_SCRIPT', true);

require(__DIR__ . '/../../config.php');
require_once("$CFG->libdir/clilib.php");

$options = cli_options(
    ['help' => false, 'filter' => '', 'type' => 'status', 'verbose' => false],
    ['h' => 'help', 'f' => 'filter', 'v' => 'verbose', 't' => 'type']
);
cli_help($options, "Run Moodle system checks

Options:
 -h, --help      Print out this help
 -f, --filter    Filter to a subset of checks
 -t, --type      Which set of checks? Defaults to 'status'
 -v, --verbose   Show details of all checks, not just failed checks
");

/** What is wrong, by check, each with its exit code; null where nothing is. */
function check_results(stdClass $cfg): array {
    $version = null;
    require("$cfg->dirroot/version.php");
    return [
        'upgradecheck' => (float) $cfg->version === (float) $version ? null : [2, 'Code and database versions differ'],
        'cronrunning' => empty($cfg->cron_enabled) ? [1, 'Cron is disabled'] : null,
        'filedir' => file_exists(filedir() . '/warning.txt') ? null : [2, 'The file pool is not where it should be'],
    ];
}

$code = 0;
$header = 'OK: All ' . $options['type'] . " checks OK\n";
$lines = '';
foreach (check_results($CFG) as $name => $result) {
    if ($options['filter'] !== '' && strpos($name, $options['filter']) === false) {
        continue;
    }
    if ($result !== null && $result[0] > $code) {
        $code = $result[0];
        $header = ($code === 2 ? 'CRITICAL' : 'WARNING') . ": $result[1] ($name)\n";
    }
    if ($result !== null || $options['verbose']) {
        $lines .= sprintf("%10s| %s\n", $result === null ? 'OK' : 'Problem', $result[1] ?? $name);
    }
}
echo $header . $lines;
exit($code);
