//! The end of a set-up: the summary, the work, the look at what was made, the first backup, and how to bring it back.

use super::Wizard;
use super::ask::{self, Reply};
use super::pages::{MAIL, Move, PLACE, PREDECESSOR, SUMMARY};
use crate::cli::{self, Restart};
use crate::error::{self, Fault, Kind, Result};
use crate::report::setup::{self as view, Done};
use crate::run::{Session, check, job, verify};
use crate::setup::actions::{self, Context, Plan};
use crate::setup::needs;
use crate::setup::refusal::{About, Refusal};
use crate::sys::process::unit::systemd_runs;
use crate::sys::signals;
use std::io::IsTerminal;

const HELP: &str = "\
Answer yes, and all of it is done in this order, each step told. Answer no, and nothing is done. With < the questions can \
be gone through again. If a step fails, what was done stays, and a further set-up goes on from there.";

/// The summary, and whether all of it is to be done.
pub fn agree(wizard: &mut Wizard) -> Result<Move> {
    wizard.propose_rest();
    let plan = match possible(wizard) {
        Ok(plan) => plan,
        // Nothing of what was answered is lost by that.
        Err(Refusal { about, error }) if error::kind(&error) == Kind::Unfit => {
            wizard.person.tell(&format!("\nThis cannot be done: {error:#}."));
            ask::what_to_do(&error).into_iter().for_each(|words| wizard.person.tell(&words));
            return Ok(page_about(about));
        }
        Err(refusal) => return Err(refusal.error),
    };
    if plan.steps().is_empty() {
        wizard.person.tell("All of it is so already: there is nothing to be done.");
        return Ok(Move::Next);
    }
    wizard.person.tell("This will be done:");
    plan.steps().iter().for_each(|step| wizard.person.item(step));
    plan.warnings.iter().for_each(|warning| wizard.person.tell(&format!("WARNING: {warning}")));
    wizard.person.forget_what_was_typed();
    match wizard.person.yes("Do all of this now?", HELP, !plan.destroys)? {
        Reply::Back => Ok(Move::Back),
        Reply::Given(true) => Ok(Move::Next),
        Reply::Given(false) => {
            Err(Fault::interrupted(format!("not agreed to: {}", wizard.person.nothing_was_changed())).into())
        }
    }
}

/// The page on which that can be changed.
fn page_about(about: About) -> Move {
    match about {
        About::Place => Move::To(PLACE),
        About::Mail => Move::To(MAIL),
        About::Predecessor => Move::To(PREDECESSOR),
        About::Machine => Move::Back,
    }
}

/// What would be done, if that can be done.
fn possible(wizard: &Wizard) -> std::result::Result<Plan, Refusal> {
    let plan = actions::plan(&wizard.answers, &wizard.context())?;
    let missing = wizard.answers.target.as_ref().map(needs::tools_for).unwrap_or_default();
    match missing.first() {
        Some(need) => Err(Refusal {
            about: About::Place,
            error: Fault::unfit(format!("{} is missing: {}", need.what, need.why))
                .hint(needs::command(&needs::packages(&missing)))
                .into(),
        }),
        None => Ok(plan),
    }
}

