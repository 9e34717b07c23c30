//! Who owns things when a backup is brought back: the users and groups of the machine that was backed up, as they are
//! here. Changes no file.

use super::layout;
use super::manifest::{EmptiedFolder, Manifest, Ownership};
use crate::entry::owners::{Owner, Then};
use crate::entry::{Entry, Owners, Reader, compare_paths};
use crate::error::{Fault, Result};
use crate::pool;
use crate::tree;
use nix::unistd::User;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// The owners of a backup's files here. With `wanted`, what belonged to the web user and its group belongs to these;
/// else it goes by names, and where only numbers are known, by those, but for the web user's.
pub fn of_backup(backup: &Path, manifest: &Manifest, wanted: Option<Owner>) -> Owners {
    let mut owners = Owners::as_they_were();
    let site = &manifest.site;
    // moodledata has numbers only; its top folder is the web user's, unless root made it.
    let top = Reader::open(&backup.join(layout::moodledata_index()));
    let top = top.and_then(|mut index| index.next_entry()).ok().flatten();
    let uid = top.as_ref().map(|top| top.uid).filter(|uid| *uid != 0);
    let gid = top.as_ref().map(|top| top.gid).filter(|gid| *gid != 0);
    match wanted {
        Some(Owner { uid: now, gid: group_now }) => {
            owners.map_user(Then { number: uid, name: &site.web_user }, now);
            owners.map_group(Then { number: gid, name: &site.web_group }, group_now);
        }
        None => {
            // Where that name has the same number here, this is the same machine, or as good as that.
            let here = User::from_name(&site.web_user).ok().flatten();
            if let Some(here) = here.filter(|here| uid.is_some_and(|uid| uid != here.uid.as_raw())) {
                owners.map_user(Then { number: uid, name: "" }, here.uid.as_raw());
                if let Some(group) = owners.group_called(&site.web_group) {
                    owners.map_group(Then { number: gid, name: "" }, group);
                }
            }
        }
    }
    owners
}

/// Owners and modes of a filedir here. An error if the machine does not know the owner that it had.
pub fn of_pool(ownership: &Ownership, owners: &Owners) -> Result<pool::Ownership> {
    let unknown = |what: &str, name: &str| {
        Fault::unfit(format!("there is no {what} {name:?} here, to whom Moodle's files belonged"))
            .hint("add it, or name who is to own them: --owner USER:GROUP")
    };
    let or = |mode: u32, usual: u32| if mode == 0 { usual } else { mode & 0o7777 };
    Ok(pool::Ownership {
        uid: owners.user_called(&ownership.user).ok_or_else(|| unknown("user", &ownership.user))?,
        gid: owners.group_called(&ownership.group).ok_or_else(|| unknown("group", &ownership.group))?,
        // What Moodle itself takes where config.php says nothing (lib/setup.php: 02777, and for files the same
        // without setgid and execution).
        folder_mode: or(ownership.folder_mode, 0o2777),
        file_mode: or(ownership.file_mode, 0o666),
    })
}

/// Folders of moodledata that are not in a backup and that Moodle wants to be there, with their owners here; those that
/// hold others first.
pub fn emptied(manifest: &Manifest, owners: &Owners) -> Vec<Entry> {
    let paths = &manifest.paths;
    let plain = |path: &Path| {
        path.components().next().is_some() && path.components().all(|it| matches!(it, Component::Normal(_)))
    };
    let folder = |folder: &EmptiedFolder| {
        let below = folder.path.strip_prefix(&paths.dataroot).ok().filter(|below| plain(below))?;
        let (uid, gid) = (owners.user_called(&folder.user)?, owners.group_called(&folder.group)?);
        Some(tree::folder(below.as_os_str().as_bytes(), uid, gid, folder.mode & 0o7777))
    };
    let mut folders: Vec<Entry> = paths.emptied.iter().filter_map(folder).collect();
    folders.sort_by(|a, b| compare_paths(&a.path, &b.path));
    folders
}
