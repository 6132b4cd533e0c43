//! Threads around the core: one writer that commits whatever is queued, a few readers, one checkpointer.
//!
//! The writer never waits for company: it commits what arrived while it was busy. Two lanes, the
//! interactive one first; background work moves on by at least one item a commit. Tests and simulation
//! run the same items in line instead ([`Shell::inline`]).

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use fanfare_hub::{
    ids::Term,
    ports::{StoreError, measures::StoreMeasures},
};
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

use super::core::{Core, Item, OpenError, Writer, open_checkpointer, open_reader, unavailable};
use crate::vault::Vault;

/// Which queue a write waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Somebody waits for the answer.
    Interactive,
    /// A job's page, a sweep.
    Background,
}

/// Rows of one transaction, about.
pub(crate) const TRANSACTION_ROWS: usize = 1_000;
/// Time after which a transaction takes no more items.
const TRANSACTION_TIME: Duration = Duration::from_millis(10);
/// Writes that may wait, per lane.
const QUEUE_WRITES: usize = 4_096;
const READERS: usize = 4;
/// Reads that may wait.
const QUEUE_READS: usize = 4_096;
/// Scans at once: some readers stay free for short reads.
const SCANS_AT_ONCE: usize = 2;
/// Commits after which one step of work that waits for a quiet moment is done without one.
const BUSY_COMMITS_MAX: u32 = 32;
/// Commits between two looks of the checkpointer.
const CHECKPOINT_COMMITS: u64 = 64;

/// The way into the core.
pub(crate) enum Shell {
    /// Threads.
    Threads(Threads),
    /// No threads: the caller's own.
    Inline(Box<Inline>),
}

impl Shell {
    /// Opens the file and starts the threads.
    pub(crate) fn threads(path: &Path, vault: Arc<Vault>) -> Result<Self, OpenError> {
        Threads::start(path, vault).map(Self::Threads)
    }

    /// Opens the file; every call runs on the caller's thread.
    pub(crate) fn inline(path: &Path, vault: Arc<Vault>) -> Result<Self, OpenError> {
        let core = Core::open(path, vault)?;
        let reader = open_reader(path)?;
        let (term, measures) = (core.term(), core.measures());
        Ok(Self::Inline(Box::new(Inline {
            term,
            measures,
            core: Mutex::new(core),
            reader: Mutex::new(reader),
        })))
    }

    /// The number of this start.
    pub(crate) fn term(&self) -> Term {
        match self {
            Self::Threads(threads) => threads.term,
            Self::Inline(inline) => inline.term,
        }
    }

    /// Runs `work` inside a transaction; returns its value once that is durable. `rows` is about how many
    /// rows it writes. `work` runs at most once. A conflict or an absence is its own business and must be
    /// found before it writes; any other error ends the transaction for everyone in it.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        lane: Lane,
        rows: usize,
        work: impl FnOnce(&mut Writer<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let item = Box::new(Call {
            work: Some(work),
            value: None,
            reply,
        });
        match self {
            Self::Threads(threads) => threads.writes.push(lane, Work { item, rows }).await?,
            Self::Inline(inline) => inline.write(item)?,
        }
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Runs a short read.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = move |db: &Connection| {
            // Whoever asked may have gone; then nobody needs the value.
            let _ = reply.send(in_one_moment(db, work));
        };
        match self {
            Self::Threads(threads) => threads.reads.push(Lane::Interactive, Box::new(job)).await?,
            Self::Inline(inline) => job(&lock(&inline.reader)),
        }
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Runs a long read; at most a few at once.
    pub(crate) async fn scan<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let place = match self {
            Self::Threads(threads) => {
                let place = threads.scans.clone().acquire_owned().await;
                Some(place.map_err(|_| closed())?)
            }
            Self::Inline(_) => None,
        };
        let work = move |db: &Connection| {
            // Given up when the scan ends, not when its caller goes.
            let _place = place;
            work(db)
        };
        self.read(work).await
    }

