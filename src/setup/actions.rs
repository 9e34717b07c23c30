//! What answers lead to: a list of actions, each told before it is done, each of which can be done again. What is done already
//! is not in the list, so that a set-up can be called at any time.

use super::answers::{Answers, Database, Kept, Predecessor};
use super::disks::prepare::{self, Request};
use super::disks::{Device, Way};
use super::notify;
use super::place;
use super::predecessor::adopt;
use super::predecessor::find::{self, Found};
use super::present_backups::{self, LeftBehind};
use super::refusal::{About, Refusal};
use super::units::{self, Units};
use super::wording;
use crate::error::{Fault, Kind, OrFault, Result};
use crate::moodle::overrides::Secret;
use crate::settings::edit::{self, Change};
use crate::settings::{self, Settings, reference};
use crate::sys::files;
use crate::sys::log::Log;
use crate::sys::mounts;
use crate::sys::paths::Paths;
use crate::sys::process::Program;
use crate::sys::process::unit::systemd_runs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml_edit::Value;

const LIMIT: Duration = Duration::from_secs(120);

/// What the answers are about.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// The program's own folders.
    pub paths: &'a Paths,
    /// The settings file that is written.
    pub settings_file: PathBuf,
    /// Bytes that the first backup needs, about.
    pub needed: u64,
    /// Folders of the site: their disks are kept off.
    pub site: Vec<PathBuf>,
    /// The device for the backups as somebody has seen it.
    pub seen: Option<Device>,
    /// The settings as they are until now.
    pub present: Option<&'a Settings>,
    /// Files with accounts of databases, to be written for root alone.
    pub accounts: Vec<(PathBuf, Secret)>,
}

impl Context<'_> {
    fn units(&self) -> Units {
        Units::of(self.paths, &self.settings_file)
    }

    fn request<'a>(&'a self, answers: &'a Answers) -> Option<Request<'a>> {
        let way = answers.target.as_ref()?;
        let (needed, site) = (self.needed, self.site.clone());
        let present = self.present.map(|settings| &settings.target);
        Some(Request { way, seen: self.seen.as_ref(), needed, site, paths: self.paths, present })
    }
}

/// One thing to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    /// Makes the place for the backups.
    Place,
    /// Writes the settings.
    Settings,
    /// Writes a file of our own.
    Write { file: PathBuf, text: String, mode: u32 },
    /// Writes a file with an account of a database, which is in the context.
    Account(PathBuf),
    /// Removes a file of our own.
    Remove(PathBuf),
    /// Has systemd read its files again.
    Reload,
    /// Switches a timer on or off.
    Switch { unit: String, on: bool },
    /// Takes the users' files of the predecessor's last set into the pool.
    Adopt(PathBuf),
    /// Puts the predecessor's line in cron out of use.
    DisableCron(Found),
}

/// All that is to be done, in order, each with its words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    actions: Vec<(Action, Vec<String>)>,
    /// What somebody should think of before.
    pub warnings: Vec<String>,
    /// Whether something is lost by it for good.
    pub destroys: bool,
    /// A command for somebody to call before the next backup is made: it takes along those that there are.
    pub before_a_run: Option<String>,
}

impl Plan {
    /// What will be done, in words.
    pub fn steps(&self) -> Vec<&str> {
        self.actions.iter().flat_map(|(_, words)| words).map(String::as_str).collect()
    }

    fn add(&mut self, action: Action, words: Vec<String>) {
        self.actions.push((action, words));
    }
}

/// What the answers ask for and is not so yet.
pub fn plan(answers: &Answers, context: &Context) -> std::result::Result<Plan, Refusal> {
    let mut plan = Plan::default();
    let request = context.request(answers).ok_or_else(|| {
        let unsaid = Fault::unfit("nobody has said where the backups are to go");
        About::Place.refusal()(unsaid.hint("--target DIR, or [target] in the answers").into())
    })?;
    let new_disk = place(&request, answers, context, &mut plan).map_err(About::Place.refusal())?;
    for (file, _) in &context.accounts {
        let words = format!("keep the account of a database in {}, for root alone", file.display());
        plan.add(Action::Account(file.clone()), vec![words]);
    }
    settings_file(answers, context, new_disk, &mut plan).map_err(About::Machine.refusal())?;
    drop_ins(answers, context, &mut plan);
    mail(answers, context, &mut plan).map_err(About::Mail.refusal())?;
    let written = plan.actions.iter().any(|(action, _)| match action {
        Action::Write { file, .. } => file.starts_with(context.paths.units()),
        _ => false,
    });
    if systemd_runs() && written {
        plan.add(Action::Reload, Vec::new());
    }
    if let Some(predecessor) = &answers.predecessor {
        take_over(predecessor, context, &mut plan).map_err(About::Predecessor.refusal())?;
    }
    if systemd_runs() {
        switches(answers, context, &mut plan).map_err(About::Machine.refusal())?;
    }
    if let Some(predecessor) = answers.predecessor.as_ref().filter(|it| it.disable_cron)
        && let Some(found) = find::of(context.paths, &predecessor.settings)
    {
        // Last: until now it was what made backups.
        let words = format!("put the old scripts' line in {} out of use", found.crontab.display());
        plan.add(Action::DisableCron(found), vec![words]);
    }
    Ok(plan)
}

