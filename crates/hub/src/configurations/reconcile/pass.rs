//! One pass: pages of identities, what each should have, one transaction for each page, then the counts.
//!
//! Memory is bounded: a page of identities with their records, and per configuration two sets of ordinals.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
};

use roaring::RoaringBitmap;

use super::Parts;
use crate::{
    configurations::{
        Applied, Assignment, ConfigurationResults, ConfigurationStatus,
        plan::{Mask, MetricKind, Plan},
    },
    ids::{DeviceId, IdentityKey, ModuleId, Ordinal, Space},
    limits,
    overlay::Present,
    ports::{
        StoreError,
        configurations::{AssignmentItem, DirtyMark},
        store::{IdentityRow, IdentityScan},
    },
    query::{Path, RootField, Value},
    twin::PatchText,
};

/// Identities in one page, and so in one transaction.
const PAGE: usize = limits::TWIN_PAGE_DEVICES;

/// What was remembered beside the twins of a page, by ordinal.
type Records = BTreeMap<Ordinal, Applied>;

/// A pass with the configurations as they stood at its start.
pub(super) struct Pass<'p> {
    parts: &'p Parts,
    plan: Arc<Plan>,
    connected: [Arc<RoaringBitmap>; 2],
}

/// One identity of a page.
struct Seen {
    ordinal: Ordinal,
    device: DeviceId,
    module: Option<ModuleId>,
    matched: Mask,
}

/// Who was targeted and applied, by place of the configuration. Devices count for what is written to their
/// modules.
struct Tally {
    targeted: Vec<RoaringBitmap>,
    applied: Vec<RoaringBitmap>,
}

/// What one identity of a page should have; `counted` is the ordinal it counts as.
struct Wanted {
    ordinal: Ordinal,
    counted: Ordinal,
    assignment: Arc<Assignment>,
}

impl<'p> Pass<'p> {
    pub(super) fn new(parts: &'p Parts, plan: Arc<Plan>) -> Self {
        let connected = |space| Arc::new(parts.presence.connected(space));
        Self {
            parts,
            plan,
            connected: [connected(Space::Devices), connected(Space::Modules)],
        }
    }

    /// Looks at everybody; returns whether there is anything to come back for.
    pub(super) async fn whole(&self) -> Result<bool, StoreError> {
        let mut tally = Tally::new(self.plan.len());
        for space in [Space::Devices, Space::Modules] {
            if self.plan.reaches(space) {
                self.all_of(space, &mut tally).await?;
            } else {
                self.release(space).await?;
            }
        }
        if self.plan.is_empty() {
            return Ok(false);
        }
        let rows = self.measure().await?;
        let results = (0..self.plan.len()).map(|place| {
            let results = self.results(place, &tally, &rows);
            (self.plan.number(place), results)
        });
        let results = results.collect();
        self.parts.store.configuration_results_put(results).await?;
        Ok(true)
    }

