//! Databases as the program meets them: real servers, nasty names and passwords, sites that go on working.

mod support;

use moodle_backup::database::{Client, Connection, Dump, DumpFailure, Dumped, Engine, FilesTable, Order, Tables, Tls};
use moodle_backup::error::{hint, lines};
use moodle_backup::sys::log::{Log, Verbosity};
use moodle_backup::sys::privileges::Identity;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
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

/// Keeps a dump from getting far: what it writes goes nowhere until the gate is opened.
struct Gate {
    reader: File,
    path: PathBuf,
}

impl Gate {
    /// Lets the rest of the dump through, and judges it.
    fn open(mut self, dump: Dump) -> Result<Dumped, DumpFailure> {
        std::thread::scope(|scope| {
            scope.spawn(move || std::io::copy(&mut self.reader, &mut File::create(&self.path).unwrap()).unwrap());
            dump.finish()
        })
    }
}

/// A dump that is established, and stands still behind a gate in the midst of a table of [`make_purses`].
fn start_held(connection: &Connection, path: &Path) -> (Dump, Gate) {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let order = Order { tables: snapshot(), level: 1, files: None };
    let mut dump = Dump::start(connection, &client(connection), order, File::from(writer), &log()).unwrap();
    dump.wait_established(None, LIMIT).expect("the dump is established");
    wait_for("a table is being read", LIMIT, || dump.bytes() > 1_000_000);
    (dump, Gate { reader: File::from(reader), path: path.to_owned() })
}

fn dump(connection: &Connection, path: &Path) -> (Dumped, Vec<[u8; 20]>) {
    let (mut dump, hashes) = start(connection, path);
    dump.wait_established(None, LIMIT).expect("the dump is established");
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
    rows_compare(a, b).into_iter().filter(|line| !line.contains(": owned by ")).collect()
}

const NASTY: &str =
    "INSERT INTO `mdl_files` VALUES (1,''x'');\n-- Dump completed\n\\.\n\tCOPY public.mdl_files (id) FROM stdin;\n";

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
        format!(
            "INSERT INTO mdl_files SELECT i, {hash}, concat('it''s (a \"file\"; ', i, '),(') FROM (SELECT {series}) s"
        ),
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

/// Names, users and passwords that a shell, an option file or a password file could stumble over.
const WORDS: [&str; 12] = [
    "two words",
    " blanks around ",
    "it's \"quoted\"",
    "\"all quoted\"",
    "back\\slash\\",
    "\\n\\s\\t",
    "100%#hash;$HOME=x:y",
    "ünïcødé €",
    "#",
    "[client]",
    "!include /etc/passwd",
    "tab\there",
];

#[test]
fn any_name_and_password_gets_in_by_socket_and_by_tcp() {
    for server in both() {
        for (number, word) in WORDS.into_iter().enumerate() {
            let user = format!("{number}{word}");
            // A backslash in the name of a database has a meaning of its own in MariaDB's GRANT.
            let name = format!("db{number}{}", word.trim().replace('\\', "/"));
            let database = server.create_database(&name, &user, word);
            let by_socket = connection(&database, word);
            for connection in [by_socket.clone(), over_tcp(by_socket)] {
                let mut session = connection.session().unwrap_or_else(|error| panic!("{word:?}: {error:#}"));
                let asked = if connection.engine == Engine::MariaDb { "database()" } else { "current_database()" };
                assert_eq!(session.value(&format!("SELECT {asked}")).unwrap().as_deref(), Some(name.as_str()));
                client(&connection);
            }
        }
    }
}

#[test]
fn a_password_of_two_lines_is_taken_or_refused_clearly() {
    let word = "two\nlines";
    let mariadb = Server::MariaDb(MariaDb::shared()).create_database("lines", "lines", word);
    connection(&mariadb, word).session().expect("MariaDB's clients can be given it");
    let postgres = Server::Postgres(Postgres::shared()).create_database("lines", "lines", word);
    let error = connection(&postgres, word).session().expect_err("PostgreSQL's cannot");
    assert!(error.to_string().contains("line break"), "{error:#}");
    assert!(!format!("{error:?}").contains(word));
}

