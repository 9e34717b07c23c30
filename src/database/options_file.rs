//! Reading the file with another account for the dump. What is in it is a secret and is passed on only
//! through files in memory.

use crate::error::{Fault, OrFault, Result};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The most such a file may hold.
const LIMIT: u64 = 64 * 1024;

/// What `path` holds; refused unless it is ours alone, since it holds a password, and since options can make a client
/// load other files and plugins.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let shown = path.display();
    let file = File::open(path).or_fault(|| {
        Fault::unfit(format!("cannot read the database options file {shown}"))
            .hint("correct options_file in the settings, or make that file")
    })?;
    let meta = file.metadata()?;
    let ours = nix::unistd::geteuid().as_raw();
    if !meta.is_file() || meta.len() > LIMIT {
        return Err(Fault::unfit(format!("the database options file {shown} is not a small plain file")).into());
    }
    if meta.uid() != ours || meta.mode() & 0o077 != 0 {
        return Err(Fault::unfit(format!("the database options file {shown} is open to others than root"))
            .hint(format!("chown root: {shown} && chmod 600 {shown}"))
            .into());
    }
    let mut content = Vec::new();
    file.take(LIMIT).read_to_end(&mut content)?;
    Ok(content)
}
