//! RESTORE.txt: how to bring this very backup back with a bare Debian. Text only; a test types its commands.
//!
//! Form: a command stands on one line, four spaces in. `# ` before it makes it a part of the restore, to be typed
//! as root in the given order; `$ ` marks what only looks, or is for special cases.

use super::manifest::{Component, ComponentKind, EmptiedFolder, Manifest};
use super::restore_database as database;
use super::shell::quote;
use super::{layout, sums};
use std::fmt::Write;
use std::path::Path;

/// How many lost files are named; the manifest has them all.
const NAMED: usize = 20;

/// The text being written.
#[derive(Default)]
pub(super) struct Page {
    text: String,
    sections: usize,
}

impl Page {
    /// Words for the reader, wrapped by the writer of this file.
    pub(super) fn say(&mut self, words: &str) {
        self.text.push_str(words.trim_end());
        self.text.push_str("\n\n");
    }

    fn heading(&mut self, words: &str) {
        let line = "-".repeat(words.chars().count());
        self.text.push_str(&format!("{words}\n{line}\n\n"));
    }

    /// The heading of a part of the work; they are numbered as they come, from 0 on.
    pub(super) fn section(&mut self, words: &str) {
        let heading = format!("{}. {words}", self.sections);
        self.sections += 1;
        self.heading(&heading);
    }

    /// Commands of the restore.
    pub(super) fn run<T: AsRef<str>>(&mut self, commands: impl IntoIterator<Item = T>) {
        self.commands('#', commands);
    }

    /// Commands that only look, or are for special cases.
    pub(super) fn look<T: AsRef<str>>(&mut self, commands: impl IntoIterator<Item = T>) {
        self.commands('$', commands);
    }

    fn commands<T: AsRef<str>>(&mut self, mark: char, commands: impl IntoIterator<Item = T>) {
        for command in commands {
            self.text.push_str(&format!("    {mark} {}\n", command.as_ref()));
        }
        self.text.push('\n');
    }
}

/// The text for a backup that will lie in this site's folder.
pub fn render(manifest: &Manifest, site_folder: &Path) -> String {
    let mut page = Page::default();
    introduction(&mut page, manifest);
    names(&mut page, manifest, site_folder);
    packages(&mut page, manifest);
    checks(&mut page, manifest);
    code(&mut page);
    moodledata(&mut page, manifest);
    configuration(&mut page, manifest);
    database::site_database(&mut page, &manifest.database);
    database::extra_databases(&mut page, &manifest.extra_databases);
    directories(&mut page, manifest);
    opening(&mut page, manifest);
    single_files(&mut page, manifest);
    page.text.trim_end().to_owned() + "\n"
}

fn introduction(page: &mut Page, manifest: &Manifest) {
    let site = &manifest.site;
    page.heading(&format!(
        "How to bring back {} as of {}",
        one_line(&site.name),
        manifest.moment().format("%Y-%m-%d %H:%M:%S UTC")
    ));
    page.say(&format!(
        "This is the backup {} of {}\n(Moodle {}, PHP {}, {} {}), made on {} by {}.",
        manifest.label,
        one_line(&site.wwwroot),
        one_line(&site.release),
        one_line(&site.php),
        database::engine_name(&manifest.database),
        one_line(&manifest.database.server_version),
        one_line(&manifest.host),
        manifest.tool,
    ));
    page.say(
        "You need a Debian (or another Linux) with bash, tar, zstd, PHP and the database, and to be\n\
         root there. You need nothing of moodle-backup.",
    );
    if !manifest.complete {
        incomplete(page, manifest);
    }
    page.say(
        "Commands stand on a line of their own, four spaces in. The mark in front is not typed.\n\
         \x20 #  is a step of the restore: as root, in this order, all in one and the same bash.\n\
         \x20 $  only looks, or is for a special case: take what you need.\n\
         Stop when a command complains and you don't know why: nothing here is in a hurry,\n\
         and nothing here changes the backup. All the steps as a script, to be edited and run:",
    );
    page.look(["sed -n 's/^    # //p' RESTORE.txt > /root/restore.sh", "bash -e /root/restore.sh"]);
}

