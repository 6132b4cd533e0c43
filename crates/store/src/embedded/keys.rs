//! Keys at rest: whether a store encrypts its keys, and taking it from one form to the other.
//!
//! The form of a store is the row of table `vault`; every reader understands both forms of every record, so a
//! conversion may stop anywhere and go on later. It goes in batches, each one commit that also says how far it
//! came. What was overwritten may still lie in the file's free space and in the log: only when all is
//! encrypted the file is written anew (VACUUM) and the log emptied, and only then the store calls itself
//! encrypted. Converts on the caller's thread; nobody else may write meanwhile.

use std::path::Path;

use fanfare_hub::ports::StoreError;
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{
    Embedded,
    core::{OpenError, open_reader, open_writer, unavailable},
    policies,
    registry::record::{IdentityRecord, Owner},
    rows::identity_key,
};
use crate::vault::{DataKey, KeyId, KeyKind, MasterKey, UnlockError, Vault, lock::Lock};

/// What a store says of its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyStanding {
    /// Which master key it needs.
    pub id: KeyId,
    /// What kind of master key that is.
    pub kind: KeyKind,
    /// How far it is.
    pub state: KeyState,
}

/// How far a store with a data key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Some keys may still lie in it as they are.
    Encrypting,
    /// No key does.
    Encrypted,
    /// Some keys lie in it as they are already.
    Decrypting,
}

/// How far a conversion has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyProgress {
    /// Identities looked at.
    pub done: u64,
    /// Identities in all.
    pub total: u64,
}

/// What a conversion did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Converted {
    /// Identities whose keys were converted.
    pub identities: u64,
    /// Policies whose keys were converted.
    pub policies: u64,
    /// Identities that cannot be read and were left as they are.
    pub damaged: u64,
    /// Why what was overwritten may still be found in the file; the next start tries again.
    pub leftover: Option<String>,
}

