//! The questions about the place for the backups: which disk, and in which way. What is asked about a new file system is in
//! `format`.

use super::ask::{Choice, Question, Reply};
use super::{Move, Wizard, format};
use crate::error::{self, Result};
use crate::report::human;
use crate::setup::disks::guard::{self, Danger};
use crate::setup::disks::{self, Device, Kind, Way, partition};
use crate::setup::measure;
use crate::setup::place;
use crate::sys::{files, mounts};
use std::path::{Path, PathBuf};

/// Where a disk is mounted, unless somebody says otherwise.
pub const USUAL: &str = "/srv/backup";

const HELP: &str = "\
Best is a disk or partition of its own: it survives the loss of the site's disk, and cannot fill that up. A disk that is \
formatted loses all that is on it; anything with something on it asks for its name to be typed first. A plain folder is good \
for a trial, or where another program copies the backups elsewhere (post-job.d). A network share can be used if it is \
mounted already and keeps owners and hard links; that is tried out.";

/// One thing that can be chosen.
#[derive(Clone, Debug)]
struct Offer {
    text: String,
    unfit: Option<String>,
    kind: What,
}

#[derive(Clone, Debug)]
enum What {
    Mounted(PathBuf),
    Mount(Device),
    Format(Device),
    Partition(Device),
    Folder,
}

/// Where the backups go.
pub fn place(wizard: &mut Wizard) -> Result<Move> {
    let needed = wizard.needed();
    if needed > 0 {
        let room = measure::room(&wizard.sizes(), &wizard.kept());
        wizard.person.tell(&measure::told(&room, wizard.has_backups()));
    }
    let offers = offers(wizard)?;
    let choices: Vec<Choice> =
        offers.iter().map(|it| Choice { text: it.text.clone(), unfit: it.unfit.clone() }).collect();
    let default = default(wizard, &offers);
    let Reply::Given(at) = wizard.person.choose("Where are the backups to go?", HELP, &choices, default)? else {
        return Ok(Move::Back);
    };
    wizard.seen = None;
    let way = match offers[at].kind.clone() {
        What::Mounted(path) => folder_on(wizard, &path)?,
        What::Folder => plain_folder(wizard)?,
        What::Mount(device) => match is_present(wizard, &device) {
            Some(path) => Some(Way::Mounted { path }),
            None => format::mounted_at(wizard)?.map(|path| Way::Mount { device: device.path, path }),
        },
        What::Format(device) => format::device(wizard, device, needed)?,
        What::Partition(device) => format::new_partition(wizard, device)?,
    };
    let Some(way) = way else { return Ok(Move::Again) };
    tell_how_long(wizard, &way);
    wizard.answers.target = Some(way);
    Ok(Move::Next)
}

/// Everything there is, the fit first.
fn offers(wizard: &Wizard) -> Result<Vec<Offer>> {
    let all = disks::list()?;
    let site: Vec<&Path> = wizard.site_folders();
    let system = guard::system(&site, &all);
    let needed = wizard.needed();
    let mut offers = Vec::new();
    for device in &all {
        let on_system = system.contains(&device.path) || device.below.iter().any(|disk| system.contains(disk));
        if let Some(offer) = offer(device, on_system, needed, &system, &all)? {
            offers.push(offer);
        }
        if let Some(free) = partition::free(device)?.filter(|free| *free >= needed.max(1 << 30) && !device.is_empty()) {
            let text = format!("{}: a new partition in its free space of {}", named(device), human::bytes(free));
            offers.push(Offer { text, unfit: None, kind: What::Partition(device.clone()) });
        }
    }
    offers.sort_by_key(|it| (it.unfit.is_some(), !matches!(it.kind, What::Mounted(_))));
    let text =
        "a plain folder on a disk that is there for something else (not recommended: lost with that disk)".into();
    offers.push(Offer { text, unfit: None, kind: What::Folder });
    Ok(offers)
}

fn offer(device: &Device, on_system: bool, needed: u64, system: &[PathBuf], all: &[Device]) -> Result<Option<Offer>> {
    if let (Some(point), Some(file_system)) = (device.mounts.first(), device.file_system()) {
        if on_system {
            return Ok(None);
        }
        let free = files::space(point).map_or(0, |space| space.free_bytes);
        let free = human::bytes(free);
        let text = format!("{}: {}, mounted at {}, {free} free", named(device), file_system.what, point.display());
        return Ok(Some(Offer { text, unfit: None, kind: What::Mounted(point.clone()) }));
    }
    // A disk that is in parts is not offered as a whole; it is still there for an answers file.
    if !device.partitions.is_empty() {
        return Ok(None);
    }
    let dangers = guard::dangers(device, needed, system, all);
    let refused = dangers.iter().find_map(|it| if let Danger::Refused(why) = it { Some(why.clone()) } else { None });
    if let (Some(file_system), None) = (device.file_system(), &refused) {
        let label = file_system.label.as_ref().map_or(String::new(), |label| format!(" {label:?}"));
        let text = format!("{}: its file system ({}{label}) as it is", named(device), file_system.what);
        return Ok(Some(Offer { text, unfit: None, kind: What::Mount(device.clone()) }));
    }
    if device.kind == Kind::Loop && device.is_empty() && device.size < needed {
        return Ok(None);
    }
    let what = match (device.is_empty(), guard::has_data(&device.path)) {
        (true, false) => "empty",
        (true, true) => "nothing known on it, but NOT empty",
        (false, _) => "NOT empty",
    };
    let text = format!("{}: {what}, to be formatted", named(device));
    Ok(Some(Offer { text, unfit: refused, kind: What::Format(device.clone()) }))
}

