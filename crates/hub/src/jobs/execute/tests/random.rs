//! Random events: whatever happens, the numbers add up, nothing is called twice, nothing waits for ever.

use proptest::prelude::*;

use super::*;

const JOBS: u64 = 6;
const DEVICES: Ordinal = 7;
const SMALL: Bounds = Bounds {
    in_flight: 8,
    per_device: 2,
    dispatches: 5,
    small: 3,
};

#[derive(Debug, Clone)]
enum Event {
    Add { targets: u8, old: Option<u8> },
    Ready(Ordinal),
    Unready(Ordinal),
    Close(Ordinal),
    Answer(prop::sample::Index),
    Repeat(prop::sample::Index),
    Mistake(prop::sample::Index),
    Pass(u16),
    Cancel(prop::sample::Index),
    Tell,
    Delete(Ordinal),
    Begin,
    Finish,
}

fn event() -> impl Strategy<Value = Event> {
    let device = || 0..DEVICES;
    let index = any::<prop::sample::Index>;
    prop_oneof![
        3 => (any::<u8>(), proptest::option::weighted(0.2, 0..8u8))
            .prop_map(|(targets, old)| Event::Add { targets, old }),
        6 => device().prop_map(Event::Ready),
        2 => device().prop_map(Event::Unready),
        1 => device().prop_map(Event::Close),
        8 => index().prop_map(Event::Answer),
        1 => index().prop_map(Event::Repeat),
        1 => index().prop_map(Event::Mistake),
        2 => (0..6_000u16).prop_map(Event::Pass),
        1 => index().prop_map(Event::Cancel),
        2 => Just(Event::Tell),
        1 => device().prop_map(Event::Delete),
        8 => Just(Event::Begin),
        8 => Just(Event::Finish),
    ]
}

/// A rig whose commits take their time, with what a test must know to judge it.
struct World {
    rig: Rig,
    added: u64,
    ready: BTreeSet<Ordinal>,
    deleted: BTreeSet<Ordinal>,
    canceled: BTreeSet<u64>,
    /// Cancelled in the store; the executor has not heard.
    untold: Vec<u64>,
    under_way: Option<(Vec<JobRecords>, Vec<JobCommitted>)>,
    waiting: Vec<Left>,
}

