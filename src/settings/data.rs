//! The validated settings, as plain data: what the rest of the program is given. How they are read and what is
//! refused must not go in here.

use super::units::{self, Room};
use crate::sys::priority::Io;
use serde::{Deserialize, Deserializer, de::Error};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// All settings of one site, validated.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The file they come from, from `/`.
    #[serde(skip)]
    pub file: PathBuf,
    /// The Moodle site.
    pub site: Site,
    /// Where the backups go.
    pub target: Target,
    /// The dump of Moodle's database, and other databases.
    pub database: Database,
    /// Other folders.
    pub directories: Directories,
    /// Moodle's folder of files.
    pub moodledata: Moodledata,
    /// The time for which the site is closed.
    pub window: Window,
    /// Which backups are kept.
    pub retention: Retention,
    /// The administrator's own programs.
    pub hooks: Hooks,
    /// How much of the machine a run may take.
    pub resources: Resources,
}

/// `[site]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Its name; that of its folder on the target.
    pub name: String,
    /// The folder of the code: ROOT, or ROOT/public from Moodle 5.1 on.
    #[serde(deserialize_with = "path")]
    pub root: PathBuf,
    /// The PHP to use; the one on the PATH if not set.
    pub php: Option<PathBuf>,
    /// The user Moodle's code runs as, never root; the owner of dataroot if not set.
    pub web_user: Option<String>,
    /// systemd units of the web server.
    pub services: Vec<String>,
    /// Environment for PHP.
    #[serde(default)]
    pub environment: Variables,
    /// `HTTP_HOST` for a config.php that decides by it.
    pub http_host: Option<String>,
}

/// `[target]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The folder of all sites' backups.
    #[serde(deserialize_with = "path")]
    pub path: PathBuf,
    /// UUID of the file system that must be mounted there.
    pub mount_uuid: Option<String>,
    /// The group that may read backups.
    pub group: String,
    /// Room that a run must leave free.
    #[serde(deserialize_with = "room")]
    pub min_free: Room,
}

/// `[database]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Account for the dump, in place of Moodle's own.
    pub options_file: Option<PathBuf>,
    /// zstd level of dumps and archives, 1 to 19.
    pub compression: i32,
    /// Other databases, each with a name of its own.
    #[serde(default)]
    pub extra: Vec<ExtraDatabase>,
}

/// `[[database.extra]]`; on Moodle's own server unless engine, host or socket is set.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ExtraDatabase {
    /// The database; also the name of its dump, so it holds no `/`.
    pub name: String,
    /// The kind of server.
    pub engine: Option<Engine>,
    /// The host; never together with `socket`.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The local socket.
    pub socket: Option<PathBuf>,
    /// The account.
    pub user: Option<String>,
    /// Option file with account and password.
    pub options_file: Option<PathBuf>,
    /// The one schema to dump (PostgreSQL).
    pub schema: Option<String>,
}

/// The kinds of database server.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// MariaDB and MySQL.
    Mariadb,
    /// PostgreSQL.
    Postgres,
}

/// `[directories]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directories {
    /// Folders, each archived with all in it.
    #[serde(deserialize_with = "paths")]
    pub paths: Vec<PathBuf>,
}

/// `[moodledata]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moodledata {
    /// Patterns relative to dataroot, without `/` at either end; `*` and `?` do not match `/`.
    pub exclude: Vec<String>,
    /// Whether known losses are no warning as long as they do not grow.
    pub accept_missing: bool,
}

/// When the site is closed.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum WindowMode {
    /// Until the snapshot is taken.
    Short,
    /// Until the dump is complete.
    Full,
    /// Never.
    None,
}

/// `[window]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// When the site is closed.
    pub mode: WindowMode,
    /// Longest short window; `max_seconds`.
    #[serde(rename = "max_seconds", deserialize_with = "duration")]
    pub max: Duration,
    /// Longest window for a whole dump; `full_max_seconds`.
    #[serde(rename = "full_max_seconds", deserialize_with = "duration")]
    pub full_max: Duration,
    /// Wait after closing; `settle_seconds`.
    #[serde(rename = "settle_seconds", deserialize_with = "duration")]
    pub settle: Duration,
    /// Longest wait for the database to fall quiet; `drain_seconds`.
    #[serde(rename = "drain_seconds", deserialize_with = "duration")]
    pub drain: Duration,
    /// Further short windows after a disturbed dump, before one full window.
    pub retries: u32,
    /// Longest that sessions may be blocked by the dump (PostgreSQL); `blocked_seconds`.
    #[serde(rename = "blocked_seconds", deserialize_with = "duration")]
    pub blocked: Duration,
    /// Run Moodle's cron before closing.
    pub cron_before: bool,
    /// Start Moodle's cron after opening.
    pub cron_after: bool,
    /// Stop the site's services while closed.
    pub stop_services: bool,
    /// Empty Moodle's caches while closed.
    pub purge_caches: bool,
}

/// `[retention]`: how many of each to keep; at least one is above 0.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// The newest.
    pub last: u32,
    /// One a day.
    pub daily: u32,
    /// One a week.
    pub weekly: u32,
    /// One a month.
    pub monthly: u32,
    /// One a year.
    pub yearly: u32,
    /// Whether a run may prune before it begins, where room is short.
    pub make_room: bool,
}

/// `[hooks]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hooks {
    /// The folder of `pre-job.d` and its like.
    #[serde(deserialize_with = "path")]
    pub folder: PathBuf,
    /// The user they run as.
    pub user: String,
    /// Longest time for each.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
}

/// `[resources]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Threads that read, hash and compress; 1 or more.
    #[serde(default = "threads_of_machine")]
    pub threads: usize,
    /// Niceness while the site is open, 0 to 19.
    pub nice: i32,
    /// Disk priority while the site is open.
    #[serde(deserialize_with = "io")]
    pub io: Io,
}

/// Environment variables. Their values may be secrets, so debug output shows the names only.
#[derive(Clone, Default, Deserialize, PartialEq, Eq)]
pub struct Variables(pub BTreeMap<String, String>);

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Two for each core, since they wait for disks as long as they work; 4 at most.
fn threads_of_machine() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| (2 * cores.get()).min(4))
}

/// A path without needless `/` and `.` parts.
fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    Ok(PathBuf::deserialize(deserializer)?.components().collect())
}

fn paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    let paths = Vec::<PathBuf>::deserialize(deserializer)?;
    Ok(paths.iter().map(|path| path.components().collect()).collect())
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    units::duration(&number_or_text(deserializer)?).map_err(D::Error::custom)
}

fn room<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Room, D::Error> {
    Room::parse(&number_or_text(deserializer)?).map_err(D::Error::custom)
}

fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match toml::Value::deserialize(deserializer)? {
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::String(text) => Ok(text),
        other => Err(D::Error::custom(format!("unexpected {}", other.type_str()))),
    }
}

fn io<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Io, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "idle" => Ok(Io::Idle),
        "low" => Ok(Io::Low),
        "normal" => Ok(Io::Normal),
        other => Err(D::Error::custom(format!("unexpected {other:?}"))),
    }
}
