//! What a disk does to a file without a word. How a program takes it is for the tests to say.

use std::path::Path;

/// Changes one byte in the middle of a file, which stays the same file with the same time.
pub fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).expect("the file can be read");
    let time = std::fs::metadata(path).and_then(|meta| meta.modified()).expect("it has a time");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // In place: a hard link must stay one.
    std::fs::write(path, bytes).expect("the file can be written");
    std::fs::File::open(path).and_then(|file| file.set_modified(time)).expect("its time can be set");
}
