//! The page that closes a site: put up and taken down as the web user, and never taken down if it is not ours.

use super::closure::Closure;
use crate::error::{Fault, OrFault, Result};
use crate::moodle::{MAINTENANCE_PAGE, UNFINISHED_PAGE};
use crate::sys::privileges::as_user;
use nix::errno::Errno;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What users see if Moodle cannot make its own page.
pub fn fallback_page() -> Vec<u8> {
    b"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Maintenance</title></head>\n\
      <body><p>This site is undergoing maintenance and is currently not available.</p></body></html>\n"
        .to_vec()
}

fn mark(closure: &Closure) -> String {
    format!("<!-- moodle-backup {} -->", closure.nonce)
}

fn path(closure: &Closure) -> PathBuf {
    closure.dataroot.join(MAINTENANCE_PAGE)
}

/// Puts the page up; false if one stands already.
pub fn put_up(closure: &Closure, content: &[u8], mode: u32) -> Result<bool> {
    // Whatever the site's settings say, its owner must be able to read the page that he is to take down.
    let mode = mode | 0o600;
    let (page, unfinished) = (path(closure), closure.dataroot.join(UNFINISHED_PAGE));
    let put = || -> Result<bool> {
        let _ = std::fs::remove_file(&unfinished);
        let mut file = File::options().write(true).create_new(true).mode(mode).open(&unfinished)?;
        file.set_permissions(PermissionsExt::from_mode(mode))?;
        file.write_all(content)?;
        file.write_all(format!("\n{}\n", mark(closure)).as_bytes())?;
        let placed = place(&unfinished, &page);
        let _ = std::fs::remove_file(&unfinished);
        Ok(placed?)
    };
    as_user(&closure.user, put).or_fault(|| {
        Fault::failed(format!("cannot close the site: {} cannot be written", page.display()))
            .hint(format!("user {} must be able to write to the dataroot", closure.user.name))
    })
}

/// Gives the complete page its name unless one stands there. A link does both at once.
fn place(unfinished: &Path, page: &Path) -> std::io::Result<bool> {
    match nix::unistd::linkat(
        nix::fcntl::AT_FDCWD,
        unfinished,
        nix::fcntl::AT_FDCWD,
        page,
        nix::fcntl::AtFlags::empty(),
    ) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        // File systems without hard links.
        Err(Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOSYS) if !page.exists() => {
            std::fs::rename(unfinished, page).map(|()| true)
        }
        Err(Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether our page stands.
pub fn stands(closure: &Closure) -> Result<bool> {
    as_user(&closure.user, || is_ours(closure))
}

fn is_ours(closure: &Closure) -> Result<bool> {
    let open =
        File::options().read(true).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK).open(path(closure));
    let mut content = Vec::new();
    match open {
        Ok(file) => file.take(16 << 20).read_to_end(&mut content)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).or_fault(|| Fault::failed(format!("cannot read {}", path(closure).display()))),
    };
    Ok(String::from_utf8_lossy(&content).contains(&mark(closure)))
}

/// Takes our page down; another's is left. Whether ours stood there.
pub fn take_down(closure: &Closure) -> Result<bool> {
    let take = || -> Result<bool> {
        let _ = std::fs::remove_file(closure.dataroot.join(UNFINISHED_PAGE));
        let is_ours = is_ours(closure)?;
        if is_ours {
            std::fs::remove_file(path(closure))?;
        }
        Ok(is_ours)
    };
    as_user(&closure.user, take).or_fault(|| {
        Fault::failed(format!("cannot reopen the site: {} cannot be deleted", path(closure).display()))
            .hint(format!("delete {} by hand", path(closure).display()))
    })
}
