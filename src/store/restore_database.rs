//! The parts of RESTORE.txt about databases: MariaDB and MySQL on one hand, PostgreSQL on the other.

use super::manifest::{Database, Manifest};
use super::restore_text::{Page, one_line};
use super::shell::quote;

/// The programs differ by family.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    MySql,
    PostgreSql,
}

fn family(database: &Database) -> Family {
    if database.engine.starts_with("postgres") { Family::PostgreSql } else { Family::MySql }
}

/// The engine as people write it.
pub(super) fn engine_name(database: &Database) -> &str {
    match database.engine.as_str() {
        "mysql" => "MySQL",
        engine if engine.starts_with("postgres") => "PostgreSQL",
        _ => "MariaDB",
    }
}

fn all(manifest: &Manifest) -> impl Iterator<Item = &Database> {
    std::iter::once(&manifest.database).chain(&manifest.extra_databases)
}

/// Whether what is not PostgreSQL is MySQL, whose programs have other names than MariaDB's.
pub(super) fn is_mysql(manifest: &Manifest) -> bool {
    all(manifest).find(|database| family(database) == Family::MySql).is_some_and(|database| database.engine == "mysql")
}

/// The variables about databases.
pub(super) fn names(manifest: &Manifest) -> Vec<String> {
    let database = &manifest.database;
    let host = if database.host.is_empty() { "localhost" } else { &database.host };
    let mut lines = vec![
        format!("DBHOST={}", quote(host)),
        "DBPORT=''".into(),
        "DBSOCKET=''".into(),
        format!("DBNAME={}", quote(&database.name)),
        format!("DBUSER={}", quote(&database.user)),
        "DBPASS=''".into(),
    ];
    for (index, extra) in manifest.extra_databases.iter().enumerate() {
        lines.push(format!("DBNAME{}={}", index + 1, quote(&extra.name)));
    }
    if all(manifest).any(|database| family(database) == Family::MySql) {
        let host = if database.user_host.is_empty() { "localhost" } else { &database.user_host };
        lines.push(format!("DBUSERHOST={}", quote(host)));
        let client = if is_mysql(manifest) { "mysql" } else { "mariadb" };
        lines.push(format!("MYSQL='{client} --default-character-set=utf8mb4 --max-allowed-packet=1G'"));
    }
    if all(manifest).any(|database| family(database) == Family::PostgreSql) {
        lines.push("PSQL='runuser -u postgres -- psql -X -q -o /dev/null -v ON_ERROR_STOP=1'".into());
    }
    lines
}

/// The Debian packages.
pub(super) fn packages(manifest: &Manifest) -> String {
    let mut packages = String::from("php-cli php-xml php-mbstring php-curl php-zip php-gd php-intl php-soap");
    if all(manifest).any(|database| family(database) == Family::MySql) {
        packages += if is_mysql(manifest) { " mysql-server php-mysql" } else { " mariadb-server php-mysql" };
    }
    if all(manifest).any(|database| family(database) == Family::PostgreSql) {
        packages += " postgresql php-pgsql";
    }
    packages
}

/// Reads the password as Moodle does. The text before it is for the case that config.php prints something.
const PASSWORD: &str = r#"[ -n "$DBPASS" ] || DBPASS=$(runuser -u "$WEBUSER" -- php -r 'define("CLI_SCRIPT", true); define("ABORT_AFTER_CONFIG", true); require($argv[1]); echo "\ndbpass=", $CFG->dbpass, "\n";' "$ROOT"/config.php | sed -n 's/^dbpass=//p')"#;

/// Quoting for SQL: a text, and a name.
const MYSQL_QUOTING: [&str; 2] = [
    r#"my_text() { local s=$1 b=\\ q=\'; s=${s//"$b"/"$b$b"}; printf "'%s'" "${s//"$q"/"$q$q"}"; }"#,
    r#"my_name() { local q='`'; printf '`%s`' "${1//"$q"/"$q$q"}"; }"#,
];
const POSTGRESQL_QUOTING: [&str; 2] = [
    r#"pg_text() { local q=\'; printf "'%s'" "${1//"$q"/"$q$q"}"; }"#,
    r#"pg_name() { local q='"'; printf '"%s"' "${1//"$q"/"$q$q"}"; }"#,
];

