//! Making the place for the backups, on real loop devices: what is made, and above all what is not. Each guard is tried with
//! something that would be destroyed without it.

mod support;

use moodle_backup::error;
use moodle_backup::setup::disks::guard::{Danger, dangers, system};
use moodle_backup::setup::disks::prepare::{Prepared, Request, done, prepare, steps};
use moodle_backup::setup::disks::{Device, FileSystem, Way, list, look, partition};
use moodle_backup::sys::log::{Log, Verbosity};
use moodle_backup::sys::paths::Paths;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Disk, Scratch, succeed, unmount};

fn device(disk: &Disk) -> Device {
    look(&disk.path).unwrap()
}

/// A machine's own files, and the folder where disks are mounted.
fn machine() -> Scratch {
    let machine = Scratch::on_machine();
    fs::create_dir_all(machine.join("etc/systemd/system")).unwrap();
    machine
}

fn unlock(folder: &Path) {
    let _ = Command::new("chattr").arg("-i").arg(folder).status();
}

fn format(device: &Path, file_system: FileSystem, machine: &Scratch) -> Way {
    Way::Format { device: device.into(), file_system, path: machine.join("backup"), destroy: None }
}

fn try_it(way: &Way, machine: &Scratch) -> Result<Prepared, String> {
    try_seen(way, None, 0, machine)
}

fn try_seen(way: &Way, seen: Option<&Device>, needed: u64, machine: &Scratch) -> Result<Prepared, String> {
    let paths = Paths::below(machine.path());
    let request = Request { way, seen, needed, site: vec!["/".into()], paths: &paths, present: None };
    let result = prepare(&request, &Log::to_stderr(Verbosity::Quiet));
    result.map_err(|error| error::lines(&error).join("\n"))
}

/// The guard says no, by these words, and nothing on the disk is other than it was.
#[track_caller]
fn refused(disk: &Disk, way: &Way, words: &str) {
    refused_without_change(disk, way, words, &|content| content.to_vec());
}

/// The same of the part of the disk that is looked at.
#[track_caller]
fn refused_without_change(disk: &Disk, way: &Way, words: &str, part: &dyn Fn(&[u8]) -> Vec<u8>) {
    let machine = machine();
    succeed(Command::new("sync").arg("-f").arg(disk.scratch.path()));
    let before = part(&disk.content());
    let why = try_it(way, &machine).expect_err("this must not be formatted");
    assert!(why.contains(words), "{why}");
    succeed(Command::new("blockdev").arg("--flushbufs").arg(&disk.path));
    assert!(before == part(&disk.content()), "something was written: {why}");
}

#[test]
fn an_empty_disk_becomes_the_place_for_the_backups() {
    for file_system in [FileSystem::Ext4, FileSystem::Xfs, FileSystem::Btrfs] {
        let (disk, machine) = (Disk::of_mebibytes(400), machine());
        let way = format(&disk.path, file_system, &machine);
        let prepared = try_it(&way, &machine).unwrap();
        let device = device(&disk);
        assert_eq!(device.file_system().unwrap().what, file_system.name());
        assert_eq!(prepared.mount_uuid, device.file_system().unwrap().uuid);
        assert_eq!(device.mounts, [machine.join("backup")]);
        fs::write(machine.join("backup/x"), "x").unwrap();

        // A machine without systemd keeps its mounts in fstab, and only once.
        let fstab = fs::read_to_string(machine.join("etc/fstab")).unwrap();
        assert!(fstab.contains(&format!("UUID={} ", prepared.mount_uuid.as_ref().unwrap())), "{fstab}");
        assert!(fstab.contains("nofail"), "{fstab}");
        assert_eq!(try_it(&way, &machine).as_ref(), Ok(&prepared), "a second time");
        assert_eq!(fs::read_to_string(machine.join("etc/fstab")).unwrap(), fstab);
        assert_eq!(fs::read(machine.join("backup/x")).unwrap(), b"x", "nothing is made anew");

        // Without its disk nothing goes into the folder below.
        unmount(machine.join("backup"));
        assert!(fs::write(machine.join("backup/y"), "y").is_err(), "written below an absent disk");
        assert_eq!(try_it(&way, &machine).as_ref(), Ok(&prepared), "mounted again, not made anew");
        assert_eq!(fs::read(machine.join("backup/x")).unwrap(), b"x");
        unmount(machine.join("backup"));
        unlock(&machine.join("backup"));
    }
}

