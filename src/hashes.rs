//! Sorted lists of content hashes that need not fit into memory.