/// The site's database.
pub(super) fn site_database(page: &mut Page, database: &Database) {
    page.section("Database");
    page.say(
        "A database of this name must not be there: rename or drop what is left of the old one. DBPASS may\n\
         stay empty: then the account gets the password that config.php has. If this prints nothing it\n\
         was found; otherwise set DBPASS by hand:",
    );
    page.run([PASSWORD, "[ -n \"$DBPASS\" ] || echo 'no password found in config.php'"]);
    if let Some(place) = place(database) {
        page.say(&format!("The site had it on {place}."));
    }
    match family(database) {
        Family::MySql => {
            page.say("A server elsewhere, or one that wants a password: add it to MYSQL above (-h HOST -u root -p).");
            page.run(MYSQL_QUOTING);
            page.run([mysql_create(database, "DBNAME"), MYSQL_ACCOUNT.to_owned()]);
            page.run(files(database).map(|file| mysql_load(&file, "DBNAME")));
            mysql_hints(page, database);
        }
        Family::PostgreSql => {
            page.say("A server elsewhere: change PSQL above (psql -h HOST -U postgres ...).");
            page.run(POSTGRESQL_QUOTING);
            page.run([POSTGRESQL_ACCOUNT.to_owned(), postgresql_create(database, "DBNAME", " OWNER %s")]);
            page.run(extensions(database, "DBNAME"));
            page.run(files(database).map(|file| postgresql_load(database, &file, "DBNAME", true)));
            postgresql_hints(page, database);
        }
    }
    if !database.grants.is_empty() {
        let grants: String = database.grants.iter().map(|grant| format!("\n  {}", one_line(grant))).collect();
        page.say(&format!("What the account was allowed on the old server, should it be more:{grants}"));
    }
}

/// Further databases; their accounts are not known.
pub(super) fn extra_databases(page: &mut Page, databases: &[Database]) {
    if databases.is_empty() {
        return;
    }
    page.section("Further databases");
    page.say("Their accounts belong to other programs: make them as those want them.");
    let has = |wanted| databases.iter().any(|database| family(database) == wanted);
    if has(Family::MySql) {
        page.run(MYSQL_QUOTING);
    }
    if has(Family::PostgreSql) {
        page.run(POSTGRESQL_QUOTING);
    }
    for (index, database) in databases.iter().enumerate() {
        let name = format!("DBNAME{}", index + 1);
        match family(database) {
            Family::MySql => {
                page.run([mysql_create(database, &name)]);
                page.run(files(database).map(|file| mysql_load(&file, &name)));
            }
            Family::PostgreSql => {
                page.run([postgresql_create(database, &name, "")]);
                page.run(extensions(database, &name));
                page.run(files(database).map(|file| postgresql_load(database, &file, &name, false)));
            }
        }
    }
}

fn files(database: &Database) -> impl Iterator<Item = String> {
    std::iter::once(quote(&database.file)).chain(database.more_files.iter().map(quote))
}

