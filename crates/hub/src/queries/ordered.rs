//! Rows under ORDER BY: one scan of everything keeps the best rows behind the place.
//!
//! A row's rank is what it is ordered by and then its place in the store, so no two are equal. Of twins
//! only ranks are kept during the scan; the few that make the page are read once it is known. Whoever
//! changed between the two reads is treated as if the change had come between two pages.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::Arc,
};

use super::{
    Collect, Filled, Frame, PageError, Place, Queries, Row, Rows, Stretch, TooMuch, Whole,
    WholeScan, continuation::push_place, payload_bytes, text_of, twin_bytes,
};
use crate::{
    ids::{DeviceId, Ordinal},
    ports::{
        StoreError,
        store::{DeviceJobRow, Keys},
    },
    query::{OrderBy, Path, Query, Ranking, RootField, Selection, Source, Value},
    twin::TwinView,
};

/// The best rows so far.
pub(super) struct Ordered {
    query: Arc<Query>,
    ranking: Ranking,
    after: Option<Rank>,
    limit: usize,
    bytes_max: usize,
    kept: ByRank<Kept>,
    bytes: usize,
    has_more: bool,
    scan: WholeScan,
    fault: Option<TooMuch>,
    /// The rank of the row being looked at.
    rank: Vec<u8>,
}

type Rank = Box<[u8]>;
type ByRank<T> = BTreeMap<Rank, T>;

/// What is kept of a row.
enum Kept {
    Raw(String),
    DeviceJob(Box<DeviceJobRow>),
    /// Enough to find it again.
    Twin(Ordinal, String),
}

impl Kept {
    fn bytes(&self) -> usize {
        match self {
            Kept::Raw(text) => text.len(),
            Kept::DeviceJob(row) => payload_bytes(row),
            Kept::Twin(..) => 0,
        }
    }
}

impl Ordered {
    pub(super) fn new(frame: &Frame) -> Result<Self, PageError> {
        Ok(Self {
            query: frame.query.clone(),
            ranking: frame.query.ranking(),
            after: frame.place.rank()?,
            limit: frame.limit,
            bytes_max: frame.bytes_max,
            kept: BTreeMap::new(),
            bytes: 0,
            has_more: false,
            scan: WholeScan::default(),
            fault: None,
            rank: Vec::new(),
        })
    }

    /// The page; whole twins are read by and by.
    pub(super) async fn finish(self, queries: &Queries) -> Result<Filled, PageError> {
        let query = self.query.clone();
        if query.selection() != &Selection::Document || query.source() == Source::Jobs {
            return self.filled();
        }
        let (ranking, bytes_max) = (self.ranking.clone(), self.bytes_max);
        let (kept, last) = self.settle()?;
        let chosen = Chosen::new(ranking, kept.into_values(), last, bytes_max);
        chosen.read(queries, &query).await
    }

    /// The page, of rows that were kept as they are shown.
    pub(super) fn filled(self) -> Result<Filled, PageError> {
        let is_raw = self.query.selection() != &Selection::Document;
        let (kept, last) = self.settle()?;
        let (mut raw, mut device_jobs) = (Vec::new(), Vec::new());
        for kept in kept.into_values() {
            match kept {
                Kept::Raw(text) => raw.push(text),
                Kept::DeviceJob(row) => device_jobs.push(*row),
                Kept::Twin(..) => {}
            }
        }
        Ok(Filled {
            rows: if is_raw {
                Rows::Raw(raw)
            } else {
                Rows::DeviceJobs(device_jobs)
            },
            next: last.map(Place::Rank),
        })
    }

    /// The rows of the page by their rank, and the last rank if more follow.
    fn settle(self) -> Result<(ByRank<Kept>, Option<Rank>), PageError> {
        if let Some(fault) = self.fault {
            return Err(fault.into());
        }
        let last = self.kept.last_key_value().map(|(rank, _)| rank.clone());
        Ok((self.kept, last.filter(|_| self.has_more)))
    }

    fn keep(&mut self, row: &Row<'_>) {
        let kept = match (self.query.selection(), &row.whole) {
            (Selection::Projection(projection), _) => {
                Kept::Raw(text_of(|out| projection.write_row(row.document, out)))
            }
            (_, Whole::DeviceJob(row)) => Kept::DeviceJob(Box::new((*row).clone())),
            (_, Whole::Identity { row, .. }) => {
                let name = match row.value(&Path::Field(RootField::DeviceId)) {
                    Value::String(name) => name.into_owned(),
                    _ => String::new(),
                };
                Kept::Twin(row.key().ordinal, name)
            }
        };
        self.bytes += kept.bytes();
        self.kept.insert(self.rank.as_slice().into(), kept);
        // A page of very large rows is shorter than asked for.
        let is_over = |page: &Self| {
            page.kept.len() > page.limit || (page.bytes > page.bytes_max && page.kept.len() > 1)
        };
        while is_over(self) {
            if let Some((_, worst)) = self.kept.pop_last() {
                self.bytes -= worst.bytes();
            }
            self.limit = self.limit.min(self.kept.len());
            self.has_more = true;
        }
    }
}

