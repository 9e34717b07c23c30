//! The command line as it is typed, and its help. What a command does must not go in here: that is `run`'s.

use crate::entry::owners::Owner;
use crate::extract::searched::Searched;
use crate::restore::Server;
use crate::settings::{WindowMode, units};
use crate::store::Part;
use crate::sys::log::Verbosity;
use crate::verify::Sample;
use clap::{ArgGroup, Args, ColorChoice, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

const AFTER: &str = "\
Examples:
  moodle-backup check                      is everything in place for a backup?
  moodle-backup run                        make a backup now, and watch it
  moodle-backup list                       which backups are there?
  moodle-backup status --max-age 26h       is the last one recent?
  moodle-backup --settings two.toml run    the same for another site

Exit codes:
  0  done
  1  failed
  2  the command line is wrong
  3  done, with warnings
  4  another run is at work on this site
  5  the settings or this machine are not fit; nothing was begun
  6  skipped, because a hook asked for it";

/// Back up a whole Moodle site: code, database and moodledata, with the site
/// closed for about a second.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "moodle-backup",
    version,
    verbatim_doc_comment,
    after_long_help = AFTER,
    after_help = "\"moodle-backup --help\" shows examples and exit codes.",
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 80
)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options for every command")]
pub struct Global {
    /// The settings file [default: /etc/moodle-backup/settings.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// Print the result as JSON, for other programs
    #[arg(long, global = true)]
    pub json: bool,
    /// Print warnings and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print everything that goes into the log
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// When to use colour: auto, always or never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    pub color: ColorChoice,
}

impl Global {
    /// How much is printed to standard error.
    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Set everything up, by questions: site, backup disk, schedule
    #[command(after_long_help = SETUP_AFTER)]
    Setup(Box<Setup>),
    /// Look whether a backup can be made; change nothing
    #[command(
        verbatim_doc_comment,
        after_long_help = "\
Looks at the settings, Moodle's config.php, programs, rights, the database and
the target, and says what is fine, what is not, and what to do about it.

Exit codes: 0 all is fine, 3 there are warnings, 5 a backup would be refused."
    )]
    Check,
    /// Make a backup
    #[command(after_long_help = RUN_AFTER)]
    Run(Run),
    /// Show the backup that is running; Ctrl-C ends the showing only
    Attach,
    /// Open the site again after a run with --restart half or none
    Resume,
    /// Undo what an interrupted run left, and open the site
    #[command(after_long_help = "\
Needs no settings, and can be called again and again. A site that is kept closed
by \"run --restart half\" or \"none\" stays closed: see \"moodle-backup resume\".")]
    Recover(Recover),
    /// List the backups
    List,
    /// Show all about one backup
    Show(One),
    /// Find a file or folder in the backups by its name
    #[command(after_long_help = FIND_AFTER)]
    Find(Find),
    /// Tell how things stand: last backup, site, what is due
    #[command(after_long_help = "\
Example, for monitoring:
  moodle-backup status --max-age 26h || echo \"no backup for a day\"

Exit codes: 0 all is well, 1 with --max-age: no good backup as recent as that,
3 something wants attention, such as a site that is held closed.")]
    Status(Status),
    /// Bring a site back, whole or in part; or into a folder
    #[command(after_long_help = RESTORE_AFTER)]
    Restore(Box<Restore>),
    /// Write a backup as one file, to be kept elsewhere
    #[command(after_long_help = EXPORT_AFTER)]
    Export(Export),
    /// Keep a backup for good: prune leaves it alone
    Pin(One),
    /// Let a pinned backup go when its time comes
    Unpin(One),
    /// Remove backups that the retention settings do not ask for
    #[command(after_long_help = "\
Removes nothing on a doubt, and says what is to be settled first.

Exit codes: 0 done, 1 failed, 3 it was refused or not completed, 4 a run is at
work on this site.")]
    Prune(Prune),
    /// Read backups again and say what is damaged
    #[command(after_long_help = VERIFY_AFTER)]
    Verify(Verify),
    /// Take over the settings of the Moodle Backup Scripts
    #[command(after_long_help = IMPORT_AFTER)]
    ImportSettings(ImportSettings),
    /// Watch over a closed site and open it if the run cannot
    #[command(hide = true)]
    Guard(Guard),
    /// Run Moodle's cron to its end
    #[command(hide = true)]
    Cron,
    /// Print the names of the backups, for a shell to complete
    #[command(hide = true)]
    BackupNames,
}

