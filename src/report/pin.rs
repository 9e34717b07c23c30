//! `pin` and `unpin`: what a backup is after them.

use super::Look;
use super::layout::wrapped;
use serde::Serialize;

/// What `pin` and `unpin` print.
#[derive(Clone, Debug, Serialize)]
pub struct Pin {
    /// Name of the site.
    pub site: String,
    /// The backup's name.
    pub name: String,
    /// Whether prune leaves it alone.
    pub pinned: bool,
    /// Whether that was otherwise before.
    pub changed: bool,
}

/// As text.
pub fn text(pin: &Pin, _look: &Look) -> String {
    let name = &pin.name;
    let text = match (pin.pinned, pin.changed) {
        (true, true) => format!("{name} is pinned: it stays until \"moodle-backup unpin {name}\"."),
        (true, false) => format!("{name} was pinned already."),
        (false, true) => format!("{name} is no longer pinned: it stays as long as the retention settings ask for it."),
        (false, false) => format!("{name} was not pinned."),
    };
    wrapped("", &text)
}
