//! A whole hub over the embedded store, with a clock that is moved by hand and devices that answer when
//! they are told to.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use fanfare_hub::{
    Hub,
    ids::{CallId, DeviceId, IdentityId, IdentityKey, JobId, MethodName, ModuleId, Ordinal, Space},
    jobs::{
        JobRequest,
        job::{Job, JobEnd, JobState, MethodOperation, Operation, Progress, TwinOperation},
        ledger::Outcome,
    },
    json::JsonText,
    limits,
    method::{AnswerPayload, CallAnswer},
    ports::{
        Clock, Entropy, Store,
        clock::ManualClock,
        store::{DeviceJobRow, DeviceJobState, RegistryStore},
    },
    presence::{
        Admission, CallTemplate, ConnectionId, CutReason, Delivery, DesiredDelivery, DesiredNotice,
        KeyMark, Link, Receipt,
    },
    profile::Profile,
    queries::{PageRequest, Rows},
    registry::{
        Authentication, IdentitySettings, IdentityWrite, IdentityWritten, Made, Precondition,
        Status,
    },
    time::Timestamp,
    twin::document::{SectionPatch, TwinPatch},
};
use fanfare_store::Embedded;
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};

/// When every test begins.
pub(crate) const T0: Timestamp = Timestamp(1_927_857_906_000_000);
pub(crate) const WINDOW_SECONDS: u32 = 600;
pub(crate) const RESPONSE_SECONDS: u32 = 30;
/// How far the clock is moved when nothing happens without it: what answers wait for company.
const TICK: Duration = limits::SETTLE_GROUP_WAIT;
/// Ticks after which a test has waited in vain.
const TICKS_MAX: usize = 800;
/// Looks at the world between two ticks.
const LOOKS: usize = 40;
/// Turns of all other tasks between two looks.
const TURNS: usize = 16;

pub(crate) fn second(second: u64) -> Timestamp {
    T0 + Duration::from_secs(second)
}

struct Zeros;

impl Entropy for Zeros {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

/// Threads around the store or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Threads,
    Inline,
}

/// The file of a store, which outlives the hubs on it.
pub(crate) struct Disk {
    folder: TempDir,
    pub(crate) kind: Kind,
}

impl Disk {
    pub(crate) fn new(kind: Kind) -> Self {
        let folder = tempfile::tempdir().expect("the system's folder is writable");
        Self { folder, kind }
    }

    /// One without threads that keeps its file in memory where the system can: for tests that ask in which
    /// order things happen, not whether a disk keeps them.
    pub(crate) fn in_memory() -> Self {
        match tempfile::tempdir_in("/dev/shm") {
            Ok(folder) => Self {
                folder,
                kind: Kind::Inline,
            },
            Err(_) => Self::new(Kind::Inline),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("store.db")
    }

    /// A hub on it, its engine running, at this moment.
    pub(crate) fn start(&self, now: Timestamp) -> Rig {
        self.start_with(now, Profile::open())
    }

    /// The same with the limits of a profile.
    pub(crate) fn start_with(&self, now: Timestamp, profile: Profile) -> Rig {
        Rig::new(&self.path(), self.kind, now, profile)
    }
}

/// A running hub.
pub(crate) struct Rig {
    pub(crate) hub: Arc<Hub>,
    pub(crate) store: Arc<Embedded>,
    pub(crate) clock: Arc<ManualClock>,
    kind: Kind,
    links: Mutex<Vec<Arc<FakeLink>>>,
    keys: Mutex<BTreeMap<String, IdentityKey>>,
    stop: watch::Sender<bool>,
    engine: JoinSet<()>,
}

impl Rig {
    fn new(path: &Path, kind: Kind, now: Timestamp, profile: Profile) -> Self {
        let store = match kind {
            Kind::Threads => Embedded::open(path),
            Kind::Inline => Embedded::open_inline(path),
        };
        let store = Arc::new(store.expect("a scratch folder is writable"));
        let clock = Arc::new(ManualClock::new(now));
        let (hub, engine) = Hub::with_profile(
            store.clone() as Arc<dyn Store>,
            clock.clone(),
            Arc::new(Zeros),
            limits::JOB_HISTORY_DEFAULT,
            profile,
        );
        let stop = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(Box::pin(engine.scheduler.run(stop.subscribe())));
        tasks.spawn(Box::pin(engine.upkeep.run(stop.subscribe())));
        tasks.spawn(Box::pin(engine.reconciler.run(stop.subscribe())));
        Self {
            hub,
            store,
            clock,
            kind,
            links: Mutex::default(),
            keys: Mutex::default(),
            stop,
            engine: tasks,
        }
    }

