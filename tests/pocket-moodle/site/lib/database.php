<?php
// SPDX-License-Identifier: GPL-3.0-or-later

/**
 * A few helpers over mysqli and pgsql, connecting with config.php's settings exactly as Moodle does.
 *
 * No query of a page belongs here, and nothing that Moodle's own drivers would not do to the connection.
 */

namespace pocket;

defined('MOODLE_INTERNAL') || die();

/** The database refused a connection or a statement; the message is the server's. */
class database_exception extends \RuntimeException {
}

/** In statements, {name} stands for the prefixed table and ? for a parameter. */
abstract class database {
    /** @var string */
    protected $prefix;

    public static function connect(\stdClass $cfg): self {
        switch ($cfg->dbtype) {
            case 'mysqli':
            case 'mariadb':
            case 'auroramysql':
                return new mysqli_database($cfg);
            case 'pgsql':
                return new pgsql_database($cfg);
            default:
                throw new database_exception("unknown database type $cfg->dbtype");
        }
    }

    /** Runs a statement; its rows, or an empty list where it has none. */
    abstract public function query(string $sql, array $params = []): array;

    /** Inserts a row and returns its id. */
    abstract public function insert(string $table, array $row): int;

    /** The value as a literal for SQL, for bulk inserts. */
    abstract public function quote(?string $value): string;

    /** Bytes as a literal for SQL. */
    abstract public function quote_bytes(string $value): string;

    abstract public function is_postgres(): bool;

    /** The first column of the first row, or null. */
    public function value(string $sql, array $params = []) {
        foreach ($this->query($sql, $params) as $row) {
            return reset($row);
        }
        return null;
    }

    /** Puts the prefix in. */
    protected function prefixed(string $sql): string {
        return preg_replace('/\{([a-z][a-z0-9_]*)\}/', $this->prefix . '$1', $sql);
    }

    /** Text of an INSERT for one row of parameters. */
    protected function insert_sql(string $table, array $row): string {
        return "INSERT INTO {{$table}} (" . implode(', ', array_keys($row)) . ') VALUES ('
            . implode(', ', array_fill(0, count($row), '?')) . ')';
    }
}

/** MySQL and its family. */
class mysqli_database extends database {
    /** @var \mysqli */
    private $link;

    public function __construct(\stdClass $cfg) {
        $this->prefix = $cfg->prefix;
        mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
        $options = $cfg->dboptions;
        $host = empty($options['dbpersist']) ? $cfg->dbhost : "p:$cfg->dbhost";
        $port = empty($options['dbport']) ? (int) ini_get('mysqli.default_port') : (int) $options['dbport'];
        // Only something with a slash is a socket; true means PHP's default one.
        $socket = $options['dbsocket'] ?? '';
        $socket = strpos((string) $socket, '/') === false ? ini_get('mysqli.default_socket') : $socket;
        $this->link = mysqli_init();
        try {
            $this->link->real_connect($host, $cfg->dbuser, $cfg->dbpass, $cfg->dbname, $port ?: 3306, $socket,
                $this->flags($options));
            $this->link->set_charset('utf8mb4');
            $this->link->query("SET SESSION sql_mode = 'STRICT_ALL_TABLES'");
            $this->link->query('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED');
        } catch (\mysqli_sql_exception $e) {
            throw new database_exception($e->getMessage());
        }
    }

    private function flags(array $options): int {
        switch ($options['ssl'] ?? '') {
            case 'require':
                return MYSQLI_CLIENT_SSL | MYSQLI_CLIENT_SSL_DONT_VERIFY_SERVER_CERT;
            case 'verify-full':
                return MYSQLI_CLIENT_SSL;
            default:
                return 0;
        }
    }

    public function query(string $sql, array $params = []): array {
        try {
            return $this->run($this->prefixed($sql), $params);
        } catch (\mysqli_sql_exception $e) {
            throw new database_exception($e->getMessage());
        }
    }

    private function run(string $sql, array $params): array {
        if ($params === []) {
            $result = $this->link->query($sql);
        } else {
            $statement = $this->link->prepare($sql);
            $statement->bind_param(str_repeat('s', count($params)), ...$params);
            $statement->execute();
            $result = $statement->get_result();
        }
        return $result instanceof \mysqli_result ? $result->fetch_all(MYSQLI_ASSOC) : [];
    }

    public function insert(string $table, array $row): int {
        $this->query($this->insert_sql($table, $row), array_values($row));
        return (int) $this->link->insert_id;
    }

    public function quote(?string $value): string {
        return $value === null ? 'NULL' : "'" . $this->link->real_escape_string($value) . "'";
    }

    public function quote_bytes(string $value): string {
        return $value === '' ? "''" : '0x' . bin2hex($value);
    }

    public function is_postgres(): bool {
        return false;
    }
}

/** PostgreSQL. */
class pgsql_database extends database {
    /** @var resource|\PgSql\Connection */
    private $link;

    public function __construct(\stdClass $cfg) {
        $this->prefix = $cfg->prefix;
        $settings = ['user' => $cfg->dbuser, 'password' => $cfg->dbpass, 'dbname' => $cfg->dbname]
            + $this->place($cfg->dbhost, $cfg->dboptions);
        $parts = [];
        foreach ($settings as $name => $value) {
            $parts[] = "$name='" . addcslashes($value, "'\\") . "'";
        }
        $connection = implode(' ', $parts);
        $this->link = empty($cfg->dboptions['dbpersist'])
            ? @pg_connect($connection, PGSQL_CONNECT_FORCE_NEW)
            : @pg_pconnect($connection, PGSQL_CONNECT_FORCE_NEW);
        if (!$this->link) {
            throw new database_exception(error_get_last()['message'] ?? 'no connection');
        }
        pg_set_client_encoding($this->link, 'utf8');
        if (!empty($cfg->dboptions['dbschema'])) {
            $this->query('SET search_path = ' . pg_escape_identifier($this->link, $cfg->dboptions['dbschema']));
        }
    }

    /** A socket counts only on the local host; with a slash it is the folder of the socket, and the port names it. */
    private function place(string $host, array $options): array {
        $place = [];
        $socket = (string) ($options['dbsocket'] ?? '');
        if ($socket !== '' && ($host === 'localhost' || $host === '127.0.0.1')) {
            if (strpos($socket, '/') !== false) {
                $place['host'] = $socket;
            }
        } else {
            $place['host'] = $host;
        }
        if (!empty($options['dbport'])) {
            $place['port'] = (string) $options['dbport'];
        }
        if (!empty($options['ssl'])) {
            $place['sslmode'] = $options['ssl'];
        }
        return $place;
    }

    public function query(string $sql, array $params = []): array {
        $sql = $this->prefixed($sql);
        if ($params === []) {
            $result = @pg_query($this->link, $sql);
        } else {
            $number = 0;
            $sql = preg_replace_callback('/\?/', function () use (&$number) {
                return '$' . ++$number;
            }, $sql);
            $result = @pg_query_params($this->link, $sql, $params);
        }
        if ($result === false) {
            throw new database_exception(pg_last_error($this->link));
        }
        return pg_fetch_all($result) ?: [];
    }

    public function insert(string $table, array $row): int {
        $rows = $this->query($this->insert_sql($table, $row) . ' RETURNING id', array_values($row));
        return (int) $rows[0]['id'];
    }

    public function quote(?string $value): string {
        return $value === null ? 'NULL' : pg_escape_literal($this->link, $value);
    }

    public function quote_bytes(string $value): string {
        return "'\\x" . bin2hex($value) . "'::bytea";
    }

    public function is_postgres(): bool {
        return true;
    }
}
