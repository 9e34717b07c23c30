//! Whether backups are whole, by the programs that RESTORE.txt uses for it. No test of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Panics unless all sums of a backup are right, and each file on its list lies in the pool with the right SHA-1.
#[track_caller]
pub fn assert_whole(backup: &Path) {
    let check = "set -o pipefail; cd \"$0\" && sha256sum --quiet --strict -c SHA256SUMS && \
                 zstdcat filedir.sha1.zst | (cd .. && sha1sum --quiet --strict -c -)";
    let output = Command::new("bash").args(["-c", check]).arg(backup).output().expect("bash starts");
    let words = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{} is not whole:\n{words}", backup.display());
}

/// The hashes on a backup's list.
#[allow(dead_code, reason = "each test file uses a part of this")]
pub fn listed(backup: &Path) -> BTreeSet<String> {
    let output = Command::new("zstdcat").arg(backup.join("filedir.sha1.zst")).output().expect("zstdcat starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(|line| line[..40].to_owned()).collect()
}

/// The published backups in a site's folder, in order.
#[allow(dead_code, reason = "each test file uses a part of this")]
pub fn published(site_folder: &Path) -> Vec<PathBuf> {
    let Ok(found) = std::fs::read_dir(site_folder) else { return Vec::new() };
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("20"));
    let mut backups: Vec<PathBuf> = found.flatten().map(|entry| entry.path()).filter(named).collect();
    backups.sort();
    backups
}
