//! The way to the hub through an HTTP proxy, and which hosts do not take it.
//!
//! A client never looks at the environment by itself: whoever wants the proxy of `HTTPS_PROXY` asks for it with
//! [`Proxy::from_environment`]. Loopback is never reached through a proxy unless that is asked for as well.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use crate::Error;
use crate::error::SetupError;
use crate::transport::endpoint::{HostPort, decoded};

/// An HTTP proxy that tunnels to the hub (`CONNECT`); the hub's TLS runs through the tunnel, so the proxy sees the
/// hub's name and nothing else. `Debug` hides its password.
///
/// ```
/// use fanfare_client::{ClientOptions, Proxy};
///
/// # fn main() -> Result<(), fanfare_client::Error> {
/// let proxy = Proxy::new("http://alice:secret@proxy.example.com:3128")?.except("*.example.com, 10.0.0.7");
/// assert!(!format!("{proxy:?}").contains("secret"));
/// let options = ClientOptions { proxy: Some(proxy), ..ClientOptions::default() };
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Proxy {
    pub(crate) at: HostPort,
    /// `Proxy-Authorization`, marked sensitive.
    pub(crate) authorization: Option<HeaderValue>,
    /// Hosts that are reached directly; lower case, `*` or a leading dot for the whole domain.
    except: Vec<String>,
    loopback: bool,
}