const SETUP_AFTER: &str = "\
Finds the site, says which programs are missing, shows the disks and makes one
ready for the backups, proposes hour and retention; then lists all that it will
do, and does it. It can be called again at any time, to change something: what
is so already is left as it is.

Where there are several sites, some or all can be chosen: they are set up one
after the other, each further one with the settings file and the timers of its
name, such as /etc/moodle-backup/two.toml and moodle-backup@two.timer.

Without a terminal nothing is asked:
  moodle-backup setup --print-answers > answers.toml
                                           the questions, for another server
  moodle-backup setup --answers answers.toml
                                           everything as the file says
  moodle-backup setup --yes --target /srv/backup --time 01:30
                                           what would be proposed, and these

Exit codes: 0 all is set up, 1 failed or not agreed to, 2 the command line is
wrong, 3 set up, and the first backup has warnings, 5 something of the machine
or the answers is not fit.";

/// `setup`
#[derive(Args, Clone, Debug)]
pub struct Setup {
    /// Ask nothing: take the answers from this file (TOML)
    #[arg(long, value_name = "FILE", conflicts_with = "print_answers")]
    pub answers: Option<PathBuf>,
    /// Ask, and print the answers as such a file; change nothing
    #[arg(long)]
    pub print_answers: bool,
    /// Ask nothing: take what would be proposed
    #[arg(long)]
    pub yes: bool,
    /// Say what would be done, and do nothing
    #[arg(long, conflicts_with = "print_answers")]
    pub plan: bool,
    /// The folder of Moodle's code [default: the one site that is found]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// What the site is called here [default: moodle]
    #[arg(long, value_name = "NAME", value_parser = crate::settings::name)]
    pub name: Option<String>,
    /// Where the backups go: the mount point of a disk, or a plain folder
    #[arg(long, value_name = "DIR")]
    pub target: Option<PathBuf>,
    /// When the nightly backup begins, such as 01:30; or never
    #[arg(long, value_name = "TIME")]
    pub time: Option<String>,
    /// Who gets a mail when a backup fails; or nobody
    #[arg(long, value_name = "ADDRESS")]
    pub mail: Option<String>,
    /// Install packages that are missing
    #[arg(long)]
    pub install_packages: bool,
    /// Make a backup at the end, and verify it
    #[arg(long)]
    pub first_backup: bool,
}

const IMPORT_AFTER: &str = "\
FILE is the settings file of the Moodle Backup Scripts, the bash commands that
saved a site before. It is read, and never run; nothing of the scripts is
changed. What becomes of each key is shown, and what somebody has to look at.

Examples:
  moodle-backup import-settings /root/moodlebackup/settings --dry-run
  moodle-backup import-settings /root/moodlebackup/settings --disable-cron \\
      --adopt /backup/moodle-last/moodledata

Exit codes: 0 done, 1 failed, 3 done, and something is to be looked at, 5 FILE
is no such file, or the settings here say something else already.";

/// `import-settings`
#[derive(Args, Clone, Debug)]
pub struct ImportSettings {
    /// The settings file of the Moodle Backup Scripts
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Show what becomes of it, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Write over values that the settings here have already
    #[arg(long)]
    pub replace: bool,
    /// Take over their post-job script, into post-job.d
    #[arg(long, value_name = "SCRIPT")]
    pub post_job: Option<PathBuf>,
    /// Put their line in cron out of use; it stays as a comment
    #[arg(long)]
    pub disable_cron: bool,
    /// Take the users' files of their last set into the pool in place of
    /// copying them: the folder in it that has filedir. They are root's
    /// from then on, there too
    #[arg(long, value_name = "DIR", verbatim_doc_comment)]
    pub adopt: Option<PathBuf>,
}

/// A command about one backup.
#[derive(Args, Clone, Debug)]
pub struct One {
    /// Which: its name as in "list", "latest", or a date or time such as
    /// 2026-11-23 or "2026-11-23 14:00", for the last one before its end
    #[arg(value_name = "BACKUP", verbatim_doc_comment)]
    pub backup: String,
}

