//! What git says of a code tree: which commit it is, and how it differs from it. Looks only; knows nothing of Moodle.
//!
//! A checkout is somebody's, and its settings may name programs. So git runs as the owner of the checkout, and where that
//! is root as another who may read it, takes no locks that are not needed, and has all of those settings switched off that are known to start
//! something in what is asked here: filters, external diffs and conversions to text, hooks, the monitor of the file
//! system, pagers, and the fetching of objects that a partial clone lacks. As the filters are off, a changed file that has one
//! is compared as it lies there. Should a git know a setting beyond these, its program would run as that user.

use crate::error::{Fault, OrFault, Result};
use crate::sys::privileges::{Identity, as_user};
use crate::sys::process::{Program, find};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(600);

/// A patch beyond this says nothing that the archive of the code does not say better.
const LONGEST_PATCH: u64 = 64 << 20;

/// A checkout.
#[derive(Debug)]
pub struct Checkout {
    root: PathBuf,
    git: PathBuf,
    user: Identity,
    /// Whether that user is not the owner, of which git has to be told.
    stands_in: bool,
    /// Settings that take precedence over those of the checkout, each with its value.
    overrides: Vec<(OsString, &'static str)>,
}

/// What git says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The commit that is checked out.
    pub head: String,
    /// The branch; empty where none is.
    pub branch: String,
    /// The address of `origin`, without credentials.
    pub remote: String,
    /// `git status --porcelain`.
    pub status: Vec<u8>,
    /// `git diff HEAD`, cut where it is longer than is of use.
    pub patch: Vec<u8>,
}

impl Checkout {
    /// The checkout at `root`; `None` if it is none that can be asked: see [`Checkout::is_for_root_alone`]. An error if git
    /// is missing. `stand_in` asks where the checkout is root's.
    pub fn at(root: &Path, stand_in: &Identity) -> Result<Option<Self>> {
        let repository = root.join(".git");
        let Ok(meta) = repository.symlink_metadata() else { return Ok(None) };
        // As whom git runs is taken from here: a link would let whoever can make one choose anybody.
        if meta.is_symlink() {
            return Err(Fault::unfit(format!("git is not asked about {}, whose .git is a link", root.display()))
                .hint("put the folder itself there, or a file with a line \"gitdir: PATH\"")
                .into());
        }
        let git = find(&["git"]).ok_or_else(|| {
            Fault::unfit(format!("{} is a git checkout, and git is not installed", root.display()))
                .hint("apt install git; without it the backup only lacks the list of changed files")
        })?;
        let owner = Identity::owner_of(&repository)?;
        let stands_in = owner.is_root();
        if stands_in && Self::is_for_root_alone(root, stand_in) {
            return Ok(None);
        }
        let user = if stands_in { stand_in.clone() } else { owner };
        Ok(Some(Checkout { root: root.to_path_buf(), git, user, stands_in, overrides: Vec::new() }))
    }

    /// Whether there is a checkout of root's that `stand_in` may not read. As git never runs as root, it is not asked then.
    pub fn is_for_root_alone(root: &Path, stand_in: &Identity) -> bool {
        let repository = root.join(".git");
        let own = repository.symlink_metadata().is_ok_and(|meta| meta.uid() == 0);
        // Of a checkout beside another, .git is a file.
        let read = || match repository.is_dir() {
            true => Ok(File::open(repository.join("HEAD")).and_then(|_| File::open(repository.join("config")))?),
            false => Ok(File::open(&repository)?),
        };
        own && as_user(stand_in, read).is_err()
    }

    /// Asks git how the tree differs from its commit.
    pub fn changes(mut self) -> Result<Changes> {
        self.overrides = self.without_filters()?;
        let status = self.git(&["status", "--porcelain=v1", "--untracked-files=normal", "--ignore-submodules=all"])?;
        Ok(Changes {
            head: self.line(&["rev-parse", "HEAD"]),
            branch: self.line(&["symbolic-ref", "--quiet", "--short", "HEAD"]),
            remote: without_credentials(&self.line(&["config", "--get", "remote.origin.url"])),
            patch: self.patch()?,
            status,
        })
    }

