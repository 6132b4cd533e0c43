//! MQTT sessions: one small record per identity, written only when it changes.

use async_trait::async_trait;
use fanfare_hub::{
    ids::{IdentityId, IdentityKey, Space},
    ports::store::{Connected, Session, SessionStore, SignIn, StoreError},
    time::Timestamp,
};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::{
    Embedded,
    core::unavailable,
    rows::{identity_columns, identity_key, identity_of, module_column, row_key},
    shell::Lane,
};
use crate::{
    record::{corrupt, open_value, seal_value},
    vault::Vault,
};

/// Sessions dropped by one transaction of a sweep.
const EXPIRE_BATCH: usize = 1_000;

#[async_trait]
impl SessionStore for Embedded {
    async fn session_open(&self, id: &IdentityId) -> Result<Option<SignIn>, StoreError> {
        let id = id.clone();
        let vault = self.vault.clone();
        self.shell
            .read(move |db| read_sign_in(db, &vault, &id))
            .await
    }

    async fn session_put(
        &self,
        key: IdentityKey,
        session: Option<Session>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let record = session.map(|session| SessionRecord::from(session).seal());
        let work = move |db: &Connection| write_session(db, row_key(key), record.as_deref(), at);
        let is_written = self
            .shell
            .write(Lane::Interactive, 1, move |writer| work(writer.db))
            .await?;
        if is_written {
            Ok(())
        } else {
            Err(StoreError::Absent(format!("identity {key:?}")))
        }
    }

    async fn session_expire(
        &self,
        before: Timestamp,
        connected: Connected,
    ) -> Result<u64, StoreError> {
        // Found by a reader, so that the writer does not wait for the search.
        let unused = self
            .shell
            .scan(move |db| unused_sessions(db, before, &connected))
            .await?;
        let mut dropped = 0;
        for batch in unused.chunks(EXPIRE_BATCH) {
            let batch = batch.to_vec();
            let rows = batch.len();
            let work = move |db: &Connection| drop_unused(db, &batch, before);
            dropped += self
                .shell
                .write(Lane::Background, rows, move |writer| work(writer.db))
                .await?;
        }
        Ok(dropped)
    }
}

const SELECT_SIGN_IN: &str = concat!(
    "SELECT ",
    identity_columns!(),
    ", twin.desired_version, session.record, device.enabled
     FROM identity CROSS JOIN twin ON twin.key = identity.key
     CROSS JOIN identity AS device
         ON device.device_id = identity.device_id AND device.module_id = ''
     LEFT JOIN session ON session.key = identity.key
     WHERE identity.device_id = ?1 AND identity.module_id = ?2"
);

fn read_sign_in(
    db: &Connection,
    vault: &Vault,
    id: &IdentityId,
) -> Result<Option<SignIn>, StoreError> {
    let mut select = db.prepare_cached(SELECT_SIGN_IN).map_err(unavailable)?;
    let mut rows = select
        .query((id.device.as_str(), module_column(id)))
        .map_err(unavailable)?;
    let Some(row) = rows.next().map_err(unavailable)? else {
        return Ok(None);
    };
    let desired_version: i64 = row.get(7).map_err(unavailable)?;
    let record = row.get_ref(8).map_err(unavailable)?.as_blob_or_null();
    let record = record.map_err(|_| corrupt(WHAT, "is not made of bytes"))?;
    Ok(Some(SignIn {
        identity: identity_of(row, vault)?,
        device_enabled: row.get(9).map_err(unavailable)?,
        session: record
            .map(SessionRecord::open)
            .transpose()?
            .map(Session::from),
        desired_version: desired_version as u64,
    }))
}

const SELECT_EXISTS: &str = "SELECT 1 FROM identity WHERE key = ?1";
const DELETE_SESSION: &str = "DELETE FROM session WHERE key = ?1";
const PUT_SESSION: &str = "INSERT INTO session (key, used, record) VALUES (?1, ?2, ?3)
     ON CONFLICT (key) DO UPDATE SET used = excluded.used, record = excluded.record";

