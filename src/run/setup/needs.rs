//! The page about programs that are missing. Installing them is the one thing that is done before the summary: without PHP
//! nothing can be learnt of a site. It is asked for by itself.

use super::ask::{self, Reply};
use super::pages::Move;
use super::{Wizard, site};
use crate::error::Result;
use crate::setup::needs::{self, Need};

const HELP: &str = "\
The packages are installed by apt-get, now, with what they need themselves. Answer no to install them yourself, in another \
terminal for example, and then < to look again.";

impl Wizard<'_> {
    /// What is missing for the site and the way that were chosen.
    pub fn missing(&self) -> Vec<Need> {
        needs::missing(self.looked.as_ref().map(|it| &it.site), self.answers.target.as_ref())
    }

    /// Whether PHP is missing, without which no site can be read.
    pub fn lacks_php(&self) -> bool {
        self.missing().iter().any(|need| need.what == "php")
    }
}

/// What is missing, and whether it is to be installed.
pub fn programs(wizard: &mut Wizard) -> Result<Move> {
    let missing = wizard.missing();
    if missing.is_empty() {
        wizard.person.tell("All programs that are needed are here.");
        return Ok(Move::Pass);
    }
    let reply = offer(wizard, &missing)?;
    if reply != Move::Next || wizard.looked.is_some() {
        return Ok(reply);
    }
    match site::looked(wizard) {
        Ok(looked) => wizard.looked = Some(looked),
        Err(error) => {
            wizard.person.tell(&format!("The site still cannot be read: {error:#}"));
            return Ok(Move::Back);
        }
    }
    // Only a site that can be read tells which database and what else it needs.
    let more = wizard.missing().iter().any(|need| !missing.contains(need));
    Ok(if more { Move::Again } else { Move::Next })
}

/// Asks whether these are to be installed, and does it.
pub fn offer(wizard: &mut Wizard, missing: &[Need]) -> Result<Move> {
    for need in missing {
        let must = if need.required { "" } else { " (backups can be made without it)" };
        wizard.person.item(&format!("{} is missing: {}{must}", need.what, need.why));
    }
    let packages = needs::packages(missing);
    let ask = format!("Install {} now?", packages.join(", "));
    wizard.person.tell(&format!("\nBy hand: {}", needs::command(&packages)));
    let Reply::Given(install) = wizard.person.yes(&ask, HELP, true)? else { return Ok(Move::Back) };
    wizard.answers.install_packages = Some(install);
    Ok(if install && !helps(wizard, missing)? { Move::Again } else { Move::Next })
}

/// Installs what is missing. Whether that has helped, and if not why: a client for a newer server may be nowhere in this release.
fn helps(wizard: &mut Wizard, missing: &[Need]) -> Result<bool> {
    let installed = needs::install(&needs::packages(missing), wizard.log());
    wizard.person.has_done |= installed.is_ok();
    if let Err(error) = installed {
        crate::sys::signals::check()?;
        wizard.person.tell(&format!("{error:#}"));
        ask::what_to_do(&error).into_iter().for_each(|words| wizard.person.tell(&words));
        return Ok(false);
    }
    let still = wizard.missing().into_iter().find(|need| need.required && missing.contains(need));
    if let Some(need) = &still {
        wizard.person.tell(&format!("That was not enough: there is no {} yet.", need.what));
    }
    Ok(still.is_none())
}
