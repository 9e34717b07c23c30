//! Dumps brought back into real servers by several clients at once: what comes back is what was there, whatever the tables are
//! like and whatever stands between them.

mod support;

use moodle_backup::database::Scope;
use moodle_backup::error::lines;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use support::dumps::{connection, dump, pair};
use support::{Database, MariaDb, Scratch, Server, TestTarget, assert_same, rows_compare};

const LIMIT: Duration = Duration::from_secs(30);

/// Tables that are large, in many ways: their rows have some ten megabytes in a dump.
const LARGE: [&str; 4] = [
    // As Moodle's log: keys of several columns, one of them unique, one of a part of a column.
    "CREATE TABLE `mdl_log` (id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, `a b` varchar(255) NOT NULL COMMENT 'KEY `a`, (x\n',\
     other longtext, n bigint NOT NULL, KEY k (n, `a b`(20)), UNIQUE KEY u (n), KEY o (other(9)) COMMENT 'x, y')",
    // Keys that must be there from the beginning.
    "CREATE TABLE mdl_text (a varchar(50) NOT NULL, n bigint NOT NULL AUTO_INCREMENT, other longtext, PRIMARY KEY (a), KEY n (n), \
     FULLTEXT KEY f (other))",
    // No primary key at all.
    "CREATE TABLE mdl_plain (n bigint NOT NULL, other longtext, KEY n (n))",
    // Another engine.
    "CREATE TABLE mdl_aria (n bigint NOT NULL PRIMARY KEY, other longtext, KEY o (other(30))) ENGINE=Aria",
];

fn fill(database: &Database) {
    for create in LARGE {
        database.query(create);
    }
    let text = "concat('it''s (a \"row\"; ', seq, '),(\\n', repeat(sha1(seq), 30))";
    for (table, columns, values) in [
        ("mdl_log", "`a b`, other, n", "concat('x', seq)"),
        ("mdl_text", "a, other, n", "concat('x', seq)"),
        ("mdl_plain", "other, n", ""),
        ("mdl_aria", "other, n", ""),
    ] {
        let values = if values.is_empty() { String::new() } else { format!("{values}, ") };
        database.query(&format!("INSERT INTO {table} ({columns}) SELECT {values}{text}, seq FROM seq_1_to_8000"));
    }
    for number in 0..40 {
        database.query(&format!(
            "CREATE TABLE mdl_small_{number} (id bigint PRIMARY KEY, t text, KEY t (t(5))); \
             INSERT INTO mdl_small_{number} VALUES (1, 'one'), ({number} + 2, NULL)"
        ));
    }
}

/// What a server says of a table and what is in it, in an order of its own.
fn descriptions(database: &Database) -> Vec<String> {
    let tables =
        database.query("SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() ORDER BY 1");
    let describe =
        |table: &Vec<String>| database.query(&format!("SHOW CREATE TABLE `{}`", table[0])).concat().join(" ");
    tables.iter().map(describe).collect()
}

#[track_caller]
fn assert_brought_back(database: &Database, back: &Database) {
    assert_same(
        "rows",
        rows_compare(database, back).into_iter().filter(|line| !line.contains(": owned by ")).collect(),
    );
    assert_eq!(descriptions(database), descriptions(back));
    for table in ["mdl_log", "mdl_text", "mdl_plain", "mdl_aria"] {
        assert_eq!(back.query(&format!("CHECK TABLE {table} EXTENDED")).concat()[3], "OK", "{table}");
    }
}

#[test]
fn large_tables_come_back_whole_with_all_their_keys() {
    let scratch = Scratch::new();
    let (database, back) = pair(&Server::MariaDb(MariaDb::start()));
    fill(&database);
    let path = scratch.join("dump.sql.zst");
    dump(&database, &path);
    let mut told = Vec::new();
    connection(&back).load(&path, &mut |done, total| told.push((done, total))).expect("the dump can be loaded");
    assert_brought_back(&database, &back);
    assert_eq!(
        told.last().map(|(done, total)| (*done, *total)),
        Some((path.metadata().unwrap().len(), path.metadata().unwrap().len()))
    );
}

