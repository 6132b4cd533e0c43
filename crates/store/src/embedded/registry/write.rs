//! What one write does to the rows of identities, decided inside the writer.
//!
//! Everything that can refuse a write comes before its first row. Generations and etags are drawn from one
//! counter, so that no etag of a name that is used again was ever seen before. compat: REG-18

use std::collections::VecDeque;

use fanfare_hub::{
    ids::{DeviceId, Etag, Generation, IdentityId, IdentityKey, Ordinal, Space},
    limits,
    ports::store::StoreError,
    registry::{
        DesiredPatch, Identity, IdentityError, IdentitySettings, IdentityWrite, IdentityWritten,
        Made, OwnModule, Precondition, Status, is_edge_module, scope,
    },
    time::Timestamp,
    twin::document::{TwinDocument, TwinPatch},
};
use rusqlite::Connection;

use super::{
    CountChange, read_entry, read_identity,
    record::{IdentityRecord, Owner},
};
use crate::embedded::{
    core::{Writer, next_number, unavailable},
    rows::{identity_key, module_column, row_key},
    shell::TRANSACTION_ROWS,
    twins::{PatchedRow, create_row, first_document, patch_row},
};

/// Rows one write may touch: identity, twin, session or tombstone.
const ROWS_PER_WRITE: usize = 3;

/// How many rows writes may touch, about.
pub(super) fn rows_of(writes: &VecDeque<IdentityWrite>) -> usize {
    let entries = |write: &IdentityWrite| match write {
        IdentityWrite::Put { modules, .. } => 1 + modules.len(),
        IdentityWrite::Delete { .. } => 1,
    };
    writes.iter().map(entries).sum::<usize>() * ROWS_PER_WRITE
}

/// Does writes in order, until there are none left or one transaction has had enough; what is left stays.
/// How many rows go with a device is known only here.
pub(super) fn write_some(
    writer: &Writer<'_>,
    writes: &mut VecDeque<IdentityWrite>,
    at: Timestamp,
) -> Result<Vec<Written>, StoreError> {
    let begun = writer.db.total_changes();
    let mut counts = CountChange::default();
    let mut results = Vec::with_capacity(writes.len());
    while writer.db.total_changes() - begun < TRANSACTION_ROWS as u64
        && let Some(write) = writes.pop_front()
    {
        let result = match write {
            IdentityWrite::Put {
                id,
                settings,
                made,
                modules,
                precondition,
                twin,
            } => {
                let put = Put {
                    id,
                    settings,
                    made,
                    modules,
                    twin,
                    at,
                };
                put.write(writer, precondition)?
            }
            IdentityWrite::Delete { id, precondition } => delete(writer.db, id, precondition)?,
        };
        match &result {
            Ok(IdentityWritten::Put {
                identity, before, ..
            }) => counts.note(before.as_deref(), Some(identity)),
            Ok(IdentityWritten::Deleted { identity, .. }) => counts.note(Some(identity), None),
            Err(_) => {}
        }
        results.push(result);
    }
    counts.write(writer.db).map_err(unavailable)?;
    Ok(results)
}

/// What became of one write.
type Written = Result<IdentityWritten, IdentityError>;

/// Whether the precondition allows to create (`before` is `None`) or change an entry.
fn check(
    id: &IdentityId,
    before: Option<&Identity>,
    precondition: Precondition,
) -> Result<(), IdentityError> {
    match (before, precondition) {
        (None, Precondition::Absent | Precondition::AbsentOrMatches(_) | Precondition::Any) => {
            Ok(())
        }
        (None, Precondition::Exists | Precondition::Matches(_)) => {
            Err(IdentityError::Absent(id.clone()))
        }
        (Some(_), Precondition::Absent) => Err(IdentityError::Exists(id.clone())),
        (Some(before), Precondition::Matches(etag) | Precondition::AbsentOrMatches(etag))
            if before.etag != etag =>
        {
            Err(IdentityError::EtagMismatch(id.clone()))
        }
        (Some(_), _) => Ok(()),
    }
}

/// One `IdentityWrite::Put` at its moment.
struct Put {
    id: IdentityId,
    settings: IdentitySettings,
    made: Made,
    modules: Vec<OwnModule>,
    twin: Option<TwinPatch>,
    at: Timestamp,
}

impl Put {
    fn write(self, writer: &Writer<'_>, precondition: Precondition) -> Result<Written, StoreError> {
        let before = read_identity(writer.db, writer.vault, &self.id)?;
        if let Err(refused) = check(&self.id, before.as_ref(), precondition) {
            return Ok(Err(refused));
        }
        match before {
            Some(before) => self.change(writer, before),
            None => self.create(writer),
        }
    }