    /// Tells the engine to stop.
    pub(crate) fn begin_stop(&mut self) {
        self.stop.send_replace(true);
    }

    /// Waits for the engine to end.
    pub(crate) async fn stopped(&mut self) {
        for _ in 0..TICKS_MAX {
            for _ in 0..LOOKS {
                while let Some(ended) = self.engine.try_join_next() {
                    ended.expect("the engine does not panic");
                }
                if self.engine.is_empty() {
                    return;
                }
                self.pump().await;
                self.turns().await;
            }
            self.clock.advance(TICK);
        }
        panic!("the engine does not stop");
    }

    /// Whether the engine still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.engine.try_join_next().is_none()
    }

    /// The process dies.
    pub(crate) async fn crash(mut self) {
        self.engine.shutdown().await;
        let alive = Arc::strong_count(&self.store);
        drop(self.hub);
        drop(self.links);
        let left = Arc::strong_count(&self.store);
        assert_eq!(left, 1, "of {alive}: somebody still holds the store");
    }

    /// Creates devices; names known from before are found again.
    pub(crate) async fn create(&self, names: &[&str]) -> Vec<IdentityKey> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut keys = Vec::new();
        for names in names.chunks(500) {
            let writes = names
                .iter()
                .map(|name| put(&device(name), Status::Enabled))
                .collect();
            let written = self.store.identity_write(writes, T0).await;
            for written in written.expect("the store works") {
                let written = written.expect("anything goes");
                let (IdentityWritten::Put { identity, .. }
                | IdentityWritten::Deleted { identity, .. }) = written;
                let name = identity.id.device.to_string();
                lock(&self.keys).insert(name, identity.key);
                keys.push(identity.key);
            }
        }
        keys
    }

    pub(crate) async fn set_status(&self, name: &str, status: Status) {
        let written = self
            .store
            .identity_write(vec![put(&device(name), status)], T0)
            .await;
        assert!(written.is_ok_and(|written| written[0].is_ok()));
    }

    pub(crate) fn key(&self, name: &str) -> IdentityKey {
        lock(&self.keys)[name]
    }

    /// Connects a device that is ready for methods; it answers by itself when `answers`.
    pub(crate) fn connect(&self, name: &str, answers: bool) -> Arc<FakeLink> {
        let link = self.attach(name, answers, None);
        self.make_ready(&link);
        link
    }

    /// Connects a device that is not ready; `told` is the desired version it knows, if it listens.
    pub(crate) fn attach(&self, name: &str, answers: bool, told: Option<u64>) -> Arc<FakeLink> {
        self.attach_as(device(name), self.key(name), answers, told)
    }

    pub(crate) fn attach_as(
        &self,
        id: IdentityId,
        key: IdentityKey,
        answers: bool,
        told: Option<u64>,
    ) -> Arc<FakeLink> {
        let link = Arc::new(FakeLink {
            id,
            admission: Admission::Policy {
                name: "device".into(),
                key: KeyMark::of("key"),
            },
            key,
            clock: self.clock.clone(),
            answers: AtomicBool::new(answers),
            state: Mutex::default(),
        });
        link.state().told = told;
        let connection = self
            .hub
            .presence
            .attach(link.key, link.clone(), self.clock.now());
        link.state().connection = Some(connection);
        lock(&self.links).push(link.clone());
        link
    }

    pub(crate) fn make_ready(&self, link: &FakeLink) {
        let connection = link.state().connection.expect("it is attached");
        self.hub.presence.ready(link.key, connection);
    }

    pub(crate) fn make_unready(&self, link: &FakeLink) {
        let connection = link.state().connection.expect("it is attached");
        self.hub.presence.not_ready(link.key, connection);
    }

    pub(crate) fn disconnect(&self, link: &FakeLink) {
        link.state().closed = true;
        let connection = link.state().connection.expect("it is attached");
        self.hub
            .presence
            .detach(link.key, connection, self.clock.now());
    }

    /// The device answers a call, and wants to hear that this is durable.
    pub(crate) async fn answer(&self, link: &Arc<FakeLink>, call: CallId, text: &str) {
        let payload = JsonText::parse(text.as_bytes()).expect("tests answer JSON");
        self.answer_as(link, call, AnswerPayload::Json(payload))
            .await;
    }

    /// The same with any body.
    pub(crate) async fn answer_as(
        &self,
        link: &Arc<FakeLink>,
        call: CallId,
        payload: AnswerPayload,
    ) {
        let receipt = {
            let mut state = link.state();
            state.answered.push(Answered {
                call,
                payload: payload.clone(),
                at: self.clock.now(),
                is_acknowledged: false,
            });
            state.open.retain(|open| *open != call);
            Receipt(state.answered.len() as u32 - 1)
        };
        self.hub
            .methods
            .answer(CallAnswer {
                key: link.key,
                call,
                status: 200,
                payload,
                receipt: Some((link.clone() as Arc<dyn Link>, receipt)),
            })
            .await;
    }

    /// Every device that answers by itself answers what it has.
    pub(crate) async fn pump(&self) {
        let links = lock(&self.links).clone();
        for link in links.iter().filter(|link| link.answers.load(SeqCst)) {
            for call in link.unanswered() {
                self.answer(link, call, "\"done\"").await;
            }
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Creates a module and connects it, ready but silent.
    pub(crate) async fn add_module(&self, of: &str, name: &str) -> Arc<FakeLink> {
        let id = IdentityId {
            device: DeviceId::parse(of).expect("tests use valid names"),
            module: Some(ModuleId::parse(name).expect("tests use valid names")),
        };
        let written = self
            .store
            .identity_write(vec![put(&id, Status::Enabled)], T0)
            .await;
        let written = written.expect("the store works").remove(0);
        let (IdentityWritten::Put { identity, .. } | IdentityWritten::Deleted { identity, .. }) =
            written.expect("the device exists");
        self.attach_as(id, identity.key, false, None)
    }

    async fn turns(&self) {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
    }

    /// Lets everything happen that needs no time.
    pub(crate) async fn settle(&self) {
        self.settle_some(LOOKS).await;
    }

    /// The same in fewer turns, enough for a store without threads.
    pub(crate) async fn settle_some(&self, looks: usize) {
        for _ in 0..looks {
            self.pump().await;
            self.turns().await;
            // With threads this waits until what was queued before has been looked at.
            let _ = self.hub.jobs.get(&job_id("none")).await;
        }
    }

    /// Waits until `found` gives something, moving the clock by ticks when nothing happens without.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        mut found: impl AsyncFnMut() -> Option<T>,
    ) -> T {
        for _ in 0..TICKS_MAX {
            for _ in 0..LOOKS {
                if let Some(found) = found().await {
                    return found;
                }
                self.pump().await;
                self.turns().await;
                self.behind_the_writer().await;
            }
            self.clock.advance(TICK);
        }
        panic!("waited in vain: {what}");
    }

    /// Waits for the store's writer, so that looks are as slow as the machine is.
    async fn behind_the_writer(&self) {
        if self.kind == Kind::Threads {
            let nobody = IdentityKey {
                space: Space::Devices,
                ordinal: 0,
            };
            let written = self.store.activity_write(vec![(nobody, T0)]).await;
            written.expect("the store works");
        }
    }

    pub(crate) async fn schedule(&self, id: &str, condition: &str, operation: Operation) -> Job {
        self.schedule_at(id, condition, operation, None).await
    }

    pub(crate) async fn schedule_at(
        &self,
        id: &str,
        condition: &str,
        operation: Operation,
        start: Option<Timestamp>,
    ) -> Job {
        let job = self
            .hub
            .jobs
            .schedule(request(id, condition, operation, start))
            .await;
        job.expect("nothing speaks against the job")
    }

    pub(crate) async fn job(&self, id: &str) -> Job {
        let job = self
            .hub
            .jobs
            .get(&job_id(id))
            .await
            .expect("the store works");
        job.expect("the job was accepted")
    }

    pub(crate) async fn progress(&self, id: &str) -> Progress {
        self.job(id).await.progress.unwrap_or_default()
    }

    /// Waits for the end of a job; checks that its numbers are those of its rows.
    pub(crate) async fn ended(&self, id: &str) -> Ended {
        let job = self
            .until(&format!("the end of {id}"), async || {
                Some(self.job(id).await).filter(Job::is_ended)
            })
            .await;
        let JobState::Ended { end, at, .. } = job.state else {
            unreachable!("it has ended");
        };
        let rows = self.rows(id).await;
        let progress = job.progress.unwrap_or_default();
        let count = |status: &str| {
            let is = |row: &&DeviceJobRow| fanfare_hub::jobs::row::status(&row.state) == status;
            rows.values().filter(is).count() as u32
        };
        assert_eq!(progress.total, rows.len() as u32, "{id}");
        assert_eq!(progress.succeeded, count("completed"), "{id}");
        assert_eq!(progress.failed, count("failed"), "{id}");
        assert_eq!(progress.canceled, count("canceled"), "{id}");
        assert_eq!((progress.running, progress.pending()), (0, 0), "{id}");
        Ended { end, at, progress }
    }

    /// Waits until devices have these calls; gives them in the order of the links.
    pub(crate) async fn called(&self, links: &[&Arc<FakeLink>]) -> Vec<CallId> {
        self.until("calls", async || {
            links
                .iter()
                .map(|link| link.calls().last().copied())
                .collect()
        })
        .await
    }

    /// The rows of a job, by device.
    pub(crate) async fn rows(&self, id: &str) -> BTreeMap<String, DeviceJobRow> {
        let text = format!("SELECT * FROM devices.jobs WHERE jobId = '{id}'");
        let mut rows = BTreeMap::new();
        let mut continuation = None;
        loop {
            let request = PageRequest {
                limit: Some(1_000),
                continuation,
            };
            let page = self.hub.queries.page(&text, request).await;
            let page = page.expect("the query is fine");
            let Rows::DeviceJobs(found) = page.rows else {
                panic!("rows of devices.jobs");
            };
            for row in found {
                rows.insert(row.id.device.to_string(), row);
            }
            continuation = page.continuation;
            if continuation.is_none() {
                return rows;
            }
        }
    }

    /// The outcome of one device.
    pub(crate) async fn outcome(&self, id: &str, device: &str) -> Option<Outcome> {
        match self.rows(id).await.remove(device)?.state {
            DeviceJobState::Ended(outcome) => Some(outcome),
            DeviceJobState::Pending | DeviceJobState::Running => None,
        }
    }

    /// The `$version` of a device's desired properties.
    pub(crate) async fn desired_version(&self, name: &str) -> u64 {
        let view = self.hub.twins.get(&device(name)).await;
        let view = view.expect("the store works").expect("it exists");
        view.twin.document.desired.version
    }
}

