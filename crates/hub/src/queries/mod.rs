//! Answers one page of a query: scans the store, evaluates, lays presence over, and names the place to
//! go on from.
//!
//! The language is [`crate::query`]. A page is one read that sees one moment; nothing is held between
//! pages but the place in the continuation, so that pages cost no memory and survive a restart.
//!
//! - Rows in the order of the store ([`plain`]): the scan goes on where it stopped. Whoever exists and
//!   matches throughout is shown exactly once, whatever changes meanwhile. compat: QUERY-31
//! - Rows under ORDER BY ([`ordered`]) and groups ([`grouped`]): each page is a scan of everything that
//!   keeps the best of what comes after the place. Memory is that of a page; a place is a rank, not a
//!   row, so it survives the row it was taken from.

mod continuation;
mod grouped;
mod ordered;
mod plain;
#[cfg(test)]
mod tests;

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
};

use self::{
    continuation::{Continuation, Place},
    grouped::Grouped,
    ordered::Ordered,
    plain::Plain,
};
use crate::{
    ids::{DeviceId, JobId, JobNumber, Ordinal, Space},
    jobs::{ledger::Outcome, row::RowDocument},
    limits,
    overlay::Present,
    ports::{
        Store, StoreError,
        store::{DeviceJobRow, DeviceJobScan, DeviceJobState, IdentityRow, IdentityScan},
    },
    presence::Presence,
    query::{Document, Path, Query, QueryError, Section, Selection, Source},
    twin::TwinView,
};

/// Which page.
#[derive(Debug, Clone, Default)]
pub struct PageRequest {
    /// Items wanted; outside 1 to 1,000 is clamped, absent is 100.
    pub limit: Option<u32>,
    /// The continuation of the page before.
    pub continuation: Option<String>,
}

/// One page.
#[derive(Debug)]
pub struct Page {
    /// Its items.
    pub rows: Rows,
    /// Where the next page begins; absent on the last one.
    pub continuation: Option<String>,
}

/// The items of a page.
#[derive(Debug)]
pub enum Rows {
    /// Whole twins.
    Twins(Vec<TwinView>),
    /// JSON objects of a projection or of groups.
    Raw(Vec<String>),
    /// Rows of `devices.jobs`.
    DeviceJobs(Vec<DeviceJobRow>),
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The text cannot be read as a query.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The continuation is not one of ours, or belongs to another query.
    #[error("the continuation token does not belong to this query")]
    Continuation,
    /// The query asks for more than one page may cost. Another query is needed.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
    /// The store failed.
    #[error("the query could not be answered")]
    Store(#[source] StoreError),
}

/// What a query asks too much of. Only queries that have to see everything at once can. compat: QUERY-33
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// Rows to look at before the first result.
    #[error(
        "ORDER BY, GROUP BY, DISTINCT and aggregates look at no more than {} rows, narrow them by deviceId or jobId",
        limits::QUERY_WHOLE_ROWS_SCANNED_MAX
    )]
    Rows,
    /// Groups to hold until their order is known.
    #[error(
        "ORDER BY an aggregate takes no more than {} groups, the query has more",
        limits::QUERY_GROUPS_HELD_MAX
    )]
    Groups,
    /// Bytes of these groups.
    #[error(
        "ORDER BY an aggregate takes no more than {} bytes of groups, the query has more",
        limits::QUERY_HELD_BYTES_MAX
    )]
    GroupBytes,
}

/// Queries of a hub.
pub struct Queries {
    store: Arc<dyn Store>,
    presence: Arc<Presence>,
}

/// What a page may show and where it begins.
struct Frame {
    query: Arc<Query>,
    place: Place,
    /// Items at most.
    limit: usize,
    /// Bytes of items at most, about.
    bytes_max: usize,
}

/// What a page holds and where the next begins.
struct Filled {
    rows: Rows,
    next: Option<Place>,
}

impl Queries {
    /// Over a store and the connections.
    pub fn new(store: Arc<dyn Store>, presence: Arc<Presence>) -> Self {
        Self { store, presence }
    }

