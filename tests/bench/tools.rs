//! The programs that a bench times: ours, and those that people back up a Moodle with today.

use crate::support::{Server, World, command_as, succeed};
use crate::table::median;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// How long something took, and how long the site was closed meanwhile: medians.
pub struct Watched {
    pub seconds: f64,
    pub closed: f64,
    pub peak_mib: f64,
}

/// How long some work takes, in seconds.
pub fn timed<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    let _ = work();
    start.elapsed().as_secs_f64()
}

/// Waits until everything below `path` is on its disk.
pub fn sync(path: &Path) {
    succeed(Command::new("sync").arg("-f").arg(path));
}

/// Makes the next reader read from the disk, as after a day.
pub fn drop_caches() {
    succeed(&mut Command::new("sync"));
    // Not permitted everywhere; then both sides read from memory.
    let _ = std::fs::write("/proc/sys/vm/drop_caches", "3");
}

/// All that can be timed on one site.
pub struct Tools<'a> {
    world: &'a World,
    place: PathBuf,
}

impl<'a> Tools<'a> {
    pub fn new(world: &'a World) -> Self {
        let place = world.target.path().join("others");
        std::fs::create_dir_all(&place).expect("a folder can be made");
        Tools { world, place }
    }

    /// A run of ours; returns its peak memory in MB.
    #[expect(clippy::zombie_processes, reason = "wait4(2) waits, and tells the memory too")]
    pub fn run(&self) -> f64 {
        let child = self.world.command(&["run", "--foreground", "--quiet"]).stdout(Stdio::null()).spawn();
        let child = child.expect("the program starts");
        let mut status = 0;
        // SAFETY: plain wait4(2) for our own child.
        let usage = unsafe {
            let mut usage: nix::libc::rusage = std::mem::zeroed();
            nix::libc::wait4(child.id() as i32, &raw mut status, 0, &raw mut usage);
            usage
        };
        assert!(nix::libc::WIFEXITED(status) && nix::libc::WEXITSTATUS(status) == 0, "the run failed: {status}");
        usage.ru_maxrss as f64 / 1000.0
    }

