//! The questions about a new file system: what would be lost, which kind, with the program that makes it, and where it is
//! mounted. Nothing is written to a disk here.

use super::ask::{Choice, Question};
use super::pages::Move;
use super::target::{USUAL, fit, given, told};
use super::{Wizard, needs};
use crate::error::{self, Kind, Result};
use crate::setup::disks::{self, Device, FileSystem, Way, guard, mount, own};
use crate::setup::needs::{packages, tools};
use std::path::{Path, PathBuf};

/// The kinds, the usual one first.
const KINDS: [(FileSystem, &str); 3] = [
    (FileSystem::Ext4, "ext4: the usual one"),
    (FileSystem::Xfs, "xfs: good for very many files"),
    (FileSystem::Btrfs, "btrfs: with checksums of its own"),
];

/// A device that is formatted, as a whole.
pub fn device(wizard: &mut Wizard, device: Device, needed: u64) -> Result<Option<Way>> {
    let losses = match losses(wizard, &device, needed) {
        Err(error) if error::kind(&error) == Kind::Unfit => {
            wizard.person.tell(&told(&error));
            return Ok(None);
        }
        losses => losses?,
    };
    let mut destroy = None;
    if !losses.is_empty() {
        wizard.person.tell(&format!("\nWARNING: about {}:", device.path.display()));
        losses.iter().for_each(|what| wizard.person.item(what));
        let Some(typed) = typed(wizard, &device)? else { return Ok(None) };
        destroy = Some(typed);
    }
    let Some((file_system, path)) = new_file_system(wizard, false)? else { return Ok(None) };
    let way = Way::Format { device: device.path.clone(), file_system, path, destroy };
    wizard.seen = Some(device);
    Ok(Some(way))
}

/// What would be lost, to be agreed to. An error if it cannot be formatted, whatever is typed.
fn losses(wizard: &Wizard, device: &Device, needed: u64) -> Result<Vec<String>> {
    own::refuse(device, wizard.present_disk())?;
    let all = disks::list()?;
    let system = guard::system(&wizard.site_folders(), &all);
    let dangers = guard::dangers(device, needed, &system, &all);
    guard::agreed(&device.path, &dangers, Some(&device.path.to_string_lossy()))
}

/// A partition in the free space of a disk.
pub fn new_partition(wizard: &mut Wizard, disk: Device) -> Result<Option<Way>> {
    let Some((file_system, path)) = new_file_system(wizard, true)? else { return Ok(None) };
    Ok(Some(Way::Partition { disk: disk.path, file_system, path }))
}

/// All of it would be lost: its name is to be typed, and nothing is taken for granted.
fn typed(wizard: &mut Wizard, device: &Device) -> Result<Option<String>> {
    let name = device.path.display().to_string();
    let ask = format!("ALL THAT IS ON {name} WILL BE LOST. To go on, type its name; to choose another, type <");
    let question =
        Question { ask: &ask, help: "Nothing is written to it before you have agreed to the summary.", default: None };
    wizard.person.forget_what_was_typed();
    let same = |answer: &str| match answer == name {
        true => Ok(answer.to_owned()),
        false => Err(format!("That is not its name, {name}. < goes back.")),
    };
    Ok(given(wizard.person.text(&question, same)?))
}

/// Which one, and where it is mounted.
fn new_file_system(wizard: &mut Wizard, in_partition: bool) -> Result<Option<(FileSystem, PathBuf)>> {
    let mut default = match &wizard.answers.target {
        Some(Way::Format { file_system, .. } | Way::Partition { file_system, .. }) => *file_system,
        _ => FileSystem::default(),
    };
    loop {
        let Some(file_system) = file_system(wizard, in_partition, default)? else { return Ok(None) };
        if let Some(path) = mounted_at(wizard)? {
            return Ok(Some((file_system, path)));
        }
        default = file_system;
    }
}

/// One that can be made here: with no for an answer to the program that makes it, another is asked for.
fn file_system(wizard: &mut Wizard, in_partition: bool, mut default: FileSystem) -> Result<Option<FileSystem>> {
    loop {
        let Some(kind) = kind(wizard, in_partition, default)? else { return Ok(None) };
        let missing = tools(kind, in_partition);
        // Answers for another server need nothing here.
        if missing.is_empty() || wizard.for_another {
            return Ok(Some(kind));
        }
        let offered = needs::offer(wizard, &missing)?;
        let missing = tools(kind, in_partition);
        let Some(need) = missing.first() else { return Ok(Some(kind)) };
        if offered == Move::Next {
            wizard.person.tell(&format!(
                "Without {} no {} file system can be made: choose another, or let {} be installed.",
                need.what,
                kind.name(),
                packages(&missing).join(", ")
            ));
        }
        default =
            KINDS.map(|(kind, _)| kind).into_iter().find(|it| tools(*it, in_partition).is_empty()).unwrap_or(kind);
    }
}

fn kind(wizard: &mut Wizard, in_partition: bool, default: FileSystem) -> Result<Option<FileSystem>> {
    let choices = KINDS.map(|(kind, text)| match tools(kind, in_partition).as_slice() {
        [] => Choice::new(text),
        missing => Choice::new(format!("{text} ({} is to be installed for it)", packages(missing).join(", "))),
    });
    let help = "All three are good for backups. If in doubt, take ext4.";
    let default = KINDS.iter().position(|(kind, _)| *kind == default);
    let reply = wizard.person.choose("Which file system?", help, &choices, default)?;
    Ok(given(reply).map(|at| KINDS[at].0))
}

/// Where a disk is mounted.
pub fn mounted_at(wizard: &mut Wizard) -> Result<Option<PathBuf>> {
    let question = Question {
        ask: "Where is it to be mounted?",
        help: "An empty folder, or one that is not there yet. It is mounted there at each start of the server; without the disk \
               the server starts all the same, and nothing can be written into the folder.",
        default: proposed_point(wizard),
    };
    let fit = fit(wizard);
    let free = |answer: &str| {
        let path = fit(Path::new(answer))?;
        let fit = mount::require_not_systems(&path).and_then(|()| mount::require_free(&path));
        fit.map(|()| path).map_err(|error| told(&error))
    };
    Ok(given(wizard.person.text(&question, free)?))
}

/// What was answered before; else the usual folder, or one beside it if that is taken.
fn proposed_point(wizard: &Wizard) -> Option<String> {
    let before = match &wizard.answers.target {
        Some(Way::Mount { path, .. } | Way::Format { path, .. } | Way::Partition { path, .. }) => Some(path.clone()),
        _ => None,
    };
    let numbered = (2..100).map(|number| PathBuf::from(format!("{USUAL}{number}")));
    let usual = std::iter::once(PathBuf::from(USUAL)).chain(numbered);
    let free = before.into_iter().chain(usual).find(|path| mount::require_free(path).is_ok());
    free.map(|path| path.display().to_string())
}
