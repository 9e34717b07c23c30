//! What can go wrong, as an administrator needs to hear it: what, and what to do next.
//! Holds words and numbers only, never types of the rest of the program.

use nix::errno::Errno;
use std::fmt;

/// The result of nearly every function here.
pub type Result<T, E = anyhow::Error> = std::result::Result<T, E>;

/// The kinds of failure; each has one exit code, which scripts and units may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The work was begun and failed.
    Failed,
    /// The command line cannot be understood.
    Usage,
    /// Another run works on this site.
    Locked,
    /// The settings or the machine are not fit for the work; nothing was begun.
    Unfit,
    /// A pre-job hook asked to skip this run.
    Skipped,
    /// A signal ended the work.
    Interrupted,
}

impl Kind {
    /// The exit code of the program for this kind.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Failed | Kind::Interrupted => 1,
            Kind::Usage => 2,
            Kind::Locked => 4,
            Kind::Unfit => 5,
            Kind::Skipped => 6,
        }
    }
}

/// Exit code of a run that made its backup but has something to say about it.
pub const EXIT_WARNINGS: u8 = 3;

/// A failure with its kind and, where one is known, the administrator's next step.
///
/// It travels inside `anyhow::Error`, alone or as the context of a cause.
#[derive(Clone, Debug)]
pub struct Fault {
    kind: Kind,
    message: String,
    hint: Option<Hint>,
}

/// What to do next.
#[derive(Clone, Debug)]
struct Hint {
    words: String,
    /// How long these are without the setting by which it is done.
    without_setting: usize,
}

impl Fault {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Fault { kind, message: message.into(), hint: None }
    }

    /// The work was begun and failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Another run holds the lock.
    pub fn locked(message: impl Into<String>) -> Self {
        Self::new(Kind::Locked, message)
    }

    /// Settings or machine are unfit.
    pub fn unfit(message: impl Into<String>) -> Self {
        Self::new(Kind::Unfit, message)
    }

    /// A hook asked to skip.
    pub fn skipped(message: impl Into<String>) -> Self {
        Self::new(Kind::Skipped, message)
    }

    /// A signal ended the work.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self::new(Kind::Interrupted, message)
    }

    /// Adds what the administrator should do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        let words = hint.into();
        self.hint = Some(Hint { without_setting: words.len(), words });
        self
    }

    /// The same where that is done by a setting, such as `path in [target]`: who is asked questions has none before him.
    pub fn hint_by_setting(mut self, hint: &str, setting: &str) -> Self {
        self.hint = Some(Hint { words: format!("{hint} ({setting})"), without_setting: hint.len() });
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// Wraps the cause of a failure in a [`Fault`].
pub trait OrFault<T> {
    /// On an error: the fault that `fault` makes, with the error as its cause.
    fn or_fault(self, fault: impl FnOnce() -> Fault) -> Result<T>;
}

impl<T, E: Into<anyhow::Error>> OrFault<T> for std::result::Result<T, E> {
    fn or_fault(self, fault: impl FnOnce() -> Fault) -> Result<T> {
        self.map_err(|cause| cause.into().context(fault()))
    }
}

/// A panic is an error like any other: what is open is closed on the way, and whoever waits is told that it has failed.
pub fn unpanicked<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
        Err(Fault::failed(format!(
            "the program has a mistake and gave up: {}",
            words.unwrap_or("it does not say which")
        ))
        .hint("please report it, with the log")
        .into())
    })
}

/// The kind of an error: that of its outermost [`Fault`]; plain errors are failures of the work. Whatever could not be done since
/// the program was interrupted is an interruption.
pub fn kind(error: &anyhow::Error) -> Kind {
    let is_interruption = |fault: &Fault| fault.kind == Kind::Interrupted;
    if error.chain().any(|cause| cause.downcast_ref::<Fault>().is_some_and(is_interruption)) {
        return Kind::Interrupted;
    }
    error.downcast_ref::<Fault>().map_or(Kind::Failed, |fault| fault.kind)
}

/// The next step that the outermost [`Fault`] with a hint names.
pub fn hint(error: &anyhow::Error) -> Option<&str> {
    found(error).map(|hint| hint.words.as_str()).or_else(|| hint_of_the_system(error))
}

/// The same without the name of a setting.
pub fn hint_without_setting(error: &anyhow::Error) -> Option<&str> {
    found(error).map(|hint| &hint.words[..hint.without_setting]).or_else(|| hint_of_the_system(error))
}