    /// Does something several times while a client looks at the site.
    pub fn watched(&self, rounds: usize, work: impl Fn() -> f64) -> Watched {
        let (mut seconds, mut closed, mut peak) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let watch = self.world.site.watch();
            let start = Instant::now();
            peak.push(work());
            seconds.push(start.elapsed().as_secs_f64());
            closed.push(watch.stop().longest.as_secs_f64());
        }
        Watched { seconds: median(seconds), closed: median(closed), peak_mib: median(peak) }
    }

    pub fn median(&self, rounds: usize, work: impl Fn()) -> f64 {
        median((0..rounds).map(|_| timed(&work)).collect())
    }

    fn shell(&self, script: &str) {
        let site = &self.world.site;
        let connection = &site.database;
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", script])
            .env("DEST", &self.place)
            .env("STORE", self.world.site_folder())
            .env("ROOT", &site.root)
            .env("DATAROOT", &site.dataroot)
            .env("FILEDIR", site.filedir())
            .env("DB", &connection.name)
            .env("SOCKET", self.socket())
            .env("RESTIC_PASSWORD", "bench")
            .env("RESTIC_CACHE_DIR", self.place.join("restic-cache"))
            .env("BORG_BASE_DIR", self.place.join("borg-base"))
            .env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        succeed(&mut command);
    }

    fn socket(&self) -> PathBuf {
        match &self.world.site.database.server {
            Server::MariaDb(server) => server.socket(),
            Server::Postgres(_) => unreachable!("the bench site is on MariaDB"),
        }
    }

    /// The site is lost: code, moodledata and database.
    pub fn lose_all(&self) {
        self.shell(
            r#"rm -rf "$ROOT"; find "$DATAROOT" -mindepth 1 -delete; mariadb --socket="$SOCKET" -e "DROP DATABASE \`$DB\`""#,
        );
        drop_caches();
    }

    /// One in a hundred of users' files is lost.
    pub fn lose_some(&self) {
        self.shell(r#"find "$FILEDIR" -type f | awk 'NR % 100 == 0' | xargs -r rm"#);
        drop_caches();
    }

    /// A restore of ours.
    pub fn restore(&self) {
        let output = self.world.command(&["restore", "--yes", "--json"]).output().expect("the program starts");
        // Done, or with warnings: Moodle's checks miss a file of its own that lies in filedir and belongs to nobody.
        assert!(matches!(output.status.code(), Some(0 | 3)), "{}", String::from_utf8_lossy(&output.stderr));
        sync(&self.world.site.dataroot);
        let done: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the result is JSON");
        let step = |step: &serde_json::Value| {
            format!("{} {:.1}", step["step"].as_str().unwrap_or("?"), step["seconds"].as_f64().unwrap_or(0.0))
        };
        let steps: Vec<String> = done["steps"].as_array().into_iter().flatten().map(step).collect();
        eprintln!("  steps in seconds: {}", steps.join(", "));
    }

    /// What one does by hand with the very same backup.
    pub fn restore_by_hand(&self) {
        self.shell(
            r#"backup=$(readlink -f "$STORE/latest")
            mkdir -p "$ROOT"
            tar --extract --zstd --file="$backup/code.tar.zst" --directory="$ROOT"
            rsync -a --exclude=/filedir "$backup/moodledata/" "$DATAROOT/"
            rsync -a "$STORE/filedir/" "$FILEDIR/"
            mariadb --socket="$SOCKET" -e "CREATE DATABASE IF NOT EXISTS \`$DB\` CHARACTER SET utf8mb4"
            zstdcat "$backup/database/site.sql.zst" | mariadb --socket="$SOCKET" "$DB"
            sync -f "$DATAROOT""#,
        );
    }

    pub fn dump_through_zstd(&self) {
        self.shell(
            r#"mariadb-dump --socket="$SOCKET" --single-transaction --quick "$DB" | zstd -1 -q -f -o "$DEST/dump.zst"; sync -f "$DEST""#,
        );
    }

    /// What the university's scripts do inside the stop, less their sleeps: dump through gzip, the code compared with
    /// its archive, moodledata by rsync.
    pub fn predecessor(&self) -> f64 {
        self.maintenance("--enable");
        self.shell(
            r#"mariadb-dump --socket="$SOCKET" "$DB" | gzip > "$DEST/db.sql.gz"
            tar --compare --file="$DEST/code.tgz" --gzip --directory="$(dirname "$ROOT")" >/dev/null 2>&1 ||
                tar --create --file="$DEST/code.tgz" --gzip --directory="$(dirname "$ROOT")" "$(basename "$ROOT")"
            mkdir -p "$DEST/moodledata"
            rsync -a --delete "$DATAROOT/" "$DEST/moodledata/""#,
        );
        self.maintenance("--disable");
        0.0
    }

    fn maintenance(&self, what: &str) {
        let script = self.world.site.cli_folder().join("maintenance.php");
        succeed(command_as(crate::support::WEB_USER, "php").arg(script).arg(what));
    }

    /// Other tools on the same data, the second time over; those that are installed.
    pub fn others(&self) -> Vec<(&'static str, f64)> {
        let dump = r#"mariadb-dump --socket="$SOCKET" --single-transaction --quick "$DB" > "$DEST/dump.sql""#;
        let all = [
            (
                "restic backup with a dump",
                "restic",
                r#"restic init -q -r "$DEST/restic""#.to_owned(),
                format!(
                    r#"{dump}; restic backup -q -r "$DEST/restic" "$ROOT" "$DATAROOT" "$DEST/dump.sql"; sync -f "$DEST""#
                ),
            ),
            (
                "borg create with a dump",
                "borg",
                r#"borg init -e none "$DEST/borg""#.to_owned(),
                format!(
                    r#"{dump}; borg create "$DEST/borg::$(date +%s%N)" "$ROOT" "$DATAROOT" "$DEST/dump.sql"; sync -f "$DEST""#
                ),
            ),
        ];
        let installed = |program: &str| {
            let found = Command::new("which").arg(program).stdout(Stdio::null()).status();
            found.is_ok_and(|status| status.success())
        };
        let mut results = Vec::new();
        for (name, program, begin, backup) in all {
            if !installed(program) {
                eprintln!("  {program} is not installed and left out");
                continue;
            }
            self.shell(&begin);
            self.shell(&backup);
            results.push((name, timed(|| self.shell(&backup))));
        }
        results
    }
}