/// How a job ended.
#[derive(Debug, PartialEq)]
pub(crate) struct Ended {
    pub(crate) end: JobEnd,
    pub(crate) at: Timestamp,
    pub(crate) progress: Progress,
}

impl Ended {
    /// Succeeded, failed, canceled.
    pub(crate) fn counts(&self) -> (u32, u32, u32) {
        let progress = self.progress;
        (progress.succeeded, progress.failed, progress.canceled)
    }
}

/// A connection that keeps what it is given.
pub(crate) struct FakeLink {
    id: IdentityId,
    admission: Admission,
    pub(crate) key: IdentityKey,
    clock: Arc<ManualClock>,
    answers: AtomicBool,
    state: Mutex<LinkState>,
}

#[derive(Default)]
struct LinkState {
    connection: Option<ConnectionId>,
    calls: Vec<(CallId, String)>,
    /// Those without an answer.
    open: Vec<CallId>,
    waker: Option<Arc<Notify>>,
    /// A receipt is a place in here.
    answered: Vec<Answered>,
    /// In the order of the acknowledgements.
    acknowledged: Vec<CallId>,
    notices: Vec<DesiredNotice>,
    told: Option<u64>,
    cut: Vec<CutReason>,
    closed: bool,
    tried_in_vain: usize,
}

