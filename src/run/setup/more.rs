//! The questions about what is saved beside the site: other databases, and the server's own configuration.

use super::ask::{Choice, Question, Reply};
use super::{Move, Wizard};
use crate::error::Result;
use crate::setup::answers::Database;
use crate::setup::measure;
use std::path::{Path, PathBuf};

/// Folders that tell how the server was set up, where they are.
const CONFIGURATION: [&str; 9] = [
    "/etc/apache2",
    "/etc/nginx",
    "/etc/php",
    "/etc/mysql",
    "/etc/postgresql",
    "/etc/cron.d",
    "/var/spool/cron/crontabs",
    "/etc/letsencrypt",
    "/etc/moodle-backup",
];

/// Further databases of the same server.
pub fn databases(wizard: &mut Wizard) -> Result<Move> {
    let Some(looked) = &wizard.looked else { return Ok(Move::Pass) };
    let saved = wizard.old.as_ref().map(|old| old.database.extra.clone()).unwrap_or_default();
    let others: Vec<String> = measure::other_databases(&looked.site)
        .unwrap_or_default()
        .into_iter()
        .filter(|name| !saved.iter().any(|it| it.name == *name))
        .collect();
    if others.is_empty() {
        wizard.person.tell(
            "The site's account sees no other database. One that belongs to the site all the same (of a plugin, a wiki) goes \
             into [[database.extra]] of the settings, with an account of its own.",
        );
        return Ok(Move::Pass);
    }
    let choices: Vec<Choice> = others.iter().map(Choice::new).collect();
    let chosen: Vec<usize> =
        (0..others.len()).filter(|at| wizard.answers.databases.iter().any(|it| it.name == others[*at])).collect();
    let help =
        "Databases beside Moodle's that the site's account can see. Each is dumped as a whole, into a file of its own.";
    let reply = wizard.person.choose_some("Which other databases are to be saved too?", help, &choices, &chosen)?;
    let Reply::Given(chosen) = reply else { return Ok(Move::Back) };
    let database = |at: usize| Database { name: others[at].clone(), options_file: None };
    wizard.answers.databases = chosen.into_iter().map(database).collect();
    Ok(Move::Next)
}

/// Folders of the server's own configuration.
pub fn directories(wizard: &mut Wizard) -> Result<Move> {
    let proposed = wizard.answers.directories.clone().unwrap_or_else(proposed);
    let text = |paths: &[PathBuf]| match paths {
        [] => "none".to_owned(),
        paths => paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" "),
    };
    let question = Question {
        ask: "Which folders of the server's own configuration are to be saved with each backup? Paths with spaces between, or \
              \"none\".",
        help: "They make it possible to set up the server again as it was: the web server, PHP, the database server, cron, \
               certificates. Each becomes an archive, which is shared by all backups as long as nothing in it changes. Only root \
               and the group moodle-backup can read backups. A path with a blank in it goes into [directories] of the settings.",
        default: Some(text(&proposed)),
    };
    let Reply::Given(paths) = wizard.person.text(&question, paths)? else { return Ok(Move::Back) };
    wizard.answers.directories = Some(paths);
    Ok(Move::Next)
}

/// Those of the usual folders that are here.
pub fn proposed() -> Vec<PathBuf> {
    CONFIGURATION.iter().map(PathBuf::from).filter(|path| path.is_dir()).collect()
}

fn paths(answer: &str) -> Result<Vec<PathBuf>, String> {
    if answer == "none" {
        return Ok(Vec::new());
    }
    let path = |word: &str| match Path::new(word) {
        path if path.is_absolute() && path.is_dir() => Ok(path.to_path_buf()),
        _ => Err(format!("There is no folder {word:?}.")),
    };
    answer.split_whitespace().map(path).collect()
}
