//! Bringing a dump back into a database: streamed from the backup through the client, nothing of it on the disk between.
//! What has to be changed in it on its way is here, and why. Sets nothing aside: that is `aside.rs`.

use super::{Connection, Engine, refusal};
use crate::error::{Fault, OrFault, Result};
use crate::sys::process::Running;
use crate::sys::signals;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::path::Path;

/// How much is read and handed on at once.
const CHUNK: usize = 1 << 18;

impl Connection {
    /// Loads a compressed dump into this database, which is empty. `meter` is told how much of the file is read, and how
    /// much there is. When this returns the server has all of it on its disk. An error carries the server's words.
    pub fn load(&self, dump: &Path, meter: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let unreadable = || Fault::failed(format!("cannot read the dump {}", dump.display()));
        let file = File::open(dump).or_fault(unreadable)?;
        let total = file.metadata()?.len();
        let counted = Counted { file, read: 0 };
        let stream = BufReader::with_capacity(CHUNK, zstd::Decoder::new(counted).or_fault(unreadable)?);
        let mut lines = Lines { stream, filter: Filter::new(self)?, line: Vec::new() };
        let mut running = self.feeding_client()?.piped_input().spawn()?;
        let fed = feed(&mut lines, &mut running, &mut |lines| {
            meter(lines.stream.get_ref().get_ref().get_ref().read, total);
        });
        match fed {
            // What came after its end is told by its own words.
            Err(error) if is_broken_pipe(&error) => {}
            fed => fed.or_fault(unreadable)?,
        }
        let output = running.finish()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(self.explain_load(dump, &output.stderr)),
        }
    }

    fn explain_load(&self, dump: &Path, words: &str) -> anyhow::Error {
        let what = format!("{} cannot be loaded into the {}", dump.display(), self.title());
        let said = refusal::essence(words);
        let hint = if said.contains("Unknown collation") || said.contains("1273") {
            "this server is older than the one of the backup, or another product: use one of the version in the manifest \
             (moodle-backup show), or replace the collation in a dump of your own (RESTORE.txt tells how)"
        } else if said.contains("Row size too large") || said.contains("1118") {
            "Moodle needs innodb_strict_mode=OFF or row format DYNAMIC on this server: set innodb_default_row_format=dynamic"
        } else if said.contains("max_locks_per_transaction") {
            "raise max_locks_per_transaction in postgresql.conf to 256 and restart the server"
        } else if said.contains("No space left") || said.contains("1114") || said.contains("could not extend file") {
            "the disk of the database server is full: the old tables are still there until the restore has succeeded"
        } else {
            return refusal::explain(self, &what, words);
        };
        anyhow::anyhow!("{said}").context(Fault::failed(what).hint(hint))
    }
}

fn feed(lines: &mut Lines, running: &mut Running, each: &mut dyn FnMut(&Lines)) -> Result<()> {
    let stdin = running.stdin().ok_or_else(|| anyhow::anyhow!("the client takes no statements"))?;
    let mut last = lines.filter.before();
    stdin.write_all(last.as_bytes())?;
    while let Some(chunk) = lines.next_chunk()? {
        signals::check()?;
        stdin.write_all(chunk)?;
        each(lines);
    }
    last = lines.filter.after();
    Ok(stdin.write_all(last.as_bytes()).and_then(|()| stdin.flush())?)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Counts what is read of a file.
struct Counted {
    file: File,
    read: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read += count as u64;
        Ok(count)
    }
}

/// The dump, in pieces that end with lines where the filter looks at lines.
struct Lines {
    stream: BufReader<zstd::Decoder<'static, BufReader<Counted>>>,
    filter: Filter,
    line: Vec<u8>,
}

impl Lines {
    /// The next piece; `None` at the end.
    fn next_chunk(&mut self) -> Result<Option<&[u8]>> {
        self.line.clear();
        if !self.filter.looks() {
            let count = {
                let held = self.stream.fill_buf()?;
                self.line.extend_from_slice(held);
                held.len()
            };
            self.stream.consume(count);
            return Ok((count > 0).then_some(&self.line));
        }
        while self.line.len() < CHUNK {
            let start = self.line.len();
            if self.stream.read_until(b'\n', &mut self.line)? == 0 {
                break;
            }
            if !self.filter.keeps(&self.line[start..]) {
                self.line.truncate(start);
                // An empty piece is no end.
                self.line.push(b'\n');
            }
            if !self.filter.looks() {
                break;
            }
        }
        Ok((!self.line.is_empty()).then_some(&self.line))
    }
}

