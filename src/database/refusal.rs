//! What a server's or client's refusal means to an administrator, and what to do next. The server's own words are
//! always kept: they may be in its language, so that what is not recognized is at least shown.

use super::{Connection, Engine};
use crate::error::Fault;

/// The fault for a client that failed with these words on its standard error while doing `what`.
pub fn explain(connection: &Connection, what: &str, words: &str) -> anyhow::Error {
    let said = essence(words);
    let fault = Fault::unfit(what);
    if said.is_empty() {
        return anyhow::anyhow!("it said nothing").context(fault.hint("look into the log of the database server"));
    }
    let fault = match hint(connection, &said) {
        Some(hint) => fault.hint(hint),
        None => fault,
    };
    anyhow::anyhow!("{said}").context(fault)
}

/// The lines that tell something: without the statement that MariaDB's client repeats, and without passwords warnings.
pub fn essence(words: &str) -> String {
    let lines: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let tells = |line: &&str| {
        ["ERROR", "FATAL", "error:", "Error", "error", "refused", "denied"].iter().any(|mark| line.contains(mark))
            && !line.starts_with("--")
    };
    // The very words of a server; a table may be called after errors, too.
    let is_error = |line: &&str| line.starts_with("ERROR") || ["ERROR: ", "FATAL: "].iter().any(|it| line.contains(it));
    let of = |wanted: &dyn Fn(&&str) -> bool| lines.iter().copied().filter(wanted).collect::<Vec<&str>>();
    let chosen = [of(&is_error), of(&tells)].into_iter().find(|chosen| !chosen.is_empty()).unwrap_or(lines.clone());
    let text = chosen.join("; ");
    text.chars().take(1500).collect()
}

/// What helps against these words of a server or client.
pub fn hint(connection: &Connection, said: &str) -> Option<String> {
    match connection.engine {
        Engine::MariaDb => mariadb_hint(connection, error_number(said)?),
        Engine::Postgres => postgres_hint(connection, said),
    }
}

/// The number in `ERROR 1045 (28000)`, `Got error: 1045:`, `Error 1412:` or `(1146)`.
pub fn error_number(said: &str) -> Option<u32> {
    let after = |mark: &str| {
        let rest = &said[said.find(mark)? + mark.len()..];
        let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok().filter(|number| (1000..10000).contains(number))
    };
    ["ERROR ", "rror: ", "rror "].iter().find_map(|mark| after(mark)).or_else(|| {
        let mut parts = said.split('(').skip(1).filter_map(|part| part.split(')').next()?.parse().ok());
        parts.find(|number| (1000..10000).contains(number))
    })
}

/// Whether a server has refused an account, or its password.
pub fn is_not_accepted(engine: Engine, said: &str) -> bool {
    match engine {
        Engine::MariaDb => matches!(error_number(said), Some(1045 | 1698)),
        Engine::Postgres => said.contains("password authentication failed"),
    }
}

/// Whether a refusal says that no server answers there at all.
pub fn is_absent(engine: Engine, said: &str) -> bool {
    match engine {
        Engine::MariaDb => matches!(error_number(said), Some(2002 | 2003 | 2005)),
        Engine::Postgres => !said.contains("certificate") && NO_SERVER.iter().any(|mark| said.contains(mark)),
    }
}

/// What psql says where nobody listens.
const NO_SERVER: [&str; 4] = ["Connection refused", "No such file or directory", "timeout expired", "No route"];

