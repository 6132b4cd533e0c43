//! Asks a hub whether it is ready to serve; needs no credential.

use crate::{ClientOptions, Error, transport};

/// Looks at `GET /health/ready` of one hub.
///
/// ```no_run
/// use fanfare_client::{ClientOptions, HealthProbe};
///
/// # async fn example() -> Result<(), fanfare_client::Error> {
/// let probe = HealthProbe::new("https://localhost", ClientOptions::default())?;
/// println!("ready: {}", probe.is_ready().await);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct HealthProbe {
    http: reqwest::Client,
    url: String,
}

impl HealthProbe {
    /// A probe of the hub at `endpoint`.
    ///
    /// # Errors
    /// When the endpoint or the trusted certificates cannot be used.
    pub fn new(endpoint: &str, options: ClientOptions) -> Result<Self, Error> {
        let base = transport::base_url(endpoint, options.port)?;
        Ok(Self {
            http: transport::http_client(&options)?,
            url: format!("{base}/health/ready"),
        })
    }

    /// Whether the hub answers 200. A hub that cannot be reached is not ready.
    pub async fn is_ready(&self) -> bool {
        match self.http.get(&self.url).send().await {
            Ok(reply) => reply.status() == reqwest::StatusCode::OK,
            Err(_) => false,
        }
    }
}
