//! Restores in place of databases that hold more than tables: triggers, routines, events and views of this and that kind, by this and
//! that definer, on servers with and without a binary log.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use support::{Engine, MariaDb, PocketSite, Server, World, wait_for};

const LIMIT: Duration = Duration::from_secs(60);

/// All of them as the server shows them, each with what its definer may do elsewhere left out.
fn programs(site: &PocketSite) -> Vec<String> {
    let listed = site.query(
        "SELECT CONCAT('TRIGGER ', TRIGGER_NAME) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE() \
         UNION SELECT CONCAT(ROUTINE_TYPE, ' ', ROUTINE_NAME) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE() \
         UNION SELECT CONCAT('EVENT ', EVENT_NAME) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE() \
         UNION SELECT CONCAT('VIEW ', TABLE_NAME) FROM information_schema.VIEWS WHERE TABLE_SCHEMA = DATABASE() \
         AND TABLE_NAME NOT LIKE 'moodle_backup_old_%' ORDER BY 1",
    );
    let shown = |name: &String| {
        let mut row = site.query(&format!("SHOW CREATE {name}")).concat();
        if name.starts_with("TRIGGER") {
            // When it was made.
            row.pop();
        }
        // What is not ASCII is sent in UTF-8, and says so afterwards.
        row.join("\t").replace("bung'\tlatin1\t", "bung'\tutf8mb4\t")
    };
    let order = site.query(
        "SELECT GROUP_CONCAT(TRIGGER_NAME ORDER BY ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER) FROM information_schema.TRIGGERS \
         WHERE TRIGGER_SCHEMA = DATABASE()",
    );
    listed.concat().iter().map(shown).chain(order.concat().into_iter().filter(|order| order != "NULL")).collect()
}

fn own(site: &PocketSite) -> String {
    format!("`{}`@localhost", site.database.user)
}

/// As the site itself would, without the client's taking statements apart.
fn by_php(site: &PocketSite, statements: &str) {
    let Server::MariaDb(server) = &site.database.server else { unreachable!("these tests are about MariaDB") };
    let code = format!(
        r#"mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
        $m = mysqli_init(); $m->real_connect(null, '{}', '{}', '{}', 0, '{}'); {statements}"#,
        site.database.user,
        site.database.password,
        site.database.name,
        server.socket().display()
    );
    support::succeed(&mut site.php(&["-r", &code]));
}

fn backed_up(site: PocketSite) -> World {
    let world = World::builder(site).build();
    let output = world.run(&["run"]);
    assert!(matches!(output.code, Some(0 | 3)), "{}", output.stderr);
    world
}

/// A restore that fails at the step and is undone.
fn fails_at(world: &mut World, what: &str) {
    world.set_env("MOODLE_BACKUP_FAILPOINT", what);
    let output = world.run(&["restore", "--yes"]);
    world.set_env("MOODLE_BACKUP_FAILPOINT", "");
    assert_ne!(output.code, Some(0), "{what}");
    assert!(output.stderr.contains("step exchange"), "it came so far: {}", output.stderr);
    wait_for("all processes to end", LIMIT, || world.processes().is_empty());
    world.run(&["recover"]).expect_code(0);
    assert!(world.site.is_open(), "{what}: {}", output.stderr);
}