impl World {
    fn new() -> Self {
        Self {
            rig: Rig::new(SMALL),
            added: 0,
            ready: BTreeSet::new(),
            deleted: BTreeSet::new(),
            canceled: BTreeSet::new(),
            untold: Vec::new(),
            under_way: None,
            waiting: Vec::new(),
        }
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Add { targets, old } if self.added < JOBS => self.add(*targets, *old),
            Event::Ready(device) if !self.deleted.contains(device) => self.make_ready(*device),
            Event::Unready(device) => {
                self.ready.remove(device);
                self.rig.unready(*device);
            }
            Event::Close(device) => {
                self.rig.closed.insert(*device);
            }
            Event::Answer(at) if !self.waiting.is_empty() => {
                let left = self.waiting.swap_remove(at.index(self.waiting.len()));
                self.rig.answer(left);
            }
            Event::Repeat(at) if !self.rig.left.is_empty() => {
                let left = *at.get(&self.rig.left);
                self.rig.answer(left);
            }
            Event::Mistake(at) if !self.rig.left.is_empty() => {
                let left = *at.get(&self.rig.left);
                assert!(!self.rig.answer_from(left.ordinal + 1, left.call));
            }
            Event::Pass(milliseconds) => {
                self.rig.now = self.rig.now + Duration::from_millis(u64::from(*milliseconds));
            }
            Event::Cancel(at) if self.added > 0 => {
                let number = 1 + at.index(self.added as usize) as u64;
                self.rig.memory.cancel(number, self.rig.now);
                self.canceled.insert(number);
                self.untold.push(number);
            }
            Event::Tell => self.tell(),
            Event::Delete(device) if self.deleted.len() < 2 => {
                self.deleted.insert(*device);
                self.ready.remove(device);
                self.rig.unready(*device);
                self.rig.executor.deleted(key(*device), self.rig.now);
            }
            Event::Begin => self.begin(),
            Event::Finish => self.finish(),
            _ => {}
        }
    }

    fn add(&mut self, targets: u8, old: Option<u8>) {
        self.added += 1;
        let targets = (0..DEVICES).filter(|bit| targets & (1 << bit) != 0);
        let mut ledger = Ledger::sealed(targets.collect());
        if ledger.targets().is_empty() {
            ledger = Ledger::sealed([0].into_iter().collect());
        }
        if let Some(old) = old {
            let flight = InFlight {
                call: old_call(self.added),
                dispatched: self.rig.now,
            };
            // Somebody else's device is no matter.
            let _ = ledger.dispatch(u32::from(old), flight);
        }
        let deleted = self.deleted.iter().copied().collect();
        let mut job = job(self.added);
        job.plan.start = Some(self.rig.now);
        self.rig.add_job(job, ledger, &deleted);
    }

    fn make_ready(&mut self, device: Ordinal) {
        self.rig.closed.remove(&device);
        self.ready.insert(device);
        self.rig.ready([device]);
    }

    fn tell(&mut self) {
        for number in std::mem::take(&mut self.untold) {
            self.rig.executor.canceled(JobNumber(number));
        }
    }

    fn begin(&mut self) {
        if self.under_way.is_some() {
            return;
        }
        let batch = self.rig.begin().unwrap_or_default();
        let results = self.rig.memory.journal(&batch, self.rig.now);
        for number in self.rig.over.clone() {
            self.rig.memory.close(number, self.rig.now);
        }
        self.under_way = Some((batch, results));
    }

    fn finish(&mut self) {
        let Some((batch, results)) = self.under_way.take() else {
            return;
        };
        // The shell sends nothing of a job that it was told is cancelled: here it always was.
        self.tell();
        let closed = std::mem::take(&mut self.rig.over);
        let left = self.rig.finish(batch, &results);
        for number in closed {
            self.rig.executor.remove(number);
        }
        for left in &left {
            assert!(!self.canceled.contains(&left.job), "{left:?} left too late");
        }
        let gone = &self.rig.closed;
        self.ready.retain(|device| !gone.contains(device));
        self.waiting.extend(left);
    }

    fn check(&self) {
        let executor = &self.rig.executor;
        let by_job: usize = executor
            .jobs
            .values()
            .map(|entry| entry.in_flight.len())
            .sum();
        let by_device: usize = executor.loads.values().sum();
        assert_eq!(executor.in_flight(), by_job);
        assert_eq!(executor.in_flight(), executor.calls.len());
        assert_eq!(executor.in_flight(), by_device);
        let old = self.added as usize;
        assert!(executor.in_flight() <= SMALL.in_flight + old);
        for (key, load) in &executor.loads {
            let is_old = |(call, (_, ordinal)): (&CallId, &(JobNumber, Ordinal))| {
                call.term < TERM && *ordinal == key.ordinal
            };
            let old = executor.calls.iter().filter(|call| is_old(*call)).count();
            assert!(*load <= SMALL.per_device.max(old) + old, "{key:?}: {load}");
        }
        for entry in executor.jobs.values() {
            assert!(entry.candidates.is_subset(&entry.pending));
            let calling: RoaringBitmap = entry.in_flight.keys().copied().collect();
            assert!(calling.is_disjoint(&entry.pending));
        }
        for (_, ledger) in self.rig.memory.jobs.values() {
            let progress = ledger.progress();
            let ended = progress.succeeded + progress.failed + progress.canceled;
            assert_eq!(
                progress.total,
                ended + progress.running + progress.pending()
            );
        }
    }

    /// Everybody answers, nobody new comes: whoever is ready must have been called.
    fn quieten(&mut self) {
        self.finish();
        self.tell();
        loop {
            let left = std::mem::take(&mut self.waiting);
            for left in left {
                self.rig.answer(left);
            }
            self.rig.now = self.rig.now + limits::SETTLE_GROUP_WAIT;
            self.begin();
            self.finish();
            self.check();
            if self.waiting.is_empty() && !self.rig.executor.has_records() {
                // Old calls may still fill the window or their devices.
                if self.rig.executor.in_flight() == 0 {
                    return;
                }
                self.rig.now = self.rig.now + Duration::from_secs(1);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_device_job_ends_once(
        events in prop::collection::vec(event(), 0..160)
    ) {
        let mut world = World::new();
        for event in &events {
            world.apply(event);
            world.check();
        }
        world.quieten();
        for (number, (job, ledger)) in &world.rig.memory.jobs {
            let pending = ledger.pending();
            let forgotten: Vec<_> = world.ready.iter().filter(|at| pending.contains(**at)).collect();
            let is_open = job.may_begin() && world.rig.now < job.deadline();
            prop_assert!(!is_open || forgotten.is_empty(), "{number} forgot {forgotten:?}");
        }
        world.rig.now = world.rig.now + Duration::from_secs(u64::from(2 * WINDOW_SECONDS));
        world.quieten();
        prop_assert!(world.rig.memory.jobs.values().all(|(job, _)| job.is_ended()));
        world.rig.assert_empty();

        let left = &world.rig.left;
        let calls: BTreeSet<_> = left.iter().map(|left| left.call).collect();
        let device_jobs: BTreeSet<_> = left.iter().map(|left| (left.job, left.ordinal)).collect();
        prop_assert_eq!(calls.len(), left.len());
        prop_assert_eq!(device_jobs.len(), left.len());
    }
}
