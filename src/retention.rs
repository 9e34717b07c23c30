//! Which backups to keep: a pure rule over their times.
