//! The frame of every stored blob: one version byte, a CRC-32 of the rest, then the content.
//!
//! A reader refuses what it cannot verify instead of guessing. Contents are postcard, JSON or the
//! segment format; each writer names its version, each reader the versions it still loads.

use std::sync::Arc;

use fanfare_hub::ports::StoreError;
use serde::{Serialize, de::DeserializeOwned};

/// Bytes before the content.
pub(crate) const FRAME_BYTES: usize = 5;
/// A record larger than this was not written by us. 65 MiB: a job's largest plan fits.
const RECORD_BYTES_MAX: usize = 65 * 1024 * 1024;

/// Frames content.
pub(crate) fn seal(version: u8, content: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(FRAME_BYTES + content.len());
    record.push(version);
    record.extend_from_slice(&checksum(version, content).to_le_bytes());
    record.extend_from_slice(content);
    record
}

/// Verifies a frame; gives its version and content. `what` names the record in the error.
pub(crate) fn open<'a>(what: &'static str, record: &'a [u8]) -> Result<(u8, &'a [u8]), StoreError> {
    let (Some((version, rest)), true) = (record.split_first(), record.len() <= RECORD_BYTES_MAX)
    else {
        return Err(corrupt(what, "has an impossible length"));
    };
    let Some((sum, content)) = rest.split_first_chunk::<4>() else {
        return Err(corrupt(what, "is cut short"));
    };
    if u32::from_le_bytes(*sum) != checksum(*version, content) {
        return Err(corrupt(what, "fails its checksum"));
    }
    Ok((*version, content))
}

/// Frames a value as postcard.
pub(crate) fn seal_value(version: u8, value: &impl Serialize) -> Vec<u8> {
    let content = postcard::to_stdvec(value).expect("records hold only what postcard can write");
    seal(version, &content)
}

/// Reads a value that only ever had this one version.
pub(crate) fn open_value<T: DeserializeOwned>(
    what: &'static str,
    expected: u8,
    record: &[u8],
) -> Result<T, StoreError> {
    let (version, content) = open(what, record)?;
    if version != expected {
        return Err(corrupt(what, "has a version this program does not know"));
    }
    postcard::from_bytes(content).map_err(|_| corrupt(what, "cannot be decoded"))
}

/// The error for a record that cannot be right.
pub(crate) fn corrupt(what: &'static str, problem: &str) -> StoreError {
    StoreError::Corrupt(Arc::from(format!("{what} {problem}")))
}

fn checksum(version: u8, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[version]);
    hasher.update(content);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_and_any_changed_bit_is_seen() {
        let record = seal(3, b"content");
        assert_eq!(open("test record", &record).unwrap(), (3, &b"content"[..]));
        for bit in 0..record.len() * 8 {
            let mut broken = record.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(open("test record", &broken).is_err(), "bit {bit}");
        }
        for cut in 0..record.len() {
            assert!(open("test record", &record[..cut]).is_err(), "cut at {cut}");
        }
    }
}
