//! Free ports on loopback.
//!
//! They are taken from below the range that the system gives to outgoing connections, so that no client of another test
//! can sit on one between here and the server's own bind.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 15000;
const COUNT: u16 = 15000;

/// A port that is kept from others until its server is started.
pub struct Reserved {
    listener: TcpListener,
}

/// Finds a free port; test processes begin to look in different places.
pub fn reserve() -> Reserved {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    let begin = std::process::id().wrapping_mul(97) as u16;
    for _ in 0..COUNT {
        let offset = begin.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, FIRST + offset)) {
            return Reserved { listener };
        }
    }
    panic!("no port on loopback is free");
}

impl Reserved {
    pub fn port(&self) -> u16 {
        self.listener.local_addr().expect("a bound socket has an address").port()
    }

    /// Lets go of the port, for the server that is started now.
    pub fn release(self) -> u16 {
        self.port()
    }
}