    fn create(mut self, writer: &Writer<'_>) -> Result<Written, StoreError> {
        let db = writer.db;
        if let Err(refused) = check_modules(db, &self.id, usize::from(self.id.module.is_some()))? {
            return Ok(Err(refused));
        }
        let document = match first_document(self.twin.as_ref(), self.at) {
            Ok(document) => document,
            Err(source) => {
                return Ok(Err(IdentityError::Twin {
                    id: self.id,
                    source,
                }));
            }
        };
        let generation = next_version(db)?;
        if self.id.module.is_none() {
            scope::settle(
                &self.id.device,
                Generation(generation),
                None,
                &mut self.settings,
            );
        }
        let identity = insert(writer, self.id, self.settings, generation, &document)?;
        add_modules(writer, &identity.id.device, self.modules, self.at)?;
        Ok(Ok(IdentityWritten::Put {
            identity: Box::new(identity),
            before: None,
            shut_out: Vec::new(),
            // Nobody can be connected yet.
            desired: None,
        }))
    }

    fn change(mut self, writer: &Writer<'_>, before: Identity) -> Result<Written, StoreError> {
        let db = writer.db;
        let own = std::mem::take(&mut self.modules);
        let missing = missing_modules(db, &self.id.device, own)?;
        if let Err(refused) = self.settle_scopes(db, &before)? {
            return Ok(Err(refused));
        }
        if let Err(refused) = check_modules(db, &self.id, missing.len())? {
            return Ok(Err(refused));
        }
        let mut desired = None;
        if let Some(patch) = self.twin {
            // Refused or done as a whole: nothing of this entry is written yet.
            let id = self.id;
            match patch_row(writer, row_key(before.key), &patch, self.at)? {
                PatchedRow::Refused(source) => return Ok(Err(IdentityError::Twin { id, source })),
                PatchedRow::Absent => return Ok(Err(IdentityError::Absent(id))),
                PatchedRow::Patched(change) => {
                    desired = change.map(|change| Box::new(DesiredPatch { patch, change }));
                }
            }
        }
        let mut settings = self.settings;
        settings.authentication = settings
            .authentication
            .over(&before.settings.authentication, self.made);
        if self.made.status {
            settings.status = before.settings.status;
            let had = before.settings.status_reason.clone();
            settings.status_reason = settings.status_reason.or(had);
        }
        let is_same_status = settings.status == before.settings.status;
        let identity = Identity {
            etag: Etag(next_version(db)?),
            status_updated: if is_same_status {
                before.status_updated
            } else {
                self.at
            },
            settings,
            ..before.clone()
        };
        update(writer, &identity)?;
        add_modules(writer, &identity.id.device, missing, self.at)?;
        let is_disabled = identity.settings.status == Status::Disabled;
        let shut_out = match is_disabled && identity.id.module.is_none() {
            true => module_keys(db, &identity.id.device)?,
            false => Vec::new(),
        };
        Ok(Ok(IdentityWritten::Put {
            identity: Box::new(identity),
            before: Some(Box::new(before)),
            shut_out,
            desired,
        }))
    }

    fn settle_scopes(
        &mut self,
        db: &Connection,
        before: &Identity,
    ) -> Result<Result<(), IdentityError>, StoreError> {
        if self.id.module.is_some() {
            return Ok(Ok(()));
        }
        let (device, settings) = (&self.id.device, &mut self.settings);
        let allowed = scope::settle(device, before.generation, Some(&before.settings), settings);
        let is_allowed = match allowed {
            scope::Allowed::Yes => true,
            scope::Allowed::No => false,
            scope::Allowed::IfParentExists => is_scope_of_edge_device(db, settings)?,
        };
        Ok(match is_allowed {
            true => Ok(()),
            false => Err(IdentityError::ScopeFixed(self.id.clone())),
        })
    }
}

/// Whether the scope of these settings is the own one of an edge device.
fn is_scope_of_edge_device(
    db: &Connection,
    settings: &IdentitySettings,
) -> Result<bool, StoreError> {
    let device = settings.device_scope.as_deref().and_then(scope::device_of);
    let Some(device) = device else {
        return Ok(false);
    };
    let parent = read_entry(db, &IdentityId::device(device))?;
    Ok(parent.is_some_and(|parent| {
        parent.settings.edge && parent.settings.device_scope == settings.device_scope
    }))
}

/// Whether `more` modules may be added: to a device that is there, within the limit. compat: REG-19
fn check_modules(
    db: &Connection,
    id: &IdentityId,
    more: usize,
) -> Result<Result<(), IdentityError>, StoreError> {
    if more == 0 {
        return Ok(Ok(()));
    }
    let device = IdentityId::device(id.device.clone());
    if read_entry(db, &device)?.is_none() {
        return Ok(Err(IdentityError::Absent(device)));
    }
    if module_keys(db, &id.device)?.len() + more > limits::DEVICE_MODULES_MAX {
        return Ok(Err(IdentityError::TooManyModules(id.device.clone())));
    }
    Ok(Ok(()))
}

/// Those of a device's own modules that it does not have yet.
fn missing_modules(
    db: &Connection,
    device: &DeviceId,
    modules: Vec<OwnModule>,
) -> Result<Vec<OwnModule>, StoreError> {
    let mut missing = Vec::new();
    for module in modules {
        if read_entry(db, &on(device, &module))?.is_none() {
            missing.push(module);
        }
    }
    Ok(missing)
}

