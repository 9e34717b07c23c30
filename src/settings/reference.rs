//! The one table of all settings: name, type, default and a text for people. What is accepted, the sample file
//! and the manual come from it. What settings mean for the work must not go in here.

use super::units::{DURATION_RULE, ROOM_RULE};
use std::fmt::Write;

/// What may be written as the value of a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A name that is also the name of a folder.
    Name,
    /// One line of text.
    Text,
    /// A file or folder, from `/`.
    Path,
    /// Several of them.
    Paths,
    /// Several texts.
    Texts,
    /// Several patterns of names below moodledata.
    Patterns,
    /// Names and values of environment variables.
    Variables,
    /// Yes or no.
    Flag,
    /// A whole number, from the first to the second.
    Whole(i64, i64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A duration of so many seconds at least.
    Duration(u64),
    /// Room on a disk.
    Room,
}

impl Kind {
    /// What is allowed, in words that go on after "must be".
    pub fn allowed(self) -> String {
        match self {
            Kind::Name => {
                r#"a name of small letters, digits, ".", "_" and "-" that begins with a letter or digit"#.into()
            }
            Kind::Text => "a text in quotes, of one line and not empty".into(),
            Kind::Path => r#"a path in quotes that begins with "/" and has no "..""#.into(),
            Kind::Paths => r#"a list of paths that begin with "/" and have no "..", such as ["/etc/apache2"]"#.into(),
            Kind::Texts => r#"a list of texts, such as ["one", "two"]"#.into(),
            Kind::Patterns => r#"a list of names below moodledata, such as ["repository/video", "*.bak"]"#.into(),
            Kind::Variables => r#"a list of variables, such as { DB_HOST = "db1", STAGE = "live" }"#.into(),
            Kind::Flag => "true or false".into(),
            Kind::Whole(least, most) => format!("a whole number from {least} to {most}"),
            Kind::Choice(words) => words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" or "),
            Kind::Duration(0) => DURATION_RULE.into(),
            Kind::Duration(least) => format!("{DURATION_RULE}; {least} s at least"),
            Kind::Room => ROOM_RULE.into(),
        }
    }
}

/// What holds where a key is not written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Absent {
    /// It has to be written; with an example, as TOML.
    Required(&'static str),
    /// This value, as TOML.
    Default(&'static str),
    /// What the text of the key says; with an example, as TOML.
    Unset(&'static str),
}

impl Absent {
    /// Words before the value that is shown.
    pub fn introduction(self) -> &'static str {
        match self {
            Absent::Required(_) => "Must be set. Example:",
            Absent::Default(_) => "Default:",
            Absent::Unset(_) => "Example:",
        }
    }

    /// The value that is shown to people, as TOML.
    pub fn shown(self) -> &'static str {
        match self {
            Absent::Required(value) | Absent::Default(value) | Absent::Unset(value) => value,
        }
    }
}

/// One key of the settings file.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name within its section.
    pub name: &'static str,
    /// What may be written.
    pub kind: Kind,
    /// What holds where it is not written.
    pub absent: Absent,
    /// What it does, for an administrator.
    pub text: &'static str,
}

/// One section of the settings file.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Its name: `site`, `database.extra`.
    pub name: &'static str,
    /// Whether it may be there several times (`[[database.extra]]`).
    pub repeated: bool,
    /// What it is about.
    pub text: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// The section of this name.
pub fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

