//! A run as it goes: a bar on a terminal, a plain line now and then elsewhere. Is told what runs; reads nothing.

use super::human;
use super::layout::plain;
use crate::sys::log::Activity;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::Write;
use std::time::{Duration, Instant};

/// How often a plain line is printed while a step goes on.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// What indicatif draws: all but the spinner is our own text.
const TEMPLATE: &str = "{spinner} {wide_msg}";

/// How far a step is: `45%, 1.2 GiB of 2.0 GiB`; none where that is not known.
pub fn share(activity: &Activity) -> Option<String> {
    let amount = |number: u64| match activity.unit.as_str() {
        "bytes" => human::bytes(number),
        _ => human::number(number),
    };
    let unit = if activity.unit == "bytes" { String::new() } else { format!(" {}", activity.unit) };
    match (activity.done, activity.total) {
        (0, 0) => None,
        (done, 0) => Some(format!("{}{unit}", amount(done))),
        (done, total) => {
            let percent = (u128::from(done.min(total)) * 100) / u128::from(total);
            Some(format!("{percent}%, {} of {}{unit}", amount(done), amount(total)))
        }
    }
}

/// How fast a step is, seen from where it was first looked at.
#[derive(Debug)]
struct Pace {
    step: String,
    first: (u64, Instant),
}

impl Pace {
    /// `110 MiB/s, 8 s left`, once there is something to judge by.
    fn text(&self, activity: &Activity, now: Instant) -> Option<String> {
        let seconds = now.saturating_duration_since(self.first.1).as_secs_f64();
        let rate = activity.done.checked_sub(self.first.0)? as f64 / seconds;
        if seconds < 1.0 || rate < 1.0 {
            return None;
        }
        let speed = match activity.unit.as_str() {
            "bytes" => format!("{}/s", human::bytes(rate as u64)),
            unit => format!("{} {unit}/s", human::number(rate as u64)),
        };
        match activity.total.checked_sub(activity.done) {
            Some(left) if left > 0 => Some(format!("{speed}, {} left", human::age((left as f64 / rate).ceil() as i64))),
            _ => Some(speed),
        }
    }
}

/// Shows a run to somebody who watches it.
#[derive(Debug)]
pub struct Follower {
    bar: Option<ProgressBar>,
    pace: Option<Pace>,
    printed: Option<Instant>,
}

impl Follower {
    /// With a bar on standard error, if that is a terminal; else with plain lines there.
    pub fn new(terminal: bool) -> Follower {
        let bar = terminal.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_spinner());
            bar.set_style(style.tick_chars("-\\|/ "));
            bar
        });
        Follower { bar, pace: None, printed: None }
    }

    /// Shows how far the run is. To be called about twice a second.
    pub fn show(&mut self, activity: &Activity) {
        let now = Instant::now();
        if let (Some(line), None) = (self.line(activity, now), &self.bar) {
            self.above(&line);
        }
        if let Some(bar) = &self.bar {
            let pace = self.pace.as_ref().and_then(|pace| pace.text(activity, now));
            let amounts: Vec<String> = share(activity).into_iter().chain(pace).collect();
            // One text for all, so that each drawing is of one moment; indicatif cuts it to the terminal's width.
            bar.set_message(format!("{:15} {}{}", plain(&activity.step), meter(activity), amounts.join(", ")));
            bar.tick();
        }
    }

    /// Prints a line of the run's log, above the bar if there is one.
    pub fn above(&self, line: &str) {
        let print = || {
            // A closed terminal ends the showing elsewhere; the run does not care.
            let _ = writeln!(std::io::stderr(), "{}", plain(line));
        };
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// The plain line that is due, if one is: at each new step, and every ten seconds.
    fn line(&mut self, activity: &Activity, now: Instant) -> Option<String> {
        let known = self.pace.as_ref().filter(|pace| pace.step == activity.step && pace.first.0 <= activity.done);
        if known.is_none() {
            self.pace = Some(Pace { step: activity.step.clone(), first: (activity.done, now) });
        } else if self.printed.is_some_and(|printed| now.saturating_duration_since(printed) < PLAIN_INTERVAL) {
            return None;
        }
        self.printed = Some(now);
        let pace = self.pace.as_ref().and_then(|pace| pace.text(activity, now));
        let parts: Vec<String> = share(activity).into_iter().chain(pace).collect();
        let colon = if parts.is_empty() { "" } else { ": " };
        Some(format!("{}{colon}{}", activity.step, parts.join(", ")))
    }
}

/// `[====>     ] `, where it is known how much there is.
fn meter(activity: &Activity) -> String {
    const WIDTH: usize = 10;
    if activity.total == 0 {
        return String::new();
    }
    let share = activity.done.min(activity.total) as f64 / activity.total as f64;
    let full = (share * WIDTH as f64) as usize;
    let head = if full < WIDTH { ">" } else { "" };
    format!("[{:WIDTH$}] ", "=".repeat(full) + head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activity(step: &str, done: u64, total: u64, unit: &str) -> Activity {
        Activity { step: step.into(), done, total, unit: unit.into(), ..Activity::default() }
    }

    #[test]
    fn plain_lines_come_with_each_step_and_every_ten_seconds() {
        let mut follower = Follower::new(false);
        let start = Instant::now();
        let mut line = |seconds, activity: Activity| follower.line(&activity, start + Duration::from_secs(seconds));
        assert_eq!(line(0, activity("preflight", 0, 0, "")).as_deref(), Some("preflight"));
        assert_eq!(
            line(1, activity("copy-ahead", 0, 2 << 30, "bytes")).as_deref(),
            Some("copy-ahead: 0%, 0 B of 2.0 GiB")
        );
        assert_eq!(line(2, activity("copy-ahead", 100 << 20, 2 << 30, "bytes")), None);
        let expected = "copy-ahead: 50%, 1.0 GiB of 2.0 GiB, 102 MiB/s, 10 s left";
        assert_eq!(line(11, activity("copy-ahead", 1 << 30, 2 << 30, "bytes")).as_deref(), Some(expected));
        assert_eq!(line(12, activity("seal", 0, 0, "bytes")).as_deref(), Some("seal"));
    }

    #[test]
    fn what_has_no_end_is_only_counted() {
        assert_eq!(share(&activity("x", 1234, 0, "files")).as_deref(), Some("1,234 files"));
        assert_eq!(share(&activity("x", 7, 5, "files")).as_deref(), Some("100%, 7 of 5 files"));
        assert_eq!(share(&activity("x", 0, 0, "files")), None);
    }

    #[test]
    fn the_meter_fills_up() {
        let meters = [0, 45, 99, 100, 120].map(|done| meter(&activity("x", done, 100, "files")));
        assert_eq!(meters, ["[>         ] ", "[====>     ] ", "[=========>] ", "[==========] ", "[==========] "]);
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
