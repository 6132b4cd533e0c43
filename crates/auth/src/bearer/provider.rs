//! Asks an issuer for its keys: the discovery document, then the key set that it names.
//!
//! Everything that an issuer, or somebody in its place, may send is bounded: time, size, redirects. What it says about
//! itself must be what the settings say. Nothing here remembers anything.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode, header::CACHE_CONTROL};
use reqwest::{Client, Response, Url, redirect};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use rustls_platform_verifier::BuilderVerifierExt as _;
use serde_json::{Map, Value};

use super::{
    TokenStartError,
    json::{self, Bounds},
    keys::{KeySet, KeySetFault},
    settings::{IssuerSettings, is_safe},
};

/// Bytes of a discovery document, and of a key set.
const BODY_BYTES_MAX: usize = 256 * 1024;
const REDIRECTS_MAX: usize = 3;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const DISCOVERY: &str = ".well-known/openid-configuration";
const DISCOVERY_BOUNDS: Bounds = Bounds {
    depth: 8,
    values: 5_000,
};

/// The way to one issuer.
pub(super) struct Provider {
    issuer: String,
    discovery: Url,
    may_be_plain: bool,
    http: Client,
}

/// What an issuer answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) keys: KeySet,
    /// Seconds for which the key set counts, if it says.
    pub(super) max_age: Option<u64>,
}

/// Why an issuer gave no keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchFault {
    #[error("the {0} cannot be fetched: {1}")]
    Unreachable(Document, String),
    #[error("the {0} was answered with status {1}")]
    Status(Document, StatusCode),
    #[error("the {0} has more than {BODY_BYTES_MAX} bytes")]
    TooLarge(Document),
    #[error("the discovery document is none")]
    Discovery,
    #[error("the discovery document is of the issuer {0:?}, which is another one")]
    OtherIssuer(String),
    #[error("the discovery document names no key set that may be fetched")]
    KeysUrl,
    #[error("the key set cannot be used: {0}")]
    Keys(#[from] KeySetFault),
}

/// What is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Document {
    Discovery,
    Keys,
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Discovery => "discovery document",
            Self::Keys => "key set",
        })
    }
}

impl Provider {
    /// Nothing is sent yet.
    pub(super) fn new(
        settings: &IssuerSettings,
        fetch_within: Duration,
    ) -> Result<Self, TokenStartError> {
        let issuer = &settings.url;
        let url = |text: &str| {
            let wrong = |_| TokenStartError::Issuer(issuer.clone());
            Url::parse(text).map_err(wrong)
        };
        let discovery = url(&format!("{}/{DISCOVERY}", issuer.trim_end_matches('/')))?;
        let own = url(issuer)?;
        Ok(Self {
            http: client(settings, fetch_within)?,
            may_be_plain: own.scheme() == "http",
            issuer: issuer.clone(),
            discovery,
        })
    }

    /// Fetches the keys as they are now.
    pub(super) async fn fetch(&self) -> Result<Answer, FetchFault> {
        let (_, body) = self
            .get(Document::Discovery, self.discovery.clone())
            .await?;
        let discovery = json::object(&body, DISCOVERY_BOUNDS).ok_or(FetchFault::Discovery)?;
        let url = self.keys_url(&discovery)?;
        let (headers, body) = self.get(Document::Keys, url).await?;
        Ok(Answer {
            keys: KeySet::parse(&body)?,
            max_age: max_age(&headers),
        })
    }

    /// compat: AUTH-26
    fn keys_url(&self, discovery: &Map<String, Value>) -> Result<Url, FetchFault> {
        let text = |name: &str| discovery.get(name).and_then(Value::as_str);
        let issuer = text("issuer").ok_or(FetchFault::Discovery)?;
        if issuer != self.issuer {
            let shown = issuer.chars().take(256).collect();
            return Err(FetchFault::OtherIssuer(shown));
        }
        let url = text("jwks_uri").and_then(|url| Url::parse(url).ok());
        url.filter(|url| is_safe(url, self.may_be_plain))
            .ok_or(FetchFault::KeysUrl)
    }

    async fn get(&self, document: Document, url: Url) -> Result<(HeaderMap, Vec<u8>), FetchFault> {
        let unreachable = |error| FetchFault::Unreachable(document, with_causes(&error));
        let mut response = self.http.get(url).send().await.map_err(unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(FetchFault::Status(document, response.status()));
        }
        let headers = std::mem::take(response.headers_mut());
        let body = bounded(&mut response).await.map_err(unreachable)?;
        let body = body.ok_or(FetchFault::TooLarge(document))?;
        Ok((headers, body))
    }
}

/// A whole body, or `None` when it is longer than any may be.
async fn bounded(response: &mut Response) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// Seconds that a `Cache-Control` allows; `no-cache` and `no-store` allow none.
fn max_age(headers: &HeaderMap) -> Option<u64> {
    let values = headers.get_all(CACHE_CONTROL).iter();
    let words = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|word| word.trim().to_ascii_lowercase());
    let ages = words.filter_map(|word| match &*word {
        "no-cache" | "no-store" => Some(0),
        word => word
            .strip_prefix("max-age=")?
            .trim_matches('"')
            .parse()
            .ok(),
    });
    ages.min()
}

fn client(settings: &IssuerSettings, within: Duration) -> Result<Client, TokenStartError> {
    let client = |reason: String| TokenStartError::Client(reason);
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| client(error.to_string()))?;
    let tls = match &settings.ca_file {
        Some(file) => builder.with_root_certificates(authorities(file)?),
        None => builder
            .with_platform_verifier()
            .map_err(|error| client(error.to_string()))?,
    };
    Client::builder()
        .tls_backend_preconfigured(tls.with_no_client_auth())
        .connect_timeout(CONNECT_WITHIN.min(within))
        .timeout(within)
        .redirect(redirect::Policy::custom(same_origin))
        // Fetches are far apart, and a connection that nobody uses is one that may be dead.
        .pool_max_idle_per_host(0)
        .no_proxy()
        .user_agent(concat!("fanfare/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| client(with_causes(&error)))
}

fn authorities(file: &std::path::Path) -> Result<RootCertStore, TokenStartError> {
    let wrong = |reason: String| TokenStartError::CaFile {
        file: file.to_owned(),
        reason,
    };
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let added = roots.add(certificate);
        added.map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("there is no certificate in it".to_owned()));
    }
    Ok(roots)
}

/// An issuer may send to another path of its own, never to anybody else. compat: AUTH-26
fn same_origin(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let from = attempt.previous().last().map(Url::origin);
    if attempt.previous().len() > REDIRECTS_MAX {
        attempt.error("it redirects too often")
    } else if from != Some(attempt.url().origin()) {
        attempt.error("it redirects to somebody else")
    } else {
        attempt.follow()
    }
}

/// An error of the HTTP client says little without what it came from.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_age_counts() {
        for (values, expected) in [
            (&[][..], None),
            (&["public"], None),
            (&["max-age=60"], Some(60)),
            (&["public, Max-Age=\"60\", must-revalidate"], Some(60)),
            (&["max-age=60", "max-age=30"], Some(30)),
            (&["no-cache, max-age=60"], Some(0)),
            (&["no-store"], Some(0)),
            (&["max-age=-1"], None),
            (&["max-age=99999999999999999999999"], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CACHE_CONTROL, value.parse().unwrap());
            }
            assert_eq!(max_age(&headers), expected, "{values:?}");
        }
    }
}
