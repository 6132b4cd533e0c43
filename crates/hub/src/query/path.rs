//! Decides what a query can ask of a document: the seam between the language and the stores.
//!
//! Names are canonical here. A store answers [`Path`]s over whatever it keeps through
//! [`Document`](super::Document) and never sees how a name was spelled in the query.

use std::fmt;

/// A bound path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Path {
    /// A field of a device's or module's twin document outside its three sections and `configurations`.
    Field(RootField),
    /// A value below `tags`, `properties.desired` or `properties.reported`; without keys the
    /// section itself. Never `$version` or `$metadata` of properties, which have their own paths.
    Section(Section, Keys),
    /// `properties.desired.$version`, `properties.reported.$version`
    Version(PropertySection),
    /// `properties.reported.$metadata.a.b.$lastUpdated`: the keys below `$metadata`, the final
    /// `$lastUpdated` or `$lastUpdatedVersion` included.
    Metadata(PropertySection, Keys),
    /// What configurations did to a device or module: `configurations`, undefined where none matches;
    /// with the id of one the object of its status; with `status` behind it that, a string. Never more
    /// keys. compat: QUERY-35
    Configurations(Keys),
    /// A field of a row of `devices.jobs`.
    Job(JobField),
    /// A value below a job row's `outcome`; without keys the outcome itself.
    JobOutcome(Keys),
    /// A value below a job row's `error`; without keys the error itself.
    JobError(Keys),
}

/// Case-sensitive object keys, outermost first.
pub type Keys = Box<[Box<str>]>;

/// The sections of a twin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Section {
    /// `tags`
    Tags,
    /// `properties.desired`
    Desired,
    /// `properties.reported`
    Reported,
}

/// The sections of a twin that have versions and metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PropertySection {
    /// `properties.desired`
    Desired,
    /// `properties.reported`
    Reported,
}

impl From<PropertySection> for Section {
    fn from(section: PropertySection) -> Self {
        match section {
            PropertySection::Desired => Section::Desired,
            PropertySection::Reported => Section::Reported,
        }
    }
}

/// Fields of a twin document that are below no section and not `configurations`. Timestamps are strings of the one form
/// `YYYY-MM-DDTHH:MM:SS.fffffffZ`, or `0001-01-01T00:00:00Z` for never, which makes their order that
/// of strings. compat: QUERY-23
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RootField {
    /// String, always present.
    DeviceId,
    /// String, in rows of `devices.modules`.
    ModuleId,
    /// String, in rows of `devices.modules`.
    ManagedBy,
    /// String: the twin's etag.
    Etag,
    /// String: the identity's etag.
    DeviceEtag,
    /// `enabled` or `disabled`
    Status,
    /// String or null.
    StatusReason,
    /// Timestamp.
    StatusUpdateTime,
    /// `Connected` or `Disconnected`
    ConnectionState,
    /// Timestamp.
    LastActivityTime,
    /// Integer.
    CloudToDeviceMessageCount,
    /// `sas`, `selfSigned`, `certificateAuthority` or `none`
    AuthenticationType,
    /// Object of the two thumbprints.
    X509Thumbprint,
    /// String or null.
    PrimaryThumbprint,
    /// String or null.
    SecondaryThumbprint,
    /// String, empty if none.
    ModelId,
    /// Integer: the twin's version.
    Version,
    /// Object.
    Capabilities,
    /// Boolean.
    IotEdge,
    /// String, on edge devices and their leaves.
    DeviceScope,
    /// Array of strings.
    ParentScopes,
    /// The object that holds `desired` and `reported`.
    Properties,
}

/// Fields of a row of `devices.jobs` with plain values. Timestamps as in [`RootField`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobField {
    /// String.
    DeviceId,
    /// String, in rows about a module.
    ModuleId,
    /// String.
    JobId,
    /// `scheduleDeviceMethod` or `scheduleUpdateTwin`
    JobType,
    /// `pending`, `scheduled`, `running`, `completed`, `failed` or `canceled` - with one l.
    Status,
    /// Timestamp: the job's start.
    StartTimeUtc,
    /// Timestamp: the job's deadline.
    EndTimeUtc,
    /// Timestamp: when the row came to be.
    CreatedDateTimeUtc,
    /// Timestamp: the row's last change.
    LastUpdatedDateTimeUtc,
}

