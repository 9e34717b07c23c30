//! The timers and drop-ins of a site's settings file: what they are called, what stands in them, what is switched on. Nothing
//! but texts and questions to systemd; writing is `actions`'.

use super::answers::time_of_day;
use super::predecessor::find as cron;
use crate::sys::kept;
use crate::sys::paths::Paths;
use crate::sys::process::Program;
use crate::sys::process::unit::systemd_runs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// When the timer goes off that the package brings.
const USUAL: &str = "01:30";

/// The units of one settings file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Units {
    /// `moodle-backup`, or `moodle-backup@two` for `two.toml`.
    name: String,
    folder: PathBuf,
}

impl Units {
    /// Those of this settings file.
    pub fn of(paths: &Paths, settings: &Path) -> Units {
        let usual = settings == paths.settings();
        let name = match settings.file_stem() {
            Some(stem) if !usual => format!("moodle-backup@{}", stem.to_string_lossy()),
            _ => "moodle-backup".to_owned(),
        };
        Units { name, folder: paths.units() }
    }

    /// The timer of the nightly backup.
    pub fn timer(&self) -> String {
        format!("{}.timer", self.name)
    }

    /// The timer of the weekly check.
    pub fn verify_timer(&self) -> String {
        format!("{}.timer", self.verify())
    }

    fn verify(&self) -> String {
        self.name.replacen("moodle-backup", "moodle-backup-verify", 1)
    }

    /// The drop-ins by which the services wait for the disk of the backups.
    pub fn mount_drop_ins(&self) -> Vec<PathBuf> {
        let services = [self.name.clone(), self.verify()];
        services.iter().map(|service| self.folder.join(format!("{service}.service.d/target.conf"))).collect()
    }

    /// What stands in them; the mount unit is that of the disk's mount point.
    pub fn mount_text(&self, mount_point: &Path) -> String {
        let unit = format!("{}.mount", kept::escaped(mount_point)).replace('%', "%%");
        format!(
            "# The disk of the backups. Written by \"moodle-backup setup\".\n[Unit]\n\
             # Not RequiresMountsFor=: without the disk systemd would only not start the service, and nobody be told. The program\n\
             # refuses to work without it, and says so by all its means.\nWants={unit}\nAfter={unit}\n"
        )
    }

    /// The drop-in with the time of the nightly backup.
    pub fn schedule_drop_in(&self) -> PathBuf {
        self.folder.join(format!("{}.d/schedule.conf", self.timer()))
    }

    /// What stands in it; `None` where the timer of the package says the same.
    pub fn schedule_text(&self, time: &str) -> Option<String> {
        let (hour, minute) = time_of_day(time).ok().flatten()?;
        let time = format!("{hour:02}:{minute:02}");
        let head =
            "# The time of the nightly backup. Written by \"moodle-backup setup\".\n[Timer]\n# Not the package's.\n";
        (time != USUAL || self.schedule_drop_in().exists())
            .then(|| format!("{head}OnCalendar=\nOnCalendar=*-*-* {time}\n"))
    }

    /// When the nightly backup is made now; `never` where it is not switched on, `None` where that cannot be known.
    pub fn present(&self) -> Option<String> {
        if systemd_runs() && !is_enabled(&self.timer()) {
            return Some("never".into());
        }
        let text = std::fs::read_to_string(self.schedule_drop_in()).unwrap_or_default();
        let time = text.lines().rev().find_map(|line| line.strip_prefix("OnCalendar=*-*-* ")).map(str::to_owned);
        time.or_else(|| systemd_runs().then(|| USUAL.to_owned()))
    }

    /// Whether the backups are read again each week; `None` where no timer is switched on yet, or that cannot be known.
    pub fn verifies(&self) -> Option<bool> {
        (systemd_runs() && is_enabled(&self.timer())).then(|| is_enabled(&self.verify_timer()))
    }
}

/// Whether something starts the backups by itself: this timer, or a line of cron.
pub fn is_scheduled(paths: &Paths, timer: &str) -> bool {
    let runs =
        |line: &str| !line.trim_start().starts_with('#') && line.contains("moodle-backup") && line.contains("run");
    let texts = cron::crontabs(paths).into_iter().filter_map(|file| std::fs::read_to_string(file).ok());
    is_enabled(timer) || texts.into_iter().any(|text| text.lines().any(runs))
}

/// Whether a unit is switched on.
pub fn is_enabled(unit: &str) -> bool {
    let asked = Program::new("systemctl").args(["is-enabled", "--quiet", unit]).timeout(LIMIT).output();
    asked.is_ok_and(|output| output.status.success())
}

/// Units of web server and PHP that run now.
pub fn web_services() -> Vec<String> {
    if !systemd_runs() {
        return Vec::new();
    }
    let patterns = ["apache2.service", "nginx.service", "lighttpd.service", "php*-fpm.service"];
    let asked = Program::new("systemctl")
        .args(["list-units", "--plain", "--no-legend", "--state=active"])
        .args(patterns)
        .timeout(LIMIT)
        .output();
    let text = asked.map(|output| output.text()).unwrap_or_default();
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_settings_file_has_its_units() {
        let paths = Paths::below(Path::new("/x"));
        let usual = Units::of(&paths, &paths.settings());
        assert_eq!(
            (usual.timer(), usual.verify_timer()),
            ("moodle-backup.timer".into(), "moodle-backup-verify.timer".into())
        );
        assert_eq!(usual.mount_drop_ins().len(), 2);
        let two = Units::of(&paths, &paths.etc().join("two.toml"));
        assert_eq!(
            (two.timer(), two.verify_timer()),
            ("moodle-backup@two.timer".into(), "moodle-backup-verify@two.timer".into())
        );
        let drop_in = |name: &str| PathBuf::from(format!("/x/etc/systemd/system/{name}@two.service.d/target.conf"));
        assert_eq!(two.mount_drop_ins(), [drop_in("moodle-backup"), drop_in("moodle-backup-verify")]);
        assert_eq!(usual.schedule_text("1:30"), None, "as the package has it");
        assert!(usual.schedule_text("4:05").unwrap().contains("OnCalendar=\nOnCalendar=*-*-* 04:05\n"));
    }
}
