//! What a run says: to its own log file, to standard error (which systemd puts into the journal), to systemd's
//! status line, and into a small file that `attach` and `status` read. Also where a step is announced, and so
//! where signals are noticed and where the fault tests strike. Formats nothing for people beyond one line.

use super::wrap::wrapped;
use super::{files, signals, time};
use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long `progress` waits before it publishes again.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// What a detail begins with in the log file.
pub const DETAIL: &str = "detail: ";

/// How much is printed to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Warnings and errors.
    Quiet,
    /// Steps and results too.
    Normal,
    /// Everything that goes into the log file.
    Verbose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Error,
    Warning,
    Info,
    Detail,
}

/// What runs now, as `attach` and `status` see it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Activity {
    /// Process id of the run.
    pub pid: u32,
    /// Name of the site.
    pub site: String,
    /// When it started, as seconds since 1970.
    pub started: i64,
    /// The step it is in.
    pub step: String,
    /// How much of the step is done, in `unit`.
    pub done: u64,
    /// How much there is; 0 if not known.
    pub total: u64,
    /// What `done` and `total` count: `bytes`, `files`.
    pub unit: String,
    /// Where the run's log is.
    pub log: Option<PathBuf>,
    /// Whether it is a restore, or the undo of one.
    #[serde(default)]
    pub is_restore: bool,
}

/// How long a step took.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct StepTime {
    /// Its name.
    pub step: String,
    /// Seconds from its announcement to that of the next.
    pub seconds: f64,
}

/// The run's voice. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Log {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    verbosity: Verbosity,
    to_journal: bool,
    /// Whether somebody reads it as it comes: a terminal breaks long lines in the midst of words.
    to_terminal: bool,
    file: Option<File>,
    activity: Activity,
    activity_file: Option<PathBuf>,
    begun_file: Option<PathBuf>,
    notify: Option<(UnixDatagram, PathBuf)>,
    published: Instant,
    warnings: Vec<String>,
    steps: Vec<(String, Instant)>,
}