fn incomplete(page: &mut Page, manifest: &Manifest) {
    let reasons: String = manifest.incomplete_because.iter().map(|why| format!("\n  - {}", one_line(why))).collect();
    page.say(&format!("THIS BACKUP IS NOT COMPLETE:{reasons}"));
    let missing = &manifest.pool.missing_at_source;
    if !missing.is_empty() {
        let named: String = missing.iter().take(NAMED).map(|hash| format!("\n  {}", one_line(hash))).collect();
        page.say(&format!(
            "The site itself had lost files with these content hashes ({} in all, see manifest.json):{named}",
            missing.len()
        ));
    }
}

/// The variables that all the commands use.
fn names(page: &mut Page, manifest: &Manifest, site_folder: &Path) {
    page.section("Names");
    page.say(
        "If you work on a copy of the backup, set SITE to it. It must be a copy of the site's whole\n\
         folder: users' files lie beside the backups, in filedir/. As the other names stand the site\n\
         comes back to where it was. To bring it to another place change them, and set ELSEWHERE=yes\n\
         (an empty DBPORT, DBSOCKET or DBPASS then means: as config.php has it).",
    );
    if directories_of(manifest).next().is_some() {
        page.say(
            "With ELSEWHERE=yes further directories come to a folder beside DATAROOT, and not to their\n\
             old place: there the settings of the new server may stand.",
        );
    }
    if !manifest.database.engine.starts_with("postgres") {
        page.say(
            "DBUSERHOST is the web server as the database server sees it: localhost where both are one\n\
             machine and config.php says localhost; % for any.",
        );
    }
    let paths = &manifest.paths;
    let mut lines = vec![
        "set -o pipefail".to_owned(),
        format!("SITE={}", quote(site_folder)),
        format!("BACKUP=\"$SITE\"/{}", quote(&manifest.label)),
        "ELSEWHERE=no".into(),
        format!("ROOT={}", quote(&paths.root)),
        format!("DATAROOT={}", quote(&paths.dataroot)),
        match paths.filedir.strip_prefix(&paths.dataroot) {
            Ok(below) => format!("FILEDIR=\"$DATAROOT\"/{}", quote(below)),
            Err(_) => format!("FILEDIR={}", quote(&paths.filedir)),
        },
        format!("WWWROOT={}", quote(&manifest.site.wwwroot)),
        format!("WEBUSER={}", quote(&manifest.site.web_user)),
        format!("WEBGROUP={}", quote(&manifest.site.web_group)),
    ];
    lines.extend(database::names(manifest));
    if directories_of(manifest).next().is_some() {
        // A copy must never be unpacked over the settings of the server that it is brought to; and not where a web server
        // could show it.
        lines.push("DIRECTORIES=$([ \"$ELSEWHERE\" = no ] || echo \"$DATAROOT.directories\")".into());
    }
    let directory = |(number, it): (usize, &Component)| {
        let below = it.source.strip_prefix("/").unwrap_or(&it.source);
        format!("DIRECTORY{number}=\"$DIRECTORIES\"/{}", quote(below))
    };
    lines.extend(directories_of(manifest).map(directory));
    page.run(lines);
}

fn packages(page: &mut Page, manifest: &Manifest) {
    page.section("Packages");
    page.say(&format!(
        "Moodle {} wants a PHP that is not much newer than {}.\n\
         Where the web server is to run, its own packages are needed too (apache2 with libapache2-mod-php, or nginx with php-fpm).",
        one_line(&manifest.site.release),
        one_line(&manifest.site.php)
    ));
    page.run([format!("apt-get install -y tar zstd {}", database::packages(manifest))]);
    if database::is_mysql(manifest) {
        page.say(
            "Debian's releases have no MySQL: its makers have packages. MariaDB takes the dump too, from 11.4.5 on as it is:\n\
             mariadb-server in place of mysql-server.",
        );
    }
}

