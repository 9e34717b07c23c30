//! A target on which room is short: what is removed to make room for the next backup, and what is not.

mod support;
#[path = "common/whole.rs"]
mod whole;

use std::fs;
use std::path::Path;

use support::{PocketSite, TestTarget, World, assert_same, changes, fingerprint, text};
use whole::{assert_whole, published};

const MIB: u64 = 1 << 20;
/// What each backup adds to the target: a directory that is all different each time.
const EACH: u64 = 8 * MIB;

/// Changes all of the extra directory, so that the next backup of it is as large as the last.
fn renew(directory: &Path, night: u32) {
    let mut state = night;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    fs::write(directory.join("noise"), noise.take(EACH as usize).collect::<Vec<u8>>()).unwrap();
}

fn set_retention(world: &World, directory: &Path, retention: &str) {
    let directories = format!("[directories]\npaths = [{:?}]\n", text(directory));
    world.write_settings(&format!("min_free = \"0\"\n{directories}[retention]\ndaily = 0\nweekly = 0\n{retention}\n"));
}

#[test]
fn p2_make_room_removes_what_the_rules_let_go_and_nothing_else() {
    let target = TestTarget::ext4(96);
    let world = World::builder(PocketSite::builder().files(5).build()).target(target).build();
    let directory = world.scratch().join("directory");
    fs::create_dir(&directory).unwrap();
    set_retention(&world, &directory, "last = 3");
    for night in 1..=3 {
        renew(&directory, night);
        world.run(&["run"]).expect_code(0);
    }
    let backups = published(&world.site_folder());
    let before: Vec<_> = backups.iter().map(|backup| fingerprint(backup)).collect();
    renew(&directory, 4);

    // Room is short, and the rules would let a backup go; but nobody has allowed that before the next one is made.
    world.target.fill_up(EACH / 2);
    set_retention(&world, &directory, "last = 2");
    let output = world.run(&["run"]).expect_code(5);
    assert!(output.stderr.contains("this backup needs about"), "{}", output.stderr);
    assert_eq!(published(&world.site_folder()), backups);

    set_retention(&world, &directory, "last = 2\nmake_room = true");
    let output = world.run(&["run"]).expect_code(3);
    assert!(output.stderr.contains("make_room"), "{}", output.stderr);
    let now = published(&world.site_folder());
    assert_eq!(now.len(), 2);
    assert_eq!(now[0], backups[2], "the newest of the old ones stays until there are two newer ones");
    assert_same("the backup before", changes(&before[2], &fingerprint(&now[0])));
    assert_whole(&now[1]);

    // Now there is nothing that the rules let go.
    let before: Vec<_> = now.iter().map(|backup| fingerprint(backup)).collect();
    world.target.fill_up(EACH / 2);
    renew(&directory, 5);
    let output = world.run(&["run"]).expect_code(5);
    assert!(output.stderr.contains("this backup needs about"), "{}", output.stderr);
    assert!(world.site.is_open());
    assert_eq!(published(&world.site_folder()), now);
    for (before, backup) in before.iter().zip(&now) {
        assert_same("a backup that is wanted", changes(before, &fingerprint(backup)));
    }
}