/// Where the server was, in words, unless it was the usual one of the machine.
fn place(database: &Database) -> Option<String> {
    let host = (!database.host.is_empty()).then(|| one_line(&database.host));
    let port = database.port.map(|port| format!("port {port}"));
    let socket = database.socket.to_string_lossy();
    let socket = (!socket.is_empty()).then(|| format!("socket {}", one_line(&socket)));
    let parts: Vec<String> = [host, port, socket].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn or<'a>(text: &'a str, usual: &'a str) -> &'a str {
    if text.is_empty() { usual } else { text }
}

/// Words in SQL that are no strings and no quoted names: only what such a word may have.
fn word(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')).collect()
}

const MYSQL_ACCOUNT: &str = r#"printf 'CREATE USER IF NOT EXISTS %s@%s IDENTIFIED BY %s;\nGRANT ALL PRIVILEGES ON %s.* TO %s@%s;\n' "$(my_text "$DBUSER")" "$(my_text "$DBUSERHOST")" "$(my_text "$DBPASS")" "$(my_name "$DBNAME")" "$(my_text "$DBUSER")" "$(my_text "$DBUSERHOST")" | $MYSQL"#;

fn mysql_create(database: &Database, name: &str) -> String {
    format!(
        "printf 'CREATE DATABASE %s CHARACTER SET {} COLLATE {};\\n' \"$(my_name \"${name}\")\" | $MYSQL",
        word(or(&database.charset, "utf8mb4")),
        word(or(&database.collation, "utf8mb4_unicode_ci"))
    )
}

/// The first line of newer dumps is a command that older clients, and those of MySQL, do not know.
fn mysql_load(file: &str, name: &str) -> String {
    format!("zstdcat \"$BACKUP\"/{file} | LC_ALL=C sed '1{{/999999/d}}' | $MYSQL \"${name}\"")
}

fn mysql_hints(page: &mut Page, database: &Database) {
    let of_some = |name: &&String| ["_0900_", "_uca1400_"].iter().any(|mark| name.contains(mark));
    let mut names: Vec<&str> =
        database.collations.iter().chain([&database.collation]).filter(of_some).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    if !names.is_empty() {
        page.say(&format!(
            "Not all servers know these collations: {}.\n\
             MySQL's (0900) MariaDB knows from 11.4.5 on, its own (uca1400) from 10.10 on. Where one is not known,\n\
             write utf8mb4_unicode_ci in its place above, and put this behind zstdcat:",
            one_line(&names.join(", "))
        ));
        page.look(["| LC_ALL=C sed -E '/^INSERT /!s/utf8mb4_[a-z_]*(0900|uca1400)_[a-z_]+/utf8mb4_unicode_ci/g'"]);
    }
    if !database.non_transactional.is_empty() {
        page.say(&format!(
            "Tables that are not of the same instant as the rest, since their engine cannot do it:\n  {}",
            one_line(&database.non_transactional.join(", "))
        ));
    }
}

const POSTGRESQL_ACCOUNT: &str = r#"printf 'SELECT %s WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = %s) \\gexec\n' "$(pg_text "CREATE ROLE $(pg_name "$DBUSER") LOGIN PASSWORD $(pg_text "$DBPASS")")" "$(pg_text "$DBUSER")" | $PSQL -d postgres"#;

fn postgresql_create(database: &Database, name: &str, owner: &str) -> String {
    let locale = |key: &str, value: &str| {
        if value.is_empty() {
            String::new()
        } else {
            format!(" {key} '\"'{}'\"'", word(value)).replace("'\"'", "'\\''")
        }
    };
    let owner_value = if owner.is_empty() { "" } else { " \"$(pg_name \"$DBUSER\")\"" };
    format!(
        "printf 'CREATE DATABASE %s{owner} TEMPLATE template0 ENCODING {}{}{};\\n' \"$(pg_name \"${name}\")\"{owner_value} | $PSQL -d postgres",
        format_args!("'\\''{}'\\''", word(or(&database.charset, "UTF8"))),
        locale("LC_COLLATE", &database.collation),
        locale("LC_CTYPE", or(&database.ctype, &database.collation)),
    )
}

fn extensions(database: &Database, name: &str) -> Vec<String> {
    // With its version, which is for the reader: the new server brings its own.
    let names = database.extensions.iter().filter_map(|extension| extension.split(' ').next());
    let wanted = names.filter(|name| *name != "plpgsql");
    let create = |extension: &str| {
        format!(
            "printf 'CREATE EXTENSION IF NOT EXISTS %s;\\n' \"$(pg_name {})\" | $PSQL -d \"${name}\"",
            quote(extension)
        )
    };
    wanted.map(create).collect()
}

/// The dump has no owners: what it makes is given to the role that loads it.
fn postgresql_load(database: &Database, file: &str, name: &str, as_owner: bool) -> String {
    // Comments on extensions may be made by their owner alone, which here is the server's administrator.
    let filter = if database.extensions.iter().any(|extension| !extension.starts_with("plpgsql")) {
        " | LC_ALL=C sed '/^COMMENT ON EXTENSION /d'"
    } else {
        ""
    };
    let role = if as_owner { "printf 'SET ROLE %s;\\n' \"$(pg_name \"$DBUSER\")\"; " } else { "" };
    format!("{{ {role}zstdcat \"$BACKUP\"/{file}{filter}; }} | $PSQL -d \"${name}\"")
}

fn postgresql_hints(page: &mut Page, database: &Database) {
    let client = database.client_versions.get("pg_dump").map_or("", String::as_str);
    page.say(&format!(
        "The dump wants a psql that is not older than the pg_dump that made it{}{}. If CREATE DATABASE\n\
         does not know the locale, make it (dpkg-reconfigure locales), or write C.UTF-8 in its place.",
        if client.is_empty() { "" } else { ", " },
        one_line(client),
    ));
    // The same is left out by the program.
    let major = database.server_version.split('.').next().and_then(|number| number.parse::<u32>().ok());
    if major.is_some_and(|major| major >= 17) {
        page.say("A server older than 17 does not know a setting at the dump's beginning: put this behind zstdcat:");
        page.look(["| LC_ALL=C sed '1,40{/^SET transaction_timeout/d}'"]);
    }
}

/// How to find an uploaded file's hash in the dump.
pub(super) fn find_upload(database: &Database) -> Vec<String> {
    let dump = format!("zstdcat \"$BACKUP\"/{}", quote(&database.file));
    match family(database) {
        Family::MySql => vec![format!(
            "{dump} | LC_ALL=C grep -a -o -E \"'[0-9a-f]{{40}}','[0-9a-f]{{40}}',[0-9]+,'[^']*','[^']*',[0-9]+,'[^']*','NAME'\""
        )],
        Family::PostgreSql => {
            vec![format!("{dump} | grep -a -P '\\t[0-9a-f]{{40}}\\t[0-9a-f]{{40}}\\t.*\\tNAME\\t' | cut -f 2-10")]
        }
    }
}
