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
                if matches!(host, "" | ".") || !host.bytes().all(plain) {
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

    /// The host as requests and signatures write it: an IPv6 address in brackets, and without the dot that makes a name
    /// absolute, which is for resolvers.
    pub(crate) fn name(&self) -> String {
        Bracketed(self.host.strip_suffix('.').unwrap_or(&self.host)).to_string()
    }

    /// Reads an endpoint; `port` wins over the one in it.
    pub(crate) fn of_endpoint(endpoint: &str, port: Option<u16>) -> Result<Self, Error> {
        let (scheme, rest) = endpoint.split_once("://").unwrap_or_default();
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let mut read = Some(rest)
            .filter(|_| scheme.eq_ignore_ascii_case("https"))
            .and_then(|rest| Self::parse(rest, HTTPS_PORT))
            .ok_or_else(|| SetupError::Endpoint(shown(endpoint)))?;
        read.port = port.unwrap_or(read.port);
        Ok(read)
    }

    /// As in a `Host` header: the port only when it is not the standard one.
    pub(crate) fn authority(&self) -> String {
        match self.port {
            HTTPS_PORT => self.name(),
            port => format!("{}:{port}", self.name()),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Bracketed(&self.host), self.port)
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

/// What of a text that is no endpoint an error repeats: nothing of a connection string or of a user with a password,
/// which people give in its place.
fn shown(endpoint: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 100;
    match endpoint.contains([';', '=', '@', '&']) {
        true => "...".to_owned(),
        false => endpoint.chars().take(SHOWN_CHARS_MAX).collect(),
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
            ("https://Hub.Test.", None, "hub.test.:443", "hub.test"),
            ("https://hub.test.:1", None, "hub.test.:1", "hub.test:1"),
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
    fn an_error_repeats_no_secret() {
        for text in [
            "HostName=h;SharedAccessKeyName=p;SharedAccessKey=c2VjcmV0",
            "https://user:c2VjcmV0@h",
            "SharedAccessSignature sr=h&sig=c2VjcmV0&se=1",
        ] {
            let error = HostPort::of_endpoint(text, None).expect_err(text);
            let printed = format!("{error} {error:?}");
            assert!(!printed.contains("c2VjcmV0"), "{printed}");
        }
        let error = HostPort::of_endpoint("hub.example.com", None).expect_err("no scheme");
        assert!(error.to_string().contains("'hub.example.com'"), "{error}");
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
            "https://.",
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
