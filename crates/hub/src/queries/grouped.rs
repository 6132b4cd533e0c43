//! Groups: one scan of everything counts each row into its group and keeps the best groups behind the
//! place.
//!
//! Where the order is that of keys, a group that was pushed out by better ones never comes back, so a
//! page of groups is all that is held. Where it is that of an aggregate, every group is held until the
//! end of the scan, as many as [`limits::QUERY_GROUPS_HELD_MAX`]. compat: QUERY-33

use std::{
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
};

use super::{Collect, Filled, Frame, PageError, Place, Row, Rows, TooMuch, WholeScan, text_of};
use crate::{
    limits,
    query::{Group, Groups, OrderBy, Ranking, Value},
};

/// The groups so far.
pub(super) struct Grouped {
    groups: Groups,
    ranking: Ranking,
    /// The order of keys alone, which tells groups apart.
    grouping: Ranking,
    after: Option<Box<[u8]>>,
    limit: usize,
    bytes_max: usize,
    held: Held,
    bytes: usize,
    has_more: bool,
    scan: WholeScan,
    fault: Option<TooMuch>,
    /// The rank, or the key, of the row being looked at.
    rank: Vec<u8>,
}

enum Held {
    /// The one group of a query without a key.
    Whole(Group),
    /// The best, by their rank.
    Best(BTreeMap<Box<[u8]>, Group>),
    /// All, by the spelling of their key: their rank is not known yet.
    All(HashMap<Box<[u8]>, Group>),
}

impl Grouped {
    pub(super) fn new(frame: &Frame, groups: Groups) -> Result<Self, PageError> {
        let ranking = frame.query.ranking();
        let after = frame.place.rank()?;
        let held = if groups.keys().is_empty() {
            // Its one page has no next.
            if after.is_some() {
                return Err(PageError::Continuation);
            }
            Held::Whole(groups.begin_whole())
        } else if ranking.is_by_aggregate() {
            Held::All(HashMap::new())
        } else {
            Held::Best(BTreeMap::new())
        };
        Ok(Self {
            grouping: frame.query.grouping(),
            groups,
            ranking,
            after,
            limit: frame.limit,
            bytes_max: frame.bytes_max,
            held,
            bytes: 0,
            has_more: false,
            scan: WholeScan::default(),
            fault: None,
            rank: Vec::new(),
        })
    }

    pub(super) fn finish(mut self) -> Result<Filled, PageError> {
        if let Some(fault) = self.fault {
            return Err(fault.into());
        }
        let best = match self.held {
            Held::Whole(group) => vec![(Box::default(), group)],
            Held::Best(best) => best.into_iter().collect(),
            Held::All(all) => {
                let mut ranked = Vec::with_capacity(all.len());
                for group in all.into_values() {
                    let mut rank = Vec::new();
                    self.ranking
                        .write(|by| self.groups.value(&group, by), &mut rank);
                    if self.after.as_deref().is_none_or(|after| *rank > *after) {
                        ranked.push((rank.into_boxed_slice(), group));
                    }
                }
                ranked.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
                self.has_more = ranked.len() > self.limit;
                ranked
            }
        };
        let best = &best[..self.limit.min(best.len())];
        let row = |(_, group): &(_, Group)| text_of(|out| self.groups.write_row(group, out));
        let next = best.last().filter(|_| self.has_more);
        Ok(Filled {
            rows: Rows::Raw(best.iter().map(row).collect()),
            next: next.map(|(rank, _)| Place::Rank(rank.clone())),
        })
    }

    fn write_rank(&mut self, row: &Row<'_>) {
        let of_row = |by: &OrderBy| match by {
            OrderBy::Path(path) => row.document.value(path),
            OrderBy::Aggregate(_) => Value::Undefined,
        };
        self.rank.clear();
        match &self.held {
            Held::Whole(_) => {}
            Held::Best(_) => self.ranking.write(of_row, &mut self.rank),
            Held::All(_) => self.grouping.write(of_row, &mut self.rank),
        }
    }

    fn count(&mut self, row: &Row<'_>) -> Result<(), TooMuch> {
        let rank = self.rank.as_slice();
        let (groups, bytes) = (&self.groups, &mut self.bytes);
        let begin = || {
            let group = groups.begin(row.document);
            (rank.len() + group.bytes(), group)
        };
        match &mut self.held {
            Held::Whole(group) => {
                groups.add(group, row.document);
            }
            Held::Best(best) => {
                if self.after.as_deref().is_some_and(|after| *rank <= *after) {
                    return Ok(());
                }
                let worst = best.last_key_value().map(|(worst, _)| &**worst);
                if best.len() >= self.limit && worst.is_some_and(|worst| *rank > *worst) {
                    self.has_more = true;
                    return Ok(());
                }
                if !best.contains_key(rank) {
                    let (size, group) = begin();
                    *bytes += size;
                    best.insert(rank.into(), group);
                }
                let group = best.get_mut(rank).expect("it is there by now");
                *bytes = bytes.saturating_add_signed(groups.add(group, row.document));
                // Groups of very large values make a page shorter than asked for.
                while best.len() > self.limit || (*bytes > self.bytes_max && best.len() > 1) {
                    if let Some((rank, worst)) = best.pop_last() {
                        *bytes -= rank.len() + worst.bytes();
                    }
                    self.limit = self.limit.min(best.len());
                    self.has_more = true;
                }
            }
            Held::All(all) => {
                if !all.contains_key(rank) {
                    if all.len() >= limits::QUERY_GROUPS_HELD_MAX {
                        return Err(TooMuch::Groups);
                    }
                    let (size, group) = begin();
                    *bytes += size;
                    all.insert(rank.into(), group);
                }
                let group = all.get_mut(rank).expect("it is there by now");
                *bytes = bytes.saturating_add_signed(groups.add(group, row.document));
                if *bytes > self.bytes_max {
                    return Err(TooMuch::GroupBytes);
                }
            }
        }
        Ok(())
    }
}

impl Collect for Grouped {
    fn look(&mut self, row: &Row<'_>) -> ControlFlow<()> {
        if self.limit == 0 {
            return ControlFlow::Break(());
        }
        let mut counted = self.scan.next();
        if counted.is_ok() && row.matches {
            self.write_rank(row);
            counted = self.count(row);
        }
        match counted {
            Ok(()) => ControlFlow::Continue(()),
            Err(fault) => {
                self.fault = Some(fault);
                ControlFlow::Break(())
            }
        }
    }
}