impl Log {
    /// A log that speaks to standard error only.
    pub fn to_stderr(verbosity: Verbosity) -> Self {
        let inner = Inner {
            verbosity,
            to_journal: std::env::var_os("JOURNAL_STREAM").is_some(),
            to_terminal: std::io::stderr().is_terminal(),
            file: None,
            activity: Activity { pid: std::process::id(), started: time::now().timestamp(), ..Activity::default() },
            activity_file: None,
            begun_file: None,
            notify: notify_socket(),
            published: Instant::now(),
            warnings: Vec::new(),
            steps: Vec::new(),
        };
        Log { inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// From now on everything also goes into this new file.
    pub fn keep_in(&self, path: PathBuf) -> Result<()> {
        files::make_folders(files::parent(&path), 0o750)?;
        let mut inner = self.lock();
        inner.file = Some(File::options().create(true).append(true).mode(0o640).open(&path)?);
        inner.activity.log = Some(path);
        Ok(())
    }

    /// From now on what runs is known as a restore.
    pub fn mark_restore(&self) {
        self.lock().activity.is_restore = true;
    }

    /// From now on this file tells what runs now, for `attach` and `status`.
    pub fn show_in(&self, site: &str, activity_file: PathBuf) -> Result<()> {
        files::make_folders(files::parent(&activity_file), 0o755)?;
        let mut inner = self.lock();
        inner.activity.site = site.to_owned();
        inner.activity_file = Some(activity_file);
        inner.publish();
        Ok(())
    }

    /// From now on this file tells that a run was begun and has not ended yet, also after a power cut.
    pub fn remember_in(&self, begun_file: PathBuf) -> Result<()> {
        files::make_folders(files::parent(&begun_file), 0o700)?;
        let mut inner = self.lock();
        let begun = Activity { step: String::new(), ..inner.activity.clone() };
        files::write_durably(&begun_file, &serde_json::to_vec(&begun)?, 0o600)?;
        inner.begun_file = Some(begun_file);
        Ok(())
    }

    /// From now on everything also goes to the end of this file, which is another process's log.
    pub fn append_to(&self, path: &Path) -> Result<()> {
        self.lock().file = Some(File::options().append(true).open(path)?);
        Ok(())
    }

    /// Announces a step: the one call that logs it, tells systemd, notices signals, and in builds with
    /// `failpoints` fails there if `MOODLE_BACKUP_FAILPOINT` says so.
    pub fn step(&self, name: &str) -> Result<()> {
        {
            let mut inner = self.lock();
            inner.steps.push((name.to_owned(), Instant::now()));
            inner.activity.step = name.to_owned();
            (inner.activity.done, inner.activity.total) = (0, 0);
            inner.write(Level::Info, &format!("step {name}"));
            inner.publish();
        }
        #[cfg(feature = "failpoints")]
        super::failpoint::strike(name)?;
        signals::check()
    }

    /// Something worth knowing.
    pub fn info(&self, message: impl AsRef<str>) {
        self.lock().write(Level::Info, message.as_ref());
    }

    /// Something worth knowing when one looks for a fault: into the file only, unless asked for.
    pub fn detail(&self, message: impl AsRef<str>) {
        self.lock().write(Level::Detail, message.as_ref());
    }

    /// Something the administrator should look at; kept for the manifest and the exit code.
    pub fn warn(&self, message: impl Into<String>) {
        let message = message.into();
        let mut inner = self.lock();
        inner.write(Level::Warning, &message);
        inner.warnings.push(message);
    }

    /// An error, line by line.
    pub fn error(&self, error: &anyhow::Error) {
        let mut inner = self.lock();
        for line in crate::error::lines(error) {
            inner.write(Level::Error, &line);
        }
    }

    /// How far the step is. Cheap enough for every file.
    pub fn progress(&self, done: u64, total: u64, unit: &str) {
        let mut inner = self.lock();
        // Of two who are at work in one step the one tells that knows the end.
        if total == 0 && inner.activity.total > 0 {
            return;
        }
        (inner.activity.done, inner.activity.total) = (done, total);
        if inner.published.elapsed() >= PROGRESS_INTERVAL {
            inner.activity.unit = unit.to_owned();
            inner.publish();
        }
    }

    /// The warnings so far.
    pub fn warnings(&self) -> Vec<String> {
        self.lock().warnings.clone()
    }

    /// What runs now.
    pub fn activity(&self) -> Activity {
        self.lock().activity.clone()
    }

    /// How long each step took, the present one up to now.
    pub fn step_times(&self) -> Vec<StepTime> {
        let inner = self.lock();
        let ends = inner.steps.iter().skip(1).map(|(_, start)| *start).chain([Instant::now()]);
        let times = inner
            .steps
            .iter()
            .zip(ends)
            .map(|((step, start), end)| StepTime { step: step.clone(), seconds: (end - *start).as_secs_f64() });
        times.collect()
    }

    /// Takes the notes of what runs now away.
    pub fn finish(&self) {
        let mut inner = self.lock();
        for path in [inner.activity_file.take(), inner.begun_file.take()].into_iter().flatten() {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Inner {
    /// Writes one line, whatever the message holds: names of files and words of servers may come from anybody.
    fn write(&mut self, level: Level, message: &str) {
        let message = plain(message);
        let stamp = time::now().format("%Y-%m-%dT%H:%M:%S%.3fZ");
        let mark = match level {
            Level::Error => "",
            Level::Warning => "warning: ",
            Level::Info | Level::Detail => "",
        };
        if let Some(file) = &mut self.file {
            let mark = if level == Level::Detail { DETAIL } else { mark };
            for line in message.lines() {
                // A log that cannot be written must not end a backup.
                let _ = writeln!(file, "{stamp} {mark}{line}");
            }
        }
        let wanted = match level {
            Level::Error | Level::Warning => Verbosity::Quiet,
            Level::Info => Verbosity::Normal,
            Level::Detail => Verbosity::Verbose,
        };
        if self.verbosity >= wanted {
            let priority = match (self.to_journal, level) {
                (false, _) => "",
                (true, Level::Error) => "<3>",
                (true, Level::Warning) => "<4>",
                (true, Level::Info | Level::Detail) => "<6>",
            };
            for line in message.lines() {
                let line = format!("{priority}{mark}{line}");
                let line = if self.to_terminal { wrapped("", &line) } else { line + "\n" };
                let _ = std::io::stderr().write_all(line.as_bytes());
            }
        }
    }

    fn publish(&mut self) {
        self.published = Instant::now();
        let activity = &self.activity;
        if let Some(path) = &self.activity_file {
            let temporary = path.with_extension("tmp");
            let written = serde_json::to_vec(activity).map(|json| std::fs::write(&temporary, json));
            if matches!(written, Ok(Ok(()))) {
                let _ = std::fs::rename(&temporary, path);
            }
        }
        if let Some((socket, address)) = &self.notify {
            let share = match activity.total {
                0 => String::new(),
                total => format!(", {} of {total} {}", activity.done, activity.unit),
            };
            let _ = socket.send_to(format!("STATUS={}{share}", activity.step).as_bytes(), address);
        }
    }
}

/// Text from outside, on one line: what could end the line, or play tricks on a terminal, is escaped. Commands in it are made
/// complete: see [`super::commands`].
pub fn plain(text: &str) -> String {
    super::commands::complete(text).chars().fold(String::new(), |mut plain, c| {
        match is_plain(c) {
            true => plain.push(c),
            false => plain.extend(c.escape_default()),
        }
        plain
    })
}

/// Whether a letter stands for itself alone: no control character, end of a line, or change of the writing direction.
pub fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn notify_socket() -> Option<(UnixDatagram, PathBuf)> {
    let address = std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())?;
    Some((UnixDatagram::unbound().ok()?, address.into()))
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn what_could_spoil_a_line_is_escaped() {
        assert_eq!(plain("a\x1b[31mb\nc\u{9b}"), "a\\u{1b}[31mb\\nc\\u{9b}");
        assert_eq!(plain("gnp\u{202e}.exe \u{2028}"), "gnp\\u{202e}.exe \\u{2028}");
        assert_eq!(plain("d\u{e9}j\u{e0} vu, \u{4f60}\u{597d}"), "d\u{e9}j\u{e0} vu, \u{4f60}\u{597d}");
    }
}
