//! Dumps of PostgreSQL brought back into real servers by several clients at once: what comes back is what was there, whatever
//! stands in the dump and in whatever order. (MariaDB's: `load_dump.rs`.)

mod support;

use moodle_backup::database::Scope;
use moodle_backup::error::lines;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::dumps::{connection, dump, pair};
use support::{Database, Postgres, Scratch, Server, assert_same, rows_compare};

const LIMIT: Duration = Duration::from_secs(30);

/// Everything that the dump of a schema tells, but the names of it and of the time.
fn description(database: &Database, scratch: &Scratch) -> Vec<String> {
    let path = scratch.join(&format!("{}.description.zst", database.name));
    dump(database, &path);
    let text = support::succeed(Command::new("zstd").arg("-dc").arg(&path));
    let mut in_rows = false;
    let mut told = Vec::new();
    for line in String::from_utf8_lossy(&text).lines() {
        let is_end = in_rows && line == "\\.";
        if !(in_rows || line.starts_with("\\") || line.starts_with("--")) {
            told.push(line.to_owned());
        }
        in_rows = (in_rows || line.ends_with(" FROM stdin;")) && !is_end;
    }
    told
}

/// As Moodle's log, and as nothing that Moodle has: some ten megabytes of rows that begin and end with what dumps are made of.
fn fill(database: &Database) {
    let text = r"E'it''s \\. (a \n\\.\n\t\\N; COPY x FROM stdin;\n' || repeat(md5(n::text), 30)";
    for sql in [
        "CREATE TABLE mdl_log (id bigserial PRIMARY KEY, \"a b\" varchar(255) NOT NULL, other text, n bigint NOT NULL)",
        "CREATE UNIQUE INDEX mdl_log_u ON mdl_log (n); CREATE INDEX mdl_log_o ON mdl_log (lower(other), n DESC)",
        "COMMENT ON TABLE mdl_log IS 'it''s; \"the log\"\n-- of all'",
        "CREATE TABLE mdl_plain (other text)",
        "CREATE TABLE mdl_long (id bigint CONSTRAINT \"a key\" PRIMARY KEY, other text)",
        "CREATE TABLE mdl_empty (id bigserial PRIMARY KEY)",
        &format!("INSERT INTO mdl_log (\"a b\", other, n) SELECT 'x' || n, {text}, n FROM generate_series(1, 8000) n"),
        &format!("INSERT INTO mdl_plain SELECT {text} FROM generate_series(1, 2000) n"),
        // Each row longer than what a client is given at once.
        "INSERT INTO mdl_long SELECT n, repeat(md5(n::text), 50000) FROM generate_series(1, 3) n",
        "SELECT setval('mdl_empty_id_seq', 4711)",
    ] {
        as_account(database, sql);
    }
    for number in 0..40 {
        as_account(
            database,
            &format!(
                "CREATE TABLE mdl_small_{number} (id bigserial PRIMARY KEY, t text UNIQUE); \
                 INSERT INTO mdl_small_{number} (t) VALUES ('one'), (NULL)"
            ),
        );
    }
}

/// Runs statements as the site's own account.
fn as_account(database: &Database, sql: &str) {
    let Server::Postgres(server) = &database.server else { unreachable!() };
    let sql = format!("SET ROLE {};\n{sql}", database.identifier(&database.user));
    server.run_sql(Some(&database.name), &sql);
}

#[track_caller]
fn assert_brought_back(database: &Database, back: &Database, scratch: &Scratch) {
    let differences = rows_compare(database, back).into_iter().filter(|line| !line.contains(": owned by "));
    assert_same("rows", differences.collect());
    assert_eq!(description(database, scratch), description(back, scratch));
}

#[test]
fn tables_come_back_whole_with_all_their_keys_and_sequences() {
    let scratch = Scratch::new();
    let (database, back) = pair(&Server::Postgres(Postgres::start()));
    fill(&database);
    let path = scratch.join("dump.sql.zst");
    dump(&database, &path);
    let mut told = Vec::new();
    connection(&back).load(&path, &mut |done, total| told.push((done, total))).expect("the dump can be loaded");
    assert_brought_back(&database, &back, &scratch);
    assert_eq!(back.value("SELECT nextval('mdl_empty_id_seq')"), "4712");
    assert_eq!(back.value("SELECT nextval('mdl_log_id_seq')"), "8001");
    let size = path.metadata().unwrap().len();
    assert_eq!(told.last(), Some(&(size, size)));
}

