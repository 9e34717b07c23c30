//! A pocket Moodle, put together, installed, and served.
//!
//! Which files make it is in `tests/pocket-moodle`; how to load or watch it is in `load` and `watch`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::Signal;
use sha1::{Digest, Sha1};

use super::WEB_USER;
use super::database::{Connect, Database, Engine, Server};
use super::http::{self, Response};
use super::load::{Load, LoadOptions};
use super::ports::{self, Reserved};
use super::process::{Daemon, command_as, succeed};
use super::scratch::{Scratch, make_folder_of, set_mode, text};
use super::watch::ClosedWatch;

/// How many requests the web server answers at a time.
const WORKERS: usize = 4;

/// Where the parts of the code lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Up to Moodle 5.0: everything in ROOT.
    Classic,
    /// From 5.1: the site in `public/`, the command line scripts in ROOT.
    Public,
    /// As `Public`, but with the command line scripts in `public/` too, as some 5.1 trees have them.
    PublicWithCli,
}

impl Layout {
    /// All of them, for tests that loop.
    pub const ALL: [Layout; 3] = [Layout::Classic, Layout::Public, Layout::PublicWithCli];
}

/// What a site is to be like. Every setter has a plain default.
pub struct SiteBuilder {
    server: Option<Server>,
    engine: Engine,
    connect: Connect,
    dbtype: Option<String>,
    user: Option<String>,
    password: String,
    schema: Option<String>,
    persistent: bool,
    layout: Layout,
    admin: String,
    prefix: String,
    relocated: bool,
    files: usize,
    file_size: usize,
    log_rows: usize,
    code_files: usize,
    code_owner: String,
    config: String,
    place: Option<PathBuf>,
    dataroot: Option<PathBuf>,
}

impl SiteBuilder {
    /// The engine, on the server that all tests of the process share.
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// A server of the test's own.
    pub fn server(mut self, server: &Server) -> Self {
        self.engine = server.engine();
        self.server = Some(server.clone());
        self
    }

    /// How the site reaches the server; by the socket unless told.
    pub fn connect(mut self, connect: Connect) -> Self {
        self.connect = connect;
        self
    }

    /// `$CFG->dbtype`: `mariadb` and `pgsql` unless told; `mysqli` and `auroramysql` work too.
    pub fn dbtype(mut self, dbtype: &str) -> Self {
        self.dbtype = Some(dbtype.into());
        self
    }

    /// The site's account in the database.
    pub fn account(mut self, user: &str, password: &str) -> Self {
        self.user = Some(user.into());
        self.password = password.into();
        self
    }

    /// PostgreSQL: the schema that holds the tables.
    pub fn schema(mut self, schema: &str) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// Persistent connections.
    pub fn persistent(mut self, persistent: bool) -> Self {
        self.persistent = persistent;
        self
    }

    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// Another name for the folder `admin`.
    pub fn admin(mut self, admin: &str) -> Self {
        self.admin = admin.into();
        self
    }

    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Puts filedir, trashdir, tempdir, cachedir and localcachedir outside moodledata.
    pub fn relocated(mut self, relocated: bool) -> Self {
        self.relocated = relocated;
        self
    }

    /// How many files the pool has at first; a few more rows refer to them.
    pub fn files(mut self, files: usize) -> Self {
        self.files = files;
        self
    }

    /// Their mean size in bytes, up to 256 KiB.
    pub fn file_size(mut self, file_size: usize) -> Self {
        self.file_size = file_size;
        self
    }

    /// Rows of the log; a row takes about 330 bytes of a dump.
    pub fn log_rows(mut self, log_rows: usize) -> Self {
        self.log_rows = log_rows;
        self
    }

    /// Further files of code, as plugins bring them by the thousand.
    pub fn code_files(mut self, code_files: usize) -> Self {
        self.code_files = code_files;
        self
    }

    /// Who owns the code: `root` unless told, often `www-data` in the field.
    pub fn code_owner(mut self, owner: &str) -> Self {
        self.code_owner = owner.into();
        self
    }

    /// PHP that goes into config.php before setup.php is required.
    pub fn config(mut self, php: &str) -> Self {
        self.config.push_str(php);
        self.config.push('\n');
        self
    }

    /// A place for code and data, such as a file system of its own: there they stay. Else a temporary folder.
    pub fn place(mut self, place: &Path) -> Self {
        self.place = Some(place.to_owned());
        self
    }