const RUN_AFTER: &str = "\
A run goes on without this terminal: Ctrl-C, a closed window or a lost
connection end its display only, and \"moodle-backup attach\" shows it again.
To end the run itself; the site is opened, and nothing is left half made:
  systemctl stop 'moodle-backup-by-hand-*' moodle-backup.service

Examples:
  moodle-backup run --dry-run              say what would be done
  moodle-backup run --label \"before 5.1\"   a note for \"list\"
  moodle-backup run --restart half         leave the site in maintenance,
                                           until \"moodle-backup resume\"

Exit codes: 0 done, 1 failed, 3 done with warnings, 4 another run is at work,
5 refused before anything was begun, 6 skipped by a hook.";

/// `run`
#[derive(Args, Clone, Debug)]
pub struct Run {
    /// What becomes of the site when it has been closed
    #[arg(long, value_enum, default_value_t = Restart::Full, value_name = "HOW")]
    pub restart: Restart,
    /// For how long the site is closed, in place of the setting
    #[arg(long, value_enum, value_name = "MODE")]
    pub window: Option<Window>,
    /// Work in this process, not in the background
    #[arg(long)]
    pub foreground: bool,
    /// The run is one of the timer's, not one by hand
    #[arg(long)]
    pub scheduled: bool,
    /// A note that is kept with the backup
    #[arg(long, value_name = "TEXT", value_parser = label)]
    pub label: Option<String>,
    /// Write the new backup to this file too, as "export" does; a folder gets
    /// a file named after site and backup
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    pub export: Option<PathBuf>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Where the log goes
    #[arg(long, hide = true)]
    pub log: Option<PathBuf>,
    /// Leave all backups there are, whatever the rules ask for
    #[arg(long, hide = true)]
    pub keep_all: bool,
}

const FIND_AFTER: &str = "\
Searches code, moodledata and extra directories by the lists that each backup
has of them, and what users have uploaded by the names that it has in Moodle.
Neither site nor database are needed.

PATTERN is a part of the name; with *, ? or [...] in it the whole name. With a
slash in it the path is meant: the one on the server, for uploaded files that in
Moodle. Capital letters or small ones is all the same. The 40 digits of a
content's hash find what users have of that content. Write it between quotes:
the shell has its own use for *.

At the end stands the command that brings back the first that was found.

Examples:
  moodle-backup find lecture3.pdf          in the newest backup
  moodle-backup find --all lecture3.pdf    in all; says which have it
  moodle-backup find --all --in uploads \"*week 4*.pdf\"
                                           what users have uploaded, only
  moodle-backup find nginx/nginx.conf 2026-11-20
                                           as at the end of that day
  moodle-backup find --all mod/attendance  which backups have that plugin?
  moodle-backup find --from /mnt/usb \"*.mbz\"
                                           backups from another server

Exit codes: 0 found, 1 nothing found, or failed, 2 the command line is wrong,
3 found, and something could not be searched, 5 there are no backups there.";

/// `find`
#[derive(Args, Clone, Debug)]
pub struct Find {
    /// What it is called, or a part of that; * and ? stand for any letters
    #[arg(value_name = "PATTERN", value_parser = pattern)]
    pub pattern: String,
    /// Which: its name as in "list", "latest", or a date or time such as
    /// 2026-11-23 or "2026-11-23 14:00" [default: latest]
    #[arg(value_name = "BACKUP", verbatim_doc_comment, conflicts_with = "all")]
    pub backup: Option<String>,
    /// In all backups; what is the same in several is shown once
    #[arg(long)]
    pub all: bool,
    /// In this part only: code, moodledata, directory:NAME or uploads (of
    /// users); may be given several times
    #[arg(long = "in", value_name = "PART", verbatim_doc_comment)]
    pub within: Vec<Searched>,
    /// How many are shown; 0 for all
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub limit: usize,
    /// The folder of the backups, where they are not those of the settings,
    /// or a file that "export" wrote. Needs no settings
    #[arg(long, value_name = "DIR|FILE", verbatim_doc_comment)]
    pub from: Option<PathBuf>,
}

