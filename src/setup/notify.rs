//! A mail when a run fails: a small program in failure.d, written and found again here. Whether mails arrive is the mail
//! system's business.

use crate::sys::paths::Paths;
use crate::sys::privileges::Identity;
use std::path::PathBuf;

/// What stands in place of an address where no mail is wanted.
pub const NOBODY: &str = "nobody";

/// The line of the program by which it is known as ours, and by which its address is found again.
const MARK: &str = "to=";

const HEAD: &str = "\
#!/bin/sh
# Mails the error of a run that has failed. Written by \"moodle-backup setup\", which changes it only as long as this
# line is in it.
set -eu
";

const BODY: &str = r#"
{
    printf 'To: %s\n' "$to"
    printf 'Subject: The backup of Moodle site %s failed on %s\n' "$MOODLE_BACKUP_SITE" "$(uname -n)"
    printf 'Content-Type: text/plain; charset=UTF-8\n'
    printf 'Auto-Submitted: auto-generated\n\n'
    printf '%s\n\n' "${MOODLE_BACKUP_ERROR:-}"
    printf 'Log: %s\n' "${MOODLE_BACKUP_LOG:-}"
    printf 'On the server, "moodle-backup status" tells how things stand, and "moodle-backup check" what to do.\n'
} | /usr/sbin/sendmail -i -t
"#;

/// Where it is.
pub fn file(paths: &Paths) -> PathBuf {
    paths.etc().join("failure.d/50-mail")
}

/// The program that mails to this address, which [`address`] has taken.
pub fn program(address: &str) -> String {
    format!("{HEAD}{MARK}'{address}'\n{BODY}")
}

/// The address that gets a mail now.
pub fn present(paths: &Paths) -> Option<String> {
    let text = std::fs::read_to_string(file(paths)).ok().filter(|text| text.starts_with(HEAD))?;
    let line = text.lines().find_map(|line| line.strip_prefix(MARK))?;
    address(line.trim_matches('\'')).ok()
}

/// Whether there is something else than our program: the administrator's own.
pub fn is_of_somebody_else(paths: &Paths) -> bool {
    std::fs::read_to_string(file(paths)).is_ok_and(|text| !text.starts_with(HEAD))
}

/// Why no mail will leave this server, where that is so, and what helps.
pub fn lacking(paths: &Paths) -> Option<String> {
    let there = paths.root().join("usr/sbin/sendmail").exists();
    (!there).then(|| {
        "this server has no /usr/sbin/sendmail: no mail will leave it until a mail system is installed, for example: apt install \
         msmtp-mta"
            .to_owned()
    })
}

/// Why a mail to this address would reach nobody, where that can be seen: it names no other server, and this one does not know
/// whose it is.
pub fn unknown(paths: &Paths, address: &str) -> Option<String> {
    let file = paths.root().join("etc/aliases");
    let local = address.split('+').next().unwrap_or_default();
    let known = address.contains('@')
        || Identity::by_name(local).is_ok()
        || is_alias(&std::fs::read_to_string(&file).unwrap_or_default(), local);
    (!known).then(|| {
        format!(
            "there is no account {local:?} on this server, and no line for it in {}: a mail to it would reach nobody",
            file.display()
        )
    })
}

/// Whether aliases(5) name somebody so: `postmaster: root`.
fn is_alias(text: &str, local: &str) -> bool {
    let names = text.lines().filter(|line| !line.starts_with([' ', '\t', '#'])).filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.trim().trim_matches('"')).any(|name| name.eq_ignore_ascii_case(local))
}

/// An address of a mail, or the name of a local user. Nothing that a shell or a header takes for more than a word.
pub fn address(text: &str) -> Result<String, String> {
    let word = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "._%+-".contains(c))
    };
    let fine = match text.split_once('@') {
        Some((name, host)) => word(name) && word(host),
        None => word(text),
    };
    if fine { Ok(text.to_owned()) } else { Err(format!("{text:?} is not an address such as admin@example.org")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    /// Purging the package takes it away as long as it is as it was written.
    #[test]
    fn the_package_knows_the_program() {
        let text: String = program("root").split_inclusive('\n').filter(|line| !line.starts_with(MARK)).collect();
        let sum: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(include_str!("../../debian/postrm").contains(&format!("\"{sum}  -\"")), "{sum}");
    }

    #[test]
    fn aliases_are_read_as_the_mail_system_reads_them() {
        let text = "# ghost: root\npostmaster:    root\n\"on duty\": eve,\n\tbob: x\nTeam : a@example.org\n";
        for name in ["postmaster", "on duty", "team"] {
            assert!(is_alias(text, name), "{name}");
        }
        for name in ["ghost", "root", "bob", "# ghost", ""] {
            assert!(!is_alias(text, name), "{name}");
        }
    }

    #[test]
    fn what_a_shell_would_take_apart_is_no_address() {
        for fine in ["root", "admin@example.org", "first.last+moodle@mail.example.org"] {
            assert_eq!(address(fine).as_deref(), Ok(fine));
        }
        for wrong in ["", "@", "a@", "@b", "a b", "a'b", "-oops@x", "a@b@c", "a\nb", "$(id)@x", "a;b"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
