//! Every number that bounds something: name, unit, and where it comes from.
//!
//! "Contract" marks a published quota of the protocol; "ours" is our choice and may be changed freely.

use std::time::Duration;

/// Characters of a device or module id. Contract.
pub const IDENTITY_ID_CHARS_MAX: usize = 128;
/// Characters of a job id. Contract.
pub const JOB_ID_CHARS_MAX: usize = 64;
/// Characters of a method name. Ours; the contract names no number.
pub const METHOD_NAME_CHARS_MAX: usize = 100;
/// Characters of a status reason. Contract.
pub const STATUS_REASON_CHARS_MAX: usize = 128;
/// Characters of a module's `managedBy`. Ours; the contract names no number.
pub const MANAGED_BY_CHARS_MAX: usize = 128;
/// Characters of `deviceScope` and of each of `parentScopes`. Ours; those that the hub makes have up to 170.
pub const SCOPE_CHARS_MAX: usize = 256;
/// How many `parentScopes` there may be. Ours; hierarchies of edge devices are a few levels high.
pub const PARENT_SCOPES_MAX: usize = 16;
/// Modules of one device. Contract.
pub const DEVICE_MODULES_MAX: usize = 50;
/// Items of one bulk registry call. Contract.
pub const BULK_ITEMS_MAX: usize = 100;
/// Identities that one list call returns. Contract.
pub const REGISTRY_LIST_MAX: u32 = 1_000;

/// Levels of nesting of a JSON payload. Ours; what parsers stop at.
pub const JSON_DEPTH_MAX: usize = 128;

/// Bytes of a method's payload, each way. Contract.
pub const METHOD_PAYLOAD_BYTES_MAX: usize = 128 * 1024;
/// Seconds a device may take to answer a method call. Contract.
pub const METHOD_RESPONSE_SECONDS: std::ops::RangeInclusive<u32> = 5..=300;
/// The same when the caller names none. Contract.
pub const METHOD_RESPONSE_SECONDS_DEFAULT: u32 = 30;
/// Seconds a call may wait for its device to connect. Contract.
pub const METHOD_CONNECT_SECONDS_MAX: u32 = 300;
/// Direct method calls (not of jobs) that wait for an answer on one node. Ours.
pub const METHOD_CALLS_WAITING_MAX: usize = 100_000;
/// Time from CONNACK to the first call when the subscription was restored, not sent: an app may need
/// a moment to register its handler. Ours; observed with the SDKs. compat: MQTT-9
pub const READY_AFTER_RESTORE: Duration = Duration::from_millis(1_000);

/// Bytes of a twin's tags, by the contract's formula. Contract.
pub const TWIN_TAGS_BYTES_MAX: usize = 8 * 1024;
/// Bytes of desired, and of reported, properties. Contract.
pub const TWIN_PROPERTIES_BYTES_MAX: usize = 32 * 1024;
/// Bytes of one key in a twin. Contract.
pub const TWIN_KEY_BYTES_MAX: usize = 1_024;
/// Bytes of one string value in a twin. Contract.
pub const TWIN_STRING_BYTES_MAX: usize = 4 * 1024;
/// Levels of objects and arrays below a twin's section. Contract.
pub const TWIN_DEPTH_MAX: usize = 10;
/// Integers a twin may hold. Contract.
pub const TWIN_INTEGERS: std::ops::RangeInclusive<i64> =
    -4_503_599_627_370_496..=4_503_599_627_370_495;

/// Bytes of a job's condition that GET echoes; beyond it, length and hash. Ours.
pub const JOB_CONDITION_ECHO_BYTES: usize = 64 * 1024;
/// Bytes of a job's condition that lists echo. Ours.
pub const JOB_CONDITION_LIST_BYTES: usize = 1_024;
/// Seconds of a job's window when the caller names none. Observed default of SDKs.
pub const JOB_WINDOW_SECONDS_DEFAULT: u32 = 3_600;
/// Seconds of a job's window at most. Ours.
pub const JOB_WINDOW_SECONDS_MAX: u32 = i32::MAX as u32;
/// Within this time the same request again is a retry, not a conflict. Ours.
pub const JOB_RETRY_WINDOW: Duration = Duration::from_secs(120);
/// Characters of a condition, and of a query, where a profile of the original's tiers is in force. Contract.
pub const STRICT_CONDITION_CHARS_MAX: usize = 8_192;
/// How long a job's history is kept after its end. Contract.
pub const JOB_HISTORY_DEFAULT: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Jobs removed by one step of the retention sweep. Ours.
pub const JOB_EXPIRE_BATCH: u32 = 10;

/// Ordinals of one record of a target set. Ours.
pub const TARGETS_PER_RECORD: u32 = 65_536;
/// Twins patched by one transaction of a job. Ours.
pub const TWIN_PAGE_DEVICES: usize = 1_000;
/// Calls of all jobs in flight on one node. Ours.
pub const CALLS_IN_FLIGHT_MAX: usize = 4_000;
/// Calls in flight to one device. Ours.
pub const CALLS_IN_FLIGHT_PER_DEVICE: usize = 4;
/// Dispatches recorded by one commit. Ours.
pub const DISPATCH_BATCH_MAX: usize = 1_000;
/// Answers recorded by one commit. Ours.
pub const SETTLE_BATCH_MAX: usize = 1_000;
/// Bytes of answers recorded by one commit. Ours.
pub const SETTLE_BATCH_BYTES_MAX: usize = 1024 * 1024;
/// How long an answer may wait for company before it is committed. Ours.
pub const SETTLE_GROUP_WAIT: Duration = Duration::from_millis(5);
/// Pending devices up to which a job is found by device instead of being probed. Ours.
pub const SMALL_PENDING_SET: u64 = 1_024;
/// Answers that wait for the job engine of a node. Ours.
pub const ANSWER_QUEUE: usize = 8_192;
/// Job starts (target sets being taken) at once on a node. Ours.
pub const JOB_STARTS_AT_ONCE: usize = 16;
/// Twin pages of all jobs under way at once on a node. Ours.
pub const TWIN_PAGES_AT_ONCE: usize = 2;
/// Waiting jobs that one look at the store fetches. Ours.
pub const JOB_DUE_BATCH: u32 = 256;

