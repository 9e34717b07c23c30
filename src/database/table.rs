//! The rows of one table, out of a dump. Reads a stream, and no more of it than it must; knows no files and no servers.

use super::Engine;
use super::excerpt::Table;
use super::scanner::{Scanner, TableRows};
use crate::error::Result;
use crate::sys::signals;
use std::io::{ErrorKind, Read};
use std::sync::mpsc::channel;

const BUFFER: usize = 256 << 10;

/// The values of a row, in the order of the columns that were asked for; `None` is NULL, or a column that is not there.
pub type Row = Vec<Option<Vec<u8>>>;

/// A value as text; NULL as none.
pub fn text(value: &Option<Vec<u8>>) -> String {
    value.as_deref().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
}

/// Hands on every row of a table, and stops reading behind it: in a large dump the largest tables come later. Returns
/// whether the dump has the table with the first of the columns.
pub fn rows(
    engine: Engine,
    table: &Table,
    columns: &[&str],
    mut dump: impl Read,
    visit: &mut dyn FnMut(&Row),
) -> Result<bool> {
    let (sender, receiver) = channel::<Row>();
    let mut scanner = Scanner::of_rows(
        engine,
        TableRows {
            schema: table.schema.clone(),
            name: table.name.clone(),
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            each: Box::new(move |row| {
                // The other side lives as long as the scanner does.
                let _ = sender.send(row.to_vec());
            }),
        },
    );
    let mut buffer = vec![0; BUFFER];
    loop {
        signals::check()?;
        match dump.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => scanner.feed(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
        receiver.try_iter().for_each(|row| visit(&row));
        if scanner.passed() {
            break;
        }
    }
    Ok(scanner.finish().files_seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a text, and then fails.
    struct Beginning(Option<&'static str>);

    impl Read for Beginning {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let text = self.0.take().ok_or_else(|| std::io::Error::other("read too far"))?;
            buffer[..text.len()].copy_from_slice(text.as_bytes());
            Ok(text.len())
        }
    }

    fn ids(engine: Engine, text: &'static str) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        let schema = (engine == Engine::Postgres).then(|| "public".to_owned());
        let table = Table { schema, name: "mdl_files".into() };
        rows(engine, &table, &["id"], Beginning(Some(text)), &mut |row| ids.push(super::text(&row[0])))?;
        Ok(ids)
    }

    #[test]
    fn nothing_is_read_behind_the_table() {
        let mariadb = "CREATE TABLE `mdl_a` (\n  `id` int,\n);\nINSERT INTO `mdl_a` VALUES (9);\n\
                       CREATE TABLE `mdl_files` (\n  `id` int,\n  `name` text,\n);\nINSERT INTO `mdl_files` VALUES \
                       (1,'CREATE TABLE `b` (');\nINSERT INTO `mdl_files` VALUES (2,'');\n";
        let postgres = "COPY public.mdl_a (id) FROM stdin;\n9\n\\.\n\nCOPY public.mdl_files (id, name) FROM stdin;\n\
                        1\tCOPY public.b (id) FROM stdin;\n2\t\n\\.\n";
        for (engine, text) in [(Engine::MariaDb, mariadb), (Engine::Postgres, postgres)] {
            assert!(ids(engine, text).is_err(), "more rows may come");
        }
        let mariadb = "CREATE TABLE `mdl_files` (\n  `id` int,\n);\nINSERT INTO `mdl_files` VALUES (1),(2);\n\
                       CREATE TABLE `mdl_g` (\n  `id` int,\n);\n";
        let postgres = "COPY public.mdl_files (id) FROM stdin;\n1\n2\n\\.\n\nCOPY public.mdl_g (id) FROM stdin;\n";
        for (engine, text) in [(Engine::MariaDb, mariadb), (Engine::Postgres, postgres)] {
            assert_eq!(ids(engine, text).unwrap(), ["1", "2"]);
        }
    }
}
