//! Questions on a terminal, one line each: for any width, a serial line, or a screen reader; nothing is told by colour or
//! position alone. What is asked, and what becomes of the answers, must not go in here.

use crate::error::{self, Fault, Result};
use crate::moodle::overrides::Secret;
use crate::report::layout::wrapped;
use crate::sys::signals;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{FlushArg, LocalFlags, SetArg, tcflush, tcgetattr, tcsetattr};
use std::collections::VecDeque;
use std::io::Write;
use std::os::fd::AsFd;

/// The longest line that is an answer; more is a paste by mistake.
const LONGEST: usize = 4096;

/// What somebody answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply<T> {
    /// This.
    Given(T),
    /// To go back to the question before.
    Back,
}

/// A question.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The question itself.
    pub ask: &'a str,
    /// What `?` shows.
    pub help: &'a str,
    /// What Enter alone means, as one would type it.
    pub default: Option<String>,
}

/// One thing to choose.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// What it is, in a line or two.
    pub text: String,
    /// Why it cannot be chosen, where that is so.
    pub unfit: Option<String>,
}

impl Choice {
    /// A thing that can be chosen.
    pub fn new(text: impl Into<String>) -> Choice {
        Choice { text: text.into(), unfit: None }
    }
}

/// The person at the terminal.
#[derive(Debug, Default)]
pub struct Person {
    /// What was typed and is not asked for yet.
    typed: VecDeque<u8>,
    ended: bool,
    /// Whether something was done already that he has agreed to.
    pub has_done: bool,
    /// Whether the answers so far are kept for another call.
    pub is_kept: bool,
}

impl Person {
    /// Shows a heading.
    pub fn heading(&self, text: &str) {
        self.show(&format!("\n{text}\n{}\n", "-".repeat(text.chars().count())));
    }

    /// Forgets what was typed before anybody could see what it would answer: for questions whose answer cannot be taken back.
    pub fn forget_what_was_typed(&mut self) {
        self.typed.clear();
        // On what is no terminal nothing is typed ahead.
        let _ = tcflush(std::io::stdin(), FlushArg::TCIFLUSH);
    }

    /// Shows some text, wrapped.
    pub fn tell(&self, text: &str) {
        text.split('\n').for_each(|line| self.show(&wrapped("", line)));
    }

    /// Shows an item of a list.
    pub fn item(&self, text: &str) {
        self.show(&wrapped("  - ", text));
    }

