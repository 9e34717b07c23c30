//! What a Moodle site says of itself: where its parts lie, what its config.php sets, which version it is.
//! Its code runs as the web user, never as root. Closing the site is `window`'s work.

mod ask;
mod config;
mod config_alone;
mod facts;
mod layout;
mod loaded;
pub mod overrides;

pub use ask::{Php, maintenance_page, read_config};
pub use config::{Config, MAINTENANCE_PAGE, UNFINISHED_PAGE};
pub use config_alone::connection_of;
pub use facts::{Facts, table};
pub use layout::{Layout, Release};
pub use loaded::Loaded;