    /// Looks at those that carry a mark; bounded, whoever is left is seen the next time.
    pub(super) async fn short(&self) -> Result<(), StoreError> {
        for _ in 0..SHORT_PAGES_MAX {
            let marks = self.parts.store.configuration_dirty(PAGE).await?;
            if marks.is_empty() {
                return Ok(());
            }
            let is_last = marks.len() < PAGE;
            self.marked(&marks).await?;
            self.parts.store.configuration_clean(marks).await?;
            if is_last {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn all_of(&self, space: Space, tally: &mut Tally) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let records = self.records(space, after).await?;
            let scan = IdentityScan {
                space,
                after,
                devices: None,
            };
            let seen = self.see(scan, PAGE).await?;
            let Some(last) = seen.last() else {
                return Ok(());
            };
            after = Some(last.ordinal);
            let is_last = seen.len() < PAGE;
            self.settle(space, seen, &records, tally).await?;
            if is_last {
                return Ok(());
            }
        }
    }

    async fn marked(&self, marks: &[DirtyMark]) -> Result<(), StoreError> {
        let keys = marks.iter().map(|(key, _)| *key).collect();
        let names = self.parts.store.identity_names(keys).await?;
        let devices: BTreeSet<_> = names.into_iter().map(|(_, id)| id.device).collect();
        let devices: Vec<_> = devices.into_iter().collect();
        let mut tally = Tally::new(self.plan.len());
        for space in [Space::Devices, Space::Modules] {
            if !self.plan.reaches(space) {
                continue;
            }
            let scan = IdentityScan {
                space,
                after: None,
                devices: Some(devices.clone()),
            };
            let keys = self.keys(scan.clone()).await?;
            let known = self.parts.store.configuration_applied_to(keys).await?;
            let records = known
                .into_iter()
                .map(|(key, applied)| (key.ordinal, applied));
            let records = records.collect();
            let seen = self.see(scan, usize::MAX).await?;
            self.settle(space, seen, &records, &mut tally).await?;
        }
        Ok(())
    }

    /// Takes back whatever was given in a space that no configuration reaches any more.
    async fn release(&self, space: Space) -> Result<(), StoreError> {
        let nothing = Arc::new(Assignment::default());
        let mut after = None;
        loop {
            let page = self
                .parts
                .store
                .configuration_applied(space, after, PAGE)
                .await?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = Some(*last);
            let wanted = page.iter().map(|(ordinal, _)| Wanted {
                ordinal: *ordinal,
                counted: *ordinal,
                assignment: nothing.clone(),
            });
            let wanted = wanted.collect();
            let records = page.into_iter().collect();
            self.assign(space, wanted, &records, &mut Tally::new(self.plan.len()))
                .await?;
        }
    }

    async fn records(&self, space: Space, after: Option<Ordinal>) -> Result<Records, StoreError> {
        let page = self
            .parts
            .store
            .configuration_applied(space, after, PAGE)
            .await?;
        Ok(page.into_iter().collect())
    }

    /// Evaluates the conditions on up to `limit` identities.
    async fn see(&self, scan: IdentityScan, limit: usize) -> Result<Vec<Seen>, StoreError> {
        let space = scan.space;
        let plan = self.plan.clone();
        self.scan(scan, limit, move |row, present| {
            let (device, module) = names_of(row)?;
            Some(Seen {
                ordinal: row.key().ordinal,
                device,
                module,
                matched: plan.matches(space, present),
            })
        })
        .await
    }

    async fn keys(&self, scan: IdentityScan) -> Result<Vec<IdentityKey>, StoreError> {
        self.scan(scan, usize::MAX, |row, _| Some(row.key())).await
    }

    /// Shows rows to `look` and collects what it makes of them.
    async fn scan<T: Send + 'static>(
        &self,
        scan: IdentityScan,
        limit: usize,
        look: impl Fn(&dyn IdentityRow, &Present<'_>) -> Option<T> + Send + 'static,
    ) -> Result<Vec<T>, StoreError> {
        let found = Arc::new(Mutex::new(Vec::new()));
        let (shared, presence) = (found.clone(), self.parts.presence.clone());
        let connected = self.connected[usize::from(scan.space == Space::Modules)].clone();
        let visit = move |row: &dyn IdentityRow| {
            let present = Present {
                row,
                connected: &connected,
                presence: &presence,
            };
            let mut found = shared.lock().unwrap_or_else(PoisonError::into_inner);
            found.extend(look(row, &present));
            match found.len() < limit {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        };
        self.parts
            .store
            .identity_scan(scan, Box::new(visit))
            .await?;
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut found))
    }

    /// Works out what everybody in a page should have, and sees to it.
    async fn settle(
        &self,
        space: Space,
        seen: Vec<Seen>,
        records: &Records,
        tally: &mut Tally,
    ) -> Result<(), StoreError> {
        for seen in &seen {
            tally.target(seen);
        }
        let devices = match space == Space::Modules && self.plan.has_modules_by_device() {
            true => self.ordinals(&seen).await?,
            false => HashMap::new(),
        };
        let wanted = seen.into_iter().map(|seen| match seen.module {
            None => Wanted {
                ordinal: seen.ordinal,
                counted: seen.ordinal,
                assignment: self.plan.for_device(seen.matched),
            },
            Some(module) => {
                let device = devices.get(&seen.device).copied();
                let by_device = device.map_or(
                    0,
                    |(ordinal, edge)| {
                        if edge { tally.targeting(ordinal) } else { 0 }
                    },
                );
                Wanted {
                    ordinal: seen.ordinal,
                    counted: device.map_or(seen.ordinal, |(ordinal, _)| ordinal),
                    assignment: self.plan.for_module(&module, seen.matched, by_device),
                }
            }
        });
        let wanted = wanted.collect();
        self.assign(space, wanted, records, tally).await
    }

    /// The devices of these modules: ordinal, and whether it is an edge device.
    async fn ordinals(
        &self,
        seen: &[Seen],
    ) -> Result<HashMap<DeviceId, (Ordinal, bool)>, StoreError> {
        let devices: BTreeSet<_> = seen.iter().map(|seen| seen.device.clone()).collect();
        let scan = IdentityScan {
            space: Space::Devices,
            after: None,
            devices: Some(devices.into_iter().collect()),
        };
        let found = self.scan(scan, usize::MAX, |row, _| {
            let (device, _) = names_of(row)?;
            let edge = row.value(&Path::Field(RootField::IotEdge)) == Value::Bool(true);
            Some((device, (row.key().ordinal, edge)))
        });
        Ok(found.await?.into_iter().collect())
    }