/// Does all that the answers ask for, and shows what has come of it.
pub fn finish(wizard: &mut Wizard, args: &cli::Setup, asks: bool) -> Result<u8> {
    wizard.propose_rest();
    let context = wizard.context();
    let plan = actions::plan(&wizard.answers, &context).map_err(|refusal| refusal.error)?;
    let install = wizard.to_install.iter().map(|packages| format!("install {}", packages.join(", ")));
    let steps: Vec<String> = install.chain(plan.steps().into_iter().map(str::to_owned)).collect();
    // Not by the log: they are not those of the backup that may follow.
    let warnings = if asks { Vec::new() } else { plan.warnings.clone() };
    if args.plan {
        wizard.session.print(&Done { steps, warnings, planned: true, ..Done::default() }, view::text)?;
        return Ok(0);
    }
    // For a person in lines of his terminal's width, for a log one line each.
    let (person, log) = (&wizard.person, wizard.log());
    let terminal = asks || (std::io::stderr().is_terminal() && !wizard.session.global.quiet);
    let tell = |words: &str| if terminal { person.tell(words) } else { log.info(words) };
    let carried_out = actions::carry_out(&plan, &wizard.answers, &context, log, &tell);
    let file = context.settings_file.clone();
    wizard.person.has_done = true;
    if let (Err(_), true) = (&carried_out, asks) {
        // The settings may be others by now.
        wizard.keep_answers(SUMMARY);
    }
    carried_out?;
    wizard.forget_answers();
    let global = cli::Global { settings: Some(file.clone()), ..wizard.session.global.clone() };
    let session = Session { global: &global, paths: wizard.session.paths.clone(), log: wizard.session.log.clone() };
    let settings = session.settings()?;
    let problems = check::look(&session, &settings)?.problems();
    let done = Done {
        steps,
        warnings,
        planned: false,
        settings: file.display().to_string(),
        problems: problems.clone(),
        site: settings.site.name.clone(),
        cron: (!systemd_runs()).then(|| wizard.answers.schedule.nightly.clone()).flatten(),
        further: file != wizard.session.paths.settings(),
    };
    wizard.session.print(&done, view::text)?;
    if !problems.is_empty() {
        return Ok(Kind::Unfit.exit_code());
    }
    match &plan.before_a_run {
        Some(command) => Ok(without_first_backup(wizard, command, asks)),
        None => first_backup(wizard, &session, &done, asks, args.first_backup),
    }
}

/// One that is made now would lie where the others are to be moved to.
fn without_first_backup(wizard: &Wizard, command: &str, asks: bool) -> u8 {
    let wanted = wizard.answers.first_backup == Some(true);
    let words = format!(
        "No backup is made now: it would lie where the others are to be moved to. First: {command}. Then: moodle-backup run. Who wants \
         to begin anew leaves out the first."
    );
    match (asks, wanted) {
        (true, _) => wizard.person.tell(&format!("\n{words}")),
        (false, true) => wizard.log().info(words),
        (false, false) => {}
    }
    if wanted { error::EXIT_WARNINGS } else { 0 }
}

/// Offers the first backup, makes it, reads it again, and tells how to bring it back.
fn first_backup(wizard: &mut Wizard, session: &Session, done: &Done, asks: bool, ordered: bool) -> Result<u8> {
    let none_yet = !crate::run::listing::store(&session.settings()?)?
        .is_some_and(|store| store.backups().is_ok_and(|listing| listing.newest().is_some()));
    let help = "It goes on if this terminal closes; \"moodle-backup attach\" shows it again. The site is closed for about a second.";
    let wanted = match wizard.answers.first_backup {
        // Who says so now means one now; a file says it each time.
        Some(true) if ordered => true,
        Some(true) if !none_yet => {
            wizard.log().info("there is a backup already: first_backup makes none");
            false
        }
        Some(wanted) => wanted,
        None if asks => {
            let ask = if none_yet {
                "Make the first backup now, and verify it?"
            } else {
                "Make a backup now, and verify it?"
            };
            wizard.person.yes(ask, help, none_yet)? == Reply::Given(true)
        }
        None => false,
    };
    if !wanted {
        return Ok(0);
    }
    let run = cli::Run {
        restart: Restart::Full,
        window: None,
        foreground: false,
        scheduled: false,
        label: none_yet.then(|| "the first backup".to_owned()),
        export: None,
        dry_run: false,
        log: None,
        keep_all: false,
    };
    let ran = job::run(session, &run)?;
    if ran != 0 && ran != error::EXIT_WARNINGS {
        return Ok(ran);
    }
    if signals::received() {
        wizard.person.tell("It is not verified then: \"moodle-backup verify\" does that when it has ended.");
        return Ok(ran);
    }
    let verified = verify::verify(session, &cli::Verify::newest())?;
    wizard.person.tell(&done.how_to_restore());
    Ok(if verified == 0 { ran } else { verified })
}

impl Wizard<'_> {
    fn context(&self) -> Context<'_> {
        Context {
            paths: &self.session.paths,
            settings_file: self.file.clone(),
            needed: self.needed(),
            site: self.site_folders().into_iter().map(Into::into).collect(),
            seen: self.seen.clone(),
            present: self.old.as_ref(),
            accounts: self.accounts.clone(),
        }
    }
}
