//! When a cache is built: how long to wait during a burst of pushes, and when a new Bottlerocket
//! release may start a build.

use serde::{Deserialize, Serialize};

use super::text_or_object::TextOrObject;

/// How pushes are gathered into one build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars_derive::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Debounce {
    /// The build starts this many seconds after the last push.
    #[cfg_attr(test, schemars(range(max = 3600)))]
    pub quiet_seconds: u32,
    /// The build starts at the latest this many seconds after the first push. Not less than
    /// `quietSeconds`.
    #[cfg_attr(test, schemars(range(max = 3600)))]
    pub limit_seconds: u32,
}

impl Debounce {
    /// No waiting: a request from a person or the schedule is not part of a burst.
    pub const NONE: Self = Self { quiet_seconds: 0, limit_seconds: 0 };
}

impl Default for Debounce {
    fn default() -> Self {
        Self { quiet_seconds: 60, limit_seconds: 600 }
    }
}

/// When a new Bottlerocket release alone is a reason to build: a word, or a window in UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars_derive::JsonSchema))]
#[serde(from = "TextOrObject<Word, WindowDocument>")]
pub enum OsUpdates {
    /// As soon as it is noticed.
    #[default]
    AtOnce,
    /// Never: builds keep using the published release.
    Never,
    /// Only while this window is open.
    Window {
        /// The days, in UTC, on which the window opens.
        days: Vec<Day>,
        /// The hour of the day, in UTC, at which it opens: 0 to 23.
        start_hour: u32,
        /// For how many hours it is open, possibly past midnight: 1 to 24.
        hours: u32,
    },
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars_derive::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars_derive::JsonSchema))]
#[serde(rename_all = "camelCase")]
enum Word {
    /// As soon as it is noticed.
    AtOnce,
    /// Never: builds keep using the published release.
    Never,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars_derive::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WindowDocument {
    /// The days, in UTC, on which the window opens.
    #[cfg_attr(test, schemars(length(min = 1, max = 7), extend("uniqueItems" = true)))]
    days: Vec<Day>,
    /// The hour of the day, in UTC, at which the window opens.
    #[cfg_attr(test, schemars(range(max = 23)))]
    start_hour: u32,
    /// For how many hours the window is open, possibly past midnight.
    #[cfg_attr(test, schemars(range(min = 1, max = 24)))]
    hours: u32,
}

impl From<TextOrObject<Word, WindowDocument>> for OsUpdates {
    fn from(written: TextOrObject<Word, WindowDocument>) -> Self {
        match written {
            TextOrObject::Text(Word::AtOnce) => Self::AtOnce,
            TextOrObject::Text(Word::Never) => Self::Never,
            TextOrObject::Object(WindowDocument { days, start_hour, hours }) => {
                Self::Window { days, start_hour, hours }
            }
        }
    }
}

const DAY_SECONDS: i64 = 86_400;

impl OsUpdates {
    /// Whether a new release may start a build at this time, in seconds since
    /// 1970-01-01 UTC.
    #[must_use]
    pub fn allows(&self, now_epoch_seconds: i64) -> bool {
        let (days, start_hour, hours) = match self {
            Self::AtOnce => return true,
            Self::Never => return false,
            Self::Window { days, start_hour, hours } => (days, *start_hour, *hours),
        };
        let (opens, length) = (i64::from(start_hour) * 3600, i64::from(hours) * 3600);
        let today = now_epoch_seconds.div_euclid(DAY_SECONDS);
        // A window lasts at most 24 hours, so an open one opened today or yesterday.
        [today, today - 1].into_iter().any(|day| {
            let open_since = now_epoch_seconds - day * DAY_SECONDS - opens;
            days.contains(&weekday(day)) && (0..length).contains(&open_since)
        })
    }
}

/// The weekday of a day counted from 1970-01-01, which was a Thursday.
fn weekday(days_since_1970: i64) -> Day {
    match days_since_1970.rem_euclid(7) {
        0 => Day::Thursday,
        1 => Day::Friday,
        2 => Day::Saturday,
        3 => Day::Sunday,
        4 => Day::Monday,
        5 => Day::Tuesday,
        _ => Day::Wednesday,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &[Day], start_hour: u32, hours: u32) -> OsUpdates {
        OsUpdates::Window { days: days.to_vec(), start_hour, hours }
    }

    /// Saturday, 2026-01-17, 00:00 UTC.
    const SATURDAY: i64 = 1_768_608_000;
    const HOUR: i64 = 3600;

    #[test]
    fn without_a_window_a_release_is_followed_always_or_never() {
        assert!(OsUpdates::AtOnce.allows(SATURDAY));
        assert!(!OsUpdates::Never.allows(SATURDAY));
    }

    #[test]
    fn a_window_includes_its_first_second_and_excludes_its_end() {
        let updates = window(&[Day::Saturday], 2, 4);
        assert!(!updates.allows(SATURDAY + 2 * HOUR - 1));
        assert!(updates.allows(SATURDAY + 2 * HOUR));
        assert!(updates.allows(SATURDAY + 6 * HOUR - 1));
        assert!(!updates.allows(SATURDAY + 6 * HOUR));
    }

    #[test]
    fn a_window_is_closed_on_other_days() {
        let updates = window(&[Day::Saturday], 0, 24);
        for day in [-2, -1, 1, 2, 3, 4] {
            assert!(!updates.allows(SATURDAY + day * 24 * HOUR), "{day}");
        }
        assert!(updates.allows(SATURDAY + 7 * 24 * HOUR));
    }

    #[test]
    fn a_window_continues_past_midnight_into_an_unnamed_day() {
        let updates = window(&[Day::Friday], 22, 4);
        assert!(updates.allows(SATURDAY - 2 * HOUR));
        assert!(updates.allows(SATURDAY + 2 * HOUR - 1));
        assert!(!updates.allows(SATURDAY + 2 * HOUR));
        assert!(!updates.allows(SATURDAY + 22 * HOUR), "it opened on Friday only");
    }

    #[test]
    fn weekdays_are_counted_from_the_first_thursday_of_1970() {
        assert_eq!(weekday(0), Day::Thursday);
        assert_eq!(weekday(-1), Day::Wednesday);
        assert_eq!(weekday(SATURDAY / DAY_SECONDS), Day::Saturday);
        assert_eq!(weekday(SATURDAY / DAY_SECONDS + 2), Day::Monday);
    }
}
