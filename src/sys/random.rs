//! What nobody can guess. Not for keys that are to last.

use std::fs::File;
use std::io::{self, Read};

/// So many random letters and digits (of ASCII). An error if the system has none.
pub fn letters(count: usize) -> io::Result<String> {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut bytes = vec![0; count];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect())
}