    /// What switches the filters off that the checkout's settings name. Their names are its own, so they are asked for.
    fn without_filters(&self) -> Result<Vec<(OsString, &'static str)>> {
        let asked = self.command(&["config", "--null", "--name-only", "--get-regexp", r"^filter\."])?.output()?;
        // There is none.
        if asked.status.code() == Some(1) {
            return Ok(Vec::new());
        }
        asked.require_success("git config").or_fault(|| self.fault())?;
        let names = asked.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        // A filter that is required and does nothing would be an error.
        let off = |name: &[u8]| if name.ends_with(b".required") { "false" } else { "" };
        Ok(names.map(|name| (OsStr::from_bytes(name).to_owned(), off(name))).collect())
    }

    fn command(&self, args: &[&str]) -> Result<Program> {
        let program = Program::new(&self.git).user(&self.user);
        // Else git refuses to look at what belongs to another. It takes this from no argument before its version 2.37.
        let (program, global) = match self.stands_in {
            true => program.secret_file(b"[safe]\n\tdirectory = *\n")?,
            false => (program, "/dev/null".into()),
        };
        let program = program
            .folder(&self.root)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", global)
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_PAGER", "cat")
            // Both keep a partial clone from fetching what it lacks; git knows the second from 2.45 on.
            .env("GIT_ALLOW_PROTOCOL", "")
            .env("GIT_NO_LAZY_FETCH", "1")
            // Not by arguments, where a name with "=" in it would be another one.
            .env("GIT_CONFIG_COUNT", self.overrides.len().to_string());
        let overrides = self.overrides.iter().enumerate();
        let program = overrides.fold(program, |program, (number, (name, value))| {
            program.env(&format!("GIT_CONFIG_KEY_{number}"), name).env(&format!("GIT_CONFIG_VALUE_{number}"), value)
        });
        Ok(program
            .args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.pager=cat"])
            .args(["-c", "core.sshCommand=false", "-c", "core.untrackedCache=false", "-c", "submodule.recurse=false"])
            .args(args)
            .timeout(TIMEOUT))
    }

    fn git(&self, args: &[&str]) -> Result<Vec<u8>> {
        let output = self.command(args)?.success().or_fault(|| self.fault())?;
        Ok(output.stdout)
    }

    fn fault(&self) -> Fault {
        Fault::failed(format!("git cannot tell how {} differs from its commit", self.root.display()))
    }

    /// One line of an answer that may be missing.
    fn line(&self, args: &[&str]) -> String {
        let output = self.command(args).and_then(Program::output);
        output.map(|output| output.text().trim().to_owned()).unwrap_or_default()
    }

    fn patch(&self) -> Result<Vec<u8>> {
        let args = ["diff", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all", "--binary", "HEAD"];
        let mut running = self.command(&args)?.spawn()?;
        let mut patch = Vec::new();
        if let Some(stdout) = running.stdout.take() {
            stdout.take(LONGEST_PATCH).read_to_end(&mut patch)?;
        }
        if patch.len() as u64 == LONGEST_PATCH {
            running.kill();
            patch.extend_from_slice(b"\n[cut here: the patch is longer]\n");
            return Ok(patch);
        }
        running.finish()?.require_success("git diff")?;
        Ok(patch)
    }
}

/// An address as people put it into a remote, less `user:password@`.
fn without_credentials(address: &str) -> String {
    match address.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit('@').next().unwrap_or(host);
            format!("{scheme}://{host}/{path}")
        }
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_credentials;

    #[test]
    fn credentials_do_not_leave_the_machine() {
        assert_eq!(without_credentials("https://me:secret@example.org/a/b.git"), "https://example.org/a/b.git");
        assert_eq!(without_credentials("git@example.org:a/b.git"), "git@example.org:a/b.git");
        assert_eq!(without_credentials(""), "");
    }
}
