//! Every bound of the query language. All are ours: the original service stops at 8,192 characters.
//! compat: QUERY-2

/// Bytes of a query or condition text; the body limit of a job's PUT.
pub const TEXT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Levels of an expression, brackets and operators counted alike. Bounds recursion of every stage.
pub const NESTING_MAX: u32 = 200;

/// Operators, calls, literals outside lists and path steps of one text. Bounds the work per row.
pub const NODES_MAX: usize = 100_000;

/// Literals in all lists of one text; at 16 bytes a device id they fill [`TEXT_BYTES_MAX`].
pub const LIST_ITEMS_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a string a function may build; a longer one is undefined.
pub const BUILT_STRING_BYTES_MAX: usize = 1024 * 1024;

/// Paths of one GROUP BY, and columns of one SELECT DISTINCT.
pub const GROUP_KEYS_MAX: usize = 16;

/// Items of one ORDER BY.
pub const ORDER_KEYS_MAX: usize = 16;

/// Aggregates of one query.
pub const AGGREGATES_MAX: usize = 100;

/// Bytes by which the values of a row decide its place; what is longer is cut and ends in a digest of
/// 32 bytes. One string of a twin (4,096 bytes) always counts whole; and a continuation that carries a
/// place fits a header of 8 KiB, which is what clients and proxies take. compat: QUERY-28
pub const RANK_BYTES_MAX: usize = 4_352;
