//! What is printed: for people, as plain text of 80 columns, and for other programs, as JSON. Pure formatting of
//! view structs, which are the documented shapes of `--json` (`docs/json.md`); the commands fill them. Nothing
//! here reads the disk, asks the system or decides.

pub mod check;
pub mod export;
pub mod extract;
pub mod find;
pub mod import;

pub(crate) mod layout;
pub mod list;
pub mod outcome;
pub mod pin;
pub mod plan;
pub mod progress;
pub mod restore;
pub mod setup;
pub mod show;
pub mod status;
pub mod verify;

use crate::error;
use crate::sys::commands;
pub use crate::sys::human;
use chrono::{DateTime, Local, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};

/// How text is to look. Colour only underlines what words say already.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Whether to use ANSI colours.
    pub color: bool,
    /// The time to which ages refer.
    pub now: DateTime<Utc>,
    /// The reader's time zone.
    pub local: fn(DateTime<Utc>) -> NaiveDateTime,
}

impl Look {
    /// For this machine's time zone.
    pub fn here(color: bool, now: DateTime<Utc>) -> Look {
        Look { color, now, local: |time| time.with_timezone(&Local).naive_local() }
    }

    /// A time to the minute, in the reader's zone.
    fn minute(&self, time: DateTime<Utc>) -> String {
        (self.local)(time).format("%Y-%m-%d %H:%M").to_string()
    }

    /// How long ago a time is, or how far ahead.
    fn distance(&self, time: DateTime<Utc>) -> String {
        let seconds = (self.now - time).num_seconds();
        match seconds {
            0.. => format!("{} ago", human::age(seconds)),
            _ => format!("in {}", human::age(-seconds)),
        }
    }

    fn paint(&self, paint: Paint, text: &str) -> String {
        let code = match (self.color, paint) {
            (false, _) | (_, Paint::None) => return text.to_owned(),
            (_, Paint::Good) => "32",
            (_, Paint::Warning) => "33",
            (_, Paint::Bad) => "31;1",
            (_, Paint::Head) => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

#[derive(Clone, Copy, Debug)]
enum Paint {
    None,
    Good,
    Warning,
    Bad,
    Head,
}

/// A view as JSON, with a newline at its end.
pub fn json<T: Serialize>(view: &T) -> error::Result<String> {
    Ok(serde_json::to_string_pretty(view)? + "\n")
}

/// An error, as `--json` prints it in place of the result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong.
    pub error: String,
    /// Its causes, the outermost first.
    pub because: Vec<String>,
    /// What to do next, where that is known.
    pub next: Option<String>,
    /// The exit code of the program.
    pub exit_code: u8,
}

impl Failure {
    /// The view of an error.
    pub fn of(error: &anyhow::Error) -> Failure {
        Failure {
            error: error.to_string(),
            because: error.chain().skip(1).map(ToString::to_string).collect(),
            next: error::hint(error).map(|hint| commands::complete(hint).into_owned()),
            exit_code: error::kind(error).exit_code(),
        }
    }
}
