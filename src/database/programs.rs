//! What a database of MariaDB or MySQL holds beside its tables: triggers, routines and events. They have no other names to go by, so
//! what is in the way of a restore is saved as the server describes it, dropped, and made again if the restore is undone. Tables
//! are `aside.rs`'s matter, dumps are `load.rs`'s: nothing here takes a dump's word for anything.
//!
//! Whoever may make one of them has written its text, and some of them an administrator has to make again. So each goes to the
//! server alone, between delimiters that nobody can guess.

mod others;

pub use others::Defined;

use super::client::{EVENTS, ROUTINES};
use super::rights::Rights;
use super::{Connection, Session};
use crate::error::{Fault, OrFault, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;

/// Which of them a restore replaces: all that the backup may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Routines: procedures, functions, packages.
    pub routines: bool,
    /// Events.
    pub events: bool,
}

impl Default for Scope {
    /// All of them.
    fn default() -> Self {
        Scope { routines: true, events: true }
    }
}

impl Scope {
    /// All but what a dump is without (see [`super::Client::left_out`]); where that is not known, triggers alone.
    pub fn without(left_out: Option<&[String]>) -> Scope {
        let has = |kind: &str| left_out.is_some_and(|left_out| !left_out.iter().any(|it| it == kind));
        Scope { routines: has(ROUTINES), events: has(EVENTS) }
    }

    fn has(self, kind: &str) -> bool {
        match kind {
            "TRIGGER" => true,
            "EVENT" => self.events,
            _ => self.routines,
        }
    }
}

/// Triggers, routines and events of a database, saved.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Programs {
    /// Which kinds these are all of.
    scope: Scope,
    all: Vec<Program>,
    /// Who makes those that the site's own account may not make.
    maker: Option<Connection>,
}

/// One of them, as `SHOW CREATE` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Program {
    kind: String,
    name: String,
    /// Triggers of one are run one after the other, in the order in which they were made; a package is with its body.
    group: String,
    /// `root@localhost`
    definer: String,
    /// Whether only an administrator may make it, since its definer is another account.
    by_maker: bool,
    create: String,
    sql_mode: String,
    charset: String,
    collation: String,
    /// Of an event.
    time_zone: Option<String>,
}

impl Program {
    /// Whether it is the same, whoever may make it.
    fn equals(&self, other: &Program) -> bool {
        *self == Program { by_maker: self.by_maker, ..other.clone() }
    }

    /// Whether it is the same but for its definer.
    fn does_as(&self, other: &Program) -> bool {
        let (own, its) = (without_definer(&self.create), without_definer(&other.create));
        own.is_some()
            && own == its
            && self.equals(&Program { create: self.create.clone(), definer: self.definer.clone(), ..other.clone() })
    }

    /// An error if it could not be made again as it is.
    fn require_makeable(&self) -> Result<()> {
        // The client takes such a line for its own, wherever it stands.
        let is_command = |line: &str| line.trim_start().to_ascii_lowercase().starts_with("delimiter");
        let why = match () {
            () if self.create.is_empty() => "the server does not show it",
            () if self.create.contains(char::REPLACEMENT_CHARACTER) => "it holds text that is no UTF-8",
            () if self.create.lines().any(is_command) => "a line of it begins with the word DELIMITER",
            () => return Ok(()),
        };
        Err(Fault::unfit(format!("cannot save the {}: {why}", self.title()))
            .hint("drop it, and make it again afterwards")
            .into())
    }

    /// `trigger x of root@localhost`
    fn title(&self) -> String {
        format!("{} {} of {}", self.kind.to_lowercase(), self.name, self.definer)
    }
}

impl Programs {
    /// The kinds it is about.
    pub(super) fn scope(&self) -> Scope {
        self.scope
    }

    /// Has an administrator make again what only one may make: by this option file with his account.
    pub(super) fn made_by(&mut self, own: &Connection, admin: &Path) -> Result<()> {
        if self.maker.is_some() {
            self.maker = Some(own.administrator_here(Some(admin))?);
        }
        Ok(())
    }

    fn maker<'a>(&'a self, own: &'a Connection, by_maker: bool) -> &'a Connection {
        self.maker.as_ref().filter(|_| by_maker).unwrap_or(own)
    }
}

