//! Index files: the entries of a tree as they were when it was backed up, in the order of the walk.
//!
//! One zstd frame with a checksum. In it, each item ends with a NUL byte, so names may have any other byte:
//! ```text
//! moodle-backup-index 1 SECONDS.NANOS                                              when the walk began
//! KIND MODE UID GID SIZE MTIME CTIME DEVICE INODE LINKS PATH                        one an entry
//! TARGET                                                             after each entry whose KIND is l
//! end COUNT                                                          as many entries as there should be
//! ```
//! KIND is `f` (file), `d` (folder) or `l` (symbolic link); MODE is octal; times are seconds since 1970, a dot and nine
//! digits of nanoseconds to add; PATH is relative to the root, which is itself the first entry, with an empty path.
//! Entries are sorted as by [`super::compare_paths`], so that a search can stop early and two indexes can be merged. By
//! hand: `zstd -dc FILE | tr '\0' '\n'`. Which trees have an index is not decided here.

use super::{Entry, Kind, Time, compare_paths, lies_below};
use crate::error::{Fault, OrFault, Result};
use crate::sys::files;
use std::cmp::Ordering;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const MAGIC: &str = "moodle-backup-index 1";
const LEVEL: i32 = 1;

/// Writes an index.
pub struct Writer {
    path: PathBuf,
    began: Time,
    stream: BufWriter<zstd::Encoder<'static, File>>,
    count: u64,
}

impl Writer {
    /// Begins an index of a walk that begins now. A file that stands there gives way, and is not written to: it may
    /// be shared with an earlier backup.
    pub fn create(path: &Path) -> Result<Self> {
        Self::create_at(path, Time::now())
    }

    fn create_at(path: &Path, began: Time) -> Result<Self> {
        let open = || -> Result<Self> {
            remove_if_there(path)?;
            let file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)?;
            let mut encoder = zstd::Encoder::new(file, LEVEL)?;
            encoder.include_checksum(true)?;
            let mut stream = BufWriter::with_capacity(1 << 16, encoder);
            write!(stream, "{MAGIC} {}.{:09}\0", began.seconds, began.nanos)?;
            Ok(Writer { path: path.to_path_buf(), began, stream, count: 0 })
        };
        open().or_fault(|| Fault::failed(format!("cannot write the index {}", path.display())))
    }

    /// When the walk began.
    pub fn began(&self) -> Time {
        self.began
    }

    /// Adds an entry. They must come in the order of the walk.
    pub fn write(&mut self, entry: &Entry) -> Result<()> {
        self.count += 1;
        write_entry(&mut self.stream, entry)
            .or_fault(|| Fault::failed(format!("cannot write the index {}", self.path.display())))
    }

    /// Ends the index and returns how many entries it has. Without this call it cannot be read.
    pub fn finish(mut self) -> Result<u64> {
        let mut end = || -> Result<()> {
            write!(self.stream, "end {}\0", self.count)?;
            self.stream.flush()?;
            Ok(())
        };
        let fault = || Fault::failed(format!("cannot write the index {}", self.path.display()));
        end().or_fault(fault)?;
        let encoder = self.stream.into_inner().map_err(|error| error.into_error()).or_fault(fault)?;
        encoder.finish().or_fault(fault)?;
        Ok(self.count)
    }
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn write_entry(stream: &mut impl Write, entry: &Entry) -> std::io::Result<()> {
    let kind = match entry.kind {
        Kind::File => 'f',
        Kind::Folder => 'd',
        Kind::Symlink => 'l',
    };
    let Entry { mode, uid, gid, size, mtime, ctime, device, inode, links, .. } = entry;
    write!(stream, "{kind} {mode:o} {uid} {gid} {size} {}.{:09} ", mtime.seconds, mtime.nanos)?;
    write!(stream, "{}.{:09} {device} {inode} {links} ", ctime.seconds, ctime.nanos)?;
    stream.write_all(&entry.path)?;
    stream.write_all(b"\0")?;
    if entry.kind == Kind::Symlink {
        stream.write_all(&entry.target)?;
        stream.write_all(b"\0")?;
    }
    Ok(())
}