/// Foreign keys, triggers and views refer to tables, large objects stand among the rows: the dump's order is kept from there on.
#[test]
fn what_is_no_plain_table_is_loaded_in_the_order_of_the_dump() {
    let scratch = Scratch::new();
    let (database, back) = pair(&Server::Postgres(Postgres::start()));
    fill(&database);
    for sql in [
        "CREATE TABLE mdl_counted (n bigint)",
        "CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN \
         INSERT INTO public.mdl_counted VALUES (NEW.id); RETURN NEW; END; $f$",
        "CREATE TRIGGER t AFTER INSERT ON mdl_small_1 FOR EACH ROW EXECUTE FUNCTION count_it()",
        "CREATE VIEW a_view AS SELECT n FROM mdl_log WHERE n < 10",
        "CREATE MATERIALIZED VIEW kept AS SELECT n, other FROM mdl_log WHERE n < 20; CREATE UNIQUE INDEX ON kept (n)",
        "CREATE TABLE parent (id bigint PRIMARY KEY); CREATE TABLE a_child (id bigint PRIMARY KEY, p bigint \
         REFERENCES parent (id)); INSERT INTO parent VALUES (1); INSERT INTO a_child VALUES (1, 1)",
        "CREATE TABLE parts (id bigint, t text, PRIMARY KEY (id)) PARTITION BY RANGE (id); CREATE INDEX ON parts (t); \
         CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (10); \
         CREATE TABLE part_2 PARTITION OF parts FOR VALUES FROM (10) TO (20); INSERT INTO parts VALUES (1, 'a'), (11, 'b')",
        "ALTER TABLE mdl_log CLUSTER ON mdl_log_u; ALTER TABLE mdl_log REPLICA IDENTITY USING INDEX mdl_log_u",
        // Statements in which others stand.
        "CREATE FUNCTION counted(n bigint) RETURNS bigint LANGUAGE sql BEGIN ATOMIC INSERT INTO mdl_counted VALUES (n); \
         SELECT CASE WHEN n > 1 THEN 2 ELSE (CASE n WHEN 1 THEN 1 END) END; SELECT count(*) FROM mdl_counted; END",
        "CREATE PROCEDURE count_all() BEGIN ATOMIC INSERT INTO mdl_counted SELECT n FROM mdl_log; DELETE FROM mdl_counted; END",
        "CREATE RULE told AS ON DELETE TO mdl_small_2 DO ALSO (INSERT INTO mdl_counted VALUES (OLD.id); \
         DELETE FROM mdl_counted WHERE n = 5)",
        "CREATE STATISTICS both_columns ON id, n FROM mdl_log; COMMENT ON INDEX mdl_log_o IS 'not for all'",
    ] {
        as_account(&database, sql);
    }
    for number in 1..5000 {
        if number % 1000 == 1 {
            let some = (number..number + 1000).map(|id| format!("SELECT lo_from_bytea({id}, '\\xcafe');"));
            as_account(&database, &some.collect::<String>());
        }
    }
    let path = scratch.join("dump.sql.zst");
    dump(&database, &path);
    connection(&back).load(&path, &mut |_, _| {}).expect("the dump can be loaded");
    assert_brought_back(&database, &back, &scratch);
    assert_eq!(back.value("SELECT count(*) FROM mdl_counted"), "0");
    assert_eq!(back.value("SELECT count(*) FROM a_view"), "9");
    assert_eq!(back.value("SELECT count(*) FROM kept"), "19");
    assert_eq!(back.value("SELECT count(*) FROM pg_largeobject_metadata"), "5000");
    as_account(&back, "INSERT INTO mdl_small_1 VALUES (77, 'new')");
    assert_eq!(back.value("SELECT n FROM mdl_counted"), "77");
}

/// The dump with a change by sed, loaded: what is said.
fn refused(change: &str) -> String {
    let scratch = Scratch::new();
    let (database, back) = pair(&Server::Postgres(Postgres::start()));
    fill(&database);
    let path = scratch.join("dump.sql.zst");
    dump(&database, &path);
    let broken = scratch.join("broken.sql.zst");
    let script = format!("zstd -dc {} | sed '{change}' | zstd -q -o {}", path.display(), broken.display());
    support::succeed(Command::new("bash").args(["-c", &script]));
    let error = connection(&back).load(&broken, &mut |_, _| {}).expect_err("that is no dump");
    let left = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'back'";
    support::wait_for("the clients are gone", LIMIT, || database.value(left) == "0");
    lines(&error).join("\n")
}

#[test]
fn a_statement_that_the_server_refuses_ends_the_load_with_its_words() {
    let words = refused("/^COPY public.mdl_small_7 /s/ (id, t)/ (id, other)/");
    assert!(words.contains("broken.sql.zst cannot be loaded into the database \"back\""), "{words}");
    assert!(words.contains("column \"other\" of relation \"mdl_small_7\" does not exist"), "{words}");
    // The same row twice, which only the key finds.
    let words = refused("/^1\\tx1\\t/p");
    assert!(words.contains("could not create unique index"), "{words}");
}

#[test]
fn a_dump_that_is_cut_off_is_not_taken_for_whole() {
    for end in ["/^COPY public.mdl_small_7 /q", "/^COPY public.mdl_small_7 /,$d"] {
        let words = refused(end);
        assert!(words.contains("broken.sql.zst is not loaded: the dump is cut off"), "{words}");
    }
}

