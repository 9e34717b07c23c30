//! The questions about the place for the backups: which disk, and in which way. What is asked about a new file system is in
//! `format`.

use super::ask::{self, Choice, Question, Reply};
use super::pages::Move;
use super::{Wizard, format};
use crate::error::Result;
use crate::preflight;
use crate::report::human;
use crate::setup::disks::guard::{self, Danger};
use crate::setup::disks::{self, Device, Kind, Signature, Way, own, partition};
use crate::setup::measure;
use crate::setup::place;
use crate::store::layout;
use crate::sys::{files, mounts};
use std::path::{Path, PathBuf};

/// Where a disk is mounted, unless somebody says otherwise.
pub const USUAL: &str = "/srv/backup";

const HELP: &str = "\
Best is a disk or partition of its own: it survives the loss of the site's disk, and cannot fill that up. A disk that is \
formatted loses all that is on it; anything with something on it asks for its name to be typed first. A plain folder is good \
for a trial, or where another program copies the backups elsewhere (post-job.d). A network share can be used if it is \
mounted already and keeps owners and hard links; that is tried out.";

/// A partition is not made smaller, in bytes; and of less free space than that nobody wonders why it is not used.
const SMALLEST: u64 = 1 << 30;
const WORTH_A_WORD: u64 = 100 << 20;

/// What is said of the place until now.
const AT_PRESENT: &str = "; the backups are here at present";

/// One thing that can be chosen.
#[derive(Clone, Debug)]
struct Offer {
    text: String,
    unfit: Option<String>,
    /// Whether something would be lost by it.
    loses: bool,
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
    if !is_meant(wizard, way.path())? {
        return Ok(Move::Again);
    }
    tell_how_long(wizard, &way);
    wizard.answers.target = Some(way);
    Ok(Move::Next)
}

/// Whether a place that something speaks against is taken all the same. Where it is the place until now, that was asked before.
fn is_meant(wizard: &mut Wizard, path: &Path) -> Result<bool> {
    let doubt = place::doubt(wizard.session.paths.root(), path);
    let Some(doubt) = doubt.filter(|_| wizard.old.as_ref().is_none_or(|old| old.target.path != path)) else {
        return Ok(true);
    };
    wizard.person.tell(&format!("WARNING: {doubt}."));
    let help = "No leads back to the list. A folder can be made meanwhile, in another terminal.";
    Ok(wizard.person.yes("Take it all the same?", help, false)? == Reply::Given(true))
}

/// Everything there is, the fit first.
fn offers(wizard: &Wizard) -> Result<Vec<Offer>> {
    let all = disks::list()?;
    let site: Vec<&Path> = wizard.site_folders();
    let system = guard::system(&site, &all);
    let needed = wizard.needed();
    let mut offers = Vec::new();
    for device in &all {
        offers.extend(of_device(wizard, device, &system, &all));
        let least = needed.max(SMALLEST);
        if let Some(free) = partition::free(device)?.filter(|free| *free >= WORTH_A_WORD && !device.is_empty()) {
            let text = format!("{}: a new partition in its free space of {}", named(device), human::bytes(free));
            let unfit = (free < least).then(|| format!("too small: {} are needed", human::bytes(least)));
            offers.push(Offer { text, unfit, loses: false, kind: What::Partition(device.clone()) });
        }
    }
    offers.sort_by_key(|it| (it.unfit.is_some(), it.loses, !matches!(it.kind, What::Mounted(_))));
    let text = "a plain folder on a disk that is there for something else (not recommended: lost with that disk)";
    let text = match is_in_plain_folder(wizard, &offers) {
        Some(path) => format!("{text}{AT_PRESENT}, in {}", path.display()),
        None => text.to_owned(),
    };
    offers.push(Offer { text, unfit: None, loses: false, kind: What::Folder });
    Ok(offers)
}

/// The place of the backups until now, where it is on none of the disks that are offered.
fn is_in_plain_folder<'a>(wizard: &'a Wizard, offers: &[Offer]) -> Option<&'a Path> {
    let old = wizard.old.as_ref().filter(|old| preflight::require_mounted(old).is_ok())?;
    let path = old.target.path.as_path();
    let on_disk = |it: &Offer| matches!(&it.kind, What::Mounted(point) if is_on(path, point));
    (!offers.iter().any(on_disk)).then_some(path)
}

/// What can be done with a device as a whole.
fn of_device(wizard: &Wizard, device: &Device, system: &[PathBuf], all: &[Device]) -> Vec<Offer> {
    let on_system = system.contains(&device.path) || device.below.iter().any(|disk| system.contains(disk));
    match device.mounts.first() {
        Some(point) if device.file_system().is_some() => {
            mounted(wizard, device, point).filter(|_| !on_system).into_iter().collect()
        }
        // The very disk of the system, or of the site.
        _ if on_system && !device.partitions.is_empty() => Vec::new(),
        _ => {
            let dangers = guard::dangers(device, wizard.needed(), system, all);
            as_it_is(wizard, device, &dangers).into_iter().chain(to_be_formatted(wizard, device, &dangers)).collect()
        }
    }
}

fn mounted(wizard: &Wizard, device: &Device, point: &Path) -> Option<Offer> {
    let free = files::space(point).map_or(0, |space| space.free_bytes);
    let what = &device.file_system()?.what;
    let present = wizard.old.as_ref().is_some_and(|old| device.mounts.iter().any(|it| is_on(&old.target.path, it)));
    let note = match present {
        true => AT_PRESENT.to_owned(),
        false => too_small(free, wizard.needed()),
    };
    let text = format!("{}: {what}, mounted at {}, {} free{note}", named(device), point.display(), human::bytes(free));
    Some(Offer { text, unfit: None, loses: false, kind: What::Mounted(point.to_path_buf()) })
}

