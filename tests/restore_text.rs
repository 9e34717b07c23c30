//! P4: RESTORE.txt brings a site back without the program. Its commands are typed, as they stand, in an empty place with
//! a fresh database server and a copy of the site's folder; then the two sites are compared.

mod common;
mod support;

use moodle_backup::store::manifest::{Component, ComponentKind, Database, EmptiedFolder, Ownership};
use moodle_backup::store::{Manifest, restore_text};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{
    Engine, Layout, PocketSite, Scratch, Server, TreeCompare, World, assert_same, command_as, rows_compare, succeed,
    tree_compare,
};

/// What a shell, SQL and PHP each have their own opinion of.
const PASSWORD: &str = r#"p'a"s\s %$#;=`&ö"#;

/// Where the site is brought back to.
struct Elsewhere {
    /// Whether users' files lie outside of dataroot.
    relocated: bool,
    scratch: Scratch,
    server: Server,
}

impl Elsewhere {
    fn new(engine: Engine, relocated: bool) -> Self {
        Elsewhere { relocated, scratch: Scratch::new(), server: Server::start(engine) }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.scratch.join("the new 'place' & $more").join(name)
    }

    /// The value of a variable of RESTORE.txt here, if it is another one than there.
    fn value(&self, name: &str) -> Option<String> {
        let path = |name| Some(self.place(name).to_str().unwrap().to_owned());
        match name {
            "SITE" => path("copied backups"),
            "ROOT" => path("moodle"),
            "DATAROOT" => path("data"),
            "FILEDIR" if self.relocated => path("files of users"),
            "DIRECTORY1" => path("directory"),
            "ELSEWHERE" => Some("yes".into()),
            "WWWROOT" => Some("http://127.0.0.1:1".into()),
            "DBNAME" => Some("other-db".into()),
            "DBNAME1" => Some("other extra".into()),
            "DBHOST" => Some("localhost".into()),
            "DBPORT" => Some(self.server.port().to_string()),
            "DBSOCKET" => Some(self.socket()),
            "MYSQL" | "PSQL" => Some(self.client()),
            _ => None,
        }
    }

    fn socket(&self) -> String {
        match &self.server {
            Server::MariaDb(server) => server.socket().to_str().unwrap().into(),
            Server::Postgres(server) => server.socket_folder().to_str().unwrap().into(),
        }
    }

    fn client(&self) -> String {
        let socket = self.socket();
        match &self.server {
            Server::MariaDb(_) => format!("mariadb --no-defaults --user=root --socket={socket}"),
            Server::Postgres(server) => {
                format!("psql -X -q -o /dev/null -v ON_ERROR_STOP=1 -U postgres -h {socket} -p {}", server.port())
            }
        }
    }

    /// Types those commands of the restore that are wanted, and all that set a variable, into one bash.
    fn follow(&self, text: &str, wanted: impl Fn(&str) -> bool) {
        let commands = text.lines().filter_map(|line| line.strip_prefix("    # "));
        let mut script = String::from("set -e\n");
        for command in commands.filter(|command| !command.starts_with("apt-get ")) {
            let name = command.split_once('=').map_or("", |(name, _)| name);
            let sets_variable = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if !sets_variable && !wanted(command) {
                continue;
            }
            match self.value(name) {
                Some(value) => script += &format!("{name}='{}'\n", value.replace('\'', r"'\''")),
                None => script += &format!("{command}\n"),
            }
        }
        let mut bash = Command::new("bash");
        if let Server::Postgres(server) = &self.server {
            bash.envs(server.client().get_envs().filter_map(|(name, value)| Some((name, value?))));
        }
        let path = self.scratch.join("restore.sh");
        fs::write(&path, script).unwrap();
        let output = bash.arg(&path).current_dir("/").output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words}\n{}", fs::read_to_string(&path).unwrap());
        assert_eq!(words, "", "a restore that goes well has nothing to complain of");
    }
}

fn bring_back(site: PocketSite, settings: &str) -> (World, Elsewhere) {
    let engine = site.database.server.engine();
    let world = World::builder(site).settings(settings).without_web().build();
    let output = world.run(&["run", "--foreground"]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);

    let elsewhere = Elsewhere::new(engine, !world.site.filedir().starts_with(&world.site.dataroot));
    fs::create_dir(elsewhere.place("")).unwrap();
    let copy = elsewhere.place("copied backups");
    succeed(Command::new("cp").arg("-a").arg(world.site_folder()).arg(&copy));
    let text = fs::read_to_string(copy.join("latest/RESTORE.txt")).unwrap();
    // Purging caches is the first thing that changes the database, so the comparison comes before it.
    let purges = |command: &str| command.contains("purge_caches.php");
    elsewhere.follow(&text, |command| !purges(command));

    let site = &world.site;
    let changed = ["config.php", "config.php.as-backed-up"];
    let code = changed.iter().fold(TreeCompare::new(), |compare, name| compare.skip(name));
    assert_same("code", code.without_folder_times().run(&site.root, &elsewhere.place("moodle")));
    let emptied = ["cache", "localcache", "temp", "sessions", "trashdir", "lock"];
    let data = emptied.iter().fold(TreeCompare::new(), |compare, name| compare.skip(name));
    // Moodle writes that file itself wherever it is missing.
    let data = data.skip("filedir/warning.txt");
    assert_same("moodledata", data.without_folder_times().run(&site.dataroot, &elsewhere.place("data")));
    if elsewhere.relocated {
        let pool = TreeCompare::new().skip("warning.txt").without_folder_times();
        assert_same("filedir", pool.run(&site.filedir(), &elsewhere.place("files of users")));
    }
    for name in emptied.iter().filter(|name| site.dataroot.join(name).is_dir()) {
        assert_same_folder(&site.dataroot.join(name), &elsewhere.place("data").join(name));
    }
    let database = elsewhere.server.database("other-db", &site.database.user, PASSWORD);
    assert_same("database", rows_compare(&site.database, &database));
    elsewhere.follow(&text, purges);
    // Moodle itself finds database and files in the new place.
    let cfg = elsewhere.place("moodle").join(site.cli_folder().strip_prefix(&site.root).unwrap()).join("cfg.php");
    let here =
        succeed(command_as("www-data", "php").arg(cfg).args(["--name=siteidentifier", "--no-eol"]).current_dir("/"));
    let there = site.cli("cfg", &["--name=siteidentifier", "--no-eol"]).stdout;
    assert_eq!(String::from_utf8_lossy(&here), String::from_utf8_lossy(&there));
    assert!(!there.is_empty());
    (world, elsewhere)
}

