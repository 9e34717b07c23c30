//! How long a run has kept the site closed, all its windows together, however each of them and the run itself ended.
//! Filled by the windows; closes nothing.

use std::sync::{Arc, Mutex, MutexGuard};

/// The account that the windows of a run keep. All clones are one.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<Totals>>);

/// What a run's windows come to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// How many windows there were.
    pub windows: u32,
    /// For how many seconds the site was closed in them; of one that is held, until the work in it was done.
    pub seconds: f64,
    /// Whether the last of them is held: the site is still closed.
    pub held: bool,
}

impl Tally {
    /// What the windows so far come to.
    pub fn totals(&self) -> Totals {
        *self.lock()
    }

    pub(super) fn add(&self, seconds: f64, held: bool) {
        let mut totals = self.lock();
        *totals = Totals { windows: totals.windows + 1, seconds: totals.seconds + seconds, held };
    }

    fn lock(&self) -> MutexGuard<'_, Totals> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
