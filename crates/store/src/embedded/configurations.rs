//! Configurations, what they gave to identities, and the marks of those that changed since.
//!
//! The marks are left by triggers (`migrations/embedded/0002_configurations.sql`), so no other aggregate
//! knows of them. What a twin has to become is the hub's ([`Assignment`]); here it is brought there in one
//! transaction with the record beside it.

mod assign;
mod record;

use async_trait::async_trait;
use fanfare_hub::{
    configurations::{
        Applied, Configuration, ConfigurationId, ConfigurationNumber, ConfigurationResults,
        ConfigurationStatus, content::Settings,
    },
    ids::{Etag, IdentityId, IdentityKey, Ordinal, Space, Term},
    limits,
    ports::{
        configurations::{
            AssignmentItem, AssignmentsApplied, ConfigurationPut, ConfigurationRefused,
            ConfigurationStore, ContentRefused, DirtyMark, TwinWritten,
        },
        store::StoreError,
    },
    registry::Precondition,
    time::Timestamp,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use self::record::{pack_results, pack_settings, unpack_applied, unpack_results, unpack_settings};
use super::{
    Embedded,
    core::{Writer, next_number, unavailable},
    rows::{identity_key, row_key, space_keys},
    shell::Lane,
};
use crate::record::corrupt;

#[async_trait]
impl ConfigurationStore for Embedded {
    async fn configuration_put(
        &self,
        put: ConfigurationPut,
        at: Timestamp,
    ) -> Result<Result<Configuration, ConfigurationRefused>, StoreError> {
        let work = move |writer: &mut Writer<'_>| write(writer.db, put, at);
        self.shell.write(Lane::Interactive, 1, work).await
    }

    async fn configuration_delete(
        &self,
        id: &ConfigurationId,
        matches: Option<Etag>,
    ) -> Result<Result<(), ConfigurationRefused>, StoreError> {
        let id = id.clone();
        let work = move |writer: &mut Writer<'_>| delete(writer.db, &id, matches);
        self.shell.write(Lane::Interactive, 1, work).await
    }

    async fn configuration_get(
        &self,
        id: &ConfigurationId,
    ) -> Result<Option<Configuration>, StoreError> {
        let id = id.clone();
        self.shell.read(move |db| find(db, &id)).await
    }

    async fn configuration_list(&self, limit: u32) -> Result<Vec<Configuration>, StoreError> {
        self.shell.read(move |db| list(db, limit)).await
    }

    async fn configuration_results_put(
        &self,
        results: Vec<(ConfigurationNumber, ConfigurationResults)>,
    ) -> Result<(), StoreError> {
        let known = self.shell.read(read_results).await?;
        let packed = results
            .iter()
            .map(|(number, results)| (number.0, pack_results(results)));
        let moved: Vec<_> = packed.filter(|result| !known.contains(result)).collect();
        if moved.is_empty() {
            return Ok(());
        }
        let work = move |writer: &mut Writer<'_>| write_results(writer.db, &moved);
        self.shell.write(Lane::Background, 1, work).await
    }

    async fn configuration_assign(
        &self,
        term: Term,
        space: Space,
        items: Vec<AssignmentItem>,
        at: Timestamp,
    ) -> Result<AssignmentsApplied, StoreError> {
        debug_assert!(
            items.len() <= limits::TWIN_PAGE_DEVICES,
            "pages are bounded"
        );
        let rows = 2 * items.len();
        let work = move |writer: &mut Writer<'_>| {
            if term != writer.term {
                return Err(StoreError::Conflict);
            }
            assign::assign(writer, space, &items, at)
        };
        self.shell.write(Lane::Background, rows, work).await
    }

    async fn configuration_applied(
        &self,
        space: Space,
        after: Option<Ordinal>,
        limit: usize,
    ) -> Result<Vec<(Ordinal, Applied)>, StoreError> {
        self.shell
            .read(move |db| read_applied(db, space, after, limit))
            .await
    }

    async fn configuration_applied_to(
        &self,
        keys: Vec<IdentityKey>,
    ) -> Result<Vec<(IdentityKey, Applied)>, StoreError> {
        self.shell
            .read(move |db| {
                let applied = |key: &IdentityKey| {
                    let found = applied_to(db, row_key(*key))?;
                    Ok(found.map(|applied| (*key, applied)))
                };
                keys.iter()
                    .filter_map(|key| applied(key).transpose())
                    .collect()
            })
            .await
    }

    async fn configuration_dirty(&self, limit: usize) -> Result<Vec<DirtyMark>, StoreError> {
        self.shell.read(move |db| read_marks(db, limit)).await
    }

    async fn configuration_clean(&self, marks: Vec<DirtyMark>) -> Result<(), StoreError> {
        let rows = marks.len();
        let work = move |writer: &mut Writer<'_>| remove_marks(writer.db, &marks);
        self.shell.write(Lane::Background, rows, work).await
    }

    async fn configuration_content_apply(
        &self,
        parts: Vec<(IdentityId, Settings)>,
        at: Timestamp,
    ) -> Result<Result<Vec<TwinWritten>, ContentRefused>, StoreError> {
        let rows = parts.len();
        let work = move |writer: &mut Writer<'_>| assign::apply_content(writer, &parts, at);
        self.shell.write(Lane::Interactive, rows, work).await
    }
}

