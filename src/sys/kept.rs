//! What this machine mounts by itself, and where that is written: in fstab and in mount units. Mounts nothing.

use super::paths::Paths;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The command that mounts again what belongs to this place, where fstab or a mount unit tells what that is. What
/// is mounted now is mounted at `mounted`.
pub fn mount_command(paths: &Paths, path: &Path, mounted: &Path) -> Option<String> {
    let points = in_fstab(paths);
    path.ancestors().take_while(|point| ![mounted, Path::new("/")].contains(point)).find_map(|point| {
        let shown = point.display();
        match points.iter().any(|it| it == point) {
            true => Some(format!("mount {shown}")),
            false => unit_file(paths, point).exists().then(|| format!("systemctl start {shown}")),
        }
    })
}

/// The mount unit of the administrator's, or of ours, for that place.
pub fn unit_file(paths: &Paths, path: &Path) -> PathBuf {
    paths.units().join(format!("{}.mount", escaped(path)))
}

/// A path as the name of a unit: systemd-escape(1) with `--path`.
pub fn escaped(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let trimmed = bytes.strip_prefix(b"/").unwrap_or(bytes);
    let mut name = String::new();
    for (at, byte) in trimmed.iter().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if at == 0 => name += "\\x2e",
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => name.push(char::from(*byte)),
            other => {
                let _ = write!(name, "\\x{other:02x}");
            }
        }
    }
    name
}

/// Where fstab mounts disks.
pub fn in_fstab(paths: &Paths) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(paths.fstab()).unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let disks = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let (device, point) = (words.next()?, words.next()?);
        (device.contains('=') || device.starts_with("/dev/")).then(|| PathBuf::from(point.replace("\\040", " ")))
    });
    disks.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_named_as_systemd_names_them() {
        // As systemd-escape --path prints them.
        for (path, name) in [
            ("/srv/backup", "srv-backup"),
            ("/srv/moodle-backup", "srv-moodle\\x2dbackup"),
            ("/mnt/my disk", "mnt-my\\x20disk"),
            ("/.hidden/x.y", "\\x2ehidden-x.y"),
            ("/srv/ü", "srv-\\xc3\\xbc"),
        ] {
            assert_eq!(escaped(Path::new(path)), name);
        }
    }

    #[test]
    fn a_disk_comes_back_by_the_command_for_what_mounts_it() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let command_at = |mounted: &str| mount_command(&paths, Path::new("/srv/backup/school"), Path::new(mounted));
        let command = || command_at("/");
        assert_eq!(command(), None);
        let unit = unit_file(&paths, Path::new("/srv/backup"));
        std::fs::create_dir_all(unit.parent().unwrap()).unwrap();
        std::fs::write(&unit, "[Mount]\n").unwrap();
        assert_eq!(command().as_deref(), Some("systemctl start /srv/backup"));
        std::fs::write(paths.fstab(), "UUID=x / ext4 errors=remount-ro 0 1\nUUID=y /srv/backup ext4 nofail 0 2\n")
            .unwrap();
        assert_eq!(command().as_deref(), Some("mount /srv/backup"));
        assert_eq!(command_at("/srv/backup"), None, "something is mounted there already");
    }
}
