//! Finds the Moodle Backup Scripts on this machine by their line in cron, and puts that line out of use. Runs nothing.

use crate::error::{Fault, OrFault, Result};
use crate::sys::files;
use crate::sys::log::Log;
use crate::sys::paths::Paths;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

/// A key that a settings file of theirs has, and hardly any other file.
const MARK: &str = "backuptargetparentpath";

/// No settings file is longer.
const LONGEST: u64 = 1 << 20;

/// The scripts, where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Their settings file.
    pub settings: PathBuf,
    /// Their post-job script, if there is one.
    pub post_job: Option<PathBuf>,
    /// The script that cron starts.
    pub script: PathBuf,
    /// The first file of cron that starts it.
    pub crontab: PathBuf,
    /// The line there.
    pub line: String,
}

/// Looks for them; where there are several, the first.
pub fn find(paths: &Paths) -> Option<Found> {
    crontabs(paths).iter().find_map(|crontab| found_in(crontab).into_iter().next())
}

/// Those with this settings file.
pub fn of(paths: &Paths, settings: &Path) -> Option<Found> {
    let folder = files::parent(settings).canonicalize().ok()?;
    let here = |found: &Found| files::parent(&found.settings).canonicalize().is_ok_and(|it| it == folder);
    crontabs(paths).iter().find_map(|crontab| found_in(crontab).into_iter().find(here))
}

fn found_in(crontab: &Path) -> Vec<Found> {
    let text = std::fs::read(crontab).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let found = |line: &str| {
        let (script, settings) = scripts_in(line)
            .into_iter()
            .find_map(|script| Some((settings_in(files::parent(&script))?, script)))
            .map(|(settings, script)| (script, settings))?;
        let post_job = post_job_in(files::parent(&settings));
        Some(Found { settings, post_job, script, crontab: crontab.to_path_buf(), line: line.to_owned() })
    };
    text.lines().filter_map(found).collect()
}

/// What a line of cron may start: paths in it, and programs in a folder that it goes to first (`cd`). None in a comment.
fn scripts_in(line: &str) -> Vec<PathBuf> {
    if line.trim_start().starts_with('#') {
        return Vec::new();
    }
    let between = |c: char| c.is_whitespace() || ";&|()<>\"'".contains(c);
    let mut folder = None;
    let mut before = "";
    let mut scripts = Vec::new();
    for word in line.split(between).filter(|word| !word.is_empty()) {
        if before == "cd" && word.starts_with('/') {
            folder = Some(Path::new(word));
        } else if word.starts_with('/') {
            scripts.push(PathBuf::from(word));
        } else if let (Some(folder), Some(name)) = (folder, word.strip_prefix("./")) {
            scripts.push(folder.join(name));
        }
        before = word;
    }
    scripts
}

/// The files of cron that may start something as root.
pub fn crontabs(paths: &Paths) -> Vec<PathBuf> {
    let root = paths.root();
    let mut found = vec![root.join("var/spool/cron/crontabs/root"), root.join("etc/crontab")];
    let entries = std::fs::read_dir(root.join("etc/cron.d")).into_iter().flatten();
    let mut system: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    system.sort();
    found.extend(system);
    found
}

/// The settings file in a folder: the file that sets the key.
fn settings_in(folder: &Path) -> Option<PathBuf> {
    let sets = |line: &str| {
        let line = line.trim_start();
        line.strip_prefix("export ").unwrap_or(line).trim_start().starts_with(&format!("{MARK}="))
    };
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let small = std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() < LONGEST);
            let text = if small { std::fs::read(path).unwrap_or_default() } else { Vec::new() };
            String::from_utf8_lossy(&text).lines().any(sets)
        })
        .collect();
    found.sort();
    found.into_iter().next()
}

fn post_job_in(folder: &Path) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
            path.is_file() && (name.contains("postjob") || name.contains("post_job") || name.contains("post-job"))
        })
        .collect();
    found.sort();
    found.into_iter().next()
}

