//! What is mounted where. Mounts nothing.

use super::files;
use super::process::Program;
use crate::error::{Fault, OrFault, Result};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// Its kind: `ext4`.
    pub kind: String,
    /// The device, or what stands in its place.
    pub source: PathBuf,
    /// Whether it is mounted read-only.
    pub read_only: bool,
}

/// The file system that holds `path`.
pub fn of(path: &Path) -> Result<Mount> {
    let path = std::fs::canonicalize(path).or_fault(|| Fault::unfit(format!("there is no {}", path.display())))?;
    // Of several at one place the last one counts.
    let holding = all()?
        .into_iter()
        .filter(|mount| path.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.as_os_str().len());
    Ok(holding.ok_or_else(|| Fault::failed(format!("no mounted file system holds {}", path.display())))?)
}

/// All that is mounted, in this mount namespace.
pub fn all() -> Result<Vec<Mount>> {
    let table = std::fs::read("/proc/self/mountinfo").or_fault(|| Fault::failed("cannot see what is mounted"))?;
    Ok(table.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// The UUID of a mounted file system, as blkid(8) reads it from the device.
pub fn uuid(mount: &Mount) -> Result<String> {
    let output = Program::new("blkid")
        .args(["-p", "-s", "UUID", "-o", "value"])
        .arg(&mount.source)
        .timeout(Duration::from_secs(30))
        .success()
        .or_fault(|| Fault::unfit(format!("cannot read the UUID of {}", mount.source.display())))?;
    Ok(output.text().trim().to_owned())
}

/// Whether both lie on one file system.
pub fn same_file_system(left: &Path, right: &Path) -> bool {
    files::mount_point(left).ok() == files::mount_point(right).ok()
}

/// A line of proc_pid_mountinfo(5).
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let point = unescape(fields.nth(4)?);
    let options = fields.next()?;
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    Some(Mount {
        point: path(point),
        kind: String::from_utf8_lossy(rest.next()?).into_owned(),
        source: path(unescape(rest.next()?)),
        read_only: options.split(|byte| *byte == b',').any(|option| option == b"ro"),
    })
}

fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

/// Blanks and the like stand there as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = &tail[3..];
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo() {
        let line = b"36 35 98:0 /mnt1 /mnt/my\\040disk ro,noatime master:1 - ext4 /dev/sdb1 rw,errors=continue";
        let expected =
            Mount { point: "/mnt/my disk".into(), kind: "ext4".into(), source: "/dev/sdb1".into(), read_only: true };
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn the_root_is_mounted() {
        assert!(of(Path::new("/proc/self")).unwrap().point.starts_with("/proc"));
    }
}