#[test]
fn nothing_with_something_on_it_is_formatted() {
    let to = machine();
    for (program, args, words) in [
        ("mkfs.ext4", &["-q", "-F", "-L", "exams"][..], "ext4 with the label \"exams\""),
        ("mkfs.btrfs", &["-q"], "btrfs"),
        ("mkswap", &[], "swap"),
    ] {
        let disk = Disk::new().with(program, args);
        refused(&disk, &format(&disk.path, FileSystem::Ext4, &to), words);
    }
    let disk = Disk::of_mebibytes(400).with("mkfs.xfs", &["-q"]);
    refused(&disk, &format(&disk.path, FileSystem::Ext4, &to), "xfs");
}

/// Signatures of which the tools are not here, as they lie on a disk.
#[test]
fn parts_of_volume_groups_raids_and_pools_are_not_formatted() {
    let to = machine();
    fn lvm(disk: &mut [u8]) {
        disk[512..520].copy_from_slice(b"LABELONE");
        disk[520..528].copy_from_slice(&1u64.to_le_bytes());
        disk[532..536].copy_from_slice(&32u32.to_le_bytes());
        disk[536..544].copy_from_slice(b"LVM2 001");
        disk[544..576].copy_from_slice(b"AbCdEfGhIjKlMnOpQrStUvWxYz012345");
        let sum = lvm_checksum(&disk[532..1024]);
        disk[528..532].copy_from_slice(&sum.to_le_bytes());
    }
    fn luks(disk: &mut [u8]) {
        disk[..6].copy_from_slice(b"LUKS\xba\xbe");
        disk[6..8].copy_from_slice(&1u16.to_be_bytes());
        disk[168..204].copy_from_slice(b"2f6b9d1e-5c4a-4d0e-9a57-0d9f5a3c7b21");
    }
    /// Version 1.2 of md's superblock, 4 KiB behind the beginning.
    fn raid(disk: &mut [u8]) {
        let block = &mut disk[4096..4096 + 256];
        block[..4].copy_from_slice(&0xa92b_4efc_u32.to_le_bytes());
        block[4..8].copy_from_slice(&1u32.to_le_bytes());
        block[16..32].copy_from_slice(b"AbCdEfGhIjKlMnOp");
        block[144..152].copy_from_slice(&8u64.to_le_bytes());
        let words = block.chunks_exact(4).map(|word| u64::from(u32::from_le_bytes(word.try_into().unwrap())));
        let sum: u64 = words.sum();
        let sum = ((sum & 0xffff_ffff) + (sum >> 32)) as u32;
        block[216..220].copy_from_slice(&sum.to_le_bytes());
    }
    /// The ring of uberblocks in the first of a pool's labels.
    fn zfs(disk: &mut [u8]) {
        for block in disk[128 << 10..256 << 10].chunks_exact_mut(1024) {
            block[..8].copy_from_slice(&0x00ba_b10c_u64.to_le_bytes());
            block[8..16].copy_from_slice(&5000u64.to_le_bytes());
        }
    }
    for (write, words) in [(lvm as fn(&mut [u8]), "LVM"), (luks, "LUKS"), (raid, "RAID"), (zfs, "ZFS")] {
        let disk = Disk::new();
        let mut head = vec![0; 256 << 10];
        write(&mut head);
        fs::write(disk.scratch.join("head"), head).unwrap();
        succeed(
            Command::new("dd")
                .arg(format!("if={}", disk.scratch.join("head").display()))
                .arg(format!("of={}", disk.path.display()))
                .args(["conv=notrunc,fsync", "status=none"]),
        );
        refused(&disk, &format(&disk.path, FileSystem::Ext4, &to), words);
    }
}

/// The checksum of LVM's label: CRC-32 without the usual ends.
fn lvm_checksum(bytes: &[u8]) -> u32 {
    let mut crc: u32 = 0xf597_a6cf;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    crc
}

