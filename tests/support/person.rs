//! A person at a terminal who sets up a machine on which nothing is set up yet.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::database::Engine;
use super::hooks::HOOK_USER;
use super::site::PocketSite;
use super::terminal::Terminal;
use super::world::World;

/// A machine with a site that is found by itself, and settings that nobody has filled in yet.
pub fn newcomer(engine: Engine) -> World {
    let world = World::builder(PocketSite::builder().engine(engine).build()).without_web().build();
    let sample = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/settings.toml")).unwrap();
    // Where the package is installed there is a user for hooks; here is this one.
    let sample = sample.replace("\n#user = \"moodle-backup\"\n", &format!("\nuser = \"{HOOK_USER}\"\n"));
    fs::write(world.settings_file(), sample).unwrap();
    fs::create_dir_all(world.root.join("var/www")).unwrap();
    std::os::unix::fs::symlink(&world.site.root, world.root.join("var/www/moodle")).unwrap();
    world
}

/// How long a question may be waited for.
const LIMIT: Duration = Duration::from_secs(60);

/// A person at the keyboard.
pub struct Person {
    pub terminal: Terminal,
    read: usize,
}

impl Person {
    /// At a call of the program.
    pub fn at(world: &World, args: &[&str]) -> Person {
        Person::of(world.command(args))
    }

    /// At a program.
    pub fn of(command: Command) -> Person {
        Person { terminal: Terminal::start(command), read: 0 }
    }

    /// Waits for a question behind what was read already, and types.
    #[track_caller]
    pub fn answer(&mut self, question: &str, keys: &str) {
        self.wait_for(question);
        self.wait_for("> ");
        self.terminal.type_keys(keys);
    }

    /// Waits for words behind what was read already.
    #[track_caller]
    pub fn wait_for(&mut self, words: &str) {
        let flat = |text: &str| text.replace("\r\n", " ");
        let end = Instant::now() + LIMIT;
        loop {
            // Lines are wrapped wherever they end.
            let text = flat(&self.terminal.text());
            if let Some(at) = text[self.read..].find(words) {
                self.read += at + words.len();
                return;
            }
            assert!(Instant::now() < end, "{words:?} was not shown: {}", &text[self.read..]);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the list of places for the backups, and chooses the last that has these words.
    #[track_caller]
    pub fn choose(&mut self, words: &str) {
        self.wait_for("Where are the backups to go?");
        self.wait_for("  a plain folder");
        let number = number_of(self, words);
        self.answer("", &format!("{number}\n"));
    }

    /// Takes what is proposed behind the place for the backups up to the question for the mail, and saves nothing beside the site.
    #[track_caller]
    pub fn answer_up_to_the_mail(&mut self) {
        for question in ["When is the backup", "read again each week", "How many backups"] {
            self.answer(question, "\n");
        }
        self.answer("Which folders of the server's own", "none\n");
        self.answer("in another database", "\n");
    }

    /// The same, the mail too: up to the summary.
    #[track_caller]
    pub fn answer_up_to_the_summary(&mut self) {
        self.answer_up_to_the_mail();
        self.answer("Who is to get", "\n");
    }
}

/// The number of a choice in the list that was shown last.
pub fn number_of(person: &Person, words: &str) -> String {
    let text = person.terminal.text();
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().rposition(|line| line.contains(words)).unwrap_or_else(|| panic!("no {words:?}: {text}"));
    // It may be wrapped, and its number stands before its first line.
    let number = |line: &&str| line.split_whitespace().next()?.parse::<usize>().ok().filter(|_| line.starts_with("  "));
    lines[..=at].iter().rev().find_map(number).unwrap_or_else(|| panic!("no number: {text}")).to_string()
}

/// The program in a mount namespace of its own, where a script has made things other than they are on this machine.
pub fn elsewhere(world: &World, args: &[&str], script: &str) -> Command {
    let program = world.command(args);
    let mut command = Command::new("unshare");
    let script = format!("{script}\nexec \"$@\"");
    command.args(["--mount", "sh", "-ec", &script, "sh"]).arg(program.get_program()).args(program.get_args());
    command.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

/// A program that is a script.
pub fn script(place: &Path, name: &str, text: &str) {
    fs::create_dir_all(place).unwrap();
    fs::write(place.join(name), format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(place.join(name), fs::Permissions::from_mode(0o755)).unwrap();
}

/// The program where there is no mkfs.xfs, until apt-get is asked for it.
pub fn without_xfs(world: &World, args: &[&str]) -> Command {
    let place = world.scratch().join("without xfs");
    script(&place, "apt-get", "case \"$*\" in *xfsprogs) umount /usr/sbin/mkfs.xfs; esac");
    let script = format!(
        "mount --bind /dev/null /usr/sbin/mkfs.xfs && mount -t tmpfs tmpfs /usr/local/sbin && cp '{}/apt-get' /usr/local/sbin/",
        place.display()
    );
    elsewhere(world, args, &script)
}
