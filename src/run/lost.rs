//! What of a site is not there any more, for `status`: code, moodledata, users' files, and whether its database answers. It looks
//! and changes nothing; what a restore that is at work has taken away is not its matter.

use crate::database::Connection;
use crate::error;
use crate::moodle::Layout;
use crate::preflight::Site;
use crate::report::status::Lost;
use crate::restore;
use crate::settings::Settings;
use crate::store::Backup;
use crate::undo;
use std::path::Path;
use std::time::Duration;

/// Whoever asks for the status wants an answer soon, also of a server that hangs.
const LIMIT: Duration = Duration::from_secs(5);

/// What is lost of the site, as far as that can be seen: where it was by config.php, or else by `dataroot` and the newest backup.
pub fn lost(settings: &Settings, site: Option<&Site>, dataroot: Option<&Path>, newest: Option<&Backup>) -> Vec<Lost> {
    let then = newest.map(|newest| &newest.manifest);
    let code = match (site, Layout::find(&settings.site.root)) {
        (None, Err(error)) => Some(Lost { part: "code", why: error.to_string() }),
        _ => None,
    };
    let filedir = site.map(|site| &site.config.filedir).or(then.map(|then| &then.paths.filedir));
    // A new site has none yet.
    let filedir = filedir.filter(|_| then.is_some_and(|then| then.pool.files > 0));
    let moodledata = dataroot.and_then(|dataroot| match is_empty(dataroot) {
        true => Some(gone("moodledata", dataroot)),
        false => filedir.filter(|it| is_empty(it)).map(|it| gone("moodledata", it)),
    });
    let database = match (site, newest) {
        (Some(site), _) => database(&site.connection),
        (None, Some(newest)) if code.is_some() => {
            restore::lost_database(settings, newest).ok().as_ref().and_then(database)
        }
        _ => None,
    };
    [code, moodledata, database].into_iter().flatten().collect()
}

/// What to do about it, in one sentence.
pub fn words(lost: &[Lost]) -> String {
    let each: Vec<String> = lost.iter().map(|lost| format!("{}: {}", lost.part, lost.why)).collect();
    let of = |part: &str| lost.iter().any(|lost| lost.part == part);
    let first = match (of("code") || of("moodledata"), of("database")) {
        (true, true) => "see first whether all file systems are mounted, and the database server runs",
        (true, false) => "see first whether all file systems are mounted",
        (false, _) => "see first whether the database server runs",
    };
    format!(
        "the site does not work: {}; {first}; what is lost \"moodle-backup restore\" brings back, and \"moodle-backup restore --plan\" \
         tells before what it will do",
        each.join("; ")
    )
}

fn gone(part: &'static str, place: &Path) -> Lost {
    Lost { part, why: format!("{} is not there, or empty", place.display()) }
}

/// Whether nothing is there but what this program, a file system or an administrator who closes the site puts there.
fn is_empty(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return !folder.exists() };
    let foreign = [undo::FOLDER, "lost+found", crate::moodle::MAINTENANCE_PAGE];
    entries.flatten().all(|entry| foreign.iter().any(|name| entry.file_name() == *name))
}

fn database(connection: &Connection) -> Option<Lost> {
    let why = match connection.session_within(LIMIT).and_then(|mut session| session.is_empty()) {
        Ok(false) => return None,
        Ok(true) => format!("the {} is empty", connection.title()),
        Err(error) => format!("it cannot be reached: {}", error::sentence(&error)),
    };
    Some(Lost { part: "database", why })
}
