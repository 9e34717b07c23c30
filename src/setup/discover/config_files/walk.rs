//! The statements of a server's configuration in the order in which the server reads them: with the files that are included, and
//! with what was defined put in its places. What other statements mean must not go in here.

use crate::sys::files;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// So many files and folders of one server are read. Hosting machines have thousands; a configuration that includes itself has no end.
const MOST_FILES: usize = 5000;

/// Files in files.
const DEEPEST: usize = 20;

/// Bytes of one file; a larger one is no configuration that somebody wrote.
const LARGEST: usize = 1 << 20;

/// Bytes of one value that is defined; folders have no longer names.
const LONGEST: usize = 4096;

/// How the patterns of servers match: `*` is a part of one name, and no hidden file.
const MATCHING: glob::MatchOptions =
    glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// What `${NAME}` stands for.
type Defined = BTreeMap<String, String>;

/// What `<Macro>` of Apache has between its ends, and the names of what `Use` puts in.
#[derive(Clone, Debug, Default)]
struct Macro {
    parameters: Vec<String>,
    lines: Vec<String>,
}

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its first word, in small letters.
    pub word: String,
    /// Its last word, without quotation marks.
    pub value: String,
    /// The file that it stands in.
    pub file: PathBuf,
}

/// The walk through the configuration of one server.
#[derive(Debug)]
pub struct Walk {
    /// As a pattern: what stands before `/etc`.
    machine: String,
    /// As a pattern: the folder that names of files are relative to.
    base: String,
    defined: Defined,
    /// The files that were read, each with what was defined then: with the same it would say the same again.
    read: BTreeMap<PathBuf, Vec<Defined>>,
    left: usize,
    /// By their names in small letters.
    macros: BTreeMap<String, Macro>,
    /// The name of the macro whose lines are being read.
    in_macro: Option<String>,
    found: Vec<Statement>,
}

/// All statements in the files that match one of `patterns`, and in those that they include. Names are relative to `base`, a folder
/// of this machine such as `etc/apache2`. What cannot be read is left out.
pub fn statements(machine: &Path, base: &str, patterns: &[&str]) -> Vec<Statement> {
    let escaped = |path: &Path| glob::Pattern::escape(&path.to_string_lossy());
    let folder = machine.join(base);
    let mut walk = Walk {
        machine: escaped(machine),
        base: escaped(&folder),
        defined: exported(&text_of(&folder.join("envvars")).unwrap_or_default()),
        read: BTreeMap::new(),
        left: MOST_FILES,
        macros: BTreeMap::new(),
        in_macro: None,
        found: Vec::new(),
    };
    for pattern in patterns {
        // Also where the server says that its files are elsewhere.
        for file in paths(&format!("{}/{pattern}", escaped(&folder))) {
            // As a rule the first one has included all others.
            if !file.canonicalize().is_ok_and(|file| walk.read.contains_key(&file)) {
                walk.file(&file, 0);
            }
        }
    }
    walk.found
}

impl Walk {
    fn matching(&self, pattern: &str) -> Vec<PathBuf> {
        let folder = if pattern.starts_with('/') { &self.machine } else { &self.base };
        paths(&format!("{}/{}", folder.trim_end_matches('/'), pattern.trim_start_matches('/')))
    }

    fn file(&mut self, path: &Path, depth: usize) {
        let Ok(file) = path.canonicalize() else { return };
        let before = self.read.entry(file.clone()).or_default();
        if depth > DEEPEST || self.left == 0 || before.contains(&self.defined) {
            return;
        }
        before.push(self.defined.clone());
        self.left -= 1;
        for line in lines(&text_of(&file).unwrap_or_default()) {
            self.line(&line, path, depth);
        }
    }

