//! Rows of `identity` and `twin`: their keys, their columns, and the document a scan looks at.
//!
//! [`StoredRow`] answers a query's paths from the stored bytes. It builds no tree: sections are cut out
//! of the record and searched as text; settings, metadata, last activity and configurations are fetched
//! when somebody asks for them. A row that cannot be read makes the whole scan fail ([`StoredRow::fault`]), because
//! leaving a device out of a job silently is worse.

mod values;

use std::{
    cell::{OnceCell, RefCell},
    fmt::Write as _,
    ops::Range,
};

use fanfare_hub::{
    configurations::{ConfigurationId, ConfigurationStatus},
    ids::{DeviceId, Etag, Generation, IdentityId, IdentityKey, ModuleId, Space},
    ports::store::{IdentityRow, Keys, StoreError, Twin},
    query::{Document, Path, PropertySection, RootField, Section, Value},
    registry::{Identity, Status},
    time::Timestamp,
    twin::document::{Metadata, Properties, TwinDocument},
};
use rusqlite::{Connection, OptionalExtension, Row};

use self::values::{
    configurations_value, inside, metadata_value, moment, nullable, object, print_metadata,
    settings_field, string,
};
use super::{
    configurations::read_statuses,
    core::unavailable,
    registry::record::{IdentityRecord, Owner},
    twins::record::{PackedMetadata, Sections, parse_section, unpack_metadata},
};
use crate::{record::corrupt, vault::Vault};

const SPACE_SHIFT: u32 = 32;
const WHAT: &str = "an identity row";

/// The key of a row: space << 32 | ordinal.
pub(super) fn row_key(key: IdentityKey) -> i64 {
    space_keys(key.space).start + i64::from(key.ordinal)
}

/// The inverse of [`row_key`].
pub(super) fn identity_key(row_key: i64) -> IdentityKey {
    let space = if row_key < 1 << SPACE_SHIFT {
        Space::Devices
    } else {
        Space::Modules
    };
    IdentityKey {
        space,
        ordinal: row_key as u32,
    }
}

/// All keys of a space.
pub(super) fn space_keys(space: Space) -> Range<i64> {
    match space {
        Space::Devices => 0..1 << SPACE_SHIFT,
        Space::Modules => 1 << SPACE_SHIFT..2 << SPACE_SHIFT,
    }
}

/// The column `module_id` of an identity; empty for devices.
pub(super) fn module_column(id: &IdentityId) -> &str {
    id.module.as_ref().map_or("", ModuleId::as_str)
}

/// The name in two columns.
pub(super) fn name_of(device_id: &str, module_id: &str) -> Result<IdentityId, StoreError> {
    let refused = |_| corrupt(WHAT, "has a name that is none");
    let device = DeviceId::parse(device_id).map_err(refused)?;
    let module = match module_id {
        "" => None,
        name => Some(ModuleId::parse(name).map_err(refused)?),
    };
    Ok(IdentityId { device, module })
}

/// The columns that [`identity_of`] and [`StoredRow::new`] read, in their order.
macro_rules! identity_columns {
    () => {
        "identity.key, identity.device_id, identity.module_id, identity.generation, identity.etag,
         identity.enabled, identity.record"
    };
}
pub(super) use identity_columns;

/// The columns after [`identity_columns`] that [`StoredRow::new`] reads.
macro_rules! twin_columns {
    () => {
        "twin.version, twin.etag, twin.desired_version, twin.reported_version, twin.record"
    };
}
pub(super) use twin_columns;

const TWIN_COLUMNS_AT: usize = 7;

/// The identity in a row that begins with [`identity_columns`], with its keys.
pub(super) fn identity_of(row: &Row<'_>, vault: &Vault) -> Result<Identity, StoreError> {
    let columns = IdentityColumns::new(row)?;
    let record = IdentityRecord::open(bytes(row, 6)?)?;
    columns.decode(record.decrypted(vault, &columns.owner())?)
}

/// The identity in a row that begins with [`identity_columns`], its keys withheld.
pub(super) fn entry_of(row: &Row<'_>) -> Result<Identity, StoreError> {
    let record = IdentityRecord::open(bytes(row, 6)?)?;
    IdentityColumns::new(row)?.decode(record.without_keys())
}

#[derive(Clone, Copy)]
struct IdentityColumns<'a> {
    key: i64,
    device_id: &'a str,
    module_id: &'a str,
    generation: u64,
    etag: u64,
    enabled: bool,
}

impl<'a> IdentityColumns<'a> {
    fn new(row: &'a Row<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            key: integer(row, 0)?,
            device_id: text(row, 1)?,
            module_id: text(row, 2)?,
            generation: integer(row, 3)? as u64,
            etag: integer(row, 4)? as u64,
            enabled: integer(row, 5)? != 0,
        })
    }

    fn status(&self) -> Status {
        if self.enabled {
            Status::Enabled
        } else {
            Status::Disabled
        }
    }

    /// Whose keys are in the record.
    fn owner(&self) -> Owner<'a> {
        Owner {
            row: self.key,
            generation: self.generation,
            device_id: self.device_id,
            module_id: self.module_id,
        }
    }

    fn decode(&self, record: IdentityRecord) -> Result<Identity, StoreError> {
        Ok(Identity {
            id: name_of(self.device_id, self.module_id)?,
            key: identity_key(self.key),
            generation: Generation(self.generation),
            etag: Etag(self.etag),
            status_updated: Timestamp(record.status_updated),
            settings: record.into_settings(self.status()),
        })
    }
}

