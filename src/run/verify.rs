//! The command `verify`. It needs the settings and the target only; with `--repair` the site too.

use super::{Session, listing, watched};
use crate::cli;
use crate::error::{EXIT_WARNINGS, Fault, Kind, Result};
use crate::report::verify::{self, Damage, RestoreTest, Verdict, Verify};
use crate::store::damage;
use crate::verify::{Job, Mended, Outcome, Tested, Trial};
use std::time::Instant;

/// Verifies, and says what was found.
pub fn verify(session: &Session, asked: &cli::Verify) -> Result<u8> {
    let settings = session.settings()?;
    let store = listing::existing_store(&settings)?;
    let listing = store.backups()?;
    let only = match (asked.all, &asked.backup) {
        (true, _) => None,
        (false, wanted) => Some(store.find(wanted.as_deref().unwrap_or("latest"))?.name),
    };
    if listing.backups.is_empty() && listing.unreadable.is_empty() {
        return Err(Fault::failed("there is no backup yet").hint("\"moodle-backup run\" makes the first").into());
    }
    let job = Job {
        settings: &settings,
        paths: &session.paths,
        store: &store,
        only,
        sample: asked.sample,
        until: asked.max_time.map(|time| Instant::now() + time),
        anew: asked.anew,
    };
    let (outcome, mended, tested) = watched::shown(session, |log| {
        let outcome = crate::verify::verify(&job, log)?;
        let mended = crate::verify::repair(&store, &settings, asked.repair, log)?;
        let backup = listing.backups.iter().find(|backup| job.only.as_ref() == Some(&backup.name));
        let tested = backup.filter(|_| asked.restore_test).map(|backup| {
            let trial = Trial {
                settings: &settings,
                backup,
                folder: &asked.scratch_folder,
                database: asked.scratch_database.as_deref(),
            };
            crate::verify::restore_test(&store, &trial, log)
        });
        Ok((outcome, mended, tested.transpose()?))
    })?;
    let mut view = view(&job, asked.backup.as_deref(), outcome, &mended, tested)?;
    if asked.repair && mended.trouble.is_none() {
        view.backups.iter_mut().for_each(tell_of_loss);
    }
    session.report(&view, verify::text, exit_code(&view, &mended, asked.repair))
}

fn exit_code(view: &Verify, mended: &Mended, repair: bool) -> u8 {
    let failed = view.restore_test.as_ref().is_some_and(|test| !test.problems.is_empty());
    let damaged = view.backups.iter().any(|backup| !backup.damage.is_empty()) || !view.unreadable.is_empty() || failed;
    match (damaged, mended.mended.is_empty() && view.troubles.is_empty()) {
        (true, _) => Kind::Failed.exit_code(),
        (false, false) if repair || !view.troubles.is_empty() => EXIT_WARNINGS,
        (false, _) => 0,
    }
}

fn view(job: &Job, one: Option<&str>, outcome: Outcome, mended: &Mended, tested: Option<Tested>) -> Result<Verify> {
    let listing = job.store.backups()?;
    // Who names one backup wants to hear of that alone.
    let unreadable = listing.unreadable.iter().filter(|_| one.is_none_or(|one| one == "latest"));
    let all_noted = outcome.unnoted.is_empty();
    let backups = outcome.backups.into_iter().map(|verdict| Verdict {
        // After the repair.
        damage: match listing.backups.iter().find(|backup| backup.name == verdict.name) {
            Some(backup) if all_noted => damages(&backup.notes.damage),
            _ => damages(&verdict.damage),
        },
        name: verdict.name,
        files: verdict.files,
        bytes: verdict.bytes,
    });
    let untested = tested.as_ref().map(|tested| tested.untested.clone()).unwrap_or_default();
    let troubles = outcome.unnoted.into_iter().chain(mended.trouble.clone()).chain(untested);
    Ok(Verify {
        site: job.settings.site.name.clone(),
        finished: !outcome.cut_short,
        begun: outcome.begun,
        backups: backups.collect(),
        unreadable: unreadable.map(|one| format!("{}: {}", one.name, one.reason)).collect(),
        pool_listed: outcome.pool.listed,
        pool_files: outcome.pool.files,
        pool_bytes: outcome.pool.bytes,
        sampled: job.sample.is_some(),
        set_aside: mended.set_aside,
        mended: mended.mended.iter().map(damage::name_of).collect(),
        restore_test: tested.map(restore_test),
        troubles: troubles.chain(job.store.trouble_with_latest(&listing)).collect(),
    })
}

fn restore_test(tested: Tested) -> RestoreTest {
    RestoreTest {
        good: tested.problems.is_empty() && tested.untested.is_empty(),
        tables: tested.tables,
        rows: tested.rows,
        entries: tested.entries,
        release: Some(tested.release).filter(|release| !release.is_empty()),
        problems: tested.problems,
    }
}

/// Damage as it is shown.
pub fn damages(notes: &[crate::store::Damage]) -> Vec<Damage> {
    let damage = |noted: &crate::store::Damage| Damage {
        when: noted.at,
        file: noted.file.clone(),
        what: noted.what.clone(),
        affects: noted.affects.clone(),
        next: next(&noted.file).to_owned(),
    };
    notes.iter().map(damage).collect()
}

/// What can be done about pool files that the site was just asked for in vain.
fn tell_of_loss(verdict: &mut Verdict) {
    for damage in verdict.damage.iter_mut().filter(|damage| damage::pool_file(&damage.file).is_some()) {
        damage.next = "The site has no whole copy of it either. If a copy of this disk or an export has it, lay it into the \
                       site's filedir and call \"moodle-backup verify --repair\" again. A restore brings back all the rest."
            .into();
    }
}

/// What can be done about a damaged file.
fn next(file: &str) -> &'static str {
    if damage::pool_file(file).is_some() {
        return "The next run fetches it from the site if that has it still; \"moodle-backup verify --repair\" does so now.";
    }
    match file {
        "SHA256SUMS" | "run.log" | "RESTORE.txt" => "Nothing that is restored is lost by that.",
        "filedir.sha1.zst" => "The dump names the files too; nothing is removed from the pool while this list is here.",
        "index/filedir.zst" => "Nothing that is restored is lost by that: it only saves time.",
        _ => "Take this part from another backup; the next run makes it anew.",
    }
}
