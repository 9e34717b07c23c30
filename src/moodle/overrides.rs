//! Values that are put into a config.php, in a block in front of the line that starts Moodle, so that they win over what
//! stands above. Where that line is PHP's own tokenizer tells; that the values hold, only reading the file back shows.
//! Writes no file.

use super::ask::{Php, decode};
use super::config::Config;
use crate::error::{Fault, OrFault, Result};
use crate::sys::time;
use std::path::Path;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(60);

/// What is shown in place of a password.
const HIDDEN: &str = "(the password)";

/// A value for `$CFG`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// Text.
    Text(String),
    /// A path.
    Path(std::path::PathBuf),
    /// A password: never shown.
    Secret(Secret),
    /// A number.
    Number(i64),
    /// True.
    True,
    /// Not set at all.
    Unset,
}

/// Text that no debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(not shown)")
    }
}

/// One value that config.php is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Its name in `$CFG`.
    pub name: &'static str,
    /// For an array such as `dboptions`, the key in it.
    pub key: Option<&'static str>,
    /// Its value.
    pub value: Assigned,
}

impl Override {
    /// A value of `$CFG`.
    pub fn new(name: &'static str, value: Assigned) -> Override {
        Override { name, key: None, value }
    }

    /// A value of `$CFG->dboptions`.
    pub fn dboption(key: &'static str, value: Assigned) -> Override {
        Override { name: "dboptions", key: Some(key), value }
    }

    /// Its name as PHP has it.
    pub fn title(&self) -> String {
        match self.key {
            Some(key) => format!("$CFG->{}['{key}']", self.name),
            None => format!("$CFG->{}", self.name),
        }
    }

    fn line(&self, with_secrets: bool) -> Vec<u8> {
        use std::os::unix::ffi::OsStrExt;
        let literal = match &self.value {
            Assigned::Text(text) => literal(text.as_bytes()),
            Assigned::Path(path) => literal(path.as_os_str().as_bytes()),
            Assigned::Secret(secret) if with_secrets => literal(secret.0.as_bytes()),
            Assigned::Secret(_) => literal(HIDDEN.as_bytes()),
            Assigned::Number(number) => number.to_string().into_bytes(),
            Assigned::True => b"true".to_vec(),
            Assigned::Unset => return format!("unset({});\n", self.title()).into_bytes(),
        };
        [self.title().as_bytes(), b" = ", &literal, b";\n"].concat()
    }

    /// Whether a config.php that was read has this value.
    pub fn holds_in(&self, config: &Config) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let found = config.answer(self.name, self.key);
        let text = || decode(found).unwrap_or_default();
        match &self.value {
            Assigned::Text(wanted) => text() == wanted.as_bytes(),
            Assigned::Secret(wanted) => text() == wanted.0.as_bytes(),
            // Moodle resolves links in its dataroot.
            Assigned::Path(wanted) => {
                let resolved = std::fs::canonicalize(wanted);
                let is = |path: &Path| text() == path.as_os_str().as_bytes();
                is(wanted) || resolved.is_ok_and(|path| is(&path))
            }
            Assigned::Number(wanted) => found.as_i64() == Some(*wanted),
            Assigned::True => found.as_bool() == Some(true),
            Assigned::Unset => found.is_null(),
        }
    }
}

/// Bytes as a literal of PHP: in single quotes only these two mean something.
fn literal(bytes: &[u8]) -> Vec<u8> {
    let mut literal = vec![b'\''];
    for byte in bytes {
        if matches!(byte, b'\\' | b'\'') {
            literal.push(b'\\');
        }
        literal.push(*byte);
    }
    literal.push(b'\'');
    literal
}

/// The block. Without secrets it can be shown.
pub fn block(overrides: &[Override], with_secrets: bool) -> Vec<u8> {
    let mut block = format!(
        "// Put in by moodle-backup on {}: this site was restored to another place. These values\n\
         // win over those above.\n",
        time::now().format("%Y-%m-%d %H:%M UTC")
    )
    .into_bytes();
    overrides.iter().for_each(|it| block.extend(it.line(with_secrets)));
    block.extend(b"// End of what moodle-backup put in.\n");
    block
}

/// The text of a config.php with the block in it; `None` if it has not exactly one plain statement that starts Moodle.
pub fn put_in(text: &[u8], overrides: &[Override], php: &Php) -> Result<Option<Vec<u8>>> {
    let Some(at) = start_of_moodle(text, php)? else { return Ok(None) };
    let (before, after) = text.split_at(at);
    Ok(Some([before, &block(overrides, true), after].concat()))
}

/// Where the statement begins that requires lib/setup.php, as PHP's tokenizer sees it: never in a comment, a string or
/// markup, and only as a statement of its own.
pub(super) fn start_of_moodle(text: &[u8], php: &Php) -> Result<Option<usize>> {
    const SCRIPT: &str = r#"
        $offset = 0; $found = []; $begins = true; $at = null; $path = '';
        foreach (token_get_all($text) as $token) {
            $words = is_array($token) ? $token[1] : $token;
            $kind = is_array($token) ? $token[0] : null;
            if ($at !== null) {
                if ($kind === T_CONSTANT_ENCAPSED_STRING || $kind === T_ENCAPSED_AND_WHITESPACE) {
                    $path .= trim($words, "'\"");
                }
                if ($words === ';' || $kind === T_CLOSE_TAG) {
                    if (substr($path, -13) === 'lib/setup.php') { $found[] = $at; }
                    $at = null;
                }
            } else if ($begins && in_array($kind, [T_REQUIRE, T_REQUIRE_ONCE, T_INCLUDE, T_INCLUDE_ONCE], true)) {
                $at = $offset;
                $path = '';
            }
            if (!in_array($kind, [T_WHITESPACE, T_COMMENT, T_DOC_COMMENT], true)) {
                $begins = in_array($words, [';', '{', '}'], true) || $kind === T_OPEN_TAG;
            }
            $offset += strlen($words);
        }
        echo count($found) === 1 ? $found[0] : 'none';
    "#;
    let hex = crate::hashes::to_hex(text);
    let script = format!("<?php $text = hex2bin('{hex}');{SCRIPT}");
    let output = php.start().input(script).timeout(TIMEOUT).success();
    let output = output.or_fault(|| Fault::unfit("PHP cannot look at config.php").hint("apt install php-cli"))?;
    Ok(output.text().trim().parse().ok().filter(|at| *at <= text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_literals_of_php() {
        let line = |value| String::from_utf8(Override::new("x", value).line(true)).unwrap();
        assert_eq!(line(Assigned::Text(r"it's \ $HOME <?php ?>".into())), "$CFG->x = 'it\\'s \\\\ $HOME <?php ?>';\n");
        assert_eq!(line(Assigned::Number(0)), "$CFG->x = 0;\n");
        let password = Override::new("dbpass", Assigned::Secret(Secret("p".into())));
        assert_eq!(String::from_utf8(password.line(false)).unwrap(), "$CFG->dbpass = '(the password)';\n");
        let readonly = Override::dboption("readonly", Assigned::Unset);
        assert_eq!(String::from_utf8(readonly.line(true)).unwrap(), "unset($CFG->dboptions['readonly']);\n");
    }
}