/// Why a store's keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// They are encrypted and no master key was given.
    #[error("the keys are encrypted under a {kind} (key id {id}), and none was given")]
    Needed {
        /// What kind of master key is needed.
        kind: KeyKind,
        /// Which one.
        id: KeyId,
    },
    /// They are not encrypted.
    #[error("the keys are not encrypted")]
    Plain,
    /// The master key is not the right one.
    #[error(transparent)]
    Unlock(#[from] UnlockError),
    /// The file cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file cannot be read or written.
    #[error("the keys in the store could not be read or written")]
    Store(#[from] StoreError),
    /// SQLite failed.
    #[error("the keys in the store could not be read or written")]
    Sqlite(#[from] rusqlite::Error),
}

/// Identities looked at by one transaction. Ours: about 2 MiB of log.
const BATCH: usize = 4_096;

impl Embedded {
    /// What the store in a file says of its keys, whether a hub runs on it or not; nothing where they lie as
    /// they are, or there is no file yet. Writes nothing.
    ///
    /// # Errors
    /// [`KeysError`] when the file cannot be read.
    pub fn key_standing(path: &Path) -> Result<Option<KeyStanding>, KeysError> {
        if !path.exists() {
            return Ok(None);
        }
        standing_of(&open_reader(path)?)
    }

    /// What opens the keys in a file, whether a hub runs on it or not. Writes nothing.
    ///
    /// # Errors
    /// [`KeysError`]; a key that a store without encrypted keys does not need is none.
    pub fn peek_vault(path: &Path, key: Option<&MasterKey>) -> Result<Vault, KeysError> {
        if !path.exists() {
            return Ok(Vault::plain());
        }
        match (read_lock(&open_reader(path)?)?, key) {
            (None, _) => Ok(Vault::plain()),
            (Some((lock, _)), Some(key)) => Ok(Vault::new(&lock.open(key)?)),
            (Some((lock, _)), None) => Err(needed(&lock)),
        }
    }

    /// Brings the keys in a file into encrypted form, and finishes what was begun; makes the file if need be.
    /// Where they are already, this only opens them. Nothing is changed when the key is wrong.
    ///
    /// # Errors
    /// [`KeysError`]. May be done again after any of them.
    pub fn encrypt_keys(
        path: &Path,
        key: &MasterKey,
        progress: &mut dyn FnMut(KeyProgress),
    ) -> Result<(Vault, Converted), KeysError> {
        let db = open_writer(path)?;
        let (data_key, state) = match read_lock(&db)? {
            Some((lock, state)) => (lock.open(key)?, state),
            None => {
                let data_key = DataKey::random();
                let record = Lock::new(&data_key, key)?.to_bytes();
                db.execute(INSERT_LOCK, (record, ENCRYPTING))?;
                (data_key, KeyState::Encrypting)
            }
        };
        let vault = Vault::new(&data_key);
        let mut converted = Converted::default();
        if state == KeyState::Encrypted {
            return Ok((vault, converted));
        }
        if state == KeyState::Decrypting {
            db.execute(SET_STATE, [ENCRYPTING])?;
        }
        convert(&db, &vault, Form::Encrypted, &mut converted, progress)?;
        match wipe(&db) {
            Ok(()) => drop(db.execute(SET_STATE, [ENCRYPTED])?),
            Err(problem) => converted.leftover = Some(problem),
        }
        Ok((vault, converted))
    }

    /// Brings the keys in a file into plain form and forgets the data key.
    ///
    /// # Errors
    /// [`KeysError`]. May be done again after any of them.
    pub fn decrypt_keys(
        path: &Path,
        key: &MasterKey,
        progress: &mut dyn FnMut(KeyProgress),
    ) -> Result<Converted, KeysError> {
        let db = open_writer(path)?;
        let (lock, state) = read_lock(&db)?.ok_or(KeysError::Plain)?;
        let vault = Vault::new(&lock.open(key)?);
        if state != KeyState::Decrypting {
            db.execute(SET_STATE, [DECRYPTING])?;
        }
        let mut converted = Converted::default();
        convert(&db, &vault, Form::Plain, &mut converted, progress)?;
        db.execute("DELETE FROM vault", [])?;
        Ok(converted)
    }

    /// Keeps the data key of a file under another master key; no secret is touched. Returns what the store
    /// says now.
    ///
    /// # Errors
    /// [`KeysError`]; then nothing changed.
    pub fn change_master_key(
        path: &Path,
        key: &MasterKey,
        new: &MasterKey,
    ) -> Result<KeyStanding, KeysError> {
        let db = open_writer(path)?;
        let (lock, state) = read_lock(&db)?.ok_or(KeysError::Plain)?;
        let lock = Lock::new(&lock.open(key)?, new)?;
        db.execute("UPDATE vault SET record = ?1", [lock.to_bytes()])?;
        Ok(standing(&lock, state))
    }
}

/// What a store says of its keys.
pub(super) fn standing_of(db: &Connection) -> Result<Option<KeyStanding>, KeysError> {
    let kept = read_lock(db)?;
    Ok(kept.map(|(lock, state)| standing(&lock, state)))
}

/// Whether there is a data key, in a file of the current format.
pub(super) fn is_encrypted(db: &Connection) -> rusqlite::Result<bool> {
    db.prepare("SELECT 1 FROM vault")?.exists([])
}

fn needed(lock: &Lock) -> KeysError {
    KeysError::Needed {
        kind: lock.kind(),
        id: lock.id(),
    }
}

fn standing(lock: &Lock, state: KeyState) -> KeyStanding {
    KeyStanding {
        id: lock.id(),
        kind: lock.kind(),
        state,
    }
}

const ENCRYPTING: i64 = 0;
const ENCRYPTED: i64 = 1;
const DECRYPTING: i64 = 2;
const INSERT_LOCK: &str = "INSERT INTO vault (id, record, state, last) VALUES (1, ?1, ?2, -1)";
/// A conversion that goes the other way begins at the first identity again.
const SET_STATE: &str = "UPDATE vault SET state = ?1, last = -1";
/// A file of an older format has no such table.
const HAS_TABLE: &str = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'vault'";

fn read_lock(db: &Connection) -> Result<Option<(Lock, KeyState)>, KeysError> {
    if !db.prepare(HAS_TABLE)?.exists([])? {
        return Ok(None);
    }
    let kept = db.query_row("SELECT record, state FROM vault", [], |row| {
        Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?))
    });
    let Some((record, state)) = kept.optional()? else {
        return Ok(None);
    };
    let state = match state {
        ENCRYPTED => KeyState::Encrypted,
        DECRYPTING => KeyState::Decrypting,
        _ => KeyState::Encrypting,
    };
    Ok(Some((Lock::from_bytes(&record)?, state)))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Encrypted,
    Plain,
}