/// Headings of the options of `restore`.
const IN_PLACE: &str = "Options for restoring the site itself";
const ELSEWHERE: &str = "Options for another server, or another place";
const BESIDE: &str = "Options for restoring into a folder";

const RESTORE_AFTER: &str = "\
In an emergency:
  moodle-backup list                       which backups are there?
  moodle-backup restore --plan             what would be done?
  moodle-backup restore                    do it; asks before it begins

Without BACKUP the newest is taken; without --only code, database and
moodledata come back. What is replaced is set aside, and \"restore --undo\"
brings it back. If a restore fails, or Ctrl-C ends it, everything is put back
by itself; if the connection is lost, it goes on (\"moodle-backup attach\").
Nothing of that is deleted before \"restore --discard\".

With --to the site is not touched: DIR gets code/, moodledata/, database/,
directories/. Whatever comes back is compared with its checksums first. Which
backup has a file is told by \"moodle-backup find\".

More examples:
  moodle-backup restore 2026-11-20 --only code
                              the code as it was at the end of that day
  moodle-backup restore --only database --only moodledata --yes
                              without a question
  moodle-backup restore --to /root/back
                              all of the newest backup, beside the site
  moodle-backup restore --path /var/www/moodle/config.php --to /root/back
                              one file, by the path that it had
  moodle-backup restore --file \"Essay 3.docx\" --to /root/back
                              a file that somebody uploaded to Moodle
  moodle-backup restore --table user | less
                              one table of the database, as SQL
  moodle-backup restore --table user | mariadb scratch
                              the same into an empty database (or psql)
  moodle-backup restore --from /mnt/usb --to /root/back
                              backups that came from another server
  moodle-backup restore --from /mnt/usb --wwwroot https://new.example.org
                              the whole site, on this server
  moodle-backup restore --clone --root /var/www/test --dataroot /srv/test \\
      --database-name test --wwwroot https://test.example.org
                              a copy beside the original, to try things on
  moodle-backup restore --from moodle.tar.zst --to /root/back
                              the backup in a file that \"export\" has written

Exit codes: 0 done, 1 failed (and put back), 3 done with warnings, or something
is damaged or lost, 4 a run is at work on this site, 5 refused, because of the
settings or this machine: everything is as it was.";

/// `restore`
#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("beside").args(["to", "table"]).multiple(true))]
#[command(group = ArgGroup::new("in_place").args(["plan", "yes", "backup_first", "keep_config", "ignore_environment", "database_admin", "undo", "redo", "discard"])
    .multiple(true).conflicts_with("beside"))]
#[command(group = ArgGroup::new("elsewhere").args(["root", "dataroot", "wwwroot", "database_host", "database_name",
    "database_user", "database_password_file", "web_user", "config_php", "clone"])
    .multiple(true).conflicts_with("beside"))]
