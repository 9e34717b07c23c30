//! What a run writes down of itself: the manifest, gathered step by step.

use super::Job;
use super::dumps::{DumpedAll, DumpedDatabase};
use super::files::Files;
use super::parts::Parts;
use crate::entry::Findings;
use crate::entry::owners::{group_name, user_name};
use crate::error::Result;
use crate::git::Checkout;
use crate::hashes::{Hash, Sorted, to_hex};
use crate::preflight::{Dumpable, Ready, Site};
use crate::settings::WindowMode;
use crate::store::manifest::{
    Code, Component, ComponentKind, Database, EmptiedFolder, Manifest, Ownership, Paths, Window,
};
use crate::store::{Backup, Draft, Store, layout};
use crate::sys::log::Log;
use crate::sys::{files, time};
use crate::window::{Closed, Totals};
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// So many names of a kind go into a warning; all are in the manifest or the log.
const NAMED: usize = 5;

/// The manifest on its way.
#[derive(Debug)]
pub struct Record<'a> {
    ready: &'a Ready,
    accept_missing: bool,
    prefix: String,
    manifest: Manifest,
    referenced: Option<Sorted>,
}

impl<'a> Record<'a> {
    /// What is known before the window.
    pub fn begin(job: &Job, site: &Site, ready: &'a Ready, store: &Store, draft: &Draft, log: &Log) -> Result<Self> {
        let mut manifest = Manifest::new(draft.label().as_str(), store.next_sequence()?);
        manifest.comment.clone_from(&job.label);
        manifest.host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        manifest.times.started = chrono::DateTime::from_timestamp(log.activity().started, 0).unwrap_or_else(time::now);
        manifest.held = job.hold.map(|hold| hold.name().to_owned());
        manifest.site = describe_site(job, site, ready);
        manifest.paths = paths(job, site);
        manifest.window = Window {
            found: found(site, ready).into(),
            restart: job.hold.map_or("full", |hold| hold.name()).into(),
            mode: "none".into(),
            ..Window::default()
        };
        manifest.code = note_code_changes(site, draft, &mut manifest.components, log)?;
        manifest.pool.external = site.config.alternative_file_system.is_some();
        let (accept_missing, prefix) = (job.settings.moodledata.accept_missing, site.config.prefix.clone());
        Ok(Record { ready, accept_missing, prefix, manifest, referenced: None })
    }

    /// All dumps hold their snapshots now.
    pub fn snapshot_taken(&mut self) {
        self.manifest.times.snapshot = Some(time::now());
    }

    /// A window is over; with those before it that were in vain, all come to `totals`.
    pub fn window(&mut self, mode: WindowMode, closed: Option<Closed>, totals: Totals) {
        let window = &mut self.manifest.window;
        window.mode = match mode {
            WindowMode::Short => "short",
            WindowMode::Full => "full",
            WindowMode::None => "none",
        }
        .into();
        (window.windows, window.closed_seconds) = (totals.windows, totals.seconds);
        match closed {
            // What was not closed is not held.
            None => self.manifest.held = None,
            Some(closed) => {
                let now = time::now();
                window.closed_at = Some(now - chrono::TimeDelta::milliseconds((closed.seconds * 1000.0) as i64));
                window.reopened_at = self.manifest.held.is_none().then_some(now);
            }
        }
    }

    /// The dumps are whole.
    pub fn dumps(&mut self, dumped: DumpedAll, log: &Log) {
        for database in dumped.databases {
            let malformed = database.dumped.scanned.malformed_hashes + database.dumped.scanned.null_hashes;
            if malformed > 0 {
                log.warn(format!(
                    "{malformed} rows of Moodle's table of files name no content that could be looked for"
                ));
            }
            let own = database.name == "site";
            let extra = self.ready.databases.extra.iter().find(|extra| extra.name == database.name);
            let described = describe_database(
                if own { &self.ready.databases.site } else { extra.unwrap_or(&self.ready.databases.site) },
                &database,
            );
            self.manifest.components.extend(components_of(&database, own));
            if own {
                self.manifest.database = Database { prefix: self.prefix.clone(), ..described }
            } else {
                self.manifest.extra_databases.push(described)
            }
        }
        self.referenced = Some(dumped.referenced);
    }

