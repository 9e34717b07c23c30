//! Everything that must be true before a run touches anything.
