//! The names in an open folder, by the system call itself: the C library's reader of folders makes four calls more
//! for each folder, and a tree of code has a folder for every three files.

use nix::errno::Errno;
use nix::libc;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

/// What the folder says of a thing in it. It may be out of date when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hint {
    /// A folder.
    Folder,
    /// Something else, or the file system does not say.
    Other,
}

/// Where the fields of a `linux_dirent64` begin, as getdents64(2) has it.
const LENGTH_AT: usize = 16;
const KIND_AT: usize = 18;
const NAME_AT: usize = 19;

/// The names in a folder but `.` and `..`, sorted by bytes. To be called once for a descriptor. `buffer` holds
/// nothing, but saves making a new one for each folder.
pub(crate) fn names(folder: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> nix::Result<Vec<(CString, Hint)>> {
    let mut names = Vec::new();
    buffer.resize(32 << 10, 0);
    loop {
        // SAFETY: the kernel writes at most `buffer.len()` bytes into the buffer, which lives.
        let count =
            unsafe { libc::syscall(libc::SYS_getdents64, folder.as_raw_fd(), buffer.as_mut_ptr(), buffer.len()) };
        match usize::try_from(count) {
            Ok(0) => break,
            Ok(count) => add(&buffer[..count], &mut names)?,
            Err(_) => return Err(Errno::last()),
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn add(mut records: &[u8], names: &mut Vec<(CString, Hint)>) -> nix::Result<()> {
    while records.len() > NAME_AT {
        let length = usize::from(u16::from_ne_bytes([records[LENGTH_AT], records[LENGTH_AT + 1]]));
        let record = records.get(..length).filter(|record| record.len() > NAME_AT).ok_or(Errno::EIO)?;
        let name = CStr::from_bytes_until_nul(&record[NAME_AT..]).map_err(|_| Errno::EIO)?;
        if name != c"." && name != c".." {
            let hint = if record[KIND_AT] == libc::DT_DIR { Hint::Folder } else { Hint::Other };
            names.push((name.to_owned(), hint));
        }
        records = &records[length..];
    }
    Ok(())
}
