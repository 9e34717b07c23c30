//! Man pages: what the program's own tables say stands in them, and their examples work.
//!
//! A page is a text of `man/text/`, with places in it for what comes from the tables; `UPDATE_GOLDEN=1` writes `man/` anew.

mod common;
mod support;

use clap::{Arg, Command, CommandFactory};
use common::{project, stored};
use moodle_backup::cli::Cli;
use moodle_backup::settings::reference::{Absent, SECTIONS};
use moodle_backup::store::layout;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use support::{Engine, PocketSite, World};

/// The date in the pages' feet: that of the last change that somebody should read.
const DATE: &str = "2026-11-27";

/// Commands that have a page of their own; the others are in the main one.
const OWN_PAGES: [&str; 7] = ["setup", "run", "find", "restore", "verify", "export", "import-settings"];

fn cli() -> Command {
    let mut cli = Cli::command();
    cli.build();
    cli
}

/// A text as roff has it: no line is a command, no dash a hyphen.
fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    let line = |line: &str| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() };
    escaped.lines().map(|it| line(it.trim_end())).collect::<Vec<_>>().join("\n")
}

/// What stands in examples is typed or copied: quotes stay as they are, too.
fn literal(text: &str) -> String {
    roff(text).replace('\'', "\\(aq")
}

/// An option's names, with its value.
fn named(arg: &Arg) -> String {
    let value = arg.get_value_names().filter(|_| arg.get_action().takes_values()).map(|names| names[0].to_string());
    if arg.is_positional() {
        let name = value.unwrap_or_default();
        return format!("\\fI{}\\fR", roff(&name));
    }
    let short = arg.get_short().map(|short| format!("\\fB\\-{short}\\fR"));
    let long = arg.get_long().map(|long| format!("\\fB\\-\\-{}\\fR", roff(long)));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    let value = value.map_or(String::new(), |value| format!(" \\fI{}\\fR", roff(&value)));
    names.join(", ") + &value
}

/// What an option does.
fn help(arg: &Arg) -> String {
    let help = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = help.replace('\n', " ");
    let values: Vec<String> = arg.get_possible_values().iter().map(|it| it.get_name().to_owned()).collect();
    let is_flag = !arg.get_action().takes_values();
    if !values.is_empty() && !is_flag && !arg.is_hide_possible_values_set() {
        let _ = write!(text, " One of: {}.", values.join(", "));
    }
    let default: Vec<String> = arg.get_default_values().iter().map(|it| it.to_string_lossy().into_owned()).collect();
    if !default.is_empty() && !is_flag && !text.contains("[default") {
        let _ = write!(text, " [default: {}]", default.join(", "));
    }
    roff(&text)
}

/// Options and arguments of a command, under their headings, less those that every command has.
fn options(command: &Command, heading: &str) -> String {
    let own = |arg: &&Arg| !arg.is_hide_set() && !arg.is_global_set() && arg.get_id() != "help";
    let mut headings: Vec<Option<&str>> = Vec::new();
    for arg in command.get_arguments().filter(own) {
        if !headings.contains(&arg.get_help_heading()) {
            headings.push(arg.get_help_heading());
        }
    }
    let mut text = String::new();
    for part in headings {
        if let Some(title) = part {
            let _ = writeln!(text, ".SS {}", roff(title));
        } else if !heading.is_empty() {
            let _ = writeln!(text, ".SS {heading}");
        }
        for arg in command.get_arguments().filter(own).filter(|arg| arg.get_help_heading() == part) {
            let _ = writeln!(text, ".TP\n{}\n{}", named(arg), help(arg));
        }
    }
    text
}

fn synopsis(name: &str, command: &Command) -> String {
    let own: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() && !arg.is_global_set() && arg.get_id() != "help")
        .collect();
    let mut text = format!(".B {}\n", roff(&name.replacen("moodle-backup-", "moodle-backup ", 1)));
    if own.iter().any(|arg| !arg.is_positional()) {
        text += ".RI [ option ...]\n";
    }
    for arg in own.iter().filter(|arg| arg.is_positional()) {
        let name = roff(&arg.get_value_names().map(|names| names[0].to_string()).unwrap_or_default());
        text += &if arg.is_required_set() { format!(".I {name}\n") } else { format!(".RI [ {name} ]\n") };
    }
    text
}

/// The commands that have no page of their own, each with its options; of the others, where they are.
fn commands() -> String {
    let cli = cli();
    let mut text = String::new();
    for command in cli.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help") {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default().replace('\n', " ");
        let name = command.get_name();
        let _ = writeln!(text, ".SS {}", roff(name));
        let _ = writeln!(text, "{}.", roff(&about));
        if OWN_PAGES.contains(&name) {
            let _ = writeln!(text, "See\n.BR moodle\\-backup\\-{} (8).", roff(name));
            continue;
        }
        let own = |arg: &&Arg| !arg.is_hide_set() && !arg.is_global_set() && arg.get_id() != "help";
        for arg in command.get_arguments().filter(own) {
            let _ = writeln!(text, ".TP\n{}\n{}", named(arg), help(arg));
        }
        text += &further(command);
    }
    text
}

