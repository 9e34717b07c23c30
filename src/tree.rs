//! Copies of a tree as plain files, unchanged ones shared with the backup before.
