<?php
// Asks a Moodle about itself. Run by moodle-backup as the web user, on standard input of php, with the arguments
//   <marker> <path of config.php> config|page
// Prints the marker, one line of JSON whose strings are hexadecimal, and a line end; all that config.php or Moodle print
// comes back in "said". Writes nothing into the site. Must go on working on every Moodle from 3.x on.
//
// "config": what config.php sets, with Moodle's own defaults. Stops inside lib/setup.php before libraries and database.
// "page":   the page that admin/cli/maintenance.php would put up, from a whole start of Moodle.

define('CLI_SCRIPT', true);
define('NO_DEBUG_DISPLAY', true);
define('NO_UPGRADE_CHECK', true); // Without it a start of Moodle may delete the note of an interrupted upgrade.
define('ABORT_AFTER_CONFIG', true);

[, $mbmarker, $mbconfig, $mbquestion] = $argv;
if (getenv('MOODLE_BACKUP_HTTP_HOST') !== false) {
    $_SERVER['HTTP_HOST'] = getenv('MOODLE_BACKUP_HTTP_HOST');
}

$mbencode = function ($value) use (&$mbencode) {
    if (is_array($value) || is_object($value)) {
        return array_map($mbencode, (array)$value);
    }
    return is_string($value) ? bin2hex($value) : $value;
};
$mbanswer = null;
ob_start();
// A mistake in config.php ends PHP: what it said must still come back.
register_shutdown_function(function () use (&$mbanswer, $mbmarker, $mbencode) {
    $said = '';
    while (ob_get_level()) {
        $said = ob_get_clean() . $said;
    }
    $last = error_get_last();
    if ($mbanswer === null && $last !== null) {
        $said .= "\n{$last['message']} in {$last['file']} line {$last['line']}";
    }
    // Not STDOUT: PHP has no such constant when the script itself comes from standard input.
    echo "\n$mbmarker" . json_encode(['answer' => $mbanswer, 'said' => bin2hex(trim($said))]) . "\n";
});

if (isset($mbtext)) {
    eval('?>' . $mbtext); // A config.php that lies in no file: put before this script, see apart.rs.
} else {
    require($mbconfig);
}

if ($mbquestion === 'config') {
    $mbkeys = [
        'admin', 'alternative_file_system_class', 'altcacheconfigpath', 'backuptempdir', 'behat_dataroot', 'cachedir',
        'cron_enabled', 'cronclionly', 'dataroot', 'dbhost', 'dbname', 'dboptions', 'dbpass', 'dbtype', 'dbuser',
        'directorypermissions', 'dirroot', 'file_lock_root', 'filedir', 'filepermissions', 'langotherroot',
        'localcachedir', 'localrequestdir', 'noemailever', 'phpunit_dataroot', 'prefix', 'secretdataroot',
        'session_file_save_path', 'session_handler_class', 'sslproxy', 'tempdir', 'themedir', 'trashdir', 'wwwroot',
    ];
    $mbvalues = [];
    foreach ($mbkeys as $mbkey) {
        if (isset($CFG->$mbkey)) {
            $mbvalues[$mbkey] = $mbencode($CFG->$mbkey);
        }
    }
    $mbanswer = ['config' => $mbvalues, 'php' => bin2hex(PHP_VERSION), 'extensions' => get_loaded_extensions()];
} else {
    // A planned maintenance that is due would be begun by a start of Moodle: not by us.
    $CFG->config_php_settings['maintenance_later'] = PHP_INT_MAX;
    $CFG->maintenance_later = PHP_INT_MAX;
    define('ABORT_AFTER_CONFIG_CANCEL', true); // As theme/image.php does to go on after a start with ABORT_AFTER_CONFIG.
    require($CFG->dirroot . '/lib/setup.php');
    require_once($CFG->libdir . '/adminlib.php');
    $mbtext = get_string('sitemaintenance', 'admin');
    $mbtitle = $mbtext;
    if (isset($CFG->maintenance_message) && !html_is_blank($CFG->maintenance_message)) {
        $mbtext = $CFG->maintenance_message;
    } else {
        $mbtitle = get_string('sitemaintenancetitle', 'admin',
            format_string($SITE->fullname, true, ['context' => context_system::instance()]));
    }
    $mbanswer = bin2hex(bootstrap_renderer::plain_page($mbtitle,
        bootstrap_renderer::early_error_content($mbtext, null, null, null)));
}
