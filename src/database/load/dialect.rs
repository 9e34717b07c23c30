//! What stands in a dump of MariaDB and MySQL does not take: an SQL mode, round triggers, routines and events.

use crate::database::Connection;
use crate::error::Result;

/// It keeps GRANT from making accounts, which MySQL's does not do any more, since 8.0.11; and is in MariaDB's usual modes.
const OLD_MODE: &[u8] = b"NO_AUTO_CREATE_USER";

/// The lines of the dump clients that set modes (client/mysqldump.cc).
const SET_MODE: &[u8] = b"/*!50003 SET sql_mode ";

/// What is known of the server that a dump is loaded into.
pub struct Dialect<'a> {
    connection: &'a Connection,
    is_mysql: Option<bool>,
}

impl<'a> Dialect<'a> {
    pub fn new(connection: &'a Connection) -> Self {
        Dialect { connection, is_mysql: None }
    }

    /// A statement as the server takes it; rows are none.
    pub fn own(&mut self, item: Vec<u8>) -> Result<Vec<u8>> {
        if memchr::memmem::find(&item, OLD_MODE).is_none() {
            return Ok(item);
        }
        let is_mysql = match self.is_mysql {
            Some(known) => known,
            None => self.connection.session()?.facts()?.product == "mysql",
        };
        self.is_mysql = Some(is_mysql);
        Ok(if is_mysql { without_old_mode(&item) } else { item })
    }
}

fn without_old_mode(item: &[u8]) -> Vec<u8> {
    let line = |line: &[u8]| match memchr::memmem::find(line, OLD_MODE).filter(|_| line.starts_with(SET_MODE)) {
        None => line.to_vec(),
        Some(at) => {
            let rest = &line[at + OLD_MODE.len()..];
            // Not an empty word between two commas, or beside one.
            match rest.strip_prefix(b",") {
                Some(rest) => [&line[..at], rest].concat(),
                None => [line[..at].strip_suffix(b",").unwrap_or(&line[..at]), rest].concat(),
            }
        }
    };
    item.split_inclusive(|byte| *byte == b'\n').flat_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::without_old_mode;

    #[test]
    fn a_mode_that_is_gone_is_left_out_where_modes_are_set() {
        let without = |text: &str| String::from_utf8(without_old_mode(text.as_bytes())).unwrap();
        // As MariaDB 11.8 writes it.
        assert_eq!(
            without(
                "/*!50003 SET sql_mode              = 'STRICT_TRANS_TABLES,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION' */ ;"
            ),
            "/*!50003 SET sql_mode              = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION' */ ;"
        );
        assert_eq!(
            without(
                "DELIMITER ;;\n/*!50003 SET sql_mode = 'A,NO_AUTO_CREATE_USER' */ ;;\nSELECT 'A,NO_AUTO_CREATE_USER' ;;"
            ),
            "DELIMITER ;;\n/*!50003 SET sql_mode = 'A' */ ;;\nSELECT 'A,NO_AUTO_CREATE_USER' ;;"
        );
        assert_eq!(without("/*!50003 SET sql_mode = 'NO_AUTO_CREATE_USER' */ ;"), "/*!50003 SET sql_mode = '' */ ;");
    }
}
