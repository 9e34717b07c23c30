//! What lies on the target: sites, backups, their manifests and notes.
