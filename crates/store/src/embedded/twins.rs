//! Twins: reading one, and merging changes into it inside the writer.
//!
//! What a merge means is the hub's ([`TwinDocument`]); here only the sections that a change touches are
//! parsed and written anew, the others are copied as they lie.

pub(super) mod record;

use async_trait::async_trait;
use fanfare_hub::{
    ids::{Etag, IdentityId, IdentityKey},
    ports::store::{
        IdentityRow as _, Keys, StoreError, Twin, TwinPatched, TwinStore, TwinWriteError,
    },
    time::Timestamp,
    twin::document::{
        DesiredChange, Metadata, Object, Properties, ReportedPatch, TwinDocument, TwinError,
        TwinPatch, TwinReplacement,
    },
};
use rusqlite::{Connection, OptionalExtension, Row};

use self::record::{
    PackedMetadata, Sections, pack_metadata, parse_section, print_section, unpack_metadata,
};
use super::{
    Embedded,
    core::{Writer, unavailable},
    rows::{StoredRow, bytes, identity_columns, module_column, row_key, twin_columns},
    shell::Lane,
};
use crate::vault::Vault;

#[async_trait]
impl TwinStore for Embedded {
    async fn twin_get(&self, id: &IdentityId) -> Result<Option<Twin>, StoreError> {
        let (id, vault) = (id.clone(), self.vault.clone());
        self.shell
            .read(move |db| read_twin(db, &vault, &id, Keys::Shown))
            .await
    }

    async fn twin_patch(
        &self,
        id: &IdentityId,
        patch: TwinPatch,
        matches: Option<Etag>,
        at: Timestamp,
    ) -> Result<TwinPatched, TwinWriteError> {
        let id = id.clone();
        let work = move |writer: &mut Writer<'_>| {
            let patch = |key| patch_row(writer, key, &patch, at);
            change_named(writer, &id, matches, patch)
        };
        self.shell
            .write(Lane::Interactive, 1, work)
            .await
            .map_err(TwinWriteError::Store)?
    }

    async fn twin_replace(
        &self,
        id: &IdentityId,
        replacement: TwinReplacement,
        matches: Option<Etag>,
        at: Timestamp,
    ) -> Result<TwinPatched, TwinWriteError> {
        let id = id.clone();
        let work = move |writer: &mut Writer<'_>| {
            let replace = |key| replace_row(writer.db, key, &replacement, at);
            change_named(writer, &id, matches, replace)
        };
        self.shell
            .write(Lane::Interactive, 1, work)
            .await
            .map_err(TwinWriteError::Store)?
    }

    async fn twin_report(
        &self,
        id: &IdentityId,
        key: IdentityKey,
        patch: ReportedPatch,
        base: Option<u64>,
        at: Timestamp,
    ) -> Result<u64, TwinWriteError> {
        let id = id.clone();
        let work = move |writer: &mut Writer<'_>| {
            // By key: a report from a dying connection must not reach whoever got its name since.
            let reported = report_row(writer.db, row_key(key), &patch, base, at);
            reported.map(|reported| match reported {
                Reported::Absent => Err(TwinWriteError::Absent(id)),
                Reported::OtherVersion => Err(TwinWriteError::EtagMismatch(id)),
                Reported::Refused(error) => Err(TwinWriteError::Twin(error)),
                Reported::Done(version) => Ok(version),
            })
        };
        self.shell
            .write(Lane::Interactive, 1, work)
            .await
            .map_err(TwinWriteError::Store)?
    }

    async fn twin_desired_versions(
        &self,
        keys: Vec<IdentityKey>,
    ) -> Result<Vec<(IdentityKey, u64)>, StoreError> {
        self.shell
            .read(move |db| read_desired_versions(db, &keys))
            .await
    }
}

const SELECT_TWIN: &str = concat!(
    "SELECT ",
    identity_columns!(),
    ", ",
    twin_columns!(),
    " FROM identity CROSS JOIN twin ON twin.key = identity.key
     WHERE identity.device_id = ?1 AND identity.module_id = ?2"
);

