<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * Many files in the pool, with their rows, quickly.
 *
 * This goes round create_stored_file(): it writes names and rows in bulk, with nobody else on the site.
 */

namespace pocket\install;

/** Content that does not compress, cheap to make: a number, then a piece of one random block. */
class content_maker {
    const BLOCK = 1 << 20;

    /** @var string */
    private $block;
    /** @var int the mean size in bytes */
    private $mean;

    public function __construct(int $mean) {
        $this->mean = max(1, min($mean, self::BLOCK >> 2));
        $this->block = random_bytes(self::BLOCK);
    }

    /** The content of one file; sizes lie between a tenth of the mean and about twice the mean. */
    public function content(int $number): string {
        $size = mt_rand(intdiv($this->mean, 10), 2 * $this->mean - intdiv($this->mean, 10));
        return substr(pack('J', $number) . substr($this->block, mt_rand(0, self::BLOCK - 2 * $this->mean), $size), 0, max(8, $size));
    }
}

/** Makes the pool and what belongs into every pool. */
function start_pool(\stdClass $cfg): void {
    make_shared_dir(filedir());
    make_shared_dir(trashdir());
    file_put_contents(filedir() . '/warning.txt',
        'This directory contains the content of uploaded files and is controlled by the site. Do not change it.');
    write_pool_file('', EMPTY_CONTENTHASH);
}

function write_pool_file(string $content, string $hash): void {
    static $made = [];
    $path = hashed_path(filedir(), $hash);
    $dir = dirname($path);
    if (!isset($made[$dir])) {
        make_shared_dir($dir);
        $made[$dir] = true;
    }
    // The umask of setup.php gives it the mode it should have.
    file_put_contents($path, $content);
}

/** Adds the files with numbers from first up to, without, last. */
function add_files(\pocket\database $db, int $first, int $last, int $mean): void {
    $maker = new content_maker($mean);
    $rows = [];
    for ($number = $first; $number < $last; $number++) {
        $content = $maker->content($number);
        $hash = sha1($content);
        write_pool_file($content, $hash);
        $rows[] = file_row($hash, strlen($content), ['itemid' => $number, 'filename' => "file $number.bin"]);
        if ($number % 10 === 0) {
            $rows[] = file_row(EMPTY_CONTENTHASH, 0, ['itemid' => $number, 'filename' => '.']);
        }
        if ($number % 50 === 0) {
            // The same content a second time, as every second draft has it.
            $rows[] = file_row($hash, strlen($content), ['itemid' => $number, 'filearea' => 'draft', 'filename' => "file $number.bin"]);
        }
        if (count($rows) >= 1000) {
            insert_rows($db, 'files', $rows);
            $rows = [];
        }
    }
    if ($rows !== []) {
        insert_rows($db, 'files', $rows);
    }
}

/** Many files are made by two processes, each with a connection of its own. */
function add_files_in_parallel(\pocket\database $db, \stdClass $cfg, int $count, int $mean): void {
    if ($count < 20000 || !function_exists('pcntl_fork')) {
        add_files($db, 0, $count, $mean);
        return;
    }
    $half = intdiv($count, 2);
    $child = pcntl_fork();
    if ($child === 0) {
        add_files(\pocket\database::connect($cfg), $half, $count, $mean);
        // The connection of the parent, which this process has too, must not be closed by an orderly end.
        posix_kill(getmypid(), SIGKILL);
    }
    add_files($db, 0, $half, $mean);
    pcntl_waitpid($child, $status);
    $rows = (int) $db->value('SELECT COUNT(*) FROM {files} WHERE itemid >= ? AND filearea = ? AND filename <> ?',
        [$half, 'private', '.']);
    if ($rows !== $count - $half) {
        throw new \RuntimeException("the second process made only $rows files");
    }
}