/// The configurations that match an identity, in order of their names.
type Statuses = Vec<(ConfigurationId, ConfigurationStatus)>;

/// One identity and its twin inside a read.
pub(super) struct StoredRow<'a> {
    db: &'a Connection,
    vault: &'a Vault,
    columns: IdentityColumns<'a>,
    settings_record: &'a [u8],
    version: u64,
    etag: u64,
    desired_version: u64,
    reported_version: u64,
    sections: Sections<'a>,
    settings: OnceCell<IdentityRecord>,
    metadata: OnceCell<[Metadata; 2]>,
    configurations: OnceCell<Statuses>,
    fault: RefCell<Option<StoreError>>,
}

impl<'a> StoredRow<'a> {
    /// A row of [`identity_columns`] and [`twin_columns`].
    pub(super) fn new(
        db: &'a Connection,
        vault: &'a Vault,
        row: &'a Row<'_>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            db,
            vault,
            columns: IdentityColumns::new(row)?,
            settings_record: bytes(row, 6)?,
            version: integer(row, TWIN_COLUMNS_AT)? as u64,
            etag: integer(row, TWIN_COLUMNS_AT + 1)? as u64,
            desired_version: integer(row, TWIN_COLUMNS_AT + 2)? as u64,
            reported_version: integer(row, TWIN_COLUMNS_AT + 3)? as u64,
            sections: Sections::open(bytes(row, TWIN_COLUMNS_AT + 4)?)?,
            settings: OnceCell::new(),
            metadata: OnceCell::new(),
            configurations: OnceCell::new(),
            fault: RefCell::new(None),
        })
    }

    /// What could not be read while the row was looked at.
    pub(super) fn fault(&self) -> Option<StoreError> {
        self.fault.take()
    }

    /// Keeps the error for [`StoredRow::fault`].
    fn noted<T>(&self, result: Result<T, StoreError>) -> Option<T> {
        result.map_err(|error| self.fault.replace(Some(error))).ok()
    }

    fn settings(&self) -> Option<&IdentityRecord> {
        if self.settings.get().is_none() {
            let record = self.noted(IdentityRecord::open(self.settings_record))?;
            return Some(self.settings.get_or_init(|| record));
        }
        self.settings.get()
    }

    fn metadata(&self, section: PropertySection) -> Option<&Metadata> {
        if self.metadata.get().is_none() {
            let both = self.noted(read_metadata(self.db, self.columns.key))?;
            self.metadata.get_or_init(|| both);
        }
        let [desired, reported] = self.metadata.get()?;
        Some(match section {
            PropertySection::Desired => desired,
            PropertySection::Reported => reported,
        })
    }

    fn configurations(&self) -> Option<&Statuses> {
        if self.configurations.get().is_none() {
            let statuses = self.noted(read_statuses(self.db, self.columns.key))?;
            self.configurations.get_or_init(|| statuses);
        }
        self.configurations.get()
    }

    fn properties(&self, section: PropertySection) -> (&'a str, u64) {
        match section {
            PropertySection::Desired => (self.sections.desired, self.desired_version),
            PropertySection::Reported => (self.sections.reported, self.reported_version),
        }
    }

    fn field(&self, field: RootField) -> Option<Value<'_>> {
        Some(match field {
            RootField::DeviceId => Value::str(self.columns.device_id),
            RootField::ModuleId if self.columns.module_id.is_empty() => Value::Undefined,
            RootField::ModuleId => Value::str(self.columns.module_id),
            RootField::ManagedBy => {
                let settings = self.settings()?;
                settings
                    .managed_by
                    .as_deref()
                    .map_or(Value::Undefined, Value::str)
            }
            RootField::Etag => string(Etag(self.etag).twin_text()),
            RootField::DeviceEtag => string(Etag(self.columns.etag).identity_text()),
            RootField::Status => Value::str(match self.columns.status() {
                Status::Enabled => "enabled",
                Status::Disabled => "disabled",
            }),
            RootField::StatusReason => nullable(self.settings()?.status_reason.as_deref()),
            RootField::StatusUpdateTime => moment(Timestamp(self.settings()?.status_updated)),
            RootField::ConnectionState => Value::str("Disconnected"),
            RootField::LastActivityTime => {
                moment(self.noted(read_activity(self.db, self.columns.key))?)
            }
            RootField::CloudToDeviceMessageCount => Value::from(0),
            RootField::ModelId => Value::str(""),
            RootField::Version => Value::from(self.version as i64),
            RootField::Properties => object(format!(
                "{{\"desired\":{},\"reported\":{}}}",
                self.section_text(PropertySection::Desired)?,
                self.section_text(PropertySection::Reported)?,
            )),
            _ => {
                return self
                    .settings()
                    .map(|settings| settings_field(settings, field));
            }
        })
    }

    /// The section as the contract shows it, with `$metadata` and `$version`.
    fn section_text(&self, section: PropertySection) -> Option<String> {
        let (values, version) = self.properties(section);
        let metadata = self.metadata(section)?;
        let open = values
            .strip_suffix('}')
            .ok_or_else(|| corrupt(WHAT, "has a section cut short"));
        let mut out = self.noted(open)?.to_owned();
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str("\"$metadata\":");
        print_metadata(metadata, &mut out);
        // Writing to a String cannot fail.
        let _ = write!(out, ",\"$version\":{version}}}");
        Some(out)
    }
}

