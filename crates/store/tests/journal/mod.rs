//! What only the embedded store can be asked: how its journals lie in the file, and whether they survive
//! a crash at any commit.

mod crash;
mod merging;
mod model;
mod paging;

use std::{path::PathBuf, sync::Arc};

use fanfare_hub::{
    ids::{JobNumber, Ordinal},
    ports::store::Store,
};
use fanfare_store::Embedded;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

/// A store without threads, whose file can be looked into, copied, and reopened after a crash.
struct Bench {
    folder: TempDir,
    store: Option<Arc<Embedded>>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("the system's folder is writable");
        let mut bench = Self {
            folder,
            store: None,
        };
        bench.reopen();
        bench
    }

    /// A copy of a closed store.
    fn of(template: &Self) -> Self {
        assert!(template.store.is_none(), "the template is closed");
        let folder = tempfile::tempdir().expect("the system's folder is writable");
        let copy = folder.path().join("store.db");
        std::fs::copy(template.path(), copy).expect("there is room for a copy");
        let mut bench = Self {
            folder,
            store: None,
        };
        bench.reopen();
        bench
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("store.db")
    }

    fn embedded(&self) -> &Embedded {
        self.store.as_ref().expect("it is open")
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone().expect("it is open")
    }

    fn close(&mut self) {
        let store = self.store.take();
        let holders = store.as_ref().map_or(1, Arc::strong_count);
        assert_eq!(holders, 1, "somebody still holds the store");
    }

    /// Closes the store if it is open and opens its file under the next term. Checkpoints come often.
    fn reopen(&mut self) {
        self.close();
        let store = Embedded::open_inline(&self.path()).expect("the file is a store");
        store.checkpoint_every(8);
        self.store = Some(Arc::new(store));
    }

    fn raw(&self) -> Connection {
        Connection::open_with_flags(self.path(), OpenFlags::SQLITE_OPEN_READ_ONLY)
            .expect("the file is there")
    }

    /// Lets the next ordinals of devices begin here.
    fn skip_to(&mut self, ordinal: Ordinal) {
        self.close();
        let db = Connection::open(self.path()).expect("the file is there");
        db.execute(
            "INSERT INTO hub (name, value) VALUES ('device_ordinal', ?1)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            [ordinal - 1],
        )
        .expect("the table is there");
        drop(db);
        self.reopen();
    }
}

/// The segments of one job.
#[derive(Debug, Default)]
struct Lying {
    calls: u32,
    /// Settled segments by level.
    levels: Vec<u32>,
    /// Outcomes in all settled segments.
    entries: u32,
    bytes: u64,
}

impl Lying {
    fn of(db: &Connection, job: JobNumber) -> Self {
        let mut lying = Self::default();
        let mut select = db
            .prepare_cached(
                "SELECT kind, level, count(*), sum(entries), sum(bytes)
                 FROM job_segment WHERE number = ?1 GROUP BY kind, level",
            )
            .expect("the table is there");
        let mut rows = select.query([job.0]).expect("numbers can be bound");
        while let Some(row) = rows.next().expect("the table can be read") {
            let column = |index| row.get::<_, u64>(index).expect("a number");
            let (kind, level, count) = (column(0), column(1) as usize, column(2) as u32);
            if kind != 2 {
                lying.calls += count;
                continue;
            }
            if lying.levels.len() <= level {
                lying.levels.resize(level + 1, 0);
            }
            lying.levels[level] += count;
            lying.entries += column(3) as u32;
            lying.bytes += column(4);
        }
        lying
    }

    /// Segments that no merge has seen.
    fn unmerged(&self) -> u32 {
        self.calls + self.levels.first().copied().unwrap_or(0)
    }
}

/// Rows of every table that belongs to jobs.
fn history_rows(db: &Connection) -> Vec<(&'static str, u64)> {
    let tables = [
        "job",
        "job_plan",
        "job_targets",
        "job_segment",
        "job_payload",
        "job_checkpoint",
    ];
    let count = |table: &'static str| {
        let sql = format!("SELECT count(*) FROM {table}");
        let rows = db.query_row(&sql, [], |row| row.get(0));
        (table, rows.expect("the table is there"))
    };
    tables.into_iter().map(count).collect()
}

/// Numbers that are the same in every run: xorshift.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for place in (1..items.len()).rev() {
            items.swap(place, self.below(place + 1));
        }
    }
}
