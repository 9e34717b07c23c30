//! The file with another account for the dump: reading it, and whom its password may be told to. What is in it is a
//! secret and is passed on only through files in memory.

use super::mariadb::quote;
use super::{Connection, Engine, Tls};
use crate::error::{Fault, OrFault, Result};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The most such a file may hold.
const LIMIT: u64 = 64 * 1024;

/// What `path` holds; refused unless it is ours alone, since it holds a password, and since options can make a client
/// load other files and plugins.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let shown = path.display();
    let file = File::open(path).or_fault(|| {
        Fault::unfit(format!("cannot read the database options file {shown}"))
            .hint("correct options_file in the settings, or make that file")
    })?;
    let meta = file.metadata()?;
    let ours = nix::unistd::geteuid().as_raw();
    if !meta.is_file() || meta.len() > LIMIT {
        return Err(Fault::unfit(format!("the database options file {shown} is not a small plain file")).into());
    }
    if meta.uid() != ours || meta.mode() & 0o077 != 0 {
        return Err(Fault::unfit(format!("the database options file {shown} is open to others than root"))
            .hint(format!("chown root: {shown} && chmod 600 {shown}"))
            .into());
    }
    let mut content = Vec::new();
    file.take(LIMIT).read_to_end(&mut content)?;
    Ok(content)
}

impl Connection {
    /// The same database by the account in this file. Where its server is, the file says too, or it is the usual place on
    /// this machine: config.php is the web user's to change, who could have the password told to a server of his own, and
    /// that by a client which runs as root. So config.php is not followed, and where it names another place that is an
    /// error which tells what the file lacks. For the same reason it can make the connection safer, and not less safe.
    pub fn by_options_file(self, path: &Path) -> Result<Connection> {
        let place = Place::named_in(&read(path)?, self.engine);
        if place == Place::default() && !self.is_at_usual_place() {
            let shown = path.display();
            return Err(Fault::unfit(format!(
                "{shown} does not say where the server of the {} is, and config.php, which the web user can change, is not \
                 trusted with the password in it",
                self.title()
            ))
            .hint(format!("if that is the right server, add to the first section of {shown}: {}", self.lines().join(", ")))
            .into());
        }
        Ok(Connection { options_file: Some(path.to_path_buf()), tls: self.tls.if_stricter(), ..place.of(self) })
    }

    /// What an options file has to hold for this account to reach this database by it, its server with it.
    pub fn as_options_file(&self) -> Result<Vec<u8>> {
        let password = self.password.as_deref().unwrap_or_default();
        let account = match self.engine {
            Engine::MariaDb => {
                let [user, password] = [quote(&self.user, "user")?, quote(password, "password")?];
                format!("[client]\nuser={user}\npassword={password}\n")
            }
            Engine::Postgres => {
                // There are no quotes in such a file.
                for (value, name) in [(self.user.as_str(), "user"), (password, "password")] {
                    if value.trim() != value || value.contains(char::is_control) {
                        return Err(Fault::unfit(format!(
                            "this {name} cannot be written into a service file of PostgreSQL"
                        ))
                        .hint("it must not begin or end with a blank; choose another")
                        .into());
                    }
                }
                format!("[dump]\nuser={}\npassword={password}\n", self.user)
            }
        };
        Ok((account + &self.lines().join("\n") + "\n").into_bytes())
    }

    /// The lines of such a file by which an administrator of the server reads this database.
    pub fn administrator_lines(&self) -> Vec<String> {
        let first = match self.engine {
            Engine::MariaDb => ["[client]", "user=root"],
            Engine::Postgres => ["[dump]", "user=postgres"],
        };
        // Debian's MariaDB knows root by the socket.
        let password = (self.engine == Engine::Postgres || !self.uses_socket()).then_some("password=…");
        let place = if self.is_at_usual_place() { Vec::new() } else { self.lines() };
        first.into_iter().chain(password).map(str::to_owned).chain(place).collect()
    }

    /// Whether the server is where clients look for it by themselves: at the local socket.
    fn is_at_usual_place(&self) -> bool {
        let usual_socket = |usual: [&str; 2]| {
            self.socket.as_ref().is_none_or(|socket| usual.iter().any(|usual| Path::new(usual) == socket.as_path()))
        };
        match self.engine {
            Engine::MariaDb => {
                self.uses_socket() && usual_socket(["/run/mysqld/mysqld.sock", "/var/run/mysqld/mysqld.sock"])
            }
            Engine::Postgres => {
                let local = self.socket.is_some() || self.host.as_deref().is_none_or(str::is_empty);
                let usual_port = self.port.is_none_or(|port| port == 5432);
                local && usual_port && usual_socket(["/run/postgresql", "/var/run/postgresql"])
            }
        }
    }

