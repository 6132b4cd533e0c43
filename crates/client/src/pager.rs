//! Lists that come in pages: a stream of items, or of the pages themselves.
//!
//! Decides when a page is asked for (when somebody wants an item and none is left), where a list goes on after an
//! error (at the same page), and what resuming means. What is in a page is the hub's business: pages may be
//! shorter than asked for, even empty, while others follow.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use fanfare_wire::query::{HEADER_CONTINUATION, HEADER_MAX_ITEM_COUNT, PAGE_ITEMS_MAX};
use futures_core::Stream;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::transport::{Call, Method, Page, Repeat};
use crate::{Error, HubClient};

/// Items of a list, fetched page by page as they are asked for. Nothing is sent before the first.
///
/// It is a [`Stream`], and has the same without any stream library:
///
/// ```no_run
/// # async fn example(queries: fanfare_client::QueryClient) -> Result<(), fanfare_client::Error> {
/// let mut twins = queries.twins("SELECT * FROM devices WHERE tags.floor = 3");
/// while let Some(twin) = twins.try_next().await? {
///     println!("{}", twin.device_id);
/// }
/// # Ok(())
/// # }
/// ```
///
/// An error does not end the list: asking again asks for the same page again.
pub struct Pager<T> {
    pages: Pages<T>,
    items: VecDeque<T>,
    /// What the page was asked for with, of which `items` are the rest.
    items_token: Option<String>,
}

/// Pages of a list, see [`Pager::pages`].
///
/// ```no_run
/// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
/// let mut pages = jobs.query_jobs(None, None).page_items(50).pages();
/// while let Some(page) = pages.try_next().await? {
///     println!("{} jobs, more: {}", page.items.len(), page.continuation.is_some());
/// }
/// # Ok(())
/// # }
/// ```
pub struct Pages<T> {
    source: Source,
    place: Place,
    /// The request that is under way. It stays here when whoever waits for it stops waiting.
    asked: Option<PageFuture<T>>,
    /// What a [`Pager`] had fetched and not handed out.
    left: Option<Page<T>>,
}

type PageFuture<T> = Pin<Box<dyn Future<Output = Result<Page<T>, Error>> + Send>>;

/// How far the pages have come.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Start,
    After(String),
    End,
}

impl Place {
    fn token(&self) -> Option<&str> {
        match self {
            Self::After(token) => Some(token),
            Self::Start | Self::End => None,
        }
    }
}

