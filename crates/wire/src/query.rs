//! The query endpoint's envelope: body, paging headers, item types. The language itself lives in the hub.

use serde::{Deserialize, Serialize};

/// The body of `POST /devices/query`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryRequest {
    /// The query's text.
    pub query: String,
}

/// Request header with the wished page size, decimal text. compat: HTTP-11
pub const HEADER_MAX_ITEM_COUNT: &str = "x-ms-max-item-count";

/// Request and response header with the continuation token. Left out of the last page: Node takes even an
/// empty one for "there is more". compat: HTTP-12
pub const HEADER_CONTINUATION: &str = "x-ms-continuation";

/// Response header with the [`ItemType`].
pub const HEADER_ITEM_TYPE: &str = "x-ms-item-type";

/// Page size when none was asked for.
pub const PAGE_ITEMS_DEFAULT: u32 = 100;

/// Largest page.
pub const PAGE_ITEMS_MAX: u32 = 1_000;

/// The page size a header asks for, brought into 1..=[`PAGE_ITEMS_MAX`]; `None` when it is no number.
/// compat: HTTP-13
pub fn page_items(header: Option<&str>) -> Option<u32> {
    let Some(text) = header.map(str::trim) else {
        return Some(PAGE_ITEMS_DEFAULT);
    };
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if digits.len() < text.len() {
        return Some(1);
    }
    Some(
        text.parse()
            .unwrap_or(PAGE_ITEMS_MAX)
            .clamp(1, PAGE_ITEMS_MAX),
    )
}

/// What the items of a page are, spelled as .NET's case-sensitive reader wants it. compat: HTTP-14
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ItemType {
    /// Whole twins of devices or modules.
    Twin,
    /// Projections and aggregates.
    Raw,
    /// Rows of `devices.jobs`.
    DeviceJob,
    /// Job documents.
    JobResponse,
}

impl ItemType {
    /// The header's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            ItemType::Twin => "Twin",
            ItemType::Raw => "Raw",
            ItemType::DeviceJob => "DeviceJob",
            ItemType::JobResponse => "JobResponse",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_are_brought_into_range() {
        for (header, want) in [
            (None, Some(100)),
            (Some("2"), Some(2)),
            (Some(" 10 "), Some(10)),
            (Some("0"), Some(1)),
            (Some("-1"), Some(1)),
            (Some("1000"), Some(1_000)),
            (Some("1001"), Some(1_000)),
            (Some("99999999999999999999"), Some(1_000)),
            (Some(""), None),
            (Some("-"), None),
            (Some("ten"), None),
            (Some("1.5"), None),
        ] {
            assert_eq!(page_items(header), want, "{header:?}");
        }
    }

    #[test]
    fn item_types_are_pascal_case() {
        let names = [
            ItemType::Twin,
            ItemType::Raw,
            ItemType::DeviceJob,
            ItemType::JobResponse,
        ]
        .map(ItemType::as_str);
        assert_eq!(names, ["Twin", "Raw", "DeviceJob", "JobResponse"]);
    }

    #[test]
    fn the_body_is_one_member() {
        let body = br#"{"query": "SELECT * FROM devices"}"#;
        let request: QueryRequest = crate::decode(body).unwrap();
        assert_eq!(request.query, "SELECT * FROM devices");
        assert!(crate::decode::<QueryRequest>(b"{}").is_err());
    }
}
