//! P8 and the life of a run: one at a time for each site, ended in order by a signal, and not touched by the end of the
//! terminal that shows it.

mod support;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use support::{Gate, HOOK_USER, PocketSite, Terminal, TestTarget, World, add_hook, command_as, wait_for};

const LIMIT: Duration = Duration::from_secs(60);

fn world() -> World {
    let site = PocketSite::builder().files(5).build();
    World::builder(site).settings(&format!("[hooks]\nuser = \"{HOOK_USER}\"")).build()
}

#[test]
fn a_second_run_is_refused_and_told_whom_it_met() {
    let world = world();
    let gate = Gate::before_job(&world);
    let mut first = world.spawn(&["run"]);
    first.wait_for_words("50-gate");
    let refused = |output: support::Output| {
        let output = output.expect_code(4);
        assert!(output.stderr.contains(&format!("process {}", first.id())), "{}", output.stderr);
        assert!(output.stderr.contains("now at the step pre-job"), "{}", output.stderr);
        assert!(output.stderr.contains("  next: \"moodle-backup attach\""), "{}", output.stderr);
    };
    refused(world.run(&["run"]));
    // The same site by another name, to another target.
    let (other, elsewhere) = (world.scratch().join("other.toml"), TestTarget::folder());
    let settings =
        format!("[site]\nname = \"other\"\nroot = {:?}\n[target]\npath = {:?}\n", world.site.root, elsewhere.path());
    fs::write(&other, settings).unwrap();
    refused(world.run(&["--settings", other.to_str().unwrap(), "run"]));
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    let output = world.run(&["recover"]).expect_code(0);
    assert!(!output.stderr.contains("reopened"), "{}", output.stderr);
    gate.open();
    first.wait().expect_code(0);
    world.run(&["run"]).expect_code(0);
}

#[test]
fn sigterm_ends_a_run_in_order_and_tells_the_hooks_for_failures() {
    let world = world();
    let told = world.scratch().folder_of("told", HOOK_USER).join("told");
    let body = format!("sleep 0.5; echo \"$MOODLE_BACKUP_RESULT: $MOODLE_BACKUP_ERROR\" >>{}", told.display());
    add_hook(&world, "failure.d", "10-tell", &body);
    let gate = Gate::before_job(&world);
    let mut run = world.spawn(&["run"]);
    run.wait_for_words("50-gate");
    run.signal(Signal::SIGTERM);
    let output = run.wait().expect_code(1);
    assert!(output.stderr.contains("interrupted by SIGTERM"), "{}", output.stderr);
    assert!(output.stdout.contains("INTERRUPTED"), "{}", output.stdout);
    assert!(fs::read_to_string(&told).unwrap_or_default().contains("failed: "), "the hook did not run to its end");
    assert!(!output.output_held && world.processes().is_empty());
    gate.open();
    world.run(&["run"]).expect_code(0);
}

#[test]
fn ctrl_c_ends_the_showing_only_and_attach_shows_it_again() {
    let world = world();
    let gate = Gate::before_job(&world);
    let mut shown = Terminal::start(world.command(&["run", "--label", "by hand"]));
    shown.wait_for_text("50-gate");
    shown.type_keys("\x03");
    assert_eq!(shown.wait().code(), Some(0), "{}", shown.text());
    shown.wait_for_text("The backup goes on.");
    assert!(world.backups().is_empty());

    let mut attached = Terminal::start(world.command(&["attach"]));
    attached.wait_for_text("50-gate");
    gate.open();
    assert_eq!(attached.wait().code(), Some(0), "{}", attached.text());
    attached.wait_for_text("Backup ");
    assert_eq!(world.backups().len(), 1);
    let output = world.run(&["attach"]).expect_code(1);
    assert!(output.stderr.contains("neither a backup nor a restore of site pocket is at work"), "{}", output.stderr);
}

#[test]
fn a_lost_terminal_does_not_end_the_run() {
    let world = world();
    let gate = Gate::before_job(&world);
    let mut shown = Terminal::start(world.command(&["run"]));
    shown.wait_for_text("50-gate");
    shown.hang_up();
    let mut second = Terminal::start(world.command(&["attach"]));
    second.wait_for_text("50-gate");
    gate.open();
    assert_eq!(second.wait().code(), Some(0), "{}", second.text());
    assert_eq!(world.backups().len(), 1);
    assert!(world.site.is_open());
    wait_for("all processes to end", LIMIT, || world.processes().is_empty());
}

#[test]
fn the_one_who_watches_gets_the_exit_code_of_the_run() {
    let world = world();
    for (body, code, words) in [("exit 1", 1, "FAILED"), ("exit 75", 6, "skipped"), ("exit 0", 0, "done")] {
        add_hook(&world, "pre-job.d", "10-judge", body);
        let mut shown = Terminal::start(world.command(&["run"]));
        assert_eq!(shown.wait().code(), Some(code), "{}", shown.text());
        shown.wait_for_text(words);
    }
    // Killed from outside: the one who watches is told, and what to do.
    let gate = Gate::before_job(&world);
    gate.close();
    let mut shown = Terminal::start(world.command(&["run"]));
    shown.wait_for_text("50-gate");
    let (run, _) = world.processes().into_iter().find(|(_, line)| line.contains("--foreground")).expect("the run");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(run), Signal::SIGKILL).unwrap();
    let status = shown.wait();
    assert_eq!((status.code(), status.signal()), (Some(1), None), "{}", shown.text());
    shown.wait_for_text("the backup ended without saying how");
    shown.wait_for_text("moodle-backup recover");
}