/// Whether the identity is there; only then anything is written.
fn write_session(
    db: &Connection,
    key: i64,
    record: Option<&[u8]>,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let mut select = db.prepare_cached(SELECT_EXISTS).map_err(unavailable)?;
    if !select.exists([key]).map_err(unavailable)? {
        return Ok(false);
    }
    let written = match record {
        Some(record) => db
            .prepare_cached(PUT_SESSION)
            .and_then(|mut put| put.execute((key, at.0, record))),
        None => db
            .prepare_cached(DELETE_SESSION)
            .and_then(|mut delete| delete.execute([key])),
    };
    written.map_err(unavailable)?;
    Ok(true)
}

/// A session is written only when it changes, so its own time alone says too little: an identity that
/// was heard of since still uses it.
const SELECT_UNUSED: &str = "SELECT session.key FROM session
     LEFT JOIN activity ON activity.key = session.key
     WHERE session.used < ?1 AND (activity.at IS NULL OR activity.at < ?1)
     ORDER BY session.key";
const DELETE_UNUSED: &str = "DELETE FROM session WHERE key = ?1 AND used < ?2
     AND NOT EXISTS (SELECT 1 FROM activity WHERE activity.key = ?1 AND activity.at >= ?2)";

fn unused_sessions(
    db: &Connection,
    before: Timestamp,
    connected: &Connected,
) -> Result<Vec<i64>, StoreError> {
    let mut select = db.prepare_cached(SELECT_UNUSED).map_err(unavailable)?;
    let keys = select
        .query_map([before.0], |row| row.get(0))
        .map_err(unavailable)?;
    let is_connected = |key: i64| {
        let IdentityKey { space, ordinal } = identity_key(key);
        match space {
            Space::Devices => connected.devices.contains(ordinal),
            Space::Modules => connected.modules.contains(ordinal),
        }
    };
    let unused = keys.filter(|key| !key.as_ref().is_ok_and(|key| is_connected(*key)));
    unused.collect::<Result<_, _>>().map_err(unavailable)
}

fn drop_unused(db: &Connection, keys: &[i64], before: Timestamp) -> Result<u64, StoreError> {
    let mut delete = db.prepare_cached(DELETE_UNUSED).map_err(unavailable)?;
    let mut dropped = 0;
    for key in keys {
        dropped += delete.execute((key, before.0)).map_err(unavailable)? as u64;
    }
    Ok(dropped)
}

const WHAT: &str = "a session record";
const VERSION: u8 = 1;

/// Version 1, in postcard. Never change it: a new shape is a new version.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SessionRecord {
    /// Topic filter and granted quality of service.
    filters: Vec<(String, u8)>,
}

impl SessionRecord {
    fn open(bytes: &[u8]) -> Result<Self, StoreError> {
        open_value(WHAT, VERSION, bytes)
    }

    fn seal(&self) -> Vec<u8> {
        seal_value(VERSION, self)
    }
}

impl From<Session> for SessionRecord {
    fn from(session: Session) -> Self {
        Self {
            filters: session.filters,
        }
    }
}

impl From<SessionRecord> for Session {
    fn from(record: SessionRecord) -> Self {
        Self {
            filters: record.filters,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN_V1: &[u8] = include_bytes!("../../tests/golden/session-v1.bin");

    #[test]
    fn version_1_still_loads_and_is_what_we_write() {
        let session = Session {
            filters: vec![
                ("$iothub/methods/POST/#".into(), 0),
                ("$iothub/twin/res/#".into(), 1),
            ],
        };
        assert_eq!(
            Session::from(SessionRecord::open(GOLDEN_V1).unwrap()),
            session
        );
        assert_eq!(SessionRecord::from(session).seal(), GOLDEN_V1);
    }
}
