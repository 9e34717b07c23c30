//! Being somebody else for a while: the web user, the owner of a tree.
//! Decides nothing about who that should be.

use crate::error::{Fault, OrFault, Result};
use nix::libc;
use nix::unistd::{Gid, Uid, User};
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A user of this machine with all that is needed to act as that user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Login name; the number as text where there is none.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// All groups, the primary one among them.
    pub groups: Vec<u32>,
    /// Home folder, `/` where there is none.
    pub home: std::path::PathBuf,
}

impl Identity {
    /// The user with this login name.
    pub fn by_name(name: &str) -> Result<Self> {
        let user = User::from_name(name)?.ok_or_else(|| Fault::unfit(format!("there is no user {name:?} here")))?;
        Ok(Self::from_user(user))
    }

    /// The owner of a file or folder.
    pub fn owner_of(path: &Path) -> Result<Self> {
        let meta =
            std::fs::metadata(path).or_fault(|| Fault::unfit(format!("cannot see who owns {}", path.display())))?;
        Ok(match User::from_uid(Uid::from_raw(meta.uid()))? {
            Some(user) => Self::from_user(user),
            None => Identity {
                name: meta.uid().to_string(),
                uid: meta.uid(),
                gid: meta.gid(),
                groups: vec![meta.gid()],
                home: "/".into(),
            },
        })
    }

    fn from_user(user: User) -> Self {
        let name = CString::new(user.name.as_str()).unwrap_or_default();
        let groups = nix::unistd::getgrouplist(&name, user.gid)
            .map(|groups| groups.into_iter().map(Gid::as_raw).collect())
            .unwrap_or_else(|_| vec![user.gid.as_raw()]);
        Identity { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw(), groups, home: user.dir }
    }

    /// Whether this is root.
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Makes the calling thread (and it alone) this user, for good. Also fit for use between fork and exec.
    ///
    /// # Safety
    /// Calls async-signal-safe system calls only. The thread must end, or exec, afterwards.
    pub(super) unsafe fn assume_on_this_thread(&self) -> std::io::Result<()> {
        let ok = |code: libc::c_long| if code == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
        // The C library's own functions would change every thread of the process: hence the raw calls.
        unsafe {
            ok(libc::syscall(libc::SYS_setgroups, self.groups.len(), self.groups.as_ptr()))?;
            ok(libc::syscall(libc::SYS_setresgid, self.gid, self.gid, self.gid))?;
            ok(libc::syscall(libc::SYS_setresuid, self.uid, self.uid, self.uid))
        }
    }
}

/// Runs `work` as another user as far as files go, on a thread of its own that ends with it. Use it for each file that
/// is made or removed in a folder that user can write: as root a planted symbolic link would be followed.
///
/// Only the ids for file access are changed: with the others that user could send signals to this very process.
pub fn as_user<T: Send>(user: &Identity, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    if Uid::effective().as_raw() == user.uid {
        return work();
    }
    let body = || {
        access_files_as(user)
            .or_fault(|| Fault::unfit(format!("cannot act as user {}", user.name)).hint("run this command as root"))?;
        work()
    };
    std::thread::scope(|scope| scope.spawn(body).join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked"))))
}

/// Makes the calling thread access files as this user, for good; the kernel takes root's rights over files away with it.
fn access_files_as(user: &Identity) -> std::io::Result<()> {
    // SAFETY: raw calls, since the C library's would change every thread; the groups outlive the call.
    if unsafe { libc::syscall(libc::SYS_setgroups, user.groups.len(), user.groups.as_ptr()) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    nix::unistd::setfsgid(Gid::from_raw(user.gid));
    nix::unistd::setfsuid(Uid::from_raw(user.uid));
    // Neither reports failure; asked again, each tells what is in force.
    let now = (nix::unistd::setfsuid(Uid::from_raw(user.uid)), nix::unistd::setfsgid(Gid::from_raw(user.gid)));
    match (now.0.as_raw(), now.1.as_raw()) == (user.uid, user.gid) {
        true => Ok(()),
        false => Err(std::io::Error::from(std::io::ErrorKind::PermissionDenied)),
    }
}

/// An error unless the program runs as root.
pub fn require_root() -> Result<()> {
    if Uid::effective().is_root() {
        return Ok(());
    }
    Err(Fault::unfit("this command must be run as root").hint("try again with sudo").into())
}
