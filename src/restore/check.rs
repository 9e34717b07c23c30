//! Whether what was brought back is a site that works: asked of the files, of the database, of Moodle's own command line,
//! and at last over the web. Changes nothing.

use super::stage::effort;
use super::{Here, Job};
use crate::error::{Fault, OrFault, Result};
use crate::hashes;
use crate::moodle::{Facts, table};
use crate::preflight::Site;
use crate::store::Part;
use crate::sys::log::Log;
use crate::sys::process::Output;
use crate::sys::threads;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const CLI_TIMEOUT: Duration = Duration::from_secs(300);

/// So many files does a thread look for at a time.
const SHARE: usize = 1024;

/// How many lost files are named.
const NAMED: usize = 5;

/// An error if the site as it stands now is not what was to be brought back.
pub fn site(job: &Job, here: &Here, site: Option<&Site>, log: &Log) -> Result<()> {
    let Some(site) = site else {
        log.warn("the site's code is not there, so what was brought back could not be tried out");
        return Ok(());
    };
    let mut session = site.connection.session()?;
    let facts = Facts::read(&mut session, &site.connection, &site.config.prefix)?;
    let is_clone = job.place.as_ref().is_some_and(|place| place.clone);
    if job.wants(&Part::Database) && !is_clone {
        let then = &job.backup.manifest.site.siteidentifier_sha256;
        if !then.is_empty() && hashes::to_hex(&Sha256::digest(facts.site_identifier())) != *then {
            return Err(Fault::failed("the database that was loaded is not that of this backup's site").into());
        }
    }
    let number = |text: &str| text.parse::<f64>().ok();
    if number(facts.version()) != number(&site.release.version) {
        log.warn(format!(
            "the code is of version {} and the database of {}: finish with admin/cli/upgrade.php, or restore both",
            site.release.version,
            facts.version()
        ));
    }
    starts(job, site, log)?;
    files(job, here, site, log)?;
    for (script, arguments) in [("check_database_schema.php", &[][..]), ("checks.php", &["--type=status"][..])] {
        // It would complain of the cron that is off on purpose.
        if !(is_clone && script == "checks.php") {
            ask_moodle(job, site, script, arguments, log)?;
        }
    }
    Ok(())
}

/// Every file that the database refers to is in the pool, but for those that were lost before the backup.
fn files(job: &Job, here: &Here, site: &Site, log: &Log) -> Result<()> {
    let known: HashSet<&str> = job.backup.manifest.pool.missing_at_source.iter().map(String::as_str).collect();
    let lost = Mutex::new(Vec::new());
    let look = |_: &mut (), names: Vec<String>| {
        for name in names {
            let Some(hash) = hashes::from_hex(name.as_bytes()) else { continue };
            let place = here.filedir.join(hashes::relative_path(&hash));
            let there = place.symlink_metadata().is_ok_and(|meta| meta.is_file());
            if !there && hash != hashes::EMPTY && !known.contains(name.as_str()) {
                lost.lock().unwrap_or_else(PoisonError::into_inner).push(name);
            }
        }
        Ok(())
    };
    let mut count = 0;
    threads::share(
        effort(job),
        || (),
        look,
        |give| {
            count = each_file(site, give)?;
            Ok(())
        },
    )?;
    let mut lost = lost.into_inner().unwrap_or_else(PoisonError::into_inner);
    lost.sort_unstable();
    if lost.is_empty() || site.config.alternative_file_system.is_some() {
        log.info(format!("all {count} users' files that the database refers to are there"));
        return Ok(());
    }
    let some = lost.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let words =
        format!("{} of {count} users' files that the database refers to are not in the pool: {some}", lost.len());
    // Where only a part was asked for, the other may be of another day.
    match job.wants(&Part::Database) && job.wants(&Part::Moodledata) {
        true if job.force => {
            log.warn(words);
            Ok(())
        }
        true => Err(Fault::failed(words).hint("\"moodle-backup verify\" tells whether the backup is whole").into()),
        false => {
            log.warn(format!("{words}; restoring moodledata of the same backup brings them back"));
            Ok(())
        }
    }
}

/// Hands on the names of all contents that the database refers to, each once, many at a time. Returns how many there are.
fn each_file(site: &Site, give: &mut dyn FnMut(Vec<String>) -> Result<()>) -> Result<u64> {
    let files = table(&site.connection, &site.config.prefix, "files")?;
    let (mut count, mut share) = (0, Vec::new());
    site.connection.session()?.stream(&format!("SELECT DISTINCT contenthash FROM {files}"), |row| {
        share.extend(row.into_iter().next().flatten());
        count += 1;
        if share.len() < SHARE { Ok(()) } else { give(std::mem::take(&mut share)) }
    })?;
    give(share)?;
    Ok(count)
}

/// What PHP ends with when it cannot go on.
const DIED: i32 = 255;

/// An error if Moodle's own code does not even start: PHP may be newer than this Moodle knows, of which its environment.xml says
/// nothing as a rule.
fn starts(job: &Job, site: &Site, log: &Log) -> Result<()> {
    let Some(script) = site.layout.cli(&site.config.admin, "cfg.php") else { return Ok(()) };
    let program = site.php.start().folder(&site.layout.root).arg(script).arg("--name=version").timeout(CLI_TIMEOUT);
    let output = program.output();
    crate::sys::signals::check()?;
    let Some(output) = output.ok().filter(|output| output.status.code() == Some(DIED)) else { return Ok(()) };
    let words = format!("Moodle {} does not start here: {}", site.release.release, said(&output));
    if job.ignore_environment {
        log.warn(words);
        return Ok(());
    }
    let hint = "install the PHP that this Moodle works with (download.moodle.org tells), and name it by php in [site]; or restore \
                all the same: --ignore-environment";
    Err(Fault::failed(words).hint(hint).into())
}

