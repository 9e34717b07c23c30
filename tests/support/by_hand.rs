//! Bringing a site back as an administrator would: from the text of RESTORE.txt alone, typed into a shell that knows
//! nothing of ours.
//!
//! It knows the form of the text (steps stand behind `    # `) and the names of its variables, and nothing else of a
//! backup. What came back is a `PocketSite` like any other.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::database::{Database, Server};
use super::ports::{self, Reserved};
use super::scratch::{Scratch, text};
use super::site::PocketSite;

/// An empty place with a database server, in which a site is to come back.
pub struct ByHand {
    scratch: Scratch,
    port: Option<Reserved>,
    server: Server,
    names: BTreeMap<&'static str, String>,
    root: PathBuf,
    dataroot: PathBuf,
    database: Database,
}

impl ByHand {
    /// Beside the original: under other names, some of which a shell has an opinion of.
    pub fn elsewhere(original: &PocketSite, server: &Server) -> Self {
        let scratch = Scratch::new();
        let port = ports::reserve();
        let place = scratch.join("the new 'place' & $more");
        fs::create_dir(&place).expect("a folder can be made");
        let (root, dataroot) = (place.join("moodle"), place.join("moodle data"));
        let database = server.database("brought back-1", &original.database.user, &original.database.password);
        let mut names = BTreeMap::from([
            ("ELSEWHERE", "yes".to_owned()),
            ("ROOT", text(&root).into()),
            ("DATAROOT", text(&dataroot).into()),
            ("WWWROOT", format!("http://127.0.0.1:{}", port.port())),
            ("DBHOST", "localhost".into()),
            ("DBPORT", server.port().to_string()),
            ("DBSOCKET", text(&socket(server)).into()),
            ("DBNAME", database.name.clone()),
        ]);
        if !original.filedir().starts_with(&original.dataroot) {
            names.insert("FILEDIR", text(&scratch.join("elsewhere/filedir")).into());
        }
        ByHand { scratch, port: Some(port), server: server.clone(), names, root, dataroot, database }
    }

    /// Where the original was: its code, its data and its database are gone. Nothing of the text is changed but the way
    /// to the server, which in the field is the usual one.
    pub fn in_place(original: &PocketSite) -> Self {
        ByHand {
            scratch: Scratch::new(),
            port: None,
            server: original.database.server.clone(),
            names: BTreeMap::new(),
            root: original.root.clone(),
            dataroot: original.dataroot.clone(),
            database: original.database.clone(),
        }
    }

    /// Another value for one of the text's variables.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.names.insert(name, value.into());
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn dataroot(&self) -> &Path {
        &self.dataroot
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Types every step, in one shell. Nothing may go wrong, and a restore that goes well has nothing to complain of.
    #[track_caller]
    pub fn follow(&self, words: &str) {
        self.type_in(&steps(words));
    }

    /// The same in two parts, for tests that look between them: the steps before the first that has `mark` in it, and
    /// the others. Each part gets the variables first.
    #[track_caller]
    pub fn follow_until(&self, words: &str, mark: &str) {
        let steps = steps(words);
        self.type_in(&steps[..first_with(&steps, mark)]);
    }

    /// The second part.
    #[track_caller]
    pub fn follow_from(&self, words: &str, mark: &str) {
        let steps = steps(words);
        let (before, after) = steps.split_at(first_with(&steps, mark));
        let names = before.iter().filter(|step| variable(step).is_some() || step.starts_with("set "));
        self.type_in(&names.chain(after).copied().collect::<Vec<_>>());
    }

    /// What came back, as a site: not served yet.
    pub fn site(mut self, original: &PocketSite) -> PocketSite {
        let port = self.port.take().unwrap_or_else(ports::reserve);
        original.brought_back(self.root, self.dataroot, self.database, port, self.scratch)
    }

    /// Types every step where that must not go well; what was said.
    #[track_caller]
    pub fn refused(&self, words: &str) -> String {
        let (good, complaints) = self.try_to_type(&steps(words));
        assert!(!good, "it went well: {complaints}");
        complaints
    }

    #[track_caller]
    fn type_in(&self, steps: &[&str]) {
        let (good, complaints) = self.try_to_type(steps);
        let typed = fs::read_to_string(self.scratch.join("restore.sh")).expect("the script can be read");
        assert!(good, "{complaints}\n--- typed:\n{typed}");
        assert_eq!(complaints, "", "words where all is well; typed:\n{typed}");
    }

    /// Whether it went well, and what was said.
    #[track_caller]
    fn try_to_type(&self, steps: &[&str]) -> (bool, String) {
        let script = self.scratch.join("restore.sh");
        fs::write(&script, self.script(steps)).expect("a script can be written");
        let mut bash = Command::new("bash");
        bash.arg("-e").arg(&script).current_dir("/").env_clear();
        bash.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
        let output = bash.output().expect("bash starts");
        let complaints = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        (output.status.success(), complaints.into_owned())
    }

    /// The steps with our values for its variables. Packages are there: tests need them too.
    #[track_caller]
    fn script(&self, steps: &[&str]) -> String {
        let mut script = String::new();
        let mut set = Vec::new();
        for step in steps.iter().filter(|step| !step.starts_with("apt-get ")) {
            let name = variable(step).unwrap_or_default();
            match self.names.get_key_value(name) {
                Some((name, value)) => {
                    script += &format!("{name}='{}'\n", value.replace('\'', r"'\''"));
                    set.push(*name);
                }
                None => script += &format!("{step}\n"),
            }
            if matches!(name, "MYSQL" | "PSQL") {
                script += &format!("{name}=\"${name} {}\"\n", self.way_to_server());
            }
        }
        let unknown: Vec<_> = self.names.keys().filter(|name| !set.contains(name)).collect();
        assert!(unknown.is_empty(), "RESTORE.txt has no variables {unknown:?}");
        script
    }

    /// What an administrator adds for a server that is not the usual one of the machine.
    fn way_to_server(&self) -> String {
        let socket = socket(&self.server);
        match &self.server {
            Server::MariaDb(_) => format!("--socket={}", text(&socket)),
            Server::Postgres(server) => {
                server.trust_local_account();
                format!("--host={} --port={}", text(&socket), server.port())
            }
        }
    }
}

fn socket(server: &Server) -> PathBuf {
    match server {
        Server::MariaDb(server) => server.socket(),
        Server::Postgres(server) => server.socket_folder(),
    }
}

/// The commands of the restore, in order.
fn steps(words: &str) -> Vec<&str> {
    words.lines().filter_map(|line| line.strip_prefix("    # ")).collect()
}

#[track_caller]
fn first_with(steps: &[&str], mark: &str) -> usize {
    steps.iter().position(|step| step.contains(mark)).unwrap_or_else(|| panic!("no step has {mark:?}: {steps:#?}"))
}

/// The variable that a step sets.
fn variable(step: &str) -> Option<&str> {
    let (name, _) = step.split_once('=')?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    (is_name && !name.is_empty()).then_some(name)
}
