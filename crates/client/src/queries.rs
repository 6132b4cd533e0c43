//! Queries: text in, rows out, page by page.

use serde::de::DeserializeOwned;

use crate::pager::ListRequest;
use crate::{HubClient, Pager, Twin};

/// `text` as a literal of the query language, its quotes included: what a condition or query that is made of somebody
/// else's words has in their place.
///
/// ```
/// use fanfare_client::literal;
///
/// assert_eq!(literal("lock-43"), "'lock-43'");
/// let condition = format!("tags.tenant = {}", literal("O'Hara"));
/// assert_eq!(condition, r"tags.tenant = 'O\'Hara'");
/// ```
#[must_use]
pub fn literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for c in text.chars() {
        if matches!(c, '\'' | '\\') {
            literal.push('\\');
        }
        literal.push(c);
    }
    literal.push('\'');
    literal
}

/// The queries of one hub. Cheap to clone.
///
/// ```no_run
/// use fanfare_client::{ClientOptions, QueryClient};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Floor {
///     floor: Option<u32>,
///     doors: u64,
/// }
///
/// # async fn example(connection_string: &str) -> Result<(), fanfare_client::Error> {
/// let queries = QueryClient::from_connection_string(connection_string, ClientOptions::default())?;
/// let text = "SELECT tags.floor AS floor, COUNT() AS doors FROM devices GROUP BY tags.floor";
/// for row in queries.query::<Floor>(text).collect().await? {
///     println!("floor {:?}: {} doors", row.floor, row.doors);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct QueryClient {
    hub: HubClient,
}

crate::hub::constructors_of!(QueryClient);

impl QueryClient {
    /// Asks a query over `devices`, `devices.modules` or `devices.jobs`. `T` is whatever reads a row:
    /// [`Twin`] or [`DeviceJob`](crate::DeviceJob) for `SELECT *`, a struct with the projected members, or
    /// `serde_json::Value`. Nothing is sent before the first row or page is asked for.
    ///
    /// A query that the hub cannot use is refused with `ArgumentInvalid`, whose text says where (`Line 1:29`).
    ///
    /// ```no_run
    /// # async fn example(queries: fanfare_client::QueryClient) -> Result<(), fanfare_client::Error> {
    /// let text = "SELECT deviceId, tags.floor FROM devices WHERE connectionState = 'Disconnected'";
    /// let mut rows = queries.query::<serde_json::Value>(text);
    /// while let Some(row) = rows.try_next().await? {
    ///     println!("{row}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn query<T>(&self, text: impl Into<String>) -> Pager<T>
    where
        T: DeserializeOwned + Send + 'static,
    {
        Pager::new(self.hub.clone(), ListRequest::Query(text.into()))
    }

    /// Asks a query whose rows are whole twins: `SELECT * FROM devices` or `devices.modules`, with any condition.
    ///
    /// ```no_run
    /// # async fn example(queries: fanfare_client::QueryClient) -> Result<(), fanfare_client::Error> {
    /// let mut twins = queries.twins("SELECT * FROM devices WHERE tags.building = '43'");
    /// while let Some(twin) = twins.try_next().await? {
    ///     println!("{}: {}", twin.device_id, twin.properties.desired);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn twins(&self, text: impl Into<String>) -> Pager<Twin> {
        self.query(text)
    }
}
