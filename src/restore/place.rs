//! Another place for a site than the one it was backed up from: another server, or another site beside the original. Says
//! what config.php is to have there, and refuses places that are taken. Changes nothing.

use super::load::{engine_of, wanted};
use super::{Here, Job, lost_config};
use crate::database::{Connection, Engine, Tls};
use crate::error::{Fault, Result};
use crate::hashes;
use crate::moodle::Facts;
use crate::moodle::overrides::{Assigned, Override, Secret};
use crate::preflight::{Site, read_site};
use crate::settings::Settings;
use crate::store::Part;
use crate::store::manifest::Manifest;
use crate::sys::files::lies_in;
use crate::sys::privileges::Identity;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a site is to be, and what it is to be called.
#[derive(Clone, Debug)]
pub struct Place {
    /// ROOT.
    pub root: PathBuf,
    /// `$CFG->dataroot`.
    pub dataroot: PathBuf,
    /// `$CFG->wwwroot`.
    pub wwwroot: String,
    /// The web server's user here.
    pub web_user: Identity,
    /// What differs of the database.
    pub database: Database,
    /// A config.php that was made by hand.
    pub config_php: Option<PathBuf>,
    /// Whether the site is to live beside the original.
    pub clone: bool,
}

/// What differs of a database; what is `None` stays as config.php has it.
#[derive(Clone, Debug, Default)]
pub struct Database {
    /// The server.
    pub server: Option<Server>,
    /// The database.
    pub name: Option<String>,
    /// The account.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
}

/// A database server: `HOST`, `HOST:PORT`, or a socket (PostgreSQL: the folder of it) with `:PORT` where one is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    host: String,
    port: Option<u16>,
    socket: Option<PathBuf>,
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let colons = text.matches(':').count();
        let (host, port) = match text.rsplit_once(':') {
            // More than one colon is an address of IPv6, which has brackets where a port follows.
            Some((host, port)) if colons == 1 || host.ends_with(']') => {
                (host, Some(port.parse::<u16>().ok().filter(|port| *port > 0).ok_or(format!("{port:?} is no port"))?))
            }
            _ => (text, None),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains(char::is_whitespace) && !host.starts_with('/') {
            return Err("write HOST, HOST:PORT or the path of a socket".into());
        }
        Ok(match host.starts_with('/') {
            true => Server { host: "localhost".into(), port, socket: Some(host.into()) },
            false => Server { host: host.into(), port, socket: None },
        })
    }
}

/// A way to name a path that stands also if the last parts of it are not there yet.
pub fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let path: PathBuf = path.components().collect();
    for above in path.ancestors() {
        if let (Ok(real), Ok(below)) = (std::fs::canonicalize(above), path.strip_prefix(above)) {
            return real.components().chain(below.components()).collect();
        }
    }
    path
}

impl Place {
    /// What config.php is to have that it has not as it was backed up.
    pub fn overrides(&self, manifest: &Manifest, here: &Here) -> Vec<Override> {
        let then = &manifest.paths;
        let mut overrides = Vec::new();
        let mut set = |name, value| overrides.push(Override::new(name, value));
        if self.wwwroot != manifest.site.wwwroot {
            set("wwwroot", Assigned::Text(self.wwwroot.clone()));
        }
        if self.dataroot != then.dataroot {
            set("dataroot", Assigned::Path(self.dataroot.clone()));
            for (name, old, new) in
                [("filedir", &then.filedir, &here.filedir), ("trashdir", &then.trashdir, &here.trashdir)]
            {
                if !old.starts_with(&then.dataroot) {
                    set(name, Assigned::Path(new.clone()));
                }
            }
        }
        overrides.extend(self.database.overrides());
        if self.clone {
            overrides.extend([
                Override::new("noemailever", Assigned::True),
                Override::new("cron_enabled", Assigned::Number(0)),
                Override::new("cronclionly", Assigned::Number(1)),
                // Elsewhere than in files the original's sessions might be found, and be good here too.
                Override::new("session_handler_class", Assigned::Text("\\core\\session\\file".into())),
            ]);
        }
        overrides
    }

    /// The database as it will be reached, as far as that is known before config.php has come back: the password only if
    /// it was given.
    pub fn connection(&self, manifest: &Manifest) -> Result<Connection> {
        let then = &manifest.database;
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let as_it_was = || Server {
            host: then.host.clone(),
            port: then.port,
            socket: Some(then.socket.clone()).filter(|socket| !socket.as_os_str().is_empty()),
        };
        let server = self.database.server.clone().unwrap_or_else(as_it_was);
        Ok(Connection {
            engine: engine_of(then)?,
            host: text(&server.host),
            port: server.port,
            socket: server.socket,
            user: self.database.user.clone().unwrap_or_else(|| then.user.clone()),
            password: self.database.password.as_ref().map(|password| password.0.clone()),
            name: self.database.name.clone().unwrap_or_else(|| then.name.clone()),
            schema: text(&then.schema),
            tls: Tls::Default,
            options_file: None,
            run_as: Some(self.web_user.clone()),
        })
    }

