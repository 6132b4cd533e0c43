//! Identities: each write decides inside the writer, against what earlier writes of the same batch did.
//!
//! A deleted identity leaves a tombstone (key, names, generation) until the last job that may name it is
//! gone. The numbers of [`IdentityCount`] are kept beside the rows, so that asking costs no scan.

pub(super) mod record;

use async_trait::async_trait;
use fanfare_hub::{
    ids::{Etag, Generation, IdentityId, IdentityKey, Ordinal, Space},
    ports::store::{IdentityCount, RegistryStore, StoreError},
    registry::{
        Identity, IdentityError, IdentitySettings, IdentityWrite, IdentityWritten, Precondition,
        Status,
    },
    time::Timestamp,
    twin::document::TwinPatch,
};
use roaring::RoaringBitmap;
use rusqlite::{Connection, OptionalExtension};

use self::record::IdentityRecord;
use super::{
    Embedded,
    core::{Writer, next_number, unavailable},
    rows::{
        identity_columns, identity_key, identity_of, module_column, name_of, row_key, space_keys,
    },
    shell::Lane,
    twins::{PatchedRow, create_row, first_document, patch_row},
};

/// Rows one write may touch: identity, twin, session or tombstone.
const ROWS_PER_WRITE: usize = 3;
/// Rows written by one transaction of a background sweep.
const SWEEP_BATCH: usize = 1_000;

#[async_trait]
impl RegistryStore for Embedded {
    async fn identity_write(
        &self,
        writes: Vec<IdentityWrite>,
        at: Timestamp,
    ) -> Result<Vec<Result<IdentityWritten, IdentityError>>, StoreError> {
        let rows = writes.len() * ROWS_PER_WRITE;
        let work = move |writer: &mut Writer<'_>| write_all(writer, writes, at);
        self.shell.write(Lane::Interactive, rows, work).await
    }

    async fn identity_get(&self, id: &IdentityId) -> Result<Option<Identity>, StoreError> {
        let id = id.clone();
        self.shell.read(move |db| read_identity(db, &id)).await
    }

    async fn identity_list(&self, limit: u32) -> Result<Vec<Identity>, StoreError> {
        self.shell.read(move |db| list_devices(db, limit)).await
    }

    async fn identity_count(&self) -> Result<IdentityCount, StoreError> {
        self.shell.read(count_devices).await
    }

    async fn identity_names(
        &self,
        keys: Vec<IdentityKey>,
    ) -> Result<Vec<(IdentityKey, IdentityId)>, StoreError> {
        self.shell.read(move |db| read_names(db, &keys)).await
    }

    async fn identity_deleted(&self, space: Space) -> Result<RoaringBitmap, StoreError> {
        self.shell.read(move |db| read_deleted(db, space)).await
    }

    async fn identity_forget(&self) -> Result<(), StoreError> {
        let forget = |writer: &mut Writer<'_>| forget_some(writer.db);
        while self
            .shell
            .write(Lane::Background, SWEEP_BATCH, forget)
            .await?
            == SWEEP_BATCH
        {}
        Ok(())
    }

    async fn activity_write(
        &self,
        mut last: Vec<(IdentityKey, Timestamp)>,
    ) -> Result<(), StoreError> {
        last.sort_unstable();
        for batch in last.chunks(SWEEP_BATCH) {
            let batch = batch.to_vec();
            let rows = batch.len();
            let work = move |writer: &mut Writer<'_>| write_activity(writer.db, &batch);
            self.shell.write(Lane::Background, rows, work).await?;
        }
        Ok(())
    }
}

const SELECT_IDENTITY: &str = concat!(
    "SELECT ",
    identity_columns!(),
    " FROM identity WHERE device_id = ?1 AND module_id = ?2"
);

/// The identity of that name.
pub(super) fn read_identity(
    db: &Connection,
    id: &IdentityId,
) -> Result<Option<Identity>, StoreError> {
    let mut select = db.prepare_cached(SELECT_IDENTITY).map_err(unavailable)?;
    let mut rows = select
        .query((id.device.as_str(), module_column(id)))
        .map_err(unavailable)?;
    rows.next()
        .map_err(unavailable)?
        .map(identity_of)
        .transpose()
}

const SELECT_DEVICES: &str = concat!(
    "SELECT ",
    identity_columns!(),
    " FROM identity WHERE key < ?1 ORDER BY key LIMIT ?2"
);

