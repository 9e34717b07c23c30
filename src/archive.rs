//! Copies of a tree as one compressed tar.
