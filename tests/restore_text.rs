//! P4: RESTORE.txt brings a site back without the program. Its commands are typed as they stand, in an empty place with
//! a fresh database server or where the site was before all of it was lost; then the two are compared, and the site that
//! came back is served.

mod common;
mod support;

use moodle_backup::store::manifest::{Component, ComponentKind, Database as DatabaseRecord, EmptiedFolder, Ownership};
use moodle_backup::store::{Manifest, restore_text};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use support::{
    ByHand, Engine, Layout, PocketSite, Scratch, Server, TreeCompare, World, assert_same, changes, compare_snapshots,
    fingerprint, owner_ids, rows_compare, rows_snapshot, tree_compare,
};

/// What a shell, SQL and PHP each have their own opinion of.
const PASSWORD: &str = r#"p'a"s\s %$#;=`&ö"#;

/// Folders of dataroot that come back empty, since Moodle fills them again.
const EMPTIED: [&str; 5] = ["cache", "localcache", "temp", "sessions", "trashdir"];

/// The first step that makes the site what it was not: it is opened, and its caches are purged.
const OPENING: &str = "climaintenance.html";

#[test]
fn p4_a_site_on_mariadb_comes_back_beside_the_original() {
    let site = PocketSite::builder().server(&Server::start(Engine::MariaDb)).account("o'brien-web", PASSWORD).build();
    let directory = extra_directory(&site);
    let extra = site.database.server.create_database("it's extra", "o'brien-web", PASSWORD);
    extra.query(
        "CREATE TABLE note (id INT PRIMARY KEY, text VARCHAR(50)); INSERT INTO note VALUES (1, 'a\\\\b'), (2, NULL)",
    );
    let settings = format!("[directories]\npaths = [{directory:?}]\n[[database.extra]]\nname = \"it's extra\"\n");
    let world = backed_up(site, &settings);

    let fresh = Server::start(Engine::MariaDb);
    let mut by_hand = ByHand::elsewhere(&world.site, &fresh);
    // Where the text has it by itself, for a copy that must not touch what the original has.
    let beside = format!("{}.directories{}", by_hand.dataroot().display(), directory.display());
    let directory_again = PathBuf::from(beside);
    let original = fingerprint(&directory);
    by_hand.set("DBNAME1", "extra too");
    let extra_again = fresh.database("extra too", "root", "");
    let _back = bring_back_beside(&world, by_hand, &world.site_folder());
    assert_same("extra directory", tree_compare(&directory, &directory_again));
    assert_same("the original's directory", changes(&original, &fingerprint(&directory)));
    assert_same("extra database", rows_compare(&extra, &extra_again));
}

#[test]
fn p4_a_site_on_postgresql_comes_back_beside_the_original() {
    let site = PocketSite::builder().server(&Server::start(Engine::Postgres)).layout(Layout::Public);
    let site = site.account("o\"brien", PASSWORD).schema("moodle schema").build();
    site.query("CREATE EXTENSION citext");
    let world = backed_up(site, "");
    let by_hand = ByHand::elsewhere(&world.site, &Server::start(Engine::Postgres));
    bring_back_beside(&world, by_hand, &world.site_folder());
}

#[test]
fn p4_a_site_with_folders_elsewhere_comes_back_beside_the_original() {
    let world = backed_up(PocketSite::builder().relocated(true).layout(Layout::PublicWithCli).build(), "");
    let caches = world.site.scratch().join("elsewhere/cachedir");
    let before = rows_of(&caches);
    let by_hand = ByHand::elsewhere(&world.site, &Server::start(Engine::MariaDb));
    bring_back_beside(&world, by_hand, &world.site_folder());
    assert_eq!(rows_of(&caches), before, "the copy purged the caches of the original");
}