/// Owner, group and mode of an emptied folder.
#[track_caller]
fn assert_same_folder(a: &Path, b: &Path) {
    use std::os::unix::fs::MetadataExt;
    let look = |path: &Path| fs::metadata(path).map(|meta| (meta.uid(), meta.gid(), meta.mode())).ok();
    assert_eq!(look(a), look(b), "{}", a.display());
}

#[test]
fn p4_restore_text_brings_a_site_on_mariadb_back() {
    let site = PocketSite::builder().account("o'brien-web", PASSWORD).build();
    let extra = site.database.server.create_database("extra db", "o'brien-web", PASSWORD);
    extra.query(
        "CREATE TABLE portfolio (id INT PRIMARY KEY, text VARCHAR(50)); INSERT INTO portfolio VALUES (1, 'größer');",
    );
    let directory = site.scratch().join("it's an extra directory");
    fs::create_dir_all(directory.join("deep")).unwrap();
    fs::write(directory.join("deep/file"), "content").unwrap();
    let settings = format!(
        "[directories]\npaths = [{:?}]\n[[database.extra]]\nname = \"extra db\"\n",
        directory.to_str().unwrap()
    );
    let (world, elsewhere) = bring_back(site, &settings);
    let directory = world.site.scratch().join("it's an extra directory");
    assert_same("directory", tree_compare(&directory, &elsewhere.place("directory")));
    let brought_back = elsewhere.server.database("other extra", "", "");
    assert_same("extra database", rows_compare(&extra, &brought_back));
}

#[test]
fn p4_restore_text_brings_a_site_on_postgresql_back() {
    let site = PocketSite::builder().engine(Engine::Postgres).layout(Layout::Public).account("o\"brien", PASSWORD);
    bring_back(site.schema("moodle schema").build(), "");
}

#[test]
fn p4_restore_text_brings_relocated_folders_back() {
    bring_back(PocketSite::builder().account("web", PASSWORD).relocated(true).build(), "");
}

/// The text as a reader sees it; with names that need quoting, two engines, and losses.
#[test]
fn restore_text_reads_well() {
    let mut manifest = Manifest::new("2026-11-23T010003Z", 7);
    manifest.tool = "moodle-backup".into();
    manifest.host = "school".into();
    manifest.times.started = "2026-11-23T01:00:03Z".parse().unwrap();
    manifest.incomplete_because = vec!["the database refers to files that the site itself has lost: 1".into()];
    manifest.pool.missing_at_source = vec!["0123456789012345678901234567890123456789".into()];
    manifest.pool.files = 200_005;
    let site = &mut manifest.site;
    (site.name, site.wwwroot) = ("school".into(), "https://school.example/moodle".into());
    (site.release, site.php, site.cli) = ("4.2.3 (Build: 20231009)".into(), "8.2.7".into(), "admin/cli".into());
    (site.web_user, site.web_group) = ("www-data".into(), "www-data".into());
    let paths = &mut manifest.paths;
    (paths.root, paths.dataroot) = ("/var/www/the school's moodle".into(), "/srv/moodledata".into());
    (paths.filedir, paths.trashdir) = ("/srv/moodledata/filedir".into(), "/srv/moodledata/trashdir".into());
    paths.filedir_ownership =
        Ownership { user: "www-data".into(), group: "www-data".into(), folder_mode: 0o2770, file_mode: 0o660 };
    paths.emptied = vec![EmptiedFolder {
        path: "/srv/moodledata/cache".into(),
        user: "www-data".into(),
        group: "www-data".into(),
        mode: 0o2770,
    }];
    manifest.components = vec![Component {
        kind: ComponentKind::Directory,
        source: "/etc/apache2".into(),
        file: "directories/1-etc-apache2.tar.zst".into(),
        ..Component::default()
    }];
    manifest.database = Database {
        file: "database/site.sql.zst".into(),
        engine: "mariadb".into(),
        server_version: "10.11.6-MariaDB".into(),
        name: "moodle".into(),
        user: "moodleuser".into(),
        charset: "utf8mb4".into(),
        collation: "utf8mb4_unicode_ci".into(),
        grants: vec!["GRANT ALL PRIVILEGES ON `moodle`.* TO `moodleuser`@`localhost`".into()],
        ..Database::default()
    };
    manifest.extra_databases = vec![Database {
        file: "database/extra/portfolio.sql.zst".into(),
        engine: "postgresql".into(),
        name: "portfolio".into(),
        charset: "UTF8".into(),
        collation: "de_DE.UTF-8".into(),
        extensions: vec!["plpgsql".into(), "pg_trgm".into()],
        ..Database::default()
    }];
    common::golden("RESTORE.txt", &restore_text::render(&manifest, Path::new("/backup/school")));
}
