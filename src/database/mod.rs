//! Databases: who answers where, and how it is dumped.
