//! Import and export jobs: one row each; the hub's [`Transfer`] decides every move.

mod record;

use async_trait::async_trait;
use fanfare_hub::{
    ids::{JobId, Term},
    ports::{
        store::StoreError,
        transfers::{TransferCanceled, TransferStore},
    },
    time::Timestamp,
    transfers::{HasEnded, Transfer, TransferEnd, TransferNumber, TransferRequest, TransferState},
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use self::record::RequestRecord;
use super::{
    Embedded,
    core::{Writer, next_number, unavailable},
    shell::Lane,
};
use crate::record::corrupt;

#[async_trait]
impl TransferStore for Embedded {
    async fn transfer_insert(
        &self,
        id: JobId,
        request: TransferRequest,
        at: Timestamp,
        active_max: u32,
    ) -> Result<Option<Transfer>, StoreError> {
        let work = move |writer: &mut Writer<'_>| {
            if count_active(writer.db)? >= active_max {
                return Ok(None);
            }
            let number = next_number(writer.db, "transfer").map_err(unavailable)?;
            let job = Transfer::new(TransferNumber(number), id, request, at);
            put(writer.db, &job)?;
            Ok(Some(job))
        };
        self.shell.write(Lane::Interactive, 1, work).await
    }

    async fn transfer_get(&self, id: &JobId) -> Result<Option<Transfer>, StoreError> {
        let id = id.clone();
        self.shell.read(move |db| find(db, &id)).await
    }

    async fn transfer_list(&self, limit: u32) -> Result<Vec<Transfer>, StoreError> {
        self.shell.read(move |db| list(db, limit)).await
    }

    async fn transfer_next(&self) -> Result<Option<Transfer>, StoreError> {
        self.shell.read(|db| one(db, SELECT_NEXT, [])).await
    }

    async fn transfer_begin(
        &self,
        job: TransferNumber,
        term: Term,
        at: Timestamp,
    ) -> Result<Transfer, StoreError> {
        self.transfer_move(job, term, move |job| job.begin(at))
            .await
    }

    async fn transfer_progress(
        &self,
        job: TransferNumber,
        term: Term,
        percent: u8,
    ) -> Result<(), StoreError> {
        let moved = self.transfer_move(job, term, move |job| job.progress(percent));
        moved.await.map(drop)
    }

    async fn transfer_end(
        &self,
        job: TransferNumber,
        term: Term,
        end: TransferEnd,
        at: Timestamp,
    ) -> Result<Transfer, StoreError> {
        self.transfer_move(job, term, move |job| job.end(end, at))
            .await
    }

    async fn transfer_cancel(
        &self,
        id: &JobId,
        at: Timestamp,
    ) -> Result<TransferCanceled, StoreError> {
        let id = id.clone();
        let work = move |writer: &mut Writer<'_>| {
            let Some(mut job) = find(writer.db, &id)? else {
                return Ok(TransferCanceled::Absent);
            };
            if job.end(TransferEnd::Cancelled, at).is_err() {
                return Ok(TransferCanceled::TooLate(job));
            }
            put(writer.db, &job)?;
            Ok(TransferCanceled::Done(job))
        };
        self.shell.write(Lane::Interactive, 1, work).await
    }

    async fn transfer_expire(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        let work = move |writer: &mut Writer<'_>| {
            let mut delete = writer.db.prepare_cached(EXPIRE).map_err(unavailable)?;
            let removed = delete.execute((before.0, limit)).map_err(unavailable)?;
            Ok(removed as u32)
        };
        self.shell
            .write(Lane::Background, limit as usize, work)
            .await
    }
}

impl Embedded {
    /// Lets the runner of this term move a job; one that has ended stays as it is.
    async fn transfer_move(
        &self,
        job: TransferNumber,
        term: Term,
        change: impl FnOnce(&mut Transfer) -> Result<(), HasEnded> + Send + 'static,
    ) -> Result<Transfer, StoreError> {
        let work = move |writer: &mut Writer<'_>| {
            if term != writer.term {
                return Err(StoreError::Conflict);
            }
            let found = one(writer.db, SELECT_NUMBER, [job.0])?;
            let mut job = found
                .ok_or_else(|| StoreError::Absent(format!("import or export job {}", job.0)))?;
            if change(&mut job).is_ok() {
                put(writer.db, &job)?;
            }
            Ok(job)
        };
        self.shell.write(Lane::Background, 1, work).await
    }
}

const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const COMPLETED: u8 = 2;
const FAILED: u8 = 3;
const CANCELLED: u8 = 4;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT number, id, state, created, started, ended, percent, reason, record
             FROM transfer ",
            $rest
        )
    };
}

