//! Times and durations as people write them.
//!
//! A time is read in two steps: what was written ([`TimeArg`], checked with the arguments), and the moment it means
//! ([`TimeArg::moment`]), which takes a zone and the time now. A local time that the clocks skip or show twice is
//! refused: somebody who writes 02:30 for a maintenance window should say which one.

use std::str::FromStr;
use std::time::Duration;

use fanfare_client::Timestamp;
use jiff::Zoned;
use jiff::civil::{DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::clock::unix_now_micros;
use crate::failure::Failure;

/// A time as it was written: `now`, `+10m`, `17:30`, `2026-12-01T02:00`, or with an offset as RFC 3339 has it.
///
/// ```
/// use fanfare_cli::time_arg::TimeArg;
///
/// let start: TimeArg = "2026-12-01T02:00".parse().unwrap();
/// let moment = start.moment(Some("Europe/Rome")).unwrap();
/// assert_eq!(moment.to_string(), "2026-12-01T01:00:00.0000000Z");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeArg {
    /// So much later than now; `now` is nothing later.
    After(Duration),
    /// The next time a clock in the zone shows this.
    Next(Time),
    /// A date and time of a zone that is given elsewhere.
    Local(DateTime),
    /// A moment.
    At(Timestamp),
}

/// Ways to write a time, for `--help` and errors.
pub const TIME_FORMS: &str =
    "now, +10m, +1h30m, 17:30, 2026-12-01T02:00, or 2026-12-01T02:00:00+01:00";
/// Ways to write a duration, for `--help` and errors.
pub const DURATION_FORMS: &str = "300 (seconds), 90s, 5m, 2h, 1h30m, 1d, or 500ms";

impl FromStr for TimeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("now") {
            return Ok(Self::After(Duration::ZERO));
        }
        if let Some(later) = text.strip_prefix('+') {
            return duration(later).map(Self::After);
        }
        if let Ok(time) = text.parse::<Time>()
            && text.find(':').is_some_and(|at| at <= 2)
        {
            return Ok(Self::Next(time));
        }
        let with_t = text.replacen(' ', "T", 1);
        let has_zone = with_t
            .get(10..)
            .is_some_and(|time| time.contains(['Z', 'z', '+', '-']));
        if has_zone && let Ok(moment) = with_t.parse::<jiff::Timestamp>() {
            return Ok(Self::At(Timestamp::from_micros(moment.as_microsecond())));
        }
        if !has_zone && let Ok(local) = with_t.parse::<DateTime>() {
            return Ok(Self::Local(local));
        }
        Err(format!("not a time; write {TIME_FORMS}"))
    }
}

impl TimeArg {
    /// The moment that is meant, counted from now; `zone` is an IANA name such as `Europe/Rome`, the system's zone
    /// when absent.
    ///
    /// # Errors
    /// When there is no such zone, or the clocks there skip the time or show it twice.
    pub fn moment(&self, zone: Option<&str>) -> Result<Timestamp, Failure> {
        let now = jiff::Timestamp::from_microsecond(unix_now_micros()).map_err(|error| {
            Failure::not_done("the system's clock is out of range").because(error)
        })?;
        self.moment_at(now, &self::zone(zone)?)
    }

    fn moment_at(&self, now: jiff::Timestamp, zone: &TimeZone) -> Result<Timestamp, Failure> {
        let too_far =
            |error: jiff::Error| Failure::usage("the time is out of range").because(error);
        let moment = match self {
            Self::At(moment) => return Ok(*moment),
            Self::After(later) => now.checked_add(*later).map_err(too_far)?,
            Self::Local(local) => in_zone(*local, zone)?.timestamp(),
            Self::Next(time) => {
                let here = now.to_zoned(zone.clone());
                let today = in_zone(here.date().to_datetime(*time), zone)?;
                if today.timestamp() > now {
                    today.timestamp()
                } else {
                    let tomorrow = here.date().tomorrow().map_err(too_far)?;
                    in_zone(tomorrow.to_datetime(*time), zone)?.timestamp()
                }
            }
        };
        Ok(Timestamp::from_micros(moment.as_microsecond()))
    }
}

/// The zone of that name, or the system's.
///
/// # Errors
/// When no zone has that name.
pub fn zone(name: Option<&str>) -> Result<TimeZone, Failure> {
    let Some(name) = name else {
        return Ok(TimeZone::system());
    };
    TimeZone::get(name).map_err(|_| {
        Failure::usage(format!("there is no time zone '{name}'"))
            .try_this("--timezone with a name such as UTC, Europe/Rome or America/New_York")
    })
}

fn in_zone(local: DateTime, zone: &TimeZone) -> Result<Zoned, Failure> {
    let name = zone.iana_name().unwrap_or("the system's zone");
    let meant = zone.to_ambiguous_zoned(local);
    let (before, after, what) = match meant.offset() {
        AmbiguousOffset::Unambiguous { .. } => {
            return meant
                .unambiguous()
                .map_err(|error| Failure::usage("the time is out of range").because(error));
        }
        AmbiguousOffset::Gap { before, after } => {
            (before, after, "does not exist: the clocks skip it")
        }
        AmbiguousOffset::Fold { before, after } => {
            (before, after, "happens twice: the clocks are set back")
        }
    };
    Err(
        Failure::usage(format!("{local} {what} in {name}")).try_this(format!(
            "say which is meant: {local}{before} or {local}{after}"
        )),
    )
}