    /// Everything about the place that must be true before anything is touched.
    pub fn require(&self, job: &Job, here: &Here) -> Result<()> {
        let all = [Part::Code, Part::Database, Part::Moodledata];
        if !all.iter().all(|part| job.wants(part)) || job.parts.len() != all.len() || job.keep_config {
            return Err(Fault::usage(
                "a site comes to another place with code, database and moodledata, and its config.php",
            )
            .hint("leave out --only and --keep-config; --to DIR brings back parts")
            .into());
        }
        if self.clone {
            self.require_apart(job)?;
        }
        match &here.site {
            Some(site) => self.require_same_site(job, site)?,
            None => self.require_vacant()?,
        }
        self.require_database(job, here)
    }

    /// A clone has nothing in common with its original.
    fn require_apart(&self, job: &Job) -> Result<()> {
        let manifest = &job.backup.manifest;
        if self.wwwroot == manifest.site.wwwroot {
            return Err(Fault::usage(format!(
                "a clone needs an address of its own, and {} is the original's",
                self.wwwroot
            ))
            .hint("name it: --wwwroot URL")
            .into());
        }
        let original = original(job.settings, manifest);
        if manifest.host != this_host() && original.is_none() {
            return self.require_other_server(manifest, false);
        }
        let then = &manifest.paths;
        let mut taken = vec![&then.root, &then.dataroot, &then.filedir, &then.trashdir];
        if let Some(site) = &original {
            taken.extend([&site.layout.root, &site.config.dataroot, &site.config.filedir, &site.config.trashdir]);
        }
        for (option, own) in [("--root", &self.root), ("--dataroot", &self.dataroot)] {
            if let Some(other) = taken.iter().find(|other| lies_in(own, other) || lies_in(other, own)) {
                return Err(Fault::usage(format!(
                    "a clone must not share {} with the original, which has {}",
                    own.display(),
                    other.display()
                ))
                .hint(format!("name another place: {option} DIR"))
                .into());
            }
        }
        self.require_other_server(manifest, true)
    }

    fn require_other_server(&self, manifest: &Manifest, same_machine: bool) -> Result<()> {
        let own = self.connection(manifest)?;
        let as_it_was = Place { database: Database::default(), ..self.clone() }.connection(manifest)?;
        let local = is_local(&own) && is_local(&as_it_was);
        let same_host = if local { same_machine } else { own.host == as_it_was.host };
        // Where only one of them names a port, it is not known whether that is the other's too.
        let same_port = own.port == as_it_was.port || local && (own.port.is_none() || as_it_was.port.is_none());
        if own.name != as_it_was.name || !same_host || !same_port {
            return Ok(());
        }
        Err(Fault::usage(format!("a clone must not share the {} with the original", as_it_was.title()))
            .hint("name another database: --database-name NAME")
            .into())
    }

    fn require_vacant(&self) -> Result<()> {
        let vacant = [("code", &self.root, "--root"), ("dataroot", &self.dataroot, "--dataroot")];
        for (what, place, option) in vacant {
            if !is_vacant(place)? {
                return Err(Fault::unfit(format!(
                    "{}, where the {what} is to go, is neither empty nor that of this very site",
                    place.display()
                ))
                .hint(format!("name another place ({option} DIR), or move away what is there"))
                .into());
            }
        }
        if lies_in(&self.root, &self.dataroot) || lies_in(&self.dataroot, &self.root) {
            return Err(Fault::usage(
                "code and dataroot must not lie in each other: what users upload would be on the web",
            )
            .hint("name two places: --root DIR --dataroot DIR")
            .into());
        }
        Ok(())
    }

    /// A site that is there already is replaced only by its own backup.
    fn require_same_site(&self, job: &Job, site: &Site) -> Result<()> {
        if self.clone {
            return Err(Fault::unfit(format!("there is a site in {} already", self.root.display()))
                .hint("move it away, or name another place: --root DIR")
                .into());
        }
        require_same_site(job, site)
    }

    /// How the config.php that is to be there has the database, but for what differs.
    fn by_config_php(&self, job: &Job) -> Result<Connection> {
        match &self.config_php {
            Some(file) => lost_config::by_text(job.settings, &std::fs::read(file)?, &self.root, &self.web_user),
            None => lost_config::connection(job.settings, job.backup, &self.root, &self.web_user),
        }
    }

