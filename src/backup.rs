//! The run, from lock to report.
