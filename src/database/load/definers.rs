//! As whom triggers, routines, events and views of a dump run: each CREATE names its definer, whom only an administrator may name if it
//! is another than himself. A dump is not to be trusted with that: part of its text whoever could write to the site's database has
//! made up. So in place of others the account that loads it becomes the definer.

use crate::database::Connection;
use crate::database::rights::Rights;
use crate::database::scanner::names;
use crate::error::Result;
use std::ops::Range;

/// Something of which the account that loaded it is the definer now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Who was it: `root@localhost`.
    pub definer: String,
    /// `TRIGGER`, `VIEW` and so on.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// What is known of definers while a dump is loaded.
pub struct Definers<'a> {
    connection: &'a Connection,
    rights: Option<Rights>,
    replaced: Vec<Replaced>,
}

impl<'a> Definers<'a> {
    pub fn new(connection: &'a Connection) -> Self {
        Definers { connection, rights: None, replaced: Vec::new() }
    }

    /// What was defined by others.
    pub fn replaced(self) -> Vec<Replaced> {
        self.replaced
    }

    /// An item as this account may run it.
    pub fn own(&mut self, mut item: Vec<u8>) -> Result<Vec<u8>> {
        if let Some(place) = name_of_altered(&item) {
            // The dump's own, which may be another site's here.
            item.splice(place, self.connection.sql_name(&self.connection.name).into_bytes());
            return Ok(item);
        }
        let Some((place, definer)) = definer(&item) else { return Ok(item) };
        let rights = match self.rights.take() {
            Some(rights) => rights,
            None => Rights::of(&mut self.connection.session()?)?,
        };
        let rights = self.rights.insert(rights);
        if definer == rights.account || rights.may_name_definers && is_known(self.connection, &definer) {
            return Ok(item);
        }
        let (user, host) = rights.account.rsplit_once('@').unwrap_or((&rights.account, "%"));
        let own = format!("{}@{}", self.connection.sql_name(user), self.connection.sql_name(host));
        let (kind, name) = what_it_is(&item[place.end..]);
        self.replaced.push(Replaced { definer, kind, name });
        item.splice(place, own.into_bytes());
        Ok(item)
    }
}

/// Whether the server has such an account: a trigger of one that it does not have keeps everybody from writing to its table.
fn is_known(connection: &Connection, definer: &str) -> bool {
    let (user, host) = definer.rsplit_once('@').unwrap_or((definer, ""));
    let (user, host) = (connection.sql_text(user), connection.sql_text(host));
    let sql = format!("SELECT COUNT(*) FROM mysql.user WHERE User = {user} AND Host = {host}");
    let counted = connection.session().and_then(|mut session| session.value(&sql));
    counted.is_ok_and(|count| count.is_some_and(|count| count != "0"))
}

/// Where the name of the database stands in an ALTER DATABASE, which dumps have round what was made under another collation.
fn name_of_altered(item: &[u8]) -> Option<Range<usize>> {
    const ALTER: &[u8] = b"ALTER DATABASE ";
    let (_, rest) = names::in_backquotes(item.strip_prefix(ALTER)?)?;
    Some(ALTER.len()..item.len() - rest.len())
}

/// The account in the DEFINER clause of an item, and where it stands: at the beginning of a line that the dump clients write so.
fn definer(item: &[u8]) -> Option<(Range<usize>, String)> {
    const CLAUSES: [&str; 6] = [
        "CREATE DEFINER=",
        "/*!50003 CREATE*/ /*!50017 DEFINER=",
        "/*!50003 CREATE*/ /*!50020 DEFINER=",
        "/*!50106 CREATE*/ /*!50117 DEFINER=",
        "/*!50013 DEFINER=",
        "/*!50001 CREATE ALGORITHM=",
    ];
    let mut start = 0;
    for line in item.split_inclusive(|byte| *byte == b'\n') {
        if CLAUSES.iter().any(|clause| line.starts_with(clause.as_bytes()))
            && let Some(at) = memchr::memmem::find(line, b"DEFINER=")
        {
            let at = at + b"DEFINER=".len();
            let (user, mut rest) = quoted(&line[at..])?;
            let mut definer = format!("{user}@");
            // A role has no host.
            if let Some((host, after)) = rest.strip_prefix(b"@").and_then(quoted) {
                definer.push_str(&host);
                rest = after;
            }
            return Some((start + at..start + line.len() - rest.len(), definer));
        }
        start += line.len();
    }
    None
}

