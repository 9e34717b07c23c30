//! The restore test: a backup brought back to life beside the site, with a database server, a folder and a config.php of its
//! own, and taken away again. The site's own database and files are not touched, and its code runs as an ordinary user.

use crate::archive::{self, Extract};
use crate::database::{Connection, Engine, PrivateServer, Tls, Wanted};
use crate::entry::{Owners, Selection};
use crate::error::{Fault, Kind, OrFault, Result, kind};
use crate::moodle::Php;
use crate::settings::Settings;
use crate::store::manifest::{Component, ComponentKind, Database, Manifest};
use crate::store::notes::Verified;
use crate::store::{Backup, Store, layout, rows};
use crate::sys::log::Log;
use crate::sys::privileges::Identity;
use crate::sys::threads::GivenUp;
use crate::sys::{files, signals, time};
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long counting a table may take, and Moodle's start.
const COUNTING: Duration = Duration::from_secs(3600);
const MOODLE: Duration = Duration::from_secs(300);

/// So many tables that differ are told.
const NAMED: usize = 5;

/// Room that a loaded database takes, in sizes of its dump: rows, indexes, and the log of what is written.
const LOADED: u64 = 3;

/// What to try out, and where.
#[derive(Debug)]
pub struct Trial<'a> {
    /// The settings of the site: PHP, and the user as whom everything runs.
    pub settings: &'a Settings,
    /// The backup.
    pub backup: &'a Backup,
    /// The folder in which a folder of its own is made; it needs room for the database and the code.
    pub folder: &'a Path,
    /// An option file for an empty database of the name [`SCRATCH`], in place of a server of its own.
    pub database: Option<&'a Path>,
}

/// The name of the database that is loaded. Another is not taken, so that no option file can name a site's by mistake.
pub const SCRATCH: &str = "moodle_backup_test";

/// What was brought back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tested {
    /// Tables that have the rows that were counted when the dump was made.
    pub tables: u64,
    /// Those rows.
    pub rows: u64,
    /// Files and folders of the code.
    pub entries: u64,
    /// The version that Moodle itself tells, by code and database.
    pub release: String,
    /// What went wrong.
    pub problems: Vec<String>,
    /// What could not be tried out here, each with what to do.
    pub untested: Vec<String>,
}

/// Tries a backup out and notes the result, unless something could not be tried. An error is a signal's.
pub fn restore_test(store: &Store, trial: &Trial, log: &Log) -> Result<Tested> {
    let _held = trial.backup.hold()?;
    let mut tested = Tested::default();
    let result = whole(trial, &mut tested, log);
    tested.take(result)?;
    if tested.untested.is_empty() {
        let test = Verified {
            at: time::now(),
            how: "restore-test".into(),
            good: tested.problems.is_empty(),
            result: tested.words(),
        };
        store.change_notes(&trial.backup.name, |notes| notes.restore_test = Some(test))?;
    }
    Ok(tested)
}

fn whole(trial: &Trial, tested: &mut Tested, log: &Log) -> Result<()> {
    log.step("restore-test")?;
    let manifest = &trial.backup.manifest;
    let user = ordinary_user(trial.settings)?;
    let place = Place::make(trial.folder, manifest, &user)?;
    let code = unpack(trial, &place, &user, log);
    let is_there = code.is_ok();
    tested.entries = *code.as_ref().unwrap_or(&0);
    tested.take(code.map(drop))?;
    log.step("load")?;
    match trial.database {
        Some(file) => {
            let connection = named(trial, file)?;
            let loaded = load(trial, &connection, log).and_then(|()| count(&connection, manifest, tested, log));
            tested.take(loaded)?;
            tested.take(empty(&connection))?;
            if is_there {
                tested.release = release_by_code(trial, &place.code(), &user)?;
            }
        }
        None => {
            let server = start_server(&manifest.database, &place)?;
            let connection = make(trial, &server)?;
            load(trial, &connection, log)?;
            let counted = count(&connection, manifest, tested, log);
            tested.take(counted)?;
            if is_there {
                log.step("moodle")?;
                let asked = ask_moodle(trial, &place, &connection, &user);
                tested.release = asked.as_ref().cloned().unwrap_or_default();
                tested.take(asked.map(drop))?;
            }
        }
    }
    Ok(())
}

impl Tested {
    /// Sorts an error into what went wrong and what could not be tried; a signal ends all.
    fn take(&mut self, result: Result<()>) -> Result<()> {
        let Err(error) = result else { return Ok(()) };
        signals::check()?;
        let words = crate::error::sentence(&error);
        match kind(&error) {
            Kind::Unfit => self.untested.push(words),
            _ => self.problems.push(words),
        }
        Ok(())
    }

