//! Several sites in one call: whose turn it is, which settings file is whose, and what is left at the end. Each goes through the same
//! pages and the same work as a site alone; a further one leaves out the pages whose answers are those of the whole machine.

use super::{Session, Wizard, finish, site, unasked};
use crate::cli;
use crate::error::{EXIT_WARNINGS, Result};
use crate::moodle::Layout;
use crate::settings::{self, Settings};
use crate::setup::answers::{Answers, Schedule, Site};
use crate::sys::paths::Paths;
use std::path::{Path, PathBuf};

/// A site that has its settings.
#[derive(Clone, Debug)]
pub struct Known {
    root: PathBuf,
    file: PathBuf,
    name: String,
}

/// The questions and the work for each site that is chosen, one after the other. It ends at the first that fails.
pub fn one_after_the_other(wizard: &mut Wizard, args: &cli::Setup) -> Result<u8> {
    let mut worst = 0;
    let mut from = wizard.go_on(args)?;
    if from.is_none() {
        wizard.see_which_site();
    }
    loop {
        let ended = one(wizard, from.take(), args);
        let (true, Ok(code)) = (matches!(ended, Ok(0 | EXIT_WARNINGS)), &ended) else {
            wizard.tell_what_is_left();
            return ended;
        };
        worst = worst.max(*code);
        wizard.end_turn();
        if wizard.waiting.is_empty() {
            wizard.tell_of_others();
            return Ok(worst);
        }
        wizard.site_is_clear = false;
    }
}

fn one(wizard: &mut Wizard, from: Option<&str>, args: &cli::Setup) -> Result<u8> {
    if !wizard.done.is_empty()
        && let Some(root) = wizard.waiting.pop_front()
    {
        wizard.person.heading(&format!("The next site: {}", root.display()));
        wizard.turn_to(root)?;
    }
    wizard.ask_all(from)?;
    finish::finish(wizard, args, true)
}

/// The settings file that this call names, or the usual one.
pub fn named(session: &Session) -> PathBuf {
    let file = session.settings_file();
    std::path::absolute(&file).unwrap_or(file)
}

/// The folder of a site's code as the search for sites names it, however it is written.
pub fn whole(root: &Path) -> PathBuf {
    Layout::find(root).map_or_else(|_| root.to_path_buf(), |layout| layout.root)
}

/// The settings in a file, if somebody has filled it in. The sample that the package brings has nothing in it yet.
pub fn filled(file: &Path) -> Result<Option<Settings>> {
    let there = file.exists() && !settings::is_unfilled(file);
    there.then(|| settings::load(file)).transpose()
}

