//! Tables, pairs and wrapped text within 80 columns. Knows nothing of what stands in them.

use super::{Look, Paint};
pub(super) use crate::sys::log::plain;
pub(super) use crate::sys::wrap::width;
pub(crate) use crate::sys::wrap::wrapped;
use std::fmt::Write;

/// A name and its value on a line, the values under each other.
pub(super) fn pair(name: &str, value: &str) -> String {
    wrapped(&format!("{name:<16}"), value)
}

/// An item of a list.
pub(super) fn item(text: &str) -> String {
    wrapped("  - ", text)
}

/// Where the text of a column stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Side {
    Left,
    Right,
}

/// A table whose columns are as wide as their widest cell.
#[derive(Debug)]
pub(super) struct Table {
    sides: Vec<Side>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[(&str, Side)]) -> Table {
        Table {
            sides: head.iter().map(|(_, side)| *side).collect(),
            rows: vec![head.iter().map(|(name, _)| (*name).to_owned()).collect()],
        }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| plain(cell)).collect());
    }

    /// The rows, the head first, each with newlines. A last column that does not fit is wrapped under itself.
    pub fn rows(&self) -> Vec<String> {
        let width_of = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell)).max();
        let widths: Vec<usize> = (0..self.sides.len()).map(|column| width_of(column).unwrap_or(0)).collect();
        let row = |cells: &Vec<String>| {
            let mut line = String::new();
            let mut columns = cells.iter().zip(&widths).zip(&self.sides).peekable();
            while let Some(((cell, width), side)) = columns.next() {
                let _ = match (side, columns.peek()) {
                    (Side::Left, None) => return wrapped(&line, cell),
                    (Side::Left, _) => write!(line, "{cell:<width$}  "),
                    (Side::Right, _) => write!(line, "{cell:>width$}  "),
                };
            }
            line.trim_end().to_owned() + "\n"
        };
        self.rows.iter().map(row).collect()
    }

    /// All of it, the head emphasized.
    pub fn text(&self, look: &Look) -> String {
        let mut rows = self.rows().into_iter();
        let head = rows.next().unwrap_or_default();
        rows.fold(look.paint(Paint::Head, head.trim_end()) + "\n", |text, row| text + &row)
    }
}