/// Reads an index, entry by entry.
pub struct Reader {
    path: PathBuf,
    began: Time,
    stream: BufReader<zstd::Decoder<'static, BufReader<File>>>,
    item: Vec<u8>,
    count: u64,
    ended: bool,
}

impl Reader {
    /// Opens an index.
    pub fn open(path: &Path) -> Result<Self> {
        let open = || -> std::io::Result<_> { zstd::Decoder::new(files::open_plain(path)?) };
        let decoder = open().or_fault(|| Fault::failed(format!("cannot open the index {}", path.display())))?;
        let mut reader = Reader {
            path: path.to_path_buf(),
            began: Time::default(),
            stream: BufReader::with_capacity(1 << 16, decoder),
            item: Vec::new(),
            count: 0,
            ended: false,
        };
        let began = reader.read_item()?.strip_prefix(MAGIC.as_bytes()).and_then(|rest| rest.strip_prefix(b" "));
        reader.began = began.and_then(time).ok_or_else(|| damaged(path))?;
        Ok(reader)
    }

    /// When the walk began of which it tells.
    pub fn began(&self) -> Time {
        self.began
    }

    /// The next entry; `None` after the last. An error if the index is damaged or cut off.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        if self.ended {
            return Ok(None);
        }
        let count = self.count;
        let item = self.read_item()?;
        if let Some(promised) = item.strip_prefix(b"end ") {
            let whole = number::<u64>(promised) == Some(count);
            self.ended = true;
            // Reading on to the end of the frame has its checksum compared.
            let over = self.stream.fill_buf().or_fault(|| damaged(&self.path))?.is_empty();
            return if whole && over { Ok(None) } else { Err(damaged(&self.path).into()) };
        }
        let Some(mut entry) = parse_entry(item) else { return Err(damaged(&self.path).into()) };
        if entry.kind == Kind::Symlink {
            entry.target = self.read_item()?.to_vec();
        }
        self.count += 1;
        Ok(Some(entry))
    }

    fn read_item(&mut self) -> Result<&[u8]> {
        self.item.clear();
        self.stream.read_until(0, &mut self.item).or_fault(|| damaged(&self.path))?;
        match self.item.split_last() {
            Some((0, item)) => Ok(item),
            _ => Err(damaged(&self.path).into()),
        }
    }
}

fn damaged(path: &Path) -> Fault {
    Fault::failed(format!("the index {} is damaged", path.display()))
}

fn parse_entry(item: &[u8]) -> Option<Entry> {
    let mut fields = item.splitn(11, |byte| *byte == b' ');
    let mut next = || fields.next();
    Some(Entry {
        kind: match next()? {
            b"f" => Kind::File,
            b"d" => Kind::Folder,
            b"l" => Kind::Symlink,
            _ => return None,
        },
        mode: u32::from_str_radix(std::str::from_utf8(next()?).ok()?, 8).ok()?,
        uid: number(next()?)?,
        gid: number(next()?)?,
        size: number(next()?)?,
        mtime: time(next()?)?,
        ctime: time(next()?)?,
        device: number(next()?)?,
        inode: number(next()?)?,
        links: number(next()?)?,
        path: next()?.to_vec(),
        target: Vec::new(),
    })
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn time(text: &[u8]) -> Option<Time> {
    let dot = text.iter().position(|byte| *byte == b'.')?;
    let nanos = number(&text[dot + 1..]).filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Time { seconds: number(&text[..dot])?, nanos })
}

/// An index that is read along with a walk.
pub struct Cursor {
    reader: Reader,
    next: Option<Entry>,
}

impl Cursor {
    /// Opens an index at its first entry.
    pub fn open(path: &Path) -> Result<Self> {
        let mut reader = Reader::open(path)?;
        let next = reader.next_entry()?;
        Ok(Cursor { reader, next })
    }