    /// What an options file would have to say for the server to be where it is now.
    fn lines(&self) -> Vec<String> {
        let socket = self.socket.as_ref().filter(|_| self.uses_socket()).map(|socket| socket.display());
        let port = self.port.filter(|_| socket.is_none() || self.engine == Engine::Postgres);
        let first = match (socket, self.engine) {
            (Some(socket), Engine::MariaDb) => format!("socket={socket}"),
            (Some(socket), Engine::Postgres) => format!("host={socket}"),
            (None, _) => format!("host={}", self.host.as_deref().unwrap_or("localhost")),
        };
        [first].into_iter().chain(port.map(|port| format!("port={port}"))).collect()
    }
}

/// Where a file says that the server is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Place {
    host: Option<String>,
    port: Option<u16>,
    socket: Option<PathBuf>,
}

impl Place {
    /// What is looked at is what the clients look at: MariaDB's at all of their sections, PostgreSQL's at the one that we
    /// name to them, which is the first.
    fn named_in(content: &[u8], engine: Engine) -> Place {
        let mut place = Place::default();
        let (mut sections, mut counts) = (0, false);
        for line in String::from_utf8_lossy(content).lines().map(str::trim) {
            if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                sections += 1;
                counts = match engine {
                    Engine::MariaDb => section.starts_with("client") || section.ends_with("dump"),
                    Engine::Postgres => sections == 1,
                };
            } else if let Some((name, value)) = line.split_once('=').filter(|_| counts) {
                place.note(name.trim(), value.trim().trim_matches(['"', '\'']), engine);
            }
        }
        place
    }

    fn note(&mut self, name: &str, value: &str, engine: Engine) {
        match (name, engine) {
            _ if value.is_empty() => {}
            ("host", _) | ("hostaddr", Engine::Postgres) => self.host = Some(value.to_owned()),
            ("port", _) => self.port = value.parse().ok(),
            ("socket", Engine::MariaDb) => self.socket = Some(value.into()),
            _ => {}
        }
    }

    fn of(self, connection: Connection) -> Connection {
        Connection { host: self.host, port: self.port, socket: self.socket, ..connection }
    }
}

impl Tls {
    /// What asks for more protection than a client would give by itself; the rest counts as not said.
    pub fn if_stricter(self) -> Tls {
        match self {
            Tls::Require | Tls::VerifyFull => self,
            Tls::Default | Tls::Disable | Tls::Prefer => Tls::Default,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Connection, Engine, Place};
    use crate::database::Tls;

    #[test]
    fn the_lines_for_an_administrator_reach_the_server_wherever_it_is() {
        let lines = |engine, host: &str, socket: Option<&str>| {
            let (host, socket) = (Some(host.to_owned()), socket.map(Into::into));
            let (user, name) = ("moodle".to_owned(), "moodle".to_owned());
            Connection {
                engine,
                host,
                port: None,
                socket,
                user,
                password: None,
                name,
                schema: None,
                tls: Tls::Default,
                options_file: None,
                run_as: None,
            }
            .administrator_lines()
            .join(" ")
        };
        assert_eq!(lines(Engine::MariaDb, "localhost", None), "[client] user=root");
        assert_eq!(lines(Engine::MariaDb, "localhost", Some("/srv/db.sock")), "[client] user=root socket=/srv/db.sock");
        assert_eq!(lines(Engine::MariaDb, "db2", None), "[client] user=root password=… host=db2");
        assert_eq!(lines(Engine::Postgres, "", None), "[dump] user=postgres password=…");
    }

    #[test]
    fn the_place_of_the_server_is_read_as_the_clients_read_it() {
        let place = |host: Option<&str>, port, socket: Option<&str>| Place {
            host: host.map(str::to_owned),
            port,
            socket: socket.map(Into::into),
        };
        let mariadb = |text: &str| Place::named_in(text.as_bytes(), Engine::MariaDb);
        assert_eq!(mariadb("[client]\nuser=a\npassword=\"host=b\"\n"), Place::default());
        assert_eq!(mariadb("[client]\n#host=a\nhost = \"db2\"\nport=3307\n"), place(Some("db2"), Some(3307), None));
        assert_eq!(mariadb("[mysqld]\nsocket=/a\n[client-mariadb]\nsocket=/b\n"), place(None, None, Some("/b")));
        let postgres = |text: &str| Place::named_in(text.as_bytes(), Engine::Postgres);
        assert_eq!(postgres("[a]\nuser=x\n[b]\nhost=db2\n"), Place::default());
        assert_eq!(postgres("[a]\nhostaddr=10.0.0.1\nport=5433\n"), place(Some("10.0.0.1"), Some(5433), None));
    }
}
