//! The command `recover`: what interrupted runs and restores have left, on all sites. It needs no settings.

use super::{Session, listing, standing};
use crate::cli;
use crate::error::{Fault, Result};
use crate::undo::{self, Fate, Record};
use crate::window::{self, Closure, Recovered};

/// Undoes what died half-way, and opens what it had left closed.
pub fn recover(session: &Session, args: &cli::Recover) -> Result<u8> {
    let (paths, log) = (&session.paths, &session.log);
    let judge = |restore: &Record| match (args.undo_restore, args.keep) {
        (true, _) => Ok(Fate::Undone),
        (_, true) => require_opened(session, restore).map(|()| Fate::Kept),
        _ => window::require_not_opened(paths, restore).map(|()| Fate::Undone),
    };
    let restores = undo::recover(paths, &judge, log);
    // Whatever became of one site, the others are opened.
    let recovered = window::recover(paths, log);
    let restores = restores?;
    restores.iter().for_each(|(restore, fate)| tell_of_restore(session, restore, *fate));
    undo::sweep(paths, log);
    let mut recovered = recovered?;
    recovered.retain(|one| !matches!(one, Recovered::Reopened(site) if was_kept(site, &restores)));
    if recovered.is_empty() && restores.iter().all(|(_, fate)| *fate != Fate::Kept) {
        log.info("no site was left closed");
    }
    recovered.iter().for_each(|one| tell_of_site(session, one));
    if let Err(error) = remove_half_made(session) {
        log.warn(format!(
            "it was not looked whether anything half made is on the target: {error:#}; the next run looks"
        ));
    }
    Ok(0)
}

/// Half a site is kept only where somebody has taken it into use.
fn require_opened(session: &Session, restore: &Record) -> Result<()> {
    match window::is_opened(&session.paths, restore)? {
        true => Ok(()),
        false => Err(Fault::unfit(format!(
            "{} is still closed, and half replaced by the restore of {} that has died: nobody has taken it into use, so nothing is kept",
            restore.site, restore.what
        ))
        .hint(format!(
            "\"moodle-backup recover\" puts back what was there before; if the site is to stay as it is, open it first: delete {}",
            restore.dataroot.join(crate::moodle::MAINTENANCE_PAGE).display()
        ))
        .into()),
    }
}

/// Whether a site was kept as somebody had opened it: then it was not opened by us.
fn was_kept(site: &Closure, restores: &[(Record, Fate)]) -> bool {
    restores.iter().any(|(restore, fate)| *fate == Fate::Kept && restore.dataroot == site.dataroot)
}

fn tell_of_restore(session: &Session, restore: &Record, fate: Fate) {
    let site = &restore.site;
    session.log.info(match fate {
        Fate::Undone => format!("undid an interrupted restore of {site}: it is as it was before"),
        Fate::Kept if restore.is_of_new_site() => {
            format!("{site} in {} is kept as it is now, after {}: have a look at all of it", restore.dataroot.display(), restore.what)
        }
        Fate::Kept => format!(
            "{site} is kept as it is now, after {}: have a look at all of it; what that had replaced is set aside: \"moodle-backup \
             restore --undo\" brings it back, \"moodle-backup restore --discard\" deletes it",
            restore.what
        ),
    });
}

fn tell_of_site(session: &Session, one: &Recovered) {
    let log = &session.log;
    match one {
        // Somebody will wonder why it was closed.
        Recovered::Reopened(site) => log.warn(reopened(site)),
        Recovered::Held(site) => {
            log.info(format!("{} is kept closed on purpose; \"moodle-backup resume\" opens it", site.site));
        }
        Recovered::Running(site) => {
            log.info(format!("a run is at work on {} (process {})", site.site, site.pid));
        }
    }
}

fn reopened(site: &Closure) -> String {
    let since = standing::local(site.closed_at);
    let log = site.log.as_ref().map_or(String::new(), |log| format!("; its log is {}", log.display()));
    format!(
        "reopened {} ({}): a run closed it on {since} and was ended before it could open it{log}",
        site.site,
        site.dataroot.display()
    )
}

/// What an interrupted run has left on the target, where settings tell which that is and no run is at work there.
fn remove_half_made(session: &Session) -> Result<()> {
    // Without settings, or with such as are not filled in yet, there was no run.
    let Ok(settings) = session.settings() else { return Ok(()) };
    let Some(store) = listing::store(&settings)? else { return Ok(()) };
    if let Some(lock) = store.try_lock()? {
        for name in store.clean_partials(&lock)? {
            session.log.info(format!("removed {name}, which an interrupted run had left"));
        }
    }
    Ok(())
}