    fn line(&mut self, line: &str, file: &Path, depth: usize) {
        if let Some(name) = &self.in_macro {
            match line.to_lowercase().starts_with("</macro") {
                true => self.in_macro = None,
                false => self.macros.entry(name.clone()).or_default().lines.push(line.to_owned()),
            }
            return;
        }
        let line = expanded(line, &self.defined);
        // Several statements of nginx may stand on a line.
        for statement in line.split([';', '{']) {
            let statement = &with_variables(statement, &self.defined);
            let words: Vec<&str> = statement.split_whitespace().collect();
            let (Some(word), value) = (words.first(), last(statement)) else { continue };
            match (word.to_lowercase().as_str(), words.as_slice()) {
                ("include" | "includeoptional", [_, _, ..]) => self.include(&self.matching(&value), depth + 1),
                ("define", [_, name, _, ..]) if value.len() <= LONGEST => {
                    self.defined.insert((*name).to_owned(), value);
                }
                ("set", [_, name, _]) if name.starts_with('$') && value.len() <= LONGEST => {
                    self.defined.insert(name.trim_start_matches('$').to_owned(), value.clone());
                    self.defined.insert((*name).to_owned(), value);
                }
                ("serverroot", [_, _]) if value.starts_with('/') => {
                    self.base = format!("{}{}", self.machine.trim_end_matches('/'), glob::Pattern::escape(&value));
                }
                ("<macro", [_, name, ..]) => {
                    let name = name.trim_end_matches('>').to_lowercase();
                    let parameters = words[2..].iter().map(|it| it.trim_end_matches('>').to_owned());
                    let parameters = parameters.filter(|it| !it.is_empty()).collect();
                    self.macros.insert(name.clone(), Macro { parameters, lines: Vec::new() });
                    self.in_macro = Some(name);
                }
                ("use", [_, name, ..]) => self.use_macro(name, &arguments(statement), file, depth + 1),
                (word, _) => self.found.push(Statement { word: word.to_owned(), value, file: file.to_owned() }),
            }
        }
    }

    /// The lines of a macro, with what stands for its parameters.
    fn use_macro(&mut self, name: &str, arguments: &[String], file: &Path, depth: usize) {
        let Some(Macro { parameters, lines }) = self.macros.get(&name.to_lowercase()).cloned() else { return };
        if depth > DEEPEST || self.left == 0 {
            return;
        }
        self.left -= 1;
        for line in lines {
            let put_in = parameters.iter().zip(arguments).fold(line, |line, (parameter, argument)| {
                let braced = parameter.strip_prefix('$').map(|name| format!("${{{name}}}"));
                let line = braced.map_or(line.clone(), |braced| line.replace(&braced, argument));
                line.replace(parameter.as_str(), argument)
            });
            if put_in.len() <= LONGEST {
                self.line(&put_in, file, depth);
            }
        }
    }

    /// Files; of a folder all that are in it, as Apache does.
    fn include(&mut self, paths_there: &[PathBuf], depth: usize) {
        for path in paths_there {
            if !path.is_dir() {
                self.file(path, depth);
            } else if depth <= DEEPEST && self.left > 0 {
                self.left -= 1;
                self.include(&paths(&format!("{}/*", glob::Pattern::escape(&path.to_string_lossy()))), depth + 1);
            }
        }
    }
}

/// What there is of a pattern, in the order of names.
fn paths(pattern: &str) -> Vec<PathBuf> {
    // Two stars would be folders below folders here, and are one star to servers.
    let pattern = pattern.split("**").collect::<Vec<_>>().join("*");
    glob::glob_with(&pattern, MATCHING).into_iter().flatten().flatten().take(MOST_FILES).collect()
}

fn text_of(file: &Path) -> Option<String> {
    let mut text = Vec::new();
    files::open_plain(file).ok()?.take(LARGEST as u64 + 1).read_to_end(&mut text).ok()?;
    (text.len() <= LARGEST).then(|| String::from_utf8_lossy(&text).into_owned())
}

/// Lines without comments; those that Apache goes on with in the next are joined.
fn lines(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    joined.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])).map(str::to_owned).collect()
}

/// The last word of a statement. A path in quotation marks is one word.
fn last(statement: &str) -> String {
    let quoted = statement.split(['"', '\'']).rfind(|part| part.starts_with('/'));
    let word = quoted.or(statement.split_whitespace().next_back()).unwrap_or_default();
    word.trim_end_matches('>').trim_matches(['"', '\'']).to_owned()
}

/// What `Use` of Apache gives a macro: the words behind its name, each of them whole where it stands in quotation marks.
fn arguments(statement: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = None;
    for c in statement.trim().chars() {
        match (c, quoted) {
            ('"' | '\'', None) => quoted = Some(c),
            (c, Some(mark)) if c == mark => quoted = None,
            (c, None) if c.is_whitespace() => words.push(String::new()),
            (c, _) => words.last_mut().into_iter().for_each(|word| word.push(c)),
        }
    }
    words.into_iter().filter(|word| !word.is_empty()).skip(2).collect()
}