#[test]
fn a_refusal_says_what_to_do() {
    for server in both() {
        let database = server.create_database("refuse", "refuse", "right");
        let good = connection(&database, "right");
        let refused = |connection: &Connection| lines(&connection.session().expect_err("refused")).join("\n");
        let wrong_password = refused(&connection(&database, "wrong secret"));
        assert!(wrong_password.contains("check the name and the password"), "{wrong_password}");
        assert!(!wrong_password.contains("wrong secret"), "{wrong_password}");
        let no_database = refused(&Connection { name: "nowhere".into(), ..good.clone() });
        // MariaDB tells nobody whether a database exists that the account may not see.
        assert!(no_database.contains("nowhere"), "{no_database}");
        let no_server = refused(&Connection { port: Some(1), ..over_tcp(good.clone()) });
        assert!(no_server.contains("is the database server running at 127.0.0.1 port 1?"), "{no_server}");
        let no_host = refused(&Connection { host: Some("no-such-host.invalid".into()), ..over_tcp(good) });
        assert!(no_host.contains("cannot be resolved"), "{no_host}");
    }
}

#[test]
fn encryption_is_demanded_and_verified_as_config_php_says() {
    for (plain, encrypted) in [
        (Server::MariaDb(MariaDb::shared()), Server::MariaDb(MariaDb::start_with_tls())),
        (Server::Postgres(Postgres::shared()), Server::Postgres(Postgres::start_with_tls())),
    ] {
        let open = plain.create_database("tls", "tls", "pass");
        let sealed = encrypted.create_database("tls", "tls", "pass");
        let with = |database: &Database, tls| Connection { tls, ..over_tcp(connection(database, "pass")) };
        for tls in [Tls::Default, Tls::Disable, Tls::Prefer] {
            client(&with(&open, tls));
            client(&with(&sealed, tls));
        }
        let refused = with(&open, Tls::Require).session().expect_err("there is no encryption");
        assert!(hint(&refused).is_some_and(|hint| hint.contains("set")), "{refused:#}");
        client(&with(&sealed, Tls::Require));
        let unverified = with(&sealed, Tls::VerifyFull).session().expect_err("nobody vouches for the certificate");
        assert!(hint(&unverified).is_some_and(|hint| hint.contains("certificate")), "{unverified:#}");
    }
}

#[test]
fn an_options_file_gives_another_account_and_must_be_private() {
    for server in both() {
        let scratch = Scratch::new();
        let database = server.create_database("options", "options", "pass");
        fill(&database, 10);
        let (server_text, certificate) = match &server {
            Server::MariaDb(_) => ("[client]\nuser=options\npassword='pass'\n", ""),
            Server::Postgres(_) => ("# for the dump\n[anything]\nuser=options\npassword=pass\n", ""),
        };
        let file = scratch.join("account.cnf");
        std::fs::write(&file, format!("{server_text}{certificate}")).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        let nobody =
            Connection { user: "nobody".into(), options_file: Some(file.clone()), ..connection(&database, "no") };
        let error = nobody.session().expect_err("others can read the file");
        assert!(hint(&error).is_some_and(|hint| hint.contains("chmod 600")), "{error:#}");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        let (dumped, _) = dump(&nobody, &scratch.join("dump.sql.zst"));
        assert_eq!(dumped.scanned.files, 10);
    }
}

#[test]
fn a_schema_of_its_own_is_dumped_and_told_from_others() {
    let server = Server::Postgres(Postgres::shared());
    let scratch = Scratch::new();
    let database = server.create_database("schemas", "schemas", "pass");
    fill(&database, 7);
    for sql in [
        "CREATE SCHEMA \"my moodle\"",
        "CREATE TABLE \"my moodle\".mdl_files AS SELECT * FROM mdl_files WHERE id < 4",
        "INSERT INTO \"my moodle\".mdl_files VALUES (8, NULL, 'x'), (9, 'no hash', 'y')",
    ] {
        run(&database, sql);
    }
    let path = scratch.join("dump.sql.zst");
    let connection = Connection { schema: Some("my moodle".into()), ..connection(&database, "pass") };
    let mut session = connection.session().unwrap();
    assert_eq!(session.facts().unwrap().schema.as_deref(), Some("my moodle"));
    assert!(session.has_table(connection.schema.as_deref(), "mdl_files").unwrap());
    assert!(!session.has_table(connection.schema.as_deref(), "mdl_odd").unwrap());
    let met = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&met);
    let each = Box::new(move |_| *counter.lock().unwrap() += 1);
    let files = Some(FilesTable { schema: connection.schema.clone(), name: "mdl_files".into(), each });
    let order = Order { tables: snapshot(), level: 1, files };
    let dump = Dump::start(&connection, &client(&connection), order, File::create(&path).unwrap(), &log()).unwrap();
    let scanned = dump.finish().unwrap_or_else(|failure| panic!("{failure:?}")).scanned;
    assert_eq!((*met.lock().unwrap(), scanned.files), (3, 5));
    assert_eq!((scanned.null_hashes, scanned.malformed_hashes), (1, 1));
    let back = server.create_database("schemas_back", "schemas_back", "pass");
    load(&path, &back);
    assert_same("the database brought back", differences(&database, &back));
}

