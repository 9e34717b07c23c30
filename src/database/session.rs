//! A conversation with the server through one long-lived client: queries go into its standard input, answers come from
//! its standard output. A client ends at the first error; the next query then starts a new one. Knows how
//! to ask, not what.

use super::client::{Flavour, flavour_of};
use super::rows::{self, Row};
use super::{Connection, Engine, Tls, mariadb, postgres, refusal};
use crate::error::{Fault, Result};
use crate::sys::process::{self, Running};
use crate::sys::signals;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ChildStdout;
use std::time::{Duration, Instant};

/// How long a query may take unless told otherwise.
const QUERY_LIMIT: Duration = Duration::from_secs(30);

/// How long a client may take to end when it has nothing more to do.
const GOODBYE: Duration = Duration::from_millis(200);

/// A line that cannot stand in COPY data, where a backslash is followed by one of `bfnrtvN\` or a dot.
const END_OF_COPY: &[u8] = b"\\!end";

/// A connection that answers queries.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    program: PathBuf,
    flavour: Flavour,
    limit: Duration,
    /// After which the server gives a query up.
    ends_after: Option<Duration>,
    client: Option<Talking>,
    /// When the transactions of the server were last looked at: see `watch.rs`.
    pub(super) last_look: Option<Instant>,
    /// Whether the account may not look at them.
    pub(super) transactions_hidden: bool,
}

#[derive(Debug)]
struct Talking {
    running: Running,
    answers: Answers,
}

impl Drop for Session {
    /// Lets the client say goodbye: servers log a connection that just breaks off as aborted.
    fn drop(&mut self) {
        if let Some(client) = &mut self.client {
            client.running.end_within(GOODBYE);
        }
    }
}

impl Connection {
    /// Connects. The server's refusal is an error in words for an administrator.
    pub fn session(&self) -> Result<Session> {
        self.session_within(QUERY_LIMIT)
    }

    /// The same where nobody waits longer than that for any answer.
    pub fn session_within(&self, limit: Duration) -> Result<Session> {
        let (program, flavour) = self.query_client()?;
        let mut session = Session {
            connection: self.clone(),
            program,
            flavour,
            limit,
            ends_after: None,
            client: None,
            last_look: None,
            transactions_hidden: false,
        };
        session.query("SELECT 1")?;
        session.check_encrypted()?;
        Ok(session)
    }

    /// The client that takes statements, and whose it is.
    pub(super) fn query_client(&self) -> Result<(PathBuf, Flavour)> {
        match self.engine {
            Engine::MariaDb => {
                let path = process::find(&["mariadb", "mysql"]).ok_or_else(|| {
                    Fault::unfit("neither mariadb nor mysql, the query client, is installed")
                        .hint("apt install mariadb-client (with a MySQL server: mysql-client)")
                })?;
                let flavour = flavour_of(&path)?;
                Ok((path, flavour))
            }
            Engine::Postgres => {
                let newest = postgres::versioned("psql").pop().map(|(_, path)| path);
                let path = newest.or_else(|| process::find(&["psql"])).ok_or_else(|| {
                    Fault::unfit("psql, the query client, is not installed").hint("apt install postgresql-client")
                })?;
                Ok((path, Flavour::Postgres))
            }
        }
    }
}

impl Session {
    /// Which kind of server it is.
    pub fn engine(&self) -> Engine {
        self.connection.engine
    }

    /// The connection it was made from.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// From now on a query may take so long.
    pub fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// From now on a query may take so long, and the server gives it up by then: one that is given up here alone goes on there.
    pub fn end_after(&mut self, limit: Duration) -> Result<()> {
        self.ends_after = Some(limit);
        // The server is to be the first that gives up.
        self.limit = limit + Duration::from_secs(1);
        self.tell(&self.server_limit())
    }

    fn server_limit(&self) -> String {
        let Some(limit) = self.ends_after else { return String::new() };
        let milliseconds = limit.as_millis();
        match self.connection.engine {
            // Each is a comment to the other's servers, and to those that do not know it yet.
            Engine::MariaDb => format!(
                "/*M!100101 SET SESSION max_statement_time = {} */;\n\
                 /*!50708 SET SESSION max_execution_time = {milliseconds} */;\n",
                limit.as_secs_f64()
            ),
            Engine::Postgres => format!("SET statement_timeout = {milliseconds};\n"),
        }
    }

