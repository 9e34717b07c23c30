//! Comparing two databases row by row, without a dump: structure, every row of every table, and counters.

use std::collections::BTreeMap;

use super::database::{Database, Engine};

/// Differences of one table that are shown; the rest is counted.
const SHOWN: usize = 5;
/// As much of a row as a person would read.
const SHOWN_LENGTH: usize = 300;

/// All of a database in an order that depends on nothing but its content: by table, its structure and its rows.
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

/// Statements, each of whose rows say in their first column where they belong: one client does them all.
fn collect(database: &Database, statements: &[String]) -> Snapshot {
    let mut snapshot = Snapshot::new();
    for mut row in database.query_bytes(&statements.join(";\n")) {
        let place = String::from_utf8_lossy(&row.remove(0)).into_owned();
        snapshot.entry(place).or_default().push(row.concat());
    }
    snapshot
}

fn mariadb_snapshot(database: &Database) -> Snapshot {
    // Long lists, and values as they are: QUOTE tells NULL from 'NULL', and without a character set nothing is converted.
    let mut statements = vec!["SET NAMES binary, group_concat_max_len = 1000000".to_owned()];
    let columns = "SELECT TABLE_NAME, GROUP_CONCAT('QUOTE(`', COLUMN_NAME, '`)' ORDER BY ORDINAL_POSITION) \
         FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() GROUP BY TABLE_NAME";
    for row in database.query(&format!("SET group_concat_max_len = 1000000; {columns}")) {
        let (table, columns) = (&row[0], &row[1]);
        let quoted = database.identifier(table);
        // Its first column is the name of the table.
        statements.push(format!("SHOW CREATE TABLE {quoted}"));
        statements.push(format!("SELECT '{table} (rows)', CONCAT_WS(',', {columns}) FROM {quoted}"));
    }
    collect(database, &statements)
}

/// What PostgreSQL knows about the tables that are not its own; `OURS` is put in.
const POSTGRES_STRUCTURE: [&str; 5] = [
    "SELECT table_schema || '.' || table_name, (column_name, data_type, character_maximum_length, is_nullable, \
     column_default)::text FROM information_schema.columns WHERE table_schema OURS",
    "SELECT schemaname || '.' || tablename, indexdef FROM pg_indexes WHERE schemaname OURS",
    "SELECT conrelid::regclass::text, conname || ' ' || pg_get_constraintdef(c.oid) FROM pg_constraint c \
     JOIN pg_namespace n ON n.oid = connamespace WHERE conrelid <> 0 AND nspname OURS",
    "SELECT schemaname || '.' || sequencename, (last_value, increment_by)::text FROM pg_sequences WHERE schemaname OURS",
    "SELECT schemaname || '.' || tablename, 'owned by ' || tableowner FROM pg_tables WHERE schemaname OURS",
];

fn postgres_snapshot(database: &Database) -> Snapshot {
    let ours = "NOT IN ('pg_catalog', 'information_schema', 'pg_toast')";
    let mut statements: Vec<String> = POSTGRES_STRUCTURE.iter().map(|sql| sql.replace("OURS", ours)).collect();
    let tables = format!("SELECT schemaname, tablename FROM pg_tables WHERE schemaname {ours}");
    for row in database.query(&tables) {
        let table = format!("{}.{}", database.identifier(&row[0]), database.identifier(&row[1]));
        // A row as text is unambiguous, and no column of a site holds our separators.
        statements.push(format!("SELECT '{} (rows)', r::text FROM {table} r", row.join(".")));
    }
    collect(database, &statements)
}
