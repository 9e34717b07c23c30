//! The command line as an administrator meets it: help, and what is refused.

mod common;

use clap::{CommandFactory, Parser};
use common::golden;
use moodle_backup::cli::{Cli, Command, Restart, Window};
use std::time::Duration;

fn help(command: Option<&str>) -> String {
    let mut cli = Cli::command();
    cli.build();
    let help = match command {
        Some(name) => cli.find_subcommand_mut(name).unwrap().render_long_help(),
        None => cli.render_long_help(),
    };
    help.to_string()
}

#[test]
fn help_reads_as_agreed() {
    golden("help/moodle-backup.txt", &help(None));
    for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        golden(&format!("help/{}.txt", command.get_name()), &help(Some(command.get_name())));
    }
}

#[test]
fn help_fits_a_terminal_of_80_columns() {
    let commands = Cli::command();
    let names = commands.get_subcommands().map(|command| Some(command.get_name()));
    for name in names.chain([None]) {
        for line in help(name).lines() {
            assert!(line.chars().count() <= 80, "{name:?}: {line}");
            assert!(line.is_ascii(), "{name:?}: {line}");
        }
    }
}

fn parse(line: &str) -> Result<Cli, String> {
    let words = std::iter::once("moodle-backup").chain(line.split_whitespace());
    Cli::try_parse_from(words).map_err(|error| error.to_string())
}

#[test]
fn options_for_every_command_may_stand_after_it() {
    let cli = parse("status --json --max-age 26h --settings /tmp/two.toml").unwrap();
    assert!(cli.global.json);
    assert_eq!(cli.global.settings.as_deref(), Some("/tmp/two.toml".as_ref()));
    assert!(matches!(cli.command, Command::Status(status) if status.max_age == Some(Duration::from_secs(93_600))));
}

#[test]
fn a_run_restarts_in_full_and_takes_the_window_of_the_settings() {
    let Command::Run(run) = parse("run").unwrap().command else { panic!("not a run") };
    assert_eq!((run.restart, run.window, run.foreground, run.dry_run), (Restart::Full, None, false, false));
    let Command::Run(run) = parse("run --restart none --window full").unwrap().command else { panic!("not a run") };
    assert_eq!((run.restart, run.window), (Restart::None, Some(Window::Full)));
}

#[test]
fn what_is_mistyped_is_named() {
    for (line, part) in [
        ("run --restart fully", "[possible values: full, half, none]"),
        ("status --max-age soon", "\"soon\" is no duration: write whole seconds, or a text such as \"30s\""),
        ("show", "<BACKUP>"),
        ("lst", "a similar subcommand exists: 'list'"),
        ("list -q -v", "cannot be used with"),
    ] {
        let message = parse(line).unwrap_err();
        assert!(message.contains(part), "{line}: {message}");
    }
}