    /// Writes where what is wanted differs from what is remembered; tells devices; counts.
    async fn assign(
        &self,
        space: Space,
        wanted: Vec<Wanted>,
        records: &Records,
        tally: &mut Tally,
    ) -> Result<(), StoreError> {
        let none = Applied::default();
        let is_new = |wanted: &&Wanted| {
            let before = records.get(&wanted.ordinal).unwrap_or(&none);
            !wanted.assignment.is_done(before)
        };
        let items = wanted.iter().filter(is_new).map(|wanted| AssignmentItem {
            ordinal: wanted.ordinal,
            wanted: wanted.assignment.clone(),
        });
        let items: Vec<_> = items.collect();
        let mut refused = BTreeSet::new();
        for batch in items.chunks(PAGE) {
            let (store, clock) = (&self.parts.store, &self.parts.clock);
            let done = store
                .configuration_assign(store.term(), space, batch.to_vec(), clock.now())
                .await?;
            for written in &done.written {
                let notice = PatchText::new(&written.patch).notice(&written.change);
                self.parts.twins.tell(written.key, &notice).await;
            }
            for (ordinal, error) in done.refused {
                tracing::debug!(ordinal, %error, "a twin cannot take what its configurations say");
                refused.insert(ordinal);
            }
        }
        for wanted in wanted
            .iter()
            .filter(|wanted| !refused.contains(&wanted.ordinal))
        {
            for assigned in wanted.assignment.configurations() {
                if assigned.status == ConfigurationStatus::Applied
                    && let Some(place) = self.plan.place(assigned.number)
                {
                    tally.apply(place, space, wanted, self.plan.counts_devices(place));
                }
            }
        }
        Ok(())
    }

    /// The rows of every metric, by its place.
    async fn measure(&self) -> Result<Vec<u64>, StoreError> {
        let mut rows = vec![0; self.plan.metric_count()];
        for space in [Space::Devices, Space::Modules] {
            let metrics = Arc::new(self.plan.metrics_of(space));
            let mut after = None;
            while !metrics.is_empty() {
                let (plan, asked) = (self.plan.clone(), metrics.clone());
                let scan = IdentityScan {
                    space,
                    after,
                    devices: None,
                };
                let look = move |row: &dyn IdentityRow, present: &Present<'_>| {
                    let counting = |place: &&usize| plan.metric(**place).counts(present);
                    let counting: Vec<usize> = asked.iter().filter(counting).copied().collect();
                    Some((row.key().ordinal, counting))
                };
                let page = self.scan(scan, PAGE, look).await?;
                for place in page.iter().flat_map(|(_, counting)| counting) {
                    rows[*place] += 1;
                }
                match page.last() {
                    Some((last, _)) if page.len() >= PAGE => after = Some(*last),
                    _ => break,
                }
            }
        }
        Ok(rows)
    }

    fn results(&self, place: usize, tally: &Tally, rows: &[u64]) -> ConfigurationResults {
        let mut results = ConfigurationResults {
            targeted: tally.targeted[place].len(),
            applied: tally.applied[place].len(),
            ..ConfigurationResults::default()
        };
        for (at, rows) in rows.iter().enumerate() {
            let metric = self.plan.metric(at);
            if metric.number != self.plan.number(place) {
                continue;
            }
            let shown = metric.shown(*rows);
            match &metric.kind {
                MetricKind::Custom(name) => {
                    results.metrics.insert(name.clone(), shown);
                }
                MetricKind::ReportedSuccessful => results.reported_successful = shown,
                MetricKind::ReportedFailed => results.reported_failed = shown,
            }
        }
        results
    }
}

/// Pages of marks that one short pass takes.
const SHORT_PAGES_MAX: usize = 100;

impl Tally {
    fn new(configurations: usize) -> Self {
        Self {
            targeted: vec![RoaringBitmap::new(); configurations],
            applied: vec![RoaringBitmap::new(); configurations],
        }
    }

    fn target(&mut self, seen: &Seen) {
        for (place, targeted) in self.targeted.iter_mut().enumerate() {
            if seen.matched & (1 << place) != 0 {
                targeted.insert(seen.ordinal);
            }
        }
    }

    /// The configurations that target a device.
    fn targeting(&self, device: Ordinal) -> Mask {
        let places = self.targeted.iter().enumerate();
        places
            .filter(|(_, targeted)| targeted.contains(device))
            .fold(0, |mask, (place, _)| mask | (1 << place))
    }

    fn apply(&mut self, place: usize, space: Space, wanted: &Wanted, counts_devices: bool) {
        let counted = match space == Space::Modules && counts_devices {
            true => wanted.counted,
            false => wanted.ordinal,
        };
        self.applied[place].insert(counted);
    }
}

fn names_of(row: &dyn IdentityRow) -> Option<(DeviceId, Option<ModuleId>)> {
    let text = |field| match row.value(&Path::Field(field)) {
        Value::String(text) => Some(text.into_owned()),
        _ => None,
    };
    let device = DeviceId::parse(&text(RootField::DeviceId)?).ok()?;
    let module = text(RootField::ModuleId).and_then(|text| ModuleId::parse(&text).ok());
    Some((device, module))
}
