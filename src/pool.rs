//! The store of content-addressed files that all backups of a site share.
