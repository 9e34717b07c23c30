<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * In the layout with public/, the pages look for config.php here, but the settings lie one folder up.
 *
 * Nothing is set here.
 */

if (!file_exists(__DIR__ . '/../config.php')) {
    http_response_code(503);
    echo "This site has no config.php.\n";
    exit(1);
}

require_once(__DIR__ . '/../config.php');