fn list_devices(db: &Connection, limit: u32) -> Result<Vec<Identity>, StoreError> {
    let mut select = db.prepare_cached(SELECT_DEVICES).map_err(unavailable)?;
    let end = space_keys(Space::Devices).end;
    let mut rows = select.query((end, limit)).map_err(unavailable)?;
    let mut identities = Vec::new();
    while let Some(row) = rows.next().map_err(unavailable)? {
        identities.push(identity_of(row)?);
    }
    Ok(identities)
}

const DEVICES: &str = "devices";
const DEVICES_ENABLED: &str = "devices_enabled";
const SELECT_NUMBER: &str = "SELECT value FROM hub WHERE name = ?1";
const ADD_NUMBER: &str = "INSERT INTO hub (name, value) VALUES (?1, ?2)
     ON CONFLICT (name) DO UPDATE SET value = value + excluded.value";

fn count_devices(db: &Connection) -> Result<IdentityCount, StoreError> {
    let number = |name| {
        let mut select = db.prepare_cached(SELECT_NUMBER)?;
        let value: Option<i64> = select.query_row([name], |row| row.get(0)).optional()?;
        Ok(value.unwrap_or(0) as u64)
    };
    let total = number(DEVICES).map_err(unavailable)?;
    let enabled = number(DEVICES_ENABLED).map_err(unavailable)?;
    Ok(IdentityCount { total, enabled })
}

/// By how much a batch changed the numbers of devices.
#[derive(Default)]
struct CountChange {
    total: i64,
    enabled: i64,
}

impl CountChange {
    fn note(&mut self, before: Option<&Identity>, after: Option<&Identity>) {
        for (identity, sign) in [(before, -1), (after, 1)] {
            let Some(identity) = identity else { continue };
            if identity.key.space == Space::Devices {
                self.total += sign;
                self.enabled += sign * i64::from(identity.settings.status == Status::Enabled);
            }
        }
    }

    fn write(&self, db: &Connection) -> rusqlite::Result<()> {
        for (name, change) in [(DEVICES, self.total), (DEVICES_ENABLED, self.enabled)] {
            if change != 0 {
                db.prepare_cached(ADD_NUMBER)?.execute((name, change))?;
            }
        }
        Ok(())
    }
}

fn write_all(
    writer: &Writer<'_>,
    writes: Vec<IdentityWrite>,
    at: Timestamp,
) -> Result<Vec<Result<IdentityWritten, IdentityError>>, StoreError> {
    let mut counts = CountChange::default();
    let mut results = Vec::with_capacity(writes.len());
    for write in writes {
        let result = match write {
            IdentityWrite::Put {
                id,
                settings,
                precondition,
                twin,
            } => put(
                writer,
                Put {
                    id,
                    settings,
                    twin,
                    at,
                },
                precondition,
            )?,
            IdentityWrite::Delete { id, precondition } => delete(writer.db, id, precondition)?,
        };
        match &result {
            Ok(IdentityWritten::Put { identity, before }) => {
                counts.note(before.as_deref(), Some(identity));
            }
            Ok(IdentityWritten::Deleted(identity)) => counts.note(Some(identity), None),
            Err(_) => {}
        }
        results.push(result);
    }
    counts.write(writer.db).map_err(unavailable)?;
    Ok(results)
}

/// Whether the precondition allows to create (`before` is `None`) or change an entry.
fn check(
    id: &IdentityId,
    before: Option<&Identity>,
    precondition: Precondition,
) -> Result<(), IdentityError> {
    match (before, precondition) {
        (None, Precondition::Absent | Precondition::Any) => Ok(()),
        (None, Precondition::Exists | Precondition::Matches(_)) => {
            Err(IdentityError::Absent(id.clone()))
        }
        (Some(_), Precondition::Absent) => Err(IdentityError::Exists(id.clone())),
        (Some(before), Precondition::Matches(etag)) if before.etag != etag => {
            Err(IdentityError::EtagMismatch(id.clone()))
        }
        (Some(_), _) => Ok(()),
    }
}

/// One `IdentityWrite::Put` at its moment.
struct Put {
    id: IdentityId,
    settings: IdentitySettings,
    twin: Option<TwinPatch>,
    at: Timestamp,
}

type Written = Result<IdentityWritten, IdentityError>;

fn put(writer: &Writer<'_>, put: Put, precondition: Precondition) -> Result<Written, StoreError> {
    let before = read_identity(writer.db, &put.id)?;
    if let Err(refused) = check(&put.id, before.as_ref(), precondition) {
        return Ok(Err(refused));
    }
    match before {
        Some(before) => change(writer, put, before),
        None => create(writer.db, put),
    }
}

