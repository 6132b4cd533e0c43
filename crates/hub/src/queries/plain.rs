//! Rows in the order of the store: the scan itself is the order, and a page is a stretch of it.

use std::{ops::ControlFlow, sync::Arc};

use super::{
    Collect, Filled, Frame, PageError, Place, Row, Rows, Whole, payload_bytes, text_of, twin_bytes,
};
use crate::{
    ids::{JobNumber, Ordinal},
    limits,
    ports::{StoreError, store::Keys},
    query::{Query, Selection, Source},
    twin::TwinView,
};

/// What a scan has found so far.
pub(super) struct Plain {
    query: Arc<Query>,
    limit: usize,
    bytes_max: usize,
    scanned: u64,
    bytes: usize,
    last: Option<(JobNumber, Ordinal)>,
    ended_early: bool,
    rows: Rows,
    error: Option<StoreError>,
}

impl Plain {
    pub(super) fn new(frame: &Frame) -> Result<Self, PageError> {
        let query = frame.query.clone();
        let last = match (&frame.place, query.source()) {
            (Place::Start, _) => None,
            (Place::Row(job, ordinal), Source::Jobs) => Some((*job, *ordinal)),
            (Place::Row(JobNumber(0), ordinal), _) => Some((JobNumber(0), *ordinal)),
            (Place::Row(..) | Place::Rank(_), _) => return Err(PageError::Continuation),
        };
        let rows = match (query.selection(), query.source()) {
            (Selection::Document, Source::Jobs) => Rows::DeviceJobs(Vec::new()),
            (Selection::Document, _) => Rows::Twins(Vec::new()),
            _ => Rows::Raw(Vec::new()),
        };
        Ok(Self {
            query,
            limit: frame.limit,
            bytes_max: frame.bytes_max,
            scanned: 0,
            bytes: 0,
            last,
            ended_early: false,
            rows,
            error: None,
        })
    }

    /// Where the scan begins.
    pub(super) fn after(&self) -> Option<(JobNumber, Ordinal)> {
        self.last
    }

    pub(super) fn finish(mut self) -> Result<Filled, PageError> {
        if let Some(error) = self.error.take() {
            return Err(PageError::Store(error));
        }
        let next = self.last.filter(|_| self.ended_early);
        Ok(Filled {
            rows: self.rows,
            next: next.map(|(job, ordinal)| Place::Row(job, ordinal)),
        })
    }

    fn keep(&mut self, row: &Row<'_>) -> Result<(), StoreError> {
        match (&mut self.rows, &row.whole) {
            (Rows::Raw(rows), _) => {
                if let Selection::Projection(projection) = self.query.selection() {
                    let text = text_of(|out| projection.write_row(row.document, out));
                    self.bytes += text.len();
                    rows.push(text);
                }
            }
            (Rows::Twins(rows), Whole::Identity { row, presence }) => {
                self.bytes += twin_bytes(*row);
                let twin = row.twin(Keys::Withheld)?;
                let presence = presence.view(twin.identity.key);
                rows.push(TwinView { twin, presence });
            }
            (Rows::DeviceJobs(rows), Whole::DeviceJob(row)) => {
                self.bytes += payload_bytes(row);
                rows.push((*row).clone());
            }
            (Rows::Twins(_) | Rows::DeviceJobs(_), _) => {}
        }
        Ok(())
    }
}

impl Collect for Plain {
    /// Breaks when the page is full, or long enough under way.
    fn look(&mut self, row: &Row<'_>) -> ControlFlow<()> {
        let is_full = self.rows.len() >= self.limit || self.bytes >= self.bytes_max;
        if (row.matches && is_full) || self.scanned >= limits::QUERY_PAGE_ROWS_SCANNED_MAX {
            self.ended_early = true;
            return ControlFlow::Break(());
        }
        self.scanned += 1;
        self.last = Some(row.place);
        if row.matches
            && let Err(error) = self.keep(row)
        {
            self.error = Some(error);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}