#[test]
fn p4_a_lost_site_comes_back_where_it_was() {
    for engine in Engine::ALL {
        let server = Server::start(engine);
        let site = PocketSite::builder().server(&server).account("web", PASSWORD).relocated(engine == Engine::MariaDb);
        let mut world = backed_up(site.build(), "");
        let rows = rows_snapshot(&world.site.database);
        let text = text_in(&world.site_folder());
        let by_hand = ByHand::in_place(&world.site);
        // Nobody unpacks over a site that is there.
        assert!(by_hand.refused(&text).contains("is not empty"));
        assert!(world.site.is_open());
        assert_same("database", compare_snapshots(&rows, &rows_snapshot(&world.site.database)));
        let lost = lose(&mut world);

        by_hand.follow_until(&text, OPENING);
        let site = &world.site;
        assert_same("code", compare_top(&TreeCompare::new(), &lost.join("code"), &site.root));
        assert_same("moodledata", compare_top(&data_compare(), &lost.join("data"), &site.dataroot));
        assert_same("database", compare_snapshots(&rows, &rows_snapshot(&site.database)));
        by_hand.follow_from(&text, OPENING);
        world.site.serve();
        assert!(world.site.is_open());
        assert_same("files over the web", world.site.unserved_files());
        // It is a site like before: it takes a file, and the next backup.
        world.site.upload(b"after the disaster");
        world.run(&["run", "--foreground"]).expect_code(0);
    }
}

#[test]
fn a_hook_that_copies_the_folder_away_with_rsync_takes_everything() {
    // As the predecessor ran it: only root can keep owners in a copy of files.
    let (world, copy) = copied_by_hook("root", "rsync -a \"$1/\" \"$COPY/site\"");
    let by_hand = ByHand::elsewhere(&world.site, &Server::start(Engine::MariaDb));
    bring_back_copy(world, by_hand, &copy.join("copy/site"));
}

#[test]
fn a_hook_that_copies_the_folder_away_with_tar_takes_everything() {
    let (world, copy) = copied_by_hook("nobody", "tar -C \"$1\" -cf \"$COPY/site.tar\" .");
    let unpacked = copy.join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    let archive = copy.join("copy/site.tar");
    support::succeed(std::process::Command::new("tar").arg("-xpf").arg(archive).arg("-C").arg(&unpacked));
    let by_hand = ByHand::elsewhere(&world.site, &Server::start(Engine::MariaDb));
    bring_back_copy(world, by_hand, &unpacked);
}

/// A world with a backup, made by a run without any warning.
fn backed_up(site: PocketSite, settings: &str) -> World {
    let world = World::builder(site).settings(settings).build();
    world.run(&["run", "--foreground"]).expect_code(0);
    world
}

/// A backup whose site's folder a post-job hook has copied; and what holds the copy.
fn copied_by_hook(user: &str, command: &str) -> (World, Scratch) {
    let scratch = Scratch::new();
    let copy = scratch.folder_of("copy", user);
    let world = World::builder(PocketSite::builder().build()).settings(&format!("[hooks]\nuser = {user:?}\n")).build();
    let hook = world.root.join("etc/moodle-backup/post-job.d/50-copy");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, format!("#!/bin/sh\nset -e\nCOPY='{}'\n{command}\n", copy.display())).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    world.run(&["run", "--foreground"]).expect_code(0);
    (world, scratch)
}

/// Brings a site back from a copy after the target is gone, and compares what such a copy keeps.
fn bring_back_copy(world: World, mut by_hand: ByHand, copy: &Path) {
    fs::rename(world.site_folder(), world.target.path().join("gone")).unwrap();
    by_hand.set("SITE", copy.to_str().unwrap());
    by_hand.follow_until(&text_in(copy), OPENING);
    // Neither program keeps hard links unless told; tar does, rsync does not.
    let same = |line: &String| !line.contains(": same file as: ");
    let data = compare_top(&data_compare().in_seconds(), &world.site.dataroot, by_hand.dataroot());
    assert_same("moodledata", data.into_iter().filter(same).collect());
    assert_same("database", rows_compare(&world.site.database, by_hand.database()));
    by_hand.follow_from(&text_in(copy), OPENING);
    assert_serves(by_hand.site(&world.site));
}

