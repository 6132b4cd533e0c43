//! Answers one page of a query: scans the store, evaluates, lays presence over, and names the place to
//! go on from.
//!
//! The language is [`crate::query`]. A page is one read that sees one moment; nothing is held between
//! pages but the place in the continuation.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    ids::{DeviceId, JobId, JobNumber, Ordinal, Space},
    jobs::row::RowDocument,
    limits,
    overlay::Present,
    ports::{
        Store, StoreError,
        store::{DeviceJobRow, DeviceJobScan, IdentityRow, IdentityScan},
    },
    presence::Presence,
    query::{Document, Query, QueryError, Selection, Source, Tally},
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
    /// JSON objects of a projection or a count.
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
    /// The store failed.
    #[error("the query could not be answered")]
    Store(#[source] StoreError),
}

/// Queries of a hub.
pub struct Queries {
    store: Arc<dyn Store>,
    presence: Arc<Presence>,
}

impl Queries {
    /// Over a store and the connections.
    pub fn new(store: Arc<dyn Store>, presence: Arc<Presence>) -> Self {
        Self { store, presence }
    }

    /// One page of a query.
    pub async fn page(&self, text: &str, request: PageRequest) -> Result<Page, PageError> {
        let query = Arc::new(Query::parse(text)?);
        let limit = request.limit.unwrap_or(limits::QUERY_PAGE_ITEMS_DEFAULT);
        let limit = limit.clamp(1, limits::QUERY_PAGE_ITEMS_MAX);
        let place = match request.continuation {
            None => Place::default(),
            Some(token) => Place::parse(&token, text).ok_or(PageError::Continuation)?,
        };
        let left = query
            .top()
            .map_or(u64::MAX, |top| top.saturating_sub(place.shown));
        let limit = u64::from(limit).min(left);
        let (rows, next) = match query.source() {
            Source::Devices => {
                self.identities(&query, Space::Devices, &place, limit)
                    .await?
            }
            Source::Modules => {
                self.identities(&query, Space::Modules, &place, limit)
                    .await?
            }
            Source::Jobs => self.device_jobs(&query, &place, limit).await?,
        };
        let next = next.filter(|next| query.top().is_none_or(|top| next.shown < top));
        Ok(Page {
            rows,
            continuation: next.map(|place| place.to_text(text)),
        })
    }

    async fn identities(
        &self,
        query: &Arc<Query>,
        space: Space,
        place: &Place,
        limit: u64,
    ) -> Result<(Rows, Option<Place>), PageError> {
        let Ok(after) = place.ordinal(space) else {
            return Err(PageError::Continuation);
        };
        let scan = IdentityScan {
            space,
            after,
            devices: device_ids(query.identity_ids()),
        };
        let found = Arc::new(Mutex::new(Found::new(query, limit)));
        let (shared, query) = (found.clone(), query.clone());
        let presence = self.presence.clone();
        let connected = presence.connected(space);
        let visit = move |row: &dyn IdentityRow| {
            let mut found = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let present = Present {
                row,
                connected: &connected,
                presence: &presence,
            };
            found.look(
                query.matches(&present),
                || (JobNumber(0), row.key().ordinal),
                &present,
                || {
                    let twin = row.twin()?;
                    let presence = presence.view(twin.identity.key);
                    Ok(Item::Twin(Box::new(TwinView { twin, presence })))
                },
            )
        };
        let scanned = self.store.identity_scan(scan, Box::new(visit)).await;
        scanned.map_err(PageError::Store)?;
        finish(&found, place)
    }

    async fn device_jobs(
        &self,
        query: &Arc<Query>,
        place: &Place,
        limit: u64,
    ) -> Result<(Rows, Option<Place>), PageError> {
        let jobs = query.job_ids().map(|ids| {
            ids.into_iter()
                .filter_map(|id| JobId::parse(id).ok())
                .collect()
        });
        let scan = DeviceJobScan {
            after: place.at,
            jobs,
            devices: device_ids(query.identity_ids()),
        };
        let found = Arc::new(Mutex::new(Found::new(query, limit)));
        let (shared, query) = (found.clone(), query.clone());
        let visit = move |row: DeviceJobRow| {
            let mut found = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let document = RowDocument::new(&row);
            let place = || (row.job.number, row.ordinal);
            found.look(query.matches(&document), place, &document, || {
                Ok(Item::DeviceJob(Box::new(row.clone())))
            })
        };
        let scanned = self.store.device_job_scan(scan, Box::new(visit)).await;
        scanned.map_err(PageError::Store)?;
        finish(&found, place)
    }
}

fn device_ids(ids: Option<Vec<&str>>) -> Option<Vec<DeviceId>> {
    // A text that is no device id names nobody.
    ids.map(|ids| {
        ids.into_iter()
            .filter_map(|id| DeviceId::parse(id).ok())
            .collect()
    })
}

fn finish(found: &Mutex<Found>, before: &Place) -> Result<(Rows, Option<Place>), PageError> {
    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = found.error.take() {
        return Err(PageError::Store(error));
    }
    let next = found.ended_early.then(|| Place {
        at: found.last,
        shown: before.shown + found.shown,
    });
    Ok((found.take_rows(), next))
}

