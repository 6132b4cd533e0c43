//! The stored shapes of a twin: its three sections as JSON text, and their metadata apart from them.
//!
//! A scan cuts a section out without parsing any; a change parses only the sections it touches and
//! carries the others over byte by byte. Metadata is read only when somebody asks for it.
//!
//! ```text
//! sections v1:  bytes of tags, u32 LE | bytes of desired, u32 LE | tags | desired | reported
//! metadata v1:  bytes of desired, u32 LE | desired, postcard | reported, postcard
//! ```

use std::{borrow::Cow, collections::BTreeMap};

use fanfare_hub::{
    ports::store::StoreError,
    time::Timestamp,
    twin::document::{Metadata, Object},
};
use serde::{Deserialize, Serialize};

use crate::record::{self, corrupt};

const WHAT_SECTIONS: &str = "a twin record";
const WHAT_METADATA: &str = "a twin metadata record";
const SECTIONS_VERSION: u8 = 1;
const METADATA_VERSION: u8 = 1;

/// The three sections of a twin, each one JSON object without `$` members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sections<'a> {
    pub(crate) tags: &'a str,
    pub(crate) desired: &'a str,
    pub(crate) reported: &'a str,
}

impl<'a> Sections<'a> {
    /// Cuts stored bytes into sections; checks the frame and the text, not the JSON.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, StoreError> {
        let content = content_of(WHAT_SECTIONS, SECTIONS_VERSION, bytes)?;
        let cut = || corrupt(WHAT_SECTIONS, "is cut short");
        let (tags_bytes, rest) = content.split_first_chunk().ok_or_else(cut)?;
        let (desired_bytes, rest) = rest.split_first_chunk().ok_or_else(cut)?;
        let texts =
            std::str::from_utf8(rest).map_err(|_| corrupt(WHAT_SECTIONS, "is not made of text"))?;
        let (tags, rest) = texts
            .split_at_checked(u32::from_le_bytes(*tags_bytes) as usize)
            .ok_or_else(cut)?;
        let (desired, reported) = rest
            .split_at_checked(u32::from_le_bytes(*desired_bytes) as usize)
            .ok_or_else(cut)?;
        Ok(Self {
            tags,
            desired,
            reported,
        })
    }

    /// Bytes to store.
    pub(crate) fn seal(&self) -> Vec<u8> {
        let texts = self.tags.len() + self.desired.len() + self.reported.len();
        let mut content = Vec::with_capacity(8 + texts);
        content.extend_from_slice(&length(self.tags.len()));
        content.extend_from_slice(&length(self.desired.len()));
        for text in [self.tags, self.desired, self.reported] {
            content.extend_from_slice(text.as_bytes());
        }
        record::seal(SECTIONS_VERSION, &content)
    }
}

/// Parses one section.
pub(crate) fn parse_section(text: &str) -> Result<Object, StoreError> {
    serde_json::from_str(text).map_err(|_| corrupt(WHAT_SECTIONS, "has a section that is not JSON"))
}

/// The text of one section.
pub(crate) fn print_section(values: &Object) -> String {
    serde_json::to_string(values).expect("JSON values have keys of text")
}

/// The metadata of both versioned sections, still packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackedMetadata<'a> {
    pub(crate) desired: Cow<'a, [u8]>,
    pub(crate) reported: Cow<'a, [u8]>,
}

impl<'a> PackedMetadata<'a> {
    /// Cuts stored bytes in two; checks the frame.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, StoreError> {
        let content = content_of(WHAT_METADATA, METADATA_VERSION, bytes)?;
        let cut = || corrupt(WHAT_METADATA, "is cut short");
        let (desired_bytes, rest) = content.split_first_chunk().ok_or_else(cut)?;
        let (desired, reported) = rest
            .split_at_checked(u32::from_le_bytes(*desired_bytes) as usize)
            .ok_or_else(cut)?;
        Ok(Self {
            desired: desired.into(),
            reported: reported.into(),
        })
    }

    /// Bytes to store.
    pub(crate) fn seal(&self) -> Vec<u8> {
        let mut content = Vec::with_capacity(4 + self.desired.len() + self.reported.len());
        content.extend_from_slice(&length(self.desired.len()));
        content.extend_from_slice(&self.desired);
        content.extend_from_slice(&self.reported);
        record::seal(METADATA_VERSION, &content)
    }
}

/// Packs the metadata of one section.
pub(crate) fn pack_metadata(metadata: &Metadata) -> Vec<u8> {
    postcard::to_stdvec(&Node::below(0, metadata))
        .expect("records hold only what postcard can write")
}

/// Unpacks the metadata of one section.
pub(crate) fn unpack_metadata(packed: &[u8]) -> Result<Metadata, StoreError> {
    let node: Node<'_> =
        postcard::from_bytes(packed).map_err(|_| corrupt(WHAT_METADATA, "cannot be decoded"))?;
    Ok(node.into_metadata(0))
}