/// A statement of nginx with the values of its variables (`set $root /srv/moodle`) in their places. The one that is set stays a name.
fn with_variables(statement: &str, defined: &Defined) -> String {
    let is_set = statement.trim_start().starts_with("set ");
    let mut parts = statement.split('$');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (at, part) in parts.enumerate() {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len());
        match defined.get(&format!("${}", &part[..end])).filter(|_| !(is_set && at == 0)) {
            Some(value) => text.extend([value, &part[end..]]),
            None => text.extend(["$", part]),
        }
    }
    text
}

fn expanded(line: &str, defined: &Defined) -> String {
    let mut parts = line.split("${");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('}').and_then(|(name, rest)| Some([defined.get(name)?, rest])) {
            Some(known) => text.extend(known),
            None => text.extend(["${", part]),
        }
    }
    text
}

/// What a file like `/etc/apache2/envvars` hands on: plain values only. It is a program for a shell, which is not run.
fn exported(text: &str) -> Defined {
    let plain = |value: &str| !value.contains(['$', '`', '\\']) && value.len() <= LONGEST;
    let exported = text.lines().filter_map(|line| line.trim().strip_prefix("export ")?.trim().split_once('='));
    exported
        .map(|(name, value)| match value.strip_prefix(['"', '\'']) {
            Some(quoted) => (name, quoted.split(['"', '\'']).next()),
            None => (name, value.split([' ', '\t', ';']).next()),
        })
        .filter_map(|(name, value)| Some((name.to_owned(), value.filter(|value| plain(value))?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_put_in_where_they_are_known() {
        let defined: Defined = [("A".into(), "/srv/a".into()), ("B".into(), "b".into())].into();
        assert_eq!(expanded("Root ${A}/${B} ${C} ${A", &defined), "Root /srv/a/b ${C} ${A");
    }

    #[test]
    fn only_plain_values_are_taken_from_the_environment() {
        let text = "# export NO=/no\nunset HOME\nexport A=/srv/a # ours\n export B='/srv/b b'\nexport C=\"/c\";\n\
                    export D=/log$SUFFIX\nexport E=`id`\nif [ -e x ]; then export F\nfi\nexport F\n";
        let expected: Defined =
            [("A", "/srv/a"), ("B", "/srv/b b"), ("C", "/c")].map(|(name, value)| (name.into(), value.into())).into();
        assert_eq!(exported(text), expected);
    }

    #[test]
    fn a_walk_ends_whatever_includes_what() {
        let machine = tempfile::tempdir().unwrap();
        let etc = machine.path().join("etc/apache2");
        std::fs::create_dir_all(&etc).unwrap();
        let write = |name: &str, text: &str| std::fs::write(etc.join(name), text).unwrap();
        let said = || statements(machine.path(), "etc/apache2", &["apache2.conf"]).len();
        // A ring, a folder in itself, and one that grows as it goes round.
        write("apache2.conf", "Include ring.conf\nInclude loop\nDefine X x\nInclude grows.conf\nLast\n");
        write("ring.conf", "Include ring.conf\nInclude apache2.conf\nRing\n");
        write("grows.conf", "Define X ${X}${X}\nInclude grows.conf\nInclude grows.conf\nGrows\n");
        std::os::unix::fs::symlink(".", etc.join("loop")).unwrap();
        let count = said();
        assert!((3..MOST_FILES).contains(&count), "{count}");
        // Each asks for all of them, with something else each time.
        for number in 0..9 {
            write(&format!("{number}.all"), &format!("Define X ${{X}}{number}\nInclude *.all\nAll\n"));
        }
        write("apache2.conf", "Include *.all\n");
        let count = said();
        assert!((9..=MOST_FILES).contains(&count), "{count}");
    }

    #[test]
    fn what_is_no_plain_readable_file_is_left_out() {
        let machine = tempfile::tempdir().unwrap();
        let etc = machine.path().join("etc/nginx");
        std::fs::create_dir_all(&etc).unwrap();
        nix::unistd::mkfifo(&etc.join("a.conf"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::write(etc.join("b.conf"), vec![b' '; LARGEST + 1]).unwrap();
        std::os::unix::fs::symlink("/nowhere", etc.join("c.conf")).unwrap();
        std::fs::write(etc.join("d.conf"), b"root /\xff;").unwrap();
        std::fs::write(etc.join("nginx.conf"), "include [a-d].conf; include /nowhere/*; include [; include; last;")
            .unwrap();
        let found = statements(machine.path(), "etc/nginx", &["nginx.conf"]);
        let words: Vec<&str> = found.iter().map(|it| it.word.as_str()).collect();
        assert_eq!(words, ["root", "include", "last"]);
    }
}
