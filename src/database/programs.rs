//! What a database of MariaDB or MySQL holds beside its tables: triggers, routines and events. They have no other names to go by, so
//! what is in the way of a restore is saved as statements, dropped, and made again if the restore is undone. Tables are
//! `aside.rs`'s matter.

use super::client::{EVENTS, ROUTINES, ended_well};
use super::{Connection, Session, mariadb, refusal};
use crate::error::{Fault, OrFault, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// Only descriptions are read, but other sessions may hold locks on them.
const SAVE_LIMIT: Duration = Duration::from_secs(120);

/// Moodle makes none of these; plugins and administrators do.
const ALL: &str = "SELECT kind, name, definer FROM (\
    SELECT 'TRIGGER' AS kind, TRIGGER_NAME AS name, DEFINER AS definer FROM information_schema.TRIGGERS \
    WHERE TRIGGER_SCHEMA = DATABASE() \
    UNION ALL SELECT ROUTINE_TYPE, ROUTINE_NAME, DEFINER FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE() \
    UNION ALL SELECT 'EVENT', EVENT_NAME, DEFINER FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE()\
    ) AS it ORDER BY kind, name";

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
    /// All but what a dump is without: see [`super::Client::left_out`].
    pub fn without(left_out: &[String]) -> Scope {
        let has = |kind: &str| !left_out.iter().any(|it| it == kind);
        Scope { routines: has(ROUTINES), events: has(EVENTS) }
    }

    fn has(self, program: &Program) -> bool {
        match program.kind.as_str() {
            "TRIGGER" => true,
            "EVENT" => self.events,
            _ => self.routines,
        }
    }
}

/// Triggers, routines and events, saved.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Programs {
    /// Which kinds these are all of.
    scope: Scope,
    /// Kind and name of each, as DROP takes them.
    names: Vec<(String, String)>,
    /// What makes them again.
    sql: String,
    /// Who may do that; `None` where the site's own account may.
    maker: Option<Connection>,
}

impl Programs {
    /// The kinds it is about.
    pub(super) fn scope(&self) -> Scope {
        self.scope
    }

    fn maker<'a>(&'a self, own: &'a Connection) -> &'a Connection {
        self.maker.as_ref().unwrap_or(own)
    }
}

impl Connection {
    /// Saves what there is. Changes nothing. An error if it could not be made again: `admin` is an option file with an
    /// administrator's account, whom it takes for what others have defined.
    pub(super) fn save_programs(&self, session: &mut Session, scope: Scope, admin: Option<&Path>) -> Result<Programs> {
        let all = all(session, scope)?;
        if all.is_empty() {
            return Ok(Programs { scope, ..Programs::default() });
        }
        let maker = match Authority::of(session)?.refused(&all) {
            None => None,
            Some(refused) => Some(self.administrator_here(admin).or_fault(|| {
                Fault::unfit(format!(
                    "the {} holds what its account could not make again, if the restore had to be undone: {refused}",
                    self.title()
                ))
                .hint("name an administrator's account by --database-admin FILE; or save and drop them yourself")
            })?),
        };
        let sql = statements(maker.as_ref().unwrap_or(self), scope)?;
        let names = all.into_iter().map(|program| (program.kind, program.name)).collect();
        Ok(Programs { scope, names, sql, maker })
    }

    /// Drops what there is of the kinds of `saved`, whoever made it.
    pub(super) fn drop_programs(&self, saved: &Programs) -> Result<()> {
        let there = all(&mut self.session()?, saved.scope)?;
        let drop = |it: &Program| format!("DROP {} IF EXISTS {};\n", it.kind, self.sql_name(&it.name));
        let drops: String = there.iter().map(drop).collect();
        match drops.as_str() {
            "" => Ok(()),
            drops => saved.maker(self).execute("drop triggers, routines and events", drops),
        }
    }

    /// Makes those again that were saved, unless all of them are there. Can be called again and again; what stands there of their
    /// kinds is dropped before.
    pub(super) fn make_programs(&self, saved: &Programs) -> Result<()> {
        let there = all(&mut self.session()?, saved.scope)?;
        let is_there = |(kind, name): &(String, String)| there.iter().any(|it| it.kind == *kind && it.name == *name);
        if saved.names.iter().all(is_there) {
            return Ok(());
        }
        self.drop_programs(saved)?;
        saved.maker(self).execute("make the earlier triggers, routines and events again", &saved.sql)
    }