fn checks(page: &mut Page, manifest: &Manifest) {
    page.section("Is the backup whole?");
    page.say("Both commands say nothing when all is well. They read everything: it may take hours.");
    let mut commands = vec![format!("(cd \"$BACKUP\" && sha256sum --quiet -c {})", layout::SUMS)];
    if manifest.pool.files > 0 {
        // sha1sum takes an empty list for an error.
        commands.push(format!("(cd \"$SITE\" && zstdcat \"$BACKUP\"/{} | sha1sum --quiet -c -)", layout::POOL_LIST));
    }
    page.run(commands);
    page.say(
        "What is damaged may be whole in another backup of this site; a damaged file of filedir/ may\n\
         still be on the old server. The rest can be brought back all the same.",
    );
}

fn code(page: &mut Page) {
    page.section("Code");
    page.say("ROOT must be absent or empty. If something of the old site is there, move it aside:");
    page.look(["mv -T \"$ROOT\" \"$ROOT.old\""]);
    page.run([
        empty("ROOT"),
        "mkdir -p \"$ROOT\"".to_owned(),
        format!("zstdcat \"$BACKUP\"/{} | tar -xpf - -C \"$ROOT\"", layout::CODE),
    ]);
}

/// The command that stops whoever would unpack into what is there: it cannot be told apart again.
fn empty(name: &str) -> String {
    // A mount point has a folder of its own in it.
    format!(
        "[ -z \"$(ls -A -I lost+found \"${name}\" 2>/dev/null)\" ] || {{ echo \"${name} is not empty\" >&2; false; }}"
    )
}

fn moodledata(page: &mut Page, manifest: &Manifest) {
    let ownership = &manifest.paths.filedir_ownership;
    page.section("moodledata and users' files");
    page.say(
        "DATAROOT must be absent or empty too. In the backup users' files are shared by all backups;\n\
         filedir.sha1.zst lists those that belong to this one.",
    );
    page.look(["mv -T \"$DATAROOT\" \"$DATAROOT.old\""]);
    page.run([&empty("DATAROOT"), "mkdir -p \"$DATAROOT\"", "cp -a \"$BACKUP\"/moodledata/. \"$DATAROOT\"/"]);
    let either = |own: &str, web: &str| if own.is_empty() { web.to_owned() } else { quote(own) };
    let owner = format!("{}:{}", either(&ownership.user, "\"$WEBUSER\""), either(&ownership.group, "\"$WEBGROUP\""));
    let mode = |mode: u32, usual: u32| if mode == 0 { usual } else { mode };
    // Moodle's defaults are $CFG->directorypermissions = 02777 and that without the execute bits for files.
    let (folder_mode, file_mode) = (mode(ownership.folder_mode, 0o2777), mode(ownership.file_mode, 0o666));
    let mut commands =
        vec!["[ ! -L \"$DATAROOT\"/filedir ] || rm \"$DATAROOT\"/filedir".to_owned(), "mkdir -p \"$FILEDIR\"".into()];
    if manifest.pool.files > 0 {
        // The usual format of tar has whole seconds only.
        commands.push(format!(
            "zstdcat \"$BACKUP\"/{} | cut -c43- | tar -C \"$SITE\" --format=pax -cf - --no-recursion -T - | \
             tar -xf - --strip-components=1 -C \"$FILEDIR\"",
            layout::POOL_LIST
        ));
    }
    commands.push(format!("chown -R {owner} \"$FILEDIR\""));
    commands.push(format!("find \"$FILEDIR\" -type d -exec chmod {folder_mode:o} {{}} +"));
    commands.push(format!("find \"$FILEDIR\" -type f -exec chmod {file_mode:o} {{}} +"));
    commands.extend(manifest.paths.emptied.iter().map(|folder| emptied(manifest, folder)));
    commands.push("touch -r \"$BACKUP\"/moodledata \"$DATAROOT\"".into());
    page.run(commands);
    page.say("Where the web server's user has another number than on the old server:");
    page.look(["chown -R \"$WEBUSER:$WEBGROUP\" \"$DATAROOT\""]);
}

