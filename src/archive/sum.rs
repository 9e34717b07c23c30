//! SHA-256 of files, while they are written and when they are read again.

use crate::error::{Fault, OrFault, Result};
use crate::hashes::to_hex;
use crate::sys::signals;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// Hashes and counts what goes into a file.
pub(super) struct Summing {
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl Summing {
    /// Begins at the beginning of an empty file.
    pub fn new(file: File) -> Self {
        Summing { file, hash: Sha256::new(), bytes: 0 }
    }

    /// How many bytes have gone into the file, and their sum in hexadecimal digits.
    pub fn end(self) -> (u64, String) {
        (self.bytes, to_hex(&self.hash.finalize()))
    }
}

impl Write for Summing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Hashes what is read from a file.
pub(super) struct Summed {
    file: File,
    hash: Sha256,
}

impl Summed {
    /// Begins at the beginning of a file.
    pub fn new(file: File) -> Self {
        Summed { file, hash: Sha256::new() }
    }

    /// The sum of all of the file in hexadecimal digits; what was not read yet is read now.
    pub fn end(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(to_hex(&self.hash.finalize()))
    }
}

impl Read for Summed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

/// Whether a file has this SHA-256 (hexadecimal digits).
pub fn verify_sum(path: &Path, sha256: &str) -> Result<bool> {
    let sum = || -> Result<String> {
        let mut file = File::open(path)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            signals::check()?;
            match file.read(&mut buffer) {
                Ok(0) => return Ok(to_hex(&hash.finalize())),
                Ok(count) => hash.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    };
    Ok(sum().or_fault(|| Fault::failed(format!("cannot read {}", path.display())))? == sha256)
}