const INSERT_IDENTITY: &str = "INSERT INTO identity
     (key, device_id, module_id, generation, etag, enabled, record)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

fn create(db: &Connection, put: Put) -> Result<Written, StoreError> {
    let Put {
        id,
        settings,
        twin,
        at,
    } = put;
    if id.module.is_some() {
        let device = IdentityId::device(id.device.clone());
        if read_identity(db, &device)?.is_none() {
            return Ok(Err(IdentityError::Absent(device)));
        }
    }
    let document = match first_document(twin.as_ref(), at) {
        Ok(document) => document,
        Err(source) => return Ok(Err(IdentityError::Twin { id, source })),
    };
    let identity = Identity {
        key: IdentityKey {
            space: id.space(),
            ordinal: next_ordinal(db, id.space())?,
        },
        generation: Generation(next_number(db, "generation").map_err(unavailable)?),
        etag: Etag(1),
        status_updated: Timestamp::NEVER,
        settings,
        id,
    };
    let columns = (
        row_key(identity.key),
        identity.id.device.as_str(),
        module_column(&identity.id),
        identity.generation.0 as i64,
        identity.etag.0 as i64,
        identity.settings.status == Status::Enabled,
        IdentityRecord::new(&identity.settings, identity.status_updated).seal(),
    );
    let mut insert = db.prepare_cached(INSERT_IDENTITY).map_err(unavailable)?;
    insert.execute(columns).map_err(unavailable)?;
    create_row(db, row_key(identity.key), &document)?;
    Ok(Ok(IdentityWritten::Put {
        identity: Box::new(identity),
        before: None,
    }))
}

fn next_ordinal(db: &Connection, space: Space) -> Result<Ordinal, StoreError> {
    let counter = match space {
        Space::Devices => "device_ordinal",
        Space::Modules => "module_ordinal",
    };
    let number = next_number(db, counter).map_err(unavailable)?;
    Ordinal::try_from(number)
        .map_err(|_| StoreError::Unavailable("all ordinals of this store are used".into()))
}

const UPDATE_IDENTITY: &str =
    "UPDATE identity SET etag = ?2, enabled = ?3, record = ?4 WHERE key = ?1";

fn change(writer: &Writer<'_>, put: Put, before: Identity) -> Result<Written, StoreError> {
    let Put {
        id,
        mut settings,
        twin,
        at,
    } = put;
    if let Err(refused) = keep_scope(&id, &before.settings, &mut settings) {
        return Ok(Err(refused));
    }
    let key = row_key(before.key);
    if let Some(patch) = twin {
        // Refused or done as a whole: nothing of this entry is written yet.
        match patch_row(writer, key, &patch, at)? {
            PatchedRow::Refused(source) => return Ok(Err(IdentityError::Twin { id, source })),
            PatchedRow::Absent => return Ok(Err(IdentityError::Absent(id))),
            PatchedRow::Patched(_) => {}
        }
    }
    let is_same_status = settings.status == before.settings.status;
    let identity = Identity {
        etag: Etag(before.etag.0 + 1),
        status_updated: if is_same_status {
            before.status_updated
        } else {
            at
        },
        settings,
        ..before.clone()
    };
    let mut update = writer
        .db
        .prepare_cached(UPDATE_IDENTITY)
        .map_err(unavailable)?;
    let record = IdentityRecord::new(&identity.settings, identity.status_updated).seal();
    let is_enabled = identity.settings.status == Status::Enabled;
    update
        .execute((key, identity.etag.0 as i64, is_enabled, record))
        .map_err(unavailable)?;
    Ok(Ok(IdentityWritten::Put {
        identity: Box::new(identity),
        before: Some(Box::new(before)),
    }))
}

/// A scope once set stays: a caller may leave it out or repeat it. compat: REG-9
fn keep_scope(
    id: &IdentityId,
    before: &IdentitySettings,
    settings: &mut IdentitySettings,
) -> Result<(), IdentityError> {
    let Some(scope) = &before.device_scope else {
        return Ok(());
    };
    if settings
        .device_scope
        .as_ref()
        .is_some_and(|new| new != scope)
    {
        return Err(IdentityError::ScopeFixed(id.clone()));
    }
    settings.device_scope = Some(scope.clone());
    if settings.parent_scopes.is_empty() {
        settings.parent_scopes.clone_from(&before.parent_scopes);
    }
    Ok(())
}

const SELECT_MODULES: &str =
    "SELECT key FROM identity WHERE device_id = ?1 AND module_id > '' ORDER BY key";