const WHAT: &str = "a configuration row";

macro_rules! columns {
    () => {
        "number, id, etag, content_version, created, updated, record, results"
    };
}
const SELECT_ONE: &str = concat!("SELECT ", columns!(), " FROM configuration WHERE id = ?1");
const SELECT_ALL: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM configuration ORDER BY id LIMIT ?1"
);
const SELECT_COUNT: &str = "SELECT count(*) FROM configuration";
const PUT: &str = "INSERT INTO configuration
     (number, id, etag, content_version, created, updated, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
     ON CONFLICT (number) DO UPDATE SET etag = excluded.etag,
         content_version = excluded.content_version, updated = excluded.updated, record = excluded.record";
const DELETE: &str = "DELETE FROM configuration WHERE number = ?1";
const DELETE_MARKS: &str = "DELETE FROM configuration_dirty";
const SELECT_ID: &str = "SELECT id FROM configuration WHERE number = ?1";
const SELECT_RESULTS: &str = "SELECT number, results FROM configuration WHERE results IS NOT NULL";
const UPDATE_RESULTS: &str = "UPDATE configuration SET results = ?2 WHERE number = ?1";
const SELECT_APPLIED: &str = "SELECT record FROM configuration_applied WHERE key = ?1";
const SELECT_APPLIED_RANGE: &str = "SELECT key, record FROM configuration_applied
     WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3";
const SELECT_MARKS: &str = "SELECT key, stamp FROM configuration_dirty ORDER BY key LIMIT ?1";
const DELETE_MARK: &str = "DELETE FROM configuration_dirty WHERE key = ?1 AND stamp = ?2";

fn find(db: &Connection, id: &ConfigurationId) -> Result<Option<Configuration>, StoreError> {
    let mut select = db.prepare_cached(SELECT_ONE).map_err(unavailable)?;
    let mut rows = select.query([id.as_str()]).map_err(unavailable)?;
    rows.next()
        .map_err(unavailable)?
        .map(configuration)
        .transpose()
}

fn list(db: &Connection, limit: u32) -> Result<Vec<Configuration>, StoreError> {
    let mut select = db.prepare_cached(SELECT_ALL).map_err(unavailable)?;
    let mut rows = select.query([limit]).map_err(unavailable)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next().map_err(unavailable)? {
        all.push(configuration(row)?);
    }
    Ok(all)
}

fn configuration(row: &Row<'_>) -> Result<Configuration, StoreError> {
    let number = |column| row.get::<_, i64>(column).map_err(unavailable);
    let id: String = row.get(1).map_err(unavailable)?;
    let record: Vec<u8> = row.get(6).map_err(unavailable)?;
    let results: Option<Vec<u8>> = row.get(7).map_err(unavailable)?;
    Ok(Configuration {
        id: ConfigurationId::parse(&id).map_err(|_| corrupt(WHAT, "has a name that is none"))?,
        number: ConfigurationNumber(number(0)? as u64),
        etag: Etag(number(2)? as u64),
        content_version: Etag(number(3)? as u64),
        created: Timestamp(number(4)?),
        updated: Timestamp(number(5)?),
        settings: unpack_settings(&record)?,
        results: results
            .map(|results| unpack_results(&results))
            .transpose()?
            .unwrap_or_default(),
    })
}

fn write(
    db: &Connection,
    put: ConfigurationPut,
    at: Timestamp,
) -> Result<Result<Configuration, ConfigurationRefused>, StoreError> {
    let before = find(db, &put.id)?;
    if let Some(refused) = refusal(before.as_ref(), put.precondition) {
        return Ok(Err(refused));
    }
    let mut settings = put.settings;
    let configuration = match before {
        Some(before) => {
            let etag = Etag(before.etag.0 + 1);
            let content = settings.content.take().or(before.settings.content.clone());
            let is_same = content == before.settings.content;
            settings.content = content;
            Configuration {
                etag,
                content_version: if is_same {
                    before.content_version
                } else {
                    etag
                },
                updated: at,
                settings,
                ..before
            }
        }
        None => {
            let count = db.prepare_cached(SELECT_COUNT);
            let count: u32 = count
                .and_then(|mut count| count.query_row([], |row| row.get(0)))
                .map_err(unavailable)?;
            if count >= limits::CONFIGURATIONS_MAX {
                return Ok(Err(ConfigurationRefused::TooMany));
            }
            let number = next_number(db, "configuration").map_err(unavailable)?;
            Configuration {
                id: put.id,
                number: ConfigurationNumber(number),
                etag: Etag(1),
                content_version: Etag(1),
                created: at,
                updated: at,
                settings,
                results: ConfigurationResults::default(),
            }
        }
    };
    let columns = params![
        configuration.number.0 as i64,
        configuration.id.as_str(),
        configuration.etag.0 as i64,
        configuration.content_version.0 as i64,
        configuration.created.0,
        configuration.updated.0,
        pack_settings(&configuration.settings),
    ];
    let written = db
        .prepare_cached(PUT)
        .and_then(|mut put| put.execute(columns));
    written.map_err(unavailable)?;
    Ok(Ok(configuration))
}

fn refusal(
    before: Option<&Configuration>,
    precondition: Precondition,
) -> Option<ConfigurationRefused> {
    match (before, precondition) {
        (None, Precondition::Exists | Precondition::Matches(_)) => {
            Some(ConfigurationRefused::Absent)
        }
        (Some(_), Precondition::Absent) => Some(ConfigurationRefused::Exists),
        (Some(before), Precondition::Matches(etag) | Precondition::AbsentOrMatches(etag))
            if before.etag != etag =>
        {
            Some(ConfigurationRefused::EtagMismatch)
        }
        _ => None,
    }
}

fn delete(
    db: &Connection,
    id: &ConfigurationId,
    matches: Option<Etag>,
) -> Result<Result<(), ConfigurationRefused>, StoreError> {
    let precondition = matches.map_or(Precondition::Exists, Precondition::Matches);
    let before = find(db, id)?;
    if let Some(refused) = refusal(before.as_ref(), precondition) {
        return Ok(Err(refused));
    }
    let number = before.map_or(0, |before| before.number.0 as i64);
    let deleted = db
        .prepare_cached(DELETE)
        .and_then(|mut delete| delete.execute([number]));
    deleted.map_err(unavailable)?;
    if list(db, 1)?.is_empty() {
        // Nobody reads the marks any more.
        let cleared = db
            .prepare_cached(DELETE_MARKS)
            .and_then(|mut delete| delete.execute([]));
        cleared.map_err(unavailable)?;
    }
    Ok(Ok(()))
}

fn read_results(db: &Connection) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    let mut select = db.prepare_cached(SELECT_RESULTS).map_err(unavailable)?;
    let rows = select.query_map([], |row| Ok((row.get::<_, i64>(0)? as u64, row.get(1)?)));
    rows.and_then(Iterator::collect).map_err(unavailable)
}

