//! Content hashes as Moodle names files by them, and sorted lists of them that need not fit into memory.
//! Knows the form of a list, not where lists lie or what they mean.
//!
//! Moodle names each stored file by the SHA-1 of its content and keeps it at `ab/cd/abcd…` below its
//! filedir (`lib/filestorage/file_system_filedir.php`).

use crate::error::{Fault, OrFault, Result};
use crate::sys::files;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A SHA-1.
pub type Hash = [u8; 20];

/// SHA-1 of no content: every folder's row in Moodle's files table has it.
pub const EMPTY: Hash = [
    0xda, 0x39, 0xa3, 0xee, 0x5e, 0x6b, 0x4b, 0x0d, 0x32, 0x55, 0xbf, 0xef, 0x95, 0x60, 0x18, 0x90, 0xaf, 0xd8, 0x07,
    0x09,
];

/// Hashes held in memory before they go to a file: 10 MB of them.
const HELD: usize = 500_000;

/// Compression of lists. Hashes do not compress beyond their hexadecimal digits; higher levels gain nothing.
const LIST_LEVEL: i32 = 1;

/// Bytes as lower-case hexadecimal digits: a hash of Moodle's is 40 of them.
pub fn to_hex(hash: &[u8]) -> String {
    let mut text = String::with_capacity(hash.len() * 2);
    for byte in hash {
        text.push(char::from(b"0123456789abcdef"[usize::from(byte >> 4)]));
        text.push(char::from(b"0123456789abcdef"[usize::from(byte & 15)]));
    }
    text
}

/// The hash that 40 lower-case digits name.
pub fn from_hex(text: &[u8]) -> Option<Hash> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut hash = [0; 20];
    if text.len() != 40 {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(text.chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
    }
    Some(hash)
}

/// Where a file of this content lies below a filedir: `ab/cd/abcd…`.
pub fn relative_path(hash: &Hash) -> PathBuf {
    let hex = to_hex(hash);
    [&hex[..2], &hex[2..4], &hex].iter().collect()
}

/// Takes hashes in any order; what does not fit into memory goes to unnamed files in a folder.
#[derive(Debug)]
pub struct Collector {
    folder: PathBuf,
    held: Vec<Hash>,
    spilled: Vec<File>,
}

impl Collector {
    /// A collector that spills into `folder`.
    pub fn new(folder: &Path) -> Self {
        Collector { folder: folder.to_path_buf(), held: Vec::new(), spilled: Vec::new() }
    }

    /// Takes one.
    pub fn push(&mut self, hash: Hash) -> Result<()> {
        if self.held.len() == HELD {
            self.spill()?;
        }
        self.held.push(hash);
        Ok(())
    }

    /// Takes all of another collector.
    pub fn absorb(&mut self, other: Collector) -> Result<()> {
        self.spilled.extend(other.spilled);
        other.held.into_iter().try_for_each(|hash| self.push(hash))
    }

    fn spill(&mut self) -> Result<()> {
        sort(&mut self.held);
        let write = |held: &[Hash]| -> Result<File> {
            let mut file = unnamed_file(&self.folder)?;
            file.write_all(held.as_flattened())?;
            Ok(file)
        };
        let file = write(&self.held)
            .or_fault(|| Fault::failed(format!("cannot keep a list of hashes in {}", self.folder.display())))?;
        self.spilled.push(file);
        self.held.clear();
        Ok(())
    }

    /// All that was taken, sorted, each once.
    pub fn finish(mut self) -> Sorted {
        sort(&mut self.held);
        Sorted { held: self.held, spilled: self.spilled }
    }
}

fn sort(hashes: &mut Vec<Hash>) {
    hashes.sort_unstable();
    hashes.dedup();
}

/// A file without a name, which goes by itself whatever becomes of the program. Network file systems cannot make one: there
/// it has a name for a moment.
fn unnamed_file(folder: &Path) -> std::io::Result<File> {
    use nix::libc::{EINVAL, EISDIR, ENOENT, EOPNOTSUPP, O_TMPFILE};
    use std::os::unix::fs::OpenOptionsExt;
    let unnamed = File::options().read(true).write(true).mode(0o600).custom_flags(O_TMPFILE).open(folder);
    match unnamed {
        // The latter from kernels and file systems that take the flag for that of a folder.
        Err(error) if matches!(error.raw_os_error(), Some(EOPNOTSUPP | EISDIR | ENOENT | EINVAL)) => {
            unlinked_file(folder)
        }
        made => made,
    }
}

