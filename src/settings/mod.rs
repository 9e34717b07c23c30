//! The settings file: as written, with defaults, validated.
