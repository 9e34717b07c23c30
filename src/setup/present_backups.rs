//! What a set-up means for the backups that there are already: which are left behind, are not to be seen, or will go. Looks only.

use crate::preflight;
use crate::prune;
use crate::settings::{Retention, Settings};
use crate::store::Store;
use crate::store::shell::quote;
use std::path::{Path, PathBuf};

/// How many backups there are of the site as it is in the settings, as far as that can be seen.
pub fn count(settings: &Settings) -> usize {
    let target = &settings.target.path;
    if !target.join(&settings.site.name).is_dir() {
        return 0;
    }
    let listing = Store::open(target, &settings.site.name).and_then(|store| store.backups());
    listing.map_or(0, |listing| listing.backups.len())
}

/// Backups that stay where they are, under another name or at another place than those to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftBehind {
    /// How many.
    count: usize,
    /// Where they are.
    folder: PathBuf,
    /// The command that takes them along, where the place is free for them.
    pub command: Option<String>,
}

impl LeftBehind {
    /// In words.
    pub fn told(&self) -> String {
        let backups = match self.count {
            1 => "the backup stays where it is".to_owned(),
            many => format!("the {many} backups stay where they are"),
        };
        let keep = self.command.as_ref().map(|it| format!("; to keep them, before the next run: {it}"));
        let folder = self.folder.display();
        format!("{backups}, in {folder}, and will not be found any more{}", keep.unwrap_or_default())
    }
}

/// What becomes of the backups that are there, if they are to go under another name or to another place from now on.
/// `same_disk` is whether that is the disk of the present place, mounted elsewhere: then they come along.
pub fn left_behind(
    old: &Settings,
    root: Option<&Path>,
    name: &str,
    path: &Path,
    same_disk: bool,
) -> Option<LeftBehind> {
    let before = if same_disk { path } else { &old.target.path }.join(&old.site.name);
    let after = path.join(name);
    let count = if before == after { 0 } else { count(old) };
    // Another site's are not to be taken along.
    let same_site = root.is_none_or(|root| root == old.site.root) && !after.exists();
    // On a disk that is not mounted yet something of that name may lie: then nothing is moved into it.
    let command = same_site.then(|| format!("mv -T {} {}", quote(&before), quote(&after)));
    (count > 0).then_some(LeftBehind { count, folder: before, command })
}

/// What to know where the disk of the backups until now is not here, and another is to take its place.
pub fn absent_disk(old: &Settings) -> Option<String> {
    let uuid = old.target.mount_uuid.as_ref().filter(|_| preflight::require_mounted(old).is_err())?;
    Some(format!(
        "the disk of the backups until now, {uuid}, is not mounted at {}: what backups are on it stay there, and will not be found any \
         more; to go on with it, mount it before this",
        old.target.path.display()
    ))
}

/// What to know where fewer backups are kept than until now.
pub fn fewer_backups(old: &Settings, rules: Retention) -> Option<String> {
    let store = Store::open(&old.target.path, &old.site.name).ok().filter(|_| rules != old.retention)?;
    let count = store.backups().ok()?.backups.len();
    let gone = |rules: Retention| prune::let_go(&store, &rules.into()).map_or(0, |names| names.len());
    let (before, now) = (gone(old.retention), gone(rules));
    (now > before).then(|| {
        format!(
            "fewer backups are kept from now on: the next run removes {now} of the {count} that there are (\"moodle-backup prune \
             --dry-run\" names them; \"moodle-backup pin\" keeps one)"
        )
    })
}
