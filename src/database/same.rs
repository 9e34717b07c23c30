//! Whether a database is what a dump of it says: a new dump is compared with the old one as both are read, and nothing of it is
//! kept. It ends at the first difference, which with a site that has gone on comes early as a rule.

use super::{Connection, Engine, Tables, postgres};
use crate::error::Result;
use crate::sys::signals;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

const BUFFER: usize = 256 << 10;

/// So much of a dump's end can tell of the dump itself and not of the database.
const LONGEST_END: usize = 4096;

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
        let now = BufReader::with_capacity(BUFFER, now);
        let then = zstd::Decoder::with_buffer(BufReader::with_capacity(BUFFER, File::open(dump)?))?;
        if !are_same(self.engine, now, BufReader::with_capacity(BUFFER, then))? {
            return Ok(false);
        }
        Ok(running.finish()?.status.success())
    }
}

/// Byte by byte, but for what the clients say at the beginning and the end of themselves and of the time.
fn are_same(engine: Engine, mut one: impl BufRead, mut other: impl BufRead) -> Result<bool> {
    // What both have had last.
    let mut same = after_head(&mut one)?;
    if same != after_head(&mut other)? {
        return Ok(false);
    }
    loop {
        signals::check()?;
        let (a, b) = (one.fill_buf()?, other.fill_buf()?);
        let both = a.len().min(b.len());
        let count = match a[..both] == b[..both] {
            true => both,
            false => a.iter().zip(b).take_while(|(a, b)| a == b).count(),
        };
        same.extend_from_slice(&a[count.saturating_sub(LONGEST_END)..count]);
        same.drain(..same.len().saturating_sub(LONGEST_END));
        one.consume(count);
        other.consume(count);
        if both == 0 || count < both {
            return Ok(is_end(engine, &same, &rest(one)?) && is_end(engine, &same, &rest(other)?));
        }
    }
}

/// The first line that counts; empty where there is none.
fn after_head(dump: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    while dump.read_until(b'\n', &mut line)? > 0 && says_nothing(&line) {
        line.clear();
    }
    Ok(line)
}

/// What is left of a dump, as far as it can be its end.
fn rest(dump: impl BufRead) -> Result<Vec<u8>> {
    let mut rest = Vec::new();
    dump.take(LONGEST_END as u64).read_to_end(&mut rest)?;
    Ok(rest)
}

/// Whether after what both have had nothing comes that counts, and the client has written that this is the end.
fn is_end(engine: Engine, same: &[u8], rest: &[u8]) -> bool {
    let mark: &[u8] = match engine {
        Engine::MariaDb => b"\n-- Dump completed",
        Engine::Postgres => b"\n-- PostgreSQL database dump complete",
    };
    let end = [same, rest].concat();
    let line = memchr::memrchr(b'\n', same).map_or(0, |newline| newline + 1);
    rest.len() < LONGEST_END
        && end[line..].split(|byte| *byte == b'\n').all(says_nothing)
        && memchr::memmem::find(&end, mark).is_some()
}

/// Whether a line is not for the server: a comment, the sandbox line of MariaDB's clients, the key of PostgreSQL's.
fn says_nothing(line: &[u8]) -> bool {
    let words: [&[u8]; 5] = [b"--", b"\\restrict ", b"\\unrestrict ", b"/*M!999999\\-", b"/*!999999\\-"];
    line.trim_ascii().is_empty() || words.iter().any(|word| line.starts_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, other: &str) -> bool {
        // In small pieces, as pipes may give them.
        let piecewise = |text| BufReader::with_capacity(7, std::io::Cursor::new(String::from(text)));
        are_same(Engine::MariaDb, piecewise(one), piecewise(other)).unwrap()
    }

    #[test]
    fn dumps_are_compared_but_for_their_comments_at_both_ends() {
        let dump = |host: &str, rows: &str, time: &str| {
            format!(
                "/*M!999999\\- sandbox */\n-- Host: {host}\n\n/*!40101 SET NAMES utf8mb4 */;\nINSERT INTO `t` VALUES {rows};\n-- Dump completed on {time}\n"
            )
        };
        let whole = dump("x", "(1,'-- a')", "Monday");
        assert!(same(&whole, &whole));
        assert!(same(&whole, &dump("another", "(1,'-- a')", "Tuesday")));
        assert!(!same(&whole, &dump("x", "(1,'-- b')", "Monday")));
        assert!(!same(&whole, &dump("x", "(1,'-- a'),(2,'')", "Monday")));
        let (begin, end) = whole.split_once("-- Dump").unwrap();
        assert!(!same(&whole, &format!("{begin}INSERT INTO `t` VALUES (2);\n-- Dump{end}")));
        assert!(!same(&whole, &format!("{whole}INSERT INTO `t` VALUES (2);\n")));
        assert!(!same(&whole, begin), "one is cut off before its end mark");
        assert!(!same(begin, begin), "both are");
        assert!(!same("", ""));
    }

    #[test]
    fn keys_of_postgresql_s_clients_differ_and_mean_nothing() {
        let dump = |key: &str, row: &str| {
            format!(
                "--\n-- PostgreSQL database dump\n--\n\n\\restrict {key}\n\nSET x = 0;\nCOPY t (a) FROM stdin;\n{row}\n\\.\n\n--\n\
                 -- PostgreSQL database dump complete\n--\n\n\\unrestrict {key}\n\n"
            )
        };
        let same = |one: String, other: String| {
            are_same(Engine::Postgres, std::io::Cursor::new(one), std::io::Cursor::new(other)).unwrap()
        };
        assert!(same(dump("a1", "-- a"), dump("b22", "-- a")));
        assert!(!same(dump("a1", "-- a"), dump("a1", "-- b")));
    }
}