/// Brings the newest backup back beside the original, which nobody uses, and compares everything.
fn bring_back_beside(world: &World, by_hand: ByHand, folder: &Path) -> PocketSite {
    let text = text_in(folder);
    by_hand.follow_until(&text, OPENING);

    let site = &world.site;
    let edited = TreeCompare::new().skip("config.php").skip("config.php.as-backed-up");
    assert_same("code", compare_top(&edited, &site.root, by_hand.root()));
    assert_eq!(whole(&site.root.join("config.php")), whole(&by_hand.root().join("config.php.as-backed-up")));
    assert_eq!(whole(&site.root.join("config.php")).1, whole(&by_hand.root().join("config.php")).1);
    assert_same("moodledata", compare_top(&data_compare(), &site.dataroot, by_hand.dataroot()));
    for name in EMPTIED.iter().filter(|name| site.dataroot.join(name).is_dir()) {
        assert_eq!(look(&site.dataroot.join(name)), look(&by_hand.dataroot().join(name)), "{name}");
    }
    assert_same("database", rows_compare(&site.database, by_hand.database()));
    by_hand.follow_from(&text, OPENING);

    let original = site.filedir();
    let back = by_hand.site(site);
    // Times of the pool's folders tell when files came and went, which is of no use to anybody.
    let pool = TreeCompare::new().skip("warning.txt").without_folder_times();
    assert_same("filedir", pool.run(&original, &back.filedir()));
    assert_serves(back)
}

#[track_caller]
fn assert_serves(mut back: PocketSite) -> PocketSite {
    back.serve();
    assert_eq!(back.get("/").status, 200, "{}", back.get("/").text());
    assert_same("files over the web", back.unserved_files());
    assert!(!back.ran_as_root());
    back
}

/// Takes code, data and database away, as a disaster would; where code and data are kept to compare with.
fn lose(world: &mut World) -> PathBuf {
    let site = &mut world.site;
    site.stop_serving();
    let lost = site.scratch().join("lost");
    fs::create_dir(&lost).unwrap();
    fs::rename(&site.root, lost.join("code")).unwrap();
    fs::rename(&site.dataroot, lost.join("data")).unwrap();
    let elsewhere = site.scratch().join("elsewhere");
    if elsewhere.exists() {
        fs::rename(&elsewhere, lost.join("elsewhere")).unwrap();
    }
    site.database.lose();
    lost
}

fn extra_directory(site: &PocketSite) -> PathBuf {
    let directory = site.scratch().join("it's an extra directory");
    fs::create_dir_all(directory.join("deep")).unwrap();
    fs::write(directory.join("deep/file"), "content").unwrap();
    let (uid, gid) = owner_ids("nobody");
    std::os::unix::fs::chown(directory.join("deep/file"), Some(uid), Some(gid)).unwrap();
    fs::set_permissions(directory.join("deep"), fs::Permissions::from_mode(0o2750)).unwrap();
    directory
}

/// moodledata but for what comes back empty, and the pool.
fn data_compare() -> TreeCompare {
    ["filedir", "lock"].iter().chain(&EMPTIED).fold(TreeCompare::new(), |compare, name| compare.skip(name))
}

/// A comparison that leaves out the time of the top folder: to close the site changes it, and to edit config.php.
fn compare_top(compare: &TreeCompare, a: &Path, b: &Path) -> Vec<String> {
    compare.run(a, b).into_iter().filter(|line| !line.starts_with(": time: ")).collect()
}

fn text_in(site_folder: &Path) -> String {
    fs::read_to_string(site_folder.join("latest/RESTORE.txt")).unwrap()
}

/// Owner, group and mode.
fn look(path: &Path) -> (u32, u32, u32) {
    let meta = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (meta.uid(), meta.gid(), meta.mode())
}

fn whole(path: &Path) -> (Vec<u8>, (u32, u32, u32)) {
    (fs::read(path).unwrap(), look(path))
}

/// Everything below a folder, by name and time.
fn rows_of(folder: &Path) -> Vec<String> {
    let output = support::succeed(std::process::Command::new("find").arg(folder).args(["-printf", "%P %T@\n"]));
    let mut rows: Vec<String> = String::from_utf8_lossy(&output).lines().map(str::to_owned).collect();
    rows.sort();
    assert!(rows.len() > 1, "{} is empty", folder.display());
    rows
}

