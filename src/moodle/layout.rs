//! Where the parts of a code tree lie, and what its version.php says.
//! Reads text only: nothing of the site is run here.

use crate::error::{Fault, OrFault, Result};
use std::path::{Path, PathBuf};

/// The code tree of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The whole tree: where config.php lies. From Moodle 5.1 on the folder above `public/`.
    pub root: PathBuf,
    /// Where lib/ and version.php lie: `root`, or from Moodle 5.1 on `root/public`.
    pub code: PathBuf,
}

/// What version.php says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// For people: `4.5.6 (Build: 20250811)`.
    pub release: String,
    /// The number that the database has too when no upgrade is half done: `2024100706.00`.
    pub version: String,
    /// `405` for 4.5.
    pub branch: String,
}

impl Layout {
    /// The tree at `path`, which may also be its `public/` folder.
    pub fn find(path: &Path) -> Result<Self> {
        let given = std::fs::canonicalize(path).or_fault(|| {
            Fault::unfit(format!("there is no folder {}", path.display()))
                .hint_by_setting(
                    "is the code lost? \"moodle-backup restore --plan\" tells what a restore brings back; is it elsewhere? name the \
                     folder that holds Moodle's config.php",
                    "root in [site]",
                )
        })?;
        let is_public = given.file_name().is_some_and(|name| name == "public");
        // From 5.1 on public/ has a config.php too, which only leads to the real one above it.
        let root = match given.parent() {
            Some(above) if is_public && above.join("config.php").is_file() => above.to_path_buf(),
            _ => given,
        };
        let public = root.join("public");
        let code = if public.join("version.php").is_file() { public } else { root.clone() };
        for (folder, name) in [(&root, "config.php"), (&code, "version.php"), (&code, "lib/setup.php")] {
            if !folder.join(name).is_file() {
                return Err(Fault::unfit(format!("{} is no installed Moodle: it has no {name}", root.display()))
                    .hint_by_setting(
                        "is part of the code lost? \"moodle-backup restore --plan\" tells what a restore brings back; is the site \
                         elsewhere? name the folder that holds its config.php",
                        "root in [site]",
                    )
                    .into());
            }
        }
        Ok(Layout { root, code })
    }

    /// The site's config.php.
    pub fn config_php(&self) -> PathBuf {
        self.root.join("config.php")
    }

    /// A script of `admin/cli`: above `public/` in released Moodles from 5.1 on, below it in some builds.
    /// `admin` is the name config.php gives that folder.
    pub fn cli(&self, admin: &str, script: &str) -> Option<PathBuf> {
        [self.root.join(admin), self.root.join("admin"), self.code.join(admin), self.code.join("admin")]
            .map(|folder| folder.join("cli").join(script))
            .into_iter()
            .find(|path| path.is_file())
    }

    /// What version.php says.
    pub fn release(&self) -> Result<Release> {
        let path = self.code.join("version.php");
        let text = std::fs::read(&path).or_fault(|| Fault::unfit(format!("cannot read {}", path.display())))?;
        let text = String::from_utf8_lossy(&text);
        let value = |name| assigned(&text, name).unwrap_or_default();
        Ok(Release { release: value("$release"), version: value("$version"), branch: value("$branch") })
    }
}

/// What a line `$name = value;` assigns; version.php has only literals.
fn assigned(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let value = line.trim_start().strip_prefix(name)?.trim_start().strip_prefix('=')?;
        let value = value.split(';').next()?.trim();
        Some(value.trim_matches(['\'', '"']).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_version_php() {
        let text = "$version  = 2024100706.00;   // 20241007 = branching date.\n$release  = '4.5.6 (Build: 20250811)';\n\
                    // $branch = '1';\n$branch   = '405'; // This version's branch.\n";
        assert_eq!(assigned(text, "$version").as_deref(), Some("2024100706.00"));
        assert_eq!(assigned(text, "$release").as_deref(), Some("4.5.6 (Build: 20250811)"));
        assert_eq!(assigned(text, "$branch").as_deref(), Some("405"));
        assert_eq!(assigned(text, "$maturity"), None);
    }
}
