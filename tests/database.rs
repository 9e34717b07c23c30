//! Databases as the program meets them: real servers, nasty names and passwords, sites that go on working.

mod support;

use moodle_backup::database::{
    Client, Connection, Dump, DumpFailure, Dumped, Engine, FilesTable, Order, Session, Tables, Tls,
};
use moodle_backup::error::{hint, lines};
use moodle_backup::sys::log::{Log, Verbosity};
use moodle_backup::sys::privileges::Identity;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Database, MariaDb, Postgres, Scratch, Server, assert_same, rows_compare, wait_for};

const LIMIT: Duration = Duration::from_secs(30);

fn connection(database: &Database, password: &str) -> Connection {
    let (engine, socket) = match &database.server {
        Server::MariaDb(server) => (Engine::MariaDb, server.socket()),
        Server::Postgres(server) => (Engine::Postgres, server.socket_folder()),
    };
    Connection {
        engine,
        host: None,
        port: Some(database.server.port()),
        socket: Some(socket),
        user: database.user.clone(),
        password: Some(password.to_owned()),
        name: database.name.clone(),
        schema: None,
        tls: Tls::Default,
        options_file: None,
        run_as: Some(Identity::by_name("www-data").expect("www-data is there")),
    }
}

fn over_tcp(mut connection: Connection) -> Connection {
    (connection.host, connection.socket) = (Some("127.0.0.1".into()), None);
    connection
}

fn client(connection: &Connection) -> Client {
    let facts = connection.session().and_then(|mut session| session.facts()).expect("the server answers");
    let mut client = connection.check_client(&facts).expect("the client is fit");
    connection.probe_dump(&mut client).expect("the trial dump works");
    client
}

fn snapshot() -> Tables {
    Tables::Snapshot { but: Vec::new() }
}

fn log() -> Log {
    Log::to_stderr(Verbosity::Quiet)
}

/// A dump of everything into `path`, and the hashes that were met.
fn start(connection: &Connection, path: &Path) -> (Dump, Arc<Mutex<Vec<[u8; 20]>>>) {
    let hashes = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&hashes);
    let each = Box::new(move |hash| sink.lock().expect("not poisoned").push(hash));
    let files = Some(FilesTable { schema: None, name: "mdl_files".into(), each });
    let order = Order { tables: snapshot(), level: 1, files };
    let out = File::create(path).expect("a file can be made");
    (Dump::start(connection, &client(connection), order, out, &log()).expect("the dump starts"), hashes)
}

fn dump(connection: &Connection, path: &Path) -> (Dumped, Vec<[u8; 20]>) {
    let (mut dump, hashes) = start(connection, path);
    dump.wait_established(LIMIT).expect("the dump is established");
    let dumped = dump.finish().unwrap_or_else(|failure| panic!("{:?}", failure.into_error()));
    let hashes = std::mem::take(&mut *hashes.lock().expect("not poisoned"));
    (dumped, hashes)
}

/// Loads a dump into a database that is empty, as its owner; nothing may go wrong on the way.
fn load(path: &Path, database: &Database) {
    let sql = Command::new("zstd").arg("-dc").arg(path).output().expect("zstd is installed");
    assert!(sql.status.success(), "{}", String::from_utf8_lossy(&sql.stderr));
    run(database, &String::from_utf8(sql.stdout).expect("the dump is UTF-8"));
}

fn differences(a: &Database, b: &Database) -> Vec<String> {
    rows_compare(a, b).into_iter().filter(|line| !line.starts_with("(owners)")).collect()
}

const NASTY: &str = "INSERT INTO `mdl_files` VALUES (1,''x'');\n-- Dump completed\n\\.\n\tCOPY public.mdl_files (id) FROM stdin;\n";

fn fill(database: &Database, files: u32) {
    let is_mariadb = matches!(database.server, Server::MariaDb(_));
    let (series, hash, odd) = match is_mariadb {
        true => (format!("seq AS i FROM seq_1_to_{files}"), "sha1(i)", NASTY.replace('\\', "\\\\")),
        false => (
            format!("i FROM generate_series(1, {files}) AS i"),
            "left(encode(sha256(i::text::bytea), 'hex'), 40)",
            NASTY.to_owned(),
        ),
    };
    let blob = if is_mariadb { "longblob" } else { "bytea" };
    let odd_blob = if is_mariadb { "x'00275c0a1a22'" } else { "'\\x00275c0a1a22'" };
    for sql in [
        "CREATE TABLE mdl_files (id bigint PRIMARY KEY, contenthash varchar(40), filename varchar(255))".to_owned(),
        format!("INSERT INTO mdl_files SELECT i, {hash}, concat('it''s (a \"file\"; ', i, '),(') FROM (SELECT {series}) s"),
        format!("CREATE TABLE mdl_odd (id bigint PRIMARY KEY, a text, b {blob})"),
        format!("INSERT INTO mdl_odd VALUES (1, '{odd}', {odd_blob}), (2, NULL, NULL), (3, '', {odd_blob})"),
        "CREATE TABLE mdl_none (id bigint)".to_owned(),
    ] {
        run(database, &sql);
    }
}

/// Runs a statement so that what it makes belongs to the site's account.
fn run(database: &Database, sql: &str) {
    match database.server {
        Server::MariaDb(_) => database.query(sql),
        Server::Postgres(_) => database.query(&format!("SET ROLE {};\n{sql}", database.identifier(&database.user))),
    };
}

fn both() -> [Server; 2] {
    [Server::MariaDb(MariaDb::shared()), Server::Postgres(Postgres::shared())]
}

#[test]
fn a_dump_brings_back_every_row_and_names_every_hash() {
    for server in both() {
        let scratch = Scratch::new();
        let database = server.create_database("whole", "whole", "pass");
        fill(&database, 5000);
        let path = scratch.join("dump.sql.zst");
        let (dumped, hashes) = dump(&connection(&database, "pass"), &path);
        assert!(dumped.scanned.files_seen);
        assert_eq!((hashes.len(), dumped.scanned.files), (5000, 5000), "{dumped:?}");
        assert_eq!((dumped.scanned.null_hashes, dumped.scanned.malformed_hashes), (0, 0));
        let rows: Vec<u64> = dumped.scanned.tables.values().copied().collect();
        assert_eq!(rows, [5000, 0, 3], "{:?}", dumped.scanned.tables);
        // Another role than before: the dump names none.
        let back = server.create_database("whole_back", "another", "pass");
        load(&path, &back);
        assert_same("the database brought back", differences(&database, &back));
    }
}