#[test]
fn what_is_in_use_is_not_formatted_even_if_its_name_is_typed() {
    let to = machine();
    let typed = |disk: &Path| Way::Format {
        device: disk.into(),
        file_system: FileSystem::Ext4,
        path: to.join("backup"),
        destroy: Some(disk.display().to_string()),
    };
    let mounted = Disk::new().with("mkfs.ext4", &["-q", "-F"]);
    let point = mounted.scratch.join("mnt");
    fs::create_dir(&point).unwrap();
    succeed(Command::new("mount").args(["-o", "ro"]).arg(&mounted.path).arg(&point));
    refused(&mounted, &typed(&mounted.path), "it is mounted at");

    let swap = Disk::new().with("mkswap", &["-q"]).with("swapon", &[]);
    // Behind its head the kernel itself may write at any time.
    let head = |content: &[u8]| content[..4096].to_vec();
    refused_without_change(&swap, &typed(&swap.path), "it is swap, and in use", &head);

    let parted = Disk::new().with_partitions();
    succeed(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(parted.part(1)));
    let point = parted.scratch.join("mnt");
    fs::create_dir(&point).unwrap();
    succeed(Command::new("mount").args(["-o", "ro"]).arg(parted.part(1)).arg(&point));
    refused(&parted, &typed(&parted.path), "its partition");

    // A program that has it open without a claim, as a virtual machine has.
    let opened = Disk::new();
    let file = fs::File::open(&opened.path).unwrap();
    let mut program = Command::new("sleep").arg("1000").stdin(file).spawn().unwrap();
    refused(&opened, &typed(&opened.path), "it is open: sleep (process");
    program.kill().unwrap();
    program.wait().unwrap();

    let held = Disk::new();
    let holder = moodle_backup::setup::disks::guard::open_exclusively(&held.path).unwrap();
    refused(&held, &typed(&held.path), "is in use");
    drop(holder);
    assert!(dangers(&device(&held), 0, &[], &list().unwrap()).is_empty(), "free again");
}

#[test]
fn a_disk_with_partitions_is_not_formatted_unless_its_name_is_typed() {
    let (disk, machine) = (Disk::of_mebibytes(400).with_partitions(), machine());
    refused(&disk, &format(&disk.path, FileSystem::Ext4, &machine), "partition table (gpt)");
    refused(&disk, &format(&disk.path, FileSystem::Ext4, &machine), "2 partitions");
    let wrong = |destroy: &str| Way::Format {
        device: disk.path.clone(),
        file_system: FileSystem::Ext4,
        path: machine.join("backup"),
        destroy: Some(destroy.into()),
    };
    refused(&disk, &wrong("/dev/sda"), "is not formatted");
    refused(&disk, &wrong("yes"), "is not formatted");
    let typed = wrong(&disk.path.display().to_string());
    let prepared = try_it(&typed, &machine).unwrap();
    assert_eq!(device(&disk).file_system().unwrap().uuid, prepared.mount_uuid);
    assert!(!device(&disk).has_gpt(), "nothing of the old is left to be found");
    // The name that was typed once does not make it be lost a second time.
    fs::write(machine.join("backup/x"), "x").unwrap();
    assert_eq!(try_it(&typed, &machine), Ok(prepared));
    assert_eq!(fs::read(machine.join("backup/x")).unwrap(), b"x");
    unmount(machine.join("backup"));
    unlock(&machine.join("backup"));
}

/// P2, whatever was typed; and looking for it leaves no trace.
#[test]
fn a_disk_of_backups_is_not_formatted() {
    let to = machine();
    let typed = |disk: &Disk, kind: FileSystem| Way::Format {
        device: disk.path.clone(),
        file_system: kind,
        path: to.join("backup"),
        destroy: Some(disk.path.display().to_string()),
    };
    for (program, options, mebibytes) in
        [("mkfs.ext4", &["-q", "-F"][..], 100), ("mkfs.xfs", &["-q"], 400), ("mkfs.btrfs", &["-q"], 400)]
    {
        let disk = Disk::of_mebibytes(mebibytes).with(program, options);
        let point = disk.scratch.join("mnt");
        fs::create_dir(&point).unwrap();
        succeed(Command::new("mount").arg(&disk.path).arg(&point));
        fs::create_dir_all(point.join("old/school")).unwrap();
        fs::write(point.join("old/school/SITE.json"), "{}").unwrap();
        unmount(&point);
        succeed(Command::new("sync").arg("-f").arg(disk.scratch.path()));
        let before = disk.content();
        let (way, paths) = (typed(&disk, FileSystem::Ext4), Paths::below(to.path()));
        let request = Request { way: &way, seen: None, needed: 0, site: vec![], paths: &paths, present: None };
        let told = steps(&request).unwrap().join("; ");
        assert!(told.contains("without formatting it: there are backups on it, in its folder old/school"), "{told}");
        assert!(before == disk.content(), "looking has written to it");
        try_it(&way, &to).unwrap();
        assert!(to.join("backup/old/school/SITE.json").exists());
        unmount(to.join("backup"));
        let _ = fs::remove_file(to.join("etc/fstab"));
    }
    // One of which they are a part, or that could not be mounted as it is, is refused.
    let parted = Disk::of_mebibytes(400).with_partitions();
    succeed(Command::new("mkfs.ext4").args(["-q", "-F", "-L", "moodle-backup"]).arg(parted.part(1)));
    refused(&parted, &typed(&parted, FileSystem::Ext4), "is a disk of backups: it has the label \"moodle-backup\"");
    // What should be looked into and cannot be is left alone.
    let broken = Disk::new().with("mkfs.ext4", &["-q", "-F"]);
    succeed(Command::new("dd").arg("if=/dev/urandom").arg(format!("of={}", broken.path.display())).args([
        "bs=1024",
        "seek=2",
        "count=40",
        "conv=notrunc,fsync",
        "status=none",
    ]));
    refused(&broken, &typed(&broken, FileSystem::Ext4), "nobody can see whether there are backups");
    unlock(&to.join("backup"));
}

