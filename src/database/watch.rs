//! Looking at what others do in the database: what must come to rest before the snapshot, and who waits for a lock
//! that the dump holds. Only looks; what to do about it is the caller's matter.

use super::{Connection, Engine, Session, mariadb, postgres};
use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// How much of a query is shown.
const QUERY_SHOWN: usize = 300;

/// A little more than InnoDB's CACHE_MIN_IDLE_TIME_NS.
const TRANSACTION_CACHE: Duration = Duration::from_millis(120);

/// A statement that runs, or a transaction that is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// The server's number of the connection.
    pub id: String,
    /// What it does: the server's word.
    pub state: String,
    /// For how long, in seconds.
    pub seconds: u64,
    /// The beginning of the statement; empty for an idle transaction of which it is not known.
    pub query: String,
}

/// A session that waits for a lock on the way of which the dump stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blocked {
    /// The server's number of the connection.
    pub id: String,
    /// Who waits.
    pub user: String,
    /// For how long, in seconds.
    pub seconds: u64,
    /// The beginning of the statement, where we may see it.
    pub query: String,
}

impl Session {
    /// Statements of Moodle's account that run in this database and its transactions that are open, our own left out.
    /// What the account may not see is not there: without the privilege PROCESS, MariaDB does not tell of
    /// transactions that are open but idle.
    pub fn active_work(&mut self) -> Result<Vec<Work>> {
        let connection = self.connection().clone();
        match self.engine() {
            Engine::MariaDb => {
                let mut work = self.works(&mariadb_statements(&connection))?;
                work.extend(self.open_transactions(&connection));
                work.sort_by(|a, b| a.id.cmp(&b.id));
                work.dedup_by(|a, b| a.id == b.id);
                Ok(work)
            }
            Engine::Postgres => self.works(&postgres_work(&connection)),
        }
    }

    /// Sessions that wait for a lock of the dump, or for one that waits for it: a TRUNCATE or ALTER, and behind it
    /// everybody who wants that table. The longest waiting first.
    pub fn blocked_by_dump(&mut self) -> Result<Vec<Blocked>> {
        let sql = match self.engine() {
            Engine::MariaDb => mariadb_blocked(),
            Engine::Postgres => postgres_blocked(),
        };
        let rows = self.query(&sql)?;
        let blocked = rows.into_iter().map(|row| {
            let [id, user, seconds, query] = texts(row);
            Blocked { id, user, seconds: seconds.parse().unwrap_or(0), query }
        });
        Ok(blocked.collect())
    }

    /// Whether the dump whose connection has this name holds its lock on every table; then its snapshot is open as well.
    /// `pg_dump` takes both first, and goes on to read the catalogue for some time before its first byte of output.
    /// False where that cannot be known.
    pub(super) fn dump_holds_locks(&mut self, name: &str) -> bool {
        if self.engine() == Engine::MariaDb {
            return false;
        }
        let rows = self.query(&postgres_locks(name)).unwrap_or_default();
        let counts = rows.into_iter().next().map(texts::<2>);
        counts.is_some_and(|[tables, not_locked]| tables != "0" && not_locked == "0")
    }

    /// Whether there may be transactions, open but idle, that [`Session::active_work`] is not told of.
    pub fn misses_idle_transactions(&self) -> bool {
        self.transactions_hidden
    }

    /// Nothing where the account may not look; then it is not asked again, since the refusal ends the client.
    fn open_transactions(&mut self, connection: &Connection) -> Vec<Work> {
        if self.transactions_hidden {
            return Vec::new();
        }
        self.rest_since_last_look();
        let open = self.works(&mariadb_transactions(connection));
        self.transactions_hidden = open.is_err();
        open.unwrap_or_default()
    }

    /// The server answers about transactions from a cache that it fills anew only after nobody has read it for a tenth
    /// of a second (storage/innobase/trx/trx0i_s.cc): who asks more often sees the same for ever.
    fn rest_since_last_look(&mut self) {
        let since = self.last_look.replace(Instant::now()).map(|last| last.elapsed());
        let left = since.and_then(|since| TRANSACTION_CACHE.checked_sub(since));
        std::thread::sleep(left.unwrap_or_default());
        self.last_look = Some(Instant::now());
    }

    fn works(&mut self, sql: &str) -> Result<Vec<Work>> {
        let rows = self.query(sql)?;
        let works = rows.into_iter().map(|row| {
            let [id, state, seconds, query] = texts(row);
            Work { id, state, seconds: seconds.parse().unwrap_or(0), query }
        });
        Ok(works.collect())
    }
}

