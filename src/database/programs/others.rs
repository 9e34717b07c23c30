//! What others than Moodle's account have defined in a database of MariaDB or MySQL, as a backup remembers it. A dump's word is not
//! taken for whose something is; but what the server had told when the dump was made is known from it, and what has been loaded
//! can be compared with that.

use super::{Program, Programs, Scope, described, groups, listed, of_group, without_definer};
use crate::database::rights::Rights;
use crate::database::{Connection, Engine, Session};
use crate::error::Result;
use crate::hashes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::Path;

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Defined {
    /// `TRIGGER`, `PROCEDURE` and so on.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Who has defined it: `root@localhost`.
    pub definer: String,
    /// SHA-256, in hex, of all else that the server tells of it.
    pub sha256: String,
}

impl std::fmt::Display for Defined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} of {}", self.kind.to_lowercase(), self.name, self.definer)
    }
}

impl Session {
    /// What others than Moodle's account have defined, as far as this account may read it.
    pub fn defined_by_others(&mut self) -> Result<Vec<Defined>> {
        if self.engine() == Engine::Postgres {
            return Ok(Vec::new());
        }
        let own = format!("{}@", self.connection().user);
        let mut others = Vec::new();
        for one in listed(self, Scope::default())?.into_iter().filter(|one| !one.definer.starts_with(&own)) {
            let program = described(self, one)?;
            if let Some(sha256) = digest(&program) {
                others.push(Defined { kind: program.kind, name: program.name, definer: program.definer, sha256 });
            }
        }
        Ok(others)
    }
}

impl Connection {
    /// Whether an administrator of the server is let in who may define things for others: by this option file, or as root of this
    /// machine.
    pub fn may_give_definers(&self, admin: Option<&Path>) -> bool {
        let rights = || Rights::of(&mut self.administrator(admin)?.session()?);
        self.engine == Engine::MariaDb && rights().is_ok_and(|rights| rights.may_name_definers)
    }

    /// Gives what was loaded the definers that it had when it was backed up, where it is the very same but for them, and the server has
    /// such accounts. Nothing where no administrator is let in. Returns kinds and names.
    pub fn give_definers(&self, then: &[Defined], scope: Scope, admin: Option<&Path>) -> Result<Vec<(String, String)>> {
        let mut given = Vec::new();
        let Some(maker) = self.administrator_here(admin).ok().filter(|_| !then.is_empty()) else { return Ok(given) };
        let programs = Programs { scope, maker: Some(maker.clone()), ..Programs::default() };
        let there = self.present(&programs)?;
        for group in groups(there.iter()) {
            let now = of_group(&there, group);
            let theirs: Vec<Option<Program>> = now.iter().map(|it| maker.as_then(it, then)).collect();
            if theirs.iter().all(Option::is_none) || now.iter().any(|it| it.require_makeable().is_err()) {
                continue;
            }
            let wanted: Vec<&Program> = now.iter().zip(&theirs).map(|(it, own)| own.as_ref().unwrap_or(it)).collect();
            self.exchange_programs(&programs, &now, &wanted)?;
            given.extend(theirs.into_iter().flatten().map(|it| (it.kind, it.name)));
        }
        Ok(given)
    }

    /// It as another had defined it.
    fn as_then(&self, now: &Program, then: &[Defined]) -> Option<Program> {
        let sha256 = digest(now)?;
        let is_it = |it: &&Defined| it.kind == now.kind && it.name == now.name && it.sha256 == sha256;
        let definer = &then.iter().find(is_it)?.definer;
        let (user, host) = definer.rsplit_once('@').filter(|_| *definer != now.definer)?;
        let there = format!(
            "SELECT COUNT(*) FROM mysql.user WHERE User = {} AND Host = {}",
            self.sql_text(user),
            self.sql_text(host)
        );
        // Of an account that is not there a trigger would keep everybody from writing to its table.
        self.session().and_then(|mut it| it.value(&there)).ok().flatten().filter(|count| count != "0")?;
        let rest = without_definer(&now.create)?;
        let create = format!("CREATE DEFINER={}@{}{rest}", self.sql_name(user), self.sql_name(host));
        Some(Program { definer: definer.clone(), create, by_maker: true, ..now.clone() })
    }
}

/// Of all but its definer; `None` of what the server does not show.
fn digest(program: &Program) -> Option<String> {
    let Program { create, sql_mode, charset, collation, time_zone, .. } = program;
    let told = serde_json::to_vec(&(without_definer(create)?, sql_mode, charset, collation, time_zone)).ok()?;
    Some(hashes::to_hex(&Sha256::digest(told)))
}