/// An answer that a device gave.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) call: CallId,
    pub(crate) payload: AnswerPayload,
    pub(crate) at: Timestamp,
    pub(crate) is_acknowledged: bool,
}

impl FakeLink {
    fn state(&self) -> MutexGuard<'_, LinkState> {
        lock(&self.state)
    }

    pub(crate) fn calls(&self) -> Vec<CallId> {
        self.state().calls.iter().map(|(call, _)| *call).collect()
    }

    /// Calls with the name of their method.
    pub(crate) fn named_calls(&self) -> Vec<(CallId, String)> {
        self.state().calls.clone()
    }

    pub(crate) fn unanswered(&self) -> Vec<CallId> {
        self.state().open.clone()
    }

    /// Wakes somebody with the next call.
    pub(crate) fn wake_with_call(&self, waker: Arc<Notify>) {
        self.state().waker = Some(waker);
    }

    /// What it answered, in order.
    pub(crate) fn answered(&self) -> Vec<Answered> {
        self.state().answered.clone()
    }

    /// Whether it is of no use any more, and presence may not know yet.
    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    pub(crate) fn acknowledged(&self) -> Vec<CallId> {
        self.state().acknowledged.clone()
    }

    pub(crate) fn cuts(&self) -> Vec<CutReason> {
        self.state().cut.clone()
    }

    pub(crate) fn notices(&self) -> Vec<(u64, bool)> {
        let state = self.state();
        state
            .notices
            .iter()
            .map(|notice| (notice.version, notice.full))
            .collect()
    }

    /// From now on it answers by itself.
    pub(crate) fn let_answer(&self) {
        self.answers.store(true, SeqCst);
    }

    pub(crate) fn be_silent(&self) {
        self.answers.store(false, SeqCst);
    }

    /// The front end has given up the connection, and presence does not know yet.
    pub(crate) fn close(&self) {
        self.state().closed = true;
    }

    /// How many calls met it closed.
    pub(crate) fn tried_in_vain(&self) -> usize {
        self.state().tried_in_vain
    }

    /// What was told goes no further than this.
    pub(crate) fn forget_told(&self, told: u64) {
        self.state().told = Some(told);
    }
}

