//! How counts, rates and lengths of time are written for people.

use std::time::Duration;

use fanfare_client::Timestamp;
use jiff::tz::TimeZone;

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "1 device", "2 devices", "1,234 devices".
pub(crate) fn counted(number: u64, one: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {one}{s}", count(number))
}

/// A length of time in its two largest units: `8s`, `1m 05s`, `2h 03m`, `3d 04h`.
pub(crate) fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h {:02}m", minutes % 60),
        _ => format!("{days}d {:02}h", hours % 24),
    }
}

/// How long something took: as [`span`], with tenths below ten seconds and in milliseconds below one.
pub(crate) fn took(length: Duration) -> String {
    if length < Duration::from_secs(1) {
        format!("{} ms", length.as_millis())
    } else if length < Duration::from_secs(10) {
        format!("{:.1}s", length.as_secs_f64())
    } else {
        span(length)
    }
}

/// `1,240/s`, `3.2/s`, and below one in a second `24/min`.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second >= 9.95 {
        // A rate has no business near the limits of u64.
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "rounded and positive"
        )]
        let whole = per_second.round() as u64;
        format!("{}/s", count(whole))
    } else if per_second >= 1.0 {
        format!("{per_second:.1}/s")
    } else {
        format!("{:.0}/min", per_second * 60.0)
    }
}

/// Bytes as mebibytes, as hubs count their limits.
pub(crate) fn mebibytes(bytes: usize) -> String {
    #[allow(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mebibytes = bytes as f64 / (1024.0 * 1024.0);
    format!("{mebibytes:.1} MiB")
}

/// A moment on this machine's clock, with its distance from UTC: `2026-12-01 03:00:00+01:00`.
pub(crate) fn moment(at: Timestamp) -> String {
    moment_in(at, TimeZone::system())
}

fn moment_in(at: Timestamp, zone: TimeZone) -> String {
    match jiff::Timestamp::from_microsecond(at.as_micros()) {
        Ok(moment) => {
            let text = moment
                .to_zoned(zone)
                .strftime("%Y-%m-%d %H:%M:%S%:z")
                .to_string();
            text.strip_suffix("+00:00")
                .map(|text| format!("{text}Z"))
                .unwrap_or(text)
        }
        // Only the last day of 9999 is beyond.
        Err(_) => at.to_string(),
    }
}

/// Whole percent of `part` in `whole`; 100 only when nothing is left, 0 only when nothing is done.
pub(crate) fn percent(part: u64, whole: u64) -> u64 {
    if whole == 0 {
        return 100;
    }
    let exact = u64::try_from(u128::from(part) * 100 / u128::from(whole)).unwrap_or(100);
    if part > 0 { exact.max(1) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_commas() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), text);
        }
        assert_eq!(counted(1, "device"), "1 device");
        assert_eq!(counted(0, "device"), "0 devices");
    }

    #[test]
    fn a_span_shows_its_two_largest_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (65, "1m 05s"),
            (7_380, "2h 03m"),
            (86_400 * 3 + 4 * 3_600, "3d 04h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        assert_eq!(took(Duration::from_millis(26)), "26 ms");
        assert_eq!(took(Duration::from_millis(4_260)), "4.3s");
        assert_eq!(took(Duration::from_secs(65)), "1m 05s");
    }

    #[test]
    fn moments_are_on_the_local_clock() {
        let at = Timestamp::parse("2026-12-01T02:00:00.5Z").unwrap();
        let rome = TimeZone::get("Europe/Rome").unwrap();
        assert_eq!(moment_in(at, rome), "2026-12-01 03:00:00+01:00");
        assert_eq!(moment_in(at, TimeZone::UTC), "2026-12-01 02:00:00Z");
    }

    #[test]
    fn slow_rates_are_told_by_the_minute() {
        for (per_second, text) in [
            (1_240.4, "1,240/s"),
            (9.96, "10/s"),
            (3.21, "3.2/s"),
            (0.4, "24/min"),
        ] {
            assert_eq!(rate(per_second), text);
        }
    }

    #[test]
    fn a_hundred_percent_means_that_nothing_is_left() {
        for (part, whole, shown) in [
            (0, 1_000, 0),
            (1, 1_000, 1),
            (999, 1_000, 99),
            (5, 5, 100),
            (0, 0, 100),
        ] {
            assert_eq!(percent(part, whole), shown, "{part} of {whole}");
        }
    }
}
