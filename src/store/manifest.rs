//! `manifest.json`: what a backup is and all that one needs to know to bring it back. No secrets. Plain data,
//! filled by the run; reading tolerates what later versions add and refuses a later format.

use super::{layout, site};
use crate::database::Defined;
use crate::entry::stays_inside;
use crate::error::{Fault, OrFault, Result};
use crate::sys::files;
use crate::sys::log::StepTime;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The most that a manifest may hold, in bytes: one of ten thousand plugins has a megabyte.
const LARGEST: u64 = 256 << 20;

/// The content of `manifest.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Manifest {
    /// The format of the backup; see `docs/format.md`.
    pub format: u32,
    /// Counts up from backup to backup of a site: the order of backups, whatever the clock said.
    pub sequence: u64,
    /// The name of the backup.
    pub label: String,
    /// What the administrator said of it (`run --label`).
    pub comment: Option<String>,
    /// Program and version that made it.
    pub tool: String,
    /// Name of the machine that made it.
    pub host: String,
    /// Whether all of the site is in it: false where files were missing at the source or are kept elsewhere.
    pub complete: bool,
    /// Why it is not complete, in words.
    pub incomplete_because: Vec<String>,
    /// The site as the run left it, where it was to stay closed: `half` or `none`.
    pub held: Option<String>,
    /// The Moodle.
    pub site: Site,
    /// Its database.
    pub database: Database,
    /// Further databases, by the names of their dumps.
    pub extra_databases: Vec<Database>,
    /// The parts of the backup.
    pub components: Vec<Component>,
    /// The content-addressed files.
    pub pool: Pool,
    /// How long, and how, the site was closed.
    pub window: Window,
    /// Where things were.
    pub paths: Paths,
    /// What git says of the code; `None` where it is no git checkout.
    pub code: Option<Code>,
    /// When things happened.
    pub times: Times,
    /// What the run warned of.
    pub warnings: Vec<String>,
}

/// The Moodle that was backed up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Site {
    /// Its name in the settings, and that of its folder on the target.
    pub name: String,
    /// `$CFG->wwwroot`.
    pub wwwroot: String,
    /// SHA-256, in hex, of `siteidentifier`.
    pub siteidentifier_sha256: String,
    /// `$release` of version.php: `4.2.3 (Build: 20231009)`.
    pub release: String,
    /// `$version` of version.php: `2023042403`.
    pub version: String,
    /// `$branch` of version.php: `402`.
    pub branch: String,
    /// `root` up to Moodle 5.0, `public` from 5.1 on.
    pub layout: String,
    /// Folder of the command line scripts, below ROOT: `admin/cli`.
    pub cli: String,
    /// Versions of the plugins by component name: `mod_forum` -> `2023042400`.
    pub plugins: BTreeMap<String, String>,
    /// Login name of the web server's user.
    pub web_user: String,
    /// Its group.
    pub web_group: String,
    /// Version of PHP on the command line.
    pub php: String,
}