impl Connection {
    /// Saves what there is. Changes nothing. An error if it could not be made again: `admin` is an option file with an
    /// administrator's account, whom it takes for what others have defined.
    pub(super) fn save_programs(&self, session: &mut Session, scope: Scope, admin: Option<&Path>) -> Result<Programs> {
        let mut listed = listed(session, scope)?;
        if listed.is_empty() {
            return Ok(Programs { scope, ..Programs::default() });
        }
        let rights = Rights::of(session)?;
        for one in &mut listed {
            one.by_maker = !rights.may_name(&one.definer);
        }
        let lost: Vec<String> =
            listed.iter().filter(|one| !rights.may_log(&one.kind, one.is_unsafe)).map(Listed::title).collect();
        if !lost.is_empty() {
            return Err(Fault::unfit(format!(
                "the server of the {} keeps a binary log, and would not take these again: {}",
                self.title(),
                lost.join(", ")
            ))
            .hint("SET GLOBAL log_bin_trust_function_creators = 1, as its administrator, until the restore is done")
            .into());
        }
        let refused: Vec<String> = listed.iter().filter(|one| one.by_maker).map(Listed::title).collect();
        let maker = match refused.is_empty() {
            true => None,
            false => Some(self.administrator_here(admin).or_fault(|| {
                Fault::unfit(format!(
                    "the {} holds what its account could not make again, if the restore had to be undone: {}",
                    self.title(),
                    refused.join(", ")
                ))
                .hint("name an administrator's account by --database-admin FILE; or save and drop them yourself")
            })?),
        };
        let mut reader = maker.as_ref().map(Connection::session).transpose()?;
        let reader = reader.as_mut().unwrap_or(session);
        let all: Vec<Program> = listed.into_iter().map(|one| described(reader, one)).collect::<Result<_>>()?;
        all.iter().try_for_each(Program::require_makeable)?;
        Ok(Programs { scope, all, maker })
    }

    /// Drops those that were saved.
    pub(super) fn drop_programs(&self, saved: &Programs) -> Result<()> {
        saved
            .all
            .iter()
            .try_for_each(|program| self.drop_program(saved, &program.kind, &program.name, program.by_maker))
    }

    /// Sees to it that there is what was saved, and of its kinds nothing else. Can be called again and again, and does nothing where
    /// all is as it was.
    pub(super) fn make_programs(&self, saved: &Programs) -> Result<()> {
        let saved = &self.with_maker(saved)?;
        let there = self.present(saved)?;
        for group in groups(saved.all.iter().chain(&there)) {
            let (then, now) = (of_group(&saved.all, group), of_group(&there, group));
            if !(then.len() == now.len() && then.iter().zip(&now).all(|(then, now)| then.equals(now))) {
                self.exchange_programs(saved, &now, &then)?;
            }
        }
        Ok(())
    }

    /// Gives what was loaded from a backup the definers that it had here before, as far as it is the very same: for that this server is
    /// the witness, and no dump. Returns kinds and names.
    pub(super) fn give_back_definers_of(&self, saved: &Programs) -> Result<Vec<(String, String)>> {
        let mut given_back = Vec::new();
        let there = if saved.maker.is_some() { self.present(saved)? } else { Vec::new() };
        for group in groups(there.iter()) {
            let now = of_group(&there, group);
            let others = |it: &&Program| {
                let same = |then: &&Program| then.by_maker && then.definer != it.definer && it.does_as(then);
                of_group(&saved.all, group).into_iter().find(same)
            };
            let makeable = now.iter().all(|it| it.require_makeable().is_ok());
            if makeable && now.iter().any(|it| others(it).is_some()) {
                let wanted: Vec<&Program> = now.iter().map(|it| others(it).unwrap_or(it)).collect();
                self.exchange_programs(saved, &now, &wanted)?;
                given_back.extend(now.iter().filter_map(others).map(|it| (it.kind.clone(), it.name.clone())));
            }
        }
        Ok(given_back)
    }

    fn exchange_programs(&self, saved: &Programs, now: &[&Program], wanted: &[&Program]) -> Result<()> {
        now.iter().try_for_each(|it| self.drop_program(saved, &it.kind, &it.name, true))?;
        wanted.iter().try_for_each(|program| self.make_program(saved, program))
    }