    /// What is counted.
    pub(crate) fn measures(&self) -> &Arc<StoreMeasures> {
        match self {
            Self::Threads(threads) => &threads.measures,
            Self::Inline(inline) => &inline.measures,
        }
    }

    /// Writes and reads that wait, by lane.
    pub(crate) fn waiting(&self) -> ([u64; 2], u64) {
        match self {
            Self::Threads(threads) => (threads.writes.waiting(), threads.reads.waiting()[0]),
            Self::Inline(_) => ([0, 0], 0),
        }
    }

    /// Commits so far, for metrics.
    pub(crate) fn commits(&self) -> u64 {
        match self {
            Self::Threads(threads) => threads.commits.load(Ordering::Relaxed),
            Self::Inline(inline) => lock(&inline.core).commits(),
        }
    }
}

/// Everything a read does sees the same moment.
fn in_one_moment<T>(
    db: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction = db.unchecked_transaction().map_err(unavailable)?;
    let value = work(&transaction);
    transaction.finish().map_err(unavailable)?;
    value
}

/// The core without threads.
pub(crate) struct Inline {
    term: Term,
    measures: Arc<StoreMeasures>,
    /// Goes before the core: who closes the file last puts the log into it, and only the core may.
    reader: Mutex<Connection>,
    core: Mutex<Core>,
}

impl Inline {
    fn write(&self, item: Box<dyn Item>) -> Result<(), StoreError> {
        let mut core = lock(&self.core);
        let mut item = Some(item);
        core.commit(|| item.take());
        while core.maintain(false)? {}
        Ok(())
    }

    /// The core itself, for tests that crash it or look at its maintenance.
    pub(crate) fn core(&self) -> MutexGuard<'_, Core> {
        lock(&self.core)
    }
}

/// The core with its threads.
pub(crate) struct Threads {
    term: Term,
    measures: Arc<StoreMeasures>,
    writes: Arc<Queue<Work>>,
    reads: Arc<Queue<ReadWork>>,
    scans: Arc<Semaphore>,
    commits: Arc<AtomicU64>,
    checkpoints: Arc<Signal>,
    /// The writer comes last.
    joins: Vec<JoinHandle<()>>,
}

struct Work {
    item: Box<dyn Item>,
    rows: usize,
}

type ReadWork = Box<dyn FnOnce(&Connection) + Send>;

impl Threads {
    fn start(path: &Path, vault: Arc<Vault>) -> Result<Self, OpenError> {
        let core = Core::open(path, vault)?;
        let (term, measures) = (core.term(), core.measures());
        let writes = Arc::new(Queue::new(QUEUE_WRITES));
        let reads = Arc::new(Queue::<ReadWork>::new(QUEUE_READS));
        let commits = Arc::new(AtomicU64::new(0));
        let checkpoints = Arc::new(Signal::default());
        let mut joins = Vec::new();
        for _ in 0..READERS {
            let (reads, db) = (reads.clone(), open_reader(path)?);
            joins.push(spawn("store-reader", move || {
                while let Some(work) = reads.pop() {
                    // A fault in one read must not take the reader from all others; its caller hears that
                    // the store did not answer, and its transaction ended when it unwound.
                    let ran = catch_unwind(AssertUnwindSafe(|| work(&db)));
                    if ran.is_err() {
                        tracing::error!("a read of the store panicked");
                    }
                }
            }));
        }
        let checkpointer = open_checkpointer(path)?;
        let (signal, log) = (checkpoints.clone(), log_path(path));
        joins.push(spawn("store-checkpoint", move || {
            run_checkpoints(&checkpointer, &signal, &log)
        }));
        let (queue, counter, signal) = (writes.clone(), commits.clone(), checkpoints.clone());
        joins.push(spawn("store-writer", move || {
            run_writer(core, &queue, &counter, &signal)
        }));
        let scans = Arc::new(Semaphore::new(SCANS_AT_ONCE));
        Ok(Self {
            term,
            measures,
            writes,
            reads,
            scans,
            commits,
            checkpoints,
            joins,
        })
    }
}

