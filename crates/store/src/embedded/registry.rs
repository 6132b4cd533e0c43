//! Identities: each write decides inside the writer (`write`), against what earlier writes of the same batch
//! did.
//!
//! A deleted identity leaves a tombstone (key, names, generation) until the last job that may name it is
//! gone. The numbers of [`IdentityCount`] are kept beside the rows, so that asking costs no scan.

pub(super) mod record;
mod write;

use std::collections::VecDeque;

use async_trait::async_trait;
use fanfare_hub::{
    ids::{IdentityId, IdentityKey, Space},
    ports::store::{IdentityCount, RegistryStore, StoreError},
    registry::{Identity, IdentityError, IdentityWrite, IdentityWritten, Status},
    time::Timestamp,
};
use roaring::RoaringBitmap;
use rusqlite::{Connection, OptionalExtension, Row};

use self::write::{rows_of, write_some};
use super::{
    Embedded,
    core::{Writer, unavailable},
    rows::{
        entry_of, identity_columns, identity_key, identity_of, module_column, name_of, row_key,
        space_keys,
    },
    shell::Lane,
};
use crate::vault::Vault;

/// Rows written by one transaction of a background sweep.
const SWEEP_BATCH: usize = 1_000;

#[async_trait]
impl RegistryStore for Embedded {
    async fn identity_write(
        &self,
        writes: Vec<IdentityWrite>,
        at: Timestamp,
    ) -> Result<Vec<Result<IdentityWritten, IdentityError>>, StoreError> {
        let mut left = VecDeque::from(writes);
        let mut results = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let rows = rows_of(&left);
            let work = move |writer: &mut Writer<'_>| {
                let done = write_some(writer, &mut left, at)?;
                Ok((done, left))
            };
            let done;
            (done, left) = self.shell.write(Lane::Interactive, rows, work).await?;
            results.extend(done);
        }
        Ok(results)
    }

    async fn identity_get(&self, id: &IdentityId) -> Result<Option<Identity>, StoreError> {
        let (id, vault) = (id.clone(), self.vault.clone());
        self.shell
            .read(move |db| read_identity(db, &vault, &id))
            .await
    }

    async fn identity_list(&self, limit: u32) -> Result<Vec<(Identity, Timestamp)>, StoreError> {
        let vault = self.vault.clone();
        self.shell
            .read(move |db| list_devices(db, &vault, limit))
            .await
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

/// The identity of that name, with its keys.
pub(super) fn read_identity(
    db: &Connection,
    vault: &Vault,
    id: &IdentityId,
) -> Result<Option<Identity>, StoreError> {
    find_identity(db, id, |row| identity_of(row, vault))
}

/// The identity of that name, its keys withheld.
fn read_entry(db: &Connection, id: &IdentityId) -> Result<Option<Identity>, StoreError> {
    find_identity(db, id, entry_of)
}

fn find_identity(
    db: &Connection,
    id: &IdentityId,
    decode: impl FnOnce(&Row<'_>) -> Result<Identity, StoreError>,
) -> Result<Option<Identity>, StoreError> {
    let mut select = db.prepare_cached(SELECT_IDENTITY).map_err(unavailable)?;
    let mut rows = select
        .query((id.device.as_str(), module_column(id)))
        .map_err(unavailable)?;
    rows.next().map_err(unavailable)?.map(decode).transpose()
}

const SELECT_DEVICES: &str = concat!(
    "SELECT ",
    identity_columns!(),
    ", activity.at FROM identity LEFT JOIN activity ON activity.key = identity.key
     WHERE identity.key < ?1 ORDER BY identity.key LIMIT ?2"
);

fn list_devices(
    db: &Connection,
    vault: &Vault,
    limit: u32,
) -> Result<Vec<(Identity, Timestamp)>, StoreError> {
    let mut select = db.prepare_cached(SELECT_DEVICES).map_err(unavailable)?;
    let end = space_keys(Space::Devices).end;
    let mut rows = select.query((end, limit)).map_err(unavailable)?;
    let mut identities = Vec::new();
    while let Some(row) = rows.next().map_err(unavailable)? {
        let heard: Option<i64> = row.get(7).map_err(unavailable)?;
        identities.push((
            identity_of(row, vault)?,
            heard.map_or(Timestamp::NEVER, Timestamp),
        ));
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
