//! The command `import-settings`: what becomes of the predecessor's settings, shown, and written if that is wanted.

use super::Session;
use crate::cli;
use crate::error::{EXIT_WARNINGS, Fault, OrFault, Result};
use crate::preflight;
use crate::report::import::{self as view, Import};
use crate::settings::{self, edit, reference};
use crate::setup::predecessor::{self, Translation, adopt, find};
use crate::sys::files;
use std::path::Path;

/// Translates, shows, and writes.
pub fn import(session: &Session, args: &cli::ImportSettings) -> Result<u8> {
    let mut translation = predecessor::read(&args.file)?;
    let file = session.settings_file();
    let old = match std::fs::read_to_string(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => reference::sample(),
        read => read.or_fault(|| Fault::unfit(format!("cannot read {}", file.display())))?,
    };
    let clashes = edit::clashes(&old, &translation.changes)?;
    if !clashes.is_empty() && !args.replace && !args.dry_run {
        return Err(Fault::unfit(format!("{} says something else already: {}", file.display(), clashes.join("; ")))
            .hint("--replace puts the old scripts' values in their place; --dry-run shows all of them")
            .into());
    }
    let script = args.post_job.as_deref().map(|script| Ok::<_, anyhow::Error>((script, find::hook_text(script)?)));
    let script = script.transpose()?;
    let mut adopted = None;
    if !args.dry_run {
        write(&file, &old, &translation)?;
        compare(&file, &mut translation);
        if let Some((_, text)) = &script {
            take_hook(session, text)?;
        }
        if let Some(set) = &args.adopt {
            adopted = Some(adopt::adopt(&settings::load(&file)?, set, &session.log)?.files);
        }
    }
    let mut lines = translation.lines.clone();
    lines.extend(script.as_ref().map(|(script, text)| told(script, text)));
    if args.disable_cron {
        // Last: until now it was what made backups.
        lines.extend(disable_cron(session, args)?);
    }
    session.log.finish();
    let look = lines.iter().any(|line| line.look) || !session.log.warnings().is_empty();
    let done = Import {
        file: args.file.display().to_string(),
        settings: file.display().to_string(),
        written: !args.dry_run,
        clashes,
        set: translation.set.map(|set| set.display().to_string()),
        adopted,
        lines,
    };
    session.print(&done, view::text)?;
    Ok(if look { EXIT_WARNINGS } else { 0 })
}

fn write(file: &Path, old: &str, translation: &Translation) -> Result<()> {
    let mut text = edit::edited(old, &translation.changes)?;
    for name in &translation.databases {
        text = edit::with_database(&text, name, None)?;
    }
    edit::write(file, &text).map(drop)
}

/// What becomes of the post-job script.
fn told(script: &Path, text: &str) -> predecessor::Line {
    let doubts = find::doubts(text);
    let becomes = match doubts.is_empty() {
        true => "a hook in post-job.d; its first argument is the folder of all backups of the site now".to_owned(),
        false => format!(
            "a hook in post-job.d, but look at it: the old set's files are not there any more, and it cannot change what it \
             reads: {}",
            doubts.join("; ")
        ),
    };
    predecessor::Line {
        key: "post-job script".into(),
        value: script.display().to_string(),
        becomes,
        look: !doubts.is_empty(),
    }
}

/// Config.php alone tells where moodledata is: theirs may be an old copy.
fn compare(file: &Path, translation: &mut Translation) {
    let site = settings::load(file).and_then(|settings| preflight::read_site(&settings));
    translation.compare(site.as_ref().map(|site| site.config.dataroot.as_path()).map_err(|error| error.to_string()));
}

fn take_hook(session: &Session, text: &str) -> Result<()> {
    let hook = find::hook(&session.paths);
    find::keep_hook(&session.paths, text, &session.log)?;
    files::make_folders(files::parent(&hook), 0o755)?;
    files::write_durably(&hook, text.as_bytes(), 0o755)
}

/// What becomes of their line in cron; `None` if there is none.
fn disable_cron(session: &Session, args: &cli::ImportSettings) -> Result<Option<predecessor::Line>> {
    let Some(found) = find::of(&session.paths, &args.file) else {
        session.log.warn(format!("no line in cron starts scripts beside {}", args.file.display()));
        return Ok(None);
    };
    if !args.dry_run {
        find::disable(&session.paths, &found, &session.log)?;
    }
    let becomes = format!("a comment in {}: the old scripts make no backups any more", found.crontab.display());
    Ok(Some(predecessor::Line { key: "line in cron".into(), value: found.line, becomes, look: false }))
}