    /// One page of a query.
    ///
    /// Errors: a text that is no query, a continuation of another query, too much to hold or to look
    /// at, a store that fails.
    pub async fn page(&self, text: &str, request: PageRequest) -> Result<Page, PageError> {
        let query = Arc::new(Query::parse(text)?);
        let limit = request.limit.unwrap_or(limits::QUERY_PAGE_ITEMS_DEFAULT);
        let limit = limit.clamp(1, limits::QUERY_PAGE_ITEMS_MAX);
        let Continuation { place, shown } = match request.continuation {
            None => Continuation::default(),
            Some(token) => Continuation::parse(&token, &query).ok_or(PageError::Continuation)?,
        };
        let left = query
            .top()
            .map_or(u64::MAX, |top| top.saturating_sub(shown));
        let limit = u64::from(limit).min(left) as usize;
        let frame = Frame {
            query: query.clone(),
            place,
            limit,
            bytes_max: limits::QUERY_HELD_BYTES_MAX,
        };
        let Filled { rows, next } = self.fill(frame).await?;
        let shown = shown.saturating_add(rows.len() as u64);
        let next = next.filter(|_| query.top().is_none_or(|top| shown < top));
        let continuation = next.map(|place| Continuation { place, shown }.to_text(&query));
        Ok(Page { rows, continuation })
    }

    async fn fill(&self, frame: Frame) -> Result<Filled, PageError> {
        let query = frame.query.clone();
        match query.selection() {
            Selection::Groups(groups) => {
                let grouped = Grouped::new(&frame, groups.clone())?;
                self.scan(&query, Stretch::all(&query), grouped)
                    .await?
                    .finish()
            }
            _ if query.order().is_empty() => {
                let plain = Plain::new(&frame)?;
                let stretch = Stretch {
                    after: plain.after(),
                    ..Stretch::all(&query)
                };
                self.scan(&query, stretch, plain).await?.finish()
            }
            Selection::Document | Selection::Projection(_) => {
                let ordered = Ordered::new(&frame)?;
                let ordered = self.scan(&query, Stretch::all(&query), ordered).await?;
                ordered.finish(self).await
            }
        }
    }

    /// Shows `collector` every row of a stretch, until it breaks. When the caller goes away, the scan
    /// ends.
    async fn scan<C: Collect>(
        &self,
        query: &Arc<Query>,
        stretch: Stretch,
        collector: C,
    ) -> Result<C, PageError> {
        let shared = Arc::new(Mutex::new(Some(collector)));
        let look = Look {
            query: query.clone(),
            shared: shared.clone(),
        };
        let scanned = match query.source() {
            Source::Devices => self.identities(look, Space::Devices, stretch).await,
            Source::Modules => self.identities(look, Space::Modules, stretch).await,
            Source::Jobs => self.device_jobs(look, stretch).await,
        };
        scanned.map_err(PageError::Store)?;
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(shared.take().expect("the collector is taken once"))
    }

    async fn identities<C: Collect>(
        &self,
        look: Look<C>,
        space: Space,
        stretch: Stretch,
    ) -> Result<(), StoreError> {
        let scan = IdentityScan {
            space,
            after: stretch.after.map(|(_, ordinal)| ordinal),
            devices: stretch.devices,
        };
        let presence = self.presence.clone();
        let connected = presence.connected(space);
        let visit = move |row: &dyn IdentityRow| {
            let present = Present {
                row,
                connected: &connected,
                presence: &presence,
            };
            let matches = look.query.matches(&present);
            look.show(Row {
                matches,
                document: &present,
                place: (JobNumber(0), row.key().ordinal),
                whole: Whole::Identity {
                    row,
                    presence: &presence,
                },
            })
        };
        self.store.identity_scan(scan, Box::new(visit)).await
    }