/// Creates modules with empty twins; none of them is there.
fn add_modules(
    writer: &Writer<'_>,
    device: &DeviceId,
    modules: Vec<OwnModule>,
    at: Timestamp,
) -> Result<(), StoreError> {
    for module in modules {
        let id = on(device, &module);
        let generation = next_version(writer.db)?;
        insert(
            writer,
            id,
            module.settings,
            generation,
            &TwinDocument::new(at),
        )?;
    }
    Ok(())
}

fn on(device: &DeviceId, module: &OwnModule) -> IdentityId {
    IdentityId {
        device: device.clone(),
        module: Some(module.id.clone()),
    }
}

const INSERT_IDENTITY: &str = "INSERT INTO identity
     (key, device_id, module_id, generation, etag, enabled, record)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// Writes a new entry and its twin.
fn insert(
    writer: &Writer<'_>,
    id: IdentityId,
    settings: IdentitySettings,
    generation: u64,
    document: &TwinDocument,
) -> Result<Identity, StoreError> {
    let identity = Identity {
        key: IdentityKey {
            space: id.space(),
            ordinal: next_ordinal(writer.db, id.space())?,
        },
        generation: Generation(generation),
        etag: Etag(generation),
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
        record_of(writer, &identity),
    );
    let mut insert = writer
        .db
        .prepare_cached(INSERT_IDENTITY)
        .map_err(unavailable)?;
    insert.execute(columns).map_err(unavailable)?;
    create_row(writer.db, row_key(identity.key), document)?;
    Ok(identity)
}

/// The bytes of the column `record`.
fn record_of(writer: &Writer<'_>, identity: &Identity) -> Vec<u8> {
    let owner = Owner {
        row: row_key(identity.key),
        generation: identity.generation.0,
        device_id: identity.id.device.as_str(),
        module_id: module_column(&identity.id),
    };
    IdentityRecord::new(&identity.settings, identity.status_updated)
        .encrypted(writer.vault, &owner)
        .seal()
}

const UPDATE_IDENTITY: &str =
    "UPDATE identity SET etag = ?2, enabled = ?3, record = ?4 WHERE key = ?1";

fn update(writer: &Writer<'_>, identity: &Identity) -> Result<(), StoreError> {
    let mut update = writer
        .db
        .prepare_cached(UPDATE_IDENTITY)
        .map_err(unavailable)?;
    let is_enabled = identity.settings.status == Status::Enabled;
    let columns = (
        row_key(identity.key),
        identity.etag.0 as i64,
        is_enabled,
        record_of(writer, identity),
    );
    update.execute(columns).map(drop).map_err(unavailable)
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

/// A number that no generation and no etag of this store has.
fn next_version(db: &Connection) -> Result<u64, StoreError> {
    next_number(db, "generation").map_err(unavailable)
}

fn delete(
    db: &Connection,
    id: IdentityId,
    precondition: Precondition,
) -> Result<Written, StoreError> {
    let Some(before) = read_entry(db, &id)? else {
        return Ok(Err(IdentityError::Absent(id)));
    };
    if let Err(refused) = check(&id, Some(&before), precondition) {
        return Ok(Err(refused));
    }
    let modules = match &id.module {
        None => module_keys(db, &id.device)?,
        Some(module) => {
            let device = IdentityId::device(id.device.clone());
            let device = read_entry(db, &device)?;
            if is_edge_module(module) && device.is_some_and(|device| device.settings.edge) {
                return Ok(Err(IdentityError::EdgeModule(id)));
            }
            Vec::new()
        }
    };
    for key in modules.iter().chain([&before.key]) {
        delete_rows(db, row_key(*key)).map_err(unavailable)?;
    }
    Ok(Ok(IdentityWritten::Deleted {
        identity: Box::new(before),
        modules,
    }))
}

const SELECT_MODULES: &str =
    "SELECT key FROM identity WHERE device_id = ?1 AND module_id > '' ORDER BY key";

/// The modules of a device, in order of creation.
fn module_keys(db: &Connection, device: &DeviceId) -> Result<Vec<IdentityKey>, StoreError> {
    let mut select = db.prepare_cached(SELECT_MODULES).map_err(unavailable)?;
    let keys = select
        .query_map([device.as_str()], |row| row.get(0).map(identity_key))
        .map_err(unavailable)?;
    keys.collect::<Result<_, _>>().map_err(unavailable)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        embedded::core::{Core, MIGRATIONS},
        vault::Vault,
    };

    #[test]
    fn etags_of_an_older_store_are_not_drawn_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(MIGRATIONS[0]).unwrap();
        old.execute_batch(
            "INSERT INTO hub VALUES ('generation', 2);
             INSERT INTO identity VALUES (0, 'often', '', 1, 700, 1, x'00'), (1, 'new', '', 2, 1, 1, x'00');
             PRAGMA user_version = 1;",
        )
        .unwrap();
        drop(old);
        for next in 701..703 {
            drop(Core::open(&path, Arc::new(Vault::plain())).unwrap());
            let db = Connection::open(&path).unwrap();
            assert_eq!(next_version(&db).unwrap(), next);
        }
    }
}
