//! The bench itself: the pocket site behaves as Moodle does, and the tools that judge others are right.
//!
//! The program under test is not used here.

mod support;

use support::{Connect, Engine, Layout, PocketSite};

#[test]
fn serves() {
    for engine in Engine::ALL {
        for layout in Layout::ALL {
            let mut site = PocketSite::builder().engine(engine).layout(layout).files(20).build();
            site.serve();
            let page = site.get("/");
            assert_eq!((page.status, page.text().as_str()), (200, "Pocket Moodle is open.\n"), "{engine:?} {layout:?}");
            let _ = Connect::Socket;
        }
    }
}
