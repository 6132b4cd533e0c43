//! Scans: every row in the order of keys, or those of a few named devices.

use std::ops::{ControlFlow, Range};

use async_trait::async_trait;
use fanfare_hub::{
    ids::{DeviceId, IdentityKey, Space},
    ports::store::{
        DeviceJobScan, DeviceJobVisitor, IdentityScan, IdentityVisitor, QueryStore, StoreError,
    },
};
use rusqlite::{Connection, Row};

use super::{
    Embedded,
    core::unavailable,
    journal::scan_device_jobs,
    measures::counted,
    rows::{StoredRow, identity_columns, row_key, space_keys, twin_columns},
};
use crate::vault::Vault;

/// Named devices up to which a scan, with up to fifty modules each, is as short as other reads.
const SHORT_SCAN_DEVICES: usize = 20;

#[async_trait]
impl QueryStore for Embedded {
    async fn identity_scan(
        &self,
        scan: IdentityScan,
        visit: IdentityVisitor,
    ) -> Result<(), StoreError> {
        let visit = counted(self.shell.measures().clone(), visit);
        let is_short = scan
            .devices
            .as_ref()
            .is_some_and(|devices| devices.len() <= SHORT_SCAN_DEVICES);
        let vault = self.vault.clone();
        let work = move |db: &Connection| scan_identities(db, &vault, &scan, visit);
        // One that is soon over does not wait for those that are not.
        match is_short {
            true => self.shell.read(work).await,
            false => self.shell.scan(work).await,
        }
    }

    async fn device_job_scan(
        &self,
        scan: DeviceJobScan,
        visit: DeviceJobVisitor,
    ) -> Result<(), StoreError> {
        self.shell
            .scan(move |db| scan_device_jobs(db, scan, visit))
            .await
    }
}

fn scan_identities(
    db: &Connection,
    vault: &Vault,
    scan: &IdentityScan,
    mut visit: IdentityVisitor,
) -> Result<(), StoreError> {
    let mut range = space_keys(scan.space);
    if let Some(ordinal) = scan.after {
        range.start = row_key(IdentityKey {
            space: scan.space,
            ordinal,
        }) + 1;
    }
    match &scan.devices {
        None => scan_range(db, vault, range, &mut visit),
        Some(devices) => scan_named(
            db,
            vault,
            keys_of(db, range, scan.space, devices)?,
            &mut visit,
        ),
    }
}

// CROSS JOIN fixes the order of the loops: both tables are walked side by side in the order of keys.
const SELECT_RANGE: &str = concat!(
    "SELECT ",
    identity_columns!(),
    ", ",
    twin_columns!(),
    " FROM identity CROSS JOIN twin ON twin.key = identity.key
     WHERE identity.key >= ?1 AND identity.key < ?2 ORDER BY identity.key"
);

fn scan_range(
    db: &Connection,
    vault: &Vault,
    range: Range<i64>,
    visit: &mut IdentityVisitor,
) -> Result<(), StoreError> {
    let mut select = db.prepare_cached(SELECT_RANGE).map_err(unavailable)?;
    let mut rows = select
        .query((range.start, range.end))
        .map_err(unavailable)?;
    while let Some(row) = rows.next().map_err(unavailable)? {
        if show(db, vault, row, visit)?.is_break() {
            break;
        }
    }
    Ok(())
}

const SELECT_ONE: &str = concat!(
    "SELECT ",
    identity_columns!(),
    ", ",
    twin_columns!(),
    " FROM identity CROSS JOIN twin ON twin.key = identity.key WHERE identity.key = ?1"
);

fn scan_named(
    db: &Connection,
    vault: &Vault,
    keys: Vec<i64>,
    visit: &mut IdentityVisitor,
) -> Result<(), StoreError> {
    let mut select = db.prepare_cached(SELECT_ONE).map_err(unavailable)?;
    for key in keys {
        let mut rows = select.query([key]).map_err(unavailable)?;
        if let Some(row) = rows.next().map_err(unavailable)?
            && show(db, vault, row, visit)?.is_break()
        {
            break;
        }
    }
    Ok(())
}

const SELECT_DEVICE_KEY: &str = "SELECT key FROM identity WHERE device_id = ?1 AND module_id = ''";
const SELECT_MODULE_KEYS: &str = "SELECT key FROM identity WHERE device_id = ?1 AND module_id > ''";

/// The keys in `range` of these devices, or of their modules; sorted, each once.
fn keys_of(
    db: &Connection,
    range: Range<i64>,
    space: Space,
    devices: &[DeviceId],
) -> Result<Vec<i64>, StoreError> {
    let statement = match space {
        Space::Devices => SELECT_DEVICE_KEY,
        Space::Modules => SELECT_MODULE_KEYS,
    };
    let mut select = db.prepare_cached(statement).map_err(unavailable)?;
    let mut keys = Vec::with_capacity(devices.len());
    for device in devices {
        let found = select
            .query_map([device.as_str()], |row| row.get(0))
            .map_err(unavailable)?;
        for key in found {
            let key: i64 = key.map_err(unavailable)?;
            if range.contains(&key) {
                keys.push(key);
            }
        }
    }
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

fn show(
    db: &Connection,
    vault: &Vault,
    row: &Row<'_>,
    visit: &mut IdentityVisitor,
) -> Result<ControlFlow<()>, StoreError> {
    let stored = StoredRow::new(db, vault, row)?;
    let flow = visit(&stored);
    match stored.fault() {
        Some(error) => Err(error),
        None => Ok(flow),
    }
}
