//! The command `export`. It needs the settings and the target only. What it says goes to standard error where the export itself
//! goes to standard output.

use super::{Session, exit_code, listing, watched};
use crate::cli;
use crate::error::{Fault, Result};
use crate::export::{self, Compression, Destination, Job, To};
use crate::report::export::{self as view, Exported};
use std::time::Instant;

/// Writes a backup as one file or stream.
pub fn export(session: &Session, args: &cli::Export) -> Result<u8> {
    let started = Instant::now();
    let to = To::typed(&args.file);
    if to == To::Stdout && session.global.json {
        return Err(Fault::usage("--json has no place to go: the export itself goes to standard output").into());
    }
    let compression = to.compression(args.uncompressed)?;
    to.require(args.replace)?;
    let settings = session.settings()?;
    let store = listing::existing_store(&settings)?;
    let backup = store.find(&args.backup)?;
    let destination = Destination::begin(&to, &store, &backup, compression, args.replace)?;
    let place = destination.path().map(|path| path.display().to_string());
    let job = Job { store: &store, backup: &backup, compression, threads: settings.resources.threads as u32 };
    let (done, warnings) = watched::shown(session, |log| {
        let done = export::export(&job, destination, log)?;
        Ok((done, log.warnings()))
    })?;
    let shown = Exported {
        site: backup.manifest.site.name.clone(),
        backup: backup.name.clone(),
        when: backup.manifest.moment(),
        to: place.clone().unwrap_or_else(|| "-".to_owned()),
        compressed: compression == Compression::Zstd,
        bytes: done.bytes,
        content_bytes: done.content_bytes,
        pool_files: done.pool_files,
        took_seconds: started.elapsed().as_secs_f64(),
        warnings,
    };
    let code = exit_code(&shown.warnings);
    if place.is_some() {
        return session.report(&shown, view::text, code);
    }
    session.log.info(format!("backup {} was written to standard output, {} bytes", shown.backup, shown.bytes));
    Ok(code)
}
