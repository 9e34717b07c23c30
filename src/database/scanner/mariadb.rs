//! The reader for what `mariadb-dump` and `mysqldump` write (client/mysqldump.cc): statements one after another,
//! `INSERT INTO` with many rows each, strings with backslashes. The clients switch NO_BACKSLASH_ESCAPES and
//! ANSI_QUOTES off for themselves, so that quotes and backslashes always mean the same.

use super::sink::Sink;
use super::{Piece, Scanned, names};
use memchr::{memchr, memchr2, memchr3};
use std::collections::BTreeMap;

/// How much of a statement is kept to find the columns of a table: far more than any CREATE TABLE has.
const HEAD_KEPT: usize = 4 * 1024 * 1024;

/// How much of a line is kept to know a comment.
const LINE_KEPT: usize = 64;

/// The line after which the client is done.
const END_MARK: &[u8] = b"-- Dump completed";

/// Where in the dump the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// Before a statement or a comment.
    Between,
    /// In one of which the kind is not known yet; what was seen of it is in `head`.
    Opening,
    /// In a comment, up to the end of the line.
    Comment,
    /// In a statement that is read to its end, and is in `head` if it describes a table.
    Statement { keep: bool },
    /// In an INSERT, before its rows.
    BeforeValues,
    /// In the rows of a table of which only the number counts.
    Rows,
    /// In the rows of the table whose fields are wanted.
    WantedRows,
    /// Between `DELIMITER ;;` and `DELIMITER ;`: routines and triggers, which can hold anything.
    Routines,
}

/// What surrounds the next byte of a statement.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Quote {
    None,
    /// In a string or name that ends with this byte.
    In(u8),
    /// After a backslash in such a string.
    Escape(u8),
}

/// See the module.
#[derive(Debug)]
pub struct Reader {
    place: Place,
    quote: Quote,
    head: Vec<u8>,
    sink: Option<Sink>,
    /// Whether the sink's table was described.
    described: bool,
    /// Whether another was after it.
    passed: bool,
    /// Positions of the wanted columns in a row, from CREATE TABLE.
    columns: Vec<Option<usize>>,
    /// The same in the rows of this INSERT.
    positions: Vec<Option<usize>>,
    field: usize,
    in_row: bool,
    rows: u64,
    table: String,
    tables: BTreeMap<String, u64>,
    established: bool,
    complete: bool,
}

impl Reader {
    pub fn new(sink: Option<Sink>) -> Self {
        Reader {
            place: Place::Between,
            quote: Quote::None,
            head: Vec::new(),
            sink,
            described: false,
            passed: false,
            columns: Vec::new(),
            positions: Vec::new(),
            field: 0,
            in_row: false,
            rows: 0,
            table: String::new(),
            tables: BTreeMap::new(),
            established: false,
            complete: false,
        }
    }

    pub fn established(&self) -> bool {
        self.established || self.complete
    }

    pub fn passed(&self) -> bool {
        self.passed
    }

    pub fn finish(mut self) -> Scanned {
        if self.place == Place::Comment {
            self.end_comment();
        }
        let (null_hashes, malformed_hashes) = self.sink.as_ref().map_or((0, 0), Sink::without_hash);
        Scanned {
            files_seen: self.described && self.columns.first().is_some_and(Option::is_some),
            files: self.sink.as_ref().map_or(0, |sink| sink.rows),
            null_hashes,
            malformed_hashes,
            complete: self.complete,
            tables: self.tables,
        }
    }

