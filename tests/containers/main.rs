//! The package on whole systems: Debian 11, 12 and 13, booted in containers with systemd as their init, each with a pocket
//! Moodle on its own web server and database. `make deb` builds the package that is tried here.
//!
//! Each release is one test: what is tried builds upon what was there before, as on a real server.

#[path = "../support/mod.rs"]
mod support;

mod by_hand;
mod machine;
mod moves;
mod mysql;
mod nights;
mod package;
mod roots;
mod sandbox;
mod server;
mod setup;

use std::process::Command;

use roots::Release;
use server::Server;

fn a_life_of_the_package(release: Release) {
    let mut server = Server::with_a_site(release);
    let tries: [(&str, fn(&mut Server)); 22] = [
        ("installing starts nothing", package::installing_starts_nothing),
        ("the timer makes a backup", nights::the_timer_makes_a_backup),
        ("a stopped run leaves the site open", nights::a_stopped_run_leaves_the_site_open),
        ("a killed run leaves the site open", nights::a_killed_run_leaves_the_site_open),
        ("a power cut leaves the site open", nights::a_power_cut_leaves_the_site_open),
        ("a shutdown leaves the site open", nights::a_shutdown_leaves_the_site_open),
        ("a failure is told", nights::a_failure_is_told),
        ("the weekly check reads backups", nights::the_weekly_check_reads_backups),
        ("hooks run outside the sandbox", sandbox::hooks_run_outside),
        ("the sandbox forbids what it says", sandbox::it_forbids_what_it_says),
        ("a lock of the web user is no run", sandbox::a_lock_of_the_web_user_is_no_run),
        ("a run by hand survives its session", by_hand::a_run_survives_its_session),
        ("a run by hand is stopped through systemd", by_hand::a_run_is_stopped_through_systemd),
        ("a restore is what is served", by_hand::a_restore_is_what_is_served),
        ("the web server is stopped and started", by_hand::the_web_server_is_stopped_and_started),
        ("an upgrade leaves alone what runs", package::an_upgrade_leaves_alone_what_runs),
        ("removing ends what runs", package::removing_ends_what_runs),
        ("purging keeps every backup", package::purging_keeps_every_backup),
        ("it can be installed again", package::it_can_be_installed_again),
        ("answers set everything up", setup::answers_set_everything_up),
        ("a further site gets timers of its own", setup::a_further_site_gets_timers_of_its_own),
        ("a person changes something", setup::a_person_changes_something),
    ];
    let begun = std::time::Instant::now();
    for (what, attempt) in tries {
        println!("{}: {what} ({:.0} s)", release.suite(), begun.elapsed().as_secs_f64());
        attempt(&mut server);
    }
}

#[test]
fn debian_11() {
    a_life_of_the_package(Release::Bullseye);
}

#[test]
fn debian_12() {
    a_life_of_the_package(Release::Bookworm);
}

#[test]
fn debian_13() {
    a_life_of_the_package(Release::Trixie);
}

#[test]
fn from_debian_11_to_13() {
    moves::an_old_server_s_site_comes_to_a_new_one();
}

#[test]
#[ignore = "needs Debian sid, which changes daily: make mysql"]
fn mysql() {
    mysql::a_life_on_mysql();
}

/// One binary for all releases of Debian and Ubuntu that are supported: the oldest has glibc 2.31, and zig links for 2.28.
#[test]
fn the_binary_asks_for_nothing_but_an_old_c_library() {
    let parts = support::Scratch::on_machine();
    support::succeed(Command::new("dpkg-deb").arg("--extract").arg(server::package()).arg(parts.path()));
    let described = support::succeed(Command::new("objdump").arg("-Tp").arg(parts.join("usr/sbin/moodle-backup")));
    let described = String::from_utf8_lossy(&described).into_owned();
    let mut libraries: Vec<&str> = described.lines().filter_map(|line| line.trim().strip_prefix("NEEDED")).collect();
    libraries.iter_mut().for_each(|name| *name = name.trim());
    let of_libc = |name: &&str| {
        ["libc.so", "libm.so", "libdl.so", "libpthread.so", "librt.so", "ld-linux"]
            .iter()
            .any(|known| name.starts_with(known))
    };
    assert!(!libraries.is_empty() && libraries.iter().all(of_libc), "{libraries:?}");
    let versions = described.split("GLIBC_").skip(1).filter_map(|rest| {
        let number: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        number.strip_prefix("2.")?.split('.').next()?.parse::<u32>().ok()
    });
    let newest = versions.max().expect("it uses the C library");
    assert!(newest <= 28, "glibc 2.{newest}; Cargo.toml and debian/build.sh say 2.28");
}
