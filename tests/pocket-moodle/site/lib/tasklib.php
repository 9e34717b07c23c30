<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * Scheduled tasks: what they do, and the rows by which others see that one is running.
 */

defined('MOODLE_INTERNAL') || die();

/** The tasks by class name; each takes a second argument-free call to run. */
function scheduled_tasks(): array {
    return [
        '\core\task\tag_cron_task' => 'task_rebuild_tags',
        '\core\task\file_trash_cleanup_task' => 'purge_trash',
        '\pocket\task\sleep_task' => 'task_sleep',
    ];
}

/** Empties the tag table and fills it again; the TRUNCATE is what disturbs a dump. */
function task_rebuild_tags(): void {
    global $DB;
    $DB->query('TRUNCATE TABLE {tag}');
    task_fill_tags();
}

function task_fill_tags(): void {
    global $DB;
    for ($number = 1; $number <= 20; $number++) {
        $DB->insert('tag', ['name' => "tag-$number-" . bin2hex(random_bytes(4)), 'timemodified' => time()]);
    }
}

/** A task of a length of one's choice (setting pocket_task_ms), for those who wait for tasks to end. */
function task_sleep(): void {
    global $CFG;
    usleep(1000 * (int) ($CFG->pocket_task_ms ?? 0));
}

/** Changes a table's columns there and back: DDL, as plugins do it in an upgrade. */
function task_alter_table(): void {
    global $DB;
    $column = 'extra' . bin2hex(random_bytes(3));
    $DB->query("ALTER TABLE {course} ADD COLUMN $column INT");
    $DB->query("ALTER TABLE {course} DROP COLUMN $column");
}

/** Runs every task that is due, one after the other, unless told to stop. */
function run_due_tasks(): void {
    global $DB;
    foreach ($DB->query('SELECT * FROM {task_scheduled} WHERE disabled = 0 AND nextruntime <= ? ORDER BY id', [time()]) as $task) {
        $function = scheduled_tasks()[$task['classname']] ?? null;
        if ($function !== null) {
            run_task($task, $function);
        }
    }
}

/** Runs one task, marked as running as Moodle marks it. */
function run_task(array $task, callable $function): void {
    global $DB;
    echo "Execute scheduled task: $task[classname]\n";
    $DB->query('UPDATE {task_scheduled} SET timestarted = ?, hostname = ?, pid = ? WHERE id = ?',
        [time(), gethostname(), getmypid(), $task['id']]);
    $function();
    $DB->query('UPDATE {task_scheduled} SET timestarted = NULL, hostname = NULL, pid = NULL, '
        . 'lastruntime = ?, nextruntime = ? WHERE id = ?', [time(), time() + 3600, $task['id']]);
    echo "Scheduled task complete: $task[classname]\n";
}

/** Rows of the tasks that run, scheduled and ad hoc. */
function running_tasks(): array {
    global $DB;
    return $DB->query("SELECT 'scheduled' AS type, classname, timestarted, hostname, pid FROM {task_scheduled} "
        . 'WHERE timestarted IS NOT NULL UNION ALL '
        . "SELECT 'adhoc' AS type, classname, timestarted, hostname, pid FROM {task_adhoc} WHERE timestarted IS NOT NULL");
}
