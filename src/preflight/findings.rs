//! A list of what was looked at and how it stands.

use crate::error::{self, Result};
use crate::sys::log::Log;

/// How one thing stands.
#[derive(Debug)]
pub enum Outcome {
    /// As it should be; with what was found.
    Fine(String),
    /// A backup can be made, but somebody should look: what, and what to do.
    Warning(String, String),
    /// A backup would be refused.
    Problem(anyhow::Error),
}

/// One thing that was looked at.
#[derive(Debug)]
pub struct Finding {
    /// Its name: `database`, `target`.
    pub what: String,
    /// How it stands.
    pub outcome: Outcome,
}

/// All that was looked at, in order.
#[derive(Debug, Default)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    fn push(&mut self, what: &str, outcome: Outcome) {
        // A server that is not there is met more than once.
        if let Outcome::Problem(new) = &outcome
            && self
                .0
                .iter()
                .any(|known| matches!(&known.outcome, Outcome::Problem(old) if error::lines(old) == error::lines(new)))
        {
            return;
        }
        self.0.push(Finding { what: what.to_owned(), outcome });
    }

    /// Something is as it should be.
    pub fn fine(&mut self, what: &str, found: impl Into<String>) {
        self.push(what, Outcome::Fine(found.into()));
    }

    /// Something needs attention but does not stand in the way.
    pub fn warning(&mut self, what: &str, found: impl Into<String>, next: impl Into<String>) {
        self.push(what, Outcome::Warning(found.into(), next.into()));
    }

    /// Takes the result of looking at something, described by its text where it is fine.
    pub fn note(&mut self, what: &str, result: Result<String>) {
        match result {
            Ok(found) => self.fine(what, found),
            Err(error) => self.push(what, Outcome::Problem(error)),
        }
    }

    /// Takes the result of looking at something; what was found is for the caller, a problem for the list.
    pub fn keep<T>(&mut self, what: &str, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.push(what, Outcome::Problem(error))).ok()
    }

    /// Whether there is a problem.
    pub fn any_problem(&self) -> bool {
        self.0.iter().any(|finding| matches!(finding.outcome, Outcome::Problem(_)))
    }

    /// Logs everything; the first problem is the error, the others are logged too.
    pub fn require(self, log: &Log) -> Result<()> {
        let mut first = None;
        for Finding { what, outcome } in self.0 {
            match outcome {
                Outcome::Fine(found) => log.detail(format!("{what}: {found}")),
                Outcome::Warning(found, next) => log.warn(format!("{what}: {found}; {next}")),
                Outcome::Problem(error) if first.is_none() => first = Some(error),
                Outcome::Problem(error) => log.info(error::lines(&error).join("; ")),
            }
        }
        first.map_or(Ok(()), Err)
    }
}
