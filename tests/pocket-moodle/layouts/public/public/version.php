<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * The version of the code in the layout with public/, in the form of Moodle's version.php.
 *
 * Read by PHP within the site and as text by others; keep one plain assignment a line and nothing else.
 */

defined('MOODLE_INTERNAL') || die();

$version  = 2025100607.00;             // YYYYMMDD and two digits of release, two of increment.
$release  = '5.1.7 (Build: 20261109)'; // For people.
$branch   = '501';                     // The code's branch.
$maturity = 200;                       // A stable release.
