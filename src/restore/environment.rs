//! Whether PHP and the database server here are what the Moodle that is brought back asks for: its own admin/environment.xml
//! says so. Nothing of the site has been touched when this is asked; Moodle itself would say it only to its first visitor.

use super::{Here, Job};
use crate::database::{Connection, Engine};
use crate::error::{Fault, Result};
use crate::moodle::{Layout, Php};
use crate::store::Part;
use crate::sys::log::Log;
use roxmltree::{Document, Node};
use std::path::Path;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(60);

/// No file of Moodle's is longer; as of 5.3 it has 300 kB.
const LONGEST: u64 = 8 << 20;

/// What one release of Moodle asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wanted {
    /// The release: `4.5`.
    release: String,
    /// The oldest PHP.
    php: Option<String>,
    /// PHP's extensions without which it does not work.
    extensions: Vec<String>,
    /// Kinds of database servers, each with its oldest version: `mariadb`, `10.6.7`.
    databases: Vec<(String, String)>,
}

/// What is here: PHP's version and extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct HasPhp {
    version: String,
    extensions: Vec<String>,
}

/// An error if the code that was laid ready in `root` cannot work here, unless that is to be disregarded.
pub fn require(job: &Job, here: &Here, root: Option<&Path>, log: &Log) -> Result<()> {
    let Some(root) = root.filter(|_| job.wants(&Part::Code)) else { return Ok(()) };
    let Some(wanted) = read(root, log) else { return Ok(()) };
    let mut lacks = Vec::new();
    if let Some(php) = php(job, here, log) {
        lacks.extend(lacking_php(&wanted, &php));
    }
    if let Some((kind, version)) = database(job, here, log) {
        lacks.extend(lacking_database(&wanted, &kind, &version));
    }
    if lacks.is_empty() {
        log.info(format!("PHP and the database here are what Moodle {} asks for", wanted.release));
        return Ok(());
    }
    if job.ignore_environment {
        lacks.iter().for_each(|lack| log.warn(format!("{lack}; that was to be disregarded")));
        return Ok(());
    }
    Err(Fault::unfit(format!("this machine is not what Moodle {} asks for: {}", wanted.release, lacks.join("; ")))
        .hint("install what is lacking; or restore all the same: --ignore-environment")
        .into())
}

/// What the code asks for; `None` where it does not say so, which is told.
fn read(root: &Path, log: &Log) -> Option<Wanted> {
    let found = Layout::find(root).and_then(|layout| {
        let file = layout.code.join("admin/environment.xml");
        let meta = std::fs::symlink_metadata(&file)?;
        anyhow::ensure!(meta.is_file() && meta.len() < LONGEST, "{} is no plain file", file.display());
        let release = layout.release()?.release;
        parse(&std::fs::read_to_string(&file)?, &release)
            .ok_or_else(|| anyhow::anyhow!("{} says nothing of Moodle {release}", file.display()))
    });
    found
        .inspect_err(|error| log.detail(format!("what this Moodle asks of PHP and database is not known: {error:#}")))
        .ok()
}

/// The part of environment.xml about a release such as `4.5.6 (Build: 20250811)`.
fn parse(text: &str, release: &str) -> Option<Wanted> {
    let document = Document::parse(text).ok()?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    let release = format!("{}.{}", numbers.next()?, numbers.next()?);
    let named = |node: &Node, name: &str| node.has_tag_name(name);
    let moodle = document
        .descendants()
        .find(|node| named(node, "MOODLE") && node.attribute("version") == Some(release.as_str()))?;
    let required = |node: &Node| node.attribute("level") == Some("required");
    let inner = |name: &'static str| moodle.descendants().filter(move |node| node.has_tag_name(name));
    Some(Wanted {
        php: inner("PHP").find(required).and_then(|php| php.attribute("version")).map(str::to_owned),
        extensions: inner("PHP_EXTENSION")
            .filter(required)
            .filter_map(|extension| extension.attribute("name").map(str::to_lowercase))
            .collect(),
        databases: inner("VENDOR")
            .filter_map(|vendor| Some((vendor.attribute("name")?.to_owned(), vendor.attribute("version")?.to_owned())))
            .collect(),
        release,
    })
}

/// PHP's command line program, as the web user has it.
fn php(job: &Job, here: &Here, log: &Log) -> Option<HasPhp> {
    let site = &job.settings.site;
    let asked = Php::new(site.php.as_deref(), here.web_user.clone(), site.environment.0.clone()).and_then(|php| {
        let script = "echo PHP_VERSION, \"\\n\", implode(\"\\n\", get_loaded_extensions());";
        php.start().args(["-r", script]).timeout(TIMEOUT).success()
    });
    let text = asked.inspect_err(|error| log.detail(format!("PHP does not tell what it is: {error:#}"))).ok()?.text();
    let mut lines = text.lines();
    let version = lines.next()?.to_owned();
    Some(HasPhp { version, extensions: lines.map(str::to_lowercase).collect() })
}