/// Moodle's own checks: what they say is told, and decides nothing; they find fault with many a site that works. Of
/// `checks.php`, 1 means that there are warnings only (admin/cli/checks.php: as Nagios has it), such as that cron has not
/// run since; they are for the log.
fn ask_moodle(job: &Job, site: &Site, script: &str, arguments: &[&str], log: &Log) -> Result<()> {
    let Some(path) = site.layout.cli(&site.config.admin, script) else { return Ok(()) };
    let program = site.php.start().folder(&site.layout.root).arg(path).args(arguments).timeout(CLI_TIMEOUT);
    let output = program.output();
    crate::sys::signals::check()?;
    match output {
        Ok(output) if output.status.success() => log.info(format!("Moodle's {script} finds nothing wrong")),
        Ok(output) if script == "checks.php" && output.status.code() == Some(1) => {
            log.detail(format!("Moodle's {script} says: {}", said(&output)));
        }
        Ok(output) if script == "checks.php" && is_of_cron(&output.text()) => {
            log.detail(format!("Moodle's {script} misses its cron, which has not run since: {}", said(&output)));
        }
        Ok(output) if script != "checks.php" && is_of_one_time(job) => log.warn(format!(
            "Moodle's {script} says: {}; code and database are both as they were then, so it was so before: no cause to undo the restore",
            said(&output)
        )),
        Ok(output) => log.warn(format!("Moodle's {script} says: {}", said(&output))),
        Err(error) => log.warn(format!("Moodle's {script} could not be run: {error:#}")),
    }
    Ok(())
}

/// Whether code and database are those of one moment.
fn is_of_one_time(job: &Job) -> bool {
    job.wants(&Part::Code) && job.wants(&Part::Database)
}

/// Whether all that is bad is that cron has not run of late: after a restore it cannot be otherwise.
fn is_of_cron(table: &str) -> bool {
    let table = without_colours(table);
    let rows = table.lines().filter(|line| line.contains('|'));
    let mut bad = rows.filter(|line| line.starts_with("CRITICAL") || line.starts_with("ERROR")).peekable();
    bad.peek().is_some() && bad.all(|line| line.contains("Cron running"))
}

fn said(output: &Output) -> String {
    let words = without_colours(&format!("{} {}", output.text().trim(), output.stderr.trim()));
    // What PHP says before it dies is often much, and seldom why.
    let fatal = words.rfind("Fatal error").unwrap_or(0);
    // Lines that only divide tell nothing.
    let is_rule = |word: &&str| word.len() > 3 && word.chars().all(|c| matches!(c, '-' | '=' | '+'));
    let words = words[fatal..].split_whitespace().filter(|word| !is_rule(word)).collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(500) {
        Some((end, _)) => format!("{}...", &words[..end]),
        None => words,
    }
}

/// Text without the escapes by which terminals are told of colours.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or(part, |(_, rest)| rest))
}

/// Asks for the front page as a browser would. It tells, and decides nothing: this machine may not be able to reach the
/// address that its users use.
pub fn over_http(site: &Site, new: bool, log: &Log) {
    const SCRIPT: &str = r#"<?php
        $context = stream_context_create(['http' => ['timeout' => 20, 'ignore_errors' => true, 'follow_location' => 0],
            'ssl' => ['verify_peer' => false, 'verify_peer_name' => false]]);
        $content = @file_get_contents($argv[1], false, $context);
        echo $http_response_header[0] ?? '';
    "#;
    let address = format!("{}/", site.config.wwwroot);
    let asked = site.php.start().args(["--", &address]).input(SCRIPT).timeout(Duration::from_secs(40)).output();
    let answer = asked.or_fault(|| Fault::failed("PHP does not run")).map(|output| output.text());
    match answer.as_deref().unwrap_or_default().split(' ').nth(1).and_then(|code| code.parse::<u32>().ok()) {
        Some(code) if code < 400 => log.info(format!("{address} answers with {code}")),
        Some(code) => log.warn(format!("{address} answers with {code}: look at the web server's and PHP's logs")),
        None if new => log.info(format!("{address} does not answer from here yet: set up the web server for it")),
        None => log.warn(format!("{address} does not answer from here: look whether the web server runs")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_cron_has_not_run_is_no_trouble_after_a_restore() {
        let table = |rows: &str| {
            format!("CRITICAL: Cron running (tool_task_cronrunning)\nStatus | Check | Summary\n---+---\n{rows}")
        };
        let cron = "CRITICAL | Cron running | The cron.php script has not been run for 1 day 12\n | | hours\n";
        assert!(is_of_cron(&table(cron)));
        assert!(is_of_cron(&table(&format!("WARNING | Ad hoc task queue | late\n{cron}"))));
        assert!(!is_of_cron(&table(&format!("{cron}ERROR | Cache | broken\n"))));
        assert!(!is_of_cron("Fatal error: no Moodle"));
    }
}