    /// What there is now, of the kinds that were saved.
    fn present(&self, saved: &Programs) -> Result<Vec<Program>> {
        let listed = listed(&mut self.session()?, saved.scope)?;
        if listed.is_empty() {
            return Ok(Vec::new());
        }
        let mut reader = saved.maker(self, true).session()?;
        listed.into_iter().map(|one| described(&mut reader, one)).collect()
    }

    /// The administrator as he was then, or as root of this machine is now.
    fn with_maker(&self, saved: &Programs) -> Result<Programs> {
        let Some(maker) = &saved.maker else { return Ok(saved.clone()) };
        let maker = match maker.session() {
            Ok(_) => maker.clone(),
            Err(refused) => self.administrator_here(None).map_err(|_| refused)?,
        };
        Ok(Programs { maker: Some(maker), ..saved.clone() })
    }

    fn drop_program(&self, saved: &Programs, kind: &str, name: &str, by_maker: bool) -> Result<()> {
        // The server knows packages only so.
        let mode = if kind.starts_with("PACKAGE") { "SET SESSION sql_mode = 'ORACLE';\n" } else { "" };
        let sql = format!("{mode}DROP {kind} IF EXISTS {};", self.sql_name(name));
        saved.maker(self, by_maker).execute(&format!("drop the {} {name}", kind.to_lowercase()), &sql)
    }

    fn make_program(&self, saved: &Programs, program: &Program) -> Result<()> {
        let maker = saved.maker(self, program.by_maker);
        maker.execute(&format!("make the {} again", program.title()), &statements(maker, program))
    }

    /// The server's administrator, in this database: root of this machine where the server lets that in, else by an option file with
    /// the account (see [`Connection::options_file`]). An error if it is not let in, or is none.
    pub(super) fn administrator_here(&self, options_file: Option<&Path>) -> Result<Connection> {
        let admin = Connection { name: self.name.clone(), ..self.administrator(options_file)? };
        match Rights::of(&mut admin.session()?)?.may_name_definers {
            true => Ok(admin),
            false => Err(Fault::unfit(format!("{} is no administrator of the database server", admin.account()))
                .hint("it needs the privilege SET USER, or SUPER")
                .into()),
        }
    }
}

/// The groups that there are, each once.
fn groups<'a>(programs: impl Iterator<Item = &'a Program>) -> BTreeSet<&'a str> {
    programs.map(|program| program.group.as_str()).collect()
}

fn of_group<'a>(programs: &'a [Program], group: &str) -> Vec<&'a Program> {
    programs.iter().filter(|program| program.group == group).collect()
}

/// One of them, as information_schema lists it.
struct Listed {
    kind: String,
    name: String,
    group: String,
    definer: String,
    /// A function that may change with each call what goes into a binary log.
    is_unsafe: bool,
    by_maker: bool,
}

impl Listed {
    fn title(&self) -> String {
        format!("{} {} of {}", self.kind.to_lowercase(), self.name, self.definer)
    }
}

impl Session {
    /// Whether the server has events: one of MariaDB or MySQL that was started without its event scheduler does not even list them.
    pub fn has_events(&mut self) -> Result<bool> {
        Ok(self.value("SELECT @@GLOBAL.event_scheduler")?.is_none_or(|state| state != "DISABLED"))
    }
}