pub struct Restore {
    /// Which: its name as in "list", "latest", or a date or time such as
    /// 2026-11-23 or "2026-11-23 14:00" [default: latest]
    #[arg(value_name = "BACKUP", verbatim_doc_comment)]
    pub backup: Option<String>,
    /// This part only: code, database, moodledata, directory:NAME or
    /// database:NAME; may be given several times
    #[arg(long, value_name = "PART", verbatim_doc_comment)]
    pub only: Vec<Part>,
    /// Say what would be done, and do nothing
    #[arg(long, help_heading = IN_PLACE)]
    pub plan: bool,
    /// Do not ask
    #[arg(long, help_heading = IN_PLACE)]
    pub yes: bool,
    /// Make a backup of the site as it is now first; on a terminal this is
    /// asked
    #[arg(long, verbatim_doc_comment, help_heading = IN_PLACE)]
    pub backup_first: bool,
    /// Keep the config.php that is there now
    #[arg(long, help_heading = IN_PLACE)]
    pub keep_config: bool,
    /// Go on although PHP or the database is older than this Moodle asks for
    #[arg(long, help_heading = IN_PLACE)]
    pub ignore_environment: bool,
    /// An option file with an administrator's account of the database
    /// server, to make a database that is gone, or to put back what others
    /// have defined in it [default: root's own access]
    #[arg(long, value_name = "FILE", verbatim_doc_comment, help_heading = IN_PLACE)]
    pub database_admin: Option<PathBuf>,
    /// Put back what the last restore has replaced; again: what the one
    /// before has replaced
    #[arg(long, conflicts_with_all = ["backup", "only", "discard", "plan"], verbatim_doc_comment, help_heading = IN_PLACE)]
    pub undo: bool,
    /// Bring back what the last --undo has replaced
    #[arg(long, conflicts_with_all = ["backup", "only", "discard", "plan", "undo"], help_heading = IN_PLACE)]
    pub redo: bool,
    /// Delete what restores have set aside
    #[arg(long, conflicts_with_all = ["backup", "only", "plan"], help_heading = IN_PLACE)]
    pub discard: bool,
    /// The folder of the backups, where they are not those of the settings:
    /// on a mounted disk, or copied here; or a file that "export" wrote.
    /// Needs no settings
    #[arg(long, value_name = "DIR|FILE", verbatim_doc_comment)]
    pub from: Option<PathBuf>,
    /// Where the code goes [default: [site] root of the settings, else where
    /// it was]
    #[arg(long, value_name = "DIR", verbatim_doc_comment, help_heading = ELSEWHERE)]
    pub root: Option<PathBuf>,
    /// Where moodledata goes, with the users' files [default: where it was]
    #[arg(long, value_name = "DIR", help_heading = ELSEWHERE)]
    pub dataroot: Option<PathBuf>,
    /// The address of the site; links in its content are changed too
    /// [default: as it was]
    #[arg(long, value_name = "URL", value_parser = address, verbatim_doc_comment, help_heading = ELSEWHERE)]
    pub wwwroot: Option<String>,
    /// The database server: HOST, HOST:PORT, or the path of its socket
    /// (PostgreSQL: of the socket's folder) [default: as it was]
    #[arg(long, value_name = "HOST", verbatim_doc_comment, help_heading = ELSEWHERE)]
    pub database_host: Option<Server>,
    /// The database, empty or not there yet [default: as it was]
    #[arg(long, value_name = "NAME", help_heading = ELSEWHERE)]
    pub database_name: Option<String>,
    /// The site's account in the database [default: as it was]
    #[arg(long, value_name = "USER", help_heading = ELSEWHERE)]
    pub database_user: Option<String>,
    /// A file that holds its password, and nothing else [default: as it was;
    /// on a terminal --database-user asks]
    #[arg(long, value_name = "FILE", verbatim_doc_comment, help_heading = ELSEWHERE)]
    pub database_password_file: Option<PathBuf>,
    /// The web server's user here [default: as it was]
    #[arg(long, value_name = "USER", help_heading = ELSEWHERE)]
    pub web_user: Option<String>,
    /// A config.php made by hand, where that of the backup cannot be changed
    #[arg(long, value_name = "FILE", help_heading = ELSEWHERE)]
    pub config_php: Option<PathBuf>,
    /// A copy to live beside the original: sends no mail, runs no cron, has a
    /// site identifier of its own, and shares neither files nor database
    /// with it
    #[arg(long, verbatim_doc_comment, help_heading = ELSEWHERE)]
    pub clone: bool,
    /// Where to: a folder that is empty or not there yet; with --path or
    /// --file others may be in it, and nothing is written over
    #[arg(long, value_name = "DIR", verbatim_doc_comment, help_heading = BESIDE)]
    pub to: Option<PathBuf>,
    /// This file or folder only, by the path that it had on the server, or as
    /// PART:PATH; may be given several times
    #[arg(long, value_name = "PATH", verbatim_doc_comment, requires = "beside", help_heading = BESIDE)]
    pub path: Vec<PathBuf>,
    /// A file that was uploaded to Moodle, by its name there or its content's
    /// hash (40 digits); all of that name
    #[arg(long, value_name = "NAME", conflicts_with_all = ["only", "path"], verbatim_doc_comment)]
    #[arg(requires = "to", help_heading = BESIDE)]
    pub file: Option<String>,
    /// A table of the site's database, as SQL; --to names the file for it
    /// [default: standard output]
    #[arg(long, value_name = "TABLE", conflicts_with_all = ["only", "path", "file", "owner", "plain"])]
    #[arg(verbatim_doc_comment, help_heading = BESIDE)]
    pub table: Option<String>,
    /// Who is to own what was the web server user's [default: who it was]
    #[arg(long, value_name = "USER[:GROUP]", requires = "to", help_heading = BESIDE)]
    pub owner: Option<Owner>,
    /// Write dumps of databases uncompressed
    #[arg(long, requires = "to", help_heading = BESIDE)]
    pub plain: bool,
    /// Go on where the backup is damaged, and bring back what is left of
    /// it. In place: where it has lost some of users' files, no more
    #[arg(long, conflicts_with_all = ["undo", "redo", "discard"], verbatim_doc_comment)]
    pub force: bool,
}