fn read_twin(
    db: &Connection,
    vault: &Vault,
    id: &IdentityId,
    keys: Keys,
) -> Result<Option<Twin>, StoreError> {
    let mut select = db.prepare_cached(SELECT_TWIN).map_err(unavailable)?;
    let mut rows = select
        .query((id.device.as_str(), module_column(id)))
        .map_err(unavailable)?;
    match rows.next().map_err(unavailable)? {
        Some(row) => StoredRow::new(db, vault, row)?.twin(keys).map(Some),
        None => Ok(None),
    }
}

const SELECT_DESIRED_VERSION: &str = "SELECT desired_version FROM twin WHERE key = ?1";

fn read_desired_versions(
    db: &Connection,
    keys: &[IdentityKey],
) -> Result<Vec<(IdentityKey, u64)>, StoreError> {
    let mut select = db
        .prepare_cached(SELECT_DESIRED_VERSION)
        .map_err(unavailable)?;
    let mut versions = Vec::with_capacity(keys.len());
    for key in keys {
        let version = select
            .query_row([row_key(*key)], |row| row.get::<_, i64>(0))
            .optional();
        if let Some(version) = version.map_err(unavailable)? {
            versions.push((*key, version as u64));
        }
    }
    Ok(versions)
}

const SELECT_KEY: &str = "SELECT identity.key, twin.etag
     FROM identity CROSS JOIN twin ON twin.key = identity.key
     WHERE identity.device_id = ?1 AND identity.module_id = ?2";

/// Key and etag of the twin of that name.
fn find(db: &Connection, id: &IdentityId) -> Result<Option<(i64, Etag)>, StoreError> {
    let mut select = db.prepare_cached(SELECT_KEY).map_err(unavailable)?;
    let found = select.query_row((id.device.as_str(), module_column(id)), |row| {
        let etag: i64 = row.get(1)?;
        Ok((row.get(0)?, Etag(etag as u64)))
    });
    found.optional().map_err(unavailable)
}

/// Lets `change` have the row of a name whose etag matches, and reads what became of it.
fn change_named(
    writer: &Writer<'_>,
    id: &IdentityId,
    matches: Option<Etag>,
    change: impl FnOnce(i64) -> Result<PatchedRow, StoreError>,
) -> Result<Result<TwinPatched, TwinWriteError>, StoreError> {
    let Some((key, etag)) = find(writer.db, id)? else {
        return Ok(Err(TwinWriteError::Absent(id.clone())));
    };
    if matches.is_some_and(|known| known != etag) {
        return Ok(Err(TwinWriteError::EtagMismatch(id.clone())));
    }
    let desired = match change(key)? {
        PatchedRow::Absent => return Ok(Err(TwinWriteError::Absent(id.clone()))),
        PatchedRow::Refused(error) => return Ok(Err(TwinWriteError::Twin(error))),
        PatchedRow::Patched(desired) => desired,
    };
    let twin = read_twin(writer.db, writer.vault, id, Keys::Withheld)?;
    Ok(twin
        .map(|twin| TwinPatched { twin, desired })
        .ok_or_else(|| TwinWriteError::Absent(id.clone())))
}

/// What became of a report.
enum Reported {
    /// There is no twin of that key (any more).
    Absent,
    /// The device knew another version.
    OtherVersion,
    /// The merged twin would break a limit; nothing changed.
    Refused(TwinError),
    /// The `$version` it has now.
    Done(u64),
}

const SELECT_REPORTED_VERSION: &str = "SELECT reported_version FROM twin WHERE key = ?1";

