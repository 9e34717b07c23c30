//! How durations and amounts of room are written in the settings and on the command line: one rule for all.
//! How they are printed for people is the report's.

use std::time::Duration;

/// The rule for durations, in words.
pub const DURATION_RULE: &str = r#"whole seconds, or a text such as "30s", "10m", "26h" or "2d""#;

/// The rule for amounts of room on a disk, in words.
pub const ROOM_RULE: &str =
    r#"a part of the disk such as "5%", or an amount such as "10G" (K, M, G, T: powers of 1024)"#;

/// Reads a duration: a whole number with `s`, `m`, `h` or `d`, or without a unit, then in seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(format!("{text:?} is no duration: write {DURATION_RULE}")),
    };
    let number = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds));
    number.map(Duration::from_secs).ok_or_else(|| format!("{text:?} is no duration: write {DURATION_RULE}"))
}

/// Room that must stay free on a file system.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Room {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of the whole file system, 0 to 99.
    Percent(u8),
}

impl Room {
    /// Reads `5%`, `10G`, or plain bytes.
    pub fn parse(text: &str) -> Result<Room, String> {
        let fail = || format!("{text:?} is no amount of room: write {ROOM_RULE}");
        let (number, unit) = split_unit(text);
        let number: u64 = number.parse().map_err(|_| fail())?;
        let factor: u64 = match unit {
            "%" => {
                let percent = u8::try_from(number).ok().filter(|percent| *percent < 100);
                return percent.map(Room::Percent).ok_or_else(fail);
            }
            "" => 1,
            "K" => 1 << 10,
            "M" => 1 << 20,
            "G" => 1 << 30,
            "T" => 1 << 40,
            _ => return Err(fail()),
        };
        number.checked_mul(factor).map(Room::Bytes).ok_or_else(fail)
    }

    /// In bytes, on a file system of this size.
    pub fn bytes(self, total_bytes: u64) -> u64 {
        match self {
            Room::Bytes(bytes) => bytes,
            Room::Percent(percent) => total_bytes / 100 * u64::from(percent),
        }
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    (number, unit.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_or_have_a_unit() {
        for (text, seconds) in [("90", 90), ("30s", 30), ("10m", 600), ("26h", 93_600), ("2d", 172_800), ("0", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "h", "-1", "1.5h", "1h30m", "1w", "99999999999999999999", "9999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn room_is_a_share_or_an_amount() {
        assert_eq!(Room::parse("5%"), Ok(Room::Percent(5)));
        assert_eq!(Room::parse("10G"), Ok(Room::Bytes(10 << 30)));
        assert_eq!(Room::parse("512"), Ok(Room::Bytes(512)));
        assert_eq!(Room::Percent(5).bytes(2000), 100);
        for text in ["100%", "5 percent", "10GB", "-1G", "", "99999999T"] {
            assert!(Room::parse(text).is_err(), "{text}");
        }
    }
}
