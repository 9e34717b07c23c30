//! The questions about what is saved beside the site: other databases, and the server's own configuration.

use super::Wizard;
use super::ask::{Choice, Person, Question, Reply};
use super::pages::Move;
use crate::database::Connection;
use crate::error::{Fault, Result};
use crate::moodle::overrides::Secret;
use crate::setup::answers::Database;
use crate::setup::measure;
use crate::sys::files;
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
    wizard.answers.databases.retain(|it| it.options_file.is_some());
    if !others.is_empty() {
        let chosen = choose(wizard, &others)?;
        let Reply::Given(chosen) = chosen else { return Ok(Move::Back) };
        wizard.answers.databases.extend(chosen);
    }
    by_another_account(wizard)
}

/// Which of those that the site's own account can see.
fn choose(wizard: &mut Wizard, others: &[String]) -> Result<Reply<Vec<Database>>> {
    let choices: Vec<Choice> = others.iter().map(Choice::new).collect();
    let chosen: Vec<usize> =
        (0..others.len()).filter(|at| wizard.answers.databases.iter().any(|it| it.name == others[*at])).collect();
    let help =
        "Databases beside Moodle's that the site's account can see. Each is dumped as a whole, into a file of its own.";
    let reply = wizard.person.choose_some("Which other databases are to be saved too?", help, &choices, &chosen)?;
    let database = |at: usize| Database { name: others[at].clone(), options_file: None };
    Ok(match reply {
        Reply::Given(chosen) => Reply::Given(chosen.into_iter().map(database).collect()),
        Reply::Back => Reply::Back,
    })
}

/// One that the site's account does not see, by an account of its own. The account is tried before it is taken.
fn by_another_account(wizard: &mut Wizard) -> Result<Move> {
    let question = Question {
        ask: "Does a plugin, a wiki or the like keep data in another database of this server, which is to be saved too? Type the \
              database's name; most sites have none.",
        help: "The site's own database is always saved. One that its account can see was in the list before; this is for others. \
               You are asked for an account that may read it; the password goes into a file for \
               root alone. A database on another server goes into [[database.extra]] of the settings.",
        default: Some("none".into()),
    };
    let Reply::Given(name) = wizard.person.text(&question, database_name)? else { return Ok(Move::Back) };
    let Some((looked, name)) = wizard.looked.as_ref().zip(name) else { return Ok(Move::Next) };
    let own = looked.site.connection.clone();
    let Reply::Given((user, password)) = account(&mut wizard.person)? else { return Ok(Move::Again) };
    let connection = Connection { name: name.clone(), user, password: Some(password.0), schema: None, ..own };
    let file = wizard.session.paths.etc().join(format!("{}.cnf", files::slug(Path::new(&name))));
    let tried = connection.session().and_then(|_| connection.as_options_file());
    let tried = tried.and_then(|content| match file.exists() {
        true => Err(Fault::unfit(format!("{} is there already", file.display())).into()),
        false => Ok(Secret(String::from_utf8(content)?)),
    });
    match tried {
        Ok(content) => {
            wizard.person.tell("That account is let in.");
            wizard.accounts.retain(|(known, _)| *known != file);
            wizard.accounts.push((file.clone(), content));
            wizard.answers.databases.retain(|it| it.name != name);
            wizard.answers.databases.push(Database { name, options_file: Some(file) });
        }
        Err(error) => wizard.person.tell(&format!("That does not work: {error:#}")),
    }
    // Perhaps there is one more.
    by_another_account(wizard)
}

/// An account and its password.
fn account(person: &mut Person) -> Result<Reply<(String, Secret)>> {
    let question =
        Question { ask: "By which account can it be read?", help: "A user of the database server.", default: None };
    loop {
        let Reply::Given(user) = person.text(&question, |answer| Ok(answer.to_owned()))? else {
            return Ok(Reply::Back);
        };
        if let Reply::Given(password) = person.secret(&format!("The password of {user}?"))? {
            return Ok(Reply::Given((user, password)));
        }
    }
}