impl Drop for Threads {
    /// Lets what is queued finish, then ends the threads; the writer last, because who closes the file last
    /// puts the log into it, and readers may not.
    fn drop(&mut self) {
        self.reads.close();
        self.checkpoints.close();
        let writer = self.joins.pop();
        for join in self.joins.drain(..) {
            ended(join);
        }
        self.writes.close();
        writer.into_iter().for_each(ended);
    }
}

fn ended(join: JoinHandle<()>) {
    if join.join().is_err() {
        tracing::error!("a store thread panicked");
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .expect("the system can start a handful of threads")
}

fn run_writer(mut core: Core, queue: &Queue<Work>, commits: &AtomicU64, signal: &Signal) {
    let _closes = CloseAtEnd(queue);
    let mut checkpointed = 0;
    let mut busy_commits = 0;
    while let Some(first) = queue.pop() {
        let began = Instant::now();
        let mut rows = first.rows;
        let mut first = Some(first.item);
        core.commit(|| {
            if let Some(item) = first.take() {
                return Some(item);
            }
            if rows >= TRANSACTION_ROWS || began.elapsed() >= TRANSACTION_TIME {
                return None;
            }
            let work = queue.try_pop(|work| rows + work.rows <= TRANSACTION_ROWS)?;
            rows += work.rows;
            Some(work.item)
        });
        while maintain(&mut core, false) {}
        busy_commits = if core.has_idle_work() {
            busy_commits + 1
        } else {
            0
        };
        while (queue.is_empty() || busy_commits > BUSY_COMMITS_MAX) && maintain(&mut core, true) {
            busy_commits = 0;
        }
        commits.store(core.commits(), Ordering::Relaxed);
        if core.commits() - checkpointed >= CHECKPOINT_COMMITS {
            checkpointed = core.commits();
            signal.raise();
        }
    }
}

/// Does one step of maintenance, if any is due; while `idle`, also such that only pays later.
fn maintain(core: &mut Core, idle: bool) -> bool {
    core.maintain(idle).unwrap_or_else(|error| {
        tracing::warn!(%error, "maintenance of a job's journal will be tried again");
        false
    })
}

/// A writer that ends, even by a panic, takes no more work: whoever waits gets an error, not silence.
struct CloseAtEnd<'a>(&'a Queue<Work>);

impl Drop for CloseAtEnd<'_> {
    fn drop(&mut self) {
        self.0.close();
        lock(&self.0.state)
            .lanes
            .iter_mut()
            .for_each(VecDeque::clear);
    }
}

pub(super) fn log_path(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// A log above this size is emptied even if readers must wait a moment.
const LOG_BYTES_TRUNCATE: u64 = 256 * 1024 * 1024;
/// Looks at the log between two tries to empty it, while a long read or a backup keeps it from being.
const LOOKS_BETWEEN_TRUNCATES: u32 = 64;
/// A log below this size is left alone.
const LOG_BYTES_CHECKPOINT: u64 = 8 * 1024 * 1024;

fn run_checkpoints(db: &Connection, signal: &Signal, log: &Path) {
    let mut looks_left = 0_u32;
    while signal.wait() {
        let bytes = std::fs::metadata(log).map_or(0, |file| file.len());
        if bytes < LOG_BYTES_CHECKPOINT {
            continue;
        }
        looks_left = looks_left.saturating_sub(1);
        // Emptying holds up the writer while it waits for readers, so it is not tried at every look.
        let mode = if bytes > LOG_BYTES_TRUNCATE && looks_left == 0 {
            "TRUNCATE"
        } else {
            "PASSIVE"
        };
        let result = db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
            row.get::<_, bool>(0)
        });
        match result {
            Ok(is_busy) if mode == "TRUNCATE" && is_busy => looks_left = LOOKS_BETWEEN_TRUNCATES,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "the store's log could not be moved into its file yet");
            }
        }
    }
}

