//! Header names and version rules every route of the service API shares.

use std::fmt;

use crate::Timestamp;

/// The content type of every JSON reply. Without `application/json` in it the Node SDK hands its caller an
/// empty string instead of the parsed body. compat: HTTP-2
pub const CONTENT_TYPE_JSON: &str = "application/json; charset=utf-8";

/// Response header that repeats the name of the error code.
pub const HEADER_ERROR_CODE: &str = "iothub-errorcode";

/// The query parameter that carries the API version.
pub const API_VERSION_PARAMETER: &str = "api-version";

/// The version our own client sends; the SDKs of Node and Python send the same.
pub const API_VERSION: &str = "2021-04-12";

/// Reads a date as HTTP headers carry it, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7). `None` for anything else,
/// the two forms that nothing has written for decades included. The day of the week is not compared with the date.
pub fn parse_date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (weekday, rest) = text.split_once(", ")?;
    let time = rest.strip_suffix(" GMT")?;
    if weekday.len() != 3 || time.len() != "06 Nov 1994 08:49:37".len() {
        return None;
    }
    let mut parts = time.split(' ');
    let (day, month, year, clock) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    Timestamp::parse(&format!("{year}-{month:02}-{day}T{clock}Z")).ok()
}

/// The date an API version stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    year: u16,
    month: u8,
    day: u8,
}

impl ApiVersion {
    /// The last version whose errors for unreachable devices have the classic form. compat: HTTP-7
    pub const CLASSIC_ERRORS_LAST: ApiVersion = ApiVersion {
        year: 2016,
        month: 11,
        day: 14,
    };

    /// Reads `YYYY-MM-DD`, optionally followed by `-preview`. Any well-formed date counts, since clients
    /// are newer and older than any list. `None` otherwise. compat: HTTP-1
    pub fn parse(text: &str) -> Option<Self> {
        let date = match text.split_at_checked(10)? {
            (date, "" | "-preview") => date,
            _ => return None,
        };
        let mut parts = date.split('-');
        let mut number = |digits: usize| {
            let part = parts.next()?;
            let plain = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| part.parse::<u16>().ok()).flatten()
        };
        let (year, month, day) = (number(4)?, number(2)?, number(2)?);
        if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        Some(Self {
            year,
            month: month as u8,
            day: day as u8,
        })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_headers_are_read() {
        let read = |text| parse_date(text).map(|at| at.as_micros() / 1_000_000);
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(read("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        for text in [
            "",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }

    #[test]
    fn any_date_is_a_version() {
        for text in ["2016-11-14", "2018-06-30", "2021-04-12", "2024-03-31"] {
            assert_eq!(ApiVersion::parse(text).unwrap().to_string(), text);
        }
        assert!(ApiVersion::parse("2020-05-31-preview").is_some());
    }

    #[test]
    fn anything_else_is_not() {
        for text in [
            "",
            "latest",
            "2021-13-12",
            "2021-04-00",
            "2021-4-12",
            "20210-4-12",
            "2021-04-12x",
            "2021-04-1\u{e9}",
            "+021-04-12",
            "2021/04/12",
            "20-1-04-12",
        ] {
            assert_eq!(ApiVersion::parse(text), None, "{text}");
        }
    }

    #[test]
    fn versions_are_ordered_by_date() {
        let old = ApiVersion::parse("2016-11-14").unwrap();
        assert!(old <= ApiVersion::CLASSIC_ERRORS_LAST);
        assert!(ApiVersion::parse("2018-06-30").unwrap() > ApiVersion::CLASSIC_ERRORS_LAST);
    }
}