    /// The trees are copied.
    pub fn parts(&mut self, parts: &Parts, log: &Log) {
        self.manifest.components.extend(parts.components());
        for (name, findings) in parts.findings() {
            self.note_findings(name, findings, log);
        }
    }

    fn note_findings(&mut self, part: &str, findings: &Findings, log: &Log) {
        let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        for note in &findings.skipped {
            log.detail(format!("{part}: left out {}: {}", text(&note.path), note.what));
            self.manifest.paths.skipped.push(format!("{part}: {}: {}", text(&note.path), note.what));
        }
        let unreadable: Vec<String> =
            findings.problems.iter().map(|note| format!("{} ({})", text(&note.path), note.what)).collect();
        if !unreadable.is_empty() {
            log.warn(format!("{part}: not in the backup, since it cannot be read: {}", some_of(&unreadable)));
            self.manifest.incomplete_because.push(format!("{part}: {} could not be read", unreadable.len()));
        }
        let changed: Vec<String> = findings.changed_while_read.iter().map(|path| text(path)).collect();
        if !changed.is_empty() {
            log.warn(format!("{part}: written to while it was copied: {}", some_of(&changed)));
        }
    }

    /// The pool has all that it can have: writes the list, and says what is lost.
    pub fn files(&mut self, files: &Files, draft: &Draft, previous: Option<&Backup>, log: &Log) -> Result<()> {
        let referenced = self.referenced.take().ok_or_else(|| anyhow::anyhow!("there is no dump"))?;
        let pool = &mut self.manifest.pool;
        (pool.files, pool.bytes) = files.write_list(&referenced, draft, previous)?;
        (pool.new_files, pool.new_bytes) = (files.copied.files, files.copied.bytes);
        self.manifest.components.push(Component {
            kind: ComponentKind::PoolList,
            name: "list of files".into(),
            file: layout::POOL_LIST.into(),
            entries: pool.files,
            ..Component::default()
        });
        self.note_losses(files, previous, log);
        self.note_lost_tables(previous, log);
        Ok(())
    }

    /// Tables that the backup before had, of the same Moodle. An upgrade drops some, and so does who removes a plugin; else somebody
    /// will want to know before the backups that have them are gone.
    fn note_lost_tables(&self, previous: Option<&Backup>, log: &Log) {
        let same = |before: &&Backup| before.manifest.site.release == self.manifest.site.release;
        let Some(before) = previous.filter(same) else { return };
        let now = &self.manifest.database.tables;
        let lost: Vec<String> =
            before.manifest.database.tables.keys().filter(|table| !now.contains_key(*table)).cloned().collect();
        if !lost.is_empty() {
            log.warn(format!(
                "the database lacks tables that it had in the backup before: {}; unless a plugin was removed, keep backup {}, which \
                 has them: moodle-backup pin {}",
                some_of(&lost),
                before.name,
                before.name
            ));
        }
    }

    fn note_losses(&mut self, files: &Files, previous: Option<&Backup>, log: &Log) {
        let pool = &mut self.manifest.pool;
        let damaged = |hash: &&Hash| files.copied.damaged.binary_search(hash).is_ok();
        let lost: Vec<Hash> = files.nowhere.iter().filter(|hash| !damaged(hash)).copied().collect();
        pool.damaged_at_source = files.copied.damaged.iter().map(|hash| to_hex(hash)).collect();
        if pool.external {
            pool.external_files = lost.len() as u64;
            self.manifest.incomplete_because.push(format!("{} files are kept outside of this server", lost.len()));
        } else {
            pool.missing_at_source = lost.iter().map(|hash| to_hex(hash)).collect();
        }
        let before = previous.map(|previous| &previous.manifest.pool);
        let missing = (&pool.missing_at_source, before.map(|before| before.missing_at_source.as_slice()));
        let damaged = (&pool.damaged_at_source, before.map(|before| before.damaged_at_source.as_slice()));
        let losses = [
            (missing, "the database refers to files that the site itself has lost"),
            (damaged, "files of the site have another content than their names say"),
        ];
        for ((now, before), what) in losses {
            if now.is_empty() {
                continue;
            }
            let before: HashSet<&String> = before.unwrap_or_default().iter().collect();
            let new = now.iter().filter(|hash| !before.contains(hash)).count();
            self.manifest.incomplete_because.push(format!("{what}: {}", now.len()));
            match self.accept_missing && new == 0 {
                true => log.info(format!("{what}: {}, as before", now.len())),
                false => log.warn(format!("{what}: {} in all, {new} of them new: {}", now.len(), some_of(now))),
            }
        }
        if !files.copied.unreadable.is_empty() {
            let unreadable = &files.copied.unreadable;
            log.warn(format!("files of the site cannot be read: {}", some_of(unreadable)));
            self.manifest.incomplete_because.push(format!("{} files could not be read", unreadable.len()));
        }
        let mut foreign: Vec<String> = files.copied.foreign.iter().map(|path| path.display().to_string()).collect();
        foreign.sort_unstable();
        if !foreign.is_empty() {
            foreign.iter().for_each(|path| log.detail(format!("not in the backup: {path}")));
            log.warn(format!(
                "not in the backup, since it does not belong into Moodle's filedir ({} in all): {}",
                foreign.len(),
                some_of(&foreign)
            ));
        }
    }

