//! Numbers, sizes and durations as people read them. How they are written in settings is `settings::units`.

/// Bytes in powers of 1024: `512 B`, `1.5 KiB`, `182 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        // What would be rounded up to 1024 of a unit is told as 1.0 of the next.
        if value < 1023.5 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    match unit {
        "B" => format!("{bytes} B"),
        _ if value < 9.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// A number with its thousands apart: `201,344`.
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number and what it counts: `1 file`, `201,344 files`.
pub fn count(number: u64, what: &str) -> String {
    format!("{} {what}{}", self::number(number), if number == 1 { "" } else { "s" })
}

/// How long something took: `0.62 s`, `1.2 s`, `42 s`, `1 min 14 s`, `3 h 5 min`, `2 d 4 h`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        ..0.995 => return format!("{:.2} s", seconds.max(0.0)),
        0.995..9.95 => return format!("{seconds:.1} s"),
        _ => {}
    }
    let seconds = seconds.round() as u64;
    let two = |large: u64, large_unit, small: u64, small_unit| match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// An age in one unit, the one in which it is said: `40 s`, `5 min`, `26 h`, `3 d`.
pub fn age(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_keep_two_or_three_digits() {
        let all = [0, 1023, 1024, 1536, 10 << 10, 190_840_832, (1 << 20) - 1, 2 << 30, u64::MAX].map(bytes);
        let expected = ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "10 KiB", "182 MiB", "1.0 MiB", "2.0 GiB", "16384 PiB"];
        assert_eq!(all, expected);
    }

    #[test]
    fn durations_are_said_in_two_units_at_most() {
        let all = [0.62, 0.999, 9.96, 42.0, 74.0, 3600.0, 11_100.0, 187_200.0].map(duration);
        assert_eq!(all, ["0.62 s", "1.0 s", "10 s", "42 s", "1 min 14 s", "1 h", "3 h 5 min", "2 d 4 h"]);
        assert_eq!([90, 300, 93_600, 300_000].map(age), ["90 s", "5 min", "26 h", "3 d"]);
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1, 2].map(|n| count(n, "file")), ["0 files", "1 file", "2 files"]);
    }
}