fn unlinked_file(folder: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!(".hashes-{}-{count}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Hashes in order, each once; can be gone through as often as wanted.
#[derive(Debug)]
pub struct Sorted {
    held: Vec<Hash>,
    spilled: Vec<File>,
}

impl Sorted {
    /// Goes through them from the lowest.
    pub fn iter(&self) -> Result<impl Iterator<Item = Result<Hash>>> {
        let mut sources: Vec<Source> = vec![Source::Held(self.held.iter())];
        for file in &self.spilled {
            sources.push(Source::Spilled(PositionedReader::new(file)));
        }
        Merge::new(sources)
    }
}

/// Reads a file by position, so that several readers of one open file do not disturb each other.
#[derive(Debug)]
struct PositionedReader<'a> {
    reader: BufReader<At<'a>>,
}

#[derive(Debug)]
struct At<'a> {
    file: &'a File,
    position: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        use std::os::unix::fs::FileExt;
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl<'a> PositionedReader<'a> {
    fn new(file: &'a File) -> Self {
        PositionedReader { reader: BufReader::with_capacity(20 * 1024, At { file, position: 0 }) }
    }
}

enum Source<'a> {
    Held(std::slice::Iter<'a, Hash>),
    Spilled(PositionedReader<'a>),
}

impl Source<'_> {
    fn next(&mut self) -> Result<Option<Hash>> {
        match self {
            Source::Held(hashes) => Ok(hashes.next().copied()),
            Source::Spilled(file) => {
                if file.reader.fill_buf()?.is_empty() {
                    return Ok(None);
                }
                let mut hash = [0; 20];
                file.reader.read_exact(&mut hash)?;
                Ok(Some(hash))
            }
        }
    }
}

struct Merge<'a> {
    sources: Vec<Source<'a>>,
    heads: BinaryHeap<Reverse<(Hash, usize)>>,
    last: Option<Hash>,
}

impl<'a> Merge<'a> {
    fn new(mut sources: Vec<Source<'a>>) -> Result<Self> {
        let mut heads = BinaryHeap::new();
        for (number, source) in sources.iter_mut().enumerate() {
            heads.extend(source.next()?.map(|hash| Reverse((hash, number))));
        }
        Ok(Merge { sources, heads, last: None })
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<Hash>;

    fn next(&mut self) -> Option<Result<Hash>> {
        while let Some(Reverse((hash, number))) = self.heads.pop() {
            match self.sources[number].next() {
                Ok(next) => self.heads.extend(next.map(|hash| Reverse((hash, number)))),
                Err(error) => return Some(Err(error)),
            }
            if self.last.replace(hash) != Some(hash) {
                return Some(Ok(hash));
            }
        }
        None
    }
}

/// What is in the sorted `left` and not in the sorted `right`.
pub fn difference(
    left: impl Iterator<Item = Result<Hash>>,
    right: impl Iterator<Item = Result<Hash>>,
) -> impl Iterator<Item = Result<Hash>> {
    let mut right = right.peekable();
    left.filter_map(move |left| match left {
        Err(error) => Some(Err(error)),
        Ok(hash) => match skip_to(&mut right, &hash) {
            Ok(true) => None,
            Ok(false) => Some(Ok(hash)),
            Err(error) => Some(Err(error)),
        },
    })
}

/// Goes forward to `hash`; true if it is there.
fn skip_to(list: &mut Peekable<impl Iterator<Item = Result<Hash>>>, hash: &Hash) -> Result<bool> {
    while list.next_if(|next| matches!(next, Ok(next) if next < hash)).is_some() {}
    match list.next_if(Result::is_err) {
        Some(error) => error.map(|_| false),
        None => Ok(matches!(list.peek(), Some(Ok(next)) if next == hash)),
    }
}

/// What is in either of two sorted lists, in order, each once.
pub fn union(
    left: impl Iterator<Item = Result<Hash>>,
    right: impl Iterator<Item = Result<Hash>>,
) -> impl Iterator<Item = Result<Hash>> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    std::iter::from_fn(move || {
        let from_left = match (left.peek(), right.peek()) {
            (Some(Ok(a)), Some(Ok(b))) if a == b => {
                right.next();
                true
            }
            (Some(Ok(a)), Some(Ok(b))) => a < b,
            (Some(_), None) | (Some(Err(_)), _) => true,
            (None, _) | (Some(Ok(_)), Some(Err(_))) => false,
        };
        if from_left { left.next() } else { right.next() }
    })
}

/// Whether two sorted lists name the same hashes.
pub fn same(
    mut left: impl Iterator<Item = Result<Hash>>,
    mut right: impl Iterator<Item = Result<Hash>>,
) -> Result<bool> {
    loop {
        match (left.next().transpose()?, right.next().transpose()?) {
            (None, None) => return Ok(true),
            (left, right) if left != right => return Ok(false),
            _ => {}
        }
    }
}

/// Writes a list to a new file, as `sha1sum -c` reads it from the site's folder, compressed: lines `<hash>  filedir/ab/cd/<hash>`.
/// Returns how many hashes it has.
pub fn write_list(path: &Path, hashes: impl Iterator<Item = Result<Hash>>) -> Result<u64> {
    let write = || -> Result<u64> {
        let mut encoder = zstd::Encoder::new(BufWriter::new(File::create_new(path)?), LIST_LEVEL)?;
        encoder.include_checksum(true)?;
        let mut count = 0;
        for hash in hashes {
            let hex = to_hex(&hash?);
            writeln!(encoder, "{hex}  filedir/{}/{}/{hex}", &hex[..2], &hex[2..4])?;
            count += 1;
        }
        encoder.finish()?.into_inner()?.sync_all()?;
        Ok(count)
    };
    write().or_fault(|| Fault::failed(format!("cannot write {}", path.display())))
}

