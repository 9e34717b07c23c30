//! What an account of MariaDB or MySQL may make that is no table. Asks the server; decides nothing.

use super::Session;
use crate::error::Result;

/// What an account may make.
pub(super) struct Rights {
    /// `moodle@localhost`
    pub account: String,
    /// May give things to another definer than itself.
    pub may_name_definers: bool,
    /// May make functions and triggers where the server keeps a binary log
    /// (<https://mariadb.com/kb/en/binary-logging-of-stored-routines/>).
    may_log: bool,
    /// The server keeps a binary log, and does not trust everybody's functions and triggers.
    is_logged: bool,
}

impl Rights {
    pub fn of(session: &mut Session) -> Result<Rights> {
        // Those that matter: MySQL's root has more than such a list may be long.
        let rows = session.query(
            "SELECT CURRENT_USER(), VERSION(), @@GLOBAL.log_bin AND NOT @@GLOBAL.log_bin_trust_function_creators, \
             (SELECT GROUP_CONCAT(PRIVILEGE_TYPE) FROM information_schema.USER_PRIVILEGES \
             WHERE REPLACE(GRANTEE, '''', '') = CURRENT_USER() AND PRIVILEGE_TYPE IN \
             ('SUPER', 'SET USER', 'SET_USER_ID', 'SET_ANY_DEFINER', 'BINLOG ADMIN'))",
        )?;
        let mut row = rows.into_iter().next().unwrap_or_default().into_iter();
        let mut next = || row.next().flatten().unwrap_or_default();
        let (account, version, is_logged, privileges) = (next(), next(), next() == "1", next());
        let has = |any: &[&str]| privileges.split(',').any(|it| any.contains(&it));
        // From MariaDB 11.0 on it is without that (MDEV-29668).
        let major: u32 = version.split('.').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        let super_is_all = !(version.contains("MariaDB") && major >= 11);
        Ok(Rights {
            account,
            may_name_definers: has(&["SET USER", "SET_USER_ID", "SET_ANY_DEFINER"]) || super_is_all && has(&["SUPER"]),
            may_log: has(&["SUPER", "BINLOG ADMIN"]),
            is_logged,
        })
    }

    /// Whether it may make what has this definer: `root@localhost`.
    pub fn may_name(&self, definer: &str) -> bool {
        definer == self.account || self.may_name_definers
    }

    /// Whether the server takes something of this kind from it, as far as its binary log is concerned; unsafe functions, which may
    /// change with each call what goes into the log, it takes from nobody.
    pub fn may_log(&self, kind: &str, is_unsafe: bool) -> bool {
        let concerned = matches!(kind, "TRIGGER" | "FUNCTION");
        !self.is_logged || !is_unsafe && (!concerned || self.may_log)
    }
}
