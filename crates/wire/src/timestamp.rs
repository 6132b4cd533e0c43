//! Points in time as the contract writes them.
//!
//! In: what any SDK sends. Out: one fixed width, so that times compare as text in queries.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use jiff::SignedDuration;
use jiff::civil::DateTime;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// Microseconds since the Unix epoch, UTC, within the years 1 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The contract's "it has not happened": `0001-01-01T00:00:00Z`. compat: HTTP-5
    pub const NEVER: Timestamp = Timestamp(-62_135_596_800_000_000);

    /// The last microsecond of the year 9999.
    pub const MAX: Timestamp = Timestamp(253_402_300_799_999_999);

    /// The time `micros` after the epoch; what lies outside the years 1 to 9999 becomes their first or last
    /// microsecond, because the wire has no spelling for it.
    pub const fn from_micros(micros: i64) -> Self {
        if micros < Self::NEVER.0 {
            Self::NEVER
        } else if micros > Self::MAX.0 {
            Self::MAX
        } else {
            Self(micros)
        }
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Reads an ISO 8601 date and time with 0 to 9 fractional digits, `Z`, an offset or no zone (which means
    /// UTC). Digits below a microsecond are cut off. compat: HTTP-4
    ///
    /// # Errors
    /// [`ParseTimestampError`] when the text is anything else or lies outside the years 1 to 9999.
    pub fn parse(text: &str) -> Result<Self, ParseTimestampError> {
        let refused = || ParseTimestampError {
            text: text.chars().take(SHOWN_CHARS_MAX).collect(),
        };
        // jiff also reads bare dates, spaces for the T and zone names in brackets; the contract has none.
        let separated = matches!(text.as_bytes().get(10), Some(b'T' | b't'));
        if text.len() > TEXT_BYTES_MAX || !separated || text.contains('[') {
            return Err(refused());
        }
        let zone_at = text[11..].find(['Z', 'z', '+', '-']);
        let (local, zone) = text.split_at(zone_at.map_or(text.len(), |at| at + 11));
        let local = match plain_civil(local.as_bytes()) {
            Some(local) => local,
            None => local.parse().map_err(|_| refused())?,
        };
        let offset_seconds = zone_seconds(zone).ok_or_else(refused)?;
        // Civil times reach the last moment of 9999, which some clients send for "never"; jiff's own
        // timestamps end a day earlier.
        let micros = local.duration_since(EPOCH).as_nanos().div_euclid(1_000)
            - i128::from(offset_seconds) * 1_000_000;
        let micros = i64::try_from(micros).map_err(|_| refused())?;
        if !(Self::NEVER.0..=Self::MAX.0).contains(&micros) {
            return Err(refused());
        }
        Ok(Self(micros))
    }

    /// `MM/dd/yyyy HH:mm:ss`, the form inside tracking ids. compat: HTTP-6
    pub fn tracking_form(self) -> String {
        let at = self.civil();
        format!(
            "{:02}/{:02}/{:04} {:02}:{:02}:{:02}",
            at.month(),
            at.day(),
            at.year(),
            at.hour(),
            at.minute(),
            at.second()
        )
    }

    fn civil(self) -> DateTime {
        EPOCH
            .checked_add(SignedDuration::from_micros(self.0))
            .expect("every constructor keeps to the years 1 to 9999")
    }
}

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// Seconds east of Greenwich: nothing, `Z`, or an offset as `+hh`, `+hhmm` or `+hh:mm`.
/// Reads the form that everybody writes, `YYYY-MM-DDTHH:MM:SS` with up to nine digits after a point, several times as
/// fast as a parser of all forms: documents of jobs and twins are full of it. `None` for all else.
fn plain_civil(text: &[u8]) -> Option<DateTime> {
    let (whole, fraction) = text.split_first_chunk::<19>()?;
    let marks = [whole[4], whole[7], whole[13], whole[16]];
    if marks != *b"--::" {
        return None;
    }
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0_i32, |number, digit| {
            let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
            Some(number * 10 + i32::from(digit))
        })
    };
    let two = |at: usize| number(&whole[at..at + 2]).and_then(|number| i8::try_from(number).ok());
    let nanos = match fraction {
        [] => 0,
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => {
            (digits.len()..9).try_fold(number(digits)?, |number, _| number.checked_mul(10))?
        }
        _ => return None,
    };
    let year = i16::try_from(number(&whole[..4])?).ok()?;
    DateTime::new(year, two(5)?, two(8)?, two(11)?, two(14)?, two(17)?, nanos).ok()
}

fn zone_seconds(zone: &str) -> Option<i32> {
    let sign = match zone.as_bytes().first() {
        None => return Some(0),
        Some(b'Z' | b'z') => return (zone.len() == 1).then_some(0),
        Some(b'-') => -1,
        Some(_) => 1,
    };
    let digits = zone.get(1..)?;
    let (hours, minutes) = match (digits.len(), digits.as_bytes().get(2)) {
        (2, _) => (digits, "00"),
        (4, _) => digits.split_at_checked(2)?,
        (5, Some(b':')) => (digits.get(..2)?, digits.get(3..)?),
        _ => return None,
    };
    let number = |text: &str| {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse::<i32>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// Longest text worth reading: all forms above fit in it twice.
const TEXT_BYTES_MAX: usize = 64;

/// How much of a refused text an error repeats.
const SHOWN_CHARS_MAX: usize = 40;

/// `YYYY-MM-DDTHH:MM:SS.fffffffZ`, seven digits of which the last is 0; [`Timestamp::NEVER`] has none.
/// compat: HTTP-5
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER {
            return f.write_str("0001-01-01T00:00:00Z");
        }
        let at = self.civil();
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}0Z",
            at.year(),
            at.month(),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            self.0.rem_euclid(1_000_000)
        )
    }
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// What lies outside the years 1 to 9999 becomes their first or last microsecond.
impl From<SystemTime> for Timestamp {
    fn from(at: SystemTime) -> Self {
        let micros = match at.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros)
            }
        };
        Self::from_micros(micros)
    }
}

