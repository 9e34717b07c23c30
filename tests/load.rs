//! P3: backups of a site at work are whole. While clients upload, read and delete, and tables are emptied and altered,
//! several backups are made; each is loaded into a database of its own, and every row that refers to a file has it.

mod support;
#[path = "common/whole.rs"]
mod whole;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::{Database, Engine, LoadOptions, PocketSite, Server, World, assert_same, succeed, wait_for};
use whole::{assert_whole, listed, published};

const BACKUPS: usize = 3;
/// What the clients have to have done before a backup, so that it differs from the one before.
const ACTIONS: u64 = 40;
/// As a dump refers to it: the content of nothing, which needs no file.
const NOTHING: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

#[test]
fn p3_every_row_has_its_file_after_backups_of_a_busy_site_on_mariadb() {
    backups_of_a_busy_site(Engine::MariaDb);
}

#[test]
fn p3_every_row_has_its_file_after_backups_of_a_busy_site_on_postgresql() {
    backups_of_a_busy_site(Engine::Postgres);
}

fn backups_of_a_busy_site(engine: Engine) {
    let server = Server::start(engine);
    let site = PocketSite::builder().server(&server).files(300).log_rows(60_000).build();
    let mut world = World::builder(site).settings("[window]\nblocked_seconds = 5\n[retention]\nlast = 10\n").build();
    world.set_limit(Duration::from_secs(300));
    let site = &world.site;
    let watch = site.watch();
    let load = site.load(LoadOptions {
        clients: 3,
        tasks: vec!["truncate_tags", "rebuild_tags", "alter_table"],
        task_pause: Duration::from_millis(500),
        keep: 60,
        ..LoadOptions::default()
    });
    for _ in 0..BACKUPS {
        let begin = load.done();
        wait_for("the clients are at work", Duration::from_secs(60), || load.done() > begin + ACTIONS);
        let output = world.run(&["run", "--foreground"]);
        // 3 is a backup with warnings: that the dump was disturbed and begun again is one.
        assert!(matches!(output.code, Some(0 | 3)), "{:?}\n{}", output.code, output.stderr);
        let warnings: Vec<&str> = output.stderr.lines().filter(|line| line.starts_with("warning")).collect();
        assert!(warnings.iter().all(|line| line.contains("the dump is begun again")), "{warnings:#?}");
    }
    let (report, seen) = (load.stop(), watch.stop());
    println!("{engine:?}: {seen:?}, {} uploads, {} deletes, {} tasks", report.uploads, report.deletes, report.tasks);

    assert!(report.uploads > 0 && report.deletes > 0 && report.downloads > 0 && report.tasks > 0, "{report:?}");
    assert!(report.statuses.keys().all(|status| matches!(status, 200 | 503)), "{:?}", report.statuses);
    assert_same("files that clients lost", report.lost.clone());
    for id in &report.kept {
        assert_eq!(site.get(&format!("/pluginfile.php?id={id}")).status, 200, "upload {id} is lost");
    }
    assert!(seen.statuses.keys().all(|status| matches!(status, 200 | 503)), "{:?}", seen.statuses);
    // A window can be shorter than the time between two looks of a busy watcher.
    assert!(!seen.closed_at_end && !seen.times.is_empty(), "{seen:?}");

    let backups = published(&world.site_folder());
    assert_eq!(backups.len(), BACKUPS);
    let rows: Vec<BTreeSet<String>> =
        backups.iter().map(|backup| assert_every_row_has_its_file(backup, site)).collect();
    assert!(rows.windows(2).all(|pair| pair[0] != pair[1]), "the site stood still between the backups");
}

/// Loads the backup's dump and looks for the file of every row; the hashes that its rows have.
fn assert_every_row_has_its_file(backup: &Path, site: &PocketSite) -> BTreeSet<String> {
    assert_whole(backup);
    let listed = listed(backup);
    let loaded = load_dump(backup, &site.database);
    let rows = loaded.query(&format!("SELECT DISTINCT contenthash FROM {}files", site.prefix));
    let hashes: BTreeSet<String> = rows.into_iter().flatten().filter(|hash| hash != NOTHING).collect();
    let without: Vec<&String> = hashes.iter().filter(|hash| !listed.contains(*hash)).collect();
    assert!(without.is_empty(), "{}: rows without their files: {without:?}", backup.display());
    assert!(hashes.len() > 100, "{} rows are no proof", hashes.len());
    hashes
}

/// Into a new database on the site's own server, as the site's user.
fn load_dump(backup: &Path, database: &Database) -> Database {
    let name = format!("of {}", backup.file_name().unwrap().to_string_lossy());
    let (user, password) = (&database.user, &database.password);
    let (loaded, client) = match &database.server {
        Server::MariaDb(server) => (database.server.create_database(&name, user, password), server.client()),
        Server::Postgres(server) => {
            let quoted = database.identifier(&name);
            database.query(&format!("CREATE DATABASE {quoted} TEMPLATE template0"));
            (database.server.database(&name, user, password), server.client())
        }
    };
    let mut bash = Command::new("bash");
    let option = if matches!(database.server, Server::Postgres(_)) { "--dbname" } else { "--database" };
    bash.args(["-c", "set -o pipefail; dump=$1; shift; zstdcat \"$dump\" | \"$@\" > /dev/null", "bash"]);
    bash.arg(backup.join("database/site.sql.zst")).arg(client.get_program()).args(client.get_args());
    bash.arg(format!("{option}={name}"));
    bash.envs(client.get_envs().filter_map(|(name, value)| Some((name, value?))));
    succeed(&mut bash);
    loaded
}
