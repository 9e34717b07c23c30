//! Whether PHP and the database server here are what the Moodle that is brought back asks for: its own admin/environment.xml
//! says so. Nothing of the site has been touched when this is asked; Moodle itself would say it only to its first visitor.

use super::load::engine_of;
use super::{Here, Job};
use crate::archive;
use crate::database::{Connection, Engine, ServerFacts, Tls};
use crate::error::{Fault, Result};
use crate::moodle::{Layout, Loaded, Php};
use crate::store::{Part, inside, layout};
use crate::sys::log::Log;
use roxmltree::{Document, Node};

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

/// How this machine compares with what a Moodle asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    release: String,
    /// What is lacking, in words.
    lacks: Vec<String>,
    /// Packages that have some of it.
    packages: Vec<String>,
    /// What could not be found out, in words.
    unknown: Vec<String>,
    /// That another PHP ran it when it was backed up, in words.
    other_php: Option<String>,
    /// That its database was on MySQL and comes to MariaDB, or the other way round, in words.
    other_product: Option<String>,
}

impl Comparison {
    /// What an administrator should know before a restore.
    pub fn warnings(&self, job: &Job) -> Vec<String> {
        let mut warnings = self.unknown.clone();
        warnings.extend(self.other_php.clone());
        warnings.extend(self.other_product.clone());
        let disregarded = self.words().filter(|_| job.ignore_environment);
        warnings.extend(disregarded.map(|lacks| format!("{lacks}; that is to be disregarded")));
        warnings
    }

    /// Why the restore will be refused, if something is lacking that is not to be disregarded.
    pub fn refusal(&self, job: &Job) -> Option<anyhow::Error> {
        let lacks = self.words().filter(|_| !job.ignore_environment)?;
        let install = match self.packages.as_slice() {
            [] => "install what is lacking".to_owned(),
            packages => format!("apt install {}", packages.join(" ")),
        };
        Some(Fault::unfit(lacks).hint(format!("{install}; or restore all the same: --ignore-environment")).into())
    }

    /// An error if something is lacking, unless that is to be disregarded.
    pub fn require(&self, job: &Job, log: &Log) -> Result<()> {
        // The check before the site is opened shows whether it matters.
        self.other_php.iter().for_each(|words| log.info(words));
        if let Some(refusal) = self.refusal(job) {
            return Err(refusal);
        }
        self.unknown.iter().chain(&self.other_product).for_each(|words| log.warn(words));
        match self.words() {
            Some(lacks) => log.warn(format!("{lacks}; that was to be disregarded")),
            None if self.unknown.is_empty() && !self.release.is_empty() => {
                log.info(format!("PHP and the database here are what Moodle {} asks for", self.release));
            }
            None => {}
        }
        Ok(())
    }

    fn words(&self) -> Option<String> {
        let words = || format!("this machine is not what Moodle {} asks for: {}", self.release, self.lacks.join("; "));
        (!self.lacks.is_empty()).then(words)
    }
}

/// Compares this machine with what the code asks for that is brought back; or, where only the database is, with what the code
/// asks for that is here.
pub fn compare(job: &Job, here: &Here) -> Comparison {
    let mut comparison = Comparison::default();
    if !job.wants(&Part::Code) && !job.wants(&Part::Database) {
        return comparison;
    }
    let wanted = match read(job, here) {
        Ok(wanted) => wanted,
        Err(error) => {
            comparison.unknown.push(format!("what this Moodle asks of PHP and database is not known: {error:#}"));
            return comparison;
        }
    };
    match php(job, here) {
        Ok(php) => {
            comparison.lacks.extend(lacking_php(&wanted, &php));
            comparison.packages = packages(&wanted, &php);
            if job.wants(&Part::Code) {
                comparison.other_php = other_php(&job.backup.manifest.site.php, &php.version, &wanted.release);
            }
        }
        Err(error) => comparison.unknown.push(format!("PHP does not tell what it is: {error:#}")),
    }
    match database(job, here) {
        Ok((kind, version)) => {
            comparison.lacks.extend(lacking_database(&wanted, &kind, &version));
            comparison.other_product =
                other_product(&job.backup.manifest.database.engine, &kind).filter(|_| job.wants(&Part::Database));
        }
        Err(error) => comparison.unknown.push(format!("which database server is here is not known: {error:#}")),
    }
    comparison.release = wanted.release;
    comparison
}