// The numbers: https://mariadb.com/kb/en/mariadb-error-code-reference/
fn mariadb_hint(connection: &Connection, number: u32) -> Option<String> {
    let (place, account, name) = (connection.place(), connection.account(), &connection.name);
    let source = connection.source_of_place();
    Some(match number {
        1045 | 1698 => format!(
            "the server does not accept {account}: check the name and the password, or how that account may log in"
        ),
        1044 | 1142 | 1143 | 1227 | 1370 => format!(
            "{account} lacks a privilege: GRANT ALL ON `{name}`.* to it, or name another account by options_file in the settings"
        ),
        1049 => format!("there is no database {name:?} on that server: check dbname in config.php"),
        2002 | 2003 => {
            format!("is the database server running at {place}? check {source}")
        }
        2005 => format!("the name of the server {place} cannot be resolved: check {source}"),
        2026 => "check the TLS settings of the server (certificate, host name) and the option ssl in config.php".into(),
        3159 => "the server asks for encryption: set the option ssl in config.php, or ssl in options_file".into(),
        1040 | 1203 | 1226 => "the server has no connection left: raise its max_connections, or wait".into(),
        1129 | 1130 => format!("the server does not let this machine in: GRANT the access for {account} from here"),
        1356 => "a view is broken: repair or drop it".into(),
        1153 | 2020 => "raise max_allowed_packet of the server".into(),
        126 | 127 | 144 | 145 | 1194 | 1195 => "a table is damaged: try CHECK TABLE and REPAIR TABLE on it".into(),
        1251 | 1275 | 1524 | 2059 | 2061 => {
            "this client does not know how that account logs in: install the server's own client programs".into()
        }
        2006 | 2013 => "the server ended the connection: look into its error log".into(),
        _ => return None,
    })
}

fn postgres_hint(connection: &Connection, said: &str) -> Option<String> {
    let (place, account, name) = (connection.place(), connection.account(), &connection.name);
    let source = connection.source_of_place();
    let has = |mark: &str| said.contains(mark);
    // The order counts: a failed connection wraps the server's own reason.
    Some(if has("password authentication failed") || has("no password supplied") || has("Peer authentication failed") {
        format!("the server does not accept {account}: check the name and the password, and pg_hba.conf")
    } else if has("no pg_hba.conf entry") {
        "the server does not let this account in from here (or only encrypted): add a line to pg_hba.conf".into()
    } else if has("does not exist") && has("database \"") {
        format!("there is no database {name:?} on that server: check dbname in config.php")
    } else if has("does not exist") && has("role \"") {
        format!("the server does not know {account}: check dbuser in config.php")
    } else if has("could not translate host name") {
        format!("the name of the server {place} cannot be resolved: check {source}")
    } else if has("server does not support SSL") {
        "the server does not offer encryption: set it up there, or correct the option ssl in config.php".into()
    } else if has("certificate") || has("SSL error") {
        "the server's certificate could not be verified: check it, and root.crt of the user as whom we connect".into()
    } else if NO_SERVER.iter().any(|mark| has(mark)) {
        format!("is the database server running at {place}? check {source}")
    } else if has("server version mismatch") {
        "install the client programs of the server's version".into()
    } else if has("permission denied for") || has("must be owner") || has("row-level security") {
        format!("{account} lacks a privilege: grant it, or name another account by options_file in the settings")
    } else if has("too many clients") || has("remaining connection slots") {
        "the server has no connection left: raise its max_connections, or wait".into()
    } else if has("lock timeout") || has("due to lock") {
        "a session holds a lock on a table; end it, or wait".into()
    } else if has("server closed the connection") || has("terminating connection") {
        "the server ended the connection: look into its log".into()
    } else {
        return None;
    })
}

/// What the client says when SHOW TABLE STATUS knows no such table (client/mysqldump.cc).
const NO_STATUS: &str = "Couldn't read status information for table ";

/// What MySQL's client says when a table has other columns than it had when it was described.
const OTHER_COLUMNS: &str = "Error in field count for table: `";