#[test]
fn a_command_for_the_client_is_not_run() {
    let words = refused("s/^-- Name: mdl_small_7; .*/&\\n\\\\! touch \\/tmp\\/moodle-backup-was-here/");
    assert!(
        words.contains("broken.sql.zst is not loaded: the dump has a command for the client in it: \\! touch"),
        "{words}"
    );
    assert!(words.contains("next: pg_dump writes none") && words.contains("RESTORE.txt"), "{words}");
    assert!(!Path::new("/tmp/moodle-backup-was-here").exists());
}

/// Names of columns may hold whatever ends a statement elsewhere, and rows what begins one.
#[test]
fn what_looks_like_the_end_of_a_statement_within_a_name_is_none() {
    let scratch = Scratch::new();
    let (database, back) = pair(&Server::Postgres(Postgres::start()));
    as_account(&database, "CREATE TABLE mdl_odd (id bigint PRIMARY KEY, \"x FROM stdin;\n\" text)");
    let rows = "INSERT INTO mdl_odd SELECT n, E'\\\\\");\\nSELECT 1; ' || repeat(md5(n::text), 30) FROM generate_series(1, 4000) n";
    as_account(&database, rows);
    let path = scratch.join("dump.sql.zst");
    dump(&database, &path);
    connection(&back).load(&path, &mut |_, _| {}).expect("the dump can be loaded");
    assert_eq!(back.value("SELECT count(*) FROM mdl_odd"), "4000");
    assert_brought_back(&database, &back, &scratch);
}

/// A check that looks into another table holds only when that has its rows.
#[test]
fn rows_that_need_those_of_another_table_are_loaded_after_them() {
    let scratch = Scratch::new();
    let (database, back) = pair(&Server::Postgres(Postgres::start()));
    for sql in [
        "CREATE TABLE mdl_a (n bigint PRIMARY KEY, t text)",
        "INSERT INTO mdl_a SELECT n, repeat(md5(n::text), 60) FROM generate_series(1, 8000) n",
        "CREATE FUNCTION is_there(n bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT EXISTS (SELECT FROM public.mdl_a a \
         WHERE a.n = is_there.n) $$",
        "CREATE TABLE mdl_b (n bigint CHECK (is_there(n)))",
        "INSERT INTO mdl_b VALUES (7999), (8000)",
    ] {
        as_account(&database, sql);
    }
    let path = scratch.join("dump.sql.zst");
    dump(&database, &path);
    for _ in 0..5 {
        connection(&back).load(&path, &mut |_, _| {}).expect("the dump can be loaded");
        assert_brought_back(&database, &back, &scratch);
        as_account(&back, "DROP TABLE mdl_b; DROP TABLE mdl_a; DROP FUNCTION is_there");
    }
}

/// A role may be let in so often only.
#[test]
fn a_server_that_takes_one_client_at_a_time_gets_one() {
    let scratch = Scratch::new();
    let (database, back) = pair(&Server::Postgres(Postgres::start()));
    fill(&database);
    let path = scratch.join("dump.sql.zst");
    dump(&database, &path);
    let Server::Postgres(server) = &back.server else { unreachable!() };
    server.run_sql(None, "ALTER ROLE back CONNECTION LIMIT 1");
    connection(&back).load(&path, &mut |_, _| {}).expect("the dump can be loaded");
    assert_brought_back(&database, &back, &scratch);
}

/// What a load that was ended leaves at work on the server must not keep the earlier tables from coming back.
#[test]
fn an_index_that_is_still_being_made_is_given_up_when_tables_are_put_back() {
    let server = Postgres::start();
    let database = Server::Postgres(server.clone()).create_database("there", "there", "pass");
    as_account(&database, "CREATE TABLE mdl_kept (id bigint PRIMARY KEY)");
    let connection = connection(&database);
    let aside = connection.plan_aside("7", Scope::default(), None).unwrap();
    connection.set_aside(&aside).unwrap();
    as_account(
        &database,
        "CREATE FUNCTION slow(n bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS \
         $f$ BEGIN PERFORM pg_sleep(0.1); RETURN n; END; $f$",
    );
    as_account(
        &database,
        "CREATE TABLE mdl_kept (id bigint PRIMARY KEY); INSERT INTO mdl_kept SELECT generate_series(1, 100000)",
    );
    let mut client = server.client();
    client.args(["--username=there", "--dbname=there", "--command=CREATE INDEX i ON mdl_kept (slow(id))"]);
    client.env("PGPASSWORD", "pass").env("PGAPPNAME", "moodle-backup load");
    let altering = client.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%'";
    support::wait_for("the index is being made", LIMIT, || database.value(busy) == "1");
    connection.put_back(&aside).expect("the tables come back");
    let ended = altering.wait_with_output().unwrap();
    assert!(!ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(database.value("SELECT count(*) FROM mdl_kept"), "0");
}
