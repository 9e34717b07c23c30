//! A question on the terminal outside of the set-up: one line is read, and a signal ends the wait for it. What is asked is the
//! caller's matter.

use crate::error::{Fault, Result};
use crate::report::layout::wrapped;
use crate::sys::signals;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{FlushArg, tcflush};
use std::io::Write;
use std::os::fd::AsFd;

/// Shows a question, and `help` for each `?`; returns what is typed, without blanks around it. An error on a signal, and at the end
/// of the input: who has gone away answers none of the questions that may follow.
pub fn ask(question: &str, help: &str) -> Result<String> {
    // What was typed before it was shown answers something else.
    let _ = tcflush(std::io::stdin(), FlushArg::TCIFLUSH);
    loop {
        match line(question)?.as_str() {
            "?" => eprint!("{}", wrapped("", help)),
            answer => return Ok(answer.to_owned()),
        }
    }
}

fn line(question: &str) -> Result<String> {
    eprint!("{question}");
    std::io::stderr().flush()?;
    let stdin = std::io::stdin();
    let mut typed = Vec::new();
    loop {
        let mut fds = vec![PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        fds.extend(signals::wake_fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let _ = poll(&mut fds, PollTimeout::NONE);
        signals::check().inspect_err(|_| eprintln!())?;
        if fds[0].any() != Some(true) {
            continue;
        }
        // Straight from the descriptor, which gives a line at a time: what a buffer holds poll does not see.
        let mut bytes = [0; 1024];
        let count = nix::unistd::read(&stdin, &mut bytes)?;
        if count == 0 && typed.is_empty() {
            eprintln!();
            return Err(Fault::interrupted("there is nobody here to answer; nothing was changed")
                .hint("--yes does it without a question")
                .into());
        }
        typed.extend_from_slice(&bytes[..count]);
        if count == 0 || typed.ends_with(b"\n") {
            return Ok(String::from_utf8_lossy(&typed).trim().to_owned());
        }
    }
}

/// Asks until the answer is yes or no; nothing is no.
pub fn yes(question: &str, help: &str) -> Result<bool> {
    eprintln!();
    loop {
        match ask(&format!("{question} (yes, no, or ? for help) [no]: "), help)?.to_lowercase().as_str() {
            "y" | "yes" => return Ok(true),
            "" | "n" | "no" => return Ok(false),
            _ => eprintln!("Please answer yes or no."),
        }
    }
}
