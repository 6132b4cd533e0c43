//! Decides which segments of a journal become fewer. Pure.
//!
//! Settled segments have levels. Level 0 is what commits wrote; when enough small ones lie there, they are
//! merged into level 1. At every higher level segments may overlap; where more than a few cover one
//! ordinal, those are merged into the next level, narrower by that factor. So a reader of one range opens a
//! bounded number of segments, every outcome is rewritten about once a level, and every merge stays small.
//! Each merge stands alone: what is to do follows from the heads, nothing else is remembered.

use std::collections::HashSet;

use fanfare_hub::ids::Ordinal;

use super::segment::ENTRIES_MAX;

/// Small segments that wait before they are merged.
const SMALL_MAX: usize = 32;
/// Segments of calls, beyond what the calls in flight need, that wait before they are written anew.
const CALLS_MAX: usize = 16;
/// Segments of one level that may cover one ordinal.
const DEPTH_MAX: usize = 8;
/// Bytes that one merge reads.
const MERGE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// A journal below this size is not merged at its end.
const ENDED_BYTES_MIN: u64 = 256 * 1024;

/// What a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Calls about to leave.
    Dispatched = 0,
    /// Calls that never left.
    Withdrawn = 1,
    /// Outcomes.
    Settled = 2,
}

impl Kind {
    pub(super) fn from_column(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Dispatched),
            1 => Some(Self::Withdrawn),
            2 => Some(Self::Settled),
            _ => None,
        }
    }
}

/// A segment without its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) sequence: i64,
    pub(super) kind: Kind,
    pub(super) level: u8,
    pub(super) first: Ordinal,
    pub(super) last: Ordinal,
    pub(super) bytes: u32,
}

/// The segments of one journal. Asking for the next merge costs nothing unless a segment came to a
/// level since the last question.
#[derive(Debug, Clone, Default)]
pub(super) struct Heads {
    calls: Vec<i64>,
    levels: Vec<Level>,
    last_sequence: i64,
}

#[derive(Debug, Clone, Default)]
struct Level {
    /// By first ordinal.
    heads: Vec<Head>,
    /// Nowhere too deep.
    is_checked: bool,
}

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

impl Heads {
    pub(super) fn push(&mut self, head: Head) {
        self.last_sequence = self.last_sequence.max(head.sequence);
        if head.kind != Kind::Settled {
            self.calls.push(head.sequence);
            return;
        }
        let index = usize::from(head.level);
        if self.levels.len() <= index {
            self.levels.resize_with(index + 1, Level::default);
        }
        let level = &mut self.levels[index];
        let place = level
            .heads
            .partition_point(|other| other.first <= head.first);
        level.heads.insert(place, head);
        level.is_checked = false;
    }

    pub(super) fn remove(&mut self, sequences: &[i64]) {
        let gone: HashSet<i64> = sequences.iter().copied().collect();
        self.calls.retain(|sequence| !gone.contains(sequence));
        for level in &mut self.levels {
            level.heads.retain(|head| !gone.contains(&head.sequence));
        }
    }

    /// Forgets the segments of calls: an ended job has none.
    pub(super) fn remove_calls(&mut self) {
        self.calls.clear();
    }

    /// The newest segment there ever was.
    pub(super) fn last_sequence(&self) -> i64 {
        self.last_sequence
    }

    /// The merge that the journal of a running job needs, if any.
    pub(super) fn due(&mut self, in_flight: usize) -> Option<Merge> {
        if self.calls.len() >= CALLS_MAX + in_flight.div_ceil(ENTRIES_MAX) {
            let sequences = self.calls.clone();
            return Some(Merge::Calls { sequences });
        }
        self.few_small(SMALL_MAX).or_else(|| self.less_deep())
    }

    /// The next merge that makes the journal of an ended job quicker to read, if it is worth any.
    pub(super) fn finish(&mut self) -> Option<Merge> {
        if !self.is_worth_finishing() {
            return None;
        }
        self.few_small(2).or_else(|| self.less_deep())
    }

    /// Whether the journal of an ended job is large enough to be merged to the end.
    pub(super) fn is_worth_finishing(&self) -> bool {
        let heads = self.levels.iter().flat_map(|level| &level.heads);
        heads.map(|head| u64::from(head.bytes)).sum::<u64>() >= ENDED_BYTES_MIN
    }

    fn few_small(&self, max: usize) -> Option<Merge> {
        let small = self.levels.first()?;
        (small.heads.len() >= max).then(|| merge_of(small.heads.clone(), 1))
    }

    fn less_deep(&mut self) -> Option<Merge> {
        for (above, level) in (1..).zip(&mut self.levels).skip(1) {
            if level.is_checked {
                continue;
            }
            if let Some(heads) = deepest(&level.heads) {
                return Some(merge_of(heads, above));
            }
            level.is_checked = true;
        }
        None
    }
}

/// As many of these, oldest first, as one merge may read; at least two.
fn merge_of(mut heads: Vec<Head>, level: u8) -> Merge {
    heads.sort_unstable_by_key(|head| head.sequence);
    let mut bytes = 0;
    let fits = |head: &&Head| {
        bytes += u64::from(head.bytes);
        bytes <= MERGE_BYTES_MAX
    };
    let count = heads.iter().take_while(fits).count().max(2);
    let sequences = heads.iter().take(count).map(|head| head.sequence).collect();
    Merge::Settled { sequences, level }
}

