//! The question which site is backed up, and what is learnt of the chosen one.

use super::ask::{Choice, Question, Reply};
use super::{Looked, Move, Wizard};
use crate::error::{self, Result};
use crate::preflight::read_site;
use crate::report::human;
use crate::setup::discover::{self, Found};
use crate::setup::measure;
use crate::setup::quiet;
use std::path::{Path, PathBuf};

const HELP: &str = "\
The folder of Moodle's code, which holds config.php; from Moodle 5.1 on its \"public\" folder will do too. Looked for is in \
the configurations of Apache and nginx, in PHP's pools, and in the usual folders such as /var/www.";

/// Which site.
pub fn which(wizard: &mut Wizard) -> Result<Move> {
    wizard.person.tell("Looking for Moodle sites on this machine...");
    let found = wizard.discovery().sites.clone();
    let Reply::Given(root) = choose(wizard, &found)? else { return Ok(Move::Back) };
    wizard.answers.site.root = Some(root);
    if !look(wizard)? {
        return Ok(Move::Again);
    }
    name(wizard)
}

fn choose(wizard: &mut Wizard, found: &[Found]) -> Result<Reply<PathBuf>> {
    let now = wizard.answers.site.root.clone();
    if found.is_empty() {
        let looked_at = wizard.discovery().looked_at.join(", ");
        wizard.person.tell(&format!("No Moodle site was found. Looked at: {looked_at}."));
        return folder(wizard, now);
    }
    let mut choices: Vec<Choice> = found.iter().map(|site| Choice::new(discover::told(site))).collect();
    choices.push(Choice::new("another folder"));
    let default = match &now {
        Some(root) => found.iter().position(|site| site.root == *root).unwrap_or(found.len()),
        None => 0,
    };
    let reply = wizard.person.choose("Which site is to be backed up?", HELP, &choices, Some(default))?;
    match reply {
        Reply::Back => Ok(Reply::Back),
        Reply::Given(at) if at < found.len() => Ok(Reply::Given(found[at].root.clone())),
        Reply::Given(_) => folder(wizard, now),
    }
}

fn folder(wizard: &mut Wizard, now: Option<PathBuf>) -> Result<Reply<PathBuf>> {
    let default = now.map(|root| root.display().to_string());
    wizard.person.text(&Question { ask: "In which folder is Moodle's code?", help: HELP, default }, |answer| {
        let path = Path::new(answer);
        match path.is_absolute() && path.join("config.php").exists() {
            true => Ok(path.to_path_buf()),
            false => Err(format!("There is no config.php in {answer}; please name the folder from \"/\" on.")),
        }
    })
}

/// Reads the chosen site. Says what it is, or why it cannot be read; then whether that was possible.
fn look(wizard: &mut Wizard) -> Result<bool> {
    match looked(wizard) {
        Ok(looked) => {
            let text = told(&looked);
            wizard.looked = Some(looked);
            wizard.person.tell(&text);
            Ok(true)
        }
        Err(error) => {
            crate::sys::signals::check()?;
            wizard.looked = None;
            wizard.person.tell(&format!("This site cannot be read: {error:#}"));
            if let Some(hint) = error::hint(&error) {
                wizard.person.tell(&format!("What to do: {hint}"));
            }
            // Without PHP no site can be read: the next page sees to that.
            Ok(wizard.lacks_php())
        }
    }
}

/// The chosen site with its sizes and its quiet hours.
pub fn looked(wizard: &Wizard) -> Result<Looked> {
    let settings = wizard.provisional()?;
    let site = read_site(&settings)?;
    let sizes = measure::sizes(&site);
    let quiet = quiet::quiet_hour(&site).unwrap_or_default();
    Ok(Looked { site, sizes, quiet })
}

fn told(looked: &Looked) -> String {
    let Looked { site, sizes, .. } = looked;
    format!(
        "{}, Moodle {}, {}. Users' files {}, code {}, other files {}, database {}.",
        site.config.wwwroot,
        site.release.release,
        site.connection.title(),
        human::bytes(sizes.pool),
        human::bytes(sizes.code),
        human::bytes(sizes.rest),
        human::bytes(sizes.database)
    )
}

fn name(wizard: &mut Wizard) -> Result<Move> {
    let question = Question {
        ask: "What is it to be called here?",
        help: "A short name: that of its folder among the backups, and in logs. Two sites on one backup disk need two names.",
        default: Some(wizard.name()),
    };
    let Reply::Given(name) = wizard.person.text(&question, crate::settings::name)? else { return Ok(Move::Again) };
    wizard.answers.site.name = Some(name);
    Ok(Move::Next)
}
