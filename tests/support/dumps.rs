//! Dumps of databases, made as a run makes them, and loaded by the program itself into other databases.

use super::{Database, Engine as Kind, Server};
use moodle_backup::database::{Connection, Dump, Engine, Order, Tables, Tls};
use moodle_backup::sys::log::{Log, Verbosity};
use moodle_backup::sys::privileges::Identity;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// A database and another to bring it back into, each with an account of its own name.
pub fn pair(server: &Server) -> (Database, Database) {
    (server.create_database("there", "there", "pass"), server.create_database("back", "back", "pass"))
}

/// How the program reaches a database whose account has the password of [`pair`].
pub fn connection(database: &Database) -> Connection {
    let (engine, socket) = match &database.server {
        Server::MariaDb(server) => (Engine::MariaDb, server.socket()),
        Server::Postgres(server) => (Engine::Postgres, server.socket_folder()),
    };
    Connection {
        engine,
        host: None,
        port: (database.server.engine() == Kind::Postgres).then(|| database.server.port()),
        socket: Some(socket),
        user: database.user.clone(),
        password: Some("pass".into()),
        name: database.name.clone(),
        schema: None,
        tls: Tls::Default,
        options_file: None,
        run_as: Some(Identity::by_name("www-data").expect("www-data is there")),
    }
}

/// A dump of it.
pub fn dump(database: &Database, path: &Path) {
    let connection = connection(database);
    let facts = connection.session().and_then(|mut session| session.facts()).expect("the server answers");
    let mut client = connection.check_client(&facts).expect("the client is fit");
    connection.probe_dump(&mut client).expect("the trial dump works");
    let order = Order { tables: Tables::Snapshot { but: Vec::new() }, level: 1, files: None };
    let out = File::create(path).expect("a file can be made");
    let log = Log::to_stderr(Verbosity::Quiet);
    let mut dump = Dump::start(&connection, &client, order, out, &log).expect("the dump starts");
    dump.wait_established(None, LIMIT).expect("the dump is established");
    dump.finish().unwrap_or_else(|failure| panic!("{:?}", failure.into_error()));
}