impl Wizard<'_> {
    /// Makes this site the one that is asked about, with the settings file that is its own; what was answered for the one before is
    /// proposed, but for what no two sites share.
    pub fn turn_to(&mut self, root: PathBuf) -> Result<()> {
        if self.answers.site.root.as_ref() == Some(&root) {
            return Ok(());
        }
        let known = self.known();
        let own = self.file_of(&whole(&root), &known);
        if own.as_ref() == Some(&self.file) {
            self.answers.site.root = Some(root);
            return Ok(());
        }
        let name = own.is_none().then(|| self.free_name(&root, &known));
        let file = own.unwrap_or_else(|| file_named(&self.session.paths, name.as_deref().unwrap_or_default()));
        let old = filled(&file)?;
        self.named_by_site = name.is_some();
        let site = Site { root: Some(root), name, ..Site::default() };
        self.answers = proposed(&self.answers, site, old.as_ref());
        (self.file, self.old, self.looked, self.seen) = (file, old, None, None);
        self.wanted = None;
        self.accounts.clear();
        Ok(())
    }

    /// Finds out whether there is a question which site is meant: not where the settings are of the only one, or were named.
    fn see_which_site(&mut self) {
        let Some(own) = self.old.as_ref().map(|old| whole(&old.site.root)).filter(|_| self.was_set_up()) else {
            return;
        };
        if self.session.global.settings.is_none() {
            self.person.tell(site::LOOKING);
            self.site_is_clear = self.discovery().sites.iter().all(|site| site.root == own);
        } else {
            self.site_is_clear = true;
        }
    }

    /// Notes that the site is set up.
    fn end_turn(&mut self) {
        self.goes_on_with_further = false;
        self.wanted = None;
        let (root, file, name) = (self.answers.site.root.clone().unwrap_or_default(), self.file.clone(), self.name());
        self.done.push(Known { root: whole(&root), file, name });
    }

    /// The sites that have settings, by this call or since long.
    pub fn known(&self) -> Vec<Known> {
        let there = std::fs::read_dir(self.session.paths.etc()).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = there.map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|ending| ending == "toml"));
        files.push(named(self.session));
        files.sort();
        files.dedup();
        let settings = files.into_iter().filter_map(|file| filled(&file).ok().flatten());
        let known =
            settings.map(|Settings { site, file, .. }| Known { root: whole(&site.root), file, name: site.name });
        // What was only planned is in no file.
        self.done.iter().cloned().chain(known).collect()
    }

    /// The settings file of a site; `None` where it gets a new one, with its name.
    fn file_of(&self, root: &Path, known: &[Known]) -> Option<PathBuf> {
        let (usual, asked_for) = (named(self.session), self.session.global.settings.is_some());
        let own = known.iter().find(|it| it.root == root).map(|it| it.file.clone());
        // That of another site which is still here stays its, unless somebody has said that this one is meant.
        let holder = known.iter().find(|it| it.file == usual).filter(|it| it.root != root);
        let free = holder.is_none_or(|it| Layout::find(&it.root).is_err()) || self.meant.as_deref() == Some(root);
        if free && (asked_for || own.is_none()) { Some(usual) } else { own }
    }

    /// What a site is called when nobody has said it: as its settings file, unless that is the usual one.
    pub fn proposed_name(&self) -> String {
        let known = self.known();
        let usual = self.file == self.session.paths.settings();
        let stem = self.file.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).filter(|_| !usual);
        let name = stem.and_then(|stem| settings::name(&stem).ok()).unwrap_or_else(|| "moodle".into());
        match has_another_site(&name, &self.file, &known) {
            true => self.free_name(&self.answers.site.root.clone().unwrap_or_default(), &known),
            false => name,
        }
    }

    /// Whether a site has settings.
    pub fn is_set_up(&self, root: &Path) -> bool {
        self.known().iter().any(|it| it.root == root)
    }

    /// A name that no other site has, for one in this folder.
    pub fn free_name(&self, root: &Path, known: &[Known]) -> String {
        let own = root.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        let own = settings::name(&own).unwrap_or_else(|_| "moodle".into());
        let numbered = (2..).map(|number| format!("{own}{number}"));
        std::iter::once(own.clone())
            .chain(numbered)
            .find(|name| is_free(&self.session.paths, name, known))
            .unwrap_or(own)
    }

    /// Where it ended before all sites were set up: which are, and which are not.
    fn tell_what_is_left(&self) {
        if self.done.is_empty() && self.waiting.is_empty() {
            return;
        }
        let here = self.answers.site.root.clone().unwrap_or_default();
        let listed = |roots: Vec<&PathBuf>| match roots.as_slice() {
            [] => "none".to_owned(),
            roots => roots.iter().map(|root| root.display().to_string()).collect::<Vec<_>>().join(", "),
        };
        let done = listed(self.done.iter().map(|it| &it.root).collect());
        let left = listed(self.waiting.iter().collect());
        self.person.tell(&format!(
            "\nIt ended at {}. Set up before it: {done}. Not begun: {left}. \"moodle-backup setup\" goes on: choose there what is left.",
            here.display()
        ));
    }

    /// Other sites of this machine that have no settings, each with the command that sets it up.
    fn tell_of_others(&self) {
        let mut known = self.known();
        for site in self.discovery.iter().flat_map(|found| &found.sites) {
            if known.iter().any(|it| it.root == site.root) {
                continue;
            }
            let name = self.free_name(&site.root, &known);
            let file = file_named(&self.session.paths, &name);
            self.person.tell(&format!(
                "There is another site, {root}. To set up its backups: moodle-backup --settings {} setup --root {root}",
                file.display(),
                root = site.root.display()
            ));
            // Two of them need two names.
            known.push(Known { root: site.root.clone(), file, name });
        }
    }
}

/// Where the settings of a further site of this name go.
pub fn file_named(paths: &Paths, name: &str) -> PathBuf {
    paths.etc().join(format!("{name}.toml"))
}

/// Whether another settings file has a site of this name.
pub fn has_another_site(name: &str, file: &Path, known: &[Known]) -> bool {
    known.iter().any(|it| it.name == name && it.file != file)
}

/// Whether a further site can be called so.
pub fn is_free(paths: &Paths, name: &str, known: &[Known]) -> bool {
    let file = file_named(paths, name);
    let taken = known.iter().any(|it| it.name == name || it.file == file);
    // A file with mistakes in it is somebody's too.
    !taken && file != paths.settings() && (!file.exists() || settings::is_unfilled(&file))
}

/// What is proposed for a further site: what its settings say, else what was answered for the one before.
fn proposed(before: &Answers, site: Site, old: Option<&Settings>) -> Answers {
    let own = Answers { site, databases: Vec::new(), predecessor: None, ..before.clone() };
    let Some(old) = old else {
        // Its disk is made ready by now, and only the folder counts.
        return Answers { target: before.target.as_ref().map(|way| unasked::folder(way.path())), ..own };
    };
    let schedule = Schedule::default();
    let mut own = Answers { target: None, directories: None, retention: None, schedule, ..own };
    unasked::from_settings(&mut own, old);
    own
}
