<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * Settings kept in the tables config and config_plugins.
 *
 * What stands in config.php wins over the tables, as in Moodle.
 */

defined('MOODLE_INTERNAL') || die();

/** Adds the table's settings to $CFG. */
function load_site_config(stdClass $cfg): void {
    global $DB;
    foreach ($DB->query('SELECT name, value FROM {config}') as $row) {
        if (!array_key_exists($row['name'], $cfg->config_php_settings)) {
            $cfg->{$row['name']} = $row['value'];
        }
    }
}

/** All settings of a component; those of core include the plain values of config.php. */
function get_all_config(string $component): array {
    global $CFG, $DB;
    if ($component !== 'core') {
        $rows = $DB->query('SELECT name, value FROM {config_plugins} WHERE plugin = ? ORDER BY name', [$component]);
        return array_column($rows, 'value', 'name');
    }
    $settings = array_column($DB->query('SELECT name, value FROM {config} ORDER BY name'), 'value', 'name');
    return array_map('strval', array_filter($CFG->config_php_settings, 'is_scalar')) + $settings;
}

/** One setting, or null where there is none. */
function get_config(string $component, string $name): ?string {
    return get_all_config($component)[$name] ?? null;
}

function set_config(string $name, string $value, string $component = 'core'): void {
    global $CFG, $DB;
    if ($component !== 'core') {
        $DB->query('DELETE FROM {config_plugins} WHERE plugin = ? AND name = ?', [$component, $name]);
        $DB->insert('config_plugins', ['plugin' => $component, 'name' => $name, 'value' => $value]);
        return;
    }
    if ($DB->value('SELECT COUNT(*) FROM {config} WHERE name = ?', [$name])) {
        $DB->query('UPDATE {config} SET value = ? WHERE name = ?', [$value, $name]);
    } else {
        $DB->insert('config', ['name' => $name, 'value' => $value]);
    }
    $CFG->$name = $value;
}

function unset_config(string $name, string $component = 'core'): void {
    global $CFG, $DB;
    if ($component !== 'core') {
        $DB->query('DELETE FROM {config_plugins} WHERE plugin = ? AND name = ?', [$component, $name]);
        return;
    }
    $DB->query('DELETE FROM {config} WHERE name = ?', [$name]);
    unset($CFG->$name);
}