/// A name in backquotes, or in double quotes as some modes of the server have it.
fn quoted(text: &[u8]) -> Option<(String, &[u8])> {
    match text.first()? {
        b'`' => names::in_backquotes(text),
        b'"' => {
            let end = memchr::memchr(b'"', &text[1..])?;
            Some((String::from_utf8_lossy(&text[1..=end]).into_owned(), &text[end + 2..]))
        }
        _ => None,
    }
}

/// Kind and name, out of what follows the definer; for the administrator to read.
fn what_it_is(text: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(&text[..text.len().min(500)]).replace("*/", " ");
    let mut words = text.split_whitespace().skip_while(|word| {
        let kinds = ["TRIGGER", "PROCEDURE", "FUNCTION", "EVENT", "VIEW", "PACKAGE"];
        !kinds.iter().any(|kind| kind.eq_ignore_ascii_case(word))
    });
    let kind = words.next().unwrap_or("something").to_uppercase();
    let name = words.find(|word| !word.eq_ignore_ascii_case("BODY")).unwrap_or_default();
    let name = name.split(['(', ';']).next().unwrap_or_default();
    (kind, name.trim_matches(['`', '"']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definers_are_found_where_dumps_have_them() {
        for (item, clause, account, what) in [
            (
                "DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`ro``ot`@`local%`*/ /*!50003 trigger t BEFORE INSERT ON a FOR EACH \
                 ROW SET @x = 'DEFINER=`a`@`b`' */;;\nDELIMITER ;",
                "`ro``ot`@`local%`",
                "ro`ot@local%",
                ("TRIGGER", "t"),
            ),
            (
                "DELIMITER ;;\nCREATE DEFINER=`root`@`%` PROCEDURE `p`()\nSELECT 1 ;;\nDELIMITER ;",
                "`root`@`%`",
                "root@%",
                ("PROCEDURE", "p"),
            ),
            ("CREATE DEFINER=\"root\"@\"%\" PACKAGE BODY \"x\" AS", "\"root\"@\"%\"", "root@%", ("PACKAGE", "x")),
            ("CREATE DEFINER=`a role` FUNCTION `f`(a int)", "`a role`", "a role@", ("FUNCTION", "f")),
            (
                "DELIMITER ;;\n/*!50003 SET sql_mode = '' */ ;;\n/*!50106 CREATE*/ /*!50117 DEFINER=`r`@`h`*/ /*!50106 EVENT `e` ON */ ;;",
                "`r`@`h`",
                "r@h",
                ("EVENT", "e"),
            ),
            (
                "/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013 DEFINER=`r`@`h` SQL SECURITY DEFINER */\n/*!50001 VIEW `v` AS select 1 */;",
                "`r`@`h`",
                "r@h",
                ("VIEW", "v"),
            ),
            (
                "/*!50001 CREATE ALGORITHM=UNDEFINED DEFINER=`r` SQL SECURITY DEFINER VIEW `v` AS x */;",
                "`r`",
                "r@",
                ("VIEW", "v"),
            ),
        ] {
            let (place, found) = definer(item.as_bytes()).expect(item);
            assert_eq!((found.as_str(), &item[place.clone()]), (account, clause));
            let (kind, name) = what_it_is(&item.as_bytes()[place.end..]);
            assert_eq!((kind.as_str(), name.as_str()), what, "{item}");
        }
        assert_eq!(definer(b"INSERT INTO `t` VALUES ('CREATE DEFINER=`a`@`b`');"), None);
    }

    #[test]
    fn a_database_is_altered_under_its_own_name() {
        let item = b"ALTER DATABASE `mo``odle` CHARACTER SET latin1 COLLATE latin1_bin ;";
        assert_eq!(&item[name_of_altered(item).unwrap()], b"`mo``odle`");
    }
}