/// What stands at the end of a command's help: examples are indented there.
fn further(command: &Command) -> String {
    let after = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let mut text = String::new();
    for paragraph in after.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        text += ".PP\n";
        for line in paragraph.lines() {
            let _ = match line.strip_prefix("  ") {
                Some(example) => writeln!(text, ".PP\n.EX\n{}\n.EE", literal(example)),
                None => writeln!(text, "{}", roff(line)),
            };
        }
    }
    text
}

fn global_options() -> String {
    let cli = cli();
    let global = cli.get_arguments().filter(|arg| arg.is_global_set());
    let options: Vec<String> = global.map(|arg| format!(".TP\n{}\n{}\n", named(arg), help(arg))).collect();
    options.concat()
}

/// All keys of the settings, from the table that the program reads them by.
fn keys() -> String {
    let mut text = String::new();
    for section in SECTIONS {
        let brackets = if section.repeated { format!("[[{}]]", section.name) } else { format!("[{}]", section.name) };
        let _ = writeln!(text, ".SS {}\n{}", roff(&brackets), roff(section.text));
        for key in section.keys {
            let shown = match key.absent {
                Absent::Required(example) => format!("Must be set. Example: {example}"),
                Absent::Default(value) => format!("Default: {value}"),
                Absent::Unset(example) => format!("Example: {example}"),
            };
            let allowed = roff(&format!("It is {}. {shown}", key.kind.allowed()));
            let _ = writeln!(text, ".TP\n.B {}\n{}\n.br\n{allowed}", roff(key.name), roff(key.text));
        }
    }
    text
}

/// A page: its text, with what comes from the tables in its places.
fn page(file: &Path) -> String {
    let name = file.file_name().unwrap().to_str().unwrap();
    let (title, section) = name.rsplit_once('.').unwrap();
    let cli = cli();
    let command = title.strip_prefix("moodle-backup-").and_then(|name| cli.find_subcommand(name));
    let head = format!(
        ".\\\" Made from man/text/{name} and the program's own tables: UPDATE_GOLDEN=1 cargo test --test man\n.TH {} {section} {DATE} moodle\\-backup \"Moodle backup\"\n",
        roff(&title.to_uppercase())
    );
    let mut text = fs::read_to_string(file).unwrap();
    if let Some(command) = command {
        text = text.replace("@SYNOPSIS@\n", &synopsis(title, command)).replace("@OPTIONS@\n", &options(command, ""));
    }
    text = text
        .replace("@COMMANDS@\n", &commands())
        .replace("@GLOBAL@\n", &global_options())
        .replace("@KEYS@\n", &keys())
        .replace("@EVERY@\n", "The options for every command are in\n.BR moodle\\-backup (8).\n");
    let left = ["SYNOPSIS", "OPTIONS", "COMMANDS", "GLOBAL", "KEYS", "EVERY"]
        .iter()
        .find(|it| text.contains(&format!("@{it}@")));
    assert_eq!(left, None, "{name}: a place that nothing was put into");
    head + &text
}

fn texts() -> Vec<PathBuf> {
    let mut texts: Vec<PathBuf> =
        fs::read_dir(project().join("man/text")).unwrap().map(|entry| entry.unwrap().path()).collect();
    texts.sort();
    texts
}

#[test]
fn pages_say_what_the_program_says() {
    for text in texts() {
        stored(&project().join("man").join(text.file_name().unwrap()), &page(&text));
    }
    for command in OWN_PAGES {
        assert!(project().join(format!("man/moodle-backup-{command}.8")).exists(), "{command}");
    }
}

#[test]
fn pages_that_are_named_are_there() {
    let mut named = String::new();
    for folder in ["systemd", "man", "src/setup/disks"] {
        for entry in fs::read_dir(project().join(folder)).unwrap() {
            named += &fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        }
    }
    let links = named.split("man:").skip(1).map(|rest| rest.split_whitespace().next().unwrap().to_owned());
    let references = named.split(".BR moodle").skip(1).filter_map(|rest| {
        let line = rest.lines().next()?.replace("\\-", "-");
        let (name, section) = line.split_once(" (")?;
        Some(format!("moodle{name}({}", &section[..2]))
    });
    let mut count = 0;
    for link in links.chain(references) {
        let link: String = link.chars().take_while(|c| c.is_alphanumeric() || "-.()".contains(*c)).collect();
        let file = link.replace('(', ".").replace(')', "");
        assert!(project().join("man").join(&file).exists(), "there is no page {link}");
        count += 1;
    }
    assert!(count > 20, "{count}");
}

/// A line of a page as it is read.
fn plain(line: &str) -> String {
    line.replace("\\-", "-").replace("\\e", "\\").replace("\\(dq", "\"").replace("\\(aq", "'")
}

/// Each page by its name, as it is stored.
fn pages() -> Vec<(String, String)> {
    let name = |text: &PathBuf| text.file_name().unwrap().to_str().unwrap().to_owned();
    texts().iter().map(|text| (name(text), page(text))).collect()
}