    /// An existing empty folder as dataroot: a mount point, for example.
    pub fn dataroot(mut self, dataroot: &Path) -> Self {
        self.dataroot = Some(dataroot.to_owned());
        self
    }

    /// Makes the site: code, settings, database, content. It is not served yet.
    pub fn build(self) -> PocketSite {
        let scratch = self.place.as_deref().map_or_else(Scratch::new, Scratch::left_in);
        let database = self.create_database();
        let port = ports::reserve();
        let root = scratch.join("www/moodle");
        copy_code(&self, &root);
        let dataroot = self.dataroot.clone().unwrap_or_else(|| scratch.join("moodledata"));
        make_folder_of(&dataroot, WEB_USER);
        set_mode(&dataroot, 0o2777);
        let site = PocketSite {
            web: None,
            port: port.port(),
            reserved: Some(port),
            root,
            dataroot,
            layout: self.layout,
            admin: self.admin.clone(),
            prefix: self.prefix.clone(),
            schema: self.schema.clone(),
            database,
            scratch,
        };
        site.write_config(&self);
        site.install(&self);
        site
    }

    fn create_database(&self) -> Database {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("pocket_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let server = self.server.clone().unwrap_or_else(|| Server::shared(self.engine));
        let user = self.user.as_deref().unwrap_or(&name);
        let database = server.create_database(&name, user, &self.password);
        if let Some(schema) = &self.schema {
            let schema = database.identifier(schema);
            database.query(&format!("CREATE SCHEMA {schema} AUTHORIZATION {}", database.identifier(user)));
        }
        database
    }
}

/// A site. What it is made of goes when it is dropped; its database stays until its server goes.
pub struct PocketSite {
    // First, so that the server is gone before its files are.
    web: Option<Daemon>,
    reserved: Option<Reserved>,
    port: u16,
    /// ROOT: the folder of config.php.
    pub root: PathBuf,
    pub dataroot: PathBuf,
    pub layout: Layout,
    admin: String,
    pub prefix: String,
    schema: Option<String>,
    pub database: Database,
    scratch: Scratch,
}

impl PocketSite {
    /// A small site: MariaDB by the socket, the classic layout, a hundred files.
    pub fn builder() -> SiteBuilder {
        SiteBuilder {
            server: None,
            engine: Engine::MariaDb,
            connect: Connect::Socket,
            dbtype: None,
            user: None,
            password: "p&ssw0rd of the site".into(),
            schema: None,
            persistent: false,
            layout: Layout::Classic,
            admin: "admin".into(),
            prefix: "mdl_".into(),
            relocated: false,
            files: 100,
            file_size: 10_000,
            log_rows: 1_000,
            code_files: 0,
            code_owner: "root".into(),
            config: String::new(),
            place: None,
            dataroot: None,
        }
    }

    /// A site like this one that somebody brought back; its settings are right. Not served yet.
    pub fn brought_back(
        &self,
        root: PathBuf,
        dataroot: PathBuf,
        database: Database,
        port: Reserved,
        scratch: Scratch,
    ) -> PocketSite {
        PocketSite {
            web: None,
            port: port.port(),
            reserved: Some(port),
            root,
            dataroot,
            layout: self.layout,
            admin: self.admin.clone(),
            prefix: self.prefix.clone(),
            schema: self.schema.clone(),
            database,
            scratch,
        }
    }

    /// Asks the site for every file that its database lists; those it does not serve whole, in words.
    pub fn unserved_files(&self) -> Vec<String> {
        let rows = self.query("SELECT id, contenthash FROM {files} WHERE filesize > 0");
        assert!(!rows.is_empty(), "a site without files proves nothing");
        let wrong = |row: &Vec<String>| {
            let answer = self.get(&format!("/pluginfile.php?id={}", row[0]));
            let hash: String = Sha1::digest(&answer.body).iter().map(|byte| format!("{byte:02x}")).collect();
            (answer.status != 200 || hash != row[1]).then(|| format!("{}: {} {hash}", row.join(" "), answer.status))
        };
        let ask = |rows: &[Vec<String>]| rows.iter().filter_map(wrong).collect::<Vec<_>>();
        std::thread::scope(|scope| {
            let parts = rows.chunks(rows.len().div_ceil(WORKERS)).map(|rows| scope.spawn(move || ask(rows)));
            let parts: Vec<_> = parts.collect();
            parts.into_iter().flat_map(|part| part.join().expect("no panic")).collect()
        })
    }