/// A database and its dump.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Database {
    /// The dump, below the backup.
    #[serde(with = "path_text")]
    pub file: PathBuf,
    /// Further dumps of it, to be loaded after that one: tables that take no part in the snapshot.
    pub more_files: Vec<String>,
    /// `mariadb`, `mysql` or `postgresql`.
    pub engine: String,
    /// As the server tells it.
    pub server_version: String,
    /// As the programs that dumped tell it: `mariadb-dump` -> `10.11.6`.
    pub client_versions: BTreeMap<String, String>,
    /// Name of the database.
    pub name: String,
    /// Where the server was; empty for the local one.
    pub host: String,
    /// Its TCP port, where one is configured; with PostgreSQL also the number in the socket's name.
    pub port: Option<u16>,
    /// Its socket, where one is configured; with PostgreSQL the folder that holds it. Empty where there is none.
    #[serde(with = "path_text")]
    pub socket: PathBuf,
    /// The account that the site uses.
    pub user: String,
    /// MariaDB and MySQL: the host part of that account, as in `'moodle'@'localhost'`.
    pub user_host: String,
    /// Prefix of Moodle's tables.
    pub prefix: String,
    /// MariaDB and MySQL: default character set. PostgreSQL: encoding.
    pub charset: String,
    /// MariaDB and MySQL: default collation. PostgreSQL: `LC_COLLATE`.
    pub collation: String,
    /// MariaDB and MySQL: all collations in which the dump has anything. Not said by older backups.
    pub collations: Vec<String>,
    /// PostgreSQL: `LC_CTYPE`.
    pub ctype: String,
    /// PostgreSQL: owner of the database.
    pub owner: String,
    /// PostgreSQL: the schema of Moodle's tables.
    pub schema: String,
    /// PostgreSQL: extensions.
    pub extensions: Vec<String>,
    /// Grants of the site's account, without secrets.
    pub grants: Vec<String>,
    /// Rows in the dump, by table.
    pub tables: BTreeMap<String, u64>,
    /// Tables that take no part in the snapshot and were dumped apart.
    pub non_transactional: Vec<String>,
    /// What the account could not read, so that no dump has it: `routines`, `events`. What there is of it stays in a restore, as it does
    /// where this is not said.
    pub left_out: Option<Vec<String>>,
    /// MariaDB, MySQL: triggers, routines and events that others than Moodle's account have defined, as the server told it; a restore
    /// gives them back to those.
    pub of_others: Vec<Defined>,
    /// Bytes of the dump before compression.
    pub bytes: u64,
}

impl Database {
    /// All its dumps, in the order in which they are to be loaded.
    pub fn dumps(&self) -> Vec<&Path> {
        let first = Some(self.file.as_path()).filter(|file| !file.as_os_str().is_empty());
        first.into_iter().chain(self.more_files.iter().map(Path::new)).collect()
    }
}

/// What a component is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComponentKind {
    /// The site's database.
    Database,
    /// An extra database.
    ExtraDatabase,
    /// All of ROOT.
    Code,
    /// What git says of the code.
    CodeChanges,
    /// An extra directory.
    Directory,
    /// moodledata without pool and caches.
    Moodledata,
    /// The list of the pool files that belong to the backup.
    PoolList,
    /// A list of entries.
    Index,
    /// Something that a later version added.
    #[default]
    #[serde(other)]
    Other,
}

/// One part of a backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Component {
    /// What it is.
    pub kind: ComponentKind,
    /// What people call it: `code`, `directory etc-apache2`.
    pub name: String,
    /// Where it came from; empty for databases.
    #[serde(with = "path_text")]
    pub source: PathBuf,
    /// The file (for moodledata the folder), below the backup.
    #[serde(with = "path_text")]
    pub file: PathBuf,
    /// How many files and folders it holds; 0 where that means nothing.
    pub entries: u64,
    /// Bytes of the content.
    pub bytes: u64,
    /// Bytes on the disk, compressed. Filled by the seal where it is a file.
    pub stored_bytes: u64,
    /// SHA-256, in hex, of the file. Filled by the seal where it is a file and the run left it empty.
    pub sha256: String,
    /// The backup of which this file is a hard link. Filled by the seal.
    pub same_as: Option<String>,
    /// What of the source could not be read and is not in it. Empty too where that is too much to be listed.
    pub unread: Vec<Unread>,
}

/// A file or folder that could not be read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Unread {
    /// Its path below the component's source.
    #[serde(with = "path_text")]
    pub path: PathBuf,
    /// Why, in words.
    pub what: String,
}

/// The content-addressed files of a backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pool {
    /// Files in the list, which all are in the pool.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that this run copied into the pool.
    pub new_files: u64,
    /// Their bytes.
    pub new_bytes: u64,
    /// Content hashes that the database refers to and that the site itself had lost.
    pub missing_at_source: Vec<String>,
    /// Content hashes whose files at the source had another content.
    pub damaged_at_source: Vec<String>,
    /// Whether the site keeps files elsewhere (object storage), which are then not in the backup.
    pub external: bool,
    /// How many hashes are known to be kept elsewhere only.
    pub external_files: u64,
}