/// The lines of a section.
fn section<'a>(page: &'a str, title: &str) -> &'a str {
    let rest = page.split_once(&format!(".SH {title}\n")).map_or("", |(_, rest)| rest);
    rest.split(".SH ").next().unwrap()
}

/// The numbers of one digit in a text.
fn codes(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '-');
    words.filter(|word| word.len() == 1 && word.parse::<u8>().is_ok()).map(str::to_owned).collect()
}

#[test]
fn exit_codes_are_those_of_the_help() {
    let cli = cli();
    for (name, page) in pages().iter().filter(|(name, _)| name.ends_with(".8")) {
        let command = match name.trim_end_matches(".8").strip_prefix("moodle-backup-") {
            Some(name) => cli.find_subcommand(name).unwrap(),
            None => &cli,
        };
        let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        let told = help.split_once("Exit codes:").map_or("", |(_, codes)| codes);
        assert_eq!(codes(section(page, "EXIT STATUS")), codes(told), "{name}");
        assert!(!codes(told).is_empty(), "{name}");
    }
}

/// Names of the variables in a text that hooks are told.
fn variables(text: &str) -> BTreeSet<String> {
    let name = |rest: &str| rest.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect::<String>();
    text.split("MOODLE_BACKUP_").skip(1).map(name).filter(|name| !name.is_empty()).collect()
}

#[test]
fn hooks_are_told_what_their_page_says() {
    let page = page(&project().join("man/text/moodle-backup-hooks.7"));
    let source = fs::read_to_string(project().join("src/hooks.rs")).unwrap();
    assert_eq!(variables(section(&page, "ENVIRONMENT")), variables(&source));
}

#[test]
fn what_lies_on_the_disk_has_its_place_on_its_page() {
    let page = plain(&page(&project().join("man/text/moodle-backup-format.5")));
    for name in [
        layout::SITE_FILE,
        layout::LATEST,
        layout::POOL,
        layout::DAMAGED,
        layout::NOTES,
        layout::INCOMING,
        layout::PARTIAL,
        layout::REMOVING,
        layout::MANIFEST,
        layout::SUMS,
        layout::RESTORE,
        layout::RUN_LOG,
        layout::POOL_LIST,
        layout::DATABASE,
        layout::EXTRA_DATABASES,
        layout::CODE,
        layout::CODE_CHANGES,
        layout::DIRECTORIES,
        layout::MOODLEDATA,
        layout::INDEX,
    ] {
        assert!(page.contains(name), "{name} is not on the page");
    }
}

/// A reader copies examples: a dash must not have become a hyphen there, nor a quote a curved one.
#[test]
fn examples_can_be_copied() {
    for (name, page) in pages() {
        for block in page.split(".EX\n").skip(1).chain(page.split(".nf\n").skip(1)) {
            let block = block.split("\n.EE").next().unwrap().split("\n.fi").next().unwrap();
            for line in block.lines() {
                assert!(!line.replace("\\-", "").contains(['-', '\'', '`', '~', '^']), "{name}: {line}");
            }
        }
    }
}

/// The lines of a page that are commands of ours, as one would type them.
fn examples(page: &str) -> Vec<String> {
    let mut inside = false;
    let mut lines: Vec<String> = Vec::new();
    for line in page.lines() {
        match line {
            ".EX" => inside = true,
            ".EE" => inside = false,
            _ if inside => {
                let line = plain(line);
                match lines.last_mut().filter(|last| last.ends_with('\\')) {
                    Some(last) => {
                        last.pop();
                        last.push_str(line.trim());
                    }
                    None => lines.push(line.trim().to_owned()),
                }
            }
            _ => {}
        }
    }
    lines.retain(|line| line.starts_with("moodle-backup "));
    lines
}

/// The words of a line, up to what a shell would do with its output.
fn words(line: &str) -> Vec<String> {
    let line = line.split(['>', '|', '#']).next().unwrap();
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.trim().chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().unwrap().push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn examples_are_commands() {
    let mut count = 0;
    for text in texts() {
        for line in examples(&page(&text)) {
            let parsed = Cli::command().try_get_matches_from(words(&line));
            assert!(parsed.is_ok(), "{}: {line}\n{}", text.display(), parsed.unwrap_err());
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
}

/// Those that only look, and need nothing that is not there, are run.
#[test]
fn examples_that_only_look_work() {
    let world = World::builder(PocketSite::builder().engine(Engine::MariaDb).build()).without_web().build();
    world.run(&["run"]).expect_code(0);
    let looks =
        ["check", "list", "show latest", "status", "verify", "restore --plan", "run --dry-run", "prune --dry-run"];
    let mut ran = Vec::new();
    for line in texts().iter().flat_map(|text| examples(&page(text))) {
        let words = words(&line);
        let args: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        let typed = args.join(" ");
        if looks.iter().any(|look| typed.starts_with(look)) && !typed.contains('/') && !typed.contains("2026") {
            world.run(&args).expect_code(0);
            ran.push(typed);
        }
    }
    assert!(ran.len() >= 8, "{ran:?}");
}