const SELECT_ID: &str = select!("WHERE id = ?1");
const SELECT_NUMBER: &str = select!("WHERE number = ?1");
const SELECT_NEXT: &str = select!("WHERE state < 2 ORDER BY number LIMIT 1");
const SELECT_NEWEST: &str = select!("ORDER BY number DESC LIMIT ?1");
const COUNT_ACTIVE: &str = "SELECT count(*) FROM transfer WHERE state < 2";
const PUT: &str = "INSERT OR REPLACE INTO transfer
     (number, id, state, created, started, ended, percent, reason, record)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
const EXPIRE: &str = "DELETE FROM transfer WHERE number IN (
         SELECT number FROM transfer WHERE state >= 2 AND ended < ?1 ORDER BY ended LIMIT ?2)";

fn count_active(db: &Connection) -> Result<u32, StoreError> {
    let mut count = db.prepare_cached(COUNT_ACTIVE).map_err(unavailable)?;
    count.query_row([], |row| row.get(0)).map_err(unavailable)
}

fn find(db: &Connection, id: &JobId) -> Result<Option<Transfer>, StoreError> {
    one(db, SELECT_ID, [id.as_str()])
}

fn one(
    db: &Connection,
    statement: &str,
    parameters: impl rusqlite::Params,
) -> Result<Option<Transfer>, StoreError> {
    let mut select = db.prepare_cached(statement).map_err(unavailable)?;
    let found = select
        .query_row(parameters, |row| Ok(read(row)))
        .optional()
        .map_err(unavailable)?;
    found.transpose()
}

fn list(db: &Connection, limit: u32) -> Result<Vec<Transfer>, StoreError> {
    let mut select = db.prepare_cached(SELECT_NEWEST).map_err(unavailable)?;
    let mut rows = select.query([limit]).map_err(unavailable)?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next().map_err(unavailable)? {
        jobs.push(read(row)?);
    }
    Ok(jobs)
}

fn put(db: &Connection, job: &Transfer) -> Result<(), StoreError> {
    let (state, ended, reason) = match &job.state {
        TransferState::Waiting => (WAITING, None, None),
        TransferState::Running => (RUNNING, None, None),
        TransferState::Ended { end, at } => match end {
            TransferEnd::Completed => (COMPLETED, Some(at.0), None),
            TransferEnd::Failed(reason) => (FAILED, Some(at.0), Some(reason)),
            TransferEnd::Cancelled => (CANCELLED, Some(at.0), None),
        },
    };
    let columns = params![
        job.number.0,
        job.id.as_str(),
        state,
        job.created.0,
        job.started.map(|at| at.0),
        ended,
        job.percent,
        reason,
        RequestRecord::new(&job.request).seal(),
    ];
    let mut put = db.prepare_cached(PUT).map_err(unavailable)?;
    put.execute(columns).map_err(unavailable)?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<Transfer, StoreError> {
    const WHAT: &str = "an import or export job";
    let at = |column| -> Result<Option<Timestamp>, StoreError> {
        let micros: Option<i64> = row.get(column).map_err(unavailable)?;
        Ok(micros.map(Timestamp))
    };
    let id: String = row.get(1).map_err(unavailable)?;
    let record: Vec<u8> = row.get(8).map_err(unavailable)?;
    let state: u8 = row.get(2).map_err(unavailable)?;
    let ended = |end| {
        let at = at(5)?.ok_or_else(|| corrupt(WHAT, "has ended at no time"))?;
        Ok(TransferState::Ended { end, at })
    };
    let state = match state {
        WAITING => TransferState::Waiting,
        RUNNING => TransferState::Running,
        COMPLETED => ended(TransferEnd::Completed)?,
        FAILED => {
            let reason: Option<String> = row.get(7).map_err(unavailable)?;
            ended(TransferEnd::Failed(reason.unwrap_or_default()))?
        }
        CANCELLED => ended(TransferEnd::Cancelled)?,
        _ => return Err(corrupt(WHAT, "has an unknown state")),
    };
    Ok(Transfer {
        number: TransferNumber(row.get(0).map_err(unavailable)?),
        id: JobId::parse(&id).map_err(|_| corrupt(WHAT, "has an id that is none"))?,
        request: RequestRecord::open(&record)?.into_request()?,
        created: at(3)?.ok_or_else(|| corrupt(WHAT, "was created at no time"))?,
        started: at(4)?,
        percent: row.get(6).map_err(unavailable)?,
        state,
    })
}