/// The place for the backups, and what speaks against it and the hour. Whether a new file system is made for it.
fn place(request: &Request, answers: &Answers, context: &Context, plan: &mut Plan) -> Result<bool> {
    let (path, root) = (request.way.path(), answers.site.root.as_deref());
    let saved = context.site.iter().chain(answers.directories.iter().flatten());
    let name = answers.site.name.as_deref().unwrap_or_default();
    place::require_fit(path, name, saved)?;
    plan.warnings.extend(place::doubt(context.paths.root(), path));
    plan.warnings.extend(answers.schedule.nightly.as_deref().and_then(super::answers::doubt));
    let same_disk = prepare::is_present_disk(request)?;
    let left = context.present.and_then(|old| present_backups::left_behind(old, root, name, path, same_disk));
    plan.warnings.extend(left.as_ref().map(LeftBehind::told));
    plan.before_a_run = left.and_then(|it| it.command);
    let other = !same_disk && !matches!(request.way, Way::Folder { .. } | Way::Mounted { .. });
    plan.warnings.extend(context.present.filter(|_| other).and_then(present_backups::absent_disk));
    let rules = answers.retention.map(Kept::rules);
    plan.warnings
        .extend(context.present.zip(rules).and_then(|(old, rules)| present_backups::fewer_backups(old, rules)));
    plan.warnings.extend(prepare::other_disk(request)?);
    let words = prepare::steps(request)?;
    if prepare::done(request)?.is_some() {
        return Ok(false);
    }
    plan.destroys = prepare::destroys(&words);
    plan.add(Action::Place, words);
    let device = matches!(request.way, Way::Format { .. } | Way::Partition { .. });
    Ok(device && prepare::uuid(request)?.is_none())
}

/// What is written into the settings. A new file system has its UUID only when it is made.
fn settings_file(answers: &Answers, context: &Context, new_disk: bool, plan: &mut Plan) -> Result<()> {
    let (old, new) = settings_texts(answers, context)?;
    if old == new && !new_disk {
        return Ok(());
    }
    let mut words = wording::sentences(&old, &new, answers, new_disk);
    let before = if context.settings_file.exists() { "; the file as it was is kept beside it (.old)" } else { "" };
    words.push(format!("write these settings into {}{before}", context.settings_file.display()));
    plan.add(Action::Settings, words);
    Ok(())
}

/// The predecessor's hook, and the users' files that it has saved.
fn take_over(predecessor: &Predecessor, context: &Context, plan: &mut Plan) -> Result<()> {
    if let Some(script) = &predecessor.post_job {
        let hook = find::hook(context.paths);
        let words = format!("take over the post-job script {} ({})", script.display(), hook.display());
        write(plan, hook, find::hook_text(script)?, 0o755, words);
    }
    // A site that has backups has its pool already.
    let has_backups = settings::load(&context.settings_file)
        .is_ok_and(|it| it.target.path.join(&it.site.name).join("latest").symlink_metadata().is_ok());
    if let Some(set) = predecessor.adopt.as_ref().filter(|_| !has_backups) {
        let words = format!("take the users' files in {} into the pool; they become root's", set.display());
        plan.add(Action::Adopt(set.clone()), vec![words]);
    }
    Ok(())
}

fn drop_ins(answers: &Answers, context: &Context, plan: &mut Plan) {
    let units = context.units();
    if let Some(point) = answers.target.as_ref().and_then(mount_point) {
        wait_for_disk(&units, &point, plan);
    }
    if let Some(time) = &answers.schedule.nightly
        && let Some(text) = units.schedule_text(time)
    {
        let file = units.schedule_drop_in();
        let words = format!("set the time of the nightly backup to {time} ({})", file.display());
        write(plan, file, text, 0o644, words);
    }
}

/// One step, told once, however many services there are.
fn wait_for_disk(units: &Units, point: &Path, plan: &mut Plan) {
    let text = units.mount_text(point);
    let mut files = units.mount_drop_ins();
    files.retain(|file| !holds(file, &text));
    let named: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let words = format!("let the services wait for the disk of the backups ({})", named.join(", "));
    let last = files.len().saturating_sub(1);
    for (at, file) in files.into_iter().enumerate() {
        let words = if at == last { vec![words.clone()] } else { Vec::new() };
        plan.add(Action::Write { file, text: text.clone(), mode: 0o644 }, words);
    }
}