impl Document for StoredRow<'_> {
    fn value(&self, path: &Path) -> Value<'_> {
        match path {
            Path::Field(field) => self.field(*field),
            Path::Section(Section::Tags, keys) => Some(inside(self.sections.tags, keys)),
            Path::Section(Section::Desired, keys) if keys.is_empty() => {
                self.section_text(PropertySection::Desired).map(object)
            }
            Path::Section(Section::Reported, keys) if keys.is_empty() => {
                self.section_text(PropertySection::Reported).map(object)
            }
            Path::Section(Section::Desired, keys) => Some(inside(self.sections.desired, keys)),
            Path::Section(Section::Reported, keys) => Some(inside(self.sections.reported, keys)),
            Path::Version(section) => Some(Value::from(self.properties(*section).1 as i64)),
            Path::Metadata(section, keys) => self
                .metadata(*section)
                .map(|metadata| metadata_value(metadata, keys)),
            Path::Configurations(keys) => self
                .configurations()
                .map(|statuses| configurations_value(statuses, keys)),
            Path::Job(_) | Path::JobOutcome(_) | Path::JobError(_) => None,
        }
        .unwrap_or(Value::Undefined)
    }
}

impl IdentityRow for StoredRow<'_> {
    fn key(&self) -> IdentityKey {
        identity_key(self.columns.key)
    }

    fn twin(&self, keys: Keys) -> Result<Twin, StoreError> {
        let [desired, reported] = match self.metadata.get() {
            Some(both) => both.clone(),
            None => read_metadata(self.db, self.columns.key)?,
        };
        let properties = |text, metadata, version| {
            parse_section(text).map(|values| Properties {
                values,
                metadata,
                version,
            })
        };
        let record = IdentityRecord::open(self.settings_record)?;
        let record = match keys {
            Keys::Shown => record.decrypted(self.vault, &self.columns.owner())?,
            Keys::Withheld => record.without_keys(),
        };
        Ok(Twin {
            identity: self.columns.decode(record)?,
            document: TwinDocument {
                tags: parse_section(self.sections.tags)?,
                desired: properties(self.sections.desired, desired, self.desired_version)?,
                reported: properties(self.sections.reported, reported, self.reported_version)?,
                version: self.version,
                etag: Etag(self.etag),
            },
            last_activity: read_activity(self.db, self.columns.key)?,
            configurations: match self.configurations.get() {
                Some(statuses) => statuses.clone(),
                None => read_statuses(self.db, self.columns.key)?,
            },
        })
    }
}

const SELECT_METADATA: &str = "SELECT metadata FROM twin WHERE key = ?1";

fn read_metadata(db: &Connection, key: i64) -> Result<[Metadata; 2], StoreError> {
    let mut select = db.prepare_cached(SELECT_METADATA).map_err(unavailable)?;
    let stored: Vec<u8> = select
        .query_row([key], |row| row.get(0))
        .map_err(unavailable)?;
    let packed = PackedMetadata::open(&stored)?;
    Ok([
        unpack_metadata(&packed.desired)?,
        unpack_metadata(&packed.reported)?,
    ])
}

const SELECT_ACTIVITY: &str = "SELECT at FROM activity WHERE key = ?1";

fn read_activity(db: &Connection, key: i64) -> Result<Timestamp, StoreError> {
    let mut select = db.prepare_cached(SELECT_ACTIVITY).map_err(unavailable)?;
    let at = select
        .query_row([key], |row| row.get(0))
        .optional()
        .map_err(unavailable)?;
    Ok(at.map_or(Timestamp::NEVER, Timestamp))
}

fn integer(row: &Row<'_>, column: usize) -> Result<i64, StoreError> {
    let value = row.get_ref(column).map_err(unavailable)?;
    value
        .as_i64()
        .map_err(|_| corrupt(WHAT, "has a column of another type"))
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str, StoreError> {
    let value = row.get_ref(column).map_err(unavailable)?;
    value
        .as_str()
        .map_err(|_| corrupt(WHAT, "has a column of another type"))
}

/// The bytes of a column.
pub(super) fn bytes<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a [u8], StoreError> {
    let value = row.get_ref(column).map_err(unavailable)?;
    value
        .as_blob()
        .map_err(|_| corrupt(WHAT, "has a column of another type"))
}

#[cfg(test)]
mod tests;