fn listed(session: &mut Session, scope: Scope) -> Result<Vec<Listed>> {
    let has_events = session.has_events()?;
    let events = "UNION ALL SELECT 'EVENT', EVENT_NAME, DEFINER, 0, CONCAT('EVENT ', EVENT_NAME), 0 \
                  FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE()";
    let sql = format!(
        "SELECT kind, name, definer, is_unsafe, action FROM (\
         SELECT 'TRIGGER' AS kind, TRIGGER_NAME AS name, DEFINER AS definer, 0 AS is_unsafe, \
         CONCAT_WS(' ', ACTION_TIMING, EVENT_MANIPULATION, EVENT_OBJECT_TABLE) AS action, ACTION_ORDER AS place \
         FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE() \
         UNION ALL SELECT ROUTINE_TYPE, ROUTINE_NAME, DEFINER, ROUTINE_TYPE = 'FUNCTION' AND IS_DETERMINISTIC = 'NO' \
         AND SQL_DATA_ACCESS NOT IN ('NO SQL', 'READS SQL DATA'), CONCAT(SUBSTRING_INDEX(ROUTINE_TYPE, ' ', 1), ' ', ROUTINE_NAME), 0 \
         FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE() {}) AS it ORDER BY kind, action, place",
        if has_events { events } else { "" }
    );
    let rows = session.query(&sql)?;
    let programs = rows.into_iter().filter_map(|row| {
        let mut row = row.into_iter();
        Some(Listed {
            kind: row.next()??,
            name: row.next()??,
            definer: row.next()??,
            is_unsafe: row.next()?? == "1",
            group: row.next()??,
            by_maker: false,
        })
    });
    Ok(programs.filter(|program| scope.has(&program.kind)).collect())
}

/// As the server describes it (<https://mariadb.com/kb/en/show-create-trigger/> and its like).
fn described(session: &mut Session, listed: Listed) -> Result<Program> {
    let Listed { kind, name, group, definer, by_maker, .. } = listed;
    let sql = format!("SHOW CREATE {kind} {}", session.connection().sql_name(&name));
    let mut row = session.query(&sql)?.into_iter().next().unwrap_or_default().into_iter().skip(1);
    let mut next = || row.next().flatten();
    let sql_mode = next().unwrap_or_default();
    let time_zone = if kind == "EVENT" { next() } else { None };
    // What the server does not show can be dropped all the same.
    let create = next().unwrap_or_default();
    let (charset, collation) = (next().unwrap_or_default(), next().unwrap_or_default());
    // It comes and goes in UTF-8; only what is the same in both may be called by another name.
    let charset = if create.is_ascii() { charset } else { "utf8mb4".to_owned() };
    Ok(Program { kind, name, group, definer, by_maker, create, sql_mode, charset, collation, time_zone })
}

/// What makes one again: nothing in its text ends before the delimiter, which it cannot know.
fn statements(connection: &Connection, program: &Program) -> String {
    let set = |name: &str, value: &str| format!("SET SESSION {name} = {};\n", connection.sql_text(value));
    let mut sql = set("collation_connection", &program.collation);
    sql += &program.time_zone.as_deref().map(|zone| set("time_zone", zone)).unwrap_or_default();
    sql += &set("sql_mode", &program.sql_mode);
    sql += &set("character_set_client", &program.charset);
    // Clients take no longer ones.
    let delimiter = format!("|{:014x}", RandomState::new().build_hasher().finish() >> 8);
    sql + &format!("DELIMITER {delimiter}\n{}\n{delimiter}\nDELIMITER ;\n", program.create)
}

/// A CREATE without its definer, which the server writes first.
fn without_definer(create: &str) -> Option<String> {
    let (before, rest) = create.split_once("DEFINER=")?;
    if before != "CREATE " {
        return None;
    }
    let mut quote = None;
    let end = rest.char_indices().find(|(_, c)| match quote {
        Some(open) if *c == open => {
            quote = None;
            false
        }
        Some(_) => false,
        None if matches!(c, '`' | '"') => {
            quote = Some(*c);
            false
        }
        None => *c == ' ',
    });
    end.map(|(end, _)| rest[end..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_does_is_told_without_its_definer() {
        let own = without_definer(
            "CREATE DEFINER=`moo dle`@`local``host` TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET @a = ' DEFINER='",
        );
        let root = without_definer(
            "CREATE DEFINER=\"root\"@\"%\" TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET @a = ' DEFINER='",
        );
        assert!(own.is_some() && own == root, "{own:?} {root:?}");
        assert_eq!(without_definer("CREATE /* DEFINER= */ TRIGGER t"), None);
    }

    #[test]
    fn what_a_dump_may_not_have_is_left_alone() {
        let left_out = ["events".to_owned()];
        assert_eq!(Scope::without(Some(&left_out)), Scope { routines: true, events: false });
        assert_eq!(Scope::without(None), Scope { routines: false, events: false });
        assert!(Scope::without(None).has("TRIGGER"));
    }
}
