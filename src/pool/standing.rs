//! Which of users' files stand in filedir as the pool has them, found out from sizes and times alone. Folders are looked at by their
//! place on the disk, as far as inodes tell: in the order of their names, which are hashes, each is somewhere else.

use super::marks::Marks;
use super::restore::Restore;
use super::{Effort, entries};
use crate::error::{Fault, OrFault, Result};
use crate::hashes::{self, Hash};
use crate::sys::threads;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, fstatat};
use std::collections::HashMap;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// So many folders does a thread take at a time.
const FOLDERS: usize = 64;

/// So many threads look for each that works otherwise: most of the time they wait for the disk.
const WAITING: usize = 4;

type Check<'a> = &'a (dyn Fn() -> Result<()> + Sync);

/// For each hash of a sorted list whether its file stands in filedir with the marks that it has in the pool. Where these are not
/// known for all, the pool is looked at. An error of `check`, which is asked now and then, ends it.
pub fn same_in_both(job: &Restore, list: &[Hash], known: Option<Vec<Marks>>, check: Check) -> Result<Vec<bool>> {
    let known = known.filter(|known| known.len() == list.len());
    // At once: as a rule they are on two disks.
    let (stored, stands) = std::thread::scope(|scope| {
        let stored = match known {
            Some(known) => Ok(known.into_iter().map(Some).collect()),
            None => Err(scope.spawn(|| marks(job.pool, list, job.effort, check))),
        };
        let stands = marks(job.filedir, list, job.effort, check);
        let panicked = |_| Err(Fault::failed("a thread that looks panicked").into());
        (stored.or_else(|looking| looking.join().unwrap_or_else(panicked)), stands)
    });
    let (stored, stands): (Vec<Option<Marks>>, _) = (stored?, stands?);
    Ok(stored.into_iter().zip(stands).map(|(stored, stands)| stored.is_some() && stored == stands).collect())
}

fn marks(base: &Path, list: &[Hash], effort: Effort, check: Check) -> Result<Vec<Option<Marks>>> {
    let folders = folders(base, list)?;
    let opened = nix::fcntl::open(base, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
    let opened: OwnedFd = opened.or_fault(|| Fault::failed(format!("cannot open {}", base.display())))?;
    let marks = Mutex::new(vec![None; list.len()]);
    let look = |_: &mut (), folders: &[Range<usize>]| {
        check()?;
        let mut found = Vec::new();
        for number in folders.iter().cloned().flatten() {
            // What cannot be looked at is looked at again, one by one, and told then.
            let path = hashes::relative_path(&list[number]);
            let stat = fstatat(&opened, &path, AtFlags::AT_SYMLINK_NOFOLLOW).ok();
            let is_file = |mode| SFlag::from_bits_truncate(mode) & SFlag::S_IFMT == SFlag::S_IFREG;
            if let Some(stat) = stat.filter(|stat| is_file(stat.st_mode)) {
                found.push((number, Marks::from(&stat)));
            }
        }
        let mut marks = marks.lock().unwrap_or_else(PoisonError::into_inner);
        found.into_iter().for_each(|(number, found)| marks[number] = Some(found));
        Ok(())
    };
    let effort = Effort { threads: effort.threads * WAITING, ..effort };
    threads::share(effort, || (), look, |give| folders.chunks(FOLDERS).try_for_each(give))?;
    Ok(marks.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The parts of the list that lie in one folder each, by the place of those folders; without those whose folder is not there.
fn folders(base: &Path, list: &[Hash]) -> Result<Vec<Range<usize>>> {
    let mut folders: Vec<(u64, Range<usize>)> = Vec::new();
    let mut inodes: HashMap<Vec<u8>, u64> = HashMap::new();
    let mut top = None;
    let mut start = 0;
    for part in list.chunk_by(|a, b| a[..2] == b[..2]) {
        if top != Some(part[0][0]) {
            top = Some(part[0][0]);
            inodes = entries(&base.join(hashes::to_hex(&part[0][..1])))?.into_iter().collect();
        }
        if let Some(inode) = inodes.get(hashes::to_hex(&part[0][1..2]).as_bytes()) {
            folders.push((*inode, start..start + part.len()));
        }
        start += part.len();
    }
    folders.sort_unstable_by_key(|(inode, part)| (*inode, part.start));
    Ok(folders.into_iter().map(|(_, part)| part).collect())
}