impl Proxy {
    /// The proxy at `http://[USER:PASSWORD@]HOST[:PORT]`; the port is 80 when none is given.
    ///
    /// # Errors
    /// [`SetupError::Proxy`] when the text is anything else, a `socks5://` or `https://` proxy included.
    ///
    /// ```
    /// use fanfare_client::Proxy;
    /// assert!(Proxy::new("http://proxy.example.com:3128").is_ok());
    /// assert!(Proxy::new("socks5://proxy.example.com").is_err());
    /// ```
    pub fn new(url: &str) -> Result<Self, Error> {
        let invalid = |why: &str| Error::Setup(SetupError::Proxy(why.to_owned()));
        let rest = match url.trim().split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err(invalid("only http:// proxies can be used")),
            None => url.trim(),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, at) = match rest.rsplit_once('@') {
            Some((user, at)) => (Some(user), at),
            None => (None, rest),
        };
        let at = HostPort::parse(at, 80)
            .ok_or_else(|| invalid("it is not http://[USER:PASSWORD@]HOST[:PORT]"))?;
        let authorization = user
            .map(|user| basic(user).ok_or_else(|| invalid("its user or password cannot be sent")))
            .transpose()?;
        Ok(Self {
            at,
            authorization,
            except: Vec::new(),
            loopback: false,
        })
    }

    /// The proxy that the environment names: `https_proxy`, `HTTPS_PROXY`, `all_proxy` or `ALL_PROXY`, the first that
    /// is there and not empty, without the hosts in `no_proxy` or `NO_PROXY`. `None` when it names none.
    ///
    /// # Errors
    /// As [`Self::new`].
    ///
    /// ```no_run
    /// use fanfare_client::{ClientOptions, Proxy};
    ///
    /// # fn main() -> Result<(), fanfare_client::Error> {
    /// let options = ClientOptions { proxy: Proxy::from_environment()?, ..ClientOptions::default() };
    /// # Ok(())
    /// # }
    /// ```
    #[allow(
        clippy::disallowed_methods,
        reason = "the caller asks for the environment by name"
    )]
    pub fn from_environment() -> Result<Option<Self>, Error> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, Error> {
        let first = |names: &[&str]| {
            let mut found = names.iter().filter_map(|name| variable(name));
            found.find(|value| !value.trim().is_empty())
        };
        let Some(url) = first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]) else {
            return Ok(None);
        };
        let except = first(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
        Ok(Some(Self::new(&url)?.except(&except)))
    }

    /// Reaches these hosts directly, in the form of `NO_PROXY`: names and addresses between commas; a name stands for
    /// its subdomains too, `*` for every host.
    ///
    /// ```
    /// # fn main() -> Result<(), fanfare_client::Error> {
    /// let proxy = fanfare_client::Proxy::new("http://proxy:3128")?.except("hub.example.com,.internal");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn except(mut self, hosts: &str) -> Self {
        let names = hosts.split(',').map(|name| {
            let name = name.trim().to_ascii_lowercase();
            match name.strip_prefix("*.") {
                Some(domain) => domain.to_owned(),
                None => name.trim_start_matches('.').to_owned(),
            }
        });
        self.except.extend(names.filter(|name| !name.is_empty()));
        self
    }

    /// Reaches even `localhost`, `127.0.0.0/8` and `::1` through the proxy; they are reached directly otherwise.
    ///
    /// ```
    /// # fn main() -> Result<(), fanfare_client::Error> {
    /// let recorder = fanfare_client::Proxy::new("http://127.0.0.1:8080")?.loopback_too();
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn loopback_too(mut self) -> Self {
        self.loopback = true;
        self
    }

    /// Whether the way to `host` leads through this proxy.
    pub(crate) fn leads_to(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if is_loopback(&host) && !self.loopback {
            return false;
        }
        !self.except.iter().any(|name| {
            name == "*"
                || host
                    .strip_suffix(name.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }
}

fn is_loopback(host: &str) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    match address {
        Some(address) => address.to_canonical().is_loopback(),
        None => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// `Basic` credentials of `USER:PASSWORD`, each percent-encoded.
fn basic(user: &str) -> Option<HeaderValue> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let pair = format!("{}:{}", decoded(name)?, decoded(password)?);
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_an_http_address_with_or_without_a_user() {
        for (text, at) in [
            ("http://proxy.test:3128", "proxy.test:3128"),
            ("HTTP://proxy.test/", "proxy.test:80"),
            ("proxy.test:3128", "proxy.test:3128"),
            ("http://u:p%40ss@[::1]:8080", "[::1]:8080"),
        ] {
            let proxy = Proxy::new(text).expect(text);
            assert_eq!(proxy.at.to_string(), at, "{text}");
        }
        for refused in [
            "",
            "https://p",
            "socks5://p:1",
            "http://p/x",
            "http://p:x",
            "http://%zz@p",
        ] {
            assert!(Proxy::new(refused).is_err(), "{refused}");
        }
        let proxy = Proxy::new("http://u:p%40ss@p").expect("a user and a password");
        assert_eq!(proxy.authorization.expect("a user"), "Basic dTpwQHNz");
    }

    #[test]
    fn neither_errors_nor_debug_show_the_password() {
        let proxy = Proxy::new("http://u:secret@p").expect("a user and a password");
        assert!(
            proxy
                .authorization
                .as_ref()
                .is_some_and(HeaderValue::is_sensitive)
        );
        let error = Proxy::new("http://u:secret@p:x").expect_err("no port");
        for text in [format!("{proxy:?}"), format!("{error:?} {error}")] {
            assert!(
                !text.contains("secret") && !text.contains("dTpzZWNyZXQ="),
                "{text}"
            );
        }
    }

    #[test]
    fn loopback_and_exceptions_are_reached_directly() {
        let proxy = Proxy::new("http://p").expect("an address");
        let proxy = proxy.except("hub.test, *.wide.test,.dot.test,10.0.0.7");
        for (host, through) in [
            ("localhost", false),
            ("a.localhost", false),
            ("127.9.9.9", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("hub.test", false),
            ("HUB.test.", false),
            ("a.hub.test", false),
            ("b.wide.test", false),
            ("dot.test", false),
            ("10.0.0.7", false),
            ("10.0.0.70", true),
            ("myhub.test", true),
            ("hub.example.com", true),
        ] {
            assert_eq!(proxy.leads_to(host), through, "{host}");
        }
        assert!(proxy.clone().loopback_too().leads_to("localhost"));
        assert!(!proxy.except("*").leads_to("hub.example.com"));
    }

    #[test]
    fn the_environment_is_read_as_other_tools_read_it() {
        let of = |variables: &'static [(&str, &str)]| {
            Proxy::from_variables(move |wanted| {
                let found = variables.iter().find(|(name, _)| *name == wanted);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(of(&[("HTTP_PROXY", "http://p")]).expect("fine").is_none());
        assert!(of(&[("HTTPS_PROXY", " ")]).expect("fine").is_none());
        assert!(of(&[("HTTPS_PROXY", "socks5://p")]).is_err());
        let variables = &[("ALL_PROXY", "http://p:1"), ("NO_PROXY", "hub.test")];
        let proxy = of(variables).expect("fine").expect("there is one");
        assert!(!proxy.leads_to("hub.test") && proxy.leads_to("other.test"));
    }
}