fn delete(
    db: &Connection,
    id: IdentityId,
    precondition: Precondition,
) -> Result<Written, StoreError> {
    let Some(before) = read_identity(db, &id)? else {
        return Ok(Err(IdentityError::Absent(id)));
    };
    if let Err(refused) = check(&id, Some(&before), precondition) {
        return Ok(Err(refused));
    }
    let mut keys = vec![row_key(before.key)];
    if id.module.is_none() {
        let mut select = db.prepare_cached(SELECT_MODULES).map_err(unavailable)?;
        let modules = select
            .query_map([id.device.as_str()], |row| row.get(0))
            .map_err(unavailable)?;
        for key in modules {
            keys.push(key.map_err(unavailable)?);
        }
    }
    for key in keys {
        delete_rows(db, key).map_err(unavailable)?;
    }
    Ok(Ok(IdentityWritten::Deleted(Box::new(before))))
}

const INSERT_TOMBSTONE: &str =
    "INSERT INTO tombstone (key, device_id, module_id, generation, last_job)
     SELECT key, device_id, module_id, generation,
         coalesce((SELECT value FROM hub WHERE name = 'job'), 0)
     FROM identity WHERE key = ?1";
const DELETE_ROWS: [&str; 4] = [
    "DELETE FROM identity WHERE key = ?1",
    "DELETE FROM twin WHERE key = ?1",
    "DELETE FROM session WHERE key = ?1",
    "DELETE FROM activity WHERE key = ?1",
];

fn delete_rows(db: &Connection, key: i64) -> rusqlite::Result<()> {
    db.prepare_cached(INSERT_TOMBSTONE)?.execute([key])?;
    for statement in DELETE_ROWS {
        db.prepare_cached(statement)?.execute([key])?;
    }
    Ok(())
}

const SELECT_NAME: &str = "SELECT device_id, module_id FROM identity WHERE key = ?1
     UNION ALL SELECT device_id, module_id FROM tombstone WHERE key = ?1";

fn read_names(
    db: &Connection,
    keys: &[IdentityKey],
) -> Result<Vec<(IdentityKey, IdentityId)>, StoreError> {
    let mut select = db.prepare_cached(SELECT_NAME).map_err(unavailable)?;
    let mut names = Vec::with_capacity(keys.len());
    for key in keys {
        let found = select.query_row([row_key(*key)], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        });
        if let Some((device, module)) = found.optional().map_err(unavailable)? {
            names.push((*key, name_of(&device, &module)?));
        }
    }
    Ok(names)
}

const SELECT_DELETED: &str = "SELECT key FROM tombstone WHERE key >= ?1 AND key < ?2 ORDER BY key";

fn read_deleted(db: &Connection, space: Space) -> Result<RoaringBitmap, StoreError> {
    let range = space_keys(space);
    let mut select = db.prepare_cached(SELECT_DELETED).map_err(unavailable)?;
    let keys = select
        .query_map((range.start, range.end), |row| row.get(0))
        .map_err(unavailable)?;
    keys.map(|key| key.map(|key| identity_key(key).ordinal))
        .collect::<Result<_, _>>()
        .map_err(unavailable)
}

const SELECT_ANY_DELETED: &str = "SELECT 1 FROM tombstone LIMIT 1";
/// Whoever was deleted before the oldest job that there still is was accepted is in no target set. Jobs are
/// told apart by number, because clocks may step back.
const FORGET: &str = "DELETE FROM tombstone WHERE key IN (
         SELECT key FROM tombstone
         WHERE last_job < (SELECT coalesce(min(number), 9223372036854775807) FROM job)
         ORDER BY last_job LIMIT ?1)";

fn forget_some(db: &Connection) -> Result<usize, StoreError> {
    let mut any = db.prepare_cached(SELECT_ANY_DELETED).map_err(unavailable)?;
    if !any.exists([]).map_err(unavailable)? {
        return Ok(0);
    }
    let mut forget = db.prepare_cached(FORGET).map_err(unavailable)?;
    forget.execute([SWEEP_BATCH as i64]).map_err(unavailable)
}

const PUT_ACTIVITY: &str = "INSERT INTO activity (key, at)
     SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM identity WHERE key = ?1)
     ON CONFLICT (key) DO UPDATE SET at = max(at, excluded.at)";

fn write_activity(db: &Connection, last: &[(IdentityKey, Timestamp)]) -> Result<(), StoreError> {
    let mut put = db.prepare_cached(PUT_ACTIVITY).map_err(unavailable)?;
    for (key, at) in last {
        put.execute((row_key(*key), at.0)).map_err(unavailable)?;
    }
    Ok(())
}