impl<T: DeserializeOwned + Send + 'static> Pager<T> {
    /// The list that `request` asks for.
    pub(crate) fn new(hub: HubClient, request: ListRequest) -> Self {
        let source = Source {
            hub,
            request: Arc::new(request),
            items_max: PAGE_ITEMS_MAX,
        };
        Self {
            pages: Pages {
                source,
                place: Place::Start,
                asked: None,
                left: None,
            },
            items: VecDeque::new(),
            items_token: None,
        }
    }

    /// Asks for at most `items` in a page, 1 to 1000; hubs give fewer when they want to. Default 1000. To be said
    /// before the first page, since a continuation belongs to its page size.
    ///
    /// ```no_run
    /// # fn example(jobs: fanfare_client::JobClient) {
    /// let newest = jobs.query_jobs(None, None).page_items(10);
    /// # }
    /// ```
    #[must_use]
    pub fn page_items(mut self, items: u32) -> Self {
        self.pages.source.items_max = items.clamp(1, PAGE_ITEMS_MAX);
        self
    }

    /// Begins at a [`Self::continuation`] of an earlier pager of the same list and page size, in place of the start.
    ///
    /// ```no_run
    /// # async fn example(queries: fanfare_client::QueryClient, kept: String) -> Result<(), fanfare_client::Error> {
    /// let mut twins = queries.twins("SELECT * FROM devices").resume(kept);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn resume(mut self, continuation: impl Into<String>) -> Self {
        self.pages.place = Place::After(continuation.into());
        self
    }

    /// Where to [`Self::resume`] so that no item is missed: the page of the next item. Items of that page which were
    /// handed out already come again. `None` on the first page and after the last item.
    ///
    /// ```no_run
    /// # async fn example(queries: fanfare_client::QueryClient) -> Result<(), fanfare_client::Error> {
    /// let mut twins = queries.twins("SELECT * FROM devices");
    /// while let Some(twin) = twins.try_next().await? {
    ///     println!("{}; to go on here: {:?}", twin.device_id, twins.continuation());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn continuation(&self) -> Option<&str> {
        if self.items.is_empty() {
            self.pages.continuation()
        } else {
            self.items_token.as_deref()
        }
    }

    /// The next item; `None` after the last. Safe to stop waiting for: nothing is lost.
    ///
    /// # Errors
    /// When a page cannot be had; asking again asks for the same page.
    ///
    /// ```no_run
    /// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
    /// let mut rows = jobs.device_jobs("lock-43");
    /// while let Some(row) = rows.try_next().await? {
    ///     println!("{} {}", row.device_id, row.status);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_next(&mut self) -> Result<Option<T>, Error> {
        poll_fn(|context| self.poll_item(context)).await
    }

    /// All items that are left. For lists that fit in memory.
    ///
    /// # Errors
    /// When a page cannot be had; the items before it are lost.
    ///
    /// ```no_run
    /// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
    /// println!("{} devices", jobs.device_jobs("lock-43").collect().await?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn collect(self) -> Result<Vec<T>, Error> {
        let mut pages = self.pages();
        let mut all = Vec::new();
        while let Some(mut page) = pages.try_next().await? {
            all.append(&mut page.items);
        }
        Ok(all)
    }

    /// The list as pages. Items that were fetched and not handed out are the first of them.
    ///
    /// ```no_run
    /// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
    /// let mut pages = jobs.device_jobs("lock-43").pages();
    /// while let Some(page) = pages.try_next().await? {
    ///     println!("{} rows; the next page is {:?}", page.items.len(), page.continuation);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn pages(self) -> Pages<T> {
        let mut pages = self.pages;
        if !self.items.is_empty() {
            pages.left = Some(Page {
                items: self.items.into(),
                continuation: pages.place.token().map(str::to_owned),
            });
        }
        pages
    }

    fn poll_item(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<T>, Error>> {
        while self.items.is_empty() {
            let token = self.pages.place.token().map(str::to_owned);
            match ready!(self.pages.poll_page(context))? {
                Some(page) => self.items = page.items.into(),
                None => return Poll::Ready(Ok(None)),
            }
            self.items_token = token;
        }
        Poll::Ready(Ok(self.items.pop_front()))
    }
}

impl<T: DeserializeOwned + Send + 'static> Pages<T> {
    /// Where to resume so that the next page comes first. `None` before the first page and after the last.
    ///
    /// ```no_run
    /// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
    /// let mut pages = jobs.query_jobs(None, None).pages();
    /// let newest = pages.try_next().await?;
    /// if let Some(token) = pages.continuation() {
    ///     let older = jobs.query_jobs(None, None).resume(token);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn continuation(&self) -> Option<&str> {
        self.place.token()
    }

    /// The next page, which may be empty though others follow; `None` after the last. Safe to stop waiting for.
    ///
    /// # Errors
    /// When the page cannot be had; asking again asks for the same page.
    ///
    /// ```no_run
    /// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
    /// let newest = jobs.query_jobs(None, None).page_items(10).pages().try_next().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_next(&mut self) -> Result<Option<Page<T>>, Error> {
        poll_fn(|context| self.poll_page(context)).await
    }

    fn poll_page(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Page<T>>, Error>> {
        if let Some(left) = self.left.take() {
            return Poll::Ready(Ok(Some(left)));
        }
        let asked = match &mut self.asked {
            Some(asked) => asked,
            None if self.place == Place::End => return Poll::Ready(Ok(None)),
            None => {
                let source = self.source.clone();
                let token = self.place.token().map(str::to_owned);
                let ask = async move { source.page(token.as_deref()).await };
                self.asked.insert(Box::pin(ask))
            }
        };
        let page = ready!(asked.as_mut().poll(context));
        self.asked = None;
        let page = page?;
        self.place = page.continuation.clone().map_or(Place::End, Place::After);
        Poll::Ready(Ok(Some(page)))
    }
}

// Items are moved, never pinned, whatever they are.
impl<T> Unpin for Pager<T> {}
impl<T> Unpin for Pages<T> {}

impl<T: DeserializeOwned + Send + 'static> Stream for Pager<T> {
    type Item = Result<T, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_item(context).map(Result::transpose)
    }
}

