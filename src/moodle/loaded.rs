//! What a PHP is: its version and its extensions, and the packages of Debian that have more of them. Knows nothing of what
//! a Moodle asks for.

use super::Php;
use crate::error::Result;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(60);

/// A PHP, as it tells itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// `8.2.29`.
    pub version: String,
    /// In small letters.
    pub extensions: Vec<String>,
}

impl Php {
    /// What it is, as the web user has it. An error if it does not run.
    pub fn loaded(&self) -> Result<Loaded> {
        let script = "echo PHP_VERSION, \"\\n\", implode(\"\\n\", get_loaded_extensions());";
        let text = self.start().args(["-r", script]).timeout(TIMEOUT).success()?.text();
        let mut lines = text.lines();
        let version = lines.next().unwrap_or_default().to_owned();
        Ok(Loaded { version, extensions: lines.map(str::to_lowercase).collect() })
    }
}

impl Loaded {
    /// Whether it has an extension.
    pub fn has(&self, extension: &str) -> bool {
        self.extensions.iter().any(|it| it == extension)
    }

    /// Debian's package with an extension, such as `php8.2-xml`; `None` for one that comes with PHP itself, or is not known.
    pub fn package(&self, extension: &str) -> Option<String> {
        let name = match extension {
            "dom" | "simplexml" | "xml" | "xmlreader" | "xmlwriter" | "xsl" => "xml",
            "mysqli" | "pdo_mysql" => "mysql",
            "curl" | "gd" | "intl" | "ldap" | "mbstring" | "pgsql" | "redis" | "soap" | "tidy" | "xmlrpc" | "zip" => {
                extension
            }
            _ => return None,
        };
        let series: Vec<&str> = self.version.split('.').take(2).collect();
        Some(format!("php{}-{name}", series.join(".")))
    }
}