/// Where the disk of the backups is mounted, or will be; `None` where they lie on the system's own.
fn mount_point(way: &Way) -> Option<PathBuf> {
    match way {
        Way::Folder { path } | Way::Mounted { path } => {
            let point = mounts::of(path.ancestors().find(|path| path.exists())?).ok()?.point;
            Some(point).filter(|point| point != Path::new("/"))
        }
        Way::Mount { path, .. } | Way::Format { path, .. } | Way::Partition { path, .. } => Some(path.clone()),
    }
}

/// One program for all sites of this machine.
fn mail(answers: &Answers, context: &Context, plan: &mut Plan) -> Result<()> {
    let (file, present) = (notify::file(context.paths), notify::present(context.paths));
    let further = context.settings_file != context.paths.settings();
    let Some(address) = &answers.notification.mail else { return Ok(()) };
    if address == notify::NOBODY {
        // That nobody is to hear of a further site takes nothing from the others.
        if present.is_some() && !further {
            let words = format!("send no mail any more (remove {})", file.display());
            plan.add(Action::Remove(file), vec![words]);
        }
        return Ok(());
    }
    let address = notify::address(address).map_err(Fault::unfit)?;
    if notify::is_of_somebody_else(context.paths) {
        return Err(Fault::unfit(format!("{} is there and is not this program's", file.display()))
            .hint("leave the mail to it: answer \"nobody\"; or give it another name first")
            .into());
    }
    let all = if further { ", of all sites of this server" } else { "" };
    let instead = present.filter(|it| *it != address).map_or(String::new(), |it| format!(", and no more to {it}"));
    let words = format!("send a mail to {address} when a backup fails{all}{instead} ({})", file.display());
    write(plan, file, notify::program(&address), 0o755, words);
    plan.warnings.extend(notify::lacking(context.paths));
    plan.warnings.extend(notify::unknown(context.paths, &address));
    Ok(())
}

fn write(plan: &mut Plan, file: PathBuf, text: String, mode: u32, words: String) {
    if !holds(&file, &text) {
        plan.add(Action::Write { file, text, mode }, vec![words]);
    }
}

fn holds(file: &Path, text: &str) -> bool {
    std::fs::read_to_string(file).is_ok_and(|old| old == text)
}

fn switches(answers: &Answers, context: &Context, plan: &mut Plan) -> Result<()> {
    let units = context.units();
    let nightly = answers.schedule.nightly.as_deref().map(super::answers::time_of_day).transpose();
    let nightly = nightly.map_err(Fault::unfit)?.map(|time| time.is_some());
    let wanted = [
        (units.timer(), nightly, ["no backup is made each night any more", "a backup is made each night"]),
        (
            units.verify_timer(),
            answers.schedule.weekly_verify,
            ["the backups are not read again each week", "the backups are read again each week"],
        ),
    ];
    for (unit, on, meaning) in wanted {
        if let Some(on) = on
            && units::is_enabled(&unit) != on
        {
            let words = format!("switch {unit} {}: {}", if on { "on" } else { "off" }, meaning[usize::from(on)]);
            plan.add(Action::Switch { unit, on }, vec![words]);
        }
    }
    Ok(())
}

/// The settings file as it is, or as the package would bring it, and as it is to be.
fn settings_texts(answers: &Answers, context: &Context) -> Result<(String, String)> {
    let file = &context.settings_file;
    let old = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => reference::sample(),
        read => read.or_fault(|| Fault::unfit(format!("cannot read {}", file.display())))?,
    };
    let uuid = context.request(answers).as_ref().map(prepare::uuid).transpose()?.flatten();
    let mut changes = changes(answers, uuid.as_deref());
    if uuid.is_none() && moved(answers, context) {
        // It is that of the disk at the old place.
        changes.push(Change { section: "target", key: "mount_uuid", value: None });
    }
    let mut new = edit::edited(&old, &changes)?;
    for Database { name, options_file } in &answers.databases {
        new = edit::with_database(&new, name, options_file.as_deref())?;
    }
    Ok((old, new))
}