    /// The server's administrator, in this database: root of this machine where the server lets that in, else by an option file with the
    /// account (see [`Connection::options_file`]). An error if it is not
    /// let in, or is none.
    pub fn administrator_here(&self, options_file: Option<&Path>) -> Result<Connection> {
        let admin = Connection { name: self.name.clone(), ..self.administrator(options_file)? };
        match Authority::of(&mut admin.session()?)?.is_administrator {
            true => Ok(admin),
            false => Err(Fault::unfit(format!("{} is no administrator of the database server", admin.account()))
                .hint("it needs the privilege SET USER, or SUPER")
                .into()),
        }
    }
}

struct Program {
    kind: String,
    name: String,
    /// `root@localhost`
    definer: String,
}

fn all(session: &mut Session, scope: Scope) -> Result<Vec<Program>> {
    let rows = session.query(ALL)?;
    let programs = rows.into_iter().filter_map(|row| {
        let mut row = row.into_iter();
        Some(Program { kind: row.next()??, name: row.next()??, definer: row.next()?? })
    });
    Ok(programs.filter(|program| scope.has(program)).collect())
}

/// What an account may make.
pub(super) struct Authority {
    /// `moodle@localhost`
    pub account: String,
    /// May give things to another definer than itself, and make functions where the server keeps a binary log
    /// (<https://mariadb.com/kb/en/binary-logging-of-stored-routines/>).
    pub is_administrator: bool,
    /// The server keeps a binary log, and trusts no one's functions and triggers.
    pub distrusted: bool,
}

impl Authority {
    pub fn of(session: &mut Session) -> Result<Authority> {
        let rows = session.query(
            "SELECT CURRENT_USER(), (SELECT COUNT(*) FROM information_schema.USER_PRIVILEGES \
             WHERE PRIVILEGE_TYPE IN ('SUPER', 'SET USER', 'SET_USER_ID', 'SET_ANY_DEFINER') \
             AND REPLACE(GRANTEE, '''', '') = CURRENT_USER()), \
             @@GLOBAL.log_bin AND NOT @@GLOBAL.log_bin_trust_function_creators",
        )?;
        let mut row = rows.into_iter().next().unwrap_or_default().into_iter().flatten();
        let mut next = || row.next().unwrap_or_default();
        Ok(Authority { account: next(), is_administrator: next() != "0", distrusted: next() == "1" })
    }

    /// What of it the account may not make, in words.
    fn refused(&self, programs: &[Program]) -> Option<String> {
        if self.is_administrator {
            return None;
        }
        let logged = |kind: &str| self.distrusted && matches!(kind, "TRIGGER" | "FUNCTION");
        let refused: Vec<String> = programs
            .iter()
            .filter(|program| program.definer != self.account || logged(&program.kind))
            .map(|program| format!("{} {} of {}", program.kind.to_lowercase(), program.name, program.definer))
            .collect();
        (!refused.is_empty()).then(|| refused.join(", "))
    }
}

/// Everything there is as statements, which the dump client writes.
fn statements(connection: &Connection, scope: Scope) -> Result<String> {
    let facts = connection.session()?.facts()?;
    let client = connection.check_client(&facts)?;
    let program = mariadb::program(connection, &client.path, client.flavour)?;
    let arguments = mariadb::program_arguments(connection, client.flavour, scope);
    let output = program.args(arguments).timeout(SAVE_LIMIT).output()?;
    let what = || format!("cannot save the triggers, routines and events of the {}", connection.title());
    if !output.status.success() || !ended_well(connection.engine, &output) {
        return Err(refusal::explain(connection, &what(), &output.stderr));
    }
    let text =
        String::from_utf8(output.stdout).or_fault(|| Fault::unfit(what()).hint("they hold text that is no UTF-8"))?;
    // Its first line may be one that only newer clients know.
    let is_sandbox = |line: &&str| line.starts_with("/*M!999999\\-") || line.starts_with("/*!999999\\-");
    Ok(text.lines().filter(|line| !is_sandbox(line)).map(|line| format!("{line}\n")).collect())
}