/// The place of the backups until now, if this is its disk.
fn is_present(wizard: &Wizard, device: &Device) -> Option<PathBuf> {
    let target = &wizard.old.as_ref()?.target;
    let uuid = device.file_system()?.uuid.as_ref()?;
    (target.mount_uuid.as_ref() == Some(uuid)).then(|| target.path.clone())
}

fn named(device: &Device) -> String {
    let kind = match device.kind {
        Kind::Disk => "disk",
        Kind::Partition => "partition",
        Kind::Crypt => "opened encrypted volume",
        Kind::Loop => "file as a disk",
        Kind::Other => "volume",
    };
    let model = device.model.as_ref().map_or(String::new(), |model| format!(" {model}"));
    format!("{kind} {}{model}, {}", device.path.display(), human::bytes(device.size))
}

/// What was answered before, or is so now; else the first disk of its own.
fn default(wizard: &Wizard, offers: &[Offer]) -> Option<usize> {
    let first = || offers.iter().position(|it| it.unfit.is_none() && !matches!(it.kind, What::Mount(_)));
    let Some(now) = &wizard.answers.target else { return first() };
    let at = |is_now: &dyn Fn(&What) -> bool| offers.iter().position(|it| is_now(&it.kind));
    let found = match now {
        Way::Mounted { path } => {
            let point = mounts::of(path).map(|mount| mount.point).unwrap_or_default();
            let unmounted = at(&|it| matches!(it, What::Mount(device) if is_present(wizard, device).is_some()));
            unmounted.or_else(|| at(&|it| matches!(it, What::Mounted(offered) if *offered == point)))
        }
        Way::Folder { .. } => None,
        Way::Mount { device, .. } => at(&|it| matches!(it, What::Mount(offered) if offered.path == *device)),
        Way::Format { device, .. } => at(&|it| matches!(it, What::Format(offered) if offered.path == *device)),
        Way::Partition { disk, .. } => at(&|it| matches!(it, What::Partition(offered) if offered.path == *disk)),
    };
    match now {
        Way::Folder { .. } | Way::Mounted { .. } => found.or_else(|| at(&|it| matches!(it, What::Folder))),
        // It has gone, or is something else by now.
        _ => found.or_else(first),
    }
}

/// A folder on a disk that is mounted.
fn folder_on(wizard: &mut Wizard, point: &Path) -> Result<Option<Way>> {
    let now = wizard.answers.target.as_ref().map(|way| way.path().to_path_buf());
    let default = now.filter(|now| now.starts_with(point)).unwrap_or_else(|| point.to_path_buf());
    let question = Question {
        ask: "In which folder there?",
        help: "The backups of each site go into a folder there, with the site's name.",
        default: Some(default.display().to_string()),
    };
    let fit = fit(wizard);
    let on_it = |answer: &str| match Path::new(answer) {
        path if path.is_dir() && path.starts_with(point) => fit(path),
        _ => Err(format!("There is no folder {answer:?} on that disk.")),
    };
    Ok(given(wizard.person.text(&question, on_it)?).map(|path| Way::Mounted { path }))
}

/// Takes a folder, or says why there can be no backups in it.
pub fn fit(wizard: &Wizard) -> impl Fn(&Path) -> std::result::Result<PathBuf, String> + use<> {
    let folders = wizard.site_folders().into_iter().map(Path::to_path_buf);
    let saved: Vec<PathBuf> = folders.chain(wizard.answers.directories.iter().flatten().cloned()).collect();
    let name = wizard.name();
    move |path| place::require_fit(path, &name, saved.iter()).map(|()| path.to_path_buf()).map_err(|error| told(&error))
}

/// What is wrong with an answer, and what would be right.
pub fn told(error: &anyhow::Error) -> String {
    let hint = error::hint(error).map_or(String::new(), |hint| format!(" What to do: {hint}."));
    format!("{error:#}.{hint}")
}

fn plain_folder(wizard: &mut Wizard) -> Result<Option<Way>> {
    let now = wizard.answers.target.as_ref().map(|way| way.path().display().to_string());
    let question = Question {
        ask: "Which folder? It is made if it is not there.",
        help: "Outside of Moodle's code and moodledata. If the disk that it is on is lost, so are site and backups.",
        default: Some(now.unwrap_or_else(|| USUAL.into())),
    };
    let fit = fit(wizard);
    Ok(given(wizard.person.text(&question, |answer| fit(Path::new(answer)))?).map(|path| Way::Folder { path }))
}

/// An answer; `None` to go back.
pub fn given<T>(reply: Reply<T>) -> Option<T> {
    match reply {
        Reply::Given(value) => Some(value),
        Reply::Back => None,
    }
}

/// For how long the room will do.
fn tell_how_long(wizard: &Wizard, way: &Way) {
    let free = match way {
        Way::Folder { path } | Way::Mounted { path } => {
            let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
            if matches!(way, Way::Mounted { .. }) && mounts::same_file_system(there, Path::new("/")) {
                wizard.person.tell("Note: that is the disk of the system itself.");
            }
            files::space(there).map_or(0, |space| space.free_bytes)
        }
        Way::Format { device, .. } => disks::look(device).map_or(0, |device| device.size / 100 * 95),
        Way::Mount { .. } | Way::Partition { .. } => return,
    };
    if free < wizard.needed() {
        let (free, needed) = (human::bytes(free), human::bytes(wizard.needed()));
        wizard.person.tell(&format!("WARNING: there is room for {free}, and the first backup takes about {needed}."));
    } else if let Some(days) = measure::lasts(&wizard.sizes(), &wizard.kept(), free) {
        let about = match days {
            0..60 => format!("{days} days"),
            60..730 => format!("{} months", days / 30),
            _ => format!("{} years", days / 365),
        };
        wizard
            .person
            .tell(&format!("With the usual retention and this site's growth, the room lasts for about {about}."));
    }
}