fn changes(answers: &Answers, mount_uuid: Option<&str>) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut set = |section, key, value: Option<Value>| changes.extend(value.map(|it| Change::set(section, key, it)));
    let path = |path: &PathBuf| Value::from(path.to_string_lossy().into_owned());
    let texts = |texts: &[String]| Value::from_iter(texts.iter().map(String::as_str));
    let site = &answers.site;
    set("site", "name", site.name.as_deref().map(Value::from));
    set("site", "root", site.root.as_ref().map(path));
    set("site", "php", site.php.as_ref().map(path));
    set("site", "web_user", site.web_user.as_deref().map(Value::from));
    set("site", "services", site.services.as_deref().filter(|it| !it.is_empty()).map(texts));
    set("target", "path", answers.target.as_ref().map(|way| Value::from(way.path().to_string_lossy().into_owned())));
    set("target", "mount_uuid", mount_uuid.map(Value::from));
    let directories = answers.directories.as_deref();
    set("directories", "paths", directories.map(|paths| paths.iter().map(path).collect()));
    if let Some(kept) = answers.retention {
        for (key, number) in [
            ("last", kept.last),
            ("daily", kept.daily),
            ("weekly", kept.weekly),
            ("monthly", kept.monthly),
            ("yearly", kept.yearly),
        ] {
            set("retention", key, Some(i64::from(number).into()));
        }
    }
    changes
}

/// Whether the backups are to go to another place than until now.
fn moved(answers: &Answers, context: &Context) -> bool {
    let place = answers.target.as_ref().map(Way::path);
    context.present.is_some_and(|settings| place.is_some_and(|place| place != settings.target.path))
}

/// What of an action's words is work to be done. What the settings mean is said before they are written.
fn work<'a>(action: &Action, words: &'a [String]) -> &'a [String] {
    match action {
        Action::Settings => &words[words.len().saturating_sub(1)..],
        _ => words,
    }
}

/// Does all of it, and tells each step. On an error it says what was done, and what was not.
pub fn carry_out(plan: &Plan, answers: &Answers, context: &Context, log: &Log, tell: &dyn Fn(&str)) -> Result<()> {
    for (number, (action, words)) in plan.actions.iter().enumerate() {
        let mut begun = false;
        let done = crate::sys::signals::check().and_then(|()| {
            begun = true;
            one(action, answers, context, log)
        });
        done.map_err(|error| {
            let told = |actions: &[(Action, Vec<String>)]| {
                let words = actions.iter().flat_map(|(action, words)| work(action, words));
                let words: Vec<&str> = words.map(String::as_str).collect();
                if words.is_empty() { "nothing".to_owned() } else { words.join("; ") }
            };
            tell(&format!("done: {}", told(&plan.actions[..number])));
            // What is refused at the last moment was not begun.
            let begun = usize::from(begun && crate::error::kind(&error) != Kind::Unfit);
            if begun > 0 {
                tell(&format!("begun, and not complete: {}", told(&plan.actions[number..=number])));
            }
            tell(&format!("not done: {}", told(&plan.actions[number + begun..])));
            let hint = crate::error::hint(&error).map_or(String::new(), |hint| format!("{hint}; then "));
            let fault = Fault::failed("the set-up is not complete")
                .hint(format!("{hint}call \"moodle-backup setup\" again: what is done already is not done twice"));
            error.context(fault)
        })?;
        work(action, words).iter().for_each(|words| tell(&format!("done: {words}")));
    }
    Ok(())
}

fn one(action: &Action, answers: &Answers, context: &Context, log: &Log) -> Result<()> {
    match action {
        Action::Place => match context.request(answers) {
            Some(request) => prepare::prepare(&request, log).map(drop),
            None => Ok(()),
        },
        // Once more: only now the disk has its UUID.
        Action::Settings => edit::write(&context.settings_file, &settings_texts(answers, context)?.1).map(drop),
        Action::Write { file, text, mode } => {
            if *file == find::hook(context.paths) {
                find::keep_hook(context.paths, text, log)?;
            }
            files::make_folders(files::parent(file), 0o755)?;
            files::write_durably(file, text.as_bytes(), *mode)
        }
        Action::Account(file) => match context.accounts.iter().find(|(known, _)| known == file) {
            Some((_, secret)) => files::write_durably(file, secret.0.as_bytes(), 0o600),
            None => Ok(()),
        },
        Action::Remove(file) => {
            std::fs::remove_file(file).or_fault(|| Fault::failed(format!("cannot remove {}", file.display())))
        }
        Action::Adopt(set) => adopt::adopt(&settings::load(&context.settings_file)?, set, log).map(drop),
        Action::DisableCron(found) => find::disable(context.paths, found, log),
        Action::Reload => systemctl(&["daemon-reload"]),
        Action::Switch { unit, on } => systemctl(&[if *on { "enable" } else { "disable" }, "--now", "--quiet", unit]),
    }
}

fn systemctl(args: &[&str]) -> Result<()> {
    let done = Program::new("systemctl").args(args).timeout(LIMIT).success();
    done.map(drop).or_fault(|| Fault::failed(format!("systemctl {} failed", args.join(" "))))
}