/// Triggers and views refer to tables, routines to anything: the order of the dump is kept from there on.
#[test]
fn what_is_no_plain_table_is_loaded_in_the_order_of_the_dump() {
    let scratch = Scratch::new();
    let (database, back) = pair(&Server::MariaDb(MariaDb::start()));
    fill(&database);
    for sql in [
        // In the dump after the rows of a table in the middle, which must not count twice when they are loaded.
        "CREATE TABLE mdl_counted (n bigint)",
        "CREATE TRIGGER t AFTER INSERT ON mdl_small_1 FOR EACH ROW INSERT INTO mdl_counted VALUES (NEW.id)",
        "CREATE VIEW a_view AS SELECT n FROM mdl_log WHERE n < 10",
        "CREATE PROCEDURE p() SELECT 'a;b'",
        "CREATE TABLE parent (id bigint PRIMARY KEY); CREATE TABLE child (id bigint PRIMARY KEY, p bigint, \
         FOREIGN KEY (p) REFERENCES parent (id)); INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1, 1)",
    ] {
        as_account(&database, sql);
    }
    let path = scratch.join("dump.sql.zst");
    dump(&database, &path);
    // It may be made again by the account alone that it belongs to.
    let server = &database.server;
    let back = Database { user: "there".into(), ..back };
    grant(server, "back", "there");
    connection(&back).load(&path, &mut |_, _| {}).expect("the dump can be loaded");
    assert_brought_back(&database, &back);
    assert_eq!(back.value("SELECT count(*) FROM mdl_counted"), "0");
    assert_eq!(back.value("SELECT count(*) FROM a_view"), "9");
    back.query("INSERT INTO mdl_small_1 VALUES (77, 'new')");
    assert_eq!(back.value("SELECT n FROM mdl_counted"), "77");
    assert_eq!(back.value("SELECT ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'back'"), "p");
}

/// Keys are sorted where the server has its temporary files; that may be a small file system in memory.
#[test]
fn a_server_without_room_to_sort_makes_the_keys_all_the_same() {
    let scratch = Scratch::new();
    let small = TestTarget::ext4(8);
    support::succeed(Command::new("chmod").arg("1777").arg(small.path()));
    let server = Server::MariaDb(MariaDb::start_with(&[&format!("--innodb-tmpdir={}", small.path().display())]));
    let (database, back) = pair(&server);
    database.query("CREATE TABLE mdl_log (id bigint PRIMARY KEY, n varchar(250), KEY n (n), KEY m (n, id))");
    database.query("INSERT INTO mdl_log SELECT seq, concat(sha2(seq, 512), repeat('x', 100)) FROM seq_1_to_60000");
    let path = scratch.join("dump.sql.zst");
    dump(&database, &path);
    connection(&back).load(&path, &mut |_, _| {}).expect("the dump can be loaded");
    assert_same(
        "rows",
        rows_compare(&database, &back).into_iter().filter(|line| !line.contains(": owned by ")).collect(),
    );
    assert_eq!(descriptions(&database), descriptions(&back));
}

#[test]
fn a_statement_that_the_server_refuses_ends_the_load_with_its_words() {
    let scratch = Scratch::new();
    let (database, back) = pair(&Server::MariaDb(MariaDb::start()));
    fill(&database);
    let path = scratch.join("dump.sql.zst");
    dump(&database, &path);
    let broken = scratch.join("broken.sql.zst");
    let script = format!(
        "zstd -dc {} | sed 's/^INSERT INTO `mdl_small_7` VALUES/INSERT INTO `mdl_small_7` VALUES (1,2,3,4),/' | zstd -q -o {}",
        path.display(),
        broken.display()
    );
    support::succeed(Command::new("bash").args(["-c", &script]));
    let error = connection(&back).load(&broken, &mut |_, _| {}).expect_err("that is no dump");
    let words = lines(&error).join("\n");
    assert!(words.contains("broken.sql.zst cannot be loaded into the database \"back\""), "{words}");
    assert!(words.contains("Column count doesn't match"), "{words}");
    assert_eq!(clients_of("back"), 0);
}

/// Runs statements as the site's own account.
fn as_account(database: &Database, sql: &str) {
    let Server::MariaDb(server) = &database.server else { unreachable!() };
    let mut client = Command::new("mariadb");
    client.args([
        "--no-defaults",
        "--password=pass",
        "--user",
        &database.user,
        "--database",
        &database.name,
        "-e",
        sql,
    ]);
    support::succeed(client.arg("--socket").arg(server.socket()));
}

fn grant(server: &Server, database: &str, account: &str) {
    let Server::MariaDb(server) = server else { unreachable!() };
    server.run_sql(None, &format!("GRANT ALL PRIVILEGES ON {database}.* TO {account}@localhost"));
}

/// Database clients that work on a database.
fn clients_of(name: &str) -> usize {
    let found = Command::new("pgrep").args(["-fc", &format!("database={name}$")]).stdout(Stdio::piped()).output();
    String::from_utf8_lossy(&found.expect("pgrep is there").stdout).trim().parse().expect("a number")
}

