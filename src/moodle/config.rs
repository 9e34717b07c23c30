//! What config.php sets, with Moodle's own defaults, as far as a backup has to know it.

use super::ask::decode;
use super::layout::Layout;
use crate::database::{Connection, Engine, Tls};
use crate::error::{Fault, Result};
use crate::sys::privileges::Identity;
use serde_json::Value;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The page in the dataroot whose presence closes a site (`lib/setup.php`).
pub const MAINTENANCE_PAGE: &str = "climaintenance.html";
/// Its name until it is complete, when we write it.
pub const UNFINISHED_PAGE: &str = "climaintenance.html.moodle-backup";

/// The effective configuration of a site.
#[derive(Clone, Debug)]
pub struct Config {
    /// moodledata, with symbolic links resolved.
    pub dataroot: PathBuf,
    /// The address of the site.
    pub wwwroot: String,
    /// The name of the admin folder.
    pub admin: String,
    /// The pool of files.
    pub filedir: PathBuf,
    /// Where files go whose last row is gone.
    pub trashdir: PathBuf,
    /// Folders that Moodle fills again by itself: caches, temporary files, sessions, locks, test sites.
    pub volatile: Vec<PathBuf>,
    /// Folders that config.php has put elsewhere and that a backup must not miss.
    pub relocated: Vec<PathBuf>,
    /// A class that keeps files elsewhere (object storage): the local pool is then not complete.
    pub alternative_file_system: Option<String>,
    /// Before every table's name.
    pub prefix: String,
    /// Mode of folders that Moodle makes.
    pub folder_mode: u32,
    /// Mode of files that Moodle makes.
    pub file_mode: u32,
    /// PHP's version.
    pub php_version: String,
    database: Database,
    answers: Answers,
}

/// All that was asked, as it was answered. There are passwords in it.
#[derive(Clone)]
struct Answers(Value);

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(not shown)")
    }
}

#[derive(Clone)]
struct Database {
    engine: Engine,
    kind: String,
    host: String,
    name: String,
    user: String,
    password: String,
    port: Option<u16>,
    socket: Option<PathBuf>,
    schema: Option<String>,
    tls: Tls,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} on {:?}", self.kind, self.name, self.host)
    }
}

impl Config {
    pub(super) fn from_answer(answer: &Value, layout: &Layout) -> Result<Self> {
        let values = Values(&answer["config"]);
        let dataroot = values.path("dataroot").ok_or_else(|| Fault::unfit("$CFG->dataroot is not set"))?;
        let dataroot = std::fs::canonicalize(&dataroot)
            .map_err(|error| Fault::unfit(format!("the dataroot {}: {error}", dataroot.display())))?;
        let below = |key: &str, name: &str| values.path(key).unwrap_or_else(|| dataroot.join(name));
        let volatile = [
            below("cachedir", "cache"),
            below("localcachedir", "localcache"),
            below("tempdir", "temp"),
            below("backuptempdir", "temp/backup"),
            below("localrequestdir", "localrequest"),
            below("session_file_save_path", "sessions"),
            below("file_lock_root", "lock"),
        ];
        let tests = ["behat_dataroot", "phpunit_dataroot"].into_iter().filter_map(|key| values.path(key));
        let mode = |key: &str, default| values.number(key).map_or(default, |mode| mode as u32 & 0o7777);
        Ok(Config {
            wwwroot: values.text("wwwroot").ok_or_else(|| Fault::unfit("$CFG->wwwroot is not set"))?,
            admin: values.text("admin").unwrap_or_else(|| "admin".into()),
            filedir: below("filedir", "filedir"),
            trashdir: below("trashdir", "trashdir"),
            volatile: volatile.into_iter().chain(tests).collect(),
            relocated: relocated(&values, &dataroot, &layout.root),
            alternative_file_system: values.text("alternative_file_system_class"),
            prefix: values.text("prefix").unwrap_or_default(),
            folder_mode: mode("directorypermissions", 0o2777),
            file_mode: mode("filepermissions", 0o666),
            php_version: decode(&answer["php"]).map(|v| String::from_utf8_lossy(&v).into_owned()).unwrap_or_default(),
            database: Database::from_values(&values)?,
            answers: Answers(answer["config"].clone()),
            dataroot,
        })
    }

    /// How to reach the site's database, as the web user would.
    pub fn connection(&self, web_user: &Identity) -> Connection {
        self.database.connection(web_user)
    }

    /// A value as PHP answered, in an array of that name where there is a `key`; null where it is not set.
    pub(super) fn answer(&self, name: &str, key: Option<&str>) -> &Value {
        key.map_or(&self.answers.0[name], |key| &self.answers.0[name][key])
    }

