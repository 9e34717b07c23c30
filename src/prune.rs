//! Deleting what retention no longer wants.
