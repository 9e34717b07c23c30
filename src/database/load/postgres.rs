//! A dump of PostgreSQL, loaded by one client in its order. What has to be changed in it on its way is here, and why.

use super::{CHUNK, Refused, Stream, Unreadable};
use crate::database::Connection;
use crate::error::Result;
use crate::sys::process::Running;
use crate::sys::signals;
use std::io::{BufRead, ErrorKind, Write};

/// Loads a dump. `each` is called now and then with the stream, to see how far that is.
pub fn load(connection: &Connection, dump: Stream, each: &mut dyn FnMut(&Stream)) -> Result<()> {
    let mut lines = Lines { stream: dump, filter: Filter::new(connection)?, piece: Vec::new() };
    let mut running = connection.feeding_client()?.piped_input().spawn()?;
    match feed(&mut lines, &mut running, &mut |lines| each(&lines.stream)) {
        // What came after its end is told by its own words.
        Err(error) if is_broken_pipe(&error) => {}
        fed => fed?,
    }
    let output = running.finish()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Refused(output.stderr).into()),
    }
}

fn feed(lines: &mut Lines, running: &mut Running, each: &mut dyn FnMut(&Lines)) -> Result<()> {
    let stdin = running.stdin().ok_or_else(|| anyhow::anyhow!("the client takes no statements"))?;
    while let Some(chunk) = lines.next_chunk()? {
        signals::check()?;
        stdin.write_all(chunk)?;
        each(lines);
    }
    // A transaction that is waited for, and with it all before it.
    let last = b"\nSET synchronous_commit = on;\nSELECT pg_catalog.txid_current();\n";
    Ok(stdin.write_all(last).and_then(|()| stdin.flush())?)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// The dump, in pieces that end with lines.
struct Lines {
    stream: Stream,
    filter: Filter,
    piece: Vec<u8>,
}

impl Lines {
    /// The next piece; `None` at the end.
    fn next_chunk(&mut self) -> Result<Option<&[u8]>> {
        self.piece.clear();
        while self.piece.len() < CHUNK {
            let start = self.piece.len();
            if self.stream.read_until(b'\n', &mut self.piece).map_err(Unreadable)? == 0 {
                break;
            }
            if !self.filter.keeps(&self.piece[start..]) {
                self.piece.truncate(start);
                // An empty piece is no end.
                self.piece.push(b'\n');
            }
        }
        Ok((!self.piece.is_empty()).then_some(&self.piece))
    }
}

/// What is left out of a dump on its way, outside of table data: comments on extensions, which their owner alone may make; a
/// setting that servers before 17 do not know; and a pair of commands that psql knows only since August 2025.
struct Filter {
    in_data: bool,
    knows_restrict: bool,
    knows_transaction_timeout: bool,
}

impl Filter {
    fn new(connection: &Connection) -> Result<Self> {
        let told = connection.feeding_client()?.input("\\restrict abc\n\\unrestrict abc\n").output()?;
        Ok(Filter {
            in_data: false,
            knows_restrict: told.stderr.is_empty(),
            knows_transaction_timeout: connection.session()?.facts()?.major >= 17,
        })
    }

    fn keeps(&mut self, line: &[u8]) -> bool {
        if self.in_data {
            self.in_data = line != b"\\.\n";
            return true;
        }
        self.in_data = line.starts_with(b"COPY ") && line.ends_with(b" FROM stdin;\n");
        let is_restrict = line.starts_with(b"\\restrict ") || line.starts_with(b"\\unrestrict ");
        !(line.starts_with(b"COMMENT ON EXTENSION ")
            || is_restrict && !self.knows_restrict
            || line.starts_with(b"SET transaction_timeout ") && !self.knows_transaction_timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_outside_of_data_are_left_out() {
        let mut filter = Filter { in_data: false, knows_restrict: false, knows_transaction_timeout: false };
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
}