    /// Starts the web server, as the web user, and waits until it answers.
    pub fn serve(&mut self) {
        if let Some(reserved) = self.reserved.take() {
            reserved.release();
        }
        let mut command = command_as(WEB_USER, "php");
        command
            .args(["-d", "max_execution_time=0", "-S", &format!("127.0.0.1:{}", self.port), "-t"])
            .arg(self.docroot())
            .env("PHP_CLI_SERVER_WORKERS", WORKERS.to_string())
            .current_dir(self.docroot());
        // Not SIGTERM: the first process would wait for its workers, who may be at work.
        let log = self.scratch.join("web.log");
        // A page that needs neither settings nor database, and a true answer: a connection alone can come from elsewhere.
        let answers = || http::request(self.port, "/version.php", None).is_ok();
        let web = Daemon::start(&mut command, Signal::SIGKILL, &log, answers);
        self.web = Some(web);
    }

    /// Ends the web server, with whatever requests it is at.
    pub fn stop_serving(&mut self) {
        self.web = None;
    }

    /// The last that the web server said.
    pub fn web_log(&self) -> String {
        self.web.as_ref().map(Daemon::log_end).unwrap_or_default()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the web server shows: ROOT, or `public` in it.
    pub fn docroot(&self) -> PathBuf {
        docroot(self.layout, &self.root)
    }

    /// The folder of the command line scripts.
    pub fn cli_folder(&self) -> PathBuf {
        let base = if self.layout == Layout::PublicWithCli { self.docroot() } else { self.root.clone() };
        base.join(&self.admin).join("cli")
    }

    pub fn filedir(&self) -> PathBuf {
        self.moved("filedir")
    }

    pub fn trashdir(&self) -> PathBuf {
        self.moved("trashdir")
    }

    /// The page that closes the site as long as it exists.
    pub fn maintenance_page(&self) -> PathBuf {
        self.dataroot.join("climaintenance.html")
    }

    /// A folder of the site's own for whatever a test needs.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Requests a page; panics if there is no answer at all.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        http::request(self.port, path, None).unwrap_or_else(|error| panic!("GET {path}: {error}\n{}", self.web_log()))
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &[u8]) -> Response {
        http::request(self.port, path, Some(body))
            .unwrap_or_else(|error| panic!("POST {path}: {error}\n{}", self.web_log()))
    }

    /// Uploads a file; its id and content hash.
    #[track_caller]
    pub fn upload(&self, content: &[u8]) -> (u64, String) {
        let response = self.post("/upload.php", content);
        assert_eq!(response.status, 200, "{}", response.text());
        uploaded(&response).expect("an id and a hash")
    }

    /// Whether a user would see the site.
    pub fn is_open(&self) -> bool {
        self.get("/").status == 200
    }

    /// Runs a script of `admin/cli` as the web user: `site.cli("maintenance", &["--enable"])`.
    pub fn cli(&self, script: &str, args: &[&str]) -> Output {
        let script = self.cli_folder().join(format!("{script}.php"));
        self.php(&[text(&script)]).args(args).output().expect("php starts")
    }

    /// PHP as the web user.
    pub fn php(&self, args: &[&str]) -> Command {
        let mut command = command_as(WEB_USER, "php");
        command.args(args).current_dir(self.scratch.path()).stdin(Stdio::null());
        command
    }

    /// Runs SQL as the administrator; `{name}` stands for the prefixed table.
    #[track_caller]
    pub fn query(&self, sql: &str) -> Vec<Vec<String>> {
        self.database.query(&self.prefixed(sql))
    }

    /// The first value of a query.
    #[track_caller]
    pub fn value(&self, sql: &str) -> String {
        self.database.value(&self.prefixed(sql))
    }