fn mariadb_statements(connection: &Connection) -> String {
    let user = mariadb::sql_text(&connection.user);
    format!(
        "SELECT ID, COMMAND, TIME, LEFT(COALESCE(INFO, ''), {QUERY_SHOWN}) FROM information_schema.PROCESSLIST \
         WHERE DB = DATABASE() AND USER = {user} AND COMMAND NOT IN ('Sleep', 'Daemon') AND ID <> CONNECTION_ID()"
    )
}

fn mariadb_transactions(connection: &Connection) -> String {
    let user = mariadb::sql_text(&connection.user);
    format!(
        "SELECT p.ID, 'open transaction', TIMESTAMPDIFF(SECOND, t.trx_started, NOW()), \
         LEFT(COALESCE(t.trx_query, ''), {QUERY_SHOWN}) FROM information_schema.INNODB_TRX t \
         JOIN information_schema.PROCESSLIST p ON p.ID = t.trx_mysql_thread_id \
         WHERE p.DB = DATABASE() AND p.USER = {user} AND p.ID <> CONNECTION_ID()"
    )
}

/// Whoever waits for the structure of a table: the server does not tell behind whom. The dump itself, which may wait for
/// another's TRUNCATE, is known by what it says.
fn mariadb_blocked() -> String {
    format!(
        "SELECT ID, USER, TIME, LEFT(COALESCE(INFO, ''), {QUERY_SHOWN}) FROM information_schema.PROCESSLIST \
         WHERE DB = DATABASE() AND STATE = 'Waiting for table metadata lock' AND COALESCE(INFO, '') NOT LIKE \
         'SELECT /*!40001 SQL_NO_CACHE */%' AND COALESCE(INFO, '') NOT LIKE 'show create table %' ORDER BY TIME DESC"
    )
}

fn postgres_work(connection: &Connection) -> String {
    let user = postgres::sql_text(&connection.user);
    format!(
        "SELECT pid, state, COALESCE(GREATEST(0, extract(epoch FROM clock_timestamp() - \
         COALESCE(xact_start, query_start)))::bigint, 0), LEFT(COALESCE(query, ''), {QUERY_SHOWN}) \
         FROM pg_catalog.pg_stat_activity WHERE datname = current_database() AND usename = {user} \
         AND state <> 'idle' AND pid <> pg_backend_pid() AND application_name NOT LIKE {} ORDER BY pid",
        postgres::sql_text(&format!("{}%", postgres::APPLICATION)),
    )
}

fn postgres_blocked() -> String {
    let dump = postgres::sql_text(&format!("{}%", postgres::DUMP_APPLICATION));
    format!(
        "WITH RECURSIVE waits AS (SELECT pid, unnest(pg_blocking_pids(pid)) AS behind FROM pg_catalog.pg_stat_activity \
           WHERE datname = current_database()), \
         stuck(pid) AS (SELECT w.pid FROM waits w JOIN pg_catalog.pg_stat_activity a ON a.pid = w.behind \
             WHERE a.application_name LIKE {dump} \
           UNION SELECT w.pid FROM waits w JOIN stuck s ON s.pid = w.behind) \
         SELECT a.pid, a.usename, COALESCE(GREATEST(0, extract(epoch FROM clock_timestamp() - \
           query_start))::bigint, 0) AS waited, LEFT(COALESCE(a.query, ''), {QUERY_SHOWN}) \
         FROM stuck s JOIN pg_catalog.pg_stat_activity a ON a.pid = s.pid WHERE a.application_name NOT LIKE {dump} \
         ORDER BY waited DESC"
    )
}

/// How many tables there are for a dump, and how many of them it has not locked. It locks no tables of extensions.
fn postgres_locks(name: &str) -> String {
    let name = postgres::sql_text(name);
    format!(
        "SELECT count(*), count(*) FILTER (WHERE c.oid NOT IN (SELECT l.relation FROM pg_catalog.pg_locks l \
           JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid WHERE a.application_name = {name} AND l.granted \
           AND l.locktype = 'relation' AND l.mode = 'AccessShareLock' AND a.datname = current_database())) \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' AND NOT EXISTS \
           (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')"
    )
}

/// The row's fields as texts; NULL and what it lacks are empty.
fn texts<const N: usize>(row: Vec<Option<String>>) -> [String; N] {
    let mut row = row.into_iter();
    std::array::from_fn(|_| row.next().flatten().unwrap_or_default())
}
