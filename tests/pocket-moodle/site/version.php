<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * The version of the code, in the form of Moodle's version.php.
 *
 * Read by PHP within the site and as text by others; keep one plain assignment a line and nothing else.
 */

defined('MOODLE_INTERNAL') || die();

$version  = 2024100712.00;              // YYYYMMDD and two digits of release, two of increment.
$release  = '4.5.12 (Build: 20261109)'; // For people.
$branch   = '405';                      // The code's branch.
$maturity = 200;                        // A stable release.