/// Reads a list. A line that is not as [`write_list`] made it, or one out of order, is an error: a list that is
/// not whole must not be taken for a shorter one.
pub fn read_list(path: &Path) -> Result<impl Iterator<Item = Result<Hash>> + use<>> {
    let name = path.display().to_string();
    let file = files::open_plain(path).or_fault(|| Fault::failed(format!("cannot read {name}")))?;
    let mut reader = BufReader::new(zstd::Decoder::new(file)?);
    let mut last: Option<Hash> = None;
    let mut line = Vec::new();
    Ok(std::iter::from_fn(move || {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(parse_line(&line, &mut last).ok_or_else(|| {
                Fault::failed(format!("{name} is damaged: {:?} does not belong there", String::from_utf8_lossy(&line)))
                    .into()
            })),
            Err(error) => Some(Err(error).or_fault(|| Fault::failed(format!("{name} is damaged")))),
        }
    }))
}

fn parse_line(line: &[u8], last: &mut Option<Hash>) -> Option<Hash> {
    let hash = from_hex(line.get(..40)?)?;
    let in_order = last.is_none_or(|last| last < hash);
    let whole = line.len() == 40 + 2 + 8 + 6 + 40 + 1 && line.ends_with(b"\n");
    *last = Some(hash);
    (in_order && whole).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn hash(number: u32) -> Hash {
        let mut hash = [0; 20];
        hash[16..].copy_from_slice(&number.to_be_bytes());
        hash
    }

    fn all(list: impl Iterator<Item = Result<Hash>>) -> Vec<Hash> {
        list.map(|hash| hash.unwrap()).collect()
    }

    #[test]
    fn spilled_and_held_hashes_come_out_in_order_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut collector = Collector::new(folder.path());
        for number in (0..1_200_000).rev() {
            collector.push(hash(number / 2)).unwrap();
        }
        let sorted = collector.finish();
        for _ in 0..2 {
            assert!(sorted.iter().unwrap().map(Result::unwrap).eq((0..600_000).map(hash)));
        }
    }

    #[test]
    fn a_file_that_had_a_name_for_a_moment_is_as_good_as_one_that_had_none() {
        let folder = tempfile::tempdir().unwrap();
        for make in [unnamed_file, unlinked_file] {
            let (mut one, mut other) = (make(folder.path()).unwrap(), make(folder.path()).unwrap());
            one.write_all(hash(7).as_slice()).unwrap();
            other.write_all(hash(8).as_slice()).unwrap();
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left for others to find");
            let sorted = Sorted { held: vec![], spilled: vec![one, other] };
            assert_eq!(all(sorted.iter().unwrap()), [hash(7), hash(8)]);
        }
    }

    #[test]
    fn hex_round_trip_and_refusals() {
        assert_eq!(to_hex(&EMPTY), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(from_hex(to_hex(&EMPTY).as_bytes()), Some(EMPTY));
        assert_eq!(from_hex(b"da39"), None);
        assert_eq!(from_hex("DA39A3EE5E6B4B0D3255BFEF95601890AFD80709".as_bytes()), None);
    }

    #[test]
    fn a_damaged_list_is_an_error_and_not_a_shorter_list() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.zst");
        assert_eq!(write_list(&path, (0..50_000).map(|n| Ok(hash(n)))).unwrap(), 50_000);
        assert_eq!(all(read_list(&path).unwrap()).len(), 50_000);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(read_list(&path).unwrap().any(|hash| hash.is_err()), "a list cut short");
        let mut bent = whole.clone();
        bent[whole.len() / 2] ^= 4;
        std::fs::write(&path, &bent).unwrap();
        assert!(read_list(&path).unwrap().any(|hash| hash.is_err()), "a bit flipped");
    }

    proptest! {
        #[test]
        fn merges_agree_with_sets(left: BTreeSet<u16>, right: BTreeSet<u16>) {
            let list = |set: &BTreeSet<u16>| set.iter().map(|n| Ok(hash(u32::from(*n)))).collect::<Vec<_>>().into_iter();
            let expected: Vec<Hash> = left.difference(&right).map(|n| hash(u32::from(*n))).collect();
            prop_assert_eq!(all(difference(list(&left), list(&right))), expected);
            let expected: Vec<Hash> = left.union(&right).map(|n| hash(u32::from(*n))).collect();
            prop_assert_eq!(all(union(list(&left), list(&right))), expected);
            prop_assert_eq!(same(list(&left), list(&right)).unwrap(), left == right);
        }
    }
}
