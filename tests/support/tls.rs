//! A self-signed certificate for servers on loopback, which is also the authority that vouches for it.

use std::path::PathBuf;
use std::process::Command;

use super::process::{owner_ids, succeed};
use super::scratch::{Scratch, set_mode};

/// Where the certificate and its key lie.
#[derive(Clone)]
pub struct Certificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Makes a certificate for localhost and 127.0.0.1 whose key belongs to the server's user alone.
pub fn certificate(scratch: &Scratch, user: &str) -> Certificate {
    let made = Certificate { certificate: scratch.join("server.crt"), key: scratch.join("server.key") };
    succeed(
        Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            .arg("-out")
            .arg(&made.certificate)
            .arg("-keyout")
            .arg(&made.key),
    );
    let (uid, gid) = owner_ids(user);
    std::os::unix::fs::chown(&made.key, Some(uid), Some(gid)).expect("a key can be given away");
    set_mode(&made.key, 0o600);
    made
}
