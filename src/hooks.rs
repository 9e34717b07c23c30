//! The administrator's own programs around a run.
