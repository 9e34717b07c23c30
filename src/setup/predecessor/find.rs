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
    /// The file of cron that starts them.
    pub crontab: PathBuf,
    /// The line there.
    pub line: String,
}

/// Looks for them.
pub fn find(paths: &Paths) -> Option<Found> {
    let crontabs = crontabs(paths);
    crontabs.iter().find_map(|crontab| {
        let text = std::fs::read_to_string(crontab).ok()?;
        text.lines().filter(|line| !line.trim_start().starts_with('#')).find_map(|line| {
            let folders = line.split_whitespace().filter(|word| word.starts_with('/')).map(Path::new);
            let settings = folders.filter_map(Path::parent).find_map(settings_in)?;
            let post_job = post_job_in(files::parent(&settings));
            Some(Found { settings, post_job, crontab: crontab.clone(), line: line.to_owned() })
        })
    })
}

fn crontabs(paths: &Paths) -> Vec<PathBuf> {
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
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let small = std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() < LONGEST);
            let text = if small { std::fs::read_to_string(path).unwrap_or_default() } else { String::new() };
            text.lines().any(|line| line.trim_start().starts_with(&format!("{MARK}=")))
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

/// Puts their line in cron out of use: it stays as a comment, and the file as it was is kept in the program's own folder.
pub fn disable(paths: &Paths, found: &Found, log: &Log) -> Result<()> {
    let Found { crontab, line, .. } = found;
    let unreadable = || Fault::failed(format!("cannot read {}", crontab.display()));
    let text = std::fs::read_to_string(crontab).or_fault(unreadable)?;
    let meta = std::fs::metadata(crontab).or_fault(unreadable)?;
    let kept = paths.state().join("crontab.before-moodle-backup");
    files::make_folders(files::parent(&kept), 0o755)?;
    if !kept.exists() {
        files::write_durably(&kept, text.as_bytes(), 0o600)?;
    }
    let out_of_use = format!("# put out of use by moodle-backup setup: {line}");
    let new: String = text
        .split_inclusive('\n')
        .map(|one| {
            if one.trim_end_matches('\n') == line {
                one.replacen(line.as_str(), &out_of_use, 1)
            } else {
                one.to_owned()
            }
        })
        .collect();
    files::write_durably(crontab, new.as_bytes(), meta.mode() & 0o777)?;
    chown(crontab, Some(meta.uid()), Some(meta.gid()))
        .or_fault(|| Fault::failed(format!("cannot keep the owner of {}", crontab.display())))?;
    log.info(format!("{} starts the old scripts no more; as it was it is in {}", crontab.display(), kept.display()));
    Ok(())
}

/// Where their post-job script goes.
pub fn hook(paths: &Paths) -> PathBuf {
    paths.etc().join("post-job.d/50-predecessor")
}

/// The script as a hook: with a word of what its first argument means now.
pub fn hook_text(script: &Path) -> Result<String> {
    let text = std::fs::read_to_string(script)
        .or_fault(|| Fault::unfit(format!("cannot read the post-job script {}", script.display())))?;
    let note = "# Taken over by moodle-backup setup. Its first argument is now the folder of all backups of the site: a copy of\n\
                # it is whole. It is called once, with the site open, as the user of [hooks] in the settings, who can read the\n\
                # backups and change nothing of them.\n";
    Ok(match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("#!") => format!("{first}\n{note}{rest}"),
        _ => format!("#!/bin/sh\n{note}{text}"),
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