/// A name, or none. The question can be taken for one of yes and no.
fn database_name(answer: &str) -> Result<Option<String>, String> {
    match answer.to_lowercase().as_str() {
        "none" | "no" | "n" => Ok(None),
        "yes" | "y" => Err("What is it called? Please type its name, or \"none\".".into()),
        _ => Ok(Some(answer.to_owned())),
    }
}

/// What Enter means: the folders as they were shown.
const THESE: &str = "these";

/// Folders of the server's own configuration.
pub fn directories(wizard: &mut Wizard) -> Result<Move> {
    let mut folders = wizard.answers.directories.clone().unwrap_or_else(proposed);
    let question = Question {
        ask: "Type + and a path to add one, - and a path to leave one out (+/etc/ssh or -/etc/php), all paths anew with spaces \
              between, or \"none\".",
        help: "They make it possible to set up the server again as it was: the web server, PHP, the database server, cron, \
               certificates. Each becomes an archive, which is shared by all backups as long as nothing in it changes. Only root \
               and the group moodle-backup can read backups. Behind a + or - all is one path, so it may have blanks in it.",
        default: Some(THESE.into()),
    };
    loop {
        wizard
            .person
            .tell("\nWhich folders of the server's own configuration are to be saved with each backup? So far:");
        match folders.as_slice() {
            [] => wizard.person.item("none"),
            folders => folders.iter().for_each(|path| wizard.person.item(&path.display().to_string())),
        }
        let now = folders.clone();
        let Reply::Given(answer) = wizard.person.text(&question, |answer| edited(answer, &now))? else {
            return Ok(Move::Back);
        };
        match answer {
            Edited::More(more) => folders = more,
            Edited::All(all) => {
                wizard.answers.directories = Some(all);
                return Ok(Move::Next);
            }
        }
    }
}

/// What an answer makes of a list of folders.
#[derive(Debug, PartialEq)]
enum Edited {
    /// These; perhaps there is more to be said.
    More(Vec<PathBuf>),
    /// These and no others.
    All(Vec<PathBuf>),
}

fn edited(answer: &str, now: &[PathBuf]) -> Result<Edited, String> {
    if let Some(path) = answer.strip_prefix('+') {
        let path = folder(path.trim())?;
        let others = now.iter().filter(|it| **it != path).cloned();
        return Ok(Edited::More(others.chain([path.clone()]).collect()));
    }
    if let Some(path) = answer.strip_prefix('-').map(|path| Path::new(path.trim())) {
        return match now.iter().any(|it| it == path) {
            true => Ok(Edited::More(now.iter().filter(|it| *it != path).cloned().collect())),
            false => Err(format!("{} is not in the list.", path.display())),
        };
    }
    match answer {
        THESE => Ok(Edited::All(now.to_vec())),
        "none" => Ok(Edited::All(Vec::new())),
        paths => paths.split_whitespace().map(folder).collect::<Result<_, _>>().map(Edited::All),
    }
}

fn folder(path: &str) -> Result<PathBuf, String> {
    match Path::new(path) {
        path if path.is_absolute() && path.is_dir() => Ok(path.to_path_buf()),
        _ => Err(format!("There is no folder {path:?}.")),
    }
}

/// Those of the usual folders that are here.
pub fn proposed() -> Vec<PathBuf> {
    CONFIGURATION.iter().map(PathBuf::from).filter(|path| path.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_added_left_out_and_replaced() {
        let list = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        let now = list(&["/etc", "/usr"]);
        assert_eq!(edited("+ /var", &now), Ok(Edited::More(list(&["/etc", "/usr", "/var"]))));
        assert_eq!(edited("+/etc", &now), Ok(Edited::More(list(&["/usr", "/etc"]))));
        assert_eq!(edited("-/etc", &now), Ok(Edited::More(list(&["/usr"]))));
        assert_eq!(edited("/var /etc", &now), Ok(Edited::All(list(&["/var", "/etc"]))));
        assert_eq!(
            (edited("none", &now), edited(THESE, &now)),
            (Ok(Edited::All(list(&[]))), Ok(Edited::All(now.clone())))
        );
        for wrong in ["+/nowhere", "-/var", "etc", "+", "/etc +/var"] {
            assert!(edited(wrong, &now).is_err(), "{wrong}");
        }
    }
}
