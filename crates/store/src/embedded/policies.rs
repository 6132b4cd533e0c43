//! Shared access policies, and a look into the file of a hub that may be running.

use std::path::Path;

use async_trait::async_trait;
use fanfare_hub::{
    access::{Policy, PolicyChange, PolicyRefused, Rights},
    ids::{Etag, IdentityId},
    ports::store::{PolicyList, PolicyStore, StoreError},
    registry::{Identity, SymmetricKey},
};
use rusqlite::{
    Connection, OptionalExtension, Row,
    types::{Value, ValueRef},
};

use super::{
    Embedded,
    core::{Writer, next_number, open_reader, unavailable},
    registry::read_identity,
    shell::Lane,
};
use crate::{record::corrupt, vault::Vault};

#[async_trait]
impl PolicyStore for Embedded {
    async fn policy_list(&self) -> Result<PolicyList, StoreError> {
        let vault = self.vault.clone();
        self.shell.read(move |db| read_list(db, &vault)).await
    }

    async fn policy_seed(&self, policies: Vec<Policy>) -> Result<PolicyList, StoreError> {
        let rows = policies.len();
        let work = move |writer: &mut Writer<'_>| {
            if read_list(writer.db, writer.vault)?.policies.is_empty() {
                for policy in &policies {
                    write(writer, policy)?;
                }
            }
            read_list(writer.db, writer.vault)
        };
        self.shell.write(Lane::Interactive, rows, work).await
    }

    async fn policy_change(
        &self,
        change: PolicyChange,
    ) -> Result<Result<PolicyList, PolicyRefused>, StoreError> {
        let work = move |writer: &mut Writer<'_>| {
            let before = read_list(writer.db, writer.vault)?;
            let next = Etag(before.revision + 1);
            let after = match change.apply(&before.policies, next) {
                Ok(after) => after,
                Err(refused) => return Ok(Err(refused)),
            };
            next_number(writer.db, COUNTER).map_err(unavailable)?;
            match after {
                Some(policy) => write(writer, &policy)?,
                None => delete(writer.db, &change.name)?,
            }
            read_list(writer.db, writer.vault).map(Ok)
        };
        self.shell.write(Lane::Interactive, 1, work).await
    }
}

impl Embedded {
    /// The policies in a store's file, whether a hub runs on it or not. Writes nothing.
    pub fn peek_policies(path: &Path, vault: &Vault) -> Result<Vec<Policy>, StoreError> {
        select(&peek(path)?, PEEK_POLICIES, |row| read(row, vault, Etag(0)))
    }

    /// One identity in a store's file, whether a hub runs on it or not. Writes nothing.
    pub fn peek_identity(
        path: &Path,
        vault: &Vault,
        id: &IdentityId,
    ) -> Result<Option<Identity>, StoreError> {
        read_identity(&peek(path)?, vault, id)
    }
}

fn peek(path: &Path) -> Result<Connection, StoreError> {
    open_reader(path).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        StoreError::Unavailable(format!("{error}{}", cause.unwrap_or_default()).into())
    })
}

/// The row of table `hub` that counts changes of policies; their etags are drawn from it.
const COUNTER: &str = "policy";

fn read_list(db: &Connection, vault: &Vault) -> Result<PolicyList, StoreError> {
    let revision = db
        .query_row("SELECT value FROM hub WHERE name = ?1", [COUNTER], |row| {
            row.get(0)
        })
        .optional()
        .map_err(unavailable)?;
    let policies = select(db, SELECT_POLICIES, |row| {
        let etag = row.get(4).map(Etag).map_err(unavailable)?;
        read(row, vault, etag)
    })?;
    Ok(PolicyList {
        revision: revision.unwrap_or(0),
        policies: policies.into(),
    })
}

const SELECT_POLICIES: &str =
    "SELECT name, rights, primary_key, secondary_key, etag FROM policy ORDER BY name";
/// Of a file that may have an older format: there were no etags once.
const PEEK_POLICIES: &str =
    "SELECT name, rights, primary_key, secondary_key FROM policy ORDER BY name";

fn select<T>(
    db: &Connection,
    statement: &str,
    mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut select = db.prepare_cached(statement).map_err(unavailable)?;
    let mut rows = select.query([]).map_err(unavailable)?;
    let mut policies = Vec::new();
    while let Some(row) = rows.next().map_err(unavailable)? {
        policies.push(read(row)?);
    }
    Ok(policies)
}

fn read(row: &Row<'_>, vault: &Vault, etag: Etag) -> Result<Policy, StoreError> {
    let name: String = row.get(0).map_err(unavailable)?;
    let rights: u8 = row.get(1).map_err(unavailable)?;
    let key = |slot: Slot| {
        let stored = row.get_ref(slot.column()).map_err(unavailable)?;
        read_key(stored, vault, &slot.owner(&name, rights))
    };
    Ok(Policy {
        rights: Rights::from_bits(rights),
        primary: key(Slot::Primary)?,
        secondary: key(Slot::Secondary)?,
        name: name.as_str().into(),
        etag,
    })
}