#[test]
fn a_partition_is_made_in_free_space_and_the_others_stay() {
    let (disk, machine) = (Disk::of_mebibytes(400).with_partitions(), machine());
    succeed(Command::new("mkfs.ext4").args(["-q", "-F", "-L", "exams"]).arg(disk.part(1)));
    let before = fs::read(disk.part(1)).unwrap();
    let way = Way::Partition { disk: disk.path.clone(), file_system: FileSystem::Ext4, path: machine.join("backup") };
    let free = partition::free(&device(&disk)).unwrap().unwrap();
    assert!(free > 300 << 20, "{free}");
    let prepared = try_it(&way, &machine).unwrap();
    let made = look(&disk.part(3)).unwrap();
    assert_eq!(made.mounts, [machine.join("backup")]);
    assert_eq!(made.file_system().unwrap().uuid, prepared.mount_uuid);
    assert!(before == fs::read(disk.part(1)).unwrap(), "another partition was written to");
    assert_eq!(try_it(&way, &machine), Ok(prepared), "a second time");
    assert!(look(&disk.part(4)).is_err());
    unmount(machine.join("backup"));
    unlock(&machine.join("backup"));
}

#[test]
fn an_empty_disk_gets_a_partition_table() {
    let (disk, machine) = (Disk::of_mebibytes(400), machine());
    let way = Way::Partition { disk: disk.path.clone(), file_system: FileSystem::Ext4, path: machine.join("backup") };
    try_it(&way, &machine).unwrap();
    assert!(device(&disk).has_gpt());
    assert_eq!(look(&disk.part(1)).unwrap().mounts, [machine.join("backup")]);
    unmount(machine.join("backup"));
    unlock(&machine.join("backup"));
}

#[test]
fn what_changed_since_it_was_chosen_is_left_alone() {
    let (disk, machine) = (Disk::new(), machine());
    let seen = device(&disk);
    let disk = disk.with("mkfs.ext4", &["-q", "-F", "-L", "exams"]);
    let before = disk.content();
    let mut way = format(&disk.path, FileSystem::Ext4, &machine);
    for destroy in [None, Some(disk.path.display().to_string())] {
        if let Way::Format { destroy: typed, .. } = &mut way {
            *typed = destroy;
        }
        let why = try_seen(&way, Some(&seen), 0, &machine).unwrap_err();
        assert!(why.contains("has changed since it was chosen"), "{why}");
    }
    assert!(before == disk.content());
}

#[test]
fn data_that_nobody_knows_is_not_formatted() {
    let to = machine();
    for place in ["0", "199"] {
        let disk = Disk::new();
        let to_place = format!("seek={place}");
        let program = ["if=/dev/urandom", "bs=1M", "count=1", "conv=notrunc,fsync", "status=none"];
        succeed(Command::new("dd").args(program).arg(to_place).arg(format!("of={}", disk.path.display())));
        refused(&disk, &format(&disk.path, FileSystem::Ext4, &to), "of which nobody knows what it is");
        let partition =
            Way::Partition { disk: disk.path.clone(), file_system: FileSystem::Ext4, path: to.join("backup") };
        refused(&disk, &partition, "of which nobody knows what it is");
    }
}

#[test]
fn a_disk_that_vanished_is_named() {
    // Of a size of its own: another test may get the device meanwhile, which is then not the one that was chosen.
    let (disk, machine) = (Disk::of_mebibytes(123), machine());
    let (seen, way) = (device(&disk), format(&disk.path, FileSystem::Ext4, &machine));
    drop(disk);
    // Whoever looks at it just then holds it for a moment longer.
    support::wait_for("the disk to vanish", std::time::Duration::from_secs(30), || {
        look(&seen.path).map_or(true, |now| now.size != seen.size)
    });
    let why = try_seen(&way, Some(&seen), 0, &machine).unwrap_err();
    assert!(["there is no disk or partition", "has changed"].iter().any(|it| why.contains(it)), "{why}");
}