/// Canonical names of the fields of a twin document, step by step. compat: QUERY-10
pub(super) const ROOT_FIELDS: &[(RootField, &[&str])] = &[
    (RootField::DeviceId, &["deviceId"]),
    (RootField::ModuleId, &["moduleId"]),
    (RootField::ManagedBy, &["managedBy"]),
    (RootField::Etag, &["etag"]),
    (RootField::DeviceEtag, &["deviceEtag"]),
    (RootField::Status, &["status"]),
    (RootField::StatusReason, &["statusReason"]),
    (RootField::StatusUpdateTime, &["statusUpdateTime"]),
    (RootField::ConnectionState, &["connectionState"]),
    (RootField::LastActivityTime, &["lastActivityTime"]),
    (
        RootField::CloudToDeviceMessageCount,
        &["cloudToDeviceMessageCount"],
    ),
    (RootField::AuthenticationType, &["authenticationType"]),
    (RootField::X509Thumbprint, &["x509Thumbprint"]),
    (
        RootField::PrimaryThumbprint,
        &["x509Thumbprint", "primaryThumbprint"],
    ),
    (
        RootField::SecondaryThumbprint,
        &["x509Thumbprint", "secondaryThumbprint"],
    ),
    (RootField::ModelId, &["modelId"]),
    (RootField::Version, &["version"]),
    (RootField::Capabilities, &["capabilities"]),
    (RootField::IotEdge, &["capabilities", "iotEdge"]),
    (RootField::DeviceScope, &["deviceScope"]),
    (RootField::ParentScopes, &["parentScopes"]),
    (RootField::Properties, &["properties"]),
];

/// Canonical names of the plain fields of a job row.
pub(super) const JOB_FIELDS: &[(JobField, &[&str])] = &[
    (JobField::DeviceId, &["deviceId"]),
    (JobField::ModuleId, &["moduleId"]),
    (JobField::JobId, &["jobId"]),
    (JobField::JobType, &["jobType"]),
    (JobField::Status, &["status"]),
    (JobField::StartTimeUtc, &["startTimeUtc"]),
    (JobField::EndTimeUtc, &["endTimeUtc"]),
    (JobField::CreatedDateTimeUtc, &["createdDateTimeUtc"]),
    (
        JobField::LastUpdatedDateTimeUtc,
        &["lastUpdatedDateTimeUtc"],
    ),
];

impl Path {
    /// The canonical steps from the root of the document as the contract shows it.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        let (fixed, keys): (&'static [&'static str], &[Box<str>]) = match self {
            Path::Field(field) => (names_of(ROOT_FIELDS, *field), &[]),
            Path::Section(Section::Tags, keys) => (&["tags"], keys),
            Path::Section(Section::Desired, keys) => (&["properties", "desired"], keys),
            Path::Section(Section::Reported, keys) => (&["properties", "reported"], keys),
            Path::Version(PropertySection::Desired) => {
                (&["properties", "desired", "$version"], &[])
            }
            Path::Version(PropertySection::Reported) => {
                (&["properties", "reported", "$version"], &[])
            }
            Path::Metadata(PropertySection::Desired, keys) => {
                (&["properties", "desired", "$metadata"], keys)
            }
            Path::Metadata(PropertySection::Reported, keys) => {
                (&["properties", "reported", "$metadata"], keys)
            }
            Path::Configurations(keys) => (&["configurations"], keys),
            Path::Job(field) => (names_of(JOB_FIELDS, *field), &[]),
            Path::JobOutcome(keys) => (&["outcome"], keys),
            Path::JobError(keys) => (&["error"], keys),
        };
        fixed.iter().copied().chain(keys.iter().map(|key| &**key))
    }

    /// Whether the value, if there is one, is a timestamp of the fixed form.
    pub fn is_timestamp(&self) -> bool {
        match self {
            Path::Field(RootField::StatusUpdateTime | RootField::LastActivityTime) => true,
            Path::Job(field) => matches!(
                field,
                JobField::StartTimeUtc
                    | JobField::EndTimeUtc
                    | JobField::CreatedDateTimeUtc
                    | JobField::LastUpdatedDateTimeUtc
            ),
            Path::Metadata(_, keys) => keys.last().is_some_and(|key| &**key == "$lastUpdated"),
            _ => false,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, step) in self.steps().enumerate() {
            let dot = if n == 0 { "" } else { "." };
            write!(f, "{dot}{step}")?;
        }
        Ok(())
    }
}

fn names_of<F: PartialEq>(
    table: &[(F, &'static [&'static str])],
    field: F,
) -> &'static [&'static str] {
    let entry = table.iter().find(|(candidate, _)| *candidate == field);
    entry.expect("every field is in its table").1
}
