//! systemd's units as they lie in the repository: what several of them say must be the same.

use std::path::Path;

fn unit(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// From the comment with the reasons to the last of its settings.
fn sandbox(name: &str) -> String {
    let text = unit(name);
    let begin = text.find("# What it may do").expect("the reasons for the sandbox");
    let last = "SystemCallErrorNumber=EPERM\n";
    let end = text.find(last).expect("the sandbox's last line") + last.len();
    text[begin..end].to_owned()
}

#[test]
fn all_services_have_the_same_sandbox() {
    let others = ["moodle-backup@", "moodle-backup-recover", "moodle-backup-verify", "moodle-backup-verify@"];
    for name in others.map(|name| format!("{name}.service")) {
        assert_eq!(sandbox(&name), sandbox("moodle-backup.service"), "{name}");
    }
}

#[test]
fn templates_differ_from_the_plain_units_by_their_settings_file_alone() {
    let instance = |text: &str| text.replace(" --settings /etc/moodle-backup/%i.toml", "").replace("site %i", "site");
    for name in ["backup.service", "backup.timer", "backup-verify.service", "backup-verify.timer"] {
        let name = &format!("moodle-{name}");
        let template = instance(&unit(&name.replace('.', "@.")));
        let plain = unit(name);
        // The first line says what it is.
        let body = |text: &str| text.split_once('\n').expect("more than a line").1.to_owned();
        assert_eq!(body(&template), body(&plain), "{name}");
    }
}