/// What the code asks for, as its own files say.
fn read(job: &Job, here: &Here) -> Result<Wanted> {
    let (text, release) = match job.wants(&Part::Code) {
        true => (in_backup(job, here)?, job.backup.manifest.site.release.clone()),
        false => {
            let layout = Layout::find(&here.root)?;
            let file = layout.code.join("admin/environment.xml");
            let meta = std::fs::symlink_metadata(&file)?;
            anyhow::ensure!(meta.is_file() && meta.len() < LONGEST, "{} is no plain file", file.display());
            (std::fs::read_to_string(&file)?, layout.release()?.release)
        }
    };
    parse(&text, &release)
        .ok_or_else(|| anyhow::anyhow!("admin/environment.xml cannot be read, or says nothing of Moodle {release}"))
}

/// The file as it is in the backup, whose folder `admin` may have another name ($CFG->admin).
fn in_backup(job: &Job, here: &Here) -> Result<String> {
    let admin = here.site.as_ref().map_or("admin", |site| site.config.admin.as_str());
    let names = ["admin", admin].map(|admin| format!("{admin}/environment.xml"));
    let is_it = |path: &[u8]| {
        let path = path.strip_prefix(b"public/").unwrap_or(path);
        names.iter().any(|name| name.as_bytes() == path)
    };
    let archive = inside::named(&job.backup.path, std::path::Path::new(layout::CODE))?;
    let found = archive::first_file(&archive, &is_it, LONGEST)?;
    let (_, text) = found.ok_or_else(|| anyhow::anyhow!("the code has no admin/environment.xml"))?;
    Ok(String::from_utf8(text)?)
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
fn php(job: &Job, here: &Here) -> Result<Loaded> {
    let site = &job.settings.site;
    Php::new(site.php.as_deref(), here.web_user.clone(), site.environment.0.clone())?.loaded()
}

/// How to reach the server that the database comes to; without a password where only config.php has it.
pub(super) fn server(job: &Job, here: &Here) -> Result<Connection> {
    match (&job.place, here.connection()) {
        (Some(place), _) => place.connection(&job.backup.manifest),
        (None, Some(connection)) => Ok(connection.clone()),
        (None, None) => remembered(job),
    }
}

/// The kind and version of the database server, as environment.xml calls them.
fn database(job: &Job, here: &Here) -> Result<(String, String)> {
    let connection = server(job, here)?;
    let ServerFacts { product, version, .. } = connection.server_facts(job.admin.as_deref())?;
    Ok(match connection.engine {
        Engine::Postgres => ("postgres".to_owned(), version),
        Engine::MariaDb => (product, version),
    })
}

/// The server of a site that is gone, as the backup remembers it: without a password, so its administrator is to ask it.
pub(super) fn remembered(job: &Job) -> Result<Connection> {
    let then = &job.backup.manifest.database;
    let socket = (!then.socket.as_os_str().is_empty()).then(|| then.socket.clone());
    Ok(Connection {
        engine: engine_of(then)?,
        host: (!then.host.is_empty()).then(|| then.host.clone()),
        port: then.port,
        socket,
        user: then.user.clone(),
        password: None,
        name: then.name.clone(),
        schema: None,
        tls: Tls::Default,
        options_file: None,
        run_as: None,
    })
}

fn lacking_php(wanted: &Wanted, php: &Loaded) -> Vec<String> {
    let mut lacks = Vec::new();
    if let Some(least) = wanted.php.as_ref().filter(|least| is_older(&php.version, least)) {
        lacks.push(format!("PHP {least} is the oldest it works with, and here is {}", php.version));
    }
    let missing: Vec<&str> = wanted.extensions.iter().filter(|it| !php.has(it)).map(String::as_str).collect();
    if !missing.is_empty() {
        lacks.push(format!("PHP has not the extensions {}", missing.join(", ")));
    }
    lacks
}

/// In words that another PHP is here than ran this Moodle then. The oldest one environment.xml tells; of those that are too new for
/// it, only later releases of Moodle know.
fn other_php(then: &str, now: &str, release: &str) -> Option<String> {
    let series = |version: &str| version.split('.').take(2).map(str::to_owned).collect::<Vec<_>>().join(".");
    if then.is_empty() || series(then) == series(now) {
        return None;
    }
    let what = match is_older(now, &series(then)) {
        true => "an older one",
        false => "a newer one, and a Moodle that is older than its PHP may not start",
    };
    Some(format!(
        "PHP here is {now}, and Moodle {release} ran with {then} when it was backed up: {what}; the restore tries it out before it \
         opens the site, and puts everything back if it does not start"
    ))
}

/// What to do where MySQL and MariaDB change places: Moodle goes by `$CFG->dbtype` when it asks whether the server is new enough
/// (lib/environmentlib.php), and the two count their versions differently.
fn other_product(then: &str, now: &str) -> Option<String> {
    let (name, dbtype) = match (then, now) {
        ("mysql", "mariadb") => ("MariaDB", "mariadb"),
        ("mariadb", "mysql") => ("MySQL", "mysqli"),
        _ => return None,
    };
    Some(format!(
        "the database is of {then}, and the server here is {name}: when the restore is done, see to it that config.php has \
         $CFG->dbtype = '{dbtype}'"
    ))
}

/// Debian's packages with extensions that are lacking.
fn packages(wanted: &Wanted, php: &Loaded) -> Vec<String> {
    let lacking = wanted.extensions.iter().filter(|it| !php.has(it));
    let mut packages: Vec<String> = lacking.filter_map(|it| php.package(it)).collect();
    packages.sort();
    packages.dedup();
    packages
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
    fn a_php_of_another_series_is_told_with_both_versions() {
        assert_eq!(other_php("8.2.29", "8.2.30", "4.5"), None);
        assert_eq!(other_php("", "8.2.30", "4.5"), None);
        let words = |then, now| other_php(then, now, "4.5").unwrap();
        assert!(words("7.4.33", "8.2.30").contains("here is 8.2.30, and Moodle 4.5 ran with 7.4.33"));
        assert!(words("7.4.33", "8.2.30").contains("a newer one"));
        assert!(words("8.10.1", "8.2.30").contains("an older one"));
    }

    #[test]
    fn what_is_lacking_is_named() {
        let wanted = parse(TEXT, "4.5").unwrap();
        let php = Loaded { version: "7.4.33".into(), extensions: vec!["xml".into()] };
        assert_eq!(packages(&wanted, &php), ["php7.4-zip"]);
        let lacks = lacking_php(&wanted, &php).join("; ");
        assert!(lacks.contains("here is 7.4.33") && lacks.contains("extensions zip"), "{lacks}");
        assert!(lacking_database(&wanted, "mysql", "8.0").unwrap().contains("does not work with mysql"));
        assert_eq!(lacking_database(&wanted, "postgres", "15.18"), None);
    }

    #[test]
    fn that_mysql_and_mariadb_change_places_is_told() {
        assert!(other_product("mariadb", "mysql").unwrap().contains("$CFG->dbtype = 'mysqli'"));
        assert!(other_product("mysql", "mariadb").unwrap().contains("$CFG->dbtype = 'mariadb'"));
        for same in ["mysql", "mariadb", "postgresql"] {
            assert_eq!(other_product(same, same), None);
        }
    }
}