/// Merges a change by the device, if it knew the version `base`.
fn report_row(
    db: &Connection,
    key: i64,
    patch: &ReportedPatch,
    base: Option<u64>,
    at: Timestamp,
) -> Result<Reported, StoreError> {
    if let Some(known) = base {
        let mut select = db
            .prepare_cached(SELECT_REPORTED_VERSION)
            .map_err(unavailable)?;
        let version = select
            .query_row([key], |row| row.get::<_, i64>(0))
            .optional();
        match version.map_err(unavailable)? {
            None => return Ok(Reported::Absent),
            Some(version) if version as u64 != known => return Ok(Reported::OtherVersion),
            Some(_) => {}
        }
    }
    let touched = Touched {
        reported: true,
        ..Touched::default()
    };
    let reported = change_row(db, key, touched, |document| document.report(patch, at))?;
    Ok(match reported {
        None => Reported::Absent,
        Some(Err(error)) => Reported::Refused(error),
        Some(Ok(version)) => Reported::Done(version),
    })
}

/// What became of a patch of one row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PatchedRow {
    /// There is no twin of that key (any more).
    Absent,
    /// The merged twin would break a limit; nothing changed.
    Refused(TwinError),
    /// It is changed; what the device must hear.
    Patched(Option<DesiredChange>),
}

/// Merges a change by the service into the twin of a key.
pub(super) fn patch_row(
    writer: &Writer<'_>,
    key: i64,
    patch: &TwinPatch,
    at: Timestamp,
) -> Result<PatchedRow, StoreError> {
    let touched = Touched {
        tags: !patch.tags().is_absent(),
        desired: !patch.desired().is_absent(),
        reported: false,
    };
    let patched = change_row(writer.db, key, touched, |document| {
        document.patch(patch, at)
    })?;
    Ok(match patched {
        None => PatchedRow::Absent,
        Some(Err(error)) => PatchedRow::Refused(error),
        Some(Ok(desired)) => PatchedRow::Patched(desired),
    })
}

fn replace_row(
    db: &Connection,
    key: i64,
    replacement: &TwinReplacement,
    at: Timestamp,
) -> Result<PatchedRow, StoreError> {
    let touched = Touched {
        tags: replacement.tags().is_some(),
        desired: replacement.desired().is_some(),
        reported: false,
    };
    let replace = |document: &mut TwinDocument| Ok(document.replace(replacement, at));
    Ok(match change_row(db, key, touched, replace)? {
        None => PatchedRow::Absent,
        Some(Err(error)) => PatchedRow::Refused(error),
        Some(Ok(desired)) => PatchedRow::Patched(desired),
    })
}

/// Writes the twin of an identity just created. A first content counts as part of the creation: every
/// version starts at 1 with it. compat: TWIN-1
pub(super) fn create_row(
    db: &Connection,
    key: i64,
    document: &TwinDocument,
) -> Result<(), StoreError> {
    let (tags, desired, reported) = (
        print_section(&document.tags),
        print_section(&document.desired.values),
        print_section(&document.reported.values),
    );
    let sections = Sections {
        tags: &tags,
        desired: &desired,
        reported: &reported,
    };
    let metadata = PackedMetadata {
        desired: pack_metadata(&document.desired.metadata).into(),
        reported: pack_metadata(&document.reported.metadata).into(),
    };
    let mut insert = db.prepare_cached(INSERT_TWIN).map_err(unavailable)?;
    let columns = columns_of(document, &sections, &metadata);
    insert
        .execute((
            key, columns.0, columns.1, columns.2, columns.3, columns.4, columns.5,
        ))
        .map_err(unavailable)?;
    Ok(())
}

/// The twin of an identity about to be created.
pub(super) fn first_document(
    patch: Option<&TwinPatch>,
    at: Timestamp,
) -> Result<TwinDocument, TwinError> {
    let mut document = TwinDocument::new(at);
    if let Some(patch) = patch {
        (document.version, document.etag) = (0, Etag(0));
        if !patch.desired().is_absent() {
            document.desired.version = 0;
        }
        document.patch(patch, at)?;
    }
    Ok(document)
}

const SELECT_ROW: &str = "SELECT version, etag, desired_version, reported_version, record, metadata
     FROM twin WHERE key = ?1";

const INSERT_TWIN: &str = "INSERT INTO twin
     (key, version, etag, desired_version, reported_version, record, metadata)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

