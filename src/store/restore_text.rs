//! RESTORE.txt
use super::manifest::Manifest;
use std::path::Path;
/// x
pub fn render(_manifest: &Manifest, _site_folder: &Path) -> String {
    String::new()
}