/// The command that makes a folder which was left out since Moodle fills it again by itself.
fn emptied(manifest: &Manifest, folder: &EmptiedFolder) -> String {
    let EmptiedFolder { path, user, group, mode } = folder;
    let install = format!("install -d -o {} -g {} -m {mode:o}", quote(user), quote(group));
    match path.strip_prefix(&manifest.paths.dataroot) {
        Ok(below) => format!("{install} \"$DATAROOT\"/{}", quote(below)),
        Err(_) => format!("[ \"$ELSEWHERE\" = yes ] || {install} {}", quote(path)),
    }
}

/// Puts the lines given as `name=value` before the one that starts Moodle.
const OVERRIDE: &str = r#"php -r '$f = $argv[1]; $new = ""; foreach (array_slice($argv, 2) as $a) { [$k, $v] = explode("=", $a, 2); if ($v !== "") { $new .= "\$CFG->$k = " . var_export($v, true) . ";\n"; } } if (($p = getenv("DBPASS")) != "") { $new .= "\$CFG->dbpass = " . var_export($p, true) . ";\n"; } $s = file_get_contents($f); $t = preg_replace_callback("~^[ \t]*(require|include)(_once)?\b.*lib/setup\.php~m", fn($m) => $new . $m[0], $s, 1, $n); if ($n != 1) { fwrite(STDERR, "edit config.php by hand\n"); exit(1); } file_put_contents($f, $t);'"#;

fn configuration(page: &mut Page, manifest: &Manifest) {
    page.section("config.php");
    page.say(
        "It came back with the code, and holds the password of the database. In the old place it is\n\
         right as it is. With ELSEWHERE=yes this puts the new names into it, in front of the line\n\
         that starts Moodle, so that they win over what stands above:",
    );
    let mut settings =
        "wwwroot=\"$WWWROOT\" dataroot=\"$DATAROOT\" dbhost=\"$DBHOST\" dbname=\"$DBNAME\" dbuser=\"$DBUSER\" \
                        'dboptions[\"dbport\"]'=\"$DBPORT\" 'dboptions[\"dbsocket\"]'=\"$DBSOCKET\""
            .to_owned();
    let paths = &manifest.paths;
    if !paths.filedir.starts_with(&paths.dataroot) {
        settings += " filedir=\"$FILEDIR\"";
    }
    if !paths.trashdir.starts_with(&paths.dataroot) {
        settings += " trashdir=\"$DATAROOT\"/trashdir";
    }
    // Caches that lie elsewhere must not be shared with the original: the two would spoil each other's.
    let moved = |folder: &&EmptiedFolder| !folder.path.starts_with(&paths.dataroot);
    // $CFG->localrequestdir is elsewhere as a rule, and meant to be shared.
    if paths.emptied.iter().filter(moved).any(|folder| !folder.path.ends_with("requestdir")) {
        for name in ["temp", "cache", "localcache"] {
            settings += &format!(" {name}dir=\"$DATAROOT\"/{name}");
        }
    }
    page.run([
        "[ \"$ELSEWHERE\" = no ] || cp -p \"$ROOT\"/config.php \"$ROOT\"/config.php.as-backed-up".to_owned(),
        format!("[ \"$ELSEWHERE\" = no ] || DBPASS=\"$DBPASS\" {OVERRIDE} \"$ROOT\"/config.php {settings}"),
    ]);
    page.say("Other folders that config.php names are yours to look at:");
    page.look(["grep -nE 'dir|lib/setup' \"$ROOT\"/config.php"]);
}

fn directories_of(manifest: &Manifest) -> impl Iterator<Item = (usize, &Component)> {
    let directories = manifest.components.iter().filter(|it| it.kind == ComponentKind::Directory);
    directories.enumerate().map(|(index, directory)| (index + 1, directory))
}

