//! Where an export goes: a file that gets its name when all is in it, or standard output. Knows nothing of what goes there.

use crate::error::{Fault, OrFault, Result};
use crate::store::{Backup, Store};
use crate::sys::files::{self, Unfinished};
use crate::sys::log::Log;
use crate::sys::signals;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// zstd's own usual level: more makes it slower by far and hardly smaller, as most of it is compressed already.
const LEVEL: i32 = 3;

/// How an export is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// A plain tar.
    None,
    /// By zstd, with a window that plain `zstd -d` takes.
    Zstd,
}

/// Where an export is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// Standard output.
    Stdout,
    /// A file; or a folder, for a file in it that is called after site and backup.
    File(PathBuf),
}

impl To {
    /// What was typed: `-` is standard output.
    pub fn typed(text: &Path) -> To {
        if text == Path::new("-") { To::Stdout } else { To::File(text.to_path_buf()) }
    }

    /// How what goes there is compressed: by zstd, unless the name or the administrator says otherwise. An error if the name
    /// says something that it cannot be.
    pub fn compression(&self, uncompressed: bool) -> Result<Compression> {
        let To::File(path) = self else {
            return Ok(if uncompressed { Compression::None } else { Compression::Zstd });
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let other = [".gz", ".tgz", ".bz2", ".xz", ".zip", ".7z", ".age", ".gpg"];
        if let Some(ending) = other.iter().find(|ending| name.ends_with(**ending)) {
            return Err(Fault::usage(format!("an export is a tar, compressed by zstd or not at all, and no {ending}"))
                .hint("name it .tar.zst or .tar; \"-\" writes to standard output, for other programs to compress or encrypt")
                .into());
        }
        let plain = uncompressed || name.ends_with(".tar");
        Ok(if plain { Compression::None } else { Compression::Zstd })
    }

    /// An error if it is certain beforehand that nothing can be written there.
    pub fn require(&self, replace: bool) -> Result<()> {
        let To::File(path) = self else {
            return match io::stdout().is_terminal() {
                true => Err(Fault::usage("an export cannot be written to a terminal")
                    .hint("name a file, or send it on: moodle-backup export latest - | ssh …")
                    .into()),
                false => Ok(()),
            };
        };
        if path.is_dir() {
            return Ok(());
        }
        if !files::parent(path).is_dir() {
            return Err(Fault::unfit(format!(
                "there is no folder {} to write the export into",
                files::parent(path).display()
            ))
            .hint("make it, or correct the name")
            .into());
        }
        require_free(path, replace)
    }
}

fn require_free(path: &Path, replace: bool) -> Result<()> {
    match path.symlink_metadata() {
        Err(_) => Ok(()),
        Ok(meta) if replace && meta.is_file() => Ok(()),
        Ok(meta) => {
            let fault = Fault::unfit(format!("{} is there already", path.display()));
            Err(match meta.is_file() {
                true => {
                    fault.hint("name a file that is not there yet; --replace writes over it once the new one is whole")
                }
                false => fault.hint("it is no plain file: name one that is not there yet, or - for standard output"),
            }
            .into())
        }
    }
}

/// Where an export goes.
#[derive(Debug)]
pub struct Destination {
    file: Option<(Unfinished, PathBuf)>,
    replace: bool,
}

impl Destination {
    /// Begins to write a backup there: an error if that cannot be.
    pub fn begin(to: &To, store: &Store, backup: &Backup, compression: Compression, replace: bool) -> Result<Self> {
        to.require(replace)?;
        let To::File(path) = to else { return Ok(Destination { file: None, replace }) };
        let mut path = path.clone();
        if path.is_dir() {
            let site = store.folder().file_name().unwrap_or_default().to_string_lossy();
            let ending = if compression == Compression::Zstd { "tar.zst" } else { "tar" };
            path = path.join(format!("{site}-{}.{ending}", backup.name));
            require_free(&path, replace)?;
        }
        if files::lies_in(files::parent(&path), store.folder()) {
            return Err(Fault::unfit(format!("{} lies among the backups", path.display()))
                .hint("name a file elsewhere: nothing is pruned while something unknown is there")
                .into());
        }
        Ok(Destination { file: Some((Unfinished::begin(&path)?, path)), replace })
    }

    /// The file; `None` for standard output.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|(_, path)| path.as_path())
    }

    /// An error if there is less room than `least`, a warning if there is less than `most`, in bytes.
    pub(super) fn require_room(&self, least: u64, most: u64, log: &Log) -> Result<()> {
        let Some(path) = self.path() else { return Ok(()) };
        let free = files::space(files::parent(path))?.free_bytes;
        let words =
            |needed| format!("{} has {free} bytes free, and up to {needed} are needed", files::parent(path).display());
        if free < least {
            return Err(Fault::unfit(format!("there is too little room for {}: {}", path.display(), words(most)))
                .hint("name a file on a larger disk")
                .into());
        }
        if free < most {
            log.warn(format!("there may be too little room: {}", words(most)));
        }
        Ok(())
    }

    pub(super) fn stream(&self, compression: Compression, threads: u32) -> Result<Stream> {
        let to: Box<dyn Write> = match &self.file {
            Some((file, _)) => Box::new(file.file()?),
            None => Box::new(std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?)),
        };
        let counted = BufWriter::with_capacity(1 << 20, Counted { to, bytes: 0 });
        Ok(match compression {
            Compression::None => Stream::Plain(counted),
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(counted, LEVEL)?;
                encoder.include_checksum(true)?;
                encoder.multithread(threads)?;
                Stream::Zstd(encoder)
            }
        })
    }

    /// Gives the file its name, once the disk has it.
    pub(super) fn publish(&mut self) -> Result<()> {
        match self.file.take() {
            Some((file, _)) => file.publish(self.replace),
            None => Ok(()),
        }
    }
}

/// What an export is written to.
pub(super) enum Stream {
    Plain(BufWriter<Counted>),
    Zstd(zstd::Encoder<'static, BufWriter<Counted>>),
}

impl Stream {
    /// Ends the stream; how many bytes were written.
    pub fn finish(self) -> Result<u64> {
        let finish = || -> io::Result<u64> {
            let mut plain = match self {
                Stream::Plain(plain) => plain,
                Stream::Zstd(encoder) => encoder.finish()?,
            };
            plain.flush()?;
            Ok(plain.get_ref().bytes)
        };
        finish().or_else(|error| {
            // A signal is the reason for whatever follows it.
            signals::check()?;
            Err(error).or_fault(|| Fault::failed("the end of the export cannot be written"))
        })
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(plain) => plain.write(bytes),
            Stream::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(plain) => plain.flush(),
            Stream::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// Counts what is written, and lets a signal end a write that somebody else keeps waiting.
pub(super) struct Counted {
    to: Box<dyn Write>,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Looked at first too: what a buffer still holds is written when it is dropped.
        if signals::received() {
            return Err(io::Error::other("a signal asks the program to end"));
        }
        match self.to.write(bytes) {
            Ok(count) => {
                self.bytes += count as u64;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(io::Error::new(error.kind(), "whoever reads the export has ended before its end"))
            }
            Err(error) => Err(error),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
