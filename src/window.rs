//! The time the site is closed: closing, reopening, and the guard that reopens when the run cannot.
