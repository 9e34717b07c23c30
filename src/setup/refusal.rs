//! What cannot be done, and which answers would have to be others: so that somebody can be led back to the right question.

/// What a refusal is about: which answers would have to be others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Those on the place for the backups.
    Place,
    /// Those on the mail.
    Mail,
    /// Those on the scripts that did this work before.
    Predecessor,
    /// None: something of the machine stands in the way.
    Machine,
}

/// Why something cannot be done, and what that is about.
#[derive(Debug)]
pub struct Refusal {
    /// Which answers.
    pub about: About,
    /// Why.
    pub error: anyhow::Error,
}

impl About {
    /// A refusal that is about them.
    pub fn refusal(self) -> impl Fn(anyhow::Error) -> Refusal {
        move |error| Refusal { about: self, error }
    }
}