    /// The result in words, for the notes.
    fn words(&self) -> String {
        match self.problems.is_empty() {
            true => format!(
                "{} tables with {} rows loaded, {} files and folders of code unpacked, Moodle tells {}",
                self.tables, self.rows, self.entries, self.release
            ),
            false => self.problems.join("; "),
        }
    }
}

/// Somebody who is not root, and has no business with the site: the user of the hooks where there is one.
fn ordinary_user(settings: &Settings) -> Result<Identity> {
    Identity::by_name(&settings.hooks.user).or_else(|_| Identity::by_name("nobody"))
}

/// A folder for all of it, which is gone when this is dropped.
struct Place {
    folder: PathBuf,
}

impl Place {
    fn make(within: &Path, manifest: &Manifest, user: &Identity) -> Result<Place> {
        let code = code_of(manifest).map_or(0, |code| code.bytes);
        let needed = manifest.database.bytes * LOADED + code + (512 << 20);
        let space = files::space(within)?;
        if space.free_bytes < needed {
            return Err(Fault::unfit(format!(
                "{} has {} MiB free, and to try this backup out takes about {}",
                within.display(),
                space.free_bytes >> 20,
                needed >> 20
            ))
            .hint("name a folder with more room by --scratch-folder DIR")
            .into());
        }
        let folder = within.join(format!("moodle-backup-test-{}", std::process::id()));
        let make = || -> Result<()> {
            // Not there before: nobody else has laid anything into it.
            std::fs::create_dir(&folder)?;
            std::os::unix::fs::chown(&folder, Some(user.uid), Some(user.gid))?;
            Ok(std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?)
        };
        make().or_fault(|| Fault::unfit(format!("cannot make the folder {}", folder.display())))?;
        let place = Place { folder };
        for name in ["server", "dataroot"] {
            place.inner(name, user)?;
        }
        Ok(place)
    }

    fn inner(&self, name: &str, user: &Identity) -> Result<()> {
        let folder = self.folder.join(name);
        std::fs::create_dir(&folder)
            .or_fault(|| Fault::unfit(format!("cannot make the folder {}", folder.display())))?;
        Ok(std::os::unix::fs::chown(&folder, Some(user.uid), Some(user.gid))?)
    }

    fn code(&self) -> PathBuf {
        self.folder.join("code")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What stays behind is in a folder for such things, and says by its name what it was.
        let _ = layout::remove_tree(&self.folder);
    }
}

fn code_of(manifest: &Manifest) -> Option<&Component> {
    manifest.components.iter().find(|part| part.kind == ComponentKind::Code)
}

/// Unpacks the code for the ordinary user, and returns how many entries it has.
fn unpack(trial: &Trial, place: &Place, user: &Identity, log: &Log) -> Result<u64> {
    let missing = || Fault::failed("the backup has no code");
    let part = code_of(&trial.backup.manifest).ok_or_else(missing)?;
    let job = Extract {
        file: &trial.backup.path.join(&part.file),
        into: &place.code(),
        only: &Selection::all(),
        owners: &Owners::as_they_were(),
        effort: super::reading(trial.settings).effort,
        given_up: &GivenUp::never(),
    };
    let done = archive::extract(&job, log)?;
    if done.entries != part.entries {
        let words = format!("the code has {} files and folders, and had {}", done.entries, part.entries);
        return Err(Fault::failed(words).into());
    }
    give(&place.code(), user)?;
    Ok(done.entries)
}

/// Gives a tree to a user. Nobody but root can have changed it since it was unpacked.
fn give(path: &Path, user: &Identity) -> Result<()> {
    signals::check()?;
    lchown(path, Some(user.uid), Some(user.gid))?;
    if path.symlink_metadata()?.is_dir() {
        for entry in std::fs::read_dir(path)? {
            give(&entry?.path(), user)?;
        }
    }
    Ok(())
}

fn start_server(database: &Database, place: &Place) -> Result<PrivateServer> {
    let major = database.server_version.split(|c: char| !c.is_ascii_digit()).find_map(|number| number.parse().ok());
    let user = Identity::owner_of(&place.folder)?;
    PrivateServer::start(&database.engine, major.unwrap_or(0), &place.folder.join("server"), &user)
}