/// A write with its answer.
struct Call<F, T> {
    work: Option<F>,
    value: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Item for Call<F, T>
where
    T: Send,
    F: FnOnce(&mut Writer<'_>) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, writer: &mut Writer<'_>) -> Result<(), StoreError> {
        let Some(work) = self.work.take() else {
            return Ok(());
        };
        match work(writer) {
            Err(error @ (StoreError::Unavailable(_) | StoreError::Corrupt(_))) => Err(error),
            decided => {
                self.value = Some(decided);
                Ok(())
            }
        }
    }

    fn finish(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { value, reply, .. } = *self;
        let value = committed.and_then(|()| value.unwrap_or_else(|| Err(closed())));
        // Whoever asked may have gone; the write stands all the same.
        let _ = reply.send(value);
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closing".into())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bounded queue from tasks to threads, with two lanes.
struct Queue<T> {
    state: Mutex<QueueState<T>>,
    arrived: Condvar,
    room: [Semaphore; 2],
}

struct QueueState<T> {
    lanes: [VecDeque<T>; 2],
    /// Background items wait behind at most one transaction's worth of interactive ones.
    background_owed: bool,
    open: bool,
}

impl<T> Queue<T> {
    fn new(bound: usize) -> Self {
        Self {
            state: Mutex::new(QueueState {
                lanes: [VecDeque::new(), VecDeque::new()],
                background_owed: false,
                open: true,
            }),
            arrived: Condvar::new(),
            room: [Semaphore::new(bound), Semaphore::new(bound)],
        }
    }

    async fn push(&self, lane: Lane, item: T) -> Result<(), StoreError> {
        let lane = lane as usize;
        let place = self.room[lane].acquire().await.map_err(|_| closed())?;
        let mut state = lock(&self.state);
        if !state.open {
            return Err(closed());
        }
        place.forget();
        state.lanes[lane].push_back(item);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for an item; `None` once closed and empty.
    fn pop(&self) -> Option<T> {
        let mut state = lock(&self.state);
        loop {
            if let Some(item) = self.take(&mut state, |_| true) {
                return Some(item);
            }
            if !state.open {
                return None;
            }
            state = self
                .arrived
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next item if it is there and `fits`.
    fn try_pop(&self, fits: impl Fn(&T) -> bool) -> Option<T> {
        self.take(&mut lock(&self.state), fits)
    }

    fn take(&self, state: &mut QueueState<T>, fits: impl Fn(&T) -> bool) -> Option<T> {
        let order = if state.background_owed {
            [1, 0]
        } else {
            [0, 1]
        };
        for lane in order {
            if state.lanes[lane].front().is_some_and(&fits) {
                state.background_owed = lane == 0 && !state.lanes[1].is_empty();
                self.room[lane].add_permits(1);
                return state.lanes[lane].pop_front();
            }
        }
        None
    }

    fn waiting(&self) -> [u64; 2] {
        let state = lock(&self.state);
        [state.lanes[0].len() as u64, state.lanes[1].len() as u64]
    }

    fn is_empty(&self) -> bool {
        lock(&self.state).lanes.iter().all(VecDeque::is_empty)
    }

    fn close(&self) {
        lock(&self.state).open = false;
        self.room.iter().for_each(Semaphore::close);
        self.arrived.notify_all();
    }
}

/// "Look again", from one thread to another.
#[derive(Default)]
struct Signal {
    state: Mutex<SignalState>,
    raised: Condvar,
}

#[derive(Default)]
struct SignalState {
    raised: bool,
    closed: bool,
}

impl Signal {
    fn raise(&self) {
        lock(&self.state).raised = true;
        self.raised.notify_one();
    }

    fn close(&self) {
        lock(&self.state).closed = true;
        self.raised.notify_one();
    }

    /// Waits; false once closed.
    fn wait(&self) -> bool {
        let mut state = lock(&self.state);
        while !state.raised && !state.closed {
            state = self
                .raised
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.raised = false;
        !state.closed
    }
}
