//! The question which site is backed up, and what is learnt of the chosen one.

use super::ask::{self, Choice, Question, Reply};
use super::pages::Move;
use super::{Looked, Wizard, turns};
use crate::error::Result;
use crate::preflight::read_site;
use crate::report::human;
use crate::setup::discover::{self, Found};
use crate::setup::measure::{self, Told};
use crate::setup::quiet;
use std::path::{Path, PathBuf};

const HELP: &str = "\
The folder of Moodle's code, which holds config.php; from Moodle 5.1 on its \"public\" folder will do too. Looked for is in \
the configurations of Apache and nginx, in PHP's pools, and in the usual folders such as /var/www. Of several sites each has \
settings and timers of its own: they are set up one after the other, each as a whole before the next begins. \"all\" leaves out \
what could not be read.";

/// What is said while sites are looked for.
pub const LOOKING: &str = "Looking for Moodle sites on this machine...";

/// Which site; or which, one after the other. A further one was chosen with the first.
pub fn which(wizard: &mut Wizard) -> Result<Move> {
    if wizard.is_further() {
        return next(wizard);
    }
    wizard.person.tell(LOOKING);
    let found = wizard.discovery().sites.clone();
    let Reply::Given(roots) = choose(wizard, &found)? else { return Ok(Move::Back) };
    wizard.waiting = roots.into();
    let Some(root) = wizard.waiting.pop_front() else { return Ok(Move::Again) };
    wizard.turn_to(root)?;
    Ok(if look(wizard)? { Move::Next } else { Move::Again })
}

/// What is learnt of a further site that was chosen.
fn next(wizard: &mut Wizard) -> Result<Move> {
    wizard.take_web_user();
    let looked = looked(wizard)?;
    wizard.person.tell(&told(&looked));
    wizard.looked = Some(looked);
    Ok(Move::Next)
}

fn choose(wizard: &mut Wizard, found: &[Found]) -> Result<Reply<Vec<PathBuf>>> {
    let now = wizard.answers.site.root.clone();
    if found.is_empty() {
        let looked_at = wizard.discovery().looked_at.join(", ");
        wizard.person.tell(&format!("No Moodle site was found. Looked at: {looked_at}."));
        return folder(wizard, now);
    }
    let mut choices: Vec<Choice> = found.iter().map(|site| Choice::new(discover::told(site))).collect();
    choices.push(Choice::new("another folder"));
    let several = wizard.several && found.len() > 1;
    let chosen = now.iter().chain(&wizard.waiting);
    let mut default: Vec<usize> =
        chosen.map(|root| found.iter().position(|site| site.root == *root).unwrap_or(found.len())).collect();
    if default.is_empty() {
        default.push(found.iter().position(|site| !wizard.is_set_up(&site.root)).unwrap_or(0));
    }
    let ask = match several {
        true => "Which site is to be backed up? (Its number; or several with spaces between, or \"all\".)",
        false => "Which site is to be backed up?",
    };
    let places = wizard
        .person
        .pick(ask, HELP, &choices, Some(ask::numbers(&default)), |answer| places(answer, found, &choices, several))?;
    match places {
        Reply::Back => Ok(Reply::Back),
        Reply::Given(places) if places.contains(&found.len()) => folder(wizard, now),
        Reply::Given(places) => Ok(Reply::Given(places.into_iter().map(|at| found[at].root.clone()).collect())),
    }
}

/// The places in the list that an answer means.
fn places(answer: &str, found: &[Found], choices: &[Choice], several: bool) -> std::result::Result<Vec<usize>, String> {
    let places = match answer {
        // What is no site any more, or not to be read unasked, is taken only by its number.
        "all" if several => (0..found.len()).filter(|at| found[*at].known.is_some()).collect(),
        some => ask::several(some, choices)?,
    };
    match places.len() {
        0 => Err("None of them could be read: please answer with numbers.".into()),
        1 => Ok(places),
        _ if !several => Err("Please choose one.".into()),
        _ if places.contains(&found.len()) => Err("Another folder can only be chosen by itself.".into()),
        _ => Ok(places),
    }
}

fn folder(wizard: &mut Wizard, now: Option<PathBuf>) -> Result<Reply<Vec<PathBuf>>> {
    let default = now.map(|root| root.display().to_string());
    wizard.person.text(&Question { ask: "In which folder is Moodle's code?", help: HELP, default }, |answer| {
        let path = Path::new(answer);
        match (path.is_absolute(), path.join("config.php").exists()) {
            (false, _) => Err("Please name the folder from \"/\" on.".into()),
            (true, false) => Err(format!("There is no config.php in {answer}.")),
            (true, true) => Ok(vec![path.to_path_buf()]),
        }
    })
}

/// Reads the chosen site. Says what it is, or why it cannot be read; then whether that was possible.
pub fn look(wizard: &mut Wizard) -> Result<bool> {
    wizard.take_web_user();
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
            ask::what_to_do(&error).into_iter().for_each(|words| wizard.person.tell(&words));
            // Without PHP no site can be read: the next page sees to that.
            Ok(wizard.lacks_php())
        }
    }
}

/// The chosen site with its sizes and its quiet hours.
pub fn looked(wizard: &Wizard) -> Result<Looked> {
    let settings = wizard.provisional()?;
    let site = read_site(&settings)?;
    let Told { name, sizes } = measure::measure(&site);
    let quiet = quiet::quiet_hour(&site).unwrap_or_default();
    Ok(Looked { site, name, sizes, quiet })
}

fn told(looked: &Looked) -> String {
    let Looked { site, name, sizes, .. } = looked;
    let name = name.as_ref().map(|name| format!("{name:?}, ")).unwrap_or_default();
    format!(
        "{name}{}, Moodle {}, {}. Users' files {}, code {}, other files {}, database {}.",
        site.config.wwwroot,
        site.release.release,
        site.connection.title(),
        human::bytes(sizes.pool),
        human::bytes(sizes.code),
        human::bytes(sizes.rest),
        human::bytes(sizes.database)
    )
}

/// What it is called.
pub fn name(wizard: &mut Wizard) -> Result<Move> {
    let question = Question {
        ask: "What is it to be called here?",
        help: "A short name: that of its folder among the backups, and in logs. Two sites on one backup disk need two names. \
               Settings file and timers of a further site are called so too.",
        default: Some(wizard.name()),
    };
    let (known, paths) = (wizard.known(), &wizard.session.paths);
    let by_name = wizard.named_by_site;
    let file = wizard.file.clone();
    let free = |name: &str| match by_name {
        true => turns::is_free(paths, name, &known),
        false => !turns::has_another_site(name, &file, &known),
    };
    let check = |answer: &str| match crate::settings::name(answer)? {
        name if free(&name) => Ok(name),
        name => Err(format!("{name} is the name of another site here, or of its settings: please choose another.")),
    };
    let Reply::Given(name) = wizard.person.text(&question, check)? else { return Ok(Move::Back) };
    if by_name {
        wizard.file = turns::file_named(paths, &name);
        wizard.person.tell(&format!("Its settings go into {}.", wizard.file.display()));
    }
    wizard.answers.site.name = Some(name);
    Ok(Move::Next)
}
