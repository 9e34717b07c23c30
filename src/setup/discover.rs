//! The Moodle sites of this machine: looked for in the configurations of web servers and PHP, and in the usual folders. Reads
//! only; config.php is run by PHP as the web user, as everywhere.

mod config_files;

pub use config_files::served;

use crate::error::Result;
use crate::moodle::Layout;
use crate::preflight::{Site, WEB_USERS, read_site};
use crate::settings;
use crate::setup::measure::{self, Told};
use crate::sys::human;
use crate::sys::paths::Paths;
use crate::sys::privileges::Identity;
use crate::undo;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Folders whose folders, and theirs, are looked at.
const USUAL: [&str; 4] = ["/var/www", "/srv", "/opt", "/home"];
/// Folders that are looked at themselves.
const SINGLE: [&str; 3] = ["/usr/share/moodle", "/usr/local/moodle", "/moodle"];

/// So many folders in one are looked at; a folder of more is no place for sites.
const MOST: usize = 1000;

/// How long the database of each site may think about its sizes.
const MOMENT: Duration = Duration::from_secs(5);

/// A site that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The folder with config.php.
    pub root: PathBuf,
    /// What led there: a file, or a folder.
    pub because: PathBuf,
    /// `4.5.6 (Build: 20250811)`.
    pub release: String,
    /// Its address, and its database; where config.php can be read.
    pub known: Option<Known>,
    /// Why config.php cannot be read, or was not.
    pub trouble: Option<String>,
    /// Whether others than root and the web server's user can write it. It is read only when somebody has named it.
    pub foreign: bool,
    /// The user that PHP's pools have for it, where its settings are his.
    pub web_user: Option<String>,
}

/// What config.php says of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// `$CFG->wwwroot`.
    pub wwwroot: String,
    /// Its database, in words.
    pub database: String,
    /// Its full name, and how large database and users' files are; 0 where the database did not tell in a moment.
    pub told: Told,
}

/// What a look at the machine has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// The sites, in the order of their folders.
    pub sites: Vec<Found>,
    /// Where was looked.
    pub looked_at: Vec<String>,
}

/// Looks for sites.
pub fn sites(paths: &Paths) -> Discovery {
    let mut candidates = config_files::folders(paths.root());
    let mut looked_at = vec!["the configurations of Apache and nginx, and PHP's pools".to_owned()];
    for usual in USUAL {
        looked_at.push(format!("the folders in {usual}"));
        let top = below(paths, usual);
        for folder in folders_in(&top) {
            candidates.extend(folders_in(&folder).into_iter().map(|inner| (inner, top.clone())));
            candidates.push((folder, top.clone()));
        }
    }
    candidates.extend(SINGLE.map(|single| (below(paths, single), below(paths, single))));
    looked_at.extend(SINGLE.map(str::to_owned));
    let mut found: BTreeMap<PathBuf, Found> = BTreeMap::new();
    let pool_users = config_files::pool_users(paths.root());
    for (folder, because) in candidates {
        // One that is being set aside or laid ready by a restore is none.
        let Ok(layout) = Layout::find(&folder) else { continue };
        let ours = layout.root.components().any(|part| part.as_os_str() == undo::FOLDER);
        if !ours && !found.contains_key(&layout.root) {
            found.insert(layout.root.clone(), look(&layout, because, &pool_users));
        }
    }
    Discovery { sites: found.into_values().collect(), looked_at }
}

fn below(paths: &Paths, folder: &str) -> PathBuf {
    paths.root().join(folder.trim_start_matches('/'))
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().take(MOST);
    let mut folders: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// What PHP says goes on for many lines, of which the first tells what is wrong. All of them come when the site is chosen.
fn first_line(error: &anyhow::Error) -> String {
    let words = format!("{error:#}");
    words.lines().next().unwrap_or_default().trim_end().to_owned()
}

fn look(layout: &Layout, because: PathBuf, pool_users: &[String]) -> Found {
    let release = layout.release().map(|it| it.release).unwrap_or_default();
    // Where PHP has a user of its own for a site, its settings are his as they are a web server's elsewhere. They are run as him and
    // nobody else, whatever they say.
    let (web_user, foreign) = match foreign_writers(layout).as_slice() {
        [] => (None, None),
        [one] if pool_users.contains(one) => (Some(one.clone()), None),
        [first, ..] => (None, Some(first.clone())),
    };
    let (known, trouble) = match &foreign {
        Some(writer) => (None, Some(format!("{writer} can change it, so its config.php is read only if it is chosen"))),
        None => match read(layout, web_user.clone()) {
            Ok(known) => (Some(known), None),
            Err(error) => (None, Some(format!("its config.php cannot be read: {}", first_line(&error)))),
        },
    };
    Found { root: layout.root.clone(), because, release, known, trouble, foreign: foreign.is_some(), web_user }
}

fn read(layout: &Layout, web_user: Option<String>) -> Result<Known> {
    let mut settings = settings::without_file("moodle", &layout.root, Path::new("/nowhere"))?;
    settings.site.web_user = web_user;
    let site = read_site(&settings)?;
    let told = measure::told_by_database(&site, MOMENT);
    let Site { config, connection, .. } = site;
    Ok(Known { wwwroot: config.wwwroot, database: connection.title(), told })
}

/// Who can change a site's settings and is neither root nor a web server's usual user. In the folders of its users (`/home`), anybody
/// can lay down what looks like a Moodle; to read it is to run it, as the web user, who can read what the true sites have.
fn foreign_writers(layout: &Layout) -> Vec<String> {
    let mut writers: Vec<String> =
        [layout.config_php(), layout.root.clone()].iter().filter_map(|path| writer(path)).collect();
    writers.dedup();
    writers
}

fn writer(path: &Path) -> Option<String> {
    let Ok(meta) = std::fs::metadata(path) else { return Some("somebody".to_owned()) };
    let owner = Identity::owner_of(path).map_or_else(|_| format!("the user {}", meta.uid()), |owner| owner.name);
    let own = meta.uid() == 0 || WEB_USERS.contains(&owner.as_str());
    match meta.mode() & 0o002 {
        0 => (!own).then_some(owner),
        _ => Some("anybody".into()),
    }
}

/// A site in a line or two.
pub fn told(found: &Found) -> String {
    let root = found.root.display();
    match (&found.known, &found.trouble) {
        (Some(known), _) => {
            let Known { wwwroot, database, told: Told { name, sizes } } = known;
            let size = |bytes| format!(" ({})", human::bytes(bytes));
            let room = Some(sizes.database).filter(|bytes| *bytes > 0).map(size).unwrap_or_default();
            let files = Some(sizes.pool).filter(|bytes| *bytes > 0).map(size);
            let files = files.map(|size| format!(", users' files{size}")).unwrap_or_default();
            let name = name.as_ref().map(|name| format!("{name:?}, ")).unwrap_or_default();
            format!("{root}: {name}{wwwroot}, Moodle {}, {database}{room}{files}", found.release)
        }
        (None, trouble) => {
            let why = trouble.as_deref().unwrap_or("it is not known why");
            format!("{root}: Moodle {}; {why}", found.release)
        }
    }
}
