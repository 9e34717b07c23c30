<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * In the layout with public/, config.php finds the site's setup.php by way of this file.
 *
 * Nothing is done here.
 */

require_once(dirname(__DIR__) . '/public/lib/setup.php');