/// Dumps of MariaDB 11.8 have each table's rows in a transaction, and settings in comments of their own kind; older clients write
/// the former where an option file says so.
#[test]
fn rows_in_transactions_are_loaded_by_all_clients_and_none_is_lost() {
    let scratch = Scratch::new();
    let (database, back) = pair(&Server::MariaDb(MariaDb::start()));
    fill(&database);
    // Without keys there is nothing at its end that would wait for a transaction to end.
    database.query("CREATE TABLE a_table (n bigint PRIMARY KEY, other longtext)");
    database.query("INSERT INTO a_table SELECT seq, repeat(sha1(seq), 30) FROM seq_1_to_8000");
    let Server::MariaDb(server) = &database.server else { unreachable!() };
    let path = scratch.join("dump.sql.zst");
    let script = format!(
        "mariadb-dump --no-defaults --socket={} --single-transaction --no-autocommit there \
         | sed '0,/^.*40101 SET NAMES/s//\\/*M!100616 SET @OLD_NOTE_VERBOSITY=@@NOTE_VERBOSITY, NOTE_VERBOSITY=0 *\\/;\\n&/' \
         >{path}.sql; grep -qi autocommit {path}.sql; grep -q OLD_NOTE_VERBOSITY {path}.sql; zstd -q {path}.sql -o {path}",
        server.socket().display(),
        path = path.display()
    );
    support::succeed(Command::new("bash").args(["-euo", "pipefail", "-c", &script]));
    connection(&back).load(&path, &mut |_, _| {}).expect("the dump can be loaded");
    assert_brought_back(&database, &back);
}

/// What a load that was ended leaves at work on the server must not keep the earlier tables from coming back.
#[test]
fn keys_that_are_still_being_made_are_given_up_when_tables_are_put_back() {
    let server = MariaDb::start();
    let (database, _) = pair(&Server::MariaDb(Arc::clone(&server)));
    database.query("CREATE TABLE mdl_kept (id bigint PRIMARY KEY)");
    let connection = connection(&database);
    let aside = connection.plan_aside("7", Scope::default(), None).unwrap();
    connection.set_aside(&aside).unwrap();
    database.query("CREATE TABLE mdl_kept (id bigint PRIMARY KEY, t varchar(60))");
    database.query("INSERT INTO mdl_kept SELECT seq, sha1(seq) FROM seq_1_to_1500000");
    let mut client = Command::new("mariadb");
    client
        .args(["--no-defaults", "--user=there", "--password=pass", "--database=there", "--socket"])
        .arg(server.socket());
    client.args(["-e", "ALTER TABLE `mdl_kept` ADD KEY `t` (`t`), ADD UNIQUE KEY `u` (`t`, `id`), ALGORITHM=COPY"]);
    let altering = client.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let busy = "SELECT count(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'ALTER TABLE%'";
    support::wait_for("the keys are being made", LIMIT, || database.value(busy) == "1");
    connection.put_back(&aside).expect("the tables come back");
    let ended = altering.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && !words.contains("doesn't exist"), "{words}");
    assert_eq!(database.query("SHOW COLUMNS FROM mdl_kept").len(), 1);
}

#[test]
fn a_dump_that_is_cut_off_is_not_waited_for() {
    let scratch = Scratch::new();
    let (database, back) = pair(&Server::MariaDb(MariaDb::start()));
    database.query("CREATE TABLE mdl_a (t text)");
    database.query("INSERT INTO mdl_a VALUES ('where it is cut off')");
    let path = scratch.join("dump.sql.zst");
    dump(&database, &path);
    let cut = scratch.join("cut.sql.zst");
    let script = format!(
        "zstd -dc {} | sed '/where it is/,$d' >{cut}.sql; printf \"INSERT INTO \\`mdl_a\\` VALUES ('wh\" \
         >>{cut}.sql; zstd -q {cut}.sql -o {cut}",
        path.display(),
        cut = cut.display()
    );
    support::succeed(Command::new("bash").args(["-c", &script]));
    let error = connection(&back).load(&cut, &mut |_, _| {}).expect_err("half a dump");
    assert!(lines(&error).join("\n").contains("the dump is cut off"), "{error:#}");
}

/// An account may be let in so often only.
#[test]
fn a_server_that_takes_one_client_at_a_time_gets_one() {
    let scratch = Scratch::new();
    let server = MariaDb::start();
    let (database, back) = pair(&Server::MariaDb(Arc::clone(&server)));
    fill(&database);
    let path = scratch.join("dump.sql.zst");
    dump(&database, &path);
    server.run_sql(None, "ALTER USER back@localhost WITH MAX_USER_CONNECTIONS 1");
    connection(&back).load(&path, &mut |_, _| {}).expect("the dump can be loaded");
    assert_brought_back(&database, &back);
}
