//! The questions of when, how many and whom to tell: the night's hour, the weekly check, the retention, the mail.

use super::Wizard;
use super::ask::{self, Choice, Question, Reply};
use super::pages::Move;
use crate::error::Result;
use crate::report::human;
use crate::setup::answers::{Kept, doubt, time_of_day};
use crate::setup::measure;
use crate::setup::notify;
use crate::setup::quiet;
use crate::setup::units::Units;

/// When the backups are made.
pub fn when(wizard: &mut Wizard) -> Result<Move> {
    let proposed = wizard.proposed_time();
    let quiet = wizard.looked.as_ref().and_then(|it| it.quiet);
    wizard.person.tell(&quiet.as_ref().map_or_else(|| quiet::UNKNOWN.to_owned(), quiet::told));
    // A timer that is off may be one that an earlier call has not come to.
    let units = Units::of(&wizard.session.paths, &wizard.file);
    let present = || wizard.old.as_ref().and_then(|_| units.present()).filter(|time| time != "never");
    let default = wizard.answers.schedule.nightly.clone().or_else(present).unwrap_or(proposed);
    let question = Question {
        ask: "When is the backup to be made each night?",
        help: "An hour and minute of this server's clock, such as 01:30; or \"never\", if something else starts it. The \
               site is closed for about a second then, and the disks are busy for some time. About 3:00 Moodle's own \
               tasks empty a table, which would disturb the dump: keep away from it.",
        default: Some(default),
    };
    let Reply::Given(time) = wizard.person.text(&question, |answer| time_of_day(answer).map(|_| answer.to_owned()))?
    else {
        return Ok(Move::Back);
    };
    let doubts = doubt(&time).into_iter().chain(quiet.and_then(|quiet| quiet::doubt(&quiet, &time)));
    let doubts: Vec<String> = doubts.collect();
    doubts.iter().for_each(|doubt| wizard.person.tell(&format!("WARNING: {doubt}.")));
    if !doubts.is_empty() {
        let kept_before = wizard.answers.schedule.nightly.as_ref() == Some(&time);
        let help = "No asks for the hour once more. The backups are right at any hour; it is the site's users who may notice them.";
        if wizard.person.yes("Keep that hour all the same?", help, kept_before)? != Reply::Given(true) {
            return Ok(Move::Again);
        }
    }
    wizard.answers.schedule.nightly = Some(time);
    Ok(Move::Next)
}

/// Whether the backups are read again each week.
pub fn whether_to_verify(wizard: &mut Wizard) -> Result<Move> {
    let help = "Disks err without a word. Once a week the newest backup is read again, with a part of the users' files \
                each time, and compared with its checksums. It takes up to some hours, at low priority, and stands in the \
                way of nothing.";
    let units = Units::of(&wizard.session.paths, &wizard.file);
    let present = || wizard.old.as_ref().and_then(|_| units.verifies());
    let default = wizard.answers.schedule.weekly_verify.or_else(present).unwrap_or(true);
    let Reply::Given(verify) =
        wizard.person.yes("Are the backups to be read again each week, to find damage?", help, default)?
    else {
        return Ok(Move::Back);
    };
    wizard.answers.schedule.weekly_verify = Some(verify);
    Ok(Move::Next)
}

/// How far back backups are usually kept.
const USUAL: [(&str, Kept); 4] = [
    ("a week", Kept { last: 3, daily: 7, weekly: 0, monthly: 0, yearly: 0 }),
    ("a month", Kept { last: 3, daily: 7, weekly: 4, monthly: 0, yearly: 0 }),
    ("a year", Kept { last: 3, daily: 7, weekly: 4, monthly: 12, yearly: 0 }),
    ("ten years", Kept { last: 3, daily: 7, weekly: 4, monthly: 12, yearly: 10 }),
];

/// How many backups are kept, and what that costs.
pub fn how_many(wizard: &mut Wizard) -> Result<Move> {
    let kept = wizard.answers.retention.unwrap_or_else(|| wizard.retention_until_now());
    let choices: Vec<Choice> = USUAL.iter().map(|(back, kept)| Choice::new(choice(wizard, back, *kept))).collect();
    let usual = USUAL.iter().position(|(_, usual)| *usual == kept);
    let default = usual.map_or_else(|| written(kept), |at| ask::numbers(&[at]));
    let ask = "How many backups are to be kept? Choose how far back they go, or type five numbers of your own: the newest so \
               many, then one for each of so many days, weeks, months and years.";
    let help = "A backup is kept if any of the five asks for it. Users' files are stored once for all backups, so a further one \
                costs little more than its dump. Nothing is removed before a new backup is complete.";
    let Reply::Given(kept) = wizard.person.pick(ask, help, &choices, Some(default), how_far_back)? else {
        return Ok(Move::Back);
    };
    wizard.answers.retention = Some(kept);
    Ok(Move::Next)
}