#[test]
fn a_scheduled_run_waits_for_one_that_is_at_work() {
    let world = world();
    let gate = Gate::before_job(&world);
    let mut first = world.spawn(&["run"]);
    first.wait_for_words("50-gate");
    let mut night = world.spawn(&["run", "--scheduled"]);
    night.wait_for_words(&format!("is at work: process {}", first.id()));
    assert!(night.words().contains("waiting 300 s at most"), "{}", night.words());
    gate.open();
    first.wait().expect_code(0);
    night.wait().expect_code(0);
    assert_eq!(world.backups().len(), 2);
}

/// Holds the lock on a folder as this user, until it is dropped.
struct Holding(std::process::Child);

impl Holding {
    fn folder(folder: &Path, user: &str) -> Self {
        let mut flock = command_as(user, "flock");
        let child = flock.args(["--no-fork", "--exclusive"]).arg(folder).args(["sleep", "300"]).spawn().unwrap();
        let free = || succeeds(Command::new("flock").arg("--nonblock").arg(folder).arg("true"));
        wait_for("the lock to be held", LIMIT, || !free());
        Holding(child)
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.status().unwrap().success()
}

#[test]
fn what_takes_a_moment_is_waited_for_and_named() {
    let world = world();
    world.run(&["run"]).expect_code(0);
    let holding = Holding::folder(&world.site_folder(), "root");
    let mut run = world.spawn(&["run"]);
    let who = format!("process {} (sleep) of user root", holding.0.id());
    run.wait_for_words(&format!("waiting 3 s at most: another command for site \"pocket\" is at work: {who}"));
    drop(holding);
    run.wait().expect_code(0);
    let holding = Holding::folder(&world.site_folder(), "root");
    for command in ["run", "prune"] {
        let output = world.run(&[command]).expect_code(4);
        assert!(output.stderr.contains(&format!("process {} (sleep)", holding.0.id())), "{}", output.stderr);
    }
}

#[test]
fn the_web_user_cannot_stop_backups_by_locking_what_is_his() {
    let mut world = world();
    world.run(&["run"]).expect_code(0);
    let holding = Holding::folder(&world.site.dataroot, "www-data");
    let complaint = format!("process {} (sleep) of user www-data holds a lock on", holding.0.id());
    let gate = Gate::before_job(&world);
    let mut first = world.spawn(&["run"]);
    first.wait_for_words("50-gate");
    assert!(first.words().contains(&complaint), "{}", first.words());
    // One at a time all the same, and by whatever settings file.
    let (other, elsewhere) = (world.scratch().join("other.toml"), TestTarget::folder());
    let settings =
        format!("[site]\nname = \"other\"\nroot = {:?}\n[target]\npath = {:?}\n", world.site.root, elsewhere.path());
    fs::write(&other, settings).unwrap();
    let output = world.run(&["--settings", other.to_str().unwrap(), "run"]).expect_code(4);
    assert!(output.stderr.contains(&format!("process {}", first.id())), "{}", output.stderr);
    gate.open();
    first.wait().expect_code(3);

    // What died is tidied up too.
    world.set_env("MOODLE_BACKUP_FAILPOINT", "copy-delta=stop");
    let stopped = world.spawn(&["run"]);
    wait_for("the window", LIMIT, || world.site.maintenance_page().exists());
    wait_for("the run to stop", LIMIT, || stopped.words().contains("step copy-delta"));
    let output = world.run(&["recover"]).expect_code(0);
    assert!(output.stderr.contains("a run is at work"), "{}", output.stderr);
    let mut all = world.processes();
    all.sort_by_key(|(_, line)| !line.contains(" guard "));
    for (id, _) in all {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), Signal::SIGKILL).unwrap();
    }
    drop(stopped);
    assert!(!world.site.is_open());
    let output = world.run(&["recover"]).expect_code(0);
    assert!(output.stderr.contains(&complaint) && output.stderr.contains("reopened pocket"), "{}", output.stderr);
    assert!(world.site.is_open());
}

#[test]
fn the_note_of_another_site_is_no_trouble_of_this_one() {
    let world = world();
    world.run(&["run", "--restart", "half"]).expect_code(0);
    let notes = world.root.join("var/lib/moodle-backup/closed");
    // Seen by name, and gone when it is read.
    std::os::unix::fs::symlink("nowhere", notes.join("a-gone.json")).unwrap();
    let output = world.run(&["recover"]).expect_code(0);
    assert!(output.stderr.contains("pocket is kept closed on purpose"), "{}", output.stderr);
    assert!(world.run(&["status"]).stdout.contains("HELD CLOSED"));
    // One that cannot be read: this site is looked after all the same.
    fs::write(notes.join("b-broken.json"), "{").unwrap();
    let output = world.run(&["run"]).expect_code(0);
    assert!(output.stderr.contains("held closed since"), "{}", output.stderr);
    world.run(&["resume"]).expect_code(0);
    assert!(world.site.is_open());
    let output = world.run(&["recover"]).expect_code(1);
    assert!(output.stderr.contains("b-broken.json") && output.stderr.contains("next: "), "{}", output.stderr);
}