/// `run --restart`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Restart {
    /// As it was before: open, unless it was in maintenance already
    Full,
    /// Web server running, site in maintenance, until "resume"
    Half,
    /// Services stopped too, site in maintenance, until "resume"
    None,
}

/// `run --window`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Window {
    /// Until the snapshot is taken, about a second
    Short,
    /// Until the dump of the database is complete
    Full,
    /// Not at all
    None,
}

impl From<Window> for WindowMode {
    fn from(window: Window) -> Self {
        match window {
            Window::Short => WindowMode::Short,
            Window::Full => WindowMode::Full,
            Window::None => WindowMode::None,
        }
    }
}

/// `status`
#[derive(Args, Clone, Debug)]
pub struct Status {
    /// Fail if the last good backup is older, such as 26h or 2d
    #[arg(long, value_name = "AGE", value_parser = units::duration)]
    pub max_age: Option<Duration>,
}

/// `recover`
#[derive(Args, Clone, Debug)]
pub struct Recover {
    /// Undo an interrupted restore although the site was opened by hand
    /// since: what was done there since is lost
    #[arg(long, verbatim_doc_comment)]
    pub undo_restore: bool,
    /// Keep a site as it is now that was opened by hand after a restore
    /// had died: what that had replaced stays set aside, for
    /// "restore --undo" or "restore --discard"
    #[arg(long, conflicts_with = "undo_restore", verbatim_doc_comment)]
    pub keep: bool,
}

/// `prune`
#[derive(Args, Clone, Debug)]
pub struct Prune {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
}

const EXPORT_AFTER: &str = "\
The file has all that belongs to the backup, the files of users among it, and
RESTORE.txt at its front. \"restore --from FILE\" brings things back from it; so
do tar and zstd alone. All of it is compared with its checksums on the way: if
something is damaged there is no file, and a stream that no reader takes for
whole. Until it is complete it is called FILE.part. It holds passwords and the
data of users: keep it safe.

Examples:
  moodle-backup export latest /mnt/usb     /mnt/usb/SITE-BACKUP.tar.zst
  moodle-backup export 2026-11-20 moodle.tar
                                           uncompressed, by its name
  moodle-backup export latest - | ssh other 'cat > moodle.tar.zst'
  moodle-backup export latest - | age -r KEY > moodle.tar.zst.age

Exit codes: 0 done, 1 failed or damaged, 2 the command line is wrong, 3 done
with warnings, 5 refused before anything was written.";

/// `export`
#[derive(Args, Clone, Debug)]
pub struct Export {
    /// Which: its name as in "list", "latest", or a date or time such as
    /// 2026-11-23 or "2026-11-23 14:00", for the last one before its end
    #[arg(value_name = "BACKUP", verbatim_doc_comment)]
    pub backup: String,
    /// Where to: a file that is not there yet, a folder, for a file named
    /// after site and backup, or - for standard output
    #[arg(value_name = "FILE", verbatim_doc_comment)]
    pub file: PathBuf,
    /// A plain tar; also if the name of FILE ends with .tar
    #[arg(long)]
    pub uncompressed: bool,
    /// Write over FILE if it is there, once the new one is whole
    #[arg(long)]
    pub replace: bool,
}

const VERIFY_AFTER: &str = "\
Needs neither site nor database. Reads slowly if others want the disk, keeps
prune off what it reads, and never stands in the way of a run. What it finds is
shown by list, show and status. A damaged file of the pool is set aside, and the
next run fetches it from the site, if that has it still; --repair does so now.