/// Whether a dump failed because the structure of a table was changed under it; `Some(None)` if it is not told which.
pub fn schema_change(engine: Engine, words: &str) -> Option<Option<String>> {
    match engine {
        // The client has listed the tables; one of them is not there any more when its turn comes.
        Engine::MariaDb if words.contains(NO_STATUS) => {
            let line = words.split(NO_STATUS).nth(1).and_then(|rest| rest.lines().next());
            // A reason in parentheses, mostly empty, follows the name.
            Some(line.and_then(|line| Some(line.rsplit_once(" (")?.0.to_owned())))
        }
        Engine::MariaDb if words.contains(OTHER_COLUMNS) => {
            Some(words.split(OTHER_COLUMNS).nth(1).and_then(|rest| Some(rest.split_once('`')?.0.to_owned())))
        }
        // 1412: table definition has changed; 1146: no such table (it was dropped or renamed); 1051 likewise.
        Engine::MariaDb => match error_number(&essence(words))? {
            1412 | 1146 | 1051 => Some(mariadb_table(words)),
            _ => None,
        },
        Engine::Postgres => {
            let changed = ["could not open relation", "cache lookup failed", "does not exist"];
            let said = words.lines().find(|line| changed.iter().any(|mark| line.contains(mark)))?;
            let table = said.split("relation \"").nth(1).and_then(|rest| rest.split('"').next());
            (table.is_some() || said.contains("relation with OID")).then(|| table.map(str::to_owned))
        }
    }
}

/// The table in `… when dumping table `t` at row: 0`, `Table 'db.t' doesn't exist`.
fn mariadb_table(words: &str) -> Option<String> {
    let between = |open: &str, close: char| words.split(open).nth(1).and_then(|rest| rest.split(close).next());
    let name = between("dumping table `", '`').or_else(|| between("Table '", '\'').and_then(|it| it.split('.').nth(1)));
    name.or_else(|| between("table `", '`')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{Engine, error_number, essence, schema_change};

    #[test]
    fn the_server_is_heard_through_the_statement_that_the_client_repeats() {
        let said = "--------------\nRENAME TABLE `mdl_error_log` TO `x`, `mdl_refused` TO `y`\n--------------\n\n\
                    ERROR 1103 (42000) at line 2: Incorrect table name 'x'\n";
        assert_eq!(essence(said), "ERROR 1103 (42000) at line 2: Incorrect table name 'x'");
        let said = "mariadb-dump: Got error: 1045: \"Access denied for user\" when trying to connect";
        assert_eq!(essence(said), said);
        assert_eq!(
            essence("psql:<stdin>:3: ERROR:  relation \"error\" does not exist\nLINE 1: error"),
            "psql:<stdin>:3: ERROR:  relation \"error\" does not exist"
        );
    }

    #[test]
    fn a_table_that_was_changed_under_mysql_s_client_is_named() {
        // As version 9.7 says it of TRUNCATE, ALTER and DROP.
        for said in [
            "mysqldump: Error 1412: Table definition has changed, please retry transaction when dumping table `z` at row: 0",
            "mysqldump: Error in field count for table: `z` !  Aborting.",
            "mysqldump: Couldn't execute 'show create table `z`': Table 'dd.z' doesn't exist (1146)",
        ] {
            assert_eq!(schema_change(Engine::MariaDb, said), Some(Some("z".to_owned())), "{said}");
        }
        assert_eq!(schema_change(Engine::MariaDb, "mysqldump: Got errno 28 on write"), None);
    }

    #[test]
    fn error_numbers_are_found_in_all_forms() {
        for (said, number) in [
            ("ERROR 1045 (28000): Access denied for user 'x'@'y' (using password: YES)", 1045),
            ("mariadb-dump: Got error: 1049: \"Unknown database 'q'\" when selecting the database", 1049),
            ("mariadb-dump: Error 1412: Table definition has changed when dumping table `t` at row: 3", 1412),
            ("mariadb-dump: Couldn't execute 'show events': Access denied for user (1044)", 1044),
        ] {
            assert_eq!(error_number(said), Some(number), "{said}");
        }
        assert_eq!(error_number("ERROR at line 1: Unknown command"), None);
    }
}
