//! Backups made up by a test: small, but with every part that a real one has. No test of its own.

#![allow(dead_code, reason = "each test file uses a part of this")]

use chrono::{DateTime, Utc};
use moodle_backup::error::Result;
use moodle_backup::hashes;
use moodle_backup::store::manifest::{Component, ComponentKind};
use moodle_backup::store::{Backup, Draft, Label, Manifest, Notes, Published, Sealing, SiteIdentity, Store};
use sha1::{Digest, Sha1};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// The identity of a site in a test.
pub fn identity(siteidentifier: &str, wwwroot: &str) -> SiteIdentity {
    SiteIdentity {
        siteidentifier_sha256: siteidentifier.into(),
        wwwroot: wwwroot.into(),
        database_name: "moodle".into(),
        database_host: "localhost".into(),
    }
}

/// The content hash of a text.
pub fn hash_of(content: &str) -> String {
    hashes::to_hex(&Sha1::digest(content))
}

/// Puts a file with this content into the pool.
pub fn pool_file(store: &Store, content: &str) -> PathBuf {
    let hash = hash_of(content);
    let folder = store.pool().join(&hash[..2]).join(&hash[2..4]);
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(&hash);
    if !path.exists() {
        // Durable before it has its name, as the real pool does it.
        let temporary = store.folder().join(".incoming");
        fs::write(&temporary, content).unwrap();
        fs::File::open(&temporary).unwrap().sync_all().unwrap();
        fs::rename(&temporary, &path).unwrap();
    }
    path
}

/// A backup to be sealed.
pub struct Sketch<'a> {
    store: &'a Store,
    time: DateTime<Utc>,
    files: Vec<String>,
    moodledata: Vec<Vec<u8>>,
    without: Option<String>,
}

impl<'a> Sketch<'a> {
    pub fn new(store: &'a Store, time: DateTime<Utc>) -> Self {
        Sketch { store, time, files: Vec::new(), moodledata: Vec::new(), without: None }
    }

    /// With these contents in the pool.
    pub fn files(mut self, files: &[&str]) -> Self {
        self.files = files.iter().map(|file| (*file).to_owned()).collect();
        self
    }

    /// With these names in moodledata.
    pub fn moodledata(mut self, names: &[&[u8]]) -> Self {
        self.moodledata = names.iter().map(|name| name.to_vec()).collect();
        self
    }

    /// With this part forgotten.
    pub fn without(mut self, part: &str) -> Self {
        self.without = Some(part.into());
        self
    }

    pub fn seal(self, previous: Option<&Backup>) -> Backup {
        let Published { name, path, manifest, trouble } = self.try_seal(previous).unwrap();
        assert_eq!(trouble, None);
        Backup { name, path, manifest, notes: Notes::default() }
    }

    pub fn try_seal(self, previous: Option<&Backup>) -> Result<Published> {
        let exists = |name: &str| self.store.folder().join(name).exists();
        let label = Label::new(self.time, exists);
        let mut manifest = Manifest::new(label.as_str(), self.store.next_sequence()?);
        (manifest.times.started, manifest.times.snapshot) = (self.time, Some(self.time));
        manifest.complete = true;
        manifest.site.siteidentifier_sha256 = "a".into();
        let draft = self.store.draft(label)?;
        self.fill(&draft, &mut manifest, previous);
        if let Some(part) = &self.without {
            fs::remove_file(draft.file(part)).unwrap();
        }
        let log = self.store.folder().join("notes/.log-of-the-test");
        fs::write(&log, "a run\n").unwrap();
        let published = draft.seal(Sealing { manifest, previous, log: Some(&log) });
        fs::remove_file(&log).unwrap();
        published
    }

    fn fill(&self, draft: &Draft, manifest: &mut Manifest, previous: Option<&Backup>) {
        let mut hashes: Vec<_> = self.files.iter().map(|file| hash_of(file)).collect();
        hashes.sort();
        for file in &self.files {
            pool_file(self.store, file);
        }
        let hashes = hashes.iter().map(|hash| Ok(hashes::from_hex(hash.as_bytes()).unwrap()));
        manifest.pool.files = hashes::write_list(&draft.file("filedir.sha1.zst"), hashes).unwrap();
        manifest.pool.bytes = self.files.iter().map(|file| file.len() as u64).sum();
        manifest.database.tables = [("files".to_owned(), manifest.pool.files)].into();
        let dump = zstd::encode_all(format!("-- dump of {}\n", self.time).as_bytes(), 1).unwrap();
        fs::write(draft.file("database/site.sql.zst"), dump).unwrap();
        same_or(previous, draft, "code.tar.zst", b"code");
        same_or(previous, draft, "directories/1-etc.tar.zst", b"etc");
        fill_moodledata(draft, previous, &self.moodledata);
        let part = |kind, name: &str, file: &str| Component {
            kind,
            name: name.into(),
            file: file.into(),
            ..Component::default()
        };
        manifest.components = vec![
            part(ComponentKind::Database, "database", "database/site.sql.zst"),
            part(ComponentKind::Code, "code", "code.tar.zst"),
            part(ComponentKind::Directory, "etc", "directories/1-etc.tar.zst"),
            part(ComponentKind::Moodledata, "moodledata", "moodledata"),
            part(ComponentKind::PoolList, "pool list", "filedir.sha1.zst"),
        ];
    }
}

fn fill_moodledata(draft: &Draft, previous: Option<&Backup>, odd: &[Vec<u8>]) {
    let folder = draft.folder("moodledata/lang/de").unwrap();
    same_or(previous, draft, "moodledata/lang/de/lang.php", b"<?php");
    let file = folder.join("lang.php");
    chown(&file, Some(33), Some(33)).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let odd_folder = draft.folder("moodledata/odd").unwrap();
    for name in odd {
        fs::write(odd_folder.join(OsStr::from_bytes(name)), name).unwrap();
    }
    let top = draft.file("moodledata");
    chown(&top, Some(33), Some(33)).unwrap();
    fs::set_permissions(&top, PermissionsExt::from_mode(0o2770)).unwrap();
}

/// A hard link to the previous backup's file, or a new one.
fn same_or(previous: Option<&Backup>, draft: &Draft, name: &str, content: &[u8]) {
    let path = draft.file(name);
    match previous {
        Some(previous) => fs::hard_link(previous.path.join(Path::new(name)), path).unwrap(),
        None => fs::write(path, content).unwrap(),
    }
}
