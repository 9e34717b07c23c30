//! Extended attributes of an open file or folder: access control lists, file capabilities and what users have put
//! there. Labels of security modules are left alone: they belong to a machine, not to a tree.

use super::lists;
use nix::errno::Errno;
use nix::libc;
use std::ffi::{CStr, CString, c_void};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Names and values.
pub(crate) type Attributes = Vec<(CString, Vec<u8>)>;

/// Access control lists as the kernel hands them out.
const LISTS: [&CStr; 2] = [lists::ACCESS, lists::DEFAULT];

/// The attributes of an open file or folder that a copy should have too; none where its file system knows none.
pub(crate) fn read(fd: BorrowedFd<'_>) -> nix::Result<Attributes> {
    // SAFETY: the kernel writes at most `size` bytes to `to`, or none if `size` is 0.
    let list = fill(|to, size| unsafe { libc::flistxattr(fd.as_raw_fd(), to.cast(), size) });
    let list = match list {
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => return Ok(Vec::new()),
        list => list?,
    };
    let mut attributes = Vec::new();
    for name in list.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        if !is_kept(name) {
            continue;
        }
        // SAFETY: as above; the name ends with a NUL.
        match fill(|to, size| unsafe { libc::fgetxattr(fd.as_raw_fd(), name.as_ptr(), to, size) }) {
            Ok(value) => attributes.push((name.to_owned(), value)),
            Err(Errno::ENODATA) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(attributes)
}

/// Gives these attributes to an open file or folder, and takes away lists that it got from the folder it was made
/// in. False if its file system cannot keep them.
pub(crate) fn write(fd: BorrowedFd<'_>, attributes: &Attributes) -> nix::Result<bool> {
    for list in LISTS {
        if !attributes.iter().any(|(name, _)| name.as_c_str() == list) {
            take_away(fd, list);
        }
    }
    for (name, value) in attributes {
        let value = (value.as_ptr().cast::<c_void>(), value.len());
        // SAFETY: the name ends with a NUL; the kernel reads `value.1` bytes.
        let set = unsafe { libc::fsetxattr(fd.as_raw_fd(), name.as_ptr(), value.0, value.1, 0) };
        match Errno::result(set) {
            Ok(_) => {}
            Err(Errno::EOPNOTSUPP) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Takes an attribute away, if it is there. To ask first is the quicker way: usually there is none, and file systems write
/// in their journal for a removal that removes nothing.
fn take_away(fd: BorrowedFd<'_>, name: &CStr) {
    // SAFETY: the name ends with a NUL; with a size of 0 nothing is written.
    let size = unsafe { libc::fgetxattr(fd.as_raw_fd(), name.as_ptr(), std::ptr::null_mut(), 0) };
    if size >= 0 {
        // SAFETY: the name ends with a NUL.
        unsafe { libc::fremovexattr(fd.as_raw_fd(), name.as_ptr()) };
    }
}

/// Whether a copy should have an attribute of this name.
pub(crate) fn is_kept(name: &CStr) -> bool {
    name.to_bytes().starts_with(b"user.") || name == c"security.capability" || LISTS.contains(&name)
}

/// Asks for a size, then for that many bytes; again if they have become more meanwhile.
fn fill(call: impl Fn(*mut c_void, usize) -> isize) -> nix::Result<Vec<u8>> {
    loop {
        let size = Errno::result(call(std::ptr::null_mut(), 0))?.cast_unsigned();
        if size == 0 {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; size];
        match Errno::result(call(bytes.as_mut_ptr().cast(), size)) {
            Ok(count) => {
                bytes.truncate(count.cast_unsigned());
                return Ok(bytes);
            }
            Err(Errno::ERANGE) => {}
            Err(error) => return Err(error),
        }
    }
}