/// What a scan has found so far.
struct Found {
    kind: Kind,
    limit: u64,
    scanned: u64,
    shown: u64,
    last: Option<(JobNumber, Ordinal)>,
    ended_early: bool,
    twins: Vec<TwinView>,
    raw: Vec<String>,
    device_jobs: Vec<DeviceJobRow>,
    error: Option<StoreError>,
}

enum Kind {
    Whole { jobs: bool },
    Projected(Arc<Query>),
    Counted(Tally),
}

enum Item {
    Twin(Box<TwinView>),
    DeviceJob(Box<DeviceJobRow>),
}

impl Found {
    fn new(query: &Arc<Query>, limit: u64) -> Self {
        let kind = match query.selection() {
            Selection::Document => Kind::Whole {
                jobs: query.source() == Source::Jobs,
            },
            Selection::Projection(_) => Kind::Projected(query.clone()),
            Selection::Counts(counts) => Kind::Counted(counts.tally()),
        };
        Self {
            kind,
            limit,
            scanned: 0,
            shown: 0,
            last: None,
            ended_early: false,
            twins: Vec::new(),
            raw: Vec::new(),
            device_jobs: Vec::new(),
            error: None,
        }
    }

    /// Looks at one row; breaks when the page is full, or long enough under way.
    fn look<D: Document>(
        &mut self,
        matches: bool,
        place: impl FnOnce() -> (JobNumber, Ordinal),
        document: &D,
        whole: impl FnOnce() -> Result<Item, StoreError>,
    ) -> ControlFlow<()> {
        if let Kind::Counted(tally) = &mut self.kind {
            if matches {
                tally.add(document);
            }
            return ControlFlow::Continue(());
        }
        let is_full = self.shown >= self.limit;
        if (matches && is_full) || self.scanned >= limits::QUERY_PAGE_ROWS_SCANNED_MAX {
            self.ended_early = true;
            return ControlFlow::Break(());
        }
        self.scanned += 1;
        self.last = Some(place());
        if !matches {
            return ControlFlow::Continue(());
        }
        self.shown += 1;
        match &self.kind {
            Kind::Projected(query) => {
                let mut row = Vec::new();
                if let Selection::Projection(projection) = query.selection() {
                    projection.write_row(document, &mut row);
                }
                self.raw.push(String::from_utf8_lossy(&row).into_owned());
            }
            Kind::Whole { .. } | Kind::Counted(_) => match whole() {
                Ok(Item::Twin(twin)) => self.twins.push(*twin),
                Ok(Item::DeviceJob(row)) => self.device_jobs.push(*row),
                Err(error) => {
                    self.error = Some(error);
                    return ControlFlow::Break(());
                }
            },
        }
        ControlFlow::Continue(())
    }

    fn take_rows(&mut self) -> Rows {
        match &self.kind {
            Kind::Whole { jobs: false } => Rows::Twins(std::mem::take(&mut self.twins)),
            Kind::Whole { jobs: true } => Rows::DeviceJobs(std::mem::take(&mut self.device_jobs)),
            Kind::Projected(_) => Rows::Raw(std::mem::take(&mut self.raw)),
            Kind::Counted(tally) => {
                let mut row = Vec::new();
                tally.write_row(&mut row);
                Rows::Raw(vec![String::from_utf8_lossy(&row).into_owned()])
            }
        }
    }
}

/// The last row looked at, and how many were shown before the next page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Place {
    at: Option<(JobNumber, Ordinal)>,
    shown: u64,
}

impl Place {
    /// The ordinal to go on from in a space of identities, where no job belongs in the place.
    fn ordinal(&self, _space: Space) -> Result<Option<Ordinal>, ()> {
        match self.at {
            None => Ok(None),
            Some((JobNumber(0), ordinal)) => Ok(Some(ordinal)),
            Some(_) => Err(()),
        }
    }

    fn to_text(self, query: &str) -> String {
        let (job, ordinal) = self.at.unwrap_or((JobNumber(0), 0));
        let mut bytes = Vec::with_capacity(28);
        bytes.extend_from_slice(&fingerprint(query).to_be_bytes());
        bytes.extend_from_slice(&job.0.to_be_bytes());
        bytes.extend_from_slice(&ordinal.to_be_bytes());
        bytes.extend_from_slice(&self.shown.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn parse(token: &str, query: &str) -> Option<Self> {
        let bytes: [u8; 28] = URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
        let number = |at: usize| bytes[at..at + 8].try_into().map(u64::from_be_bytes).ok();
        let ordinal = u32::from_be_bytes(bytes[16..20].try_into().ok()?);
        let at = Some((JobNumber(number(8)?), ordinal));
        (number(0)? == fingerprint(query)).then_some(Self {
            at,
            shown: number(20)?,
        })
    }
}

/// Binds a continuation to its query; not a secret.
fn fingerprint(query: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    query.trim().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continuation_belongs_to_its_query() {
        let place = Place {
            at: Some((JobNumber(7), 9)),
            shown: 3,
        };
        let token = place.to_text("SELECT * FROM devices.jobs");
        assert_eq!(
            Place::parse(&token, "SELECT * FROM devices.jobs"),
            Some(place)
        );
        assert_eq!(Place::parse(&token, "SELECT * FROM devices"), None);
        for bad in ["", "tok1", "AAAA", &token[1..]] {
            assert_eq!(Place::parse(bad, "SELECT * FROM devices.jobs"), None);
        }
        assert!(place.ordinal(Space::Devices).is_err());
    }
}