/// What the system's clock cannot hold (before 1601 on some) becomes the Unix epoch.
impl From<Timestamp> for SystemTime {
    fn from(at: Timestamp) -> Self {
        let away = Duration::from_micros(at.0.unsigned_abs());
        let time = if at.0 < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(away)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(away)
        };
        time.unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a date and time such as 2031-02-03T04:05:06Z")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Timestamp::parse(text).map_err(E::custom)
            }
        }

        input.deserialize_str(Text)
    }
}

/// The text is no date and time of the years 1 to 9999.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a date and time such as 2031-02-03T04:05:06Z")]
pub struct ParseTimestampError {
    text: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_an_sdk_sends_is_read() {
        for (text, want) in [
            ("2031-02-03T04:05:06Z", "2031-02-03T04:05:06.0000000Z"),
            ("2031-02-03T04:05:06.1Z", "2031-02-03T04:05:06.1000000Z"),
            ("2031-02-03T04:05:06.123Z", "2031-02-03T04:05:06.1230000Z"),
            (
                "2031-02-03T04:05:06.123456Z",
                "2031-02-03T04:05:06.1234560Z",
            ),
            (
                "2031-02-03T04:05:06.1234567Z",
                "2031-02-03T04:05:06.1234560Z",
            ),
            (
                "2031-02-03T04:05:06.123456789Z",
                "2031-02-03T04:05:06.1234560Z",
            ),
            ("2031-02-03T04:05:06", "2031-02-03T04:05:06.0000000Z"),
            ("2031-02-03T04:05:06.5", "2031-02-03T04:05:06.5000000Z"),
            ("2031-02-03T04:05:06+01:30", "2031-02-03T02:35:06.0000000Z"),
            (
                "2031-02-03T04:05:06.25-08:00",
                "2031-02-03T12:05:06.2500000Z",
            ),
            (
                "1969-12-31T23:59:59.9999999Z",
                "1969-12-31T23:59:59.9999990Z",
            ),
            (
                "9999-12-31T23:59:59.9999999Z",
                "9999-12-31T23:59:59.9999990Z",
            ),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("0001-01-01T00:00:00", "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), want, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "now",
            "2031-02-03",
            "2031-02-03 04:05:06Z",
            "2031-02-30T04:05:06Z",
            "2031-02-03T25:05:06Z",
            "2031-02-03T04:05:06.1234567890Z",
            "2031-02-03T04:05:06Z[UTC]",
            "2031-02-03T04:05:06Zjunk",
            "2031-02-03T04:05:06+",
            "2031-02-03T04:05:06+24:00",
            "2031-02-03T04:05:06+1:00",
            "2031-02-03T04:05:06+01:60",
            "2031-02-03T04:05:06+01:\u{e9}",
            "2031-02-03T04:05:06+01:00Z",
            "2031-02-03TZ",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "+002031-02-03T04:05:06Z",
            "2031-02-03T04:05:06.0000000000000000000000000000000000000000000000000000000000Z",
            "2031-02-0\u{e9}T04:05:06Z",
        ] {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn never_is_the_first_moment_and_prints_short() {
        assert_eq!(Timestamp::NEVER.to_string(), "0001-01-01T00:00:00Z");
        assert_eq!(Timestamp::from_micros(i64::MIN), Timestamp::NEVER);
        assert_eq!(Timestamp::from_micros(i64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.9999990Z");
    }

    #[test]
    fn tracking_ids_carry_the_american_form() {
        let at = Timestamp::parse("2031-02-03T04:05:06.7Z").unwrap();
        assert_eq!(at.tracking_form(), "02/03/2031 04:05:06");
    }

    #[test]
    fn json_is_the_printed_form() {
        let at = Timestamp::from_micros(1_500);
        let json = serde_json::to_string(&at).unwrap();
        assert_eq!(json, "\"1970-01-01T00:00:00.0015000Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), at);
        assert!(serde_json::from_str::<Timestamp>("3").is_err());
    }

    #[test]
    fn system_times_and_timestamps_are_the_same_moments() {
        for micros in [0, 1, -1, 1_500_000, -1_500_000] {
            let at = Timestamp::from_micros(micros);
            assert_eq!(Timestamp::from(SystemTime::from(at)), at);
        }
        let cut = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_999);
        assert_eq!(Timestamp::from(cut).as_micros(), 1);
    }

    proptest! {
        /// Whatever the short way reads, the parser of all forms reads the same.
        #[test]
        fn the_short_way_reads_what_the_long_one_reads(
            text in "[0-9]{4}-[0-1][0-9]-[0-3][0-9][Tt][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,10})?",
        ) {
            if let Some(local) = plain_civil(text.as_bytes()) {
                prop_assert_eq!(text.parse::<DateTime>().ok(), Some(local), "{}", text);
            }
        }

        #[test]
        fn printing_and_reading_agree(micros in Timestamp::NEVER.0..=Timestamp::MAX.0) {
            let at = Timestamp::from_micros(micros);
            prop_assert_eq!(Timestamp::parse(&at.to_string()).unwrap(), at);
        }

        #[test]
        fn text_order_is_time_order(a in Timestamp::NEVER.0 + 1..=Timestamp::MAX.0, b in Timestamp::NEVER.0 + 1..=Timestamp::MAX.0) {
            let (a, b) = (Timestamp::from_micros(a), Timestamp::from_micros(b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn reading_never_panics(text in "\\PC{0,40}") {
            let _ = Timestamp::parse(&text);
        }
    }
}
