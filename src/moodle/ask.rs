//! Runs PHP as the web user to ask the site about itself. What is asked is in `ask.php`.

use super::config::Config;
use super::layout::Layout;
use crate::error::{Fault, OrFault, Result, hint};
use crate::sys::privileges::Identity;
use crate::sys::process::{Output, Program, find};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SCRIPT: &str = include_str!("ask.php");

/// Reading config.php takes some 80 ms; one that waits for something (a name server, say) gets this long.
const TIMEOUT: Duration = Duration::from_secs(60);

/// PHP on the command line, as the web user.
#[derive(Clone, Debug)]
pub struct Php {
    program: PathBuf,
    user: Identity,
    environment: BTreeMap<String, String>,
}

impl Php {
    /// PHP as settings name it, or as it is installed. `environment` is what the site's config.php needs to find there.
    pub fn new(program: Option<&Path>, user: Identity, environment: BTreeMap<String, String>) -> Result<Self> {
        if user.is_root() {
            return Err(Fault::unfit("the web user must not be root: the site's code would run as root")
                .hint("set web_user in [site] of the settings to the user of the web server or of php-fpm (www-data on Debian)")
                .into());
        }
        let program = match program {
            Some(path) if path.is_file() => path.to_path_buf(),
            Some(path) => {
                return Err(Fault::unfit(format!("there is no program {}", path.display()))
                    .hint("set php in [site] of the settings to PHP's command line program, or leave it out")
                    .into());
            }
            None => find(&["php"]).ok_or_else(|| {
                Fault::unfit("PHP's command line program is not installed").hint("apt install php-cli")
            })?,
        };
        Ok(Php { program, user, environment })
    }

    /// The user it runs as.
    pub fn user(&self) -> &Identity {
        &self.user
    }

    /// The program itself.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// PHP, to be given a script.
    pub fn start(&self) -> Program {
        let program = Program::new(&self.program).user(&self.user).args([
            "-d",
            "display_errors=stderr",
            "-d",
            "log_errors=0",
            "-d",
            "max_input_vars=5000",
        ]);
        self.environment.iter().fold(program, |program, (name, value)| program.env(name, value))
    }
}

/// Reads config.php by running it, as Moodle itself would, up to the point where libraries would be loaded.
/// Needs no database. Source of that point: `ABORT_AFTER_CONFIG` in Moodle's `lib/setup.php`.
pub fn read_config(layout: &Layout, php: &Php) -> Result<Config> {
    let answer = ask(layout, php, "config")?;
    Config::from_answer(&answer, layout).map_err(|error| match hint(&error) {
        // It says what to do already.
        Some(_) => error,
        None => error.context(
            Fault::unfit(format!("{} does not set what a Moodle needs", layout.config_php().display()))
                .hint("values that come from the web server's environment can be given in environment of [site]"),
        ),
    })
}

/// The page that users see while the site is closed, as Moodle itself would make it: the administrator's text,
/// in the site's language. Needs the database; an error is no harm, there is a plain page to fall back on.
pub fn maintenance_page(layout: &Layout, php: &Php) -> Result<Vec<u8>> {
    let answer = ask(layout, php, "page")?;
    decode(&answer).ok_or_else(|| Fault::failed("Moodle gave no maintenance page").into())
}

fn ask(layout: &Layout, php: &Php, question: &str) -> Result<Value> {
    let config = layout.config_php();
    let title = format!("{} as user {}", config.display(), php.user().name);
    answer(php.start().folder(&layout.root), SCRIPT.into(), &config, question, &title)
}

/// What a config.php answers that lies in no file; `title` is what it is called in an error.
pub(super) fn ask_text(text: &[u8], php: &Php, title: &str) -> Result<Value> {
    // Not as an argument, and in no file: passwords are in it.
    let script = format!("<?php $mbtext = hex2bin('{}'); ?>{SCRIPT}", crate::hashes::to_hex(text));
    answer(php.start(), script, Path::new(title), "config", title)
}

fn answer(program: Program, script: String, config: &Path, question: &str, title: &str) -> Result<Value> {
    let marker = format!("moodle-backup-{:x}:", std::process::id() ^ 0x5a5a_0f0f);
    let output = program
        .args(["--", &marker])
        .arg(config)
        .arg(question)
        .input(script)
        .timeout(TIMEOUT)
        .output()
        .or_fault(|| Fault::unfit(format!("cannot ask {title} with PHP")))?;
    let said = |words: String| -> anyhow::Error {
        let words = if words.is_empty() { format!("it ended with {}", output.ending()) } else { words };
        let message = format!("PHP cannot read {title}: {}", without_trace(&words));
        let hint = match is_of_broken_code(&words) {
            true => BROKEN,
            false => "mend what PHP complains of, then run moodle-backup check",
        };
        Fault::unfit(message).hint(hint).into()
    };
    let Some(reply) = reply(&output, &marker) else { return Err(said(words(&output))) };
    match &reply["answer"] {
        Value::Null => Err(said(join(&[text(&reply["said"]), output.stderr.trim().to_owned()]))),
        answer => Ok(answer.clone()),
    }
}

/// What to do where it is not config.php that is wrong.
const BROKEN: &str = "is part of the code lost, or half upgraded? \"moodle-backup restore --plan\" tells which files a restore changes; \
                      else mend what PHP complains of, then run moodle-backup check";

/// Whether PHP complains of code that it does not find, or that does not fit together.
fn is_of_broken_code(words: &str) -> bool {
    words.contains("Uncaught Error") || words.contains("Failed opening required")
}

/// What PHP says of an error, without the calls that led to it.
fn without_trace(words: &str) -> &str {
    words.split("Stack trace:").next().unwrap_or(words).trim_end()
}

fn reply(output: &Output, marker: &str) -> Option<Value> {
    let text = output.text();
    let line = text.lines().rev().find_map(|line| line.strip_prefix(marker))?;
    serde_json::from_str(line).ok()
}

fn words(output: &Output) -> String {
    join(&[output.text().trim().to_owned(), output.stderr.trim().to_owned()])
}

fn join(parts: &[String]) -> String {
    let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    parts.join("; ")
}

fn text(value: &Value) -> String {
    String::from_utf8_lossy(&decode(value).unwrap_or_default()).into_owned()
}

/// A string of an answer: bytes, since PHP's strings need not be UTF-8.
pub(super) fn decode(value: &Value) -> Option<Vec<u8>> {
    let digits = value.as_str()?.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    digits.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_error_of_php_its_first_words_are_told() {
        let said = "PHP Fatal error:  Uncaught Error: Class \"core_component\" not found in /m/lib/setup.php:9\nStack trace:\n#0 /m/config.php(30)\n";
        assert!(is_of_broken_code(said));
        assert!(without_trace(said).ends_with("not found in /m/lib/setup.php:9"));
        assert_eq!(without_trace("Fatal error: no dataroot"), "Fatal error: no dataroot");
    }

    #[test]
    fn strings_as_the_script_writes_them() {
        for (encoded, plain) in [("", ""), ("61", "a"), ("c3b6c3bc", "öü")] {
            assert_eq!(decode(&Value::from(encoded)).unwrap(), plain.as_bytes());
        }
        assert_eq!(decode(&Value::from("6x")), None);
    }
}