impl Link for FakeLink {
    fn identity(&self) -> &IdentityId {
        &self.id
    }

    fn admission(&self) -> &Admission {
        &self.admission
    }

    fn takes_calls(&self) -> bool {
        true
    }

    fn call(&self, call: CallId, template: &CallTemplate) -> Delivery {
        let mut state = self.state();
        if state.closed {
            state.tried_in_vain += 1;
            return Delivery::Closed;
        }
        state.calls.push((call, template.name.to_string()));
        state.open.push(call);
        if let Some(waker) = state.waker.take() {
            waker.notify_one();
        }
        Delivery::Sent
    }

    fn desired(&self, notice: &DesiredNotice) -> DesiredDelivery {
        let mut state = self.state();
        let Some(told) = state.told.filter(|told| *told < notice.version) else {
            return DesiredDelivery::NotNeeded;
        };
        if !notice.full && told + 1 < notice.version {
            return DesiredDelivery::Gap;
        }
        state.told = Some(notice.version);
        state.notices.push(notice.clone());
        DesiredDelivery::Sent
    }

    fn desired_sent(&self) -> Option<u64> {
        self.state().told
    }

    fn acknowledge(&self, receipt: Receipt) {
        let mut state = self.state();
        let answered = &mut state.answered[receipt.0 as usize];
        answered.is_acknowledged = true;
        let call = answered.call;
        state.acknowledged.push(call);
    }

    fn last_heard(&self) -> Timestamp {
        self.clock.now()
    }

    fn cut(&self, reason: CutReason) {
        let mut state = self.state();
        state.closed = true;
        state.cut.push(reason);
    }
}

pub(crate) fn device(name: &str) -> IdentityId {
    IdentityId::device(DeviceId::parse(name).expect("tests use valid names"))
}

pub(crate) fn job_id(id: &str) -> JobId {
    JobId::parse(id).expect("tests use valid ids")
}

fn put(id: &IdentityId, status: Status) -> IdentityWrite {
    IdentityWrite::Put {
        id: id.clone(),
        settings: IdentitySettings {
            status,
            status_reason: None,
            authentication: Authentication::None,
            edge: false,
            device_scope: None,
            parent_scopes: Vec::new(),
            managed_by: None,
        },
        made: Made::default(),
        modules: Vec::new(),
        precondition: Precondition::Any,
        twin: None,
    }
}

pub(crate) fn request(
    id: &str,
    condition: &str,
    operation: Operation,
    start: Option<Timestamp>,
) -> JobRequest {
    JobRequest {
        id: job_id(id),
        condition: condition.into(),
        operation,
        start,
        window_seconds: WINDOW_SECONDS,
        creator: None,
    }
}

pub(crate) fn method(name: &str) -> Operation {
    Operation::Method(MethodOperation {
        name: MethodName::parse(name).expect("tests use valid names"),
        payload: JsonText::null(),
        response_seconds: RESPONSE_SECONDS,
        connect_seconds: None,
    })
}

/// Sets `desired.floor`.
pub(crate) fn floor(floor: u32) -> Operation {
    let members = json!({ "floor": floor });
    let members = members.as_object().expect("it is one").clone();
    let patch = TwinPatch::new(SectionPatch::Absent, SectionPatch::Merge(members));
    Operation::Twin(TwinOperation {
        patch: patch.expect("it keeps the rules"),
        echo: JsonText::parse(b"{}").expect("it is JSON"),
    })
}

pub(crate) fn answered() -> Option<Outcome> {
    Some(Outcome::Answered {
        status: 200,
        payload: JsonText::parse(b"\"done\""),
    })
}

/// Device names of a fleet: `d-00000`, in order of their ordinals.
pub(crate) fn names(count: Ordinal) -> Vec<String> {
    (0..count).map(|number| format!("d-{number:05}")).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
