//! Quoting for the commands in RESTORE.txt, which are typed into bash. Starts nothing.

use crate::sys::log::is_plain;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// A word that bash takes for exactly these bytes.
pub fn quote(word: impl AsRef<OsStr>) -> String {
    let bytes = word.as_ref().as_bytes();
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().all(is_plain) => format!("'{}'", text.replace('\'', r"'\''")),
        _ => ansi_c(bytes),
    }
}

/// The same, without quotes where bash needs none.
pub fn word(word: impl AsRef<OsStr>) -> String {
    let bytes = word.as_ref().as_bytes();
    let is_bare = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-:@%+,=".contains(byte);
    match !bytes.is_empty() && bytes.iter().all(is_bare) {
        true => String::from_utf8_lossy(bytes).into_owned(),
        false => quote(word),
    }
}

/// `$'…'`, for what would break a line or is no text.
fn ansi_c(bytes: &[u8]) -> String {
    let mut quoted = String::from("$'");
    for &byte in bytes {
        match byte {
            b'\'' | b'\\' => quoted.extend(['\\', byte as char]),
            b' '..=b'~' => quoted.push(byte as char),
            // Always three digits, so that a digit behind it is not taken for a part of it.
            _ => quoted.push_str(&format!("\\{byte:03o}")),
        }
    }
    quoted + "'"
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert_eq, proptest};
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(64))]
        #[test]
        fn bash_reads_the_same_bytes(bytes in proptest::collection::vec(1u8.., 0..40)) {
            let word = OsString::from_vec(bytes.clone());
            for quoted in [quote(&word), super::word(&word)] {
                let script = format!("printf '%s' {quoted}");
                prop_assert_eq!(script.lines().count(), 1);
                let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
                prop_assert_eq!(&output.stdout, &bytes);
            }
        }
    }
}
