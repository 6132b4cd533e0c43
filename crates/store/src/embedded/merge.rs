//! Decides which segments of a journal become fewer. Pure.
//!
//! Settled segments have levels. Level 0 is what commits wrote; when enough small ones lie there, they are
//! merged into level 1. At every higher level segments may overlap; where more than a few cover one
//! ordinal, those are merged into the next level, narrower by that factor. So a reader of one range opens a
//! bounded number of segments, every outcome is rewritten about once a level, and every merge stays small.
//! Each merge stands alone: what is to do follows from the heads, nothing else is remembered.

use super::journal::{Head, Kind};

/// Small segments that wait before they are merged.
const SMALL_MAX: usize = 32;
/// Segments of calls that wait before they are written anew.
const CALLS_MAX: usize = 16;
/// Segments of one level that may cover one ordinal.
const DEPTH_MAX: usize = 8;
/// Bytes that one merge reads.
const MERGE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// A journal below this size is not merged at its end.
const ENDED_BYTES_MIN: u64 = 256 * 1024;

/// One merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Merge {
    /// Replace these segments of calls by what is in flight now.
    Calls {
        /// What goes.
        sequences: Vec<i64>,
    },
    /// Replace these settled segments by their entries in order.
    Settled {
        /// What goes.
        sequences: Vec<i64>,
        /// Where the result belongs.
        level: u8,
    },
}

/// The merge that is due, if any. An ended journal is finished only when `idle`.
pub(super) fn plan(heads: &[Head], ended: bool, idle: bool) -> Option<Merge> {
    let calls = || heads.iter().filter(|head| head.kind != Kind::Settled);
    if !ended && calls().count() >= CALLS_MAX {
        return Some(Merge::Calls {
            sequences: calls().map(|head| head.sequence).collect(),
        });
    }
    let settled: Vec<&Head> = heads
        .iter()
        .filter(|head| head.kind == Kind::Settled)
        .collect();
    if ended && (!idle || !is_worth_finishing(heads)) {
        return None;
    }
    let small: Vec<&Head> = settled
        .iter()
        .copied()
        .filter(|head| head.level == 0)
        .collect();
    let small_max = if ended { 2 } else { SMALL_MAX };
    if small.len() >= small_max {
        return merge_of(small, 1);
    }
    let top = settled.iter().map(|head| head.level).max().unwrap_or(0);
    (1..=top).find_map(|level| {
        let of_level = settled
            .iter()
            .copied()
            .filter(|head| head.level == level)
            .collect();
        merge_of(deepest(of_level)?, level + 1)
    })
}

/// Whether the journal of an ended job is large enough to be merged to the end.
pub(super) fn is_worth_finishing(heads: &[Head]) -> bool {
    heads.iter().map(|head| u64::from(head.bytes)).sum::<u64>() >= ENDED_BYTES_MIN
}

/// As many of these, oldest first, as one merge may read; at least two.
fn merge_of(mut heads: Vec<&Head>, level: u8) -> Option<Merge> {
    heads.sort_unstable_by_key(|head| head.sequence);
    let mut bytes = 0;
    let fits = |head: &&&Head| {
        bytes += u64::from(head.bytes);
        bytes <= MERGE_BYTES_MAX
    };
    let count = heads.iter().take_while(fits).count().max(2);
    let sequences: Vec<i64> = heads.iter().take(count).map(|head| head.sequence).collect();
    (sequences.len() >= 2).then_some(Merge::Settled { sequences, level })
}

/// The segments that cover the first ordinal that more than [`DEPTH_MAX`] of them cover.
fn deepest(mut heads: Vec<&Head>) -> Option<Vec<&Head>> {
    heads.sort_unstable_by_key(|head| head.first);
    let mut open: Vec<&Head> = Vec::new();
    for head in heads {
        open.retain(|other| other.last >= head.first);
        open.push(head);
        if open.len() > DEPTH_MAX {
            return Some(open);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(sequence: i64, level: u8, first: u32, last: u32) -> Head {
        let kind = Kind::Settled;
        Head {
            sequence,
            kind,
            level,
            first,
            last,
            entries: 1_000,
            bytes: 20_000,
        }
    }

    #[test]
    fn small_segments_are_merged_once_there_are_enough() {
        let heads: Vec<_> = (1..=31).map(|n| head(n, 0, 0, 9)).collect();
        assert_eq!(plan(&heads, false, true), None);
        let heads: Vec<_> = (1..=32).map(|n| head(n, 0, 0, 9)).collect();
        let expected = Merge::Settled {
            sequences: (1..=32).collect(),
            level: 1,
        };
        assert_eq!(plan(&heads, false, false), Some(expected));
    }

    #[test]
    fn a_merge_reads_at_most_four_mebibytes() {
        let large = |n| Head {
            bytes: 1024 * 1024,
            ..head(n, 0, 0, 9)
        };
        let heads: Vec<_> = (1..=40).map(large).collect();
        let expected = Merge::Settled {
            sequences: vec![1, 2, 3, 4],
            level: 1,
        };
        assert_eq!(plan(&heads, false, false), Some(expected));
    }

    #[test]
    fn segments_side_by_side_are_left_alone() {
        let heads: Vec<_> = (0..500)
            .map(|n| head(n, 1, n as u32 * 10, n as u32 * 10 + 9))
            .collect();
        assert_eq!(plan(&heads, false, true), None);
    }

    #[test]
    fn where_too_many_overlap_they_move_up() {
        let mut heads: Vec<_> = (0..9).map(|n| head(n, 1, n as u32, 100)).collect();
        heads.push(head(99, 1, 200, 300));
        let expected = Merge::Settled {
            sequences: (0..9).collect(),
            level: 2,
        };
        assert_eq!(plan(&heads, false, false), Some(expected));
    }

    #[test]
    fn an_ended_journal_is_finished_when_idle_and_large() {
        let heads: Vec<_> = (1..=20).map(|n| head(n, 0, 0, 9)).collect();
        assert_eq!(plan(&heads, true, false), None);
        assert!(plan(&heads, true, true).is_some());
        assert_eq!(plan(&heads[..5], true, true), None, "under 256 KiB");
    }

    #[test]
    fn calls_are_written_anew() {
        let call = |n| Head {
            kind: Kind::Dispatched,
            ..head(n, 0, 0, 9)
        };
        let heads: Vec<_> = (1..=16).map(call).collect();
        let expected = Merge::Calls {
            sequences: (1..=16).collect(),
        };
        assert_eq!(plan(&heads, false, false), Some(expected));
        assert_eq!(plan(&heads[..15], false, false), None);
    }
}
