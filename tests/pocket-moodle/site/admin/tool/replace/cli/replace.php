<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * Searches and replaces in all texts of the database; the tables and columns that it leaves alone are Moodle's.
 */

define('CLI_SCRIPT', true);

require(__DIR__ . '/../../../../config.php');
require_once("$CFG->libdir/clilib.php");

$options = cli_options([
    'search' => null,
    'replace' => null,
    'skiptables' => '',
    'shorten' => false,
    'non-interactive' => false,
    'help' => false,
], ['h' => 'help']);
if (!is_string($options['search']) || !is_string($options['replace'])) {
    $options['help'] = true;
}
cli_help($options, "Search and replace text throughout the whole database.

Options:
--search=STRING       String to search for.
--replace=STRING      String to replace with.
--skiptables=STRING   Skip these tables (comma separated list of tables).
--shorten             Shorten result if necessary.
--non-interactive     Perform the replacement without confirming.
-h, --help            Print out this help.
");
if (!$options['shorten'] && strlen($options['search']) < strlen($options['replace'])) {
    cli_error('The replacement is longer than the original and shortening is not allowed; cannot continue.');
}
if (!$options['non-interactive']) {
    cli_error('Nobody is here to be asked.');
}

const LEFT_ALONE = ['config', 'config_plugins', 'filter_config', 'sessions', 'events_queue',
    'repository_instance_config', 'block_instances', 'files'];

/** The text columns of the site's tables: table without prefix, column, longest text or null. */
function text_columns(\pocket\database $db, string $prefix): array {
    $schema = $db->is_postgres() ? 'current_schema()' : 'DATABASE()';
    $rows = $db->query('SELECT table_name AS tablename, column_name AS columnname, data_type AS datatype, '
        . "character_maximum_length AS longest FROM information_schema.columns WHERE table_schema = $schema");
    $columns = [];
    foreach ($rows as $row) {
        if (strpos($row['tablename'], $prefix) === 0
                && in_array($row['datatype'], ['text', 'longtext', 'varchar', 'character varying'], true)) {
            $columns[] = [substr($row['tablename'], strlen($prefix)), $row['columnname'],
                strpos($row['datatype'], 'text') === false ? (int) $row['longest'] : null];
        }
    }
    return $columns;
}

foreach (text_columns($DB, $CFG->prefix) as list($table, $column, $longest)) {
    $skipped = array_merge(LEFT_ALONE, explode(',', $options['skiptables']));
    if (in_array($table, $skipped, true) || preg_match('/(^|_)logs?($|_)/', $table) || preg_match('/hash$/', $column)) {
        continue;
    }
    $replaced = "REPLACE($column, ?, ?)";
    $replaced = $longest === null ? $replaced : "SUBSTR($replaced, 1, $longest)";
    echo "UPDATE $table SET $column\n";
    $DB->query("UPDATE {{$table}} SET $column = $replaced WHERE $column LIKE ?",
        [$options['search'], $options['replace'], '%' . addcslashes($options['search'], '%_\\') . '%']);
}
echo "== Success ==\n";
exit(0);