/// Reads a duration; the `value_parser` of arguments that are one.
///
/// # Errors
/// When the text is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("not a duration; write {DURATION_FORMS}");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let number: u64 = number.parse().map_err(|_| refused())?;
        let part = match unit {
            "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            "m" | "min" => number.checked_mul(60).map(Duration::from_secs),
            "h" => number.checked_mul(3_600).map(Duration::from_secs),
            "d" => number.checked_mul(86_400).map(Duration::from_secs),
            _ => None,
        };
        total = total
            .checked_add(part.ok_or_else(refused)?)
            .ok_or_else(refused)?;
        rest = after;
    }
    if text.is_empty() {
        Err(refused())
    } else {
        Ok(total)
    }
}

/// As [`duration`], for what the hub counts in whole seconds from one on.
///
/// # Errors
/// When the text is none, or of parts of seconds.
pub fn whole_seconds(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it is no time at all; 1s is the least".to_owned()),
        length if length.subsec_nanos() > 0 => Err("the hub counts whole seconds".to_owned()),
        length => Ok(length),
    }
}

/// How long a device may take to answer a method: 5s to 5m. compat: METHOD-7
///
/// # Errors
/// When the text is no duration, or out of this range.
pub fn response_timeout(text: &str) -> Result<Duration, String> {
    match whole_seconds(text)? {
        length if (5..=300).contains(&length.as_secs()) => Ok(length),
        _ => Err("a device has 5s to 5m to answer".to_owned()),
    }
}

/// A duration for people, exact to the second: `1h 30m`, `5m`, `1m 30s`, and `250ms` below a second.
#[must_use]
pub fn shown(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 {
        return format!("{}ms", duration.as_millis());
    }
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let parts = parts.iter().filter(|(number, _)| *number > 0);
    let parts: Vec<String> = parts
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> TimeArg {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// 2026-03-01T12:00Z in Rome.
    fn moment(text: &str) -> Result<String, String> {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let rome = zone(Some("Europe/Rome")).unwrap();
        match read(text).moment_at(now, &rome) {
            Ok(moment) => Ok(moment.to_string().replace(".0000000", "")),
            Err(failure) => Err(crate::diagnostic::plain(&failure)),
        }
    }

    #[test]
    fn times_as_people_write_them() {
        for (text, meant) in [
            ("now", "2026-03-01T12:00:00Z"),
            ("+10m", "2026-03-01T12:10:00Z"),
            ("+1h30m", "2026-03-01T13:30:00Z"),
            ("+90", "2026-03-01T12:01:30Z"),
            ("17:30", "2026-03-01T16:30:00Z"),
            ("08:00", "2026-03-02T07:00:00Z"),
            ("13:00", "2026-03-02T12:00:00Z"),
            ("2026-12-01T02:00", "2026-12-01T01:00:00Z"),
            ("2026-07-01 02:00:30", "2026-07-01T00:00:30Z"),
            ("2026-12-01", "2026-11-30T23:00:00Z"),
            ("2026-12-01T02:00:00Z", "2026-12-01T02:00:00Z"),
            ("2026-12-01T02:00:00-08:00", "2026-12-01T10:00:00Z"),
        ] {
            assert_eq!(moment(text).as_deref(), Ok(meant), "{text}");
        }
    }

    #[test]
    fn a_time_that_the_clocks_skip_or_repeat_is_refused_with_both_readings() {
        let skipped = moment("2026-03-29T02:30").unwrap_err();
        assert!(skipped.contains("does not exist"), "{skipped}");
        assert!(skipped.contains("Europe/Rome"), "{skipped}");
        let twice = moment("2026-10-25T02:30").unwrap_err();
        assert!(twice.contains("happens twice"), "{twice}");
        assert!(
            twice.contains("2026-10-25T02:30:00+02 or 2026-10-25T02:30:00+01"),
            "{twice}"
        );
        for reading in ["2026-10-25T02:30:00+02", "2026-10-25T02:30:00+01"] {
            assert!(moment(reading).is_ok(), "{reading}");
        }
    }

    #[test]
    fn what_is_no_time_says_what_is() {
        for text in ["", "soon", "+", "+5x", "25:00", "2026-13-01", "10"] {
            let refused = text.parse::<TimeArg>();
            assert!(refused.is_err(), "{text}: {refused:?}");
        }
        assert!("soon".parse::<TimeArg>().unwrap_err().contains("+10m"));
        assert!(
            zone(Some("Rome"))
                .unwrap_err()
                .to_string()
                .contains("'Rome'")
        );
    }

    #[test]
    fn durations_as_people_write_them() {
        for (text, seconds) in [
            ("300", 300),
            ("90s", 90),
            ("5m", 300),
            ("2h", 7_200),
            ("1h30m", 5_400),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for text in ["", "m", "5x", "-5", "1.5h", "5m30", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_the_hub_counts_in_seconds_is_whole_and_in_its_range() {
        assert_eq!(whole_seconds("1m"), Ok(Duration::from_secs(60)));
        assert!(whole_seconds("0").is_err() && whole_seconds("1500ms").is_err());
        assert_eq!(response_timeout("5m"), Ok(Duration::from_secs(300)));
        assert!(response_timeout("4s").is_err() && response_timeout("301").is_err());
    }

    #[test]
    fn durations_are_shown_short() {
        for (millis, text) in [
            (250, "250ms"),
            (30_000, "30s"),
            (90_000, "1m 30s"),
            (300_000, "5m"),
            (3_600_000, "1h"),
            (5_400_000, "1h 30m"),
            (180_005_000, "2d 2h 5s"),
        ] {
            assert_eq!(shown(Duration::from_millis(millis)), text);
        }
    }
}
