//! By what a file of the pool is known without being looked at: its size and time, which never change. Each backup carries
//! them for its files, so that neither the next run nor a restore asks the disk for what is known. Knows the form of that list,
//! not where it lies or whether it can be trusted.

use crate::error::{Fault, OrFault, Result};
use crate::hashes::{self, Hash};
use crate::sys::files;
use nix::sys::stat::FileStat;
use std::fs::{File, Metadata};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::iter::Peekable;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Compression of the list: about 10 bytes are left of a line.
const LEVEL: i32 = 3;

/// Size and time of modification of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Bytes.
    pub size: i64,
    /// Time of modification, in seconds since 1970.
    pub seconds: i64,
    /// The nanoseconds of it.
    pub nanoseconds: i64,
}

impl From<&FileStat> for Marks {
    fn from(stat: &FileStat) -> Marks {
        Marks { size: stat.st_size, seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec }
    }
}

impl From<&Metadata> for Marks {
    fn from(meta: &Metadata) -> Marks {
        Marks { size: meta.size().cast_signed(), seconds: meta.mtime(), nanoseconds: meta.mtime_nsec() }
    }
}

/// Writes such a list.
pub struct Writer {
    path: PathBuf,
    out: zstd::Encoder<'static, BufWriter<File>>,
}

impl Writer {
    /// Makes the file, which must not be there.
    pub fn create(path: &Path) -> Result<Writer> {
        let create = || -> std::io::Result<_> {
            let mut out = zstd::Encoder::new(BufWriter::new(File::create_new(path)?), LEVEL)?;
            out.include_checksum(true)?;
            Ok(out)
        };
        Ok(Writer { path: path.to_owned(), out: create().or_fault(|| unwritable(path))? })
    }

    /// Adds the next file: they come in the order of the list of hashes beside it.
    pub fn add(&mut self, marks: Marks) -> Result<()> {
        let Marks { size, seconds, nanoseconds } = marks;
        writeln!(self.out, "{size} {seconds}.{nanoseconds:09}").or_fault(|| unwritable(&self.path))
    }

    /// Waits until it is on the disk.
    pub fn finish(self) -> Result<()> {
        let finish = || self.out.finish()?.into_inner()?.sync_all();
        finish().or_fault(|| unwritable(&self.path))
    }
}

fn unwritable(path: &Path) -> Fault {
    Fault::failed(format!("cannot write {}", path.display()))
}

/// Reads such a list. An error is the last that comes of it; one that was cut short ends with an error.
pub fn read(path: &Path) -> Result<impl Iterator<Item = Result<Marks>> + use<>> {
    let name = path.display().to_string();
    let file = files::open_plain(path).or_fault(|| Fault::failed(format!("cannot read {name}")))?;
    let mut lines = Some(BufReader::new(zstd::Decoder::new(file)?));
    let mut line = Vec::new();
    Ok(std::iter::from_fn(move || {
        line.clear();
        let fault = || Fault::failed(format!("{name} is damaged"));
        let read = match lines.as_mut()?.read_until(b'\n', &mut line).or_fault(fault) {
            Ok(0) => return None,
            Ok(_) => parse(&line).ok_or_else(|| fault().into()),
            Err(error) => Err(error),
        };
        if read.is_err() {
            lines = None;
        }
        Some(read)
    }))
}

fn parse(line: &[u8]) -> Option<Marks> {
    let (size, time) = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?.split_once(' ')?;
    let (seconds, nanoseconds) = time.split_once('.')?;
    Some(Marks { size: size.parse().ok()?, seconds: seconds.parse().ok()?, nanoseconds: nanoseconds.parse().ok()? })
}

/// What an earlier backup tells of its files.
pub struct Known {
    files: Peekable<Box<dyn Iterator<Item = (Hash, Marks)>>>,
}

impl Known {
    /// Reads the list of hashes and that of their marks. Without them, and behind an error in them, nothing is known.
    pub fn of(lists: Option<(PathBuf, PathBuf)>) -> Known {
        let open =
            |(hashes, marks): (PathBuf, PathBuf)| Ok::<_, anyhow::Error>((hashes::read_list(&hashes)?, read(&marks)?));
        let files = lists.and_then(|lists| open(lists).ok()).into_iter().flat_map(|(hashes, marks)| hashes.zip(marks));
        let files: Box<dyn Iterator<Item = _>> =
            Box::new(files.map_while(|(hash, marks)| Some((hash.ok()?, marks.ok()?))));
        Known { files: files.peekable() }
    }

    /// The marks of a file, if they are known. Asked for in the order of hashes.
    pub fn next(&mut self, hash: &Hash) -> Option<Marks> {
        while self.files.next_if(|(known, _)| known < hash).is_some() {}
        self.files.next_if(|(known, _)| known == hash).map(|(_, marks)| marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Vec<Marks> {
        let marks = |n: i64| Marks { size: n * 1_000_003, seconds: n - 2, nanoseconds: n * 999 };
        (0..5000).map(marks).collect()
    }

    #[test]
    fn a_list_comes_back_as_it_was_written_and_a_damaged_one_ends_with_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("marks.zst");
        let mut writer = Writer::create(&path).unwrap();
        some().into_iter().for_each(|marks| writer.add(marks).unwrap());
        writer.finish().unwrap();
        assert_eq!(read(&path).unwrap().collect::<Result<Vec<_>>>().unwrap(), some());
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 40]).unwrap();
        let results: Vec<_> = read(&path).unwrap().collect();
        assert!(results.iter().position(Result::is_err) == Some(results.len() - 1), "one error, at the end");
    }

    #[test]
    fn what_is_there_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("marks.zst");
        std::fs::write(&path, "published").unwrap();
        assert!(Writer::create(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"published");
    }

    #[test]
    fn only_what_an_earlier_backup_has_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let (list, marks) = (folder.path().join("list.zst"), folder.path().join("marks.zst"));
        hashes::write_list(&list, [[1; 20], [3; 20], [5; 20]].map(Ok).into_iter()).unwrap();
        let mut writer = Writer::create(&marks).unwrap();
        some()[1..4].iter().for_each(|marks| writer.add(*marks).unwrap());
        writer.finish().unwrap();
        let mut earlier = Known::of(Some((list, marks)));
        let found = [0, 1, 2, 3, 6].map(|byte| earlier.next(&[byte; 20]));
        assert_eq!(found, [None, Some(some()[1]), None, Some(some()[2]), None]);
        assert_eq!(Known::of(None).next(&[1; 20]), None);
    }
}
