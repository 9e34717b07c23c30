<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * Settings kept in the tables config and config_plugins.
 *
 * What stands in config.php wins over the tables, as in Moodle. As there, core's settings are cached in cachedir: a change
 * made by SQL behind the site's back is not seen until the caches are purged.
 */

defined('MOODLE_INTERNAL') || die();

/** Adds the table's settings to $CFG. */
function load_site_config(stdClass $cfg): void {
    foreach (site_settings() as $name => $value) {
        if (!array_key_exists($name, $cfg->config_php_settings)) {
            $cfg->$name = $value;
        }
    }
}

/** Where the settings of core are cached. */
function settings_cache(): string {
    global $CFG;
    return "$CFG->cachedir/cachestore_file/default_application/core_config.cache";
}

/** Runs something that reads the table and writes the cache, or the reverse, with nobody else at it. */
function with_settings_locked(callable $work) {
    make_shared_dir(dirname(settings_cache()));
    $lock = fopen(settings_cache() . '.lock', 'c');
    flock($lock, LOCK_EX);
    try {
        return $work();
    } finally {
        fclose($lock);
    }
}

/** Core's settings from the cache, else from the table. */
function site_settings(): array {
    $cached = @file_get_contents(settings_cache());
    if ($cached !== false) {
        return unserialize($cached);
    }
    return with_settings_locked(function () {
        global $DB;
        $settings = array_column($DB->query('SELECT name, value FROM {config} ORDER BY name'), 'value', 'name');
        $temporary = settings_cache() . '.' . getmypid();
        file_put_contents($temporary, serialize($settings));
        rename($temporary, settings_cache());
        return $settings;
    });
}

/** Runs statements that change core's settings, and forgets what is cached of them. */
function change_site_settings(callable $work): void {
    with_settings_locked(function () use ($work) {
        $work();
        @unlink(settings_cache());
    });
}

/** All settings of a component; those of core include the plain values of config.php. */
function get_all_config(string $component): array {
    global $CFG, $DB;
    if ($component !== 'core') {
        $rows = $DB->query('SELECT name, value FROM {config_plugins} WHERE plugin = ? ORDER BY name', [$component]);
        return array_column($rows, 'value', 'name');
    }
    return array_map('strval', array_filter($CFG->config_php_settings, 'is_scalar')) + site_settings();
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
    change_site_settings(function () use ($DB, $name, $value) {
        if ($DB->value('SELECT COUNT(*) FROM {config} WHERE name = ?', [$name])) {
            $DB->query('UPDATE {config} SET value = ? WHERE name = ?', [$value, $name]);
        } else {
            $DB->insert('config', ['name' => $name, 'value' => $value]);
        }
    });
    $CFG->$name = $value;
}

function unset_config(string $name, string $component = 'core'): void {
    global $CFG, $DB;
    if ($component !== 'core') {
        $DB->query('DELETE FROM {config_plugins} WHERE plugin = ? AND name = ?', [$component, $name]);
        return;
    }
    change_site_settings(function () use ($DB, $name) {
        $DB->query('DELETE FROM {config} WHERE name = ?', [$name]);
    });
    unset($CFG->$name);
}