/// What one of the usual ways keeps, and the room that it takes where that can be told.
fn choice(wizard: &Wizard, back: &str, kept: Kept) -> String {
    let room = wizard.looked.as_ref().map(|_| measure::room(&wizard.sizes(), &kept.rules()).in_a_year);
    let room = room.map_or_else(String::new, |room| format!("; about {} in a year", human::bytes(room)));
    format!("{back}: {}{room}", kept.told())
}

/// One of the usual ways by its place in the list, or five numbers.
fn how_far_back(answer: &str) -> Result<Kept, String> {
    let chosen = answer.parse::<usize>().ok().and_then(|number| USUAL.get(number.checked_sub(1)?));
    chosen.map_or_else(|| numbers(answer), |(_, kept)| Ok(*kept))
}

/// Who is told when a run fails.
pub fn whom_to_tell(wizard: &mut Wizard) -> Result<Move> {
    if let Some(why) = notify::lacking(&wizard.session.paths) {
        wizard.person.tell(&format!("Note: {why}."));
    }
    let default = wizard.answers.notification.mail.clone().or_else(|| notify::present(&wizard.session.paths));
    let question = Question {
        ask: "Who is to get a mail when a backup fails? An address, or \"nobody\".",
        help: "A small program is put into failure.d, for all sites of this server, which hands the error to this server's mail system (sendmail). Whether mails \
               leave this server is not tried here. Other ways to be told: a program of your own in failure.d, OnFailure= of \
               the unit, and \"moodle-backup status --max-age 26h\" for monitoring.",
        default: Some(default.unwrap_or_else(|| notify::NOBODY.into())),
    };
    let Reply::Given(mail) = wizard.person.text(&question, notify::address)? else { return Ok(Move::Back) };
    if !is_meant(wizard, &mail)? {
        return Ok(Move::Again);
    }
    wizard.answers.notification.mail = Some(mail);
    Ok(Move::Next)
}

/// Whether an address is kept at which nobody seems to be: the mail system may know more than can be seen here.
fn is_meant(wizard: &mut Wizard, mail: &str) -> Result<bool> {
    let Some(why) = notify::unknown(&wizard.session.paths, mail).filter(|_| mail != notify::NOBODY) else {
        return Ok(true);
    };
    wizard.person.tell(&format!("WARNING: {why}."));
    let help = "An address on another server has an @. Keep this one if your mail system knows it from elsewhere than the accounts \
                and aliases of this server, or if you make it later.";
    let kept_before = notify::present(&wizard.session.paths).is_some_and(|it| it == mail);
    Ok(wizard.person.yes("Keep that address all the same?", help, kept_before)? == Reply::Given(true))
}

fn written(kept: Kept) -> String {
    format!("{} {} {} {} {}", kept.last, kept.daily, kept.weekly, kept.monthly, kept.yearly)
}

fn numbers(answer: &str) -> Result<Kept, String> {
    let numbers: Option<Vec<u32>> = answer
        .split([' ', ','])
        .filter(|word| !word.is_empty())
        .map(|word| word.parse().ok().filter(|number| *number <= 10_000))
        .collect();
    match numbers.as_deref() {
        Some([0, 0, 0, 0, 0]) => Err("That would keep none at all: at least one of them must be above 0.".into()),
        Some(&[last, daily, weekly, monthly, yearly]) => Ok(Kept { last, daily, weekly, monthly, yearly }),
        _ => Err(format!(
            "Please answer with a number from 1 to {}, or with five whole numbers up to {}, such as 3 7 4 12 0.",
            USUAL.len(),
            human::number(10_000)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_list_or_five_numbers_are_a_retention() {
        let kept = Kept { last: 3, daily: 7, weekly: 4, monthly: 12, yearly: 0 };
        assert_eq!(how_far_back(&written(kept)), Ok(kept));
        assert_eq!(how_far_back("3, 7, 4, 12, 0"), Ok(kept));
        assert_eq!(how_far_back("3"), Ok(kept));
        for wrong in ["", "0", "5", "3 7 4 12", "0 0 0 0 0", "1 2 3 4 -5", "3 7 4 12 0 1", "10001 0 0 0 0", "a b c d e"]
        {
            assert!(how_far_back(wrong).is_err(), "{wrong}");
        }
    }
}
