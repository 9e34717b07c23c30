//! What is known of one file, folder or link, and lists of such entries.