/// Whatever parts a backup has, no section seems to be missing.
#[test]
fn sections_are_numbered_as_they_come() {
    let whole = manifest_with_everything();
    let numbers = |manifest: &Manifest| -> Vec<usize> {
        let text = restore_text::render(manifest, Path::new("/backup/school"));
        let lines: Vec<&str> = text.lines().collect();
        let headings =
            lines.windows(2).filter(|pair| !pair[0].is_empty() && pair[1] == "-".repeat(pair[0].chars().count()));
        headings.skip(1).map(|pair| pair[0].split_once(". ").expect("a number").0.parse().unwrap()).collect()
    };
    for (directories, extra, sections) in [(true, true, 11), (true, false, 10), (false, true, 10), (false, false, 9)] {
        let mut manifest = whole.clone();
        if !directories {
            manifest.components.clear();
        }
        if !extra {
            manifest.extra_databases.clear();
        }
        assert_eq!(numbers(&manifest), (0..sections).collect::<Vec<_>>(), "directories {directories}, extra {extra}");
    }
}

/// The text as a reader sees it; with names that need quoting, two engines, and losses.
#[test]
fn restore_text_reads_well() {
    common::golden("RESTORE.txt", &restore_text::render(&manifest_with_everything(), Path::new("/backup/school")));
}

/// MariaDB's programs are not there where MySQL's are; and each of the two has collations that the other may not know.
#[test]
fn what_differs_with_mysql_is_said() {
    let text = |engine: &str, collation: &str| {
        let mut manifest = manifest_with_everything();
        manifest.extra_databases.clear();
        (manifest.database.engine, manifest.database.collation) = (engine.into(), "utf8mb4_unicode_ci".into());
        manifest.database.collations = vec![collation.into(), "utf8mb4_unicode_ci".into()];
        restore_text::render(&manifest, Path::new("/backup/school"))
    };
    let mysql = text("mysql", "utf8mb4_0900_ai_ci");
    assert!(mysql.contains("\n    # MYSQL='mysql --default"), "{mysql}");
    assert!(mysql.contains(" mysql-server php-mysql\n") && !mysql.contains("'mariadb"), "{mysql}");
    assert!(mysql.contains("Not all servers know these collations: utf8mb4_0900_ai_ci.\n"), "{mysql}");
    let mariadb = text("mariadb", "utf8mb4_uca1400_ai_ci");
    assert!(mariadb.contains("these collations: utf8mb4_uca1400_ai_ci.\n"), "{mariadb}");
    assert!(!text("mariadb", "utf8mb4_bin").contains("Not all servers"));
}

/// PostgreSQL 15 stopped at it.
#[test]
fn what_an_older_postgresql_does_not_know_is_said() {
    let text = |version: &str| {
        let mut manifest = manifest_with_everything();
        manifest.database = manifest.extra_databases.remove(0);
        manifest.database.server_version = version.into();
        restore_text::render(&manifest, Path::new("/backup/school"))
    };
    assert!(text("17.12 (Debian 17.12-0+deb13u1)").contains("/^SET transaction_timeout/d"));
    assert!(!text("15.20 (Debian 15.20-0+deb12u1)").contains("transaction_timeout"));
}

fn manifest_with_everything() -> Manifest {
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
    manifest.database = DatabaseRecord {
        file: "database/site.sql.zst".into(),
        engine: "mariadb".into(),
        server_version: "10.11.6-MariaDB".into(),
        name: "moodle".into(),
        host: "db.school.example".into(),
        port: Some(3307),
        user: "moodleuser".into(),
        charset: "utf8mb4".into(),
        collation: "utf8mb4_unicode_ci".into(),
        grants: vec!["GRANT ALL PRIVILEGES ON `moodle`.* TO `moodleuser`@`localhost`".into()],
        ..DatabaseRecord::default()
    };
    manifest.extra_databases = vec![DatabaseRecord {
        file: "database/extra/portfolio.sql.zst".into(),
        engine: "postgresql".into(),
        name: "portfolio".into(),
        charset: "UTF8".into(),
        collation: "de_DE.UTF-8".into(),
        extensions: vec!["plpgsql".into(), "pg_trgm".into()],
        ..DatabaseRecord::default()
    }];
    manifest
}