/// What is left out of a dump on its way.
enum Filter {
    /// The first line of dumps of newer clients of MariaDB is a command that older ones, and MySQL's, do not know
    /// (`/*M!999999\- enable the sandbox mode */`).
    MariaDb { first: bool },
    /// Lines outside of table data: comments on extensions, which their owner alone may make; a setting that servers
    /// before 17 do not know; and a pair of commands that psql knows only since August 2025.
    Postgres { in_data: bool, knows_restrict: bool, knows_transaction_timeout: bool },
}

impl Filter {
    fn new(connection: &Connection) -> Result<Self> {
        Ok(match connection.engine {
            Engine::MariaDb => Filter::MariaDb { first: true },
            Engine::Postgres => Filter::Postgres {
                in_data: false,
                knows_restrict: connection
                    .feeding_client()?
                    .input("\\restrict abc\n\\unrestrict abc\n")
                    .output()?
                    .stderr
                    .is_empty(),
                knows_transaction_timeout: connection.session()?.facts()?.major >= 17,
            },
        })
    }

    /// What the client is told before the dump.
    fn before(&self) -> &'static str {
        match self {
            Filter::MariaDb { .. } => "SET SESSION unique_checks = 0, foreign_key_checks = 0;\n",
            Filter::Postgres { .. } => "",
        }
    }

    /// What the client is told after it. PostgreSQL: a transaction that is waited for, and with it all before it.
    fn after(&self) -> &'static str {
        match self {
            Filter::MariaDb { .. } => "",
            Filter::Postgres { .. } => "\nSET synchronous_commit = on;\nSELECT pg_catalog.txid_current();\n",
        }
    }

    /// Whether the next line may be one to leave out.
    fn looks(&self) -> bool {
        match self {
            Filter::MariaDb { first } => *first,
            Filter::Postgres { .. } => true,
        }
    }

    fn keeps(&mut self, line: &[u8]) -> bool {
        match self {
            Filter::MariaDb { first } => {
                *first = false;
                memchr::memmem::find(line, b"999999").is_none()
            }
            Filter::Postgres { in_data, .. } if *in_data => {
                *in_data = line != b"\\.\n";
                true
            }
            Filter::Postgres { in_data, knows_restrict, knows_transaction_timeout } => {
                *in_data = line.starts_with(b"COPY ") && line.ends_with(b" FROM stdin;\n");
                let is_restrict = line.starts_with(b"\\restrict ") || line.starts_with(b"\\unrestrict ");
                !(line.starts_with(b"COMMENT ON EXTENSION ")
                    || is_restrict && !*knows_restrict
                    || line.starts_with(b"SET transaction_timeout ") && !*knows_transaction_timeout)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_outside_of_data_are_left_out() {
        let mut filter = Filter::Postgres { in_data: false, knows_restrict: false, knows_transaction_timeout: false };
        let lines: [(&[u8], bool); 9] = [
            (b"\\restrict abc\n", false),
            (b"SET statement_timeout = 0;\n", true),
            (b"SET transaction_timeout = 0;\n", false),
            (b"COMMENT ON EXTENSION pg_trgm IS 'x';\n", false),
            (b"COPY public.mdl_post (id, text) FROM stdin;\n", true),
            (b"COMMENT ON EXTENSION is what I wrote\n", true),
            (b"\\restrict is a word\n", true),
            (b"\\.\n", true),
            (b"\\unrestrict abc\n", false),
        ];
        for (line, kept) in lines {
            assert_eq!(filter.keeps(line), kept, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn the_sandbox_line_is_left_out_of_the_first_place_only() {
        let mut filter = Filter::MariaDb { first: true };
        assert!(!filter.keeps(b"/*M!999999\\- enable the sandbox mode */ \n"));
        assert!(!filter.looks());
    }
}
