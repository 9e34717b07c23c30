//! What the guided set-up finds out and does: the sites and the disks of this machine, the programs that are missing, the
//! room that backups will take; and the list of actions that answers lead to. Asks nothing: the questions are `run`'s.

pub mod actions;
pub mod answers;
pub mod discover;
pub mod disks;
pub mod measure;
pub mod needs;
pub mod notify;
pub mod place;
pub mod predecessor;
pub mod present_backups;
pub mod quiet;
pub mod refusal;
pub mod units;
mod wording;