const WHAT: &str = "a policy";
/// The first byte of a key that is encrypted; what follows is for [`Vault::open`]. A plain key is text.
const V1: u8 = 1;

/// Which of a policy's keys.
#[derive(Debug, Clone, Copy)]
enum Slot {
    Primary,
    Secondary,
}

impl Slot {
    /// Its column in [`SELECT_POLICIES`].
    fn column(self) -> usize {
        match self {
            Self::Primary => 2,
            Self::Secondary => 3,
        }
    }

    /// Whom an encrypted key belongs to: it opens nothing under another name, or with other rights.
    fn owner(self, name: &str, rights: u8) -> Vec<u8> {
        let slot = match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        };
        postcard::to_stdvec(&("policy key", slot, rights, name))
            .expect("numbers and texts can be written")
    }
}

fn read_key(stored: ValueRef<'_>, vault: &Vault, owner: &[u8]) -> Result<SymmetricKey, StoreError> {
    match stored {
        ValueRef::Text(_) if vault.is_sealing() => Err(corrupt(
            WHAT,
            "has a plain key in a store that encrypts them",
        )),
        ValueRef::Text(text) => std::str::from_utf8(text)
            .map(SymmetricKey::new)
            .map_err(|_| corrupt(WHAT, "has a key that is no text")),
        ValueRef::Blob([V1, sealed @ ..]) => {
            let key = vault
                .open(owner, sealed)
                .map_err(|refused| corrupt(WHAT, &format!("has a key that {refused}")))?;
            std::str::from_utf8(&key)
                .map(SymmetricKey::new)
                .map_err(|_| corrupt(WHAT, "has a key that is no text"))
        }
        _ => Err(corrupt(WHAT, "has a key of another type")),
    }
}

/// What the column of a key holds: text, or bytes where keys are encrypted.
fn key_column(key: &SymmetricKey, vault: &Vault, owner: &[u8]) -> Value {
    let text = key.expose();
    match vault.seal(owner, text.as_bytes()) {
        Some(sealed) => Value::Blob([&[V1], &*sealed].concat()),
        None => Value::Text(text.to_owned()),
    }
}

/// Brings every policy's keys into encrypted or plain form; returns how many policies changed.
pub(super) fn convert(
    db: &Connection,
    vault: &Vault,
    is_encrypted: bool,
) -> Result<u64, StoreError> {
    let plain = Vault::plain();
    let (from, to) = match is_encrypted {
        true => (&plain, vault),
        false => (vault, &plain),
    };
    let is_due = |row: &Row<'_>| {
        let form = row.get_ref(Slot::Primary.column()).map_err(unavailable)?;
        Ok::<_, StoreError>(matches!(form, ValueRef::Text(_)) == is_encrypted)
    };
    let due = select(db, SELECT_POLICIES, |row| {
        let etag = row.get(4).map(Etag).map_err(unavailable)?;
        match is_due(row)? {
            true => read(row, from, etag).map(Some),
            false => Ok(None),
        }
    })?;
    let due: Vec<_> = due.into_iter().flatten().collect();
    for policy in &due {
        put(db, to, policy)?;
    }
    Ok(due.len() as u64)
}

const PUT_POLICY: &str = "INSERT INTO policy (name, rights, primary_key, secondary_key, etag)
     VALUES (?1, ?2, ?3, ?4, ?5)
     ON CONFLICT (name) DO UPDATE SET rights = excluded.rights, etag = excluded.etag,
         primary_key = excluded.primary_key, secondary_key = excluded.secondary_key";

fn write(writer: &Writer<'_>, policy: &Policy) -> Result<(), StoreError> {
    put(writer.db, writer.vault, policy)
}

fn put(db: &Connection, vault: &Vault, policy: &Policy) -> Result<(), StoreError> {
    let (rights, etag) = (policy.rights.bits(), policy.etag.0);
    let owner = |slot: Slot| slot.owner(&policy.name, rights);
    let primary = key_column(&policy.primary, vault, &owner(Slot::Primary));
    let secondary = key_column(&policy.secondary, vault, &owner(Slot::Secondary));
    db.prepare_cached(PUT_POLICY)
        .and_then(|mut put| put.execute((&*policy.name, rights, primary, secondary, etag)))
        .map_err(unavailable)?;
    Ok(())
}

fn delete(db: &Connection, name: &str) -> Result<(), StoreError> {
    db.execute("DELETE FROM policy WHERE name = ?1", [name])
        .map_err(unavailable)?;
    Ok(())
}
