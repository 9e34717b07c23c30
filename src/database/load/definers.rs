//! As whom triggers, routines, events and views of a dump run: each CREATE names its definer, whom only an administrator may name if it
//! is another than himself. Decides who makes a thing, and with which definer; makes nothing.

use crate::database::Connection;
use crate::database::programs::Authority;
use crate::database::scanner::names;
use crate::error::Result;
use std::collections::BTreeSet;
use std::ops::Range;

/// Finds the server's administrator, where there is one to be had.
pub type Administrator<'a> = &'a dyn Fn() -> Option<Connection>;

/// Who makes a thing, and the statements that do it.
#[derive(Debug)]
pub enum Maker {
    /// The account that loads the dump.
    Own(Vec<u8>),
    /// The administrator.
    Administrator(Box<Connection>, Vec<u8>),
}

/// What is known of definers while a dump is loaded.
pub struct Definers<'a> {
    connection: &'a Connection,
    find: Administrator<'a>,
    authority: Option<Authority>,
    /// Looked for once.
    administrator: Option<Option<Connection>>,
    replaced: BTreeSet<String>,
}

impl<'a> Definers<'a> {
    pub fn new(connection: &'a Connection, find: Administrator<'a>) -> Self {
        Definers { connection, find, authority: None, administrator: None, replaced: BTreeSet::new() }
    }

    /// Those in whose place the account that loads the dump is the definer now.
    pub fn replaced(self) -> Vec<String> {
        self.replaced.into_iter().collect()
    }

    /// Who is to make what these statements make.
    pub fn maker(&mut self, mut item: Vec<u8>) -> Result<Maker> {
        let Some((place, definer)) = definer(&item) else { return Ok(Maker::Own(item)) };
        let authority = match self.authority.take() {
            Some(authority) => authority,
            None => Authority::of(&mut self.connection.session()?)?,
        };
        let authority = self.authority.insert(authority);
        let is_own = definer.title() == authority.account;
        if authority.is_administrator || is_own && !(authority.distrusted && is_logged(&item)) {
            return Ok(Maker::Own(item));
        }
        let account = authority.account.clone();
        let administrator = self.administrator.get_or_insert_with(self.find).clone();
        let keeps = match &administrator {
            Some(administrator) => is_own || definer.is_known(administrator)?,
            None => is_own,
        };
        if !keeps {
            let (user, host) = account.rsplit_once('@').unwrap_or((&account, "%"));
            let own = format!("{}@{}", self.connection.sql_name(user), self.connection.sql_name(host));
            item.splice(place, own.into_bytes());
            self.replaced.insert(definer.title());
        }
        Ok(match administrator {
            Some(administrator) if keeps || is_logged(&item) => Maker::Administrator(Box::new(administrator), item),
            _ => Maker::Own(item),
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Definer {
    user: String,
    host: String,
}

impl Definer {
    /// `root@localhost`
    fn title(&self) -> String {
        format!("{}@{}", self.user, self.host)
    }

    /// Whether the server has such an account: a trigger of one that it does not have keeps everybody from writing to its table.
    fn is_known(&self, administrator: &Connection) -> Result<bool> {
        let sql = format!(
            "SELECT COUNT(*) FROM mysql.user WHERE User = {} AND Host = {}",
            administrator.sql_text(&self.user),
            administrator.sql_text(&self.host)
        );
        Ok(administrator.session()?.value(&sql)?.is_some_and(|count| count != "0"))
    }
}

/// The account in the DEFINER clause of an item, and where it stands: at the beginning of a line that the dump clients write so.
fn definer(item: &[u8]) -> Option<(Range<usize>, Definer)> {
    let mut start = 0;
    for line in item.split_inclusive(|byte| *byte == b'\n') {
        let clause = ["CREATE DEFINER=", "/*!50003 CREATE*/ /*!50017 DEFINER=", "/*!50003 CREATE*/ /*!50020 DEFINER="]
            .into_iter()
            .chain(["/*!50106 CREATE*/ /*!50117 DEFINER=", "/*!50013 DEFINER="])
            .find(|clause| line.starts_with(clause.as_bytes()));
        if let Some(clause) = clause {
            let (user, rest) = names::in_backquotes(&line[clause.len()..])?;
            let (host, rest) = names::in_backquotes(rest.strip_prefix(b"@")?)?;
            return Some((start + clause.len()..start + line.len() - rest.len(), Definer { user, host }));
        }
        start += line.len();
    }
    None
}

/// Whether what is made is written to the binary log in a way that a server does not trust everybody with.
fn is_logged(item: &[u8]) -> bool {
    let has = |words: &[u8]| memchr::memmem::find(item, words).is_some();
    has(b"/*!50003 TRIGGER ") || has(b" FUNCTION ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definers_are_found_where_dumps_have_them() {
        for item in [
            "DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`ro``ot`@`local%`*/ /*!50003 TRIGGER t BEFORE INSERT ON a FOR EACH ROW \
             SET @x = 'DEFINER=`a`@`b`' */;;\nDELIMITER ;",
            "DELIMITER ;;\nCREATE DEFINER=`ro``ot`@`local%` PROCEDURE `p`()\nSELECT 1 ;;\nDELIMITER ;",
            "DELIMITER ;;\n/*!50003 SET sql_mode = '' */ ;;\n/*!50106 CREATE*/ /*!50117 DEFINER=`ro``ot`@`local%`*/ /*!50106 EVENT e */ ;;",
            "/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013 DEFINER=`ro``ot`@`local%` SQL SECURITY DEFINER */\n/*!50001 VIEW `v` */;",
        ] {
            let (place, found) = definer(item.as_bytes()).expect(item);
            assert_eq!(found.title(), "ro`ot@local%");
            assert_eq!(&item[place], "`ro``ot`@`local%`");
        }
        assert_eq!(definer(b"INSERT INTO `t` VALUES ('CREATE DEFINER=`a`@`b`');"), None);
    }
}
