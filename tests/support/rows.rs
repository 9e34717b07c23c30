//! Comparing two databases row by row, without a dump: structure, every row of every table, and counters.

use std::collections::BTreeMap;

use super::database::{Database, Engine};

/// Differences of one table that are shown; the rest is counted.
const SHOWN: usize = 5;
/// As much of a row as a person would read.
const SHOWN_LENGTH: usize = 300;

/// All of a database in an order that depends on nothing but its content: by table, what it is and its rows.
pub type Snapshot = BTreeMap<String, Vec<Vec<u8>>>;

/// Every difference between the databases, readable, one a line.
pub fn rows_compare(a: &Database, b: &Database) -> Vec<String> {
    compare_snapshots(&rows_snapshot(a), &rows_snapshot(b))
}

/// Reads a whole database into memory, for comparing it with what it will be later.
pub fn rows_snapshot(database: &Database) -> Snapshot {
    let mut snapshot = match database.server.engine() {
        Engine::MariaDb => mariadb_snapshot(database),
        Engine::Postgres => postgres_snapshot(database),
    };
    for rows in snapshot.values_mut() {
        rows.sort();
    }
    snapshot
}

/// Differences between two snapshots, from the same database or from two.
pub fn compare_snapshots(a: &Snapshot, b: &Snapshot) -> Vec<String> {
    let mut differences = Vec::new();
    for (table, rows) in a {
        match b.get(table) {
            None => differences.push(format!("{table}: only in the first")),
            Some(others) => compare_rows(table, rows, others, &mut differences),
        }
    }
    differences
        .extend(b.keys().filter(|table| !a.contains_key(*table)).map(|table| format!("{table}: only in the second")));
    differences
}

/// Both lists are sorted, so one walk along both finds what only one has.
fn compare_rows(table: &str, a: &[Vec<u8>], b: &[Vec<u8>], differences: &mut Vec<String>) {
    let (mut in_a, mut in_b) = (a.iter().peekable(), b.iter().peekable());
    let mut found = Vec::new();
    loop {
        match (in_a.peek(), in_b.peek()) {
            (None, None) => break,
            (Some(left), Some(right)) if left == right => {
                in_a.next();
                in_b.next();
            }
            (Some(left), right) if right.is_none_or(|right| left < right) => {
                found.push(format!("{table}: only in the first: {}", readable(left)));
                in_a.next();
            }
            (_, Some(right)) => {
                found.push(format!("{table}: only in the second: {}", readable(right)));
                in_b.next();
            }
            (Some(_), None) => unreachable!("covered by the arm before"),
        }
    }
    let more = found.len().saturating_sub(SHOWN);
    differences.extend(found.into_iter().take(SHOWN));
    if more > 0 {
        differences.push(format!("{table}: and {more} more"));
    }
}

fn readable(row: &[u8]) -> String {
    let text = row.escape_ascii().to_string();
    if text.len() > SHOWN_LENGTH { format!("{}…", &text[..SHOWN_LENGTH]) } else { text }
}

/// The single cell of each row of a query.
fn cells(database: &Database, sql: &str) -> Vec<Vec<u8>> {
    database.query_bytes(sql).into_iter().filter_map(|row| row.into_iter().next()).collect()
}

fn names(database: &Database, sql: &str) -> Vec<String> {
    database.query(sql).into_iter().filter_map(|row| row.into_iter().next()).collect()
}

fn mariadb_snapshot(database: &Database) -> Snapshot {
    let mut snapshot = Snapshot::new();
    for table in names(database, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()") {
        let quoted = database.identifier(&table);
        let structure = database.query_bytes(&format!("SHOW CREATE TABLE {quoted}")).concat();
        snapshot.insert(format!("{table} (structure)"), structure);
        let columns = names(
            database,
            &format!(
                "SELECT CONCAT('QUOTE(`', COLUMN_NAME, '`)') FROM information_schema.COLUMNS \
                 WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '{table}' ORDER BY ORDINAL_POSITION"
            ),
        );
        // QUOTE tells NULL from 'NULL'; without a character set nothing is converted on the way.
        let rows = format!("SET NAMES binary; SELECT CONCAT_WS(', ', {}) FROM {quoted}", columns.join(", "));
        snapshot.insert(table, cells(database, &rows));
    }
    snapshot
}

fn postgres_snapshot(database: &Database) -> Snapshot {
    let mut snapshot = Snapshot::new();
    let ours = "NOT IN ('pg_catalog', 'information_schema', 'pg_toast')";
    for (what, sql) in [
        ("(columns)", format!("SELECT (table_schema, table_name, column_name, data_type, character_maximum_length, is_nullable, column_default)::text FROM information_schema.columns WHERE table_schema {ours}")),
        ("(indexes)", format!("SELECT indexdef FROM pg_indexes WHERE schemaname {ours}")),
        ("(constraints)", "SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid <> 0".into()),
        ("(sequences)", format!("SELECT (schemaname, sequencename, last_value, increment_by)::text FROM pg_sequences WHERE schemaname {ours}")),
        ("(owners)", format!("SELECT (schemaname, tablename, tableowner)::text FROM pg_tables WHERE schemaname {ours}")),
    ] {
        snapshot.insert(what.into(), cells(database, &sql));
    }
    let tables = format!("SELECT schemaname, tablename FROM pg_tables WHERE schemaname {ours}");
    for row in database.query(&tables) {
        let table = format!("{}.{}", database.identifier(&row[0]), database.identifier(&row[1]));
        // A row as text is unambiguous; the escape character of bytea is a backslash, and text holds no separators of ours.
        let rows = cells(database, &format!("SELECT r::text FROM {table} r"));
        snapshot.insert(row.join("."), rows);
    }
    snapshot
}
