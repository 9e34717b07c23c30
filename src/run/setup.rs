//! The command `setup`: questions on a terminal, or answers from a file; then the list of all that will be done; then it is
//! done. The page to read first. What is done is `crate::setup`'s; nothing is changed before the list was agreed to.

mod ask;
mod broken_off;
mod change;
mod finish;
mod format;
mod more;
mod needs;
mod pages;
mod predecessor;
mod schedule;
mod site;
mod target;
mod turns;
mod unasked;

use super::Session;
use crate::cli;
use crate::error::{Fault, Result};
use crate::moodle::overrides::Secret;
use crate::preflight::Site;
use crate::settings::{self, Retention, Settings};
use crate::setup::answers::{Answers, Kept};
use crate::setup::discover::{self, Discovery};
use crate::setup::disks::Device;
use crate::setup::measure::{self, Sizes};
use crate::setup::present_backups;
use crate::setup::quiet::Quiet;
use crate::sys::log::Log;
use ask::Person;
use std::collections::VecDeque;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

const WELCOME: &str = "\
This sets up the backups of a Moodle site, in a few minutes; call it again to change something.
Enter takes the answer in [brackets], ? explains a question, < goes back, Ctrl-C ends. Nothing is changed before you \
have seen a list of all that will be done, and have agreed to it.";

/// A set-up that is being asked for.
#[derive(Debug)]
pub struct Wizard<'a> {
    session: &'a Session<'a>,
    person: Person,
    answers: Answers,
    /// The settings file that is written.
    file: PathBuf,
    /// Whether that is called as the site is.
    named_by_site: bool,
    /// The settings as they are until now.
    old: Option<Settings>,
    /// The site that the options name.
    meant: Option<PathBuf>,
    /// Whether several sites can be chosen.
    several: bool,
    /// Whether there is no question which site is meant: it is the only one, and set up.
    site_is_clear: bool,
    /// The pages that are asked of a site that is set up already, by their titles; `None`: all of them.
    wanted: Option<Vec<&'static str>>,
    /// Sites that were chosen too, and are set up after this one.
    waiting: VecDeque<PathBuf>,
    /// Sites that this call has set up.
    done: Vec<turns::Known>,
    /// What was found on this machine, once it was looked for.
    discovery: Option<Discovery>,
    /// The site that was chosen, as it was read.
    looked: Option<Looked>,
    /// The device for the backups, as it was when it was chosen.
    seen: Option<Device>,
    /// Whether nothing is to be done.
    planned: bool,
    /// Whether the answers are printed, for another server.
    for_another: bool,
    /// Packages that would be installed if it were.
    to_install: Option<Vec<String>>,
    /// Whether the answers of an earlier call are gone on with, of one of several sites that was not the first.
    goes_on_with_further: bool,
    /// Accounts of databases that were typed, each with the file that it goes into.
    accounts: Vec<(PathBuf, Secret)>,
}

/// The chosen site, and what was measured of it.
#[derive(Debug)]
pub struct Looked {
    site: Site,
    /// Its full name, where its database tells it.
    name: Option<String>,
    sizes: Sizes,
    quiet: Option<Quiet>,
}

/// Sets up.
pub fn setup(session: &Session, args: &cli::Setup) -> Result<u8> {
    let answers = unasked::from_options(args)?;
    let mut wizard = Wizard::new(session, answers)?;
    wizard.planned = args.plan;
    wizard.for_another = args.print_answers;
    let somebody = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let asks = somebody && args.answers.is_none() && !args.yes && !session.global.json;
    // Printed answers are of one site.
    wizard.several = asks && !args.print_answers;
    if asks {
        wizard.person.tell(WELCOME);
    }
    match (asks, args.answers.is_some() || args.yes || args.plan) {
        (true, _) if wizard.several => return turns::one_after_the_other(&mut wizard, args),
        (true, _) => wizard.ask_all(None)?,
        (false, true) => wizard.resolve()?,
        (false, false) => {
            return Err(Fault::usage("a set-up asks questions, and nobody is here to answer them")
                .hint("give the answers in a file: --answers FILE; or take what would be proposed: --yes")
                .into());
        }
    }
    if args.print_answers {
        print!("{}", wizard.answers.text()?);
        return Ok(0);
    }
    finish::finish(&mut wizard, args, asks)
}

impl<'a> Wizard<'a> {
    fn new(session: &'a Session, mut answers: Answers) -> Result<Wizard<'a>> {
        let file = turns::named(session);
        let meant = answers.site.root.as_deref().map(turns::whole);
        let old = turns::filled(&file)?;
        if let Some(old) = &old {
            unasked::from_settings(&mut answers, old);
        }
        Ok(Wizard {
            session,
            person: Person::default(),
            answers,
            file,
            named_by_site: false,
            old,
            meant,
            several: false,
            site_is_clear: false,
            wanted: None,
            waiting: VecDeque::new(),
            done: Vec::new(),
            discovery: None,
            looked: None,
            seen: None,
            planned: false,
            for_another: false,
            to_install: None,
            goes_on_with_further: false,
            accounts: Vec::new(),
        })
    }

    /// Looks for sites, once: it takes some seconds.
    fn discovery(&mut self) -> &Discovery {
        let paths = &self.session.paths;
        self.discovery.get_or_insert_with(|| discover::sites(paths))
    }

    /// The settings as they would be for what was answered so far; for looking at the site only.
    fn provisional(&self) -> Result<Settings> {
        let root = self.answers.site.root.clone().unwrap_or_default();
        let mut settings = match &self.old {
            Some(old) => old.clone(),
            None => settings::without_file(&self.name(), &root, &PathBuf::from("/nowhere"))?,
        };
        settings.site.root = root;
        settings.site.php.clone_from(&self.answers.site.php);
        settings.site.web_user.clone_from(&self.answers.site.web_user);
        Ok(settings)
    }

    fn name(&self) -> String {
        self.answers.site.name.clone().unwrap_or_else(|| self.proposed_name())
    }

    fn retention_until_now(&self) -> Kept {
        const USUAL: Kept = Kept { last: 3, daily: 7, weekly: 4, monthly: 12, yearly: 0 };
        self.old.as_ref().map_or(USUAL, |old| old.retention.into())
    }

    fn proposed_time(&self) -> String {
        let (hour, minute) =
            self.looked.as_ref().and_then(|it| it.quiet.as_ref()).map_or((1, 30), |quiet| quiet.proposed);
        format!("{hour:02}:{minute:02}")
    }

    fn kept(&self) -> Retention {
        self.answers.retention.unwrap_or_else(|| self.retention_until_now()).rules()
    }

    fn sizes(&self) -> Sizes {
        self.looked.as_ref().map_or_else(Sizes::default, |it| it.sizes)
    }

    fn has_backups(&self) -> bool {
        self.old.as_ref().is_some_and(|old| present_backups::count(old) > 0)
    }

    /// Bytes that the first backup takes, about.
    fn needed(&self) -> u64 {
        measure::room(&self.sizes(), &self.kept()).first
    }

    /// The folders of the site: their disks are kept off.
    fn site_folders(&self) -> Vec<&Path> {
        let Some(Looked { site, .. }) = &self.looked else { return Vec::new() };
        vec![&site.layout.root, &site.config.dataroot, &site.config.filedir]
    }

    /// The UUID of the disk that the settings name.
    fn present_disk(&self) -> Option<&str> {
        self.old.as_ref()?.target.mount_uuid.as_deref()
    }

    fn log(&self) -> &Log {
        &self.session.log
    }
}