    /// As far as the database can be reached before config.php has come back.
    fn require_database(&self, job: &Job, here: &Here) -> Result<()> {
        let mut connection = self.connection(&job.backup.manifest)?;
        if connection.password.is_none() && self.database.user.is_none() {
            // That of the site here, where this is a clone of it.
            connection.password = read_site(job.settings).ok().and_then(|site| site.connection.password);
        }
        // That of the config.php that comes back: without it nobody is let in.
        if connection.password.is_none()
            && let Ok(then) = self.by_config_php(job)
        {
            (connection.password, connection.tls) = (then.password, then.tls);
        }
        if connection.password.is_none() {
            return Ok(());
        }
        match connection.missing(&wanted(&job.backup.manifest.database), job.admin.as_deref())? {
            Some(_) => Ok(()),
            None => require_empty(&connection, here),
        }
    }
}

impl Database {
    fn overrides(&self) -> Vec<Override> {
        let mut overrides = Vec::new();
        let text = |text: &String| Assigned::Text(text.clone());
        if let Some(server) = &self.server {
            let port = server.port.map_or(String::new(), |port| port.to_string());
            overrides.push(Override::new("dbhost", Assigned::Text(server.host.clone())));
            overrides.push(Override::dboption("dbport", Assigned::Text(port)));
            let socket = server.socket.clone().map_or(Assigned::Text(String::new()), Assigned::Path);
            overrides.push(Override::dboption("dbsocket", socket));
        }
        overrides.extend(self.name.as_ref().map(|name| Override::new("dbname", text(name))));
        overrides.extend(self.user.as_ref().map(|user| Override::new("dbuser", text(user))));
        overrides.extend(self.password.clone().map(|it| Override::new("dbpass", Assigned::Secret(it))));
        if self.server.is_some() || self.name.is_some() {
            // Copies to read from are copies of the original's database.
            overrides.push(Override::dboption("readonly", Assigned::Unset));
        }
        overrides
    }
}

/// A database that is not this very site's own is loaded into only if nothing is in it.
pub(super) fn require_empty(connection: &Connection, here: &Here) -> Result<()> {
    let own = |it: &Connection| it.title() == connection.title() && it.schema == connection.schema;
    if here.connection().is_some_and(own) || connection.session()?.is_empty()? {
        return Ok(());
    }
    Err(Fault::unfit(format!("the {} is not empty, and not that of the site that is replaced", connection.title()))
        .hint("name another database (--database-name NAME); it is made where root may do that")
        .into())
}

/// An error if the site that stands here is not the one that was backed up.
pub(super) fn require_same_site(job: &Job, site: &Site) -> Result<()> {
    let then = &job.backup.manifest.site.siteidentifier_sha256;
    let facts =
        site.connection.session().and_then(|mut it| Facts::read(&mut it, &site.connection, &site.config.prefix)).ok();
    match facts {
        Some(facts) if !then.is_empty() && hashes::to_hex(&Sha256::digest(facts.site_identifier())) != *then => {
            Err(Fault::unfit(format!(
                "the site in {} is not the one in this backup, which is of {}",
                site.layout.root.display(),
                job.backup.manifest.site.wwwroot
            ))
            .hint(
                "if it is not wanted any more, move it away; else name another place: --root DIR --dataroot DIR \
                 --database-name NAME",
            )
            .into())
        }
        _ => Ok(()),
    }
}

/// The site that was backed up, where it still stands on this machine.
fn original(settings: &Settings, manifest: &Manifest) -> Option<Site> {
    let mut settings = settings.clone();
    settings.site.root = manifest.paths.root.clone();
    settings.site.web_user = Some(manifest.site.web_user.clone());
    let site = read_site(&settings).ok()?;
    (site.config.wwwroot == manifest.site.wwwroot).then_some(site)
}

fn is_local(connection: &Connection) -> bool {
    matches!(connection.host.as_deref(), None | Some("localhost" | "127.0.0.1" | "::1"))
        || connection.engine == Engine::Postgres && connection.socket.is_some()
}

fn this_host() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Whether nothing is there, or an empty folder. A mount point has a folder of its own in it.
fn is_vacant(place: &Path) -> Result<bool> {
    match std::fs::read_dir(place) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(error.into()),
        Ok(entries) => Ok(entries.flatten().all(|entry| entry.file_name() == "lost+found")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_as_they_are_written() {
        let server = |host: &str, port, socket: Option<&str>| Server {
            host: host.into(),
            port,
            socket: socket.map(PathBuf::from),
        };
        for (text, expected) in [
            ("db.example.org", server("db.example.org", None, None)),
            ("db:3307", server("db", Some(3307), None)),
            ("::1", server("::1", None, None)),
            ("[::1]:5433", server("::1", Some(5433), None)),
            ("/run/mysqld/mysqld.sock", server("localhost", None, Some("/run/mysqld/mysqld.sock"))),
            ("/run/postgresql:5433", server("localhost", Some(5433), Some("/run/postgresql"))),
        ] {
            assert_eq!(Server::from_str(text).unwrap(), expected, "{text}");
        }
        for text in ["", ":3306", "db:many", "db:0"] {
            assert!(Server::from_str(text).is_err(), "{text}");
        }
    }
}