fn directories(page: &mut Page, manifest: &Manifest) {
    if directories_of(manifest).next().is_none() {
        return;
    }
    page.section("Further directories");
    page.say(
        "On a new server look before you unpack: what they hold (settings of the web server, for\n\
         example) may not fit there. DIRECTORY1 and so on say where each one goes. A look into the\n\
         first:",
    );
    for (_, directory) in directories_of(manifest).take(1) {
        page.look([format!("zstdcat \"$BACKUP\"/{} | tar -tvf - | less", quote(&directory.file))]);
    }
    for (number, directory) in directories_of(manifest) {
        page.run([
            format!("mkdir -p \"$DIRECTORY{number}\""),
            format!("zstdcat \"$BACKUP\"/{} | tar -xpf - -C \"$DIRECTORY{number}\"", quote(&directory.file)),
        ]);
    }
}

fn opening(page: &mut Page, manifest: &Manifest) {
    page.section("Open the site");
    let cli = if manifest.site.cli.is_empty() { "admin/cli" } else { &manifest.site.cli };
    let php = |script: &str| format!("runuser -u \"$WEBUSER\" -- php \"$ROOT\"/{}", quote(Path::new(cli).join(script)));
    page.run(["rm -f \"$DATAROOT\"/climaintenance.html".to_owned(), php("purge_caches.php")]);
    page.say(
        "Then start the web server, have a look at the site, and put back what is outside of it:\n\
         the web server's configuration, certificates, and cron's line, in /etc/cron.d/moodle:",
    );
    page.look([format!(
        "echo \"* * * * * $WEBUSER /usr/bin/php '$ROOT/{}' >/dev/null\"",
        Path::new(cli).join("cron.php").display()
    )]);
    if manifest.window.found == "legacy" {
        page.say("The site was in maintenance mode by its own settings when it was backed up. To open it:");
        page.look([php("maintenance.php") + " --disable"]);
    }
    page.say(
        "Moodle's own look at itself; and, where the address has changed, the way to change it in\n\
         texts as well (read its help first):",
    );
    page.look([
        php("checks.php"),
        format!("runuser -u \"$WEBUSER\" -- php \"$ROOT\"/{} --help", quote(replace_script(manifest))),
    ]);
    page.say(
        "If this is a copy and the original goes on: set $CFG->noemailever = true in config.php\n\
         before anybody opens it, and give it another siteidentifier.",
    );
}

fn replace_script(manifest: &Manifest) -> &'static str {
    match manifest.site.layout.as_str() {
        "public" => "public/admin/tool/replace/cli/replace.php",
        _ => "admin/tool/replace/cli/replace.php",
    }
}

fn single_files(page: &mut Page, manifest: &Manifest) {
    page.section("One file only");
    page.say("Where is it? index/ lists code, directories and moodledata, a line for each entry:");
    page.look([r#"zstdcat "$BACKUP"/index/*.zst | tr '\0' '\n' | grep -a NAME"#]);
    page.say("What is in moodledata/ can be copied as it is. From the code, or in the same way a directory:");
    page.look([
        format!("zstdcat \"$BACKUP\"/{} | tar -tf - | grep -a NAME", layout::CODE),
        format!("zstdcat \"$BACKUP\"/{} | tar -xOf - ./PATH > /root/NAME", layout::CODE),
    ]);
    page.say(
        "A file that a user uploaded has its content's SHA-1 for a name. The first column that this\n\
         finds is that name; the file is filedir/ab/cd/abcd... in the site's folder:",
    );
    page.look(database::find_upload(&manifest.database));
    page.look(["cp \"$SITE\"/filedir/ab/cd/abcd... /root/NAME"]);
    page.say(&format!(
        "The sums of this page and of all else are in {} (SHA-256, {} digits).",
        layout::SUMS,
        2 * size_of::<sums::Sum>()
    ));
}

/// Text from elsewhere, for use within a line.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            let _ = write!(line, "{}", c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}