/// How the site was closed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Window {
    /// `short`, `full` or `none`.
    pub mode: String,
    /// `full`, `half` or `none`: what was asked to be running again afterwards.
    pub restart: String,
    /// The maintenance state that the run found: `open`, `cli`, `legacy`, `later`.
    pub found: String,
    /// When the site was closed; `None` if it was not.
    pub closed_at: Option<DateTime<Utc>>,
    /// When it was open again; `None` if it was not closed, or is held.
    pub reopened_at: Option<DateTime<Utc>>,
    /// For how many seconds it was closed, all windows of the run together.
    pub closed_seconds: f64,
    /// How many windows it took.
    pub windows: u32,
}

/// Where the parts of the site were.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Paths {
    /// ROOT: the folder of config.php.
    #[serde(with = "path_text")]
    pub root: PathBuf,
    /// `$CFG->dataroot`.
    #[serde(with = "path_text")]
    pub dataroot: PathBuf,
    /// The effective `$CFG->filedir`.
    #[serde(with = "path_text")]
    pub filedir: PathBuf,
    /// The effective `$CFG->trashdir`.
    #[serde(with = "path_text")]
    pub trashdir: PathBuf,
    /// Modes and owners in the file pool, from the pool's top folder and one file in it.
    pub filedir_ownership: Ownership,
    /// Folders that were left out and that Moodle wants to be there, empty.
    pub emptied: Vec<EmptiedFolder>,
    /// Patterns and paths in dataroot that were left out.
    pub excluded: Vec<String>,
    /// Files that were skipped since they cannot be backed up (sockets, pipes) or vanished.
    pub skipped: Vec<String>,
}

/// Owners and modes that a restored file pool is to have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ownership {
    /// User name, or number where it has none.
    pub user: String,
    /// Group name, or number.
    pub group: String,
    /// Mode of folders: 0o2777 as a number.
    pub folder_mode: u32,
    /// Mode of files.
    pub file_mode: u32,
}

/// A folder whose content is not in the backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EmptiedFolder {
    /// Its full path.
    #[serde(with = "path_text")]
    pub path: PathBuf,
    /// Owner's name or number.
    pub user: String,
    /// Group's name or number.
    pub group: String,
    /// Mode.
    pub mode: u32,
}

/// What git says of the code.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Code {
    /// The commit that is checked out.
    pub head: String,
    /// The branch; empty where none is.
    pub branch: String,
    /// Address of `origin`, without credentials.
    pub remote: String,
    /// Whether files differ from the commit.
    pub changed: bool,
}

/// When things happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Times {
    /// The run began.
    pub started: DateTime<Utc>,
    /// The database's snapshot was taken: the moment that the backup shows.
    pub snapshot: Option<DateTime<Utc>>,
    /// The backup was sealed.
    pub finished: DateTime<Utc>,
    /// How long each step took, up to the seal.
    pub steps: Vec<StepTime>,
}

impl Manifest {
    /// An empty manifest of the present format.
    pub fn new(label: &str, sequence: u64) -> Manifest {
        Manifest {
            format: layout::FORMAT,
            sequence,
            label: label.to_owned(),
            tool: concat!("moodle-backup ", env!("CARGO_PKG_VERSION")).to_owned(),
            ..Manifest::default()
        }
    }

    /// The moment that the backup shows: its snapshot, or else the start of the run.
    pub fn moment(&self) -> DateTime<Utc> {
        self.times.snapshot.unwrap_or(self.times.started)
    }

    /// Reads a backup's manifest.
    pub fn read(backup: &Path) -> Result<Manifest> {
        let path = backup.join(layout::MANIFEST);
        let fault = || Fault::failed(format!("cannot read {}", path.display()));
        let mut text = Vec::new();
        let file = files::open_plain(&path).or_fault(fault)?;
        file.take(LARGEST).read_to_end(&mut text).or_fault(fault)?;
        Self::parse(&text, &path.display().to_string()).or_fault(fault)
    }

