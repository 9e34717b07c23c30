<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * The tables, written once and made for either engine.
 *
 * Columns are named and typed as in Moodle where a backup may look at them. No content here.
 */

namespace pocket\install;

/**
 * Tables by name; a column is "type" or "type null", the types being int, number, char(n), text, bytes and id.
 */
const TABLES = [
    'config' => [
        'columns' => ['id' => 'id', 'name' => 'char(255)', 'value' => 'text'],
        'unique' => [['name']],
    ],
    'config_plugins' => [
        'columns' => ['id' => 'id', 'plugin' => 'char(100)', 'name' => 'char(100)', 'value' => 'text'],
        'unique' => [['plugin', 'name']],
    ],
    'course' => [
        'columns' => ['id' => 'id', 'category' => 'int', 'fullname' => 'char(254)', 'shortname' => 'char(255)',
            'summary' => 'text null', 'format' => 'char(21)', 'startdate' => 'int', 'cacherev' => 'int',
            'timecreated' => 'int'],
        'index' => [['shortname']],
    ],
    'context' => [
        'columns' => ['id' => 'id', 'contextlevel' => 'int', 'instanceid' => 'int', 'path' => 'char(255) null',
            'depth' => 'int'],
        'unique' => [['contextlevel', 'instanceid']],
    ],
    'user' => [
        'columns' => ['id' => 'id', 'username' => 'char(100)', 'password' => 'char(255)', 'firstname' => 'char(100)',
            'lastname' => 'char(100)', 'email' => 'char(100)', 'lang' => 'char(30)', 'description' => 'text null',
            'lastaccess' => 'int', 'timecreated' => 'int'],
        'unique' => [['username']],
    ],
    'files' => [
        'columns' => ['id' => 'id', 'contenthash' => 'char(40)', 'pathnamehash' => 'char(40)', 'contextid' => 'int',
            'component' => 'char(100)', 'filearea' => 'char(50)', 'itemid' => 'int', 'filepath' => 'char(255)',
            'filename' => 'char(255)', 'userid' => 'int null', 'filesize' => 'int', 'mimetype' => 'char(100) null',
            'status' => 'int', 'source' => 'text null', 'author' => 'char(255) null', 'license' => 'char(255) null',
            'timecreated' => 'int', 'timemodified' => 'int', 'sortorder' => 'int', 'referencefileid' => 'int null'],
        'unique' => [['pathnamehash']],
        'index' => [['component', 'filearea', 'contextid', 'itemid'], ['contenthash'], ['license'], ['userid']],
    ],
    'files_reference' => [
        'columns' => ['id' => 'id', 'repositoryid' => 'int', 'lastsync' => 'int null', 'reference' => 'text null',
            'referencehash' => 'char(40)'],
        'unique' => [['referencehash', 'repositoryid']],
    ],
    'task_scheduled' => [
        'columns' => ['id' => 'id', 'component' => 'char(255)', 'classname' => 'char(255)', 'lastruntime' => 'int null',
            'nextruntime' => 'int null', 'faildelay' => 'int null', 'disabled' => 'int', 'timestarted' => 'int null',
            'hostname' => 'char(255) null', 'pid' => 'int null'],
        'unique' => [['classname']],
    ],
    'task_adhoc' => [
        'columns' => ['id' => 'id', 'component' => 'char(255)', 'classname' => 'char(255)', 'nextruntime' => 'int',
            'customdata' => 'text null', 'timestarted' => 'int null', 'hostname' => 'char(255) null', 'pid' => 'int null'],
        'index' => [['nextruntime']],
    ],
    'sessions' => [
        'columns' => ['id' => 'id', 'state' => 'int', 'sid' => 'char(128)', 'userid' => 'int', 'sessdata' => 'text null',
            'timecreated' => 'int', 'timemodified' => 'int', 'firstip' => 'char(45) null', 'lastip' => 'char(45) null'],
        'unique' => [['sid']],
    ],
    'logstore_standard_log' => [
        'columns' => ['id' => 'id', 'eventname' => 'char(255)', 'component' => 'char(100)', 'action' => 'char(100)',
            'target' => 'char(100)', 'objectid' => 'int null', 'userid' => 'int', 'courseid' => 'int null',
            'other' => 'text null', 'timecreated' => 'int', 'ip' => 'char(45) null'],
        'index' => [['timecreated'], ['userid', 'courseid', 'timecreated']],
    ],
    'tag' => [
        'columns' => ['id' => 'id', 'name' => 'char(255)', 'timemodified' => 'int'],
    ],
    'pocket_nasty' => [
        'columns' => ['id' => 'id', 'label' => 'char(100)', 'words' => 'text null', 'blob' => 'bytes null',
            'amount' => 'number null'],
        'unique' => [['label']],
    ],
    // No rows at all, and a column that is named as a keyword: seen in plugins.
    'pocket_empty' => [
        'columns' => ['id' => 'id', 'timestart' => 'int', 'names' => 'text null'],
    ],
];