fn said(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// With comments, line ends of all kinds, modes and character sets: each is put back letter by letter.
#[test]
fn each_is_put_back_as_it_was() {
    let site = PocketSite::builder().engine(Engine::MariaDb).build();
    let mut world = backed_up(site);
    let own = own(&world.site);
    by_php(
        &world.site,
        r#"$m->query("CREATE PROCEDURE c1()\r\nBEGIN /* licence; ;; */\r\n SELECT 'a\r\nb', '\u{dc}bung'; -- x\r\nEND");
        $m->query("SET character_set_client = latin1, collation_connection = latin1_german1_ci");
        $m->query("CREATE PROCEDURE c2() SELECT '\xdcbung'");
        $m->query("CREATE PROCEDURE c3() SELECT 'plain' # one\n");"#,
    );
    for sql in [
        format!(
            "SET sql_mode = 'PIPES_AS_CONCAT'; CREATE DEFINER={own} FUNCTION mdl_f() RETURNS text DETERMINISTIC RETURN 'a'||'b'"
        ),
        format!(
            "SET sql_mode = 'ANSI_QUOTES'; CREATE DEFINER={own} TRIGGER mdl_q BEFORE UPDATE ON \"mdl_tag\" FOR EACH ROW SET @a = 1"
        ),
        "CREATE TRIGGER mdl_root BEFORE INSERT ON mdl_tag FOR EACH ROW SET @a = 'x''y'".into(),
        format!(
            "CREATE DEFINER={own} TRIGGER mdl_first BEFORE INSERT ON mdl_tag FOR EACH ROW PRECEDES mdl_root SET @a = 'w'"
        ),
        "CREATE ROLE r; CREATE DEFINER=r PROCEDURE of_a_role() SELECT 1".into(),
        format!(
            "SET time_zone = '+05:30'; CREATE DEFINER={own} EVENT mdl_e ON SCHEDULE EVERY 2 HOUR STARTS '2031-01-01 00:00:00' \
             ON COMPLETION PRESERVE DISABLE COMMENT 'it''s' DO DELETE FROM mdl_tag WHERE id < 0"
        ),
        format!(
            "SET sql_mode = ORACLE;\nDELIMITER //\nCREATE DEFINER={own} PACKAGE pk AS PROCEDURE a(); END//\nDELIMITER ;"
        ),
        format!(
            "SET sql_mode = ORACLE;\nDELIMITER //\nCREATE DEFINER={own} PACKAGE BODY pk AS PROCEDURE a() AS BEGIN SELECT 1; END; END//\n\
             DELIMITER ;"
        ),
    ] {
        world.site.query(&sql);
    }
    let before = programs(&world.site);
    assert_eq!(before.len(), 12, "{before:#?}");
    for what in ["post=error", "post=kill", "check=panic"] {
        fails_at(&mut world, what);
        assert_eq!(programs(&world.site), before, "{what}");
    }
    // The backup has none of them.
    world.run(&["restore", "--yes"]).expect_code(0);
    assert_eq!(programs(&world.site), Vec::<String>::new());
    world.run(&["restore", "--undo", "--yes"]).expect_code(0);
    assert_eq!(programs(&world.site), before);
}

/// An account of the site that has been taken over does not become the database's administrator by a restore, whatever it has left there.
#[test]
fn no_text_of_the_site_s_own_is_run_by_an_administrator() {
    let site = PocketSite::builder().engine(Engine::MariaDb).build();
    let user = site.database.user.clone();
    // One statement for the server, with gbk; for a client that takes it for UTF-8, several.
    by_php(
        &site,
        &format!(
            r#"$m->query("SET character_set_client = gbk, collation_connection = gbk_chinese_ci");
            $m->query("CREATE PROCEDURE p3()\nSELECT '\u{{4e2d}}\\' -- ' ;;\ndelimiter UNION /*\nDELIMITER ;\nDELIMITER ;;\nCREATE DEFINER=`root`@`localhost` PROCEDURE zz() SELECT 1 ;;\nGRANT ALL PRIVILEGES ON *.* TO `{user}`@localhost WITH GRANT OPTION ;;\nDROP PROCEDURE zz;;\nDELIMITER ;\n*/ SELECT 2");"#
        ),
    );
    let grants = format!("SHOW GRANTS FOR `{user}`@localhost");
    let before = site.query(&grants);
    // Something that only the administrator could put back.
    site.query("CREATE TRIGGER mdl_root BEFORE INSERT ON mdl_tag FOR EACH ROW SET @a = 1");
    let mut world = backed_up(site);
    world.site.set_config("changed", "since");
    world.set_env("MOODLE_BACKUP_FAILPOINT", "check=error");
    world.run(&["restore", "--yes"]);
    world.set_env("MOODLE_BACKUP_FAILPOINT", "");
    wait_for("all processes to end", LIMIT, || world.processes().is_empty());
    world.run(&["restore", "--yes"]);
    world.run(&["restore", "--undo", "--yes"]);
    assert_eq!(world.site.query(&grants), before);
}

/// What nobody could make again is in a backup only: it is loaded, and taken away again when the restore is undone.
#[test]
fn what_came_from_a_backup_is_taken_away_whatever_its_text() {
    let site = PocketSite::builder().engine(Engine::MariaDb).build();
    by_php(&site, r#"$m->query("CREATE PROCEDURE p() SELECT 1 /*\nDELIMITER x\n*/");"#);
    let mut world = backed_up(site);
    world.site.query("DROP PROCEDURE p");
    world.site.set_config("changed", "since");
    let before = programs(&world.site);
    fails_at(&mut world, "post=error");
    assert_eq!(programs(&world.site), before);
    // Where it is there it is said, before anything is touched.
    by_php(&world.site, r#"$m->query("CREATE PROCEDURE p() SELECT 1 /*\nDELIMITER x\n*/");"#);
    let output = world.run(&["restore", "--yes"]).expect_code(5);
    assert!(said(&output.stderr).contains("cannot save the procedure p of"), "{}", output.stderr);
    assert!(world.site.is_open());
}

/// An option file with this account.
fn admin_file(world: &World, name: &str, user: &str, password: &str) -> PathBuf {
    let file = world.root.join(name);
    let place = world.site.database.server.option_lines();
    fs::write(&file, format!("[client]\n{place}user=\"{user}\"\npassword=\"{password}\"\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file
}

/// Without an administrator nobody could give them back to who has defined them; Moodle's account can make its own.
#[test]
fn what_only_an_administrator_could_make_again_is_refused_without_one() {
    let site = PocketSite::builder().engine(Engine::MariaDb).build();
    let own = own(&site);
    site.query("CREATE TRIGGER mdl_root BEFORE INSERT ON mdl_tag FOR EACH ROW SET @a = 1");
    site.query("CREATE VIEW mdl_v AS SELECT name FROM mdl_tag");
    site.query(&format!("CREATE DEFINER={own} TRIGGER mdl_own BEFORE UPDATE ON mdl_tag FOR EACH ROW SET @a = 1"));
    let world = backed_up(site);
    let site = &world.site;
    site.set_config("changed", "since");
    let before = programs(site);
    // Somebody who is none.
    let none = admin_file(&world, "none.cnf", &site.database.user, &site.database.password);
    let restore = ["restore", "--yes", "--database-admin", none.to_str().unwrap()];
    let output = world.run(&restore).expect_code(5);
    let words = said(&output.stderr);
    for wanted in ["trigger mdl_root of root@localhost", "is no administrator", "--database-admin"] {
        assert!(words.contains(wanted), "{wanted}: {words}");
    }
    assert!(!words.contains("mdl_own"), "{words}");
    assert_eq!(programs(site), before);
    assert!(site.is_open());

    // It is gone, so the server is no witness for whose it was.
    site.query("DROP TRIGGER mdl_root");
    let output = world.run(&restore).expect_code(3);
    let words = said(&output.stderr);
    for wanted in
        ["has defined now what others had", "trigger mdl_root of root@localhost", "view mdl_v of root@localhost"]
    {
        assert!(words.contains(wanted), "{wanted}: {words}");
    }
    let now = programs(site);
    assert_eq!(now.len(), 4, "and the order of the triggers");
    assert!(now.iter().all(|it| !it.contains("`root`")), "{now:?}");
}

/// What is as it was, and whose the server knows, keeps its definer.
#[test]
fn definers_are_given_back_where_the_server_knows_them() {
    let site = PocketSite::builder().engine(Engine::MariaDb).build();
    let own = own(&site);
    for sql in [
        "CREATE TRIGGER mdl_root BEFORE INSERT ON mdl_tag FOR EACH ROW SET @a = 'as it was'".to_owned(),
        "CREATE TRIGGER mdl_changed BEFORE UPDATE ON mdl_tag FOR EACH ROW SET @a = 'then'".into(),
        format!(
            "CREATE DEFINER={own} TRIGGER mdl_own BEFORE INSERT ON mdl_tag FOR EACH ROW PRECEDES mdl_root SET @b = 1"
        ),
    ] {
        site.query(&sql);
    }
    let world = backed_up(site);
    let site = &world.site;
    site.query(
        "DROP TRIGGER mdl_changed; CREATE TRIGGER mdl_changed BEFORE UPDATE ON mdl_tag FOR EACH ROW SET @a = 'now'",
    );
    let today = programs(site);
    // A backup from elsewhere is not believed: only what the server shows now counts.
    let output = world.run(&["restore", "--yes", "--from", support::text(world.target.path())]).expect_code(3);
    let words = said(&output.stderr);
    assert!(words.contains("trigger mdl_changed of root@localhost") && !words.contains("mdl_root of"), "{words}");
    let definer = |name: &str| {
        site.query(&format!(
            "SELECT DEFINER FROM information_schema.TRIGGERS WHERE TRIGGER_NAME = '{name}' \
                             AND TRIGGER_SCHEMA = DATABASE()"
        ))
        .concat()
        .concat()
    };
    assert_eq!(definer("mdl_root"), "root@localhost");
    assert_eq!(definer("mdl_changed"), own.replace('`', ""));
    world.run(&["restore", "--undo", "--yes"]).expect_code(0);
    assert_eq!(programs(site), today);
    // Of one's own backups it is known what the server had shown then.
    world.run(&["restore", "--yes"]).expect_code(0);
    assert_eq!([definer("mdl_root"), definer("mdl_changed")], ["root@localhost"; 2]);
    world.run(&["restore", "--undo", "--yes"]).expect_code(0);
    assert_eq!(programs(site), today);
}

/// The account that could undo it is named anew where it was named by a file that is gone.
#[test]
fn an_undo_takes_the_administrator_that_is_named_now() {
    let site = PocketSite::builder().engine(Engine::MariaDb).build();
    site.query("CREATE TRIGGER mdl_root BEFORE INSERT ON mdl_tag FOR EACH ROW SET @a = 1");
    site.query("CREATE USER dba@localhost IDENTIFIED BY 'x'; GRANT ALL ON *.* TO dba@localhost WITH GRANT OPTION");
    let world = backed_up(site);
    world.site.set_config("changed", "since");
    let before = programs(&world.site);
    let file = admin_file(&world, "dba.cnf", "dba", "x");
    world.run(&["restore", "--yes", "--database-admin", file.to_str().unwrap()]).expect_code(0);
    let other = world.root.join("other.cnf");
    fs::rename(&file, &other).unwrap();
    world.run(&["restore", "--undo", "--yes", "--database-admin", other.to_str().unwrap()]).expect_code(0);
    assert_eq!(programs(&world.site), before);
    // And root of this machine will do as well.
    fs::remove_file(&other).unwrap();
    world.run(&["restore", "--redo", "--yes"]).expect_code(0);
    world.run(&["restore", "--undo", "--yes"]).expect_code(0);
    assert_eq!(programs(&world.site), before);
}

/// A server with a binary log takes triggers and functions only from those whom it trusts, and some functions from nobody.
#[test]
fn what_a_server_with_a_binary_log_would_not_take_again_is_refused() {
    let server = Server::MariaDb(MariaDb::start_with(&["--log-bin=bin", "--server-id=1"]));
    let trust = |value: u8| format!("SET GLOBAL log_bin_trust_function_creators = {value}");
    for made in [
        "TRIGGER mdl_t BEFORE INSERT ON mdl_tag FOR EACH ROW SET @a = 1",
        "FUNCTION mdl_t() RETURNS int RETURN rand() * 10",
    ] {
        let site = PocketSite::builder().server(&server).build();
        site.query(&format!("{}; CREATE DEFINER={} {made}", trust(1), own(&site)));
        let mut world = backed_up(site);
        world.site.query(&trust(0));
        world.site.set_config("changed", "since");
        let before = programs(&world.site);
        let output = world.run(&["restore", "--yes"]).expect_code(5);
        let words = said(&output.stderr);
        assert!(words.contains("mdl_t of") && words.contains("log_bin_trust_function_creators = 1"), "{words}");
        assert_eq!(programs(&world.site), before);
        world.site.query(&trust(1));
        fails_at(&mut world, "check=kill");
        assert_eq!(programs(&world.site), before);
        world.run(&["restore", "--yes"]).expect_code(0);
        assert_eq!(programs(&world.site), before);

        // Only the backup has one: the load ends there, and all is put back.
        world.site.query(&trust(0));
        world.site.query(&format!("DROP {} IF EXISTS mdl_t", made.split(' ').next().unwrap()));
        world.site.set_config("changed", "once more");
        let output = world.run(&["restore", "--yes"]).expect_code(1);
        assert!(said(&output.stderr).contains("log_bin_trust_function_creators = 1"), "{}", output.stderr);
        assert!(world.site.is_open() && programs(&world.site).is_empty());
        assert_eq!(world.site.query("SELECT value FROM mdl_config WHERE name = 'changed'"), [["once more"]]);
    }
}

/// A server that was started without its event scheduler does not even tell which events there are.
#[test]
fn a_server_without_events_is_none_without_restores() {
    let server = Server::MariaDb(MariaDb::start_with(&["--event-scheduler=disabled"]));
    let site = PocketSite::builder().server(&server).build();
    site.query(&format!("CREATE DEFINER={} PROCEDURE p() SELECT 1", own(&site)));
    let world = backed_up(site);
    world.site.set_config("changed", "since");
    world.run(&["restore", "--yes"]).expect_code(0);
    world.run(&["restore", "--undo", "--yes"]).expect_code(0);
    assert_eq!(world.site.query("SELECT value FROM mdl_config WHERE name = 'changed'"), [["since"]]);
}

/// What cannot be put back keeps the site closed until it is: nobody is to work in half of it.
#[test]
fn a_site_that_cannot_be_put_back_stays_closed() {
    let site = PocketSite::builder().server(&Server::MariaDb(MariaDb::start())).build();
    let mut world = backed_up(site);
    world.site.set_config("changed", "since");
    let restore = world.spawn_failing(&["restore", "--yes"], "check", "stop");
    restore.wait_until_stopped();
    world.site.database.server.kill();
    restore.signal(nix::sys::signal::Signal::SIGCONT);
    restore.signal(nix::sys::signal::Signal::SIGTERM);
    let output = restore.wait();
    assert!(output.stderr.contains("the site stays closed"), "{}", output.stderr);
    wait_for("the guard to try in vain", LIMIT, || world.restore_log().contains("trying again"));
    assert!(!world.site.is_open());
    // The server comes back, and nobody has to be at hand.
    world.site.database.server.restart();
    wait_for("the guard to open the site", LIMIT, || world.site.is_open());
    wait_for("all processes to end", LIMIT, || world.processes().is_empty());
    assert_eq!(world.site.query("SELECT value FROM mdl_config WHERE name = 'changed'"), [["since"]]);
}
