//! The reader for what `pg_dump` writes as plain SQL (src/bin/pg_dump): statements, and after `COPY … FROM stdin;`
//! rows as lines with tabs up to `\.`. Strings there follow the standard: a backslash is a letter, except in E''.

use super::sink::Sink;
use super::{Piece, Scanned, names};
use memchr::{memchr, memchr2};
use std::collections::BTreeMap;

/// How much of a statement is kept: a COPY names all columns of its table.
const HEAD_KEPT: usize = 4 * 1024 * 1024;

/// How much of a line is kept to know a comment.
const LINE_KEPT: usize = 64;

/// The comment before the last lines.
const END_MARK: &[u8] = b"-- PostgreSQL database dump complete";

/// Where in the dump the next byte stands.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    /// Before a statement, a comment or a command of psql.
    Between,
    /// In a comment or a command of psql, up to the end of the line.
    Line,
    /// In a statement, outside all quotes.
    Statement,
    /// In a comment within a statement, up to the end of the line.
    InnerComment,
    /// In a string or name that ends with this byte; with backslashes or without.
    Quoted { end: u8, escapes: bool, escaped: bool },
    /// After a dollar, of which it is not known yet whether it opens a quote.
    Dollar(Vec<u8>),
    /// In a text quoted by `$tag$`; how many bytes of the closing one were seen.
    DollarQuoted { tag: Vec<u8>, seen: usize },
    /// After the semicolon of a COPY, before its first row.
    BeforeRows,
    /// At the beginning of a row, or so many bytes into the end mark.
    RowStart(usize),
    /// In a row of a table of which only the number counts.
    Row,
    /// In a row of the table whose fields are wanted.
    WantedRow,
}

