//! Man pages and completions: what the program's own tables say stands in them, and their examples work.
//!
//! A page is a text of `man/text/`, with places in it for what comes from the tables; `UPDATE_GOLDEN=1` writes `man/` and
//! `completions/` anew.

mod support;

use clap::{Arg, Command, CommandFactory};
use clap_complete::{Shell, generate};
use moodle_backup::cli::Cli;
use moodle_backup::settings::reference::{Absent, SECTIONS};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use support::{Engine, PocketSite, World, succeed};

/// The date in the pages' feet: that of the last change that somebody should read.
const DATE: &str = "2026-11-26";

/// Commands that have a page of their own; the others are in the main one.
const OWN_PAGES: [&str; 6] = ["setup", "run", "restore", "verify", "export", "import-settings"];

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Holds a file against what it is to be; with `UPDATE_GOLDEN` set, writes it.
fn same(file: &Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(file, text).unwrap();
    }
    let present = fs::read_to_string(file).unwrap_or_default();
    assert!(present == text, "{} differs; UPDATE_GOLDEN=1 cargo test --test man writes it anew", file.display());
}

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
        for arg in command.get_arguments().filter(|arg| !arg.is_global_set() && arg.get_id() != "help") {
            let _ = writeln!(text, ".TP\n{}\n{}", named(arg), help(arg));
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
        same(&project().join("man").join(text.file_name().unwrap()), &page(&text));
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

/// The lines of a page that are commands of ours, as one would type them.
fn examples(page: &str) -> Vec<String> {
    let mut inside = false;
    let mut lines: Vec<String> = Vec::new();
    for line in page.lines() {
        match line {
            ".EX" => inside = true,
            ".EE" => inside = false,
            _ if inside => {
                let line = line.replace("\\-", "-").replace("\\e", "\\").replace("\\(dq", "\"");
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

/// Commands whose argument is a backup.
const WITH_NAMES: [&str; 6] = ["show", "restore", "export", "verify", "pin", "unpin"];

fn completion(shell: Shell) -> String {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "moodle-backup", &mut script);
    let script = String::from_utf8(script).unwrap();
    let names = WITH_NAMES.join("|");
    match shell {
        Shell::Bash => {
            let script = script.rsplit_once("if [[ \"${BASH_VERSINFO").unwrap().0.trim_end().to_owned();
            // A "-" in the name of the program is taken apart in one half of the script only.
            let script = script.replace("moodle__subcmd__backup", "moodle__backup");
            script
                + &format!(
                    r#"

# The names of the backups, which the program tells.
_moodle_backup_with_names() {{
    _moodle__backup "$@"
    local word
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case $word in
        {names})
            if [[ ${{COMP_WORDS[COMP_CWORD]}} != -* ]]; then
                mapfile -t -O "${{#COMPREPLY[@]}}" COMPREPLY < <(
                    compgen -W "$(moodle-backup backup-names 2>/dev/null)" -- "${{COMP_WORDS[COMP_CWORD]}}"
                )
            fi
            return
            ;;
        esac
    done
}}

complete -F _moodle_backup_with_names -o bashdefault -o default moodle-backup
"#
                )
        }
        Shell::Zsh => {
            let mut within = false;
            let mut completed = |line: &str| {
                within |= line.starts_with("':backup -- ") || line.starts_with("'::backup -- ");
                let ends = within && line.contains(":_default'");
                within &= !ends;
                if ends { line.replace(":_default'", ":_moodle-backup_names'") } else { line.to_owned() }
            };
            let lines: Vec<String> = script.lines().map(&mut completed).collect();
            let function = "# The names of the backups, which the program tells.\n_moodle-backup_names() {\n    local -a names\n    \
                            names=(${(f)\"$(moodle-backup backup-names 2>/dev/null)\"})\n    compadd -a names\n}\n\n";
            let text = lines.join("\n") + "\n";
            text.replacen("if [ \"$funcstack[1]\"", &format!("{function}if [ \"$funcstack[1]\""), 1)
        }
        _ => {
            let names = WITH_NAMES.join(" ");
            script
                + &format!(
                    "# The names of the backups, which the program tells.\ncomplete -c moodle-backup -n \"__fish_seen_subcommand_from {names}\" -a \
                     \"(moodle-backup backup-names 2>/dev/null)\"\n"
                )
        }
    }
}

const COMPLETIONS: [(Shell, &str); 3] =
    [(Shell::Bash, "moodle-backup.bash"), (Shell::Zsh, "_moodle-backup"), (Shell::Fish, "moodle-backup.fish")];

#[test]
fn completions_are_those_of_the_program() {
    for (shell, name) in COMPLETIONS {
        let text = completion(shell);
        assert!(text.contains("backup-names 2>/dev/null"), "{name}");
        assert_eq!(
            text.matches(":_moodle-backup_names'").count(),
            if shell == Shell::Zsh { WITH_NAMES.len() } else { 0 }
        );
        same(&project().join("completions").join(name), &text);
    }
}

#[test]
fn bash_completes_commands_options_and_backups() {
    let world = World::builder(PocketSite::builder().engine(Engine::MariaDb).build()).without_web().build();
    world.run(&["run"]).expect_code(0);
    let names = world.backups();
    let place = world.scratch().join("bin");
    fs::create_dir(&place).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_moodle-backup"), place.join("moodle-backup")).unwrap();
    let complete = |words: &[&str]| -> Vec<String> {
        let script = format!(
            "PATH={}:$PATH; . {}; COMP_WORDS=({}); COMP_CWORD={}; _moodle_backup_with_names moodle-backup \"{}\" \"{}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            place.display(),
            project().join("completions/moodle-backup.bash").display(),
            words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
            words.len() - 1,
            words[words.len() - 1],
            words[words.len() - 2],
        );
        let mut command = std::process::Command::new("bash");
        command.args(["-c", &script]).env("MOODLE_BACKUP_ROOT", &world.root);
        String::from_utf8(succeed(&mut command)).unwrap().lines().map(str::to_owned).collect()
    };
    assert!(complete(&["moodle-backup", "resto"]).contains(&"restore".to_owned()));
    assert!(complete(&["moodle-backup", "run", "--win"]).contains(&"--window".to_owned()));
    let found = complete(&["moodle-backup", "show", ""]);
    assert!(found.contains(&names[0]) && found.contains(&"latest".to_owned()), "{found:?}");
    assert_eq!(complete(&["moodle-backup", "restore", &names[0][..12]]), [names[0].clone()]);
}
