<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * The file store: content under its SHA-1 in the pool, everything else in the table files.
 *
 * The order of writes is Moodle's, and the promise that a backup under load is whole rests on it: content is in the pool
 * before its row exists, and leaves for trash after its last row is gone. Keep it.
 */

defined('MOODLE_INTERNAL') || die();

/** SHA-1 of nothing: every directory row carries it. */
const EMPTY_CONTENTHASH = 'da39a3ee5e6b4b0d3255bfef95601890afd80709';

function filedir(): string {
    global $CFG;
    return $CFG->filedir ?? "$CFG->dataroot/filedir";
}

function trashdir(): string {
    global $CFG;
    return $CFG->trashdir ?? "$CFG->dataroot/trashdir";
}

/** Where a content lies below the pool or the trash. */
function hashed_path(string $base, string $hash): string {
    return "$base/" . substr($hash, 0, 2) . '/' . substr($hash, 2, 2) . "/$hash";
}

/** Makes a folder, which another request may be making too. */
function make_shared_dir(string $dir): void {
    global $CFG;
    if (!is_dir($dir) && !@mkdir($dir, $CFG->directorypermissions, true) && !is_dir($dir)) {
        throw new RuntimeException("cannot make $dir");
    }
}

/** Stores content under its hash: a temporary name, checked, then renamed. What has its final name is complete. */
function add_to_pool(string $content): string {
    global $CFG;
    $hash = sha1($content);
    $path = hashed_path(filedir(), $hash);
    if (file_exists($path) && filesize($path) === strlen($content)) {
        return $hash;
    }
    make_shared_dir(dirname($path));
    $temporary = "$path.tmp";
    file_put_contents($temporary, $content);
    if (sha1_file($temporary) !== $hash) {
        @unlink($temporary);
        throw new RuntimeException("content changed while it was stored: $hash");
    }
    if (!@rename($temporary, $path) && !file_exists($path)) {
        throw new RuntimeException("cannot store $hash");
    }
    @chmod($path, $CFG->filepermissions);
    return $hash;
}

/** The columns of a row of files; place says where in Moodle's own file tree it is. */
function file_row(string $hash, int $size, array $place): array {
    $place += ['contextid' => 1, 'component' => 'user', 'filearea' => 'private', 'itemid' => 0, 'filepath' => '/'];
    $now = time();
    return [
        'contenthash' => $hash,
        'pathnamehash' => sha1("/$place[contextid]/$place[component]/$place[filearea]/$place[itemid]"
            . $place['filepath'] . $place['filename']),
        'contextid' => $place['contextid'],
        'component' => $place['component'],
        'filearea' => $place['filearea'],
        'itemid' => $place['itemid'],
        'filepath' => $place['filepath'],
        'filename' => $place['filename'],
        'userid' => 2,
        'filesize' => $size,
        'mimetype' => $place['filename'] === '.' ? null : 'application/octet-stream',
        'status' => 0,
        'source' => $place['filename'],
        'author' => "Ann O'Nymous",
        'license' => 'unknown',
        'timecreated' => $now,
        'timemodified' => $now,
        'sortorder' => 0,
        'referencefileid' => null,
    ];
}

/** Stores an uploaded file: pool first, row second. */
function create_stored_file(string $content, array $place): array {
    global $DB;
    $row = file_row(add_to_pool($content), strlen($content), $place);
    $row['id'] = $DB->insert('files', $row);
    return $row;
}

/** Deletes a file: row first, and the content goes to trash only when no row has it any more. */
function delete_stored_file(array $row): void {
    global $DB;
    $DB->query('DELETE FROM {files} WHERE id = ?', [$row['id']]);
    $hash = $row['contenthash'];
    if ($hash === EMPTY_CONTENTHASH
            || $DB->value('SELECT COUNT(*) FROM {files} WHERE contenthash = ?', [$hash])) {
        return;
    }
    $path = hashed_path(filedir(), $hash);
    $trash = hashed_path(trashdir(), $hash);
    if (file_exists($trash)) {
        @unlink($path);
        return;
    }
    make_shared_dir(dirname($trash));
    @rename($path, $trash);
}

/** The content's path in the pool; what went to trash too early is brought back, if it is still itself. */
function readable_content(array $row): ?string {
    $path = hashed_path(filedir(), $row['contenthash']);
    if (is_readable($path)) {
        return $path;
    }
    $trash = hashed_path(trashdir(), $row['contenthash']);
    if (!is_readable($trash) || filesize($trash) !== (int) $row['filesize']
            || sha1_file($trash) !== $row['contenthash']) {
        return null;
    }
    make_shared_dir(dirname($path));
    @rename($trash, $path);
    return is_readable($path) ? $path : null;
}

/** Empties the trash, at most once a day unless forced. */
function purge_trash(bool $force = false): void {
    global $CFG;
    $period = $CFG->filescleanupperiod ?? 86400;
    if (!$force && ($CFG->fileslastcleanup ?? 0) > time() - $period) {
        return;
    }
    set_config('fileslastcleanup', (string) time());
    delete_tree(trashdir(), true);
}

/** Deletes what is in a folder, and the folder too unless it is to be kept; links are not followed. */
function delete_tree(string $dir, bool $keepdir = false): void {
    foreach (@scandir($dir) ?: [] as $name) {
        if ($name === '.' || $name === '..') {
            continue;
        }
        $path = "$dir/$name";
        if (is_dir($path) && !is_link($path)) {
            delete_tree($path);
        } else {
            @unlink($path);
        }
    }
    if (!$keepdir) {
        @rmdir($dir);
    }
}
