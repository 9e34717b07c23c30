//! The readers against dumps that are written here from known rows, in the manner of the clients, and cut anywhere.

use super::{FilesTable, Scanned, Scanner};
use crate::database::Engine;
use proptest::prelude::*;
use std::sync::{Arc, Mutex};

/// A field as it is stored.
#[derive(Clone, Debug)]
enum Field {
    Null,
    Number(i64),
    Text(String),
}

/// A table: name, columns, rows.
#[derive(Clone, Debug)]
struct Table {
    name: String,
    columns: Vec<String>,
    rows: Vec<Vec<Field>>,
}

fn text() -> impl Strategy<Value = String> {
    // Made of what could lead a reader astray.
    let pieces = prop::sample::select(vec![
        "'",
        "\\",
        "\"",
        "`",
        "(",
        ")",
        ",",
        ";",
        "\n",
        "\t",
        "--",
        " ",
        "$",
        "$$",
        "é",
        "\0",
        "x",
        "NULL",
        "\\.",
        "\\N",
        "INSERT INTO `mdl_files` VALUES (1,'a');\n",
        "COPY public.mdl_files (id, contenthash) FROM stdin;\n",
        "\n-- Dump completed on x\n",
        "\n-- PostgreSQL database dump complete\n",
        "DELIMITER ;;\n",
        "\n\\.\n",
        "/*!",
        "*/",
        "E'",
        " VALUES",
        "_binary ",
    ]);
    prop::collection::vec(pieces, 0..6).prop_map(|pieces| pieces.concat())
}

fn field() -> impl Strategy<Value = Field> {
    prop_oneof![Just(Field::Null), any::<i64>().prop_map(Field::Number), text().prop_map(Field::Text)]
}

fn hash_field() -> impl Strategy<Value = Field> {
    prop_oneof![
        8 => any::<[u8; 20]>().prop_map(|hash| Field::Text(hex(&hash))),
        1 => field(),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("mdl_files".to_owned()),
        "[a-z_]{1,8}",
        // Names with all that quoting must bear; a dot or line end in a name is beyond what the servers write plainly.
        prop::collection::vec(
            prop::sample::select(vec!["`", "'", "\"", "(", " VALUES", ";", " ", "é", "--", "$"]),
            1..4
        )
        .prop_map(|pieces| format!("t{}", pieces.concat())),
    ]
}