/// Bytes of a condition, or of a body with one, that is read on the thread where it is asked for, which takes some
/// milliseconds; longer ones are read on threads of their own. Ours.
pub const PROMPT_TEXT_BYTES: usize = 256 * 1024;

/// Who may follow jobs as they change, on one node. Ours; each is a connection or a stream of one.
pub const JOB_WATCHERS_MAX: usize = 2_000;
/// The same for one job. Ours.
pub const JOB_WATCHERS_OF_ONE_MAX: usize = 500;
/// Shortest time between two looks at a job that is followed, and between two that one watcher sees. Ours.
pub const JOB_WATCH_PAUSE: Duration = Duration::from_millis(200);
/// Without any change a watcher looks this often, and says that it is still there. Ours.
pub const JOB_WATCH_LOOK_EVERY: Duration = Duration::from_secs(15);

/// Characters of a configuration's id. Contract.
pub const CONFIGURATION_ID_CHARS_MAX: usize = 128;
/// Configurations of a hub. Contract.
pub const CONFIGURATIONS_MAX: u32 = 100;
/// Custom metrics of one configuration. Ours; the contract names five.
pub const CONFIGURATION_METRICS_MAX: usize = 20;
/// Bytes of a metric's name. Ours.
pub const CONFIGURATION_NAME_BYTES_MAX: usize = 256;
/// Bytes of a target condition, and of a metric's query. Ours; the contract names 8,192 characters.
pub const CONFIGURATION_CONDITION_BYTES_MAX: usize = 64 * 1024;
/// Shortest time between two passes over identities for configurations. Ours.
pub const CONFIGURATIONS_LOOK_EVERY: Duration = Duration::from_secs(2);
/// Every identity is compared with its configurations at least this often, while there are any. Ours; the
/// original does it every five minutes.
pub const CONFIGURATIONS_WHOLE_EVERY: Duration = Duration::from_secs(60);

/// Items of one page of a query or list. Contract (published as 100, then 1,000).
pub const QUERY_PAGE_ITEMS_MAX: u32 = 1_000;
/// The same when the caller names none. Contract.
pub const QUERY_PAGE_ITEMS_DEFAULT: u32 = 100;
/// Rows looked at for one page; a page may end early with a continuation. Ours.
pub const QUERY_PAGE_ROWS_SCANNED_MAX: u64 = 2_000_000;
/// Rows looked at by a query that has to see all before it shows any (ORDER BY, GROUP BY, DISTINCT,
/// aggregates); beyond, it is refused. About a minute of one reader. Ours. compat: QUERY-33
pub const QUERY_WHOLE_ROWS_SCANNED_MAX: u64 = 20_000_000;
/// Groups held at once when they are ordered by an aggregate. Ours. compat: QUERY-33
pub const QUERY_GROUPS_HELD_MAX: usize = 100_000;
/// Bytes of rows or groups that one page holds; pages of very large items end early. Ours.
pub const QUERY_HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How often subscribed devices are compared with the store's desired versions. Ours.
pub const DESIRED_SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How often last activity is written. Ours.
pub const ACTIVITY_WRITE_EVERY: Duration = Duration::from_secs(60);
/// How long a session that nobody uses is kept. Ours.
pub const SESSION_KEPT: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How often expired jobs, sessions and tombstones are looked for. Ours.
pub const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Shared access policies of a hub. Contract.
pub const POLICIES_MAX: usize = 16;
/// Those of them that may have `ServiceConnect`. Contract.
pub const POLICIES_SERVICE_CONNECT_MAX: usize = 10;
/// Characters of a policy's name. Ours.
pub const POLICY_NAME_CHARS_MAX: usize = 64;

/// Certificate authorities that may be uploaded. Contract.
pub const AUTHORITIES_MAX: usize = 25;
/// Characters of an authority's name. Contract.
pub const AUTHORITY_NAME_CHARS_MAX: usize = 64;
/// Random bytes of the code that a proof of possession names; as 48 hexadecimal digits it fits a common name. Ours.
pub const VERIFICATION_CODE_BYTES: usize = 24;

/// Import and export jobs that may be active at once. Contract.
pub const TRANSFERS_AT_ONCE: u32 = 1;
/// Import and export jobs that one list shows. Ours.
pub const TRANSFER_LIST_MAX: u32 = 1_000;
/// Import and export jobs removed by one step of the retention sweep. Ours.
pub const TRANSFER_EXPIRE_BATCH: u32 = 100;
/// Bytes of one line of an import. Ours; the largest line an export writes is shorter.
pub const TRANSFER_LINE_BYTES_MAX: usize = 1024 * 1024;
/// Lines of an import that are one commit. Ours; the store is busy with them for some ten milliseconds.
pub const TRANSFER_BATCH_LINES: usize = 300;
/// Bytes of lines that an export or import holds before it goes on. Ours.
pub const TRANSFER_PAGE_BYTES: usize = 1024 * 1024;
/// Identities that an export reads at once. Ours.
pub const TRANSFER_PAGE_ROWS: usize = 1_000;
