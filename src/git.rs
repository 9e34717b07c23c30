//! What git says of a code tree: which commit it is, and how it differs from it. Looks only; knows nothing of Moodle.
//!
//! A checkout is somebody's, and its settings may name programs. So git runs as the owner of the checkout, takes no
//! locks that are not needed, and has those settings switched off that would start something.

use crate::error::{Fault, OrFault, Result};
use crate::sys::privileges::Identity;
use crate::sys::process::{Program, find};
use std::fs::Metadata;
use std::io::Read;
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
    owner: Identity,
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
    /// The checkout at `root`; `None` if it is none. An error if git is missing.
    pub fn at(root: &Path) -> Result<Option<Self>> {
        let repository = root.join(".git");
        let Ok(meta) = repository.symlink_metadata() else { return Ok(None) };
        // As whom git runs is taken from here: a link would let whoever can make one choose anybody.
        let by_root = |meta: &Metadata| meta.uid() == 0 && meta.mode() & 0o022 == 0;
        if meta.is_symlink() || meta.uid() == 0 && !(by_root(&meta) && by_root(&std::fs::metadata(root)?)) {
            return Err(Fault::unfit(format!(
                "git is not asked about {}, whose .git others could replace",
                root.display()
            ))
            .hint("let .git and the folder that holds it belong to one user, writable by nobody else")
            .into());
        }
        let git = find(&["git"]).ok_or_else(|| {
            Fault::unfit(format!("{} is a git checkout, and git is not installed", root.display()))
                .hint("apt install git; without it the backup only lacks the list of changed files")
        })?;
        Ok(Some(Checkout { root: root.to_path_buf(), git, owner: Identity::owner_of(&repository)? }))
    }

    /// Asks git how the tree differs from its commit.
    pub fn changes(&self) -> Result<Changes> {
        let status = self.git(&["status", "--porcelain=v1", "--untracked-files=normal", "--ignore-submodules=all"])?;
        Ok(Changes {
            head: self.line(&["rev-parse", "HEAD"]),
            branch: self.line(&["symbolic-ref", "--quiet", "--short", "HEAD"]),
            remote: without_credentials(&self.line(&["config", "--get", "remote.origin.url"])),
            patch: self.patch()?,
            status,
        })
    }

    fn command(&self, args: &[&str]) -> Program {
        Program::new(&self.git)
            .user(&self.owner)
            .folder(&self.root)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_PAGER", "cat")
            .args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.pager=cat"])
            .args(["-c", "core.sshCommand=false", "-c", "core.untrackedCache=false", "-c", "submodule.recurse=false"])
            .args(args)
            .timeout(TIMEOUT)
    }

    fn git(&self, args: &[&str]) -> Result<Vec<u8>> {
        let output = self.command(args).success().or_fault(|| {
            Fault::failed(format!("git cannot tell how {} differs from its commit", self.root.display()))
        })?;
        Ok(output.stdout)
    }

    /// One line of an answer that may be missing.
    fn line(&self, args: &[&str]) -> String {
        let output = self.command(args).output();
        output.map(|output| output.text().trim().to_owned()).unwrap_or_default()
    }

    fn patch(&self) -> Result<Vec<u8>> {
        let args = ["diff", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all", "--binary", "HEAD"];
        let mut running = self.command(&args).spawn()?;
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