/// The segments that cover the first ordinal that more than [`DEPTH_MAX`] of them cover.
fn deepest(by_first: &[Head]) -> Option<Vec<Head>> {
    let mut open: Vec<Head> = Vec::with_capacity(DEPTH_MAX + 1);
    for head in by_first {
        open.retain(|other| other.last >= head.first);
        open.push(*head);
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
            bytes: 20_000,
        }
    }

    fn journal(heads: impl IntoIterator<Item = Head>) -> Heads {
        let mut journal = Heads::default();
        heads.into_iter().for_each(|head| journal.push(head));
        journal
    }

    #[test]
    fn small_segments_are_merged_once_there_are_enough() {
        let mut heads = journal((1..=31).map(|n| head(n, 0, 0, 9)));
        assert_eq!(heads.due(0), None);
        heads.push(head(32, 0, 0, 9));
        let expected = Merge::Settled {
            sequences: (1..=32).collect(),
            level: 1,
        };
        assert_eq!(heads.due(0), Some(expected));
    }

    #[test]
    fn a_merge_reads_at_most_four_mebibytes() {
        let large = |n| Head {
            bytes: 1024 * 1024,
            ..head(n, 0, 0, 9)
        };
        let expected = Merge::Settled {
            sequences: vec![1, 2, 3, 4],
            level: 1,
        };
        assert_eq!(journal((1..=40).map(large)).due(0), Some(expected));
    }

    #[test]
    fn segments_side_by_side_are_left_alone() {
        let side_by_side = |n: u32| head(i64::from(n), 1, n * 10, n * 10 + 9);
        assert_eq!(journal((0..500).map(side_by_side)).due(0), None);
    }

    #[test]
    fn where_too_many_overlap_they_move_up() {
        let mut heads = journal((0..8).map(|n| head(n, 1, n as u32, 100)));
        heads.push(head(99, 1, 200, 300));
        assert_eq!(heads.due(0), None);
        heads.push(head(100, 1, 50, 60));
        let sequences: Vec<i64> = (0..8).chain([100]).collect();
        let expected = Merge::Settled {
            sequences: sequences.clone(),
            level: 2,
        };
        assert_eq!(heads.due(0), Some(expected));
        heads.remove(&sequences);
        heads.push(head(101, 2, 0, 100));
        assert_eq!(heads.due(0), None);
        assert_eq!(heads.last_sequence(), 101);
    }

    #[test]
    fn an_ended_journal_is_finished_when_it_is_large() {
        let expected = Merge::Settled {
            sequences: (1..=20).collect(),
            level: 1,
        };
        let mut heads = journal((1..=20).map(|n| head(n, 0, 0, 9)));
        assert_eq!((heads.due(0), heads.finish()), (None, Some(expected)));
        let mut heads = journal((1..=5).map(|n| head(n, 0, 0, 9)));
        assert_eq!(heads.finish(), None, "under 256 KiB");
    }

    #[test]
    fn calls_are_written_anew_when_that_makes_them_fewer() {
        let call = |n| Head {
            kind: Kind::Dispatched,
            ..head(n, 0, 0, 9)
        };
        let mut heads = journal((1..=16).map(call));
        let expected = Merge::Calls {
            sequences: (1..=16).collect(),
        };
        assert_eq!(heads.due(0), Some(expected));
        assert_eq!(heads.due(1), None, "one of them is needed");
        heads.remove_calls();
        assert_eq!(heads.due(0), None);
    }

    /// A journal with the ordinals of its segments, and a merge done as the writer does it.
    #[derive(Default)]
    struct Simulated {
        heads: Heads,
        content: std::collections::BTreeMap<i64, Vec<u32>>,
        sequence: i64,
    }

    impl Simulated {
        const ENTRY_BYTES: u32 = 2_000;

        fn push(&mut self, level: u8, mut ordinals: Vec<u32>) {
            ordinals.sort_unstable();
            self.sequence += 1;
            self.heads.push(Head {
                bytes: ordinals.len() as u32 * Self::ENTRY_BYTES,
                ..head(
                    self.sequence,
                    level,
                    ordinals[0],
                    ordinals[ordinals.len() - 1],
                )
            });
            self.content.insert(self.sequence, ordinals);
        }

        fn merge(&mut self, merge: Merge) {
            let Merge::Settled { sequences, level } = merge else {
                panic!("there are no calls");
            };
            assert!(sequences.len() >= 2);
            let mut all: Vec<u32> = Vec::new();
            for sequence in &sequences {
                all.extend(self.content.remove(sequence).expect("each lies there once"));
            }
            let bytes = all.len() as u64 * u64::from(Self::ENTRY_BYTES);
            assert!(bytes <= MERGE_BYTES_MAX, "{bytes}");
            self.heads.remove(&sequences);
            all.sort_unstable();
            for group in all.chunks(500) {
                self.push(level, group.to_vec());
            }
        }
    }

    #[test]
    fn random_arrivals_stay_shallow_and_merges_small() {
        let mut journal = Simulated::default();
        let mut merges = 0;
        // 40,000 devices in an order of no locality, 20 by a commit.
        let order: Vec<u32> = (0..40_000_u32).map(|n| n * 7_919 % 40_009).collect();
        for commit in order.chunks(20) {
            journal.push(0, commit.to_vec());
            while let Some(merge) = journal.heads.due(0) {
                journal.merge(merge);
                merges += 1;
            }
            assert!(journal.heads.levels[0].heads.len() < SMALL_MAX);
            for level in &journal.heads.levels[1..] {
                assert_eq!(deepest(&level.heads), None);
            }
        }
        while let Some(merge) = journal.heads.finish() {
            journal.merge(merge);
        }
        let mut left: Vec<u32> = journal.content.into_values().flatten().collect();
        left.sort_unstable();
        let mut expected = order;
        expected.sort_unstable();
        assert_eq!(left, expected);
        assert!(journal.heads.levels.len() < 8, "{merges} merges");
    }
}
