//! A table's description in a dump of MariaDB or MySQL, taken apart: the table with its primary key, and the other keys, which
//! are made faster when all rows are there. Knows SQL only as SHOW CREATE TABLE writes it: each column and key
//! on a line of its own.

use crate::database::scanner::names;

/// A table that is filled before its keys are made.
#[derive(Debug, PartialEq, Eq)]
pub struct Apart {
    /// CREATE TABLE without them.
    pub create: Vec<u8>,
    /// ALTER TABLE that makes them, without its semicolon; `None` where there are none.
    pub keys: Option<Vec<u8>>,
}

/// Takes a CREATE TABLE apart. `None` where the table is to be made as it is: with an engine that makes its keys at the end
/// anyway, without a primary key of which the rows' order comes, or with anything that needs its keys from the beginning.
pub fn take_apart(create: &[u8]) -> Option<Apart> {
    let (name, _) = names::in_backquotes(create.strip_prefix(b"CREATE TABLE ")?)?;
    let end = memchr::memmem::rfind(create, b"\n) ENGINE=InnoDB")?;
    let has = |text: &[u8], word: &[u8]| memchr::memmem::find(text, word).is_some();
    if has(&create[end..], b"PARTITION BY") {
        return None;
    }
    let body = &create[..end];
    let awkward: [&[u8]; 7] =
        [b"CONSTRAINT ", b"FULLTEXT ", b"SPATIAL ", b"VECTOR ", b"GENERATED ALWAYS", b" PERIOD FOR ", b" INVISIBLE"];
    if awkward.iter().any(|word| has(body, word)) {
        return None;
    }
    let mut lines: Vec<&[u8]> = Vec::new();
    let mut keys: Vec<&[u8]> = Vec::new();
    let mut primary = None;
    let mut counted = None;
    for line in body.split(|byte| *byte == b'\n') {
        let words = line.trim_ascii_start();
        let words = words.strip_suffix(b",").unwrap_or(words);
        if words.starts_with(b"KEY `") || words.starts_with(b"UNIQUE KEY `") {
            keys.push(words);
            continue;
        }
        if let Some(columns) = words.strip_prefix(b"PRIMARY KEY (") {
            primary = names::in_backquotes(columns).map(|(name, _)| name);
        }
        if words.starts_with(b"`") && has(words, b"AUTO_INCREMENT") {
            counted = names::in_backquotes(words).map(|(name, _)| name);
        }
        lines.push(line);
    }
    // Such a column must be the first of a key.
    if primary.is_none() || counted.is_some() && counted != primary {
        return None;
    }
    let last = lines.pop()?;
    lines.push(last.strip_suffix(b",").unwrap_or(last));
    let mut rest = lines.join(&b'\n');
    rest.extend_from_slice(&create[end..]);
    let added: Vec<Vec<u8>> = keys.iter().map(|key| [b"ADD ", *key].concat()).collect();
    let table = format!("ALTER TABLE `{}` ", name.replace('`', "``"));
    let keys = (!added.is_empty()).then(|| [table.as_bytes(), &added.join(&b", "[..])].concat());
    Some(Apart { create: rest, keys })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apart(create: &str) -> Option<(String, Option<String>)> {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        take_apart(create.as_bytes()).map(|it| (text(it.create), it.keys.map(text)))
    }

    #[test]
    fn keys_are_taken_out_and_made_afterwards() {
        let (create, keys) = apart(
            "CREATE TABLE `mdl_``x` (\n  `id` bigint(20) NOT NULL AUTO_INCREMENT,\n  `a` varchar(9) COMMENT 'KEY `a`, (',\n  \
             PRIMARY KEY (`id`),\n  UNIQUE KEY `u` (`a`),\n  KEY `k` (`a`(5),`id`) USING BTREE COMMENT 'x,y'\n) ENGINE=InnoDB \
             AUTO_INCREMENT=5 DEFAULT CHARSET=utf8mb4;",
        )
        .unwrap();
        assert_eq!(
            create,
            "CREATE TABLE `mdl_``x` (\n  `id` bigint(20) NOT NULL AUTO_INCREMENT,\n  `a` varchar(9) COMMENT 'KEY `a`, (',\n  \
             PRIMARY KEY (`id`)\n) ENGINE=InnoDB AUTO_INCREMENT=5 DEFAULT CHARSET=utf8mb4;"
        );
        assert_eq!(
            keys.unwrap(),
            "ALTER TABLE `mdl_``x` ADD UNIQUE KEY `u` (`a`), ADD KEY `k` (`a`(5),`id`) USING BTREE COMMENT 'x,y'"
        );
    }

    #[test]
    fn tables_that_need_their_keys_at_once_stay_whole() {
        let table = |columns: &str, engine: &str| format!("CREATE TABLE `t` (\n{columns}\n) ENGINE={engine};");
        let id = "  `id` int NOT NULL,\n  PRIMARY KEY (`id`)";
        assert_eq!(apart(&table(id, "InnoDB")).unwrap().1, None);
        for (columns, engine) in [
            (id.to_owned(), "MyISAM"),
            (id.to_owned(), "InnoDB PARTITION BY HASH (`id`)"),
            ("  `id` int NOT NULL,\n  UNIQUE KEY `u` (`id`)".into(), "InnoDB"),
            ("  `a` int,\n  `n` int AUTO_INCREMENT,\n  PRIMARY KEY (`a`),\n  KEY `n` (`n`)".into(), "InnoDB"),
            (format!("{id},\n  KEY `k` (`id`),\n  CONSTRAINT `c` FOREIGN KEY (`id`) REFERENCES `o` (`id`)"), "InnoDB"),
            (format!("{id},\n  FULLTEXT KEY `f` (`id`)"), "InnoDB"),
            (format!("  `g` int GENERATED ALWAYS AS (1) STORED,\n{id}"), "InnoDB"),
        ] {
            assert_eq!(apart(&table(&columns, engine)), None, "{columns} {engine}");
        }
    }
}
