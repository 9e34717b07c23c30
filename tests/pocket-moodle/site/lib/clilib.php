<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * Options and messages of the scripts in admin/cli.
 */

defined('MOODLE_INTERNAL') || die();

/** Ends the script with words on standard error. */
function cli_error(string $message, int $code = 1): void {
    fwrite(STDERR, $message . "\n");
    exit($code);
}

/** Options by name, each its default unless given; an unknown one ends the script. */
function cli_options(array $defaults, array $short = []): array {
    $options = $defaults;
    foreach (array_slice($_SERVER['argv'], 1) as $argument) {
        if (preg_match('/^--([^=]+)(?:=(.*))?$/s', $argument, $parts)) {
            $name = $parts[1];
            $value = $parts[2] ?? true;
        } else {
            $name = $short[ltrim($argument, '-')] ?? $argument;
            $value = true;
        }
        if (!array_key_exists($name, $defaults)) {
            cli_error("Unrecognised options:\n  $argument\nPlease use --help option.");
        }
        $options[$name] = $value;
    }
    return $options;
}

/** Prints the usage and ends, if it was asked for. */
function cli_help(array $options, string $usage, int $code = 0): void {
    if ($options['help']) {
        echo $usage;
        exit($code);
    }
}
