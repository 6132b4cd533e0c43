//! The token between two pages: a place, what was shown so far, and the query they belong to.
//!
//! Opaque to clients, and no secret: whoever may ask the query may see every row that a made-up place
//! could lead to. At most [`TOKEN_CHARS_MAX`] characters. compat: QUERY-32

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::PageError;
use crate::{
    ids::{JobNumber, Ordinal},
    query::{Query, limits as language},
};

/// What a page goes on from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Place {
    /// The beginning.
    #[default]
    Start,
    /// Behind this row, in the order of the store.
    Row(JobNumber, Ordinal),
    /// Behind this rank.
    Rank(Box<[u8]>),
}

impl Place {
    /// The rank to go on from, where the order is one of ranks.
    pub(super) fn rank(&self) -> Result<Option<Box<[u8]>>, PageError> {
        match self {
            Place::Start => Ok(None),
            Place::Rank(rank) => Ok(Some(rank.clone())),
            Place::Row(..) => Err(PageError::Continuation),
        }
    }
}

/// A place with what is to be known beside it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Continuation {
    pub(super) place: Place,
    /// Items on all pages so far, for TOP.
    pub(super) shown: u64,
}

/// Every value that was cut, which is one of GROUP BY or ORDER BY, ends in a digest.
const RANK_BYTES_MAX: usize = language::RANK_BYTES_MAX
    + (language::GROUP_KEYS_MAX + language::ORDER_KEYS_MAX) * 32
    + PLACE_BYTES;
const HEAD_BYTES: usize = 17;
const PLACE_BYTES: usize = 12;
/// Characters of a token.
pub(super) const TOKEN_CHARS_MAX: usize = (HEAD_BYTES + RANK_BYTES_MAX).div_ceil(3) * 4;

const ROW: u8 = 1;
const RANK: u8 = 2;

impl Continuation {
    pub(super) fn to_text(&self, query: &Query) -> String {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + PLACE_BYTES);
        bytes.push(match self.place {
            Place::Start | Place::Row(..) => ROW,
            Place::Rank(_) => RANK,
        });
        bytes.extend_from_slice(&fingerprint(query));
        bytes.extend_from_slice(&self.shown.to_be_bytes());
        match &self.place {
            Place::Start => {}
            Place::Row(job, ordinal) => push_place((*job, *ordinal), &mut bytes),
            Place::Rank(rank) => bytes.extend_from_slice(rank),
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// `None` when the token is none, or one of another query.
    pub(super) fn parse(token: &str, query: &Query) -> Option<Self> {
        if token.len() > TOKEN_CHARS_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
        if head[1..9] != fingerprint(query) {
            return None;
        }
        let place = match (head[0], rest.split_first_chunk()) {
            (ROW, Some((job, ordinal))) => Place::Row(
                JobNumber(u64::from_be_bytes(*job)),
                u32::from_be_bytes(ordinal.try_into().ok()?),
            ),
            (RANK, _) => Place::Rank(rest.into()),
            _ => return None,
        };
        Some(Self {
            place,
            shown: u64::from_be_bytes(head[9..].try_into().ok()?),
        })
    }
}

/// Appends a place in the order of the store: bytes in the same order.
pub(super) fn push_place((job, ordinal): (JobNumber, Ordinal), bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&job.0.to_be_bytes());
    bytes.extend_from_slice(&ordinal.to_be_bytes());
}

/// Binds a continuation to its query, also across restarts.
fn fingerprint(query: &Query) -> [u8; 8] {
    let digest = Sha256::digest(query.text().trim());
    *digest.first_chunk().expect("a digest has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(text).expect("tests use valid queries")
    }

    #[test]
    fn a_continuation_belongs_to_its_query() {
        let jobs = query("SELECT * FROM devices.jobs");
        for place in [
            Place::Row(JobNumber(7), 9),
            Place::Rank(Box::new([])),
            Place::Rank(vec![255; RANK_BYTES_MAX].into()),
        ] {
            let continuation = Continuation { place, shown: 3 };
            let token = continuation.to_text(&jobs);
            assert!(token.len() <= TOKEN_CHARS_MAX);
            assert_eq!(Continuation::parse(&token, &jobs), Some(continuation));
            let others = query("SELECT * FROM devices");
            assert_eq!(Continuation::parse(&token, &others), None);
            assert_eq!(Continuation::parse(&token[1..], &jobs), None);
        }
        let token = Continuation {
            place: Place::Row(JobNumber(7), 9),
            shown: 3,
        }
        .to_text(&jobs);
        for bad in [
            "",
            "tok1",
            "AAAA",
            &token[..token.len() - 2],
            &"A".repeat(TOKEN_CHARS_MAX + 1),
        ] {
            assert_eq!(Continuation::parse(bad, &jobs), None);
        }
    }

    #[test]
    fn the_longest_token_fits_a_header_line_of_8_kib() {
        assert!(TOKEN_CHARS_MAX + "x-ms-continuation: \r\n".len() <= 8_190);
    }
}
