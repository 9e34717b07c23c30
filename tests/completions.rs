//! Completions for bash, zsh and fish: made from the program's own table, with the names of the backups, which the program
//! tells; each shell is asked what it would offer. `UPDATE_GOLDEN=1` writes `completions/` anew.

mod common;
mod support;

use clap::{Arg, Command, CommandFactory};
use clap_complete::{Shell, generate};
use common::{project, stored};
use moodle_backup::cli::Cli;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use support::{Scratch, succeed, text};

const COMPLETIONS: [(Shell, &str); 3] =
    [(Shell::Bash, "moodle-backup.bash"), (Shell::Zsh, "_moodle-backup"), (Shell::Fish, "moodle-backup.fish")];

/// How the argument is called that is a backup.
const BACKUP: &str = "backup";

const BASH: &str = r#"

# The names of the backups, which the program tells.
_moodle_backup_with_names() {
    _moodle__backup "$@"
    local at named= settings=()
    [[ ${COMP_WORDS[COMP_CWORD]} != -* ]] || return 0
    # After these comes something else.
    case ${COMP_WORDS[COMP_CWORD - 1]} in
    = | @VALUED@) return 0 ;;
    esac
    for ((at = 1; at < COMP_CWORD; at++)); do
        case ${COMP_WORDS[at]} in
        --settings)
            [[ ${COMP_WORDS[at + 1]} != = ]] || ((at++))
            settings=(--settings "${COMP_WORDS[at + 1]}")
            ;;
        @NAMES@) named=1 ;;
        esac
    done
    [[ $named ]] || return 0
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(
        compgen -W "$(moodle-backup "${settings[@]}" backup-names 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"
    )
}

complete -F _moodle_backup_with_names -o bashdefault -o default moodle-backup
"#;

const ZSH: &str = r#"# The names of the backups, which the program tells.
_moodle-backup_names() {
    local -a line names settings
    # Of the words that are completed, what stood before the command has been taken away.
    line=(${(z)LBUFFER/--settings=/--settings })
    (( ${line[(I)--settings]} )) && settings=(--settings ${(Q)line[${line[(I)--settings]}+1]})
    names=(${(f)"$(moodle-backup $settings backup-names 2>/dev/null)"})
    compadd -V backups -a names
}

"#;

const FISH: &str = r#"# The names of the backups, which the program tells.
function __fish_moodle_backup_names
    set -l words (commandline -opc | string replace -r -- '^--settings=(.*)' '--settings\n$1' | string split '\n')
    set -l settings
    if set -l at (contains -i -- --settings $words)
        set settings --settings $words[(math $at + 1)]
    end
    moodle-backup $settings backup-names 2>/dev/null
end
"#;

fn is_shown(arg: &&Arg) -> bool {
    !arg.is_hide_set()
}

/// A command without what is hidden, and without its own commands.
fn rebuilt(command: &Command) -> Command {
    let shown = command.get_arguments().filter(is_shown).cloned();
    Command::new(&*command.get_name().to_owned().leak())
        .about(command.get_about().cloned().unwrap_or_default())
        .args(shown)
}

/// The program's table, without what is hidden: scripts would offer it.
fn shown() -> Command {
    let cli = Cli::command();
    let commands = cli.get_subcommands().filter(|command| !command.is_hide_set());
    let commands = commands.map(|command| match command.get_arguments().all(|arg| is_shown(&arg)) {
        true => command.clone(),
        false => rebuilt(command),
    });
    rebuilt(&cli).version(env!("CARGO_PKG_VERSION")).disable_help_subcommand(true).subcommands(commands)
}

/// Commands whose first argument is a backup.
fn with_names() -> Vec<String> {
    let takes_one = |command: &&Command| command.get_positionals().any(|arg| arg.get_id() == BACKUP);
    shown().get_subcommands().filter(takes_one).map(|command| command.get_name().to_owned()).collect()
}

/// Options, of whatever command, that a value follows.
fn valued() -> BTreeSet<String> {
    let cli = shown();
    let all = cli.get_subcommands().chain([&cli]).flat_map(|command| command.get_arguments());
    all.filter(|arg| arg.get_action().takes_values()).filter_map(|arg| Some(format!("--{}", arg.get_long()?))).collect()
}

fn completion(shell: Shell) -> String {
    let mut script = Vec::new();
    generate(shell, &mut shown(), "moodle-backup", &mut script);
    let script = String::from_utf8(script).unwrap();
    match shell {
        Shell::Bash => bash(&script),
        Shell::Zsh => zsh(&script),
        _ => fish(&script),
    }
}