    /// A path that config.php sets itself, or that Moodle has filled in; `None` where it is empty.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        Values(&self.answers.0).path(name)
    }

    /// Whether a value is set, and neither empty nor false.
    pub fn is_set(&self, name: &str) -> bool {
        let found = &self.answers.0[name];
        Values(&self.answers.0).text(name).is_some_and(|text| text != "0") || found.as_bool() == Some(true)
    }

    /// Name of the database.
    pub fn database_name(&self) -> &str {
        &self.database.name
    }

    /// Host of the database as config.php has it.
    pub fn database_host(&self) -> &str {
        &self.database.host
    }

    /// The page that closes the site.
    pub fn maintenance_page(&self) -> PathBuf {
        self.dataroot.join(MAINTENANCE_PAGE)
    }

    /// What is left out of the copy of moodledata, relative to the dataroot: the pool, which is stored apart, the
    /// trash, what Moodle fills again by itself, and the page that closes the site. Computed from the effective
    /// settings, so nothing else of the same name is ever left out.
    pub fn left_out(&self) -> Vec<PathBuf> {
        let places = self.volatile.iter().chain([&self.filedir, &self.trashdir]);
        let inside = places.filter_map(|path| {
            let resolved = std::fs::canonicalize(path);
            let path = resolved.as_deref().unwrap_or(path);
            path.strip_prefix(&self.dataroot).ok().map(Path::to_path_buf)
        });
        let mut left_out: Vec<PathBuf> = inside.filter(|path| !path.as_os_str().is_empty()).collect();
        left_out.extend([MAINTENANCE_PAGE.into(), UNFINISHED_PAGE.into()]);
        left_out.sort();
        left_out.dedup();
        left_out
    }
}

/// How to reach the database, by the answer of a config.php of which nothing else may be true here.
pub(super) fn connection_by(answer: &Value, web_user: &Identity) -> Result<Connection> {
    Ok(Database::from_values(&Values(&answer["config"]))?.connection(web_user))
}

/// Folders with things worth keeping that lie neither in the dataroot nor in the code.
fn relocated(values: &Values, dataroot: &Path, root: &Path) -> Vec<PathBuf> {
    ["secretdataroot", "altcacheconfigpath", "langotherroot", "themedir"]
        .into_iter()
        .filter_map(|key| values.path(key))
        .filter(|path| path.exists() && !path.starts_with(dataroot) && !path.starts_with(root))
        .collect()
}

impl Database {
    fn connection(&self, web_user: &Identity) -> Connection {
        Connection {
            engine: self.engine,
            host: Some(self.host.clone()).filter(|host| !host.is_empty()),
            port: self.port,
            socket: self.socket.clone(),
            user: self.user.clone(),
            password: Some(self.password.clone()),
            name: self.name.clone(),
            schema: self.schema.clone(),
            tls: self.tls,
            options_file: None,
            run_as: Some(web_user.clone()),
        }
    }

    fn from_values(values: &Values) -> Result<Self> {
        let kind = values.text("dbtype").ok_or_else(|| Fault::unfit("$CFG->dbtype is not set"))?;
        let engine = Engine::from_dbtype(&kind)?;
        let options = Values(&values.0["dboptions"]);
        let name = values.text("dbname").ok_or_else(|| Fault::unfit("$CFG->dbname is not set"))?;
        let host = values.text("dbhost").unwrap_or_default();
        Ok(Database {
            socket: socket(&options, engine, &host),
            port: options.number("dbport").and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0),
            schema: options.text("dbschema"),
            tls: Tls::from_moodle(&options.text("ssl").unwrap_or_default())?,
            user: values.text("dbuser").unwrap_or_default(),
            password: values.text("dbpass").unwrap_or_default(),
            engine,
            kind,
            host,
            name,
        })
    }
}

/// Moodle uses dbsocket only if it is a path for MySQL and MariaDB (`mysqli_native_moodle_database`), and only
/// with a local host for PostgreSQL (`pgsql_native_moodle_database`), where it is the socket's folder.
fn socket(options: &Values, engine: Engine, host: &str) -> Option<PathBuf> {
    let socket = options.path("dbsocket").filter(|socket| socket.as_os_str().as_encoded_bytes().contains(&b'/'))?;
    match engine {
        Engine::MariaDb => Some(socket),
        Engine::Postgres => Some(socket).filter(|_| matches!(host, "" | "localhost" | "127.0.0.1")),
    }
}

/// Values of the answer: strings are hexadecimal, empty ones count as not set.
struct Values<'a>(&'a Value);

impl Values<'_> {
    fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        let value = &self.0[key];
        let bytes = if value.is_number() { Some(value.to_string().into_bytes()) } else { decode(value) };
        bytes.filter(|bytes| !bytes.is_empty())
    }

    fn text(&self, key: &str) -> Option<String> {
        self.bytes(key).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        self.bytes(key).map(|bytes| PathBuf::from(OsString::from_vec(bytes)))
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.text(key).and_then(|text| text.trim().parse().ok())
    }
}