/// Whether a folder lies on what is mounted there.
fn is_on(folder: &Path, point: &Path) -> bool {
    mounts::of(folder).is_ok_and(|mount| mount.point == point)
}

/// That the first backup has no room, where that is so.
fn too_small(bytes: u64, needed: u64) -> String {
    match bytes < needed {
        true => format!("; TOO SMALL: the first backup needs about {}", human::bytes(needed)),
        false => String::new(),
    }
}

/// A file system that nobody uses.
fn as_it_is(wizard: &Wizard, device: &Device, dangers: &[Danger]) -> Option<Offer> {
    let file_system = device.file_system().filter(|_| refused(dangers).is_none())?;
    let label = file_system.label.as_ref().map_or(String::new(), |label| format!(" {label:?}"));
    let note = match is_present(wizard, device) {
        Some(_) => "; it is the disk of the backups at present, and NOT MOUNTED".to_owned(),
        None => too_small(device.size, wizard.needed()),
    };
    let text = format!("{}: its file system ({}{label}) as it is{note}", named(device), file_system.what);
    Some(Offer { text, unfit: None, loses: false, kind: What::Mount(device.clone()) })
}

fn to_be_formatted(wizard: &Wizard, device: &Device, dangers: &[Danger]) -> Option<Offer> {
    let refused = refused(dangers);
    // That a disk with partitions is in use is said of the partitions.
    let elsewhere = refused.is_some() && !device.partitions.is_empty();
    let of_backups = refused.is_none() && own::named(device, wizard.present_disk()).is_some();
    if elsewhere || of_backups {
        return None;
    }
    let what = match (device.is_empty(), guard::has_data(&device.path)) {
        (true, false) => "empty, to be formatted".into(),
        (true, true) if device.kind == Kind::Crypt => {
            "nothing known on it, as if it had never been written to, to be formatted".into()
        }
        (true, true) => "nothing known on it, but NOT empty, to be formatted".into(),
        (false, _) => format!("NOT empty ({}), to be formatted: all that is on it is lost", known_on(device)),
    };
    let text = format!("{}: {what}{}", named(device), too_small(device.size, wizard.needed()));
    Some(Offer { text, unfit: refused, loses: !dangers.is_empty(), kind: What::Format(device.clone()) })
}

fn refused(dangers: &[Danger]) -> Option<String> {
    dangers.iter().find_map(|it| if let Danger::Refused(why) = it { Some(why.clone()) } else { None })
}

/// What is on a device, in a few words: `ext4 "photos"`, `gpt, 2 partitions`.
fn known_on(device: &Device) -> String {
    let label = |label: &String| format!(" {label:?}");
    let signature = |it: &Signature| format!("{}{}", it.what, it.label.as_ref().map(label).unwrap_or_default());
    let partitions = Some(device.partitions.len() as u64).filter(|count| *count > 0);
    let partitions = partitions.map(|count| human::count(count, "partition"));
    let holders = device.holders.iter().map(|holder| format!("a part of {}", holder.display()));
    device.signatures.iter().map(signature).chain(partitions).chain(holders).collect::<Vec<_>>().join(", ")
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

/// What was answered before, or is so now; else the first disk of its own. A disk with something of others on it is proposed to nobody, also
/// not to who has looked at it and come back: it is another's, unless it is said anew.
fn default(wizard: &Wizard, offers: &[Offer]) -> Option<usize> {
    let fit = |it: &Offer| {
        let is_others = match &it.kind {
            What::Mount(_) => true,
            What::Mounted(point) => holds_others(point),
            _ => false,
        };
        it.unfit.is_none() && !it.loses && !is_others
    };
    let first = || offers.iter().position(fit);
    let Some(now) = &wizard.answers.target else { return first() };
    let at = |is_now: &dyn Fn(&What) -> bool| offers.iter().position(|it| is_now(&it.kind));
    let found = match now {
        Way::Mounted { path } => {
            let point = mounts::of(path).map(|mount| mount.point).unwrap_or_default();
            let unmounted = at(&|it| matches!(it, What::Mount(device) if is_present(wizard, device).is_some()));
            unmounted.or_else(|| at(&|it| matches!(it, What::Mounted(offered) if *offered == point)))
        }
        Way::Folder { .. } => None,
        Way::Mount { .. } => None,
        Way::Format { device, .. } => at(&|it| matches!(it, What::Format(offered) if offered.path == *device)),
        Way::Partition { disk, .. } => at(&|it| matches!(it, What::Partition(offered) if offered.path == *disk)),
    };
    match now {
        Way::Folder { .. } | Way::Mounted { .. } => found.or_else(|| at(&|it| matches!(it, What::Folder))),
        // It has gone, or is something else by now.
        _ => found.filter(|at| fit(&offers[*at])).or_else(first),
    }
}

/// Whether there is anything on a mounted disk but backups.
fn holds_others(point: &Path) -> bool {
    let entries = std::fs::read_dir(point).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .any(|path| !path.ends_with("lost+found") && !path.join(layout::SITE_FILE).exists())
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
    let next = ask::what_to_do(error).map_or(String::new(), |words| format!(" {words}"));
    format!("{error:#}.{next}")
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
