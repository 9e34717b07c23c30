//! Whether a database is what a dump of it says: a new dump is compared with the old one as both are read, and nothing of it is
//! kept. It ends at the first difference, which with a site that has gone on comes early as a rule.

use super::scanner::{Piece, Scanner};
use super::{Connection, Engine, Tables, postgres};
use crate::error::Result;
use crate::sys::signals;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

const BUFFER: usize = 256 << 10;

/// By so many bytes an item is known as a comment.
const HEAD: usize = 12;

impl Connection {
    /// Whether a dump of the database would say now what this one says. False also where that cannot be told by one dump: some
    /// tables have no snapshots. An error if the database cannot be dumped.
    pub fn is_as_in(&self, dump: &Path) -> Result<bool> {
        let mut session = self.session()?;
        let facts = session.facts()?;
        if !session.non_transactional_tables()?.is_empty() {
            return Ok(false);
        }
        let tables = Tables::Snapshot { but: session.tables_aside()? };
        let client = self.check_client(&facts)?;
        let mut running = client.program(self, &tables, false, postgres::APPLICATION)?.spawn()?;
        let now = running.stdout.take().ok_or_else(|| anyhow::anyhow!("the dump client has no output"))?;
        let then = zstd::Decoder::with_buffer(BufReader::with_capacity(BUFFER, File::open(dump)?))?;
        if !are_same(Statements::new(self.engine, now), Statements::new(self.engine, then))? {
            return Ok(false);
        }
        Ok(running.finish()?.status.success())
    }
}

fn are_same(mut one: Statements<impl Read>, mut other: Statements<impl Read>) -> Result<bool> {
    loop {
        let (a, b) = (one.ahead()?, other.ahead()?);
        let count = a.len().min(b.len());
        if count == 0 {
            return Ok(a.is_empty() && b.is_empty() && one.is_complete() && other.is_complete());
        }
        if a[..count] != b[..count] {
            return Ok(false);
        }
        one.pass(count);
        other.pass(count);
    }
}

/// The statements of a dump without what differs from one to the next: comments with the time, the sandbox line of MariaDB's
/// clients, the key of PostgreSQL's.
struct Statements<R> {
    dump: R,
    scanner: Option<Scanner>,
    buffer: Vec<u8>,
    sieve: Sieve,
    /// What of the sieve's statements was passed.
    passed: usize,
    complete: bool,
}

/// Holds back the beginning of an item until it is known whether it counts.
#[derive(Default)]
struct Sieve {
    head: Vec<u8>,
    counts: Option<bool>,
    statements: Vec<u8>,
}

impl Sieve {
    fn take(&mut self, piece: Piece<'_>) {
        match (piece, self.counts) {
            (Piece::Part(part), Some(true)) => self.statements.extend_from_slice(part),
            (Piece::Part(_), Some(false)) => {}
            (Piece::Part(part), None) => {
                self.head.extend_from_slice(part);
                if self.head.len() >= HEAD {
                    self.decide();
                }
            }
            (Piece::End, counts) => {
                if counts.is_none() {
                    self.decide();
                }
                self.counts = None;
            }
        }
    }

    fn decide(&mut self) {
        let is = |word: &[u8]| self.head.starts_with(word);
        let counts = !(is(b"--") || is(b"\\") || is(b"/*M!999999\\-") || is(b"/*!999999\\-"));
        if counts {
            self.statements.extend_from_slice(&self.head);
        }
        self.head.clear();
        self.counts = Some(counts);
    }
}

impl<R: Read> Statements<R> {
    fn new(engine: Engine, dump: R) -> Self {
        let scanner = Some(Scanner::new(engine, None));
        Statements { dump, scanner, buffer: vec![0; BUFFER], sieve: Sieve::default(), passed: 0, complete: false }
    }

    /// What comes next; empty at the end.
    fn ahead(&mut self) -> Result<&[u8]> {
        while self.passed == self.sieve.statements.len() {
            self.sieve.statements.clear();
            self.passed = 0;
            signals::check()?;
            let Some(scanner) = &mut self.scanner else { break };
            match self.dump.read(&mut self.buffer) {
                Ok(0) => self.complete = self.scanner.take().is_some_and(|scanner| scanner.finish().complete),
                Ok(count) => scanner.feed_showing(&self.buffer[..count], &mut |piece| self.sieve.take(piece)),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(&self.sieve.statements[self.passed..])
    }

    fn pass(&mut self, count: usize) {
        self.passed += count;
    }

    /// Whether the dump has its end mark.
    fn is_complete(&self) -> bool {
        self.complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, other: &str) -> bool {
        let statements = |text| Statements::new(Engine::MariaDb, std::io::Cursor::new(String::from(text)));
        are_same(statements(one), statements(other)).unwrap()
    }

    #[test]
    fn dumps_are_compared_by_their_statements() {
        let dump = |rows: &str, time: &str| {
            format!("-- Host: x\nINSERT INTO `t` VALUES {rows};\n-- Dump completed on {time}\n")
        };
        assert!(same(&dump("(1,'-- a')", "Monday"), &dump("(1,'-- a')", "Tuesday")));
        assert!(!same(&dump("(1,'-- a')", "Monday"), &dump("(1,'-- b')", "Monday")));
        assert!(!same(&dump("(1)", "Monday"), &format!("{}INSERT INTO `t` VALUES (2);\n", dump("(1)", "Monday"))));
        let whole = dump("(1)", "Monday");
        assert!(!same(&whole, whole.split("-- Dump").next().unwrap()), "one is cut off before its end mark");
    }
}