    /// All rows of a query: one SELECT (with MariaDB also SHOW), without a semicolon at its end.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        self.stream(sql, |row| {
            rows.push(row);
            Ok(())
        })?;
        Ok(rows)
    }

    /// The first field of the first row, if there is one and it is not NULL.
    pub fn value(&mut self, sql: &str) -> Result<Option<String>> {
        Ok(self.query(sql)?.into_iter().next().and_then(|row| row.into_iter().next()).flatten())
    }

    /// Gives each row to `each` as it comes; for answers that should not be held in memory. The time limit is for
    /// each wait, not for the whole. An error of `each` ends the query.
    pub fn stream(&mut self, sql: &str, each: impl FnMut(Row) -> Result<()>) -> Result<()> {
        let result = self.ask(sql).and_then(|()| self.read_answer(each));
        match result {
            Ok(()) => Ok(()),
            // Whatever it was: this client's place in the conversation is unknown now.
            Err(error) => Err(self.give_up(sql, error)),
        }
    }

    fn ask(&mut self, sql: &str) -> Result<()> {
        let text = match self.connection.engine {
            Engine::MariaDb => format!("{sql}; SELECT 1;\n"),
            Engine::Postgres => format!("COPY ({sql}) TO STDOUT;\n\\echo '\\\\!end'\n"),
        };
        self.tell(&text)
    }

    fn tell(&mut self, text: &str) -> Result<()> {
        let mut text = std::borrow::Cow::Borrowed(text);
        if self.client.is_none() {
            self.client = Some(self.start()?);
            text = (self.server_limit() + &text).into();
        }
        let stdin = self.client.as_mut().and_then(|client| client.running.stdin());
        let stdin = stdin.ok_or_else(|| anyhow::anyhow!("the query client takes no queries"))?;
        match stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()) {
            // It has ended; why stands in its own words, which reading its answer brings up.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            other => Ok(other?),
        }
    }

    fn start(&self) -> Result<Talking> {
        let connection = &self.connection;
        let program = match connection.engine {
            Engine::MariaDb => {
                mariadb::program(connection, &self.program, self.flavour)?.args(mariadb::session_arguments(connection))
            }
            Engine::Postgres => postgres::program(connection, &self.program, postgres::APPLICATION)?
                .args(postgres::session_arguments())
                .env("PGCLIENTENCODING", "UTF8"),
        };
        let mut running = program.piped_input().spawn()?;
        let stdout = running.stdout.take().ok_or_else(|| anyhow::anyhow!("the query client has no output"))?;
        Ok(Talking { running, answers: Answers { stdout, held: Vec::new(), start: 0 } })
    }

    fn read_answer(&mut self, mut each: impl FnMut(Row) -> Result<()>) -> Result<()> {
        let limit = self.limit;
        let engine = self.connection.engine;
        let client = self.client.as_mut().ok_or_else(|| anyhow::anyhow!("no query client"))?;
        let answers = &mut client.answers;
        loop {
            let row = match engine {
                Engine::MariaDb => {
                    // Each row ends with </row>, all of them with </resultset>; texts have their < escaped.
                    let row = answers.up_to(b"</r", limit)?;
                    match answers.up_to(b">", limit)?.as_slice() {
                        b"ow" => rows::from_xml(&row),
                        // A client that fails between two rows closes their list too. Only one that answers once more
                        // has not failed.
                        _ => return answers.up_to(b"</resultset>", limit).map(drop),
                    }
                }
                Engine::Postgres => {
                    let line = answers.up_to(b"\n", limit)?;
                    if line == END_OF_COPY {
                        return Ok(());
                    }
                    rows::from_copy(&line)
                }
            };
            each(row)?;
        }
    }

    /// Ends the client and finds out why it failed: its own words are better than "end of file".
    fn give_up(&mut self, sql: &str, error: anyhow::Error) -> anyhow::Error {
        let Some(client) = self.client.take() else { return error };
        if error.downcast_ref::<Ended>().is_none() {
            return error;
        }
        match client.running.finish() {
            Ok(output) => {
                let what = match sql {
                    "SELECT 1" => format!("cannot connect to the {}", self.connection.title()),
                    sql => format!("the {} refused a query ({})", self.connection.title(), shortened(sql)),
                };
                refusal::explain(&self.connection, &what, &output.stderr)
            }
            Err(error) => error,
        }
    }

    /// MariaDB's clients go on without encryption where the server has none, unless they are to verify it.
    fn check_encrypted(&mut self) -> Result<()> {
        if self.flavour != Flavour::MariaDb || self.connection.tls != Tls::Require {
            return Ok(());
        }
        let rows = self.query("SHOW SESSION STATUS LIKE 'Ssl_cipher'")?;
        let cipher = rows.into_iter().next().and_then(|row| row.into_iter().nth(1)).flatten();
        if cipher.is_some_and(|cipher| !cipher.is_empty()) {
            return Ok(());
        }
        Err(Fault::unfit(format!(
            "the {} does not offer encryption, and config.php asks for it",
            self.connection.title()
        ))
        .hint("set up TLS on the server, or correct dboptions in config.php")
        .into())
    }
}

fn shortened(sql: &str) -> String {
    let words: Vec<&str> = sql.split_whitespace().collect();
    let text = words.join(" ");
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The client closed its output.
#[derive(Debug)]
struct Ended;

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the query client ended")
    }
}

impl std::error::Error for Ended {}

/// What the client writes, with a limit on waiting for it.
#[derive(Debug)]
struct Answers {
    stdout: ChildStdout,
    held: Vec<u8>,
    start: usize,
}

impl Answers {
    /// The bytes before the next `mark`; both are taken.
    fn up_to(&mut self, mark: &[u8], limit: Duration) -> Result<Vec<u8>> {
        let deadline = Instant::now() + limit;
        let mut searched = self.start;
        loop {
            if let Some(at) = memchr::memmem::find(&self.held[searched..], mark) {
                let end = searched + at;
                let found = self.held[self.start..end].to_vec();
                self.start = end + mark.len();
                return Ok(found);
            }
            let taken = self.start;
            searched = self.held.len().saturating_sub(mark.len() - 1).max(taken) - taken;
            self.held.drain(..taken);
            self.start = 0;
            self.more(deadline, limit)?;
        }
    }

    fn more(&mut self, deadline: Instant, limit: Duration) -> Result<()> {
        self.wait(deadline, limit)?;
        let mut buffer = [0; 64 * 1024];
        match self.stdout.read(&mut buffer)? {
            0 => Err(Ended.into()),
            count => {
                self.held.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }

    fn wait(&self, deadline: Instant, limit: Duration) -> Result<()> {
        loop {
            signals::check()?;
            let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            let mut fds = vec![PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN)];
            fds.extend(signals::wake_fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
                Ok(_) if fds[0].any() == Some(true) => return Ok(()),
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            if Instant::now() >= deadline {
                return Err(Fault::failed(format!("the database did not answer within {} seconds", limit.as_secs()))
                    .hint("look at what the database server is busy with")
                    .into());
            }
        }
    }
}