/// Puts each line of cron that starts their script out of use: it stays as a comment, and the file as it was is kept in the
/// program's own folder. Lines that start something else of theirs are told of, and stay.
pub fn disable(paths: &Paths, found: &Found, log: &Log) -> Result<()> {
    for crontab in crontabs(paths) {
        disable_in(&crontab, paths, found, log)?;
    }
    Ok(())
}

fn disable_in(crontab: &Path, paths: &Paths, found: &Found, log: &Log) -> Result<()> {
    let unreadable = || Fault::failed(format!("cannot read {}", crontab.display()));
    let text = match std::fs::read(crontab) {
        // A folder, or a link to what is no more, is no file that cron takes.
        Err(_) if !crontab.is_file() => return Ok(()),
        text => text.or_fault(unreadable)?,
    };
    let meta = std::fs::metadata(crontab).or_fault(unreadable)?;
    let mut new: Vec<u8> = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let words = String::from_utf8_lossy(line);
        let scripts = scripts_in(&words);
        if scripts.contains(&found.script) {
            new.extend_from_slice(b"# put out of use by moodle-backup setup: ");
        } else if scripts.iter().any(|script| files::parent(script) == files::parent(&found.script)) {
            log.warn(format!(
                "{} has another line about the old scripts, which stays: {}",
                crontab.display(),
                words.trim()
            ));
        }
        new.extend_from_slice(line);
    }
    if new == text {
        return Ok(());
    }
    let kept = files::keep(&paths.state().join("crontab.before-moodle-backup"), &text, 0o600)?;
    files::write_durably(crontab, &new, meta.mode() & 0o777)?;
    chown(crontab, Some(meta.uid()), Some(meta.gid()))
        .or_fault(|| Fault::failed(format!("cannot keep the owner of {}", crontab.display())))?;
    log.info(format!("{} starts the old scripts no more; as it was it is in {}", crontab.display(), kept.display()));
    Ok(())
}

/// Where their post-job script goes.
pub fn hook(paths: &Paths) -> PathBuf {
    paths.etc().join("post-job.d/50-predecessor")
}

/// Keeps the hook that is there, if it says something else than is to be written: somebody may have worked on it.
pub fn keep_hook(paths: &Paths, text: &str, log: &Log) -> Result<()> {
    let hook = hook(paths);
    let old = match std::fs::read(&hook) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        old => old.or_fault(|| Fault::failed(format!("cannot read {}", hook.display())))?,
    };
    if old != text.as_bytes() {
        let kept = files::keep(&paths.state().join("post-job.before-moodle-backup"), &old, 0o600)?;
        log.info(format!("{} as it was is in {}", hook.display(), kept.display()));
    }
    Ok(())
}

/// The script as a hook: with a word of what its first argument means now.
pub fn hook_text(script: &Path) -> Result<String> {
    let text = std::fs::read_to_string(script).or_fault(|| {
        Fault::unfit(format!("cannot read the post-job script {}", script.display()))
            .hint("it must be a text in UTF-8; if it is in Latin-1: iconv -f latin1 -t utf8")
    })?;
    let note = "# Taken over by moodle-backup setup. Its first argument is now the folder of all backups of the site: a copy of\n\
                # it is whole. It is called once, with the site open, as the user of [hooks] in the settings, who can read the\n\
                # backups and change nothing of them.\n";
    Ok(match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("#!") => format!("{first}\n{note}{rest}"),
        // They called it from bash, which runs such a script itself.
        _ => format!("#!/bin/bash\n{note}{text}"),
    })
}

/// What in the script will hardly work any more, line by line: it looks as if it copied single files of the old set.
pub fn doubts(script: &str) -> Vec<String> {
    const FILES: [&str; 7] = [".tgz", ".tar", ".sql", ".gz", "-last", "chown", "sudo"];
    let lines = script.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with('#'));
    lines
        .filter(|(_, line)| FILES.iter().any(|word| line.contains(word)))
        .map(|(number, line)| format!("line {}: {}", number + 1, line.trim()))
        .collect()
}