    /// What became of the machine if he goes away now.
    pub fn nothing_was_changed(&self) -> &'static str {
        match (self.has_done, self.is_kept) {
            (false, false) => "nothing was changed",
            (false, true) => "nothing was changed, and the answers are kept for the next call",
            (true, false) => "nothing more was changed",
            (true, true) => "nothing more was changed, and the answers are kept for the next call",
        }
    }

    fn show(&self, text: &str) {
        let mut terminal = std::io::stderr().lock();
        // A terminal that is gone shows itself when it is read.
        let _ = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
    }

    /// Asks for a text until `check` takes it; what `check` says is shown, and asked again.
    pub fn text<T>(
        &mut self,
        question: &Question,
        check: impl Fn(&str) -> std::result::Result<T, String>,
    ) -> Result<Reply<T>> {
        self.show("\n");
        self.tell(question.ask);
        self.until(question, check)
    }

    fn until<T>(
        &mut self,
        question: &Question,
        check: impl Fn(&str) -> std::result::Result<T, String>,
    ) -> Result<Reply<T>> {
        loop {
            let Reply::Given(answer) = self.answer(question)? else { return Ok(Reply::Back) };
            match check(&answer) {
                Ok(value) => return Ok(Reply::Given(value)),
                Err(why) => self.tell(&why),
            }
        }
    }

    /// Asks for something that is not shown while it is typed.
    pub fn secret(&mut self, ask: &str) -> Result<Reply<Secret>> {
        self.show("\n");
        self.tell(&format!("{ask} (It is not shown while you type; < alone goes back.)"));
        self.show("> ");
        let stdin = std::io::stdin();
        let shown = tcgetattr(&stdin)?;
        let mut hidden = shown.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&stdin, SetArg::TCSAFLUSH, &hidden)?;
        let line = self.line();
        tcsetattr(&stdin, SetArg::TCSAFLUSH, &shown)?;
        self.show("\n");
        line.map(|line| if line == "<" { Reply::Back } else { Reply::Given(Secret(line)) })
    }

    /// Asks for yes or no.
    pub fn yes(&mut self, ask: &str, help: &str, default: bool) -> Result<Reply<bool>> {
        let ask = format!("{ask} (yes or no)");
        let default = Some(if default { "yes" } else { "no" }.to_owned());
        self.text(&Question { ask: &ask, help, default }, |answer| match answer.to_lowercase().as_str() {
            "y" | "yes" => Ok(true),
            "n" | "no" => Ok(false),
            _ => Err("Please answer yes or no.".into()),
        })
    }

    /// Shows a list and asks for one of it, by its number.
    pub fn choose(
        &mut self,
        ask: &str,
        help: &str,
        choices: &[Choice],
        default: Option<usize>,
    ) -> Result<Reply<usize>> {
        let default = default.map(|at| (at + 1).to_string());
        self.pick(ask, help, choices, default, |answer| picked(answer, choices))
    }

    /// Shows a list and asks for any of it: numbers, `all` or `none`.
    pub fn choose_some(
        &mut self,
        ask: &str,
        help: &str,
        choices: &[Choice],
        default: &[usize],
    ) -> Result<Reply<Vec<usize>>> {
        let default = if default.is_empty() { "none".to_owned() } else { numbers(default) };
        let ask = format!("{ask} (numbers with spaces between, \"all\" or \"none\")");
        self.pick(&ask, help, choices, Some(default), |answer| match answer {
            "none" => Ok(Vec::new()),
            "all" => Ok((0..choices.len()).collect()),
            some => several(some, choices),
        })
    }

    /// Shows a list and asks until `check` takes the answer.
    pub fn pick<T>(
        &mut self,
        ask: &str,
        help: &str,
        choices: &[Choice],
        default: Option<String>,
        check: impl Fn(&str) -> std::result::Result<T, String>,
    ) -> Result<Reply<T>> {
        self.show("\n");
        self.tell(ask);
        self.list(choices);
        self.until(&Question { ask: "", help, default }, check)
    }

    fn list(&self, choices: &[Choice]) {
        for (at, choice) in choices.iter().enumerate() {
            let unfit = choice.unfit.as_ref().map_or(String::new(), |why| format!(" [cannot be chosen: {why}]"));
            self.show(&wrapped(&format!("{:>4}  ", at + 1), &format!("{}{unfit}", choice.text)));
        }
    }

    /// One line; help is shown on the way.
    fn answer(&mut self, question: &Question) -> Result<Reply<String>> {
        loop {
            match &question.default {
                Some(default) => self.show(&format!("[{default}]> ")),
                None => self.show("> "),
            }
            let line = self.line()?;
            match (line.trim(), &question.default) {
                ("?", _) => self.tell(question.help),
                ("<", _) => return Ok(Reply::Back),
                ("", Some(default)) => return Ok(Reply::Given(default.clone())),
                ("", None) => {
                    self.tell("There is nothing that could be taken for granted here: please type an answer.")
                }
                (answer, _) => return Ok(Reply::Given(answer.to_owned())),
            }
        }
    }

    /// A line as it was typed. An error if there will be none, or if a signal asks to end.
    fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.typed.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.typed.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned());
            }
            if self.ended || self.typed.len() > LONGEST {
                self.show("\n");
                let unchanged = self.nothing_was_changed();
                return Err(Fault::interrupted(format!("there is nobody here to answer; {unchanged}"))
                    .hint("moodle-backup setup --answers FILE asks nothing")
                    .into());
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> Result<()> {
        let stdin = std::io::stdin();
        let mut fds = vec![PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        fds.extend(signals::wake_fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let _ = poll(&mut fds, PollTimeout::NONE);
        signals::check()
            .inspect_err(|_| self.show(&format!("\nThe set-up ends: {}.\n", self.nothing_was_changed())))?;
        if fds[0].any() == Some(true) {
            let mut bytes = [0; 1024];
            // Straight from the descriptor: what a buffer holds poll does not see.
            match nix::unistd::read(stdin.as_fd(), &mut bytes) {
                Ok(0) | Err(nix::errno::Errno::EIO) => self.ended = true,
                Ok(count) => self.typed.extend(&bytes[..count]),
                Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// What helps against an error.
pub fn what_to_do(error: &anyhow::Error) -> Option<String> {
    error::hint_without_setting(error).map(|hint| format!("What to do: {hint}."))
}

/// Places in the list as one would type them.
pub fn numbers(places: &[usize]) -> String {
    places.iter().map(|at| (at + 1).to_string()).collect::<Vec<_>>().join(" ")
}

/// The places in the list of numbers that were typed, each once, in the list's order.
pub fn several(answer: &str, choices: &[Choice]) -> std::result::Result<Vec<usize>, String> {
    let numbers = answer.split([' ', ',']).filter(|it| !it.is_empty());
    let mut places = numbers.map(|it| picked(it, choices)).collect::<std::result::Result<Vec<usize>, String>>()?;
    places.sort_unstable();
    places.dedup();
    Ok(places)
}

/// The place in the list of a number that was typed.
fn picked(answer: &str, choices: &[Choice]) -> std::result::Result<usize, String> {
    let at = answer.parse::<usize>().ok().filter(|number| (1..=choices.len()).contains(number));
    let at = at.ok_or_else(|| format!("Please answer with a number from 1 to {}.", choices.len()))? - 1;
    match &choices[at].unfit {
        Some(why) => Err(format!("{} cannot be chosen: {why}", at + 1)),
        None => Ok(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_in_the_list_is_picked() {
        let choices = [Choice::new("one"), Choice { text: "two".into(), unfit: Some("it is in use".into()) }];
        assert_eq!(picked("1", &choices), Ok(0));
        assert!(picked("2", &choices).unwrap_err().contains("it is in use"));
        for wrong in ["0", "3", "-1", "one", "", "1 1"] {
            assert!(picked(wrong, &choices).is_err(), "{wrong}");
        }
    }
}