fn write_results(db: &Connection, results: &[(u64, Vec<u8>)]) -> Result<(), StoreError> {
    let mut update = db.prepare_cached(UPDATE_RESULTS).map_err(unavailable)?;
    for (number, record) in results {
        update
            .execute((*number as i64, record))
            .map_err(unavailable)?;
    }
    Ok(())
}

fn read_applied(
    db: &Connection,
    space: Space,
    after: Option<Ordinal>,
    limit: usize,
) -> Result<Vec<(Ordinal, Applied)>, StoreError> {
    let mut range = space_keys(space);
    if let Some(ordinal) = after {
        range.start = row_key(IdentityKey { space, ordinal }) + 1;
    }
    let mut select = db
        .prepare_cached(SELECT_APPLIED_RANGE)
        .map_err(unavailable)?;
    let mut rows = select
        .query((range.start, range.end, limit as i64))
        .map_err(unavailable)?;
    let mut page = Vec::new();
    while let Some(row) = rows.next().map_err(unavailable)? {
        let (key, record): (i64, Vec<u8>) = (
            row.get(0).map_err(unavailable)?,
            row.get(1).map_err(unavailable)?,
        );
        page.push((identity_key(key).ordinal, unpack_applied(&record)?));
    }
    Ok(page)
}

fn applied_to(db: &Connection, key: i64) -> Result<Option<Applied>, StoreError> {
    let mut select = db.prepare_cached(SELECT_APPLIED).map_err(unavailable)?;
    let record: Option<Vec<u8>> = select
        .query_row([key], |row| row.get(0))
        .optional()
        .map_err(unavailable)?;
    record.map(|record| unpack_applied(&record)).transpose()
}