/** The statements that make every table. */
function create_statements(string $prefix, bool $postgres): array {
    $statements = [];
    foreach (TABLES as $name => $table) {
        $statements[] = $postgres ? postgres_table($prefix . $name, $table) : mysql_table($prefix . $name, $table);
        if ($postgres) {
            foreach (indexes($prefix . $name, $table) as $index => list($unique, $columns)) {
                $statements[] = "CREATE {$unique}INDEX $index ON $prefix$name ($columns)";
            }
        }
    }
    return $statements;
}

/** Indexes by name, named Moodle's way: "UNIQUE " or nothing, and the columns. */
function indexes(string $table, array $wanted): array {
    $indexes = [];
    foreach (['unique' => ['UNIQUE ', 'uix'], 'index' => ['', 'ix']] as $kind => list($unique, $suffix)) {
        foreach ($wanted[$kind] ?? [] as $columns) {
            $initials = implode('', array_map(function ($column) {
                return substr($column, 0, 3);
            }, $columns));
            $indexes["{$table}_{$initials}_$suffix"] = [$unique, implode(', ', $columns)];
        }
    }
    return $indexes;
}

function postgres_table(string $name, array $table): string {
    $lines = [];
    foreach ($table['columns'] as $column => $type) {
        $lines[] = "\"$column\" " . postgres_type($type);
    }
    return "CREATE TABLE $name (\n  " . implode(",\n  ", $lines) . "\n)";
}

/** With its indexes at once: each by itself would be a file synced for nothing. */
function mysql_table(string $name, array $table): string {
    $lines = [];
    foreach ($table['columns'] as $column => $type) {
        $lines[] = "`$column` " . mysql_type($type);
    }
    foreach (indexes($name, $table) as $index => list($unique, $columns)) {
        $lines[] = "{$unique}KEY `$index` ($columns)";
    }
    return "CREATE TABLE $name (\n  " . implode(",\n  ", $lines)
        . "\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci ROW_FORMAT=COMPRESSED";
}

function mysql_type(string $type): string {
    if ($type === 'id') {
        return 'BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY';
    }
    $types = ['int' => 'BIGINT', 'number' => 'DECIMAL(20,5)', 'text' => 'LONGTEXT', 'bytes' => 'LONGBLOB'];
    return finished_type($type, $types);
}

function postgres_type(string $type): string {
    if ($type === 'id') {
        return 'BIGSERIAL PRIMARY KEY';
    }
    $types = ['int' => 'BIGINT', 'number' => 'NUMERIC(20,5)', 'text' => 'TEXT', 'bytes' => 'BYTEA'];
    return finished_type($type, $types);
}

/** Adds what Moodle adds: no nulls and a default, unless the column may be null. */
function finished_type(string $type, array $types): string {
    $words = explode(' ', $type);
    $sql = $types[$words[0]] ?? strtoupper(str_replace('char', 'varchar', $words[0]));
    if (isset($words[1])) {
        return $sql;
    }
    if ($words[0] === 'int') {
        return "$sql NOT NULL DEFAULT 0";
    }
    return $words[0] === 'text' ? "$sql NOT NULL" : "$sql NOT NULL DEFAULT ''";
}