/// The kind and version of the database server, as environment.xml calls them; `None` where it cannot be reached yet.
fn database(job: &Job, here: &Here, log: &Log) -> Option<(String, String)> {
    let own = here.connection().cloned();
    let connection: Connection = match &job.place {
        Some(place) => place.connection(&job.backup.manifest).ok()?,
        None => own?,
    };
    let facts = connection.session().and_then(|mut session| session.facts());
    let facts =
        facts.inspect_err(|error| log.detail(format!("the database server's version is not known: {error:#}"))).ok()?;
    let kind = match connection.engine {
        Engine::Postgres => "postgres".to_owned(),
        Engine::MariaDb => facts.product,
    };
    Some((kind, facts.version))
}

fn lacking_php(wanted: &Wanted, php: &HasPhp) -> Vec<String> {
    let mut lacks = Vec::new();
    if let Some(least) = wanted.php.as_ref().filter(|least| is_older(&php.version, least)) {
        lacks.push(format!("PHP {least} is the oldest it works with, and here is {}", php.version));
    }
    let missing: Vec<&str> =
        wanted.extensions.iter().filter(|it| !php.extensions.contains(it)).map(String::as_str).collect();
    if !missing.is_empty() {
        lacks.push(format!("PHP has not the extensions {}", missing.join(", ")));
    }
    lacks
}

fn lacking_database(wanted: &Wanted, kind: &str, version: &str) -> Option<String> {
    if wanted.databases.is_empty() {
        return None;
    }
    match wanted.databases.iter().find(|(name, _)| name == kind) {
        None => Some(format!("it does not work with {kind}")),
        Some((_, least)) if is_older(version, least) => {
            Some(format!("{kind} {least} is the oldest it works with, and here is {version}"))
        }
        Some(_) => None,
    }
}

/// Whether a version such as `10.11.14-MariaDB` is older than one such as `10.6.7`.
fn is_older(version: &str, least: &str) -> bool {
    let numbers = |text: &str| -> Vec<u32> {
        let plain: &str = text.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
        plain.split('.').map_while(|part| part.parse().ok()).collect()
    };
    let (version, least) = (numbers(version), numbers(least));
    // A version that cannot be read is no reason to refuse.
    !version.is_empty()
        && least.iter().enumerate().find_map(|(at, least)| {
            let number = version.get(at).copied().unwrap_or(0);
            (number != *least).then_some(number < *least)
        }) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"<?xml version="1.0" encoding="UTF-8" ?>
<COMPATIBILITY_MATRIX>
  <MOODLE version="4.5" requires="4.1.2">
    <DATABASE level="required">
      <VENDOR name="mariadb" version="10.6.7" />
      <VENDOR name="postgres" version="13" />
    </DATABASE>
    <PHP version="8.1.0" level="required"><RESTRICT function="x" message="y" /></PHP>
    <PHP_EXTENSIONS>
      <PHP_EXTENSION name="Zip" level="required" />
      <PHP_EXTENSION name="exif" level="optional" />
    </PHP_EXTENSIONS>
  </MOODLE>
  <MOODLE version="5.0"><PHP version="8.2.0" level="required" /></MOODLE>
</COMPATIBILITY_MATRIX>"#;

    #[test]
    fn what_a_release_asks_for_is_read() {
        let wanted = parse(TEXT, "4.5.6+ (Build: 20250811)").unwrap();
        assert_eq!(wanted.php.as_deref(), Some("8.1.0"));
        assert_eq!(wanted.extensions, ["zip"]);
        assert_eq!(wanted.databases.len(), 2);
        assert_eq!(parse(TEXT, "5.0.1 (Build: 1)").unwrap().php.as_deref(), Some("8.2.0"));
        assert_eq!(parse(TEXT, "3.11 (Build: 1)"), None);
        assert_eq!(parse("<x", "4.5"), None);
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (version, least, older) in [
            ("10.11.14-MariaDB-0+deb12u2", "10.6.7", false),
            ("10.5.29-MariaDB", "10.6.7", true),
            ("15.18 (Debian 15.18-0+deb12u1)", "16", true),
            ("16", "16.0", false),
            ("8.2.29", "8.10.0", true),
            ("unknown", "1.0", false),
        ] {
            assert_eq!(is_older(version, least), older, "{version} {least}");
        }
    }

    #[test]
    fn what_is_lacking_is_named() {
        let wanted = parse(TEXT, "4.5").unwrap();
        let php = HasPhp { version: "7.4.33".into(), extensions: vec!["xml".into()] };
        let lacks = lacking_php(&wanted, &php).join("; ");
        assert!(lacks.contains("here is 7.4.33") && lacks.contains("extensions zip"), "{lacks}");
        assert!(lacking_database(&wanted, "mysql", "8.0").unwrap().contains("does not work with mysql"));
        assert_eq!(lacking_database(&wanted, "postgres", "15.18"), None);
    }
}