fn table() -> impl Strategy<Value = Table> {
    (name(), 0..4usize, prop::collection::vec("[a-z]{1,5}", 3)).prop_flat_map(|(name, position, mut columns)| {
        columns.insert(position, "contenthash".to_owned());
        let fields: Vec<BoxedStrategy<Field>> =
            (0..4).map(|at| if at == position { hash_field().boxed() } else { field().boxed() }).collect();
        prop::collection::vec(fields, 0..5).prop_map(move |rows| Table {
            name: name.clone(),
            columns: columns.clone(),
            rows,
        })
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mariadb_text(text: &str) -> String {
    let mut quoted = String::from("'");
    for letter in text.chars() {
        match letter {
            '\0' => quoted.push_str("\\0"),
            '\n' => quoted.push_str("\\n"),
            '\'' | '"' | '\\' => quoted.extend(['\\', letter]),
            other => quoted.push(other),
        }
    }
    quoted + "'"
}

fn mariadb_name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn mariadb_dump(tables: &[Table], lines: bool, with_columns: bool) -> Vec<u8> {
    let mut dump = String::from(
        "/*M!999999\\- enable the sandbox mode */ \n-- Host: it's    Database: x\n--\n\n/*!40101 SET NAMES utf8mb4 */;\n",
    );
    for table in tables {
        let name = mariadb_name(&table.name);
        let columns: Vec<String> = table.columns.iter().map(|column| mariadb_name(column)).collect();
        let body: Vec<String> =
            columns.iter().map(|column| format!("  {column} varchar(40) COMMENT 'it''s; `contenthash`'")).collect();
        dump += &format!(
            "DROP TABLE IF EXISTS {name};\nCREATE TABLE {name} (\n{},\n  KEY `contenthash` (`contenthash`)\n) COMMENT='a\\'b;';\n",
            body.join(",\n")
        );
        let rows: Vec<String> = table
            .rows
            .iter()
            .map(|row| {
                let fields: Vec<String> = row
                    .iter()
                    .map(|field| match field {
                        Field::Null => "NULL".to_owned(),
                        Field::Number(number) => number.to_string(),
                        Field::Text(text) => mariadb_text(text),
                    })
                    .collect();
                format!("({})", fields.join(","))
            })
            .collect();
        if !rows.is_empty() {
            let list = if with_columns { format!(" ({})", columns.join(", ")) } else { String::new() };
            let (begin, between) = if lines { ("\n", ",\n") } else { (" ", ",") };
            dump += &format!("INSERT INTO {name}{list} VALUES{begin}{};\n", rows.join(between));
        }
        dump += "DELIMITER ;;\n/*!50003 CREATE*/ /*!50003 TRIGGER t BEGIN INSERT INTO `mdl_files` VALUES (1); it's END */;;\nDELIMITER ;\n";
    }
    (dump + "\n-- Dump completed on 2026-11-23 14:47:21\n").into_bytes()
}

fn postgres_text(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('\t', "\\t")
}

fn postgres_name(name: &str) -> String {
    match name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

fn postgres_dump(tables: &[Table], remark: &str) -> Vec<u8> {
    let mut dump = String::from(
        "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\nSET standard_conforming_strings = on;\n",
    );
    let plain = remark.replace('\'', "''");
    let escaped = remark.replace('\\', "\\\\").replace('\'', "''");
    for table in tables {
        let name = format!("public.{}", postgres_name(&table.name));
        dump += &format!("COMMENT ON TABLE {name} IS '{plain}';\nCOMMENT ON TABLE {name} IS E'{escaped}';\n");
        dump += &format!("CREATE FUNCTION f() RETURNS int AS $_x$ {} $_y$ $x it's $_x$;\n", remark.replace("$", "§"));
        let columns: Vec<String> = table.columns.iter().map(|column| postgres_name(column)).collect();
        dump += &format!("COPY {name} ({}) FROM stdin;\n", columns.join(", "));
        for row in &table.rows {
            let fields: Vec<String> = row
                .iter()
                .map(|field| match field {
                    Field::Null => "\\N".to_owned(),
                    Field::Number(number) => number.to_string(),
                    Field::Text(text) => postgres_text(text),
                })
                .collect();
            dump += &format!("{}\n", fields.join("\t"));
        }
        dump += "\\.\n\n\n";
    }
    (dump + "--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n\n").into_bytes()
}

/// What the readers ought to find.
fn expected(tables: &[Table], schema: &str) -> (Scanned, Vec<[u8; 20]>) {
    let (mut scanned, mut hashes) = (Scanned { complete: true, ..Scanned::default() }, Vec::new());
    for table in tables {
        *scanned.tables.entry(format!("{schema}{}", table.name)).or_insert(0) += table.rows.len() as u64;
        if table.name != "mdl_files" {
            continue;
        }
        scanned.files_seen = true;
        let position = table.columns.iter().position(|column| column == "contenthash").unwrap_or_default();
        for row in &table.rows {
            scanned.files += 1;
            match &row[position] {
                Field::Null => scanned.null_hashes += 1,
                Field::Text(text) if text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                    let digit = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap_or_default();
                    hashes.push(std::array::from_fn(digit));
                }
                _ => scanned.malformed_hashes += 1,
            }
        }
    }
    (scanned, hashes)
}

fn scan(engine: Engine, dump: &[u8], cuts: &[usize]) -> (Scanned, Vec<[u8; 20]>) {
    let hashes = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&hashes);
    let each = Box::new(move |hash| sink.lock().unwrap().push(hash));
    let mut scanner = Scanner::new(engine, Some(FilesTable { schema: None, name: "mdl_files".into(), each }));
    let mut rest = dump;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at((*cuts.next().unwrap()).clamp(1, rest.len()));
        scanner.feed(piece);
        rest = after;
    }
    assert!(scanner.established() || dump.is_empty() || engine == Engine::MariaDb);
    let scanned = scanner.finish();
    let hashes = std::mem::take(&mut *hashes.lock().unwrap());
    (scanned, hashes)
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![1]), Just(vec![usize::MAX]), prop::collection::vec(1..60usize, 1..8)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn mariadb_dumps_are_read_as_they_were_written(
        tables in prop::collection::vec(table(), 0..4), cuts in cuts(), lines: bool, with_columns: bool
    ) {
        let dump = mariadb_dump(&tables, lines, with_columns);
        prop_assert_eq!(scan(Engine::MariaDb, &dump, &cuts), expected(&tables, ""));
    }

    #[test]
    fn postgres_dumps_are_read_as_they_were_written(
        tables in prop::collection::vec(table(), 0..4), cuts in cuts(), remark in text()
    ) {
        let dump = postgres_dump(&tables, &remark);
        prop_assert_eq!(scan(Engine::Postgres, &dump, &cuts), expected(&tables, "public."));
    }

    #[test]
    fn a_dump_that_is_cut_short_is_not_complete(
        tables in prop::collection::vec(table(), 0..4), at: prop::sample::Index, lines: bool
    ) {
        for (engine, dump, end) in [
            (Engine::MariaDb, mariadb_dump(&tables, lines, false), "-- Dump completed"),
            (Engine::Postgres, postgres_dump(&tables, ""), "-- PostgreSQL database dump complete"),
        ] {
            let end = dump.windows(end.len()).rposition(|window| window == end.as_bytes()).unwrap();
            prop_assert!(!scan(engine, &dump[..at.index(end + 1)], &[7]).0.complete);
        }
    }

    #[test]
    fn nonsense_is_survived_however_it_is_cut(bytes: Vec<u8>, pieces in prop::collection::vec(text(), 0..20), cuts in cuts()) {
        let mut dump = pieces.concat().into_bytes();
        dump.extend(bytes);
        for engine in [Engine::MariaDb, Engine::Postgres] {
            prop_assert_eq!(scan(engine, &dump, &cuts), scan(engine, &dump, &[1]));
        }
    }
}