impl Section {
    /// The key of this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

const fn required(name: &'static str, kind: Kind, example: &'static str, text: &'static str) -> Key {
    Key { name, kind, absent: Absent::Required(example), text }
}

const fn default(name: &'static str, kind: Kind, value: &'static str, text: &'static str) -> Key {
    Key { name, kind, absent: Absent::Default(value), text }
}

const fn unset(name: &'static str, kind: Kind, example: &'static str, text: &'static str) -> Key {
    Key { name, kind, absent: Absent::Unset(example), text }
}

const SITE: &[Key] = &[
    default(
        "name",
        Kind::Name,
        r#""moodle""#,
        "What the site is called here: its folder on the target, and in logs. Two sites on one target need two names.",
    ),
    required(
        "root",
        Kind::Path,
        r#""/var/www/moodle""#,
        "The folder of Moodle's code, the one with config.php. From Moodle 5.1 on its \"public\" folder is accepted too.",
    ),
    unset(
        "php",
        Kind::Path,
        r#""/usr/bin/php8.2""#,
        "The PHP that runs Moodle's own scripts. If not set: php on the PATH.",
    ),
    unset(
        "web_user",
        Kind::Text,
        r#""www-data""#,
        "The user that the web server runs Moodle as; Moodle's code never runs as root. If not set: the owner of moodledata.",
    ),
    default(
        "services",
        Kind::Texts,
        "[]",
        "systemd units of the web server, such as [\"apache2.service\", \"php8.2-fpm.service\"], for \"run --restart none\" \
         and for stop_services in [window]; a restore has them read the code anew.",
    ),
    unset(
        "environment",
        Kind::Variables,
        r#"{ DB_HOST = "db1", STAGE = "live" }"#,
        "Environment variables for PHP, where config.php reads some (getenv) that the web server sets. \
         Keep this file closed to others if there is a password among them.",
    ),
    unset(
        "http_host",
        Kind::Text,
        r#""moodle.example.org""#,
        "The host name of a request, where config.php decides by it (HTTP_HOST) which site it is.",
    ),
];

const TARGET: &[Key] = &[
    required(
        "path",
        Kind::Path,
        r#""/srv/backup""#,
        "The folder that holds the backups, best on a disk of its own. The backups of this site go into a folder \
         there with the site's name.",
    ),
    unset(
        "mount_uuid",
        Kind::Text,
        r#""2f6b9d1e-5c4a-4d0e-9a57-0d9f5a3c7b21""#,
        "The UUID of the file system that must be mounted at path (see lsblk -f). A run refuses any other, so that \
         a missing disk cannot fill the one below.",
    ),
    default(
        "group",
        Kind::Text,
        r#""moodle-backup""#,
        "The group that may read the backups. Only root may change them.",
    ),
    default(
        "min_free",
        Kind::Room,
        r#""5%""#,
        "Room that a run must leave free on the target: a part of the disk, or an amount such as \"10G\".",
    ),
];

const DATABASE: &[Key] = &[
    unset(
        "options_file",
        Kind::Path,
        r#""/etc/moodle-backup/database.cnf""#,
        "Another account for the dump than Moodle's own: a MariaDB option file with [client] user and password (for \
         MariaDB on this machine the two lines [client] and user=root are enough), or a PostgreSQL service file \
         (pg_service.conf) with a section of user and password. Where the server is not the one \
         at the usual local socket, host and port (or MariaDB's socket) must stand there too: config.php, which the web \
         user may be able to change, is not told such a password. If not set: Moodle's own account.",
    ),
    default(
        "compression",
        Kind::Whole(1, 19),
        "3",
        "How hard zstd compresses dumps and archives: 1 is fastest, 19 smallest and very slow.",
    ),
];

const DATABASE_EXTRA: &[Key] = &[
    required("name", Kind::Text, r#""gradebook""#, "The name of the database; also that of its dump in a backup."),
    unset(
        "engine",
        Kind::Choice(&["mariadb", "postgres"]),
        r#""mariadb""#,
        "The kind of its server, where that is another than Moodle's.",
    ),
    unset("host", Kind::Text, r#""db2.example.org""#, "The host of its server, where that is another than Moodle's."),
    unset("port", Kind::Whole(1, 65_535), "3306", "Its port. If not set: the usual one of the engine."),
    unset(
        "socket",
        Kind::Path,
        r#""/run/mysqld/mysqld.sock""#,
        "The local socket of its server, in place of host and port.",
    ),
    unset("user", Kind::Text, r#""backup""#, "The account for its dump. If not set: Moodle's own."),
    unset(
        "options_file",
        Kind::Path,
        r#""/etc/moodle-backup/gradebook.cnf""#,
        "Account and password for it, in a file as above; with host or socket set here, it need not say where the server is.",
    ),
    unset("schema", Kind::Text, r#""public""#, "On PostgreSQL, the one schema to dump. If not set: all."),
];

const DIRECTORIES: &[Key] = &[default(
    "paths",
    Kind::Paths,
    "[]",
    "Folders, each archived with all in it, such as [\"/etc/apache2\", \"/etc/cron.d\"].",
)];

const MOODLEDATA: &[Key] = &[
    default(
        "exclude",
        Kind::Patterns,
        "[]",
        "What to leave out of moodledata besides caches, sessions and temporary files, which are always left out. \
         Names count from moodledata's top; \"*\" and \"?\" stand for anything but \"/\". A folder goes with all that is in it.",
    ),
    default(
        "accept_missing",
        Kind::Flag,
        "false",
        "Whether files that Moodle's database lists but moodledata has lost already are no reason for a warning as \
         long as there are not more of them than last time.",
    ),
];

const WINDOW: &[Key] = &[
    default(
        "mode",
        Kind::Choice(&["short", "full", "none"]),
        r#""short""#,
        "\"short\": closed until the snapshot is taken, about a second. \"full\": closed until the dump is \
         complete. \"none\": never closed; the dump is a snapshot all the same, but \
         what users upload meanwhile may be in the backup by half.",
    ),
    default(
        "max_seconds",
        Kind::Duration(1),
        "60",
        "The site is opened again after this long, whatever the run is doing; the run then fails.",
    ),
    default(
        "full_max_seconds",
        Kind::Duration(1),
        "3600",
        "The same where the site stays closed for the whole dump: in mode \"full\", and when short windows were in vain.",
    ),
    default(
        "settle_seconds",
        Kind::Duration(0),
        "0",
        "How long to wait after closing. On a cluster with moodledata on NFS: as long as the web servers may go on \
         seeing the site open (60 at most, as a rule).",
    ),
    default(
        "drain_seconds",
        Kind::Duration(0),
        "10",
        "How long to wait, at most, until nothing of Moodle's is at work in the database any more. MariaDB and MySQL tell \
         of transactions that are open but idle only to an account with the privilege PROCESS (GRANT PROCESS ON *.* TO \
         Moodle's own account): without it those are not waited for, and what such a request has put into \
         moodledata may be in the backup though its rows are not.",
    ),
    default(
        "retries",
        Kind::Whole(0, 10),
        "1",
        "How often a dump that the open site has disturbed is tried again with another short window, before the site \
         stays closed for the whole dump once.",
    ),
    default(
        "blocked_seconds",
        Kind::Duration(1),
        "15",
        "On PostgreSQL: how long sessions of the site may wait for the dump before it is given up and tried again.",
    ),
    default("cron_before", Kind::Flag, "false", "Whether Moodle's cron is run once before the site is closed."),
    default("cron_after", Kind::Flag, "false", "Whether Moodle's cron is started once the site is open again."),
    default(
        "stop_services",
        Kind::Flag,
        "false",
        "Whether the services of [site] are stopped while the site is closed. Not needed as a rule: Moodle's maintenance \
         mode keeps users out.",
    ),
    default(
        "purge_caches",
        Kind::Flag,
        "false",
        "Whether Moodle's caches are emptied while the site is closed. A backup has no need of it, and the site is \
         slow for a while.",
    ),
];

const RETENTION: &[Key] = &[
    default("last", Kind::Whole(0, 10_000), "3", "The newest so many, whatever their age."),
    default(
        "daily",
        Kind::Whole(0, 10_000),
        "7",
        "The newest of each day, for the last so many days that have backups (by UTC, as are all of these).",
    ),
    default(
        "weekly",
        Kind::Whole(0, 10_000),
        "4",
        "The newest of each week (Monday to Sunday), for the last so many weeks.",
    ),
    default("monthly", Kind::Whole(0, 10_000), "12", "The newest of each month, for the last so many months."),
    default("yearly", Kind::Whole(0, 10_000), "0", "The newest of each year, for the last so many years."),
    default(
        "make_room",
        Kind::Flag,
        "false",
        "Whether a run that finds too little room removes backups that are due before it begins, in place of refusing.",
    ),
];

const HOOKS: &[Key] = &[
    default(
        "folder",
        Kind::Path,
        r#""/etc/moodle-backup""#,
        "The folder that holds pre-job.d, maintenance.d, post-job.d and failure.d.",
    ),
    default(
        "user",
        Kind::Text,
        r#""moodle-backup""#,
        "The user they run as: it can read all of a backup and change none.",
    ),
    default("timeout", Kind::Duration(1), r#""1h""#, "How long each of them may take before it is ended."),
];

const RESOURCES: &[Key] = &[
    unset(
        "threads",
        Kind::Whole(1, 64),
        "2",
        "How many threads read, hash and compress. If not set: two for each core, since they wait for disks a good \
         part of the time; 4 at most.",
    ),
    default(
        "nice",
        Kind::Whole(0, 19),
        "10",
        "How far the work stands back for others on the processor, while the site is open.",
    ),
    default(
        "io",
        Kind::Choice(&["idle", "low", "normal"]),
        r#""low""#,
        "The same for the disks: \"idle\" only when nobody else wants them, \"low\" behind all others, \"normal\" as everybody.",
    ),
];

/// All sections, in the order of the sample file.
pub const SECTIONS: &[Section] = &[
    Section { name: "site", repeated: false, text: "The Moodle site.", keys: SITE },
    Section { name: "target", repeated: false, text: "Where the backups go.", keys: TARGET },
    Section { name: "database", repeated: false, text: "The dump of Moodle's database.", keys: DATABASE },
    Section {
        name: "database.extra",
        repeated: true,
        text: "Another database to be saved along; repeat the section for each. On Moodle's own server, name is enough.",
        keys: DATABASE_EXTRA,
    },
    Section { name: "directories", repeated: false, text: "Other folders to be saved along.", keys: DIRECTORIES },
    Section { name: "moodledata", repeated: false, text: "Moodle's own folder of files.", keys: MOODLEDATA },
    Section { name: "window", repeated: false, text: "The time for which the site is closed.", keys: WINDOW },
    Section {
        name: "retention",
        repeated: false,
        text: "Which backups are kept. One that any line asks for stays, and so do pinned ones.",
        keys: RETENTION,
    },
    Section { name: "hooks", repeated: false, text: "Your own programs around a run.", keys: HOOKS },
    Section { name: "resources", repeated: false, text: "How much of the machine a run may take.", keys: RESOURCES },
];

/// Widest line of the sample file.
const SAMPLE_WIDTH: usize = 100;

const SAMPLE_HEAD: &str = "\
Settings of moodle-backup, in TOML. \"moodle-backup check\" tells what is wrong in here.
Durations are whole seconds, or a text such as \"30s\", \"10m\", \"26h\" or \"2d\".
To set a key, take the \"#\" before it away. Two keys must be set: root and path.
";

/// The settings file as it is installed: everything commented out, with its text.
pub fn sample() -> String {
    let mut sample = String::new();
    SAMPLE_HEAD.lines().for_each(|line| comment(&mut sample, line));
    for section in SECTIONS {
        sample.push('\n');
        comment(&mut sample, section.text);
        let _ = match section.repeated {
            true => writeln!(sample, "#[[{}]]", section.name),
            false => writeln!(sample, "[{}]", section.name),
        };
        for key in section.keys {
            sample.push('\n');
            comment(&mut sample, &format!("{} {}", key.text, key.absent.introduction()));
            let _ = writeln!(sample, "#{} = {}", key.name, key.absent.shown());
        }
    }
    sample
}

fn comment(sample: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > SAMPLE_WIDTH {
            let _ = writeln!(sample, "{line}");
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(sample, "{line}");
}