    /// The manifest, but for what the seal adds.
    pub fn finish(mut self, log: &Log) -> Result<Manifest> {
        self.manifest.complete = self.manifest.incomplete_because.is_empty();
        self.manifest.warnings = log.warnings();
        self.manifest.times.steps = log.step_times();
        Ok(self.manifest)
    }
}

/// The first few of many.
fn some_of(names: &[String]) -> String {
    let shown = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn describe_site(job: &Job, site: &Site, ready: &Ready) -> crate::store::manifest::Site {
    let cli = site.layout.cli(&site.config.admin, "maintenance.php");
    let cli = cli.as_deref().and_then(Path::parent).and_then(|cli| cli.strip_prefix(&site.layout.root).ok());
    crate::store::manifest::Site {
        name: job.settings.site.name.clone(),
        wwwroot: site.config.wwwroot.clone(),
        siteidentifier_sha256: ready.identity.siteidentifier_sha256.clone(),
        release: site.release.release.clone(),
        version: site.release.version.clone(),
        branch: site.release.branch.clone(),
        layout: if site.layout.code == site.layout.root { "root".into() } else { "public".into() },
        cli: cli.map(|cli| cli.display().to_string()).unwrap_or_default(),
        plugins: ready.facts.plugins.clone(),
        web_user: site.web_user().name.clone(),
        web_group: group_name(site.web_user().gid),
        php: site.config.php_version.clone(),
    }
}

fn paths(job: &Job, site: &Site) -> Paths {
    let config = &site.config;
    let excluded = config.left_out().iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    Paths {
        root: site.layout.root.clone(),
        dataroot: config.dataroot.clone(),
        filedir: config.filedir.clone(),
        trashdir: config.trashdir.clone(),
        filedir_ownership: pool_ownership(site),
        emptied: config.volatile.iter().chain([&config.trashdir]).filter_map(|path| emptied(path)).collect(),
        excluded: excluded.into_iter().chain(job.settings.moodledata.exclude.iter().cloned()).collect(),
        skipped: Vec::new(),
    }
}

/// A pool is of one make: its top folder and Moodle's own settings tell all.
fn pool_ownership(site: &Site) -> Ownership {
    let meta = std::fs::metadata(&site.config.filedir);
    let (uid, gid) = meta.as_ref().map_or((site.web_user().uid, site.web_user().gid), |meta| (meta.uid(), meta.gid()));
    Ownership {
        user: user_name(uid),
        group: group_name(gid),
        folder_mode: meta.map_or(site.config.folder_mode, |meta| meta.mode() & 0o7777),
        file_mode: first_file(&site.config.filedir).map_or(site.config.file_mode, |meta| meta.mode() & 0o7777),
    }
}

/// Some file of the pool.
fn first_file(folder: &Path) -> Option<std::fs::Metadata> {
    std::fs::read_dir(folder).ok()?.flatten().find_map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => first_file(&entry.path()),
        // The one file in it that is not of the pool's own make.
        Ok(meta) if meta.is_file() && entry.file_name() != "warning.txt" => Some(meta),
        _ => None,
    })
}

fn emptied(path: &Path) -> Option<EmptiedFolder> {
    let meta = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_dir)?;
    Some(EmptiedFolder {
        path: path.to_path_buf(),
        user: user_name(meta.uid()),
        group: group_name(meta.gid()),
        mode: meta.mode() & 0o7777,
    })
}

