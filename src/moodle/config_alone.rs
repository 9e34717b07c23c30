//! A config.php without the Moodle that it belongs to, as it lies in a backup: run up to the line that starts Moodle, it tells how
//! to reach the database. Writes no file, and believes nothing else that such a file says.

use super::ask::{Php, ask_text};
use super::{config, overrides};
use crate::database::Connection;
use crate::error::{Fault, OrFault, Result};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(60);

/// How the text of a config.php says that the database is to be reached, if its place is in `root`. An error if it needs files
/// that are not here, or starts Moodle in another way than by a plain statement.
pub fn connection_of(text: &[u8], root: &Path, php: &Php) -> Result<Connection> {
    let end = overrides::start_of_moodle(text, php)?
        .ok_or_else(|| Fault::unfit("config.php of the backup has no plain line that starts Moodle"))?;
    let text = in_its_place(&text[..end], root, php)?;
    let answer = ask_text(&text, php, "config.php of the backup")?;
    config::connection_by(&answer, php.user())
}

/// The text with its own place in it, for a file that lies elsewhere.
fn in_its_place(text: &[u8], root: &Path, php: &Php) -> Result<Vec<u8>> {
    const SCRIPT: &str = r#"
        $place = [T_DIR => $root, T_FILE => "$root/config.php"];
        foreach (token_get_all($text) as $token) {
            [$kind, $words] = is_array($token) ? $token : [null, $token];
            echo isset($place[$kind]) ? var_export($place[$kind], true) : $words;
        }
    "#;
    let hex = |bytes: &[u8]| crate::hashes::to_hex(bytes);
    let (text, root) = (hex(text), hex(root.as_os_str().as_bytes()));
    let script = format!("<?php $text = hex2bin('{text}'); $root = hex2bin('{root}');{SCRIPT}");
    let output = php.start().input(script).timeout(TIMEOUT).success();
    Ok(output.or_fault(|| Fault::unfit("PHP cannot look at config.php of the backup"))?.stdout)
}