#[test]
fn hashes_in_binary_columns_are_understood() {
    let digits = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
    for value in [format!("0x{}", hex(digits.as_bytes()).to_uppercase()), format!("_binary '{digits}'")] {
        let dump = format!(
            "CREATE TABLE `mdl_files` (\n  `contenthash` binary(40)\n);\nINSERT INTO `mdl_files` VALUES ({value});\n"
        );
        let (scanned, hashes) = scan(Engine::MariaDb, dump.as_bytes(), &[5]);
        assert_eq!((hashes.len(), scanned.malformed_hashes), (1, 0), "{dump}");
        assert_eq!(hex(&hashes[0]), digits);
    }
}

#[test]
fn what_only_looks_like_null_or_a_hash_is_malformed() {
    let digits = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
    let quoted = format!("'{digits}'");
    let blank = format!(" {digits}");
    for value in ["NULL", &quoted, &blank, &digits.to_uppercase(), "", "\\\\N", &digits[1..]] {
        let dump = format!("COPY public.mdl_files (contenthash) FROM stdin;\n{value}\n\\.\n");
        let (scanned, hashes) = scan(Engine::Postgres, dump.as_bytes(), &[3]);
        assert_eq!((hashes.len(), scanned.null_hashes, scanned.malformed_hashes), (0, 0, 1), "{value}");
    }
    for value in ["'NULL'", "''", "'\\\\N'", "7", "0x00", &format!("'{blank}'")] {
        let table = "CREATE TABLE `mdl_files` (\n  `contenthash` varchar(40)\n);\n";
        let dump = format!("{table}INSERT INTO `mdl_files` VALUES ({value});\n");
        let (scanned, hashes) = scan(Engine::MariaDb, dump.as_bytes(), &[3]);
        assert_eq!((hashes.len(), scanned.null_hashes, scanned.malformed_hashes), (0, 0, 1), "{value}");
    }
}

/// Not a test of right or wrong: prints the speed of each reader. Run it with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn scanner_speed() {
    let row = |id: i64| {
        let fields =
            [hex(&[id as u8; 20]), "c".repeat(40), "it's a file; (1).pdf".into(), "/".into(), "mod_forum".into()];
        let texts = fields.into_iter().map(Field::Text);
        [Field::Number(id)].into_iter().chain(texts).chain([Field::Null, Field::Number(1_700_000_000)]).collect()
    };
    let columns: Vec<String> =
        ["id", "contenthash", "pathnamehash", "a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
    let rows: Vec<Vec<Field>> = (0..200_000).map(row).collect();
    for name in ["mdl_files", "mdl_log"] {
        let tables = [Table { name: name.into(), columns: columns.clone(), rows: rows.clone() }];
        for (engine, dump) in
            [(Engine::MariaDb, mariadb_dump(&tables, true, false)), (Engine::Postgres, postgres_dump(&tables, ""))]
        {
            let start = cpu_time();
            let each = Box::new(|_| ());
            let mut scanner = Scanner::new(engine, Some(FilesTable { schema: None, name: "mdl_files".into(), each }));
            let rounds = 20;
            for _ in 0..rounds {
                dump.chunks(256 * 1024).for_each(|piece| scanner.feed(piece));
            }
            let megabytes = (dump.len() * rounds) as f64 / 1e6;
            println!("{engine:?} {name}: {:.0} MB/s", megabytes / (cpu_time() - start));
        }
    }
}

/// Seconds of processor time this thread has had: the machine may have other work.
fn cpu_time() -> f64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    std::time::Duration::from(time).as_secs_f64()
}