fn found(site: &Site, ready: &Ready) -> &'static str {
    match () {
        () if site.config.maintenance_page().exists() => "cli",
        () if ready.facts.legacy_maintenance() => "legacy",
        () if ready.facts.planned_maintenance().is_some() => "later",
        () => "open",
    }
}

/// Writes what git says of the code into the backup. Trouble with git is no trouble of the backup.
fn note_code_changes(site: &Site, draft: &Draft, components: &mut Vec<Component>, log: &Log) -> Result<Option<Code>> {
    // A missing git was warned of in preflight.
    let Ok(Some(checkout)) = Checkout::at(&site.layout.root, site.web_user()) else { return Ok(None) };
    let changes = match checkout.changes() {
        Ok(changes) => changes,
        Err(error) => {
            crate::sys::signals::check()?;
            log.warn(format!("{error:#}"));
            return Ok(None);
        }
    };
    draft.folder(layout::CODE_CHANGES)?;
    for (name, content) in [("status.txt", &changes.status), ("diff.patch", &changes.patch)] {
        let file = Path::new(layout::CODE_CHANGES).join(name);
        files::write_and_sync(&draft.file(&file), content, layout::FILE_MODE)?;
        components.push(Component {
            kind: ComponentKind::CodeChanges,
            name: format!("code changes: {name}"),
            source: site.layout.root.clone(),
            file,
            bytes: content.len() as u64,
            ..Component::default()
        });
    }
    let changed = !changes.status.is_empty();
    Ok(Some(Code { head: changes.head, branch: changes.branch, remote: changes.remote, changed }))
}

fn describe_database(database: &Dumpable, dumped: &DumpedDatabase) -> Database {
    let (connection, server) = (&database.connection, &database.server);
    let mut tables = dumped.dumped.scanned.tables.clone();
    tables.extend(dumped.apart.iter().flat_map(|(_, apart)| apart.scanned.tables.clone()));
    let client = database.client.path.file_name().map(|name| name.to_string_lossy().into_owned());
    Database {
        file: dumped.file.clone(),
        more_files: dumped.apart.iter().map(|(file, _)| file.display().to_string()).collect(),
        engine: server.product.clone(),
        server_version: server.version.clone(),
        client_versions: [(client.unwrap_or_default(), database.client.version.clone())].into(),
        name: connection.name.clone(),
        host: connection.host.clone().unwrap_or_default(),
        port: connection.port,
        socket: connection.socket.clone().unwrap_or_default(),
        user: connection.user.clone(),
        user_host: account_host(&connection.user, &server.grants).unwrap_or_default(),
        charset: server.character_set.clone().unwrap_or_default(),
        collation: server.collation.clone().unwrap_or_default(),
        collations: database.collations.clone(),
        owner: server.owner.clone().unwrap_or_default(),
        schema: server.schema.clone().unwrap_or_default(),
        extensions: server.extensions.clone(),
        grants: server.grants.clone(),
        tables,
        non_transactional: database.non_transactional.clone(),
        left_out: Some(database.client.left_out()),
        of_others: database.of_others.clone(),
        bytes: dumped.dumped.bytes,
        ..Database::default()
    }
}

/// The host part of an account of MariaDB or MySQL, out of what it says it was granted: ``GRANT … TO `user`@`host` …``.
fn account_host(user: &str, grants: &[String]) -> Option<String> {
    let quotes = ['`', '\''];
    grants.iter().find_map(|grant| {
        let (account, host) = grant.rsplit_once(" TO ")?.1.split(' ').next()?.rsplit_once('@')?;
        (account.trim_matches(quotes) == user).then(|| host.trim_matches(quotes).to_owned())
    })
}

fn components_of(database: &DumpedDatabase, own: bool) -> Vec<Component> {
    let kind = if own { ComponentKind::Database } else { ComponentKind::ExtraDatabase };
    let name = if own { "database".to_owned() } else { format!("database {}", database.name) };
    let component = |file: &Path, name: String, bytes| Component {
        kind,
        name,
        file: file.to_path_buf(),
        bytes,
        ..Component::default()
    };
    let whole = component(&database.file, name.clone(), database.dumped.bytes);
    let apart = database.apart.iter();
    let apart = apart.map(|(file, dumped)| component(file, format!("{name}, tables without snapshots"), dumped.bytes));
    std::iter::once(whole).chain(apart).collect()
}