fn found(error: &anyhow::Error) -> Option<&Hint> {
    // A context hides inner faults from `downcast_ref` on the error itself, but not from the chain.
    let outermost = error.downcast_ref::<Fault>().and_then(|fault| fault.hint.as_ref());
    let within =
        || error.chain().filter_map(|cause| cause.downcast_ref::<Fault>()).find_map(|fault| fault.hint.as_ref());
    outermost.or_else(within)
}

fn hint_of_the_system(error: &anyhow::Error) -> Option<&'static str> {
    error.chain().filter_map(system_error).find_map(hint_for_system_error)
}

fn system_error(cause: &(dyn std::error::Error + 'static)) -> Option<Errno> {
    let from_io = || cause.downcast_ref::<std::io::Error>()?.raw_os_error().map(Errno::from_raw);
    cause.downcast_ref::<Errno>().copied().or_else(from_io)
}

/// What helps against an error of the system, whatever was being done.
fn hint_for_system_error(error: Errno) -> Option<&'static str> {
    match error {
        Errno::ENOSPC => Some(
            "the disk is full, or has no inodes left (df -h, df -i): make room on it or enlarge it; if it is the \
             target, keep fewer backups in [retention], or remove some with \"moodle-backup prune\"",
        ),
        Errno::EDQUOT => Some("the quota of the disk is used up: raise it (repquota shows it)"),
        Errno::EROFS => Some("the file system is read-only, which the kernel does after a disk error: see dmesg"),
        Errno::EIO => Some("the disk reports an error: see dmesg and smartctl -a, and check its file system"),
        Errno::EFBIG => Some("the file system allows no files of that size: use ext4, xfs or btrfs"),
        Errno::EMFILE | Errno::ENFILE => Some("too many files are open: see ulimit -n and /proc/sys/fs/file-max"),
        _ => None,
    }
}

/// The error, its causes and its hint as one sentence, for lists.
pub fn sentence(error: &anyhow::Error) -> String {
    let next = hint(error).map_or(String::new(), |next| format!("; {next}"));
    format!("{error:#}{next}")
}

/// The error, its causes and its hint, a line each, as they are printed and logged.
pub fn lines(error: &anyhow::Error) -> Vec<String> {
    let mut lines = vec![format!("error: {error}")];
    lines.extend(error.chain().skip(1).map(|cause| format!("  because: {cause}")));
    lines.extend(hint(error).map(|hint| format!("  next: {hint}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn kind_and_hint_are_found_through_contexts() {
        let error: anyhow::Error = Fault::unfit("no target").hint("mount it").into();
        let error = Err::<(), _>(error).context("preflight").unwrap_err();
        assert_eq!(kind(&error), Kind::Unfit);
        assert_eq!(hint(&error), Some("mount it"));
        assert_eq!(lines(&error), ["error: preflight", "  because: no target", "  next: mount it"]);
    }

    #[test]
    fn a_setting_is_named_only_to_those_who_have_some() {
        let error: anyhow::Error =
            Fault::unfit("a bad place").hint_by_setting("name another", "path in [target]").into();
        assert_eq!(hint(&error), Some("name another (path in [target])"));
        assert_eq!(hint_without_setting(&error), Some("name another"));
    }

    #[test]
    fn what_was_interrupted_is_no_other_kind_of_failure() {
        let error = anyhow::Error::from(Fault::interrupted("interrupted by SIGINT")).context(Fault::unfit("no PHP"));
        assert_eq!(kind(&error), Kind::Interrupted);
    }

    #[test]
    fn a_plain_error_is_a_failure() {
        let error = anyhow::anyhow!("disk on fire");
        assert_eq!(kind(&error), Kind::Failed);
        assert_eq!(hint(&error), None);
    }

    #[test]
    fn a_full_disk_explains_itself() {
        let error = std::io::Error::from_raw_os_error(28);
        let error = Err::<(), _>(error).or_fault(|| Fault::failed("cannot write x")).unwrap_err();
        assert!(hint(&error).unwrap().contains("df -i"));
    }

    #[test]
    fn a_fault_as_context_gives_kind_and_hint() {
        let cause = std::io::Error::other("refused");
        let error = Err::<(), _>(cause).or_fault(|| Fault::unfit("no database").hint("start it")).unwrap_err();
        assert_eq!(kind(&error), Kind::Unfit);
        assert_eq!(lines(&error).len(), 3);
    }
}
