//! Which backups the retention rules keep. Pure: looks at no disk and no clock, removes nothing.

use crate::settings::Retention;
use chrono::{DateTime, Datelike, TimeDelta, Utc};

/// How far ahead of the clock a backup's time may be before the clock is thought wrong.
const CLOCK_SLACK: TimeDelta = TimeDelta::minutes(5);

/// How many backups of each kind to keep. All 0 keeps everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The newest so many.
    pub last: u32,
    /// The newest of each of the newest so many days (UTC) that have backups.
    pub daily: u32,
    /// The same by ISO weeks.
    pub weekly: u32,
    /// The same by months.
    pub monthly: u32,
    /// The same by years.
    pub yearly: u32,
}

impl From<Retention> for Rules {
    fn from(settings: Retention) -> Rules {
        let Retention { last, daily, weekly, monthly, yearly, make_room: _ } = settings;
        Rules { last, daily, weekly, monthly, yearly }
    }
}

/// What the rules need to know of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its sequence number: the order of backups.
    pub sequence: u64,
    /// When its run began.
    pub time: DateTime<Utc>,
    /// To be kept whatever the rules say.
    pub pinned: bool,
    /// Somebody reads it now.
    pub in_use: bool,
    /// A restore of it can be undone, or had died and may be begun again.
    pub restored: bool,
    /// Not known to be damaged.
    pub good: bool,
    /// Whether all of the site is in it. One that is not, since the site itself has lost files, is still good.
    pub complete: bool,
}

/// Why a backup is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There are no rules.
    NoRules,
    /// It is the newest.
    Newest,
    /// It is the newest that is complete and not damaged, or if none is complete the newest that is not damaged.
    NewestGood,
    /// The administrator pinned it.
    Pinned,
    /// Somebody reads it now.
    InUse,
    /// A restore of it can be undone, or had died.
    Restored,
    /// Rule `last`.
    Last,
    /// Rule `daily`.
    Daily,
    /// Rule `weekly`.
    Weekly,
    /// Rule `monthly`.
    Monthly,
    /// Rule `yearly`.
    Yearly,
}

impl Reason {
    /// The reason in a word or two.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::NoRules => "no retention rules",
            Reason::Newest => "newest",
            Reason::NewestGood => "newest good one",
            Reason::Pinned => "pinned",
            Reason::InUse => "in use",
            Reason::Restored => "restored",
            Reason::Last => "last",
            Reason::Daily => "daily",
            Reason::Weekly => "weekly",
            Reason::Monthly => "monthly",
            Reason::Yearly => "yearly",
        }
    }
}

/// What is to become of the backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// For each backup, in the order given: why it is kept; nothing to keep it means it can go.
    Reasons(Vec<Vec<Reason>>),
    /// Sequence and clock disagree: nothing can be said, and nothing may go. The text says what is wrong.
    Stopped(String),
}

/// Applies the rules.
///
/// Backups that are not good take nobody's place: the rules count the good ones as if there were no others,
/// and keep beside them what they would keep of all. So a damaged backup stays until it would have gone anyway.
pub fn keep(backups: &[Kept], rules: &Rules, now: DateTime<Utc>) -> Decision {
    if let Some(reason) = disagreement(backups, now) {
        return Decision::Stopped(reason);
    }
    let mut newest_first: Vec<usize> = (0..backups.len()).collect();
    newest_first.sort_by_key(|&index| std::cmp::Reverse(backups[index].sequence));
    let good: Vec<usize> = newest_first.iter().copied().filter(|&index| backups[index].good).collect();

    let mut reasons: Vec<Vec<Reason>> = vec![Vec::new(); backups.len()];
    let mut add = |index: usize, reason| {
        if !reasons[index].contains(&reason) {
            reasons[index].push(reason);
        }
    };
    newest_first.first().iter().for_each(|&&index| add(index, Reason::Newest));
    let newest_whole = good.iter().find(|&&index| backups[index].complete);
    newest_whole.or(good.first()).iter().for_each(|&&index| add(index, Reason::NewestGood));
    for (index, backup) in backups.iter().enumerate() {
        let always =
            [(backup.pinned, Reason::Pinned), (backup.in_use, Reason::InUse), (backup.restored, Reason::Restored)];
        let always = always.into_iter().chain([(*rules == Rules::default(), Reason::NoRules)]);
        always.filter(|(applies, _)| *applies).for_each(|(_, reason)| add(index, reason));
    }
    for order in [&good, &newest_first] {
        for (index, reason) in chosen(backups, order, rules) {
            add(index, reason);
        }
    }
    Decision::Reasons(reasons)
}