    pub fn feed(&mut self, mut bytes: &[u8], show: &mut dyn FnMut(Piece<'_>)) {
        while !bytes.is_empty() {
            let inside = self.place != Place::Between;
            let taken = match self.place {
                Place::Between => self.between(bytes),
                Place::Opening => self.opening(bytes),
                Place::Comment => self.comment(bytes),
                Place::Statement { keep } => self.statement(bytes, keep),
                Place::BeforeValues => self.before_values(bytes),
                Place::Rows => self.count_rows(bytes),
                Place::WantedRows => self.read_rows(bytes),
                Place::Routines => self.routines(bytes),
            };
            if inside {
                show(Piece::Part(&bytes[..taken]));
            }
            if inside && self.place == Place::Between {
                show(Piece::End);
            }
            bytes = &bytes[taken..];
        }
    }

    fn between(&mut self, bytes: &[u8]) -> usize {
        let blank = bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if blank < bytes.len() {
            self.head.clear();
            self.quote = Quote::None;
            self.place = Place::Opening;
        }
        blank
    }

    /// Takes one byte, and decides as soon as the beginning tells what this is.
    fn opening(&mut self, bytes: &[u8]) -> usize {
        self.head.push(bytes[0]);
        let could_be = |word: &[u8]| word.starts_with(&self.head);
        let is = |word: &[u8]| self.head.starts_with(word);
        let kinds: [&[u8]; 7] =
            [b"--", b"/*M!999999\\-", b"/*!999999\\-", b"DELIMITER ", b"INSERT ", b"REPLACE ", b"CREATE TABLE "];
        if is(b"--") || is(b"/*M!999999\\-") || is(b"/*!999999\\-") {
            // The line that switches the sandbox on ends without a semicolon.
            self.place = Place::Comment;
        } else if is(b"DELIMITER ") {
            self.head.clear();
            self.place = Place::Routines;
        } else if is(b"INSERT ") || is(b"REPLACE ") {
            self.place = Place::BeforeValues;
        } else if is(b"CREATE TABLE ") {
            self.established = true;
            self.place = Place::Statement { keep: true };
        } else if !kinds.into_iter().any(could_be) {
            // Its quotes, if any, are in the bytes taken so far.
            let head = std::mem::take(&mut self.head);
            self.place = Place::Statement { keep: false };
            self.statement(&head, false);
        }
        1
    }

    fn comment(&mut self, bytes: &[u8]) -> usize {
        let end = memchr(b'\n', bytes);
        self.keep(&bytes[..end.unwrap_or(bytes.len())], LINE_KEPT);
        match end {
            Some(end) => {
                self.end_comment();
                end + 1
            }
            None => bytes.len(),
        }
    }

    fn end_comment(&mut self) {
        // Nothing but blanks may follow the mark: then this stays so to the end.
        self.complete = self.head.starts_with(END_MARK);
        self.place = Place::Between;
    }

    fn keep(&mut self, bytes: &[u8], limit: usize) {
        let room = limit.saturating_sub(self.head.len());
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Reads up to the semicolon that ends the statement.
    fn statement(&mut self, bytes: &[u8], keep: bool) -> usize {
        self.complete = false;
        let mut at = 0;
        let mut ended = false;
        while at < bytes.len() && !ended {
            ended = self.quote == Quote::None && bytes[at] == b';';
            self.step_quote(bytes[at]);
            at += 1;
        }
        if keep {
            self.keep(&bytes[..at], HEAD_KEPT);
        }
        if ended {
            if keep {
                self.table_described();
            }
            self.place = Place::Between;
        }
        at
    }

    fn step_quote(&mut self, byte: u8) {
        self.quote = match self.quote {
            Quote::None if matches!(byte, b'\'' | b'"' | b'`') => Quote::In(byte),
            // A doubled quote ends and begins again.
            Quote::In(end) if byte == end => Quote::None,
            Quote::In(end) if byte == b'\\' && end != b'`' => Quote::Escape(end),
            Quote::Escape(end) => Quote::In(end),
            other => other,
        };
    }

    /// `head` holds a whole CREATE TABLE.
    fn table_described(&mut self) {
        let head = std::mem::take(&mut self.head);
        let Some((name, rest)) = head.strip_prefix(b"CREATE TABLE ").and_then(names::in_backquotes) else { return };
        if let Some(sink) = self.sink.as_ref().filter(|sink| sink.wants(None, &name)) {
            self.described = true;
            self.columns = sink.positions(&names::column_lines(rest).collect::<Vec<_>>());
        } else {
            self.passed |= self.described;
        }
        self.tables.entry(name).or_insert(0);
    }

    /// Reads `INSERT INTO `t` (`a`,`b`) VALUES`.
    fn before_values(&mut self, bytes: &[u8]) -> usize {
        self.complete = false;
        for (at, &byte) in bytes.iter().enumerate() {
            self.step_quote(byte);
            self.keep(&[byte], HEAD_KEPT);
            if self.quote == Quote::None && byte == b'S' && self.head.ends_with(b" VALUES") {
                self.begin_rows();
                return at + 1;
            }
            if self.quote == Quote::None && byte == b';' {
                self.place = Place::Between;
                return at + 1;
            }
        }
        bytes.len()
    }

    fn begin_rows(&mut self) {
        let head = std::mem::take(&mut self.head);
        let start = memchr(b'`', &head).unwrap_or(head.len());
        let (name, rest) = names::in_backquotes(&head[start..]).unwrap_or_default();
        let columns = memchr(b'(', rest).map(|open| names::all_in_backquotes(&rest[open..]));
        self.place = Place::Rows;
        if let Some(sink) = self.sink.as_ref().filter(|sink| sink.wants(None, &name)) {
            self.positions = columns.map_or_else(|| self.columns.clone(), |columns| sink.positions(&columns));
            self.place = Place::WantedRows;
        }
        self.table = name;
        (self.rows, self.field, self.in_row) = (0, 0, false);
        self.quote = Quote::None;
    }

    fn end_rows(&mut self) {
        *self.tables.entry(std::mem::take(&mut self.table)).or_insert(0) += self.rows;
        self.place = Place::Between;
    }

    /// Every parenthesis that opens outside a string opens a row: values are numbers, strings, hexadecimal, NULL.
    fn count_rows(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        loop {
            if let Quote::Escape(end) = self.quote {
                if at >= bytes.len() {
                    return at;
                }
                self.quote = Quote::In(end);
                at += 1;
            }
            if self.quote != Quote::None {
                let Some(next) = memchr2(b'\'', b'\\', &bytes[at..]) else { return bytes.len() };
                at += next + 1;
                self.quote = if bytes[at - 1] == b'\'' { Quote::None } else { Quote::Escape(b'\'') };
                continue;
            }
            let Some(next) = memchr3(b'\'', b'(', b';', &bytes[at..]) else { return bytes.len() };
            at += next + 1;
            match bytes[at - 1] {
                b'\'' => self.quote = Quote::In(b'\''),
                b'(' => self.rows += 1,
                _ => {
                    self.end_rows();
                    return at;
                }
            }
        }
    }

    fn read_rows(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let start = at;
            let wanted = self.wanted();
            if self.quote == Quote::None {
                at += bytes[at..].iter().position(|byte| matters(*byte)).unwrap_or(bytes.len() - at);
                self.push_if(wanted, &bytes[start..at]);
                let Some(&byte) = bytes.get(at) else { break };
                at += 1;
                match byte {
                    b'(' => (self.in_row, self.field) = (true, 0),
                    b',' => self.field += 1,
                    b')' => self.end_row(),
                    b';' => {
                        self.end_rows();
                        return at;
                    }
                    _ => {
                        self.quote = Quote::In(b'\'');
                        self.push_if(wanted, b"'");
                    }
                }
                continue;
            }
            if matches!(self.quote, Quote::In(_)) {
                at += memchr2(b'\'', b'\\', &bytes[at..]).unwrap_or(bytes.len() - at);
            }
            if let Some(&byte) = bytes.get(at) {
                self.step_quote(byte);
                at += 1;
            }
            self.push_if(wanted, &bytes[start..at]);
        }
        at
    }

    /// Which of the wanted columns the field is that the next byte belongs to.
    fn wanted(&self) -> Option<usize> {
        self.positions.iter().position(|position| *position == Some(self.field)).filter(|_| self.in_row)
    }

    fn end_row(&mut self) {
        self.in_row = false;
        self.rows += 1;
        self.sink.as_mut().into_iter().for_each(Sink::end_row);
    }

    fn push_if(&mut self, wanted: Option<usize>, part: &[u8]) {
        if let (Some(column), Some(sink)) = (wanted, &mut self.sink) {
            sink.push(column, part);
        }
    }

    /// Line by line up to the one that sets the delimiter back.
    fn routines(&mut self, bytes: &[u8]) -> usize {
        self.complete = false;
        let end = memchr(b'\n', bytes);
        self.keep(&bytes[..end.unwrap_or(bytes.len())], LINE_KEPT);
        let Some(end) = end else { return bytes.len() };
        // `head` holds the rest of the line after the word at first, whole lines afterwards.
        if self.head == b";" || self.head == b"DELIMITER ;" {
            self.place = Place::Between;
        }
        self.head.clear();
        end + 1
    }
}

/// Whether the byte means something between the values of a row.
fn matters(byte: u8) -> bool {
    matches!(byte, b'\'' | b'(' | b')' | b',' | b';')
}