impl<T: DeserializeOwned + Send + 'static> Stream for Pages<T> {
    type Item = Result<Page<T>, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_page(context).map(Result::transpose)
    }
}

impl<T> fmt::Debug for Pager<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pager")
            .field("request", &self.pages.source.request)
            .field("items_fetched", &self.items.len())
            .field("place", &self.pages.place)
            .finish()
    }
}

impl<T> fmt::Debug for Pages<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages")
            .field("request", &self.source.request)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// What asks for a list; pages add their size and token in headers. compat: HTTP-11, HTTP-12
#[derive(Debug)]
pub(crate) enum ListRequest {
    /// `POST /devices/query`.
    Query(String),
    /// `GET` of a path, with parameters.
    Get(&'static str, Vec<(&'static str, String)>),
}

impl ListRequest {
    fn call<'h>(&self, hub: &'h HubClient) -> Call<'h> {
        match self {
            Self::Query(query) => hub
                .call(Method::POST, "/devices/query")
                .repeat(Repeat::Always)
                .json(&QueryBody { query }),
            Self::Get(path, parameters) => parameters
                .iter()
                .fold(hub.call(Method::GET, *path), |call, (name, value)| {
                    call.query(name, value)
                }),
        }
    }
}

#[derive(Serialize)]
struct QueryBody<'a> {
    query: &'a str,
}

/// Where pages come from.
#[derive(Clone)]
struct Source {
    hub: HubClient,
    request: Arc<ListRequest>,
    items_max: u32,
}

impl Source {
    async fn page<T: DeserializeOwned>(&self, token: Option<&str>) -> Result<Page<T>, Error> {
        let mut call = self
            .request
            .call(&self.hub)
            .header(HEADER_MAX_ITEM_COUNT, self.items_max.to_string());
        if let Some(token) = token {
            call = call.header(HEADER_CONTINUATION, token);
        }
        let reply = call.reply().await?;
        let list: List<T> = reply.read()?;
        let next = reply.header(HEADER_CONTINUATION).map(str::to_owned);
        let next = next.or(list.continuation).filter(|next| !next.is_empty());
        if list.items.is_empty() && next.is_some() && next.as_deref() == token {
            // It would go round in circles for ever, and nobody would see why.
            let fault = "an empty page whose continuation is its own";
            return Err(reply.unreadable(fault.into()));
        }
        Ok(Page {
            items: list.items,
            continuation: next,
        })
    }
}

/// The body of a page: an array, or the object that Python's SDK is given. compat: JOB-8
struct List<T> {
    items: Vec<T>,
    continuation: Option<String>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct ListVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of items, or an object with items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<List<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = array.next_element()? {
                    items.push(item);
                }
                Ok(List {
                    items,
                    continuation: None,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<List<T>, A::Error> {
                let mut items: Option<Vec<T>> = None;
                let mut continuation = None;
                while let Some(name) = object.next_key::<String>()? {
                    match name.as_str() {
                        "items" => items = Some(object.next_value()?),
                        "continuationToken" => continuation = object.next_value()?,
                        _ => {
                            let _: IgnoredAny = object.next_value()?;
                        }
                    }
                }
                let items = items.ok_or_else(|| serde::de::Error::missing_field("items"))?;
                Ok(List {
                    items,
                    continuation,
                })
            }
        }

        input.deserialize_any(ListVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(body: &str) -> Result<(Vec<u32>, Option<String>), serde_json::Error> {
        let list: List<u32> = serde_json::from_str(body)?;
        Ok((list.items, list.continuation))
    }

    #[test]
    fn a_page_is_an_array_or_an_object_with_items() {
        assert_eq!(list("[1,2]").unwrap(), (vec![1, 2], None));
        assert_eq!(list("[]").unwrap(), (vec![], None));
        let python = r#"{"type":"jobResponse","items":[1],"continuationToken":null}"#;
        assert_eq!(list(python).unwrap(), (vec![1], None));
        let more = r#"{"continuationToken":"t","items":[],"x":{"items":[9]}}"#;
        assert_eq!(list(more).unwrap(), (vec![], Some("t".to_owned())));
        for garbage in [
            "{}",
            "null",
            "7",
            "\"x\"",
            "[1,",
            r#"{"items":null}"#,
            r#"["x"]"#,
        ] {
            assert!(list(garbage).is_err(), "{garbage}");
        }
    }
}