/// One node of version 1. Times are kept as the distance to the parent's, which is mostly zero and
/// then takes one byte.
#[derive(Serialize, Deserialize)]
struct Node<'a> {
    /// Microseconds by which it is older than its parent; the root is measured from the epoch.
    older: i64,
    version: Option<u64>,
    #[serde(borrow)]
    children: Vec<(&'a str, Node<'a>)>,
}

impl<'a> Node<'a> {
    fn below(parent: i64, metadata: &'a Metadata) -> Self {
        let updated = metadata.updated.0;
        let child =
            |(key, below): (&'a String, &'a Metadata)| (key.as_str(), Node::below(updated, below));
        Self {
            older: parent.wrapping_sub(updated),
            version: metadata.version,
            children: metadata.children.iter().map(child).collect(),
        }
    }

    fn into_metadata(self, parent: i64) -> Metadata {
        let updated = parent.wrapping_sub(self.older);
        let child = |(key, node): (&str, Self)| (key.to_owned(), node.into_metadata(updated));
        let children: BTreeMap<_, _> = self.children.into_iter().map(child).collect();
        Metadata {
            updated: Timestamp(updated),
            version: self.version,
            children,
        }
    }
}

fn content_of<'a>(
    what: &'static str,
    expected: u8,
    bytes: &'a [u8],
) -> Result<&'a [u8], StoreError> {
    let (version, content) = record::open(what, bytes)?;
    if version != expected {
        return Err(corrupt(what, "has a version this program does not know"));
    }
    Ok(content)
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes)
        .expect("twin sections are bounded far below 4 GiB")
        .to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTIONS_V1: &[u8] = include_bytes!("../../../tests/golden/twin-v1.bin");
    const METADATA_V1: &[u8] = include_bytes!("../../../tests/golden/twin-metadata-v1.bin");

    fn leaf(updated: i64, version: Option<u64>) -> Metadata {
        Metadata {
            updated: Timestamp(updated),
            version,
            children: BTreeMap::new(),
        }
    }

    fn golden_desired() -> Metadata {
        let mut inner = leaf(1_927_857_906_000_000, Some(2));
        inner
            .children
            .insert("floor".into(), leaf(1_927_857_905_999_999, Some(1)));
        let mut root = leaf(1_927_857_906_123_456, Some(3));
        root.children.insert("größe".into(), inner);
        root
    }

    #[test]
    fn sections_of_version_1_still_load_and_are_what_we_write() {
        let sections = Sections::open(SECTIONS_V1).unwrap();
        assert_eq!(sections.tags, r#"{"building":"43"}"#);
        assert_eq!(sections.desired, r#"{"größe":{"floor":3}}"#);
        assert_eq!(sections.reported, "{}");
        assert_eq!(sections.seal(), SECTIONS_V1);
    }

    #[test]
    fn metadata_of_version_1_still_loads_and_is_what_we_write() {
        let packed = PackedMetadata::open(METADATA_V1).unwrap();
        assert_eq!(unpack_metadata(&packed.desired).unwrap(), golden_desired());
        assert_eq!(
            unpack_metadata(&packed.reported).unwrap(),
            leaf(1_900_000_000_000_000, None)
        );
        let again = PackedMetadata {
            desired: pack_metadata(&golden_desired()).into(),
            reported: pack_metadata(&leaf(1_900_000_000_000_000, None)).into(),
        };
        assert_eq!(again.seal(), METADATA_V1);
    }

    #[test]
    fn times_before_the_epoch_and_out_of_order_survive() {
        let mut root = leaf(Timestamp::NEVER.0, None);
        root.children.insert(
            "later".into(),
            leaf(Timestamp::FAR_FUTURE.0, Some(u64::MAX)),
        );
        assert_eq!(unpack_metadata(&pack_metadata(&root)).unwrap(), root);
    }

    #[test]
    fn impossible_lengths_are_refused() {
        for content in [
            &[][..],
            &[1, 0, 0, 0],
            &[1, 0, 0, 0, 0, 0, 0, 0],
            &[255; 12],
        ] {
            let error = Sections::open(&record::seal(SECTIONS_VERSION, content)).unwrap_err();
            assert!(error.to_string().contains("a twin record is"), "{error}");
        }
        for content in [&[][..], &[9, 0, 0, 0, 1]] {
            let error = PackedMetadata::open(&record::seal(METADATA_VERSION, content)).unwrap_err();
            assert!(
                error.to_string().contains("metadata record is cut short"),
                "{error}"
            );
        }
        let other = record::seal(7, &[0; 8]);
        assert!(
            Sections::open(&other)
                .unwrap_err()
                .to_string()
                .contains("version")
        );
    }
}
