//! The commands `pin` and `unpin`. They work while a run is at work too.

use super::{Session, listing};
use crate::error::Result;
use crate::report::pin::{self, Pin};

/// Keeps a backup for good, or leaves it to the retention settings again.
pub fn set(session: &Session, wanted: &str, pinned: bool) -> Result<u8> {
    let settings = session.settings()?;
    let store = listing::existing_store(&settings)?;
    let backup = store.find(wanted)?;
    let changed = pinned != backup.notes.pinned.is_some();
    match pinned {
        true if changed => store.pin(&backup, "")?,
        false => store.unpin(&backup)?,
        true => {}
    }
    let view = Pin { site: settings.site.name.clone(), name: backup.name, pinned, changed };
    session.report(&view, pin::text, 0)
}