/// See the module.
#[derive(Debug)]
pub struct Reader {
    place: Place,
    head: Vec<u8>,
    /// Parentheses that are open in a statement.
    parentheses: usize,
    /// Blocks that are open in it, of which each has statements of its own (`BEGIN ATOMIC`).
    blocks: usize,
    /// What of a routine's statement stands outside of quotes and parentheses and was not looked through for blocks yet.
    plain: Vec<u8>,
    last: u8,
    /// The byte before closed an E'' string: a quote now goes on with it.
    escapes_go_on: bool,
    sink: Option<Sink>,
    /// Whether the sink's table was met with its first column.
    seen: bool,
    /// Whether the rows of another were met after it.
    passed: bool,
    /// Where the wanted columns stand in the rows that are read; none where no fields are wanted.
    positions: Option<Vec<Option<usize>>>,
    field: usize,
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
            head: Vec::new(),
            parentheses: 0,
            blocks: 0,
            plain: Vec::new(),
            last: 0,
            escapes_go_on: false,
            sink,
            seen: false,
            passed: false,
            positions: None,
            field: 0,
            rows: 0,
            table: String::new(),
            tables: BTreeMap::new(),
            established: false,
            complete: false,
        }
    }

    pub fn established(&self) -> bool {
        self.established
    }

    pub fn passed(&self) -> bool {
        self.passed
    }

    pub fn finish(mut self) -> Scanned {
        if self.place == Place::Line {
            self.end_line();
        }
        let (null_hashes, malformed_hashes) = self.sink.as_ref().map_or((0, 0), Sink::without_hash);
        Scanned {
            files_seen: self.seen,
            files: self.sink.as_ref().map_or(0, |sink| sink.rows),
            null_hashes,
            malformed_hashes,
            complete: self.complete,
            tables: self.tables,
        }
    }

    pub fn feed(&mut self, mut bytes: &[u8], show: &mut dyn FnMut(Piece<'_>)) {
        self.established |= !bytes.is_empty();
        while !bytes.is_empty() {
            let inside = self.place != Place::Between;
            let before_rows = self.place == Place::BeforeRows;
            let taken = match self.place {
                Place::Between => self.between(bytes),
                Place::Line => self.line(bytes),
                Place::Statement => self.statement(bytes),
                Place::InnerComment => self.inner_comment(bytes),
                Place::Quoted { .. } => self.quoted(bytes),
                Place::Dollar(_) => self.dollar(bytes[0]),
                Place::DollarQuoted { .. } => self.dollar_quoted(bytes),
                Place::BeforeRows => self.before_rows(bytes),
                Place::RowStart(_) => self.row_start(bytes[0]),
                Place::Row => self.row(bytes),
                Place::WantedRow => self.wanted_row(bytes),
            };
            if inside {
                show(Piece::Part(&bytes[..taken]));
            }
            if before_rows && self.place != Place::BeforeRows {
                show(Piece::Rows);
            }
            if inside && self.place == Place::Between {
                show(Piece::End);
            }
            bytes = &bytes[taken..];
        }
    }

    fn between(&mut self, bytes: &[u8]) -> usize {
        let blank = bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let Some(&first) = bytes.get(blank) else { return blank };
        self.head.clear();
        self.plain.clear();
        (self.parentheses, self.blocks, self.last) = (0, 0, 0);
        self.place = match first {
            // No statement begins with either.
            b'-' | b'\\' => Place::Line,
            _ => Place::Statement,
        };
        blank
    }

    fn keep(&mut self, bytes: &[u8], limit: usize) {
        let room = limit.saturating_sub(self.head.len());
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn line(&mut self, bytes: &[u8]) -> usize {
        let end = memchr(b'\n', bytes);
        self.keep(&bytes[..end.unwrap_or(bytes.len())], LINE_KEPT);
        let Some(end) = end else { return bytes.len() };
        self.end_line();
        end + 1
    }

    fn end_line(&mut self) {
        self.complete |= self.head.starts_with(END_MARK);
        self.place = Place::Between;
    }

    /// Takes bytes up to one that matters: the end, or the beginning of something quoted.
    fn statement(&mut self, bytes: &[u8]) -> usize {
        self.complete = false;
        let matters = |byte: &u8| matches!(byte, b';' | b'\'' | b'"' | b'$' | b'-' | b'(' | b')');
        let plain = bytes.iter().position(matters).unwrap_or(bytes.len());
        self.keep(&bytes[..plain], HEAD_KEPT);
        if self.parentheses == 0 && self.is_of_a_routine() {
            self.plain.extend_from_slice(&bytes[..plain]);
            // A word ends here.
            self.plain.extend(bytes.get(plain).map(|_| b' '));
        }
        let escapes_go_on = std::mem::take(&mut self.escapes_go_on) && plain == 0;
        if plain > 0 {
            self.last = bytes[plain - 1];
        }
        let Some(&byte) = bytes.get(plain) else { return plain };
        self.keep(&[byte], HEAD_KEPT);
        match byte {
            b';' if self.ends_here() => self.end_statement(),
            b'(' => self.parentheses += 1,
            b')' => self.parentheses = self.parentheses.saturating_sub(1),
            b'\'' => {
                let escapes = escapes_go_on || self.after_e();
                self.place = Place::Quoted { end: byte, escapes, escaped: false };
            }
            b'"' => self.place = Place::Quoted { end: byte, escapes: false, escaped: false },
            // Within a name a dollar is a letter.
            b'$' if !names::is_word(self.last) => self.place = Place::Dollar(vec![b'$']),
            b'-' if self.last == b'-' => self.place = Place::InnerComment,
            _ => {}
        }
        self.last = byte;
        plain + 1
    }

    fn is_of_a_routine(&self) -> bool {
        self.head.starts_with(b"CREATE FUNCTION ") || self.head.starts_with(b"CREATE PROCEDURE ")
    }

    /// Whether a semicolon here ends the statement, as psql has it (psqlscan.l): not within parentheses, as in a rule with
    /// several actions, nor in the body of a routine that is written as statements of SQL.
    fn ends_here(&mut self) -> bool {
        for word in self.plain.split(|byte| !names::is_word(*byte)) {
            match () {
                () if word.eq_ignore_ascii_case(b"BEGIN") => self.blocks += 1,
                () if word.eq_ignore_ascii_case(b"CASE") && self.blocks > 0 => self.blocks += 1,
                () if word.eq_ignore_ascii_case(b"END") => self.blocks = self.blocks.saturating_sub(1),
                () => {}
            }
        }
        self.plain.clear();
        self.parentheses == 0 && self.blocks == 0
    }

    /// Whether the quote that was just kept follows an E that stands alone.
    fn after_e(&self) -> bool {
        let before = self.head.len().checked_sub(3).and_then(|at| self.head.get(at)).copied();
        matches!(self.last, b'e' | b'E') && !before.is_some_and(names::is_word)
    }

    fn inner_comment(&mut self, bytes: &[u8]) -> usize {
        let Some(end) = memchr(b'\n', bytes) else { return bytes.len() };
        self.last = b'\n';
        self.place = Place::Statement;
        end + 1
    }

    fn quoted(&mut self, bytes: &[u8]) -> usize {
        let Place::Quoted { end, escapes, escaped } = self.place else { return 0 };
        if escaped {
            self.place = Place::Quoted { end, escapes, escaped: false };
            self.keep(&bytes[..1], HEAD_KEPT);
            return 1;
        }
        let next = if escapes { memchr2(end, b'\\', bytes) } else { memchr(end, bytes) };
        let taken = next.map_or(bytes.len(), |at| at + 1);
        self.keep(&bytes[..taken], HEAD_KEPT);
        match next {
            Some(at) if bytes[at] == end => {
                // A doubled quote ends and begins again.
                self.last = end;
                self.escapes_go_on = escapes;
                self.place = Place::Statement;
            }
            Some(_) => self.place = Place::Quoted { end, escapes, escaped: true },
            None => {}
        }
        taken
    }

    /// One byte after a dollar: part of a tag, its end, or the proof that it was none.
    fn dollar(&mut self, byte: u8) -> usize {
        let Place::Dollar(tag) = &mut self.place else { return 0 };
        let first = tag.len() == 1;
        if byte == b'$' {
            tag.push(byte);
            let tag = std::mem::take(tag);
            self.place = Place::DollarQuoted { tag, seen: 0 };
            return 1;
        }
        if names::is_word(byte) && !(first && byte.is_ascii_digit()) {
            tag.push(byte);
            return 1;
        }
        self.place = Place::Statement;
        0
    }

    fn dollar_quoted(&mut self, bytes: &[u8]) -> usize {
        let Place::DollarQuoted { tag, seen } = &mut self.place else { return 0 };
        let mut taken = 0;
        if *seen == 0 {
            let Some(next) = memchr(b'$', bytes) else { return bytes.len() };
            taken = next;
        }
        let byte = bytes[taken];
        if byte == tag[*seen] {
            *seen += 1;
            taken += 1;
        } else {
            // A dollar that does not go on as the tag may be the first of the tag itself: it is looked at again.
            *seen = 0;
        }
        if *seen == tag.len() {
            self.last = b'$';
            self.place = Place::Statement;
        }
        taken
    }

    fn end_statement(&mut self) {
        let head = std::mem::take(&mut self.head);
        self.place = Place::Between;
        if let Some(target) = head.strip_prefix(b"COPY ").filter(|head| head.ends_with(b" FROM stdin;")) {
            self.begin_rows(target);
        }
    }

    /// `target` is `schema.table (columns) FROM stdin;`
    fn begin_rows(&mut self, target: &[u8]) {
        let (mut names, rest) = names::path(target);
        let table = names.pop().unwrap_or_default();
        let schema = names.pop();
        let columns = memchr(b'(', rest).map(|open| names::list(&rest[open + 1..])).unwrap_or_default();
        let sink = self.sink.as_ref().filter(|sink| sink.wants(schema.as_deref(), &table));
        self.passed |= self.seen && sink.is_none() && self.sink.as_ref().is_some_and(Sink::is_about_one);
        self.positions = sink.map(|sink| sink.positions(&columns));
        self.seen |= self.positions.as_ref().is_some_and(|all| all.first().is_some_and(Option::is_some));
        self.table = schema.map_or_else(|| table.clone(), |schema| format!("{schema}.{table}"));
        (self.rows, self.field) = (0, 0);
        self.place = Place::BeforeRows;
    }

    fn before_rows(&mut self, bytes: &[u8]) -> usize {
        let Some(end) = memchr(b'\n', bytes) else { return bytes.len() };
        self.place = Place::RowStart(0);
        end + 1
    }

    /// Looks whether the line is `\.`; if it is not, the bytes of it that were taken belong to the row.
    fn row_start(&mut self, byte: u8) -> usize {
        let Place::RowStart(seen) = self.place else { return 0 };
        match (seen, byte) {
            (0, b'\\') | (1, b'.') => self.place = Place::RowStart(seen + 1),
            (2, b'\n') => {
                *self.tables.entry(std::mem::take(&mut self.table)).or_insert(0) += self.rows;
                self.place = Place::Between;
            }
            _ => {
                self.field = 0;
                self.place = if self.positions.is_some() { Place::WantedRow } else { Place::Row };
                self.push_if_wanted(&b"\\."[..seen]);
                return 0;
            }
        }
        1
    }

    fn row(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(end) = memchr(b'\n', &bytes[at..]) {
            at += end + 1;
            self.rows += 1;
            if bytes.get(at).is_none_or(|byte| *byte == b'\\') {
                self.place = Place::RowStart(0);
                return at;
            }
        }
        bytes.len()
    }

    fn wanted_row(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        loop {
            let next = memchr2(b'\t', b'\n', &bytes[at..]);
            let end = next.map_or(bytes.len(), |next| at + next);
            self.push_if_wanted(&bytes[at..end]);
            match next.map(|_| bytes[end]) {
                None => return bytes.len(),
                Some(b'\t') => self.field += 1,
                Some(_) => {
                    self.rows += 1;
                    self.sink.as_mut().into_iter().for_each(Sink::end_row);
                    self.place = Place::RowStart(0);
                    return end + 1;
                }
            }
            at = end + 1;
        }
    }

    fn push_if_wanted(&mut self, part: &[u8]) {
        let at = self.positions.as_ref().and_then(|all| all.iter().position(|at| *at == Some(self.field)));
        if let (Some(column), Some(sink)) = (at, &mut self.sink) {
            sink.push(column, part);
        }
    }
}