/// An empty database on a server of our own.
fn make(trial: &Trial, server: &PrivateServer) -> Result<Connection> {
    let database = &trial.backup.manifest.database;
    let connection = Connection { schema: schema_of(database), ..server.connection(SCRATCH) };
    let mut wanted = Wanted {
        charset: database.charset.clone(),
        collation: database.collation.clone(),
        ctype: database.ctype.clone(),
        extensions: database.extensions.clone(),
        user_host: String::new(),
    };
    if connection.engine == Engine::Postgres {
        // A locale that this machine lacks says nothing against the backup.
        (wanted.collation, wanted.ctype) = ("C.UTF-8".into(), "C.UTF-8".into());
    }
    connection.make_as(&server.administrator(), &wanted)?;
    Ok(connection)
}

fn schema_of(database: &Database) -> Option<String> {
    Some(database.schema.clone()).filter(|schema| !schema.is_empty())
}

/// The database that an option file leads to, which must be empty.
fn named(trial: &Trial, file: &Path) -> Result<Connection> {
    let database = &trial.backup.manifest.database;
    let engine = rows::engine(database)
        .ok_or_else(|| Fault::unfit(format!("dumps of {} are not known to this version", database.engine)))?;
    let nowhere = Connection {
        engine,
        host: None,
        port: None,
        socket: None,
        user: String::new(),
        password: None,
        name: SCRATCH.into(),
        schema: schema_of(database),
        tls: Tls::Default,
        options_file: None,
        run_as: None,
    };
    let connection = nowhere.by_options_file(file)?;
    let tables = connection.session()?.value(match engine {
        Engine::MariaDb => "SELECT count(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()",
        Engine::Postgres => {
            "SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        }
    })?;
    match tables.as_deref() {
        Some("0") => Ok(connection),
        _ => Err(Fault::unfit(format!("the {} is not empty", connection.title()))
            .hint(format!("it is to be an empty database of the name {SCRATCH}, which nothing else uses"))
            .into()),
    }
}

/// Leaves a named database as empty as it was.
fn empty(connection: &Connection) -> Result<()> {
    let sql = match connection.engine {
        Engine::MariaDb => format!("DROP DATABASE {0};\nCREATE DATABASE {0};", connection.sql_name(SCRATCH)),
        Engine::Postgres => "DROP OWNED BY CURRENT_USER CASCADE;".to_owned(),
    };
    let emptied = connection.execute_one("empty the database again", &sql);
    emptied.or_fault(|| Fault::unfit(format!("the {} could not be emptied again", connection.title())))
}

fn load(trial: &Trial, connection: &Connection, log: &Log) -> Result<()> {
    for file in trial.backup.manifest.database.dumps() {
        log.info(format!("loading {}", file.display()));
        let mut meter = |done, total| log.progress(done, total, "bytes");
        connection.load(&trial.backup.path.join(file), &mut meter).map_err(|error| {
            // Whatever the server says against it, it is said against this dump.
            error.context(Fault::failed("the dump cannot be loaded"))
        })?;
    }
    Ok(())
}

/// Counts the rows of all tables, and holds them against the manifest.
fn count(connection: &Connection, manifest: &Manifest, tested: &mut Tested, log: &Log) -> Result<()> {
    log.step("count")?;
    let mut session = connection.session()?;
    session.set_limit(COUNTING);
    let mut differ = Vec::new();
    for (table, rows) in &manifest.database.tables {
        signals::check()?;
        let name = match connection.engine {
            Engine::MariaDb => connection.sql_name(table),
            // The scanner's names are `schema.table`.
            Engine::Postgres => {
                let (schema, table) = table.split_once('.').unwrap_or(("public", table));
                format!("{}.{}", connection.sql_name(schema), connection.sql_name(table))
            }
        };
        let counted = session.value(&format!("SELECT count(*) FROM {name}"));
        match counted.map(|count| count.and_then(|count| count.parse::<u64>().ok())) {
            Ok(Some(count)) if count == *rows => {
                tested.tables += 1;
                tested.rows += count;
            }
            Ok(count) => differ.push(format!("{table} has {} rows, and had {rows}", count.unwrap_or(0))),
            Err(error) => differ.push(format!("{table}: {error:#}")),
        }
    }
    if differ.is_empty() {
        return Ok(());
    }
    let some = differ.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    Err(Fault::failed(format!("{} tables are not as they were: {some}", differ.len())).into())
}

/// The version that the code tells, which must be the one that it was.
fn release_by_code(trial: &Trial, code: &Path, user: &Identity) -> Result<String> {
    let site = &trial.backup.manifest.site;
    let version = [code.join("version.php"), code.join("public/version.php")].into_iter().find(|path| path.is_file());
    let version = version.ok_or_else(|| Fault::failed("the code has no version.php"))?;
    let told =
        php(trial, user)?.start().folder(code).arg("--").arg(version).input(VERSION).timeout(MOODLE).success()?;
    let told = told.text().trim().to_owned();
    match told == site.release {
        true => Ok(told),
        false => Err(Fault::failed(format!("the code is of version {told:?}, and was of {:?}", site.release)).into()),
    }
}

fn php(trial: &Trial, user: &Identity) -> Result<Php> {
    let settings = &trial.settings.site;
    Php::new(settings.php.as_deref(), user.clone(), settings.environment.0.clone())
}

/// What Moodle says of itself: the code of its version, and its command line, with the loaded database, of its release.
fn ask_moodle(trial: &Trial, place: &Place, connection: &Connection, user: &Identity) -> Result<String> {
    let (php, code, site) = (php(trial, user)?, place.code(), &trial.backup.manifest.site);
    let driver = if connection.engine == Engine::Postgres { "pgsql" } else { "mysqli" };
    let loaded = php.start().args(["--", driver]).input("<?php exit(extension_loaded($argv[1]) ? 0 : 1);");
    if !loaded.timeout(MOODLE).output()?.status.success() {
        return Err(Fault::unfit(format!("PHP here has no extension {driver}"))
            .hint(format!("apt install php-{}", if driver == "mysqli" { "mysql" } else { driver }))
            .into());
    }
    release_by_code(trial, &code, user)?;
    let config = config(trial, place, connection);
    files::write_and_sync(&code.join("config.php"), config.as_bytes(), 0o644)?;
    let script = code.join(if site.cli.is_empty() { "admin/cli" } else { &site.cli }).join("cfg.php");
    let asked = php.start().folder(&code).arg(script).arg("--name=release").timeout(MOODLE).success();
    let asked = asked.or_fault(|| Fault::failed("Moodle does not start on what was brought back"))?;
    let by_database = asked.text().trim().to_owned();
    match by_database.is_empty() {
        true => Err(Fault::failed("Moodle does not tell its release").into()),
        false => Ok(by_database),
    }
}

/// Prints the release of a version.php, which expects some of Moodle's constants (lib/setuplib.php).
const VERSION: &str = "<?php
define('MOODLE_INTERNAL', true);
foreach (['ALPHA' => 50, 'BETA' => 100, 'RC' => 150, 'STABLE' => 200] as $name => $value) {
    define(\"MATURITY_$name\", $value);
}
define('ANY_VERSION', 'any');
require($argv[1]);
echo $release;
";

/// What Moodle calls the kind of server that the dump is of.
fn dbtype(database: &Database) -> &'static str {
    match database.engine.as_str() {
        "postgresql" => "pgsql",
        "mysql" => "mysqli",
        _ => "mariadb",
    }
}

/// A config.php that knows nothing but the trial: the backup's own names the live database.
fn config(trial: &Trial, place: &Place, connection: &Connection) -> String {
    let manifest = &trial.backup.manifest;
    let text = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let path = |path: &Path| text(&path.display().to_string());
    let admin = manifest.site.cli.trim_start_matches("public/").split('/').next().unwrap_or("admin");
    let mut options = vec![("dbpersist", "0".to_owned())];
    options.extend(connection.socket.as_ref().map(|socket| ("dbsocket", path(socket))));
    options.extend(connection.port.map(|port| ("dbport", port.to_string())));
    options.extend(connection.schema.as_ref().map(|schema| ("dbschema", text(schema))));
    let options: Vec<String> = options.iter().map(|(name, value)| format!("'{name}' => {value}")).collect();
    let values = [
        ("dbtype", text(dbtype(&manifest.database))),
        ("dblibrary", text("native")),
        ("dbhost", text("localhost")),
        ("dbname", text(&connection.name)),
        ("dbuser", text(&connection.user)),
        ("dbpass", text("")),
        ("prefix", text(&manifest.database.prefix)),
        ("dboptions", format!("[{}]", options.join(", "))),
        ("wwwroot", text(&manifest.site.wwwroot)),
        ("dataroot", path(&place.folder.join("dataroot"))),
        ("admin", text(if admin.is_empty() { "admin" } else { admin })),
        ("directorypermissions", "02700".to_owned()),
        ("noemailever", "true".to_owned()),
    ];
    let lines: String = values.iter().map(|(name, value)| format!("$CFG->{name} = {value};\n")).collect();
    format!(
        "<?php\nunset($CFG);\nglobal $CFG;\n$CFG = new stdClass();\n{lines}require_once(__DIR__ . '/lib/setup.php');\n"
    )
}