const UPDATE_TWIN: &str = "UPDATE twin SET version = ?2, etag = ?3, desired_version = ?4,
     reported_version = ?5, record = ?6, metadata = ?7 WHERE key = ?1";

/// Which sections a change needs to see.
#[derive(Clone, Copy, Default)]
struct Touched {
    tags: bool,
    desired: bool,
    reported: bool,
}

/// Reads the twin of a key, lets `change` have it with the touched sections filled in (the others look
/// empty), and writes it back if `change` agrees. `None` when there is no such twin.
fn change_row<T>(
    db: &Connection,
    key: i64,
    touched: Touched,
    change: impl FnOnce(&mut TwinDocument) -> Result<T, TwinError>,
) -> Result<Option<Result<T, TwinError>>, StoreError> {
    let mut select = db.prepare_cached(SELECT_ROW).map_err(unavailable)?;
    let mut rows = select.query([key]).map_err(unavailable)?;
    let Some(row) = rows.next().map_err(unavailable)? else {
        return Ok(None);
    };
    let mut sections = Sections::open(bytes(row, 4)?)?;
    let mut metadata = PackedMetadata::open(bytes(row, 5)?)?;
    let mut document = touched_document(row, touched, &sections, &metadata)?;
    let value = match change(&mut document) {
        Ok(value) => value,
        Err(error) => return Ok(Some(Err(error))),
    };

    let (tags, desired, reported);
    if touched.tags {
        tags = print_section(&document.tags);
        sections.tags = &tags;
    }
    if touched.desired {
        desired = print_section(&document.desired.values);
        sections.desired = &desired;
        metadata.desired = pack_metadata(&document.desired.metadata).into();
    }
    if touched.reported {
        reported = print_section(&document.reported.values);
        sections.reported = &reported;
        metadata.reported = pack_metadata(&document.reported.metadata).into();
    }
    let columns = columns_of(&document, &sections, &metadata);
    let mut update = db.prepare_cached(UPDATE_TWIN).map_err(unavailable)?;
    update
        .execute((
            key, columns.0, columns.1, columns.2, columns.3, columns.4, columns.5,
        ))
        .map_err(unavailable)?;
    Ok(Some(Ok(value)))
}

fn touched_document(
    row: &Row<'_>,
    touched: Touched,
    sections: &Sections<'_>,
    metadata: &PackedMetadata<'_>,
) -> Result<TwinDocument, StoreError> {
    let number = |column| {
        row.get::<_, i64>(column)
            .map(|n| n as u64)
            .map_err(unavailable)
    };
    let values = |is_touched: bool, text| {
        if is_touched {
            parse_section(text)
        } else {
            Ok(Object::new())
        }
    };
    let unpacked = |is_touched: bool, packed: &[u8]| {
        if is_touched {
            unpack_metadata(packed)
        } else {
            Ok(NO_METADATA)
        }
    };
    Ok(TwinDocument {
        tags: values(touched.tags, sections.tags)?,
        desired: Properties {
            values: values(touched.desired, sections.desired)?,
            metadata: unpacked(touched.desired, &metadata.desired)?,
            version: number(2)?,
        },
        reported: Properties {
            values: values(touched.reported, sections.reported)?,
            metadata: unpacked(touched.reported, &metadata.reported)?,
            version: number(3)?,
        },
        version: number(0)?,
        etag: Etag(number(1)?),
    })
}

const NO_METADATA: Metadata = Metadata {
    updated: Timestamp::NEVER,
    version: None,
    children: std::collections::BTreeMap::new(),
};

/// The columns of a twin after its key.
fn columns_of(
    document: &TwinDocument,
    sections: &Sections<'_>,
    metadata: &PackedMetadata<'_>,
) -> (i64, i64, i64, i64, Vec<u8>, Vec<u8>) {
    (
        document.version as i64,
        document.etag.0 as i64,
        document.desired.version as i64,
        document.reported.version as i64,
        sections.seal(),
        metadata.seal(),
    )
}
