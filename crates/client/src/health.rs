//! Asks a hub whether it is ready to serve; needs no credential.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use tokio::time::timeout;

use crate::transport::exchange::{Outgoing, Route, Trace};
use crate::{ClientOptions, Error};

/// Longest reply that is read, bytes; what it says does not matter.
const REPLY_BYTES_MAX: usize = 4 * 1024;

/// Looks at `GET /health/ready` of one hub. Cheap to clone.
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
#[derive(Clone)]
pub struct HealthProbe {
    route: Arc<Route>,
    timeout: Duration,
}

impl HealthProbe {
    /// A probe of the hub at `endpoint`.
    ///
    /// # Errors
    /// When the endpoint or the trusted certificates cannot be used.
    ///
    /// ```no_run
    /// use fanfare_client::{ClientOptions, HealthProbe};
    ///
    /// # fn main() -> Result<(), fanfare_client::Error> {
    /// let probe = HealthProbe::new("https://localhost:8443", ClientOptions::default())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(endpoint: &str, options: ClientOptions) -> Result<Self, Error> {
        Ok(Self {
            route: Arc::new(Route::to(endpoint, &options)?),
            timeout: options.timeout,
        })
    }

    /// Whether the hub answers 200, in one try. A hub that cannot be reached is not ready.
    ///
    /// ```no_run
    /// # async fn example(probe: fanfare_client::HealthProbe) {
    /// assert!(probe.is_ready().await);
    /// # }
    /// ```
    pub async fn is_ready(&self) -> bool {
        let target = PathAndQuery::from_static("/health/ready");
        let outgoing = Outgoing {
            method: &Method::GET,
            target: &target,
            headers: &HeaderMap::new,
            body: None,
        };
        let mut trace = Trace::default();
        let work = async {
            let mut arrived = self.route.send(outgoing, &mut trace).await.ok()?;
            let status = arrived.status;
            if let Ok((_, true)) = arrived.beginning(REPLY_BYTES_MAX).await {
                self.route.finish(arrived);
            }
            Some(status)
        };
        let status = timeout(self.timeout, work).await.ok().flatten();
        if status.is_none() {
            self.route.give_up(&trace);
        }
        status == Some(200)
    }
}

impl fmt::Debug for HealthProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthProbe")
            .field("at", &self.route.at())
            .finish_non_exhaustive()
    }
}