    /// Understands the text of a manifest; `what` names it in errors.
    pub fn parse(text: &[u8], what: &str) -> Result<Manifest> {
        /// Looked at before the rest, which a later format may have changed.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_slice(text)?;
        if format > layout::FORMAT {
            return Err(site::newer_format(what, format));
        }
        let manifest: Manifest = serde_json::from_slice(text)?;
        if manifest.sequence == 0 || manifest.label.is_empty() {
            return Err(Fault::failed(format!("{what} has no sequence number or no label")).into());
        }
        if let Some(path) = manifest.files().find(|path| !stays_inside(path.as_os_str().as_bytes())) {
            return Err(Fault::failed(format!("{what} names a file that is not in the backup, {}", path.display()))
                .hint("moodle-backup writes no such manifest: find out who has, and use nothing of that backup")
                .into());
        }
        Ok(manifest)
    }

    /// All files and folders of the backup that it names.
    fn files(&self) -> impl Iterator<Item = &Path> {
        let databases = std::iter::once(&self.database).chain(&self.extra_databases);
        let dumps = databases.flat_map(Database::dumps);
        let parts = self.components.iter().map(|part| part.file.as_path());
        dumps.chain(parts).filter(|path| !path.as_os_str().is_empty())
    }
}

/// Paths in JSON: as text; with `{"bytes": "<hex>"}` where they are no UTF-8.
mod path_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Form {
        Text(String),
        Bytes { bytes: String },
    }

    pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        let form = match path.to_str() {
            Some(text) => Form::Text(text.to_owned()),
            None => Form::Bytes { bytes: crate::store::sums::hex(path.as_os_str().as_bytes()) },
        };
        form.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        match Form::deserialize(deserializer)? {
            Form::Text(text) => Ok(text.into()),
            Form::Bytes { bytes } => crate::store::sums::unhex(bytes.as_bytes())
                .map(|bytes| OsString::from_vec(bytes).into())
                .ok_or_else(|| D::Error::custom("bytes must be an even number of hex digits")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn what_a_later_version_adds_is_tolerated() {
        let text = br#"{"format": 1, "sequence": 7, "label": "x", "added": {"a": 1},
            "components": [{"kind": "hologram", "file": "h", "later": true}]}"#;
        let manifest = Manifest::parse(text, "m").unwrap();
        assert_eq!(manifest.sequence, 7);
        assert_eq!(manifest.components[0].kind, ComponentKind::Other);
    }

    #[test]
    fn a_later_format_is_refused_before_the_rest_is_read() {
        let error = Manifest::parse(br#"{"format": 2, "sequence": "seven"}"#, "/t/s/manifest.json").unwrap_err();
        assert_eq!(error.to_string(), "/t/s/manifest.json has format 2, and this moodle-backup knows formats up to 1");
    }

    #[test]
    fn a_manifest_that_names_files_elsewhere_is_refused() {
        for path in ["../../etc/shadow", "/etc/shadow", "database/../../x"] {
            let mut part = Manifest::new("x", 1);
            part.components = vec![Component { file: path.into(), ..Component::default() }];
            let mut dump = Manifest::new("x", 1);
            dump.database.more_files = vec![path.into()];
            for manifest in [part, dump] {
                let error = Manifest::parse(&serde_json::to_vec(&manifest).unwrap(), "m").unwrap_err();
                assert_eq!(error.to_string(), format!("m names a file that is not in the backup, {path}"));
            }
        }
    }

    #[test]
    fn paths_of_any_bytes_survive() {
        let mut manifest = Manifest::new("2026-11-23T010003Z", 1);
        manifest.paths.root = std::ffi::OsString::from_vec(b"/srv/m\xf6\xf6dle".to_vec()).into();
        manifest.paths.dataroot = "/srv/dätä".into();
        let text = serde_json::to_vec(&manifest).unwrap();
        assert_eq!(Manifest::parse(&text, "m").unwrap(), manifest);
    }
}
