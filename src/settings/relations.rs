//! What must hold between the values of several keys. Looks at the values only, never at the machine: whether a
//! folder is there and fit is for preflight to find out.

use super::Settings;
use std::collections::BTreeSet;
use std::path::Path;

/// A key (by its full name) whose value does not go with another, and why.
pub(super) type Clash = (String, String);

/// All clashes between the values.
pub(super) fn clashes(settings: &Settings) -> Vec<Clash> {
    let mut clashes = Vec::new();
    folders(settings, &mut clashes);
    databases(settings, &mut clashes);
    let retention = settings.retention;
    if [retention.last, retention.daily, retention.weekly, retention.monthly, retention.yearly] == [0; 5] {
        clashes.push(("retention.last".into(), "with 0 on every line nothing would be kept: set one of them".into()));
    }
    if settings.site.web_user.as_deref() == Some("root") {
        let why = "Moodle's code never runs as root: name the web server's user, such as \"www-data\"";
        clashes.push(("site.web_user".into(), why.into()));
    }
    if let Some(pattern) =
        settings.moodledata.exclude.iter().find(|pattern| pattern.split('/').next() == Some("filedir"))
    {
        let why = format!("{pattern:?} would leave out files of users, without which no backup is whole");
        clashes.push(("moodledata.exclude".into(), why));
    }
    clashes
}

fn folders(settings: &Settings, clashes: &mut Vec<Clash>) {
    let (root, target) = (&settings.site.root, &settings.target.path);
    let mut refuse = |key: &str, why: String| clashes.push((key.to_owned(), why));
    for (key, path) in [("site.root", root), ("target.path", target)] {
        if path == Path::new("/") {
            refuse(key, "it must be a folder of its own, not the whole machine".into());
            return;
        }
    }
    if target.starts_with(root) {
        refuse("target.path", format!("the backups would lie inside the site's code, {}", root.display()));
    } else if root.starts_with(target) {
        refuse("target.path", format!("the site's code, {}, lies inside the folder for backups", root.display()));
    }
    for path in &settings.directories.paths {
        if target.starts_with(path) {
            refuse(
                "directories.paths",
                format!("{} would save the backups themselves, {}", path.display(), target.display()),
            );
        } else if path.starts_with(target) {
            refuse("directories.paths", format!("{} lies inside the folder for backups", path.display()));
        }
    }
}

fn databases(settings: &Settings, clashes: &mut Vec<Clash>) {
    let mut names = BTreeSet::new();
    for (at, extra) in settings.database.extra.iter().enumerate() {
        let key = |name: &str| format!("database.extra[{at}].{name}");
        if !names.insert(&extra.name) {
            clashes.push((key("name"), format!("{:?} is there twice, and both dumps would have one name", extra.name)));
        }
        if extra.name.contains('/') || extra.name.starts_with(['.', '-']) {
            let why = "it is also a file's name: no \"/\" in it, and no \".\" or \"-\" at its start";
            clashes.push((key("name"), why.into()));
        }
        if extra.socket.is_some() && extra.host.is_some() {
            clashes.push((key("socket"), "a socket is on this machine: set either socket or host".into()));
        }
    }
}