--restore-test loads the dump into a database server that it starts itself, as
an ordinary user, from the programs of this machine; counts the rows of every
table; unpacks the code; and starts Moodle's command line on both. The site and
its database server are not touched.

Examples:
  moodle-backup verify                     the newest backup
  moodle-backup verify --all --max-time 2h every night, for a pool that takes
                                           days to read
  moodle-backup verify --sample 5%         some of the pool's files

Exit codes: 0 nothing is damaged (as far as time allowed), 1 something is, or
the check could not be made, 3 all that was damaged has been mended.";

/// `verify`
#[derive(Args, Clone, Debug)]
pub struct Verify {
    /// Which: its name as in "list", "latest", or a date or time
    /// [default: latest]
    #[arg(value_name = "BACKUP", verbatim_doc_comment, conflicts_with = "all")]
    pub backup: Option<String>,
    /// All backups; what they share is read once
    #[arg(long)]
    pub all: bool,
    /// Read only some of the pool's files, such as 5% or 1000
    #[arg(long, value_name = "SHARE", value_parser = sample)]
    pub sample: Option<Sample>,
    /// Stop after this time, such as 2h; the next call goes on from there
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub max_time: Option<Duration>,
    /// Begin anew where an earlier call was not completed
    #[arg(long)]
    pub anew: bool,
    /// Fetch damaged files of the pool from the site again
    #[arg(long)]
    pub repair: bool,
    /// Bring the backup back to life beside the site, and take it away again
    #[arg(long, conflicts_with_all = ["all", "sample", "max_time"])]
    pub restore_test: bool,
    /// Where the restore test has its files
    #[arg(long, value_name = "DIR", default_value = "/var/tmp", requires = "restore_test")]
    pub scratch_folder: PathBuf,
    /// An option file with an account for an empty database of the name
    /// moodle_backup_test, in place of a server that the test starts itself
    #[arg(long, value_name = "FILE", requires = "restore_test", verbatim_doc_comment)]
    pub scratch_database: Option<PathBuf>,
}

impl Verify {
    /// The newest backup, all of it.
    pub fn newest() -> Verify {
        Verify {
            backup: None,
            all: false,
            sample: None,
            max_time: None,
            anew: false,
            repair: false,
            restore_test: false,
            scratch_folder: "/var/tmp".into(),
            scratch_database: None,
        }
    }
}

/// A share of many files: `5%`, or a number.
fn sample(text: &str) -> Result<Sample, String> {
    let percent = text.strip_suffix('%').map(|number| number.trim().parse::<f64>().ok());
    match percent {
        Some(Some(percent)) if percent > 0.0 && percent <= 100.0 => return Ok(Sample::Percent(percent)),
        None => {
            if let Some(files) = text.parse().ok().filter(|files| *files > 0) {
                return Ok(Sample::Files(files));
            }
        }
        Some(_) => {}
    }
    Err(format!("{text:?} is no share: write hundredths such as \"5%\", or a number of files"))
}

/// `guard`: what the run tells the guard that it starts.
#[derive(Args, Clone, Debug)]
pub struct Guard {
    /// The note about the closed site
    pub state: PathBuf,
    /// After so many milliseconds it is opened in any case
    pub max: u64,
}

/// The address of a site, as Moodle wants it: without a slash at its end.
fn address(text: &str) -> Result<String, String> {
    let address = text.trim_end_matches('/');
    let host = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://")).unwrap_or_default();
    if host.is_empty()
        || host.starts_with('/')
        || address.contains(|c: char| c.is_whitespace() || "'\"<>?#".contains(c))
    {
        return Err("write it as in https://moodle.example.org".into());
    }
    Ok(address.to_owned())
}

/// A name to look for is something.
fn pattern(text: &str) -> Result<String, String> {
    match text.trim().is_empty() {
        true => Err("write a part of the name; \"*\", between quotes, finds everything".into()),
        false => Ok(text.to_owned()),
    }
}

/// A label is one line that fits into a list.
fn label(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 100 || text.contains(char::is_control) {
        return Err("a label is one line of at most 100 characters".into());
    }
    Ok(text.to_owned())
}