    /// When the walk began of which it tells.
    pub fn began(&self) -> Time {
        self.reader.began()
    }

    /// The entry with this path, if there is one. Those that sort before it are handed to `passed`. Ask in the order
    /// of the walk.
    pub fn take(&mut self, path: &[u8], passed: &mut dyn FnMut(Entry) -> Result<()>) -> Result<Option<Entry>> {
        while let Some(next) = &self.next {
            match compare_paths(&next.path, path) {
                Ordering::Greater => return Ok(None),
                Ordering::Equal => return self.advance(),
                Ordering::Less => self.pass(passed)?,
            }
        }
        Ok(None)
    }

    /// Hands what is left below a folder to `passed`.
    pub fn pass_below(&mut self, folder: &[u8], passed: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        while self.next.as_ref().is_some_and(|next| lies_below(&next.path, folder)) {
            self.pass(passed)?;
        }
        Ok(())
    }

    /// Whether nothing is left.
    pub fn is_at_end(&self) -> bool {
        self.next.is_none()
    }

    fn pass(&mut self, passed: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        self.advance()?.map_or(Ok(()), passed)
    }

    fn advance(&mut self) -> Result<Option<Entry>> {
        let next = self.reader.next_entry()?;
        Ok(std::mem::replace(&mut self.next, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Strategy, any, prop};
    use proptest::{prop_assert, prop_assert_eq, proptest};

    fn times() -> impl Strategy<Value = Time> {
        (any::<i64>(), 0..1_000_000_000u32).prop_map(|(seconds, nanos)| Time { seconds, nanos })
    }

    fn entries() -> impl Strategy<Value = Entry> {
        let names = prop::collection::vec(1u8..=255, 0..300);
        let kinds = prop::sample::select(vec![Kind::File, Kind::Folder, Kind::Symlink]);
        let numbers = any::<(u64, u64, u64, u64, u32, u32)>();
        (names.clone(), names, kinds, times(), times(), numbers, 0..0o10000u32).prop_map(
            |(path, target, kind, mtime, ctime, (size, device, inode, links, uid, gid), mode)| {
                let target = if kind == Kind::Symlink { target } else { Vec::new() };
                Entry { path, kind, size, mtime, ctime, device, inode, links, mode, uid, gid, target }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(entries in prop::collection::vec(entries(), 0..20), began in times()) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("index.zst");
            let mut writer = Writer::create_at(&path, began).unwrap();
            for entry in &entries {
                writer.write(entry).unwrap();
            }
            prop_assert_eq!(writer.finish().unwrap(), entries.len() as u64);

            let mut reader = Reader::open(&path).unwrap();
            prop_assert_eq!(reader.began(), began);
            for entry in entries {
                prop_assert_eq!(reader.next_entry().unwrap(), Some(entry));
            }
            prop_assert_eq!(reader.next_entry().unwrap(), None);
        }

        #[test]
        fn a_damaged_index_is_never_read_as_a_whole_one(
            entries in prop::collection::vec(entries(), 1..5), cut in 0.0..1.0, flip in any::<Option<u8>>(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("index.zst");
            let mut writer = Writer::create(&path).unwrap();
            for entry in &entries {
                writer.write(entry).unwrap();
            }
            writer.finish().unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            let at = ((bytes.len() as f64 * cut) as usize).min(bytes.len() - 1);
            match flip {
                Some(bit) => bytes[at] ^= 1 << (bit % 8),
                None => bytes.truncate(at),
            }
            std::fs::write(&path, bytes).unwrap();
            let read = || -> Result<Vec<Entry>> {
                let mut reader = Reader::open(&path)?;
                let mut read = Vec::new();
                while let Some(entry) = reader.next_entry()? {
                    read.push(entry);
                }
                Ok(read)
            };
            prop_assert!(read().map_or(true, |read| read == entries));
        }
    }
}