fn bash(script: &str) -> String {
    let script = script.rsplit_once("if [[ \"${BASH_VERSINFO").unwrap().0.trim_end();
    // A "-" in the name of the program is taken apart in one half of the script only.
    let script = script.replace("moodle__subcmd__backup", "moodle__backup");
    let valued: Vec<String> = valued().into_iter().collect();
    script + &BASH.replace("@NAMES@", &with_names().join(" | ")).replace("@VALUED@", &valued.join(" | "))
}

fn zsh(script: &str) -> String {
    let mut within = false;
    let mut completed = |line: &str| {
        within |= line.starts_with("':backup -- ") || line.starts_with("'::backup -- ");
        let ends = within && line.contains(":_default'");
        within &= !ends;
        if ends { line.replace(":_default'", ":_moodle-backup_names'") } else { line.to_owned() }
    };
    let lines: Vec<String> = script.lines().map(&mut completed).collect();
    let text = lines.join("\n") + "\n";
    text.replacen("if [ \"$funcstack[1]\"", &format!("{ZSH}if [ \"$funcstack[1]\""), 1)
}

fn fish(script: &str) -> String {
    // An export has a file as its second argument.
    let (files, no_files): (Vec<_>, Vec<_>) = with_names().into_iter().partition(|name| name == "export");
    let line = |names: &[String], options: &str| {
        let seen = names.join(" ");
        format!(
            "complete -c moodle-backup -n \"__fish_seen_subcommand_from {seen}\" {options}-a \"(__fish_moodle_backup_names)\"\n"
        )
    };
    script.to_owned() + FISH + &line(&no_files, "-f ") + &line(&files, "")
}

/// A target with folders that have the names of backups, and two settings files; the program is on the PATH.
struct Shells {
    place: Scratch,
}

const OLD: &str = "2026-11-23T010003Z";
const NEW: &str = "2026-11-24T010003Z";
const OTHER: &str = "2026-10-01T010003Z";

