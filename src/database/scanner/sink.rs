//! Who takes the fields of one table's rows: the taker of content hashes, or one of whole values. The readers know where a
//! field begins and ends, and not what is in it.

use super::hash_field::{self, HashField};
use super::row_fields::RowFields;
use super::{Engine, FilesTable, TableRows};

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// As in SQL: `'text'`, `NULL`, `0x41`.
    Sql,
    /// As in COPY: `text`, `\N`.
    Copy,
}

impl Syntax {
    fn of(engine: Engine) -> Syntax {
        match engine {
            Engine::MariaDb => Syntax::Sql,
            Engine::Postgres => Syntax::Copy,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Sink {
    schema: Option<String>,
    table: String,
    columns: Vec<String>,
    taker: Taker,
    /// Rows so far.
    pub rows: u64,
}

#[derive(Debug)]
enum Taker {
    Hash(HashField),
    Rows(RowFields),
}

impl Sink {
    pub fn hashes(files: FilesTable, engine: Engine) -> Self {
        Sink {
            schema: files.schema.clone(),
            table: files.name.clone(),
            columns: vec![hash_field::COLUMN.to_owned()],
            taker: Taker::Hash(HashField::new(files, Syntax::of(engine))),
            rows: 0,
        }
    }

    pub fn rows(table: TableRows, engine: Engine) -> Self {
        Sink {
            schema: table.schema.clone(),
            table: table.name.clone(),
            columns: table.columns.clone(),
            taker: Taker::Rows(RowFields::new(table, Syntax::of(engine))),
            rows: 0,
        }
    }

    /// Whether it wants the rows of this table.
    pub fn wants(&self, schema: Option<&str>, table: &str) -> bool {
        self.table == table && (self.schema.is_none() || self.schema.as_deref() == schema)
    }

    /// Whether no second table can be meant: without a schema, any schema may have one of that name.
    pub fn is_about_one(&self) -> bool {
        self.schema.is_some()
    }

    /// Where in a row each of its columns stands, in a table that has these.
    pub fn positions(&self, columns: &[String]) -> Vec<Option<usize>> {
        self.columns.iter().map(|wanted| columns.iter().position(|column| column == wanted)).collect()
    }

    /// A part of the field of its column with this number, as it stands in the dump.
    pub fn push(&mut self, column: usize, part: &[u8]) {
        match &mut self.taker {
            Taker::Hash(field) => field.push(part),
            Taker::Rows(fields) => fields.push(column, part),
        }
    }

    /// The row is over.
    pub fn end_row(&mut self) {
        self.rows += 1;
        match &mut self.taker {
            Taker::Hash(field) => field.end_row(),
            Taker::Rows(fields) => fields.end_row(),
        }
    }

    /// Rows whose hash is NULL, and whose hash is none.
    pub fn without_hash(&self) -> (u64, u64) {
        match &self.taker {
            Taker::Hash(field) => (field.null, field.malformed),
            Taker::Rows(_) => (0, 0),
        }
    }
}
