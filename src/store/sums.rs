//! `SHA256SUMS`: lines as `sha256sum` writes and checks them, in the order of a walk. Hashing and text only;
//! which files are summed is the seal's matter.

use super::layout::SUMS;
use crate::error::{Fault, OrFault, Result};
use crate::sys::files;
use sha2::{Digest, Sha256};
use std::cmp::Ordering;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A SHA-256 sum.
pub type Sum = [u8; 32];

pub use crate::hashes::to_hex as hex;

/// Hex digits as bytes; `None` if they are none, or an odd number.
pub fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: u8| (digit as char).to_digit(16).map(|value| value as u8);
    let pairs = digits.chunks(2).map(|pair| Some(value(pair[0])? << 4 | value(*pair.get(1)?)?));
    pairs.collect()
}

/// A SHA-256 sum from its 64 hex digits.
pub fn parse_sum(digits: &[u8]) -> Option<Sum> {
    unhex(digits)?.try_into().ok()
}

/// The sum of all that a reader gives.
pub fn sum_of(mut reader: impl Read) -> std::io::Result<Sum> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// The sum of a file.
pub fn sum_of_file(path: &Path) -> Result<Sum> {
    files::open_plain(path).and_then(sum_of).or_fault(|| Fault::failed(format!("cannot read {}", path.display())))
}

/// A line with its end. Names that would break the line are written the way coreutils do: with a backslash
/// in front of the line and in place of the character.
pub fn line(sum: &Sum, path: &[u8]) -> Vec<u8> {
    // A carriage return is escaped only where coreutils since 9.0 would strip it; older ones know no such escape.
    let escaped = path.iter().any(|byte| matches!(byte, b'\\' | b'\n')) || path.ends_with(b"\r");
    let mut line = Vec::with_capacity(path.len() + 70);
    if escaped {
        line.push(b'\\');
    }
    line.extend_from_slice(hex(sum).as_bytes());
    line.extend_from_slice(b"  ");
    for &byte in path {
        match byte {
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' if escaped => line.extend_from_slice(b"\\r"),
            byte => line.push(byte),
        }
    }
    line.push(b'\n');
    line
}

/// Understands a line (without its end); `None` if it is damaged.
pub fn parse_line(line: &[u8]) -> Option<(Sum, Vec<u8>)> {
    let (escaped, line) = match line.strip_prefix(b"\\") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let sum = parse_sum(line.get(..64)?)?;
    let path = line.get(64..)?.strip_prefix(b"  ")?;
    if path.is_empty() {
        return None;
    }
    Some((sum, if escaped { unescape(path)? } else { path.to_vec() }))
}

fn unescape(path: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = path.iter();
    let mut plain = Vec::with_capacity(path.len());
    while let Some(&byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next()? {
                b'\\' => b'\\',
                b'n' => b'\n',
                b'r' => b'\r',
                _ => return None,
            },
            byte => byte,
        });
    }
    Some(plain)
}

/// The order of a walk that visits the entries of each folder by the bytes of their names.
pub fn walk_order(a: &[u8], b: &[u8]) -> Ordering {
    a.split(|byte| *byte == b'/').cmp(b.split(|byte| *byte == b'/'))
}

/// The lines of a `SHA256SUMS`, one after the other.
#[derive(Debug)]
pub struct Reader {
    lines: BufReader<File>,
    path: String,
}

impl Reader {
    /// Opens the file.
    pub fn open(path: &Path) -> Result<Reader> {
        let name = path.display().to_string();
        let file = files::open_plain(path).or_fault(|| Fault::failed(format!("cannot read {name}")))?;
        Ok(Reader { lines: BufReader::new(file), path: name })
    }

    fn next_line(&mut self) -> Result<Option<(Sum, Vec<u8>)>> {
        let mut line = Vec::new();
        let count = self.lines.read_until(b'\n', &mut line)?;
        if count == 0 {
            return Ok(None);
        }
        line.pop().filter(|end| *end == b'\n').and_then(|_| parse_line(&line)).map(Some).ok_or_else(|| {
            Fault::failed(format!("{} is damaged: {:?}", self.path, String::from_utf8_lossy(&line))).into()
        })
    }
}

impl Iterator for Reader {
    type Item = Result<(Sum, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_line().transpose()
    }
}

/// The sum that a `SHA256SUMS` gives for one file.
pub fn find(sums: &Path, file: &[u8]) -> Result<Sum> {
    for entry in Reader::open(sums)? {
        let (sum, path) = entry?;
        if path == file {
            return Ok(sum);
        }
    }
    let file = String::from_utf8_lossy(file);
    Err(Fault::failed(format!("{} has no line for {file}", sums.display())).into())
}

/// Whether a file of a backup is what its `SHA256SUMS` says. False also where either is not there or cannot be read.
pub fn is_whole(backup: &Path, file: &Path) -> bool {
    let expected = find(&backup.join(SUMS), file.as_os_str().as_bytes());
    expected.and_then(|expected| Ok(sum_of_file(&backup.join(file))? == expected)).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    #[test]
    fn folders_sort_before_names_that_go_on() {
        let mut paths = [&b"a-b"[..], b"a/z", b"a", b"a.b/c", b"a/b"];
        paths.sort_by(|a, b| walk_order(a, b));
        assert_eq!(paths, [&b"a"[..], b"a/b", b"a/z", b"a-b", b"a.b/c"]);
    }

    #[test]
    fn damaged_lines_are_none() {
        let good = line(&[7; 32], b"code.tar.zst");
        let good = &good[..good.len() - 1];
        assert!(parse_line(good).is_some());
        assert!(parse_line(&good[..66]).is_none());
        assert!(parse_line(&good[1..]).is_none());
        assert!(parse_line(b"").is_none());
    }

    proptest! {
        #[test]
        fn any_name_survives(sum in any::<[u8; 32]>(), path in proptest::collection::vec(1u8.., 1..80)) {
            let line = line(&sum, &path);
            prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            prop_assert_eq!(parse_line(&line[..line.len() - 1]), Some((sum, path)));
        }
    }
}