impl Shells {
    fn new() -> Self {
        let place = Scratch::new();
        fs::create_dir_all(place.join("etc/moodle-backup")).unwrap();
        for backup in [format!("one/{OLD}"), format!("one/{NEW}"), format!("two/{OTHER}"), "one/filedir".into()] {
            fs::create_dir_all(place.join("target").join(backup)).unwrap();
        }
        fs::create_dir(place.join("bin")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_moodle-backup"), place.join("bin/moodle-backup")).unwrap();
        let shells = Shells { place };
        for (site, file) in [("one", shells.place.join("etc/moodle-backup/settings.toml")), ("two", shells.second())] {
            let target = shells.place.join("target");
            let settings = format!("[site]\nname = {site:?}\nroot = \"/nowhere\"\n[target]\npath = {target:?}\n");
            fs::write(file, settings).unwrap();
        }
        shells
    }

    fn second(&self) -> PathBuf {
        self.place.join("two.toml")
    }

    /// What a shell prints.
    fn ask(&self, shell: &[&str], script: &str, words: &[&str]) -> Vec<String> {
        let path = format!("{}:/usr/bin:/bin", text(&self.place.join("bin")));
        let mut command = std::process::Command::new(shell[0]);
        command.args(&shell[1..]).args(["-c", script]).args(words).current_dir(project().join("completions"));
        command.env_clear().env("PATH", path).env("MOODLE_BACKUP_ROOT", text(self.place.path()));
        command.env("HOME", text(self.place.path()));
        String::from_utf8(succeed(&mut command)).unwrap().lines().map(str::to_owned).collect()
    }

    /// By the function that bash itself would call.
    fn bash(&self, words: &[&str]) -> Vec<String> {
        let script = r#". ./moodle-backup.bash
            COMP_WORDS=(moodle-backup "$@") COMP_CWORD=$#
            function=$(complete -p moodle-backup | sed 's/.* -F \([^ ]*\).*/\1/')
            $function moodle-backup "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\n' "${COMPREPLY[@]}""#;
        self.ask(&["bash", "--norc"], script, &[&["bash"], words].concat())
    }

    fn fish(&self, line: &str) -> Vec<String> {
        let script = format!("source moodle-backup.fish; complete -C 'moodle-backup {line}'");
        let offered = self.ask(&["fish", "--no-config"], &script, &[]);
        offered.iter().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    }

    /// zsh completes on a terminal only: what its function for names would offer is printed in place of that.
    fn zsh(&self, line: &str) -> Vec<String> {
        let script = format!(
            "compdef() {{ }}; compadd() {{ local list=$@[-1]; print -rl -- ${{(P)list}} }}
            . ./_moodle-backup; LBUFFER='moodle-backup {line}'; _moodle-backup_names"
        );
        self.ask(&["zsh", "-f"], &script, &[])
    }
}

#[test]
fn completions_are_those_of_the_program() {
    assert!(with_names().len() >= 6, "{:?}", with_names());
    for (shell, name) in COMPLETIONS {
        let script = completion(shell);
        let places = script.matches(":_moodle-backup_names'").count();
        assert_eq!(places, if shell == Shell::Zsh { with_names().len() } else { 0 });
        stored(&project().join("completions").join(name), &script);
    }
}

#[test]
fn what_is_hidden_is_not_offered() {
    let cli = Cli::command();
    let commands = cli.get_subcommands().filter(|command| command.is_hide_set()).map(|it| it.get_name().to_owned());
    let commands: Vec<String> = commands.collect();
    assert!(commands.contains(&"guard".to_owned()), "{commands:?}");
    let shells = Shells::new();
    for offered in [shells.bash(&[""]), shells.fish("")] {
        assert!(offered.contains(&"restore".to_owned()), "{offered:?}");
        assert!(!offered.iter().any(|it| commands.contains(it)), "{offered:?}");
    }
    assert!(!completion(Shell::Zsh).contains("'guard:"));
    assert!(!shells.bash(&["run", "--"]).contains(&"--log".to_owned()));
}

#[test]
fn bash_completes_commands_options_and_backups() {
    let shells = Shells::new();
    assert_eq!(shells.bash(&["resto"]), ["restore"]);
    assert_eq!(shells.bash(&["run", "--win"]), ["--window"]);
    assert_eq!(shells.bash(&["show", "2"]), [NEW, OLD]);
    assert_eq!(shells.bash(&["restore", "--plan", "lat"]), ["latest"]);
    assert!(!shells.bash(&["restore", "--to", ""]).contains(&NEW.to_owned()), "a folder is wanted");
    assert!(!shells.bash(&["run", ""]).contains(&NEW.to_owned()));
    let second = shells.second();
    assert_eq!(shells.bash(&["--settings", text(&second), "show", "2"]), [OTHER]);
    assert_eq!(shells.bash(&["--settings", "=", text(&second), "show", "2"]), [OTHER]);
}

#[test]
fn fish_completes_commands_options_and_backups() {
    let shells = Shells::new();
    assert_eq!(shells.fish("resto"), ["restore"]);
    assert_eq!(shells.fish("run --win"), ["--window"]);
    let mut offered = shells.fish("show ");
    offered.sort();
    assert_eq!(offered, [OLD, NEW, "latest"], "and no files");
    assert!(!shells.fish("run ").contains(&NEW.to_owned()));
    assert!(shells.fish("export latest _mo").contains(&"_moodle-backup".to_owned()), "files");
    for settings in ["--settings ", "--settings="] {
        assert_eq!(shells.fish(&format!("{settings}{} show 2", text(&shells.second()))), [OTHER]);
    }
}

#[test]
fn zsh_is_offered_the_backups() {
    let shells = Shells::new();
    assert_eq!(shells.zsh("show "), ["latest", NEW, OLD]);
    for settings in ["--settings ", "--settings="] {
        assert_eq!(shells.zsh(&format!("{settings}{} show 2", text(&shells.second()))), ["latest", OTHER]);
    }
}

/// A line of an error would be put into what somebody types.
#[test]
fn where_there_is_nothing_to_offer_nothing_is_said() {
    let shells = Shells::new();
    let ask = |settings: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_moodle-backup"));
        command.args(["--settings", settings, "backup-names"]).output().unwrap()
    };
    fs::remove_dir_all(shells.place.join("target/two")).unwrap();
    fs::write(shells.place.join("wrong.toml"), "[site").unwrap();
    for file in ["/nowhere/settings.toml", text(&shells.second()), text(&shells.place.join("wrong.toml"))] {
        let output = ask(file);
        assert!(output.status.success(), "{file}");
        assert_eq!((output.stdout.len(), output.stderr.len()), (0, 0), "{file}: {output:?}");
    }
}
