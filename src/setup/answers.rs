//! What the set-up is to do, as plain answers: read from a file, or given by somebody to questions. Neither questions nor
//! work must go in here.

use super::disks::Way;
use crate::error::{Fault, OrFault, Result};
use crate::settings::Retention;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// All answers. What is left out is as it is in the settings already, or as the set-up would propose it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Answers {
    /// Whether packages that are missing are installed with apt; `None`: not decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub install_packages: Option<bool>,
    /// Whether the first backup is made, and verified, at the end; where there is one already, none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_backup: Option<bool>,
    /// The site.
    pub site: Site,
    /// Where its backups go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Way>,
    /// Further folders to be saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directories: Option<Vec<PathBuf>>,
    /// Further databases to be saved, beside those that the settings have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<Database>,
    /// When.
    pub schedule: Schedule,
    /// How many backups are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Kept>,
    /// Who is told of a failure.
    pub notification: Notification,
    /// What becomes of the scripts that did this work before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<Predecessor>,
}

/// `[site]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Site {
    /// The folder with config.php. `None`: the only one that is found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
    /// What it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The PHP of its scripts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub php: Option<PathBuf>,
    /// The user of the web server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_user: Option<String>,
    /// The units of the web server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<String>>,
}

/// One of `[[databases]]`, on Moodle's own server.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// An option file with the account for it; Moodle's own account if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options_file: Option<PathBuf>,
}

/// `[schedule]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// When the nightly backup begins, `01:30`; or `never`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nightly: Option<String>,
    /// Whether the backups are read again each week.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weekly_verify: Option<bool>,
}

/// `[retention]`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The newest.
    pub last: u32,
    /// One a day.
    pub daily: u32,
    /// One a week.
    pub weekly: u32,
    /// One a month.
    pub monthly: u32,
    /// One a year.
    #[serde(default)]
    pub yearly: u32,
}

impl Kept {
    /// The rules that keep them.
    pub fn rules(self) -> Retention {
        let Kept { last, daily, weekly, monthly, yearly } = self;
        Retention { last, daily, weekly, monthly, yearly, make_room: false }
    }

    /// In words: `the 3 newest, one a day for 7 days`.
    pub fn told(self) -> String {
        let each = [
            (self.daily, "day", "days"),
            (self.weekly, "week", "weeks"),
            (self.monthly, "month", "months"),
            (self.yearly, "year", "years"),
        ];
        let newest = match self.last {
            0 => None,
            1 => Some("the newest".to_owned()),
            many => Some(format!("the {many} newest")),
        };
        let each = each.iter().filter(|(count, ..)| *count > 0).map(|(count, one, many)| match count {
            1 => format!("one of the last {one}"),
            _ => format!("one a {one} for {count} {many}"),
        });
        newest.into_iter().chain(each).collect::<Vec<_>>().join(", ")
    }
}

impl From<Retention> for Kept {
    fn from(it: Retention) -> Kept {
        Kept { last: it.last, daily: it.daily, weekly: it.weekly, monthly: it.monthly, yearly: it.yearly }
    }
}

/// `[notification]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Notification {
    /// Who gets a mail when a run fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mail: Option<String>,
}

/// `[predecessor]`
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Predecessor {
    /// Its settings file, whose values are taken where these answers say nothing else.
    pub settings: PathBuf,
    /// Its post-job script, to be taken into post-job.d.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_job: Option<PathBuf>,
    /// Whether its line in cron is put out of use.
    #[serde(default)]
    pub disable_cron: bool,
    /// The moodledata of its last set, whose files become the pool's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<PathBuf>,
}

/// What `--print-answers` begins with.
const HEAD: &str = "# Answers for \"moodle-backup setup --answers FILE\".\n";

impl Answers {
    /// Reads a file of answers. Errors are of kind unfit and tell the line.
    pub fn read(file: &Path) -> Result<Answers> {
        let text = std::fs::read_to_string(file)
            .or_fault(|| Fault::unfit(format!("cannot read the answers in {}", file.display())))?;
        toml::from_str(&text).map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            let (file, what) = (file.display(), error.message());
            Fault::unfit(format!("{file} is not as answers must be, in line {line}: {what}"))
                .hint("\"moodle-backup setup --print-answers\" shows how they are written")
                .into()
        })
    }

    /// As a file for [`Answers::read`]. That something may be lost was said of the disk of this machine, and is left out.
    pub fn text(&self) -> Result<String> {
        let mut answers = self.clone();
        if let Some(Way::Format { destroy, .. }) = &mut answers.target {
            *destroy = None;
        }
        Ok(HEAD.to_owned()
            + &toml::to_string_pretty(&answers).or_fault(|| Fault::failed("answers cannot be written"))?)
    }
}

/// `never`, or a time of the day such as `01:30`, as hour and minute.
pub fn time_of_day(text: &str) -> std::result::Result<Option<(u32, u32)>, String> {
    if text == "never" {
        return Ok(None);
    }
    let two = |text: &str, end: u32| {
        let digits = text.len() <= 2 && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|number| digits && *number < end)
    };
    let time = text.split_once(':').and_then(|(hour, minute)| Some((two(hour, 24)?, two(minute, 60)?)));
    time.map(Some).ok_or_else(|| format!("{text:?} is no time of the day: write it as 01:30, or never"))
}

/// Why a time is a bad one for a backup, where that is so.
pub fn doubt(time: &str) -> Option<String> {
    let (hour, minute) = time_of_day(time).ok().flatten()?;
    let about_three = (2 * 60 + 45..=3 * 60 + 15).contains(&(hour * 60 + minute));
    about_three.then(|| {
        format!("at {time}, about three o'clock, Moodle's own tasks empty a table, which disturbs the dump: better an hour earlier")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_answers_destroy_nothing_elsewhere() {
        let text = "[target]\nway = \"format\"\ndevice = \"/dev/sdb\"\nfile_system = \"ext4\"\npath = \"/b\"\ndestroy = \"/dev/sdb\"\n";
        let answers: Answers = toml::from_str(text).unwrap();
        let printed = answers.text().unwrap();
        assert!(printed.contains("device = \"/dev/sdb\"") && !printed.contains("destroy"), "{printed}");
        assert!(toml::from_str::<Answers>(&printed).is_ok());
    }

    #[test]
    fn times_of_the_day_are_understood() {
        assert_eq!(time_of_day("01:30"), Ok(Some((1, 30))));
        assert_eq!(time_of_day("0:05"), Ok(Some((0, 5))));
        assert_eq!(time_of_day("never"), Ok(None));
        for wrong in ["24:00", "1:60", "1", "", ":", "-1:00", "01:30:00", "1.30", "+1:30"] {
            assert!(time_of_day(wrong).is_err(), "{wrong}");
        }
    }
}