fn convert(
    db: &Connection,
    vault: &Vault,
    form: Form,
    converted: &mut Converted,
    progress: &mut dyn FnMut(KeyProgress),
) -> Result<(), KeysError> {
    let transaction = db.unchecked_transaction()?;
    converted.policies = policies::convert(&transaction, vault, form == Form::Encrypted)?;
    transaction.commit()?;
    let count = |statement: &str, last: i64| db.query_row(statement, [last], |row| row.get(0));
    let mut last: i64 = db.query_row("SELECT last FROM vault", [], |row| row.get(0))?;
    let total: u64 = count("SELECT count(*) FROM identity WHERE key > ?1", -1)?;
    let mut done: u64 = count("SELECT count(*) FROM identity WHERE key <= ?1", last)?;
    loop {
        let transaction = db.unchecked_transaction()?;
        let batch = convert_batch(&transaction, vault, form, last, converted)?;
        if let Some(end) = batch.end {
            last = end;
            transaction.execute("UPDATE vault SET last = ?1", [last])?;
        }
        transaction.commit()?;
        done += batch.rows as u64;
        progress(KeyProgress { done, total });
        if batch.rows < BATCH {
            return Ok(());
        }
        // Keeps the log short; whoever reads meanwhile only makes it longer.
        db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    }
}

struct Batch {
    rows: usize,
    /// The last row.
    end: Option<i64>,
}

const SELECT_BATCH: &str = "SELECT key, device_id, module_id, generation, record FROM identity
     WHERE key > ?1 ORDER BY key LIMIT ?2";
const UPDATE_RECORD: &str = "UPDATE identity SET record = ?2 WHERE key = ?1";

fn convert_batch(
    db: &Connection,
    vault: &Vault,
    form: Form,
    after: i64,
    converted: &mut Converted,
) -> Result<Batch, KeysError> {
    let mut batch = Batch { rows: 0, end: None };
    let mut changes = Vec::new();
    let mut select = db.prepare_cached(SELECT_BATCH)?;
    let mut rows = select.query((after, BATCH))?;
    while let Some(row) = rows.next()? {
        let key: i64 = row.get(0)?;
        batch.rows += 1;
        batch.end = Some(key);
        match converted_record(row, vault, form) {
            Ok(Some(record)) => changes.push((key, record)),
            Ok(None) => {}
            Err(StoreError::Corrupt(problem)) => {
                converted.damaged += 1;
                let ordinal = identity_key(key).ordinal;
                tracing::warn!(ordinal, error = %problem, "an identity cannot be read and stays as it is");
            }
            Err(other) => return Err(other.into()),
        }
    }
    let mut update = db.prepare_cached(UPDATE_RECORD)?;
    for change in changes {
        converted.identities += 1;
        update.execute(change)?;
    }
    Ok(batch)
}

/// The record in its new form; nothing where it has that already.
fn converted_record(
    row: &Row<'_>,
    vault: &Vault,
    form: Form,
) -> Result<Option<Vec<u8>>, StoreError> {
    let text = |column| {
        let value = row.get_ref(column).map_err(unavailable)?;
        value
            .as_str()
            .map_err(|_| crate::record::corrupt("an identity row", "has a name that is none"))
    };
    let bytes = super::rows::bytes(row, 4)?;
    let record = IdentityRecord::open(bytes)?;
    let owner = Owner {
        row: row.get(0).map_err(unavailable)?,
        generation: row.get::<_, i64>(3).map_err(unavailable)? as u64,
        device_id: text(1)?,
        module_id: text(2)?,
    };
    Ok(match (record.has_keys(), form) {
        (Some(false), Form::Encrypted) => Some(record.encrypted(vault, &owner).seal()),
        (Some(true), Form::Plain) => Some(record.decrypted(vault, &owner)?.seal()),
        _ => None,
    })
}

/// Leaves nothing of what was overwritten in the file and in the log beside it. Says what is in the way.
fn wipe(db: &Connection) -> Result<(), String> {
    db.execute_batch("VACUUM")
        .map_err(|error| format!("the file could not be written anew: {error}"))?;
    let is_busy: bool = db
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .map_err(|error| format!("the log could not be emptied: {error}"))?;
    match is_busy {
        true => Err("the log could not be emptied: another program reads the store".to_owned()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