    /// Sets a setting of core as an administrator does. The site would not see one that is changed by SQL: it is cached.
    #[track_caller]
    pub fn set_config(&self, name: &str, value: &str) {
        let output = self.cli("cfg", &[&format!("--name={name}"), &format!("--set={value}")]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A setting of core as it stands in the database; `None` where there is no row.
    #[track_caller]
    pub fn config(&self, name: &str) -> Option<String> {
        let rows = self.query(&format!("SELECT value FROM {{config}} WHERE name = '{name}'"));
        rows.into_iter().flatten().next()
    }

    /// Rows of files whose content is neither in the pool nor in the trash, as `id hash`.
    pub fn lost_files(&self) -> Vec<String> {
        let rows = self.query("SELECT id, contenthash FROM {files} WHERE filesize > 0");
        let places = [self.filedir(), self.trashdir()];
        let is_lost = |hash: &str| !places.iter().any(|place| hashed_path(place, hash).exists());
        rows.iter().filter(|row| is_lost(&row[1])).map(|row| row.join(" ")).collect()
    }

    /// Whether PHP of this site ever ran as root, which nothing may make it do.
    pub fn ran_as_root(&self) -> bool {
        self.scratch.join("ran-as-root").exists()
    }

    /// Clients at work until stopped: a number of them, or what `LoadOptions` says.
    pub fn load(&self, options: impl Into<LoadOptions>) -> Load {
        Load::start(self.port, options.into())
    }

    /// Looks every few milliseconds whether the site is open, until stopped.
    pub fn watch(&self) -> ClosedWatch {
        ClosedWatch::start(self.port)
    }

    fn prefixed(&self, sql: &str) -> String {
        let schema = self.schema.as_ref().map(|schema| self.database.identifier(schema) + ".").unwrap_or_default();
        sql.replace('{', &(schema + &self.prefix)).replace('}', "")
    }

    fn moved(&self, name: &str) -> PathBuf {
        let outside = self.scratch.join("elsewhere").join(name);
        if outside.exists() { outside } else { self.dataroot.join(name) }
    }

    fn write_config(&self, wanted: &SiteBuilder) {
        if wanted.relocated {
            make_folder_of(&self.scratch.join("elsewhere"), WEB_USER);
        }
        let php = config_php(wanted, self);
        let path = self.root.join("config.php");
        std::fs::write(&path, php).expect("config.php can be written");
        // As packagers have it: readable for the web user, and for nobody else.
        let (_, group) = super::owner_ids(WEB_USER);
        let (owner, _) = super::owner_ids(&wanted.code_owner);
        std::os::unix::fs::chown(&path, Some(owner), Some(group)).expect("a file can be given away");
        set_mode(&path, 0o640);
    }

    fn install(&self, wanted: &SiteBuilder) {
        let installer = self.scratch.join("install");
        copy_tree(&pocket_moodle().join("install"), &installer);
        let mut command = command_as(WEB_USER, "php");
        command
            .args(["-d", "memory_limit=-1"])
            .arg(installer.join("install.php"))
            .arg(format!("--root={}", text(&self.root)))
            .arg(format!("--files={}", wanted.files))
            .arg(format!("--file-size={}", wanted.file_size))
            .arg(format!("--log-rows={}", wanted.log_rows))
            .current_dir(self.scratch.path());
        let words = succeed(&mut command);
        assert_eq!(String::from_utf8_lossy(&words), "installed\n");
    }
}

/// Id and hash from the answer of upload.php.
pub fn uploaded(response: &Response) -> Option<(u64, String)> {
    let text = response.text();
    let (id, hash) = text.trim().split_once(' ')?;
    Some((id.parse().ok()?, hash.to_owned()))
}

/// Where a content lies below a pool or a trash.
pub fn hashed_path(base: &Path, hash: &str) -> PathBuf {
    base.join(&hash[..2]).join(&hash[2..4]).join(hash)
}

fn pocket_moodle() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pocket-moodle")
}

fn docroot(layout: Layout, root: &Path) -> PathBuf {
    if layout == Layout::Classic { root.to_owned() } else { root.join("public") }
}

/// Copies content only: what the repository's files are owned by or may be is of no interest here.
fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder can be made");
    succeed(Command::new("cp").args(["-r", "--no-preserve=all"]).arg(from.join(".")).arg(to));
}

/// Lays the code out as the layout wants it.
fn copy_code(wanted: &SiteBuilder, root: &Path) {
    let docroot = docroot(wanted.layout, root);
    copy_tree(&pocket_moodle().join("site"), &docroot);
    if wanted.layout != Layout::Classic {
        copy_tree(&pocket_moodle().join("layouts/public"), root);
    }
    if wanted.admin != "admin" {
        std::fs::rename(docroot.join("admin"), docroot.join(&wanted.admin)).expect("a folder can be renamed");
    }
    if wanted.layout == Layout::Public {
        let outside = root.join(&wanted.admin);
        std::fs::create_dir(&outside).expect("a folder can be made");
        std::fs::rename(docroot.join(&wanted.admin).join("cli"), outside.join("cli")).expect("a folder can be renamed");
    }
    write_plugins(&docroot.join("local"), wanted.code_files);
    let (owner, group) = super::owner_ids(&wanted.code_owner);
    succeed(Command::new("chown").args(["-R", &format!("{owner}:{group}")]).arg(root));
}

/// Plugins of forty files each, in the sizes that code has: mostly small.
fn write_plugins(folder: &Path, count: usize) {
    let line = "$string['pocket'] = 'One line of the many that a plugin brings along';\n";
    for number in 0..count {
        let parent =
            folder.join(format!("plugin{}", number / 40)).join(["lang/en", "classes", "db", "amd/src"][number % 4]);
        if number % 40 < 4 {
            std::fs::create_dir_all(&parent).expect("a folder can be made");
        }
        let content = format!("<?php // {number}\n{}", line.repeat(number * 7 % 97 + 1));
        std::fs::write(parent.join(format!("file{number}.php")), content).expect("a file can be written");
    }
}

/// The text of config.php.
fn config_php(wanted: &SiteBuilder, site: &PocketSite) -> String {
    let mut php =
        String::from("<?php  // Moodle configuration file\n\nunset($CFG);\nglobal $CFG;\n$CFG = new stdClass();\n\n");
    // Our own: a witness to whoever runs the site's code as root.
    let witness = quoted(text(&site.scratch.join("ran-as-root")));
    let _ = writeln!(php, "if (posix_geteuid() === 0) {{ touch({witness}); }}\n");
    let mut set = |name: &str, value: &str| {
        let _ = writeln!(php, "$CFG->{name:<9} = {value};");
    };
    set("dbtype", &quoted(&dbtype(wanted)));
    set("dblibrary", "'native'");
    set("dbhost", if wanted.connect == Connect::Socket { "'localhost'" } else { "'127.0.0.1'" });
    set("dbname", &quoted(&site.database.name));
    set("dbuser", &quoted(&site.database.user));
    set("dbpass", &quoted(&site.database.password));
    set("prefix", &quoted(&wanted.prefix));
    set("dboptions", &dboptions(wanted, &site.database.server));
    set("wwwroot", &quoted(&format!("http://127.0.0.1:{}", site.port)));
    set("dataroot", &quoted(text(&site.dataroot)));
    set("admin", &quoted(&wanted.admin));
    set("directorypermissions", "02777");
    if wanted.relocated {
        for name in ["filedir", "trashdir", "tempdir", "cachedir", "localcachedir"] {
            set(name, &quoted(text(&site.scratch.join("elsewhere").join(name))));
        }
    }
    php.push_str(&wanted.config);
    php.push_str("\nrequire_once(__DIR__ . '/lib/setup.php');\n\n// There is no php closing tag in this file.\n");
    php
}

fn dbtype(wanted: &SiteBuilder) -> String {
    let usual = match wanted.engine {
        Engine::MariaDb => "mariadb",
        Engine::Postgres => "pgsql",
    };
    wanted.dbtype.clone().unwrap_or_else(|| usual.into())
}

fn dboptions(wanted: &SiteBuilder, server: &Server) -> String {
    let mut options = vec![("dbpersist", wanted.persistent.to_string())];
    match (wanted.connect, server) {
        (Connect::Socket, Server::MariaDb(server)) => {
            options.push(("dbport", "''".into()));
            options.push(("dbsocket", quoted(text(&server.socket()))));
        }
        (Connect::Socket, Server::Postgres(server)) => {
            options.push(("dbport", server.port().to_string()));
            options.push(("dbsocket", quoted(text(&server.socket_folder()))));
        }
        (Connect::Tcp | Connect::Tls, server) => {
            options.push(("dbport", server.port().to_string()));
            options.push(("dbsocket", "''".into()));
        }
    }
    if wanted.connect == Connect::Tls {
        options.push(("ssl", "'require'".into()));
    }
    if wanted.engine == Engine::MariaDb {
        options.push(("dbcollation", "'utf8mb4_unicode_ci'".into()));
    }
    if let Some(schema) = &wanted.schema {
        options.push(("dbschema", quoted(schema)));
    }
    let lines: Vec<String> = options.iter().map(|(name, value)| format!("  '{name}' => {value},\n")).collect();
    format!("array(\n{})", lines.concat())
}

/// Text as a literal of PHP in single quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