#[test]
fn a_disk_smaller_than_the_data_is_not_taken() {
    let (disk, machine) = (Disk::new(), machine());
    let before = disk.content();
    let why = try_seen(&format(&disk.path, FileSystem::Ext4, &machine), None, 1 << 30, &machine).unwrap_err();
    assert!(why.contains("the first backup needs about 1.0 GiB"), "{why}");
    assert!(before == disk.content());
}

#[test]
fn a_folder_with_something_in_it_is_no_mount_point() {
    let (disk, machine) = (Disk::new(), machine());
    fs::create_dir(machine.join("backup")).unwrap();
    fs::write(machine.join("backup/precious"), "x").unwrap();
    let before = disk.content();
    let why = try_it(&format(&disk.path, FileSystem::Ext4, &machine), &machine).unwrap_err();
    assert!(why.contains("is not empty"), "{why}");
    assert!(before == disk.content(), "nothing is formatted that cannot be mounted");
}

/// Nor is it closed for writing, and be it that the disk is mounted elsewhere already.
#[test]
fn a_disk_that_is_mounted_elsewhere_hides_nothing() {
    let (disk, machine) = (Disk::new().with("mkfs.ext4", &["-q", "-F"]), machine());
    let point = disk.scratch.join("mnt");
    fs::create_dir(&point).unwrap();
    succeed(Command::new("mount").arg(&disk.path).arg(&point));
    fs::create_dir(machine.join("backup")).unwrap();
    fs::write(machine.join("backup/precious"), "x").unwrap();
    let way = Way::Mount { device: disk.path.clone(), path: machine.join("backup") };
    let why = try_it(&way, &machine).unwrap_err();
    assert!(why.contains("is not empty") && why.contains("(precious)"), "{why}");
    fs::write(machine.join("backup/more"), "x").unwrap();
}

/// Empty as it may be.
#[test]
fn a_folder_of_the_system_is_no_mount_point() {
    let (disk, machine) = (Disk::of_mebibytes(400), machine());
    let paths = Paths::below(machine.path());
    for path in ["/mnt", "/media", "/srv", "/opt", "/var/local", "/home", "/srv/../home"] {
        let way =
            Way::Format { device: disk.path.clone(), file_system: FileSystem::Ext4, path: path.into(), destroy: None };
        let request = Request { way: &way, seen: None, needed: 0, site: vec![], paths: &paths, present: None };
        // A plan only: what went wrong here would be mounted there.
        let why = error::lines(&steps(&request).unwrap_err()).join("\n");
        assert!(why.contains("is a folder of the system itself"), "{why}");
    }
}

#[test]
fn the_disk_of_the_system_is_known() {
    let all = list().unwrap();
    let disks = system(&[], &all);
    let root = all.iter().find(|device| device.mounts.contains(&PathBuf::from("/")));
    // In a container the root is no disk.
    if let Some(root) = root {
        assert!(disks.contains(&root.path), "{disks:?}");
        let found = dangers(root, 0, &disks, &all);
        assert!(found.iter().any(|it| matches!(it, Danger::Refused(why) if why.contains("mounted at /"))), "{found:?}");
    }
}

#[test]
fn an_existing_file_system_is_mounted_as_it_is() {
    let (disk, machine) = (Disk::new().with("mkfs.ext4", &["-q", "-F", "-L", "old"]), machine());
    fs::write(machine.join("etc/fstab"), "UUID=1-2 / ext4 defaults 0 1\nUUID=3-4 /srv/data ext4 defaults 0 2").unwrap();
    let way = Way::Mount { device: disk.path.clone(), path: machine.join("backup") };
    let paths = Paths::below(machine.path());
    let request = Request { way: &way, seen: None, needed: 0, site: vec![], paths: &paths, present: None };
    let told = steps(&request).unwrap().join("\n");
    assert!(told.contains("as it is") && told.contains("each start"), "{told}");
    try_it(&way, &machine).unwrap();
    assert_eq!(device(&disk).file_system().unwrap().label.as_deref(), Some("old"));
    assert!(done(&request).unwrap().is_some());
    assert!(steps(&request).unwrap().is_empty(), "nothing is left to do");
    let fstab = fs::read_to_string(machine.join("etc/fstab")).unwrap();
    assert!(fstab.starts_with("UUID=1-2 / ext4 defaults 0 1\nUUID=3-4 /srv/data ext4 defaults 0 2\n# "), "{fstab}");
    unmount(machine.join("backup"));
    unlock(&machine.join("backup"));
}