    async fn device_jobs<C: Collect>(
        &self,
        look: Look<C>,
        stretch: Stretch,
    ) -> Result<(), StoreError> {
        let jobs = look.query.job_ids().map(|ids| {
            ids.into_iter()
                .filter_map(|id| JobId::parse(id).ok())
                .collect()
        });
        let scan = DeviceJobScan {
            after: stretch.after,
            jobs,
            devices: stretch.devices,
        };
        let visit = move |row: DeviceJobRow| {
            let document = RowDocument::new(&row);
            let matches = look.query.matches(&document);
            look.show(Row {
                matches,
                document: &document,
                place: (row.job.number, row.ordinal),
                whole: Whole::DeviceJob(&row),
            })
        };
        self.store.device_job_scan(scan, Box::new(visit)).await
    }
}

impl Rows {
    fn len(&self) -> usize {
        match self {
            Rows::Twins(rows) => rows.len(),
            Rows::Raw(rows) => rows.len(),
            Rows::DeviceJobs(rows) => rows.len(),
        }
    }
}

/// What a scan has to show.
struct Stretch {
    /// Only what comes after this place.
    after: Option<(JobNumber, Ordinal)>,
    /// Only these devices.
    devices: Option<Vec<DeviceId>>,
}

impl Stretch {
    /// Everything that may belong to a query.
    fn all(query: &Query) -> Self {
        // A text that is no device id names nobody.
        let devices = query.identity_ids().map(|ids| {
            ids.into_iter()
                .filter_map(|id| DeviceId::parse(id).ok())
                .collect()
        });
        Self {
            after: None,
            devices,
        }
    }
}

/// Makes a page out of the rows of a scan.
trait Collect: Send + 'static {
    /// Looks at a row; breaks when it needs no more.
    fn look(&mut self, row: &Row<'_>) -> ControlFlow<()>;
}

/// A row of a scan.
struct Row<'a> {
    /// Whether it belongs to the result.
    matches: bool,
    document: &'a dyn Document,
    /// Its place in the order of the store; of identities, which have no job, in job 0.
    place: (JobNumber, Ordinal),
    whole: Whole<'a>,
}

/// What `*` shows of a row.
enum Whole<'a> {
    Identity {
        row: &'a dyn IdentityRow,
        presence: &'a Presence,
    },
    DeviceJob(&'a DeviceJobRow),
}

/// The half of a scan that runs where the store reads.
struct Look<C> {
    query: Arc<Query>,
    shared: Arc<Mutex<Option<C>>>,
}

impl<C: Collect> Look<C> {
    fn show(&self, row: Row<'_>) -> ControlFlow<()> {
        // Whoever asked holds the other one.
        if Arc::strong_count(&self.shared) == 1 {
            return ControlFlow::Break(());
        }
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *shared {
            Some(collector) => collector.look(&row),
            None => ControlFlow::Break(()),
        }
    }
}

/// Counts rows that a query has to see before it can show anything.
#[derive(Default)]
struct WholeScan {
    rows: u64,
}

impl WholeScan {
    fn next(&mut self) -> Result<(), TooMuch> {
        self.rows += 1;
        if self.rows > limits::QUERY_WHOLE_ROWS_SCANNED_MAX {
            return Err(TooMuch::Rows);
        }
        Ok(())
    }
}

/// Bytes of a row that may be many.
fn payload_bytes(row: &DeviceJobRow) -> usize {
    match &row.state {
        DeviceJobState::Ended(Outcome::Answered {
            payload: Some(payload),
            ..
        }) => payload.as_str().len(),
        _ => 0,
    }
}

/// Bytes that a twin shows in its sections, metadata included: more than all else of it.
fn twin_bytes(row: &dyn Document) -> usize {
    let mut text = Vec::new();
    for section in [Section::Tags, Section::Desired, Section::Reported] {
        let path = Path::Section(section, Box::default());
        row.value(&path).write_json(&mut text);
    }
    text.len()
}

fn text_of(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut row = Vec::new();
    write(&mut row);
    String::from_utf8(row).expect("rows are written as JSON, which is UTF-8")
}
