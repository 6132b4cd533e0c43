//! Shared access policies, and a look into the file of a hub that may be running.

use std::path::Path;

use async_trait::async_trait;
use fanfare_hub::{
    access::{Policy, Rights},
    ids::IdentityId,
    ports::store::{PolicyStore, StoreError},
    registry::{Identity, SymmetricKey},
};
use rusqlite::Connection;

use super::{
    Embedded,
    core::{open_reader, unavailable},
    registry::read_identity,
    shell::Lane,
};

#[async_trait]
impl PolicyStore for Embedded {
    async fn policy_list(&self) -> Result<Vec<Policy>, StoreError> {
        self.shell.read(read_policies).await
    }

    async fn policy_put(&self, policies: Vec<Policy>) -> Result<(), StoreError> {
        let rows = policies.len();
        let work = move |db: &Connection| write_policies(db, &policies);
        self.shell
            .write(Lane::Interactive, rows, move |writer| work(writer.db))
            .await
    }
}

impl Embedded {
    /// The policies in a store's file, whether a hub runs on it or not. Writes nothing.
    pub fn peek_policies(path: &Path) -> Result<Vec<Policy>, StoreError> {
        read_policies(&peek(path)?)
    }

    /// One identity in a store's file, whether a hub runs on it or not. Writes nothing.
    pub fn peek_identity(path: &Path, id: &IdentityId) -> Result<Option<Identity>, StoreError> {
        read_identity(&peek(path)?, id)
    }
}

fn peek(path: &Path) -> Result<Connection, StoreError> {
    open_reader(path).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        StoreError::Unavailable(format!("{error}{}", cause.unwrap_or_default()).into())
    })
}

const SELECT_POLICIES: &str =
    "SELECT name, rights, primary_key, secondary_key FROM policy ORDER BY name";

fn read_policies(db: &Connection) -> Result<Vec<Policy>, StoreError> {
    let mut select = db.prepare_cached(SELECT_POLICIES).map_err(unavailable)?;
    let policies = select.query_map([], |row| {
        let (primary, secondary): (String, String) = (row.get(2)?, row.get(3)?);
        Ok(Policy {
            name: row.get(0)?,
            rights: Rights::from_bits(row.get(1)?),
            primary: SymmetricKey::new(&primary),
            secondary: SymmetricKey::new(&secondary),
        })
    });
    policies.and_then(Iterator::collect).map_err(unavailable)
}

const PUT_POLICY: &str = "INSERT INTO policy (name, rights, primary_key, secondary_key)
     VALUES (?1, ?2, ?3, ?4)
     ON CONFLICT (name) DO UPDATE SET rights = excluded.rights,
         primary_key = excluded.primary_key, secondary_key = excluded.secondary_key";

fn write_policies(db: &Connection, policies: &[Policy]) -> Result<(), StoreError> {
    let mut put = db.prepare_cached(PUT_POLICY).map_err(unavailable)?;
    for policy in policies {
        let keys = (policy.primary.expose(), policy.secondary.expose());
        put.execute((&policy.name, policy.rights.bits(), keys.0, keys.1))
            .map_err(unavailable)?;
    }
    Ok(())
}