/// The configurations that a twin shows, in order of their names.
pub(super) fn read_statuses(
    db: &Connection,
    key: i64,
) -> Result<Vec<(ConfigurationId, ConfigurationStatus)>, StoreError> {
    let Some(applied) = applied_to(db, key)? else {
        return Ok(Vec::new());
    };
    let mut select = db.prepare_cached(SELECT_ID).map_err(unavailable)?;
    let mut statuses = Vec::with_capacity(applied.configurations.len());
    for assigned in applied.configurations {
        let id: Option<String> = select
            .query_row([assigned.number.0 as i64], |row| row.get(0))
            .optional()
            .map_err(unavailable)?;
        // One that was deleted a moment ago is still remembered, but has no name any more.
        if let Some(id) = id {
            let id = ConfigurationId::parse(&id);
            let id = id.map_err(|_| corrupt(WHAT, "has a name that is none"))?;
            statuses.push((id, assigned.status));
        }
    }
    statuses.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(statuses)
}

fn read_marks(db: &Connection, limit: usize) -> Result<Vec<DirtyMark>, StoreError> {
    let mut select = db.prepare_cached(SELECT_MARKS).map_err(unavailable)?;
    let marks = select.query_map([limit as i64], |row| {
        let (key, stamp): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok((identity_key(key), stamp as u64))
    });
    marks.and_then(Iterator::collect).map_err(unavailable)
}

fn remove_marks(db: &Connection, marks: &[DirtyMark]) -> Result<(), StoreError> {
    let mut delete = db.prepare_cached(DELETE_MARK).map_err(unavailable)?;
    for (key, stamp) in marks {
        delete
            .execute((row_key(*key), *stamp as i64))
            .map_err(unavailable)?;
    }
    Ok(())
}
