//! Where a hub is: host and port, read from `https://HOST[:PORT]`.

use std::fmt;

use percent_encoding::percent_decode_str;

use crate::Error;
use crate::error::SetupError;

/// Port of a hub whose endpoint names none.
const HTTPS_PORT: u16 = 443;

/// A host, lower case and without the brackets of an IPv6 address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl HostPort {
    /// Reads `HOST[:PORT]`; the host is a name of letters, digits, `-`, `_` and `.`, or an address.
    pub(crate) fn parse(text: &str, port: u16) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']')?;
                address.parse::<std::net::Ipv6Addr>().ok()?;
                match rest.strip_prefix(':') {
                    Some(digits) => (address, port_number(digits)?),
                    None if rest.is_empty() => (address, port),
                    None => return None,
                }
            }
            None => {
                let (host, port) = match text.split_once(':') {
                    Some((host, digits)) => (host, port_number(digits)?),
                    None => (text, port),
                };
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
                if host.is_empty() || !host.bytes().all(plain) {
                    return None;
                }
                (host, port)
            }
        };
        Some(Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    /// Reads an endpoint; `port` wins over the one in it.
    pub(crate) fn of_endpoint(endpoint: &str, port: Option<u16>) -> Result<Self, Error> {
        let (scheme, rest) = endpoint.split_once("://").unwrap_or_default();
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let mut read = Some(rest)
            .filter(|_| scheme.eq_ignore_ascii_case("https"))
            .and_then(|rest| Self::parse(rest, HTTPS_PORT))
            .ok_or_else(|| SetupError::Endpoint(endpoint.to_owned()))?;
        read.port = port.unwrap_or(read.port);
        Ok(read)
    }

    /// As in a `Host` header: the port only when it is not the standard one.
    pub(crate) fn authority(&self) -> String {
        match self.port {
            HTTPS_PORT => self.bracketed().to_string(),
            _ => self.to_string(),
        }
    }

    fn bracketed(&self) -> Bracketed<'_> {
        Bracketed(&self.host)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.bracketed(), self.port)
    }
}

struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') {
            write!(f, "[{}]", self.0)
        } else {
            f.write_str(self.0)
        }
    }
}

fn port_number(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|port| plain && *port > 0)
}

/// Decodes one part of a URL; `None` when an escape is broken or the bytes are not UTF-8.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let broken = text.split('%').skip(1).any(|after| {
        let digits = after.as_bytes().get(..2);
        !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if broken {
        return None;
    }
    let text = percent_decode_str(text).decode_utf8().ok()?;
    Some(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_https_hosts() {
        for (endpoint, port, want, authority) in [
            ("https://localhost", None, "localhost:443", "localhost"),
            (
                "https://127.0.0.2:8443/",
                None,
                "127.0.0.2:8443",
                "127.0.0.2:8443",
            ),
            (
                "HTTPS://Hub-1.Test:1",
                Some(444),
                "hub-1.test:444",
                "hub-1.test:444",
            ),
            ("https://hub:8443", Some(443), "hub:443", "hub"),
            ("https://[::1]", None, "[::1]:443", "[::1]"),
            (
                "https://[2001:DB8::1]:8443",
                None,
                "[2001:db8::1]:8443",
                "[2001:db8::1]:8443",
            ),
        ] {
            let read = HostPort::of_endpoint(endpoint, port).expect(endpoint);
            assert_eq!(read.to_string(), want);
            assert_eq!(read.authority(), authority);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for refused in [
            "",
            "http://localhost",
            "localhost",
            "https://",
            "https://h/path",
            "https://h?x=1",
            "https://h#x",
            "https://user@h",
            "https://h:0",
            "https://h:65536",
            "https://h:+1",
            "https://h:",
            "https://[::1",
            "https://[::1]x",
            "https://[h]",
            "https://::1",
            "https://h\u{e9}",
            "https://h h",
        ] {
            let error = HostPort::of_endpoint(refused, None).expect_err(refused);
            assert!(
                error.to_string().contains("https://hub.example.com"),
                "{error}"
            );
        }
    }
}
