<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * Shows and changes settings; its exit codes are part of what others rely on.
 */

define('CLI_SCRIPT', true);

require(__DIR__ . '/../../config.php');
require_once("$CFG->libdir/clilib.php");

$options = cli_options([
    'help' => false,
    'component' => 'core',
    'name' => null,
    'set' => null,
    'unset' => false,
    'shell-arg' => false,
    'json' => false,
    'no-eol' => false,
], ['h' => 'help']);
cli_help($options, "Displays the current value of the given site setting. Allows to set it to the given value, too.

Usage:
    # php cfg.php [--component=<componentname>] [--json] [--shell-arg]
    # php cfg.php --name=<configname> [--component=<componentname>] [--shell-arg] [--no-eol]
    # php cfg.php --name=<configname> [--component=<componentname>] --set=<value>
    # php cfg.php --name=<configname> [--component=<componentname>] --unset
", 2);

function change_setting(array $options): void {
    global $CFG;
    if (empty($options['name'])) {
        cli_error('Missing configuration variable name', 2);
    }
    if (array_key_exists($options['name'], $CFG->config_php_settings)) {
        cli_error('The configuration variable is hard-set in the config.php, unable to change.', 4);
    }
    if ($options['unset']) {
        unset_config($options['name'], $options['component']);
    } else {
        set_config($options['name'], (string) $options['set'], $options['component']);
    }
}

function show_all_settings(array $options): void {
    $settings = get_all_config($options['component']);
    if ($options['json']) {
        echo json_encode((object) $settings) . "\n";
        return;
    }
    foreach ($settings as $name => $value) {
        echo $name . "\t" . ($options['shell-arg'] ? escapeshellarg($value) : $value) . "\n";
    }
}

function show_setting(array $options): void {
    $value = get_config($options['component'], $options['name']);
    if ($value === null) {
        cli_error('No such configuration variable found.', 3);
    }
    if ($options['shell-arg']) {
        $value = escapeshellarg($value);
    }
    if ($options['json']) {
        $value = json_encode($value);
    }
    echo $value . ($options['no-eol'] ? '' : "\n");
}

if ($options['unset'] || $options['set'] !== null) {
    change_setting($options);
} else if ($options['name'] === null) {
    show_all_settings($options);
} else {
    show_setting($options);
}
exit(0);
