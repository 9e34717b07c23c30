<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * Runs the tasks that are due, and stays a while for more, as Moodle since 4.2 does (three minutes unless told).
 */

define('CLI_SCRIPT', true);

require(__DIR__ . '/../../config.php');
require_once("$CFG->libdir/clilib.php");

$options = cli_options([
    'help' => false,
    'stop' => false,
    'list' => false,
    'force' => false,
    'enable' => false,
    'disable' => false,
    'disable-wait' => false,
    'keep-alive' => null,
], [
    'h' => 'help',
    's' => 'stop',
    'l' => 'list',
    'f' => 'force',
    'e' => 'enable',
    'd' => 'disable',
    'w' => 'disable-wait',
    'k' => 'keep-alive',
]);
cli_help($options, "Execute periodic cron actions.

Options:
-h, --help               Print out this help
-s, --stop               Notify all other running cron processes to stop after the current task
-l, --list               Show the list of currently running tasks and how long they have been running
-f, --force              Execute task even if cron is disabled
-e, --enable             Enable cron
-d, --disable            Disable cron
-w, --disable-wait=600   Disable cron and wait until all tasks finished or fail after N seconds (optional param)
-k, --keep-alive=N       Keep this script alive for N seconds and poll for new tasks
");

/** Running cron processes see this change and stop after their current task. */
function tell_cron_to_stop(): void {
    set_config('scheduledtaskreset', sprintf('%.6f', microtime(true)));
}

function disable_cron(): void {
    set_config('cron_enabled', '0');
    tell_cron_to_stop();
    echo "Cron has been disabled for the site.\n";
}

function list_running_tasks(): void {
    echo "The list of currently running tasks:\n";
    printf("%7s %-12s %-9s %-20s %-52s\n", 'PID', 'HOST', 'TYPE', 'TIME', 'CLASSNAME');
    foreach (running_tasks() as $task) {
        printf("%7s %-12s %-9s %-20s %-52s\n", $task['pid'], substr((string) $task['hostname'], 0, 12), $task['type'],
            (time() - $task['timestarted']) . ' secs', substr($task['classname'], 0, 52));
    }
}

/** The exit code: 1 where tasks still run at the end of the wait; cron stays disabled either way. */
function wait_for_tasks(int $seconds): int {
    $deadline = microtime(true) + $seconds;
    while (($count = count(running_tasks())) > 0) {
        if (microtime(true) >= $deadline) {
            echo "Wait time ($seconds secs) elapsed, but $count task(s) still running.\nExiting with code 1.\n";
            return 1;
        }
        sleep(1);
    }
    echo "All scheduled and adhoc tasks finished.\n";
    return 0;
}

/** Runs due tasks again and again, until the time is over or another process says stop. */
function cron_run(int $keepalive): void {
    $deadline = microtime(true) + $keepalive;
    $reset = get_config('core', 'scheduledtaskreset');
    run_due_tasks();
    while (microtime(true) < $deadline && get_config('core', 'scheduledtaskreset') === $reset) {
        usleep(200000);
        run_due_tasks();
    }
    set_config('lastcronend', (string) time(), 'tool_task');
    echo 'Cron completed at ' . date('H:i:s') . ".\n";
}

if ($options['stop']) {
    tell_cron_to_stop();
    exit(0);
}
if ($options['enable']) {
    set_config('cron_enabled', '1');
    echo "Cron has been enabled for the site.\n";
    exit(0);
}
if ($options['disable']) {
    disable_cron();
    exit(0);
}
if ($options['list']) {
    list_running_tasks();
    exit(0);
}
if ($options['disable-wait']) {
    disable_cron();
    exit(wait_for_tasks($options['disable-wait'] === true ? 600 : (int) $options['disable-wait']));
}
if (!get_config('core', 'cron_enabled') && !$options['force']) {
    echo "Cron is disabled. Use --force to override.\n";
    exit(1);
}
if (CLI_MAINTENANCE) {
    echo "CLI maintenance mode active, cron execution suspended.\n";
    exit(1);
}
cron_run((int) ($options['keep-alive'] ?? $CFG->cron_keepalive ?? 180));
