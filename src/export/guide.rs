//! The text at the front of an export: the backup's own RESTORE.txt, with the way from the file to the folder before it.

use super::Compression;
use crate::entry::shown;
use crate::store::Manifest;
use crate::store::shell::quote;

/// What sets the folder in RESTORE.txt.
const SITE: &str = "    # SITE=";

/// The text of `restore`, the backup's RESTORE.txt, for the folder `site` that is to be unpacked.
pub(super) fn text(manifest: &Manifest, site: &[u8], restore: &[u8], compression: Compression) -> String {
    let unpack = match compression {
        Compression::Zstd => "zstd -dc FILE | tar -xpf - -C /root/back",
        Compression::None => "tar -xpf FILE -C /root/back",
    };
    let folder = quote(crate::entry::to_path(site));
    let head = format!(
        "ONE BACKUP, AS ONE FILE
=======================

Backup {label} of {site}, written by \"moodle-backup export\". All that belongs to it is in
this tar: nothing else is needed. Where moodle-backup is installed, for a folder beside any site:

    $ moodle-backup restore --from FILE --to DIR

By hand: unpack it as root where there is room for all of it, outside of what a web server shows,
and stay in the site's folder for all that follows.

    $ mkdir -m 700 /root/back
    $ {unpack}
    $ cd /root/back/{folder}

From here on it is the text of the backup. SITE in it is the folder that you are in.


",
        label = manifest.label,
        site = shown(site),
    );
    let lines = String::from_utf8_lossy(restore);
    let here = |line: &str| if line.starts_with(SITE) { format!("{SITE}\"$PWD\"") } else { line.to_owned() };
    let text: Vec<String> = lines.lines().map(here).collect();
    head + &text.join("\n") + "\n"
}
