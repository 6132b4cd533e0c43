//! Query results, page by page.

use std::collections::VecDeque;

use serde::de::DeserializeOwned;
use serde_json::json;

use crate::{Error, HubClient};

/// Rows of a query that is asked for page by page, see [`HubClient::query`].
///
/// ```no_run
/// # async fn example(hub: fanfare_client::HubClient) -> Result<(), fanfare_client::Error> {
/// let mut twins = hub.query::<fanfare_client::Twin>("SELECT * FROM devices WHERE tags.floor = 3");
/// while let Some(twin) = twins.next().await? {
///     println!("{}", twin.device_id);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Rows<T> {
    hub: HubClient,
    text: String,
    page_rows: u32,
    place: Place,
    rows: VecDeque<T>,
}

/// How far a pager has come.
#[derive(Debug)]
enum Place {
    Start,
    After(String),
    End,
}

/// Rows asked for in one page; the hub gives fewer when it wants to.
const PAGE_ROWS: u32 = 1000;

impl<T: DeserializeOwned> Rows<T> {
    pub(crate) fn new(hub: HubClient, text: String) -> Self {
        let rows = VecDeque::new();
        Self {
            hub,
            text,
            page_rows: PAGE_ROWS,
            place: Place::Start,
            rows,
        }
    }

    /// Asks for at most `rows` rows a page, 1 to 1000. Default 1000.
    #[must_use]
    pub fn page_rows(mut self, rows: u32) -> Self {
        self.page_rows = rows;
        self
    }

    /// The next row; `None` after the last.
    ///
    /// # Errors
    /// When a page cannot be had; asking again asks for the same page.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        while self.rows.is_empty() {
            match self.next_page().await? {
                Some(page) => self.rows = page.into(),
                None => return Ok(None),
            }
        }
        Ok(self.rows.pop_front())
    }

    /// The next page, which may be empty though others follow; `None` after the last. Rows that
    /// [`Self::next`] has fetched and not handed out come first.
    ///
    /// # Errors
    /// When the page cannot be had; asking again asks for the same page.
    pub async fn next_page(&mut self) -> Result<Option<Vec<T>>, Error> {
        if !self.rows.is_empty() {
            return Ok(Some(self.rows.drain(..).collect()));
        }
        let token = match &self.place {
            Place::Start => None,
            Place::After(token) => Some(token.as_str()),
            Place::End => return Ok(None),
        };
        let body = json!({ "query": self.text });
        let page = self
            .hub
            .post_page("/devices/query", &body, self.page_rows, token)
            .await?;
        self.place = page.continuation.map_or(Place::End, Place::After);
        Ok(Some(page.rows))
    }

    /// All rows that are left.
    ///
    /// # Errors
    /// As [`Self::next_page`].
    pub async fn collect(mut self) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        while let Some(page) = self.next_page().await? {
            all.extend(page);
        }
        Ok(all)
    }
}