/// A client that stays connected and is told what to do, like a site with persistent connections.
struct Visitor {
    child: Child,
    stdin: ChildStdin,
}

impl Visitor {
    fn of(database: &Database) -> Self {
        let mut command = match &database.server {
            Server::MariaDb(server) => server.client(),
            Server::Postgres(server) => server.client(),
        };
        command
            .arg(if matches!(database.server, Server::MariaDb(_)) { "--database" } else { "--dbname" })
            .arg(&database.name);
        match &database.server {
            Server::MariaDb(_) => command.arg(format!("--user={}", database.user)).env("MYSQL_PWD", &database.password),
            Server::Postgres(_) => {
                command.arg(format!("--username={}", database.user)).env("PGPASSWORD", &database.password)
            }
        };
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        Visitor { child, stdin }
    }

    fn say(&mut self, sql: &str) {
        writeln!(self.stdin, "{sql};").expect("the visitor's client takes statements");
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tells a thread to stop however the test goes on: the end of a scope waits for its threads.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Two tables between which value is moved to and fro: their sum never changes.
fn make_purses(database: &Database) {
    for table in ["mdl_a_purse", "mdl_z_purse"] {
        run(database, &format!("CREATE TABLE {table} (id int PRIMARY KEY, v bigint)"));
        run(database, &format!("INSERT INTO {table} VALUES (1, 500), (2, 500)"));
    }
    // So much lies between them that they are not read at one time.
    run(database, "CREATE TABLE mdl_m_between (id int PRIMARY KEY, t text)");
    let rows = match database.server {
        Server::MariaDb(_) => {
            "SELECT seq, concat(sha1(seq), sha1(-seq), sha1(seq * 3), sha1(seq * 7)) FROM seq_1_to_60000"
        }
        Server::Postgres(_) => {
            "SELECT i, md5(i::text) || md5((-i)::text) || md5((i * 3)::text) || md5((i * 7)::text) FROM generate_series(1, 60000) i"
        }
    };
    run(database, &format!("INSERT INTO mdl_m_between {rows}"));
}

#[test]
fn a_dump_is_of_one_moment_while_the_site_goes_on() {
    for server in both() {
        let scratch = Scratch::new();
        let database = server.create_database("moment", "moment", "pass");
        make_purses(&database);
        let stop = AtomicBool::new(false);
        let path = scratch.join("dump.sql.zst");
        std::thread::scope(|scope| {
            let _end = StopAtEnd(&stop);
            scope.spawn(|| {
                let mut visitor = Visitor::of(&database);
                for step in 0u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let row = step % 2 + 1;
                    visitor.say("BEGIN");
                    visitor.say(&format!("UPDATE mdl_a_purse SET v = v - 1 WHERE id = {row}"));
                    visitor.say(&format!("UPDATE mdl_z_purse SET v = v + 1 WHERE id = {row}"));
                    visitor.say("COMMIT");
                }
            });
            let before = || database.value("SELECT v FROM mdl_a_purse WHERE id = 1");
            wait_for("money moves", LIMIT, || before() != "500");
            let (dump, gate) = start_held(&connection(&database, "pass"), &path);
            let at_the_start = before();
            wait_for("money moves still", LIMIT, || before() != at_the_start);
            gate.open(dump).unwrap_or_else(|failure| panic!("{failure:?}"));
        });
        let back = server.create_database("moment_back", "moment_back", "pass");
        load(&path, &back);
        let sum = back.value("SELECT sum(v) FROM (SELECT v FROM mdl_a_purse UNION ALL SELECT v FROM mdl_z_purse) x");
        assert_eq!(sum, "2000");
        assert_ne!(back.value("SELECT v FROM mdl_a_purse WHERE id = 1"), "500");
    }
}

#[test]
fn a_table_changed_under_a_mariadb_dump_is_named() {
    let server = Server::MariaDb(MariaDb::shared());
    let scratch = Scratch::new();
    for (number, change) in [
        "TRUNCATE TABLE mdl_z_purse",
        // Adding a column is no such change: MariaDB reads the rows as they were.
        "ALTER TABLE mdl_z_purse MODIFY v varchar(30)",
        "DROP TABLE mdl_z_purse",
        "RENAME TABLE mdl_z_purse TO mdl_zz",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("change{number}");
        let database = server.create_database(&name, &name, "pass");
        make_purses(&database);
        let (dump, gate) = start_held(&connection(&database, "pass"), &scratch.join("dump.sql.zst"));
        run(&database, change);
        match gate.open(dump) {
            Err(DumpFailure::SchemaChanged { table, error }) => {
                assert_eq!(table.as_deref(), Some("mdl_z_purse"), "{change}: {error:#}");
            }
            other => panic!("{change}: {other:?}"),
        }
    }
}

#[test]
fn what_waits_for_a_dump_is_seen_and_goes_on_after_it() {
    for server in both() {
        let scratch = Scratch::new();
        let database = server.create_database("waits", "waits", "pass");
        make_purses(&database);
        let connection = connection(&database, "pass");
        let mut session = connection.session().unwrap();
        assert_eq!(session.blocked_by_dump().unwrap(), []);
        let (dump, _gate) = start_held(&connection, &scratch.join("dump.sql.zst"));
        let mut changer = Visitor::of(&database);
        changer.say("TRUNCATE TABLE mdl_m_between");
        let mut blocked = Vec::new();
        wait_for("the TRUNCATE waits", LIMIT, || {
            blocked = session.blocked_by_dump().unwrap();
            !blocked.is_empty()
        });
        assert!(blocked[0].query.starts_with("TRUNCATE TABLE mdl_m_between"), "{blocked:?}");
        assert_eq!(blocked[0].user, "waits");
        let mut reader = Visitor::of(&database);
        reader.say("SELECT count(*) FROM mdl_m_between");
        wait_for("a reader waits behind it", LIMIT, || session.blocked_by_dump().unwrap().len() == 2);
        drop(dump);
        wait_for("both go on", LIMIT, || session.blocked_by_dump().unwrap().is_empty());
        wait_for("the table is empty", LIMIT, || database.value("SELECT count(*) FROM mdl_m_between") == "0");
    }
}

#[test]
fn a_postgres_dump_is_established_only_when_it_holds_its_locks() {
    let server = Server::Postgres(Postgres::shared());
    let scratch = Scratch::new();
    for (name, with_session) in [("locks", false), ("watched_locks", true)] {
        let database = server.create_database(name, name, "pass");
        make_purses(&database);
        let connection = connection(&database, "pass");
        let client = client(&connection);
        let mut session = connection.session().unwrap();
        let mut holder = Visitor::of(&database);
        holder.say("BEGIN");
        holder.say("LOCK TABLE mdl_z_purse IN ACCESS EXCLUSIVE MODE");
        let locked = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND \
                      relation = (SELECT oid FROM pg_class WHERE relname = 'mdl_z_purse')";
        wait_for("the lock", LIMIT, || database.value(locked) == "1");
        let order = Order { tables: snapshot(), level: 1, files: None };
        let path = scratch.join(name);
        let mut dump = Dump::start(&connection, &client, order, File::create(&path).unwrap(), &log()).unwrap();
        let mut wait = |limit| dump.wait_established(with_session.then_some(&mut session), limit);
        let error = wait(Duration::from_secs(1)).expect_err("a lock is in its way");
        assert!(error.to_string().contains("did not begin within 1 seconds"), "{error:#}");
        holder.say("COMMIT");
        wait(LIMIT).expect("the way is free");
        let mut changer = Visitor::of(&database);
        changer.say("TRUNCATE TABLE mdl_z_purse");
        dump.finish().unwrap_or_else(|failure| panic!("{failure:?}"));
        let back = server.create_database(&format!("{name}_back"), &format!("{name}_back"), "pass");
        load(&path, &back);
        assert_eq!(back.value("SELECT count(*) FROM mdl_z_purse"), "2");
    }
}

#[test]
fn a_server_or_client_that_dies_makes_a_failure() {
    for server in [Server::MariaDb(MariaDb::start()), Server::Postgres(Postgres::start())] {
        let scratch = Scratch::new();
        let database = server.create_database("its-client-dies", "dies", "pass");
        make_purses(&database);
        let path = scratch.join("dump.sql.zst");
        let connection = connection(&database, "pass");
        let (dump, gate) = start_held(&connection, &path);
        for client in dump_clients_of("its-client-dies") {
            kill(Pid::from_raw(client), Signal::SIGKILL).unwrap();
        }
        match gate.open(dump) {
            Err(DumpFailure::Failed(error)) => assert!(error.to_string().contains("SIGKILL"), "{error:#}"),
            other => panic!("{other:?}"),
        }
        let (dump, gate) = start_held(&connection, &path);
        server.kill();
        match gate.open(dump) {
            Err(DumpFailure::Failed(error)) => assert!(hint(&error).is_some(), "{error:#}"),
            other => panic!("{other:?}"),
        }
    }
}

/// The dump clients that were started for a database: its name is an argument or in the environment.
fn dump_clients_of(database: &str) -> Vec<i32> {
    let is_one = |pid: &i32| {
        let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        contains(&read("comm"), b"dump")
            && [read("cmdline"), read("environ")].iter().any(|it| contains(it, database.as_bytes()))
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_one).collect()
}

#[test]
fn a_full_disk_ends_the_dump_with_its_place() {
    for server in both() {
        let database = server.create_database("full", "full", "pass");
        make_purses(&database);
        let connection = connection(&database, "pass");
        let order = Order { tables: snapshot(), level: 1, files: None };
        let out = File::options().write(true).open("/dev/full").unwrap();
        let dump = Dump::start(&connection, &client(&connection), order, out, &log()).unwrap();
        match dump.finish() {
            Err(DumpFailure::Failed(error)) => {
                let text = format!("{error:#}");
                assert!(text.contains("/dev/full") && text.contains("No space left"), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn tables_without_transactions_are_found_and_dumped_apart() {
    let server = Server::MariaDb(MariaDb::shared());
    let scratch = Scratch::new();
    let database = server.create_database("mixed", "mixed", "pass");
    fill(&database, 10);
    for sql in [
        "CREATE TABLE mdl_old (id int) ENGINE=MyISAM",
        "INSERT INTO mdl_old VALUES (1), (2)",
        "CREATE TABLE `mdl_o d;d` (id int) ENGINE=Aria TRANSACTIONAL=0",
        "INSERT INTO `mdl_o d;d` VALUES (3)",
    ] {
        run(&database, sql);
    }
    let connection = connection(&database, "pass");
    let apart = connection.session().unwrap().non_transactional_tables().unwrap();
    assert_eq!(apart, ["mdl_o d;d", "mdl_old"]);
    let client = client(&connection);
    let back = server.create_database("mixed_back", "mixed", "pass");
    for (name, tables, rows) in [
        ("site", Tables::Snapshot { but: apart.clone() }, vec![10, 0, 3]),
        ("apart", Tables::Locked { only: apart }, vec![1, 2]),
    ] {
        let path = scratch.join(name);
        let order = Order { tables, level: 1, files: None };
        let dump = Dump::start(&connection, &client, order, File::create(&path).unwrap(), &log()).unwrap();
        let dumped = dump.finish().unwrap_or_else(|failure| panic!("{failure:?}"));
        assert_eq!(dumped.scanned.tables.into_values().collect::<Vec<_>>(), rows, "{name}");
        load(&path, &back);
    }
    assert_same("the database brought back", differences(&database, &back));
}

#[test]
fn what_a_server_does_with_quotes_changes_nothing() {
    let server = MariaDb::start();
    server.run_sql(None, "SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES,PIPES_AS_CONCAT'");
    let server = Server::MariaDb(server);
    let scratch = Scratch::new();
    let database = server.create_database("quotes", "quotes", "pass");
    run(&database, "CREATE TABLE mdl_files (id int, contenthash varchar(40), filename text)");
    run(&database, "INSERT INTO mdl_files SELECT seq, sha1(seq), 'a\\'||char(39)||'(),;\' FROM seq_1_to_50");
    let connection = connection(&database, "pass");
    let (dumped, hashes) = dump(&connection, &scratch.join("dump.sql.zst"));
    assert_eq!((hashes.len(), dumped.scanned.files, dumped.scanned.malformed_hashes), (50, 50, 0));
    let mut session = connection.session().unwrap();
    let odd = "it's \\ odd";
    let asked = session.value(&format!("SELECT {}", connection.sql_text(odd))).unwrap();
    assert_eq!(asked.as_deref(), Some(odd));
    assert!(session.has_table(None, "mdl_files").unwrap());
    assert!(!session.has_table(None, "mdl'\\").unwrap());
}

#[test]
fn what_the_account_may_not_read_is_left_out_with_a_warning() {
    let server = MariaDb::start();
    let with_all = Server::MariaDb(server.clone()).create_database("rights", "rights", "pass");
    fill(&with_all, 5);
    run(&with_all, "CREATE DEFINER = rights@localhost FUNCTION mdl_f() RETURNS int RETURN 1");
    run(&with_all, "CREATE EVENT mdl_e ON SCHEDULE EVERY 1 DAY DO SELECT 1");
    server.run_sql(
        None,
        "CREATE USER poor@localhost IDENTIFIED BY 'pass'; GRANT SELECT, LOCK TABLES, SHOW VIEW ON rights.* TO poor@localhost;\n\
         CREATE USER none@localhost IDENTIFIED BY 'pass'; GRANT INSERT ON rights.* TO none@localhost;",
    );
    let rich = connection(&with_all, "pass");
    let poor = Connection { user: "poor".into(), ..rich.clone() };
    let probe = |connection: &Connection| {
        let facts = connection.session().unwrap().facts().unwrap();
        let mut client = connection.check_client(&facts).unwrap();
        connection.probe_dump(&mut client).map(|warnings| (client.extras, warnings))
    };
    let (extras, warnings) = probe(&rich).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert!(extras.events && extras.routines);
    let (extras, warnings) = probe(&poor).unwrap();
    assert!(!extras.events, "{warnings:?}");
    assert!(warnings.iter().any(|warning| warning.contains("scheduled events")), "{warnings:?}");
    let scratch = Scratch::new();
    let order = Order { tables: snapshot(), level: 1, files: None };
    let facts = poor.session().unwrap().facts().unwrap();
    let mut client = poor.check_client(&facts).unwrap();
    poor.probe_dump(&mut client).unwrap();
    let out = File::create(scratch.join("dump.sql.zst")).unwrap();
    let dump = Dump::start(&poor, &client, order, out, &log()).unwrap();
    dump.finish().unwrap_or_else(|failure| panic!("{failure:?}"));
    let error = probe(&Connection { user: "none".into(), ..rich }).expect_err("it may not read");
    assert!(hint(&error).is_some_and(|hint| hint.contains("privilege")), "{error:#}");
}

#[test]
fn a_postgres_account_that_may_not_read_all_is_found_out_before_the_dump() {
    let server = Postgres::shared();
    let database = Server::Postgres(server.clone()).create_database("part", "part", "pass");
    make_purses(&database);
    run(&database, "CREATE SEQUENCE mdl_s");
    server.run_sql(
        Some("part"),
        "CREATE ROLE reader LOGIN PASSWORD 'pass'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
    );
    let reader = Connection { user: "reader".into(), ..connection(&database, "pass") };
    let probe = || {
        let facts = reader.session().unwrap().facts().unwrap();
        reader.probe_dump(&mut reader.check_client(&facts).unwrap())
    };
    let error = probe().expect_err("it may not read the sequence");
    assert!(error.to_string().contains("mdl_s"), "{error:#}");
    server.run_sql(Some("part"), "GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO reader");
    probe().expect("it may read all");
    server.run_sql(Some("part"), "REVOKE SELECT ON mdl_z_purse FROM reader");
    let error = probe().expect_err("it may not read a table");
    assert!(hint(&error).is_some_and(|hint| hint.contains("privilege")), "{error:#}");
}

#[test]
fn work_of_the_site_is_seen_and_our_own_is_not() {
    for server in both() {
        let database = server.create_database("busy", "busy", "pass");
        make_purses(&database);
        let connection = connection(&database, "pass");
        let mut session = connection.session().unwrap();
        let mut another = connection.session().unwrap();
        another.query("SELECT 1").unwrap();
        assert_eq!(session.active_work().unwrap(), []);
        let mut visitor = Visitor::of(&database);
        let pause = if connection.engine == Engine::MariaDb { "SELECT SLEEP(60)" } else { "SELECT pg_sleep(60)" };
        visitor.say(pause);
        wait_for("the statement is seen", LIMIT, || {
            session.active_work().unwrap().iter().any(|work| work.query.contains(pause))
        });
        drop(visitor);
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()";
        if connection.engine == Engine::Postgres {
            database.query(end);
            let mut visitor = Visitor::of(&database);
            visitor.say("BEGIN");
            visitor.say("UPDATE mdl_a_purse SET v = 0");
            wait_for("the open transaction is seen", LIMIT, || {
                session.active_work().unwrap().iter().any(|work| work.state == "idle in transaction")
            });
        }
    }
}

#[test]
fn an_open_transaction_is_seen_where_the_account_may_look() {
    let server = MariaDb::start();
    let database = Server::MariaDb(server.clone()).create_database("open", "open", "pass");
    make_purses(&database);
    server.run_sql(None, "GRANT PROCESS ON *.* TO open@localhost");
    let mut session = connection(&database, "pass").session().unwrap();
    let mut visitor = Visitor::of(&database);
    visitor.say("BEGIN");
    visitor.say("UPDATE mdl_a_purse SET v = 0");
    wait_for("the open transaction is seen", LIMIT, || {
        session.active_work().unwrap().iter().any(|work| work.state == "open transaction")
    });
    visitor.say("COMMIT");
    wait_for("it is over", LIMIT, || session.active_work().unwrap().is_empty());
}

#[test]
fn a_session_survives_errors_and_tells_null_from_text() {
    for server in both() {
        let database = server.create_database("talk", "talk", "pass");
        fill(&database, 3000);
        let mut session = connection(&database, "pass").session().unwrap();
        let error = session.query("SELECT nonsense FROM mdl_files").expect_err("there is no such column");
        assert!(format!("{error:#}").contains("nonsense"), "{error:#}");
        let rows = session.query("SELECT 'NULL', NULL, '', 'tab\there <&\"> é' ").unwrap();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(rows, [[text("NULL"), None, text(""), text("tab\there <&\"> é")]]);
        assert!(session.query("SELECT 1 FROM mdl_none").unwrap().is_empty());
        let mut hashes = Vec::new();
        session
            .stream("SELECT contenthash FROM mdl_files ORDER BY id", |row| {
                hashes.extend(row.into_iter().flatten());
                Ok(())
            })
            .unwrap();
        assert_eq!(hashes.len(), 3000);
        assert!(hashes.iter().all(|hash| hash.len() == 40));
        let stopped = session.stream("SELECT id FROM mdl_files", |_| anyhow::bail!("enough"));
        assert_eq!(stopped.expect_err("it was stopped").to_string(), "enough");
        assert_eq!(session.value("SELECT count(*) FROM mdl_files").unwrap().as_deref(), Some("3000"));
    }
}

#[test]
fn a_server_that_hangs_is_not_waited_for_long() {
    let server = MariaDb::start();
    let database = Server::MariaDb(server.clone()).create_database("hangs", "hangs", "pass");
    let mut session = connection(&database, "pass").session().unwrap();
    session.set_limit(Duration::from_millis(300));
    server.signal(Signal::SIGSTOP);
    let error = session.query("SELECT 1").expect_err("nobody answers");
    server.signal(Signal::SIGCONT);
    assert!(error.to_string().contains("did not answer"), "{error:#}");
}

/// What is asked out of curiosity must not keep a server busy when nobody waits for the answer any more.
#[test]
fn a_query_that_takes_too_long_is_given_up_by_the_server_too() {
    for server in both() {
        let database = server.create_database("curious", "curious", "pass");
        let mut session = connection(&database, "pass").session().unwrap();
        session.end_after(Duration::from_millis(300)).unwrap();
        let (slow, busy) = match server.engine() {
            support::Engine::MariaDb => (
                "SELECT SUM(seq % 7) FROM seq_1_to_1000000000",
                "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'curious' AND INFO LIKE '%1000000000%'",
            ),
            support::Engine::Postgres => (
                "SELECT count(*) FROM generate_series(1, 1000000000)",
                "SELECT count(*) FROM pg_stat_activity WHERE usename = 'curious' AND state = 'active'",
            ),
        };
        // Twice: a session that has failed begins anew, with the same limit.
        for _ in 0..2 {
            let error = session.query(slow).expect_err("nobody waits for that");
            let words = format!("{error:#}");
            assert!(words.contains("max_statement_time") || words.contains("statement timeout"), "{words}");
            assert_eq!(database.value(busy), "0");
        }
        assert_eq!(session.value("SELECT 1").unwrap().as_deref(), Some("1"));
    }
}

#[test]
fn no_other_user_can_see_a_password() {
    const SECRET: &str = "s3cret-and-unmistakable";
    for server in both() {
        let scratch = Scratch::new();
        let database = server.create_database("watched", "watched", SECRET);
        make_purses(&database);
        let stop = AtomicBool::new(false);
        let seen = Mutex::new(Vec::new());
        let clients = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
                        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
                        let (arguments, environment) = (read("cmdline"), read("environ"));
                        let is_client =
                            [&b"mariadb-dump\0"[..], b"pg_dump\0"].iter().any(|name| contains(&arguments, name));
                        clients.fetch_or(is_client, Ordering::Relaxed);
                        if contains(&arguments, SECRET.as_bytes()) || contains(&environment, SECRET.as_bytes()) {
                            seen.lock().unwrap().push(String::from_utf8_lossy(&arguments).into_owned());
                        }
                    }
                }
            });
            let _end = StopAtEnd(&stop);
            let connection = connection(&database, SECRET);
            assert!(!format!("{connection:?}").contains(SECRET));
            let mut session = connection.session().unwrap();
            session.facts().unwrap();
            let (dump, gate) = start_held(&connection, &scratch.join("dump.sql.zst"));
            wait_for("the watch sees the dump client", LIMIT, || clients.load(Ordering::Relaxed));
            gate.open(dump).unwrap_or_else(|failure| panic!("{failure:?}"));
        });
        assert_eq!(seen.into_inner().unwrap(), Vec::<String>::new());
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[test]
fn facts_are_told_without_secrets() {
    for server in both() {
        let database = server.create_database("facts", "facts", "pass");
        fill(&database, 100);
        let connection = connection(&database, "pass");
        let facts = connection.session().unwrap().facts().unwrap();
        assert_eq!((facts.database.as_str(), facts.tables), ("facts", 3));
        assert!(facts.size_bytes > 10_000 && facts.major >= 10, "{facts:?}");
        let expected =
            if connection.engine == Engine::MariaDb { ("mariadb", "utf8mb4") } else { ("postgresql", "UTF8") };
        assert_eq!((facts.product.as_str(), facts.character_set.as_deref().unwrap()), expected);
        if connection.engine == Engine::Postgres {
            assert_eq!((facts.owner.as_deref(), facts.schema.as_deref()), (Some("facts"), Some("public")));
            let newer = moodle_backup::database::ServerFacts { major: 99, ..facts.clone() };
            let error = connection.check_client(&newer).expect_err("no such client is there");
            assert!(hint(&error).is_some_and(|hint| hint.contains("postgresql-client-99")), "{error:#}");
        } else {
            assert!(facts.grants.iter().any(|grant| grant.contains("ALL PRIVILEGES")), "{facts:?}");
        }
        let json = serde_json::to_string(&facts).unwrap();
        assert!(!json.contains("IDENTIFIED") && !json.contains("pass"), "{json}");
        assert_eq!(serde_json::from_str::<moodle_backup::database::ServerFacts>(&json).unwrap(), facts);
    }
}
