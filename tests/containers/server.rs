//! A server with a site, a disk for backups, and in time the package: what the tries have in common.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::machine::Machine;
use crate::roots::Release;
use crate::support::{succeed, wait_for};

/// The package as it lies on the server.
pub const PACKAGE: &str = "/opt/moodle-backup.deb";
/// The site's folder on the target.
pub const SITE_FOLDER: &str = "/srv/backup/moodle";
/// Long enough for whatever is to be done while the site is closed.
const LONG: u32 = 120;

/// A server.
pub struct Server {
    pub release: Release,
    pub machine: Machine,
}

impl Server {
    /// A server on which the package lies ready, and nothing runs that would have to be backed up.
    pub fn without_a_site(release: Release) -> Self {
        let mut machine = Machine::new(&release.root(), 1024).with_one_hierarchy(release.wants_one_hierarchy());
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let pocket = machine.path("/opt/pocket-moodle");
        succeed(Command::new("cp").args(["-r", "--no-preserve=all"]).arg(tests.join("pocket-moodle")).arg(&pocket));
        std::fs::copy(tests.join("containers/site.sh"), machine.path("/opt/site.sh")).expect("a file can be copied");
        std::fs::copy(package(), machine.path(PACKAGE)).expect("a file can be copied");
        std::fs::create_dir_all(machine.path("/srv/backup")).expect("a folder can be made");
        machine.boot();
        Server { release, machine }
    }

    /// The same with a site.
    pub fn with_a_site(release: Release) -> Self {
        let server = Server::without_a_site(release);
        let web = release.web_server().trim_end_matches(".service");
        server.machine.shell(&format!("sh /opt/site.sh {} {web}", release.database()));
        server.mount_target();
        let page = server.machine.shell("curl --silent --include http://localhost/index.php || true");
        assert!(server.is_open(), "a site to begin with: {page}");
        server
    }

    /// Mounts the disk for the backups.
    pub fn mount_target(&self) {
        self.machine.shell(&format!("mount {} /srv/backup", self.machine.disk().device().display()));
    }

    /// Runs the program there; what it prints. Any exit code but this one is a panic.
    #[track_caller]
    pub fn program(&self, args: &str, code: i32) -> String {
        let output = self.machine.run(&["sh", "-c", &format!("moodle-backup {args}")]);
        let words = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert_eq!(output.status.code(), Some(code), "moodle-backup {args}\n{}\n{}", words[0], words[1]);
        words[0].clone()
    }

    /// How things stand, as `status --json` tells, whatever that is.
    pub fn status(&self) -> Value {
        let output = self.machine.run(&["moodle-backup", "status", "--json"]);
        serde_json::from_slice(&output.stdout).expect("status prints JSON")
    }

    /// The names of the backups, as the program lists them.
    pub fn backups(&self) -> Vec<String> {
        let listed: Value = serde_json::from_str(&self.program("list --json", 0)).expect("list prints JSON");
        let backups = listed["backups"].as_array().expect("a list of backups");
        backups.iter().map(|backup| backup["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// What the web server answers: 200, 503, or 0 if it does not.
    pub fn answer(&self) -> u32 {
        let script = "curl --silent --output /dev/null --write-out '%{http_code}' http://localhost/index.php || true";
        self.machine.shell(script).trim_start_matches('0').parse().unwrap_or(0)
    }

    pub fn is_open(&self) -> bool {
        self.answer() == 200
    }

    /// The site is open, as it was before all runs, and nothing is left half made.
    #[track_caller]
    pub fn assert_as_before(&self) {
        wait_for("the site to open", Duration::from_secs(20), || self.is_open());
        assert_eq!(self.machine.shell("ls /var/lib/moodle-backup/closed"), "", "notes of closed sites");
        assert_eq!(self.machine.shell(&format!("ls -A {SITE_FOLDER} | grep partial || true")), "", "half made");
        assert_eq!(self.unit(self.release.web_server(), "ActiveState"), "active");
    }

    /// A property of a unit.
    pub fn unit(&self, unit: &str, property: &str) -> String {
        self.machine.shell(&format!("systemctl show --property={property} {unit} | cut -d= -f2-"))
    }

    /// Waits until a run has closed the site and stopped its web server.
    #[track_caller]
    pub fn wait_until_stopped(&self) {
        self.machine.wait_until("test -e /var/moodledata/climaintenance.html");
        let state = format!("systemctl show --property=ActiveState --value {}", self.release.web_server());
        self.machine.wait_until(&format!("test \"$({state})\" = inactive"));
    }

    /// Waits until none of these units is at work any more.
    #[track_caller]
    pub fn wait_for_end(&self, units: &str) {
        let states = "--state=activating,active,deactivating";
        self.machine.wait_until(&format!("! systemctl list-units --plain --no-legend {states} '{units}' | grep -q ."));
    }

    /// What the journal has of units.
    pub fn journal(&self, units: &str) -> String {
        self.machine.shell(&format!("journalctl --sync; journalctl --no-pager --output=cat --unit='{units}'"))
    }

    /// Sets a key of the settings in its section, in place of the line that is there as an example.
    pub fn set(&self, key: &str, value: &str) {
        let file = "/etc/moodle-backup/settings.toml";
        self.machine.shell(&format!("sed -i 's|^#\\?{key} = .*|{key} = {value}|' {file}; grep -q '^{key} = ' {file}"));
    }

    /// From now on the site stays closed for minutes when a run closes it; or not any more.
    pub fn close_for_long(&self, long: bool) {
        self.set("settle_seconds", &if long { LONG } else { 0 }.to_string());
        self.set("max_seconds", &(2 * LONG).to_string());
    }

    /// Starts a run as the timer would, and waits until it has closed the site.
    pub fn start_and_wait_until_closed(&self) {
        self.machine.shell("systemctl start --no-block moodle-backup.service");
        self.wait_until_closed();
    }

    /// Waits until a run has closed the site.
    #[track_caller]
    pub fn wait_until_closed(&self) {
        wait_for("the site to be closed", Duration::from_secs(60), || self.answer() == 503);
    }
}

/// The package: `MOODLE_BACKUP_DEB`, or what `make deb` made last.
pub fn package() -> PathBuf {
    if let Some(named) = std::env::var_os("MOODLE_BACKUP_DEB") {
        return named.into();
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("debian");
    let made = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let packages = made.filter(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let newest = packages.max_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok());
    newest.unwrap_or_else(|| panic!("no package in {}: run \"make deb\" first", folder.display()))
}