impl Collect for Ordered {
    fn look(&mut self, row: &Row<'_>) -> ControlFlow<()> {
        if let Err(fault) = self.scan.next() {
            self.fault = Some(fault);
            return ControlFlow::Break(());
        }
        if self.limit == 0 {
            return ControlFlow::Break(());
        }
        if !row.matches {
            return ControlFlow::Continue(());
        }
        write_rank(&self.ranking, row, &mut self.rank);
        if self
            .after
            .as_deref()
            .is_some_and(|after| *self.rank <= *after)
        {
            return ControlFlow::Continue(());
        }
        let is_full = self.kept.len() >= self.limit;
        let worst = self.kept.last_key_value().map(|(rank, _)| &**rank);
        if is_full && worst.is_some_and(|worst| *self.rank > *worst) {
            self.has_more = true;
        } else {
            self.keep(row);
        }
        ControlFlow::Continue(())
    }
}

fn write_rank(ranking: &Ranking, row: &Row<'_>, rank: &mut Vec<u8>) {
    rank.clear();
    let value_of = |by: &OrderBy| match by {
        OrderBy::Path(path) => row.document.value(path),
        OrderBy::Aggregate(_) => Value::Undefined,
    };
    ranking.write(value_of, rank);
    push_place(row.place, rank);
}

/// The twins of a page, read once it is known which they are.
struct Chosen {
    ranking: Ranking,
    ordinals: BTreeSet<Ordinal>,
    devices: Vec<DeviceId>,
    /// The end of the page, if another follows.
    last: Option<Rank>,
    /// With their bytes.
    twins: ByRank<(usize, TwinView)>,
    bytes: usize,
    bytes_max: usize,
    error: Option<StoreError>,
    rank: Vec<u8>,
}

impl Chosen {
    fn new(
        ranking: Ranking,
        kept: impl Iterator<Item = Kept>,
        last: Option<Rank>,
        bytes_max: usize,
    ) -> Self {
        let (mut ordinals, mut devices) = (BTreeSet::new(), Vec::new());
        for kept in kept {
            if let Kept::Twin(ordinal, name) = kept {
                ordinals.insert(ordinal);
                devices.extend(DeviceId::parse(&name));
            }
        }
        Self {
            ranking,
            ordinals,
            devices,
            last,
            twins: BTreeMap::new(),
            bytes: 0,
            bytes_max,
            error: None,
            rank: Vec::new(),
        }
    }

    async fn read(self, queries: &Queries, query: &Arc<Query>) -> Result<Filled, PageError> {
        if self.ordinals.is_empty() {
            return Ok(self.filled());
        }
        let stretch = Stretch {
            after: None,
            devices: Some(self.devices.clone()),
        };
        let chosen = queries.scan(query, stretch, self).await?;
        match chosen.error {
            Some(error) => Err(PageError::Store(error)),
            None => Ok(chosen.filled()),
        }
    }

    fn filled(self) -> Filled {
        let twins = self.twins.into_values().map(|(_, twin)| twin);
        Filled {
            rows: Rows::Twins(twins.collect()),
            next: self.last.map(Place::Rank),
        }
    }

    /// A page of very large twins is shorter than asked for.
    fn keep(&mut self, bytes: usize, twin: TwinView) {
        self.bytes += bytes;
        let rank = self.rank.as_slice().into();
        self.twins.insert(rank, (bytes, twin));
        while self.bytes > self.bytes_max && self.twins.len() > 1 {
            if let Some((_, (bytes, _))) = self.twins.pop_last() {
                self.bytes -= bytes;
            }
            let last = self.twins.last_key_value();
            self.last = last.map(|(rank, _)| rank.clone());
        }
    }
}

impl Collect for Chosen {
    fn look(&mut self, row: &Row<'_>) -> ControlFlow<()> {
        let Whole::Identity {
            row: whole,
            presence,
        } = row.whole
        else {
            return ControlFlow::Continue(());
        };
        if !row.matches || !self.ordinals.contains(&whole.key().ordinal) {
            return ControlFlow::Continue(());
        }
        write_rank(&self.ranking, row, &mut self.rank);
        // It moved behind this page meanwhile, where a later one meets it.
        if self.last.as_deref().is_some_and(|last| *self.rank > *last) {
            return ControlFlow::Continue(());
        }
        match whole.twin(Keys::Withheld) {
            Ok(twin) => {
                let presence = presence.view(twin.identity.key);
                self.keep(twin_bytes(row.document), TwinView { twin, presence });
                ControlFlow::Continue(())
            }
            Err(error) => {
                self.error = Some(error);
                ControlFlow::Break(())
            }
        }
    }
}
