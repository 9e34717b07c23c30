//! The page about the Moodle Backup Scripts, where they are found: their settings as first answers, their hook, their line in
//! cron, and the users' files that they have saved.

use super::Wizard;
use super::ask::Reply;
use super::pages::Move;
use crate::error::Result;
use crate::setup::answers::{Answers, Predecessor};
use crate::setup::predecessor::find::{self, Found};
use crate::setup::predecessor::{self, Translation};
use std::path::PathBuf;

const HELP: &str = "\
Their values are proposed in the questions that follow, where each can be changed. What has no equal here is told. The \
scripts themselves, their settings and what they have saved are left as they are, unless you say otherwise.";
const CRON: &str = "\
The line stays in cron as a comment, and the file as it was is kept. It is done last, when everything else is set up. With \
both at work, the site would be backed up twice each night.";
const ADOPT: &str = "\
The files are taken into the pool by further links, where both lie on one disk, so that they take no more room and no time. \
Each is compared with its name. They become root's, in the old set too, since the web server must not be able to change what \
backups are made of.";

/// Where they are at work, unless these settings were made already.
pub fn found(wizard: &Wizard) -> Option<Found> {
    let fresh = wizard.old.is_none() || wizard.answers.predecessor.is_some();
    find::find(&wizard.session.paths).filter(|_| fresh)
}

/// Whether what they say and have is taken over.
pub fn take_over(wizard: &mut Wizard) -> Result<Move> {
    let Some(found) = found(wizard) else { return Ok(Move::Pass) };
    wizard.person.tell(&format!("They are at work here: {}", found.line.trim()));
    let translation = predecessor::read(&found.settings)?;
    for line in &translation.lines {
        wizard.person.item(&format!("{} = {}: {}", line.key, line.value, line.becomes));
    }
    let Reply::Given(take) = wizard.person.yes("Take over their settings?", HELP, true)? else { return Ok(Move::Back) };
    if !take {
        wizard.answers.predecessor = None;
        return Ok(Move::Next);
    }
    let post_job = match &found.post_job {
        Some(script) => post_job(wizard, script.clone())?,
        None => Reply::Given(None),
    };
    let Reply::Given(post_job) = post_job else { return Ok(Move::Again) };
    let Reply::Given(disable_cron) = wizard.person.yes("Put their line in cron out of use?", CRON, true)? else {
        return Ok(Move::Again);
    };
    let adopt = match &translation.set {
        Some(set) => {
            let ask = format!("Take over the users' files that they have saved, in {}?", set.display());
            match wizard.person.yes(&ask, ADOPT, true)? {
                Reply::Given(yes) => yes.then(|| set.clone()),
                Reply::Back => return Ok(Move::Again),
            }
        }
        None => None,
    };
    propose(&mut wizard.answers, &translation);
    wizard.answers.predecessor = Some(Predecessor { settings: found.settings, post_job, disable_cron, adopt });
    Ok(Move::Next)
}

fn post_job(wizard: &mut Wizard, script: PathBuf) -> Result<Reply<Option<PathBuf>>> {
    let doubts = find::doubts(&find::hook_text(&script)?);
    if !doubts.is_empty() {
        wizard
            .person
            .tell("In their post-job script these lines will hardly work any more; you may want to write them anew:");
        doubts.iter().for_each(|doubt| wizard.person.item(doubt));
    }
    let ask = format!("Take over their post-job script {}?", script.display());
    let help = "It becomes a hook in post-job.d. Its first argument is now the folder of all backups of the site, a copy of which is \
                whole; it runs as the user moodle-backup, who can read all of it and change nothing.";
    let taken = wizard.person.yes(&ask, help, doubts.is_empty())?;
    Ok(match taken {
        Reply::Given(yes) => Reply::Given(yes.then_some(script)),
        Reply::Back => Reply::Back,
    })
}

/// Their values, where nothing was answered yet.
pub fn propose(answers: &mut Answers, translation: &Translation) {
    use crate::setup::answers::Database;
    use crate::setup::disks::Way;
    let text = |section: &str, key: &str| {
        let change = translation.changes.iter().find(|it| it.section == section && it.key == key)?;
        change.value.as_ref()?.as_str().map(str::to_owned)
    };
    let list = |section: &str, key: &str| -> Option<Vec<String>> {
        let change = translation.changes.iter().find(|it| it.section == section && it.key == key)?;
        Some(change.value.as_ref()?.as_array()?.iter().filter_map(|it| it.as_str().map(str::to_owned)).collect())
    };
    let site = &mut answers.site;
    site.root = site.root.take().or_else(|| text("site", "root").map(PathBuf::from));
    site.name = site.name.take().or_else(|| text("site", "name"));
    site.php = site.php.take().or_else(|| text("site", "php").map(PathBuf::from));
    site.web_user = site.web_user.take().or_else(|| text("site", "web_user"));
    site.services = site.services.take().or_else(|| list("site", "services"));
    let folder = |path: String| Way::Mounted { path: path.into() };
    answers.target = answers.target.take().or_else(|| text("target", "path").map(folder));
    let paths = |paths: Vec<String>| paths.into_iter().map(PathBuf::from).collect();
    answers.directories = answers.directories.take().or_else(|| list("directories", "paths").map(paths));
    for name in &translation.databases {
        if !answers.databases.iter().any(|it| it.name == *name) {
            answers.databases.push(Database { name: name.clone(), options_file: None });
        }
    }
}
