//! The scanner against real and random dumps.