/// What each rule chooses of the backups in `newest_first`.
fn chosen(backups: &[Kept], newest_first: &[usize], rules: &Rules) -> Vec<(usize, Reason)> {
    type Period = fn(&Kept) -> (i64, u32);
    let by: [(u32, Reason, Period); 5] = [
        (rules.last, Reason::Last, |backup| (backup.sequence.cast_signed(), 0)),
        (rules.daily, Reason::Daily, |backup| (backup.time.year().into(), backup.time.ordinal())),
        (rules.weekly, Reason::Weekly, |backup| {
            let week = backup.time.iso_week();
            (week.year().into(), week.week())
        }),
        (rules.monthly, Reason::Monthly, |backup| (backup.time.year().into(), backup.time.month())),
        (rules.yearly, Reason::Yearly, |backup| (backup.time.year().into(), 0)),
    ];
    let mut chosen = Vec::new();
    for (count, reason, period) in by {
        let mut periods = Vec::new();
        for &index in newest_first {
            let period = period(&backups[index]);
            if periods.len() < count as usize && !periods.contains(&period) {
                periods.push(period);
                chosen.push((index, reason));
            }
        }
    }
    chosen
}

/// Whether the order of the sequence numbers and that of the times are at odds, in words.
fn disagreement(backups: &[Kept], now: DateTime<Utc>) -> Option<String> {
    let show = |time: DateTime<Utc>| time.format("%Y-%m-%d %H:%M:%S UTC");
    if let Some(future) = backups.iter().find(|backup| backup.time > now + CLOCK_SLACK) {
        return Some(format!(
            "backup number {} is of {}, and the clock says {}",
            future.sequence,
            show(future.time),
            show(now)
        ));
    }
    let mut order: Vec<&Kept> = backups.iter().collect();
    order.sort_by_key(|backup| backup.sequence);
    order.windows(2).find_map(|pair| {
        let (old, new) = (pair[0], pair[1]);
        if old.sequence == new.sequence {
            return Some(format!("two backups have the number {}", old.sequence));
        }
        (new.time < old.time).then(|| {
            format!(
                "backup number {} is of {}, but number {}, of {}, was made before it",
                new.sequence,
                show(new.time),
                old.sequence,
                show(old.time)
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone;
    use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, proptest};

    fn at(year: i32, month: u32, day: u32) -> DateTime<Utc> {
        Utc.with_ymd_and_hms(year, month, day, 1, 0, 3).unwrap()
    }

    fn nightly(first: DateTime<Utc>, nights: u64) -> Vec<Kept> {
        let backup = |night: u64| Kept {
            sequence: night + 1,
            time: first + TimeDelta::days(night.cast_signed()),
            pinned: false,
            in_use: false,
            restored: false,
            good: true,
            complete: true,
        };
        (0..nights).map(backup).collect()
    }

    fn kept_days(backups: &[Kept], rules: &Rules, now: DateTime<Utc>) -> Vec<String> {
        let Decision::Reasons(reasons) = keep(backups, rules, now) else { panic!("stopped") };
        let kept = backups.iter().zip(&reasons).filter(|(_, reasons)| !reasons.is_empty());
        kept.map(|(backup, _)| backup.time.format("%Y-%m-%d").to_string()).collect()
    }

    #[test]
    fn a_year_of_nights() {
        let backups = nightly(at(2025, 11, 24), 365);
        let rules = Rules { last: 0, daily: 3, weekly: 2, monthly: 3, yearly: 2 };
        let kept = kept_days(&backups, &rules, at(2026, 11, 23));
        // 23 November 2026 is a Monday: the newest of the two weeks are that day and the Sunday before.
        assert_eq!(kept, ["2025-12-31", "2026-09-30", "2026-10-31", "2026-11-21", "2026-11-22", "2026-11-23"]);
    }

    #[test]
    fn iso_weeks_do_not_break_at_new_year() {
        // 30 December 2024 to 5 January 2025 is one ISO week.
        let backups = nightly(at(2024, 12, 29), 8);
        let rules = Rules { weekly: 2, ..Rules::default() };
        assert_eq!(kept_days(&backups, &rules, at(2025, 1, 5)), ["2024-12-29", "2025-01-05"]);
    }

    #[test]
    fn damaged_ones_take_nobodys_place() {
        let mut backups = nightly(at(2026, 11, 1), 5);
        backups[4].good = false;
        backups[3].good = false;
        let rules = Rules { last: 2, ..Rules::default() };
        let kept = kept_days(&backups, &rules, at(2026, 11, 6));
        assert_eq!(kept, ["2026-11-02", "2026-11-03", "2026-11-04", "2026-11-05"]);
    }

    #[test]
    fn a_clock_that_is_wrong_stops_everything() {
        let rules = Rules { last: 1, ..Rules::default() };
        let stopped = |backups: &[Kept], now| match keep(backups, &rules, now) {
            Decision::Stopped(reason) => reason,
            Decision::Reasons(_) => panic!("not stopped"),
        };
        let backups = nightly(at(2026, 11, 1), 3);
        assert!(stopped(&backups, at(2026, 11, 2)).contains("the clock says 2026-11-02"));
        let mut backwards = backups.clone();
        backwards[2].time = at(2026, 10, 1);
        assert!(stopped(&backwards, at(2026, 11, 5)).contains("number 3 is of 2026-10-01"));
        let mut twins = backups;
        twins[1].sequence = 1;
        assert!(stopped(&twins, at(2026, 11, 5)).contains("two backups have the number 1"));
    }

    fn history() -> impl Strategy<Value = Vec<Kept>> {
        let step = (1u64..4, 0i64..2_000_000, any::<bool>(), any::<bool>(), any::<bool>(), 0u8..4);
        proptest::collection::vec(step, 0..60).prop_map(|steps| {
            let (mut sequence, mut time) = (0, at(2020, 1, 1));
            let backups = steps.into_iter().map(|(ahead, seconds, pinned, in_use, good, rare)| {
                sequence += ahead;
                time += TimeDelta::seconds(seconds);
                Kept {
                    sequence,
                    time,
                    pinned: pinned && rare == 0,
                    in_use: in_use && rare == 1,
                    restored: false,
                    good: good || rare > 0,
                    complete: rare != 2,
                }
            });
            backups.collect()
        })
    }

    fn rules() -> impl Strategy<Value = Rules> {
        (0u32..5, 0u32..9, 0u32..6, 0u32..14, 0u32..4).prop_map(|(last, daily, weekly, monthly, yearly)| Rules {
            last,
            daily,
            weekly,
            monthly,
            yearly,
        })
    }

    proptest! {
        #[test]
        fn what_must_stay_stays(backups in history(), rules in rules()) {
            let now = at(2030, 1, 1);
            let Decision::Reasons(reasons) = keep(&backups, &rules, now) else { panic!("stopped") };
            prop_assert_eq!(reasons.len(), backups.len());
            for (backup, reasons) in backups.iter().zip(&reasons) {
                prop_assert!(!reasons.is_empty() || !(backup.pinned || backup.in_use));
            }
            let newest = backups.iter().rposition(|_| true);
            let newest_whole = backups.iter().rposition(|backup| backup.good && backup.complete);
            let newest_good = newest_whole.or_else(|| backups.iter().rposition(|backup| backup.good));
            for index in newest.into_iter().chain(newest_good) {
                prop_assert!(!reasons[index].is_empty());
            }
            let good_kept = backups.iter().zip(&reasons).filter(|(b, r)| b.good && !r.is_empty()).count();
            let good = backups.iter().filter(|backup| backup.good).count();
            prop_assert!(good_kept >= good.min(rules.last as usize));
        }

        /// Pruning again right away, or with the result of the first time, removes nothing more.
        #[test]
        fn a_second_time_changes_nothing(backups in history(), rules in rules()) {
            let now = at(2030, 1, 1);
            let Decision::Reasons(reasons) = keep(&backups, &rules, now) else { panic!("stopped") };
            let left: Vec<Kept> =
                backups.iter().zip(&reasons).filter(|(_, r)| !r.is_empty()).map(|(b, _)| b.clone()).collect();
            let Decision::Reasons(again) = keep(&left, &rules, now) else { panic!("stopped") };
            prop_assert!(again.iter().all(|reasons| !reasons.is_empty()));
        }

        /// More generous rules never remove what stricter ones keep.
        #[test]
        fn more_generous_rules_keep_more(backups in history(), rules in rules(), more in Just(1u32)) {
            let now = at(2030, 1, 1);
            let generous = Rules { last: rules.last + more, daily: rules.daily + more, ..rules };
            let Decision::Reasons(few) = keep(&backups, &rules, now) else { panic!("stopped") };
            let Decision::Reasons(many) = keep(&backups, &generous, now) else { panic!("stopped") };
            let still_there = few.iter().zip(&many).all(|(few, many)| few.is_empty() || !many.is_empty());
            prop_assert!(still_there || rules == Rules::default());
        }

        /// The order in which the backups are given does not matter.
        #[test]
        fn the_order_given_does_not_matter(backups in history().prop_shuffle(), rules in rules()) {
            let now = at(2030, 1, 1);
            let mut sorted = backups.clone();
            sorted.sort_by_key(|backup| backup.sequence);
            let Decision::Reasons(reasons) = keep(&backups, &rules, now) else { panic!("stopped") };
            let Decision::Reasons(expected) = keep(&sorted, &rules, now) else { panic!("stopped") };
            for (backup, expected) in sorted.iter().zip(&expected) {
                let index = backups.iter().position(|b| b == backup).unwrap();
                prop_assert_eq!(&reasons[index], expected);
            }
        }
    }
}
